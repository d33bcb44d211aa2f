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
 * Slot sizes are sixteen to each doubling, so a frame wastes a 17th at most. A
 * slab that empties may serve another size. While more than a 32nd of the
 * budget lies free, the whole pages of slots given back go back to the system;
 * a slot so emptied costs page faults when it is taken again. From 64 MiB on
 * the region asks for huge pages: a block that is read at random is a miss of
 * the processor's page tables too.
 *
 * Frames above FRAME_POOL_LARGE are mapped one by one, those below
 * FRAME_POOL_SMALL come from the heap; so does everything where no region can
 * be reserved, and what does not fit into it.
 *
 * Threads: any; one mutex.
 */
#ifndef SST_FRAME_POOL_H
#define SST_FRAME_POOL_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_POOL_SMALL = 1 << 10,
    FRAME_POOL_LARGE = 32 << 10,
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

struct frame_pool_stats {
    uint64_t used;     /* bytes of slots taken */
    uint64_t free;     /* bytes of free slots that still hold their pages */
    uint64_t returned; /* bytes of free slots whose pages went back */
};
void frame_pool_stats(struct frame_pool *p, struct frame_pool_stats *out);

#endif
