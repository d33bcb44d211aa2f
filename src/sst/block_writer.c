/* The layout stands in block_writer.h. */
#include "sst/block_writer.h"

#include <assert.h>

#include "base/alloc.h"
#include "sst/block_reader.h"
#include "sst/format.h"

struct sst_block_slot {
    size_t position; /* of the key in bytes, its stored value right behind */
    uint64_t seq;
    uint64_t value_size; /* as the user sees it */
    uint32_t key_size;
    uint8_t form;
};

void sst_block_writer_deinit(struct sst_block_writer *w)
{
    buffer_deinit(&w->bytes);
    mem_free(w->slots);
    *w = (struct sst_block_writer){.count = 0};
}

void sst_block_writer_clear(struct sst_block_writer *w)
{
    buffer_clear(&w->bytes);
    w->count = 0;
}

size_t sst_block_writer_slots_size(const struct sst_block_writer *w)
{
    return w->capacity * sizeof *w->slots;
}

static adb_status grow_slots(struct sst_block_writer *w)
{
    uint32_t capacity = w->capacity ? w->capacity * 2 : 64;
    struct sst_block_slot *slots =
        mem_realloc(w->slots, capacity * sizeof *slots);
    if (!slots)
        return status_set(ADB_NO_MEMORY, "no memory for a data block");
    w->slots = slots;
    w->capacity = capacity;
    return ADB_OK;
}

static void count_entry(struct sst_block_writer *w, uint64_t seq, uint8_t form)
{
    if (w->count++ == 0) {
        w->min_seq = w->max_seq = seq;
        w->any_form = w->all_forms = form;
        w->first_key_size = w->last_key_size;
        return;
    }
    w->min_seq = MIN_OF(w->min_seq, seq);
    w->max_seq = MAX_OF(w->max_seq, seq);
    w->any_form |= form;
    w->all_forms &= form;
}

adb_status sst_block_writer_add(struct sst_block_writer *w,
                                const struct kv_entry *entry,
                                uint64_t extent_offset)
{
    bool extent = !entry->value.data && extent_offset;
    uint8_t reference[8];
    put_u64(reference, extent_offset);
    adb_slice stored =
        extent ? slice_of(reference, sizeof reference) : entry->value;
    assert(extent || entry->value.data || !entry->value.size);
    assert(entry->seq <= KV_MAX_SEQ);

    if (w->count == w->capacity) {
        adb_status status = grow_slots(w);
        if (status != ADB_OK)
            return status;
    }
    adb_status status =
        buffer_reserve(&w->bytes, entry->key.size + stored.size);
    if (status != ADB_OK)
        return status;

    struct sst_block_slot *slot = &w->slots[w->count];
    slot->position = w->bytes.size;
    slot->seq = entry->seq;
    slot->value_size = entry->value.size;
    slot->key_size = (uint32_t)entry->key.size;
    slot->form = (uint8_t)(entry->kind | (extent ? SST_FORM_EXTENT : 0));
    uint8_t *to = w->bytes.data + w->bytes.size;
    if (entry->key.size)
        memcpy(to, entry->key.data, entry->key.size);
    if (stored.size)
        memcpy(to + entry->key.size, stored.data, stored.size);
    w->bytes.size += entry->key.size + stored.size;
    w->last_key = slot->position;
    w->last_key_size = slot->key_size;
    count_entry(w, slot->seq, slot->form);
    return ADB_OK;
}

size_t sst_block_writer_bound(const struct sst_block_writer *w)
{
    /* Per entry: head 4, offset 4, form 1, sequence 7, sizes 3 + 5. The
       prefix is counted with the keys; 3 for its padding. */
    return SST_BLOCK_HEADER + 3 + w->bytes.size + (size_t)w->count * 24;
}

static unsigned seq_width(uint64_t range)
{
    return range ? (64 - (unsigned)__builtin_clzll(range) + 7) / 8 : 0;
}

bool sst_block_writer_full(const struct sst_block_writer *w, size_t more,
                           size_t limit)
{
    if (!w->count)
        return false;
    unsigned width = seq_width(w->max_seq - w->min_seq);
    /* Head, short offset, two one-byte sizes. */
    size_t size = SST_BLOCK_HEADER + w->bytes.size + more +
                  ((size_t)w->count + 1) * (8 + width);
    if (size <= limit)
        return false;
    adb_slice first = slice_of(w->bytes.data, w->first_key_size);
    size_t prefix = slice_common_prefix(first, sst_block_writer_last(w));
    return size - prefix * ((size_t)w->count - 1) > limit;
}

struct block_shape {
    size_t prefix_size;
    unsigned width;
    bool mixed;
};

static uint8_t *write_entry(const struct sst_block_writer *w,
                            const struct sst_block_slot *slot,
                            const struct block_shape *shape, size_t stored_end,
                            uint8_t *p)
{
    size_t suffix_size = slot->key_size - shape->prefix_size;
    const uint8_t *suffix = w->bytes.data + slot->position + shape->prefix_size;
    uint64_t delta = slot->seq - w->min_seq;

    if (shape->mixed)
        *p++ = slot->form;
    for (unsigned i = 0; i < shape->width; i++, delta >>= 8)
        *p++ = (uint8_t)delta;
    p = put_varint(p, suffix_size);
    p = put_varint(p, slot->value_size);
    /* Key and value stand side by side in bytes: one copy for both. */
    size_t n = stored_end - slot->position - shape->prefix_size;
    if (n)
        memcpy(p, suffix, n);
    return p + n;
}

size_t sst_block_writer_finish(const struct sst_block_writer *w, uint8_t *out)
{
    assert(w->count > 0);
    adb_slice first = slice_of(w->bytes.data, w->first_key_size);
    struct block_shape shape = {
        .prefix_size =
            slice_common_prefix(first, sst_block_writer_last(w)),
        .width = seq_width(w->max_seq - w->min_seq),
        .mixed = w->any_form != w->all_forms,
    };
    size_t padded = (shape.prefix_size + 3) & ~(size_t)3;
    bool wide = sst_block_writer_bound(w) > UINT16_MAX;

    memset(out, 0, SST_BLOCK_HEADER + padded);
    put_u32(out, w->count);
    out[4] = (uint8_t)((wide ? SST_BLOCK_WIDE : 0) |
                       (shape.mixed ? SST_BLOCK_MIXED : 0));
    out[5] = shape.mixed ? 0 : w->any_form;
    out[6] = (uint8_t)shape.width;
    put_u64(out + 8, w->min_seq);
    put_u32(out + 16, (uint32_t)shape.prefix_size);
    if (shape.prefix_size)
        memcpy(out + SST_BLOCK_HEADER, first.data, shape.prefix_size);

    uint8_t *heads = out + SST_BLOCK_HEADER + padded;
    uint8_t *offsets = heads + 4 * (size_t)w->count;
    uint8_t *p = offsets + (wide ? 4 : 2) * (size_t)w->count;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct sst_block_slot *slot = &w->slots[i];
        size_t end = i + 1 < w->count ? slot[1].position : w->bytes.size;
        put_u32(heads + 4 * (size_t)i,
                key_head4(w->bytes.data + slot->position + shape.prefix_size,
                          slot->key_size - shape.prefix_size));
        if (wide)
            put_u32(offsets + 4 * (size_t)i, (uint32_t)(p - out));
        else
            put_u16(offsets + 2 * (size_t)i, (uint16_t)(p - out));
        p = write_entry(w, slot, &shape, end, p);
    }
    assert((size_t)(p - out) <= sst_block_writer_bound(w));
    return (size_t)(p - out);
}
