/*
 * The memory of one memtable: a contiguous reservation handed out from the
 * bottom up and given back as a whole. Places are offsets in units of 8
 * bytes, so that 32 bits reach 32 GiB; offset 0 means "nothing".
 *
 *     0            filter_bytes                  used          capacity
 *     | filter words | nodes, records, versions ...| never touched |
 *
 * The reservation is a quarter larger than what was asked for: address space
 * costs nothing, and memtable_has_room need not know how the inserts to come
 * will split the tree (see memtable_worst_case).
 *
 * Recycling: arena_reset clears the filter and forgets the rest without
 * touching it, so whoever allocates must initialise what it reads later.
 *
 * Threads: arena_alloc from any thread; the rest belongs to one owner.
 */
#ifndef MEMTABLE_ARENA_H
#define MEMTABLE_ARENA_H

#include <stdatomic.h>

#include "base/bytes.h"
#include "base/ledger.h"

enum { ARENA_UNIT = 8 };

struct arena {
    /* Immutable. */
    uint8_t *base;
    size_t reserved_bytes;
    size_t soft_bytes; /* what the creator asked for */
    size_t filter_bytes;
    uint64_t capacity;     /* units */
    uint64_t charge_units; /* the ledger's grain */
    struct ledger *ledger; /* borrowed */
    enum ledger_row row;
    bool pooled;
    struct arena *next; /* guarded by the pool's lock */
    /* Atomic. */
    _Alignas(64) _Atomic uint64_t used; /* units handed out */
    _Atomic uint64_t charged; /* units entered in the ledger: those touched in
                                 any life of this arena */
};

/* NULL: out of memory (address space or heap). The filter is zero. */
struct arena *arena_new(size_t bytes, size_t filter_bytes, bool huge,
                        struct ledger *ledger, enum ledger_row row);
void arena_free(struct arena *a); /* NULL is fine */
void arena_reset(struct arena *a);

/* Slow part of arena_alloc: enters what is now touched in the ledger. */
void arena_charge(struct arena *a, uint64_t used);

/* Offset of `bytes` uninitialised bytes, 8-byte aligned; 0: full. */
static inline uint32_t arena_alloc(struct arena *a, size_t bytes)
{
    uint64_t units = (bytes + ARENA_UNIT - 1) / ARENA_UNIT;
    uint64_t at = atomic_load_explicit(&a->used, memory_order_relaxed);
    /* Not fetch-add: one that is too large must leave no trace, or smaller
       ones after it would fail although they fit. */
    do {
        if (unlikely(units > a->capacity - at))
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(
        &a->used, &at, at + units, memory_order_relaxed, memory_order_relaxed));
    if (unlikely(at + units >
                 atomic_load_explicit(&a->charged, memory_order_relaxed)))
        arena_charge(a, at + units);
    return (uint32_t)at;
}

/* Bytes handed out so far, the filter not counted. */
static inline size_t arena_used(const struct arena *a)
{
    return (size_t)atomic_load_explicit(&a->used, memory_order_relaxed) *
               ARENA_UNIT -
           a->filter_bytes;
}

static inline void *arena_at(const uint8_t *base, uint32_t offset)
{
    return (void *)(uintptr_t)(base + (size_t)offset * ARENA_UNIT);
}

#endif
