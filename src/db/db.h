/*
 * The engine as the public functions see it. Arguments are checked by the api
 * module; everything here expects sane pointers and sizes within the limits.
 * Contracts are those of include/albertdb/albertdb.h.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "db/options.h"
#include "kv/batch.h"
#include "kv/iterator.h"

adb_status db_open(const char *path, const struct adb_options *options,
                   adb **out) ADB_MUST_CHECK;
adb_status db_close(adb *db) ADB_MUST_CHECK;
adb_status db_destroy(struct env *env, const char *path) ADB_MUST_CHECK;
adb_status db_sync(adb *db) ADB_MUST_CHECK;
adb_status db_health(adb *db) ADB_MUST_CHECK;
/* ADB_FORKED in a child of the process that opened db. */
adb_status db_check_fork(const adb *db) ADB_MUST_CHECK;

/* One operation, or an encoded batch of them. */
struct db_write {
    enum kv_kind kind; /* single operation: batch NULL */
    adb_slice key, value;
    const struct kv_batch *batch;
    enum adb_durability durability; /* never DEFAULT */
    uint64_t deadline_ns;           /* clock_now_ns; 0: none */
};
adb_status db_write(adb *db, const struct db_write *w) ADB_MUST_CHECK;
enum adb_durability db_durability(const adb *db);

/* Either a pinned value or a copy into a buffer. */
struct db_read {
    const adb_snapshot *snapshot; /* NULL: newest */
    bool no_fill;
    bool no_wait; /* ADB_BUSY, without a message, instead of waiting for a
                     device; what is missing is being fetched */
    adb_value *pinned; /* one of pinned and buffer is asked for */
    void *buffer;
    size_t buffer_size;
    size_t *value_size;
};
adb_status db_get(adb *db, adb_slice key,
                  const struct db_read *r) ADB_MUST_CHECK;
adb_status db_multi_get(adb *db, const struct db_read *r, size_t count,
                        const adb_slice *keys, adb_value *values,
                        adb_status *statuses) ADB_MUST_CHECK;
void db_value_release(adb_value *value);

adb_status db_snapshot_new(adb *db, adb_snapshot **out) ADB_MUST_CHECK;
void db_snapshot_release(adb *db, adb_snapshot *snapshot);

/* The iterator's moves are on the view of the user (iter/merge.h); the api
   reads the entry from it. */
struct adb_snapshot {
    uint64_t seq;
    _Atomic unsigned refs; /* the user's and iterators' */
    bool on_heap;  /* else in its one user's memory */
    struct registry_slot *slot; /* NULL: in the list */
    struct adb_snapshot *older, *newer;
};

struct adb_iter {
    adb *db;
    unsigned fork_generation;
    struct adb_snapshot *registered; /* keeps what it sees */
    struct adb_snapshot own;         /* unless that is the user's */
    /* What an iterator at rest keeps: its view and iterators over all of it. */
    struct db_view *view; /* counted */
    struct kv_iter *user; /* owned */
    struct kv_iter **sources; /* owned array; the iterators are user's */
    size_t memtable_count;    /* of the sources, the first ones */
    bool no_fill;
    bool whole;         /* no source was left out because of bounds */
    bool has_writable;  /* the writable memtable is among the sources */
    adb_slice lower, upper; /* what prefix and bounds come to; owned */
    bool has_lower, has_upper;
    struct key_origin origin; /* of heads: what keys in bounds share */
    bool bounded_origin;      /* it is for these bounds only */
    bool failed; /* a value could not be loaded */
    /* What it did, told to the database when it is given back. */
    unsigned extra_runs; /* of tables among its sources, beyond the first */
    uint64_t seeks, steps;
    struct status_saved failure;
};
adb_status db_iter_new(adb *db, const adb_iter_options *options,
                       adb_iter **out) ADB_MUST_CHECK;
void db_iter_free(adb_iter *iter);

adb_status db_flush(adb *db) ADB_MUST_CHECK;
adb_status db_compact(adb *db, adb_slice from, adb_slice to) ADB_MUST_CHECK;
adb_status db_wait_idle(adb *db, uint64_t timeout_ms) ADB_MUST_CHECK;
adb_status db_approximate_size(adb *db, adb_slice from, adb_slice to,
                               uint64_t *bytes) ADB_MUST_CHECK;
adb_status db_stats(adb *db, char **json) ADB_MUST_CHECK;
/* report and progress may be NULL. */
adb_status db_verify(adb *db, adb_damage_fn report, adb_progress_fn progress,
                     void *context) ADB_MUST_CHECK;

/* ---- for tests ---- */

/* Flushes wait (true) or go on (false). */
void db_test_hold_flush(adb *db, bool hold);
/* How many memtables wait for their flush. */
size_t db_test_frozen_count(adb *db);
/* Ends the database as the death of the process would: nothing synced,
   nothing written, memory released. */
void db_test_abandon(adb *db);

#endif
