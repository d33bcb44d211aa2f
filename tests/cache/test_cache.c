/* The cache alone: what stays, what goes, what is charged where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "cache/cache.h"

struct block {
    struct cache_frame frame;
    uint64_t id;
};

struct fixture {
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    int freed;
};
static struct fixture *current;

static void free_block(struct cache_frame *frame)
{
    current->freed++;
    mem_free(frame);
}

static struct fixture *setup(int64_t budget)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->epoch = mem_aligned_alloc(64, sizeof *f->epoch);
    assert_non_null(f->epoch);
    epoch_init(f->epoch);
    struct cache_options options = {&f->ledger, f->epoch};
    f->ledger.budget = budget;
    assert_int_equal(cache_new(&options, &f->cache), ADB_OK);
    /* The ghosts' table is not what these tests count. */
    f->ledger.rows[LEDGER_BLOCK] = 0;
    current = f;
    return f;
}

static void teardown(struct fixture *f)
{
    cache_free(f->cache);
    for (int row = 0; row < LEDGER_ROWS; row++)
        if (row != LEDGER_BLOCK)
            assert_int_equal(ledger_row(&f->ledger, row), 0);
    assert_true(ledger_row(&f->ledger, LEDGER_BLOCK) < 0);
    epoch_deinit(f->epoch);
    mem_free(f->epoch);
    free(f);
}

static struct cache_frame *make(uint64_t id, size_t charge)
{
    struct block *block = mem_zalloc(sizeof *block);
    assert_non_null(block);
    block->id = id;
    block->frame.free = free_block;
    block->frame.charge = charge;
    block->frame.row = LEDGER_BLOCK;
    block->frame.ghost = (id + 1) * 0x9E3779B97F4A7C15u;
    return &block->frame;
}

/* What a reader does: look, else load. True on a hit. */
static bool touch(struct fixture *f, cache_slot *slots, uint64_t id)
{
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *frame = cache_lookup(&slots[id]);
    bool hit = frame != NULL;
    if (!hit)
        frame = cache_insert(f->cache, &slots[id], make(id, 100));
    assert_int_equal(((struct block *)(void *)frame)->id, id);
    epoch_leave(inside);
    return hit;
}

static size_t count_loaded(cache_slot *slots, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        n += atomic_load(&slots[i]) != NULL;
    return n;
}

static void stays_within_budget(void **state)
{
    (void)state;
    static cache_slot slots[1000];
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_false(touch(f, slots, i));
        assert_non_null(atomic_load(&slots[i]));
        struct cache_stats stats;
        cache_stats(f->cache, &stats);
        assert_true(stats.bytes <= 10000);
        assert_int_equal(stats.frames * 100, stats.bytes);
        assert_int_equal(stats.bytes + stats.pending_bytes,
                         ledger_row(&f->ledger, LEDGER_BLOCK));
    }
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.inserts, 1000);
    assert_int_equal(stats.frames, 100);
    assert_int_equal(stats.evictions, 900);
    assert_int_equal(count_loaded(slots, 0, 1000), 100);
    cache_drop(f->cache, slots, 1000);
    assert_int_equal(count_loaded(slots, 0, 1000), 0);
    epoch_barrier(f->epoch);
    assert_int_equal(f->freed, 1000);
    teardown(f);
}

static void tiny_budget_keeps_a_floor(void **state)
{
    (void)state;
    cache_slot slots[50] = {NULL};
    struct fixture *f = setup(0);
    for (uint64_t i = 0; i < 50; i++)
        touch(f, slots, i);
    assert_int_equal(count_loaded(slots, 0, 50), 8);
    cache_trim(f->cache);
    assert_int_equal(count_loaded(slots, 0, 50), 8);
    cache_drop(f->cache, slots, 50);
    teardown(f);
}

/* Hot frames survive a scan of twenty times the cache. */
static void resists_scans(void **state)
{
    (void)state;
    static cache_slot slots[3000];
    struct fixture *f = setup(10000);
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 50; i++)
            touch(f, slots, i);
    for (uint64_t i = 1000; i < 3000; i++) {
        touch(f, slots, i);
        if (i % 100 == 0)
            touch(f, slots, i / 100 % 50);
    }
    assert_true(count_loaded(slots, 0, 50) >= 45);
    cache_drop(f->cache, slots, 3000);
    teardown(f);
}

/* What comes back soon after its eviction goes to the main queue. */
static void ghosts_bring_frames_to_main(void **state)
{
    (void)state;
    static cache_slot slots[2000];
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 150; i++)
        touch(f, slots, i);
    assert_null(atomic_load(&slots[10]));
    assert_false(touch(f, slots, 10));
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.ghost_hits, 1);
    for (uint64_t i = 150; i < 1000; i++)
        touch(f, slots, i);
    assert_non_null(atomic_load(&slots[10]));
    cache_drop(f->cache, slots, 2000);
    teardown(f);
}

static void other_rows_push_the_cache_down(void **state)
{
    (void)state;
    cache_slot slots[100] = {NULL};
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 100; i++)
        touch(f, slots, i);
    assert_int_equal(count_loaded(slots, 0, 100), 100);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 6000);
    cache_trim(f->cache);
    assert_int_equal(count_loaded(slots, 0, 100), 40);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 6000);
    cache_trim(f->cache);
    assert_int_equal(count_loaded(slots, 0, 100), 8);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -12000);
    cache_drop(f->cache, slots, 100);
    teardown(f);
}

static void trims_little_by_little(void **state)
{
    (void)state;
    static cache_slot slots[200];
    struct fixture *f = setup(20000);
    for (uint64_t i = 0; i < 200; i++)
        touch(f, slots, i);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 10000);
    assert_true(cache_trim_some(f->cache, 33));
    assert_int_equal(count_loaded(slots, 0, 200), 200 - 40);
    assert_true(cache_trim_some(f->cache, 1));
    assert_int_equal(count_loaded(slots, 0, 200), 200 - 48);
    assert_false(cache_trim_some(f->cache, 1000));
    assert_int_equal(count_loaded(slots, 0, 200), 100);
    assert_false(cache_trim_some(f->cache, 1000));
    /* Nothing is left that could go: no reason to come back. */
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 20000);
    assert_false(cache_trim_some(f->cache, 1000));
    assert_int_equal(count_loaded(slots, 0, 200), 8);
    assert_false(cache_trim_some(f->cache, 1000));
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -30000);
    cache_drop(f->cache, slots, 200);
    teardown(f);
}

static size_t count_hit(cache_slot *slots, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct cache_frame *frame = atomic_load(&slots[i]);
        n += frame && atomic_load(&frame->used);
    }
    return n;
}

/* All frames have been hit and half of them must go: no reader looks at them
   all, and each does some of the work. */
static void readers_share_the_work(void **state)
{
    (void)state;
    static cache_slot slots[2200];
    struct fixture *f = setup(200000);
    for (uint64_t i = 0; i < 2000; i++)
        touch(f, slots, i);
    for (uint64_t i = 0; i < 2000; i++)
        assert_true(touch(f, slots, i));
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 100000);
    size_t hit = count_hit(slots, 2000), loaded = 2000, readers = 0;
    assert_int_equal(hit, 2000);
    for (; loaded > 1000; readers++) {
        touch(f, slots, 2000 + readers);
        size_t hit_now = count_hit(slots, 2000);
        size_t loaded_now = count_loaded(slots, 0, 2200);
        assert_true(hit - hit_now <= 100);
        assert_true(loaded_now < loaded && loaded - loaded_now <= 8);
        hit = hit_now;
        loaded = loaded_now;
        assert_true(readers < 199);
    }
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -100000);
    cache_drop(f->cache, slots, 2200);
    teardown(f);
}

/* One frame as heavy as many makes room for all of its weight. */
static void heavy_frames_make_their_room(void **state)
{
    (void)state;
    static cache_slot slots[1001];
    struct fixture *f = setup(100000);
    for (uint64_t i = 0; i < 1000; i++)
        touch(f, slots, i);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    cache_insert(f->cache, &slots[1000], make(1000, 50000));
    epoch_leave(inside);
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.bytes, 100000);
    assert_int_equal(count_loaded(slots, 0, 1001), 501);
    cache_drop(f->cache, slots, 1001);
    teardown(f);
}

static void pins_outlive_eviction(void **state)
{
    (void)state;
    cache_slot slot = NULL;
    struct fixture *f = setup(10000);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *frame = cache_insert(f->cache, &slot, make(7, 100));
    cache_pin(frame);
    cache_pin(frame);
    epoch_leave(inside);
    cache_drop(f->cache, &slot, 1);
    assert_null(atomic_load(&slot));
    epoch_barrier(f->epoch);
    assert_int_equal(f->freed, 0);
    assert_int_equal(((struct block *)(void *)frame)->id, 7);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_BLOCK), 0);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 100);
    cache_unpin(frame);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 100);
    cache_unpin(frame);
    cache_unpin(NULL);
    assert_int_equal(f->freed, 1);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 0);
    teardown(f);
}

static void pinned_frames_go_last(void **state)
{
    (void)state;
    cache_slot slots[200] = {NULL};
    struct fixture *f = setup(2000);
    touch(f, slots, 0);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *pinned = cache_lookup(&slots[0]);
    cache_pin(pinned);
    epoch_leave(inside);
    for (uint64_t i = 1; i < 60; i++)
        touch(f, slots, i);
    assert_ptr_equal(atomic_load(&slots[0]), pinned);
    /* But not for ever. */
    for (uint64_t i = 60; i < 200; i++) {
        touch(f, slots, i);
        touch(f, slots, i);
    }
    cache_unpin(pinned);
    cache_drop(f->cache, slots, 200);
    teardown(f);
}

static void loser_of_a_race_is_freed(void **state)
{
    (void)state;
    cache_slot slot = NULL;
    struct fixture *f = setup(10000);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *first = cache_insert(f->cache, &slot, make(1, 100));
    assert_ptr_equal(cache_insert(f->cache, &slot, make(2, 100)), first);
    assert_int_equal(f->freed, 1);
    epoch_leave(inside);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_BLOCK), 100);
    cache_drop(f->cache, &slot, 1);
    teardown(f);
}

static void private_frames_belong_to_their_reader(void **state)
{
    (void)state;
    struct fixture *f = setup(0);
    struct cache_frame *frame = make(1, 100);
    cache_make_private(f->cache, frame);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 100);
    cache_pin(frame);
    cache_unpin(frame);
    assert_int_equal(f->freed, 0);
    cache_unpin(frame);
    assert_int_equal(f->freed, 1);
    assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 0);
    teardown(f);
}

/* A reader that can do without: offers, and gives back what stayed its own.
   True: the frame is in its slot now. */
static bool offer(struct fixture *f, cache_slot *slot,
                  struct cache_frame *frame)
{
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *got = cache_offer(f->cache, slot, frame);
    bool taken = !got->private_frame;
    assert_ptr_equal(atomic_load(slot), taken ? got : NULL);
    if (!taken) {
        assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), got->charge);
        cache_unpin(got);
        assert_int_equal(ledger_row(&f->ledger, LEDGER_ITERATOR), 0);
    }
    epoch_leave(inside);
    return taken;
}

static void full_caches_take_in_at_the_second_load(void **state)
{
    (void)state;
    static cache_slot slots[1000];
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 100; i++)
        assert_true(offer(f, &slots[i], make(i, 100)));
    struct cache_stats stats;
    for (uint64_t i = 100; i < 150; i++)
        assert_false(offer(f, &slots[i], make(i, 100)));
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.passed, 50);
    assert_int_equal(stats.inserts, 100);
    assert_int_equal(stats.evictions, 0);
    assert_int_equal(f->freed, 50);
    assert_int_equal(count_loaded(slots, 0, 100), 100);

    /* Remembered, and worth another's place. */
    for (uint64_t i = 100; i < 150; i++)
        assert_true(offer(f, &slots[i], make(i, 100)));
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.ghost_hits, 50);
    assert_int_equal(stats.evictions, 50);
    assert_int_equal(count_loaded(slots, 100, 150), 50);

    /* Not for longer than the cache remembers what it gave up. */
    assert_false(offer(f, &slots[200], make(200, 100)));
    for (uint64_t i = 300; i < 500; i++)
        assert_false(offer(f, &slots[i], make(i, 100)));
    assert_false(offer(f, &slots[200], make(200, 100)));
    cache_drop(f->cache, slots, 1000);
    teardown(f);
}

/* Whatever made it, room is used; and what cannot be remembered would never
   get in at all. */
static void offers_use_the_room_there_is(void **state)
{
    (void)state;
    static cache_slot slots[300];
    struct fixture *f = setup(10000);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 6000);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(offer(f, &slots[i], make(i, 100)), i < 40);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -1050);
    for (uint64_t i = 100; i < 200; i++)
        assert_int_equal(offer(f, &slots[i], make(i, 100)), i < 110);
    struct cache_frame *nameless = make(200, 100);
    nameless->ghost = 0;
    assert_true(offer(f, &slots[200], nameless));

    /* Below the floor a cache is not full. */
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 10000);
    cache_drop(f->cache, slots, 300);
    for (uint64_t i = 200; i < 300; i++)
        assert_int_equal(offer(f, &slots[i], make(i, 100)), i < 208);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -14950);
    cache_drop(f->cache, slots, 300);
    teardown(f);
}

/* What others took while nothing new came in is made up for all the same. */
static void readers_passed_by_make_room(void **state)
{
    (void)state;
    static cache_slot slots[300];
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 100; i++)
        assert_true(offer(f, &slots[i], make(i, 100)));
    ledger_add(&f->ledger, LEDGER_MEMTABLE, 1200);
    assert_false(offer(f, &slots[100], make(100, 100)));
    assert_int_equal(count_loaded(slots, 0, 100), 92); /* one hold's */
    for (uint64_t i = 101; i < 110; i++)
        assert_false(offer(f, &slots[i], make(i, 100)));
    assert_int_equal(count_loaded(slots, 0, 100), 88);
    ledger_add(&f->ledger, LEDGER_MEMTABLE, -1200);
    cache_drop(f->cache, slots, 300);
    teardown(f);
}

/* Readers that hold a little outside give nobody's block away, nor is there
   room when they are done. What they hold beyond that counts. */
static void what_readers_hold_counts_beyond_a_little(void **state)
{
    (void)state;
    static cache_slot slots[500];
    struct fixture *f = setup(100000);
    struct cache_frame *held[80];
    for (uint64_t i = 0; i < 100; i++)
        assert_true(offer(f, &slots[i], make(i, 1000)));
    struct epoch_slot *inside = epoch_enter(f->epoch);
    for (uint64_t i = 0; i < 65; i++)
        held[i] = cache_offer(f->cache, &slots[100 + i], make(100 + i, 1000));
    assert_int_equal(count_loaded(slots, 0, 500), 100);
    for (uint64_t i = 65; i < 80; i++)
        held[i] = cache_offer(f->cache, &slots[100 + i], make(100 + i, 1000));
    assert_in_range(count_loaded(slots, 0, 500), 85, 86);
    epoch_leave(inside);
    for (int i = 0; i < 80; i++) {
        assert_int_equal(held[i]->private_frame, 1);
        cache_unpin(held[i]);
    }
    for (uint64_t i = 300; i < 400; i++)
        offer(f, &slots[i], make(i, 1000));
    assert_in_range(count_loaded(slots, 300, 400), 14, 15);
    cache_drop(f->cache, slots, 500);
    teardown(f);
}

static void an_offer_may_lose_a_race(void **state)
{
    (void)state;
    static cache_slot slots[200];
    struct fixture *f = setup(10000);
    for (uint64_t i = 0; i < 100; i++)
        touch(f, slots, i);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *first =
        cache_insert(f->cache, &slots[150], make(150, 100));
    int freed = f->freed;
    assert_ptr_equal(cache_offer(f->cache, &slots[150], make(150, 100)), first);
    assert_int_equal(f->freed, freed + 1);
    assert_int_equal(first->private_frame, 0);
    epoch_leave(inside);
    cache_drop(f->cache, slots, 200);
    teardown(f);
}

struct parent {
    struct cache_frame frame;
    cache_slot slots[10];
};

static void free_parent(struct cache_frame *frame)
{
    struct parent *parent = (struct parent *)(void *)frame;
    cache_drop(frame->cache, parent->slots, 10);
    current->freed++;
    mem_free(parent);
}

static struct cache_frame *make_parent(void)
{
    struct parent *parent = mem_zalloc(sizeof *parent);
    assert_non_null(parent);
    parent->frame.free = free_parent;
    parent->frame.charge = 100;
    parent->frame.row = LEDGER_INDEX;
    return &parent->frame;
}

static void parents_take_their_children_along(void **state)
{
    (void)state;
    cache_slot slot = NULL;
    struct fixture *f = setup(10000);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *frame = cache_insert(f->cache, &slot, make_parent());
    struct parent *parent = (struct parent *)(void *)frame;
    struct cache_frame *kept = NULL;
    for (int i = 0; i < 10; i++) {
        struct cache_frame *child = make((uint64_t)i, 100);
        child->parent = frame;
        child = cache_insert(f->cache, &parent->slots[i], child);
        if (i == 3)
            cache_pin(kept = child);
    }
    assert_int_equal(frame->children, 10);
    epoch_leave(inside);
    cache_drop(f->cache, &slot, 1);
    for (int i = 0; i < 3; i++)
        epoch_barrier(f->epoch);
    /* The parent and nine children. */
    assert_int_equal(f->freed, 10);
    assert_int_equal(((struct block *)(void *)kept)->id, 3);
    assert_null(kept->slot);
    cache_unpin(kept);
    assert_int_equal(f->freed, 11);
    teardown(f);
}

static void parents_go_after_their_children(void **state)
{
    (void)state;
    cache_slot slot = NULL;
    static cache_slot others[100];
    struct fixture *f = setup(1500);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    struct cache_frame *frame = cache_insert(f->cache, &slot, make_parent());
    struct parent *parent = (struct parent *)(void *)frame;
    for (int i = 0; i < 10; i++) {
        struct cache_frame *child = make((uint64_t)i, 100);
        child->parent = frame;
        cache_insert(f->cache, &parent->slots[i], child);
    }
    epoch_leave(inside);
    /* While children are there, they go first. */
    for (uint64_t i = 0; i < 10; i++) {
        touch(f, others, i);
        assert_ptr_equal(atomic_load(&slot), frame);
    }
    /* Then the main queue fills with what is hit twice, and passes it by. */
    for (uint64_t i = 10; i < 100; i++) {
        touch(f, others, i);
        touch(f, others, i);
    }
    assert_null(atomic_load(&slot));
    cache_drop(f->cache, others, 100);
    teardown(f);
}

/* Without a reader in the way, evicted memory comes back soon. */
static void pending_bytes_are_bounded(void **state)
{
    (void)state;
    static cache_slot slots[500];
    struct fixture *f = setup(1 << 20);
    for (uint64_t i = 0; i < 500; i++) {
        struct epoch_slot *inside = epoch_enter(f->epoch);
        cache_insert(f->cache, &slots[i], make(i, 65536));
        epoch_leave(inside);
        struct cache_stats stats;
        cache_stats(f->cache, &stats);
        assert_true(stats.bytes <= 1 << 20);
        assert_true(stats.pending_bytes <= 6 * 65536);
    }
    cache_drop(f->cache, slots, 500);
    teardown(f);
}

static int fail_always(void *context, size_t size)
{
    (void)context;
    (void)size;
    return 1;
}
static int fail_large(void *context, size_t size)
{
    (void)context;
    return size == 256 * 8;
}

static void out_of_memory_is_a_status(void **state)
{
    (void)state;
    struct ledger ledger = {.budget = 1000};
    struct cache_options options = {&ledger, NULL};
    struct cache *cache = NULL;
    mem_set_fail_hook(fail_always, NULL);
    assert_int_equal(cache_new(&options, &cache), ADB_NO_MEMORY);
    mem_set_fail_hook(fail_large, NULL);
    assert_int_equal(cache_new(&options, &cache), ADB_NO_MEMORY);
    mem_set_fail_hook(NULL, NULL);
    assert_null(cache);
    cache_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_within_budget),
        cmocka_unit_test(tiny_budget_keeps_a_floor),
        cmocka_unit_test(resists_scans),
        cmocka_unit_test(ghosts_bring_frames_to_main),
        cmocka_unit_test(other_rows_push_the_cache_down),
        cmocka_unit_test(trims_little_by_little),
        cmocka_unit_test(readers_share_the_work),
        cmocka_unit_test(heavy_frames_make_their_room),
        cmocka_unit_test(pins_outlive_eviction),
        cmocka_unit_test(pinned_frames_go_last),
        cmocka_unit_test(loser_of_a_race_is_freed),
        cmocka_unit_test(private_frames_belong_to_their_reader),
        cmocka_unit_test(full_caches_take_in_at_the_second_load),
        cmocka_unit_test(offers_use_the_room_there_is),
        cmocka_unit_test(readers_passed_by_make_room),
        cmocka_unit_test(what_readers_hold_counts_beyond_a_little),
        cmocka_unit_test(an_offer_may_lose_a_race),
        cmocka_unit_test(parents_take_their_children_along),
        cmocka_unit_test(parents_go_after_their_children),
        cmocka_unit_test(pending_bytes_are_bounded),
        cmocka_unit_test(out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
