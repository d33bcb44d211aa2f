#include "db/pressure.h"

#include "base/bytes.h"

/* Before anything was measured: slow enough for a poor disk. */
static const double unknown_rate = 64.0 * 1024 * 1024;
static const double slowest_rate = 256.0 * 1024;
/* And while one flush takes very long: a small write waits 10 ms. */
static const double slowest_lasting = 16.0 * 1024;

static double smooth(double old, double now)
{
    return old > 0 ? old * 0.7 + now * 0.3 : now;
}

static double rate(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes * 1e9 / (double)ns : 0;
}

void pressure_flushed(struct pressure *p, uint64_t user_bytes, uint64_t ns)
{
    /* Tiny flushes are all latency and say nothing of bandwidth. */
    if (user_bytes >= 64 * 1024 && ns)
        p->flush_rate = smooth(p->flush_rate, rate(user_bytes, ns));
}

void pressure_compacted(struct pressure *p, uint64_t input_bytes, uint64_t ns,
                        double amplification)
{
    if (input_bytes < 64 * 1024 || !ns)
        return;
    double sustained = rate(input_bytes, ns) / amplification;
    p->compaction_rate = smooth(p->compaction_rate, sustained);
}

void pressure_merged(struct pressure *p, uint64_t above, uint64_t dropped)
{
    if (!above)
        return;
    double now = (double)MIN_OF(dropped, above) / (double)above;
    /* Up at once, down in steps: space that is lost is worse than time. */
    if (!p->shadowing_known || now > p->shadowing)
        p->shadowing = now;
    p->shadowing = smooth(p->shadowing, now);
    p->shadowing_known = true;
}

double pressure_garbage(const struct pressure *p, double above)
{
    return p->shadowing_known ? p->shadowing * above : above;
}

/* 0 at or below soft, 1 at or above hard, straight in between. */
static double strain(double value, double soft, double hard)
{
    if (value <= soft || hard <= soft)
        return 0;
    return value >= hard ? 1 : (value - soft) / (hard - soft);
}

/* How many times `base` writers may go at this strain: from far above it down
   to a little below, so that the backlog settles before the hard bound. They
   are not stopped, however slow the work was. */
static double allowed(double base, double how_strained)
{
    double left = 1 - how_strained;
    return MAX_OF(base * (0.75 + 6 * left * left * left), slowest_rate);
}

static double flush_strain(const struct pressure_input *in)
{
    if (in->frozen == 0 || in->max_frozen == 0)
        return 0;
    /* The one being flushed is no strain while the next has room. */
    double backlog = (double)in->frozen - 1 + in->writable_fill;
    return strain(backlog, 0, (double)in->max_frozen);
}

/* What room there is should last until the flush under way ends: as long as
   others took; and one that has taken longer, on a disk that is busy with
   something else, is expected to take as long again as it has. Looked at often
   enough, room never ends. */
static double lasting_rate(const struct pressure *p,
                           const struct pressure_input *in)
{
    double expected =
        p->flush_rate > 0 ? 1e9 * (double)in->flush_bytes / p->flush_rate : 0;
    double left_ns = MAX_OF((double)in->flush_ns, expected);
    return MAX_OF(1e9 * (double)in->room_bytes / left_ns, slowest_lasting);
}

static double compaction_strain(const struct pressure_input *in)
{
    double by_bytes = strain((double)in->debt_bytes, (double)in->debt_soft,
                             (double)in->debt_hard);
    double by_runs = strain(in->runs, in->runs_soft, in->runs_hard);
    double by_space = strain(in->garbage, in->garbage_soft, in->garbage_hard);
    return MAX_OF(MAX_OF(by_bytes, by_runs), by_space);
}

uint64_t pressure_pace(struct pressure *p, const struct pressure_input *in)
{
    double flushing = flush_strain(in), compacting = compaction_strain(in);
    p->cause = "";
    p->allowed_rate = 0;
    if (flushing > 0) {
        double base = p->flush_rate > 0 ? p->flush_rate : unknown_rate;
        p->allowed_rate = allowed(base, flushing);
        if (in->flush_ns)
            p->allowed_rate = MIN_OF(p->allowed_rate, lasting_rate(p, in));
        p->cause = "memtables wait for their flush";
    }
    if (compacting > 0) {
        double base =
            p->compaction_rate > 0 ? p->compaction_rate : unknown_rate;
        double rate_now = allowed(base, compacting);
        if (p->allowed_rate == 0 || rate_now < p->allowed_rate) {
            p->allowed_rate = rate_now;
            p->cause = "compaction is behind";
        }
    }
    if (p->allowed_rate == 0)
        return 0;
    return (uint64_t)(1e9 * 1024 / p->allowed_rate);
}
