/*
 * The compaction job: carries out a picker's plan. Merges the source tables,
 * drops what retention allows, writes new tables, returns the version edit.
 */
#ifndef COMPACTION_COMPACTION_H
#define COMPACTION_COMPACTION_H

#include "compaction/picker.h"
#include "sst/sst_writer.h"
#include "version/version.h"

struct compaction_job {
    struct env *env;
    const char *directory;
    struct sst_writer_options table; /* number is set per table */
    struct version *version;         /* borrowed; the plan's indices */
    const struct picker_plan *plan;
    const uint64_t *snapshots;       /* ascending */
    size_t snapshot_count;
    /* For lineage, as of the moment of the plan: the number that the next file
       got, and the tables that other jobs were making. */
    uint64_t next_file; /* 0: no lineage is told */
    const uint64_t *making; /* borrowed; none of them in the version */
    size_t making_count;
    uint64_t (*new_file)(void *context); /* 0: there is no memory */
    int (*cancelled)(void *context); /* asked about every 64 KiB */
    /* Told input bytes done; also the place to sleep for a rate limit. May be
       NULL, as cancelled may. */
    void (*progress)(void *context, uint64_t bytes_done);
    void *context;
};

struct compaction_result {
    uint64_t bytes_in, bytes_out, entries_in, entries_out;
    uint64_t entries_above; /* of those in: from above the bottom */
    uint64_t shadowed_dropped, tombstones_dropped;
    size_t tables_in, tables_out;
    bool moved; /* a trivial move: nothing rewritten */
};

/* Fills edit with added, removed and moved tables; names of new tables are
   durable. On failure (a damaged input block is ADB_CORRUPTION and loses
   nothing: inputs stay) new files are removed as well as possible and edit is
   unchanged. Runs on any thread without locks. */
adb_status compaction_run(const struct compaction_job *job,
                          struct version_edit *edit,
                          struct compaction_result *result) ADB_MUST_CHECK;

#endif
