/* The monotonic clock; see clock.h. */
#define _POSIX_C_SOURCE 200809L
#include "clock.h"

#include <time.h>

int64_t anomalyd_clock_ns(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * ANOMALYD_NS_PER_MS + (int64_t)now.tv_nsec;
}

long anomalyd_clock_ms_until(int64_t until_ns, long most)
{
    int64_t left = until_ns - anomalyd_clock_ns();
    int64_t ms;
    if (left <= 0)
        return 0;
    ms = (left + ANOMALYD_NS_PER_MS - 1) / ANOMALYD_NS_PER_MS;
    return ms > most ? most : (long)ms;
}
