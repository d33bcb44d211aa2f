/*
 * A version: an immutable list of sorted runs, newest first, each run a list
 * of disjoint tables in key order. Readers hold versions; the files of tables
 * in any held version stay.
 *
 * Threads: immutable but for counts and lazily opened readers; any thread.
 */
#ifndef VERSION_VERSION_H
#define VERSION_VERSION_H

#include <stdatomic.h>

#include "sst/sst_reader.h"
#include "version/version_edit.h"

struct version_set;

struct version_table {
    _Atomic uint32_t refs;
    _Atomic bool obsolete; /* out of the current version: remove at zero */
    struct version_set *set;
    struct table_info info;
    _Atomic(struct sst_reader *) reader; /* opened at first use */
    /* Guarded by the database mutex: input of a running compaction. */
    bool busy;
};

struct version_run {
    uint32_t level;
    uint64_t run;
    size_t count;
    uint64_t bytes; /* of table files */
    struct version_table **tables; /* ascending, disjoint; owned array of
                                      counted references */
    uint64_t *last_heads;          /* key_head8 of each table's largest key */
};

struct version {
    _Atomic uint32_t refs;
    size_t run_count;
    struct version_run *runs; /* newest first */
    uint64_t bytes, entries, tombstones;
    size_t table_count;
};

struct version *version_ref(struct version *v);
/* At zero releases its tables; those obsolete and unreferenced go to the
   set's list of files to remove. No I/O. NULL is fine. */
void version_unref(struct version *v);

/* The one table of the run that may hold key; NULL: none. */
struct version_table *version_run_find(const struct version_run *run,
                                       adb_slice key);
/* Index of the first table whose largest key is >= key; count: none. */
size_t version_run_lower(const struct version_run *run, adb_slice key);

/* The table's reader, opened on first use. Borrowed while the table is
   referenced (or inside the epoch, for readers of a version). */
adb_status version_table_reader(struct version_table *t,
                                struct sst_reader **out) ADB_MUST_CHECK;

/* An iterator over a run's tables one after the other (opened as reached);
   keeps a reference on the version. flags: enum sst_read_flags. NULL: out of
   memory. */
struct kv_iter *version_run_iter(struct version *v, size_t run_index,
                                 unsigned flags);

/* Disjointness and order of every run, ages across runs: for tests and debug
   builds. */
adb_status version_check(const struct version *v) ADB_MUST_CHECK;

#endif
