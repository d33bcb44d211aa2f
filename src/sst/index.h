/*
 * Index part: which data block of a part may hold a key.
 *
 * Of each block it knows the place and a separator: the shortest key that is
 * >= the block's last key and < the next block's first. A search compares
 * 8-byte heads of the separators behind the prefix they all share, and falls
 * back to whole keys where heads are equal.
 *
 *   raw := u32 blocks, u32 prefix size, u64 offset of the first block, prefix
 *          per block:
 *            varint gap: file bytes between the frame before and this one
 *                   (filled by extents); 0 for the first
 *            varint stored size * 2 + compressed
 *            [compressed: varint unpacked size]
 *            varint separator suffix size * 2 + continues, suffix
 *
 * "continues": the versions of the block's last key go on in the next block,
 * which is then the next part's first if this is the part's last. Then the
 * separator is that key itself, and a search for it that ran off the block's
 * end must go on in the next block. Without it, the key is not in the table.
 *
 * Decoding makes arrays in memory that the caller gives:
 *
 *   size_t need = sst_index_memory(raw, size);  0: raw is damaged
 *   memory = 8-byte aligned, need bytes
 *   sst_index_decode(raw, size, limit, memory, &index)
 *
 * The decoded index borrows raw and memory; both must outlive it. The caller
 * keeps one cache_slot per block beside it, numbered alike; a search fetches
 * that of the block it finds, if told where they are.
 *
 * Threads: a decoded index is immutable; any thread.
 */
#ifndef SST_INDEX_H
#define SST_INDEX_H

#include "base/buffer.h"
#include "sst/format.h"

/* ---- searching ---- */

struct sst_index_block {
    struct sst_handle handle;
    uint32_t suffix; /* position in raw of the separator behind the
                        prefix */
    uint32_t suffix_size : 31;
    uint32_t continues : 1;
};

enum { SST_INDEX_LEVELS = 10 }; /* 8^10 blocks are more than fit a part */

/* Heads stand in levels: level 0 has all in order, level k + 1 the last of
   each group of eight of level k, the top at most eight; groups are cache
   lines, the last one filled up with ~0. A search reads one line a level. */
struct sst_index {
    const uint8_t *raw;
    const struct sst_index_block *blocks;
    adb_slice prefix;
    uint32_t count; /* blocks, at least 1 */
    uint32_t top_level;
    uint64_t last_head; /* the greatest */
    const uint64_t *levels[SST_INDEX_LEVELS];
    const uint64_t *fetch; /* eight bytes a block, from the beginning of a line
                              on; NULL: nothing. Set by the caller */
};

/* Bytes of array memory that decoding raw needs; 0: not an index part. */
size_t sst_index_memory(const uint8_t *raw, size_t size);

/* Blocks in raw, for which sst_index_memory was not 0. */
static inline uint32_t sst_index_count(const uint8_t *raw)
{
    return get_u32(raw);
}

/* limit: file bytes that frames may lie in. Messages without place. */
adb_status sst_index_decode(const uint8_t *raw, size_t size, uint64_t limit,
                            void *memory, struct sst_index *out) ADB_MUST_CHECK;

/* The first block that may hold the key, or a later key if there is none;
   count: all keys of the part are smaller. */
uint32_t sst_index_find(const struct sst_index *index, adb_slice key);

/* Separator i behind index->prefix. */
static inline adb_slice sst_index_suffix(const struct sst_index *index,
                                         uint32_t i)
{
    const struct sst_index_block *b = &index->blocks[i];
    return slice_of(index->raw + b->suffix, b->suffix_size);
}

/* ---- building ---- */

struct sst_index_builder {
    struct buffer keys;   /* separators, whole, one after the other */
    struct buffer blocks; /* records, in memory form */
    uint32_t count;
    size_t prefix_size;
};
void sst_index_builder_deinit(struct sst_index_builder *b);
void sst_index_builder_clear(struct sst_index_builder *b);
/* Blocks come in file order. */
adb_status sst_index_builder_add(struct sst_index_builder *b,
                                 const struct sst_handle *handle,
                                 bool compressed, adb_slice separator,
                                 bool continues) ADB_MUST_CHECK;
/* Roughly the raw size so far. */
static inline size_t sst_index_builder_size(const struct sst_index_builder *b)
{
    return b->keys.size + (size_t)b->count * 8;
}
/* Appends the raw form to out. count must not be 0. */
adb_status sst_index_builder_finish(const struct sst_index_builder *b,
                                    struct buffer *out) ADB_MUST_CHECK;

/* Appends to out the shortest s found with before <= s < after; before itself
   when the two are equal. before <= after. */
adb_status sst_separator(adb_slice before, adb_slice after,
                         struct buffer *out) ADB_MUST_CHECK;

#endif
