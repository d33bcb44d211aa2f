/*
 * The iterator over one run: its tables one after the other, each opened when
 * it is reached. A step inside a table costs one call and a copy of the entry;
 * all versions of a user key stand in one table.
 */
#include <assert.h>

#include "base/alloc.h"
#include "version/version.h"

struct run_iter {
    struct kv_iter base;
    const struct version_run *run; /* of version */
    struct version *version;       /* counted */
    struct kv_iter *iter;  /* owned, from table to table; NULL: none yet */
    struct kv_iter *table; /* iter, when it is on table `index`, or NULL */
    size_t index;          /* of the open table, or that it failed
                              to open */
    struct buffer target;  /* the key it stands at then */
    int inside; /* that key lies between those of the table: coming from
                   smaller keys 1, from larger ones -1 */
    unsigned flags;
    bool prepared; /* the next seek's table is that of `index` */
};

static struct run_iter *run_iter(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct run_iter, base);
}

/* Word by word: the table's iterator has stored these words a moment ago, and
   a load that spans two such stores must wait for both to reach the cache. The
   empty asm keeps the compiler from joining neighbours into one wide load. */
static inline uint64_t word_of(uint64_t v)
{
    __asm__("" : "+r"(v));
    return v;
}

static inline void copy_entry(struct kv_iter *it, const struct kv_iter *from)
{
    it->lasting = from->lasting;
    it->kind = from->kind;
    it->seq = word_of(from->seq);
    it->head = word_of(from->head);
    it->key.data = (const void *)word_of((uintptr_t)from->key.data);
    it->key.size = word_of(from->key.size);
    it->value.data = (const void *)word_of((uintptr_t)from->value.data);
    it->value.size = word_of(from->value.size);
}

static void fail(struct run_iter *r, adb_status status)
{
    kv_iter_fail(&r->base, status);
}

/* Stands at (key, seq), before (or, backward, behind) a table that cannot be
   opened; see kv/iterator.h. The key lives as long as the move that follows. */
static void stand_at(struct run_iter *r, adb_slice key, uint64_t seq,
                     int inside)
{
    r->inside = inside;
    r->base.key = key;
    r->base.head = key_head_from(r->base.origin, key.data, key.size);
    r->base.seq = seq;
    r->base.kind = KV_DAMAGED;
    r->base.value = slice_of(NULL, 0);
    r->base.valid = true;
}

static void stand_at_damage(struct run_iter *r, bool backward)
{
    const struct table_info *info = &r->run->tables[r->index]->info;
    if (r->base.status != ADB_CORRUPTION || !(r->flags & SST_STAND_AT_DAMAGE))
        return;
    if (backward)
        stand_at(r, info->largest, 0, 0);
    else
        stand_at(r, info->smallest, info->max_seq, 0);
}

/* A seek came to such a table, inside its keys: stands at the target, which is
   copied. */
static void stand_at_target(struct run_iter *r, adb_slice key, uint64_t seq,
                            int inside)
{
    buffer_clear(&r->target);
    adb_status status = buffer_append(&r->target, key.data, key.size);
    if (status == ADB_OK)
        stand_at(r, buffer_slice(&r->target), seq, inside);
    else
        fail(r, status);
}

/* A move back into the table that a seek ended in. */
static bool turn_inside(struct run_iter *r, bool backward)
{
    if (r->table || r->inside != (backward ? 1 : -1))
        return false;
    const struct table_info *info = &r->run->tables[r->index]->info;
    stand_at(r, r->base.key, backward ? 0 : info->max_seq, -r->inside);
    return true;
}

/* Makes `table` the iterator over table i, unless it is; false: failed, or at
   damage. */
static bool open_table(struct run_iter *r, size_t i, bool backward)
{
    if (likely(r->table && r->index == i))
        return true;
    r->index = i;
    r->table = NULL;
    struct sst_reader *reader;
    adb_status status = version_table_reader(r->run->tables[i], &reader);
    if (status == ADB_OK && r->iter)
        sst_iter_retarget(r->iter, reader);
    else if (status == ADB_OK && !(r->iter = sst_iter_new(reader, r->flags)))
        status = status_set(ADB_NO_MEMORY, "no memory for an iterator");
    if (status != ADB_OK) {
        fail(r, status);
        stand_at_damage(r, backward);
        return false;
    }
    r->table = r->iter;
    kv_iter_set_origin(r->table, r->base.origin);
    return true;
}

/* Takes over the table's entry. False: the table is at its end. */
static bool take_entry(struct run_iter *r)
{
    if (likely(r->table->valid)) {
        copy_entry(&r->base, r->table);
        r->base.valid = true;
        return true;
    }
    if (r->table->status == ADB_OK)
        return false;
    fail(r, kv_iter_status(r->table));
    return true;
}

static void start(struct run_iter *r)
{
    r->base.valid = false;
    r->base.status = ADB_OK;
}

/* From the first entry of table i on. */
static void forward_from(struct run_iter *r, size_t i)
{
    for (; i < r->run->count; i++) {
        if (!open_table(r, i, false))
            return;
        r->table->ops->seek_first(r->table);
        if (take_entry(r))
            return;
    }
    kv_iter_end(&r->base);
}

/* From the last entry of table count - 1 backward. */
static void backward_from(struct run_iter *r, size_t count)
{
    for (; count > 0; count--) {
        if (!open_table(r, count - 1, true))
            return;
        r->table->ops->seek_last(r->table);
        if (take_entry(r))
            return;
    }
    kv_iter_end(&r->base);
}

static void run_seek_first(struct kv_iter *it)
{
    start(run_iter(it));
    forward_from(run_iter(it), 0);
}

static void run_seek_last(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    start(r);
    backward_from(r, r->run->count);
}

/* The table where a seek begins. */
static size_t find_table(struct run_iter *r, adb_slice key)
{
    if (!r->prepared)
        return version_run_lower(r->run, key);
    r->prepared = false;
    return r->index;
}

static void run_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct run_iter *r = run_iter(it);
    start(r);
    size_t i = find_table(r, key);
    if (i == r->run->count)
        return;
    if (!open_table(r, i, false)) {
        if (r->base.valid && slice_compare(r->base.key, key) <= 0)
            stand_at_target(r, key, MIN_OF(r->base.seq, seq), 1);
        return;
    }
    r->table->ops->seek(r->table, key, seq);
    if (!take_entry(r))
        forward_from(r, i + 1);
}

static void run_seek_before(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct run_iter *r = run_iter(it);
    start(r);
    size_t i = find_table(r, key);
    if (i == r->run->count) {
        backward_from(r, i);
        return;
    }
    if (!open_table(r, i, true)) {
        if (r->base.valid && slice_compare(r->base.key, key) > 0)
            stand_at_target(r, key, 0, -1);
        return;
    }
    r->table->ops->seek_before(r->table, key, seq);
    if (!take_entry(r))
        backward_from(r, i);
}

static void run_prepare(struct kv_iter *it, adb_slice key, bool backward)
{
    struct run_iter *r = run_iter(it);
    size_t i = version_run_lower(r->run, key);
    r->prepared = false;
    /* What fails here fails again in the seek, and is told there. */
    if (i == r->run->count || !open_table(r, i, false))
        return;
    r->table->ops->prepare(r->table, key, backward);
    r->prepared = true;
}

static void run_next(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    assert(it->valid);
    if (likely(r->table != NULL)) {
        r->table->ops->next(r->table);
        if (likely(r->table->valid)) {
            copy_entry(it, r->table);
            return;
        }
        if (take_entry(r))
            return;
    } else if (turn_inside(r, false)) {
        return;
    }
    start(r);
    forward_from(r, r->index + 1);
}

static void run_prev(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    assert(it->valid);
    if (likely(r->table != NULL)) {
        r->table->ops->prev(r->table);
        if (likely(r->table->valid)) {
            copy_entry(it, r->table);
            return;
        }
        if (take_entry(r))
            return;
    } else if (turn_inside(r, true)) {
        return;
    }
    start(r);
    backward_from(r, r->index);
}

static adb_status run_load(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    if (unlikely(!r->table))
        return kv_iter_status(it);
    adb_status status = kv_iter_load(r->table);
    if (status == ADB_OK)
        it->value = r->table->value;
    return status;
}

static adb_status run_read_value(struct kv_iter *it, uint64_t offset,
                                 void *data, size_t size)
{
    struct kv_iter *table = run_iter(it)->table;
    if (table->ops->read_value)
        return table->ops->read_value(table, offset, data, size);
    assert(table->value.data && offset + size <= table->value.size);
    memcpy(data, (const uint8_t *)table->value.data + offset, size);
    return ADB_OK;
}

static void run_set_origin(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    if (r->table)
        kv_iter_set_origin(r->table, it->origin);
}

static void run_rest(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    if (r->iter)
        kv_iter_rest(r->iter);
}

static void run_close(struct kv_iter *it)
{
    struct run_iter *r = run_iter(it);
    kv_iter_close(r->iter);
    version_unref(r->version);
    buffer_deinit(&r->target);
    mem_free(it->error);
    mem_free(r);
}

static const struct kv_iter_ops run_ops = {
    .seek_first = run_seek_first,
    .seek_last = run_seek_last,
    .seek = run_seek,
    .seek_before = run_seek_before,
    .prepare = run_prepare,
    .next = run_next,
    .prev = run_prev,
    .load = run_load,
    .read_value = run_read_value,
    .set_origin = run_set_origin,
    .rest = run_rest,
    .close = run_close,
};

struct kv_iter *version_run_iter(struct version *v, size_t run_index,
                                 unsigned flags)
{
    assert(run_index < v->run_count);
    struct run_iter *r = mem_zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->base.ops = &run_ops;
    r->version = version_ref(v);
    r->run = &v->runs[run_index];
    r->flags = flags;
    return &r->base;
}
