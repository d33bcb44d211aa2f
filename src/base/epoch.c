#include "base/epoch.h"

#include <stddef.h>

enum { ADVANCE_AFTER = 32 }; /* retired objects */

void epoch_init(struct epoch *e)
{
    for (int i = 0; i < EPOCH_SLOTS; i++)
        atomic_init(&e->slots[i].active, 0);
    atomic_init(&e->global, 1);
    mutex_init(&e->lock);
    for (int i = 0; i < 3; i++)
        e->retired[i] = (struct epoch_lists){0};
    e->ripe = (struct epoch_lists){0};
    e->retired_since_advance = 0;
    atomic_init(&e->freeing, 0);
}

static void free_list(struct epoch_node *node)
{
    while (node) {
        struct epoch_node *next = node->next;
        node->free(node);
        node = next;
    }
}

static bool free_lists(struct epoch_lists *lists)
{
    struct epoch_lists taken = *lists;
    *lists = (struct epoch_lists){0};
    free_list(taken.light);
    free_list(taken.slow);
    return taken.light || taken.slow;
}

void epoch_deinit(struct epoch *e)
{
    /* Freeing may retire more. */
    while (free_lists(&e->ripe) || free_lists(&e->retired[0]) ||
           free_lists(&e->retired[1]) || free_lists(&e->retired[2]))
        continue;
    mutex_deinit(&e->lock);
}

struct epoch_slot *epoch_enter(struct epoch *e)
{
    unsigned first = thread_ordinal();
    for (unsigned i = 0;; i++) {
        struct epoch_slot *slot = &e->slots[(first + i) % EPOCH_SLOTS];
        uint64_t idle = 0;
        /* Acquire: a reader of this epoch must also see what was unlinked
           before the epoch began. A stale `now` only holds the epoch back. */
        uint64_t now = atomic_load_explicit(&e->global, memory_order_acquire);
        /* Sequentially consistent: the slot must be seen taken before this
           reader loads any shared pointer, or an advancing thread could miss
           it. */
        if (atomic_compare_exchange_strong(&slot->active, &idle, now))
            return slot;
        if (i % EPOCH_SLOTS == EPOCH_SLOTS - 1)
            thread_yield();
    }
}

/* True when every reader inside entered in the present epoch. */
static bool all_current(struct epoch *e, uint64_t now)
{
    for (int i = 0; i < EPOCH_SLOTS; i++) {
        uint64_t active = atomic_load(&e->slots[i].active);
        if (active && active != now)
            return false;
    }
    return true;
}

/* Advances by one if possible. What ripened before must be freed first: else
   those who free a few at a time would not catch up. */
static void advance_locked(struct epoch *e)
{
    uint64_t now = atomic_load(&e->global);
    if (e->ripe.light || !all_current(e, now))
        return;
    atomic_store(&e->global, now + 1);
    e->retired_since_advance = 0;
    /* Readers are in now or now + 1; what was retired in now - 1 is out of
       reach. Those lists' place is the one now + 2 will use. */
    struct epoch_lists *old = &e->retired[(now + 2) % 3];
    e->ripe.light = old->light;
    /* These wait for a collector, and are few. */
    struct epoch_node **end = &e->ripe.slow;
    while (*end)
        end = &(*end)->next;
    *end = old->slow;
    *old = (struct epoch_lists){0};
}

static void retire(struct epoch *e, struct epoch_node *node, bool slow)
{
    mutex_lock(&e->lock);
    struct epoch_lists *lists = &e->retired[atomic_load(&e->global) % 3];
    struct epoch_node **list = slow ? &lists->slow : &lists->light;
    node->next = *list;
    *list = node;
    if (!slow && ++e->retired_since_advance >= ADVANCE_AFTER)
        advance_locked(e);
    mutex_unlock(&e->lock);
}

void epoch_retire(struct epoch *e, struct epoch_node *node,
                  void (*free)(struct epoch_node *node))
{
    node->free = free;
    retire(e, node, false);
}

void epoch_retire_slow(struct epoch *e, struct epoch_node *node,
                       void (*free)(struct epoch_node *node))
{
    node->free = free;
    retire(e, node, true);
}

void epoch_advance(struct epoch *e)
{
    mutex_lock(&e->lock);
    advance_locked(e);
    mutex_unlock(&e->lock);
}

/* Of what was taken off the lists under the lock, which is still held. */
static void free_taken_unlocking(struct epoch *e, struct epoch_lists taken)
{
    atomic_fetch_add(&e->freeing, 1);
    mutex_unlock(&e->lock);
    free_lists(&taken);
    atomic_fetch_sub(&e->freeing, 1);
}

void epoch_help(struct epoch *e, size_t most)
{
    struct epoch_lists taken = {0};
    mutex_lock(&e->lock);
    for (; e->ripe.light && most; most--) {
        struct epoch_node *node = e->ripe.light;
        e->ripe.light = node->next;
        node->next = taken.light;
        taken.light = node;
    }
    free_taken_unlocking(e, taken);
}

static void free_ripe(struct epoch *e)
{
    mutex_lock(&e->lock);
    struct epoch_lists ripe = e->ripe;
    e->ripe = (struct epoch_lists){0};
    free_taken_unlocking(e, ripe);
}

void epoch_collect(struct epoch *e)
{
    free_ripe(e);
    epoch_advance(e);
    free_ripe(e);
}

void epoch_barrier(struct epoch *e)
{
    uint64_t until = atomic_load(&e->global) + 3;
    while (atomic_load(&e->global) < until) {
        uint64_t before = atomic_load(&e->global);
        epoch_collect(e);
        if (atomic_load(&e->global) == before)
            thread_yield();
    }
    /* Another thread may have advanced and left what is slow; or have taken
       them off the lists and not yet be done. */
    free_ripe(e);
    while (atomic_load(&e->freeing))
        thread_yield();
}
