#include "repair.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sst/block_reader.h"
#include "sst/compress.h"
#include "sst/index.h"
#include "wal/record_format.h"

/* ---- records ----------------------------------------------------------- */

uint64_t repair_records(uint8_t *data, size_t size, uint64_t file_number,
                        bool chain)
{
    uint64_t previous = 0;
    size_t at = 0;
    while (size - at >= RECORD_HEADER_SIZE && get_u64(data + at)) {
        uint8_t *p = data + at;
        size_t head =
            record_payload_offset(get_u32(p + 28) & UINT32_C(1) << 31);
        if (size - at < head)
            break;
        size_t room = (size - at - head) & ~(size_t)(RECORD_ALIGNMENT - 1);
        size_t length = MIN_OF((size_t)get_u32(p + 24), room);
        put_u32(p + 24, (uint32_t)length);
        if (chain)
            put_u64(p + 8, previous);
        previous =
            checksum_bound(p + 8, head + length - 8, file_number, at);
        put_u64(p, previous);
        size_t whole = record_size(length, head > RECORD_HEADER_SIZE);
        if (whole > size - at)
            break;
        memset(p + head + length, 0, whole - head - length);
        at += whole;
    }
    return previous;
}

void repair_segment_header(uint8_t *data, size_t size, uint64_t previous)
{
    const uint8_t *end = data + size, *p = data + RECORD_HEADER_SIZE;
    uint64_t field;
    if (size < RECORD_HEADER_SIZE)
        return;
    for (int i = 0; i < 5 && p; i++)
        p = get_varint(p, end, &field);
    if (p && end - p >= 8)
        put_u64(data + (p - data), previous);
}

/* ---- tables ------------------------------------------------------------ */

struct table {
    uint8_t *data;
    size_t limit; /* where the footer begins */
    uint64_t number;
};

/* Seals the frame and returns its unpacked bytes (mem_free), NULL: none. */
static uint8_t *seal(const struct table *t, const struct sst_handle *h)
{
    if (sst_handle_check(h, t->limit) != ADB_OK || h->raw_size > 1 << 20)
        return NULL;
    uint8_t *frame = t->data + h->offset;
    enum sst_compression kind = (enum sst_compression)(frame[h->size] & 3);
    if ((kind == SST_COMPRESSION_NONE) != (h->size == h->raw_size))
        kind = h->size == h->raw_size ? SST_COMPRESSION_NONE
                                      : SST_COMPRESSION_LZ4;
    sst_frame_seal(frame, h->size, kind, t->number, h->offset);
    uint8_t *raw = mem_alloc(h->raw_size);
    if (raw && sst_decompress(kind, frame, h->size, raw, h->raw_size) !=
                   ADB_OK) {
        mem_free(raw);
        raw = NULL;
    }
    return raw;
}

static void seal_extent(const struct table *t, uint64_t offset, uint64_t size)
{
    if (sst_extent_check(offset, size, t->limit) != ADB_OK)
        return;
    for (uint64_t i = 0; i < sst_extent_chunks(size); i++) {
        uint64_t from = i * SST_EXTENT_CHUNK;
        size_t step = (size_t)MIN_OF(size - from, (uint64_t)SST_EXTENT_CHUNK);
        put_u64(t->data + sst_extent_checksum_offset(offset, size, i),
                sst_chunk_checksum(t->data + offset + from, step, t->number,
                                   offset, i));
    }
}

static void seal_block(const struct table *t, const struct sst_handle *h)
{
    struct sst_block block;
    uint8_t *raw = seal(t, h);
    if (raw && sst_block_open(&block, raw, h->raw_size) == ADB_OK)
        for (uint32_t i = 0; i < block.count; i++) {
            struct sst_block_entry e;
            sst_block_entry(&block, i, &e);
            if (!e.value.data)
                seal_extent(t, e.extent_offset, e.value.size);
        }
    mem_free(raw);
}

static void seal_index(const struct table *t, const struct sst_handle *h)
{
    uint8_t *raw = seal(t, h);
    size_t need = raw ? sst_index_memory(raw, h->raw_size) : 0;
    void *memory = need && need < 1 << 22 ? mem_alloc(need) : NULL;
    struct sst_index index;
    if (memory && sst_index_decode(raw, h->raw_size, t->limit, memory,
                                   &index) == ADB_OK)
        for (uint32_t i = 0; i < index.count; i++)
            seal_block(t, &index.blocks[i].handle);
    mem_free(memory);
    mem_free(raw);
}

void repair_table(uint8_t *data, size_t size, uint64_t file_number)
{
    if (size < SST_HEADER_SIZE + SST_FOOTER_SIZE)
        return;
    struct table t = {data, size - SST_FOOTER_SIZE, file_number};
    uint8_t *bytes = data + t.limit;
    struct sst_footer footer = {
        .top = {get_u64(bytes), get_u32(bytes + 8), get_u32(bytes + 12)},
        .properties = {get_u64(bytes + 16), get_u32(bytes + 24),
                       get_u32(bytes + 28)},
        .file_number = file_number,
        .file_size = size,
    };
    memcpy(data, sst_magic, SST_HEADER_SIZE);
    struct sst_top top;
    uint8_t *raw = seal(&t, &footer.top);
    if (raw && sst_top_decode(raw, footer.top.raw_size, t.limit, &top) ==
                   ADB_OK) {
        for (uint32_t i = 0; i < top.count; i++) {
            seal_index(&t, &top.parts[i].index);
            mem_free(seal(&t, &top.parts[i].filter));
        }
        sst_top_deinit(&top);
    }
    mem_free(raw);
    mem_free(seal(&t, &footer.properties));
    /* Once more, should something above have written into it. */
    mem_free(seal(&t, &footer.top));
    footer.file_checksum = checksum_bytes(data, t.limit);
    sst_footer_encode(&footer, bytes);
}

/* ---- CURRENT ----------------------------------------------------------- */

void repair_current(uint8_t *data, size_t size)
{
    char sum[18];
    if (size < 17)
        return;
    snprintf(sum, sizeof sum, "%016" PRIx64 "\n",
             checksum_bytes(data, size - 17));
    memcpy(data + size - 17, sum, 17);
}
