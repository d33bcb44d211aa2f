/*
 * Reads records of one segment file at a time, through a window that grows to
 * the largest record met and is kept from file to file. Zeroed is valid.
 *
 * Threads: one user. Slices of a record last until the next call.
 */
#ifndef WAL_WAL_READER_H
#define WAL_WAL_READER_H

#include "env/env.h"
#include "wal/record_format.h"

struct wal_reader {
    struct env_file *file; /* owned */
    uint64_t number;
    uint64_t size; /* of the file */
    uint8_t *data; /* owned: bytes [base, base + have) of the file */
    size_t capacity;
    size_t have;
    uint64_t base;
    bool skip_unreadable; /* what the system cannot read counts as zeros */
};

/* Opens segment `number`; a file that is not there is no failure. */
adb_status wal_reader_open(struct wal_reader *r, struct env *env,
                           const char *directory, uint64_t number,
                           bool *exists) ADB_MUST_CHECK;
void wal_reader_deinit(struct wal_reader *r);

/* Is there a valid record at offset? Fills *out if so. */
adb_status wal_reader_record(struct wal_reader *r, uint64_t offset, bool *valid,
                             struct record *out) ADB_MUST_CHECK;

/* The segment whose header the file begins with, whatever number it was opened
   by; 0: with none. */
adb_status wal_reader_owner(struct wal_reader *r,
                            uint64_t *number) ADB_MUST_CHECK;

/* Moves *offset (a multiple of 8) to the next place that could begin a record,
   itself included, or to r->size. *head is what record_peek tells of it. */
adb_status wal_reader_find(struct wal_reader *r, uint64_t *offset,
                           struct record *head) ADB_MUST_CHECK;

#endif
