/*
 * What the tests that kill a process share: when a child dies, waiting for it,
 * and keeping what it left.
 */
#ifndef TESTS_MODEL_KILLING_H
#define TESTS_MODEL_KILLING_H

#include <stdatomic.h>
#include <sys/types.h>

#include "model/model.h"
#include "model/model_env.h"

struct killing {
    bool started;         /* wait for an acknowledgement first */
    uint64_t after_us;    /* if nothing strikes before */
    struct strike strike; /* the child hands it to model_env_set_strike */
};

/* At a moment within longest_us, or at an operation whose number has at most
   largest_bits. Small numbers too, so that opening is hit. */
struct killing killing_choose(struct random *r, unsigned largest_bits,
                              uint64_t longest_us);

/* Kills the child in time and waits for it; an end of another kind than
   SIGKILL or exit status 0, or *failed, is a failure. True: it was killed. */
bool killing_wait(pid_t pid, const struct killing *k,
                  const _Atomic uint64_t *acknowledged,
                  const _Atomic int *failed, const char *options);

/* Copies the database SCRATCH/db to SCRATCH/found, for whoever looks into a
   failure of the opening that follows. */
void killing_keep(const char *scratch);

/* The words of model_options with one of the levels of durability behind. */
void killing_options(struct random *r, char options[MODEL_OPTIONS_MAX + 32],
                     const char **durability);

/* Kills some openings of the database in recovery, or after it. */
void killing_openers(struct random *r, const char *path, const char *options);

/* Shared with children, zeroed. */
void *killing_share(size_t size);

#endif
