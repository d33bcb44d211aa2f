/*
 * Iteration over one table. The position is (part, block, entry); the index of
 * the part and the block are pinned, one of each, and the block's view is
 * copied into the iterator, so that a step within a block touches nothing but
 * the iterator and the entry.
 *
 * Keys stand in blocks without their prefix. The iterator's key buffer holds
 * the block's prefix all the time; a step copies the suffix behind it.
 */
#include "sst/sst_reader_internal.h"
#include "sst/sst_window.h"

#include <assert.h>

enum {
    PAIR_MAX = 16 << 10, /* two blocks that are fetched as one */
    COPY_STEP = 16, /* suffixes are copied by this much where bytes allow */
    KEEP_VALUE = 1 << 20,
    WHOLE_KEY = 65
};

struct sst_iter {
    struct kv_iter base;
    struct sst_block view; /* of the present block, when loaded */
    uint32_t entry;
    uint32_t prefix_shift; /* bits of a head that the prefix covers; 64: all;
                              WHOLE_KEY: the prefix tells nothing of it */
    uint64_t prefix_head;  /* the prefix's bytes of a head */
    uint8_t *key;          /* owned: the prefix, then the last suffix */
    size_t key_capacity;
    uint64_t extent_offset;

    struct sst_reader *reader; /* counted */
    unsigned flags;
    uint32_t part, block;
    bool loaded;               /* view is that of (part, block) */
    bool prepared;             /* the index is that of the part where the next
                                  seek's search begins, at this block: */
    uint32_t prepared_block;
    int inside; /* at damage, between keys of its block: coming from smaller
                   keys 1, from larger ones -1 */
    struct index_frame *index; /* pinned; of `part` */
    struct block_frame *frame; /* pinned; NULL: bytes are the window's */
    struct block_frame *left;  /* pinned: the block before; values last */
    struct sst_ahead ahead, values_ahead;
    struct sst_window window;
    struct buffer unpacked; /* a packed block of the window */
    size_t unpacked_charge;
    uint8_t *value; /* owned: an extent value that was loaded */
    size_t value_size;
};

static struct sst_iter *iter_of(struct kv_iter *base)
{
    return (struct sst_iter *)(void *)base;
}

/* ---- the entry ---- */

static bool grow_key(struct sst_iter *it, size_t need)
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
        it->prefix_shift = WHOLE_KEY;
    } else { /* all keys lie on that side */
        it->prefix_head = side < 0 ? 0 : UINT64_MAX;
        it->prefix_shift = 64;
    }
}

/* The block's prefix goes in front of the suffixes to come. */
static bool begin_block(struct sst_iter *it)
{
    size_t size = it->view.prefix_size;
    if (size + COPY_STEP > it->key_capacity && !grow_key(it, size + COPY_STEP))
        return false;
    memcpy(it->key, it->view.prefix, size);
    begin_heads(it, it->key, size);
    return true;
}

static void drop_value(struct sst_iter *it)
{
    ledger_add(it->reader->context.ledger, LEDGER_ITERATOR,
               -(int64_t)it->value_size);
    mem_free(it->value);
    it->value = NULL;
    it->value_size = 0;
}

/* Shows entry it->entry of the view. */
static inline void show(struct sst_iter *it)
{
    struct sst_block_entry e;
    sst_block_entry(&it->view, it->entry, &e);
    size_t prefix = it->view.prefix_size;
    if (unlikely(prefix + e.suffix.size + COPY_STEP > it->key_capacity) &&
        !grow_key(it, prefix + e.suffix.size + COPY_STEP))
        return;
    uint8_t *to = it->key + prefix;
    const uint8_t *from = e.suffix.data;
    /* A copy of fixed size needs no call; it may carry bytes of the value
       along, never of what lies behind the block. */
    if (likely(e.suffix.size <= COPY_STEP &&
               (size_t)(it->view.base + it->view.size - from) >= COPY_STEP))
        memcpy(to, from, COPY_STEP);
    else
        memcpy(to, from, e.suffix.size);
    it->base.key = slice_of(it->key, prefix + e.suffix.size);
    it->base.head = it->prefix_head;
    if (likely(it->prefix_shift < 64))
        it->base.head |=
            key_head8(e.suffix.data, e.suffix.size) >> it->prefix_shift;
    else if (unlikely(it->prefix_shift == WHOLE_KEY))
        it->base.head = key_head_from(it->base.origin, it->base.key.data,
                                      it->base.key.size);
    it->base.kind = e.kind;
    it->base.seq = e.seq;
    it->base.value = e.value;
    it->extent_offset = e.extent_offset;
    it->base.valid = true;
    if (unlikely(it->value != NULL))
        drop_value(it);
}

/* ---- blocks ---- */

static void unpin(struct block_frame *frame)
{
    if (frame)
        cache_unpin(&frame->frame);
}

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
    struct cache_frame *frame = atomic_load_explicit(&it->index->slots[block],
                                                     memory_order_relaxed);
    if (!frame)
        return;
    block_frame_prefetch(block_frame_of(frame));
    if (!backward || it->reader->map)
        return;
    const uint8_t *end = block_frame_of(frame)->raw +
                         index->blocks[block].handle.raw_size;
    for (int line = 1; line <= 6; line++)
        __builtin_prefetch(end - 64 * line);
}

/* The block stays pinned until another one is left. */
static void unload_block(struct sst_iter *it)
{
    if (it->frame) {
        unpin(it->left);
        it->left = it->frame;
    }
    it->frame = NULL;
    it->loaded = false;
}

static void unload_index(struct sst_iter *it)
{
    unload_block(it);
    if (it->index)
        cache_unpin(&it->index->frame);
    it->index = NULL;
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
        sst_ahead_read(&it->ahead, r, h->offset,
                       h->offset + sst_handle_span(h), backward);
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

/* ---- damage ---- */

/* Stands at (key, seq): nothing unreadable lies before, in the direction of
   travel. */
static void stand_at(struct sst_iter *it, adb_slice key, uint64_t seq,
                     int inside)
{
    it->inside = inside;
    if (key.size > it->key_capacity && !grow_key(it, key.size))
        return;
    if (key.size)
        memmove(it->key, key.data, key.size);
    it->base.key = slice_of(it->key, key.size);
    it->base.head = key_head_from(it->base.origin, it->key, key.size);
    it->base.seq = seq;
    it->base.kind = KV_DAMAGED;
    it->base.value = slice_of(NULL, 0);
    it->base.valid = true;
}

/* The last key that may stand in front of block it->block of `part` (of the
   part, when its index is not at hand); none before the first. *more: its
   versions may go on in the block. */
static bool key_before(const struct sst_iter *it, uint32_t part,
                       adb_slice *prefix, adb_slice *suffix, bool *more)
{
    *suffix = slice_of(NULL, 0);
    if (it->index && it->block > 0) {
        const struct sst_index *index = &it->index->index;
        *prefix = index->prefix;
        *suffix = sst_index_suffix(index, it->block - 1);
        *more = index->blocks[it->block - 1].continues;
        return true;
    }
    if (part == 0)
        return false;
    *prefix = it->reader->top.parts[part - 1].last_key;
    *more = sst_part_continues(it->reader, part - 1);
    return true;
}

/* The first key that the block may hold (backward: the last), into `key`. */
static adb_status damage_bound(const struct sst_iter *it, uint32_t part,
                               bool backward, struct buffer *key)
{
    const struct sst_reader *r = it->reader;
    adb_slice prefix, suffix = slice_of(NULL, 0);
    bool more = true;
    if (backward && it->index) {
        prefix = it->index->index.prefix;
        suffix = sst_index_suffix(&it->index->index, it->block);
    } else if (backward) {
        prefix = r->top.parts[part].last_key;
    } else if (!key_before(it, part, &prefix, &suffix, &more)) {
        prefix = r->properties.info.smallest;
    }
    adb_status status = buffer_append(key, prefix.data, prefix.size);
    if (status == ADB_OK)
        status = buffer_append(key, suffix.data, suffix.size);
    if (status == ADB_OK && !more)
        status = buffer_append(key, "", 1); /* the next key there can be */
    return status;
}

/* The iterator has failed with it->block of `part`, or with the part's index:
   if that is damage it stands there instead. What is newer than the table may
   come before its versions of a key. */
static void stand_at_damage(struct sst_iter *it, uint32_t part, bool backward)
{
    struct buffer key = {0};
    if (it->base.status != ADB_CORRUPTION ||
        !(it->flags & SST_STAND_AT_DAMAGE))
        return;
    it->part = part;
    it->entry = 0;
    it->view.count = 0;
    adb_status status = damage_bound(it, part, backward, &key);
    if (status == ADB_OK)
        stand_at(it, buffer_slice(&key),
                 backward ? 0 : it->reader->properties.info.max_seq, 0);
    else
        kv_iter_fail(&it->base, status);
    buffer_deinit(&key);
}

static bool at_damage(const struct sst_iter *it)
{
    return it->base.valid && it->base.kind == KV_DAMAGED;
}

/* A move back into the damage that a seek ended in. */
static bool turn_inside(struct sst_iter *it, bool backward)
{
    if (!at_damage(it) || it->inside != (backward ? 1 : -1))
        return false;
    stand_at(it, it->base.key,
             backward ? 0 : it->reader->properties.info.max_seq,
             -it->inside);
    return true;
}

/* With what is shown of it. */
static void leave_block(struct sst_iter *it)
{
    unload_block(it);
    if (it->value)
        drop_value(it);
}

/* it->view is that of it->block. False: the iterator has failed, and has no
   block: its keys would lack their prefix. */
static bool enter_block(struct sst_iter *it)
{
    it->loaded = begin_block(it);
    it->base.lasting = it->frame != NULL;
    return it->loaded;
}

/* Makes (part, block) the present block. False: the iterator has failed, or
   stands at damage. */
static bool load_block(struct sst_iter *it, uint32_t part, uint32_t block,
                       bool backward)
{
    if (it->loaded && it->part == part && it->block == block)
        return true;
    leave_block(it);
    adb_status status = ADB_OK;
    if (!it->index || it->part != part) {
        unload_index(it);
        status = pin_index(it, part);
    }
    if (status == ADB_OK) {
        block = MIN_OF(block, it->index->index.count - 1);
        it->block = block;
        if (!(it->flags & SST_NO_FILL) || it->reader->map ||
            is_cached(it, block))
            status = pin_block(it, block, backward, 0);
        else
            status = read_block(it, block, backward);
    }
    if (status != ADB_OK) {
        kv_iter_fail(&it->base, status);
        stand_at_damage(it, part, backward);
        return false;
    }
    return enter_block(it);
}

/* To the neighbouring block; from a part whose index is damaged to the next
   part. False: the end, failed, or at damage. */
static bool step_block(struct sst_iter *it, bool backward)
{
    uint32_t part = it->part, block = it->block;
    if (!backward) {
        if (it->index && block + 1 < it->index->index.count)
            return load_block(it, part, block + 1, false);
        if (part + 1 < it->reader->top.count)
            return load_block(it, part + 1, 0, false);
    } else {
        if (it->index && block > 0)
            return load_block(it, part, block - 1, true);
        if (part > 0)
            return load_block(it, part - 1, UINT32_MAX, true);
    }
    kv_iter_end(&it->base);
    return false;
}

/* ---- moves ---- */

static void iter_next(struct kv_iter *base)
{
    struct sst_iter *it = iter_of(base);
    assert(base->valid);
    if (likely(it->entry + 1 < it->view.count)) {
        it->entry++;
        show(it);
        return;
    }
    if (turn_inside(it, false))
        return;
    base->valid = false;
    base->status = ADB_OK; /* of damage that is passed over */
    if (step_block(it, false)) {
        it->entry = 0;
        prefetch_neighbour(it, false);
        show(it);
    }
}

static void iter_prev(struct kv_iter *base)
{
    struct sst_iter *it = iter_of(base);
    assert(base->valid);
    if (likely(it->entry > 0)) {
        it->entry--;
        prefetch_before(sst_block_at(&it->view, it->entry));
        show(it);
        return;
    }
    if (turn_inside(it, true))
        return;
    base->valid = false;
    base->status = ADB_OK;
    if (step_block(it, true)) {
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
    struct sst_iter *it = iter_of(base);
    begin_seek(it);
    if (it->reader->top.count && load_block(it, 0, 0, false)) {
        it->entry = 0;
        show(it);
    }
}

static void iter_seek_last(struct kv_iter *base)
{
    struct sst_iter *it = iter_of(base);
    uint32_t parts = it->reader->top.count;
    begin_seek(it);
    if (parts && load_block(it, parts - 1, UINT32_MAX, true)) {
        it->entry = it->view.count - 1;
        show(it);
    }
}

/* Loads the block where the search for key begins: the first that may hold
   it or a later one. False: none, or failed. */
static bool find_block(struct sst_iter *it, adb_slice key, bool backward)
{
    if (it->prepared) {
        it->prepared = false;
        return load_block(it, it->part, it->prepared_block, backward);
    }
    uint32_t part = sst_part_find(it->reader, key);
    if (part == it->reader->top.count)
        return false;
    if (!it->index || it->part != part) {
        unload_index(it);
        adb_status status = pin_index(it, part);
        if (status != ADB_OK) {
            kv_iter_fail(&it->base, status);
            stand_at_damage(it, part, backward);
            return false;
        }
    }
    /* Separators may lie above the part's last key, never below. */
    return load_block(it, part, sst_index_find(&it->index->index, key),
                      backward);
}

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
        unload_index(it);
        cache_pin(frame);
        it->index = index_frame_of(frame);
        it->part = part;
    }
    const struct sst_index *index = &it->index->index;
    uint32_t block = MIN_OF(sst_index_find(index, key), index->count - 1);
    struct cache_frame *frame = atomic_load_explicit(&it->index->slots[block],
                                                     memory_order_acquire);
    if (frame)
        block_frame_prefetch(block_frame_of(frame));
    else
        load_block_now(it, block, backward);
    it->prepared_block = block;
    it->prepared = true;
}

static void iter_prepare(struct kv_iter *base, adb_slice key, bool backward)
{
    struct sst_iter *it = iter_of(base);
    uint32_t part = sst_part_find(it->reader, key);
    it->prepared = false;
    if (part == it->reader->top.count)
        return;
    base->valid = false; /* it may stand in the part that is given up */
    struct epoch_slot *inside = epoch_enter(it->reader->context.epoch);
    prepare_in(it, part, key, backward);
    epoch_leave(inside);
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
    struct sst_iter *it = iter_of(base);
    begin_seek(it);
    if (!find_block(it, key, false)) {
        if (at_damage(it) && slice_compare(base->key, key) <= 0)
            stand_at(it, key, MIN_OF(base->seq, seq), 1);
        return;
    }
    it->entry = sst_block_seek(&it->view, key, seq);
    while (it->entry == it->view.count) {
        bool same_key = block_continues(it);
        if (!step_block(it, false))
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
    struct sst_iter *it = iter_of(base);
    begin_seek(it);
    if (!find_block(it, key, true)) {
        if (base->status == ADB_OK)
            iter_seek_last(base);
        else if (at_damage(it) && slice_compare(base->key, key) > 0)
            stand_at(it, key, 0, -1);
        return;
    }
    it->entry = sst_block_seek(&it->view, key, seq);
    while (it->entry == it->view.count && block_continues(it)) {
        if (!step_block(it, false)) {
            if (base->status == ADB_OK)
                iter_seek_last(base);
            return;
        }
        it->entry = sst_block_seek(&it->view, key, seq);
    }
    if (it->entry > 0)
        it->entry--;
    else if (step_block(it, true))
        it->entry = it->view.count - 1;
    else
        return;
    show(it);
}

/* ---- large values ---- */

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
    struct sst_iter *it = iter_of(base);
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
    struct sst_iter *it = iter_of(base);
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
    unload_block(iter_of(base));
}

static void iter_rest(struct kv_iter *base)
{
    struct sst_iter *it = iter_of(base);
    unload_index(it);
    unpin(it->left);
    it->left = NULL;
    if (it->value)
        drop_value(it);
}

static void iter_close(struct kv_iter *base)
{
    struct sst_iter *it = iter_of(base);
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
    .prepare = iter_prepare,
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
    struct sst_iter *it = iter_of(base);
    if (it->reader == r)
        return;
    unload_index(it);
    it->prepared = false;
    if (it->value)
        drop_value(it);
    sst_window_forget(&it->window);
    it->ahead = it->values_ahead = (struct sst_ahead){0};
    sst_reader_unref(it->reader);
    it->reader = sst_reader_ref(r);
    base->valid = false;
}
