/*
 * The input summed up by level, and the geometry that follows from it: how
 * many tiers stand above the bottom and how many runs each may hold.
 */
#include "compaction/picker_internal.h"

/* When middle runs hold this share of the bottom's bytes they are merged into
   it. A merge costs (bottom + middle) / middle writes for each byte merged in,
   and the middle is what space amplification consists of: bench/simulate
   shows 0.4 to meet all bounds. */
static const double LAZY_BOTTOM_SHARE = 0.4;
static const double TIERED_BOTTOM_SHARE = 1.0;

/* The largest fan-out worth its reads; beyond it another tier is cheaper. */
static const double MAX_FANOUT = 4.0;

enum {
    MIN_FANOUT = 3,
    MIN_FLUSH_TRIGGER = 4,
    TIERED_FANOUT = 8,
    LAST_TIER_SLACK = 1 /* its size, not its count, shall decide */
};

uint64_t shape_run_bytes(const struct picker_run *run)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < run->count; i++)
        bytes += run->tables[i].size;
    return bytes;
}

void picker_run_affected(struct picker_run *run, const struct picker_plan *plan,
                         bool source)
{
    bool joined = plan->output_run == run->run;
    bool kept = plan->keep_runs && source;

    run->joined |= joined;
    run->leaving |= (joined || kept) && plan->output_level != run->level;
}

bool shape_run_busy(const struct picker_run *run)
{
    if (run->joined)
        return true;
    for (size_t i = 0; i < run->count; i++) {
        if (table_blocked(&run->tables[i]))
            return true;
    }
    return false;
}

uint64_t shape_weight(const struct shape *s, unsigned from, unsigned to)
{
    const struct shape_level *bottom = shape_bottom(s);
    uint64_t bytes = 0, tombstones = 0;

    for (unsigned i = from; i <= to; i++) {
        bytes += s->levels[i].bytes;
        tombstones += s->levels[i].tombstones;
    }
    if (!bottom->entries)
        return bytes;
    return bytes + MIN_OF(tombstones, bottom->entries) *
                       (bottom->bytes / bottom->entries);
}

/* x such that x^n = value. */
static double root_of(double value, unsigned n)
{
    double low = 1.0, high = value < 1.0 ? 1.0 : value;

    for (int step = 0; step < 40; step++) {
        double middle = (low + high) / 2, power = 1.0;
        for (unsigned i = 0; i < n; i++)
            power *= middle;
        if (power < value)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static unsigned rounded(double value, unsigned at_least)
{
    unsigned n = (unsigned)(value + 0.5);

    return MAX_OF(n, at_least);
}

/* The middle, when due, holds `share` of the bottom: that many memtables went
   through the tiers, which multiply run sizes by their fan-outs. As few tiers
   as a fan-out of MAX_FANOUT allows, since each costs a write; then equal
   fan-outs, since that gives the fewest runs. */
static void choose_lazy_fanouts(struct shape *s)
{
    const struct picker_options *o = &s->input->options;
    double memtable = (double)MAX_OF(o->memtable_bytes, 1);
    double left = s->bottom_share * (double)shape_bottom(s)->bytes / memtable;
    double reach = MAX_FANOUT;

    for (s->tiers = 1; reach < left && s->tiers < SHAPE_TIERS; s->tiers++)
        reach *= MAX_FANOUT;
    for (unsigned i = 0; i < SHAPE_TIERS; i++) {
        double fanout = MAX_FANOUT;
        if (i < s->tiers)
            fanout = root_of(left, s->tiers - i);
        if (i == 0 && o->flush_trigger)
            s->fanout[i] = o->flush_trigger;
        else
            s->fanout[i] = rounded(fanout, i ? MIN_FANOUT : MIN_FLUSH_TRIGGER);
        left /= s->fanout[i];
        if (i > 0 && i + 1 >= s->tiers)
            s->fanout[i] += LAST_TIER_SLACK;
    }
}

static void choose_fanouts(struct shape *s)
{
    unsigned trigger = s->input->options.flush_trigger;

    s->tiers = SHAPE_TIERS;
    switch (s->input->options.policy) {
    case PICKER_LAZY:
        s->bottom_share = LAZY_BOTTOM_SHARE;
        choose_lazy_fanouts(s);
        return;
    case PICKER_LEVELED:
        trigger = trigger ? trigger : MIN_FLUSH_TRIGGER;
        break;
    case PICKER_TIERED:
        trigger = trigger ? trigger : TIERED_FANOUT;
        break;
    }
    s->bottom_share = TIERED_BOTTOM_SHARE;
    for (unsigned i = 0; i < SHAPE_TIERS; i++)
        s->fanout[i] = MAX_OF(trigger, 2);
}

static void add_run(struct shape *s, size_t index, unsigned level)
{
    const struct picker_run *run = &s->input->runs[index];
    struct shape_level *l = &s->levels[level];

    if (!l->count++)
        l->first = index;
    l->tables += run->count;
    l->busy |= shape_run_busy(run);
    for (size_t i = 0; i < run->count; i++) {
        const struct picker_table *t = &run->tables[i];
        l->bytes += t->size;
        l->entries += t->entries;
        l->tombstones += t->tombstones;
    }
}

void shape_init(struct shape *s, const struct picker_input *input)
{
    unsigned level = 0;

    *s = (struct shape){.top = *input, .all_runs = input->run_count};
    s->input = &s->top;
    for (size_t i = 0; i < input->run_count; i++) {
        if (input->runs[i].level >= PICKER_ASIDE_LEVEL) {
            s->top.run_count = i;
            break;
        }
    }
    input = s->input;
    s->misplaced = input->run_count;
    for (size_t i = 0; i < input->run_count; i++) {
        unsigned own = input->runs[i].level;
        if (own > PICKER_BOTTOM_LEVEL || own < level) {
            if (s->misplaced == input->run_count)
                s->misplaced = i;
            own = MIN_OF(MAX_OF(own, level), PICKER_BOTTOM_LEVEL);
        }
        level = own;
        add_run(s, i, level);
    }
    for (unsigned i = 0; i < SHAPE_LEVELS; i++)
        s->bytes += s->levels[i].bytes;
    choose_fanouts(s);
}
