/*
 * The real env with two things of its own. Syncs can be left out: a test that
 * never loses power need not wait for the disk. And the process can die of
 * SIGKILL at the n-th operation that changes something, before it, after it,
 * or, of a write or a mapped store, half way through.
 */
#ifndef TESTS_MODEL_ENV_H
#define TESTS_MODEL_ENV_H

#include <stdbool.h>

#include "env/env.h"

enum strike_kind {
    STRIKE_DATA = 1 << 0,  /* write(2) and mapped stores */
    STRIKE_FILES = 1 << 1, /* everything else: names, sizes, syncs, maps */
    STRIKE_ANY = STRIKE_DATA | STRIKE_FILES
};
enum strike_phase { STRIKE_BEFORE, STRIKE_HALFWAY, STRIKE_AFTER };

struct strike {
    unsigned kinds;  /* which operations count */
    uint64_t number; /* the one to die at, from 1; 0: never */
    enum strike_phase phase;
};

struct env *model_env(void); /* a singleton */

/* While no database is open. */
void model_env_leave_out_syncs(bool leave_out);
void model_env_set_strike(const struct strike *strike);

#endif
