/* Numbers of the wire (PROTOCOL.md, section 4), read and checked whatever the locale of the process. */
#ifndef ANOMALYD_NUMBER_H
#define ANOMALYD_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads "nan", "inf", "-inf" or a decimal; false for anything else, and for a decimal beyond a double's range. */
bool anomalyd_parse_number(const char *bytes, size_t length, double *value);

/* Reads a 64-bit decimal with an optional minus sign; false for anything else. */
bool anomalyd_parse_step(const char *bytes, size_t length, int64_t *value);

#endif
