/*
 * Recovery of the log into the memtable. See docs/recovery.md.
 *
 * What a clean close left fits the memtable as a rule: then it stays there, and
 * the old segments live on until that memtable is flushed. Where it does not
 * fit (the memtable was made smaller, or a write was larger than it), all of it
 * is flushed to tables and the segments go.
 *
 * So it is after a crash that left records of which nobody knows whether they
 * are on stable storage. Syncing them would not do: where a sync failed before,
 * the system may have marked the pages clean without writing them, and a second
 * sync succeeds for nothing (Rebello et al., ATC 2020). New files are written.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "db/inserter.h"

static uint64_t new_file(void *context)
{
    adb *db = context;
    return version_set_new_file(db->versions);
}

/* Writes the memtable to tables while the log is still being replayed. */
static adb_status flush_recovered(struct db_recovery *r)
{
    adb *db = r->db;
    struct flush_result result;
    struct flush_job job = {
        .env = db->env,
        .directory = db->path,
        .max_table_bytes = 4 * db->options.table_size,
        .memtables = &db->active.table,
        .memtable_count = 1,
        .place = {.level = 0, .run = version_set_new_run(db->versions)},
        .first_seq = r->first_seq,
        .new_file = new_file,
        .context = db,
    };
    db_fill_table_options(db, &job.table);
    r->flushed = true;
    return flush_run(&job, &r->edit, &result);
}

static adb_status next_memtable(struct db_recovery *r, size_t arena_bytes)
{
    adb *db = r->db;
    struct memtable *fresh;
    adb_status status = ADB_OK;
    if (!memtable_empty(db->active.table))
        status = flush_recovered(r);
    if (status == ADB_OK)
        status = memtable_new(db->pool, arena_bytes, &fresh);
    if (status != ADB_OK)
        return status;
    memtable_unref(db->active.table);
    db->active.table = fresh;
    db->active.oversize = arena_bytes != 0;
    return ADB_OK;
}

static adb_status make_recovery_room(struct db_recovery *r, uint64_t key_bytes,
                                     uint64_t value_bytes)
{
    adb *db = r->db;
    size_t worst = inserter_pending(r->inserter, key_bytes, value_bytes);
    if (likely(memtable_has_room(db->active.table, worst)))
        return ADB_OK;
    /* What waits may take less than its worst case. */
    adb_status status = inserter_drain(r->inserter);
    worst = memtable_worst_case(1, key_bytes, value_bytes);
    if (status != ADB_OK || memtable_has_room(db->active.table, worst))
        return status;
    return next_memtable(r, worst > db->memtable_capacity ? worst : 0);
}

/* A batch may be split over memtables here: all of it is read before anybody
   can look, and the tables become part of the database in one edit. */
static adb_status replay(void *context, uint64_t segment, uint64_t offset,
                         uint64_t seq, uint32_t count, adb_slice payload)
{
    struct db_recovery *r = context;
    const uint8_t *p = payload.data, *end = p + payload.size;
    (void)segment;
    (void)offset;
    adb_status status = ADB_OK;
    if (!r->first_seq)
        r->first_seq = seq;
    for (uint32_t i = 0; i < count && status == ADB_OK; i++) {
        struct memtable_write w = {.seq = seq + i, .in_place = true};
        status = kv_operation_decode(&p, end, &w.kind, &w.key, &w.value);
        if (status == ADB_OK)
            status = make_recovery_room(r, w.key.size, w.value.size);
        if (status != ADB_OK)
            break;
        w.hash = hash_key(w.key.data, w.key.size);
        status = inserter_add(r->inserter, r->db->active.table, &w);
        r->last_seq = w.seq;
    }
    return status;
}

/* All that is whole of the log, into the memtable. */
static adb_status replay_log(struct db_recovery *r, struct wal_recovery *in,
                             struct wal_recovered *found)
{
    unsigned workers = (unsigned)MIN_OF(r->db->options.background_threads,
                                        (uint64_t)INSERTER_WORKERS);
    r->inserter = inserter_new(workers);
    if (!r->inserter)
        return ADB_NO_MEMORY;
    in->replay = replay;
    in->context = r;
    adb_status status = wal_recover(in, found);
    if (status == ADB_OK)
        status = inserter_drain(r->inserter);
    inserter_free(r->inserter);
    r->inserter = NULL;
    return status;
}

/* What the new manifest says of the recovered segments. */
static adb_status describe_segments(struct db_recovery *r,
                                    const struct version_set_state *state,
                                    const struct wal_recovered *found)
{
    adb *db = r->db;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < state->segment_count && status == ADB_OK; i++) {
        uint64_t number = state->segments[i];
        if (r->flushed || found->ends[i].segment == 0) {
            status = version_edit_remove_segment(&r->edit, number);
            continue;
        }
        status = version_edit_end_segment(&r->edit, &found->ends[i]);
        if (status == ADB_OK)
            status = db_remember_segment_locked(db, number);
        if (status == ADB_OK && !db->active.first_segment)
            db->active.first_segment = number;
    }
    r->edit.last_seq = r->flushed ? r->last_seq : 0;
    r->edit.synced_through = found->synced_through;
    return status;
}

adb_status db_recover_log(struct db_recovery *r,
                          const struct version_set_state *state,
                          struct wal_recovered *found)
{
    adb *db = r->db;
    struct wal_recovery in = {
        .env = db->env,
        .directory = db->path,
        .segments = state->segments,
        .segment_count = state->segment_count,
        .ends = state->segment_ends,
        .synced_through = state->synced_through,
        .closed_cleanly = state->closed_cleanly,
        .check_only = true, /* what is not synced is written anew */
        .database = state->database,
    };
    adb_status status = replay_log(r, &in, found);
    if (status != ADB_OK)
        return status;
    /* Part of the log is in tables now or cannot stay: let it all be, so that
       the log can go. (A segment may hold a header and no write.) */
    if (r->flushed || db->active.oversize || found->unsynced)
        status = next_memtable(r, 0);
    r->flushed |= found->unsynced;
    if (status == ADB_OK)
        status = describe_segments(r, state, found);
    db->recovered_records = found->records;
    db->recovered_bytes = found->bytes;
    db->recovery_cut = found->cut;
    if (found->cut)
        db_log(db, 1,
               "the log was cut at segment %llu offset %llu: unsynced writes "
               "after it were lost with the power",
               (unsigned long long)found->last.segment,
               (unsigned long long)found->last.length);
    return status;
}
