#include "memtable/arena.h"

#include "base/alloc.h"
#include "env/env.h"

enum {
    SLACK_BYTES = 64 << 10, /* the first nodes of every level of the tree */
    CHARGE_HUGE = 2 << 20,
    CHARGE_SMALL = 64 << 10,
};

struct arena *arena_new(size_t bytes, size_t filter_bytes, bool huge,
                        struct ledger *ledger, enum ledger_row row)
{
    struct arena *a = mem_aligned_alloc(64, sizeof *a);
    if (!a)
        return NULL;
    size_t limit = (size_t)UINT32_MAX * ARENA_UNIT;
    size_t reserved = filter_bytes + bytes + bytes / 4 + SLACK_BYTES;
    if (bytes > limit || reserved > limit)
        reserved = limit;
    memset(a, 0, sizeof *a);
    a->base = env_anonymous_reserve(reserved, huge);
    if (!a->base) {
        mem_free(a);
        return NULL;
    }
    a->reserved_bytes = reserved;
    a->soft_bytes = bytes;
    a->filter_bytes = filter_bytes;
    a->capacity = reserved / ARENA_UNIT;
    a->charge_units = (huge ? CHARGE_HUGE : CHARGE_SMALL) / ARENA_UNIT;
    a->ledger = ledger;
    a->row = row;
    atomic_init(&a->charged, 0);
    atomic_init(&a->used, filter_bytes / ARENA_UNIT);
    arena_charge(a, filter_bytes / ARENA_UNIT);
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    int64_t charged = (int64_t)(atomic_load(&a->charged) * ARENA_UNIT);
    ledger_add(a->ledger, a->row, -charged);
    env_anonymous_release(a->base, a->reserved_bytes);
    mem_free(a);
}

void arena_reset(struct arena *a)
{
    memset(a->base, 0, a->filter_bytes);
    atomic_store_explicit(&a->used, a->filter_bytes / ARENA_UNIT,
                          memory_order_relaxed);
}

void arena_charge(struct arena *a, uint64_t used)
{
    uint64_t target =
        (used + a->charge_units - 1) / a->charge_units * a->charge_units;
    target = MIN_OF(target, a->capacity);
    uint64_t charged = atomic_load_explicit(&a->charged, memory_order_relaxed);
    while (charged < target) {
        if (atomic_compare_exchange_weak_explicit(&a->charged, &charged, target,
                                                  memory_order_relaxed,
                                                  memory_order_relaxed)) {
            ledger_add(a->ledger, a->row,
                       (int64_t)((target - charged) * ARENA_UNIT));
            return;
        }
    }
}
