/*
 * Fibers: stacks of their own within one thread, switched by hand. A switch
 * costs some ten nanoseconds; handing over between threads costs two hundred
 * times that, and the simulation switches at every lock.
 *
 * The address sanitizer is told of each switch. Thread-local variables are
 * shared by all fibers of a thread: whoever switches saves what matters.
 *
 * Threads: one. Stacks are kept for the next fiber when one has ended.
 */
#ifndef TESTS_SIM_FIBER_H
#define TESTS_SIM_FIBER_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

struct fiber_stack; /* memory with a guard page below */

struct fiber {
    jmp_buf at;
    struct fiber_stack *stack; /* owned; NULL: the thread's own */
    const void *bottom;        /* of the stack, for the sanitizer */
    size_t size;
    void *fake_stack; /* the sanitizer's, while the fiber is left */
    void (*run)(void *argument);
    void *argument;
    bool entered;
};

/* The fiber that the thread is on from the start. */
void fiber_init_main(struct fiber *f);
/* run begins at the first switch to f. It must not return: it ends in
   fiber_leave. */
void fiber_init(struct fiber *f, void (*run)(void *), void *argument);
/* Gives the stack back; f has been left for good or was never entered. */
void fiber_deinit(struct fiber *f);

/* Goes on in `to`; returns when something switches back. */
void fiber_switch(struct fiber *from, struct fiber *to);
/* Like fiber_switch, but nothing will switch back to `from`. */
void fiber_leave(struct fiber *from, struct fiber *to)
    __attribute__((noreturn));

#endif
