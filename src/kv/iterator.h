/*
 * The iterator every sorted source implements: memtable, table, run, merge.
 * It walks versions (kv/types.h) in kv order, both ways.
 *
 * The entry under the iterator stands in the struct itself, so that a merge
 * compares heads without a call. valid == false: no entry; then status tells
 * the end (ADB_OK) from a failure (whose message stands in `error`, since the
 * thread that looks may look later).
 *
 * Damage. A merge must not fail before it comes to what is damaged, though its
 * sources look ahead. So a source may be asked to stand at an entry of kind
 * KV_DAMAGED instead of failing: valid, its key and seq no later (backward: no
 * earlier) than anything that cannot be read, and load tells the failure. A
 * move on passes over what is damaged, a move back leaves it unless the source
 * was placed right into it. Whoever comes to such an entry fails.
 *
 * Lifetimes: key and value live until the next move or close; the bytes of a
 * `lasting` value through one step (next or prev) more. A value too
 * large to stand in a block (a table's extent) is not loaded by moves: then
 * value.data is NULL, value.size its size, and kv_iter_load fetches it.
 *
 * Threads: one at a time.
 */
#ifndef KV_ITERATOR_H
#define KV_ITERATOR_H

#include <stdbool.h>

#include "base/status.h"
#include "kv/origin.h"

struct kv_iter;

struct kv_iter_ops {
    void (*seek_first)(struct kv_iter *it);
    void (*seek_last)(struct kv_iter *it);
    /* First entry at or after (key, seq) in kv order: with KV_MAX_SEQ the
       newest version of the first key >= key. */
    void (*seek)(struct kv_iter *it, adb_slice key, uint64_t seq);
    /* Last entry before (key, seq) in kv order: with KV_MAX_SEQ the oldest
       version of the last key < key. For the last key <= k seek before the
       key k + "\0". */
    void (*seek_before)(struct kv_iter *it, adb_slice key, uint64_t seq);
    /* Right before a seek to (backward: before) key, and nothing else: begins
       to fetch what that will look at, so that the misses of several sources,
       of the processor's caches or of the disk, overlap. The iterator stands
       nowhere until that seek. NULL: nothing to gain. */
    void (*prepare)(struct kv_iter *it, adb_slice key, bool backward);
    /* The origin has changed: tells the sources. NULL: it has none. */
    void (*set_origin)(struct kv_iter *it);
    void (*next)(struct kv_iter *it); /* needs valid */
    void (*prev)(struct kv_iter *it); /* needs valid */
    /* Makes value.data valid. NULL where values are always loaded. */
    adb_status (*load)(struct kv_iter *it);
    /* Reads part of an unloaded value, so that a merge can stream it. NULL
       where values are always loaded. */
    adb_status (*read_value)(struct kv_iter *it, uint64_t offset, void *data,
                             size_t size);
    /* Gives back what it pins; needs a seek next. NULL: it pins nothing. */
    void (*rest)(struct kv_iter *it);
    void (*close)(struct kv_iter *it); /* frees the iterator */
};

struct kv_iter {
    const struct kv_iter_ops *ops;
    bool valid;
    bool lasting; /* see above; true or false for all values of a block */
    enum kv_kind kind;
    uint64_t seq;
    uint64_t head; /* key_head_from(origin, key) */
    adb_slice key;
    adb_slice value;
    adb_status status;
    struct status_saved *error; /* owned by the iterator; NULL when none */
    const struct key_origin *origin; /* borrowed, NULL: none */
};

static inline void kv_iter_next(struct kv_iter *it)
{
    it->ops->next(it);
}
static inline void kv_iter_prev(struct kv_iter *it)
{
    it->ops->prev(it);
}
static inline adb_status kv_iter_load(struct kv_iter *it)
{
    return it->value.data || !it->ops->load ? ADB_OK : it->ops->load(it);
}
static inline void kv_iter_rest(struct kv_iter *it)
{
    it->valid = false;
    if (it->ops->rest)
        it->ops->rest(it);
}
/* From the next seek on heads count from the origin, which must live as long
   as the iterator; only while it stands nowhere. NULL: from the keys' start. */
static inline void kv_iter_set_origin(struct kv_iter *it,
                                      const struct key_origin *origin)
{
    it->origin = origin;
    if (it->ops->set_origin)
        it->ops->set_origin(it);
}
static inline void kv_iter_close(struct kv_iter *it) /* NULL is fine */
{
    if (it)
        it->ops->close(it);
}

/* For implementers: the iterator has failed (saves this thread's message), or
   is at its end. */
void kv_iter_fail(struct kv_iter *it, adb_status status);
static inline void kv_iter_end(struct kv_iter *it)
{
    it->valid = false;
}
/* For users: the iterator's failure becomes this thread's; ADB_OK if none. */
adb_status kv_iter_status(const struct kv_iter *it);

#endif
