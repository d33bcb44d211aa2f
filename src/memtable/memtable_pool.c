#include "base/alloc.h"
#include "base/thread.h"
#include "memtable/memtable_internal.h"

enum {
    HUGE_FROM = 4 << 20, /* arenas of at least two huge pages */
    FILTER_PART = 64,    /* of the arena: 14 bits a 110-byte entry */
    FILTER_MIN = 64,
    FILTER_OVERSIZE_MAX = 4 << 20, /* such a memtable holds few keys */
};

struct memtable_pool {
    size_t arena_bytes; /* immutable, as are the next two */
    unsigned spares;
    struct ledger *ledger; /* borrowed; may be NULL */
    struct mutex lock;     /* guards the rest */
    struct arena *idle;    /* owned, linked by next */
    unsigned idle_count;
};

struct memtable_pool *memtable_pool_new(size_t arena_bytes, unsigned spares,
                                        struct ledger *ledger)
{
    struct memtable_pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pool->arena_bytes = arena_bytes;
    pool->spares = spares;
    pool->ledger = ledger;
    mutex_init(&pool->lock);
    return pool;
}

void memtable_pool_free(struct memtable_pool *pool)
{
    if (!pool)
        return;
    while (pool->idle) {
        struct arena *a = pool->idle;
        pool->idle = a->next;
        arena_free(a);
    }
    mutex_deinit(&pool->lock);
    mem_free(pool);
}

static size_t filter_size(size_t arena_bytes)
{
    return MAX_OF(arena_bytes / FILTER_PART & ~(size_t)63, (size_t)FILTER_MIN);
}

struct arena *memtable_pool_take(struct memtable_pool *pool)
{
    mutex_lock(&pool->lock);
    struct arena *a = pool->idle;
    if (a) {
        pool->idle = a->next;
        pool->idle_count--;
    }
    mutex_unlock(&pool->lock);
    if (a) {
        arena_reset(a);
        return a;
    }
    a = arena_new(pool->arena_bytes, filter_size(pool->arena_bytes),
                  pool->arena_bytes >= HUGE_FROM, pool->ledger,
                  LEDGER_MEMTABLE);
    if (a)
        a->pooled = true;
    return a;
}

struct arena *memtable_pool_oversize(struct memtable_pool *pool, size_t bytes)
{
    size_t filter = MIN_OF(filter_size(bytes), (size_t)FILTER_OVERSIZE_MAX);
    return arena_new(bytes, filter, false, pool->ledger, LEDGER_OVERSIZE);
}

void memtable_pool_give(struct memtable_pool *pool, struct arena *a)
{
    bool kept = false;
    mutex_lock(&pool->lock);
    if (a->pooled && pool->idle_count < pool->spares) {
        a->next = pool->idle;
        pool->idle = a;
        pool->idle_count++;
        kept = true;
    }
    mutex_unlock(&pool->lock);
    if (!kept)
        arena_free(a);
}

struct ledger *memtable_pool_ledger(const struct memtable_pool *pool)
{
    return pool->ledger;
}
