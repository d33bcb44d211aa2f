/*
 * The record lock and the words of a value under their seqlock (record.h).
 */
#ifndef MEMTABLE_VERSION_LOCK_H
#define MEMTABLE_VERSION_LOCK_H

#include "memtable/btree_node.h"
#include "memtable/record.h"

enum {
    /* A version block that may be overwritten later gets a quarter more room
       than its value needs, up to this. */
    VERSION_SLACK_PART = 4,
    VERSION_SLACK_MAX = 64,
};

/* Returns the trailer without LOCK, to be handed to record_unlock. Held for
   one small copy at most; a preempted holder makes the others yield. */
static inline uint64_t record_lock(struct record *r)
{
    _Atomic uint64_t *word = &r->first.trailer;
    uint64_t trailer = atomic_load_explicit(word, memory_order_relaxed);
    unsigned spins = 0;
    for (;;) {
        if (!(trailer & TRAILER_LOCK) &&
            atomic_compare_exchange_weak_explicit(
                word, &trailer, trailer | TRAILER_LOCK, memory_order_acquire,
                memory_order_relaxed))
            return trailer;
        if (trailer & TRAILER_LOCK) {
            spin_wait(&spins);
            trailer = atomic_load_explicit(word, memory_order_relaxed);
        }
    }
}

static inline void record_unlock(struct record *r, uint64_t trailer)
{
    STORE(r->first.trailer, trailer);
}

/* After words_load: was that one value? */
static inline bool version_unchanged(const struct version *v, uint64_t trailer)
{
    return atomic_load_explicit(&v->trailer, memory_order_relaxed) == trailer;
}

/* `to` gets size rounded up to 8 bytes. */
static inline void words_load(uint8_t *to, const uint8_t *from, size_t size)
{
    const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)from;
    for (size_t at = 0; at < size; at += 8, word++) {
        uint64_t value = atomic_load_explicit(word, memory_order_acquire);
        memcpy(to + at, &value, 8);
    }
}

/* Overwrites a value that readers may be copying. */
static inline void words_store(uint8_t *to, const uint8_t *from, size_t size)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)to;
    size_t at = 0;
    uint64_t value;
    for (; at + 8 <= size; at += 8, word++) {
        memcpy(&value, from + at, 8);
        atomic_store_explicit(word, value, memory_order_release);
    }
    if (at < size) {
        value = 0;
        memcpy(&value, from + at, size - at);
        atomic_store_explicit(word, value, memory_order_release);
    }
}

#endif
