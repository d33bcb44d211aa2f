/*
 * Builds the tables of one sorted run from a stream of versions: what flush
 * and compaction have in common. Keeps of each key what retention says, cuts
 * tables between user keys only, makes names durable.
 *
 * Threads: one job, one thread; no locks held.
 */
#ifndef SST_RUN_BUILDER_H
#define SST_RUN_BUILDER_H

#include "env/env.h"
#include "kv/iterator.h"
#include "sst/sst_writer.h"

/* A table that lineage must leave out. */
struct run_other {
    uint64_t number;
    bool anywhere; /* its keys are not known; else they are borrowed */
    adb_slice smallest, largest;
};

struct run_job {
    struct sst_writer_options table; /* number is set per table */
    struct kv_iter *source;          /* borrowed; run_build places it */
    const uint64_t *snapshots;       /* ascending; see kv/retention.h */
    size_t snapshot_count;
    bool bottom;
    uint64_t max_table_bytes; /* a table is ended at about this; 0: never */
    const adb_slice *cuts;    /* ascending: a table ends before each */
    size_t cut_count;
    /* What the tables say of where they come from; borrowed. The range is
       divided among them without gaps, and `except` is found by `others`: each
       table names those that have keys of its part. */
    struct table_lineage lineage;
    const struct run_other *others; /* by number, ascending */
    size_t other_count;
    uint64_t (*new_file)(void *context); /* 0: there is no memory */
    /* Both are called about every 64 KiB of keys and values taken in, and may
       be NULL. Nonzero from cancelled ends the job with ADB_CLOSED. */
    int (*cancelled)(void *context);
    void (*progress)(void *context, uint64_t bytes_taken);
    void *context;
};

struct run_tables {
    struct table_info *tables; /* owned, ascending; none if nothing survives */
    size_t count;
    uint64_t bytes; /* of the files */
    uint64_t entries_in, entries_out;
    uint64_t shadowed, tombstones; /* dropped, see enum retention_verdict */
};

/* Takes the source from its first to its last entry. Where nothing survives but
   there is lineage to be told, the last tombstone stays to carry it: else files
   that a crash leaves behind could bring deleted keys back. On failure - the
   source's too, and entries out of order, ADB_CORRUPTION - all files are
   removed as well as possible and out is not written. */
adb_status run_build(const struct run_job *job,
                     struct run_tables *out) ADB_MUST_CHECK;

/* Removes the files, as well as possible, and keeps the thread's message. */
void run_tables_remove(const struct run_job *job,
                       const struct run_tables *run);
void run_tables_deinit(struct run_tables *run);

#endif
