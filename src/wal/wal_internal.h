/*
 * What the parts of the log share: wal.c (order of records), wal_segments.c
 * (files: made, prepared, released, reused) and wal_sync.c (group commit).
 *
 * Segments from oldest to youngest:
 *
 *   oldest -> sealed -> sealed -> current     -> prepared       spares
 *             (flushing memtables) (the writer's) (the next ones) (old files)
 *
 * The lock is taken for moments only, never during a file operation.
 */
#ifndef WAL_WAL_INTERNAL_H
#define WAL_WAL_INTERNAL_H

#include "base/thread.h"
#include "wal/wal.h"
#include "wal/wal_segment.h"

enum {
    WAL_FORMAT_VERSION = 1,
    WAL_STAGE_SIZE = 64 << 10,  /* records up to here are copied once */
    WAL_CHUNK_SIZE = 256 << 10, /* larger ones go in such pieces */
    WAL_SPARES_MAX = 2,
    WAL_PINS_MAX = 32,
    WAL_PREPARED_MAX = 8,
    WAL_SEGMENT_HEADER_ROOM = 160 /* header record, generously */
};
#define WAL_POPULATE_AHEAD (UINT64_C(4) << 20)
#define WAL_POPULATE_STEP  (UINT64_C(1) << 20)
#define WAL_PREPARE_AHEAD  (UINT64_C(16) << 20) /* in prepared segments */

struct wal_spare {
    char *path; /* owned; NULL: reserved or empty */
    uint64_t capacity;
    uint64_t written; /* so much of it, ever */
    bool taken;
};

struct wal {
    /* Immutable after open. */
    struct wal_options options;
    struct wal_place place;
    char *directory; /* owned */

    /* The writer's: changed under the caller's write lock. `current` and
       `previous` also change under `lock`, others read them so. */
    struct wal_segment *current; /* owned through the list; NULL: sealed */
    struct wal_end previous;     /* how the segment before current ended */
    bool appended;
    uint64_t last_checksum;
    uint64_t next_seq;
    uint64_t written_generation; /* of the watermark last put in a record */
    uint8_t *stage;              /* owned, WAL_STAGE_SIZE */
    uint64_t self_populated;     /* the writer's count before publication */

    /* Atomic, relaxed unless said otherwise. */
    _Atomic bool failed;                /* set and cleared under lock */
    _Atomic bool wants_prepare;         /* writer sets, wal_prepare clears */
    _Atomic uint64_t prepare_at;        /* offset in current that sets it */
    _Atomic uint64_t synced_generation; /* counts changes of synced_through */
    _Atomic uint64_t records, bytes, self_populated_shown;

    struct mutex lock; /* guards all below */
    struct condition changed; /* a sync or the making of a segment ended */
    struct wal_segment *oldest, *youngest;
    struct wal_segment *prepared; /* owned; the next one first */
    unsigned prepared_count;
    bool making;           /* someone makes segments */
    uint64_t next_number;  /* the maker's while `making` is set */
    uint64_t taken;        /* segments, by the writer */
    uint64_t segment_size; /* class of what is made next; 0: none made yet */
    struct wal_spare spares[WAL_SPARES_MAX];
    uint64_t pins[WAL_PINS_MAX]; /* 0: free */
    unsigned pins_on_all;        /* pins that found no place */
    struct watermark synced_through;
    struct status_saved failure; /* of the last failed segment */
    bool syncing;                /* there is a leader */
    unsigned waiting;            /* for the leader */
    struct wal_stats stats;      /* the fields no writer counts */
};

/* wal.c: nothing more is acknowledged before wal_rotate, and nothing in s (may
   be NULL) after it. Saves the thread's message; returns code. */
adb_status wal_fail(struct wal *w, struct wal_segment *s, adb_status code);

/* wal_segments.c: a segment ready for its header, with at least `need` bytes.
   The caller is the writer. */
adb_status wal_take_segment(struct wal *w, uint64_t need,
                            struct wal_segment **out) ADB_MUST_CHECK;
/* Closes one that never got its header, and removes it unless the manifest may
   name it (announced); keeps the message. */
void wal_discard_segment(struct wal *w, struct wal_segment *s, bool announced);
/* Removes what no crash would miss: prepared segments and spares. */
adb_status wal_remove_unused(struct wal *w) ADB_MUST_CHECK;

/* wal_recovery.c: what a segment's header says of the one before. expected:
   the database, 0: any. ADB_CORRUPTION, ADB_UNSUPPORTED. */
adb_status wal_decode_header(const char *path, adb_slice payload,
                             uint64_t number, uint64_t expected,
                             struct wal_end *before) ADB_MUST_CHECK;

#endif
