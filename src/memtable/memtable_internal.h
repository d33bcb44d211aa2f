/* What the files of this folder share about a memtable. */
#ifndef MEMTABLE_MEMTABLE_INTERNAL_H
#define MEMTABLE_MEMTABLE_INTERNAL_H

#include "memtable/arena.h"
#include "memtable/btree.h"
#include "memtable/filter.h"
#include "memtable/memtable.h"
#include "memtable/record.h"

struct memtable {
    /* Immutable. */
    struct memtable_pool *pool; /* borrowed; outlives us */
    struct arena *arena;        /* owned, goes back to the pool */
    struct filter filter;
    size_t base_used; /* arena_used of the empty memtable */
    struct btree tree;
    /* Atomic counters, relaxed: nothing is ordered by them. */
    _Alignas(64) _Atomic uint64_t keys;
    _Atomic uint64_t chained; /* versions - keys */
    _Atomic uint64_t data_bytes;
    _Atomic uint64_t in_place;
    _Atomic uint64_t min_seq, max_seq;
    _Atomic uint32_t references; /* the last one out frees: acq_rel */
};

/* memtable_pool.c */
struct arena *memtable_pool_take(struct memtable_pool *pool);
struct arena *memtable_pool_oversize(struct memtable_pool *pool, size_t bytes);
void memtable_pool_give(struct memtable_pool *pool, struct arena *arena);
struct ledger *memtable_pool_ledger(const struct memtable_pool *pool);

#endif
