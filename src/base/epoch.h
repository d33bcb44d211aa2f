/*
 * Epochs: when may memory that readers reach without a lock be freed?
 *
 * A reader enters, follows shared pointers, leaves. Whoever unlinks an object
 * retires it; it is freed once every reader that could have seen it has left
 * (two advances of the global epoch later; Fraser 2004). An epoch lasts at
 * most one call of the public interface: whatever outlives that takes a
 * counted reference while inside.
 *
 * Threads: all functions from any thread. Entering is one compare-and-swap on
 * a cache line of the thread's own; nested entering is fine. Frees run without
 * any lock held by this module, never inside epoch_enter/leave of a reader.
 *
 * Who frees: those who retire help with a few that are ripe, so that a thousand
 * retired at once are not one caller's to free; epoch_collect, which threads of
 * the background call, frees all. What takes long to free is left to them.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/thread.h"

enum { EPOCH_SLOTS = 256 };

/* Embedded in what will be retired. */
struct epoch_node {
    struct epoch_node *next;
    void (*free)(struct epoch_node *node);
};

struct epoch_slot {
    _Alignas(64) _Atomic uint64_t active; /* 0, or the epoch entered in */
};

struct epoch_lists {
    struct epoch_node *light, *slow;
};

struct epoch {
    struct epoch_slot slots[EPOCH_SLOTS];
    _Alignas(64) _Atomic uint64_t global; /* from 1 */
    struct mutex lock;                    /* guards the lists */
    struct epoch_lists retired[3];        /* by epoch modulo 3 */
    struct epoch_lists ripe;              /* out of every reader's reach */
    uint64_t retired_since_advance;
    /* Threads that free what they took off the lists; grows under the lock. */
    _Atomic unsigned freeing;
};

/* Must lie at 64-byte alignment (mem_aligned_alloc). */
void epoch_init(struct epoch *e);
/* Frees everything retired; no reader may be inside. */
void epoch_deinit(struct epoch *e);

/* Returns a ticket for epoch_leave. Waits (yielding) only when EPOCH_SLOTS
   readers are inside at once. */
struct epoch_slot *epoch_enter(struct epoch *e);
static inline void epoch_leave(struct epoch_slot *slot)
{
    atomic_store_explicit(&slot->active, 0, memory_order_release);
}

/* Calls node->free(node) when no reader can hold it. The caller must have
   unlinked it before. Must not be called inside an epoch by a thread that
   then waits for the free. Frees nothing itself: may be called by a free. */
void epoch_retire(struct epoch *e, struct epoch_node *node,
                  void (*free)(struct epoch_node *node));

/* The same for what takes long to free: only epoch_collect and epoch_barrier
   free it. */
void epoch_retire_slow(struct epoch *e, struct epoch_node *node,
                       void (*free)(struct epoch_node *node));

/* Frees at most so many of what became free. Who retires should free more than
   it retires, but not from inside a free. */
void epoch_help(struct epoch *e, size_t most);

/* Tries to advance now; retiring many does so by itself. */
void epoch_advance(struct epoch *e);

/* Tries to advance and frees all that became free. */
void epoch_collect(struct epoch *e);

/* Waits until everything retired before the call has been freed. Must not be
   called inside an epoch nor by a free. */
void epoch_barrier(struct epoch *e);

#endif
