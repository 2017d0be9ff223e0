/* One line of words about a failure, and the status that goes with it. */
#ifndef ANOMALYD_PROBLEM_H
#define ANOMALYD_PROBLEM_H

#include "anomalyd.h"

#define ANOMALYD_MAX_PROBLEM 1535

typedef struct anomalyd_problem {
    char words[ANOMALYD_MAX_PROBLEM + 1];
} anomalyd_problem;

/* Writes the words, cut to fit and without control characters, and returns `status`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
anomalyd_status
anomalyd_problem_set(anomalyd_problem *problem, anomalyd_status status, const char *format, ...);

/* Empties the words and returns ANOMALYD_OK. */
anomalyd_status anomalyd_problem_none(anomalyd_problem *problem);

#endif
