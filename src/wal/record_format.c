/*
 * Encoding and decoding of records; the layout stands in record_format.h.
 *
 *   checksum | previous | seq 56, kind 8 | length | flags 2, count 30
 *   [watermark: segment | offset | seq]  payload  zeros
 */
#include "wal/record_format.h"

#include <assert.h>

#include "base/hash.h"

enum {
    AT_CHECKSUM = 0,
    AT_PREVIOUS = 8,
    AT_SEQUENCE = 16,
    AT_LENGTH = 24,
    AT_COUNT = 28
};
#define SEQUENCE_MASK  ((UINT64_C(1) << 56) - 1)
#define FLAG_WATERMARK (UINT32_C(1) << 31)
#define FLAG_RESERVED  (UINT32_C(1) << 30)

void record_encode_head(uint8_t *p, const struct record *r)
{
    assert(r->seq <= SEQUENCE_MASK && r->count <= RECORD_MAX_COUNT);
    assert(r->payload.size <= UINT32_MAX);
    put_u64(p + AT_PREVIOUS, r->previous);
    put_u64(p + AT_SEQUENCE, r->seq | (uint64_t)r->kind << 56);
    put_u32(p + AT_LENGTH, (uint32_t)r->payload.size);
    put_u32(p + AT_COUNT, r->count | (r->has_watermark ? FLAG_WATERMARK : 0));
    if (r->has_watermark) {
        put_u64(p + RECORD_HEADER_SIZE, r->watermark.segment);
        put_u64(p + RECORD_HEADER_SIZE + 8, r->watermark.offset);
        put_u64(p + RECORD_HEADER_SIZE + 16, r->watermark.seq);
    }
}

void record_encode(uint8_t *p, struct record *r, uint64_t file_number,
                   uint64_t offset)
{
    size_t at = record_payload_offset(r->has_watermark);
    size_t end = at + r->payload.size;
    assert(offset % RECORD_ALIGNMENT == 0);

    r->size = record_size(r->payload.size, r->has_watermark);
    record_encode_head(p, r);
    if (r->payload.size && r->payload.data != p + at)
        memmove(p + at, r->payload.data, r->payload.size);
    memset(p + end, 0, r->size - end);
    r->checksum = checksum_bound(p + AT_PREVIOUS, end - AT_PREVIOUS,
                                 file_number, offset);
    put_u64(p + AT_CHECKSUM, r->checksum);
}

bool record_peek(const uint8_t *p, uint64_t available, struct record *out)
{
    if (available < RECORD_HEADER_SIZE || !get_u64(p + AT_CHECKSUM))
        return false;
    uint64_t sequence = get_u64(p + AT_SEQUENCE);
    uint32_t count = get_u32(p + AT_COUNT), length = get_u32(p + AT_LENGTH);
    unsigned kind = (unsigned)(sequence >> 56);
    size_t size = record_size(length, count & FLAG_WATERMARK);
    if (kind < RECORD_SEGMENT_HEADER || kind > RECORD_CLOSE ||
        (count & FLAG_RESERVED) || size > available)
        return false;
    *out = (struct record){
        .checksum = get_u64(p + AT_CHECKSUM),
        .previous = get_u64(p + AT_PREVIOUS),
        .kind = (enum record_kind)kind,
        .seq = sequence & SEQUENCE_MASK,
        .count = count & RECORD_MAX_COUNT,
        .has_watermark = count & FLAG_WATERMARK,
        .payload = slice_of(NULL, length),
        .size = size,
    };
    if (out->has_watermark) {
        out->watermark.segment = get_u64(p + RECORD_HEADER_SIZE);
        out->watermark.offset = get_u64(p + RECORD_HEADER_SIZE + 8);
        out->watermark.seq = get_u64(p + RECORD_HEADER_SIZE + 16);
    }
    return true;
}

static bool all_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i])
            return false;
    return true;
}

enum record_verdict record_decode(const uint8_t *p, size_t available,
                                  uint64_t file_number, uint64_t offset,
                                  struct record *out)
{
    if (all_zero(p, MIN_OF(available, 8)))
        return RECORD_NONE;
    struct record r;
    if (!record_peek(p, available, &r))
        return RECORD_BAD;
    size_t at = record_payload_offset(r.has_watermark);
    size_t end = at + r.payload.size;
    if (r.checksum != checksum_bound(p + AT_PREVIOUS, end - AT_PREVIOUS,
                                     file_number, offset) ||
        !all_zero(p + end, r.size - end))
        return RECORD_BAD;
    r.payload.data = p + at;
    *out = r;
    return RECORD_VALID;
}
