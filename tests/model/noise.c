#include "model/noise.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "base/random.h"
#include "base/thread.h"

static uint64_t noise_seed;
static unsigned noise_one_in;
static _Atomic uint64_t threads_seen;

static struct random *own_random(void)
{
    static _Thread_local struct random random;
    if (!random.state)
        random_seed(&random,
                    noise_seed + atomic_fetch_add_explicit(
                                     &threads_seen, 1, memory_order_relaxed));
    return &random;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec t = {.tv_nsec = (long)ns};
    nanosleep(&t, NULL);
}

static void perhaps_pause(void)
{
    struct random *r = own_random();
    if (random_below(r, noise_one_in))
        return;
    if (random_below(r, 3))
        sched_yield();
    else
        sleep_ns(random_below(r, 200000));
}

static void noisy_lock(void *context, struct mutex *m)
{
    (void)context;
    perhaps_pause();
    pthread_mutex_lock(&m->native);
    perhaps_pause();
}

static bool noisy_try_lock(void *context, struct mutex *m)
{
    (void)context;
    return pthread_mutex_trylock(&m->native) == 0;
}

static void noisy_unlock(void *context, struct mutex *m)
{
    (void)context;
    pthread_mutex_unlock(&m->native);
    perhaps_pause();
}

/* Spurious wakeups are noise as well. */
static bool noisy_wait(void *context, struct condition *c, struct mutex *m,
                       uint64_t deadline_ns)
{
    (void)context;
    if (random_below(own_random(), 16) == 0) {
        pthread_mutex_unlock(&m->native);
        sched_yield();
        pthread_mutex_lock(&m->native);
        return true;
    }
    if (!deadline_ns)
        return pthread_cond_wait(&c->native, &m->native) == 0;
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / 1000000000u),
        .tv_nsec = (long)(deadline_ns % 1000000000u),
    };
    return pthread_cond_timedwait(&c->native, &m->native, &until) != ETIMEDOUT;
}

static void noisy_wake(void *context, struct condition *c, bool all)
{
    (void)context;
    perhaps_pause();
    if (all)
        pthread_cond_broadcast(&c->native);
    else
        pthread_cond_signal(&c->native);
}

static int noisy_start(void *context, struct thread *t, const char *name,
                       void *(*run)(void *), void *argument)
{
    (void)context;
    (void)name;
    return pthread_create(&t->native, NULL, run, argument);
}

static void noisy_join(void *context, struct thread *t)
{
    (void)context;
    pthread_join(t->native, NULL);
}

static void noisy_yield(void *context)
{
    (void)context;
    sleep_ns(1000);
}

static void noisy_sleep(void *context, uint64_t ns)
{
    (void)context;
    sleep_ns(ns);
}

static uint64_t noisy_now_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void noise_set(uint64_t seed, unsigned one_in)
{
    static const struct thread_hooks hooks = {
        .lock = noisy_lock,
        .try_lock = noisy_try_lock,
        .unlock = noisy_unlock,
        .wait = noisy_wait,
        .wake = noisy_wake,
        .start = noisy_start,
        .join = noisy_join,
        .yield = noisy_yield,
        .sleep = noisy_sleep,
        .now_ns = noisy_now_ns,
    };
    noise_seed = seed;
    noise_one_in = one_in;
    thread_hooks = one_in ? &hooks : NULL;
}
