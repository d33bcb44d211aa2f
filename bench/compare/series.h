/*
 * What happens over time: latencies of calls and the engine's debt, by
 * intervals of a fixed length. One thread adds; the debt is asked for once an
 * interval, by that thread, outside of the timed call.
 */
#ifndef BENCH_COMPARE_SERIES_H
#define BENCH_COMPARE_SERIES_H

#include <stdbool.h>
#include <stdio.h>

#include "histogram.h"

struct engine;

struct series {
    struct engine *engine; /* borrowed */
    uint64_t start_ns, step_ns, next_ns;
    struct histogram now; /* of the interval under way */
    uint64_t awake_max;
    struct point {
        double at; /* seconds since the start, the interval's end */
        uint64_t calls, p50, p99, max, awake_max, debt_bytes;
    } * points; /* owned */
    size_t count, room;
};

void series_init(struct series *series, struct engine *engine,
                 double step_seconds, double seconds);
void series_deinit(struct series *series);
/* A call that ended at now_ns and took took_ns, awake_ns of it not waiting for
   a processor. Returns whether an interval
   ended with it: then time passed since that is nobody's latency. */
bool series_add(struct series *series, uint64_t now_ns, uint64_t took_ns,
                uint64_t awake_ns);
/* As JSON: one array of numbers to a column. */
void series_print(const struct series *series, FILE *to);

#endif
