/* The rules of a memtable one by one. */
#include "memtable_test.h"

#include "base/alloc.h"

static struct ledger ledger;

struct fixture {
    struct memtable_pool *pool;
    struct memtable *m;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    memset(&ledger, 0, sizeof ledger);
    f->pool = memtable_pool_new(1 << 20, 1, &ledger);
    assert_non_null(f->pool);
    assert_int_equal(memtable_new(f->pool, 0, &f->m), ADB_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    memtable_unref(f->m);
    memtable_pool_free(f->pool);
    assert_int_equal(ledger_total(&ledger), 0);
    free(f);
    return 0;
}

struct put_how {
    uint64_t keep_seq;
    bool batch; /* not in place */
};

static void put(struct memtable *m, const char *key, uint64_t seq,
                const char *value, struct put_how how)
{
    struct memtable_write w =
        write_of(slice_of_string(key), seq, value ? KV_PUT : KV_DELETE,
                 value ? slice_of_string(value) : slice_of(NULL, 0));
    w.keep_seq = how.keep_seq;
    w.in_place = !how.batch;
    assert_int_equal(memtable_put(m, &w), ADB_OK);
}

/* The value seen: "-" for a deletion, "" for nothing. */
static const char *see(struct memtable *m, const char *key, uint64_t seq,
                       bool registered)
{
    static uint8_t scratch[MEMTABLE_INLINE_MAX + 1];
    struct memtable_hit hit;
    if (!get(m, slice_of_string(key), seq, registered, scratch, &hit))
        return "";
    if (hit.kind == KV_DELETE)
        return "-";
    assert_ptr_equal(hit.value.data, scratch);
    scratch[hit.value.size] = 0;
    return (const char *)scratch;
}
#define PLAIN(m, key, seq) see(m, key, seq, false)
#define SNAP(m, key, seq)  see(m, key, seq, true)

/* All versions as "key@seq=value ...". */
static void dump(struct memtable *m, char *text, size_t size)
{
    struct kv_iter *it = memtable_iter_new(m, 0, true);
    size_t used = 0;
    text[0] = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
        used += (size_t)snprintf(
            text + used, size - used, "%s%.*s@%d=%.*s", used ? " " : "",
            (int)it->key.size, (const char *)it->key.data, (int)it->seq,
            it->kind == KV_PUT ? (int)it->value.size : 1,
            it->kind == KV_PUT ? (const char *)it->value.data : "-");
    kv_iter_close(it);
}
static void expect_dump(struct memtable *m, const char *expected)
{
    char text[1024];
    dump(m, text, sizeof text);
    assert_string_equal(text, expected);
    check(m);
}

static void test_empty(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    assert_true(memtable_empty(m));
    assert_int_equal(memtable_used(m), 0);
    assert_string_equal(PLAIN(m, "a", 9), "");
    struct kv_iter *it = memtable_iter_new(m, 1, false);
    it->ops->seek_first(it);
    assert_false(it->valid);
    it->ops->seek_last(it);
    assert_false(it->valid);
    it->ops->seek(it, slice_of_string("a"), KV_MAX_SEQ);
    assert_false(it->valid);
    it->ops->seek_before(it, slice_of_string("a"), KV_MAX_SEQ);
    assert_false(it->valid);
    kv_iter_close(it);
    check(m);
}

static void test_overwrite_in_place(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 1, "first value", (struct put_how){0});
    size_t used = memtable_used(m);
    put(m, "a", 2, "2", (struct put_how){0});
    put(m, "a", 3, "third value", (struct put_how){0});
    put(m, "a", 4, NULL, (struct put_how){0});
    assert_string_equal(PLAIN(m, "a", 4), "-");
    put(m, "a", 5, "fifth", (struct put_how){0});
    assert_int_equal(memtable_used(m), used);
    assert_string_equal(PLAIN(m, "a", 5), "fifth");
    /* A get that lost its version sees what took its place ... */
    assert_string_equal(PLAIN(m, "a", 1), "fifth");
    /* ... a snapshot from before the key sees nothing. */
    assert_string_equal(SNAP(m, "a", 0), "");
    expect_dump(m, "a@5=fifth");
    struct memtable_stats stats;
    memtable_stats(m, &stats);
    assert_int_equal(stats.keys, 1);
    assert_int_equal(stats.versions, 1);
    assert_int_equal(stats.in_place, 4);
    assert_int_equal(stats.data_bytes, 6);
    assert_int_equal(stats.min_seq, 1);
    assert_int_equal(stats.max_seq, 5);
}

static void test_value_outgrows_its_place(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 1, "x", (struct put_how){0});
    put(m, "a", 2, "a longer value than eight", (struct put_how){0});
    size_t used = memtable_used(m);
    put(m, "a", 3, "another of some length", (struct put_how){0});
    assert_int_equal(memtable_used(m), used);
    expect_dump(m, "a@3=another of some length");
}

static void test_snapshot_keeps_versions(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 1, "one", (struct put_how){0});
    put(m, "a", 2, "two", (struct put_how){.keep_seq = 1});
    put(m, "a", 3, "tri", (struct put_how){.keep_seq = 1});
    assert_string_equal(SNAP(m, "a", 1), "one");
    assert_string_equal(PLAIN(m, "a", 3), "tri");
    /* Sequence 2 was replaced by 3: 1 would be too old. */
    assert_string_equal(PLAIN(m, "a", 2), "tri");
    expect_dump(m, "a@3=tri a@1=one");
    put(m, "a", 4, NULL, (struct put_how){.keep_seq = 3});
    expect_dump(m, "a@4=- a@3=tri a@1=one");
    assert_string_equal(SNAP(m, "a", 3), "tri");
    assert_string_equal(SNAP(m, "a", 4), "-");
}

/* A key born and overwritten after a snapshot was taken stays unseen. */
static void test_snapshot_before_birth(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 8, "eight", (struct put_how){.keep_seq = 5});
    put(m, "a", 11, "ele", (struct put_how){.keep_seq = 5});
    assert_string_equal(SNAP(m, "a", 5), "");
    assert_string_equal(PLAIN(m, "a", 9), "ele");
    struct kv_iter *it = memtable_iter_new(m, 5, false);
    it->ops->seek_first(it);
    assert_false(it->valid);
    kv_iter_close(it);
}

static void test_batch_never_in_place(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 1, "one", (struct put_how){.batch = true});
    put(m, "a", 2, "two", (struct put_how){.batch = true});
    put(m, "a", 3, "tri", (struct put_how){.batch = true});
    assert_string_equal(PLAIN(m, "a", 1), "one");
    assert_string_equal(PLAIN(m, "a", 2), "two");
    expect_dump(m, "a@3=tri a@2=two a@1=one");
    put(m, "a", 4, "fou", (struct put_how){0});
    expect_dump(m, "a@4=fou a@2=two a@1=one");
    assert_string_equal(SNAP(m, "a", 2), "two");
    assert_string_equal(PLAIN(m, "a", 3), "fou");
}

static void test_late_writes(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    put(m, "a", 5, "five", (struct put_how){.batch = true});
    put(m, "a", 3, "tri", (struct put_how){.batch = true});
    put(m, "a", 4, "four", (struct put_how){0});
    put(m, "a", 1, "one", (struct put_how){0});
    put(m, "a", 3, "tri", (struct put_how){0}); /* twice: nothing new */
    put(m, "a", 5, "five", (struct put_how){0});
    expect_dump(m, "a@5=five a@4=four a@3=tri a@1=one");
    for (uint64_t seq = 1; seq <= 5; seq++) {
        static const char *const seen[] = {"one", "one", "tri", "four", "five"};
        assert_string_equal(SNAP(m, "a", seq), seen[seq - 1]);
    }
    put(m, "b", 8, "8", (struct put_how){0});
    put(m, "b", 11, "11", (struct put_how){0});
    put(m, "b", 10, "10", (struct put_how){0});
    assert_string_equal(PLAIN(m, "b", 9), "10");
}

static void test_large_values(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 5000 };
    static uint8_t bytes[SIZE], scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit one, two;
    adb_slice key = slice_of_string("large");
    for (uint64_t seq = 1; seq <= 3; seq++) {
        value_fill(bytes, SIZE, seq);
        struct memtable_write w =
            write_of(key, seq, KV_PUT, slice_of(bytes, SIZE));
        w.in_place = true;
        assert_int_equal(memtable_put(f->m, &w), ADB_OK);
        if (seq == 1)
            assert_true(get(f->m, key, 1, false, scratch, &one));
    }
    assert_true(get(f->m, key, 3, false, scratch, &two));
    assert_true(one.in_arena && two.in_arena);
    assert_true(value_is(one.value, SIZE, 1));
    assert_true(value_is(two.value, SIZE, 3));
    put(f->m, "large", 4, "small", (struct put_how){0});
    assert_string_equal(PLAIN(f->m, "large", 4), "small");
    assert_true(value_is(two.value, SIZE, 3));
    put(f->m, "large", 5, NULL, (struct put_how){0});
    expect_dump(f->m, "large@5=-");
}

static void test_boundary_sizes(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[MEMTABLE_INLINE_MAX + 1];
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    uint64_t seq = 0;
    for (size_t size = 0; size <= sizeof bytes; size++) {
        uint8_t name[2] = {(uint8_t)(size >> 8), (uint8_t)size};
        struct memtable_hit hit;
        value_fill(bytes, size, ++seq);
        struct memtable_write w =
            write_of(slice_of(name, 2), seq, KV_PUT, slice_of(bytes, size));
        assert_int_equal(memtable_put(f->m, &w), ADB_OK);
        assert_true(get(f->m, w.key, seq, false, scratch, &hit));
        assert_true(value_is(hit.value, size, seq));
        assert_int_equal(hit.in_arena, size > MEMTABLE_INLINE_MAX);
        if (memtable_used(f->m) > 900000)
            break;
    }
    check(f->m);
}

static void test_keys_of_all_sizes(void **state)
{
    struct fixture *f = *state;
    uint8_t *key = calloc(1, ADB_MAX_KEY_SIZE + 100);
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    static const size_t sizes[] = {0,  1,  2,  3,   4,   5,   7,    8,    9,
                                   15, 16, 17, 255, 256, 257, 4096, 65536};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct memtable_hit hit;
    for (unsigned i = SIZES; i-- > 0;) { /* zeros: all heads tie */
        struct memtable_write w =
            write_of(slice_of(key, sizes[i]), i + 1, KV_PUT, slice_of("v", 1));
        assert_int_equal(memtable_put(f->m, &w), ADB_OK);
    }
    for (unsigned i = 0; i < SIZES; i++) {
        assert_true(
            get(f->m, slice_of(key, sizes[i]), 99, false, scratch, &hit));
        assert_int_equal(hit.seq, i + 1);
        assert_false(
            get(f->m, slice_of(key, sizes[i] + 100), 99, false, scratch, &hit));
    }
    check(f->m);
    struct kv_iter *it = memtable_iter_new(f->m, 99, false);
    it->ops->seek_first(it);
    for (unsigned i = 0; i < SIZES; i++, kv_iter_next(it))
        assert_true(it->valid && it->key.size == sizes[i]);
    assert_false(it->valid);
    kv_iter_close(it);
    free(key);
}

static void test_exhaustion(void **state)
{
    struct fixture *f = *state;
    struct random rng;
    random_seed(&rng, test_seed());
    size_t one = memtable_worst_case(1, 16, 100);
    static const uint8_t value[100];
    uint64_t seq = 0, promised = 0;
    uint64_t key[2] = {0, 7};
    for (;;) {
        bool room = memtable_has_room(f->m, one);
        key[0] = random_next(&rng);
        struct memtable_write w =
            write_of(slice_of(key, 16), ++seq, KV_PUT, slice_of(value, 100));
        adb_status status = memtable_put(f->m, &w);
        if (room)
            assert_int_equal(status, ADB_OK);
        promised += room;
        if (status != ADB_OK) {
            assert_int_equal(status, ADB_NO_MEMORY);
            break;
        }
    }
    assert_true(promised > (1 << 20) / 200);
    check(f->m);
    struct memtable_stats stats;
    memtable_stats(f->m, &stats);
    assert_int_equal(stats.keys, seq - 1);
    assert_true(ledger_row(&ledger, LEDGER_MEMTABLE) >= (1 << 20));
}

/* Full leaves that all split at once use more than the room asked for; the
   promise holds all the same. */
static void test_exhaustion_by_splits(void **state)
{
    struct fixture *f = *state;
    size_t one = memtable_worst_case(1, 8, 0);
    uint64_t seq = 0, full = 0;
    while (memtable_has_room(f->m, one)) {
        uint8_t key[8];
        bool ascending = memtable_used(f->m) < (1 << 20) / 10 * 7;
        uint64_t n = ascending ? ++full * 1000 : seq * 64 % full * 1000 + seq;
        for (unsigned i = 0; i < 8; i++)
            key[i] = (uint8_t)(n >> (56 - 8 * i));
        struct memtable_write w =
            write_of(slice_of(key, 8), ++seq, KV_PUT, slice_of(NULL, 0));
        assert_int_equal(memtable_put(f->m, &w), ADB_OK);
    }
    check(f->m);
}

static void test_oversize(void **state)
{
    struct fixture *f = *state;
    size_t size = 40 << 20, need = memtable_worst_case(1, 3, size);
    struct memtable *m;
    struct memtable_hit hit;
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    uint8_t *bytes = malloc(size);
    value_fill(bytes, size, 1);
    assert_int_equal(memtable_new(f->pool, need, &m), ADB_OK);
    assert_true(memtable_has_room(m, need));
    struct memtable_write w =
        write_of(slice_of_string("big"), 1, KV_PUT, slice_of(bytes, size));
    assert_int_equal(memtable_put(m, &w), ADB_OK);
    assert_true(ledger_row(&ledger, LEDGER_OVERSIZE) >= (int64_t)size);
    assert_true(get(m, w.key, 1, false, scratch, &hit));
    assert_true(hit.in_arena && value_is(hit.value, size, 1));
    check(m);
    memtable_unref(m);
    assert_int_equal(ledger_row(&ledger, LEDGER_OVERSIZE), 0);
    free(bytes);
}

/* A recycled arena must not show what it held. */
static void test_recycling(void **state)
{
    struct fixture *f = *state;
    for (int life = 0; life < 5; life++) {
        for (int i = 0; i < 3000; i++) {
            char key[32];
            snprintf(key, sizeof key, "%d-%d", i * 7919 % 3001, life);
            put(f->m, key, (uint64_t)i + 1, "some value", (struct put_how){0});
        }
        check(f->m);
        memtable_unref(f->m);
        assert_int_equal(memtable_new(f->pool, 0, &f->m), ADB_OK);
        expect_dump(f->m, "");
        assert_string_equal(PLAIN(f->m, "1-0", 99), "");
    }
}

static void test_approximate_size(void **state)
{
    struct memtable *m = ((struct fixture *)*state)->m;
    for (uint64_t i = 0; i < 6000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06d", (int)(i * 7919 % 6007));
        put(m, key, i + 1, "0123456789012345678901234567890123456789",
            (struct put_how){0});
    }
    uint64_t all =
        memtable_approximate_size(m, slice_of("", 0), slice_of(NULL, 0));
    uint64_t third = memtable_approximate_size(m, slice_of_string("001000"),
                                               slice_of_string("003000"));
    assert_true(all <= memtable_used(m) && all > memtable_used(m) / 2);
    assert_true(third > all / 4 && third < all / 2);
    assert_int_equal(memtable_approximate_size(m, slice_of_string("4"),
                                               slice_of_string("4")),
                     0);
}

static int fail_all(void *context, size_t size)
{
    (void)size;
    return --*(int *)context < 0;
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    memtable_unref(f->m);
    f->m = NULL;
    memtable_pool_free(f->pool);
    f->pool = memtable_pool_new(1 << 20, 0, &ledger);
    for (int allowed = 0;; allowed++) {
        int left = allowed;
        struct memtable *m = NULL;
        mem_set_fail_hook(fail_all, &left);
        adb_status status = memtable_new(f->pool, 0, &m);
        struct kv_iter *it =
            status == ADB_OK ? memtable_iter_new(m, 1, false) : NULL;
        mem_set_fail_hook(NULL, NULL);
        if (status != ADB_OK)
            assert_int_equal(status, ADB_NO_MEMORY);
        bool done = it != NULL;
        kv_iter_close(it);
        memtable_unref(m);
        assert_int_equal(ledger_total(&ledger), 0);
        if (done)
            break;
        assert_true(allowed < 20);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_overwrite_in_place),
        TEST(test_value_outgrows_its_place),
        TEST(test_snapshot_keeps_versions),
        TEST(test_snapshot_before_birth),
        TEST(test_batch_never_in_place),
        TEST(test_late_writes),
        TEST(test_large_values),
        TEST(test_boundary_sizes),
        TEST(test_keys_of_all_sizes),
        TEST(test_exhaustion),
        TEST(test_exhaustion_by_splits),
        TEST(test_oversize),
        TEST(test_recycling),
        TEST(test_approximate_size),
        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
