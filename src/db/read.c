/*
 * The read path: writable memtable, then frozen memtables newest first, then
 * the runs of tables newest first. See docs/read-path.md.
 *
 * A read takes no lock: it enters an epoch, loads the view, then the newest
 * published sequence, in this order - all that is in the view's tables was
 * published before the view was made, so nothing a flush or merge left out is
 * missed. What is handed out is copied or pinned before the epoch ends.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "base/hash.h"

/* What keeps an adb_value: pin_[0] is the database, pin_[1] says what. */
enum pin_kind { PIN_NOTHING, PIN_HEAP, PIN_OVERSIZE, PIN_MEMTABLE, PIN_FRAME,
                PIN_READER };
enum { PIN_MASK = 7 };
/* Keys of a multi-get that are looked up side by side. */
enum { MULTI_GROUP = 64 };
static const char empty_value[1];

struct lookup {
    adb *db;
    const struct db_read *read;
    adb_slice key;
    uint64_t hash;
    uint64_t seq;
    struct db_read_counters *counters;
};

static void *tag(void *pointer, enum pin_kind kind)
{
    return (void *)((uintptr_t)pointer | (uintptr_t)kind);
}

static void pin(const struct lookup *l, const void *data, size_t size,
                void *pointer, enum pin_kind kind)
{
    adb_value *out = l->read->pinned;
    out->data = data;
    out->size = size;
    out->pin_[0] = l->db;
    out->pin_[1] = tag(pointer, kind);
    atomic_fetch_add_explicit(&db_my_shard(l->db)->live_values, 1,
                              memory_order_relaxed);
}

static enum ledger_row heap_row(enum pin_kind kind)
{
    return kind == PIN_OVERSIZE ? LEDGER_OVERSIZE : LEDGER_VALUE;
}

void db_value_release(adb_value *value)
{
    adb *db = value->pin_[0];
    uintptr_t word = (uintptr_t)value->pin_[1];
    void *pointer = (void *)(word & ~(uintptr_t)PIN_MASK);
    enum pin_kind kind = (enum pin_kind)(word & PIN_MASK);
    switch (kind) {
    case PIN_HEAP:
    case PIN_OVERSIZE:
        ledger_add(&db->ledger, heap_row(kind), -(int64_t)value->size);
        mem_free(pointer);
        break;
    case PIN_MEMTABLE:
        memtable_unref(pointer);
        break;
    case PIN_FRAME:
        cache_unpin(pointer);
        break;
    case PIN_READER:
        sst_reader_unref(pointer);
        break;
    case PIN_NOTHING:
        break;
    }
    if (db)
        atomic_fetch_sub_explicit(&db_my_shard(db)->live_values, 1,
                                  memory_order_release);
    *value = (adb_value)ADB_VALUE_INIT;
}

/* Memory of its own for a value, charged; NULL when there is none. */
static void *new_copy(const struct lookup *l, size_t size,
                      enum pin_kind *kind)
{
    void *copy = mem_alloc(size);
    *kind = size > l->db->options.memtable_size ? PIN_OVERSIZE : PIN_HEAP;
    if (copy)
        ledger_add(&l->db->ledger, heap_row(*kind), (int64_t)size);
    else
        status_set(ADB_NO_MEMORY, "no memory for a value of %zu bytes", size);
    return copy;
}

static adb_status give_buffer_too_small(const struct lookup *l, size_t size)
{
    return status_set(ADB_TOO_LARGE,
                      "the value has %zu bytes, the buffer %zu; *value_size "
                      "says what is needed",
                      size, l->read->buffer_size);
}

/* Is the value to be copied to the caller's buffer? Then does it, or tells
   that it does not fit. */
static adb_status give_copy(const struct lookup *l, const void *data,
                            size_t size)
{
    *l->read->value_size = size;
    if (size > l->read->buffer_size)
        return give_buffer_too_small(l, size);
    if (size)
        memcpy(l->read->buffer, data, size);
    return ADB_OK;
}

static adb_status give_memtable(const struct lookup *l, struct memtable *m,
                                const struct memtable_hit *hit)
{
    adb_slice v = hit->value;
    if (hit->kind == KV_DELETE)
        return ADB_NOT_FOUND;
    if (!l->read->pinned)
        return give_copy(l, v.data, v.size);
    if (v.size == 0) {
        pin(l, empty_value, 0, NULL, PIN_NOTHING);
    } else if (hit->in_arena) {
        pin(l, v.data, v.size, memtable_ref(m), PIN_MEMTABLE);
    } else {
        enum pin_kind kind;
        void *copy = new_copy(l, v.size, &kind);
        if (!copy)
            return ADB_NO_MEMORY;
        memcpy(copy, v.data, v.size);
        pin(l, copy, v.size, copy, kind);
    }
    return ADB_OK;
}

/* A large value comes from its extent in the table file. */
static adb_status give_extent(const struct lookup *l, struct sst_reader *r,
                              const struct sst_hit *hit)
{
    size_t size = hit->value.size;
    if (l->read->no_wait) {
        sst_ask_value(r, hit->extent_offset, size);
        return ADB_BUSY;
    }
    if (!l->read->pinned) {
        *l->read->value_size = size;
        if (size > l->read->buffer_size)
            return give_buffer_too_small(l, size);
        return sst_load_value(r, hit->extent_offset, size, 0, l->read->buffer,
                              size);
    }
    enum pin_kind kind;
    void *copy = new_copy(l, size, &kind);
    if (!copy)
        return ADB_NO_MEMORY;
    adb_status status =
        sst_load_value(r, hit->extent_offset, size, 0, copy, size);
    if (status != ADB_OK) {
        ledger_add(&l->db->ledger, heap_row(kind), -(int64_t)size);
        mem_free(copy);
        return status;
    }
    pin(l, copy, size, copy, kind);
    return ADB_OK;
}

static adb_status give_table(const struct lookup *l, struct sst_reader *r,
                             const struct sst_hit *hit)
{
    adb_slice v = hit->value;
    adb_status status = ADB_OK;
    if (hit->kind == KV_DELETE)
        status = ADB_NOT_FOUND;
    else if (!v.data)
        status = give_extent(l, r, hit);
    else if (!l->read->pinned)
        status = give_copy(l, v.data, v.size);
    else if (hit->frame) {
        cache_keep(hit->frame);
        pin(l, v.data, v.size, hit->frame, PIN_FRAME);
        return ADB_OK;
    } else
        pin(l, v.data, v.size, sst_reader_ref(r), PIN_READER);
    cache_done(hit->frame);
    return status;
}

/* ADB_OK: *done tells whether the memtable decided. */
static adb_status look_in_memtable(const struct lookup *l, struct memtable *m,
                                   bool *done)
{
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    *done = memtable_get(m, l->key, l->hash, l->seq,
                         l->read->snapshot != NULL, scratch, &hit);
    if (!*done)
        return ADB_OK;
    bump_read(&l->counters->memtable_hits, 1);
    return give_memtable(l, m, &hit);
}

static adb_status look_in_run(const struct lookup *l,
                              const struct version_run *run, bool *done)
{
    struct sst_reader *reader;
    struct sst_hit hit;
    *done = false;
    struct version_table *table = version_run_find(run, l->key);
    if (!table)
        return ADB_OK;
    adb_status status = version_table_reader(table, &reader);
    unsigned flags = (l->read->no_fill ? SST_NO_FILL : 0) |
                     (l->read->no_wait ? SST_NO_WAIT : 0);
    if (status == ADB_OK)
        status = sst_reader_get(reader, l->key, l->hash, l->seq, flags, &hit);
    if (status == ADB_NOT_FOUND)
        return ADB_OK;
    *done = true;
    return status == ADB_OK ? give_table(l, reader, &hit) : status;
}

static adb_status look(const struct lookup *l, const struct db_view *v)
{
    bool done;
    adb_status status = look_in_memtable(l, v->writable, &done);
    for (size_t i = 0; !done && i < v->frozen_count; i++)
        status = look_in_memtable(l, v->frozen[i], &done);
    size_t runs = 0;
    for (; !done && runs < v->version->run_count; runs++)
        status = look_in_run(l, &v->version->runs[runs], &done);
    if (runs > 1 && status != ADB_BUSY)
        bump_read(&l->counters->extra_runs, runs - 1);
    return done ? status : ADB_NOT_FOUND;
}

adb_status db_get(adb *db, adb_slice key, const struct db_read *r)
{
    struct lookup l = {.db = db, .read = r, .key = key};
    l.hash = hash_key(key.data, key.size);
    struct epoch_slot *slot = epoch_enter(db->epoch);
    l.counters = &db->read_counters[slot - db->epoch->slots];
    const struct db_view *v = atomic_load(&db->view);
    l.seq = r->snapshot ? r->snapshot->seq
                        : atomic_load_explicit(&db->published_seq,
                                               memory_order_acquire);
    adb_status status = look(&l, v);
    if (status != ADB_BUSY)
        bump_read(&l.counters->gets, 1);
    if (status == ADB_OK)
        bump_read(&l.counters->hits, 1);
    epoch_leave(slot);
    return status;
}

/* A multi-get under way. */
struct multi {
    adb *db;
    struct db_read read;
    const adb_slice *keys;
    adb_value *values;
    adb_status *statuses;
    size_t failed; /* the first key that failed; SIZE_MAX: none */
    struct status_saved failure;
};

static void get_one(struct multi *m, size_t i, bool no_wait)
{
    m->read.no_wait = no_wait;
    m->read.pinned = &m->values[i];
    adb_status status = db_get(m->db, m->keys[i], &m->read);
    m->statuses[i] = status;
    if (status != ADB_OK && status != ADB_NOT_FOUND && status != ADB_BUSY &&
        i < m->failed) {
        m->failed = i;
        status_save(&m->failure, status);
    }
}

/* First what is in memory; the rest, which the system then fetches side by
   side, is waited for afterwards. One epoch a key: an epoch must not grow with
   the caller's count. */
static void get_group(struct multi *m, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        m->values[i] = (adb_value)ADB_VALUE_INIT;
        get_one(m, i, true);
    }
    for (size_t i = begin; i < end; i++)
        if (m->statuses[i] == ADB_BUSY)
            get_one(m, i, false);
}

adb_status db_multi_get(adb *db, const struct db_read *r, size_t count,
                        const adb_slice *keys, adb_value *values,
                        adb_status *statuses)
{
    struct adb_snapshot place;
    struct multi m = {.db = db, .read = *r, .keys = keys, .values = values,
                      .statuses = statuses, .failed = SIZE_MAX};
    /* Makes them one state. */
    struct adb_snapshot *registered = db_register(db, r->snapshot, &place);
    m.read.snapshot = registered;
    for (size_t i = 0; i < count; i += MULTI_GROUP)
        get_group(&m, i, i + MIN_OF(count - i, (size_t)MULTI_GROUP));
    db_unregister(db, registered);
    return m.failed == SIZE_MAX ? ADB_OK : status_restore(&m.failure);
}
