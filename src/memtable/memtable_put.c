/* Writing one version into a memtable; the layout of what is written stands in
   record.h. */
#include "memtable/memtable.h"

#include <assert.h>

#include "memtable/memtable_internal.h"
#include "memtable/version_lock.h"

static void count_add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static void count_sequence(struct memtable *m, uint64_t seq)
{
    uint64_t seen = atomic_load_explicit(&m->max_seq, memory_order_relaxed);
    while (seq > seen && !atomic_compare_exchange_weak_explicit(
                             &m->max_seq, &seen, seq, memory_order_relaxed,
                             memory_order_relaxed))
        ;
    seen = atomic_load_explicit(&m->min_seq, memory_order_relaxed);
    while ((seen == 0 || seq < seen) &&
           !atomic_compare_exchange_weak_explicit(&m->min_seq, &seen, seq,
                                                  memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

static bool value_is_large(const struct memtable_write *w)
{
    return w->value.size > MEMTABLE_INLINE_MAX;
}

/* ---- a new key --------------------------------------------------------- */

struct making {
    struct memtable *m;
    const struct memtable_write *write;
    uint32_t block; /* where a large value stands already; 0: none */
};

static void record_fill(struct record *r, uint32_t offset,
                        const struct making *k)
{
    const struct memtable_write *w = k->write;
    size_t space = k->block ? 0 : pad8(w->value.size);
    uint8_t *bytes = (uint8_t *)(r + 1);
    uint64_t trailer = k->block ? 0 : trailer_make(w->seq, w->kind);
    atomic_init(&r->first.trailer, trailer);
    atomic_init(&r->first.length, (uint32_t)(space ? w->value.size : 0));
    atomic_init(&r->first.older, 0);
    atomic_init(&r->newest, k->block ? k->block : offset);
    r->sizes = (uint32_t)(w->key.size << 8 | space / ARENA_UNIT);
    if (w->key.size)
        memcpy(bytes, w->key.data, w->key.size);
    if (space)
        memcpy(bytes + pad8(w->key.size), w->value.data, w->value.size);
}

static uint32_t record_make(void *context)
{
    const struct making *k = context;
    const struct memtable_write *w = k->write;
    size_t space = k->block ? 0 : pad8(w->value.size);
    uint32_t at = arena_alloc(k->m->arena, sizeof(struct record) +
                                               pad8(w->key.size) + space);
    if (at)
        record_fill(record_at(k->m->tree.base, at), at, k);
    return at;
}

/* ---- a further version ------------------------------------------------- */

/* A version block, not yet in a chain; 0: out of memory. */
static uint32_t block_make(struct memtable *m, const struct memtable_write *w)
{
    size_t space = pad8(w->value.size);
    bool large = value_is_large(w);
    if (w->in_place && !large)
        space = (space + MIN_OF(space / VERSION_SLACK_PART,
                                (size_t)VERSION_SLACK_MAX)) &
                ~(size_t)7;
    uint32_t at = arena_alloc(m->arena, sizeof(struct version_block) + space);
    if (!at)
        return 0;
    struct version_block *b = arena_at(m->tree.base, at);
    atomic_init(&b->version.trailer, trailer_make(w->seq, w->kind));
    atomic_init(&b->version.length, (uint32_t)w->value.size);
    atomic_init(&b->version.older, 0);
    b->capacity = large ? VERSION_IMMUTABLE : (uint32_t)space;
    b->zero = 0;
    if (w->value.size)
        memcpy(b + 1, w->value.data, w->value.size);
    return at;
}

/* Everything below has the record's lock. `trailer` is that of the record's
   first version, without LOCK; it may be changed before the unlock. */
struct update {
    struct memtable *m;
    const struct memtable_write *write;
    struct record *record;
    uint64_t trailer;
    uint32_t block; /* made already, or 0 */
};

static struct version *update_version(const struct update *u, uint32_t at)
{
    return version_at(u->m->tree.base, at);
}

static bool update_fits(const struct update *u, const struct version *top)
{
    uint32_t capacity = version_capacity(u->record, top);
    return !u->block && capacity != VERSION_IMMUTABLE &&
           u->write->value.size <= capacity;
}

static void overwrite(struct update *u, struct version *top)
{
    const struct memtable_write *w = u->write;
    uint64_t trailer = trailer_make(w->seq, w->kind) | TRAILER_REPLACED;
    bool first = top == &u->record->first;
    if (!first)
        atomic_fetch_or_explicit(&top->trailer, TRAILER_LOCK,
                                 memory_order_acquire);
    words_store(version_value(u->record, top), w->value.data, w->value.size);
    STORE(top->length, (uint32_t)w->value.size);
    if (first)
        u->trailer = trailer; /* published by the unlock */
    else
        STORE(top->trailer, trailer);
    count_add(&u->m->in_place, 1);
}

static bool update_block(struct update *u)
{
    if (!u->block)
        u->block = block_make(u->m, u->write);
    return u->block != 0;
}

/* Puts the block on top, in front of what was there or in its place. */
static bool push(struct update *u, struct version *top, uint32_t top_at,
                 bool replace)
{
    if (!update_block(u))
        return false;
    struct version *v = update_version(u, u->block);
    atomic_init(&v->older, replace ? version_older(top) : top_at);
    if (replace) {
        atomic_init(&v->trailer, trailer_make(u->write->seq, u->write->kind) |
                                     TRAILER_REPLACED);
        count_add(&u->m->in_place, 1);
    } else {
        count_add(&u->m->chained, 1);
    }
    STORE(u->record->newest, u->block);
    return true;
}

/* A write overtaken by a newer one on its key takes its place below it. If
   that one had replaced something, the gap may now be ours. */
static bool insert_below(struct update *u, struct version *newer)
{
    uint64_t seq = u->write->seq, newer_trailer = version_trailer(newer);
    uint32_t at;
    while ((at = version_older(newer)) != 0) {
        struct version *v = update_version(u, at);
        uint64_t trailer = version_trailer(v);
        if (trailer_seq(trailer) == seq)
            return true;
        if (trailer_seq(trailer) < seq)
            break;
        newer = v;
        newer_trailer = trailer;
    }
    if (!update_block(u))
        return false;
    struct version *v = update_version(u, u->block);
    atomic_init(&v->older, at);
    atomic_init(&v->trailer, trailer_make(seq, u->write->kind) |
                                 (newer_trailer & TRAILER_REPLACED));
    STORE(newer->older, u->block);
    count_add(&u->m->chained, 1);
    return true;
}

static bool update_apply(struct update *u)
{
    const struct memtable_write *w = u->write;
    uint32_t top_at = record_newest(u->record);
    struct version *top = update_version(u, top_at);
    uint64_t top_seq = trailer_seq(version_trailer(top));
    if (w->seq == top_seq) /* the same write once more */
        return true;
    if (w->seq < top_seq)
        return insert_below(u, top);
    uint32_t before = version_length(top);
    bool replace = w->in_place && top_seq > w->keep_seq;
    if (replace && update_fits(u, top))
        overwrite(u, top);
    else if (!push(u, top, top_at, replace))
        return false;
    count_add(&u->m->data_bytes, w->value.size - (uint64_t)before);
    return true;
}

adb_status memtable_put(struct memtable *m, const struct memtable_write *w)
{
    assert(w->seq > 0 && w->seq <= KV_MAX_SEQ);
    assert(w->key.size <= ADB_MAX_KEY_SIZE);
    assert(w->kind != KV_DELETE || w->value.size == 0);
    struct making k = {.m = m, .write = w};
    bool inserted;
    if (value_is_large(w) && !(k.block = block_make(m, w)))
        goto full;
    filter_add(&m->filter, w->hash);
    uint32_t at = btree_insert(&m->tree, w->key, record_make, &k, &inserted);
    if (!at)
        goto full;
    if (inserted) {
        count_add(&m->keys, 1);
        count_add(&m->data_bytes, w->key.size + w->value.size);
    } else {
        struct update u = {.m = m,
                           .write = w,
                           .block = k.block,
                           .record = record_at(m->tree.base, at)};
        u.trailer = record_lock(u.record);
        bool applied = update_apply(&u);
        record_unlock(u.record, u.trailer);
        if (!applied)
            goto full;
    }
    count_sequence(m, w->seq);
    return ADB_OK;
full:
    return status_set(ADB_NO_MEMORY,
                      "the memtable is full: %zu of %zu bytes used",
                      memtable_used(m), m->arena->soft_bytes);
}
