/*
 * Finding the data blocks of a table file without its index: where that is
 * damaged, or the footer that leads to it.
 *
 * A frame does not say how long it is, but whether bytes at some place are one
 * can be told: the header of a data block tells its size (a packed one's after
 * unpacking its beginning; zstd knows where it ends, for lz4 all ends are
 * tried), and then the checksum must hold, which is bound to file and offset.
 * Behind a block the next begins, but for the extents, index and filter in
 * between: there every byte is tried until a block is found again.
 *
 * Threads: one at a time.
 */
#ifndef SST_SST_WALK_H
#define SST_SST_WALK_H

#include "sst/sst_ahead.h"
#include "sst/sst_reader_internal.h"

struct sst_walk {
    struct sst_reader *reader; /* borrowed: its file, number and path */
    bool skip_unreadable; /* what the system cannot read counts as zeros */
    uint64_t at, end;     /* file bytes left to look at */
    uint8_t *data;        /* owned: the file from base on */
    uint64_t base;
    size_t have, capacity;
    struct sst_ahead ahead;
    struct buffer raw;
};

/* The walk over [begin, end) of the reader's file; w is zeroed before. */
void sst_walk_begin(struct sst_walk *w, struct sst_reader *r, uint64_t begin,
                    uint64_t end);
void sst_walk_deinit(struct sst_walk *w);

/* The next block, its offset and file bytes; w->at is behind it then, and its
   bytes live until the next call. ADB_NOT_FOUND (without message): there is no
   more up to the end. */
adb_status sst_walk_next(struct sst_walk *w, struct sst_block *block,
                         uint64_t *offset, size_t *span) ADB_MUST_CHECK;

#endif
