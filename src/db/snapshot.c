/*
 * Snapshots and everything that reads like one: a registered sequence number
 * below which versions are kept. Registering happens under the write lock, so
 * that no writer is between choosing what to overwrite and publishing.
 */
#include "db/db_internal.h"

#include "base/alloc.h"

static void link_newest_locked(adb *db, struct adb_snapshot *s)
{
    /* Sequences only grow: the newest snapshot is the last of the list. */
    s->seq = atomic_load_explicit(&db->published_seq, memory_order_relaxed);
    s->newer = NULL;
    s->older = db->newest_snapshot;
    if (s->older)
        s->older->newer = s;
    else
        db->oldest_snapshot = s;
    db->newest_snapshot = s;
}

static void unlink_locked(adb *db, struct adb_snapshot *s)
{
    if (s->newer)
        s->newer->older = s->older;
    else
        db->newest_snapshot = s->older;
    if (s->older)
        s->older->newer = s->newer;
    else
        db->oldest_snapshot = s->newer;
}

struct adb_snapshot *db_register(adb *db, const adb_snapshot *of,
                                 struct adb_snapshot *place)
{
    struct adb_snapshot *s =
        of ? (struct adb_snapshot *)(uintptr_t)(const void *)of : place;
    mutex_lock(&db->write_lock);
    if (of) {
        s->refs++;
    } else {
        s->refs = 1;
        s->on_heap = false;
        link_newest_locked(db, s);
    }
    mutex_unlock(&db->write_lock);
    return s;
}

void db_unregister(adb *db, struct adb_snapshot *s)
{
    if (!s)
        return;
    mutex_lock(&db->write_lock);
    bool last = --s->refs == 0;
    if (last)
        unlink_locked(db, s);
    mutex_unlock(&db->write_lock);
    if (last && s->on_heap)
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
    struct adb_snapshot *s = mem_alloc(sizeof *s);
    if (!s)
        return status_set(ADB_NO_MEMORY, "no memory for a snapshot");
    *out = db_register(db, NULL, s);
    s->on_heap = true;
    atomic_fetch_add(&db->live_snapshots, 1);
    return ADB_OK;
}

void db_snapshot_release(adb *db, adb_snapshot *snapshot)
{
    db_unregister(db, snapshot);
    atomic_fetch_sub(&db->live_snapshots, 1);
}
