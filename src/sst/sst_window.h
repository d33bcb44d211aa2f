/*
 * Read-ahead for iterators that leave the cache alone: a window of file bytes
 * over neighbouring blocks of a part, read in one go, charged to
 * LEDGER_ITERATOR. It grows while it is used in order, from 64 KiB to 1 MiB,
 * ahead of the direction of travel, and ends before large gaps (extents).
 *
 * Threads: one at a time.
 */
#ifndef SST_SST_WINDOW_H
#define SST_SST_WINDOW_H

#include "sst/sst_ahead.h"
#include "sst/sst_reader_internal.h"

struct sst_window {
    uint8_t *data; /* owned */
    size_t capacity;
    uint64_t offset; /* in the file */
    size_t size;
    size_t reach; /* bytes to read next time; 0: the least */
    struct sst_ahead ahead;
};

/* After a jump reading starts small again; the bytes stay. */
static inline void sst_window_jump(struct sst_window *w)
{
    w->reach = 0;
}

/* For another file. The memory stays. */
static inline void sst_window_forget(struct sst_window *w)
{
    w->offset = 0;
    w->size = 0;
    w->reach = 0;
    w->ahead = (struct sst_ahead){0};
}

/* The stored bytes of a block's frame, from the window or read along with
   what follows (or, backward, precedes) it. They live until the next call. */
adb_status sst_window_get(struct sst_window *w, struct sst_reader *r,
                          const struct sst_index *index, uint32_t block,
                          bool backward, const uint8_t **stored) ADB_MUST_CHECK;
void sst_window_deinit(struct sst_window *w, struct sst_reader *r);

#endif
