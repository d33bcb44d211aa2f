/*
 * What the files of the reader share: the reader itself, the frames it puts
 * into the cache, and how they are loaded.
 *
 *      top (resident)          part p: last key, slots {index, filter}
 *        | slot                                  | slot
 *        v                                       v
 *      index_frame: blocks, a slot for each    filter_frame
 *        | slot
 *        v
 *      block_frame: view, bytes (or only the view, of mapped bytes)
 *
 * No frame refers to the reader: frames may outlive it in the epoch.
 */
#ifndef SST_SST_READER_INTERNAL_H
#define SST_SST_READER_INTERNAL_H

#include "base/alloc.h"
#include "base/thread.h"
#include "sst/block_reader.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "sst/frame_pool.h"
#include "sst/index.h"
#include "sst/sst_reader.h"

struct part_slots {
    cache_slot index, filter;
    /* The filter was found damaged: not tried again. Set by any reader,
       relaxed: a late reader only looks once more. */
    _Atomic bool no_filter;
};

struct sst_reader {
    /* immutable after open */
    struct sst_context context;
    char *path;             /* owned */
    struct table_info info; /* owned keys; size, checksum of the footer */
    struct sst_properties properties; /* owned keys */
    struct sst_top top;               /* owned */
    uint64_t *part_heads;     /* owned; of the parts' last keys, close by */
    struct part_slots *slots; /* owned array; the slots are atomic */
    uint64_t data_end;        /* frames and extents lie before it */
    uint64_t blocks;          /* of the whole table */
    size_t charge;            /* to LEDGER_TABLE */
    /* With a mapping: its bytes, the descriptor it needs, and a bit for each
       block that was found whole (set relaxed: the bytes never change). */
    struct env_map *map;
    struct file_handle *map_handle;
    _Atomic uint64_t *verified; /* owned */

    _Atomic uint32_t refs;
};

/* A block packed to its own size was never packed: the writer stores it
   plainly then, and sizes alone tell which it is. */
static inline bool sst_is_packed(const struct sst_handle *h)
{
    return h->size != h->raw_size;
}

/* Packed blocks of a mapped table are read like others. */
static inline bool sst_is_mapped(const struct sst_reader *r,
                                 const struct sst_handle *h)
{
    return r->map && !sst_is_packed(h);
}

struct filter_frame {
    struct cache_frame frame;
    struct sst_filter filter; /* of bytes behind, at a 64-byte line */
};

struct index_frame {
    struct cache_frame frame;
    struct sst_index index;
    cache_slot *slots; /* one per block, in this allocation */
};

struct block_frame {
    struct cache_frame frame;
    struct sst_block block;
    uint8_t raw[]; /* empty when the bytes are mapped */
};

/* Lines of a block frame that a search will want: its view and the arrays at
   the block's start. */
static inline void block_frame_prefetch(const struct block_frame *b)
{
    const char *p = (const char *)b + 64;
    for (int line = 0; line < 12; line++)
        __builtin_prefetch(p + 64 * line);
}

static inline struct index_frame *index_frame_of(struct cache_frame *frame)
{
    return (struct index_frame *)(void *)frame;
}
static inline struct block_frame *block_frame_of(struct cache_frame *frame)
{
    return (struct block_frame *)(void *)frame;
}

/* ---- sst_open.c ---- */

/* As sst_reader_open. *at tells, also of a failure, which piece of the file
   was looked at last. */
adb_status sst_reader_open_at(const struct sst_context *context,
                              const struct table_info *info,
                              struct sst_reader **out,
                              uint64_t *at) ADB_MUST_CHECK;

/* A reader of nothing but the file's bytes, for those who know where to look:
   frames and extents anywhere in it can be loaded, no key can be found. */
adb_status sst_reader_open_raw(const struct sst_context *context,
                               uint64_t number,
                               struct sst_reader **out) ADB_MUST_CHECK;

/* ---- counting ---- */

#define SST_COUNT(reader, field, amount)                                       \
    do {                                                                       \
        struct sst_counters *counters_ = (reader)->context.counters;           \
        if (counters_) {                                                       \
            unsigned shard_ = thread_ordinal() % SST_COUNTER_SHARDS;           \
            _Atomic uint64_t *count_ = &counters_->shards[shard_].field;       \
            atomic_store_explicit(                                             \
                count_,                                                        \
                atomic_load_explicit(count_, memory_order_relaxed) + (amount), \
                memory_order_relaxed);                                         \
        }                                                                      \
    } while (0)

/* ---- sst_load.c ---- */

/* Reads, verifies and unpacks a frame into raw, which has room for
   sst_load_room(h) bytes (the trailer is read along). Failures name file and
   offset. */
adb_status sst_load_raw(struct sst_reader *r, const struct sst_handle *h,
                        uint8_t *raw) ADB_MUST_CHECK;
static inline size_t sst_load_room(const struct sst_handle *h)
{
    return (size_t)h->raw_size + SST_TRAILER_SIZE;
}

/* Verifies a frame whose stored bytes are at hand and gives its unpacked
   bytes: in place, or in `scratch`, which it grows. */
adb_status sst_unpack(struct sst_reader *r, const struct sst_handle *h,
                      const uint8_t *stored, struct buffer *scratch,
                      const uint8_t **raw) ADB_MUST_CHECK;

/* "path: what at offset: " in front of the thread's message. */
adb_status sst_place(adb_status status, const struct sst_reader *r,
                     const char *what, uint64_t offset);

/* Fresh frames, not in the cache; discard gives back one that will not meet
   it (NULL is fine). */
adb_status sst_load_index(struct sst_reader *r, uint32_t part,
                          struct index_frame **out) ADB_MUST_CHECK;
adb_status sst_load_filter(struct sst_reader *r, uint32_t part,
                           struct filter_frame **out) ADB_MUST_CHECK;
/* With SST_NO_WAIT ADB_BUSY when it would have to wait for a device. */
adb_status sst_load_block(struct sst_reader *r, uint32_t part,
                          struct index_frame *index, uint32_t block,
                          unsigned flags,
                          struct block_frame **out) ADB_MUST_CHECK;
/* Bytes of the file will be read soon: the system may fetch them. A hint;
   leaves the thread's message alone. */
void sst_ask(struct sst_reader *r, uint64_t offset, uint64_t size);
void sst_discard_frame(struct cache_frame *frame);

/* ---- sst_reader.c ---- */

/* The part that may hold the key or a later one; top.count if none. */
uint32_t sst_part_find(const struct sst_reader *r, adb_slice key);

/* A part's index, through the cache. Inside an epoch. With SST_NO_WAIT
   ADB_BUSY when it is not there. */
adb_status sst_get_index(struct sst_reader *r, uint32_t part, unsigned flags,
                         struct index_frame **out) ADB_MUST_CHECK;

/* A block, through the cache. When it was not there it may come as a private
   frame (pinned): with SST_NO_FILL always, else when it is new to a cache that
   is full. With SST_NO_WAIT ADB_BUSY as sst_load_block. Inside an epoch that
   covers `index` too, or with the index pinned. */
adb_status sst_get_block(struct sst_reader *r, uint32_t part,
                         struct index_frame *index, uint32_t block,
                         unsigned flags,
                         struct block_frame **out) ADB_MUST_CHECK;

static inline bool sst_part_continues(const struct sst_reader *r, uint32_t part)
{
    return r->top.parts[part].continues && part + 1 < r->top.count;
}

#endif
