#include "base/epoch.h"

#include <stddef.h>

void epoch_init(struct epoch *e)
{
    for (int i = 0; i < EPOCH_SLOTS; i++)
        atomic_init(&e->slots[i].active, 0);
    atomic_init(&e->global, 1);
    mutex_init(&e->lock);
    for (int i = 0; i < 3; i++)
        e->retired[i] = NULL;
    e->retired_since_advance = 0;
    e->freeing = 0;
}

static void free_list(struct epoch_node *node)
{
    while (node) {
        struct epoch_node *next = node->next;
        node->free(node);
        node = next;
    }
}

void epoch_deinit(struct epoch *e)
{
    /* Freeing may retire more. */
    for (int i = 0; i < 3; i++) {
        struct epoch_node *list = e->retired[i];
        e->retired[i] = NULL;
        free_list(list);
        if (list)
            i = -1;
    }
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

/* Advances by one if possible; returns what may be freed now, to be handed to
   free_detached. */
static struct epoch_node *advance_locked(struct epoch *e)
{
    uint64_t now = atomic_load(&e->global);
    if (!all_current(e, now))
        return NULL;
    atomic_store(&e->global, now + 1);
    e->retired_since_advance = 0;
    /* Readers are in now or now + 1; what was retired in now - 1 is out of
       reach. That list's place is the one now + 2 will use. */
    struct epoch_node *list = e->retired[(now + 2) % 3];
    e->retired[(now + 2) % 3] = NULL;
    e->freeing += list != NULL;
    return list;
}

static void free_detached(struct epoch *e, struct epoch_node *list)
{
    if (!list)
        return;
    free_list(list);
    mutex_lock(&e->lock);
    e->freeing--;
    mutex_unlock(&e->lock);
}

void epoch_retire(struct epoch *e, struct epoch_node *node,
                  void (*free)(struct epoch_node *node))
{
    struct epoch_node *list = NULL;
    node->free = free;
    mutex_lock(&e->lock);
    uint64_t now = atomic_load(&e->global);
    node->next = e->retired[now % 3];
    e->retired[now % 3] = node;
    if (++e->retired_since_advance >= 32)
        list = advance_locked(e);
    mutex_unlock(&e->lock);
    free_detached(e, list);
}

void epoch_collect(struct epoch *e)
{
    mutex_lock(&e->lock);
    struct epoch_node *list = advance_locked(e);
    mutex_unlock(&e->lock);
    free_detached(e, list);
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
    /* Another thread may have taken them off the lists and not yet be done. */
    for (;;) {
        mutex_lock(&e->lock);
        unsigned freeing = e->freeing;
        mutex_unlock(&e->lock);
        if (freeing == 0)
            return;
        thread_yield();
    }
}
