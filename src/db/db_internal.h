/*
 * The database object. docs/concurrency.md has the lock order:
 *
 *   write_lock -> version set's own -> lock
 *
 * write_lock  serialises writers: sequence numbers, log appends, inserts,
 *             memtable switches, the list of snapshots, who chooses what need
 *             not be kept (registry.h)
 * lock        guards the view's replacement, the queue of frozen memtables
 *             and the state of background work; never held over file I/O
 *
 * Readers take neither: they enter an epoch and load the view.
 */
#ifndef DB_DB_INTERNAL_H
#define DB_DB_INTERNAL_H

#include <stdatomic.h>

#include "base/epoch.h"
#include "base/thread.h"
#include "compaction/compaction.h"
#include "db/db.h"
#include "db/pressure.h"
#include "db/registry.h"
#include "flush/flush.h"
#include "memtable/memtable.h"
#include "sst/frame_pool.h"
#include "version/version_set.h"
#include "wal/wal.h"

enum { DB_MAX_FROZEN = 16, DB_SHARDS = 16, DB_RESTING = 4 };

/* A memtable and the log segments that hold its writes. */
struct db_memtable {
    struct memtable *table;    /* counted */
    uint64_t first_segment;    /* 0: none of its own yet */
    uint64_t log_bytes;
    bool oversize;             /* made for one write above the memtable size */
    bool unlogged;             /* holds writes that are in no log */
};

/* What a read needs, immutable: the read path walks it top down. */
struct db_view {
    struct epoch_node node;
    _Atomic uint32_t refs;
    struct memtable *writable;                /* counted */
    size_t frozen_count;
    struct memtable *frozen[DB_MAX_FROZEN];   /* newest first; counted */
    struct version *version;                  /* counted */
};

/* Counters of the engine; relaxed atomics, any thread. */
struct db_counters {
    _Atomic uint64_t puts, deletes, batches, write_bytes;
    _Atomic uint64_t write_waits, write_wait_ns, write_wait_max_ns;
    _Atomic uint64_t flushes, flush_bytes, flush_ns;
    _Atomic uint64_t compactions, compaction_bytes_in, compaction_bytes_out;
    _Atomic uint64_t compaction_ns, moves, idle_bytes;
    _Atomic uint64_t shadowed_dropped, tombstones_dropped;
};

/* Reads counted beside the epoch slot they run in, which is the reader's own
   for that long: no locked instruction, no shared cache line. */
struct db_read_counters {
    _Alignas(64) _Atomic uint64_t gets;
    _Atomic uint64_t hits, memtable_hits;
    _Atomic uint64_t extra_runs; /* of tables, looked into beyond the first */
};

/* What threads keep apart, so that their processors share no line: by
   thread_ordinal(). A handle may be given back by another thread, so only the
   sums over all shards say how many there are. */
struct db_shard {
    _Alignas(64) _Atomic int64_t live_values;
    _Atomic int64_t live_iterators;
    _Atomic uint64_t iterators; /* made */
    _Atomic uint64_t iterator_extra_ns;
    /* An iterator given back that the next one may be made of; of the present
       view, or about to be freed. */
    _Atomic(adb_iter *) resting;
};

/* What a sorted run more costs, about, once its blocks are cached. */
enum { DB_GET_RUN_NS = 100, DB_SEEK_RUN_NS = 300, DB_STEP_RUN_NS = 10 };

/* A flush or merge under way, and the tables that it has begun: they may become
   part of the database, which other merges must not deny (lineage). */
struct db_job {
    adb *db;
    struct db_job *next; /* guarded by lock, like the rest */
    uint64_t *tables;    /* owned; none once they are in the version */
    size_t count, capacity;
    const struct version_edit *edit; /* while it is applied */
    const struct picker_plan *plan;  /* NULL: a flush */
    struct version *version;         /* borrowed; planned for it */
};

struct adb {
    /* immutable after open */
    struct env *env;
    char *path; /* owned */
    struct db_options options;
    uint64_t manifest_roll_bytes;
    uint64_t first_own_segment; /* lower ones are from earlier openings */
    size_t memtable_capacity; /* the largest write an ordinary one takes */
    adb_log_fn log;
    void *log_context;
    void *file_lock;
    unsigned fork_generation;
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files;
    struct frame_pool *frames;
    struct sst_context tables;
    struct sst_counters *table_counters; /* owned */
    struct memtable_pool *pool;
    struct version_set *versions;
    struct wal *wal;

    /* guarded by write_lock */
    struct mutex write_lock;
    struct db_memtable active;
    uint64_t last_seq;
    struct adb_snapshot *oldest_snapshot, *newest_snapshot;
    bool log_broken; /* nothing is logged until the queue is flushed */

    struct registry registry; /* of iterators; its owner's lock: write_lock */
    _Atomic uint64_t published_seq; /* written under write_lock, release */
    _Atomic(struct db_view *) view; /* written under lock, release */
    _Atomic uint64_t pace_ns_per_kib; /* back-pressure; 0: none */
    _Atomic uint64_t paced_until;     /* writers' shared schedule, ns */
    _Atomic uint64_t pace_due;        /* when a writer works it out anew, ns */
    _Atomic bool cancel_compaction;   /* closing: running jobs give up */
    _Atomic bool idle;                /* no write for a while (keeper.c) */
    _Atomic bool tidying;             /* reads have paid for fewer runs */

    /* guarded by lock */
    struct mutex lock;
    struct condition flush_work;      /* something frozen, or closing */
    struct condition compaction_work;
    struct condition changed;         /* flushes, jobs, errors: for waiters */
    struct db_memtable frozen[DB_MAX_FROZEN]; /* oldest first */
    size_t frozen_count;
    struct version *version; /* the current one; counted */
    uint64_t flush_began_ns; /* 0: none is under way */
    uint64_t writable_room;  /* bytes of active, when last looked at */
    bool flush_wanted;     /* somebody waits for a flush that has failed */
    uint64_t flush_rounds; /* flushes that ended, well or not */
    bool hold_flush;       /* tests */
    unsigned running_compactions;
    struct db_job *jobs; /* under way */
    /* Of an edit with tables: a crash may bring it to light until a later one
       is durable. */
    bool outcome_unknown;
    bool closing;
    bool abandoned;            /* tests: as if the process had died */
    unsigned compaction_holds; /* manual compactions: automatic ones wait */
    struct picker_debt debt;
    uint64_t *segments; /* live log segments, ascending; owned */
    size_t segment_count, segment_capacity;
    uint64_t flushed_seq; /* everything at or below is in tables */
    /* Why the last flush or merge failed; code ADB_OK: it did not. A failing
       flush stops writers once the queue is full; a failing merge does not. */
    struct status_saved flush_error, compaction_error;
    struct pressure pressure;
    uint64_t bottom_mark; /* bytes flushed before the last merge into the
                             bottom began */
    bool bottom_failed;   /* that merge did */
    uint64_t idle_written_mark; /* bytes written that idle merges paid off */
    struct thread *threads; /* background_threads of them */
    size_t thread_count;

    /* the log keepers */
    struct thread log_thread, sync_thread;
    struct mutex log_lock;
    struct condition log_work, sync_work;
    bool log_stop;                /* log_lock */
    _Atomic bool log_signalled;

    struct db_shard shards[DB_SHARDS];
    _Atomic int64_t live_snapshots;
    struct db_counters counters;
    struct db_read_counters read_counters[EPOCH_SLOTS];
    uint64_t opened_ns;
    uint64_t recovered_records, recovered_bytes, recovery_ns;
    bool recovery_cut;
};

/* One line to the log callback; 0 error, 1 warning, 2 info. */
void db_log(adb *db, int level, const char *format, ...) ADB_PRINTF(3, 4);

/* open.c */
/* Everything may be absent: open may have failed anywhere. */
void db_free(adb *db);
adb_status db_remember_segment_locked(adb *db, uint64_t number) ADB_MUST_CHECK;

/* recover.c */
struct db_recovery {
    adb *db;
    struct version_edit edit; /* goes into the new manifest */
    bool flushed;             /* some of the log went into tables already */
    uint64_t first_seq, last_seq; /* replayed */
    struct inserter *inserter;    /* while the log is replayed */
};
/* Replays the log into the memtable (and tables) and says in r->edit what
   becomes of its segments. Before the threads start. */
adb_status db_recover_log(struct db_recovery *r,
                          const struct version_set_state *state,
                          struct wal_recovered *found) ADB_MUST_CHECK;

/* view.c */
/* Replaces the view by one made of the present state; under lock. Cannot fail
   halfway: ADB_NO_MEMORY leaves the old view, which stays sound: it holds all
   that the newer one would. */
adb_status db_view_install_locked(adb *db) ADB_MUST_CHECK;
struct db_view *db_view_ref(adb *db); /* the present view, counted */
void db_view_unref(struct db_view *v);

/* snapshot.c */
/* The snapshot `of`, counted once more, or what is published now, registered
   in `place`, which is the caller's until db_unregister. */
struct adb_snapshot *db_register(adb *db, const adb_snapshot *of,
                                 struct adb_snapshot *place);
void db_unregister(adb *db, struct adb_snapshot *s); /* NULL is fine */
/* The newest registered sequence, 0: none, or a newer one; until
   registry_chosen it stays so. Under write_lock. */
uint64_t db_choose_locked(adb *db);
/* Ascending sequences, fresh memory (mem_free). */
adb_status db_snapshots(adb *db, uint64_t **seqs,
                        size_t *count) ADB_MUST_CHECK;

/* iterator.c */
/* Frees the iterators at rest: their view is about to go. Any thread, also
   under lock. */
void db_iter_drop_resting(adb *db);

/* write.c */
/* Freezes the writable memtable (unless empty) and begins a new one. Needs
   write_lock; waits, dropping it, while the frozen queue is full. arena_bytes
   0: an ordinary memtable. */
adb_status db_switch_memtable_unlocking(adb *db, size_t arena_bytes,
                                        uint64_t deadline_ns) ADB_MUST_CHECK;

/* background.c */
adb_status db_background_start(adb *db) ADB_MUST_CHECK;
void db_background_stop(adb *db);
/* Waits until every write up to seq is in tables, or a flush failed. */
adb_status db_wait_flushed(adb *db, uint64_t seq) ADB_MUST_CHECK;
/* Waits until a flush ends; ADB_TIMEOUT (without words) at the deadline, 0:
   none. After an earlier failure the next attempt is hurried: whoever waits is
   told of the present, not of a cause that may be gone. Under lock. */
adb_status db_wait_flush_locked(adb *db, uint64_t deadline_ns) ADB_MUST_CHECK;
/* Work out back-pressure anew; under lock. */
void db_update_pressure_locked(adb *db);
/* Log segments below this one are not needed any more: an edit that says so;
   once it is durable, they are forgotten (under lock) and may be released. */
adb_status db_retire_segments(adb *db, struct version_edit *edit,
                              uint64_t below) ADB_MUST_CHECK;
void db_forget_segments_locked(adb *db, uint64_t below);
void db_fill_table_options(adb *db, struct sst_writer_options *o);
void db_remove_obsolete(adb *db);
/* Removes the files of an edit's tables after it could not be made durable. */
void db_discard_tables(adb *db, const struct version_edit *edit,
                       adb_status why);

/* job.c: the table numbers of flushes and merges */
void db_job_begin_locked(adb *db, struct db_job *job);
/* status: what became of its edit, or of the job before there was one. */
void db_job_end_locked(struct db_job *job, adb_status status);
uint64_t db_job_new_file(void *job); /* takes lock; 0: no memory */
/* Makes the edit durable, or removes its tables' files. No lock held. */
adb_status db_job_apply(struct db_job *job,
                        struct version_edit *edit) ADB_MUST_CHECK;
void db_job_installed_locked(adb *db, const struct version *v);
/* Of all jobs, ascending, fresh memory (mem_free). */
adb_status db_tables_being_made_locked(adb *db, uint64_t **numbers,
                                       size_t *count) ADB_MUST_CHECK;
/* Makes sure that no edit may surface any more that failed. No lock held. */
adb_status db_settle_outcome(adb *db) ADB_MUST_CHECK;

/* compact.c */
/* Runs one due job; *did tells whether there was one. lock held on entry and
   exit, dropped over the work. */
adb_status db_compact_step_unlocking(adb *db, bool idle,
                                     bool *did) ADB_MUST_CHECK;
/* The picker's view of the current version; under lock. */
struct db_picker_input {
    struct picker_input input;
    struct picker_run *runs;
    struct picker_table *tables;
    struct version *version; /* counted */
};
adb_status db_picker_input_locked(adb *db,
                                  struct db_picker_input *out) ADB_MUST_CHECK;
void db_picker_input_deinit(struct db_picker_input *in);

/* quarantine.c */
/* Does a merge, or a read of some key, need the damaged piece? */
static inline bool db_damage_counts(const struct sst_damage *damage)
{
    return damage->piece != SST_PIECE_FILTER &&
           (damage->status == ADB_CORRUPTION ||
            damage->status == ADB_UNSUPPORTED);
}
/* A merge failed with the thread's message, ADB_CORRUPTION: reads its inputs
   again and puts those that are damaged into quarantine. ADB_OK: there were
   some. No lock held. */
adb_status db_quarantine_inputs(adb *db, const struct version *v,
                                const struct picker_plan *plan) ADB_MUST_CHECK;
/* ADB_CORRUPTION if tables with keys in [from, to] (data NULL: open) are in
   quarantine; under lock. */
adb_status db_quarantine_status_locked(adb *db, adb_slice from,
                                       adb_slice to) ADB_MUST_CHECK;
void db_log_quarantine(adb *db); /* a warning, if there is any */
/* Tables that were found whole leave it. */
adb_status db_release_tables(adb *db, const uint64_t *numbers,
                             size_t count) ADB_MUST_CHECK;

/* keeper.c: the log's background thread */
adb_status db_keeper_start(adb *db) ADB_MUST_CHECK;
void db_keeper_stop(adb *db);
void db_keeper_wake(adb *db);
/* What reads have spent on runs beyond the first, estimated, since open. */
uint64_t db_extra_run_ns(adb *db);

static inline void bump_read(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}
static inline struct db_shard *db_my_shard(adb *db)
{
    return &db->shards[thread_ordinal() % DB_SHARDS];
}
static inline void db_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
