/*
 * Lazy leveling, what it shares with the other policies, and debt.
 *
 * Life of a run under lazy leveling (three tiers; M: a memtable):
 *
 *   level 0    M M M M           flushes; all merged at once ...
 *   level 2    4M 4M 4M          ... into a run that rests here
 *   level 3    4M 4M 4M 4M       enough of them: being merged, by slices
 *   level 4    16M 16M           ... into one that rests here
 *   level 15   16M 16M 4M        middle >= 0.4 bottom: all rest goes here
 *   level 16   =========         ... to be merged into the bottom, by slices
 *
 * A merge too large for one job begins with a change of level: its runs go to
 * an odd level. That is the picker's memory of which runs take part, so that
 * runs which come later wait for the next merge and the merge can stop, go on
 * after a restart, or run as several jobs.
 */
#include "compaction/picker_internal.h"

#include <assert.h>

#include "base/alloc.h"

void picker_plan_deinit(struct picker_plan *plan)
{
    mem_free(plan->sources);
    mem_free(plan->cuts);
    *plan = (struct picker_plan){.kind = PICKER_NONE};
}

static bool planned(const struct picker_plan *plan, adb_status status)
{
    return status != ADB_OK || plan->kind != PICKER_NONE;
}

static struct merge_group level_group(const struct shape_level *l)
{
    return (struct merge_group){l->first, l->first + l->count - 1};
}

/* ---- level 0 ---- */

/* The oldest flush runs that one job may take. Flush tables span all keys, so
   they are merged whole, and one group at a time: ages would break levels
   otherwise. */
static struct merge_group flush_group(const struct shape *s)
{
    const struct picker_options *o = &s->input->options;
    struct merge_group g = level_group(&s->levels[0]);
    uint64_t bytes = 0;

    g.newest = g.oldest;
    for (size_t n = 1;; n++, g.newest--) {
        bytes += shape_run_bytes(&s->input->runs[g.newest]);
        if (g.newest == 0 || (n >= s->fanout[0] && bytes > o->max_merge_bytes))
            return g;
    }
}

/* Everything there is in one job, if that is small; unless the bottom is what
   cannot be merged. */
static bool all_in_one(const struct shape *s)
{
    if (s->input->bottom_failed ||
        s->bytes > s->input->options.max_merge_bytes)
        return false;
    for (unsigned i = 0; i < SHAPE_LEVELS; i++) {
        if (s->levels[i].busy)
            return false;
    }
    return (double)shape_weight(s, 0, SHAPE_TO_BOTTOM) >=
           s->bottom_share * (double)shape_bottom(s)->bytes;
}

static adb_status merge_flushes(const struct shape *s,
                                struct picker_plan *plan)
{
    struct merge_group g = flush_group(s);

    if (all_in_one(s))
        g = (struct merge_group){0, s->input->run_count - 1};
    return plan_whole(s, g,
                      g.oldest + 1 == s->input->run_count ? PICKER_BOTTOM_LEVEL
                                                          : 2,
                      plan);
}

static adb_status pick_flushes(const struct shape *s, struct picker_plan *plan)
{
    const struct shape_level *l = &s->levels[0];

    if (l->count < s->fanout[0])
        return ADB_OK;
    if (l->busy) {
        plan->blocked = true;
        return ADB_OK;
    }
    plan->reason = "level 0 has enough runs";
    plan->score = (double)l->count / s->fanout[0];
    return merge_flushes(s, plan);
}

/* ---- middle to bottom ---- */

/* The middle runs that take part in a merge into the bottom: the oldest ones
   up to the first that is busy or, unless all shall go, cut so coarsely that
   slices would be far too large. False: none. */
static bool bottom_group(const struct shape *s, bool all,
                         struct merge_group *out)
{
    const struct picker_input *input = s->input;
    uint64_t slice = MAX_OF(input->options.max_merge_bytes, 1) * 2;
    uint64_t pieces = all ? 0 : s->bytes / slice;
    size_t end = shape_bottom(s)->count ? shape_bottom(s)->first
                                        : input->run_count;
    size_t begin = end;

    while (begin > 0) {
        const struct picker_run *run = &input->runs[begin - 1];
        if (run->level == 0 || run->count < pieces || shape_run_busy(run))
            break;
        begin--;
    }
    *out = (struct merge_group){begin, end - 1};
    return begin < end;
}

static adb_status start_bottom_merge(const struct shape *s,
                                     struct merge_group g,
                                     struct picker_plan *plan)
{
    if (shape_bottom(s)->count)
        return plan_relabel(s, g, SHAPE_TO_BOTTOM, plan);
    g.newest = g.oldest;
    return plan_relabel(s, g, PICKER_BOTTOM_LEVEL, plan);
}

static adb_status pick_bottom(const struct shape *s, struct picker_plan *plan)
{
    double middle = (double)shape_weight(s, 1, SHAPE_TO_BOTTOM - 1);
    double due = s->bottom_share * (double)shape_bottom(s)->bytes;
    const struct shape_level *last = &s->levels[SHAPE_LAST_MIDDLE];
    bool crowded = last->count >= s->fanout[SHAPE_TIERS - 1];
    bool all = crowded || middle >= 1.5 * due;
    struct merge_group g;
    uint64_t bytes = 0;

    if (s->levels[SHAPE_TO_BOTTOM].count || middle <= 0 ||
        (middle < due && !crowded))
        return ADB_OK;
    if (!bottom_group(s, all, &g)) {
        plan->blocked = true;
        return ADB_OK;
    }
    for (size_t i = g.newest; i <= g.oldest; i++)
        bytes += shape_run_bytes(&s->input->runs[i]);
    /* The rest soon will be cut finer, by the merges of its own level. */
    if (!all && (double)bytes < due / 2)
        return ADB_OK;
    plan->reason = "runs above the bottom are large enough to merge into it";
    plan->score = due > 0 ? MAX_OF(middle / due, 1.0) : 1.0;
    return start_bottom_merge(s, g, plan);
}

/* ---- merges under way on odd levels, and their beginning ---- */

static adb_status pick_slice_of(const struct shape *s, struct merge_group g,
                                struct picker_plan *plan)
{
    struct slice_goal goal = {.group = g, .limit_bytes = slice_limit(s, g)};

    plan->score = 1.0;
    return plan_slice(s, &goal, plan);
}

/* An odd level: its next slice, or, with one run left, on to where it rests. */
static adb_status pick_merging(const struct shape *s, unsigned level,
                               struct picker_plan *plan)
{
    const struct shape_level *l = &s->levels[level];

    if (l->count > 1) {
        plan->reason = "next slice of a merge of middle runs";
        return pick_slice_of(s, level_group(l), plan);
    }
    if (l->count == 0)
        return ADB_OK;
    if (l->busy) {
        plan->blocked = true;
        return ADB_OK;
    }
    plan->reason = "merge of middle runs complete";
    plan->score = 1.0;
    return plan_relabel(s, level_group(l), level + 1, plan);
}

/* Would one more run make the level below due as well, and may it join this
   merge at once? Its slices must not become far too large by the cut of the
   newest run. */
static bool cascades(const struct shape *s, struct merge_group g,
                     unsigned level)
{
    const struct shape_level *next = &s->levels[level + 2];
    uint64_t slice = MAX_OF(s->input->options.max_merge_bytes, 1) * 2;
    uint64_t bytes = next->bytes;

    if (level + 2 >= SHAPE_LAST_MIDDLE || !next->count || next->busy ||
        s->levels[level + 3].count ||
        next->count + 1 < s->fanout[(level + 2) / 2])
        return false;
    for (size_t i = g.newest; i <= g.oldest; i++)
        bytes += shape_run_bytes(&s->input->runs[i]);
    return s->input->runs[g.newest].count >= bytes / slice;
}

/* An even middle level with enough runs, with those below that would be due
   next: so their data skip a level. */
static adb_status pick_resting(const struct shape *s, unsigned level,
                               struct picker_plan *plan)
{
    const struct shape_level *l = &s->levels[level];
    unsigned fanout = s->fanout[level / 2];
    uint64_t bytes = l->bytes;

    if (level == SHAPE_LAST_MIDDLE || l->count < fanout)
        return ADB_OK;
    if (l->busy || s->levels[level + 1].count) {
        plan->blocked = true;
        return ADB_OK;
    }
    struct merge_group g = level_group(l);
    while (cascades(s, g, level)) {
        level += 2;
        g.oldest += s->levels[level].count;
        bytes += s->levels[level].bytes;
    }
    plan->reason = "a middle level has enough runs";
    plan->score = (double)l->count / fanout;
    if (bytes <= s->input->options.max_merge_bytes)
        return plan_whole(s, g, level + 2, plan);
    return plan_relabel(s, g, level + 1, plan);
}

/* What stands on the last odd level, and surplus runs of the bottom. */
static adb_status pick_into_bottom(const struct shape *s,
                                   struct picker_plan *plan)
{
    const struct shape_level *staged = &s->levels[SHAPE_TO_BOTTOM];
    const struct shape_level *bottom = shape_bottom(s);
    struct merge_group g;

    if (bottom->count + (staged->count > 0) < 2)
        return ADB_OK;
    g.newest = staged->count ? staged->first : bottom->first;
    g.oldest = bottom->first + bottom->count - 1;
    plan->reason = "next slice of a merge into the bottom";
    return pick_slice_of(s, g, plan);
}

/* No bottom yet: the oldest run becomes it. */
static adb_status make_bottom(const struct shape *s, struct picker_plan *plan)
{
    size_t oldest = s->input->run_count - 1;

    if (shape_run_busy(&s->input->runs[oldest])) {
        plan->blocked = true;
        return ADB_OK;
    }
    return plan_relabel(s, (struct merge_group){oldest, oldest},
                        PICKER_BOTTOM_LEVEL, plan);
}

/* ---- idle ---- */

/* More than a tenth above the bottom or garbage? Then slices where the newer
   bytes are densest, as far as the budget goes. */
static adb_status pick_idle(const struct shape *s, struct picker_plan *plan)
{
    const struct picker_input *input = s->input;
    const struct shape_level *flushed = &s->levels[0];
    size_t runs = input->run_count;
    uint64_t above = shape_weight(s, 0, SHAPE_TO_BOTTOM);

    if (above + input->garbage_bytes <= s->bytes / 10 || runs == 0)
        return ADB_OK;
    plan->reason = "idle: tidying up";
    plan->score = 0.5;
    if (flushed->count) {
        if (flushed->busy || flushed->bytes > input->idle_budget)
            return ADB_OK;
        return merge_flushes(s, plan);
    }
    if (!shape_bottom(s)->count)
        return make_bottom(s, plan);
    struct slice_goal goal = {.group = {0, runs - 1}, .densest = true};
    goal.limit_bytes = MIN_OF(slice_limit(s, goal.group), input->idle_budget);
    return plan_slice(s, &goal, plan);
}

/* ---- policies ---- */

/* Runs of the tier that is furthest behind, against those that make its merge
   due. */
static double fullest_tier(const struct shape *s)
{
    double most = 0;

    for (unsigned i = 0; i < SHAPE_TIERS; i++)
        most = MAX_OF(most, (double)s->levels[2 * i].count / s->fanout[i]);
    return most;
}

/* A level above that of a newer run: never made here, but an import or an
   older picker may leave it. */
static adb_status pick_misplaced(const struct shape *s,
                                 struct picker_plan *plan)
{
    const struct picker_input *input = s->input;
    size_t i = s->misplaced;
    uint32_t level = 0;

    if (i >= input->run_count)
        return ADB_OK;
    for (size_t j = 0; j < i; j++)
        level = MAX_OF(level, input->runs[j].level);
    if (shape_run_busy(&input->runs[i])) {
        plan->blocked = true;
        return ADB_OK;
    }
    plan->reason = "levels must not fall with age";
    plan->score = 1.0;
    return plan_relabel(s, (struct merge_group){i, i},
                        MIN_OF(MAX_OF(level, input->runs[i].level),
                               PICKER_BOTTOM_LEVEL),
                        plan);
}

/* Has so much gathered above the bottom that the merge into it is further
   behind than that of any tier? Where more was flushed than makes it due, and
   none has gone into it, tiers do not count: nobody knows how much of what is
   above is garbage. */
static bool bottom_is_behind(const struct shape *s)
{
    double due = s->bottom_share * (double)shape_bottom(s)->bytes;
    double above = (double)shape_weight(s, 0, SHAPE_TO_BOTTOM);
    bool stale = (double)s->input->since_bottom > due;
    double most = stale ? 1.0 : MAX_OF(fullest_tier(s), 1.0);

    return !s->input->bottom_failed && above > 1.25 * due * most;
}

/* Small merges first: they take least and save most reads. But where writers
   are fast there is always one more, and overwritten bytes would gather. */
static adb_status pick_lazy(const struct shape *s, struct picker_plan *plan)
{
    adb_status status = ADB_OK;

    if (bottom_is_behind(s)) {
        status = pick_bottom(s, plan);
        if (!planned(plan, status))
            status = pick_into_bottom(s, plan);
    }
    if (!planned(plan, status))
        status = pick_flushes(s, plan);
    if (!planned(plan, status))
        status = pick_bottom(s, plan);
    for (unsigned i = 1; i < SHAPE_TO_BOTTOM && !planned(plan, status); i++)
        status = i % 2 ? pick_merging(s, i, plan) : pick_resting(s, i, plan);
    if (!planned(plan, status))
        status = pick_into_bottom(s, plan);
    return status;
}

#ifndef NDEBUG
/* The plan is as documented: sources in order, none of them busy. */
static bool plan_check(const struct picker_input *input,
                       const struct picker_plan *plan)
{
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct picker_source *from = &plan->sources[i];
        const struct picker_run *run = &input->runs[from->run_index];
        if (!from->count || from->first + from->count > run->count)
            return false;
        if (i && from[-1].run_index >= from->run_index &&
            !(plan->new_runs && from[-1].run_index == from->run_index &&
              from[-1].first + from[-1].count < from->first))
            return false;
        for (size_t j = 0; j < from->count; j++) {
            const struct picker_table *t = &run->tables[from->first + j];
            if (t->busy || (t->quarantined && plan->kind == PICKER_MERGE))
                return false;
        }
    }
    return plan->source_count > 0 || plan->kind == PICKER_NONE;
}
#endif

/* Leaves plan consistent whatever happened. */
static adb_status finish(const struct picker_input *input, adb_status status,
                         struct picker_plan *plan)
{
    if (status != ADB_OK) {
        picker_plan_deinit(plan);
        return status;
    }
    if (plan->kind == PICKER_NONE) {
        plan->reason = plan->blocked ? "waiting for running merges" : "";
        plan->score = 0;
    } else {
        plan->blocked = false;
    }
    assert(plan_check(input, plan));
    (void)input;
    return ADB_OK;
}

adb_status picker_pick(const struct picker_input *input,
                       struct picker_plan *plan)
{
    struct shape s;

    *plan = (struct picker_plan){.kind = PICKER_NONE};
    shape_init(&s, input);
    adb_status status = pick_aside(&s, plan);
    if (planned(plan, status) || plan->blocked)
        return finish(input, status, plan);
    status = pick_misplaced(&s, plan);
    if (!planned(plan, status))
        status = input->options.policy == PICKER_LEVELED
                     ? pick_leveled(&s, plan)
                     : pick_lazy(&s, plan);
    if (!planned(plan, status) && input->idle)
        status = pick_idle(&s, plan);
    return finish(input, status, plan);
}

/* ---- manual compaction ---- */

static bool level_overlaps(const struct picker_input *input,
                           const struct shape_level *l, adb_slice from,
                           adb_slice to)
{
    for (size_t i = l->first; i < l->first + l->count; i++) {
        for (size_t j = 0; j < input->runs[i].count; j++) {
            const struct picker_table *t = &input->runs[i].tables[j];
            if ((!from.data || slice_compare(t->largest, from) >= 0) &&
                (!to.data || slice_compare(t->smallest, to) <= 0))
                return true;
        }
    }
    return false;
}

static adb_status pick_range(const struct shape *s, adb_slice from,
                             adb_slice to, struct picker_plan *plan)
{
    const struct picker_input *input = s->input;
    const struct shape_level *flushed = &s->levels[0];

    plan->reason = "asked for";
    plan->score = 1.0;
    /* Flush tables span everything: first into a run cut like the bottom. */
    if (level_overlaps(input, flushed, from, to)) {
        plan->blocked = flushed->busy;
        return flushed->busy ? ADB_OK : merge_flushes(s, plan);
    }
    size_t newest = flushed->count, end = input->run_count;
    if (newest == end)
        return ADB_OK;
    if (!shape_bottom(s)->count)
        return make_bottom(s, plan);
    struct slice_goal goal = {
        .group = {newest, end - 1}, .from = from, .to = to};
    goal.limit_bytes = slice_limit(s, goal.group);
    return plan_slice(s, &goal, plan);
}

adb_status picker_pick_range(const struct picker_input *input, adb_slice from,
                             adb_slice to, struct picker_plan *plan)
{
    struct shape s;

    *plan = (struct picker_plan){.kind = PICKER_NONE};
    shape_init(&s, input);
    adb_status status = pick_aside(&s, plan);
    if (!planned(plan, status) && !plan->blocked)
        status = pick_misplaced(&s, plan);
    if (!planned(plan, status) && !plan->blocked)
        status = pick_range(&s, from, to, plan);
    return finish(input, status, plan);
}

/* ---- debt ---- */

/* Bottom tables that the run still spans, in bytes: what its merge reads. */
static uint64_t bottom_bytes_below(const struct shape *s,
                                   const struct picker_run *run)
{
    const struct shape_level *bottom = shape_bottom(s);
    uint64_t bytes = 0;

    if (!bottom->count || !run->count)
        return 0;
    const struct picker_run *b = &s->input->runs[bottom->first];
    for (size_t i = 0; i < b->count; i++) {
        if (slice_compare(b->tables[i].largest, run->tables[0].smallest) >=
                0 &&
            slice_compare(b->tables[i].smallest,
                          run->tables[run->count - 1].largest) <= 0)
            bytes += b->tables[i].size;
    }
    return bytes;
}

/* Merges due on tiers: as soon as they are due, so half the mark of the
   score. */
static uint64_t due_bytes(const struct shape *s)
{
    uint64_t bytes = 0, below = 0;

    for (unsigned i = 0; i < SHAPE_TO_BOTTOM; i++) {
        const struct shape_level *l = &s->levels[i];
        if (i % 2 ? l->count > 1 : l->count >= s->fanout[i / 2])
            bytes += l->bytes;
    }
    const struct shape_level *staged = &s->levels[SHAPE_TO_BOTTOM];
    for (size_t i = 0; i < staged->count; i++) {
        const struct picker_run *run = &s->input->runs[staged->first + i];
        below = MAX_OF(below, bottom_bytes_below(s, run));
    }
    return bytes + staged->bytes + below;
}

/* Tombstones count by their bytes only: they are no space to win. */
static double above_bottom(const struct shape *s)
{
    const struct picker_options *o = &s->input->options;
    double due = s->bottom_share * (double)shape_bottom(s)->bytes;
    double bytes = -(double)s->fanout[0] * (double)o->memtable_bytes;

    for (unsigned i = 0; i <= SHAPE_TO_BOTTOM; i++)
        bytes += (double)s->levels[i].bytes;
    return due > 0 && bytes > 0 ? bytes / due : 0;
}

void picker_debt(const struct picker_input *input, struct picker_debt *debt)
{
    struct shape s;

    shape_init(&s, input);
    *debt = (struct picker_debt){.bytes = due_bytes(&s),
                                 .above = above_bottom(&s)};
    for (size_t i = 0; i < s.input->run_count; i++)
        debt->runs += input->runs[i].count > 0;
    /* While one group merges, as many runs again may gather. */
    double score = fullest_tier(&s) / 2.0;
    /* While one lot merges into the bottom, half as much again. */
    double above = (double)shape_weight(&s, 0, SHAPE_TO_BOTTOM);
    double full = 1.5 * s.bottom_share * (double)shape_bottom(&s)->bytes +
                  2.0 * s.fanout[0] * (double)input->options.memtable_bytes;
    debt->score = MAX_OF(score, above / MAX_OF(full, 1.0));
}
