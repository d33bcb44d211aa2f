/*
 * The union of sorted sources through a loser tree (Knuth, TAOCP 5.4.1).
 *
 *   winner            the source whose entry is the merged iterator's
 *   tree[1]           who lost the final against it
 *   tree[2] tree[3]   who lost the semifinals
 *   ...               leaf of source i: node count + i, not stored
 *
 * After the winner's source has moved, only the matches on the way from its
 * leaf to the root are played again: log2(count) compares, each against one
 * stored loser.
 *
 * A contender carries its rank: the key head going forward, its complement
 * going backward, all ones when the source has no entry. The smaller rank wins
 * in both directions; equal ranks decide nothing and look at the entries.
 *
 * Positions. Going forward every source but the winner stands at its first
 * entry at or after the winner's; going backward at its last at or before. So
 * a turn moves each source by one step, or from its end to its last entry.
 */
#include "iter/merge.h"

#include <assert.h>

#include "base/alloc.h"
#include "iter/entry.h"

struct contender {
    uint64_t rank;
    size_t source;
};

struct merge_iter {
    struct kv_iter base;
    size_t count;
    bool forward;
    struct contender winner;
    struct contender *tree;    /* [count], from 1; in this allocation */
    struct contender *winners; /* [2 * count], scratch of rebuild */
    struct kv_iter *sources[]; /* [count], owned */
};

static struct merge_iter *merge_of(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct merge_iter, base);
}

static inline struct contender contender_of(const struct merge_iter *m,
                                            size_t source)
{
    const struct kv_iter *it = m->sources[source];
    struct contender c = {UINT64_MAX, source};
    if (likely(it->valid))
        c.rank = m->forward ? it->head : ~it->head;
    return c;
}

/* Sources a and b of equal rank: does a win? */
static bool wins_tie(const struct merge_iter *m, size_t a, size_t b)
{
    const struct kv_iter *x = m->sources[a], *y = m->sources[b];
    if (!x->valid || !y->valid)
        return x->valid;
    /* The rest of many keys is short: one more word mostly decides. */
    if (!m->base.origin && x->key.size >= 16 && y->key.size >= 16) {
        uint64_t p = key_head8((const uint8_t *)x->key.data + 8, 8);
        uint64_t q = key_head8((const uint8_t *)y->key.data + 8, 8);
        if (p != q)
            return (p < q) == m->forward;
    }
    int order = kv_compare(x->key, x->seq, y->key, y->seq);
    if (order == 0)
        order = a < b ? -1 : 1;
    return (order < 0) == m->forward;
}

static inline bool wins(const struct merge_iter *m, struct contender a,
                        struct contender b)
{
    if (likely(a.rank != b.rank))
        return a.rank < b.rank;
    return wins_tie(m, a.source, b.source);
}

/* The merged iterator's entry is the winner's, or it is at its end. */
static inline void publish(struct merge_iter *m)
{
    iter_copy_entry(&m->base, m->sources[m->winner.source]);
}

/* Plays all matches. */
static void rebuild(struct merge_iter *m)
{
    for (size_t i = 0; i < m->count; i++)
        m->winners[m->count + i] = contender_of(m, i);
    for (size_t n = m->count - 1; n >= 1; n--) {
        struct contender a = m->winners[2 * n], b = m->winners[2 * n + 1];
        bool a_wins = wins(m, a, b);
        m->winners[n] = a_wins ? a : b;
        m->tree[n] = a_wins ? b : a;
    }
    m->winner = m->winners[1];
    publish(m);
}

/* Plays the matches of the source that was the winner and has moved. */
static inline void replay(struct merge_iter *m)
{
    struct contender c = contender_of(m, m->winner.source);
    for (size_t n = (m->count + c.source) / 2; n >= 1; n /= 2) {
        struct contender other = m->tree[n];
        bool other_wins = wins(m, other, c);
        m->tree[n] = other_wins ? c : other;
        c = other_wins ? other : c;
    }
    m->winner = c;
    publish(m);
}

/* A source that failed must never pass for one that ended. */
static bool failed(struct merge_iter *m, const struct kv_iter *source)
{
    if (likely(source->valid) || source->status == ADB_OK)
        return false;
    kv_iter_fail(&m->base, kv_iter_status(source));
    return true;
}

/* All sources were placed for this direction. */
static void placed(struct merge_iter *m, bool forward)
{
    m->base.status = ADB_OK;
    m->forward = forward;
    for (size_t i = 0; i < m->count; i++) {
        if (failed(m, m->sources[i]))
            return;
    }
    rebuild(m);
}

static void merge_seek_first(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->count; i++)
        m->sources[i]->ops->seek_first(m->sources[i]);
    placed(m, true);
}

static void merge_seek_last(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->count; i++)
        m->sources[i]->ops->seek_last(m->sources[i]);
    placed(m, false);
}

static void prepare(struct merge_iter *m, adb_slice key, bool backward)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->sources[i]->ops->prepare)
            m->sources[i]->ops->prepare(m->sources[i], key, backward);
}

static void merge_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct merge_iter *m = merge_of(it);
    prepare(m, key, false);
    for (size_t i = 0; i < m->count; i++)
        m->sources[i]->ops->seek(m->sources[i], key, seq);
    placed(m, true);
}

static void merge_seek_before(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct merge_iter *m = merge_of(it);
    prepare(m, key, true);
    for (size_t i = 0; i < m->count; i++)
        m->sources[i]->ops->seek_before(m->sources[i], key, seq);
    placed(m, false);
}

/* Moves every source one step, which turns and moves the merged iterator. */
static void turn(struct merge_iter *m, bool forward)
{
    for (size_t i = 0; i < m->count; i++) {
        struct kv_iter *source = m->sources[i];
        if (forward && source->valid)
            source->ops->next(source);
        else if (forward)
            source->ops->seek_first(source);
        else if (source->valid)
            source->ops->prev(source);
        else
            source->ops->seek_last(source);
    }
    placed(m, forward);
}

static void merge_next(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    assert(it->valid);
    if (unlikely(!m->forward)) {
        turn(m, true);
        return;
    }
    struct kv_iter *source = m->sources[m->winner.source];
    source->ops->next(source);
    if (!unlikely(failed(m, source)))
        replay(m);
}

static void merge_prev(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    assert(it->valid);
    if (unlikely(m->forward)) {
        turn(m, false);
        return;
    }
    struct kv_iter *source = m->sources[m->winner.source];
    source->ops->prev(source);
    if (!unlikely(failed(m, source)))
        replay(m);
}

static adb_status merge_load(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    struct kv_iter *source = m->sources[m->winner.source];
    adb_status status = kv_iter_load(source);
    if (status == ADB_OK)
        it->value = source->value;
    return status;
}

static adb_status merge_read_value(struct kv_iter *it, uint64_t offset,
                                   void *data, size_t size)
{
    struct merge_iter *m = merge_of(it);
    struct kv_iter *source = m->sources[m->winner.source];
    return source->ops->read_value(source, offset, data, size);
}

static void merge_set_origin(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->count; i++)
        kv_iter_set_origin(m->sources[i], it->origin);
}

static void merge_rest(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->count; i++)
        kv_iter_rest(m->sources[i]);
}

static void merge_close(struct kv_iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->count; i++)
        kv_iter_close(m->sources[i]);
    mem_free(it->error);
    mem_free(m);
}

static const struct kv_iter_ops merge_ops = {
    .seek_first = merge_seek_first,
    .seek_last = merge_seek_last,
    .seek = merge_seek,
    .seek_before = merge_seek_before,
    .next = merge_next,
    .prev = merge_prev,
    .load = merge_load,
    .read_value = merge_read_value,
    .set_origin = merge_set_origin,
    .rest = merge_rest,
    .close = merge_close,
};

/* ---- no source ---- */

static void empty_place(struct kv_iter *it)
{
    kv_iter_end(it);
}

static void empty_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    (void)key;
    (void)seq;
    kv_iter_end(it);
}

static void empty_close(struct kv_iter *it)
{
    mem_free(it);
}

static const struct kv_iter_ops empty_ops = {
    .seek_first = empty_place,
    .seek_last = empty_place,
    .seek = empty_seek,
    .seek_before = empty_seek,
    .next = empty_place,
    .prev = empty_place,
    .close = empty_close,
};

static struct kv_iter *empty_new(void)
{
    struct kv_iter *it = mem_zalloc(sizeof *it);
    if (it)
        it->ops = &empty_ops;
    return it;
}

struct kv_iter *merge_iter_new(struct kv_iter **sources, size_t count)
{
    if (count == 0)
        return empty_new();
    if (count == 1)
        return sources[0];
    size_t fixed = sizeof(struct merge_iter) + count * sizeof *sources;
    struct merge_iter *m =
        mem_zalloc(fixed + 3 * count * sizeof(struct contender));
    if (!m) {
        for (size_t i = 0; i < count; i++)
            kv_iter_close(sources[i]);
        return NULL;
    }
    m->base.ops = &merge_ops;
    m->count = count;
    m->tree = (struct contender *)(void *)((char *)m + fixed);
    m->winners = m->tree + count;
    memcpy(m->sources, sources, count * sizeof *sources);
    return &m->base;
}
