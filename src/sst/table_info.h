/*
 * What the manifest and the footer say of a table: enough to plan with it
 * without opening it.
 */
#ifndef SST_TABLE_INFO_H
#define SST_TABLE_INFO_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

/* How values in data blocks are packed; numbers stand in the format. */
enum sst_compression {
    SST_COMPRESSION_NONE = 0,
    SST_COMPRESSION_LZ4 = 1,
    SST_COMPRESSION_ZSTD = 2
};

struct table_info {
    uint64_t number;    /* file NNNNNN.sst */
    uint64_t size;      /* of the file */
    uint64_t checksum;  /* over the whole file, see docs/format/sst.md */
    uint64_t entries;   /* versions */
    uint64_t tombstones;
    uint64_t key_bytes, value_bytes; /* unpacked */
    uint64_t min_seq, max_seq;
    uint64_t created_ns; /* wall clock */
    adb_slice smallest, largest; /* user keys; owned by this struct */
};

/* What a table knows of where it comes from, so that a database whose manifest
   is lost can tell which of its files are history (src/repair/rebuild.c). Not
   in the manifest. Sequences may be set to 0 by a merge (kv/retention.h), and
   tombstones are dropped: without this an older file, or log segment, that a
   crash left behind would seem to be newer.

   Numbers of files are never used again, so what is said of them stays true;
   also where the merge that says it never became part of the database, as long
   as its table is taken into account: what it took is in there. */
struct table_lineage {
    uint64_t through; /* every write of the database with a sequence up to this
                         is in tables; 0: not known */
    uint64_t below;   /* 0: it says nothing of other tables. Else: of keys in
                         [from, before) no table with a number below this holds
                         anything that counts, but those in except */
    adb_slice from, before; /* before empty: to the end */
    const uint64_t *except; /* ascending */
    size_t except_count;
};

/* Deep copy, in one piece of memory; out is written on ADB_OK only. */
adb_status table_lineage_copy(const struct table_lineage *in,
                              struct table_lineage *out) ADB_MUST_CHECK;
void table_lineage_deinit(struct table_lineage *l); /* of a copy */
/* Does it say that nothing in table `number` counts of keys in its range? */
bool table_lineage_supersedes(const struct table_lineage *l, uint64_t number);
/* Is the key below `before`, as lineage has it? */
static inline bool table_lineage_before(adb_slice key, adb_slice before)
{
    return !before.size || slice_compare(key, before) < 0;
}
/* Does [smallest, largest] hold keys of its range? */
static inline bool table_lineage_overlaps(const struct table_lineage *l,
                                          adb_slice smallest,
                                          adb_slice largest)
{
    return slice_compare(l->from, largest) <= 0 &&
           table_lineage_before(smallest, l->before);
}

/* Deep copy; out is written on ADB_OK only. */
adb_status table_info_copy(const struct table_info *in,
                           struct table_info *out) ADB_MUST_CHECK;
void table_info_deinit(struct table_info *info);

#endif
