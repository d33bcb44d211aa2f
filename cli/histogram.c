#include "histogram.h"

/* Below HISTOGRAM_STEPS a bucket is one nanosecond wide, then 2^shift. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    unsigned shift = 58u - (unsigned)__builtin_clzll(ns);
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(ns >> shift) -
           HISTOGRAM_STEPS;
}

/* The largest latency that the bucket holds. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS)
                   << shift;
    return low + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[bucket_of(ns)]++;
    h->total++;
    h->max = ns > h->max ? ns : h->max;
}

void histogram_merge(struct histogram *h, const struct histogram *more)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->count[i] += more->count[i];
    h->total += more->total;
    h->max = more->max > h->max ? more->max : h->max;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)h->total * part + 0.5);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= wanted && seen > 0) {
            uint64_t top = bucket_top(i);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}
