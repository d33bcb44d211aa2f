/*
 * The nodes of the B+-tree (btree.h) and the search inside one.
 *
 *       0  u64 version    odd: locked
 *       8  u32 meta       count | prefix length << 8 | leaf << 16
 *      12  u32 next       leaf: right neighbour, 0: none
 *      16  u64 prefix[2]  first 16 bytes of the shared prefix, big endian
 *      32  u32 head[64]   4 bytes of key after the prefix, big endian
 *     288  u32 slot[64]   records; in inner nodes the separators
 *     544  u32 child[65]  inner nodes only
 *
 * Prefixes longer than 16 bytes go on in the key of slot 0. The prefix may be
 * shorter than what the keys share, never longer.
 */
#ifndef MEMTABLE_BTREE_NODE_H
#define MEMTABLE_BTREE_NODE_H

#include "base/thread.h"
#include "memtable/btree.h"
#include "memtable/record.h"

enum {
    PREFIX_MAX = 255,
    PREFIX_INLINE = 16,
    META_LEAF = 1 << 16,
    SPINS_BEFORE_YIELD = 64,
};

struct node {
    _Atomic uint64_t version;
    _Atomic uint32_t meta;
    _Atomic uint32_t next;
    _Atomic uint64_t prefix[2];
    _Atomic uint32_t head[BTREE_SLOTS];
    _Atomic uint32_t slot[BTREE_SLOTS];
    _Atomic uint32_t child[BTREE_SLOTS + 1];
};
enum { LEAF_BYTES = offsetof(struct node, child) };
_Static_assert(LEAF_BYTES == 544, "leaf layout");

#define LOAD(place) atomic_load_explicit(&(place), memory_order_acquire)
#define STORE(place, value)                                                    \
    atomic_store_explicit(&(place), (value), memory_order_release)

static inline unsigned meta_count(uint32_t meta)
{
    return meta & 0xff;
}
static inline size_t meta_prefix(uint32_t meta)
{
    return meta >> 8 & 0xff;
}
static inline bool meta_is_leaf(uint32_t meta)
{
    return meta & META_LEAF;
}
static inline uint32_t meta_make(unsigned count, size_t prefix, uint32_t leaf)
{
    return count | (uint32_t)prefix << 8 | (leaf & META_LEAF);
}

static inline struct node *node_at(const struct btree *t, uint32_t offset)
{
    return arena_at(t->base, offset);
}
static inline uint32_t node_offset(const struct btree *t, const struct node *n)
{
    return (uint32_t)((size_t)((const uint8_t *)n - t->base) / ARENA_UNIT);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
/* One turn of waiting for a lock holder, who may have been preempted. */
static inline void spin_wait(unsigned *spins)
{
    if (++*spins % SPINS_BEFORE_YIELD == 0)
        thread_yield();
    else
        cpu_relax();
}

/* The version of a node nobody is changing. */
static inline uint64_t node_version(const struct node *n)
{
    unsigned spins = 0;
    uint64_t version;
    while (unlikely((version = LOAD(n->version)) & 1))
        spin_wait(&spins);
    return version;
}
static inline bool node_unchanged(const struct node *n, uint64_t version)
{
    return atomic_load_explicit(&n->version, memory_order_relaxed) == version;
}

/* Asks for a node about to be searched: the misses then overlap instead of
   following the binary search. */
static inline void node_prefetch(const struct node *n)
{
    const char *p = (const char *)n;
    for (size_t i = 0; i < LEAF_BYTES; i += 64)
        __builtin_prefetch(p + i);
}

/* A key being looked for, its first 16 bytes as numbers, zero padded. */
struct probe {
    adb_slice key;
    uint64_t word[2];
};

static inline struct probe probe_of(adb_slice key)
{
    struct probe p = {.key = key};
    p.word[0] = key_head8(key.data, key.size);
    if (key.size > 8)
        p.word[1] = key_head8((const uint8_t *)key.data + 8, key.size - 8);
    return p;
}

/* The four bytes of a key behind a prefix it has. */
static inline uint32_t probe_head(const struct probe *p, size_t prefix)
{
    if (likely(prefix <= 12)) {
        unsigned __int128 both =
            (unsigned __int128)p->word[0] << 64 | p->word[1];
        return (uint32_t)(both << (8 * prefix) >> 96);
    }
    return key_head4((const uint8_t *)p->key.data + prefix,
                     p->key.size - prefix);
}

static inline adb_slice slot_key(const struct btree *t, const struct node *n,
                                 unsigned i)
{
    return record_key(record_at(t->base, LOAD(n->slot[i])));
}

/* The first `size` (at most 8) bytes of a number's 8. */
static inline uint64_t leading_bytes(uint64_t word, size_t size)
{
    return size >= 8 ? word : size ? word & ~(UINT64_MAX >> (8 * size)) : 0;
}

/* How the key stands to the node's prefix: below or above all keys that have
   it, or 0 when it has it too. */
static inline int prefix_compare(const struct btree *t, const struct node *n,
                                 size_t prefix, const struct probe *p)
{
    uint64_t ours = leading_bytes(p->word[0], prefix);
    uint64_t theirs = LOAD(n->prefix[0]);
    if (ours != theirs)
        return ours < theirs ? -1 : 1;
    if (prefix > 8) {
        ours = leading_bytes(p->word[1], prefix - 8);
        theirs = LOAD(n->prefix[1]);
        if (ours != theirs)
            return ours < theirs ? -1 : 1;
    }
    size_t have = MIN_OF(p->key.size, prefix);
    if (have > PREFIX_INLINE) {
        /* A reader overtaken by a writer may find a shorter key here. */
        adb_slice other = slot_key(t, n, 0);
        have = MIN_OF(have, other.size);
        int order = have > PREFIX_INLINE
                        ? memcmp((const uint8_t *)p->key.data + PREFIX_INLINE,
                                 (const uint8_t *)other.data + PREFIX_INLINE,
                                 have - PREFIX_INLINE)
                        : 0;
        if (order != 0)
            return order;
    }
    return p->key.size < prefix ? -1 : 0;
}

/* The number of heads below h. Without a branch: its outcome is a coin's. */
static inline unsigned heads_below(const struct node *n, unsigned count,
                                   uint32_t h)
{
    const _Atomic uint32_t *base = n->head;
    while (count > 1) {
        unsigned half = count / 2;
        base += half & (0u - (LOAD(base[half - 1]) < h));
        count -= half;
    }
    return (unsigned)(base - n->head) + (LOAD(*base) < h);
}

/* The number of keys in the node below the probe's; *equal: the next one is
   the probe's. When a writer interferes the number is only in range, but
   *equal is always true to the record it leads to. */
static inline unsigned node_search(const struct btree *t, const struct node *n,
                                   uint32_t meta, const struct probe *p,
                                   uint32_t *equal)
{
    unsigned count = meta_count(meta);
    size_t prefix = meta_prefix(meta);
    *equal = 0;
    if (unlikely(count == 0))
        return 0;
    if (prefix) {
        int order = prefix_compare(t, n, prefix, p);
        if (order != 0)
            return order < 0 ? 0 : count;
    }
    uint32_t h = probe_head(p, prefix);
    unsigned low = heads_below(n, count, h), high = low;
    while (high < count && LOAD(n->head[high]) == h)
        high++;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        uint32_t offset = LOAD(n->slot[middle]);
        struct record *r = record_at(t->base, offset);
        __builtin_prefetch((const char *)r + 64);
        __builtin_prefetch((const char *)r + 128);
        int order = slice_compare(record_key(r), p->key);
        if (order == 0) {
            *equal = offset;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The head of a key that has the prefix. */
static inline uint32_t slice_head(adb_slice key, size_t prefix)
{
    return key_head4((const uint8_t *)key.data + prefix, key.size - prefix);
}

#endif
