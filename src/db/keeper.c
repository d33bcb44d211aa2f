/*
 * The log keepers do what writers should not have to wait for. One thread
 * populates pages of the log ahead, makes the next segment, has the cache make
 * room for a new memtable, and notices when the database is idle or its readers
 * would do better with fewer runs; another, where durability=process, syncs at
 * intervals: a sync takes long under load, and the writer must not run out of
 * pages meanwhile.
 */
#include "db/db_internal.h"

static const uint64_t idle_after_ns = 10ull * 1000000000;
static const uint64_t tick_ns = 1000000000;
enum { TRIM_LOOKS = 512 }; /* at frames: some milliseconds at most */

struct keeper {
    adb *db;
    uint64_t seen_seq, quiet_since_ns;
    uint64_t paid_ns;  /* of db_extra_run_ns: spent on merges already */
    uint64_t sweep_ns; /* when to look for tables that nobody needs */
};

/* durability=process promises to reach the disk within the interval. */
static void *sync_thread(void *argument)
{
    adb *db = argument;
    mutex_lock(&db->log_lock);
    uint64_t next = clock_now_ns() + db->options.sync_interval;
    while (!db->log_stop) {
        if (clock_now_ns() < next) {
            condition_wait_until(&db->sync_work, &db->log_lock, next);
            continue;
        }
        mutex_unlock(&db->log_lock);
        next = clock_now_ns() + db->options.sync_interval;
        if (db_sync(db) != ADB_OK)
            /* Writers find the log's failure and heal it (write.c). */
            db_log(db, 0, "periodic sync failed: %s", status_message());
        mutex_lock(&db->log_lock);
    }
    mutex_unlock(&db->log_lock);
    return NULL;
}

static void notice_idle(struct keeper *k, uint64_t now)
{
    adb *db = k->db;
    uint64_t seq = atomic_load(&db->published_seq);
    if (seq != k->seen_seq) {
        k->seen_seq = seq;
        k->quiet_since_ns = now;
        atomic_store(&db->idle, false);
    } else if (now - k->quiet_since_ns >= idle_after_ns &&
               !atomic_load(&db->idle)) {
        atomic_store(&db->idle, true);
        mutex_lock(&db->lock);
        condition_broadcast(&db->compaction_work);
        mutex_unlock(&db->lock);
    }
}

uint64_t db_extra_run_ns(adb *db)
{
    uint64_t runs = 0, ns = 0;
    for (size_t i = 0; i < EPOCH_SLOTS; i++)
        runs += atomic_load_explicit(&db->read_counters[i].extra_runs,
                                     memory_order_relaxed);
    for (size_t i = 0; i < DB_SHARDS; i++)
        ns += atomic_load_explicit(&db->shards[i].iterator_extra_ns,
                                   memory_order_relaxed);
    return runs * DB_GET_RUN_NS + ns;
}

/* A merge of everything takes about a nanosecond a byte. Once reads have spent
   as much on looking into several runs it has paid for itself, whatever comes:
   at worst twice the best that could have been done (as with skis, rented or
   bought). What it may cost in writes is bounded as for idle merges. */
static void notice_reads(struct keeper *k)
{
    adb *db = k->db;
    if (atomic_load_explicit(&db->tidying, memory_order_relaxed))
        return;
    uint64_t spent = db_extra_run_ns(db);
    mutex_lock(&db->lock);
    uint64_t cost = db->version->bytes;
    bool due = db->version->run_count > 1 && spent - k->paid_ns >= cost;
    if (due) {
        atomic_store(&db->tidying, true);
        condition_broadcast(&db->compaction_work);
    }
    mutex_unlock(&db->lock);
    if (due)
        k->paid_ns = spent;
}

static bool prepare(adb *db)
{
    bool busy = false;
    if (db_durability(db) == ADB_DURABILITY_NONE)
        return false;
    if (wal_wants_prepare(db->wal) &&
        wal_prepare(db->wal, &busy) != ADB_OK) {
        /* The writer will make its own segment, or report why it cannot. */
        db_log(db, 1, "log not prepared ahead: %s", status_message());
        return false;
    }
    return busy || wal_wants_prepare(db->wal);
}

/* What readers were the last to use. Merges remove their own; removing takes
   long on a busy disk, and the log comes first. */
static void sweep(struct keeper *k, uint64_t now, bool busy)
{
    if (busy || now < k->sweep_ns)
        return;
    db_remove_obsolete(k->db);
    k->sweep_ns = now + tick_ns;
}

static void *keeper_thread(void *argument)
{
    struct keeper k = {.db = argument};
    adb *db = k.db;
    k.quiet_since_ns = clock_now_ns();
    mutex_lock(&db->log_lock);
    while (!db->log_stop) {
        atomic_store(&db->log_signalled, false);
        mutex_unlock(&db->log_lock);
        bool more = prepare(db);
        /* Between two looks at the log. */
        more |= cache_trim_some(db->cache, TRIM_LOOKS);
        uint64_t now = clock_now_ns();
        notice_idle(&k, now);
        notice_reads(&k);
        sweep(&k, now, more);
        mutex_lock(&db->log_lock);
        if (db->log_stop || more || atomic_load(&db->log_signalled))
            continue;
        condition_wait_until(&db->log_work, &db->log_lock, now + tick_ns);
    }
    mutex_unlock(&db->log_lock);
    return NULL;
}

void db_keeper_wake(adb *db)
{
    /* One signal until the keeper has looked. */
    if (atomic_load_explicit(&db->log_signalled, memory_order_relaxed))
        return;
    if (!atomic_exchange(&db->log_signalled, true)) {
        mutex_lock(&db->log_lock);
        condition_signal(&db->log_work);
        mutex_unlock(&db->log_lock);
    }
}

adb_status db_keeper_start(adb *db)
{
    adb_status status =
        thread_start(&db->log_thread, "adb-log", keeper_thread, db);
    if (status == ADB_OK && db_durability(db) == ADB_DURABILITY_PROCESS)
        status = thread_start(&db->sync_thread, "adb-sync", sync_thread, db);
    return status;
}

void db_keeper_stop(adb *db)
{
    mutex_lock(&db->log_lock);
    db->log_stop = true;
    condition_signal(&db->log_work);
    condition_signal(&db->sync_work);
    mutex_unlock(&db->log_lock);
    thread_join(&db->log_thread);
    thread_join(&db->sync_thread);
}
