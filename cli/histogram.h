/*
 * Latencies in buckets that grow with them: 32 steps to each doubling, so a
 * percentile is 3 % precise at most. One thread adds; merge when it is done.
 */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS], total, max;
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *h, const struct histogram *more);
/* The latency that this part of all (0 to 1) stays at or below, in ns. 0 when
   there is none. */
uint64_t histogram_at(const struct histogram *h, double part);

#endif
