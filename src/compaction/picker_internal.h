/*
 * What the picker's files share: the input summed up by level (shape), the
 * sweep that cuts a merge of runs into slices, and the makers of plans. What is
 * set aside is out of sight but where it is asked for older versions.
 * Inside compaction/picker*.c only.
 */
#ifndef COMPACTION_PICKER_INTERNAL_H
#define COMPACTION_PICKER_INTERNAL_H

#include "compaction/picker.h"

enum {
    SHAPE_LEVELS = PICKER_BOTTOM_LEVEL + 1,
    SHAPE_TIERS = PICKER_BOTTOM_LEVEL / 2, /* level 0 and the even ones above
                                              the bottom */
    SHAPE_LAST_MIDDLE = PICKER_BOTTOM_LEVEL - 2,
    SHAPE_TO_BOTTOM = PICKER_BOTTOM_LEVEL - 1
};

/* ---- picker_shape.c ---- */

struct shape_level {
    size_t first, count; /* its runs in the input: [first, first + count) */
    size_t tables;
    uint64_t bytes, entries, tombstones;
    bool busy; /* any of its tables, or a run that is joined */
};

struct shape {
    const struct picker_input *input; /* without what is set aside: &top */
    struct picker_input top;
    size_t all_runs; /* also those, behind the others in input->runs */
    struct shape_level levels[SHAPE_LEVELS];
    uint64_t bytes;
    /* A run stands above a newer one and must be moved down (never made by
       the picker itself); run_count: none. */
    size_t misplaced;

    unsigned tiers;                /* in use: level 0 counts as one */
    unsigned fanout[SHAPE_TIERS];  /* runs that make tier i (level 2i) due */
    double bottom_share;           /* middle bytes : bottom bytes when due */
};

void shape_init(struct shape *s, const struct picker_input *input);

static inline const struct shape_level *shape_bottom(const struct shape *s)
{
    return &s->levels[PICKER_BOTTOM_LEVEL];
}

/* May the table be no input now? */
static inline bool table_blocked(const struct picker_table *t)
{
    return t->busy || t->quarantined;
}

uint64_t shape_run_bytes(const struct picker_run *run);
bool shape_run_busy(const struct picker_run *run);

/* Bytes of the levels [from, to], each tombstone counted with the bottom entry
   it will erase: that makes files rich in tombstones due earlier. */
uint64_t shape_weight(const struct shape *s, unsigned from, unsigned to);

/* ---- picker_slice.c ---- */

/* A merge of the runs [newest, oldest] of the input into the oldest. */
struct merge_group {
    size_t newest, oldest;
};

struct slice_goal {
    struct merge_group group;
    uint64_t limit_bytes; /* of input; one inseparable piece may be larger */
    adb_slice from, to;   /* only what overlaps; data NULL: unbounded */
    bool densest;         /* where most newer bytes meet fewest old ones,
                             instead of the leftmost */
};

/* The next slice of a merge; kind NONE if there is none (blocked if some are
   busy). */
adb_status plan_slice(const struct shape *s, const struct slice_goal *goal,
                      struct picker_plan *plan) ADB_MUST_CHECK;

/* The group's tables all at once, at output_level. Turns into a MOVE where no
   two tables overlap. */
adb_status plan_whole(const struct shape *s, struct merge_group group,
                      uint32_t output_level,
                      struct picker_plan *plan) ADB_MUST_CHECK;

/* The group's runs change level, nothing else. */
adb_status plan_relabel(const struct shape *s, struct merge_group group,
                        uint32_t output_level,
                        struct picker_plan *plan) ADB_MUST_CHECK;

/* An input limit for slices of a group: a sixteenth of it within reason. */
uint64_t slice_limit(const struct shape *s, struct merge_group group);

/* The run's tables that overlap [low, high]: *count of them from the index
   returned on. */
size_t run_overlap(const struct picker_run *run, adb_slice low, adb_slice high,
                   size_t *count);

/* ---- picker_aside.c ---- */

/* Sets aside what is damaged, or takes back what is not any more. blocked: a
   merge that runs must end first, and no other may begin. */
adb_status pick_aside(const struct shape *s,
                      struct picker_plan *plan) ADB_MUST_CHECK;

/* ---- picker_leveled.c ---- */

adb_status pick_leveled(const struct shape *s,
                        struct picker_plan *plan) ADB_MUST_CHECK;

#endif
