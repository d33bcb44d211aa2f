/*
 * Group commit: one leader syncs for all that wait.
 *
 * Who finds no leader becomes one: it syncs, from oldest to youngest, every
 * unsynced segment up to its own, each with whatever had been appended when its
 * turn came. Who arrives meanwhile waits; then most find their record synced,
 * and the first that does not leads the next round for all of them.
 */
#include <assert.h>

#include "wal/wal_internal.h"

#define WAL_DROP_LEAST (UINT64_C(128) << 10)

static uint64_t segment_end(const struct wal_segment *s)
{
    return atomic_load_explicit(&s->end, memory_order_acquire);
}

/* The oldest segment that stands between `at` and stable storage. */
static struct wal_segment *unsynced_locked(const struct wal *w,
                                           struct wal_position at)
{
    for (struct wal_segment *s = w->oldest; s && s->number <= at.segment;
         s = s->next) {
        uint64_t wanted =
            s->number == at.segment ? at.offset : segment_end(s);
        if (!s->released && s->synced < wanted)
            return s;
    }
    return NULL;
}

static void note_synced_locked(struct wal *w, struct wal_segment *s,
                               uint64_t end, uint64_t next_seq)
{
    s->synced = MAX_OF(s->synced, end);
    struct watermark now = {s->number, end, next_seq ? next_seq - 1 : 0};
    if (!watermark_after(&now, &w->synced_through))
        return;
    w->synced_through = now;
    atomic_fetch_add_explicit(&w->synced_generation, 1, memory_order_relaxed);
}

static void note_time_locked(struct wal *w, uint64_t ns)
{
    w->stats.syncs++;
    w->stats.sync_ns += ns;
    w->stats.sync_max_ns = MAX_OF(w->stats.sync_max_ns, ns);
}

/* Pages that the writer has left behind leave the map before they are written:
   each page that is still mapped when the kernel cleans it costs an interrupt
   on every processor that runs us, the writer's included. A few pages are not
   worth the call. */
static void drop_behind(struct wal_segment *s, uint64_t end)
{
    uint64_t until = end & ~(WAL_BLOCK - 1);
    if (!s->map || until < s->dropped + WAL_DROP_LEAST)
        return;
    env_map_drop(s->map, s->dropped, until - s->dropped);
    s->dropped = until;
}

/* One fdatasync of s, with the lock dropped meanwhile. */
static adb_status sync_segment_unlocking(struct wal *w, struct wal_segment *s)
{
    /* seq first: it then belongs to a record below that end. */
    uint64_t next_seq = atomic_load_explicit(&s->seq, memory_order_acquire);
    uint64_t end = segment_end(s);
    s->users++;
    mutex_unlock(&w->lock);

    uint64_t start = clock_now_ns();
    drop_behind(s, end);
    adb_status status = env_file_sync(s->file);
    uint64_t ns = clock_now_ns() - start;
    if (status != ADB_OK)
        wal_fail(w, s, status);

    mutex_lock(&w->lock);
    s->users--;
    note_time_locked(w, ns);
    if (status == ADB_OK)
        note_synced_locked(w, s, end, next_seq);
    return status;
}

static void lead_unlocking(struct wal *w, struct wal_position at)
{
    w->syncing = true;
    uint64_t group = w->waiting + 1;
    w->stats.largest_group = MAX_OF(w->stats.largest_group, group);
    struct wal_segment *s;
    while ((s = unsynced_locked(w, at)) && !s->failed)
        if (sync_segment_unlocking(w, s) != ADB_OK)
            break;
    w->syncing = false;
    condition_broadcast(&w->changed);
}

adb_status wal_sync(struct wal *w, struct wal_position at)
{
    adb_status status = ADB_OK;
    mutex_lock(&w->lock);
    for (;;) {
        struct wal_segment *s = unsynced_locked(w, at);
        if (!s)
            break;
        if (s->failed) {
            status = status_restore(&w->failure);
            break;
        }
        if (w->syncing) {
            w->waiting++;
            condition_wait(&w->changed, &w->lock);
            w->waiting--;
        } else {
            lead_unlocking(w, at);
        }
    }
    mutex_unlock(&w->lock);
    return status;
}
