/* Numbers of the wire; see number.h. */
#define _POSIX_C_SOURCE 200809L
#include "number.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* PROTOCOL.md, section 10. */
#define MAX_NUMBER 32

static bool equals(const char *bytes, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(bytes, word, length) == 0;
}

/* Moves past digits; false if there is none. */
static bool digits(const char *bytes, size_t length, size_t *at)
{
    size_t start = *at;
    while (*at < length && bytes[*at] >= '0' && bytes[*at] <= '9')
        ++*at;
    return *at > start;
}

/* [ "-" ] 1*DIGIT [ "." 1*DIGIT ] [ "e" [ "-" ] 1*DIGIT ] */
static bool is_decimal(const char *bytes, size_t length)
{
    size_t at = 0;
    if (at < length && bytes[at] == '-')
        ++at;
    if (!digits(bytes, length, &at))
        return false;
    if (at < length && bytes[at] == '.') {
        ++at;
        if (!digits(bytes, length, &at))
            return false;
    }
    if (at < length && bytes[at] == 'e') {
        ++at;
        if (at < length && bytes[at] == '-')
            ++at;
        if (!digits(bytes, length, &at))
            return false;
    }
    return at == length;
}

bool anomalyd_parse_number(const char *bytes, size_t length, double *value)
{
    char text[MAX_NUMBER + 1];
    locale_t c_locale, before;
    double parsed;

    if (equals(bytes, length, "nan")) {
        *value = NAN;
        return true;
    }
    if (equals(bytes, length, "inf")) {
        *value = INFINITY;
        return true;
    }
    if (equals(bytes, length, "-inf")) {
        *value = -INFINITY;
        return true;
    }
    if (length > MAX_NUMBER || !is_decimal(bytes, length))
        return false;
    memcpy(text, bytes, length);
    text[length] = '\0';

    /* strtod reads the decimal point of the thread's locale: a simulation that has called setlocale() may have a comma.
     */
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0)
        return false;
    before = uselocale(c_locale);
    parsed = strtod(text, NULL);
    (void)uselocale(before);
    freelocale(c_locale);
    if (isinf(parsed))
        return false;
    *value = parsed;
    return true;
}

bool anomalyd_parse_step(const char *bytes, size_t length, int64_t *value)
{
    bool negative = length > 0 && bytes[0] == '-';
    size_t at = negative ? 1 : 0, start = at;
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t magnitude = 0;

    if (!digits(bytes, length, &at) || at != length || length - start > 19)
        return false;
    for (at = start; at < length; ++at)
        magnitude = magnitude * 10 + (uint64_t)(bytes[at] - '0'); /* 19 digits fit 64 bits */
    if (magnitude > limit)
        return false;
    if (negative)
        *value = magnitude == limit ? INT64_MIN : -(int64_t)magnitude;
    else
        *value = (int64_t)magnitude;
    return true;
}
