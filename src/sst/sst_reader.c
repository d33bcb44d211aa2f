/*
 * Point lookups. Of a key in a cached table:
 *
 *   heads of the parts (resident) -> part
 *     slot -> filter line              one line; says no to absent keys
 *     slot -> index: heads, separators -> block
 *       slot -> view, heads, offset, entry
 *
 * Each arrow may be a miss of the processor's caches, so what can be known
 * early is prefetched: the filter's line while nothing else is known, a
 * block's first lines as soon as its slot is read.
 */
#include "sst/sst_reader_internal.h"

#include <assert.h>

/* ---- finding ---- */

uint32_t sst_part_find(const struct sst_reader *r, adb_slice key)
{
    uint64_t head = key_head8(key.data, key.size);
    const uint64_t *heads = r->part_heads;
    uint32_t low = 0, left = r->top.count;
    while (left) {
        uint32_t half = left / 2;
        bool after = heads[low + half] < head;
        if (unlikely(heads[low + half] == head))
            after = slice_compare(r->top.parts[low + half].last_key, key) < 0;
        low = after ? low + half + 1 : low;
        left = after ? left - half - 1 : half;
    }
    return low;
}

/* ---- through the cache ---- */

/* Of what is not in the cache and shall not be waited for. */
static adb_status fetch(struct sst_reader *r, const struct sst_handle *h)
{
    sst_ask(r, h->offset, sst_handle_span(h));
    return ADB_BUSY;
}

adb_status sst_get_index(struct sst_reader *r, uint32_t part, unsigned flags,
                         struct index_frame **out)
{
    cache_slot *slot = &r->slots[part].index;
    struct cache_frame *frame = cache_lookup(slot);
    if (unlikely(!frame)) {
        struct index_frame *fresh;
        if (flags & SST_NO_WAIT)
            return fetch(r, &r->top.parts[part].index);
        adb_status status = sst_load_index(r, part, &fresh);
        if (status != ADB_OK)
            return status;
        frame = cache_insert(r->context.cache, slot, &fresh->frame);
    }
    *out = index_frame_of(frame);
    return ADB_OK;
}

adb_status sst_get_block(struct sst_reader *r, uint32_t part,
                         struct index_frame *index, uint32_t block,
                         unsigned flags, struct block_frame **out)
{
    cache_slot *slot = &index->slots[block];
    struct cache_frame *frame =
        atomic_load_explicit(slot, memory_order_acquire);
    if (likely(frame != NULL)) {
        block_frame_prefetch(block_frame_of(frame));
        if (atomic_load_explicit(&frame->used, memory_order_relaxed) == 0)
            atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
        *out = block_frame_of(frame);
        return ADB_OK;
    }
    struct block_frame *fresh;
    adb_status status = sst_load_block(r, part, index, block, flags, &fresh);
    if (status != ADB_OK)
        return status;
    if (flags & SST_NO_FILL) {
        cache_make_private(r->context.cache, &fresh->frame);
        *out = fresh;
    } else {
        *out =
            block_frame_of(cache_offer(r->context.cache, slot, &fresh->frame));
    }
    return ADB_OK;
}

/* NULL, with ADB_OK: it is damaged, do without. */
static adb_status get_filter(struct sst_reader *r, uint32_t part,
                             unsigned flags, struct filter_frame **out)
{
    struct part_slots *slots = &r->slots[part];
    cache_slot *slot = &slots->filter;
    struct cache_frame *frame = cache_lookup(slot);
    *out = NULL;
    if (unlikely(!frame)) {
        struct filter_frame *fresh;
        if (atomic_load_explicit(&slots->no_filter, memory_order_relaxed))
            return ADB_OK;
        if (flags & SST_NO_WAIT)
            return fetch(r, &r->top.parts[part].filter);
        adb_status status = sst_load_filter(r, part, &fresh);
        if (status == ADB_CORRUPTION) {
            atomic_store_explicit(&slots->no_filter, true,
                                  memory_order_relaxed);
            SST_COUNT(r, filters_damaged, 1);
            return ADB_OK;
        }
        if (status != ADB_OK)
            return status;
        frame = cache_insert(r->context.cache, slot, &fresh->frame);
    }
    *out = (struct filter_frame *)(void *)frame;
    return ADB_OK;
}

/* ---- lookups ---- */

static void count_answer(struct sst_reader *r, bool maybe)
{
    if (maybe)
        SST_COUNT(r, filter_positives, 1);
    else
        SST_COUNT(r, filter_negatives, 1);
}

/* The part has a filter. Does not count. */
static adb_status part_may_contain(struct sst_reader *r, uint32_t part,
                                   uint64_t hash, unsigned flags, bool *maybe)
{
    struct filter_frame *f;
    adb_status status = get_filter(r, part, flags, &f);
    if (unlikely(status != ADB_OK))
        return status;
    *maybe = !f || sst_filter_may_contain(&f->filter, hash);
    return ADB_OK;
}

adb_status sst_reader_may_contain(struct sst_reader *r, adb_slice key,
                                  uint64_t hash, bool *maybe)
{
    uint32_t part = sst_part_find(r, key);
    *maybe = part < r->top.count;
    if (!*maybe || !r->top.parts[part].filter.size)
        return ADB_OK;
    adb_status status = part_may_contain(r, part, hash, 0, maybe);
    if (status == ADB_OK)
        count_answer(r, *maybe);
    return status;
}

static void take_hit(const struct sst_reader *r, struct block_frame *b,
                     const struct sst_block_entry *e, struct sst_hit *hit)
{
    /* One comparison: what runs must not depend on where memory lies. */
    bool mapped = r->map && (uintptr_t)b->block.base -
                                    (uintptr_t)r->map->base <
                                r->map->size;
    *hit = (struct sst_hit){
        .kind = e->kind,
        .seq = e->seq,
        .value = e->value,
        .frame = mapped ? NULL : &b->frame,
        .extent_offset = e->extent_offset,
    };
    /* The hit does not mention this frame, so nobody else would give it
       back; the bytes are the mapping's. */
    if (mapped)
        cache_done(&b->frame);
}

/* One block. *further: the key's versions may go on in the next one. */
static adb_status get_in_block(struct sst_reader *r, uint32_t part,
                               struct index_frame *index, uint32_t block,
                               adb_slice key, uint64_t read_seq, unsigned flags,
                               struct sst_hit *hit, bool *further)
{
    struct block_frame *b;
    struct sst_block_entry e;
    bool ran_off = false;
    adb_status status = sst_get_block(r, part, index, block, flags, &b);
    if (unlikely(status != ADB_OK))
        return status;
    status = sst_block_get(&b->block, key, read_seq, &e, &ran_off);
    if (status == ADB_OK) {
        take_hit(r, b, &e, hit);
        return ADB_OK;
    }
    *further = status == ADB_NOT_FOUND && ran_off &&
               index->index.blocks[block].continues;
    cache_done(&b->frame);
    return status;
}

/* From the part on where the key belongs. */
static adb_status get_from_part(struct sst_reader *r, uint32_t part,
                                adb_slice key, uint64_t read_seq,
                                unsigned flags, struct sst_hit *hit)
{
    struct index_frame *index;
    adb_status status = sst_get_index(r, part, flags, &index);
    if (unlikely(status != ADB_OK))
        return status;
    uint32_t block = sst_index_find(&index->index, key);
    if (unlikely(block == index->index.count))
        return ADB_NOT_FOUND;
    for (;;) {
        bool further = false;
        status = get_in_block(r, part, index, block, key, read_seq, flags, hit,
                              &further);
        if (likely(!further))
            return status;
        if (++block < index->index.count)
            continue;
        if (!sst_part_continues(r, part))
            return ADB_NOT_FOUND;
        status = sst_get_index(r, ++part, flags, &index);
        if (status != ADB_OK)
            return status;
        block = 0;
    }
}

adb_status sst_reader_get(struct sst_reader *r, adb_slice key, uint64_t hash,
                          uint64_t read_seq, unsigned flags,
                          struct sst_hit *hit)
{
    uint32_t part = sst_part_find(r, key);
    if (unlikely(part == r->top.count))
        return ADB_NOT_FOUND;
    bool filtered =
        !(flags & SST_SKIP_FILTER) && r->top.parts[part].filter.size;
    if (filtered) {
        bool maybe;
        adb_status status = part_may_contain(r, part, hash, flags, &maybe);
        if (unlikely(status != ADB_OK))
            return status;
        if (!maybe) {
            count_answer(r, false);
            return ADB_NOT_FOUND;
        }
    }
    adb_status status = get_from_part(r, part, key, read_seq, flags, hit);
    if (filtered && status != ADB_BUSY) /* the caller will ask again */
        count_answer(r, true);
    if (status == ADB_NOT_FOUND && filtered)
        SST_COUNT(r, filter_false, 1);
    return status;
}

/* ---- estimates ---- */

static uint64_t offset_in_part(struct sst_reader *r, uint32_t part,
                               adb_slice key)
{
    uint64_t offset = r->top.parts[part].first_offset;
    struct epoch_slot *inside = epoch_enter(r->context.epoch);
    struct index_frame *index;
    /* An estimate: a part that cannot be read counts from its beginning. */
    if (sst_get_index(r, part, 0, &index) == ADB_OK) {
        uint32_t block = sst_index_find(&index->index, key);
        block = MIN_OF(block, index->index.count - 1);
        offset = index->index.blocks[block].handle.offset;
    }
    epoch_leave(inside);
    return offset;
}

uint64_t sst_reader_offset_of(struct sst_reader *r, adb_slice key)
{
    uint32_t part = sst_part_find(r, key);
    return part < r->top.count ? offset_in_part(r, part, key) : r->data_end;
}

/* The separator behind block `ordinal` of the table, as a fresh slice. */
static adb_status separator_of(struct sst_reader *r, uint64_t ordinal,
                               adb_slice *out)
{
    uint32_t part = 0;
    while (ordinal >= r->top.parts[part].blocks)
        ordinal -= r->top.parts[part++].blocks;
    struct epoch_slot *inside = epoch_enter(r->context.epoch);
    struct index_frame *frame;
    adb_status status = sst_get_index(r, part, 0, &frame);
    if (status == ADB_OK) {
        const struct sst_index *index = &frame->index;
        adb_slice suffix = sst_index_suffix(index, (uint32_t)ordinal);
        size_t size = index->prefix.size + suffix.size;
        uint8_t *key = mem_alloc(size + 1);
        if (key) {
            if (index->prefix.size)
                memcpy(key, index->prefix.data, index->prefix.size);
            if (suffix.size)
                memcpy(key + index->prefix.size, suffix.data, suffix.size);
            *out = slice_of(key, size);
        } else {
            status = status_set(ADB_NO_MEMORY, "no memory for a key");
        }
    }
    epoch_leave(inside);
    return status;
}

adb_status sst_reader_split_keys(struct sst_reader *r, size_t pieces,
                                 adb_slice *keys, size_t *count)
{
    size_t n = 0;
    uint64_t previous = 0;
    pieces = (size_t)MIN_OF((uint64_t)pieces, r->blocks);
    for (size_t i = 1; i < pieces; i++) {
        uint64_t cut = r->blocks / pieces * i + r->blocks % pieces * i / pieces;
        if (cut <= previous)
            continue;
        previous = cut;
        adb_status status = separator_of(r, cut - 1, &keys[n]);
        if (status != ADB_OK) {
            while (n)
                mem_free((void *)(uintptr_t)keys[--n].data);
            return status;
        }
        /* One key's versions over several blocks give the same cut twice. */
        if (n && slice_compare(keys[n - 1], keys[n]) >= 0)
            mem_free((void *)(uintptr_t)keys[n].data);
        else
            n++;
    }
    *count = n;
    return ADB_OK;
}

/* ---- counting ---- */

void sst_counters_sum(struct sst_counters *c, struct sst_read_stats *out)
{
    *out = (struct sst_read_stats){0};
    for (int i = 0; c && i < SST_COUNTER_SHARDS; i++) {
        struct sst_counter_shard *s = &c->shards[i];
        out->filter_negatives += atomic_load(&s->filter_negatives);
        out->filter_positives += atomic_load(&s->filter_positives);
        out->filter_false += atomic_load(&s->filter_false);
        out->block_loads += atomic_load(&s->block_loads);
        out->index_loads += atomic_load(&s->index_loads);
        out->filter_loads += atomic_load(&s->filter_loads);
        out->loaded_bytes += atomic_load(&s->loaded_bytes);
        out->filters_damaged += atomic_load(&s->filters_damaged);
    }
}

void sst_reader_stats(const struct sst_reader *r, struct sst_read_stats *out)
{
    sst_counters_sum(r->context.counters, out);
}
