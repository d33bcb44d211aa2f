/*
 * Latencies, log-linear: 32 steps to each doubling of nanoseconds, so a
 * percentile is known to 3 %. Not shared between threads: merge at the end.
 */
#ifndef BENCH_COMPARE_HISTOGRAM_H
#define BENCH_COMPARE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t total, max;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    unsigned doubling = 58u - (unsigned)__builtin_clzll(ns);
    unsigned bucket = (doubling + 1) * HISTOGRAM_STEPS +
                      (unsigned)((ns >> doubling) % HISTOGRAM_STEPS);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[histogram_bucket(ns)]++;
    h->total++;
    if (ns > h->max)
        h->max = ns;
}

static inline void histogram_merge(struct histogram *to,
                                   const struct histogram *from)
{
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
        to->count[b] += from->count[b];
    to->total += from->total;
    if (from->max > to->max)
        to->max = from->max;
}

/* Nanoseconds that this part (0 to 1) of the samples do not exceed. */
static inline uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t want = (uint64_t)((double)h->total * part), seen = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->count[b];
        if (seen <= want || h->count[b] == 0)
            continue;
        if (b < HISTOGRAM_STEPS)
            return b;
        return (uint64_t)(HISTOGRAM_STEPS + b % HISTOGRAM_STEPS)
               << (b / HISTOGRAM_STEPS - 1);
    }
    return h->max;
}

#endif
