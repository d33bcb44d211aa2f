/*
 * Snapshots and everything that reads like one: a registered sequence number
 * below which versions are kept. Users' snapshots are in a list, under the
 * write lock, so that no writer is between choosing what to overwrite and
 * publishing. Iterators, which come and go by the million, are in the registry
 * (registry.h), which no lock guards, or else, when that has no place for them,
 * in the list.
 */
#include "db/db_internal.h"

#include <stdlib.h>

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

static void register_in_list(adb *db, struct adb_snapshot *s)
{
    s->slot = NULL;
    mutex_lock(&db->write_lock);
    link_newest_locked(db, s);
    /* For the next iterator. */
    if (!s->on_heap)
        registry_open(&db->registry);
    mutex_unlock(&db->write_lock);
}

struct adb_snapshot *db_register(adb *db, const adb_snapshot *of,
                                 struct adb_snapshot *place)
{
    if (of) {
        struct adb_snapshot *s =
            (struct adb_snapshot *)(uintptr_t)(const void *)of;
        atomic_fetch_add(&s->refs, 1);
        return s;
    }
    atomic_init(&place->refs, 1);
    place->on_heap = false;
    place->slot = registry_enter(&db->registry, &db->published_seq,
                                 &place->seq);
    if (!place->slot)
        register_in_list(db, place);
    return place;
}

void db_unregister(adb *db, struct adb_snapshot *s)
{
    if (!s)
        return;
    if (s->slot) {
        registry_leave(s->slot);
        return;
    }
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    mutex_lock(&db->write_lock);
    unlink_locked(db, s);
    mutex_unlock(&db->write_lock);
    if (s->on_heap)
        mem_free(s);
}

uint64_t db_choose_locked(adb *db)
{
    uint64_t listed = db->newest_snapshot ? db->newest_snapshot->seq : 0;
    uint64_t registered = registry_choose(&db->registry);
    return MAX_OF(listed, registered);
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* What is registered, the same more than once included. */
static adb_status gather_locked(adb *db, uint64_t **seqs, size_t *count)
{
    size_t n = 0;
    for (struct adb_snapshot *s = db->oldest_snapshot; s; s = s->newer)
        n++;
    *seqs = mem_alloc((n + REGISTRY_SLOTS) * sizeof **seqs);
    if (!*seqs)
        return status_set(ADB_NO_MEMORY, "no memory for %zu snapshots", n);
    registry_choose(&db->registry);
    *count = registry_list(&db->registry, *seqs);
    registry_chosen(&db->registry);
    for (struct adb_snapshot *s = db->oldest_snapshot; s; s = s->newer)
        (*seqs)[(*count)++] = s->seq;
    return ADB_OK;
}

adb_status db_snapshots(adb *db, uint64_t **seqs, size_t *count)
{
    uint64_t *list = NULL;
    size_t n = 0;
    mutex_lock(&db->write_lock);
    adb_status status = gather_locked(db, &list, &n);
    mutex_unlock(&db->write_lock);
    if (status != ADB_OK)
        return status;
    qsort(list, n, sizeof *list, compare_seqs);
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++)
        if (distinct == 0 || list[distinct - 1] != list[i])
            list[distinct++] = list[i];
    *seqs = list;
    *count = distinct;
    return ADB_OK;
}

adb_status db_snapshot_new(adb *db, adb_snapshot **out)
{
    struct adb_snapshot *s = mem_alloc(sizeof *s);
    if (!s)
        return status_set(ADB_NO_MEMORY, "no memory for a snapshot");
    atomic_init(&s->refs, 1);
    s->on_heap = true;
    register_in_list(db, s);
    *out = s;
    atomic_fetch_add(&db->live_snapshots, 1);
    return ADB_OK;
}

void db_snapshot_release(adb *db, adb_snapshot *snapshot)
{
    db_unregister(db, snapshot);
    atomic_fetch_sub(&db->live_snapshots, 1);
}
