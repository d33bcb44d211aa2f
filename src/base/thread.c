#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

const struct thread_hooks *thread_hooks;

void mutex_init(struct mutex *m)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&m->native, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

void mutex_deinit(struct mutex *m)
{
    pthread_mutex_destroy(&m->native);
}

void condition_init(struct condition *c)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->native, &attributes);
    pthread_condattr_destroy(&attributes);
}

void condition_deinit(struct condition *c)
{
    pthread_cond_destroy(&c->native);
}

void condition_wait(struct condition *c, struct mutex *m)
{
    if (thread_hooks)
        thread_hooks->wait(thread_hooks->context, c, m, 0);
    else
        pthread_cond_wait(&c->native, &m->native);
}

bool condition_wait_until(struct condition *c, struct mutex *m,
                          uint64_t deadline_ns)
{
    if (thread_hooks)
        return thread_hooks->wait(thread_hooks->context, c, m, deadline_ns);
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ns / 1000000000u),
        .tv_nsec = (long)(deadline_ns % 1000000000u),
    };
    return pthread_cond_timedwait(&c->native, &m->native, &until) != ETIMEDOUT;
}

void condition_signal(struct condition *c)
{
    if (thread_hooks)
        thread_hooks->wake(thread_hooks->context, c, false);
    else
        pthread_cond_signal(&c->native);
}

void condition_broadcast(struct condition *c)
{
    if (thread_hooks)
        thread_hooks->wake(thread_hooks->context, c, true);
    else
        pthread_cond_broadcast(&c->native);
}

adb_status thread_start(struct thread *t, const char *name,
                        void *(*run)(void *), void *argument)
{
    t->started = false;
    int error = thread_hooks
                    ? thread_hooks->start(thread_hooks->context, t, name,
                                          run, argument)
                    : pthread_create(&t->native, NULL, run, argument);
    if (error)
        return status_set_errno(error, "cannot start the thread '%s'", name);
    t->started = true;
    if (!thread_hooks)
        pthread_setname_np(t->native, name);
    return ADB_OK;
}

void thread_join(struct thread *t)
{
    if (!t->started)
        return;
    if (thread_hooks)
        thread_hooks->join(thread_hooks->context, t);
    else
        pthread_join(t->native, NULL);
    t->started = false;
}

void thread_yield(void)
{
    if (thread_hooks)
        thread_hooks->yield(thread_hooks->context);
    else
        sched_yield();
}

unsigned thread_ordinal(void)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned mine = ~0u;
    if (mine == ~0u)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    return mine;
}

uint64_t clock_now_ns(void)
{
    if (thread_hooks)
        return thread_hooks->now_ns(thread_hooks->context);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void clock_sleep_ns(uint64_t ns)
{
    if (thread_hooks) {
        thread_hooks->sleep(thread_hooks->context, ns);
        return;
    }
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}
