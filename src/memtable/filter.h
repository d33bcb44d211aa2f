/*
 * A register-blocked Bloom filter over the keys of a memtable (Putze, Sanders,
 * Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007, with a
 * block of one machine word): five bits of one 64-bit word, so that a probe
 * is one load and an insert one atomic or. At 14 bits a key about 0.6 % of
 * the misses pass.
 *
 * The upper half of the hash picks the word, the lower 30 bits the bits.
 *
 * Threads: any. Bits are only ever set; a key is in the filter before its
 * record is in the tree.
 */
#ifndef MEMTABLE_FILTER_H
#define MEMTABLE_FILTER_H

#include <stdatomic.h>

#include "base/bytes.h"

struct filter {
    _Atomic uint64_t *words; /* borrowed from the arena */
    uint64_t count;          /* below 2^32 */
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

static inline void filter_add(const struct filter *f, uint64_t hash)
{
    _Atomic uint64_t *word = filter_word(f, hash);
    uint64_t bits = filter_bits(hash);
    /* An overwrite finds its bits set and spares the locked instruction. */
    if ((atomic_load_explicit(word, memory_order_relaxed) & bits) != bits)
        atomic_fetch_or_explicit(word, bits, memory_order_relaxed);
}

static inline bool filter_may_contain(const struct filter *f, uint64_t hash)
{
    uint64_t bits = filter_bits(hash);
    return (atomic_load_explicit(filter_word(f, hash), memory_order_relaxed) &
            bits) == bits;
}

#endif
