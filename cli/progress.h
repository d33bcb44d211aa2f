/*
 * How far work is that takes long, on standard error: a line with a bar, the
 * rate and the time left, drawn over and over at a terminal; elsewhere a plain
 * line every ten seconds. Work that takes less shows nothing there.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "text.h"

struct progress {
    const char *what; /* borrowed: the verb, or the workload */
    const char *unit; /* borrowed: what is counted, "pairs"; NULL: bytes */
    uint64_t total;   /* 0: unknown */
    double began, shown;
    bool terminal, drawn;
    struct text line; /* owned */
};

double now_seconds(void); /* of a clock that never jumps */

void progress_begin(struct progress *p, const char *what, const char *unit,
                    uint64_t total);
/* done of total, or of no known total, so far. Cheap enough for every line of
   a file. */
void progress_show(struct progress *p, uint64_t done);
/* Wipes the line away. */
void progress_end(struct progress *p);

#endif
