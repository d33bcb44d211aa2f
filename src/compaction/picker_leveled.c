/*
 * Leveled compaction: one run a level, each a tenth of the one below. Sizes
 * count from the bottom up, so a level exists only if it is worth one; flushes
 * merge into the topmost, the base. Few runs to search, more bytes written.
 */
#include "compaction/picker_internal.h"

enum { LEVEL_RATIO = 10 };

static double target_bytes(const struct shape *s, unsigned level)
{
    double target = (double)shape_bottom(s)->bytes;

    for (; level < PICKER_BOTTOM_LEVEL; level += 2)
        target /= LEVEL_RATIO;
    return target;
}

/* The topmost level that would hold at least one group of flushes. */
static unsigned base_level(const struct shape *s)
{
    double least =
        (double)s->fanout[0] * (double)s->input->options.memtable_bytes;
    unsigned level = PICKER_BOTTOM_LEVEL;

    while (level > 2 && target_bytes(s, level - 2) >= least)
        level -= 2;
    return level;
}

static adb_status slice_into(const struct shape *s, size_t newest,
                             size_t oldest, uint64_t limit, bool densest,
                             struct picker_plan *plan)
{
    struct slice_goal goal = {.group = {newest, oldest},
                              .limit_bytes = limit,
                              .densest = densest};

    return plan_slice(s, &goal, plan);
}

/* Level 0 with everything down to the base level's run; without such a run
   the flushes become it. */
static adb_status pick_leveled_flushes(const struct shape *s,
                                       struct picker_plan *plan)
{
    const struct shape_level *flushed = &s->levels[0];
    unsigned base = base_level(s);
    size_t oldest = flushed->first + flushed->count - 1;

    if (flushed->count < s->fanout[0])
        return ADB_OK;
    plan->reason = "level 0 has enough runs";
    plan->score = (double)flushed->count / s->fanout[0];
    while (oldest + 1 < s->input->run_count &&
           s->input->runs[oldest + 1].level <= base)
        oldest++;
    if (oldest >= flushed->first + flushed->count)
        return slice_into(s, flushed->first, oldest,
                          s->input->options.max_merge_bytes, false, plan);
    if (flushed->busy) {
        plan->blocked = true;
        return ADB_OK;
    }
    return plan_whole(s, (struct merge_group){flushed->first, oldest}, base,
                      plan);
}

/* Several runs on a level: left there by another policy. */
static adb_status pick_surplus(const struct shape *s, unsigned level,
                               struct picker_plan *plan)
{
    const struct shape_level *l = &s->levels[level];

    plan->reason = "a level has more than one run";
    plan->score = 1.0;
    return slice_into(s, l->first, l->first + l->count - 1,
                      s->input->options.max_merge_bytes, false, plan);
}

/* Too large: the piece that costs least goes into the next level's run, or
   all of it one level down where there is none. */
static adb_status pick_overfull(const struct shape *s, unsigned level,
                                struct picker_plan *plan)
{
    const struct shape_level *l = &s->levels[level];
    const struct picker_input *input = s->input;
    size_t next = l->first + 1;

    plan->reason = "a level is larger than its share";
    plan->score = (double)l->bytes / MAX_OF(target_bytes(s, level), 1.0);
    if (next == input->run_count || input->runs[next].level > level + 2) {
        plan->blocked = l->busy;
        return l->busy ? ADB_OK
                       : plan_relabel(s, (struct merge_group){l->first,
                                                              l->first},
                                      next == input->run_count
                                          ? PICKER_BOTTOM_LEVEL
                                          : level + 2 - level % 2,
                                      plan);
    }
    return slice_into(s, l->first, next, input->options.max_merge_bytes, true,
                      plan);
}

adb_status pick_leveled(const struct shape *s, struct picker_plan *plan)
{
    adb_status status = pick_leveled_flushes(s, plan);

    for (unsigned i = 1; i <= PICKER_BOTTOM_LEVEL; i++) {
        const struct shape_level *l = &s->levels[i];
        if (status != ADB_OK || plan->kind != PICKER_NONE)
            return status;
        if (l->count > 1)
            status = pick_surplus(s, i, plan);
        else if (l->count == 1 && i < PICKER_BOTTOM_LEVEL &&
                 (i % 2 || (double)l->bytes > target_bytes(s, i)))
            status = pick_overfull(s, i, plan);
    }
    return status;
}
