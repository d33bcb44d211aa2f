/*
 * What the leaves of the tree point to. All places are arena offsets in units
 * of 8 bytes.
 *
 *     record                              version block
 *      0  u64 trailer                      0  u64 trailer
 *      8  u32 length    of the value       8  u32 length
 *     12  u32 older     version or 0      12  u32 older
 *     16  u32 newest    version           16  u32 capacity of the value space
 *     20  u32 key size << 8 |             20  u32 0
 *             value space in units        24  value, padded to 8
 *     24  key, padded to 8
 *         value, padded to 8
 *
 * A record is a key with its first version inside ("inline"); later versions
 * that may not or cannot overwrite it stand in blocks. Both begin with a
 * struct version. `newest` leads to the top of the chain, `older` down, with
 * sequences strictly falling; the record's own offset means its inline
 * version. A record whose first value was larger than MEMTABLE_INLINE_MAX has
 * none: sequence 0, and not in the chain.
 *
 * trailer = sequence << 8 | flags | kind, and it is a seqlock: an overwrite in
 * place sets LOCK, stores the value's words, then stores the new trailer. A
 * reader loads the trailer, the words, and the trailer again; if it changed,
 * what it copied is void. Words are stored with release and loaded with
 * acquire order, so that a reader who saw a new word must also see the lock
 * or the new trailer; no fences, which ThreadSanitizer does not model.
 *
 * LOCK on the record's own trailer is at the same time the lock of the whole
 * chain: whoever adds, replaces or overwrites a version holds it.
 */
#ifndef MEMTABLE_RECORD_H
#define MEMTABLE_RECORD_H

#include <stdatomic.h>

#include "kv/types.h"
#include "memtable/arena.h"

enum {
    TRAILER_KIND = 0x3f,
    TRAILER_REPLACED = 0x40, /* took the place of a version now gone */
    TRAILER_LOCK = 0x80,
};
/* The capacity of a block whose value may be in a reader's hand. */
#define VERSION_IMMUTABLE UINT32_MAX

struct version {
    _Atomic uint64_t trailer;
    _Atomic uint32_t length;
    _Atomic uint32_t older;
};
struct record {
    struct version first;
    _Atomic uint32_t newest;
    uint32_t sizes;
};
struct version_block {
    struct version version;
    uint32_t capacity;
    uint32_t zero;
};
_Static_assert(sizeof(struct record) == 24, "record header");
_Static_assert(sizeof(struct version_block) == 24, "version header");

static inline size_t pad8(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static inline uint64_t trailer_make(uint64_t seq, enum kv_kind kind)
{
    return seq << 8 | (uint64_t)kind;
}
static inline uint64_t trailer_seq(uint64_t trailer)
{
    return trailer >> 8;
}
static inline enum kv_kind trailer_kind(uint64_t trailer)
{
    return (enum kv_kind)(trailer & TRAILER_KIND);
}
static inline uint64_t version_trailer(const struct version *v)
{
    return atomic_load_explicit(&v->trailer, memory_order_acquire);
}
static inline uint32_t version_older(const struct version *v)
{
    return atomic_load_explicit(&v->older, memory_order_acquire);
}
static inline uint32_t version_length(const struct version *v)
{
    return atomic_load_explicit(&v->length, memory_order_acquire);
}

static inline struct record *record_at(const uint8_t *base, uint32_t offset)
{
    return arena_at(base, offset);
}
static inline struct version *version_at(const uint8_t *base, uint32_t offset)
{
    return arena_at(base, offset);
}
/* Header and a short key. */
static inline void record_prefetch(const struct record *r)
{
    __builtin_prefetch(r);
    __builtin_prefetch((const char *)r + 40);
}
static inline uint32_t record_newest(const struct record *r)
{
    return atomic_load_explicit(&r->newest, memory_order_acquire);
}
static inline size_t record_key_size(const struct record *r)
{
    return r->sizes >> 8;
}
static inline adb_slice record_key(const struct record *r)
{
    return slice_of(r + 1, record_key_size(r));
}

/* Where the value of a version of record r starts; 8-byte aligned. */
static inline uint8_t *version_value(const struct record *r,
                                     const struct version *v)
{
    if (v == &r->first)
        return (uint8_t *)(uintptr_t)(r + 1) + pad8(record_key_size(r));
    return (uint8_t *)(uintptr_t)v + sizeof(struct version_block);
}
/* How long a value may be that overwrites it; VERSION_IMMUTABLE: none. */
static inline uint32_t version_capacity(const struct record *r,
                                        const struct version *v)
{
    if (v == &r->first)
        return (r->sizes & 0xff) * ARENA_UNIT;
    return ((const struct version_block *)(const void *)v)->capacity;
}

#endif
