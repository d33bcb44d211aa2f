/*
 * The order of a memtable: a B+-tree of records (record.h) in an arena.
 *
 * Nodes have 64 slots in key order, each a 4-byte head and the 4-byte offset
 * of a record. Heads are the key's bytes after the prefix that all keys of
 * the node share; equal heads are decided by the whole keys. Inner nodes use
 * existing records as separators: child i has keys below separator i, child
 * i + 1 those at or above it. Leaves are linked rightwards.
 *
 * Concurrency is optimistic lock coupling (Leis et al., "The ART of Practical
 * Synchronization", 2016). Every node has a version, odd while a writer
 * changes it. A reader notes the version, reads, and checks it before it
 * trusts what it read; it takes a child's version before it checks the
 * parent's. Whatever a reader meets is safe to follow even when the check
 * will fail: slots below the count always hold offsets of finished nodes and
 * records, which are never moved or freed while the memtable lives. Full nodes
 * are split on the way down, so a split never climbs.
 *
 * Shared words are stored with release and loaded with acquire order; the
 * check itself is relaxed. A reader that saw a changed word thus also sees
 * that the version changed.
 *
 * Records are never removed, nodes never merged. Every leaf but the rightmost
 * has at least 32 records, since the rightmost alone may be opened empty
 * beside a full one (ascending inserts); so nodes take at most
 * BTREE_NODE_SHARE bytes a record, plus a few.
 *
 * Threads: all functions from any thread; readers and writers at once.
 */
#ifndef MEMTABLE_BTREE_H
#define MEMTABLE_BTREE_H

#include "memtable/arena.h"

enum {
    BTREE_SLOTS = 64,
    /* 544 bytes of leaf over 32 records, 808 of inner node over 32 leaves,
       rounded up. */
    BTREE_NODE_SHARE = 20,
};

struct btree {
    struct arena *arena;                /* borrowed, immutable */
    uint8_t *base;                      /* the arena's */
    _Alignas(64) _Atomic uint32_t root; /* changes under the old root's lock */
    _Atomic uint32_t
        rightmost;           /* a hint: the leaf where ascending inserts go */
    _Atomic uint32_t height; /* 1: the root is a leaf */
};

/* False: the arena is too small for a root. */
bool btree_init(struct btree *t, struct arena *arena) ADB_MUST_CHECK;

/* The record with this key; 0: none. */
uint32_t btree_find(const struct btree *t, adb_slice key);

/* Makes the record of the key being inserted; 0: out of memory. Called at most
   once, with the leaf locked: it must neither wait nor come back here. */
typedef uint32_t (*btree_make)(void *context);

/* The record with this key, made if there was none (*inserted). 0: out of
   memory, and the tree holds what it held. */
uint32_t btree_insert(struct btree *t, adb_slice key, btree_make make,
                      void *context, bool *inserted);

/* A consistent copy of one leaf's records, for iterators. */
struct btree_leaf {
    unsigned count;
    uint32_t next; /* leaf after this one when it was copied; 0: none */
    uint32_t records[BTREE_SLOTS];
};
void btree_leaf_first(const struct btree *t, struct btree_leaf *out);
void btree_leaf_last(const struct btree *t, struct btree_leaf *out);
/* The leaf where key belongs; returns how many of its records are below. */
unsigned btree_leaf_at(const struct btree *t, adb_slice key,
                       struct btree_leaf *out);
/* The leaf of the last record below key; returns how many of its records are
   below key (0: no record at all is). */
unsigned btree_leaf_before(const struct btree *t, adb_slice key,
                           struct btree_leaf *out);
/* Replaces the copy by that of leaf->next, which must not be 0. What was
   inserted since between the two copies may be missed. */
void btree_leaf_next(const struct btree *t, struct btree_leaf *leaf);

/* Asks for record `at` of the leaf after this one, as far as known. */
void btree_prefetch_next(const struct btree *t, const struct btree_leaf *leaf,
                         unsigned at);

/* Roughly the part of the records that lies below key, 0 to 1. */
double btree_rank(const struct btree *t, adb_slice key);

/* Checks the structure of a tree nobody writes to: order, separators, heads,
   prefixes, fill, links. *records and *nodes become their numbers. */
adb_status btree_check(const struct btree *t, uint64_t *records,
                       uint64_t *nodes) ADB_MUST_CHECK;

#endif
