/* The words for a failed anomalyd_open(), which has no client to keep them; and what a name is. */
#ifndef ANOMALYD_OPEN_H
#define ANOMALYD_OPEN_H

#include "problem.h"
#include <stddef.h>

/* This thread's; there is no other state outside the clients. */
anomalyd_problem *anomalyd_open_problem(void);

/* How many bytes at the beginning of `name` may stand in the name of a run, a model or a stream. */
size_t anomalyd_name_span(const char *name);

#endif
