/*
 * The iterator over a memtable. It works on a copy of one leaf's record
 * offsets, taken under the leaf's version, and so never waits or restarts in
 * between; what is inserted meanwhile is newer than its snapshot. Leaves have
 * no left neighbours: the way back descends anew.
 */
#include <assert.h>

#include "base/alloc.h"
#include "memtable/memtable_internal.h"

struct memtable_iter {
    struct kv_iter it;
    struct memtable *m; /* counted */
    uint64_t read_seq;  /* KV_MAX_SEQ with all_versions */
    bool all_versions;
    unsigned at;         /* the record under the iterator, in leaf */
    uint32_t version_at; /* its version */
    struct btree_leaf leaf;
};

/* Records lie anywhere in the arena, so their misses are started early. */
enum { PREFETCH_AHEAD = 16 };

static struct memtable_iter *self(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct memtable_iter, it);
}

static const struct btree *tree(const struct memtable_iter *i)
{
    return &i->m->tree;
}

static struct record *leaf_record(const struct memtable_iter *i, unsigned at)
{
    return record_at(tree(i)->base, i->leaf.records[at]);
}

static struct version *version_of(const struct memtable_iter *i, uint32_t at)
{
    return version_at(tree(i)->base, at);
}

/* The newest version of a record at or below seq; 0: none. A locked trailer
   tells the truth here: what may be under the lock is newer than our snapshot
   and gets newer still. */
static uint32_t version_from(const struct memtable_iter *i,
                             const struct record *r, uint64_t seq)
{
    uint32_t at = record_newest(r);
    while (at) {
        const struct version *v = version_of(i, at);
        if (trailer_seq(version_trailer(v)) <= seq)
            break;
        at = version_older(v);
    }
    return at;
}

/* The oldest version of a record above seq, and in the view; 0: none. */
static uint32_t version_above(const struct memtable_iter *i,
                              const struct record *r, uint64_t seq)
{
    uint32_t at = version_from(i, r, i->read_seq), found = 0;
    while (at) {
        const struct version *v = version_of(i, at);
        if (trailer_seq(version_trailer(v)) <= seq)
            break;
        found = at;
        at = i->all_versions ? version_older(v) : 0;
    }
    return found;
}

static void stand_on(struct memtable_iter *i, const struct record *r,
                     uint32_t at)
{
    const struct version *v = version_of(i, at);
    uint64_t trailer = version_trailer(v);
    i->version_at = at;
    i->it.valid = true;
    i->it.kind = trailer_kind(trailer);
    i->it.seq = trailer_seq(trailer);
    i->it.key = record_key(r);
    i->it.head =
        key_head_from(i->it.origin, i->it.key.data, i->it.key.size);
    i->it.value = slice_of(version_value(r, v), version_length(v));
}

static void prefetch_leaf(const struct memtable_iter *i, unsigned from)
{
    unsigned to = MIN_OF(i->leaf.count, from + PREFETCH_AHEAD);
    for (unsigned at = from; at < to; at++)
        record_prefetch(leaf_record(i, at));
}

/* A record that a scan will come to. */
static inline void prefetch_ahead(const struct memtable_iter *i, unsigned at)
{
    unsigned ahead = at + PREFETCH_AHEAD;
    if (ahead < i->leaf.count)
        record_prefetch(leaf_record(i, ahead));
    else
        btree_prefetch_next(tree(i), &i->leaf, ahead - i->leaf.count);
}

/* To the first record at or after place `at` that has a version in view. After
   a seek nobody knows yet whether a scan follows: then the next records are
   asked for, and no further leaf is waited for. */
static inline void forward(struct memtable_iter *i, unsigned at, bool scanning)
{
    if (!scanning)
        for (unsigned n = at; n < at + 3 && n < i->leaf.count; n++)
            record_prefetch(leaf_record(i, n));
    for (;;) {
        for (; at < i->leaf.count; at++) {
            if (scanning)
                prefetch_ahead(i, at);
            const struct record *r = leaf_record(i, at);
            uint32_t version = version_from(i, r, i->read_seq);
            if (version) {
                i->at = at;
                stand_on(i, r, version);
                return;
            }
        }
        if (!i->leaf.next) {
            kv_iter_end(&i->it);
            return;
        }
        btree_leaf_next(tree(i), &i->leaf);
        at = 0;
    }
}

/* To the last record below place `at` that has a version in view. */
static void backward(struct memtable_iter *i, unsigned at)
{
    for (;;) {
        while (at-- > 0) {
            if (at >= PREFETCH_AHEAD)
                record_prefetch(leaf_record(i, at - PREFETCH_AHEAD));
            const struct record *r = leaf_record(i, at);
            uint32_t version = version_above(i, r, 0);
            if (version) {
                i->at = at;
                stand_on(i, r, version);
                return;
            }
        }
        if (i->leaf.count)
            at = btree_leaf_before(tree(i), record_key(leaf_record(i, 0)),
                                   &i->leaf);
        if (i->leaf.count == 0 || at == 0) {
            kv_iter_end(&i->it);
            return;
        }
        prefetch_leaf(i, at > PREFETCH_AHEAD ? at - PREFETCH_AHEAD : 0);
    }
}

static void iter_seek_first(struct kv_iter *it)
{
    struct memtable_iter *i = self(it);
    btree_leaf_first(tree(i), &i->leaf);
    prefetch_leaf(i, 0);
    forward(i, 0, true);
}

static void iter_seek_last(struct kv_iter *it)
{
    struct memtable_iter *i = self(it);
    btree_leaf_last(tree(i), &i->leaf);
    backward(i, i->leaf.count);
}

/* Does the leaf hold this very key at this place? */
static bool place_has_key(const struct memtable_iter *i, unsigned at,
                          adb_slice key)
{
    return at < i->leaf.count &&
           slice_equal(record_key(leaf_record(i, at)), key);
}

static void iter_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct memtable_iter *i = self(it);
    unsigned at = btree_leaf_at(tree(i), key, &i->leaf);
    if (seq < i->read_seq && place_has_key(i, at, key)) {
        const struct record *r = leaf_record(i, at);
        /* Of a snapshot's key only one version is in view. */
        uint32_t version =
            version_from(i, r, i->all_versions ? seq : i->read_seq);
        if (version &&
            trailer_seq(version_trailer(version_of(i, version))) <= seq) {
            i->at = at;
            stand_on(i, r, version);
            return;
        }
        at++;
    }
    forward(i, at, false);
}

static void iter_seek_before(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct memtable_iter *i = self(it);
    unsigned at = btree_leaf_at(tree(i), key, &i->leaf);
    if (seq < i->read_seq && place_has_key(i, at, key)) {
        const struct record *r = leaf_record(i, at);
        uint32_t version = version_above(i, r, seq);
        if (version) {
            i->at = at;
            stand_on(i, r, version);
            return;
        }
    }
    backward(i, at);
}

static void iter_next(struct kv_iter *it)
{
    struct memtable_iter *i = self(it);
    uint32_t older =
        i->all_versions ? version_older(version_of(i, i->version_at)) : 0;
    if (older)
        stand_on(i, leaf_record(i, i->at), older);
    else
        forward(i, i->at + 1, true);
}

static void iter_prev(struct kv_iter *it)
{
    struct memtable_iter *i = self(it);
    const struct record *r = leaf_record(i, i->at);
    uint32_t newer = i->all_versions ? version_above(i, r, it->seq) : 0;
    if (newer)
        stand_on(i, r, newer);
    else
        backward(i, i->at);
}

static void iter_close(struct kv_iter *it)
{
    struct memtable_iter *i = self(it);
    struct memtable *m = i->m;
    ledger_add(memtable_pool_ledger(m->pool), LEDGER_ITERATOR,
               -(int64_t)sizeof *i);
    mem_free(it->error);
    mem_free(i);
    memtable_unref(m);
}

static const struct kv_iter_ops memtable_iter_ops = {
    .seek_first = iter_seek_first,
    .seek_last = iter_seek_last,
    .seek = iter_seek,
    .seek_before = iter_seek_before,
    .next = iter_next,
    .prev = iter_prev,
    .close = iter_close,
};

struct kv_iter *memtable_iter_new(struct memtable *m, uint64_t read_seq,
                                  bool all_versions)
{
    struct memtable_iter *i = mem_zalloc(sizeof *i);
    if (!i)
        return NULL;
    i->it.ops = &memtable_iter_ops;
    i->it.lasting = true; /* what is in view is never overwritten */
    i->m = memtable_ref(m);
    i->all_versions = all_versions;
    i->read_seq = all_versions ? KV_MAX_SEQ : read_seq;
    ledger_add(memtable_pool_ledger(m->pool), LEDGER_ITERATOR,
               (int64_t)sizeof *i);
    return &i->it;
}

void memtable_iter_reset(struct kv_iter *it, uint64_t read_seq)
{
    struct memtable_iter *i = self(it);
    assert(!i->all_versions);
    i->read_seq = read_seq;
    it->valid = false;
}
