#include "sim/scheduler.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "sim/fiber.h"
#include "sim/places.h"
#include "sim/strategy.h"

enum task_state { READY, WAITS_LOCK, WAITS_CONDITION, SLEEPS, WAITS_END,
                  ENDED };

struct task {
    struct fiber fiber;
    char name[16];
    unsigned number;
    enum task_state state;
    const void *waits_for; /* mutex, condition or task */
    uint64_t deadline_ns;  /* 0: none */
    bool timed_out, joined;
    const void *place; /* in the code, where it last got to a point */
    void *(*run)(void *);
    void *argument;
    void *local; /* the caller's */
    /* What it does that must end in time; NULL: nothing. */
    const char *watched;
    uint64_t watched_since_ns, watch_limit_ns;
    /* The thread-local message of base/status.c, while another one runs. */
    bool has_message;
    struct status_saved message;
};

struct held {
    const struct mutex *mutex;
    struct task *owner;
};

enum { TASKS = STRATEGY_TASKS, HELD_MAX = 64 };

static struct scheduler {
    const struct scheduler_options *options;
    struct scheduler_result *out;
    bool active;
    unsigned paused;
    struct fiber main;
    struct task *tasks[TASKS]; /* owned; places of joined ones are reused */
    unsigned count, alive;
    struct task *running; /* NULL: main */
    bool preempted;       /* it is at no scheduling point of its own */
    struct held held[HELD_MAX];
    unsigned held_count;
    struct random random;
    struct strategy strategy;
    uint64_t now_ns, began_ns;
    uint64_t max_steps;
    uint64_t hash;
} s;

/* Traced basic blocks until the next preemption; armed on a fiber only. */
static bool preempt_armed;
static uint64_t preempt_left;
static uint64_t hold_ns; /* of scheduler_hold, when it comes to that */

/* ---- the trace ---- */

static void mix(uint64_t word)
{
    s.hash = (s.hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    s.hash ^= s.hash >> 29;
}

void scheduler_trace(const char *format, ...)
{
    char text[400];
    va_list args;
    if (!s.active)
        return;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t length = (size_t)size < sizeof text ? (size_t)size
                                               : sizeof text - 1;
    mix(hash_key(text, length));
    if (s.options->trace)
        fprintf(s.options->trace, "%9" PRIu64 " %12" PRIu64 " %-12s %s\n",
                s.out->steps, s.now_ns - s.began_ns, scheduler_thread_name(),
                text);
}

const char *scheduler_thread_name(void)
{
    return s.running ? s.running->name : "";
}

uint64_t scheduler_steps(void)
{
    return s.active ? s.out->steps : 0;
}

/* ---- the report ---- */

static const struct held *holder_of(const void *mutex)
{
    for (unsigned i = 0; i < s.held_count; i++)
        if (s.held[i].mutex == mutex)
            return &s.held[i];
    return NULL;
}

static int describe_wait(const struct task *t, char *out, size_t size)
{
    const struct held *h;
    switch (t->state) {
    case READY:
        return snprintf(out, size, "could run");
    case WAITS_LOCK:
        h = holder_of(t->waits_for);
        return snprintf(out, size, "waits for lock %p, held by %s",
                        t->waits_for, h ? h->owner->name : "nobody");
    case WAITS_CONDITION:
        return snprintf(out, size, "waits for condition %p", t->waits_for);
    case SLEEPS:
        return snprintf(out, size, "sleeps");
    case WAITS_END:
        return snprintf(out, size, "waits for the end of %s",
                        ((const struct task *)t->waits_for)->name);
    case ENDED:
        break;
    }
    return snprintf(out, size, "has ended");
}

static void report_task(const struct task *t, char *out, size_t size)
{
    char wait[160], place[200];
    describe_wait(t, wait, sizeof wait);
    place_name(t->place, place, sizeof place);
    int n = snprintf(out, size, "  %-12s %s, at %s", t->name, wait, place);
    if (t->deadline_ns && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", until %+.6f s",
                      ((double)t->deadline_ns - (double)s.now_ns) / 1e9);
    if (t->watched && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, "; in %s for %.6f s",
                      t->watched,
                      (double)(s.now_ns - t->watched_since_ns) / 1e9);
    for (unsigned i = 0; i < s.held_count; i++)
        if (s.held[i].owner == t && n > 0 && (size_t)n < size)
            n += snprintf(out + n, size - (size_t)n, "; holds %p",
                          (const void *)s.held[i].mutex);
}

/* Ends the run; the caller's fiber is left for good. */
static void give_up(enum scheduler_verdict verdict, const char *why)
    __attribute__((noreturn));
static void give_up(enum scheduler_verdict verdict, const char *why)
{
    char *out = s.out->report;
    size_t left = sizeof s.out->report;
    preempt_armed = false;
    s.out->verdict = verdict;
    int n = snprintf(out, left, "%s after %" PRIu64 " steps, %.6f s:\n", why,
                     s.out->steps, (double)(s.now_ns - s.began_ns) / 1e9);
    out += n;
    left -= (size_t)n;
    for (unsigned i = 0; i < s.count; i++) {
        char line[700];
        if (s.tasks[i]->state == ENDED)
            continue;
        report_task(s.tasks[i], line, sizeof line);
        n = snprintf(out, left, "%s\n", line);
        if (n < 0 || (size_t)n >= left)
            break;
        out += n;
        left -= (size_t)n;
    }
    struct task *t = s.running;
    s.running = NULL;
    fiber_leave(&t->fiber, &s.main);
}

/* ---- choosing ---- */

static bool is_ready(const struct task *t)
{
    switch (t->state) {
    case READY:
        return true;
    case WAITS_CONDITION:
    case SLEEPS:
        return t->deadline_ns && t->deadline_ns <= s.now_ns;
    case WAITS_LOCK:
        return !holder_of(t->waits_for);
    case WAITS_END:
        return ((const struct task *)t->waits_for)->state == ENDED;
    case ENDED:
        break;
    }
    return false;
}

static unsigned list_ready(unsigned *list)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s.count; i++)
        if (is_ready(s.tasks[i]))
            list[count++] = i;
    return count;
}

/* All wait: the clock goes on to the first deadline. */
static void jump_to_deadline(void)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < s.count; i++) {
        const struct task *t = s.tasks[i];
        if ((t->state == WAITS_CONDITION || t->state == SLEEPS) &&
            t->deadline_ns && t->deadline_ns < first)
            first = t->deadline_ns;
    }
    if (first == UINT64_MAX)
        give_up(SCHEDULER_DEADLOCK, "deadlock: all wait, none for a time");
    if (first > s.now_ns)
        s.now_ns = first;
}

static void check_watches(void)
{
    char why[200];
    for (unsigned i = 0; i < s.count; i++) {
        const struct task *t = s.tasks[i];
        if (!t->watched || t->state == ENDED ||
            s.now_ns - t->watched_since_ns <= t->watch_limit_ns)
            continue;
        snprintf(why, sizeof why, "%s of %s has not ended in %.0f s",
                 t->watched, t->name, (double)t->watch_limit_ns / 1e9);
        give_up(SCHEDULER_LATE, why);
    }
}

static void perhaps_freeze(struct task *t, bool preempted)
{
    if (t->state != READY)
        return;
    uint64_t ns = strategy_freeze(&s.strategy, &s.random, preempted);
    if (!ns)
        return;
    t->state = SLEEPS;
    t->deadline_ns = s.now_ns + ns;
}

static struct task *choose(void)
{
    unsigned ready[TASKS], count;
    while ((count = list_ready(ready)) == 0) {
        jump_to_deadline();
        check_watches();
    }
    unsigned running = s.running->state == READY ? s.running->number
                                                 : STRATEGY_TASKS;
    unsigned chosen = strategy_choose(&s.strategy, &s.random, ready, count,
                                      running);
    mix(s.now_ns << 16 | chosen << 8 | count);
    return s.tasks[chosen];
}

/* ---- switching ---- */

static void become_ready(struct task *t)
{
    if (t->state == WAITS_CONDITION)
        t->timed_out = true; /* or it would have been made ready */
    t->state = READY;
    t->deadline_ns = 0;
}

static void switch_to(struct task *t)
{
    struct task *from = s.running;
    become_ready(t);
    if (t == from)
        return;
    s.out->switches++;
    s.running = t;
    from->has_message = *status_message() != '\0';
    if (from->has_message)
        status_save(&from->message, ADB_OK);
    fiber_switch(&from->fiber, &t->fiber);
    /* Here again. */
    if (from->has_message)
        status_restore(&from->message);
    else
        status_clear();
}

static void arm_preemption(void)
{
    if (!s.options->preempt)
        return;
    preempt_left = 1 + random_below(&s.random, 2 * s.options->preempt);
    preempt_armed = true;
}

static void hold(struct task *t)
{
    t->state = SLEEPS;
    t->deadline_ns = s.now_ns + hold_ns;
    hold_ns = 0;
}

void scheduler_hold(uint64_t blocks, uint64_t ns)
{
    assert(s.running && !s.options->preempt && blocks && ns);
    hold_ns = ns;
    preempt_left = blocks;
    preempt_armed = true;
}

bool scheduler_let_go(void)
{
    bool held = hold_ns == 0;
    hold_ns = 0;
    preempt_armed = false;
    return held;
}

/* Where the thread is counts too: relative to this program, which may lie
   anywhere. */
static void note_place(const void *place)
{
    uint64_t offset = (uint64_t)((uintptr_t)place - (uintptr_t)scheduler_run);
    mix(offset);
    if (s.options->trace && s.options->trace_steps)
        fprintf(s.options->trace, "%9" PRIu64 " %12" PRIu64 " %-12s at %p\n",
                s.out->steps, s.now_ns - s.began_ns, s.running->name, place);
}

/* One step: time passes, somebody goes on. The caller's state is set. */
static void step(const void *place)
{
    struct task *self = s.running;
    uint64_t hold_left = preempt_armed && hold_ns ? preempt_left : 0;
    preempt_armed = false;
    self->place = place;
    if (s.options->observe)
        s.options->observe(s.options->context);
    if (++s.out->steps > s.max_steps)
        give_up(SCHEDULER_ENDLESS, "no end");
    note_place(place);
    s.now_ns += 1 + random_below(&s.random, s.strategy.step_ns);
    if (s.out->steps % 1024 == 0)
        check_watches();
    perhaps_freeze(self, s.preempted);
    if (s.preempted && hold_ns)
        hold(self);
    s.preempted = false;
    switch_to(choose());
    arm_preemption();
    if (hold_left && hold_ns) {
        preempt_left = hold_left;
        preempt_armed = true;
    }
}

static bool in_run(void)
{
    return s.running && !s.paused;
}

bool scheduler_running(void)
{
    return in_run();
}

/* ---- hooks ---- */

#define PLACE __builtin_return_address(0)

static void take(struct mutex *m)
{
    if (s.held_count == HELD_MAX) {
        fprintf(stderr, "more locks held than a scheduler can note\n");
        abort();
    }
    s.held[s.held_count++] = (struct held){m, s.running};
}

static void wait_for_lock(struct mutex *m, const void *place)
{
    const struct held *h;
    while ((h = holder_of(m)) != NULL) {
        if (h->owner == s.running)
            give_up(SCHEDULER_DEADLOCK, "a lock is taken twice");
        s.running->state = WAITS_LOCK;
        s.running->waits_for = m;
        step(place);
    }
    take(m);
}

static void release(struct mutex *m)
{
    struct held *h = (struct held *)(uintptr_t)holder_of(m);
    if (!h || h->owner != s.running)
        give_up(SCHEDULER_DEADLOCK, "a lock is released that is not held");
    *h = s.held[--s.held_count];
}

static void hook_lock(void *context, struct mutex *m)
{
    (void)context;
    if (!in_run())
        return;
    step(PLACE);
    wait_for_lock(m, PLACE);
}

static bool hook_try_lock(void *context, struct mutex *m)
{
    (void)context;
    if (!in_run())
        return true;
    step(PLACE);
    if (holder_of(m))
        return false;
    take(m);
    return true;
}

static void hook_unlock(void *context, struct mutex *m)
{
    (void)context;
    if (!in_run())
        return;
    release(m);
    step(PLACE);
}

static bool hook_wait(void *context, struct condition *c, struct mutex *m,
                      uint64_t deadline_ns)
{
    struct task *self = s.running;
    (void)context;
    if (!in_run())
        return true;
    release(m);
    self->state = WAITS_CONDITION;
    self->waits_for = c;
    self->deadline_ns = deadline_ns;
    self->timed_out = false;
    /* Waking without cause is allowed, so it happens. */
    if (random_below(&s.random, 64) == 0)
        self->state = READY;
    step(PLACE);
    bool woken = !self->timed_out;
    wait_for_lock(m, PLACE);
    return woken;
}

static void hook_wake(void *context, struct condition *c, bool all)
{
    struct task *waiting[TASKS];
    unsigned count = 0;
    (void)context;
    if (!in_run())
        return;
    for (unsigned i = 0; i < s.count; i++)
        if (s.tasks[i]->state == WAITS_CONDITION && s.tasks[i]->waits_for == c)
            waiting[count++] = s.tasks[i];
    unsigned first = count ? (unsigned)random_below(&s.random, count) : 0;
    for (unsigned i = 0; i < count; i++)
        if (all || i == first) {
            waiting[i]->state = READY;
            waiting[i]->deadline_ns = 0;
        }
    step(PLACE);
}

static void hook_yield(void *context)
{
    (void)context;
    if (!in_run())
        return;
    strategy_yielded(&s.strategy, s.running->number);
    step(PLACE);
}

static void hook_sleep(void *context, uint64_t ns)
{
    (void)context;
    if (!in_run())
        return;
    s.running->state = SLEEPS;
    s.running->deadline_ns = s.now_ns + ns;
    step(PLACE);
}

/* Reading the clock takes time too: who polls it gets on. */
static uint64_t hook_now(void *context)
{
    (void)context;
    return s.running ? ++s.now_ns : s.now_ns;
}

void scheduler_point(void)
{
    if (in_run())
        step(PLACE);
}

void scheduler_pause(void)
{
    s.paused++;
    preempt_armed = false;
}

void scheduler_resume(void)
{
    if (--s.paused == 0 && s.running)
        arm_preemption();
}

void scheduler_watch(const char *what, uint64_t limit_ns)
{
    s.running->watched = what;
    s.running->watched_since_ns = s.now_ns;
    s.running->watch_limit_ns = limit_ns;
}

void scheduler_unwatch(void)
{
    s.running->watched = NULL;
}

void scheduler_set_local(void *local)
{
    s.running->local = local;
}

void *scheduler_local(void)
{
    return s.running ? s.running->local : NULL;
}

void scheduler_calm(void)
{
    strategy_calm(&s.strategy);
}

/* Called by the compiler at each basic block of traced code. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    if (!preempt_armed || --preempt_left)
        return;
    if (s.paused) {
        preempt_armed = false;
        return;
    }
    s.out->preemptions++;
    s.preempted = true;
    step(PLACE);
}

/* ---- threads ---- */

static void end_task(struct task *t)
{
    preempt_armed = false;
    t->state = ENDED;
    scheduler_trace("ends");
    if (--s.alive > 0) {
        struct task *next = choose();
        become_ready(next);
        s.running = next;
        status_clear();
        fiber_leave(&t->fiber, &next->fiber);
    }
    s.running = NULL;
    status_clear();
    fiber_leave(&t->fiber, &s.main);
}

static void run_task(void *argument)
{
    struct task *t = argument;
    status_clear();
    arm_preemption();
    t->run(t->argument);
    end_task(t);
}

/* A place for a task, NULL when there are too many. */
static struct task *take_place(void)
{
    for (unsigned i = 0; i < s.count; i++)
        if (s.tasks[i]->joined) {
            fiber_deinit(&s.tasks[i]->fiber);
            memset(s.tasks[i], 0, sizeof *s.tasks[i]);
            s.tasks[i]->number = i;
            return s.tasks[i];
        }
    if (s.count == TASKS)
        return NULL;
    struct task *t = calloc(1, sizeof *t);
    t->number = s.count;
    s.tasks[s.count++] = t;
    return t;
}

static struct task *add_task(const char *name, void *(*run)(void *),
                             void *argument)
{
    struct task *t = take_place();
    if (!t)
        return NULL;
    snprintf(t->name, sizeof t->name, "%.10s-%u", name, t->number);
    t->run = run;
    t->argument = argument;
    fiber_init(&t->fiber, run_task, t);
    s.alive++;
    strategy_add(&s.strategy, &s.random, t->number);
    return t;
}

static int hook_start(void *context, struct thread *thread, const char *name,
                      void *(*run)(void *), void *argument)
{
    (void)context;
    struct task *t = add_task(name, run, argument);
    if (!t)
        return EAGAIN;
    thread->sim = t;
    scheduler_trace("starts %s", t->name);
    step(PLACE);
    return 0;
}

static void hook_join(void *context, struct thread *thread)
{
    struct task *t = thread->sim;
    (void)context;
    while (t->state != ENDED) {
        s.running->state = WAITS_END;
        s.running->waits_for = t;
        step(PLACE);
    }
    t->joined = true;
}

static const struct thread_hooks hooks = {
    .lock = hook_lock,
    .try_lock = hook_try_lock,
    .unlock = hook_unlock,
    .wait = hook_wait,
    .wake = hook_wake,
    .start = hook_start,
    .join = hook_join,
    .yield = hook_yield,
    .sleep = hook_sleep,
    .now_ns = hook_now,
};

/* ---- a run ---- */

struct first {
    void (*main)(void *argument);
    void *argument;
};

static void *run_first(void *context)
{
    struct first *f = context;
    f->main(f->argument);
    return NULL;
}

void scheduler_run(const struct scheduler_options *options,
                   void (*main)(void *argument), void *argument,
                   struct scheduler_result *out)
{
    struct first first = {main, argument};
    memset(out, 0, sizeof *out);
    memset(&s, 0, sizeof s);
    s.options = options;
    s.out = out;
    s.max_steps = options->max_steps ? options->max_steps : 20000000;
    s.now_ns = s.began_ns = UINT64_C(1000000000000);
    random_seed(&s.random, options->seed);
    strategy_init(&s.strategy, &s.random);
    strategy_describe(&s.strategy, out->strategy, sizeof out->strategy);
    fiber_init_main(&s.main);
    s.active = true;
    thread_hooks = &hooks;
    s.running = add_task("main", run_first, &first);
    fiber_switch(&s.main, &s.running->fiber);
    thread_hooks = NULL;
    preempt_armed = false;
    out->trace_hash = s.hash;
    out->simulated_ns = s.now_ns - s.began_ns;
    for (unsigned i = 0; i < s.count; i++) {
        fiber_deinit(&s.tasks[i]->fiber);
        free(s.tasks[i]);
    }
    s.active = false;
}
