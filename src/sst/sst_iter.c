/*
 * Iteration over one table: moves, large values, life. See
 * sst_iter_internal.h.
 */
#include "sst/sst_iter_internal.h"

#include <assert.h>

/* ---- the entry ---- */

/* Shows entry it->entry of the view. */
static inline void show(struct sst_iter *it)
{
    struct sst_block_entry e;
    sst_block_entry(&it->view, it->entry, &e);
    size_t prefix = it->view.prefix_size;
    if (unlikely(prefix + e.suffix.size + SST_ITER_COPY_STEP >
                 it->key_capacity) &&
        !sst_iter_grow_key(it, prefix + e.suffix.size + SST_ITER_COPY_STEP))
        return;
    uint8_t *to = it->key + prefix;
    const uint8_t *from = e.suffix.data;
    /* A copy of fixed size needs no call; it may carry bytes of the value
       along, never of what lies behind the block. */
    if (likely(e.suffix.size <= SST_ITER_COPY_STEP &&
               (size_t)(it->view.base + it->view.size - from) >=
                   SST_ITER_COPY_STEP))
        memcpy(to, from, SST_ITER_COPY_STEP);
    else
        memcpy(to, from, e.suffix.size);
    it->base.key = slice_of(it->key, prefix + e.suffix.size);
    it->base.head = it->prefix_head;
    if (likely(it->prefix_shift < 64))
        it->base.head |=
            key_head8(e.suffix.data, e.suffix.size) >> it->prefix_shift;
    else if (unlikely(it->prefix_shift == SST_ITER_WHOLE_KEY))
        it->base.head = key_head_from(it->base.origin, it->base.key.data,
                                      it->base.key.size);
    it->base.kind = e.kind;
    it->base.seq = e.seq;
    it->base.value = e.value;
    it->extent_offset = e.extent_offset;
    it->base.valid = true;
    if (unlikely(it->value != NULL))
        sst_iter_drop_value(it);
}

/* ---- ahead of a walk ---- */

/* Processors foresee an ascending walk, and not beyond a page: going backward
   the bytes in front of the entry are asked for, two steps of a hundred bytes
   ahead. Such addresses may lie outside the block; asking harms nothing. */
static inline void prefetch_before(const uint8_t *entry)
{
    __builtin_prefetch(entry - 320);
    __builtin_prefetch(entry - 384);
}

/* The cached neighbour in the direction of travel will be entered next: its
   view and arrays, and the entries at the end that a backward walk meets. The
   frame is not looked into, so it may be gone by then. */
static void prefetch_neighbour(const struct sst_iter *it, bool backward)
{
    const struct sst_index *index = &it->index->index;
    uint32_t block = backward ? it->block - 1 : it->block + 1;
    if (block >= index->count)
        return;
    struct cache_frame *frame =
        atomic_load_explicit(&it->index->slots[block], memory_order_relaxed);
    if (!frame)
        return;
    block_frame_prefetch(block_frame_of(frame));
    if (!backward || it->reader->map)
        return;
    const uint8_t *end =
        block_frame_of(frame)->raw + index->blocks[block].handle.raw_size;
    for (int line = 1; line <= 6; line++)
        __builtin_prefetch(end - 64 * line);
}

/* ---- moves ---- */

static void iter_next(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    assert(base->valid);
    if (likely(it->entry + 1 < it->view.count)) {
        it->entry++;
        show(it);
        return;
    }
    if (sst_iter_turn_inside(it, false))
        return;
    base->valid = false;
    base->status = ADB_OK; /* of damage that is passed over */
    if (sst_iter_step_block(it, false)) {
        it->entry = 0;
        prefetch_neighbour(it, false);
        show(it);
    }
}

static void iter_prev(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    assert(base->valid);
    if (likely(it->entry > 0)) {
        it->entry--;
        prefetch_before(sst_block_at(&it->view, it->entry));
        show(it);
        return;
    }
    if (sst_iter_turn_inside(it, true))
        return;
    base->valid = false;
    base->status = ADB_OK;
    if (sst_iter_step_block(it, true)) {
        it->entry = it->view.count - 1;
        prefetch_neighbour(it, true);
        show(it);
    }
}

static void begin_seek(struct sst_iter *it)
{
    it->base.valid = false;
    it->base.status = ADB_OK;
    sst_window_jump(&it->window);
}

static void iter_seek_first(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    begin_seek(it);
    if (it->reader->top.count && sst_iter_load_block(it, 0, 0, false)) {
        it->entry = 0;
        show(it);
    }
}

static void iter_seek_last(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    uint32_t parts = it->reader->top.count;
    begin_seek(it);
    if (parts && sst_iter_load_block(it, parts - 1, UINT32_MAX, true)) {
        it->entry = it->view.count - 1;
        show(it);
    }
}

/* May versions of the block's last key stand in the next block? */
static bool block_continues(const struct sst_iter *it)
{
    return it->index->index.blocks[it->block].continues;
}

/* The entries from here on: a few steps mostly follow a seek. */
static inline void prefetch_entries(const struct sst_iter *it)
{
    const uint8_t *p = sst_block_at(&it->view, it->entry);
    for (int line = 0; line < 8; line++)
        __builtin_prefetch(p + 64 * line);
}

static void iter_seek(struct kv_iter *base, adb_slice key, uint64_t seq)
{
    struct sst_iter *it = sst_iter_of(base);
    begin_seek(it);
    if (!sst_iter_find_block(it, key, false)) {
        if (sst_iter_at_damage(it) && slice_compare(base->key, key) <= 0)
            sst_iter_stand_at(it, key, MIN_OF(base->seq, seq), 1);
        return;
    }
    it->entry = sst_block_seek(&it->view, key, seq);
    while (it->entry == it->view.count) {
        bool same_key = block_continues(it);
        if (!sst_iter_step_block(it, false))
            return;
        it->entry = same_key ? sst_block_seek(&it->view, key, seq) : 0;
    }
    prefetch_entries(it);
    show(it);
}

/* The entry before the first one at or after (key, seq). The next block is
   looked at only when versions of the key may begin it. */
static void iter_seek_before(struct kv_iter *base, adb_slice key, uint64_t seq)
{
    struct sst_iter *it = sst_iter_of(base);
    begin_seek(it);
    if (!sst_iter_find_block(it, key, true)) {
        if (base->status == ADB_OK)
            iter_seek_last(base);
        else if (sst_iter_at_damage(it) && slice_compare(base->key, key) > 0)
            sst_iter_stand_at(it, key, 0, -1);
        return;
    }
    it->entry = sst_block_seek(&it->view, key, seq);
    while (it->entry == it->view.count && block_continues(it)) {
        if (!sst_iter_step_block(it, false)) {
            if (base->status == ADB_OK)
                iter_seek_last(base);
            return;
        }
        it->entry = sst_block_seek(&it->view, key, seq);
    }
    if (it->entry > 0)
        it->entry--;
    else if (sst_iter_step_block(it, true))
        it->entry = it->view.count - 1;
    else
        return;
    show(it);
}

/* ---- large values ---- */

void sst_iter_drop_value(struct sst_iter *it)
{
    ledger_add(it->reader->context.ledger, LEDGER_ITERATOR,
               -(int64_t)it->value_size);
    mem_free(it->value);
    it->value = NULL;
    it->value_size = 0;
}

/* Values stand in the order of their keys, whichever way the walk goes. */
static void read_value_ahead(struct sst_iter *it, uint64_t offset, size_t size)
{
    uint64_t begin = it->extent_offset + offset;
    sst_ahead_read(&it->values_ahead, it->reader, begin, begin + size,
                   begin < it->values_ahead.begin);
}

static adb_status iter_read_value(struct kv_iter *base, uint64_t offset,
                                  void *data, size_t size)
{
    struct sst_iter *it = sst_iter_of(base);
    assert(base->valid);
    if (base->value.data) {
        if (offset > base->value.size || size > base->value.size - offset)
            return status_set(ADB_INVALID, "read behind the end of a value");
        memcpy(data, (const uint8_t *)base->value.data + offset, size);
        return ADB_OK;
    }
    read_value_ahead(it, offset, size);
    return sst_load_value(it->reader, it->extent_offset, base->value.size,
                          offset, data, size);
}

static adb_status iter_load(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    assert(base->valid);
    if (base->value.data)
        return ADB_OK;
    if (base->kind == KV_DAMAGED)
        return kv_iter_status(base);
    size_t size = base->value.size;
    uint8_t *value = mem_alloc(MAX_OF(size, (size_t)1));
    if (!value)
        return status_set(ADB_NO_MEMORY, "no memory for a value of %zu bytes",
                          size);
    read_value_ahead(it, 0, size);
    adb_status status =
        sst_load_value(it->reader, it->extent_offset, size, 0, value, size);
    if (status != ADB_OK) {
        mem_free(value);
        return status;
    }
    ledger_add(it->reader->context.ledger, LEDGER_ITERATOR, (int64_t)size);
    it->value = value;
    it->value_size = size;
    base->value.data = value;
    cache_trim(it->reader->context.cache);
    return ADB_OK;
}

/* ---- life ---- */

/* Of the block at hand heads were told by the old one. */
static void iter_set_origin(struct kv_iter *base)
{
    sst_iter_unload_block(sst_iter_of(base));
}

static void iter_rest(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    sst_iter_unpin_all(it);
    if (it->value)
        sst_iter_drop_value(it);
}

static void iter_close(struct kv_iter *base)
{
    struct sst_iter *it = sst_iter_of(base);
    iter_rest(base);
    sst_window_deinit(&it->window, it->reader);
    ledger_add(it->reader->context.ledger, LEDGER_ITERATOR,
               -(int64_t)it->unpacked_charge);
    buffer_deinit(&it->unpacked);
    mem_free(it->key);
    mem_free(base->error);
    sst_reader_unref(it->reader);
    mem_free(it);
}

static const struct kv_iter_ops iter_ops = {
    .seek_first = iter_seek_first,
    .seek_last = iter_seek_last,
    .seek = iter_seek,
    .seek_before = iter_seek_before,
    .prepare = sst_iter_prepare,
    .next = iter_next,
    .prev = iter_prev,
    .load = iter_load,
    .read_value = iter_read_value,
    .set_origin = iter_set_origin,
    .rest = iter_rest,
    .close = iter_close,
};

struct kv_iter *sst_iter_new(struct sst_reader *r, unsigned flags)
{
    struct sst_iter *it = mem_zalloc(sizeof *it);
    if (!it)
        return NULL;
    it->base.ops = &iter_ops;
    it->reader = sst_reader_ref(r);
    it->flags = flags;
    return &it->base;
}

void sst_iter_retarget(struct kv_iter *base, struct sst_reader *r)
{
    struct sst_iter *it = sst_iter_of(base);
    if (it->reader == r)
        return;
    sst_iter_unload_index(it);
    it->prepared = false;
    if (it->value)
        sst_iter_drop_value(it);
    sst_window_forget(&it->window);
    it->ahead = it->values_ahead = (struct sst_ahead){0};
    sst_reader_unref(it->reader);
    it->reader = sst_reader_ref(r);
    base->valid = false;
}
