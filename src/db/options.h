/*
 * Options: one table is the source of names, defaults, limits, help and docs.
 * Sizes are bytes, durations nanoseconds.
 */
#ifndef DB_OPTIONS_H
#define DB_OPTIONS_H

#include "env/env.h"
#include "sst/table_info.h"
#include "wal/wal.h"

enum db_table_access { DB_TABLE_CACHE, DB_TABLE_MAP };

/* Every number is a uint64_t so that the table can address it. */
struct db_options {
    uint64_t memory_budget;
    uint64_t memtable_size; /* 0: from the budget */
    uint64_t max_memtables; /* writable one included */
    uint64_t durability;    /* adb_durability */
    uint64_t sync_interval;
    uint64_t wal_access; /* enum wal_access */
    uint64_t wal_segment_min;
    uint64_t wal_segment_max;
    uint64_t compression; /* enum sst_compression */
    uint64_t compression_level;
    uint64_t block_size;
    uint64_t filter_bits;
    uint64_t table_access; /* enum db_table_access */
    uint64_t table_size;   /* 0: from the memtable size */
    uint64_t compaction;   /* enum picker_policy */
    uint64_t idle_compaction;
    uint64_t background_threads;
    uint64_t max_open_files; /* 0: from the process limit */
    uint64_t create_if_missing;
    uint64_t error_if_exists;
};

struct adb_options {
    struct db_options values;
    adb_log_fn log;
    void *log_context;
    struct env *env; /* NULL: the real one; set by tests */
    uint64_t manifest_roll_bytes; /* 0: as is good; tests make it small */
};

void db_options_init(struct adb_options *o);
adb_status db_options_set(struct adb_options *o, const char *name,
                          const char *value) ADB_MUST_CHECK;
adb_status db_options_get(const struct adb_options *o, const char *name,
                          char *buffer, size_t size) ADB_MUST_CHECK;
adb_status db_options_describe(size_t index,
                               adb_option_info *out) ADB_MUST_CHECK;

/* Fills what was left to be derived (zeros) and checks options against each
   other. */
adb_status db_options_resolve(struct db_options *o) ADB_MUST_CHECK;

#endif
