/* Words about a failure; see problem.h. */
#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

anomalyd_status anomalyd_problem_set(anomalyd_problem *problem, anomalyd_status status, const char *format, ...)
{
    va_list arguments;
    char *at;

    va_start(arguments, format);
    if (vsnprintf(problem->words, sizeof problem->words, format, arguments) < 0)
        problem->words[0] = '\0';
    va_end(arguments);
    /* A path may hold a newline, a reply anything: the line must stay one line in the simulation's log. */
    for (at = problem->words; *at != '\0'; ++at)
        if ((unsigned char)*at < 0x20 || (unsigned char)*at == 0x7f)
            *at = '?';
    return status;
}

anomalyd_status anomalyd_problem_none(anomalyd_problem *problem)
{
    problem->words[0] = '\0';
    return ANOMALYD_OK;
}
