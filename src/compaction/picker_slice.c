/*
 * From a group of runs to be merged into its oldest run: which tables next?
 *
 * The sweep walks the group in key order, piece by piece. A piece is the least
 * set of tables that starts with a table above the target and holds whatever
 * in the group overlaps it, directly or through others:
 *
 *      newest   [-a-]      [--b--]                  [d]
 *               [--c--]              [-e-]
 *      target [-p-][-q-] [-r-] [-s-]       [-t-]
 *
 *      pieces: {a c p q}  {b r s}  {e}  {d}         t is left alone
 *
 * A slice is a piece, or neighbouring pieces up to a limit. A piece of one
 * table overlaps nothing and moves without being rewritten. Each table is
 * visited once: a sweep costs O(tables + pieces * runs).
 *
 * Pieces are small because tables of middle runs end at boundaries of bottom
 * tables, and runs cut alike. The bottom is divided into 2^k windows of equal
 * bytes, and in each the boundary whose key has the largest hash is taken. So
 * gaps are at most two windows, the cuts of a finer run are a superset of a
 * coarser one's, and when sizes shift a little nearly all cuts stay: all that
 * without any state. Merges into the bottom keep its boundaries as long as the
 * tables between have a sound size. (Taking boundaries by the hash alone left
 * gaps of five times the mean, evenly spaced ones did not stay.)
 */
#include "compaction/picker_internal.h"

#include "base/alloc.h"
#include "base/hash.h"

enum {
    /* Bottom tables that a table moved to a middle run may overlap. */
    MAX_MOVED_WIDTH = 8,
    /* Tables of middle runs: this many to a table's size, but rather
       WANTED_CUTS in all, so that slices stay small, down to crumbs. */
    CUTS_PER_TABLE = 2,
    MAX_CUTS_PER_TABLE = 16,
    WANTED_CUTS = 128
};

struct window {
    size_t first, count;
};

struct sweep {
    const struct picker_input *input;
    struct merge_group group;
    struct window *at; /* per run of the group; owned by the caller */

    /* the piece */
    adb_slice low, high;
    uint64_t bytes, newer_bytes, tombstones;
    size_t newer_tables, target_tables;
    bool busy;
    bool gap; /* target tables lie between this piece and the one before */
};

static size_t group_count(struct merge_group g)
{
    return g.oldest - g.newest + 1;
}

static const struct picker_run *sweep_run(const struct sweep *w, size_t i)
{
    return &w->input->runs[w->group.newest + i];
}

/* The leftmost table not yet visited above the target; NULL: none. */
static const struct picker_table *sweep_leftmost(const struct sweep *w)
{
    const struct picker_table *best = NULL;

    for (size_t i = 0; i + 1 < group_count(w->group); i++) {
        const struct picker_run *run = sweep_run(w, i);
        if (w->at[i].first == run->count)
            continue;
        const struct picker_table *t = &run->tables[w->at[i].first];
        if (!best || slice_compare(t->smallest, best->smallest) < 0)
            best = t;
    }
    return best;
}

static void sweep_add(struct sweep *w, const struct picker_table *t,
                      bool target)
{
    w->bytes += t->size;
    w->busy |= table_blocked(t);
    w->tombstones += t->tombstones;
    if (target) {
        w->target_tables++;
    } else {
        w->newer_tables++;
        w->newer_bytes += t->size;
    }
    if (slice_compare(t->smallest, w->low) < 0)
        w->low = t->smallest;
    if (slice_compare(t->largest, w->high) > 0)
        w->high = t->largest;
}

/* Takes run i's tables that overlap the piece; were there any? */
static bool sweep_widen(struct sweep *w, size_t i)
{
    const struct picker_run *run = sweep_run(w, i);
    bool target = i + 1 == group_count(w->group);
    struct window *at = &w->at[i];
    size_t before = at->count;

    while (target && !at->count && at->first < run->count &&
           slice_compare(run->tables[at->first].largest, w->low) < 0) {
        at->first++;
        w->gap = true;
    }
    while (at->first + at->count < run->count) {
        const struct picker_table *t = &run->tables[at->first + at->count];
        if (slice_compare(t->smallest, w->high) > 0)
            break;
        sweep_add(w, t, target);
        at->count++;
    }
    return at->count != before;
}

static bool sweep_next(struct sweep *w)
{
    size_t runs = group_count(w->group);
    bool wider = true;

    for (size_t i = 0; i < runs; i++) {
        w->at[i].first += w->at[i].count;
        w->at[i].count = 0;
    }
    const struct picker_table *t = sweep_leftmost(w);
    if (!t)
        return false;
    w->low = t->smallest;
    w->high = t->largest;
    w->bytes = w->newer_bytes = w->tombstones = 0;
    w->newer_tables = w->target_tables = 0;
    w->busy = w->gap = false;
    while (wider) {
        wider = false;
        for (size_t i = 0; i < runs; i++)
            wider |= sweep_widen(w, i);
    }
    return true;
}

/* ---- overlap with older runs ---- */

/* Index of the first table whose largest key is >= key. */
static size_t run_lower(const struct picker_run *run, adb_slice key)
{
    size_t from = 0, to = run->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (slice_compare(run->tables[middle].largest, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

size_t run_overlap(const struct picker_run *run, adb_slice low, adb_slice high,
                   size_t *count)
{
    size_t from = run_lower(run, low), to = run_lower(run, high);

    if (to < run->count && slice_compare(run->tables[to].smallest, high) <= 0)
        to++;
    *count = to - from;
    return from;
}

static bool nothing_older(const struct shape *s, size_t oldest, adb_slice low,
                          adb_slice high)
{
    for (size_t i = oldest + 1; i < s->all_runs; i++) {
        size_t count;
        run_overlap(&s->input->runs[i], low, high, &count);
        if (count)
            return false;
    }
    return true;
}

/* ---- cuts ---- */

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "out of memory planning a compaction");
}

/* The output joins the target: keep its boundaries, but for those that would
   leave less than half a table, and let a table grow by half before it is
   split. So boundaries are stable and tables between 1/2 and 3/2. */
static adb_status cut_as_target(const struct shape *s,
                                const struct picker_run *target,
                                struct window at, struct picker_plan *plan)
{
    uint64_t least = s->input->options.table_bytes / 2, piece = 0;

    plan->table_bytes += least;
    if (at.count < 2)
        return ADB_OK;
    plan->cuts = mem_alloc(at.count * sizeof *plan->cuts);
    if (!plan->cuts)
        return no_memory();
    for (size_t i = at.first; i < at.first + at.count; i++) {
        if (piece >= least && piece) {
            plan->cuts[plan->cut_count++] = target->tables[i].smallest;
            piece = 0;
        }
        piece += target->tables[i].size;
    }
    if (plan->cut_count && piece < least)
        plan->cut_count--;
    return ADB_OK;
}

/* Of each of `windows` equal parts of the bottom the boundary of largest hash,
   if it lies in (low, high]. */
static void choose_cuts(const struct picker_run *bottom, uint64_t bytes,
                        uint64_t windows, adb_slice low, adb_slice high,
                        struct picker_plan *plan)
{
    uint64_t before = 0, window = 0, best_hash = 0;
    size_t best = 0; /* the first table starts no boundary */
    double scale = (double)windows / (double)MAX_OF(bytes, 1);

    for (size_t i = 0; i <= bottom->count; i++) {
        uint64_t at = (uint64_t)((double)before * scale);
        if (i == bottom->count || at != window) {
            adb_slice key = bottom->tables[best].smallest;
            if (best && slice_compare(key, low) > 0 &&
                slice_compare(key, high) <= 0)
                plan->cuts[plan->cut_count++] = key;
            best = 0;
            best_hash = 0;
            window = at;
        }
        if (i == bottom->count || i == 0) {
            before += i ? 0 : bottom->tables[0].size;
            continue;
        }
        adb_slice key = bottom->tables[i].smallest;
        uint64_t hash = hash_key(key.data, key.size);
        if (!best || hash > best_hash) {
            best = i;
            best_hash = hash;
        }
        before += bottom->tables[i].size;
    }
}

static uint64_t window_count(const struct shape *s, uint64_t input_bytes)
{
    uint64_t table = MAX_OF(s->input->options.table_bytes, MAX_CUTS_PER_TABLE);
    uint64_t coarse = input_bytes / (table / CUTS_PER_TABLE);
    uint64_t fine = input_bytes / (table / MAX_CUTS_PER_TABLE);
    uint64_t wanted = MAX_OF(coarse, MIN_OF(fine, WANTED_CUTS));
    uint64_t windows = 1;

    while (windows < wanted && windows < shape_bottom(s)->tables)
        windows *= 2;
    return windows;
}

/* The output is a middle run: cut it at bottom boundaries. */
static adb_status cut_as_bottom(const struct shape *s, adb_slice low,
                                adb_slice high, struct picker_plan *plan)
{
    const struct shape_level *bottom = shape_bottom(s);

    if (!bottom->count)
        return ADB_OK;
    const struct picker_run *run = &s->input->runs[bottom->first];
    if (!run->count)
        return ADB_OK;
    plan->cuts = mem_alloc(run->count * sizeof *plan->cuts);
    if (!plan->cuts)
        return no_memory();
    choose_cuts(run, bottom->bytes,
                window_count(s, plan->input_bytes), low, high, plan);
    return ADB_OK;
}

/* ---- plans ---- */

/* The tables of windows[], one for each run of the group. */
static adb_status plan_tables(const struct shape *s, struct merge_group g,
                              const struct window *windows, adb_slice low,
                              adb_slice high, struct picker_plan *plan)
{
    const struct picker_input *input = s->input;

    plan->sources = mem_alloc(group_count(g) * sizeof *plan->sources);
    if (!plan->sources)
        return no_memory();
    for (size_t i = 0; i < group_count(g); i++) {
        const struct picker_run *run = &input->runs[g.newest + i];
        struct window at = windows[i];
        if (!at.count)
            continue;
        plan->sources[plan->source_count++] = (struct picker_source){
            .run_index = g.newest + i, .first = at.first, .count = at.count};
        for (size_t j = at.first; j < at.first + at.count; j++)
            plan->input_bytes += run->tables[j].size;
    }
    plan->table_bytes = input->options.table_bytes;
    plan->output_run = input->runs[g.oldest].run;
    plan->output_bottom = nothing_older(s, g.oldest, low, high);
    return ADB_OK;
}

static adb_status plan_cuts(const struct shape *s, struct merge_group g,
                            const struct window *windows, adb_slice low,
                            adb_slice high, struct picker_plan *plan)
{
    const struct picker_run *target = &s->input->runs[g.oldest];

    if (plan->output_level == PICKER_BOTTOM_LEVEL)
        return cut_as_target(s, target, windows[group_count(g) - 1], plan);
    return cut_as_bottom(s, low, high, plan);
}

uint64_t slice_limit(const struct shape *s, struct merge_group group)
{
    const struct picker_options *o = &s->input->options;
    uint64_t bytes = 0;

    for (size_t i = group.newest; i <= group.oldest; i++)
        bytes += shape_run_bytes(&s->input->runs[i]);
    return MIN_OF(MAX_OF(bytes / 16, 4 * o->table_bytes), o->max_merge_bytes);
}

/* Overlaps nothing, holds nothing to be dropped, is no crumb, and does not
   lie so wide over the bottom that its next merge would be large. */
static bool piece_movable(const struct shape *s, const struct sweep *w)
{
    const struct shape_level *bottom = shape_bottom(s);
    size_t last = s->input->run_count - 1;

    if (w->newer_tables != 1 || w->target_tables ||
        (w->group.oldest == last && w->tombstones) ||
        w->bytes < s->input->options.table_bytes / 4)
        return false;
    if (!bottom->count || w->group.oldest >= bottom->first)
        return true;
    size_t width;
    run_overlap(&s->input->runs[bottom->first], w->low, w->high, &width);
    return width <= MAX_MOVED_WIDTH;
}

static bool piece_in_range(const struct sweep *w,
                           const struct slice_goal *goal)
{
    return (!goal->from.data || slice_compare(w->high, goal->from) >= 0) &&
           (!goal->to.data || slice_compare(w->low, goal->to) <= 0);
}

/* The ordinal of the piece where a byte read merges in most. */
static size_t densest_piece(const struct slice_goal *goal, struct sweep w,
                            struct window *windows)
{
    size_t best = 0;
    double best_share = -1.0;

    w.at = windows;
    for (size_t i = 0; sweep_next(&w); i++) {
        double share = (double)w.newer_bytes / (double)MAX_OF(w.bytes, 1);
        if (share > best_share && !w.busy && w.bytes <= goal->limit_bytes &&
            piece_in_range(&w, goal)) {
            best = i;
            best_share = share;
        }
    }
    return best;
}

struct slice {
    struct window *windows; /* as in sweep */
    adb_slice low, high;
    uint64_t bytes, tombstones;
    size_t tables;
    bool taken, movable, blocked;
};

static void slice_start(struct slice *c, const struct sweep *w, bool movable)
{
    memcpy(c->windows, w->at, group_count(w->group) * sizeof *w->at);
    c->taken = true;
    c->low = w->low;
    c->high = w->high;
    c->bytes = w->bytes;
    c->tombstones = w->tombstones;
    c->tables = w->newer_tables + w->target_tables;
    c->movable = movable;
}

/* Joins the next piece if it belongs to the slice; false: the slice ends. */
static bool slice_extend(struct slice *c, const struct sweep *w, bool movable,
                         uint64_t limit)
{
    if (w->busy || movable != c->movable)
        return false;
    if (!movable && (w->gap || c->bytes + w->bytes > limit))
        return false;
    for (size_t i = 0; i < group_count(w->group); i++) {
        if (!c->windows[i].count)
            c->windows[i].first = w->at[i].first;
        c->windows[i].count += w->at[i].count;
    }
    if (slice_compare(w->high, c->high) > 0)
        c->high = w->high;
    c->bytes += w->bytes;
    c->tombstones += w->tombstones;
    c->tables += w->newer_tables + w->target_tables;
    return true;
}

static void find_slice(const struct shape *s, const struct slice_goal *goal,
                       struct sweep *w, size_t skip, struct slice *c)
{
    for (size_t i = 0; sweep_next(w); i++) {
        bool movable = piece_movable(s, w);
        if (!piece_in_range(w, goal)) {
            if (c->taken)
                return;
            continue;
        }
        if (w->busy)
            c->blocked = true;
        if (c->taken) {
            if (!slice_extend(c, w, movable, goal->limit_bytes))
                return;
        } else if (i >= skip && !w->busy &&
                   (!goal->densest || w->bytes <= goal->limit_bytes)) {
            slice_start(c, w, movable);
        }
    }
}

/* One tombstone, left of a merge of which nothing else was (sst/run_builder.h):
   free to go into a neighbouring merge. */
static bool is_remnant(const struct picker_table *t)
{
    return t->entries == 1 && t->tombstones == 1 && !table_blocked(t);
}

/* So remnants do not gather at the bottom. */
static void take_remnants(const struct shape *s, struct merge_group g,
                          struct slice *c)
{
    const struct picker_run *run = &s->input->runs[g.oldest];
    struct window *at = &c->windows[group_count(g) - 1];

    if (g.oldest + 1 != s->all_runs)
        return;
    while (at->first > 0 && is_remnant(&run->tables[at->first - 1])) {
        at->first--;
        at->count++;
        c->low = run->tables[at->first].smallest;
        c->tables++;
        c->tombstones++;
    }
    while (at->first + at->count < run->count &&
           is_remnant(&run->tables[at->first + at->count])) {
        c->high = run->tables[at->first + at->count].largest;
        at->count++;
        c->tables++;
        c->tombstones++;
    }
}

adb_status plan_slice(const struct shape *s, const struct slice_goal *goal,
                      struct picker_plan *plan)
{
    struct merge_group g = goal->group;
    size_t runs = group_count(g), skip = 0;
    struct sweep w = {.input = s->input, .group = g};
    struct slice c = {.taken = false};
    adb_status status = ADB_OK;

    if (s->input->runs[g.oldest].leaving) {
        plan->blocked = true;
        return ADB_OK;
    }
    struct window *windows = mem_zalloc(3 * runs * sizeof *windows);
    if (!windows)
        return no_memory();
    w.at = windows;
    c.windows = windows + runs;
    if (goal->densest)
        skip = densest_piece(goal, w, windows + 2 * runs);
    find_slice(s, goal, &w, skip, &c);
    plan->blocked = !c.taken && c.blocked;
    if (!c.taken)
        goto out;
    if (!c.movable)
        take_remnants(s, g, &c);
    plan->output_level = s->input->runs[g.oldest].level;
    status = plan_tables(s, g, c.windows, c.low, c.high, plan);
    if (status != ADB_OK)
        goto out;
    if (c.movable ||
        (c.tables == 1 && !(plan->output_bottom && c.tombstones))) {
        plan->kind = PICKER_MOVE;
    } else {
        plan->kind = PICKER_MERGE;
        status = plan_cuts(s, g, c.windows, c.low, c.high, plan);
    }
out:
    mem_free(windows);
    return status;
}

/* ---- whole runs ---- */

/* Every table of the group in windows[], and what they span. */
static void whole_windows(const struct picker_input *input,
                          struct merge_group g, struct window *windows,
                          adb_slice *low, adb_slice *high)
{
    bool any = false;

    *low = *high = slice_of(NULL, 0);
    for (size_t i = 0; i < group_count(g); i++) {
        const struct picker_run *run = &input->runs[g.newest + i];
        windows[i] = (struct window){.first = 0, .count = run->count};
        if (!run->count)
            continue;
        adb_slice first = run->tables[0].smallest;
        adb_slice last = run->tables[run->count - 1].largest;
        if (!any || slice_compare(first, *low) < 0)
            *low = first;
        if (!any || slice_compare(last, *high) > 0)
            *high = last;
        any = true;
    }
}

/* No two of the group's tables overlap and none is better rewritten? One run
   alone is rewritten to be cut anew, or moved by plan_relabel. */
static bool group_movable(const struct shape *s, struct merge_group g,
                          struct window *windows)
{
    struct sweep w = {.input = s->input, .group = g, .at = windows};

    if (g.newest == g.oldest)
        return !shape_bottom(s)->count;
    memset(windows, 0, group_count(g) * sizeof *windows);
    while (sweep_next(&w)) {
        if (!piece_movable(s, &w))
            return false;
    }
    return true;
}

adb_status plan_whole(const struct shape *s, struct merge_group g,
                      uint32_t output_level, struct picker_plan *plan)
{
    adb_slice low, high;

    struct window *windows = mem_alloc(group_count(g) * sizeof *windows);
    if (!windows)
        return no_memory();
    bool movable = group_movable(s, g, windows);
    whole_windows(s->input, g, windows, &low, &high);
    plan->output_level = output_level;
    plan->kind = movable ? PICKER_MOVE : PICKER_MERGE;
    adb_status status = plan_tables(s, g, windows, low, high, plan);
    if (status == ADB_OK && !movable)
        status = plan_cuts(s, g, windows, low, high, plan);
    mem_free(windows);
    return status;
}

adb_status plan_relabel(const struct shape *s, struct merge_group g,
                        uint32_t output_level, struct picker_plan *plan)
{
    adb_slice low, high;

    struct window *windows = mem_alloc(group_count(g) * sizeof *windows);
    if (!windows)
        return no_memory();
    whole_windows(s->input, g, windows, &low, &high);
    adb_status status = plan_tables(s, g, windows, low, high, plan);
    plan->kind = PICKER_MOVE;
    plan->output_level = output_level;
    plan->output_bottom = false;
    plan->output_run = 0;
    plan->keep_runs = true;
    plan->input_bytes = 0; /* nothing is rewritten */
    mem_free(windows);
    return status;
}
