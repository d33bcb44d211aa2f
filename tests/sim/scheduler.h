/*
 * A cooperative scheduler behind base/thread.h: the threads of the library and
 * of the test are fibers of one thread, exactly one of them runs at a time, and
 * at each scheduling point a seeded choice decides which one goes on. One seed
 * is one interleaving.
 *
 * Scheduling points: locking, unlocking, waiting, waking, yielding, sleeping,
 * starting and ending threads, every scheduler_point() of the simulated disk;
 * and, in code that was compiled with -fsanitize-coverage=trace-pc, basic
 * blocks at random (scheduler_options.preempt), so that also what happens
 * between two locks is interleaved.
 *
 * Time is simulated. A step takes some nanoseconds; when all threads wait, the
 * clock jumps to the first deadline. When there is none they wait for ever:
 * that ends the run as a deadlock, with a report of who waits for what and who
 * holds it. A thread that takes too long by the simulated clock
 * (scheduler_watch), and a run of too many steps, end it the same way.
 *
 * What the model leaves out: memory is sequentially consistent (the thread
 * sanitizer's runs are for that), and threads of the system.
 *
 * Everything here is called from within scheduler_run unless it says otherwise.
 * The hooks are global: one run at a time in a process.
 */
#ifndef TESTS_SIM_SCHEDULER_H
#define TESTS_SIM_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct scheduler_options {
    uint64_t seed;
    /* 0: never between scheduling points, else after about so many traced
       basic blocks. */
    uint64_t preempt;
    uint64_t max_steps; /* 0: 20 million */
    FILE *trace;        /* NULL: none; borrowed */
    bool trace_steps;   /* each step, with its place in the program */
    /* Called at each scheduling point, before the choice, on the thread that
       ran; it must not get to a scheduling point itself. May be NULL. */
    void (*observe)(void *context);
    void *context;
};

enum scheduler_verdict {
    SCHEDULER_ENDED,    /* every thread has ended */
    SCHEDULER_DEADLOCK, /* all wait, none has a deadline */
    SCHEDULER_LATE,     /* a watched call did not end in its time */
    SCHEDULER_ENDLESS   /* more than max_steps */
};

enum { SCHEDULER_REPORT_MAX = 16 << 10 };

struct scheduler_result {
    enum scheduler_verdict verdict;
    uint64_t trace_hash; /* of all choices and all scheduler_trace texts */
    uint64_t steps, switches, preemptions;
    uint64_t simulated_ns;
    char strategy[160];
    char report[SCHEDULER_REPORT_MAX]; /* unless it ended */
};

/* Runs main(argument) as the first thread, until all have ended. Called from
   outside of any run. After another verdict than SCHEDULER_ENDED what the
   threads held is lost. */
void scheduler_run(const struct scheduler_options *options,
                   void (*main)(void *argument), void *argument,
                   struct scheduler_result *out);

/* A scheduling point of the caller's. Outside of a run it does nothing. */
void scheduler_point(void);

/* A line of the trace, also part of its hash. Outside of a run: nothing. */
void scheduler_trace(const char *format, ...) ADB_PRINTF(1, 2);

/* While `nested` calls are open there is no scheduling point: locks must be
   free. For what the test does in the middle of everything, such as making an
   image of the disk. */
void scheduler_pause(void);
void scheduler_resume(void);

/* The calling thread sleeps for ns when it has run `blocks` more traced basic
   blocks, wherever that is: so each place in what it does can be tried in turn.
   One thread at a time; not with options.preempt. */
void scheduler_hold(uint64_t blocks, uint64_t ns);
/* Ends that; true: it has slept. */
bool scheduler_let_go(void);

/* The calling thread's present doing must end within limit_ns. What is a
   literal, for the report. */
void scheduler_watch(const char *what, uint64_t limit_ns);
void scheduler_unwatch(void);

/* What the running thread has set for itself; NULL at first. */
void scheduler_set_local(void *local);
void *scheduler_local(void);

/* Within a run and not paused. */
bool scheduler_running(void);
uint64_t scheduler_steps(void);
/* The name of the running thread; "" outside of a run. */
const char *scheduler_thread_name(void);

/* Calm: from now on the running thread goes on for long stretches and time
   passes slowly, as for a check at the end. */
void scheduler_calm(void);

#endif
