/*
 * What the files of a table's iterator share. The position is (part, block,
 * entry); the index of the part and the block are pinned, one of each, and the
 * block's view is copied into the iterator, so that a step within a block
 * touches nothing but the iterator and the entry.
 *
 *      sst_iter.c          moves, values, life
 *      sst_iter_block.c    the present block: found, pinned or read, left
 *      sst_iter_damage.c   where an iterator stands that cannot read a block
 *
 * Keys stand in blocks without their prefix. The iterator's key buffer holds
 * the block's prefix all the time; a step copies the suffix behind it.
 *
 * What fails is told by base.status (kv_iter_fail), where a function has no
 * status of its own to return.
 */
#ifndef SST_SST_ITER_INTERNAL_H
#define SST_SST_ITER_INTERNAL_H

#include "sst/sst_reader_internal.h"
#include "sst/sst_window.h"

enum {
    SST_ITER_COPY_STEP = 16, /* suffixes are copied by this much where bytes
                                allow */
    SST_ITER_WHOLE_KEY = 65  /* a prefix_shift */
};

struct sst_iter {
    struct kv_iter base;
    struct sst_block view; /* of the present block, when loaded */
    uint32_t entry;
    /* Bits of a head that the prefix covers; 64: all of it;
       SST_ITER_WHOLE_KEY: the prefix tells nothing of it. */
    uint32_t prefix_shift;
    uint64_t prefix_head; /* the prefix's bytes of a head */
    uint8_t *key;         /* owned: the prefix, then the last suffix */
    size_t key_capacity;
    uint64_t extent_offset;

    struct sst_reader *reader; /* counted */
    unsigned flags;
    uint32_t part, block;
    bool loaded; /* view is that of (part, block) */
    /* The index is that of the part where the next seek's search begins, at
       this block. */
    bool prepared;
    uint32_t prepared_block;
    int inside; /* at damage, between keys of its block: coming from smaller
                   keys 1, from larger ones -1 */
    struct index_frame *index; /* pinned; of `part` */
    struct block_frame *frame; /* pinned; NULL: bytes are the window's */
    struct block_frame *left;  /* pinned: the block before; values last */
    struct sst_ahead ahead, values_ahead;
    struct sst_window window;
    struct buffer unpacked; /* a packed block of the window */
    size_t unpacked_charge;
    uint8_t *value; /* owned: an extent value that was loaded */
    size_t value_size;
};

static inline struct sst_iter *sst_iter_of(struct kv_iter *base)
{
    return (struct sst_iter *)(void *)base;
}

/* ---- the present block ---- */

/* Room for a key of `need` bytes; what it->key holds stays. False: failed. */
bool sst_iter_grow_key(struct sst_iter *it, size_t need);

/* Makes (part, block) the present block; a block behind the last one is the
   last. False: the iterator has failed, or stands at damage. */
bool sst_iter_load_block(struct sst_iter *it, uint32_t part, uint32_t block,
                         bool backward);

/* To the neighbouring block; from a part whose index is damaged to the next
   part. False: the end, failed, or at damage. */
bool sst_iter_step_block(struct sst_iter *it, bool backward);

/* Loads the block where the search for key begins: the first that may hold
   it or a later one. False: none, or failed. */
bool sst_iter_find_block(struct sst_iter *it, adb_slice key, bool backward);

/* kv_iter's prepare. */
void sst_iter_prepare(struct kv_iter *base, adb_slice key, bool backward);

/* The block stays pinned until another one is left. */
void sst_iter_unload_block(struct sst_iter *it);
void sst_iter_unload_index(struct sst_iter *it); /* and the block */

/* All that is pinned. */
void sst_iter_unpin_all(struct sst_iter *it);

/* ---- damage ---- */

/* The iterator fails with it->block of `part`, or with the part's index: if
   that is damage, and SST_STAND_AT_DAMAGE, it stands there instead. */
void sst_iter_fail_at(struct sst_iter *it, adb_status status, uint32_t part,
                      bool backward);

/* Stands at (key, seq): nothing unreadable lies before, in the direction of
   travel. `inside` as in struct sst_iter. */
void sst_iter_stand_at(struct sst_iter *it, adb_slice key, uint64_t seq,
                       int inside);

bool sst_iter_at_damage(const struct sst_iter *it);

/* A move back into the damage that a seek ended in: true, and made. */
bool sst_iter_turn_inside(struct sst_iter *it, bool backward);

/* ---- a large value ---- */

/* Gives back what iter_load made; it->value is not NULL. */
void sst_iter_drop_value(struct sst_iter *it);

#endif
