/*
 * Read-ahead. Files of tables are opened for reads here and there, since the
 * system's own guess reads too much for gets and nothing for backward scans.
 * Who reads in order says so here, piece by piece; after the third piece in a
 * row the system is asked to fetch what comes next, 32 KiB at first and twice
 * as much each time, up to 512 KiB or, if that is more, two pieces; never more
 * than 4 MiB.
 *
 * Threads: one at a time. Never fails: it is a hint.
 */
#ifndef SST_SST_AHEAD_H
#define SST_SST_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct sst_reader;

struct sst_ahead {
    uint64_t begin, end; /* the last piece */
    uint64_t asked;      /* everything up to here (backward: down to here) */
    uint64_t reach;
    unsigned row; /* pieces in a row so far */
    bool backward;
};

/* [begin, end) of the reader's file is about to be read from the disk, or the
   page cache. A zeroed sst_ahead has read nothing yet. */
void sst_ahead_read(struct sst_ahead *a, struct sst_reader *r, uint64_t begin,
                    uint64_t end, bool backward);

#endif
