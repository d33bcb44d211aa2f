/*
 * One failure in the course of a piece of work, at each place in turn: the
 * n-th allocation of this thread, or the n-th call of an env_fault, fails in
 * the n-th run, until a run meets none.
 *
 * The work may be run again and again, leaves nothing behind, and says what may
 * fail: prepare, failing_begin, what may fail, failing_end, check and clean up.
 */
#ifndef TESTS_SUPPORT_FAILING_H
#define TESTS_SUPPORT_FAILING_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "env/env_fault.h"

typedef adb_status (*failing_work)(void *context);

static struct {
    int64_t allocation;         /* which fails; 0: none */
    struct env_fault_rule rule; /* operations 0: none */
    bool met;
} failing;
/* 1: the next one fails; 0: it has; less: none shall. */
static _Thread_local int64_t failing_left = -1;

static int failing_hook(void *context, size_t size)
{
    (void)context, (void)size;
    return failing_left > 0 && --failing_left == 0;
}

/* From here on. fault: NULL where only allocations are to fail. */
static inline void failing_begin(struct env *fault)
{
    if (fault && failing.rule.operations)
        env_fault_set(fault, &failing.rule);
    failing_left = failing.allocation ? failing.allocation : -1;
}

/* What lies between is the test's own and does not fail. */
static inline int64_t failing_pause(void)
{
    int64_t left = failing_left;
    failing_left = -1;
    return left;
}
static inline void failing_resume(int64_t left)
{
    failing_left = left;
}

/* May be called twice. The thread's message stays. */
static inline void failing_end(struct env *fault)
{
    if (failing_left == 0)
        failing.met = true;
    failing_left = -1;
    if (fault && failing.rule.operations) {
        failing.met |= env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
    }
}

/* Whether the run counts as failed. */
static inline bool failing_check(adb_status status, adb_status expected,
                                 uint64_t n, bool may_pass)
{
    if (status == ADB_OK && !may_pass)
        fail_msg("failure %llu was not noticed", (unsigned long long)n);
    if (status == ADB_OK)
        return false;
    if (status != expected && status != ADB_UNKNOWN_OUTCOME)
        fail_msg("failure %llu: %s: %s", (unsigned long long)n,
                 status_name(status), status_message());
    return true;
}

/* All of the first places, then one in some: what comes late in a long piece of
   work is mostly what came before. */
static inline uint64_t failing_next(uint64_t n)
{
    return n + 1 + n / 30;
}

/* Each run says ADB_NO_MEMORY; may_pass: or does without. Returns how many
   failed. */
static inline unsigned each_allocation(failing_work work, void *context,
                                       bool may_pass)
{
    unsigned failed = 0;
    mem_set_fail_hook(failing_hook, NULL);
    for (uint64_t n = 1;; n = failing_next(n)) {
        failing.allocation = (int64_t)n;
        failing.met = false;
        adb_status status = work(context);
        if (!failing.met) {
            if (status != ADB_OK)
                fail_msg("nothing failed, and yet: %s", status_message());
            break;
        }
        failed += failing_check(status, ADB_NO_MEMORY, n, may_pass);
    }
    mem_set_fail_hook(NULL, NULL);
    failing.allocation = 0;
    return failed;
}

/* Each run says what `error` is; may_pass: or does without. */
static inline unsigned each_call(failing_work work, void *context,
                                 unsigned operations, int error, bool may_pass)
{
    unsigned failed = 0;
    adb_status expected = error == ENOSPC   ? ADB_NO_SPACE
                          : error == ENOMEM ? ADB_NO_MEMORY
                                            : ADB_IO;
    for (uint64_t n = 0;; n = failing_next(n)) {
        failing.rule = (struct env_fault_rule){.operations = operations,
                                               .skip = n,
                                               .count = 1,
                                               .error = error,
                                               .partial = 24 * n};
        failing.met = false;
        adb_status status = work(context);
        if (!failing.met) {
            if (status != ADB_OK)
                fail_msg("nothing failed, and yet: %s", status_message());
            break;
        }
        failed += failing_check(status, expected, n, may_pass);
    }
    failing.rule.operations = 0;
    return failed;
}

#endif
