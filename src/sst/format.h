/*
 * The bytes of a table file outside its blocks: frames, handles, extents, top
 * index, properties, footer. docs/format/sst.md has the whole picture.
 *
 *   table  := "albrtsst"
 *             (frame | padding extent)*      data blocks and large values in
 *                                            order of writing; each part's
 *                                            filter and index after its data
 *             frame(top index) frame(properties) footer
 *   frame  := stored bytes, u8 compression, u64 checksum
 *             the checksum covers the stored bytes and the compression byte,
 *             and is bound to file number and offset of the frame
 *   extent := value bytes, then u64 checksum per started 64 KiB of them; it
 *             begins at a multiple of 4096, padding is zero
 *
 * Everything is little endian. Decoders never trust what they read: damage is
 * ADB_CORRUPTION, what a newer version wrote ADB_UNSUPPORTED. Messages here
 * name what is wrong; where a function takes no path, the caller puts file and
 * offset in front (status_context).
 *
 * Threads: everything here is pure.
 */
#ifndef SST_FORMAT_H
#define SST_FORMAT_H

#include "base/buffer.h"
#include "sst/table_info.h"

enum {
    SST_FORMAT_VERSION = 1,
    SST_HEADER_SIZE = 8,      /* so no frame or extent lies at offset 0 */
    SST_TRAILER_SIZE = 9,     /* of a frame */
    SST_FOOTER_SIZE = 80,
    SST_EXTENT_ALIGN = 4096,  /* extents start at multiples of it */
    SST_EXTENT_CHUNK = 65536, /* value bytes under one checksum */
    SST_EXTENT_THRESHOLD = 65536,
    SST_PART_KEYS = 65536,
    SST_HISTOGRAM_BUCKETS = 16
};
/* Unpacked blocks are refused above this, so that a damaged size cannot ask
   for absurd memory. */
#define SST_MAX_BLOCK ((uint32_t)1 << 30)
/* So is a packed block that claims to become more than this and more than
   SST_MAX_RATIO times what is stored. */
#define SST_RATIO_FREE ((uint32_t)4 << 20)
enum { SST_MAX_RATIO = 1024 };

/* The first SST_HEADER_SIZE bytes of every table, and a word of its footer. */
extern const uint8_t sst_magic[SST_HEADER_SIZE];

/* ---- frames ---- */

/* Where a frame lies. */
struct sst_handle {
    uint64_t offset;
    uint32_t size;     /* stored bytes, without the trailer */
    uint32_t raw_size; /* unpacked bytes; equals size when not compressed */
};
static inline size_t sst_handle_span(const struct sst_handle *h)
{
    return (size_t)h->size + SST_TRAILER_SIZE;
}

/* May `size` stored bytes become `raw_size`? Writers store what packs better
   than this as it is. */
static inline bool sst_sizes_fit(uint64_t size, uint64_t raw_size)
{
    return size <= raw_size && (raw_size <= SST_RATIO_FREE ||
                                raw_size / SST_MAX_RATIO <= size);
}

/* Writes the trailer of the frame whose `size` stored bytes stand at `frame`
   and which will lie at `offset`; room for SST_TRAILER_SIZE must follow. */
void sst_frame_seal(uint8_t *frame, size_t size,
                    enum sst_compression compression, uint64_t file_number,
                    uint64_t offset);

/* Verifies a frame read from h->offset (sst_handle_span(h) bytes) and tells
   how it is packed. path is for the message only. */
adb_status sst_frame_check(const uint8_t *frame, const struct sst_handle *h,
                           uint64_t file_number, const char *path,
                           enum sst_compression *compression) ADB_MUST_CHECK;

/* ADB_CORRUPTION unless h lies whole in [0, limit) and its sizes make sense.
   Every handle from disk passes here before anything is allocated for it. */
adb_status sst_handle_check(const struct sst_handle *h, uint64_t limit)
    ADB_MUST_CHECK;

/* ---- extents ---- */

static inline uint64_t sst_extent_chunks(uint64_t value_size)
{
    return (value_size + SST_EXTENT_CHUNK - 1) / SST_EXTENT_CHUNK;
}
/* File bytes of an extent: value and checksums. */
static inline uint64_t sst_extent_span(uint64_t value_size)
{
    return value_size + 8 * sst_extent_chunks(value_size);
}
/* File offset of the checksum of chunk i. */
static inline uint64_t sst_extent_checksum_offset(uint64_t extent_offset,
                                                  uint64_t value_size,
                                                  uint64_t i)
{
    return extent_offset + value_size + 8 * i;
}
/* Chunk i of an extent covers value bytes [i * SST_EXTENT_CHUNK, ...). */
uint64_t sst_chunk_checksum(const void *chunk, size_t size,
                            uint64_t file_number, uint64_t extent_offset,
                            uint64_t i);
adb_status sst_chunk_check(const void *chunk, size_t size, uint64_t expected,
                           uint64_t file_number, uint64_t extent_offset,
                           uint64_t i, const char *path) ADB_MUST_CHECK;
/* ADB_CORRUPTION unless the extent is aligned and lies whole in [0, limit). */
adb_status sst_extent_check(uint64_t extent_offset, uint64_t value_size,
                            uint64_t limit) ADB_MUST_CHECK;

/* ---- footer ---- */

struct sst_footer {
    struct sst_handle top;        /* never compressed */
    struct sst_handle properties; /* never compressed */
    uint64_t file_checksum;       /* XXH3 of all bytes before the footer */
    uint64_t file_number;
    uint64_t file_size;           /* with the footer */
};

void sst_footer_encode(const struct sst_footer *f,
                       uint8_t bytes[SST_FOOTER_SIZE]);
/* bytes: the last SST_FOOTER_SIZE bytes of the file. file_number 0: whatever
   the footer says (for tools and repair). Both handles are checked to lie in
   the file. */
adb_status sst_footer_decode(const uint8_t bytes[SST_FOOTER_SIZE],
                             uint64_t file_number, uint64_t file_size,
                             const char *path, struct sst_footer *out)
    ADB_MUST_CHECK;

/* ---- top index ---- */

/* A part: about 65,536 neighbouring keys with an index and a filter. */
struct sst_part {
    adb_slice last_key;        /* >= all its keys, < all later keys, except
                                  that equal when `continues` */
    uint64_t head;             /* key_head8(last_key) */
    struct sst_handle index;
    struct sst_handle filter;  /* size 0: no filter */
    uint64_t first_offset;     /* where its data begins in the file */
    uint64_t first_block;      /* blocks of the table before this part */
    uint32_t blocks;
    bool continues;            /* versions of its last key go on in the next
                                  part */
    uint64_t entries;          /* versions */
    uint64_t keys;             /* distinct */
};
struct sst_top {
    struct sst_part *parts; /* owned, with the keys, one allocation */
    uint32_t count;
    size_t memory;          /* bytes of that allocation */
};

adb_status sst_part_encode(struct buffer *top, const struct sst_part *part)
    ADB_MUST_CHECK;
/* limit: file bytes that frames may lie in (footer offset). */
adb_status sst_top_decode(const uint8_t *raw, size_t size, uint64_t limit,
                          struct sst_top *out) ADB_MUST_CHECK;
void sst_top_deinit(struct sst_top *top);
/* The first part that may hold the key or a later one; count if none. */
uint32_t sst_top_find(const struct sst_top *top, adb_slice key);

/* ---- properties ---- */

struct sst_properties {
    struct table_info info; /* size and checksum stand in the footer and are
                               zero after decoding */
    uint64_t keys;          /* distinct */
    uint64_t blocks, parts, extents;
    uint64_t data_bytes, index_bytes, filter_bytes, extent_bytes; /* in file */
    uint64_t raw_data_bytes; /* data blocks unpacked */
    uint32_t block_size, part_keys, extent_threshold, filter_bits;
    enum sst_compression compression;
    int compression_level;
    /* Tombstones by place: bucket i counts those among entries
       [i * histogram_width, ...). */
    uint64_t histogram_width;
    uint64_t histogram[SST_HISTOGRAM_BUCKETS];
    struct table_lineage lineage; /* all zero where the table says nothing */
};
adb_status sst_properties_encode(struct buffer *out,
                                 const struct sst_properties *p)
    ADB_MUST_CHECK;
/* Owned memory: the keys of info and lineage (sst_properties_deinit). */
adb_status sst_properties_decode(const uint8_t *raw, size_t size,
                                 struct sst_properties *out) ADB_MUST_CHECK;
void sst_properties_deinit(struct sst_properties *p);

#endif
