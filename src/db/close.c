/*
 * Closing: background work ends, the log is synced, the manifest records how
 * everything ended, so that later damage cannot pass for a crash.
 */
#include "db/db_internal.h"

static adb_status check_handles(adb *db)
{
    long long values = 0, iterators = 0;
    long long snapshots = atomic_load(&db->live_snapshots);
    for (size_t i = 0; i < DB_SHARDS; i++) {
        values += atomic_load(&db->shards[i].live_values);
        iterators += atomic_load(&db->shards[i].live_iterators);
    }
    if (values + iterators + snapshots == 0)
        return ADB_OK;
    return status_set(ADB_BUSY,
                      "%lld iterators, %lld snapshots and %lld values are "
                      "still held; release them before closing",
                      iterators, snapshots, values);
}

/* Segments made ahead that no record reached leave the manifest before their
   files go. */
static adb_status drop_unused_segments(adb *db)
{
    struct version_edit edit = {0};
    struct version_edit *edits[1] = {&edit};
    uint64_t last = wal_end_position(db->wal).segment;
    adb_status status = ADB_OK;
    if (last < db->first_own_segment)
        last = db->first_own_segment - 1;
    for (size_t i = 0; i < db->segment_count && status == ADB_OK; i++)
        if (db->segments[i] > last)
            status = version_edit_remove_segment(&edit, db->segments[i]);
    if (status == ADB_OK && edit.segments_removed_count)
        status = version_set_apply(db->versions, edits, 1);
    version_edit_deinit(&edit);
    return status;
}

static adb_status close_log_and_manifest(adb *db)
{
    struct wal_end end = {0};
    struct watermark synced = {0};
    adb_status status = drop_unused_segments(db);
    struct status_saved saved;
    status_save(&saved, status);
    adb_status closed = wal_close(db->wal, &end, &synced);
    db->wal = NULL;
    if (status != ADB_OK)
        return status_restore(&saved);
    if (closed != ADB_OK)
        return closed;
    bool live = false;
    for (size_t i = 0; i < db->segment_count; i++)
        live |= db->segments[i] == end.segment;
    return version_set_close_cleanly(db->versions, &end, live ? 1 : 0,
                                     &synced, db->last_seq);
}

adb_status db_close(adb *db)
{
    bool forked = env_fork_generation() != db->fork_generation;
    if (forked) {
        /* The parent's threads and locks do not exist here: the memory goes
           with the process. */
        return ADB_OK;
    }
    adb_status status = check_handles(db);
    if (status != ADB_OK)
        return status;
    struct status_saved saved = {.code = ADB_OK};
    if (db_durability(db) == ADB_DURABILITY_NONE) {
        status = db_flush(db);
        if (status != ADB_OK)
            status_save(&saved, status);
    }
    db_keeper_stop(db);
    db_background_stop(db);
    /* Views that readers held until now still name what merges replaced. */
    epoch_barrier(db->epoch);
    db_remove_obsolete(db);
    status = close_log_and_manifest(db);
    if (status != ADB_OK && saved.code == ADB_OK)
        status_save(&saved, status);
    db_free(db);
    return saved.code == ADB_OK ? ADB_OK : status_restore(&saved);
}

void db_test_abandon(adb *db)
{
    mutex_lock(&db->lock);
    db->abandoned = true;
    mutex_unlock(&db->lock);
    db_keeper_stop(db);
    db_background_stop(db);
    wal_abandon(db->wal);
    db->wal = NULL;
    db_free(db);
}
