/*
 * Whatever the number of inserters, and without threads, the memtable holds
 * what one writer would have left.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "db/inserter.h"
#include "support.h"

#include <errno.h>

enum { KEYS = 5000, LARGE = 40000 };

struct last {
    uint64_t seq;
    enum kv_kind kind;
    size_t size;
};

static struct memtable *fresh_memtable(struct memtable_pool *pool)
{
    struct memtable *m;
    assert_int_equal(memtable_new(pool, 0, &m), ADB_OK);
    return m;
}

static size_t make_key(char *key, uint64_t i)
{
    return (size_t)sprintf(key, "%0*u", (int)(4 + i % 40), (unsigned)i);
}

/* Each value begins with its write's number. */
static void write_one(struct inserter *in, struct memtable *m, uint64_t seq,
                      struct random *r, struct last *last)
{
    static uint8_t value[LARGE];
    char key[64];
    uint64_t i = random_below(r, KEYS);
    struct memtable_write w = {.seq = seq, .in_place = true, .kind = KV_PUT};
    size_t size = random_below(r, 100) == 0 ? LARGE : random_below(r, 200);
    if (random_below(r, 10) == 0) {
        w.kind = KV_DELETE;
        size = 0;
    }
    memcpy(value, &seq, sizeof seq);
    w.key = slice_of(key, make_key(key, i));
    w.value = slice_of(value, size);
    w.hash = hash_key(w.key.data, w.key.size);
    assert_true(
        memtable_has_room(m, inserter_pending(in, w.key.size, w.value.size)));
    assert_int_equal(inserter_add(in, m, &w), ADB_OK);
    last[i] = (struct last){seq, w.kind, size};
}

static void expect(struct memtable *m, uint64_t i, const struct last *last)
{
    static uint8_t scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    char key[64];
    size_t size = make_key(key, i);
    bool found = memtable_get(m, slice_of(key, size), hash_key(key, size),
                              KV_MAX_SEQ, true, scratch, &hit);
    assert_int_equal(found, last->seq != 0);
    if (!found)
        return;
    assert_int_equal(hit.seq, last->seq);
    assert_int_equal(hit.kind, last->kind);
    assert_int_equal(hit.value.size, last->size);
    assert_memory_equal(hit.value.data, &last->seq,
                        MIN_OF(last->size, sizeof last->seq));
}

static void run(unsigned workers)
{
    static struct last last[KEYS];
    struct ledger ledger = {0};
    struct random r;
    memset(last, 0, sizeof last);
    random_seed(&r, test_seed());
    struct memtable_pool *pool = memtable_pool_new(64 << 20, 1, &ledger);
    struct memtable *m = fresh_memtable(pool);
    struct inserter *in = inserter_new(workers);
    assert_non_null(in);
    for (uint64_t seq = 1; seq <= 60000; seq++) {
        write_one(in, m, seq, &r, last);
        if (seq % 17000 != 0)
            continue;
        assert_int_equal(inserter_drain(in), ADB_OK);
        assert_int_equal(inserter_pending(in, 5, 7),
                         memtable_worst_case(1, 5, 7));
        for (uint64_t i = 0; i < KEYS; i++)
            expect(m, i, &last[i]);
    }
    assert_int_equal(inserter_drain(in), ADB_OK);
    inserter_free(in);
    for (uint64_t i = 0; i < KEYS; i++)
        expect(m, i, &last[i]);
    memtable_unref(m);
    memtable_pool_free(pool);
    assert_int_equal(ledger_total(&ledger), 0);
}

static void test_threads(void **state)
{
    (void)state;
    run(1);
    run(2);
    run(INSERTER_WORKERS);
}

/* ---- no threads to be had ---------------------------------------------- */

static void no_lock(void *context, struct mutex *m)
{
    (void)context, (void)m;
}
static bool no_try_lock(void *context, struct mutex *m)
{
    (void)context, (void)m;
    return true;
}
static bool no_wait(void *context, struct condition *c, struct mutex *m,
                    uint64_t deadline_ns)
{
    (void)context, (void)c, (void)m, (void)deadline_ns;
    fail_msg("nobody is there to wait for");
    return false;
}
static void no_wake(void *context, struct condition *c, bool all)
{
    (void)context, (void)c, (void)all;
}
static int no_start(void *context, struct thread *t, const char *name,
                    void *(*body)(void *), void *argument)
{
    (void)context, (void)t, (void)name, (void)body, (void)argument;
    return EAGAIN;
}
static void no_join(void *context, struct thread *t)
{
    (void)context, (void)t;
}
static void no_yield(void *context)
{
    (void)context;
}
static void no_sleep(void *context, uint64_t ns)
{
    (void)context, (void)ns;
}
static uint64_t no_time(void *context)
{
    (void)context;
    return 0;
}

static void test_no_threads(void **state)
{
    static const struct thread_hooks alone = {
        .lock = no_lock,
        .try_lock = no_try_lock,
        .unlock = no_lock,
        .wait = no_wait,
        .wake = no_wake,
        .start = no_start,
        .join = no_join,
        .yield = no_yield,
        .sleep = no_sleep,
        .now_ns = no_time,
    };
    (void)state;
    thread_hooks = &alone;
    run(2);
    thread_hooks = NULL;
}

/* ---- failures ---------------------------------------------------------- */

/* Nobody made room: the worker's failure is the caller's, and stays. */
static void test_full(void **state)
{
    (void)state;
    struct ledger ledger = {0};
    uint8_t value[1000] = {0};
    adb_status status = ADB_OK;
    struct memtable_pool *pool = memtable_pool_new(256 << 10, 0, &ledger);
    struct memtable *m = fresh_memtable(pool);
    struct inserter *in = inserter_new(2);
    for (uint64_t seq = 1; status == ADB_OK && seq < 100000; seq++) {
        char key[16];
        struct memtable_write w = {.seq = seq, .kind = KV_PUT};
        w.key = slice_of(key, (size_t)sprintf(key, "%u", (unsigned)seq));
        w.hash = hash_key(w.key.data, w.key.size);
        w.value = slice_of(value, sizeof value);
        status = inserter_add(in, m, &w);
    }
    assert_int_equal(status, ADB_NO_MEMORY);
    assert_non_null(strstr(status_message(), "the memtable is full"));
    assert_int_equal(inserter_drain(in), ADB_NO_MEMORY);
    inserter_free(in);
    memtable_unref(m);
    memtable_pool_free(pool);
}

static int fail_at(void *context, size_t size)
{
    int *left = context;
    (void)size;
    return --*left == 0;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (int at = 1; at <= 2; at++) {
        int left = at;
        mem_set_fail_hook(fail_at, &left);
        assert_null(inserter_new(2));
        mem_set_fail_hook(NULL, NULL);
        assert_non_null(strstr(status_message(), "no memory"));
    }
    inserter_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_threads),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
