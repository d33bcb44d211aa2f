/*
 * What a damaged log still holds. Recovery (wal.h) refuses a log in which
 * something is missing that was promised; this takes every record that is
 * valid: a record validates alone, bound to its segment and place.
 *
 *   | h | r1 | ~~~~ | r3 | r4 |      r1, r3, r4; the hole is reported
 *
 * So what it gives is no prefix of history any more. Not taken: what stands
 * behind the known end of a segment, segments that the chain of headers passes
 * by (an earlier recovery has cut them off), segments of another database, and
 * files that begin with the header of another segment: what they held before
 * they were used again may validate by chance of a name.
 *
 * Threads: one user; nothing on disk is changed.
 */
#ifndef WAL_WAL_SALVAGE_H
#define WAL_WAL_SALVAGE_H

#include "wal/wal.h"

/* A hole, lent for one call. */
struct wal_hole {
    uint64_t segment, offset;
    uint64_t size;       /* bytes; 0: not known */
    uint64_t operations; /* at most so many are missing; 0: not known */
    adb_status status;   /* ADB_CORRUPTION, or why it could not be read */
    const char *text;
};

struct wal_salvage {
    struct env *env;
    const char *directory;
    const uint64_t *segments; /* ascending */
    size_t segment_count;
    const struct wal_end *ends; /* as in wal_recovery; NULL: none known */
    struct watermark synced_through; /* as far as it is known */
    uint64_t database;               /* 0: any */
    uint64_t through; /* writes up to this are elsewhere: if they are missing
                         here, nothing is */
    uint64_t covered; /* so are writes up to this if their segment is gone */
    bool skip_unreadable; /* what the system cannot read is a hole */
    /* For each record in order. ADB_CORRUPTION: its payload makes no sense, it
       is a hole too; another failure stops. */
    adb_status (*replay)(void *context, uint64_t segment, uint64_t offset,
                         uint64_t seq, uint32_t count, adb_slice payload);
    void (*report)(void *context, const struct wal_hole *hole); /* or NULL */
    void *context;
};

struct wal_salvaged {
    uint64_t records, bytes;
    uint64_t next_seq; /* after the last; 0: none */
    uint64_t holes;
};

/* Where nobody knows which segments are live: the newest one with a header, and
   those before it that the headers name, as far as they are there. *first is
   the index of the oldest of these (segment_count: there is none), *next_seq
   the least sequence that it may hold. Only the first six fields and database
   are looked at. */
adb_status wal_find_chain(const struct wal_salvage *in, size_t *first,
                          uint64_t *next_seq) ADB_MUST_CHECK;

adb_status wal_salvage(const struct wal_salvage *in,
                       struct wal_salvaged *out) ADB_MUST_CHECK;

#endif
