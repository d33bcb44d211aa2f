/*
 * The record: how the write-ahead log and the manifest frame what they hold.
 *
 * A log file is a header record at offset 0 followed by records, each starting
 * at a multiple of 8:
 *
 *   0   u64 checksum       checksum_bound over bytes 8.. of the record
 *                          (header rest, watermark, payload), with the file's
 *                          number and the record's offset
 *   8   u64 previous       checksum of the record before it in this file; in
 *                          the header record 0
 *  16   u64 sequence       first sequence number (56 bits) | kind << 56
 *  24   u32 length         payload bytes
 *  28   u32 count | flags  operations in the payload (30 bits);
 *                          bit 31: a watermark follows; bit 30: reserved, 0
 *  32   [u64 segment, u64 offset, u64 sequence]   watermark when bit 31 is set
 *  ..   payload, then zeros to a multiple of 8
 *
 * The watermark is synced_through as known when the record was written: all
 * segments before `segment` and all bytes of it below `offset` were on stable
 * storage. It stands only where it changed since the record before.
 *
 * The padding is zero and checked as such; the checksum ends with the payload.
 * A record validates alone: its checksum covers its predecessor's, its place
 * and its file's number, so recycled bytes never pass for new ones, and the
 * order of records is provable. A zero checksum never occurs.
 */
#ifndef WAL_RECORD_FORMAT_H
#define WAL_RECORD_FORMAT_H

#include "base/bytes.h"
#include "base/status.h"

enum {
    RECORD_HEADER_SIZE = 32,
    RECORD_WATERMARK_SIZE = 24,
    RECORD_ALIGNMENT = 8
};
#define RECORD_MAX_COUNT ((UINT32_C(1) << 30) - 1)

/* Numbers are never reused. */
enum record_kind {
    RECORD_SEGMENT_HEADER = 1,  /* first record of a log segment */
    RECORD_BATCH = 2,           /* kv/batch.h */
    RECORD_MANIFEST_HEADER = 3, /* first record of a manifest */
    RECORD_EDIT = 4,            /* version/version_edit.h */
    RECORD_CLOSE = 5            /* nothing follows: closed cleanly */
};

struct watermark {
    uint64_t segment; /* 0: nothing known */
    uint64_t offset;
    uint64_t seq;
};
static inline bool watermark_equal(const struct watermark *a,
                                   const struct watermark *b)
{
    return a->segment == b->segment && a->offset == b->offset;
}
/* Is a known to reach further than b? */
static inline bool watermark_after(const struct watermark *a,
                                   const struct watermark *b)
{
    return a->segment != b->segment ? a->segment > b->segment
                                    : a->offset > b->offset;
}

struct record {
    uint64_t checksum;
    uint64_t previous;
    enum record_kind kind;
    uint64_t seq;
    uint32_t count;
    bool has_watermark;
    struct watermark watermark;
    adb_slice payload; /* borrowed from the bytes decoded */
    size_t size;       /* whole record with padding */
};

/* Whole size on disk. */
static inline size_t record_size(size_t payload, bool has_watermark)
{
    return (RECORD_HEADER_SIZE + (has_watermark ? RECORD_WATERMARK_SIZE : 0) +
            payload + RECORD_ALIGNMENT - 1) &
           ~(size_t)(RECORD_ALIGNMENT - 1);
}

/* Encodes the record that r describes (payload, previous, kind, seq, count,
   watermark) at p, which has record_size bytes; the payload may already lie
   at its place in p. Fills r->checksum and r->size. */
void record_encode(uint8_t *p, struct record *r, uint64_t file_number,
                   uint64_t offset);
/* Only the head of it: what stands in front of the payload, the checksum left
   out (its place is not touched). For payloads written piece by piece; the
   caller computes the checksum over bytes 8.. with checksum_stream. */
void record_encode_head(uint8_t *p, const struct record *r);
/* Where the payload goes inside an encoded record. */
static inline size_t record_payload_offset(bool has_watermark)
{
    return RECORD_HEADER_SIZE + (has_watermark ? RECORD_WATERMARK_SIZE : 0);
}

enum { RECORD_HEAD_MAX = RECORD_HEADER_SIZE + RECORD_WATERMARK_SIZE };

/* Could a record begin at p, in a file that has `available` bytes from there
   on? Reads at most RECORD_HEAD_MAX of them and verifies nothing. Fills *out
   but for the payload's data. For readers that must know how much to load, and
   for scans that search records behind a hole. */
bool record_peek(const uint8_t *p, uint64_t available, struct record *out);

enum record_verdict {
    RECORD_VALID,
    RECORD_NONE, /* zero checksum: nothing was written here */
    RECORD_BAD   /* bytes that are no valid record of this file and place */
};
/* Looks at p, the bytes of file `file_number` from `offset` on, `available`
   of them. Never reads further; never fails otherwise. Does not compare
   `previous`: the caller knows the predecessor. */
enum record_verdict record_decode(const uint8_t *p, size_t available,
                                  uint64_t file_number, uint64_t offset,
                                  struct record *out);

#endif
