/*
 * A decoded data block: search and random access by ordinal. The layout is
 * drawn in block_writer.h.
 *
 *   struct sst_block b;
 *   sst_block_open(&b, raw, size)              validates every byte once
 *   i = sst_block_seek(&b, key, seq)           first entry at or after
 *   while (i < b.count) sst_block_entry(&b, i++, &entry)
 *
 * After sst_block_open succeeded no call reads outside the block whatever it
 * holds. Nothing allocates. The view borrows raw, which needs no alignment and
 * must outlive it; keep the view beside the bytes, it is what a hit uses.
 *
 * Threads: immutable; any.
 */
#ifndef SST_BLOCK_READER_H
#define SST_BLOCK_READER_H

#include "kv/types.h"
#include "sst/format.h"

struct sst_block {
    const uint8_t *base;
    const uint8_t *heads;   /* u32 each, little endian */
    const uint8_t *offsets; /* u16 or u32 each */
    const uint8_t *prefix;
    uint64_t base_seq;
    uint32_t count;         /* at least 1 */
    uint32_t size;
    uint32_t prefix_size;
    uint8_t wide;           /* offsets are u32 */
    uint8_t mixed;          /* each entry has its form byte */
    uint8_t form;           /* of all entries, when not mixed */
    uint8_t seq_width;      /* bytes */
};

struct sst_block_entry {
    adb_slice suffix; /* the key is the block's prefix, then this */
    adb_slice value;  /* data NULL: it stands in the extent */
    uint64_t extent_offset;
    uint64_t seq;
    enum kv_kind kind;
};

/* ADB_CORRUPTION, or ADB_UNSUPPORTED for kinds of a newer version; messages
   without place. */
adb_status sst_block_open(struct sst_block *b, const uint8_t *raw,
                          size_t size) ADB_MUST_CHECK;

/* Are entries in strict kv order and do heads match their keys? For verify;
   ordinary reads rely on the checksum. */
adb_status sst_block_check_order(const struct sst_block *b) ADB_MUST_CHECK;

/* The first entry at or after (key, seq) in kv order; count if none. */
uint32_t sst_block_seek(const struct sst_block *b, adb_slice key,
                        uint64_t seq);

/* The newest version of key with seq <= read_seq. ADB_NOT_FOUND (no message):
   not in this block; then *ran_off tells whether all entries of the block come
   before it, so that a block that `continues` sends the search to the next. */
adb_status sst_block_get(const struct sst_block *b, adb_slice key,
                         uint64_t read_seq, struct sst_block_entry *out,
                         bool *ran_off) ADB_MUST_CHECK;

static inline adb_slice sst_block_prefix(const struct sst_block *b)
{
    return slice_of(b->prefix, b->prefix_size);
}

/* A form byte: kind in the low bits, and where the value stands. */
enum { SST_FORM_KIND = 0x0F, SST_FORM_EXTENT = 0x10 };

static inline const uint8_t *sst_block_at(const struct sst_block *b,
                                          uint32_t i)
{
    return b->base + (b->wide ? get_u32(b->offsets + 4 * (size_t)i)
                              : get_u16(b->offsets + 2 * (size_t)i));
}

/* A varint of a validated block. */
static inline const uint8_t *sst_block_varint(const uint8_t *p, uint64_t *v)
{
    uint64_t value = *p++;
    if (unlikely(value >= 0x80)) {
        value &= 0x7F;
        for (unsigned shift = 7;; shift += 7) {
            uint64_t byte = *p++;
            value |= (byte & 0x7F) << shift;
            if (byte < 0x80)
                break;
        }
    }
    *v = value;
    return p;
}

/* Entry i < count. */
static inline void sst_block_entry(const struct sst_block *b, uint32_t i,
                                   struct sst_block_entry *e)
{
    const uint8_t *p = sst_block_at(b, i);
    uint8_t form = b->mixed ? *p++ : b->form;
    /* The field's bytes end an 8-byte word; what stands in front (header or
       arrays at least) is shifted out. No branch on the width, no read past
       the block's end. */
    p += b->seq_width;
    uint64_t delta = get_u64(p - 8) >> 1 >> (63 - 8 * b->seq_width);
    uint64_t suffix_size, value_size;
    p = sst_block_varint(p, &suffix_size);
    p = sst_block_varint(p, &value_size);
    e->seq = b->base_seq + delta;
    e->kind = (enum kv_kind)(form & SST_FORM_KIND);
    e->suffix = slice_of(p, (size_t)suffix_size);
    p += suffix_size;
    if (unlikely(form & SST_FORM_EXTENT)) {
        e->value = slice_of(NULL, (size_t)value_size);
        e->extent_offset = get_u64(p);
    } else {
        e->value = slice_of(p, (size_t)value_size);
        e->extent_offset = 0;
    }
}

#endif
