/*
 * Snapshots and everything that reads like one: a registered sequence number
 * below which versions are kept. Registering happens under the write lock, so
 * that no writer is between choosing what to overwrite and publishing.
 */
#include "db/db_internal.h"

#include "base/alloc.h"

adb_status db_register(adb *db, const adb_snapshot *of, adb_snapshot **out)
{
    if (of) {
        struct adb_snapshot *shared =
            (struct adb_snapshot *)(uintptr_t)(const void *)of;
        mutex_lock(&db->write_lock);
        shared->refs++;
        mutex_unlock(&db->write_lock);
        *out = shared;
        return ADB_OK;
    }
    struct adb_snapshot *s = mem_alloc(sizeof *s);
    if (!s)
        return status_set(ADB_NO_MEMORY, "no memory for a snapshot");
    s->refs = 1;
    s->newer = NULL;
    mutex_lock(&db->write_lock);
    /* Sequences only grow: the newest snapshot is the last of the list. */
    s->seq = atomic_load_explicit(&db->published_seq, memory_order_relaxed);
    s->older = db->newest_snapshot;
    if (s->older)
        s->older->newer = s;
    else
        db->oldest_snapshot = s;
    db->newest_snapshot = s;
    mutex_unlock(&db->write_lock);
    *out = s;
    return ADB_OK;
}

void db_unregister(adb *db, adb_snapshot *s)
{
    if (!s)
        return;
    mutex_lock(&db->write_lock);
    bool last = --s->refs == 0;
    if (last) {
        if (s->newer)
            s->newer->older = s->older;
        else
            db->newest_snapshot = s->older;
        if (s->older)
            s->older->newer = s->newer;
        else
            db->oldest_snapshot = s->newer;
    }
    mutex_unlock(&db->write_lock);
    if (last)
        mem_free(s);
}

adb_status db_snapshots(adb *db, uint64_t **seqs, size_t *count)
{
    adb_status status = ADB_OK;
    uint64_t *list = NULL;
    size_t n = 0;
    mutex_lock(&db->write_lock);
    for (struct adb_snapshot *s = db->oldest_snapshot; s; s = s->newer)
        n++;
    if (n) {
        list = mem_alloc(n * sizeof *list);
        if (!list)
            status = status_set(ADB_NO_MEMORY, "no memory for %zu snapshots",
                                n);
    }
    if (list) {
        n = 0;
        for (struct adb_snapshot *s = db->oldest_snapshot; s; s = s->newer)
            if (n == 0 || list[n - 1] != s->seq)
                list[n++] = s->seq;
    }
    mutex_unlock(&db->write_lock);
    if (status == ADB_OK) {
        *seqs = list;
        *count = n;
    }
    return status;
}

adb_status db_snapshot_new(adb *db, adb_snapshot **out)
{
    adb_status status = db_register(db, NULL, out);
    if (status == ADB_OK)
        atomic_fetch_add(&db->live_snapshots, 1);
    return status;
}

void db_snapshot_release(adb *db, adb_snapshot *snapshot)
{
    db_unregister(db, snapshot);
    atomic_fetch_sub(&db->live_snapshots, 1);
}
