/*
 * Runs a workload against an engine: the threads, the clock, the checks that
 * belong to the timed loop (size and both ends of each value).
 */
#ifndef BENCH_COMPARE_WORKER_H
#define BENCH_COMPARE_WORKER_H

#include "histogram.h"
#include "stream.h"

enum {
    WORKERS_MAX = 64,
    BATCH_MAX = 256,
    SCAN_CHUNK = 100,
    SLOW_CALL_NS = 50000, /* from here on it is asked who was waited for */
};

struct run {
    /* in */
    struct engine *engine; /* borrowed */
    const struct workload *workload;
    const struct values *values; /* borrowed */
    const struct zipf *zipf;     /* borrowed */
    uint64_t keys;
    uint64_t operations; /* of all threads together, at most */
    double seconds;      /* at most */
    unsigned threads, steps, batch;
    uint64_t write_rate;   /* puts a second by one more thread; 0: no thread */
    struct series *series; /* borrowed; NULL: none kept; with one thread only */

    /* out */
    uint64_t done;
    double took;
    uint64_t writes_done;       /* by the one more thread */
    uint64_t made[WORKERS_MAX]; /* by each thread's stream */
    uint64_t puts, deletes;     /* of all threads */
    struct histogram latency;   /* ns a call; of whole scans SCAN_CHUNK steps */
    uint64_t awake_max_ns; /* the longest call, less waits for a processor */
};

void run_workload(struct run *run);

uint64_t now_ns(void);

#endif
