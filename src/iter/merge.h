/*
 * Merging iterators.
 *
 * merge_iter: the union of sorted sources as one kv_iter, through a loser tree
 * (Knuth 5.4.1) over 8-byte key heads; one source needs no tree. Entries that
 * compare equal (never in a sound database) come from the earlier source
 * first.
 *
 * user_iter: what a reader sees of it: of each key the newest version at or
 * below read_seq, no tombstones, inside bounds; forward and backward.
 */
#ifndef ITER_MERGE_H
#define ITER_MERGE_H

#include "kv/iterator.h"

/* Takes the sources over (closed with the result, also on failure); with no
   source the result is empty. NULL: out of memory. */
struct kv_iter *merge_iter_new(struct kv_iter **sources, size_t count);

struct user_iter_options {
    uint64_t read_seq;
    /* [lower, upper), data NULL: open; borrowed until closed or reset. */
    adb_slice lower, upper;
    /* What heads are counted from; NULL: the keys' start. Borrowed until closed
       or reset; what it holds may change while the iterator rests. */
    const struct key_origin *origin;
};
/* Takes source over, also on failure. Yields user keys with their visible
   value; `seq` is that version's. seek and seek_before go by the key alone (as
   with KV_MAX_SEQ), and the key may be the one under the iterator. prev and
   next may follow each other at any time. Backward, values above 16 KiB come
   unloaded (value.data NULL) whatever the source. NULL: out of memory. */
struct kv_iter *user_iter_new(struct kv_iter *source,
                              const struct user_iter_options *options);
/* As if new over the same source (whose own read_seq is not its concern). */
void user_iter_reset(struct kv_iter *it,
                     const struct user_iter_options *options);

#endif
