/*
 * The block an iterator stands in: found through the index, pinned in the
 * cache, or read past it through the window, and left.
 */
#include "sst/sst_iter_internal.h"

enum { PAIR_MAX = 16 << 10 }; /* two blocks that are fetched as one */

bool sst_iter_grow_key(struct sst_iter *it, size_t need)
{
    size_t capacity = MAX_OF(need, (size_t)256) * 2;
    uint8_t *key = mem_realloc(it->key, capacity);
    if (!key) {
        kv_iter_fail(&it->base,
                     status_set(ADB_NO_MEMORY, "no memory for a key"));
        return false;
    }
    it->key = key;
    it->key_capacity = capacity;
    return true;
}

/* What the prefix of a block's keys tells of their heads. */
static void begin_heads(struct sst_iter *it, const uint8_t *prefix, size_t size)
{
    const struct key_origin *o = it->base.origin;
    size_t skip = o ? o->size : 0;
    int side = skip ? key_origin_side(o, prefix, size) : 0;
    if (likely(side == 0)) {
        it->prefix_head = key_head8(prefix + skip, size - skip);
        it->prefix_shift = (uint32_t)MIN_OF(8 * (size - skip), (size_t)64);
    } else if (size < skip && memcmp(prefix, o->prefix, size) == 0) {
        it->prefix_head = 0;
        it->prefix_shift = SST_ITER_WHOLE_KEY;
    } else { /* all keys lie on that side */
        it->prefix_head = side < 0 ? 0 : UINT64_MAX;
        it->prefix_shift = 64;
    }
}

/* The block's prefix goes in front of the suffixes to come. */
static bool begin_block(struct sst_iter *it)
{
    size_t size = it->view.prefix_size;
    if (size + SST_ITER_COPY_STEP > it->key_capacity &&
        !sst_iter_grow_key(it, size + SST_ITER_COPY_STEP))
        return false;
    memcpy(it->key, it->view.prefix, size);
    begin_heads(it, it->key, size);
    return true;
}

/* ---- pins ---- */

static void unpin(struct block_frame *frame)
{
    if (frame)
        cache_unpin(&frame->frame);
}

void sst_iter_unload_block(struct sst_iter *it)
{
    if (it->frame) {
        unpin(it->left);
        it->left = it->frame;
    }
    it->frame = NULL;
    it->loaded = false;
}

void sst_iter_unload_index(struct sst_iter *it)
{
    sst_iter_unload_block(it);
    if (it->index)
        cache_unpin(&it->index->frame);
    it->index = NULL;
}

void sst_iter_unpin_all(struct sst_iter *it)
{
    sst_iter_unload_index(it);
    unpin(it->left);
    it->left = NULL;
}

static adb_status pin_index(struct sst_iter *it, uint32_t part)
{
    struct sst_reader *r = it->reader;
    struct index_frame *index;
    adb_status status;
    struct epoch_slot *inside = epoch_enter(r->context.epoch);
    if (it->flags & SST_NO_FILL &&
        !atomic_load_explicit(&r->slots[part].index, memory_order_acquire)) {
        status = sst_load_index(r, part, &index);
        if (status == ADB_OK)
            cache_make_private(r->context.cache, &index->frame);
    } else {
        status = sst_get_index(r, part, 0, &index);
        if (status == ADB_OK)
            cache_pin(&index->frame);
    }
    epoch_leave(inside);
    if (status == ADB_OK) {
        it->index = index;
        it->part = part;
    }
    return status;
}

static bool is_cached(const struct sst_iter *it, uint32_t block)
{
    return atomic_load_explicit(&it->index->slots[block],
                                memory_order_relaxed) != NULL;
}

/* Through the cache; the frame stays pinned. */
static adb_status pin_block(struct sst_iter *it, uint32_t block, bool backward,
                            unsigned flags)
{
    struct sst_reader *r = it->reader;
    const struct sst_handle *h = &it->index->index.blocks[block].handle;
    if (unlikely(!is_cached(it, block)) && !sst_is_mapped(r, h))
        sst_ahead_read(&it->ahead, r, h->offset, h->offset + sst_handle_span(h),
                       backward);
    struct block_frame *frame;
    struct epoch_slot *inside = epoch_enter(r->context.epoch);
    adb_status status =
        sst_get_block(r, it->part, it->index, block, it->flags | flags, &frame);
    if (status == ADB_OK)
        cache_keep(&frame->frame);
    epoch_leave(inside);
    if (status == ADB_OK) {
        it->frame = frame;
        it->view = frame->block;
    }
    return status;
}

/* Past the cache, through the window. */
static adb_status read_block(struct sst_iter *it, uint32_t block, bool backward)
{
    struct sst_reader *r = it->reader;
    const struct sst_handle *h = &it->index->index.blocks[block].handle;
    const uint8_t *stored, *raw;
    adb_status status = sst_window_get(&it->window, r, &it->index->index, block,
                                       backward, &stored);
    if (status == ADB_OK)
        status = sst_unpack(r, h, stored, &it->unpacked, &raw);
    if (status != ADB_OK)
        return status;
    if (it->unpacked.capacity != it->unpacked_charge) {
        ledger_add(r->context.ledger, LEDGER_ITERATOR,
                   (int64_t)it->unpacked.capacity -
                       (int64_t)it->unpacked_charge);
        it->unpacked_charge = it->unpacked.capacity;
    }
    SST_COUNT(r, block_loads, 1);
    status = sst_block_open(&it->view, raw, h->raw_size);
    return status == ADB_OK ? status
                            : sst_place(status, r, "data block", h->offset);
}

/* ---- to another block ---- */

/* With what is shown of it. */
static void leave_block(struct sst_iter *it)
{
    sst_iter_unload_block(it);
    if (it->value)
        sst_iter_drop_value(it);
}

/* it->view is that of it->block. False: the iterator has failed, and has no
   block: its keys would lack their prefix. */
static bool enter_block(struct sst_iter *it)
{
    it->loaded = begin_block(it);
    it->base.lasting = it->frame != NULL;
    return it->loaded;
}

/* Makes the index of `part` the present one. False: the iterator has failed,
   or stands at damage. */
static bool enter_part(struct sst_iter *it, uint32_t part, bool backward)
{
    if (it->index && it->part == part)
        return true;
    sst_iter_unload_index(it);
    adb_status status = pin_index(it, part);
    if (status != ADB_OK)
        sst_iter_fail_at(it, status, part, backward);
    return status == ADB_OK;
}

bool sst_iter_load_block(struct sst_iter *it, uint32_t part, uint32_t block,
                         bool backward)
{
    if (it->loaded && it->part == part && it->block == block)
        return true;
    leave_block(it);
    if (!enter_part(it, part, backward))
        return false;
    it->block = MIN_OF(block, it->index->index.count - 1);
    bool through_cache = !(it->flags & SST_NO_FILL) || it->reader->map ||
                         is_cached(it, it->block);
    adb_status status = through_cache ? pin_block(it, it->block, backward, 0)
                                      : read_block(it, it->block, backward);
    if (status != ADB_OK) {
        sst_iter_fail_at(it, status, part, backward);
        return false;
    }
    return enter_block(it);
}

bool sst_iter_step_block(struct sst_iter *it, bool backward)
{
    uint32_t part = it->part, block = it->block;
    if (!backward) {
        if (it->index && block + 1 < it->index->index.count)
            return sst_iter_load_block(it, part, block + 1, false);
        if (part + 1 < it->reader->top.count)
            return sst_iter_load_block(it, part + 1, 0, false);
    } else {
        if (it->index && block > 0)
            return sst_iter_load_block(it, part, block - 1, true);
        if (part > 0)
            return sst_iter_load_block(it, part - 1, UINT32_MAX, true);
    }
    kv_iter_end(&it->base);
    return false;
}

bool sst_iter_find_block(struct sst_iter *it, adb_slice key, bool backward)
{
    if (it->prepared) {
        it->prepared = false;
        return sst_iter_load_block(it, it->part, it->prepared_block, backward);
    }
    uint32_t part = sst_part_find(it->reader, key);
    if (part == it->reader->top.count)
        return false;
    if (!enter_part(it, part, backward))
        return false;
    /* Separators may lie above the part's last key, never below. */
    return sst_iter_load_block(it, part, sst_index_find(&it->index->index, key),
                               backward);
}

/* ---- ahead of a seek ---- */

/* The block comes from the disk: its neighbour in the direction of travel comes
   along, where that costs little. A few steps mostly follow a seek, and of ten
   with a hundred bytes one in four seeks would wait for the disk again. */
static void fetch_pair(struct sst_iter *it, uint32_t block, bool backward)
{
    const struct sst_index *index = &it->index->index;
    const struct sst_handle *h = &index->blocks[block].handle;
    uint64_t begin = h->offset, end = begin + sst_handle_span(h);
    if (backward && block > 0)
        begin = index->blocks[block - 1].handle.offset;
    if (!backward && block + 1 < index->count) {
        h = &index->blocks[block + 1].handle;
        end = h->offset + sst_handle_span(h);
    }
    if (end - begin <= PAIR_MAX)
        sst_ask(it->reader, begin, end - begin);
}

/* Makes a block that is not cached the present one, if that takes no waiting.
   What fails here fails again in the seek, and is told there. Inside an
   epoch. */
static void load_block_now(struct sst_iter *it, uint32_t block, bool backward)
{
    const struct sst_handle *h = &it->index->index.blocks[block].handle;
    if (it->flags & SST_NO_FILL || sst_is_mapped(it->reader, h) ||
        (it->loaded && it->block == block))
        return;
    leave_block(it);
    it->block = block;
    adb_status status = pin_block(it, block, backward, SST_NO_WAIT);
    if (status == ADB_BUSY)
        fetch_pair(it, block, backward);
    if (status == ADB_OK)
        (void)enter_block(it);
}

/* Goes as far toward key as can be gone without waiting for a file, and has
   the block's first lines fetched. Inside an epoch. */
static void prepare_in(struct sst_iter *it, uint32_t part, adb_slice key,
                       bool backward)
{
    if (!it->index || it->part != part) {
        struct cache_frame *frame =
            cache_lookup(&it->reader->slots[part].index);
        if (!frame)
            return;
        sst_iter_unload_index(it);
        cache_pin(frame);
        it->index = index_frame_of(frame);
        it->part = part;
    }
    const struct sst_index *index = &it->index->index;
    uint32_t block = MIN_OF(sst_index_find(index, key), index->count - 1);
    struct cache_frame *frame =
        atomic_load_explicit(&it->index->slots[block], memory_order_acquire);
    if (frame)
        block_frame_prefetch(block_frame_of(frame));
    else
        load_block_now(it, block, backward);
    it->prepared_block = block;
    it->prepared = true;
}

void sst_iter_prepare(struct kv_iter *base, adb_slice key, bool backward)
{
    struct sst_iter *it = sst_iter_of(base);
    uint32_t part = sst_part_find(it->reader, key);
    it->prepared = false;
    if (part == it->reader->top.count)
        return;
    base->valid = false; /* it may stand in the part that is given up */
    struct epoch_slot *inside = epoch_enter(it->reader->context.epoch);
    prepare_in(it, part, key, backward);
    epoch_leave(inside);
}
