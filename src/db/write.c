/*
 * The write path:
 *
 *   pace -> [write_lock: room, log record, memtable, publish] -> sync
 *
 * One writer pays for no queue: the section under the lock is a memory copy to
 * the log and an insert. Back-pressure is paid before the lock, durability
 * after it, so that neither holds up others. See docs/write-path.md.
 */
#include "db/db_internal.h"

#include "base/hash.h"

/* The log of one memtable may grow to this many times the memtable: a hot key
   replaces its node again and again and fills the log faster than the tree. */
enum { LOG_FACTOR = 4 };

/* So close to its end a segment counts as full. */
enum { SEGMENT_END = 4096 };

static const uint64_t pace_burst_ns = 1000000;     /* unpaid before a sleep */
static const uint64_t pace_renewed_ns = 1000000;   /* and worked out anew */
static const uint64_t pace_sleep_max_ns = 30000000;

/* What a write needs, worked out before the lock. */
struct plan {
    const struct db_write *write;
    uint32_t count;
    uint64_t hash; /* of a single operation's key */
    size_t worst_case;
    uint64_t bytes; /* of keys and values */
    bool logged;
    enum adb_durability durability;
};

enum adb_durability db_durability(const adb *db)
{
    return (enum adb_durability)db->options.durability;
}

static void plan_write(const adb *db, const struct db_write *w, struct plan *p)
{
    uint64_t key_bytes, value_bytes;
    p->write = w;
    if (w->batch) {
        p->count = w->batch->count;
        p->hash = 0;
        key_bytes = w->batch->key_bytes;
        value_bytes = w->batch->value_bytes;
    } else {
        p->count = 1;
        p->hash = hash_key(w->key.data, w->key.size);
        key_bytes = w->key.size;
        value_bytes = w->value.size;
    }
    p->bytes = key_bytes + value_bytes;
    p->worst_case = memtable_worst_case(p->count, key_bytes, value_bytes);
    p->logged = db_durability(db) != ADB_DURABILITY_NONE;
    p->durability = MAX_OF(w->durability, db_durability(db));
}

static void count_wait(adb *db, uint64_t ns)
{
    db_count(&db->counters.write_waits, 1);
    db_count(&db->counters.write_wait_ns, ns);
    uint64_t longest = atomic_load_explicit(&db->counters.write_wait_max_ns,
                                            memory_order_relaxed);
    while (ns > longest && !atomic_compare_exchange_weak(
                               &db->counters.write_wait_max_ns, &longest, ns))
        ;
}

static adb_status timed_out(adb *db)
{
    mutex_lock(&db->lock);
    const char *cause = db->pressure.cause;
    mutex_unlock(&db->lock);
    return status_set(ADB_TIMEOUT, "the write's deadline passed: %s",
                      cause && cause[0] ? cause
                                        : "memtables wait for their flush");
}

/* What the writable memtable takes yet, itself or its log. write_lock is
   held. */
static uint64_t writable_room(const adb *db)
{
    uint64_t size = db->options.memtable_size;
    uint64_t used = MAX_OF(memtable_used(db->active.table),
                           db->active.log_bytes / LOG_FACTOR);
    return size - MIN_OF(used, size);
}

/* While writers pay, what they owe changes: a flush may take longer than the
   last ones. */
static void renew_pace(adb *db, uint64_t now)
{
    uint64_t due = atomic_load_explicit(&db->pace_due, memory_order_relaxed);
    if (now < due || !atomic_compare_exchange_strong(&db->pace_due, &due,
                                                     now + pace_renewed_ns))
        return;
    mutex_lock(&db->write_lock);
    mutex_lock(&db->lock);
    db->writable_room = writable_room(db);
    db_update_pressure_locked(db);
    mutex_unlock(&db->lock);
    mutex_unlock(&db->write_lock);
}

/* Pays for back-pressure: all writers share one schedule that advances with
   the bytes they write; who finds it ahead of the clock sleeps. */
static adb_status pace(adb *db, const struct plan *p)
{
    uint64_t per_kib =
        atomic_load_explicit(&db->pace_ns_per_kib, memory_order_relaxed);
    if (likely(per_kib == 0))
        return ADB_OK;
    uint64_t now = clock_now_ns();
    renew_pace(db, now);
    uint64_t until = atomic_load(&db->paced_until), next;
    do {
        uint64_t from = until + pace_burst_ns < now ? now - pace_burst_ns
                                                    : until;
        next = from + (p->bytes + 32) * per_kib / 1024;
        /* A huge batch is not the next writers' debt. */
        next = MIN_OF(next, now + pace_sleep_max_ns);
    } while (!atomic_compare_exchange_weak(&db->paced_until, &until, next));
    if (next <= now)
        return ADB_OK;
    if (p->write->deadline_ns && next > p->write->deadline_ns)
        return timed_out(db);
    clock_sleep_ns(next - now);
    count_wait(db, next - now);
    return ADB_OK;
}

/* Waits for a change in the frozen queue without holding up other writers.
   Both locks are held on entry; write_lock alone on exit. */
static adb_status wait_for_flush_unlocking(adb *db, uint64_t deadline_ns)
{
    uint64_t began = clock_now_ns();
    mutex_unlock(&db->write_lock);
    adb_status status = db_wait_flush_locked(db, deadline_ns);
    mutex_unlock(&db->lock);
    count_wait(db, clock_now_ns() - began);
    if (status == ADB_TIMEOUT)
        status = timed_out(db);
    mutex_lock(&db->write_lock);
    return status;
}

/* May the writable memtable join the queue now? A large one waits alone: it is
   as large as the value somebody wrote. */
static bool queue_has_room_locked(adb *db, bool oversize)
{
    if ((oversize || db->active.oversize) && db->frozen_count > 0)
        return false;
    return memtable_empty(db->active.table) ||
           db->frozen_count + 1 < db->options.max_memtables;
}

static adb_status install_memtable_locked(adb *db, struct memtable *fresh,
                                          bool oversize)
{
    struct db_memtable old = db->active;
    bool keep = !memtable_empty(old.table);
    if (keep)
        db->frozen[db->frozen_count++] = old;
    db->active = (struct db_memtable){.table = fresh, .oversize = oversize};
    if (!keep) {
        db->active.first_segment = old.first_segment;
        db->active.log_bytes = old.log_bytes;
    }
    adb_status status = db_view_install_locked(db);
    if (status != ADB_OK) {
        db->active = old;
        if (keep)
            db->frozen_count--;
        memtable_unref(fresh);
        return status;
    }
    /* The log goes on in a new segment, so that the old ones belong to the
       frozen memtable alone. An empty memtable keeps what it has. */
    if (keep)
        db->active.first_segment = wal_rotate(db->wal);
    else
        memtable_unref(old.table);
    db->writable_room = writable_room(db);
    db_update_pressure_locked(db);
    if (keep)
        condition_signal(&db->flush_work);
    return ADB_OK;
}

adb_status db_switch_memtable_unlocking(adb *db, size_t arena_bytes,
                                        uint64_t deadline_ns)
{
    bool oversize = arena_bytes != 0;
    mutex_lock(&db->lock);
    if (!queue_has_room_locked(db, oversize))
        return wait_for_flush_unlocking(db, deadline_ns);
    mutex_unlock(&db->lock);
    if (oversize && db->active.oversize && !memtable_empty(db->active.table)) {
        /* The old large one leaves first; the caller comes back. */
        arena_bytes = 0;
        oversize = false;
    }
    struct memtable *fresh;
    adb_status status = memtable_new(db->pool, arena_bytes, &fresh);
    if (status != ADB_OK)
        return status;
    /* Still under write_lock: nobody else switched meanwhile, and flushes only
       shorten the queue. */
    mutex_lock(&db->lock);
    status = install_memtable_locked(db, fresh, oversize);
    mutex_unlock(&db->lock);
    /* The cache makes room for the new memtable. That takes long where it is
       full, and this writer need not wait: what a pooled memtable is charged
       with, it takes little by little. */
    if (status == ADB_OK && oversize)
        cache_trim(db->cache);
    else if (status == ADB_OK)
        db_keeper_wake(db);
    return status;
}

/* What stands in the segments below is in tables, or did not happen. The
   manifest hears that they are gone before they are: one that is missing would
   else pass for damage. */
static adb_status abandon_segments(adb *db, uint64_t below)
{
    struct version_edit edit = {0};
    struct version_edit *edits[1] = {&edit};
    adb_status status = db_retire_segments(db, &edit, below);
    if (status == ADB_OK && edit.segments_removed_count)
        status = version_set_apply(db->versions, edits, 1);
    version_edit_deinit(&edit);
    /* Unknown is what the manifest says, not what becomes of the write that
       waits for this: that one does not happen. */
    if (status != ADB_OK)
        return status_context(status == ADB_UNKNOWN_OUTCOME ? ADB_IO : status,
                              "the log cannot go on");
    mutex_lock(&db->lock);
    db_forget_segments_locked(db, below);
    mutex_unlock(&db->lock);
    if (wal_release(db->wal, below) != ADB_OK)
        db_log(db, 1, "log segments not removed: %s", status_message());
    return ADB_OK;
}

/* After a failed write or sync of the log, what that segment holds is unknown.
   Its memtable is flushed to new files before anything is logged again, so
   that what survives stays a prefix of history. */
static adb_status heal_log_unlocking(adb *db, uint64_t deadline_ns)
{
    if (!db->log_broken) {
        db_log(db, 1, "log failed (%s); flushing what it held",
               status_message());
        db->log_broken = true;
    }
    if (!memtable_empty(db->active.table)) {
        adb_status status = db_switch_memtable_unlocking(db, 0, deadline_ns);
        if (status != ADB_OK || !memtable_empty(db->active.table))
            return status;
    }
    mutex_lock(&db->lock);
    if (db->frozen_count > 0)
        return wait_for_flush_unlocking(db, deadline_ns);
    if (wal_failure(db->wal) != ADB_OK)
        db->active.first_segment = wal_rotate(db->wal);
    uint64_t below = db->active.first_segment;
    mutex_unlock(&db->lock);
    /* At once: a failed segment that is not released fails every sync behind
       it. */
    adb_status status = abandon_segments(db, below);
    if (status == ADB_OK)
        db->log_broken = false;
    return status;
}

/* The log begins a new segment for this write, and would soon again for the
   next memtable, sooner than one can be made. But nobody waits for a flush
   beside a memtable that is not full. */
static bool may_share_rotation(adb *db, const struct plan *p)
{
    if (likely(!p->logged || wal_room(db->wal) >= p->bytes + SEGMENT_END ||
               memtable_used(db->active.table) <=
                   db->options.memtable_size / 4 * 3))
        return false;
    mutex_lock(&db->lock);
    bool room = queue_has_room_locked(db, false);
    mutex_unlock(&db->lock);
    return room;
}

static bool fits(adb *db, const struct plan *p)
{
    return memtable_has_room(db->active.table, p->worst_case) &&
           db->active.log_bytes < LOG_FACTOR * db->options.memtable_size &&
           !may_share_rotation(db, p);
}

/* Leaves the writable memtable with room for the write. */
static adb_status make_room_unlocking(adb *db, const struct plan *p)
{
    for (;;) {
        adb_status status;
        uint64_t deadline = p->write->deadline_ns;
        if (p->logged &&
            (db->log_broken || wal_failure(db->wal) != ADB_OK)) {
            status = heal_log_unlocking(db, deadline);
        } else if (likely(fits(db, p))) {
            return ADB_OK;
        } else {
            bool oversize = p->worst_case > db->memtable_capacity;
            status = db_switch_memtable_unlocking(
                db, oversize ? p->worst_case : 0, deadline);
        }
        if (status != ADB_OK)
            return status;
    }
}

static adb_status log_write(adb *db, const struct plan *p, uint64_t seq,
                            struct wal_position *at)
{
    const struct db_write *w = p->write;
    uint64_t bytes = 0;
    adb_status status;
    if (w->batch) {
        adb_slice payload = buffer_slice(&w->batch->bytes);
        status = wal_append(db->wal, seq, p->count, &payload, 1, at, &bytes);
    } else {
        uint8_t head[1 + VARINT_MAX], middle[VARINT_MAX];
        head[0] = (uint8_t)w->kind;
        uint8_t *head_end = put_varint(head + 1, w->key.size);
        adb_slice pieces[4] = {slice_of(head, (size_t)(head_end - head)),
                               w->key};
        size_t count = 2;
        if (w->kind == KV_PUT) {
            uint8_t *end = put_varint(middle, w->value.size);
            pieces[count++] = slice_of(middle, (size_t)(end - middle));
            pieces[count++] = w->value;
        }
        status = wal_append(db->wal, seq, 1, pieces, count, at, &bytes);
    }
    db->active.log_bytes += bytes;
    return status;
}

static adb_status insert_batch(adb *db, const struct kv_batch *batch,
                               uint64_t seq, uint64_t keep_seq)
{
    const uint8_t *p = batch->bytes.data;
    const uint8_t *end = p + batch->bytes.size;
    adb_status status = ADB_OK;
    for (uint32_t i = 0; i < batch->count && status == ADB_OK; i++) {
        struct memtable_write m = {.seq = seq + i, .keep_seq = keep_seq};
        status = kv_operation_decode(&p, end, &m.kind, &m.key, &m.value);
        if (status != ADB_OK)
            break;
        m.hash = hash_key(m.key.data, m.key.size);
        status = memtable_put(db->active.table, &m);
    }
    return status;
}

static adb_status insert(adb *db, const struct plan *p, uint64_t seq,
                         uint64_t keep_seq)
{
    const struct db_write *w = p->write;
    if (w->batch)
        return insert_batch(db, w->batch, seq, keep_seq);
    struct memtable_write m = {
        .key = w->key,
        .hash = p->hash,
        .seq = seq,
        .kind = w->kind,
        .value = w->value,
        .keep_seq = keep_seq,
        .in_place = true,
    };
    return memtable_put(db->active.table, &m);
}

/* The writer's own counters need no locked instruction: write_lock is held. */
static void bump(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

static void count_write(adb *db, const struct plan *p)
{
    if (p->write->batch) {
        bump(&db->counters.batches, 1);
        bump(&db->counters.puts, p->count);
    } else {
        bump(p->write->kind == KV_PUT ? &db->counters.puts
                                      : &db->counters.deletes, 1);
    }
    bump(&db->counters.write_bytes, p->bytes);
}

/* Log, insert, publish: the part of a write that is one at a time. */
static adb_status commit_locked(adb *db, const struct plan *p,
                                struct wal_position *at)
{
    uint64_t seq = db->last_seq + 1;
    if (unlikely(seq + p->count > KV_MAX_SEQ))
        return status_set(ADB_TOO_LARGE, "sequence numbers are used up");
    if (p->logged) {
        adb_status status = log_write(db, p, seq, at);
        if (status != ADB_OK)
            return status;
    } else {
        db->active.unlogged = true;
    }
    db->last_seq = seq + p->count - 1;
    adb_status status = insert(db, p, seq, db_choose_locked(db));
    if (likely(status == ADB_OK))
        atomic_store_explicit(&db->published_seq, db->last_seq,
                              memory_order_release);
    registry_chosen(&db->registry);
    if (unlikely(status != ADB_OK))
        return status_context(status, "a logged write could not be applied; "
                              "close and open the database");
    count_write(db, p);
    return ADB_OK;
}

adb_status db_write(adb *db, const struct db_write *w)
{
    struct plan p;
    struct wal_position at = {0};
    plan_write(db, w, &p);
    if (p.count == 0)
        return ADB_OK;
    adb_status status = pace(db, &p);
    if (status != ADB_OK)
        return status;
    mutex_lock(&db->write_lock);
    status = make_room_unlocking(db, &p);
    if (status == ADB_OK)
        status = commit_locked(db, &p, &at);
    mutex_unlock(&db->write_lock);
    if (status != ADB_OK)
        return status;
    if (p.logged && wal_wants_prepare(db->wal))
        db_keeper_wake(db);
    if (p.durability == ADB_DURABILITY_SYNC && p.logged) {
        status = wal_sync(db->wal, at);
        if (status != ADB_OK)
            return status_context(ADB_UNKNOWN_OUTCOME,
                                  "the write may or may not survive");
    } else if (p.durability != ADB_DURABILITY_NONE && !p.logged) {
        /* A database without a log: history before this write can only be
           made durable by flushing it. */
        status = db_flush(db);
        if (status != ADB_OK)
            return status_context(ADB_UNKNOWN_OUTCOME,
                                  "the write may or may not survive");
    }
    return ADB_OK;
}

adb_status db_sync(adb *db)
{
    if (db_durability(db) == ADB_DURABILITY_NONE)
        return db_flush(db);
    return wal_sync(db->wal, wal_end_position(db->wal));
}
