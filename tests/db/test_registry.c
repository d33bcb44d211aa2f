/*
 * The registry of iterators' sequences, on its own: nobody reads at a sequence
 * that was chosen against, whoever comes, goes and chooses meanwhile.
 */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/random.h"
#include "base/thread.h"
#include "db/registry.h"
#include "support.h"

enum { READERS = 3, LATEST = 1 << 12, MERGE_EVERY = 64 };

static const uint64_t run_ns = 700000000;

/* ---- one thread -------------------------------------------------------- */

static struct registry *fresh_registry(void)
{
    struct registry *r = mem_aligned_alloc(64, sizeof *r);
    assert_non_null(r);
    memset(r, 0, sizeof *r);
    return r;
}

static void choose_times(struct registry *r, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(registry_choose(r), 0);
        registry_chosen(r);
    }
}

static void test_closed_at_first(void **state)
{
    (void)state;
    struct registry *r = fresh_registry();
    _Atomic uint64_t published = 7;
    uint64_t seq;
    assert_null(registry_enter(r, &published, &seq));
    assert_int_equal(registry_choose(r), 0);
    registry_chosen(r);
    registry_open(r);
    struct registry_slot *slot = registry_enter(r, &published, &seq);
    assert_non_null(slot);
    assert_int_equal(seq, 7);
    registry_leave(slot);
    mem_free(r);
}

static void test_newest_is_chosen_for(void **state)
{
    (void)state;
    struct registry *r = fresh_registry();
    struct registry_slot *slots[3];
    _Atomic uint64_t published = 0;
    uint64_t seq, seqs[REGISTRY_SLOTS];
    registry_open(r);
    for (uint64_t i = 0; i < 3; i++) {
        atomic_store(&published, 10 * i);
        assert_non_null(slots[i] = registry_enter(r, &published, &seq));
        assert_int_equal(seq, 10 * i);
    }
    assert_int_equal(registry_choose(r), 20);
    assert_int_equal(registry_list(r, seqs), 3);
    assert_int_equal(seqs[0] + seqs[1] + seqs[2], 30);
    registry_chosen(r);
    registry_leave(slots[2]);
    assert_int_equal(registry_choose(r), 10);
    registry_chosen(r);
    registry_leave(slots[1]);
    registry_leave(slots[0]);
    assert_int_equal(registry_choose(r), 0);
    assert_int_equal(registry_list(r, seqs), 0);
    registry_chosen(r);
    mem_free(r);
}

static void test_nobody_enters_while_chosen(void **state)
{
    (void)state;
    struct registry *r = fresh_registry();
    _Atomic uint64_t published = 3;
    uint64_t seq;
    registry_open(r);
    registry_choose(r);
    assert_null(registry_enter(r, &published, &seq));
    atomic_store(&published, 4);
    registry_chosen(r);
    assert_int_equal(registry_choose(r), 0);
    registry_chosen(r);
    struct registry_slot *slot = registry_enter(r, &published, &seq);
    assert_non_null(slot);
    assert_int_equal(seq, 4);
    registry_leave(slot);
    mem_free(r);
}

static void test_full_says_so(void **state)
{
    (void)state;
    struct registry *r = fresh_registry();
    struct registry_slot *slots[REGISTRY_SHARD_SLOTS];
    _Atomic uint64_t published = 3;
    uint64_t seq;
    registry_open(r);
    for (size_t i = 0; i < REGISTRY_SHARD_SLOTS; i++)
        assert_non_null(slots[i] = registry_enter(r, &published, &seq));
    assert_null(registry_enter(r, &published, &seq));
    registry_leave(slots[1]);
    assert_ptr_equal(registry_enter(r, &published, &seq), slots[1]);
    for (size_t i = 0; i < REGISTRY_SHARD_SLOTS; i++)
        registry_leave(slots[i]);
    mem_free(r);
}

/* Not while somebody is there, be it at sequence 0. */
static void test_closes_when_nobody_comes(void **state)
{
    (void)state;
    struct registry *r = fresh_registry();
    _Atomic uint64_t published = 0;
    uint64_t seq;
    registry_open(r);
    struct registry_slot *slot = registry_enter(r, &published, &seq);
    assert_non_null(slot);
    choose_times(r, 2 * REGISTRY_QUIET);
    assert_true(atomic_load(&r->open));
    registry_leave(slot);
    choose_times(r, REGISTRY_QUIET - 1);
    assert_true(atomic_load(&r->open));
    choose_times(r, 1);
    assert_false(atomic_load(&r->open));
    assert_false(atomic_load(&r->choosing));
    assert_null(registry_enter(r, &published, &seq));
    /* The count begins anew. */
    registry_open(r);
    choose_times(r, REGISTRY_QUIET - 1);
    assert_true(atomic_load(&r->open));
    mem_free(r);
}

/* ---- many -------------------------------------------------------------- */

/* Versions of one key, one to a sequence. A choice that need not keep the
   version on top replaces it. A merge keeps of older ones what is listed. */
struct world {
    struct registry *registry;
    _Atomic uint64_t published;
    /* At a sequence's place modulo LATEST: it was replaced. */
    _Atomic uint64_t lost[LATEST];
    /* What each reader knows to be registered, plus one. */
    _Atomic uint64_t reading[READERS];
    unsigned hold, gap; /* loads in a reading, and between, at most */
    unsigned pause;     /* writes between, at least */
    _Atomic bool wanted; /* open */
    _Atomic bool stop;
    _Atomic uint64_t entered, refused, replaced;
    uint64_t closed;
};

struct reader {
    struct world *world;
    unsigned number;
};

/* A failed assertion in a thread of its own would end the program without a
   word. */
static void must(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void is_there(struct world *w, uint64_t seq)
{
    must(atomic_load(&w->lost[seq % LATEST]) != seq,
         "a version somebody reads was replaced");
}

static void load_often(struct world *w, uint64_t times)
{
    while (times-- > 0)
        atomic_load(&w->published);
}

static void wait_for_writes(struct world *w)
{
    uint64_t until = atomic_load(&w->published) + w->pause;
    while (atomic_load(&w->published) < until && !atomic_load(&w->stop))
        ;
}

static void read_once(struct reader *me, struct random *r)
{
    struct world *w = me->world;
    uint64_t seq;
    struct registry_slot *slot =
        registry_enter(w->registry, &w->published, &seq);
    if (!slot) {
        atomic_fetch_add(&w->refused, 1);
        atomic_store(&w->wanted, true);
        return;
    }
    atomic_store(&w->reading[me->number], seq + 1);
    is_there(w, seq);
    load_often(w, random_below(r, w->hold));
    is_there(w, seq);
    atomic_store(&w->reading[me->number], 0);
    registry_leave(slot);
    atomic_fetch_add(&w->entered, 1);
    wait_for_writes(w);
    load_often(w, random_below(r, w->gap));
}

static void *reader_run(void *argument)
{
    struct reader *me = argument;
    struct random r;
    random_seed(&r, me->number);
    while (!atomic_load(&me->world->stop))
        read_once(me, &r);
    return NULL;
}

/* Each registered sequence must be known to who chooses. */
static void write_next(struct world *w)
{
    uint64_t top = atomic_load(&w->published);
    uint64_t keep = registry_choose(w->registry);
    for (size_t i = 0; i < READERS; i++)
        assert_true(atomic_load(&w->reading[i]) <= keep + 1);
    if (keep < top) {
        atomic_store(&w->lost[top % LATEST], top);
        atomic_fetch_add(&w->replaced, 1);
    }
    atomic_store_explicit(&w->published, top + 1, memory_order_release);
    registry_chosen(w->registry);
}

static bool is_listed(const uint64_t *seqs, size_t count, uint64_t seq)
{
    for (size_t i = 0; i < count; i++)
        if (seqs[i] == seq)
            return true;
    return false;
}

static void merge(struct world *w)
{
    uint64_t seqs[REGISTRY_SLOTS];
    uint64_t floor = atomic_load(&w->published);
    registry_choose(w->registry);
    size_t count = registry_list(w->registry, seqs);
    registry_chosen(w->registry);
    for (size_t i = 0; i < READERS; i++) {
        uint64_t reading = atomic_load(&w->reading[i]);
        if (reading && reading - 1 < floor)
            assert_true(is_listed(seqs, count, reading - 1));
    }
}

/* The one thread that chooses: the owner's lock, as it were. */
static void choose_until(struct world *w, uint64_t deadline)
{
    bool was_open = false;
    for (uint64_t i = 0; clock_now_ns() < deadline; i++) {
        if (atomic_exchange(&w->wanted, false))
            registry_open(w->registry);
        if (i % MERGE_EVERY == 0)
            merge(w);
        else
            write_next(w);
        bool open = atomic_load(&w->registry->open);
        w->closed += was_open && !open;
        was_open = open;
    }
}

static struct world *run_world(unsigned count, unsigned pause)
{
    static struct world w;
    struct reader readers[READERS];
    struct thread threads[READERS] = {0};
    memset(&w, 0, sizeof w);
    w.registry = fresh_registry();
    w.hold = w.gap = 1000;
    w.pause = pause;
    atomic_store(&w.published, 1);
    for (unsigned i = 0; i < count; i++) {
        readers[i] = (struct reader){.world = &w, .number = i};
        assert_int_equal(
            thread_start(&threads[i], "reader", reader_run, &readers[i]),
            ADB_OK);
    }
    choose_until(&w, clock_now_ns() + run_ns);
    atomic_store(&w.stop, true);
    for (unsigned i = 0; i < count; i++)
        thread_join(&threads[i]);
    mem_free(w.registry);
    assert_true(atomic_load(&w.entered) > 0);
    assert_true(atomic_load(&w.replaced) > 0);
    return &w;
}

static void test_nobody_loses(void **state)
{
    (void)state;
    run_world(READERS, 0);
}

/* As often as it closes, somebody comes. */
static void test_nobody_loses_where_it_closes(void **state)
{
    (void)state;
    unsigned merges = REGISTRY_QUIET / MERGE_EVERY;
    struct world *w = run_world(1, REGISTRY_QUIET - merges - 8);
    assert_true(atomic_load(&w->refused) > 0);
    assert_true(w->closed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_at_first),
        cmocka_unit_test(test_newest_is_chosen_for),
        cmocka_unit_test(test_nobody_enters_while_chosen),
        cmocka_unit_test(test_full_says_so),
        cmocka_unit_test(test_closes_when_nobody_comes),
        cmocka_unit_test(test_nobody_loses),
        cmocka_unit_test(test_nobody_loses_where_it_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
