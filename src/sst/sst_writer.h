/*
 * Builds one immutable sorted table file. Format: docs/format/sst.md and the
 * comments at the top of sst_writer.c and block_writer.c.
 *
 * Threads: one writer at a time. Work memory is charged to LEDGER_BUILD and
 * bounded: about one part (65,536 keys' hashes) and a write buffer, whatever
 * the size of the table; large values are streamed.
 */
#ifndef SST_SST_WRITER_H
#define SST_SST_WRITER_H

#include "base/ledger.h"
#include "env/env.h"
#include "kv/iterator.h"
#include "sst/table_info.h"

struct sst_writer_options {
    struct env *env;
    const char *directory;  /* borrowed while the writer lives */
    uint64_t number;        /* of the file; bound into every checksum */
    size_t block_size;      /* aim for unpacked data blocks; 4 to 64 KiB */
    enum sst_compression compression;
    int compression_level;  /* zstd; 0: its default */
    unsigned filter_bits;   /* per key; 0: no filter */
    uint32_t part_keys;     /* keys per index/filter part; 0: 65536 */
    uint32_t extent_threshold; /* larger values live in extents; 0: 64 KiB */
    struct ledger *ledger;
};

struct sst_writer;

/* Creates the file (exclusively). */
adb_status sst_writer_open(const struct sst_writer_options *options,
                           struct sst_writer **out) ADB_MUST_CHECK;

/* Adds the entry under a valid iterator, streaming its value if that is large
   and not loaded. Entries come in strictly ascending kv order. After a failure
   only sst_writer_abandon is allowed. */
adb_status sst_writer_add(struct sst_writer *w,
                          struct kv_iter *entry) ADB_MUST_CHECK;

/* Bytes the file would have if finished now, roughly. */
uint64_t sst_writer_size(const struct sst_writer *w);

/* What the table will say of where it comes from; its memory is borrowed until
   sst_writer_finish. */
void sst_writer_set_lineage(struct sst_writer *w,
                            const struct table_lineage *lineage);

/* Writes index, filters, properties and footer, syncs and closes. The name is
   not yet durable: the caller syncs the directory before the manifest speaks
   of the table. info is filled (table_info_deinit). The writer is gone
   whatever the status; on failure the file is removed as well as possible. */
adb_status sst_writer_finish(struct sst_writer *w,
                             struct table_info *info) ADB_MUST_CHECK;
void sst_writer_abandon(struct sst_writer *w); /* removes the file; NULL ok */

/* directory/NNNNNN.sst, fresh memory; NULL: out of memory. */
char *sst_path(const char *directory, uint64_t number);

#endif
