/* The words for a failed anomalyd_open(), which has no client to keep them. */
#ifndef ANOMALYD_OPEN_H
#define ANOMALYD_OPEN_H

#include "problem.h"

/* This thread's; there is no other state outside the clients. */
anomalyd_problem *anomalyd_open_problem(void);

#endif
