/*
 * What the manifest and the footer say of a table: enough to plan with it
 * without opening it.
 */
#ifndef SST_TABLE_INFO_H
#define SST_TABLE_INFO_H

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
   crash left behind would seem to be newer. */
struct table_lineage {
    uint64_t through; /* every write of the database with a sequence up to this
                         is in tables; 0: not known */
    uint64_t newest;  /* the greatest sequence that the versions it was made of
                         had; 0: not known */
    /* Of keys in [from, to] it holds all that is left of versions up to
       `newest`, deletions carried out: the output of a merge that left nothing
       older. */
    bool settled;
    adb_slice from, to;
};

/* Deep copy; out is written on ADB_OK only. */
adb_status table_info_copy(const struct table_info *in,
                           struct table_info *out) ADB_MUST_CHECK;
void table_info_deinit(struct table_info *info);

#endif
