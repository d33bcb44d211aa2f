/*
 * An env that passes everything to another one and lets chosen calls fail.
 * Operations are counted by kind; a rule picks the n-th matching call, once or
 * for ever, and the way it fails.
 */
#ifndef ENV_ENV_FAULT_H
#define ENV_ENV_FAULT_H

#include "env/env.h"

enum env_fault_operation {
    ENV_FAULT_OPEN = 1 << 0,
    ENV_FAULT_READ = 1 << 1,
    ENV_FAULT_WRITE = 1 << 2,
    ENV_FAULT_SYNC = 1 << 3,
    ENV_FAULT_TRUNCATE = 1 << 4,
    ENV_FAULT_ALLOCATE = 1 << 5,
    ENV_FAULT_MAP = 1 << 6,
    ENV_FAULT_POPULATE = 1 << 7,
    ENV_FAULT_RENAME = 1 << 8,
    ENV_FAULT_UNLINK = 1 << 9, /* directories too */
    ENV_FAULT_MAKE_DIR = 1 << 10,
    ENV_FAULT_SYNC_DIR = 1 << 11,
    ENV_FAULT_LIST = 1 << 12,
    ENV_FAULT_LOCK = 1 << 13,
    ENV_FAULT_STAT = 1 << 14,
    ENV_FAULT_CLOSE = 1 << 15,
    ENV_FAULT_SIZE = 1 << 16,
    ENV_FAULT_ANY = (1 << 17) - 1
};

struct env_fault_rule {
    unsigned operations;      /* which kinds match */
    const char *path_part;    /* substring of the path (of either path of a
                                 rename); NULL: any; borrowed */
    uint64_t skip;            /* matching calls that pass first */
    uint64_t count;           /* calls that then fail; ~0: for ever */
    int error;                /* errno to fail with; 0: only delay */
    uint64_t partial;         /* writes: bytes that reach the file first
                                 (of a shorter write all but one) */
    bool drop_on_sync_failure; /* a failing sync also loses unsynced data of
                                  the file where the base is env_memory */
    uint64_t delay_ns;
};

/* NULL: out of memory. base is borrowed. */
struct env *env_fault_new(struct env *base);
void env_fault_free(struct env *e);
/* Replaces the rule; NULL: no faults. The counters start again. */
void env_fault_set(struct env *e, const struct env_fault_rule *rule);
/* Calls of these kinds, failed ones too, since the last env_fault_set. */
uint64_t env_fault_calls(struct env *e, unsigned operations);
/* Calls that were made to fail since the last env_fault_set. */
uint64_t env_fault_hits(struct env *e);

#endif
