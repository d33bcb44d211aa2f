/*
 * A register-blocked Bloom filter over the keys of a memtable (Putze, Sanders,
 * Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007, with a
 * block of one machine word): five bits of one 64-bit word, so that a probe
 * is one load and an insert one atomic or. At 14 bits a key about 0.6 % of
 * the misses pass.
 *
 * The upper half of the hash picks the word, the lower 30 bits the bits.
 *
 * Most databases that are only read have an empty memtable; that much is told
 * by a flag, which is warm where a word of the filter is not.
 *
 * Threads: any. Bits are only ever set; a key is in the filter before its
 * record is in the tree.
 */
#ifndef MEMTABLE_FILTER_H
#define MEMTABLE_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/bytes.h"

struct filter {
    _Atomic uint64_t *words; /* borrowed from the arena */
    uint64_t count;          /* below 2^32 */
    _Atomic bool any;        /* a key was added */
};

static inline uint64_t filter_bits(uint64_t hash)
{
    return UINT64_C(1) << (hash & 63) | UINT64_C(1) << (hash >> 6 & 63) |
           UINT64_C(1) << (hash >> 12 & 63) | UINT64_C(1) << (hash >> 18 & 63) |
           UINT64_C(1) << (hash >> 24 & 63);
}

static inline _Atomic uint64_t *filter_word(const struct filter *f,
                                            uint64_t hash)
{
    return &f->words[(hash >> 32) * f->count >> 32];
}

static inline void filter_add(struct filter *f, uint64_t hash)
{
    if (unlikely(!atomic_load_explicit(&f->any, memory_order_relaxed)))
        atomic_store_explicit(&f->any, true, memory_order_relaxed);
    _Atomic uint64_t *word = filter_word(f, hash);
    uint64_t bits = filter_bits(hash);
    /* An overwrite finds its bits set and spares the locked instruction. */
    if ((atomic_load_explicit(word, memory_order_relaxed) & bits) != bits)
        atomic_fetch_or_explicit(word, bits, memory_order_relaxed);
}

static inline bool filter_may_contain(const struct filter *f, uint64_t hash)
{
    if (!atomic_load_explicit(&f->any, memory_order_relaxed))
        return false;
    uint64_t bits = filter_bits(hash);
    return (atomic_load_explicit(filter_word(f, hash), memory_order_relaxed) &
            bits) == bits;
}

#endif
