/*
 * Builds one data block: entries in kv order, prefix stripped once, and arrays
 * of key heads and offsets in front ("slots"), so that it is searched by
 * comparing integers and scanned without decoding restarts.
 *
 *   0   u32 count           entries, at least 1
 *   4   u8  flags           1: offsets are u32; 2: each entry has a form byte
 *   5   u8  form            of all entries (0 with flag 2): low 4 bits
 *                           kv_kind, 0x10: value in an extent
 *   6   u8  seq width       bytes of an entry's sequence field, 0 to 7
 *   7   u8  0
 *   8   u64 base sequence   the least of the block; top byte 0
 *   16  u32 prefix size     shared by all keys
 *   20  prefix, zero padded to a multiple of 4
 *       u32 head[count]     4 key bytes behind the prefix as big-endian
 *                           number, zero padded
 *       u16 or u32 offset[count]  of the entry, from the block's start
 *       entry[count], one right after the other, to the block's end
 *
 *   entry := [form u8]                 with flag 2
 *            sequence - base           seq width bytes
 *            varint suffix size, varint value size, suffix,
 *            value, or u64 file offset of the extent
 *
 * Threads: one at a time. Entries are kept until finish, which needs the last
 * key to know the prefix (in sorted keys it is what first and last share).
 */
#ifndef SST_BLOCK_WRITER_H
#define SST_BLOCK_WRITER_H

#include "base/buffer.h"
#include "kv/types.h"

enum {
    SST_BLOCK_HEADER = 20,
    SST_BLOCK_WIDE = 1,
    SST_BLOCK_MIXED = 2
};

struct sst_block_slot;

struct sst_block_writer {
    struct buffer bytes;          /* keys and values as they came */
    struct sst_block_slot *slots; /* owned */
    uint32_t count;
    uint32_t capacity;
    uint64_t min_seq, max_seq;
    uint8_t any_form, all_forms;  /* or, and of the forms */
    size_t last_key;              /* position in bytes */
    size_t last_key_size;
    size_t first_key_size;
};

void sst_block_writer_deinit(struct sst_block_writer *w);
void sst_block_writer_clear(struct sst_block_writer *w);

/* value.data NULL with extent_offset not 0: the value stands in an extent. */
adb_status sst_block_writer_add(struct sst_block_writer *w,
                                const struct kv_entry *entry,
                                uint64_t extent_offset) ADB_MUST_CHECK;

/* Room that finish may need. */
size_t sst_block_writer_bound(const struct sst_block_writer *w);

/* Would the block pass `limit` bytes if this much key and value were added? */
bool sst_block_writer_full(const struct sst_block_writer *w, size_t more,
                           size_t limit);

/* Memory held beside `bytes`, for the ledger. */
size_t sst_block_writer_slots_size(const struct sst_block_writer *w);

/* The last key added; valid until the next add or clear. count > 0. */
static inline adb_slice sst_block_writer_last(const struct sst_block_writer *w)
{
    return slice_of(w->bytes.data + w->last_key, w->last_key_size);
}

/* Writes the block to out (sst_block_writer_bound bytes of room) and returns
   its size. count > 0. */
size_t sst_block_writer_finish(const struct sst_block_writer *w,
                               uint8_t *out);

#endif
