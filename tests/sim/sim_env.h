/*
 * What stands between the engine and its disk in a simulation. Each operation
 * has a scheduling point before and one behind it, takes simulated time on
 * either side of its effect, and goes into the trace with its result.
 *
 * Writes and stores to a map may happen in two parts, in either order, with a
 * scheduling point between them: a process can die in the middle of one.
 *
 * Reading through a map is no operation: nothing sees it.
 */
#ifndef TESTS_SIM_SIM_ENV_H
#define TESTS_SIM_SIM_ENV_H

#include "env/env.h"

struct sim_env_options {
    struct env *base;    /* borrowed */
    uint64_t seed;       /* of latencies and of what happens in parts */
    uint64_t latency_ns; /* of a sync, on average; 0: no time passes */
    unsigned stall_permille; /* operations that take fifty times as long */
    unsigned part_permille;  /* writes and stores that happen in parts */
};

struct env *sim_env_new(const struct sim_env_options *options);
void sim_env_free(struct env *e);

/* Operations that changed something so far, parts counted. */
uint64_t sim_env_changes(struct env *e);
/* Files, maps and locks that are open. */
uint64_t sim_env_handles(struct env *e);

#endif
