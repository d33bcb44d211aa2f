/*
 * The scheduler of the simulation itself: one seed is one interleaving, locks
 * and conditions do what they should, and what goes wrong in the code under it
 * is found and named.
 */
#include "sim/scheduler.h"

#include <stdatomic.h>

#include "base/thread.h"
#include "support.h"

#define adb_status_name_of(status) "failed"
#define adb_message_of()           status_message()

enum { THREADS = 4, ROUNDS = 50 };

struct shared {
    struct mutex lock, other;
    struct condition changed;
    struct thread threads[THREADS];
    unsigned inside, counter, waiting, turns;
    unsigned order[THREADS * ROUNDS];
    uint64_t woken_ns;
    bool ready, overlapped;
};

static void shared_init(struct shared *s)
{
    memset(s, 0, sizeof *s);
    mutex_init(&s->lock);
    mutex_init(&s->other);
    condition_init(&s->changed);
}

static void shared_deinit(struct shared *s)
{
    condition_deinit(&s->changed);
    mutex_deinit(&s->other);
    mutex_deinit(&s->lock);
}

static void run_all(struct shared *s, void *(*run)(void *))
{
    for (int i = 0; i < THREADS; i++)
        if (thread_start(&s->threads[i], "worker", run, s) != ADB_OK)
            abort();
    for (int i = 0; i < THREADS; i++)
        thread_join(&s->threads[i]);
}

static void simulate(uint64_t seed, void (*main)(void *), struct shared *s,
                     struct scheduler_result *out)
{
    struct scheduler_options options = {.seed = seed, .max_steps = 100000};
    shared_init(s);
    scheduler_run(&options, main, s, out);
    shared_deinit(s);
}

/* ---- exclusion and repetition ---- */

static void *count_under_lock(void *argument)
{
    struct shared *s = argument;
    for (int i = 0; i < ROUNDS; i++) {
        mutex_lock(&s->lock);
        s->overlapped |= s->inside++ != 0;
        s->order[s->counter] = (unsigned)scheduler_thread_name()[7];
        unsigned seen = s->counter;
        scheduler_point();
        s->counter = seen + 1;
        s->inside--;
        mutex_unlock(&s->lock);
    }
    return NULL;
}

static void main_exclusion(void *argument)
{
    run_all(argument, count_under_lock);
}

static void test_locks_exclude(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_exclusion, &s, &r);
        assert_int_equal(r.verdict, SCHEDULER_ENDED);
        assert_false(s.overlapped);
        assert_int_equal(s.counter, THREADS * ROUNDS);
    }
}

static void test_a_seed_is_an_interleaving(void **state)
{
    static struct shared first, second;
    static struct scheduler_result r1, r2;
    unsigned different = 0;
    uint64_t previous = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_exclusion, &first, &r1);
        simulate(seed, main_exclusion, &second, &r2);
        assert_int_equal(r1.trace_hash, r2.trace_hash);
        assert_int_equal(r1.steps, r2.steps);
        assert_memory_equal(first.order, second.order, sizeof first.order);
        different += r1.trace_hash != previous;
        previous = r1.trace_hash;
    }
    assert_int_equal(different, 200);
}

/* ---- what is wrong is found ---- */

static void *count_without_lock(void *argument)
{
    struct shared *s = argument;
    for (int i = 0; i < 3; i++) {
        unsigned seen = s->counter;
        scheduler_point();
        s->counter = seen + 1;
    }
    return NULL;
}

static void main_lost_update(void *argument)
{
    run_all(argument, count_without_lock);
}

static void test_a_lost_update_is_found(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    unsigned found = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        simulate(seed, main_lost_update, &s, &r);
        found += s.counter != THREADS * 3;
    }
    assert_in_range(found, 30, 100);
}

static void *lock_in_turns(void *argument)
{
    struct shared *s = argument;
    mutex_lock(&s->lock);
    bool backward = s->turns++ % 2 == 1;
    mutex_unlock(&s->lock);
    mutex_lock(backward ? &s->other : &s->lock);
    mutex_lock(backward ? &s->lock : &s->other);
    mutex_unlock(&s->lock);
    mutex_unlock(&s->other);
    return NULL;
}

static void main_deadlock(void *argument)
{
    run_all(argument, lock_in_turns);
}

static void test_a_deadlock_is_reported(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    unsigned found = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_deadlock, &s, &r);
        if (r.verdict == SCHEDULER_ENDED)
            continue;
        assert_int_equal(r.verdict, SCHEDULER_DEADLOCK);
        assert_non_null(strstr(r.report, "held by worker-"));
        assert_non_null(strstr(r.report, "waits for the end of worker-"));
        found++;
    }
    assert_in_range(found, 20, 200);
}

static void main_twice(void *argument)
{
    struct shared *s = argument;
    mutex_lock(&s->lock);
    mutex_lock(&s->lock);
}

static void main_foreign(void *argument)
{
    struct shared *s = argument;
    mutex_unlock(&s->lock);
}

static void test_misused_locks_are_reported(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    simulate(1, main_twice, &s, &r);
    assert_int_equal(r.verdict, SCHEDULER_DEADLOCK);
    assert_non_null(strstr(r.report, "taken twice"));
    simulate(1, main_foreign, &s, &r);
    assert_int_equal(r.verdict, SCHEDULER_DEADLOCK);
    assert_non_null(strstr(r.report, "not held"));
}

/* Looks at the flag outside of the lock: a wake-up may come too early. */
static void *wait_carelessly(void *argument)
{
    struct shared *s = argument;
    if (s->ready)
        return NULL;
    scheduler_point();
    mutex_lock(&s->lock);
    condition_wait(&s->changed, &s->lock);
    mutex_unlock(&s->lock);
    return NULL;
}

static void main_lost_wake(void *argument)
{
    struct shared *s = argument;
    if (thread_start(&s->threads[0], "waiter", wait_carelessly, s) != ADB_OK)
        abort();
    mutex_lock(&s->lock);
    s->ready = true;
    condition_signal(&s->changed);
    mutex_unlock(&s->lock);
    thread_join(&s->threads[0]);
}

static void test_a_lost_wake_up_is_found(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    unsigned found = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_lost_wake, &s, &r);
        found += r.verdict == SCHEDULER_DEADLOCK;
    }
    assert_in_range(found, 10, 190);
}

/* ---- conditions and time ---- */

static void *wait_carefully(void *argument)
{
    struct shared *s = argument;
    mutex_lock(&s->lock);
    s->waiting++;
    while (!s->ready)
        condition_wait(&s->changed, &s->lock);
    s->waiting--;
    mutex_unlock(&s->lock);
    return NULL;
}

static void main_broadcast(void *argument)
{
    struct shared *s = argument;
    for (int i = 0; i < THREADS; i++)
        if (thread_start(&s->threads[i], "waiter", wait_carefully, s) !=
            ADB_OK)
            abort();
    mutex_lock(&s->lock);
    s->ready = true;
    condition_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    for (int i = 0; i < THREADS; i++)
        thread_join(&s->threads[i]);
}

static void test_waits_end(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_broadcast, &s, &r);
        assert_int_equal(r.verdict, SCHEDULER_ENDED);
        assert_int_equal(s.waiting, 0);
    }
}

static void main_time(void *argument)
{
    struct shared *s = argument;
    uint64_t began = clock_now_ns();
    clock_sleep_ns(UINT64_C(3600000000000));
    mutex_lock(&s->lock);
    uint64_t until = clock_now_ns() + UINT64_C(1000000000);
    while (condition_wait_until(&s->changed, &s->lock, until))
        ;
    mutex_unlock(&s->lock);
    s->woken_ns = clock_now_ns() - began;
}

static void test_an_hour_takes_no_time(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        simulate(seed, main_time, &s, &r);
        assert_int_equal(r.verdict, SCHEDULER_ENDED);
        assert_in_range(s.woken_ns, UINT64_C(3601000000000),
                        UINT64_C(3602000000000));
    }
}

static void main_late(void *argument)
{
    (void)argument;
    scheduler_watch("a long sleep", UINT64_C(30000000000));
    for (;;)
        clock_sleep_ns(1000000000);
}

static void main_endless(void *argument)
{
    (void)argument;
    for (;;)
        thread_yield();
}

static void test_what_does_not_end_is_reported(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    simulate(1, main_late, &s, &r);
    assert_int_equal(r.verdict, SCHEDULER_LATE);
    assert_non_null(strstr(r.report, "a long sleep of main-0"));
    simulate(1, main_endless, &s, &r);
    assert_int_equal(r.verdict, SCHEDULER_ENDLESS);
}

/* Whatever the strategy: who spins and yields lets the other one go on. */
static void *spin(void *argument)
{
    struct shared *s = argument;
    while (!s->ready)
        thread_yield();
    return NULL;
}

static void main_spin(void *argument)
{
    struct shared *s = argument;
    for (int i = 0; i < THREADS; i++)
        if (thread_start(&s->threads[i], "spinner", spin, s) != ADB_OK)
            abort();
    for (int i = 0; i < 20; i++)
        scheduler_point();
    s->ready = true;
    for (int i = 0; i < THREADS; i++)
        thread_join(&s->threads[i]);
}

static void test_spinning_ends(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        simulate(seed, main_spin, &s, &r);
        assert_int_equal(r.verdict, SCHEDULER_ENDED);
    }
}

/* ---- messages ---- */

static void *keep_message(void *argument)
{
    struct shared *s = argument;
    char expected[64];
    snprintf(expected, sizeof expected, "of %s", scheduler_thread_name());
    for (int i = 0; i < ROUNDS; i++) {
        adb_status status = status_set(ADB_IO, "%s", expected);
        scheduler_point();
        s->overlapped |= status != ADB_IO ||
                         strcmp(status_message(), expected) != 0;
    }
    return NULL;
}

static void main_messages(void *argument)
{
    run_all(argument, keep_message);
}

static void test_each_thread_has_its_message(void **state)
{
    static struct shared s;
    static struct scheduler_result r;
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        simulate(seed, main_messages, &s, &r);
        assert_false(s.overlapped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks_exclude),
        cmocka_unit_test(test_a_seed_is_an_interleaving),
        cmocka_unit_test(test_a_lost_update_is_found),
        cmocka_unit_test(test_a_deadlock_is_reported),
        cmocka_unit_test(test_misused_locks_are_reported),
        cmocka_unit_test(test_a_lost_wake_up_is_found),
        cmocka_unit_test(test_waits_end),
        cmocka_unit_test(test_an_hour_takes_no_time),
        cmocka_unit_test(test_what_does_not_end_is_reported),
        cmocka_unit_test(test_spinning_ends),
        cmocka_unit_test(test_each_thread_has_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
