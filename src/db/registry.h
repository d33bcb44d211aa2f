/*
 * Sequences that iterators read at, registered without a lock: what such a one
 * sees must not be overwritten in place, nor left out by a merge.
 *
 * Who decides such things - a writer about to insert, a merge that asks what to
 * keep; one at a time, by a lock of the owner's - encloses that in
 * registry_choose and registry_chosen, and publishes a write in between. Who
 * registers puts a sequence into a slot first, then asks whether somebody is
 * choosing and whether the sequence is still the published one. One of the two
 * sees the other (Dekker's argument, as in epoch.h); who registers gives way.
 *
 * Choosing costs a look at all slots, so it is done only while the registry is
 * open. It opens when the owner says so, and closes by itself after a number of
 * choices that found nobody. While it is closed nobody registers here.
 *
 * Threads: enter and leave, any; the others under the owner's lock.
 */
#ifndef DB_REGISTRY_H
#define DB_REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REGISTRY_SHARDS = 16, /* a thread has one, and others beside it */
    REGISTRY_SHARD_SLOTS = 4,
    REGISTRY_SLOTS = REGISTRY_SHARDS * REGISTRY_SHARD_SLOTS,
    REGISTRY_QUIET = 256 /* choices */
};

/* A registered sequence plus one; 0: free. */
struct registry_slot {
    _Atomic uint64_t taken;
};

/* All zero: closed, nobody there. */
struct registry {
    _Atomic bool open; /* stored under the owner's lock */
    _Atomic bool choosing;
    unsigned quiet; /* choices in a row that found nobody; owner's lock */
    struct {
        _Alignas(64) struct registry_slot slots[REGISTRY_SHARD_SLOTS];
    } shards[REGISTRY_SHARDS];
};

/* Registers the sequence in *published, which only grows. NULL: not now, take
   the owner's lock; it holds up nobody and waits for nobody. */
struct registry_slot *registry_enter(struct registry *r,
                                     const _Atomic uint64_t *published,
                                     uint64_t *seq);
void registry_leave(struct registry_slot *slot);

void registry_open(struct registry *r);
/* The newest registered sequence, 0: none, or a newer one. Until
   registry_chosen nobody registers. */
uint64_t registry_choose(struct registry *r);
void registry_chosen(struct registry *r);
/* All of them, in any order, between choose and chosen; returns how many. */
size_t registry_list(const struct registry *r, uint64_t seqs[REGISTRY_SLOTS]);

#endif
