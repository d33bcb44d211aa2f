/*
 * The write-ahead log of one database: numbered segment files holding records
 * (record_format.h) in one order of history.
 *
 *   NNNNNN.log:  header record | batch record | batch record | ... | zeros
 *
 * Segments are preallocated with real blocks (1 MiB, more with use up to
 * the limit) and written through a shared mapping, or with write(2) where
 * mapping is refused or unsafe: same bytes, same interface. A record is one
 * write; one that does not fit its segment gets a segment sized for it.
 *
 * Payload of the header record, all varints:
 *   format version (1), segment number, capacity,
 *   previous segment number (0: none), its final length, its last record's
 *   checksum (u64), next sequence number, database (left out when 0)
 * The chain previous -> this makes a missing tail of the previous segment
 * provable.
 *
 * Who calls what
 *   - wal_append and wal_rotate: one at a time, under the caller's write lock.
 *   - wal_sync: any thread, without that lock. One leader syncs for all that
 *     wait (group commit).
 *   - wal_prepare: one background thread; populates ahead of the writer and
 *     makes the next segments, so that the writer need not.
 *   - wal_release, wal_pin, wal_unpin, wal_stats: any thread.
 *
 * Failure: after a failed write or sync of a segment nothing more is
 * acknowledged on it; wal_append and wal_sync return the recorded failure
 * until wal_rotate has begun a new segment (the caller freezes its memtable
 * and flushes it to new files first). A full disk is no failure: it fails the
 * append, and where write(2) met it, the next one begins a new segment.
 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "base/ledger.h"
#include "env/env.h"
#include "wal/record_format.h"

enum wal_access { WAL_ACCESS_AUTO, WAL_ACCESS_MAP, WAL_ACCESS_WRITE };

/* How a segment ended. */
struct wal_end {
    uint64_t segment; /* 0: none */
    uint64_t length;  /* offset behind its last record */
    uint64_t checksum; /* of its last record */
    uint64_t next_seq; /* the sequence after its last */
};

struct wal_options {
    struct env *env;
    const char *directory; /* borrowed while the wal lives */
    enum wal_access access;
    uint64_t min_segment; /* bytes; e.g. 1 MiB (tests: 64 KiB) */
    uint64_t max_segment; /* e.g. 64 MiB */
    unsigned spares;      /* released segments kept for reuse, at most 2 */
    struct ledger *ledger;
    uint64_t database; /* stands in every header; 0: none */
    /* Makes the existence of segments first to first + count - 1 durable in
       the manifest, of all or of none; called by whoever creates them, before
       their first record, after their names are durable. Called without any
       lock of the wal. */
    adb_status (*segments_created)(void *context, uint64_t first,
                                   unsigned count,
                                   const struct watermark *synced_through);
    void *context;
};

struct wal;

struct wal_position {
    uint64_t segment;
    uint64_t offset; /* behind the record */
};

/* A log that goes on after `previous` (all zero for a new database), its first
   segment numbered next_segment; no file is touched before the first append
   or wal_prepare. next_segment is above every number ever used. */
adb_status wal_open(const struct wal_options *options, uint64_t next_segment,
                    const struct wal_end *previous,
                    const struct watermark *synced_through,
                    struct wal **out) ADB_MUST_CHECK;

/* Segment `number`, recovered from an earlier run, belongs to this log from now
   on: wal_release removes or recycles it like its own. Its contents are
   durable (wal_recovered.unsynced told so). Numbers ascend, before the first
   append. */
adb_status wal_adopt(struct wal *w, uint64_t number) ADB_MUST_CHECK;

/* Appends one batch record. pieces are joined to the payload. On failure
   nothing was appended (ADB_NO_SPACE: no room for a segment; it is tried again
   at the next append; ADB_UNKNOWN_OUTCOME: not now, but the record may turn up
   if there is a crash before the next append). *at is what to hand to
   wal_sync; *bytes the log space taken. */
adb_status wal_append(struct wal *w, uint64_t seq, uint32_t count,
                      const adb_slice *pieces, size_t piece_count,
                      struct wal_position *at, uint64_t *bytes) ADB_MUST_CHECK;

/* Everything up to `at`, older segments included, is on stable storage when
   this returns ADB_OK. A failure means outcome unknown. A segment that failed
   fails every sync of it and of what follows until wal_release took it: while
   it lives, history behind it is no prefix. */
adb_status wal_sync(struct wal *w, struct wal_position at) ADB_MUST_CHECK;

/* Where the log ends now; all zero when nothing was appended. Any thread. */
struct wal_position wal_end_position(struct wal *w);

/* Bytes left in the present segment, for records and what frames them; none:
   UINT64_MAX. Under the caller's write lock. */
uint64_t wal_room(const struct wal *w);

/* Ends the present segment: the next append begins a new one. Returns a number
   above every segment that holds a record and not above any that will: what
   the next memtable owns begins there. After a failure this clears the
   failure. */
uint64_t wal_rotate(struct wal *w);

/* The failure that stops appends and syncs, or ADB_OK. */
adb_status wal_failure(struct wal *w);

/* Populates ahead of the writer, and makes the
   next segments when the present one holds 64 KiB or is half full: one, or
   where they are small several. Cheap when there is nothing to do. Sets *busy
   when it should be called again soon. */
adb_status wal_prepare(struct wal *w, bool *busy) ADB_MUST_CHECK;

/* True, cheaply, when wal_prepare has something to do. */
bool wal_wants_prepare(struct wal *w);

/* Segments below `segment` are no longer needed (a durable manifest edit says
   so): they are kept as spares or removed. Segments pinned by wal_pin wait. */
adb_status wal_release(struct wal *w, uint64_t segment) ADB_MUST_CHECK;

/* Nothing from `segment` on is removed or reused until wal_unpin. */
void wal_pin(struct wal *w, uint64_t segment);
void wal_unpin(struct wal *w, uint64_t segment);

/* Syncs, closes all files, and tells how the log ended and what is synced. The
   wal is gone whatever the status. Unused spares and prepared but unused
   segments are removed (names in the manifest are the caller's affair). */
adb_status wal_close(struct wal *w, struct wal_end *end,
                     struct watermark *synced_through) ADB_MUST_CHECK;
/* Closes without syncing or removing anything, as a crash would leave it. */
void wal_abandon(struct wal *w);

struct wal_stats {
    uint64_t appended_bytes, records, syncs, sync_ns, sync_max_ns;
    uint64_t segments_created, segments_recycled, self_populated;
    uint64_t segments_ready; /* made, not yet the writer's */
    uint64_t live_bytes;     /* allocated in live segments, and ready ones */
    uint64_t mapped_bytes;
    uint64_t largest_group; /* writers served by one sync */
    bool mapped;
};
void wal_stats(struct wal *w, struct wal_stats *out);

/* The file name of a segment in directory, fresh memory; NULL: no memory. */
char *wal_segment_path(const char *directory, uint64_t number);

/* ---- recovery, wal_recovery.c ---- */

struct wal_recovery {
    struct env *env;
    const char *directory;
    /* From the manifest: the live segments, ascending, and what it knows. */
    const uint64_t *segments;
    size_t segment_count;
    /* Where a segment is known to have ended (clean close, or an earlier
       recovery): ends[i].segment == 0 where not known. */
    const struct wal_end *ends;
    struct watermark synced_through;
    bool closed_cleanly; /* then any difference from ends is damage */
    bool check_only;     /* nothing is synced: segments of a log in use, or
                            the caller rewrites what was not */
    uint64_t next_seq;   /* sequence expected first, 0: any */
    uint64_t database;   /* other headers are damage; 0: any */
    /* Called for each surviving batch record in order; a failure stops. */
    adb_status (*replay)(void *context, uint64_t segment, uint64_t offset,
                         uint64_t seq, uint32_t count, adb_slice payload);
    void *context;
    struct wal_position *failed_at; /* written on failure: where it lies; may
                                       be NULL */
};

struct wal_recovered {
    struct wal_end *ends;  /* fresh, one per input segment; segment 0: the
                              segment holds nothing that survives */
    struct wal_end last;   /* where history ends */
    uint64_t records, bytes;
    uint64_t discarded_bytes; /* records found behind the cut */
    bool cut; /* something unsynced was lost */
    bool unsynced; /* history reaches behind every watermark: its end may be
                      in the page cache alone */
    struct watermark synced_through; /* the end of history, see below */
};

/* Reads the segments and replays what survives: a prefix of history. A bad or
   missing byte at or below any valid watermark, a segment missing or out of
   chain below it, an unknown format version: ADB_CORRUPTION (ADB_UNSUPPORTED)
   naming file and offset, nothing changed on disk. Above every watermark the
   log is cut there and all later records are dropped.

   Which segments are history is told by their headers: each names its
   predecessor and where that ended. Listed segments that the chain passes by
   never held an acknowledged record, or were cut off before.

   What a killed process left may still be in the page cache alone. Before it
   returns, wal_recover syncs all that survived, so that records behind it can
   be promised; synced_through says so. That is not enough where a sync had
   failed before the process died: the system may have marked those pages
   clean, and a later sync succeeds without writing them. Who promises
   durability asks for check_only and writes an unsynced history to new
   files. */
adb_status wal_recover(const struct wal_recovery *in,
                       struct wal_recovered *out) ADB_MUST_CHECK;
void wal_recovered_deinit(struct wal_recovered *out);

#endif
