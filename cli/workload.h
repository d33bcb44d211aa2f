/*
 * What one thread of bench does: the workloads, a loop each, with a clock
 * around every operation. Reads check every value that they see.
 *
 * Keys are numbers, most significant byte first, so that their order is that
 * of the numbers; the last byte is 0, or 1 in keys that are never written.
 */
#ifndef CLI_WORKLOAD_H
#define CLI_WORKLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "albertdb/albertdb.h"
#include "histogram.h"

struct worker;

struct workload {
    const char *name;
    bool fills;        /* begins with an empty database */
    bool writes;       /* leaves background work behind */
    unsigned per_step; /* keys that a step takes */
    /* One step, the i-th; NULL: a walk over all keys, reverse or not. */
    adb_status (*step)(struct worker *w, uint64_t i);
    bool reverse;
};

const struct workload *workload_find(const char *name, size_t size);

/* Which keys and values, the same for all threads. */
struct dimensions {
    uint64_t keys, key_size, value_size;
    bool own; /* nobody else writes there: values are checked */
};
/* The most keys that fit a key size. */
uint64_t dimensions_most_keys(uint64_t key_size);

struct worker {
    /* Set before it runs. */
    adb *db;                        /* borrowed */
    const struct workload *what;    /* borrowed */
    const struct dimensions *sizes; /* borrowed */
    uint64_t first;                 /* of its share of the keys, for fillseq */
    uint64_t steps;
    uint64_t random;         /* seed, not 0 */
    struct histogram *times; /* owned; NULL: no clock */
    /* Written by it, read by whoever waits. */
    _Atomic uint64_t done; /* steps; relaxed: only shown */
    /* Read when it has ended. */
    uint64_t keys, found; /* keys it handled; values it saw */
    adb_status status;
    char error[512];
    /* Private. */
    adb_batch *batch;            /* owned */
    unsigned char *key, *value;  /* owned */
};

/* Allocates what it needs; ADB_NO_MEMORY otherwise. */
adb_status worker_init(struct worker *w, bool with_times);
void worker_deinit(struct worker *w);
void *worker_run(void *worker); /* for pthread_create; ends at a failure */

/* Has all workers end after the step they are at; for a signal handler. */
void workers_stop(void);
bool workers_stopped(void);

#endif
