/* Reads proto/vectors.txt; see vectors.h. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *file;

static void give_up(const char *why, const char *line)
{
    (void)fprintf(stderr, "%s: %s: %s\n", VECTORS, why, line);
    exit(99);
}

static void append(bytes *to, const char *hex, size_t times)
{
    size_t n = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2, idx, round;
    unsigned char *grown = realloc(to->data, to->length + n * times + 1);
    if (grown == NULL)
        give_up("no memory", hex);
    to->data = grown;
    for (round = 0; round < times; ++round)
        for (idx = 0; idx < n; ++idx) {
            unsigned byte;
            if (sscanf(hex + 2 * idx, "%2x", &byte) != 1)
                give_up("not hex", hex);
            to->data[to->length++] = (unsigned char)byte;
        }
    to->data[to->length] = '\0';
}

/* Where the bytes of a key go; NULL for a key whose bytes are not wanted. */
static bytes *place_of(vector *read, const char *key)
{
    if (strcmp(key, "frame") == 0 && read->n_frames < MAX_VECTOR_FRAMES)
        return &read->frames[read->n_frames++];
    if (strcmp(key, "option") == 0 && read->n_options < 16)
        return &read->options[read->n_options++];
    if (strcmp(key, "run") == 0)
        return &read->run;
    if (strcmp(key, "subject") == 0)
        return &read->subject;
    if (strcmp(key, "instance") == 0)
        return &read->instance;
    if (strcmp(key, "text") == 0)
        return &read->text;
    if (strcmp(key, "detail") == 0)
        return &read->detail;
    if (strcmp(key, "heat_map") == 0)
        return &read->heat_map;
    return NULL;
}

static void take_word(vector *read, const char *key, const char *value)
{
    const struct {
        const char *key;
        char *place;
        size_t size;
    } words[] = {
        {"vector", read->name, sizeof read->name},        {"message", read->message, sizeof read->message},
        {"expect", read->expect, sizeof read->expect},    {"roundtrip", read->roundtrip, sizeof read->roundtrip},
        {"command", read->command, sizeof read->command}, {"deadline_ms", read->deadline_ms, sizeof read->deadline_ms},
        {"step", read->step, sizeof read->step},          {"kind", read->kind, sizeof read->kind},
        {"status", read->status, sizeof read->status},    {"verdict", read->verdict, sizeof read->verdict},
        {"score", read->score, sizeof read->score},       {"threshold", read->threshold, sizeof read->threshold},
    };
    size_t idx;
    for (idx = 0; idx < sizeof words / sizeof words[0]; ++idx)
        if (strcmp(key, words[idx].key) == 0) {
            if (strlen(value) >= words[idx].size)
                give_up("too long a word", value);
            memcpy(words[idx].place, value, strlen(value) + 1);
        }
}

int vectors_next(vector *read)
{
    char line[256], key[32], value[256], count[32];
    bytes ignored = {NULL, 0}, *last = &ignored;
    int complete = 0;

    if (file == NULL && (file = fopen(VECTORS, "r")) == NULL)
        give_up("cannot be opened", "");
    memset(read, 0, sizeof *read);
    while (!complete && fgets(line, sizeof line, file) != NULL) {
        int n_words = line[0] == '#' ? 0 : sscanf(line, "%31s %255s %31s", key, value, count);
        if (n_words < 1)
            continue;
        if (strcmp(key, "end") == 0)
            complete = 1;
        else if (n_words < 2)
            give_up("a key without a value", line);
        else if (strcmp(key, "more") == 0)
            append(last, value, 1);
        else if (strcmp(key, "fill") == 0)
            append(last, value, n_words > 2 ? (size_t)atol(count) : 0);
        else if ((last = place_of(read, key)) != NULL)
            append(last, value, 1);
        else {
            last = &ignored;
            take_word(read, key, value);
        }
    }
    free(ignored.data);
    return complete;
}

void vectors_free(vector *read)
{
    size_t idx;
    for (idx = 0; idx < read->n_frames; ++idx)
        free(read->frames[idx].data);
    for (idx = 0; idx < read->n_options; ++idx)
        free(read->options[idx].data);
    free(read->run.data);
    free(read->subject.data);
    free(read->instance.data);
    free(read->text.data);
    free(read->detail.data);
    free(read->heat_map.data);
}

void vectors_rewind(void)
{
    if (file != NULL)
        rewind(file);
}
