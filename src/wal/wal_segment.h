/*
 * One segment file of the log being written: made with real blocks, mapped or
 * written with write(2), filled from the front. Knows bytes and places, not
 * records; wal.c decides what goes where and what is durable.
 *
 *   0            end            populated         capacity
 *   | records ... | resident ... | blocks alone     |
 *
 * Stores stay below `populated`: behind it a first touch may need the disk,
 * and a page without a block behind it would be a SIGBUS. Populating waits for
 * no read either, which takes a tenth of a second and more on a busy disk. Some
 * pages would have to be read: of a file that is used again those that the
 * system took out of its cache; and of a new one, since file systems write
 * zeros around a page that they write (ext4: 32 KiB). What they hold is of no
 * use, so they are written over instead. And what was never written is asked
 * for when the file is made, which reads nothing then and is cheaper.
 *
 * Threads: put and reach belong to the writer. populate may run beside them on
 * another thread; `edge` keeps it from writing over what the writer stores.
 * Everything else happens while nobody else knows the segment.
 */
#ifndef WAL_WAL_SEGMENT_H
#define WAL_WAL_SEGMENT_H

#include <stdatomic.h>

#include "base/thread.h"
#include "env/env.h"

/* What a writer at the edge of the window populates by itself. */
#define WAL_SELF_POPULATE (UINT64_C(64) << 10)
#define WAL_BLOCK         UINT64_C(4096)

struct wal_segment {
    /* Immutable once the segment is in the log. */
    uint64_t number;
    uint64_t capacity;
    char *path;            /* owned */
    struct env_file *file; /* owned; NULL: adopted from an earlier run */
    struct env_map *map;   /* owned; NULL: written with write(2) */
    bool recycled;         /* the file was a segment before */
    uint64_t written;      /* behind that the file was not written before */

    struct mutex edge; /* held by who writes behind `populated`, and by the
                          writer while it raises that by itself */
    _Atomic uint64_t populated; /* raised by writer and wal_prepare */
    /* Stored by the writer with release when a record is whole; end first,
       then seq, so that who reads seq first knows a seq below that end. */
    _Atomic uint64_t end;
    _Atomic uint64_t seq; /* the sequence after the last record */

    /* Guarded by the lock of the wal. */
    struct wal_segment *next; /* the younger neighbour */
    uint64_t synced;          /* bytes known to be on stable storage */
    uint64_t dropped;         /* bytes taken out of the map; the sync's own */
    unsigned users;           /* a sync or populate under way */
    bool failed;              /* a write or sync of it failed */
    bool released;            /* waits for users and pins */
};

struct wal_place {
    struct env *env;
    const char *directory;
    bool map;
};

/* Nothing but a number and a path yet; NULL: no memory, with its message. */
struct wal_segment *wal_segment_new(const char *directory, uint64_t number);

/* A file with `capacity` bytes of blocks, no record in it; its name is not
   durable yet. reuse: the path of a file to take over, NULL: none; `written`
   bytes of it were written. On failure no new name remains (a reused file may
   be gone). */
adb_status wal_segment_create(const struct wal_place *place, uint64_t number,
                              uint64_t capacity, const char *reuse,
                              uint64_t written,
                              struct wal_segment **out) ADB_MUST_CHECK;
/* How much of the file was ever written. */
uint64_t wal_segment_written(const struct wal_segment *s);

/* More blocks for a segment that is still empty. On failure it stays usable
   with its old capacity, unless its map was lost: then it uses write(2). */
adb_status wal_segment_grow(struct wal_segment *s, uint64_t capacity)
    ADB_MUST_CHECK;

/* Makes [0, end) ready for stores; *self counts the times the writer itself
   had to populate. */
adb_status wal_segment_reach_slow(struct wal_segment *s, uint64_t end,
                                  uint64_t *self) ADB_MUST_CHECK;
static inline adb_status wal_segment_reach(struct wal_segment *s, uint64_t end,
                                           uint64_t *self)
{
    if (likely(end <= atomic_load_explicit(&s->populated,
                                           memory_order_acquire)))
        return ADB_OK;
    return wal_segment_reach_slow(s, end, self);
}

/* Populates up to `end` (cut at the capacity), for a background thread. */
adb_status wal_segment_populate(struct wal_segment *s, uint64_t end)
    ADB_MUST_CHECK;

/* Copies bytes to their place. The place was reached before. */
static inline adb_status wal_segment_put(struct wal_segment *s,
                                         uint64_t offset, const void *data,
                                         size_t size)
{
    if (likely(s->map != NULL)) {
        env_map_store(s->map, offset, data, size);
        return ADB_OK;
    }
    return env_file_write(s->file, offset, data, size);
}

/* Unmaps, closes, frees. The file stays. NULL is fine. */
void wal_segment_free(struct wal_segment *s);

#endif
