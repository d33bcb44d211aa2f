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

#include "base/thread.h"
#include "sst/sst_reader.h"
#include "version/version_edit.h"

/* What the tables of one database share: how to open them, and the list of
   those whose files nobody needs any more. Outlives all tables. */
struct table_owner {
    const struct sst_context *context; /* borrowed */
    struct mutex open_lock;            /* held while a reader is opened */
    struct mutex lock;                 /* guards obsolete */
    struct version_table *obsolete;
};
void table_owner_init(struct table_owner *o, const struct sst_context *context);
void table_owner_deinit(struct table_owner *o);
/* Numbers of tables that were obsolete when their last reference went, each
   returned once. Returns how many, at most max. */
size_t table_owner_take_obsolete(struct table_owner *o, uint64_t *numbers,
                                 size_t max);

struct version_table {
    _Atomic uint32_t refs;
    _Atomic bool obsolete;     /* out of the current version: remove at zero */
    struct table_owner *owner; /* borrowed */
    struct version_table *next_obsolete; /* in owner->obsolete */
    struct table_info info;
    _Atomic(struct sst_reader *) reader; /* opened at first use */
    /* Guarded by the database mutex: input of a running compaction. */
    bool busy;
};

/* The arrays of one run, shared by all versions in which the run is the same;
   they hold counted references on their tables. */
struct run_block;

struct version_run {
    uint32_t level;
    uint64_t run;
    size_t count;
    uint64_t bytes;                /* of table files */
    struct version_table **tables; /* ascending, disjoint; in block */
    uint64_t *last_heads; /* key_head8 of each table's largest key; in block */
    struct run_block *block; /* counted */
};

/* The damaged tables of a version, shared by all versions in which they are
   the same; ascending by number. */
struct quarantine {
    _Atomic uint32_t refs;
    size_t count;
    struct quarantined items[]; /* owned */
};

struct version {
    _Atomic uint32_t refs;
    size_t run_count;
    struct version_run *runs; /* newest first */
    uint64_t bytes, entries, tombstones;
    size_t table_count;
    struct quarantine *quarantine; /* counted; NULL: nothing is damaged */
};

struct version *version_ref(struct version *v);
/* At zero releases its tables; those obsolete and unreferenced go to the
   set's list of files to remove. No I/O. NULL is fine. */
void version_unref(struct version *v);

struct version_table *version_table_ref(struct version_table *t);
/* At zero the reader is released; an obsolete table goes to the owner's list,
   another is forgotten. NULL is fine. */
void version_table_unref(struct version_table *t);

/* The one table of the run that may hold key; NULL: none. */
struct version_table *version_run_find(const struct version_run *run,
                                       adb_slice key);
/* Index of the first table whose largest key is >= key; count: none. */
size_t version_run_lower(const struct version_run *run, adb_slice key);

/* The table's reader, opened on first use. Borrowed while the table is
   referenced (or inside the epoch, for readers of a version). */
adb_status version_table_reader(struct version_table *t,
                                struct sst_reader **out) ADB_MUST_CHECK;

/* What is damaged of the table; NULL: nothing known. Lives as v does. */
const struct quarantined *version_quarantined(const struct version *v,
                                              uint64_t number);
static inline size_t version_quarantined_count(const struct version *v)
{
    return v->quarantine ? v->quarantine->count : 0;
}

/* An iterator over a run's tables one after the other (opened as reached);
   keeps a reference on the version. flags: enum sst_read_flags. NULL: out of
   memory. */
struct kv_iter *version_run_iter(struct version *v, size_t run_index,
                                 unsigned flags);

/* Disjointness and order of every run, levels that never fall with age, sums,
   and ages across runs: where two tables overlap the newer run's is not wholly
   older. ADB_INVALID says what does not hold. */
adb_status version_check(const struct version *v) ADB_MUST_CHECK;

/* ---- making versions, version_build.c ---- */

/* The version before the first table; NULL: out of memory. */
struct version *version_new_empty(void);

/* One step: base with edit's tables applied. */
struct version_step {
    struct version *next;           /* owned reference */
    struct version_table **dropped; /* counted: in base, not in next */
    size_t dropped_count;
};
/* Unchanged runs are shared with base. ADB_INVALID: the edit does not fit
   base, or the result would break an invariant of versions. Nothing is marked
   obsolete: that is the business of whoever makes the step durable. */
adb_status version_build(const struct version *base,
                         const struct version_edit *edit,
                         struct table_owner *owner,
                         struct version_step *out) ADB_MUST_CHECK;
void version_step_deinit(struct version_step *s);

#endif
