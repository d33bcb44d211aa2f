/*
 * A model of a database under updates that drives the real picker: memtable,
 * flushes and merges are carried out on sets of integer keys, so that sizes
 * and duplicates are exact; time passes in user writes, and running merges
 * share a bandwidth given in bytes per byte written by users.
 *
 * One thread.
 */
#ifndef BENCH_LSM_MODEL_H
#define BENCH_LSM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "compaction/picker.h"

struct model_options {
    enum picker_policy policy;
    uint32_t keys;         /* N: keys are [0, N) */
    uint32_t memtable;     /* distinct keys to a memtable; N / memtable is the
                              ratio that matters */
    uint32_t updates;      /* writes after the fill */
    unsigned flush_trigger;
    double table;          /* table size, in memtables */
    double max_merge;      /* input of one job, in memtables */
    double bandwidth;      /* of merges; 0: they take no time */
    unsigned jobs;         /* at once */
    bool sequential;       /* fill in key order */
    double zipf;           /* skew of updates; 0: uniform */
    uint64_t seed;
};

struct model_result {
    double fill_amplification;   /* table bytes written / user bytes */
    double write_amplification;  /* the same, of the updates */
    double runs, runs_peak;      /* that hold any table, average over time */
    double runs_key;             /* with a table over a key, average of both */
    double space, space_peak;    /* bytes / live bytes, scratch included */
    double slowdown;             /* time / time without back-pressure */
    double score_peak;           /* of picker_debt */
    double job_peak;             /* input of the largest job, in memtables */
    double moved;                /* bytes that changed place unwritten / user
                                    bytes of updates */
    uint64_t tables, merges, moves;
};

/* False when out of memory or when the picker broke its contract (said on
   stderr). */
bool model_run(const struct model_options *options,
               struct model_result *result);

#endif
