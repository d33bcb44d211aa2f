#include "db/registry.h"

#include "base/bytes.h"
#include "base/thread.h"

enum { TRIES = 4 };

/* All loads and stores here are sequentially consistent where nothing else is
   said: each side stores, then loads what the other one stored. */

/* Asked behind the store into the slot. If nobody chooses now, then whoever
   chooses later sees the slot; whoever chose before has done what it chose for,
   which shows in what is loaded after that: it published, or closed. */
static bool is_safe(const struct registry *r, const _Atomic uint64_t *published,
                    uint64_t seq)
{
    return !atomic_load(&r->choosing) && atomic_load(&r->open) &&
           atomic_load(published) == seq;
}

/* With a slot taken: keeps it, or gives it back and returns NULL. */
static struct registry_slot *settle(const struct registry *r,
                                    struct registry_slot *slot,
                                    const _Atomic uint64_t *published,
                                    uint64_t *seq)
{
    for (unsigned tries = 0; tries < TRIES; tries++) {
        if (likely(is_safe(r, published, *seq)))
            return slot;
        *seq = atomic_load(published);
        atomic_store(&slot->taken, *seq + 1);
    }
    registry_leave(slot);
    return NULL;
}

struct registry_slot *registry_enter(struct registry *r,
                                     const _Atomic uint64_t *published,
                                     uint64_t *seq)
{
    struct registry_slot *slots =
        r->shards[thread_ordinal() % REGISTRY_SHARDS].slots;
    if (!atomic_load_explicit(&r->open, memory_order_relaxed))
        return NULL;
    for (unsigned i = 0; i < REGISTRY_SHARD_SLOTS; i++) {
        uint64_t nobody = 0;
        *seq = atomic_load(published);
        if (atomic_compare_exchange_strong(&slots[i].taken, &nobody, *seq + 1))
            return settle(r, &slots[i], published, seq);
    }
    return NULL;
}

void registry_leave(struct registry_slot *slot)
{
    /* Release: reading is over before what was read is overwritten. */
    atomic_store_explicit(&slot->taken, 0, memory_order_release);
}

void registry_open(struct registry *r)
{
    r->quiet = 0;
    atomic_store(&r->open, true);
}

/* Of all slots the i-th: what it says. */
static uint64_t taken_at(const struct registry *r, size_t i)
{
    return atomic_load(&r->shards[i / REGISTRY_SHARD_SLOTS]
                            .slots[i % REGISTRY_SHARD_SLOTS]
                            .taken);
}

/* What the newest slot says. */
static uint64_t newest(const struct registry *r)
{
    uint64_t most = 0;
    for (size_t i = 0; i < REGISTRY_SLOTS; i++) {
        uint64_t taken = taken_at(r, i);
        most = MAX_OF(most, taken);
    }
    return most;
}

uint64_t registry_choose(struct registry *r)
{
    if (likely(!atomic_load_explicit(&r->open, memory_order_relaxed)))
        return 0;
    atomic_store(&r->choosing, true);
    uint64_t most = newest(r);
    if (most)
        r->quiet = 0;
    else if (++r->quiet >= REGISTRY_QUIET)
        atomic_store_explicit(&r->open, false, memory_order_relaxed);
    return most ? most - 1 : 0;
}

void registry_chosen(struct registry *r)
{
    atomic_store_explicit(&r->choosing, false, memory_order_release);
}

size_t registry_list(const struct registry *r, uint64_t seqs[REGISTRY_SLOTS])
{
    size_t count = 0;
    for (size_t i = 0; i < REGISTRY_SLOTS; i++) {
        uint64_t taken = taken_at(r, i);
        if (taken)
            seqs[count++] = taken - 1;
    }
    return count;
}
