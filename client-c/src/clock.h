/* The monotonic clock by which every time-out is measured. */
#ifndef ANOMALYD_CLOCK_H
#define ANOMALYD_CLOCK_H

#include <stdint.h>

#define ANOMALYD_NS_PER_MS INT64_C(1000000)

/* Nanoseconds since an arbitrary moment; never goes back, whatever is done to the wall clock. */
int64_t anomalyd_clock_ns(void);

/* Milliseconds until `until_ns`, rounded up, 0 if it has passed, at most `most`. */
long anomalyd_clock_ms_until(int64_t until_ns, long most);

#endif
