/*
 * The whole engine under a seeded scheduler, on a simulated disk, by a
 * simulated clock: see world.h for what one seed is, history.h for what is
 * checked, scheduler.h for what is chosen.
 *
 * Seeds are spread over processes. One in sixteen is run a second time, with
 * fresh memory filled otherwise, and must leave the same trace: choices, disk
 * operations and results.
 *
 *   ADB_TEST_SEED    run this seed alone, here
 *   ADB_TEST_TRACE=1 with it: print its trace
 *   ADB_TEST_SEEDS   how many seeds
 *   ADB_TEST_JOBS    over how many processes
 *   ADB_TEST_TWICE=n run every n-th seed of a process twice
 */
#include "sim/world.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { JOBS_MAX = 64, TWICE_EVERY = 16 };

/* What a worker shares with the process that watches it. */
struct worker {
    pid_t pid;
    _Atomic uint64_t seed; /* the one it is at */
    _Atomic uint64_t seeds, twice, steps, switches, preemptions;
    _Atomic uint64_t operations, changes, images, flushes, merges, faults;
    _Atomic uint64_t simulated_ms;
};

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- one seed ---- */

/* Fresh memory is not what it was in another run. */
static void run_once(uint64_t seed, int fill, FILE *trace, bool steps,
                     struct scheduler_result *out, struct world *w)
{
    mallopt(M_PERTURB, fill);
    world_run(seed, trace, steps, out, w);
}

static void die_of_difference(uint64_t seed, struct world *w)
{
    static struct scheduler_result results[2];
    static const char *const names[] = {"sim-first.trace", "sim-second.trace"};
    for (int i = 0; i < 2; i++) {
        FILE *trace = fopen(names[i], "w");
        run_once(seed, 0x5a + i, trace, true, &results[i], w);
        if (trace)
            fclose(trace);
    }
    die("ADB_TEST_SEED=%" PRIu64 " runs in two ways, of %" PRIu64 " and %"
        PRIu64 " steps; sim-first.trace and sim-second.trace show the "
        "difference", seed, results[0].steps, results[1].steps);
}

static void run_seed(uint64_t seed, bool twice, FILE *trace, struct worker *to)
{
    static struct world w;
    static struct scheduler_result first, second;
    run_once(seed, 0x5a, trace, false, &first, &w);
    if (twice) {
        run_once(seed, 0xc3, NULL, false, &second, &w);
        if (second.trace_hash != first.trace_hash)
            die_of_difference(seed, &w);
    }
    to->seeds++;
    to->twice += twice;
    to->steps += first.steps;
    to->switches += first.switches;
    to->preemptions += first.preemptions;
    to->operations += w.operations;
    to->changes += w.changes;
    to->images += w.images;
    to->flushes += w.flushes;
    to->merges += w.merges;
    to->faults += w.faults;
    to->simulated_ms += first.simulated_ns / 1000000;
    if (trace)
        fprintf(trace, "%s\n%s\n", first.strategy, world_describe(&w));
}

/* ---- many ---- */

static void work(struct worker *self, uint64_t first, uint64_t count,
                 uint64_t stride)
{
    uint64_t every = number("ADB_TEST_TWICE", TWICE_EVERY);
    for (uint64_t i = 0; i < count; i += stride) {
        self->seed = first + i;
        run_seed(first + i, i / stride % every == 0, NULL, self);
    }
    exit(0); /* the leak check looks at all of them */
}

static void start_workers(struct worker *workers, uint64_t jobs,
                          uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < jobs; i++) {
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            work(&workers[i], first + i, count > i ? count - i : 0, jobs);
        workers[i].pid = pid;
    }
}

static void stop_workers(struct worker *workers, uint64_t jobs)
{
    for (uint64_t i = 0; i < jobs; i++)
        if (workers[i].pid)
            kill(workers[i].pid, SIGKILL);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
}

static void watch_workers(struct worker *workers, uint64_t jobs)
{
    for (uint64_t left = jobs; left > 0; left--) {
        int status;
        pid_t pid = wait(&status);
        struct worker *w = workers;
        while (w < workers + jobs && w->pid != pid)
            w++;
        assert_true(w < workers + jobs);
        w->pid = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        stop_workers(workers, jobs);
        fail_msg("seed %" PRIu64 " failed; ADB_TEST_SEED=%" PRIu64
                 " repeats it, ADB_TEST_TRACE=1 with it shows what happened",
                 w->seed, w->seed);
    }
}

static void print_summary(const struct worker *workers, uint64_t jobs,
                          double seconds)
{
    struct worker sum = {0};
    for (uint64_t i = 0; i < jobs; i++) {
        sum.seeds += workers[i].seeds;
        sum.twice += workers[i].twice;
        sum.steps += workers[i].steps;
        sum.switches += workers[i].switches;
        sum.preemptions += workers[i].preemptions;
        sum.operations += workers[i].operations;
        sum.changes += workers[i].changes;
        sum.images += workers[i].images;
        sum.flushes += workers[i].flushes;
        sum.merges += workers[i].merges;
        sum.faults += workers[i].faults;
        sum.simulated_ms += workers[i].simulated_ms;
    }
    printf("%" PRIu64 " seeds (%" PRIu64 " twice) in %.1f s: %" PRIu64
           " operations, %" PRIu64 " flushes, %" PRIu64 " merges, %" PRIu64
           " crash images,\n%" PRIu64 " failed calls, %" PRIu64
           " disk changes, %" PRIu64
           " steps, %" PRIu64 " switches, %" PRIu64 " preemptions, %" PRIu64
           " simulated seconds\n",
           sum.seeds, sum.twice, seconds, sum.operations, sum.flushes,
           sum.merges, sum.images, sum.faults, sum.changes, sum.steps,
           sum.switches, sum.preemptions, sum.simulated_ms / 1000);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_seeds(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint64_t jobs = number("ADB_TEST_JOBS", 2);
    double began = now();
    jobs = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs;
    struct worker *workers =
        mmap(NULL, JOBS_MAX * sizeof *workers, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(workers != MAP_FAILED);
    if (getenv("ADB_TEST_SEED") && !getenv("ADB_TEST_SEEDS")) {
        jobs = 1;
        run_seed(seed, true, getenv("ADB_TEST_TRACE") ? stdout : NULL,
                 workers);
    } else {
        start_workers(workers, jobs, seed,
                      number("ADB_TEST_SEEDS", test_scaled(2000, 150)));
        watch_workers(workers, jobs);
    }
    print_summary(workers, jobs, now() - began);
    munmap(workers, JOBS_MAX * sizeof *workers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
