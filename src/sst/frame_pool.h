/*
 * Where cached frames have their memory. A heap would do, were it not for what
 * it keeps: a cache lives on evicting one size and loading another, and with
 * the C library's heap the process held 36 % more than the frames in use. Here
 * what is held beyond them is bounded, and what a frame is charged is what it
 * takes.
 *
 *      region (reserved once)  [ slab | slab | slab | ...                ]
 *      slab                    [ slot | slot | slot | ... ]  of one size
 *
 * Slot sizes are sixteen to each doubling, so a frame wastes a 17th at most;
 * or up to an eighth where that makes whole pages of it, which can go back to
 * the system one by one. They do while more than a 64th of the budget lies
 * free, first of sizes that nobody asks for. A slot so emptied costs page
 * faults when it is taken again: those that have their pages are taken before.
 * A slab that empties may serve another size, and those that are nearly full
 * are filled first, so that others empty. Sizes of which there are but a few
 * come from the heap: each would hold a slab for itself.
 *
 * From 128 MiB on slabs may be huge pages: a block that is read at random is a
 * miss of the processor's page tables too. But a huge page comes as a whole
 * with the first slot of it, and the system puts one together again of what
 * went back page by page. So a slab begins as one where its size has filled
 * several, or while a 64th of the budget bounds what such slabs hold unused;
 * else it becomes one when it is full; and it is none from the first page on
 * that goes back.
 *
 * Frames above FRAME_POOL_LARGE, of small budgets above less, are mapped one
 * by one, those below FRAME_POOL_SMALL come from the heap; so does everything
 * where no region can be reserved, and what does not fit into it.
 *
 * Threads: any; one mutex.
 */
#ifndef SST_FRAME_POOL_H
#define SST_FRAME_POOL_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_POOL_SMALL = 1 << 10,
    FRAME_POOL_LARGE = 128 << 10,
    FRAME_POOL_ALIGNMENT = 64
};

struct frame_pool;

/* For frames of `budget` bytes in all, pinned ones beside; NULL: no memory. */
struct frame_pool *frame_pool_new(uint64_t budget);
void frame_pool_free(struct frame_pool *p); /* all given back; NULL is fine */

/* Memory for a frame, aligned to FRAME_POOL_ALIGNMENT, not zeroed, and in
 *charge what it takes; NULL: no memory. p NULL: from the heap. */
void *frame_pool_take(struct frame_pool *p, size_t size, size_t *charge);
/* charge: as take said. */
void frame_pool_give(struct frame_pool *p, void *memory, size_t charge);

/* Frames above it are mapped one by one: FRAME_POOL_LARGE, or less where the
   budget is below 128 MiB. */
size_t frame_pool_large(const struct frame_pool *p);

struct frame_pool_stats {
    uint64_t used;     /* bytes of slots taken */
    uint64_t free;     /* bytes of free slots that still hold their pages */
    uint64_t returned; /* of those whose pages went back, or never came */
};
void frame_pool_stats(struct frame_pool *p, struct frame_pool_stats *out);

#endif
