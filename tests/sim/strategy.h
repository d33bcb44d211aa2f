/*
 * Who runs next: the part of the scheduler that is a pure function of its
 * random numbers. Bugs of order hide from any one way of choosing, so a seed
 * picks one of several:
 *
 *   uniform     each thread that can run is as likely as any other
 *   bursts      the running thread goes on for a random while
 *   priorities  the most important one runs until it waits; now and then the
 *               running one becomes the least important (after PCT: Burckhardt
 *               et al., ASPLOS 2010)
 *   starving    some threads hardly ever run
 *   changing    one of these, and after a while another one
 *
 * Beside that, threads freeze at random points for some time, as one does whose
 * processor was taken away: what it was about to look at gets old.
 */
#ifndef TESTS_SIM_STRATEGY_H
#define TESTS_SIM_STRATEGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"

enum { STRATEGY_TASKS = 64 };

enum strategy_kind { STRATEGY_UNIFORM, STRATEGY_BURSTS, STRATEGY_PRIORITIES,
                     STRATEGY_STARVING, STRATEGY_KINDS };

struct strategy {
    enum strategy_kind kind;
    bool changing;
    uint64_t step_ns;  /* a step takes 1 to so many */
    uint64_t burst;    /* mean length */
    uint64_t interval; /* mean steps between changes of priority */
    uint64_t patience; /* a starved thread gets one turn in so many */
    uint64_t freeze_every; /* mean preemptions, and 16 times as many other
                              steps, between freezes; 0: never */
    uint64_t freeze_ns;    /* at most */
    uint64_t left;     /* steps until the next change of priority */
    uint64_t phase;    /* steps until the next strategy, when changing */
    uint64_t starved;  /* bit n: task n */
    int64_t priorities[STRATEGY_TASKS];
    int64_t lowest;
    bool yielded; /* the running thread wants others to run */
};

void strategy_init(struct strategy *st, struct random *r);
/* A task has come into being under this number. */
void strategy_add(struct strategy *st, struct random *r, unsigned task);
/* One of ready[0..count); running: the number of the task that ran and could
   go on, or STRATEGY_TASKS. */
unsigned strategy_choose(struct strategy *st, struct random *r,
                         const unsigned *ready, unsigned count,
                         unsigned running);
/* For how long the running task, which could go on, freezes; 0: not at all. */
uint64_t strategy_freeze(const struct strategy *st, struct random *r,
                         bool preempted);
/* The running task spins: another one must run for it to get anywhere. */
void strategy_yielded(struct strategy *st, unsigned task);
/* Long bursts from now on. */
void strategy_calm(struct strategy *st);
void strategy_describe(const struct strategy *st, char *out, size_t size);

#endif
