/*
 * Flush: frozen memtables to level-0 tables. Keeps of each key what the
 * snapshots need (kv/retention.h) and writes one run.
 */
#ifndef FLUSH_FLUSH_H
#define FLUSH_FLUSH_H

#include "env/env.h"
#include "memtable/memtable.h"
#include "sst/sst_writer.h"
#include "version/version_edit.h"

struct flush_job {
    struct env *env;
    const char *directory;
    struct sst_writer_options table; /* number is set per table */
    uint64_t max_table_bytes; /* a run is cut between user keys at about this */
    struct memtable *const *memtables; /* newest first, frozen */
    size_t memtable_count;
    const uint64_t *snapshots; /* ascending */
    size_t snapshot_count;
    struct table_place place;
    /* The least sequence of what becomes part of the database in one step with
       these memtables; 0: theirs. */
    uint64_t first_seq;
    uint64_t (*new_file)(void *context); /* 0: there is no memory */
    /* Asked now and then; nonzero abandons the job with ADB_CLOSED. May be
       NULL. */
    int (*cancelled)(void *context);
    void *context;
};

struct flush_result {
    uint64_t entries_in, entries_out, bytes_out;
    uint64_t tables;
};

/* Flushes become part of the database in the order of their memtables: the
   tables say that all older writes are in tables. (Only read where a manifest
   was lost, src/repair/rebuild.c.) */

/* Writes the tables, makes their names durable and enters them into edit
   (which may stay without a table when nothing survives). On failure all its
   files are removed as well as possible, edit unchanged. Runs on any thread,
   no lock held. */
adb_status flush_run(const struct flush_job *job, struct version_edit *edit,
                     struct flush_result *result) ADB_MUST_CHECK;

#endif
