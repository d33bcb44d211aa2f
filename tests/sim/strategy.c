#include "sim/strategy.h"

#include <inttypes.h>
#include <stdio.h>

/* A call freezes many times, and is to end in its time all the same. */
static const uint64_t freeze_most_ns = 10000000;

/* From low to high, each order of magnitude as likely as another. */
static uint64_t spread(struct random *r, uint64_t low, unsigned doublings)
{
    return low << random_below(r, doublings + 1);
}

static void draw(struct strategy *st, struct random *r)
{
    st->kind = (enum strategy_kind)random_below(r, STRATEGY_KINDS);
    st->burst = spread(r, 2, 8);
    st->interval = spread(r, 64, 7);
    st->patience = spread(r, 16, 8);
    st->left = 1 + random_below(r, 2 * st->interval);
    st->starved = random_next(r) & random_next(r);
    /* At most four at a time, or everybody starves alike. */
    while (__builtin_popcountll(st->starved & 0xffff) > 4)
        st->starved &= random_next(r);
    for (unsigned i = 0; i < STRATEGY_TASKS; i++)
        st->priorities[i] = (int64_t)(random_next(r) >> 2);
}

void strategy_init(struct strategy *st, struct random *r)
{
    *st = (struct strategy){.lowest = 0};
    st->changing = random_below(r, 3) == 0;
    st->step_ns = spread(r, 16, 8);
    st->phase = 200 + random_below(r, 20000);
    if (random_below(r, 2)) {
        st->freeze_every = spread(r, 4, 9);
        st->freeze_ns = st->step_ns * spread(r, 64, 8);
        if (st->freeze_ns > freeze_most_ns)
            st->freeze_ns = freeze_most_ns;
    }
    draw(st, r);
}

uint64_t strategy_freeze(const struct strategy *st, struct random *r,
                         bool preempted)
{
    uint64_t every = st->freeze_every * (preempted ? 1 : 16);
    if (!every || random_below(r, every))
        return 0;
    return 1 + random_below(r, st->freeze_ns);
}

void strategy_add(struct strategy *st, struct random *r, unsigned task)
{
    st->priorities[task] = (int64_t)(random_next(r) >> 2);
}

void strategy_yielded(struct strategy *st, unsigned task)
{
    st->yielded = true;
    st->priorities[task] = --st->lowest;
}

void strategy_calm(struct strategy *st)
{
    st->kind = STRATEGY_BURSTS;
    st->burst = 100;
    st->changing = false;
    st->freeze_every = 0;
}

static unsigned any(struct random *r, const unsigned *ready, unsigned count)
{
    return ready[random_below(r, count)];
}

static unsigned most_important(struct strategy *st, struct random *r,
                               const unsigned *ready, unsigned count,
                               unsigned running)
{
    if (running < STRATEGY_TASKS && --st->left == 0) {
        st->priorities[running] = --st->lowest;
        st->left = 1 + random_below(r, 2 * st->interval);
    }
    unsigned best = ready[0];
    for (unsigned i = 1; i < count; i++)
        if (st->priorities[ready[i]] > st->priorities[best])
            best = ready[i];
    return best;
}

static unsigned not_starved(struct strategy *st, struct random *r,
                            const unsigned *ready, unsigned count,
                            bool yielded)
{
    unsigned fed[STRATEGY_TASKS], fed_count = 0;
    /* Who spins may wait for just the one that starves. */
    if (yielded && random_below(r, 4) == 0)
        return any(r, ready, count);
    for (unsigned i = 0; i < count; i++)
        if (!(st->starved >> ready[i] & 1))
            fed[fed_count++] = ready[i];
    if (!fed_count || random_below(r, st->patience) == 0)
        return any(r, ready, count);
    return any(r, fed, fed_count);
}

unsigned strategy_choose(struct strategy *st, struct random *r,
                         const unsigned *ready, unsigned count,
                         unsigned running)
{
    bool yielded = st->yielded;
    st->yielded = false;
    if (st->changing && --st->phase == 0) {
        draw(st, r);
        st->phase = 200 + random_below(r, 20000);
    }
    if (count == 1)
        return ready[0];
    switch (st->kind) {
    case STRATEGY_BURSTS:
        if (running < STRATEGY_TASKS && !yielded &&
            random_below(r, st->burst))
            return running;
        return any(r, ready, count);
    case STRATEGY_PRIORITIES:
        return most_important(st, r, ready, count, running);
    case STRATEGY_STARVING:
        return not_starved(st, r, ready, count, yielded);
    case STRATEGY_UNIFORM:
    case STRATEGY_KINDS:
        break;
    }
    return any(r, ready, count);
}

void strategy_describe(const struct strategy *st, char *out, size_t size)
{
    static const char *const names[] = {"uniform", "bursts", "priorities",
                                        "starving", ""};
    uint64_t number = st->kind == STRATEGY_BURSTS       ? st->burst
                      : st->kind == STRATEGY_PRIORITIES ? st->interval
                      : st->kind == STRATEGY_STARVING   ? st->patience
                                                        : 0;
    snprintf(out, size, "%s %" PRIu64 "%s, freezing every %" PRIu64
             " for %" PRIu64 " ns, steps of %" PRIu64 " ns",
             names[st->kind], number, st->changing ? ", changing" : "",
             st->freeze_every, st->freeze_ns, st->step_ns);
}
