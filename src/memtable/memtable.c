/* Life, room and statistics of a memtable, and reading one key; writing is in
   memtable_put.c, the layout of what is read in record.h. */
#include "memtable/memtable.h"

#include "base/alloc.h"
#include "memtable/memtable_internal.h"
#include "memtable/version_lock.h"

/* ---- life -------------------------------------------------------------- */

adb_status memtable_new(struct memtable_pool *pool, size_t arena_bytes,
                        struct memtable **out)
{
    struct memtable *m = mem_aligned_alloc(64, sizeof *m);
    if (!m)
        return status_set(ADB_NO_MEMORY, "no memory for a memtable");
    memset(m, 0, sizeof *m);
    m->pool = pool;
    m->arena = arena_bytes ? memtable_pool_oversize(pool, arena_bytes)
                           : memtable_pool_take(pool);
    if (!m->arena || !btree_init(&m->tree, m->arena)) {
        arena_free(m->arena);
        mem_free(m);
        return status_set(ADB_NO_MEMORY, "no memory for a memtable's arena");
    }
    m->filter.words = (_Atomic uint64_t *)(void *)m->arena->base;
    m->filter.count = m->arena->filter_bytes / sizeof(uint64_t);
    m->base_used = arena_used(m->arena);
    atomic_init(&m->references, 1);
    *out = m;
    return ADB_OK;
}

struct memtable *memtable_ref(struct memtable *m)
{
    atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    return m;
}

void memtable_unref(struct memtable *m)
{
    if (!m ||
        atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
        return;
    memtable_pool_give(m->pool, m->arena);
    mem_free(m);
}

/* ---- room -------------------------------------------------------------- */

size_t memtable_worst_case(uint64_t count, uint64_t key_bytes,
                           uint64_t value_bytes)
{
    uint64_t each = sizeof(struct record) + sizeof(struct version_block) +
                    2 * (ARENA_UNIT - 1) + BTREE_NODE_SHARE;
    uint64_t slack =
        MIN_OF(value_bytes / VERSION_SLACK_PART, count * VERSION_SLACK_MAX);
    return (size_t)(count * each + key_bytes + value_bytes + slack);
}

/* Why the answer holds: nodes are counted in `used` as they are, and to come
   at BTREE_NODE_SHARE a record. Existing leaves may all be full and split
   under the next inserts, which is more than those inserts' share; but all
   nodes of N records never take more than N shares, and N records take at
   least 40 bytes each, so the excess stays below the quarter that the arena
   has beyond soft_bytes. */
bool memtable_has_room(const struct memtable *m, size_t worst_case)
{
    size_t used = memtable_used(m);
    return used <= m->arena->soft_bytes &&
           worst_case <= m->arena->soft_bytes - used;
}

/* ---- reading ----------------------------------------------------------- */

enum attempt { ATTEMPT_HIT, ATTEMPT_NOTHING, ATTEMPT_AGAIN };

struct reading {
    const uint8_t *base;
    const struct record *record;
    uint64_t read_seq;
    bool registered;
    bool locked; /* we hold the record's lock: nothing can change */
    uint8_t *scratch;
    struct memtable_hit *hit;
};

/* The version to read and the trailer it had; NULL: none. */
static const struct version *version_choose(const struct reading *q,
                                            uint64_t *trailer)
{
    const struct version *newer = NULL, *v = NULL;
    uint64_t newer_trailer = 0;
    uint32_t at = record_newest(q->record);
    while (at) {
        v = version_at(q->base, at);
        *trailer = version_trailer(v);
        if (trailer_seq(*trailer) <= q->read_seq)
            break;
        newer = v;
        newer_trailer = *trailer;
        at = version_older(v);
    }
    /* What an unregistered reader wanted may have been where the next newer
       version now is. */
    if (!q->registered && (newer_trailer & TRAILER_REPLACED)) {
        *trailer = newer_trailer;
        return newer;
    }
    return at ? v : NULL;
}

static enum attempt read_once(const struct reading *q)
{
    uint64_t trailer;
    const struct version *v = version_choose(q, &trailer);
    if (!v)
        return ATTEMPT_NOTHING;
    q->hit->kind = trailer_kind(trailer);
    q->hit->seq = trailer_seq(trailer);
    q->hit->in_arena = false;
    q->hit->value = slice_of(q->scratch, 0);
    if (q->hit->kind == KV_DELETE)
        return ATTEMPT_HIT;
    /* What a registered reader sees is never overwritten, though its record
       may be locked for a newer version. */
    bool stable = q->registered || q->locked;
    if (!stable && (trailer & TRAILER_LOCK))
        return ATTEMPT_AGAIN;
    uint32_t length = version_length(v);
    const uint8_t *value = version_value(q->record, v);
    if (length > MEMTABLE_INLINE_MAX) {
        q->hit->value = slice_of(value, length);
        q->hit->in_arena = true;
        return ATTEMPT_HIT;
    }
    words_load(q->scratch, value, length);
    q->hit->value.size = length;
    return stable || version_unchanged(v, trailer) ? ATTEMPT_HIT
                                                   : ATTEMPT_AGAIN;
}

/* A reader that a busy writer keeps overtaking takes the record's lock. */
static enum attempt read_locked(struct reading *q)
{
    struct record *r = (struct record *)(uintptr_t)q->record;
    uint64_t trailer = record_lock(r);
    q->locked = true;
    enum attempt attempt = read_once(q);
    record_unlock(r, trailer);
    return attempt;
}

bool memtable_get(const struct memtable *m, adb_slice key, uint64_t hash,
                  uint64_t read_seq, bool registered, uint8_t *scratch,
                  struct memtable_hit *hit)
{
    enum { ATTEMPTS = 16 };
    if (!filter_may_contain(&m->filter, hash))
        return false;
    uint32_t at = btree_find(&m->tree, key);
    if (!at)
        return false;
    struct reading q = {.base = m->tree.base,
                        .record = record_at(m->tree.base, at),
                        .read_seq = read_seq,
                        .registered = registered,
                        .scratch = scratch,
                        .hit = hit};
    enum attempt attempt = read_once(&q);
    for (int i = 0; unlikely(attempt == ATTEMPT_AGAIN) && i < ATTEMPTS; i++) {
        cpu_relax();
        attempt = read_once(&q);
    }
    if (unlikely(attempt == ATTEMPT_AGAIN))
        attempt = read_locked(&q);
    return attempt == ATTEMPT_HIT;
}

/* ---- statistics -------------------------------------------------------- */

static uint64_t counter(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

void memtable_stats(const struct memtable *m, struct memtable_stats *out)
{
    *out = (struct memtable_stats){
        .keys = counter(&m->keys),
        .versions = counter(&m->keys) + counter(&m->chained),
        .data_bytes = counter(&m->data_bytes),
        .arena_used = memtable_used(m),
        .in_place = counter(&m->in_place),
        .min_seq = counter(&m->min_seq),
        .max_seq = counter(&m->max_seq),
        .height = atomic_load_explicit(&m->tree.height, memory_order_relaxed),
    };
}

size_t memtable_used(const struct memtable *m)
{
    return arena_used(m->arena) - m->base_used;
}

bool memtable_empty(const struct memtable *m)
{
    return counter(&m->keys) == 0;
}

uint64_t memtable_approximate_size(const struct memtable *m, adb_slice from,
                                   adb_slice to)
{
    double low = btree_rank(&m->tree, from);
    double high = to.data ? btree_rank(&m->tree, to) : 1;
    if (high <= low)
        return 0;
    return (uint64_t)((high - low) * (double)memtable_used(m));
}
