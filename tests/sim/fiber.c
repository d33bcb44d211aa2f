/* longjmp to another stack is what this is about: no check that it goes up. */
#undef _FORTIFY_SOURCE
#include "sim/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

#if WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK_SIZE = 2 << 20 };
#else
enum { STACK_SIZE = 512 << 10 };
#endif
enum { GUARD_SIZE = 64 << 10 };

struct fiber_stack {
    struct fiber_stack *next;
    char *memory; /* guard, then the stack */
};

static struct fiber_stack *spare_stacks;
/* The one being entered or come back from. */
static struct fiber *arriving, *departing;

/* ---- stacks ---- */

static struct fiber_stack *take_stack(void)
{
    struct fiber_stack *s = spare_stacks;
    if (s) {
        spare_stacks = s->next;
        return s;
    }
    s = malloc(sizeof *s);
    s->memory = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->memory == MAP_FAILED ||
        mprotect(s->memory, GUARD_SIZE, PROT_NONE) != 0) {
        perror("stack of a fiber");
        abort();
    }
    return s;
}

void fiber_init_main(struct fiber *f)
{
    *f = (struct fiber){.entered = true};
}

void fiber_init(struct fiber *f, void (*run)(void *), void *argument)
{
    *f = (struct fiber){.run = run, .argument = argument};
    f->stack = take_stack();
    f->bottom = f->stack->memory + GUARD_SIZE;
    f->size = STACK_SIZE;
}

void fiber_deinit(struct fiber *f)
{
#if WITH_ASAN
    /* Frames that were never left. */
    ASAN_UNPOISON_MEMORY_REGION(f->bottom, f->size);
#endif
    f->stack->next = spare_stacks;
    spare_stacks = f->stack;
    f->stack = NULL;
}

/* ---- switching ---- */

static void before_switch(struct fiber *from, struct fiber *to, bool for_good)
{
    departing = from;
    arriving = to;
#if WITH_ASAN
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack,
                                   to->bottom, to->size);
#else
    (void)for_good;
#endif
}

static void after_switch(void)
{
#if WITH_ASAN
    /* Where the thread's own stack lies is learned when it is first left. */
    __sanitizer_finish_switch_fiber(arriving->fake_stack, &departing->bottom,
                                    &departing->size);
#endif
}

static void enter(void)
{
    struct fiber *f = arriving;
    after_switch();
    f->run(f->argument);
    abort();
}

static void jump(struct fiber *to) __attribute__((noreturn));
static void jump(struct fiber *to)
{
    if (to->entered)
        _longjmp(to->at, 1);
    /* Not on this stack: the sanitizer would guard the place for ever. */
    static ucontext_t first;
    to->entered = true;
    getcontext(&first);
    first.uc_stack.ss_sp = (void *)(size_t)to->bottom;
    first.uc_stack.ss_size = to->size;
    first.uc_link = NULL;
    makecontext(&first, enter, 0);
    setcontext(&first);
    abort();
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    before_switch(from, to, false);
    if (_setjmp(from->at) == 0)
        jump(to);
    after_switch();
}

void fiber_leave(struct fiber *from, struct fiber *to)
{
    before_switch(from, to, true);
    jump(to);
}
