/*
 * Reads one table file: point lookups, iteration, verification.
 *
 * What stays resident (LEDGER_TABLE) is the top index: per part of about
 * 65,536 keys the last key, and two cache slots (index part, filter part). An
 * index part brings the slots of its data blocks with it. Everything else is
 * loaded through the cache, verified (XXH3 bound to file number and offset)
 * and decoded on every load, and can be evicted.
 *
 * Threads: any number of readers at once. Lookups run inside the caller's
 * epoch (base/epoch.h); what they return lives until the epoch ends, or until
 * unpinned. The reader itself is counted.
 *
 * Damage is ADB_CORRUPTION naming file and offset and fails only reads that
 * need the damaged part. A damaged filter fails none: it only says no, and the
 * blocks know as well.
 */
#ifndef SST_SST_READER_H
#define SST_SST_READER_H

#include "cache/cache.h"
#include "env/env.h"
#include "kv/iterator.h"
#include "sst/file_table.h"
#include "sst/table_info.h"

struct sst_reader;

struct sst_read_stats {
    uint64_t filter_negatives, filter_positives, filter_false;
    uint64_t block_loads, index_loads, filter_loads, loaded_bytes;
    uint64_t filters_damaged; /* parts that are read without */
};

/* Where the tables of a database count; zeroed at first. In shards, so that
   readers on different processors do not share a line; under contention a
   count may be lost. */
enum { SST_COUNTER_SHARDS = 16 };
struct sst_counters {
    struct sst_counter_shard {
        _Alignas(64) _Atomic uint64_t filter_negatives;
        _Atomic uint64_t filter_positives, filter_false;
        _Atomic uint64_t block_loads, index_loads, filter_loads, loaded_bytes;
        _Atomic uint64_t filters_damaged;
    } shards[SST_COUNTER_SHARDS];
};

/* The unpacked size of data blocks that take `memory` bytes in the cache, what
   comes with them included: for sst_writer_options.block_size. */
size_t sst_block_size_in(size_t memory);

/* Shared by all tables of a database; outlives them. */
struct sst_context {
    struct env *env;
    const char *directory;
    struct cache *cache;
    struct epoch *epoch;
    struct ledger *ledger;
    struct file_table *files;
    struct frame_pool *frames; /* outlives the cache; NULL: the heap */
    struct sst_counters *counters; /* 64-byte aligned; NULL: nothing counts */
    bool map_tables; /* table_access=map: uncompressed blocks straight from a
                        mapping, each verified at its first touch. A mapping
                        holds its descriptor; tables beyond half of the file
                        table's limit go through the cache. */
};

/* Reads footer, properties and top index and compares them with the manifest's
   info (number; size, entries and checksum where not 0). */
adb_status sst_reader_open(const struct sst_context *context,
                           const struct table_info *info,
                           struct sst_reader **out) ADB_MUST_CHECK;
struct sst_reader *sst_reader_ref(struct sst_reader *r);
/* At zero all its frames leave the cache. Not inside an epoch that uses it. */
void sst_reader_unref(struct sst_reader *r);

/* What the table says of itself; keys are borrowed while r is referenced. */
void sst_reader_describe(const struct sst_reader *r, struct table_info *out);
/* Where it says it comes from; lives as r does. */
const struct table_lineage *sst_reader_lineage(const struct sst_reader *r);

/* False: the key is surely not in the table (filter). Inside an epoch. */
adb_status sst_reader_may_contain(struct sst_reader *r, adb_slice key,
                                  uint64_t hash, bool *maybe) ADB_MUST_CHECK;

struct sst_hit {
    enum kv_kind kind;
    uint64_t seq;
    adb_slice value;           /* data NULL: in an extent, use sst_load_value */
    struct cache_frame *frame; /* what value lies in, also for extents; NULL:
                                  in a mapping that lives as long as the
                                  reader */
    uint64_t extent_offset;    /* when value.data is NULL */
};

enum sst_read_flags {
    SST_NO_FILL = 1,
    SST_SKIP_FILTER = 2,
    SST_STAND_AT_DAMAGE = 4, /* iterators: see kv/iterator.h */
    SST_NO_WAIT = 8 /* gets: ADB_BUSY, without a message, when the answer must
                       be read from a device; it is being fetched meanwhile */
};

/* The newest version of key with seq <= read_seq. ADB_NOT_FOUND (without
   message): none here. Inside an epoch. A block that was not cached may come as
   a private frame (with SST_NO_FILL it always does): the caller must
   cache_keep or cache_done what it got. */
adb_status sst_reader_get(struct sst_reader *r, adb_slice key, uint64_t hash,
                          uint64_t read_seq, unsigned flags,
                          struct sst_hit *hit) ADB_MUST_CHECK;

/* Reads an extent value (all of it, or a part of it) into memory of the
   caller, verified. Needs no epoch, only the reader. */
adb_status sst_load_value(struct sst_reader *r, uint64_t extent_offset,
                          uint64_t value_size, uint64_t from, void *data,
                          size_t size) ADB_MUST_CHECK;

/* A value that sst_load_value will want soon: its beginning may be fetched. */
void sst_ask_value(struct sst_reader *r, uint64_t extent_offset,
                   uint64_t value_size);

/* An iterator over all versions; holds a reference on the reader and pins at
   most one block and one index part. SST_NO_FILL: read ahead in large reads
   through a buffer of its own, leaving the cache alone (compaction, long
   scans that ask for it). NULL: out of memory. */
struct kv_iter *sst_iter_new(struct sst_reader *r, unsigned flags);
/* Goes on with another table of the same context, nowhere yet; cheaper than a
   new iterator. A lasting value stays through the step after, too. */
void sst_iter_retarget(struct kv_iter *it, struct sst_reader *r);

/* File bytes that lie before key, roughly. */
uint64_t sst_reader_offset_of(struct sst_reader *r, adb_slice key);

/* Keys that cut the table into at most `pieces` about equal parts: ascending,
   distinct, not more than pieces - 1, for which `keys` has room (fresh slices,
   each mem_free'd by the caller); for splitting work. */
adb_status sst_reader_split_keys(struct sst_reader *r, size_t pieces,
                                 adb_slice *keys, size_t *count) ADB_MUST_CHECK;

/* ---- verification, sst_verify.c ---- */

enum sst_piece {
    SST_PIECE_FILTER, /* reads do without it */
    SST_PIECE_BLOCK,
    SST_PIECE_VALUE, /* one large value */
    SST_PIECE_INDEX, /* of a part */
    SST_PIECE_TABLE  /* footer, top index, properties, or what lies between */
};

/* A damaged piece, lent for one call. */
struct sst_damage {
    adb_status status; /* ADB_CORRUPTION, or why it could not be read */
    enum sst_piece piece;
    uint64_t offset, size; /* in the file; size 0: not known */
    adb_slice from, to;    /* keys that it may touch lie in [from, to] */
    const char *text;      /* file, offset, what is wrong, and the keys */
};
typedef void (*sst_damage_fn)(void *context, const struct sst_damage *damage);

/* Reads and checks every byte, order and counts against properties, past the
   cache. Calls report for each damaged piece and each that could not be read;
   returns ADB_CORRUPTION if there was a damaged one, else the failure of those
   that could not be read. progress gets bytes done since the last call, in all
   the file's size. Either callback may be NULL. */
adb_status sst_reader_verify(struct sst_reader *r, sst_damage_fn report,
                             void (*progress)(void *context, uint64_t bytes),
                             void *context) ADB_MUST_CHECK;

/* The same for a table that may not even open: then the piece at its end that
   is damaged touches all keys of info. */
adb_status sst_verify_table(const struct sst_context *context,
                            const struct table_info *info,
                            sst_damage_fn report,
                            void (*progress)(void *context, uint64_t bytes),
                            void *caller) ADB_MUST_CHECK;

/* All shards together; c NULL: zeros. */
void sst_counters_sum(struct sst_counters *c, struct sst_read_stats *out);
/* Sums over all readers that share r's counters. */
void sst_reader_stats(const struct sst_reader *r, struct sst_read_stats *out);

#endif
