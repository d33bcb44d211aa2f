/* Epochs: what a reader can reach is not freed, what nobody reaches is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "base/random.h"

enum { ALIVE = 0x600D, DEAD = 0xDEAD };

struct object {
    struct epoch_node node;
    unsigned state;
    _Atomic unsigned *freed;
};

static struct object *object_new(_Atomic unsigned *freed)
{
    struct object *o = mem_alloc(sizeof *o);
    assert_non_null(o);
    o->state = ALIVE;
    o->freed = freed;
    return o;
}

static void object_free(struct epoch_node *node)
{
    struct object *o = CONTAINER_OF(node, struct object, node);
    o->state = DEAD;
    atomic_fetch_add(o->freed, 1);
    mem_free(o);
}

static struct epoch *epoch_new(void)
{
    struct epoch *e = mem_aligned_alloc(64, sizeof *e);
    assert_non_null(e);
    epoch_init(e);
    return e;
}

static void epoch_free(struct epoch *e)
{
    epoch_deinit(e);
    mem_free(e);
}

static void test_reader_holds_back(void **state)
{
    (void)state;
    _Atomic unsigned freed = 0;
    struct epoch *e = epoch_new();
    struct epoch_slot *outer = epoch_enter(e);
    struct epoch_slot *inner = epoch_enter(e);
    assert_ptr_not_equal(outer, inner);
    epoch_retire(e, &object_new(&freed)->node, object_free);
    epoch_leave(inner);
    for (int i = 0; i < 10; i++)
        epoch_collect(e);
    assert_int_equal(freed, 0);
    epoch_leave(outer);
    epoch_collect(e);
    epoch_collect(e);
    assert_int_equal(freed, 1);

    /* A reader that came later does not wait for what was unlinked before. */
    epoch_retire(e, &object_new(&freed)->node, object_free);
    epoch_barrier(e);
    assert_int_equal(freed, 2);
    epoch_retire(e, &object_new(&freed)->node, object_free);
    epoch_free(e);
    assert_int_equal(freed, 3);
}

/* Retires it, and frees as many as should be. */
static void retire(struct epoch *e, struct object *object)
{
    epoch_retire(e, &object->node, object_free);
    epoch_help(e, 2);
}

static void test_helpers_free(void **state)
{
    (void)state;
    _Atomic unsigned freed = 0;
    struct epoch *e = epoch_new();
    for (int i = 0; i < 1000; i++)
        retire(e, object_new(&freed));
    assert_true(freed > 800);
    epoch_free(e);
    assert_int_equal(freed, 1000);
}

/* What a reader held back for long is not one caller's to free. */
static void test_many_are_shared(void **state)
{
    (void)state;
    _Atomic unsigned freed = 0;
    struct epoch *e = epoch_new();
    struct epoch_slot *slot = epoch_enter(e);
    for (int i = 0; i < 1000; i++)
        retire(e, object_new(&freed));
    assert_int_equal(freed, 0);
    epoch_leave(slot);
    unsigned retired = 1000;
    while (freed < 1000) {
        unsigned before = freed;
        retire(e, object_new(&freed));
        assert_true(freed - before <= 2);
        assert_true(++retired < 2000);
    }
    epoch_barrier(e);
    assert_int_equal(freed, retired);
    epoch_free(e);
}

static void test_slow_frees_are_the_collectors(void **state)
{
    (void)state;
    _Atomic unsigned freed = 0, slow = 0;
    struct epoch *e = epoch_new();
    for (int round = 1; round <= 3; round++) {
        epoch_retire_slow(e, &object_new(&slow)->node, object_free);
        for (int i = 0; i < 1000; i++)
            retire(e, object_new(&freed));
        epoch_advance(e);
        epoch_help(e, 1000);
        assert_int_equal(slow, 0);
    }
    assert_true(freed > 2000);
    epoch_collect(e);
    assert_int_equal(slow, 3);
    epoch_retire_slow(e, &object_new(&slow)->node, object_free);
    epoch_barrier(e);
    assert_int_equal(slow, 4);
    epoch_retire_slow(e, &object_new(&slow)->node, object_free);
    epoch_free(e);
    assert_int_equal(slow, 5);
}

/* A frame of the cache whose free retires those whose slots it held. */
struct nest {
    struct epoch_node node;
    struct epoch *e;
    unsigned generation;
};
static unsigned nested, nested_most, nests;

static void nest_free(struct epoch_node *node);

static void nest_retire(struct epoch *e, unsigned generation)
{
    struct nest *nest = mem_alloc(sizeof *nest);
    assert_non_null(nest);
    *nest = (struct nest){.e = e, .generation = generation};
    nests++;
    epoch_retire(e, &nest->node, nest_free);
}

static void nest_free(struct epoch_node *node)
{
    struct nest *parent = CONTAINER_OF(node, struct nest, node);
    nested++;
    nested_most = MAX_OF(nested_most, nested);
    for (int i = 0; i < 3 && parent->generation < 7; i++)
        nest_retire(parent->e, parent->generation + 1);
    mem_free(parent);
    nests--;
    nested--;
}

static void test_frees_do_not_nest(void **state)
{
    (void)state;
    struct epoch *e = epoch_new();
    for (int i = 0; i < 20; i++) {
        nest_retire(e, 0);
        epoch_advance(e);
        epoch_help(e, 2);
    }
    epoch_barrier(e);
    assert_int_equal(nested_most, 1);
    epoch_free(e);
    assert_int_equal(nests, 0);
}

/* ---- threads ---- */

enum { READERS = 3, PLACES = 16, SWAPS = 20000 };

struct stress {
    struct epoch *e;
    struct object *_Atomic places[PLACES];
    _Atomic bool stop;
    _Atomic unsigned freed;
    _Atomic unsigned bad;
    _Atomic uint64_t reads;
};

static void *read_places(void *context)
{
    struct stress *s = context;
    struct random random;
    random_seed(&random, (uint64_t)(uintptr_t)&random);
    while (!atomic_load(&s->stop)) {
        struct epoch_slot *slot = epoch_enter(s->e);
        for (int i = 0; i < 8; i++) {
            struct object *o = atomic_load_explicit(
                &s->places[random_below(&random, PLACES)],
                memory_order_acquire);
            if (o->state != ALIVE)
                atomic_fetch_add(&s->bad, 1);
        }
        epoch_leave(slot);
        atomic_fetch_add(&s->reads, 1);
    }
    return NULL;
}

static void *swap_places(void *context)
{
    struct stress *s = context;
    struct random random;
    random_seed(&random, (uint64_t)(uintptr_t)&random + 1);
    for (int i = 0; i < SWAPS; i++) {
        struct object *fresh = object_new(&s->freed);
        struct object *old = atomic_exchange(
            &s->places[random_below(&random, PLACES)], fresh);
        if (i % 8)
            retire(s->e, old);
        else
            epoch_retire_slow(s->e, &old->node, object_free);
        if (i % 1000 == 0)
            epoch_barrier(s->e);
    }
    return NULL;
}

static void test_stress(void **state)
{
    (void)state;
    static struct stress s;
    struct thread threads[READERS + 2];
    s.e = epoch_new();
    for (int i = 0; i < PLACES; i++)
        s.places[i] = object_new(&s.freed);
    for (int i = 0; i < READERS + 2; i++)
        assert_int_equal(thread_start(&threads[i], "epoch",
                                      i < READERS ? read_places : swap_places,
                                      &s),
                         ADB_OK);
    thread_join(&threads[READERS]);
    thread_join(&threads[READERS + 1]);
    epoch_barrier(s.e);
    assert_int_equal(s.freed, 2 * SWAPS);
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++)
        thread_join(&threads[i]);
    assert_int_equal(s.bad, 0);
    assert_true(s.reads > 0);
    for (int i = 0; i < PLACES; i++)
        mem_free(s.places[i]);
    epoch_free(s.e);
}

/* A barrier waits for a free that another thread has begun. */
struct slow {
    struct epoch_node node;
    _Atomic bool began, done;
};

static void slow_free(struct epoch_node *node)
{
    struct slow *s = CONTAINER_OF(node, struct slow, node);
    atomic_store(&s->began, true);
    clock_sleep_ns(20000000);
    atomic_store(&s->done, true);
}

static void *collect(void *context)
{
    epoch_collect(context);
    epoch_collect(context);
    return NULL;
}

static void test_barrier_waits_for_frees(void **state)
{
    (void)state;
    struct slow slow = {0};
    struct thread thread;
    struct epoch *e = epoch_new();
    epoch_retire(e, &slow.node, slow_free);
    assert_int_equal(thread_start(&thread, "collect", collect, e), ADB_OK);
    while (!atomic_load(&slow.began))
        thread_yield();
    epoch_barrier(e);
    assert_true(atomic_load(&slow.done));
    thread_join(&thread);
    epoch_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_holds_back),
        cmocka_unit_test(test_helpers_free),
        cmocka_unit_test(test_many_are_shared),
        cmocka_unit_test(test_slow_frees_are_the_collectors),
        cmocka_unit_test(test_frees_do_not_nest),
        cmocka_unit_test(test_stress),
        cmocka_unit_test(test_barrier_waits_for_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
