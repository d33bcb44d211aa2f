/*
 * Many threads look up, load, pin, drop and trim at once, over a two-level
 * shape like a table's (parents that hold the slots of their children). Meant
 * for ThreadSanitizer and AddressSanitizer; asserts that nobody ever sees a
 * frame that is not the one of its slot and that every byte comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/random.h"
#include "cache/cache.h"

enum { THREADS = 6, TABLES = 4, PARENTS = 6, CHILDREN = 20, PINS = 4 };
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 20000 };
#else
enum { ROUNDS = 60000 };
#endif

struct child {
    struct cache_frame frame;
    uint64_t id, check;
};
struct parent {
    struct cache_frame frame;
    uint64_t id;
    cache_slot slots[CHILDREN];
};
/* As a table: replaced as a whole now and then, freed after its epoch. */
struct table {
    struct epoch_node node;
    cache_slot slots[PARENTS];
};

static struct ledger ledger;
static struct epoch *epoch;
static struct cache *cache;
static _Atomic(struct table *) tables[TABLES];
static _Atomic int alive;
static _Atomic int failures;

static void free_child(struct cache_frame *frame)
{
    struct child *child = (struct child *)(void *)frame;
    child->id = child->check = ~UINT64_C(0);
    mem_free(child);
    atomic_fetch_sub(&alive, 1);
}

static void free_parent(struct cache_frame *frame)
{
    struct parent *parent = (struct parent *)(void *)frame;
    cache_drop(frame->cache, parent->slots, CHILDREN);
    mem_free(parent);
    atomic_fetch_sub(&alive, 1);
}

static struct parent *get_parent(struct table *table, unsigned p)
{
    struct cache_frame *frame = cache_lookup(&table->slots[p]);
    if (!frame) {
        struct parent *parent = mem_zalloc(sizeof *parent);
        if (!parent)
            abort();
        atomic_fetch_add(&alive, 1);
        parent->id = p;
        parent->frame.free = free_parent;
        parent->frame.charge = 300;
        parent->frame.row = LEDGER_INDEX;
        frame = cache_insert(cache, &table->slots[p], &parent->frame);
    }
    return (struct parent *)(void *)frame;
}

static struct child *make_child(uint64_t id)
{
    struct child *child = mem_zalloc(sizeof *child);
    if (!child)
        abort();
    atomic_fetch_add(&alive, 1);
    child->id = id;
    child->check = ~id;
    child->frame.free = free_child;
    child->frame.charge = 100;
    child->frame.row = LEDGER_BLOCK;
    child->frame.ghost = (id + 1) * 0x9E3779B97F4A7C15u;
    return child;
}

static struct child *get_child(struct parent *parent, unsigned i)
{
    uint64_t id = parent->id * CHILDREN + i;
    struct cache_frame *frame = cache_lookup(&parent->slots[i]);
    if (!frame) {
        struct child *child = make_child(id);
        child->frame.parent = &parent->frame;
        frame = cache_insert(cache, &parent->slots[i], &child->frame);
    }
    struct child *child = (struct child *)(void *)frame;
    if (child->id != id || child->check != ~id)
        atomic_fetch_add(&failures, 1);
    return child;
}

/* The last reference to a table went: nobody can reach it. */
static void free_table(struct epoch_node *node)
{
    struct table *table = CONTAINER_OF(node, struct table, node);
    cache_drop(cache, table->slots, PARENTS);
    mem_free(table);
}

static struct table *make_table(void)
{
    struct table *table = mem_zalloc(sizeof *table);
    if (!table)
        abort();
    return table;
}

struct worker {
    struct thread thread;
    struct random random;
    struct cache_frame *pins[PINS];
    uint64_t ids[PINS];
};

static void repin(struct worker *w, struct child *child)
{
    size_t place = random_below(&w->random, PINS);
    struct child *old = (struct child *)(void *)w->pins[place];
    if (old && (old->id != w->ids[place] || old->check != ~old->id))
        atomic_fetch_add(&failures, 1);
    cache_pin(&child->frame);
    cache_unpin(w->pins[place]);
    w->pins[place] = &child->frame;
    w->ids[place] = child->id;
}

/* As a parked iterator: a pin on the parent alone, used in a later epoch. */
static void walk_pinned_parent(struct worker *w, struct parent *parent)
{
    struct epoch_slot *inside = epoch_enter(epoch);
    for (unsigned i = 0; i < CHILDREN; i += 3)
        get_child(parent, i);
    struct child *last =
        get_child(parent, (unsigned)random_below(&w->random, CHILDREN));
    cache_unpin(&parent->frame);
    /* The epoch, not the parent, keeps the child. */
    if (last->check != ~last->id)
        atomic_fetch_add(&failures, 1);
    epoch_leave(inside);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    for (int round = 0; round < ROUNDS; round++) {
        struct epoch_slot *inside = epoch_enter(epoch);
        size_t t = random_below(&w->random, TABLES);
        struct table *table =
            atomic_load_explicit(&tables[t], memory_order_acquire);
        struct parent *parent =
            get_parent(table, (unsigned)random_below(&w->random, PARENTS));
        unsigned i = (unsigned)(random_below(&w->random, CHILDREN) *
                                random_below(&w->random, CHILDREN) / CHILDREN);
        struct child *child = get_child(parent, i);
        unsigned dice = (unsigned)random_below(&w->random, 1000);
        if (dice < 100)
            repin(w, child);
        if (dice < 20)
            cache_pin(&parent->frame);
        struct table *replaced = NULL;
        if (dice == 999)
            replaced = atomic_exchange(&tables[t], make_table());
        epoch_leave(inside);
        if (dice < 20)
            walk_pinned_parent(w, parent);
        if (replaced)
            epoch_retire(epoch, &replaced->node, free_table);
        if (dice == 500) {
            ledger_add(&ledger, LEDGER_MEMTABLE, 8000);
            cache_trim(cache);
            ledger_add(&ledger, LEDGER_MEMTABLE, -8000);
        }
    }
    for (int i = 0; i < PINS; i++)
        cache_unpin(w->pins[i]);
    return NULL;
}

static void stress(void **state)
{
    int64_t budget = *(int64_t *)*state;
    ledger.budget = budget;
    for (int row = 0; row < LEDGER_ROWS; row++)
        atomic_store(&ledger.rows[row], 0);
    struct cache_options options = {&ledger, epoch};
    assert_int_equal(cache_new(&options, &cache), ADB_OK);
    /* The budget is meant for frames alone. */
    ledger.budget += ledger_total(&ledger);
    for (int i = 0; i < TABLES; i++)
        atomic_store(&tables[i], make_table());
    static struct worker workers[THREADS];
    uint64_t seed = clock_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){0};
        random_seed(&workers[i].random, seed + i);
        assert_int_equal(
            thread_start(&workers[i].thread, "stress", work, &workers[i]),
            ADB_OK);
    }
    for (int i = 0; i < THREADS; i++)
        thread_join(&workers[i].thread);
    struct cache_stats stats;
    cache_stats(cache, &stats);
    print_message("inserts %llu evictions %llu races %llu ghosts %llu\n",
                  (unsigned long long)stats.inserts,
                  (unsigned long long)stats.evictions,
                  (unsigned long long)stats.races_lost,
                  (unsigned long long)stats.ghost_hits);
    assert_int_equal(atomic_load(&failures), 0);
    assert_true(stats.frames <= 8 || stats.bytes <= (uint64_t)budget);
    epoch_barrier(epoch);
    for (int i = 0; i < TABLES; i++)
        free_table(&atomic_load(&tables[i])->node);
    cache_free(cache);
    assert_int_equal(atomic_load(&alive), 0);
    assert_int_equal(ledger_total(&ledger), 0);
}

int main(void)
{
    epoch = mem_aligned_alloc(64, sizeof *epoch);
    if (!epoch)
        return 1;
    epoch_init(epoch);
    static int64_t tiny = 0, small = 10000, ample = 1000000;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(stress, &tiny),
        cmocka_unit_test_prestate(stress, &small),
        cmocka_unit_test_prestate(stress, &ample),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    epoch_deinit(epoch);
    mem_free(epoch);
    return failed;
}
