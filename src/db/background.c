/*
 * Background work: the flush thread, the compaction threads, and how they
 * report failures. One thread is kept for flushing, so that a flush never
 * waits behind a merge.
 *
 * A failed job changes nothing: its error is shown by adb_health, and it is
 * tried again, first soon, then less often. Damaged tables are set aside by
 * quarantine.c.
 */
#include "db/db_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

static const uint64_t retry_first_ns = 50000000;
static const uint64_t retry_last_ns = 2000000000;

void db_log(adb *db, int level, const char *format, ...)
{
    char text[STATUS_MESSAGE_MAX];
    va_list args;
    if (!db->log)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    db->log(db->log_context, level, text);
}

void db_fill_table_options(adb *db, struct sst_writer_options *o)
{
    *o = (struct sst_writer_options){
        .env = db->env,
        .directory = db->path,
        .block_size = sst_block_size_in((size_t)db->options.block_size),
        .compression = (enum sst_compression)db->options.compression,
        .compression_level = (int)db->options.compression_level,
        .filter_bits = (unsigned)db->options.filter_bits,
        .ledger = &db->ledger,
    };
}

/* Removes table files that nobody needs any more. */
void db_remove_obsolete(adb *db)
{
    uint64_t numbers[64];
    size_t count;
    /* Views, then what the tables that go with them had in the cache: an epoch
       is over after two advances. */
    for (int i = 0; i < 4; i++)
        epoch_collect(db->epoch);
    while ((count = version_set_take_obsolete(db->versions, numbers, 64))) {
        for (size_t i = 0; i < count; i++) {
            file_table_forget(db->files, numbers[i]);
            char *path = sst_path(db->path, numbers[i]);
            /* What stays behind is swept at the next open. */
            if (path && env_unlink(db->env, path) != ADB_OK)
                db_log(db, 1, "cannot remove %s: %s", path,
                       status_message());
            mem_free(path);
        }
    }
}

/* Removes the tables of an edit that never became durable. */
void db_discard_tables(adb *db, const struct version_edit *edit,
                       adb_status why)
{
    /* The edit may still surface after a crash, and would miss its files:
       they stay until the next open knows (version_set_sweep). */
    if (why == ADB_UNKNOWN_OUTCOME)
        return;
    struct status_saved saved;
    status_save(&saved, why);
    for (size_t i = 0; i < edit->added_count; i++) {
        char *path = sst_path(db->path, edit->added[i].info.number);
        if (path && env_unlink(db->env, path) != ADB_OK)
            db_log(db, 1, "cannot remove %s: %s", path, status_message());
        mem_free(path);
    }
    status_restore(&saved);
}

void db_update_pressure_locked(adb *db)
{
    uint64_t began = db->flush_began_ns;
    unsigned frozen = (unsigned)db->frozen_count;
    unsigned max_frozen = (unsigned)db->options.max_memtables - 1;
    /* Recovery and large values may freeze more. */
    unsigned more = max_frozen > frozen ? max_frozen - frozen : 0;
    struct pressure_input in = {
        .frozen = frozen,
        .max_frozen = max_frozen,
        .writable_fill = 0.5,
        .room_bytes = db->writable_room + more * db->options.memtable_size,
        .flush_ns = began ? MAX_OF(clock_now_ns() - began, 1) : 0,
        .flush_bytes = frozen ? memtable_used(db->frozen[0].table) : 0,
        .debt_bytes = db->debt.bytes,
        .debt_soft = 8 * db->options.memtable_size,
        .debt_hard = 64 * db->options.memtable_size,
        .runs = db->debt.runs,
        .runs_soft = 14,
        .runs_hard = 40,
        .garbage = pressure_garbage(&db->pressure, db->debt.above),
        .garbage_soft = 0.5,
        .garbage_hard = 1.0,
    };
    uint64_t pace = pressure_pace(&db->pressure, &in);
    atomic_store_explicit(&db->pace_ns_per_kib, pace, memory_order_relaxed);
}

/* ---- flush ------------------------------------------------------------- */

adb_status db_retire_segments(adb *db, struct version_edit *edit,
                              uint64_t below)
{
    adb_status status = ADB_OK;
    mutex_lock(&db->lock);
    for (size_t i = 0; i < db->segment_count && status == ADB_OK; i++)
        if (db->segments[i] < below)
            status = version_edit_remove_segment(edit, db->segments[i]);
    mutex_unlock(&db->lock);
    return status;
}

void db_forget_segments_locked(adb *db, uint64_t below)
{
    size_t kept = 0;
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i] >= below)
            db->segments[kept++] = db->segments[i];
    db->segment_count = kept;
}

static adb_status build_flush(struct db_job *under_way,
                              const struct db_memtable *m, uint64_t below,
                              struct version_edit *edit,
                              struct flush_result *result)
{
    adb *db = under_way->db;
    uint64_t *snapshots = NULL;
    struct flush_job job = {
        .env = db->env,
        .directory = db->path,
        .max_table_bytes = 4 * db->options.table_size,
        .memtables = &(struct memtable *){m->table},
        .memtable_count = 1,
        .place = {.level = 0, .run = version_set_new_run(db->versions)},
        .new_file = db_job_new_file,
        .context = under_way,
    };
    db_fill_table_options(db, &job.table);
    adb_status status = db_snapshots(db, &snapshots, &job.snapshot_count);
    if (status != ADB_OK)
        return status;
    job.snapshots = snapshots;
    status = flush_run(&job, edit, result);
    mem_free(snapshots);
    if (status != ADB_OK)
        return status;
    struct memtable_stats stats;
    memtable_stats(m->table, &stats);
    edit->last_seq = stats.max_seq;
    /* The log segments that only this memtable needed. */
    return db_retire_segments(db, edit, below);
}

/* Flushes the oldest frozen memtable. lock is held on entry and exit. */
static adb_status flush_one_unlocking(adb *db)
{
    struct db_memtable m = db->frozen[0];
    /* The next memtable's first segment: everything below is only ours. */
    uint64_t below = db->frozen_count > 1 ? db->frozen[1].first_segment
                                          : db->active.first_segment;
    struct version_edit edit = {0};
    struct flush_result result = {0};
    struct db_job job;
    uint64_t bytes = memtable_used(m.table), began = clock_now_ns();
    db->flush_began_ns = began;
    db_job_begin_locked(db, &job);
    mutex_unlock(&db->lock);

    adb_status status = build_flush(&job, &m, below, &edit, &result);
    if (status == ADB_OK)
        status = db_job_apply(&job, &edit);
    uint64_t flushed_through = edit.last_seq;
    version_edit_deinit(&edit);
    uint64_t took = clock_now_ns() - began;

    mutex_lock(&db->lock);
    db_job_end_locked(&job, status);
    db->flush_began_ns = 0;
    db->flush_rounds++;
    if (status != ADB_OK)
        return status;
    db_forget_segments_locked(db, below);
    db->flushed_seq = MAX_OF(db->flushed_seq, flushed_through);
    db->frozen_count--;
    memmove(db->frozen, db->frozen + 1,
            db->frozen_count * sizeof db->frozen[0]);
    status = db_view_install_locked(db);
    if (status != ADB_OK)
        /* The old view shows the memtable beside its table: the same
           versions twice, which reads tolerate. The next install mends it. */
        db_log(db, 1, "view not renewed: %s", status_message());
    pressure_flushed(&db->pressure, bytes, took);
    db_count(&db->counters.flushes, 1);
    db_count(&db->counters.flush_bytes, result.bytes_out);
    db_count(&db->counters.flush_ns, took);
    db->flush_error.code = ADB_OK;
    db_update_pressure_locked(db);
    condition_broadcast(&db->changed);
    condition_broadcast(&db->compaction_work);
    mutex_unlock(&db->lock);

    memtable_unref(m.table);
    if (wal_release(db->wal, below) != ADB_OK)
        db_log(db, 1, "log segments not removed: %s", status_message());
    db_remove_obsolete(db);
    db_log(db, 2, "flushed %llu entries, %llu bytes in %llu ms",
           (unsigned long long)result.entries_out,
           (unsigned long long)result.bytes_out,
           (unsigned long long)(took / 1000000));
    mutex_lock(&db->lock);
    return ADB_OK;
}

static uint64_t next_retry(uint64_t delay)
{
    return delay == 0 ? retry_first_ns : MIN_OF(2 * delay, retry_last_ns);
}

/* Between two attempts; shorter when somebody waits for the next. */
static void pause_flushes_unlocking(adb *db, uint64_t delay)
{
    uint64_t began = clock_now_ns();
    db->flush_wanted = false;
    while (!db->closing) {
        uint64_t pause = db->flush_wanted ? retry_first_ns : delay;
        if (clock_now_ns() >= began + pause)
            break;
        condition_wait_until(&db->flush_work, &db->lock, began + pause);
    }
}

static void *flush_thread(void *argument)
{
    adb *db = argument;
    uint64_t delay = 0;
    mutex_lock(&db->lock);
    for (;;) {
        while (!db->closing && (db->frozen_count == 0 || db->hold_flush))
            condition_wait(&db->flush_work, &db->lock);
        if (db->frozen_count == 0 || (db->closing && db->abandoned))
            break;
        adb_status status = flush_one_unlocking(db);
        if (status == ADB_OK) {
            delay = 0;
            continue;
        }
        db_log(db, 0, "flush failed, nothing is lost: %s", status_message());
        if (status == ADB_UNKNOWN_OUTCOME)
            /* Of the edit, that is: a write that waits for room and gets to
               see this did not happen. */
            status = status_context(ADB_IO, "a memtable was not flushed");
        status_save(&db->flush_error, status);
        condition_broadcast(&db->changed);
        if (db->closing)
            break; /* the log still has it */
        delay = next_retry(delay);
        pause_flushes_unlocking(db, delay);
    }
    mutex_unlock(&db->lock);
    return NULL;
}

adb_status db_wait_flush_locked(adb *db, uint64_t deadline_ns)
{
    uint64_t rounds = db->flush_rounds;
    if (db->flush_error.code != ADB_OK) {
        db->flush_wanted = true;
        condition_signal(&db->flush_work);
    }
    while (db->flush_rounds == rounds) {
        if (db->closing)
            return status_set(ADB_CLOSED, "the database is being closed");
        if (!deadline_ns)
            condition_wait(&db->changed, &db->lock);
        else if (!condition_wait_until(&db->changed, &db->lock, deadline_ns))
            return ADB_TIMEOUT;
    }
    return db->flush_error.code == ADB_OK ? ADB_OK
                                          : status_restore(&db->flush_error);
}

adb_status db_wait_flushed(adb *db, uint64_t seq)
{
    adb_status status = ADB_OK;
    mutex_lock(&db->lock);
    while (status == ADB_OK && db->frozen_count > 0 &&
           db->flushed_seq < seq)
        status = db_wait_flush_locked(db, 0);
    mutex_unlock(&db->lock);
    return status;
}

/* ---- compaction -------------------------------------------------------- */

/* Between two attempts. All of it: other threads' failures wake this one, and
   would otherwise make it try again at once, and so on in turns. */
static void pause_merges_unlocking(adb *db, uint64_t delay)
{
    uint64_t until = clock_now_ns() + delay;
    while (!db->closing && clock_now_ns() < until)
        condition_wait_until(&db->compaction_work, &db->lock, until);
}

static void *compaction_thread(void *argument)
{
    adb *db = argument;
    uint64_t delay = 0;
    mutex_lock(&db->lock);
    while (!db->closing) {
        bool did = false;
        adb_status status = ADB_OK;
        bool idle = atomic_load_explicit(&db->idle, memory_order_relaxed);
        bool tidying = atomic_load_explicit(&db->tidying, memory_order_relaxed);
        if (db->compaction_holds == 0)
            status = db_compact_step_unlocking(db, idle || tidying, &did);
        if (tidying && status == ADB_OK && !did && !db->running_compactions)
            atomic_store(&db->tidying, false);
        if (status != ADB_OK && status != ADB_CLOSED) {
            db_log(db, 0, "compaction failed, nothing is lost: %s",
                   status_message());
            status_save(&db->compaction_error, status);
            condition_broadcast(&db->changed);
            delay = next_retry(delay);
            pause_merges_unlocking(db, delay);
            continue;
        }
        delay = 0;
        if (!did && db->compaction_holds == 0 && !db->running_compactions &&
            db->compaction_error.code != ADB_OK) {
            /* What failed is not due any more, nor tried again just now. */
            db->compaction_error.code = ADB_OK;
            condition_broadcast(&db->changed);
        }
        if (!did && !db->closing)
            condition_wait(&db->compaction_work, &db->lock);
    }
    mutex_unlock(&db->lock);
    return NULL;
}

adb_status db_background_start(adb *db)
{
    size_t count = db->options.background_threads;
    db->threads = mem_zalloc(count * sizeof *db->threads);
    if (!db->threads)
        return status_set(ADB_NO_MEMORY, "no memory for threads");
    for (size_t i = 0; i < count; i++) {
        adb_status status = thread_start(
            &db->threads[i], i == 0 ? "adb-flush" : "adb-compact",
            i == 0 ? flush_thread : compaction_thread, db);
        if (status != ADB_OK)
            return status;
        db->thread_count++;
    }
    return ADB_OK;
}

void db_background_stop(adb *db)
{
    atomic_store(&db->cancel_compaction, true);
    mutex_lock(&db->lock);
    db->closing = true;
    condition_broadcast(&db->flush_work);
    condition_broadcast(&db->compaction_work);
    condition_broadcast(&db->changed);
    mutex_unlock(&db->lock);
    for (size_t i = 0; i < db->thread_count; i++)
        thread_join(&db->threads[i]);
    mem_free(db->threads);
    db->threads = NULL;
    db->thread_count = 0;
}

void db_test_hold_flush(adb *db, bool hold)
{
    mutex_lock(&db->lock);
    db->hold_flush = hold;
    condition_broadcast(&db->flush_work);
    mutex_unlock(&db->lock);
}

size_t db_test_frozen_count(adb *db)
{
    mutex_lock(&db->lock);
    size_t count = db->frozen_count;
    mutex_unlock(&db->lock);
    return count;
}
