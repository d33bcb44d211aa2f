/*
 * The memtable: versions of keys in key order, in memory.
 *
 * A B+-tree (btree.h) whose nodes and records lie in one arena (arena.h),
 * with a small Bloom filter beside it, so that a miss costs no descent.
 * Updating a key replaces the value of its record; the older version is kept,
 * chained behind the newer one, only while a snapshot can still see it.
 *
 * Threads: any number of readers and writers at once, by optimistic lock
 * coupling (Leis et al., "The ART of Practical Synchronization", 2016):
 * readers take no lock and check versions. Freeze, then only readers.
 *
 * Visibility. A reader brings read_seq and sees of each key the newest version
 * with seq <= read_seq. keep_seq tells a writer the newest registered snapshot
 * (0: none): a version with seq <= keep_seq must stay reachable, a newer one
 * may be overwritten. A single put may overwrite in place (in_place true); a
 * batch never does, so that a reader below its last sequence never sees part
 * of it. An in-place write over a version that someone with an older read_seq
 * might still want marks the new version REPLACED. Readers with a registered
 * snapshot never want what was replaced, since keep_seq protects what they
 * see: they ignore the mark. Any other reader who passes over a version so
 * marked takes it instead of going on to the next older one, which may be too
 * old. (That read happens at the store instead of at the publishing of the
 * put; both lie inside the put.) So a reader must say which of the two it is.
 *
 * Values up to MEMTABLE_INLINE_MAX may be overwritten in place and are copied
 * out by memtable_get; larger ones are immutable and handed out as pointers
 * into the arena, good as long as the caller holds a reference on the
 * memtable (or stays in its epoch).
 */
#ifndef MEMTABLE_MEMTABLE_H
#define MEMTABLE_MEMTABLE_H

#include "base/ledger.h"
#include "kv/iterator.h"
#include "kv/types.h"

enum { MEMTABLE_INLINE_MAX = 1024 };

struct memtable;
struct memtable_pool;

/* Keeps up to `spares` arenas of one size for reuse: a first touch of fresh
   memory costs more than an insert. */
struct memtable_pool *memtable_pool_new(size_t arena_bytes, unsigned spares,
                                        struct ledger *ledger);
void memtable_pool_free(struct memtable_pool *pool); /* all memtables gone */

/* arena_bytes 0: the pool's size, its arenas reused, huge pages where large
   enough, charged to LEDGER_MEMTABLE as touched. Otherwise an arena of its own
   in ordinary pages (for a write larger than a memtable), charged to
   LEDGER_OVERSIZE. A new memtable has room for all arena_bytes. One reference
   for the caller. */
adb_status memtable_new(struct memtable_pool *pool, size_t arena_bytes,
                        struct memtable **out) ADB_MUST_CHECK;
struct memtable *memtable_ref(struct memtable *m);
void memtable_unref(struct memtable *m); /* NULL is fine; frees at zero */

/* Arena bytes that `count` inserts with these total key and value bytes need
   at most, node splits included. */
size_t memtable_worst_case(uint64_t count, uint64_t key_bytes,
                           uint64_t value_bytes);
/* True when that much is left: then those inserts cannot fail. Whoever writes
   from several threads at once asks for the sum. */
bool memtable_has_room(const struct memtable *m, size_t worst_case);

struct memtable_write {
    adb_slice key;
    uint64_t hash; /* hash_key(key) */
    uint64_t seq;
    enum kv_kind kind;
    adb_slice value;
    uint64_t keep_seq;
    bool in_place;
};
/* Inserts or replaces. ADB_NO_MEMORY only when memtable_has_room was not
   asked. Of writes racing on one key the highest sequence ends on top, and all
   stay visible to the sequences between. The same sequence on the same key
   twice is the same write and is ignored. */
adb_status memtable_put(struct memtable *m,
                        const struct memtable_write *w) ADB_MUST_CHECK;

struct memtable_hit {
    enum kv_kind kind;
    uint64_t seq;
    adb_slice value; /* in scratch, or in the arena when larger than
                        MEMTABLE_INLINE_MAX */
    bool in_arena;
};
/* False: this memtable says nothing about the key at read_seq. registered:
   read_seq is that of a registered snapshot (at most keep_seq of every writer
   since it was taken). scratch has MEMTABLE_INLINE_MAX bytes. */
bool memtable_get(const struct memtable *m, adb_slice key, uint64_t hash,
                  uint64_t read_seq, bool registered, uint8_t *scratch,
                  struct memtable_hit *hit);

/* Versions in kv order. all_versions false: of each key only the newest with
   seq <= read_seq, and read_seq must be a registered snapshot as long as the
   iterator lives (then slices point into the arena and stay). all_versions
   true: every version kept; the memtable must be frozen. Holds a reference.
   NULL: out of memory. */
struct kv_iter *memtable_iter_new(struct memtable *m, uint64_t read_seq,
                                  bool all_versions);
/* For another registered snapshot; needs a seek next. Not with all_versions. */
void memtable_iter_reset(struct kv_iter *it, uint64_t read_seq);

struct memtable_stats {
    uint64_t keys;             /* distinct */
    uint64_t versions;         /* reachable, chained ones included */
    uint64_t data_bytes;       /* key and value bytes of the newest versions */
    uint64_t arena_used;       /* bytes of the arena handed out: what the flush
                                  threshold is compared with; 0 when empty */
    uint64_t in_place;         /* writes that replaced the version on top */
    uint64_t min_seq, max_seq; /* of all writes; 0 when none */
    unsigned height;
};
void memtable_stats(const struct memtable *m, struct memtable_stats *out);
/* Only arena_used; cheap enough for every put. */
size_t memtable_used(const struct memtable *m);
bool memtable_empty(const struct memtable *m);

/* Roughly the bytes between two keys (to.data NULL: to the end). */
uint64_t memtable_approximate_size(const struct memtable *m, adb_slice from,
                                   adb_slice to);

/* Checks all invariants of a memtable nobody writes to; the message says
   which one is broken. For tests and debug builds. */
adb_status memtable_check(const struct memtable *m) ADB_MUST_CHECK;

#endif
