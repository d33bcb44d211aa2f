/*
 * Top index, the one piece of a table that stays in memory:
 *
 *   top  := u32 parts, part[parts]
 *   part := varint key size * 2 + continues, key
 *           index handle, filter handle (sizes 0: none)
 *           varint first offset, varint blocks, varint entries, varint keys
 *   handle := varint offset, varint stored size, varint unpacked size
 */
#include "base/alloc.h"
#include "sst/format.h"

static uint8_t *put_handle(uint8_t *p, const struct sst_handle *h)
{
    p = put_varint(p, h->offset);
    p = put_varint(p, h->size);
    return put_varint(p, h->raw_size);
}

adb_status sst_part_encode(struct buffer *top, const struct sst_part *part)
{
    if (!top->size) {
        adb_status status = buffer_append_u32(top, 0);
        if (status != ADB_OK)
            return status;
    }
    adb_status status =
        buffer_reserve(top, 11 * VARINT_MAX + part->last_key.size);
    if (status != ADB_OK)
        return status;
    uint8_t *p = top->data + top->size;
    p = put_varint(p, (uint64_t)part->last_key.size * 2 + part->continues);
    if (part->last_key.size)
        memcpy(p, part->last_key.data, part->last_key.size);
    p += part->last_key.size;
    p = put_handle(p, &part->index);
    p = put_handle(p, &part->filter);
    p = put_varint(p, part->first_offset);
    p = put_varint(p, part->blocks);
    p = put_varint(p, part->entries);
    p = put_varint(p, part->keys);
    top->size = (size_t)(p - top->data);
    put_u32(top->data, get_u32(top->data) + 1);
    return ADB_OK;
}

static adb_status damaged(const char *what)
{
    return status_set(ADB_CORRUPTION, "top index: %s", what);
}

static const uint8_t *get_u32_varint(const uint8_t *p, const uint8_t *end,
                                     uint32_t *v)
{
    uint64_t wide;
    p = get_varint(p, end, &wide);
    if (!p || wide > UINT32_MAX)
        return NULL;
    *v = (uint32_t)wide;
    return p;
}

static const uint8_t *get_handle(const uint8_t *p, const uint8_t *end,
                                 struct sst_handle *h)
{
    if (!(p = get_varint(p, end, &h->offset)) ||
        !(p = get_u32_varint(p, end, &h->size)))
        return NULL;
    return get_u32_varint(p, end, &h->raw_size);
}

/* Returns the byte after, or NULL. last_key borrows from the input. */
static const uint8_t *get_part(const uint8_t *p, const uint8_t *end,
                               struct sst_part *part)
{
    uint64_t size;
    if (!(p = get_varint(p, end, &size)) || size >> 1 > ADB_MAX_KEY_SIZE ||
        size >> 1 > (size_t)(end - p))
        return NULL;
    part->last_key = slice_of(p, (size_t)(size >> 1));
    part->head = key_head8(part->last_key.data, part->last_key.size);
    part->continues = size & 1;
    p += part->last_key.size;
    if (!(p = get_handle(p, end, &part->index)) ||
        !(p = get_handle(p, end, &part->filter)) ||
        !(p = get_varint(p, end, &part->first_offset)) ||
        !(p = get_u32_varint(p, end, &part->blocks)) ||
        !(p = get_varint(p, end, &part->entries)))
        return NULL;
    return get_varint(p, end, &part->keys);
}

static adb_status check_part(const struct sst_part *part,
                             const struct sst_part *previous, uint64_t limit)
{
    adb_status status = sst_handle_check(&part->index, limit);
    if (status == ADB_OK && part->filter.size)
        status = sst_handle_check(&part->filter, limit);
    if (status != ADB_OK)
        return status_context(status, "top index");
    if (!part->blocks || !part->entries || part->first_offset > limit)
        return damaged("part with impossible numbers");
    if (previous && slice_compare(previous->last_key, part->last_key) > 0)
        return damaged("parts out of order");
    return ADB_OK;
}

static adb_status decode_parts(const uint8_t *p, const uint8_t *end,
                               uint64_t limit, struct sst_top *top)
{
    uint64_t blocks = 0;

    for (uint32_t i = 0; i < top->count; i++) {
        struct sst_part *part = &top->parts[i];
        p = get_part(p, end, part);
        if (!p)
            return damaged("part cut short or out of range");
        adb_status status =
            check_part(part, i ? &top->parts[i - 1] : NULL, limit);
        if (status != ADB_OK)
            return status;
        part->first_block = blocks;
        blocks += part->blocks;
    }
    return p == end ? ADB_OK : damaged("bytes left over");
}

/* Keys borrow from the input while decoding; move them behind the array. */
static void own_keys(struct sst_top *top)
{
    uint8_t *to = (uint8_t *)(top->parts + top->count);

    for (uint32_t i = 0; i < top->count; i++) {
        adb_slice *key = &top->parts[i].last_key;
        if (key->size)
            memcpy(to, key->data, key->size);
        key->data = to;
        to += key->size;
    }
}

adb_status sst_top_decode(const uint8_t *raw, size_t size, uint64_t limit,
                          struct sst_top *out)
{
    enum { PART_MIN = 11 }; /* that many one-byte varints */

    if (size < 4)
        return damaged("cut short");
    struct sst_top top = {.count = get_u32(raw)};
    if (top.count > (size - 4) / PART_MIN)
        return damaged("part count out of range");
    /* All keys together are shorter than the input. */
    top.memory = top.count * sizeof *top.parts + size;
    top.parts = mem_alloc(top.memory);
    if (!top.parts)
        return status_set(ADB_NO_MEMORY, "no memory for a top index");
    adb_status status = decode_parts(raw + 4, raw + size, limit, &top);
    if (status != ADB_OK) {
        mem_free(top.parts);
        return status;
    }
    own_keys(&top);
    *out = top;
    return ADB_OK;
}

void sst_top_deinit(struct sst_top *top)
{
    mem_free(top->parts);
    *top = (struct sst_top){.count = 0};
}

uint32_t sst_top_find(const struct sst_top *top, adb_slice key)
{
    uint64_t head = key_head8(key.data, key.size);
    uint32_t low = 0, high = top->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct sst_part *part = &top->parts[middle];
        if (part->head < head ||
            (part->head == head && slice_compare(part->last_key, key) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
