/*
 * Back-pressure: how fast may writers write? Pure: what is known of flushes
 * and compaction in, a pace out. No cliff: the pace tightens smoothly as
 * unflushed memtables and compaction debt grow, or a flush takes long, and
 * never stops writers altogether (the hard bound is the number of memtables).
 */
#ifndef DB_PRESSURE_H
#define DB_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

/* Rates measured so far, bytes of user writes per second; 0: unknown. */
struct pressure {
    double flush_rate;      /* what flushing gets done */
    double compaction_rate; /* user bytes per second compaction kept up with */
    /* 0..1: how much of what is merged into the bottom takes the place of
       something there. Not known at first, and then taken for all. */
    double shadowing;
    bool shadowing_known;
    const char *cause;      /* static text; "" when none */
    double allowed_rate;    /* 0: no limit */
};

struct pressure_input {
    unsigned frozen, max_frozen; /* memtables waiting, and how many may */
    double writable_fill;        /* 0..1 of the writable one */
    uint64_t room_bytes;         /* what may be written until writers wait */
    uint64_t flush_ns;           /* the flush under way took so far; 0: none */
    uint64_t flush_bytes;        /* of what it flushes */
    uint64_t debt_bytes;         /* compaction input that is due */
    uint64_t debt_soft, debt_hard;
    unsigned runs, runs_soft, runs_hard; /* sorted runs to search */
    /* Overwritten bytes on the disk, against those at which they are merged
       away: picker_debt's `above` times what merges find to drop. */
    double garbage, garbage_soft, garbage_hard;
};

/* A finished piece of work tells its rate. */
void pressure_flushed(struct pressure *p, uint64_t user_bytes, uint64_t ns);
void pressure_compacted(struct pressure *p, uint64_t input_bytes, uint64_t ns,
                        double amplification);

/* A merge into the bottom: entries that came from above it, and entries that
   it dropped. */
void pressure_merged(struct pressure *p, uint64_t above, uint64_t dropped);

/* Of so much above the bottom (garbage of pressure_input), what is garbage. */
double pressure_garbage(const struct pressure *p, double above);

/* Sets cause and allowed_rate. Returns nanoseconds a writer owes per KiB. */
uint64_t pressure_pace(struct pressure *p, const struct pressure_input *in);

#endif
