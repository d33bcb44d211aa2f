/*
 * The block cache: bounded, shared by all tables of a database.
 *
 * There is no hash table. Whoever owns a thing that can be loaded (a table's
 * block, index part, filter part) owns a slot for it: one atomic word, NULL or
 * a pointer to the loaded frame. A hit is one load. The cache only knows which
 * frames exist, what they weigh and which to give up.
 *
 *      slot ---> frame { header, payload }      slot: in the owner's memory
 *      queue --> frame                          eviction order
 *
 * States of a frame
 *      loaded by a reader, private (and stays so when cache_offer passes it)
 *        | cache_insert: slot NULL -> frame (the loser of a race is freed)
 *      in the slot, in a queue; refs = 1 (the cache's) + pins
 *        | eviction or cache_drop: slot -> NULL, out of the queues
 *      unreachable for new readers; those in an epoch may still read it
 *        | after the epoch: the cache's reference goes
 *      refs = 0: freed through frame->free
 *
 * Readers stand in an epoch (base/epoch.h) from loading the slot to their last
 * use of the frame, or pin the frame inside the epoch and unpin it later.
 *
 * Eviction: scan-resistant (S3-FIFO, Yang et al., SOSP 2023: a small and a
 * main queue plus remembered ghosts), driven by the ledger: frames go while
 * ledger_total exceeds the budget, down to a floor of a few frames, so that
 * memtables and other rows push the cache down. A block that is new to a full
 * cache is not taken in at its first load, only remembered
 * (docs/decisions/021-at-the-second-load.md).
 *
 * Ledger: a frame is charged to its row from insertion until the epoch after
 * its eviction is over, that is, until its memory is given back; what a pin
 * keeps beyond that stands under LEDGER_ITERATOR, as do private frames, and
 * counts against the budget where it is more than a 64th of it: what readers
 * hold for a moment does not cost others their place. Frames evicted but still
 * waiting for their epoch do not count against the budget (or eviction would
 * run away); when they are many, the cache drives the epoch on itself.
 *
 * Threads: everything from any thread. One mutex guards the queues; hits do
 * not take it. All writes of NULL to slots happen under it, so that a frame
 * that holds slots can be freed safely: its cache_drop waits for an eviction
 * that is about to clear one.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <stdatomic.h>

#include "base/epoch.h"
#include "base/ledger.h"
#include "base/status.h"

struct cache;
struct cache_frame;

typedef _Atomic(struct cache_frame *) cache_slot;

/* Embedded first in what is cached. The caller zeroes it and sets free,
   context, charge, row, ghost and perhaps parent; the rest is the cache's own.
   What a hit touches stands last, next to the payload. */
struct cache_frame {
    struct epoch_node node;
    cache_slot *slot; /* NULL once detached */
    struct cache_frame *older, *newer;
    /* The frame whose memory holds our slot; NULL: memory of its own kind.
       A parent is given up after its children, within bounds; its free must
       cache_drop the slots it holds, also those that look empty. */
    struct cache_frame *parent;
    void (*free)(struct cache_frame *frame); /* must release the memory */
    void *context;  /* free's own */
    uint64_t ghost; /* identity remembered after eviction, a hash; 0: none */
    struct cache *cache;
    size_t charge;     /* bytes, header included */
    uint32_t children; /* frames in slots of ours */
    uint8_t queue;
    uint8_t row;           /* enum ledger_row */
    uint8_t private_frame; /* never inserted: owned by its one reader */
    uint8_t spared;        /* times kept for its children's or pins' sake */
    _Atomic uint32_t refs;
    _Atomic uint8_t used; /* hit since the hand passed */
};

struct cache_options {
    struct ledger *ledger; /* budget and rows */
    struct epoch *epoch;
};
adb_status cache_new(const struct cache_options *options,
                     struct cache **out) ADB_MUST_CHECK;
/* All slots dropped and all pins given back before. Waits for the epoch: not
   inside one. NULL is fine. */
void cache_free(struct cache *c);

/* The frame in a slot, or NULL; marks it used. Inside an epoch. */
static inline struct cache_frame *cache_lookup(cache_slot *slot)
{
    struct cache_frame *frame =
        atomic_load_explicit(slot, memory_order_acquire);
    /* Written only when it changes, so that hot frames stay shared. */
    if (frame && atomic_load_explicit(&frame->used, memory_order_relaxed) == 0)
        atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
    return frame;
}

/* Puts a fresh frame (free, charge, row, ghost set) into the slot and evicts
   others if the budget asks: at least its own weight, and little more, so that
   a cache that others made too large comes back in many steps. Returns the
   frame now in the slot: the given one or, when another reader was faster,
   theirs (ours is freed). Inside an epoch; good until it ends, or pinned. The
   frame just inserted is not evicted by this call. */
struct cache_frame *cache_insert(struct cache *c, cache_slot *slot,
                                 struct cache_frame *frame);

/* The same for what its reader can do without: while there is room, and of what
   was loaded not long ago already. What is new to a full cache is remembered
   and comes back private and pinned, as from cache_make_private: look at
   frame->private_frame. */
struct cache_frame *cache_offer(struct cache *c, cache_slot *slot,
                                struct cache_frame *frame);

/* For no_fill reads: a frame that is never shared. It starts pinned once. */
void cache_make_private(struct cache *c, struct cache_frame *frame);

/* Inside the epoch in which it was found; keeps it beyond. A pinned frame that
   leaves the cache is charged to LEDGER_ITERATOR until unpinned. */
void cache_pin(struct cache_frame *frame);
void cache_unpin(struct cache_frame *frame); /* NULL is fine; any thread */

/* Of a frame that may have come private, which is pinned once already: to keep
   it beyond the epoch, or to be done with it inside (NULL is fine). */
static inline void cache_keep(struct cache_frame *frame)
{
    if (!frame->private_frame)
        cache_pin(frame);
}
static inline void cache_done(struct cache_frame *frame)
{
    if (frame && frame->private_frame)
        cache_unpin(frame);
}

/* Empties `count` slots whose owner goes away. No reader may insert into them
   any more (the owner is unreachable, its epoch over). Afterwards the memory
   of the slots may be freed. */
void cache_drop(struct cache *c, cache_slot *slots, size_t count);

/* Evicts until the ledger is within its budget or nothing is left. Called by
   those who grow other rows. */
void cache_trim(struct cache *c);
/* The same, but looks at no more frames than about so many, for a thread that
   has other things to look after. True: there may be more to do. */
bool cache_trim_some(struct cache *c, size_t looks);

struct cache_stats {
    uint64_t inserts, evictions, races_lost, ghost_hits;
    uint64_t passed;        /* offered, and not taken in */
    uint64_t frames, bytes; /* in slots now */
    uint64_t pending_bytes; /* evicted, waiting for their epoch */
    uint64_t pinned_bytes;  /* out of the cache, or private, still pinned */
};
void cache_stats(struct cache *c, struct cache_stats *out);

#endif
