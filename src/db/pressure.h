/*
 * Back-pressure: how fast may writers write? Pure: what is known of flushes
 * and compaction in, a pace out. No cliff: the pace tightens smoothly as
 * unflushed memtables and compaction debt grow, and never stops writers
 * altogether (the hard bound is the number of memtables).
 */
#ifndef DB_PRESSURE_H
#define DB_PRESSURE_H

#include <stdint.h>

/* Rates measured so far, bytes of user writes per second; 0: unknown. */
struct pressure {
    double flush_rate;      /* what flushing gets done */
    double compaction_rate; /* user bytes per second compaction kept up with */
    const char *cause;      /* static text; "" when none */
    double allowed_rate;    /* 0: no limit */
};

struct pressure_input {
    unsigned frozen, max_frozen; /* memtables waiting, and how many may */
    double writable_fill;        /* 0..1 of the writable one */
    uint64_t debt_bytes;         /* compaction input that is due */
    uint64_t debt_soft, debt_hard;
    unsigned runs, runs_soft, runs_hard; /* sorted runs to search */
};

/* A finished piece of work tells its rate. */
void pressure_flushed(struct pressure *p, uint64_t user_bytes, uint64_t ns);
void pressure_compacted(struct pressure *p, uint64_t input_bytes, uint64_t ns,
                        double amplification);

/* Sets cause and allowed_rate. Returns nanoseconds a writer owes per KiB. */
uint64_t pressure_pace(struct pressure *p, const struct pressure_input *in);

#endif
