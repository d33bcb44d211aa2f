/*
 * Damaged tables out of the way, and back: see picker.h.
 *
 * What is set aside with a damaged table is found from the newest run to the
 * oldest: a table is taken if it is damaged, or overlaps a taken one of a newer
 * run. All of it goes in one step, since part of it would stand out of order.
 */
#include "compaction/picker_internal.h"

#include <assert.h>

#include "base/alloc.h"

struct aside {
    const struct picker_input *input;
    bool *taken;   /* owned; one per table, run after run */
    size_t *first; /* owned; of each run in taken */
    size_t sources, runs;
    bool busy;
};

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "out of memory planning a compaction");
}

static bool any_quarantined(const struct picker_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        if (run->tables[i].quarantined)
            return true;
    }
    return false;
}

static adb_status aside_init(struct aside *a, const struct picker_input *input)
{
    size_t tables = 0;

    *a = (struct aside){.input = input};
    a->first = mem_alloc((input->run_count + 1) * sizeof *a->first);
    if (!a->first)
        return no_memory();
    for (size_t i = 0; i < input->run_count; i++) {
        a->first[i] = tables;
        tables += input->runs[i].count;
    }
    a->taken = mem_zalloc((tables + 1) * sizeof *a->taken);
    return a->taken ? ADB_OK : no_memory();
}

static void aside_deinit(struct aside *a)
{
    mem_free(a->taken);
    mem_free(a->first);
}

static bool is_taken(const struct aside *a, size_t run, size_t table)
{
    return a->taken[a->first[run] + table];
}

static void take_older(struct aside *a, size_t run,
                       const struct picker_table *t)
{
    for (size_t i = run + 1; i < a->input->run_count; i++) {
        size_t count, from = run_overlap(&a->input->runs[i], t->smallest,
                                         t->largest, &count);
        for (size_t j = from; j < from + count; j++)
            a->taken[a->first[i] + j] = true;
    }
}

static void take_all(struct aside *a)
{
    for (size_t i = 0; i < a->input->run_count; i++) {
        const struct picker_run *run = &a->input->runs[i];
        size_t before = a->sources;
        for (size_t j = 0; j < run->count; j++) {
            const struct picker_table *t = &run->tables[j];
            if (t->quarantined)
                a->taken[a->first[i] + j] = true;
            if (!is_taken(a, i, j))
                continue;
            a->busy |= t->busy;
            a->sources += j == 0 || !is_taken(a, i, j - 1);
            take_older(a, i, t);
        }
        a->runs += a->sources > before;
    }
}

static adb_status fill_plan(const struct aside *a, struct picker_plan *plan)
{
    plan->sources = mem_alloc(a->sources * sizeof *plan->sources);
    if (!plan->sources)
        return no_memory();
    for (size_t i = 0; i < a->input->run_count; i++) {
        size_t count = a->input->runs[i].count;
        for (size_t j = 0; j < count; j++) {
            size_t first = j;
            while (j < count && is_taken(a, i, j))
                j++;
            if (j > first)
                plan->sources[plan->source_count++] =
                    (struct picker_source){i, first, j - first};
        }
    }
    assert(plan->source_count == a->sources);
    plan->kind = PICKER_MOVE;
    plan->new_runs = true;
    plan->output_level = PICKER_ASIDE_LEVEL;
    plan->reason = "damaged tables are set aside";
    plan->score = 1.0;
    return ADB_OK;
}

/* The first of `count` run numbers older than all runs in sight and newer than
   all set aside: in the middle between them, so that there is room on both
   sides for others. 0: there are none left. */
static uint64_t numbers_between(const struct shape *s, uint64_t count)
{
    size_t top = s->input->run_count;
    uint64_t above = s->input->runs[top - 1].run;
    uint64_t below = top < s->all_runs ? s->input->runs[top].run : 0;

    if (above - below <= count)
        return 0;
    return below + 1 + (above - below - 1 - count) / 2;
}

static adb_status set_aside(const struct shape *s, struct picker_plan *plan)
{
    struct aside a;

    adb_status status = aside_init(&a, s->input);
    if (status != ADB_OK)
        goto out;
    take_all(&a);
    plan->output_run = numbers_between(s, a.runs);
    if (!plan->output_run) /* it stays, and what would have to pass it waits */
        goto out;
    if (a.busy)
        plan->blocked = true;
    else
        status = fill_plan(&a, plan);
out:
    aside_deinit(&a);
    return status;
}

/* Runs newer than everything damaged are the bottom's surplus from now on, with
   numbers right below it: those that lie far from all others are precious. */
static adb_status take_back(const struct shape *s, struct picker_plan *plan)
{
    size_t top = s->input->run_count, end = top;

    while (end < s->all_runs && !any_quarantined(&s->input->runs[end]))
        end++;
    if (end == top)
        return ADB_OK;
    plan->reason = "what was set aside returns";
    plan->score = 1.0;
    adb_status status = plan_relabel(s, (struct merge_group){top, end - 1},
                                     PICKER_BOTTOM_LEVEL, plan);
    if (status == ADB_OK && top > 0) {
        plan->keep_runs = false;
        plan->new_runs = true;
        plan->output_run = s->input->runs[top - 1].run - (end - top);
    }
    return status;
}

adb_status pick_aside(const struct shape *s, struct picker_plan *plan)
{
    for (size_t i = 0; i < s->input->run_count; i++) {
        if (any_quarantined(&s->input->runs[i]))
            return set_aside(s, plan);
    }
    return take_back(s, plan);
}
