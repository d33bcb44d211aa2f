/*
 * Threads, mutexes and conditions: thin wrappers that are the scheduling
 * points of the library. A test may install hooks that run the whole engine
 * under a seeded scheduler; without hooks they cost one predictable branch.
 *
 * Mutexes are adaptive: they spin briefly, then park.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct mutex {
    pthread_mutex_t native;
};
struct condition {
    pthread_cond_t native; /* on CLOCK_MONOTONIC */
};
struct thread {
    pthread_t native;
    bool started;
    void *sim; /* the scheduler's own, under hooks */
};

/* What a deterministic scheduler replaces. Every member must be set. Set while
   no thread of the library runs; no lock is held over the change. */
struct thread_hooks {
    void *context;
    void (*lock)(void *context, struct mutex *m);
    bool (*try_lock)(void *context, struct mutex *m);
    void (*unlock)(void *context, struct mutex *m);
    /* Returns false on timeout. deadline_ns 0: none. */
    bool (*wait)(void *context, struct condition *c, struct mutex *m,
                 uint64_t deadline_ns);
    void (*wake)(void *context, struct condition *c, bool all);
    /* Returns 0 or an errno. */
    int (*start)(void *context, struct thread *t, const char *name,
                 void *(*run)(void *), void *argument);
    void (*join)(void *context, struct thread *t);
    void (*yield)(void *context);
    void (*sleep)(void *context, uint64_t ns);
    uint64_t (*now_ns)(void *context);
};
extern const struct thread_hooks *thread_hooks; /* NULL in production */

void mutex_init(struct mutex *m);
void mutex_deinit(struct mutex *m);
void condition_init(struct condition *c);
void condition_deinit(struct condition *c);

static inline void mutex_lock(struct mutex *m)
{
    if (__builtin_expect(thread_hooks != NULL, 0))
        thread_hooks->lock(thread_hooks->context, m);
    else
        pthread_mutex_lock(&m->native);
}
static inline bool mutex_try_lock(struct mutex *m)
{
    if (__builtin_expect(thread_hooks != NULL, 0))
        return thread_hooks->try_lock(thread_hooks->context, m);
    return pthread_mutex_trylock(&m->native) == 0;
}
static inline void mutex_unlock(struct mutex *m)
{
    if (__builtin_expect(thread_hooks != NULL, 0))
        thread_hooks->unlock(thread_hooks->context, m);
    else
        pthread_mutex_unlock(&m->native);
}

void condition_wait(struct condition *c, struct mutex *m);
/* Waits until woken or until clock_now_ns() reaches deadline_ns; false on
   timeout. May wake spuriously. */
bool condition_wait_until(struct condition *c, struct mutex *m,
                          uint64_t deadline_ns);
void condition_signal(struct condition *c);
void condition_broadcast(struct condition *c);

adb_status thread_start(struct thread *t, const char *name,
                        void *(*run)(void *), void *argument) ADB_MUST_CHECK;
void thread_join(struct thread *t); /* no-op on a thread never started */
void thread_yield(void);
/* The calling thread's own for its life: threads count from 0 in the order in
   which they first ask. Says which part of something that is kept in parts, so
   that processors do not share a line, a thread uses. */
unsigned thread_ordinal(void);

/* Monotonic time. */
uint64_t clock_now_ns(void);
void clock_sleep_ns(uint64_t ns);

#endif
