/*
 * Values of 1 GiB, the most there may be, in small memory budgets: written,
 * overwritten, read, recovered from the log, merged. What they need beside the
 * budget is in one row of the ledger, "oversize", and is never more than twice
 * the value; the process holds no more than that and the caller's own copy.
 */
#include "api_test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"

static const size_t value_size = ADB_MAX_VALUE_SIZE;
static const uint64_t mib = 1 << 20;

/* Looks at memory while the test runs. */
struct watch {
    adb *db;
    pthread_t thread;
    pthread_mutex_t lock; /* guards db against being closed */
    _Atomic int stop;
    uint64_t rss_peak, oversize_peak;
};

static uint64_t rss_anon(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024;
}

static void *watch_memory(void *argument)
{
    struct watch *w = argument;
    while (!atomic_load(&w->stop)) {
        pthread_mutex_lock(&w->lock);
        uint64_t oversize = w->db ? stat_number(w->db, "oversize") : 0;
        pthread_mutex_unlock(&w->lock);
        uint64_t rss = rss_anon();
        if (oversize > w->oversize_peak)
            w->oversize_peak = oversize;
        if (rss > w->rss_peak)
            w->rss_peak = rss;
        usleep(2000);
    }
    return NULL;
}

static void fill(unsigned char *p, uint64_t seed)
{
    uint64_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < value_size; i += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        memcpy(p + i, &x, 8);
    }
}

static void expect_hash(adb *db, uint64_t hash)
{
    adb_value v = ADB_VALUE_INIT;
    assert_ok(adb_get(db, NULL, "big", 3, &v));
    assert_int_equal(v.size, value_size);
    assert_true(checksum_bytes(v.data, v.size) == hash);
    adb_value_release(&v);
}

static void put_big(adb *db, const unsigned char *p)
{
    assert_ok(adb_put(db, NULL, "big", 3, p, value_size));
}

static void switch_db(struct watch *w, const char *path, const char *options)
{
    pthread_mutex_lock(&w->lock);
    if (w->db)
        assert_ok(adb_close(w->db));
    w->db = path ? open_with(path, options) : NULL;
    pthread_mutex_unlock(&w->lock);
}

static void run(const char *path, const char *options, uint64_t budget)
{
    struct watch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    unsigned char *p = malloc(value_size);
    assert_non_null(p);
    fill(p, budget);
    uint64_t first = checksum_bytes(p, value_size);
    uint64_t rss_before = rss_anon();
    switch_db(&w, path, options);
    assert_int_equal(
        pthread_create(&w.thread, NULL, watch_memory, &w), 0);

    put_text(w.db, "a", "before");
    put_big(w.db, p);
    put_text(w.db, "z", "after");
    expect_hash(w.db, first);
    memset(p, 0x5a, value_size / 2);
    uint64_t second = checksum_bytes(p, value_size);
    put_big(w.db, p);
    expect_hash(w.db, second);
    switch_db(&w, path, options);
    expect_hash(w.db, second);
    adb_slice all = {0, 0};
    assert_ok(adb_compact(w.db, all, all));
    expect_hash(w.db, second);
    expect_text(w.db, "a", "before");
    expect_text(w.db, "z", "after");
    assert_int_equal(stat_number(w.db, "entries"), 3);
    assert_ok(adb_delete(w.db, NULL, "big", 3));
    expect_text(w.db, "big", NULL);
    assert_ok(adb_compact(w.db, all, all));
    uint64_t left = stat_number(w.db, "oversize");

    atomic_store(&w.stop, 1);
    pthread_join(w.thread, NULL);
    switch_db(&w, NULL, NULL);
    printf("%s: oversize at most %llu MiB, anonymous memory at most %llu MiB "
           "above the %llu MiB before\n",
           options, (unsigned long long)(w.oversize_peak / mib),
           (unsigned long long)((w.rss_peak - rss_before) / mib),
           (unsigned long long)(rss_before / mib));
    assert_true(w.oversize_peak <= 2 * (uint64_t)value_size + 16 * mib);
    assert_true(left <= budget);
    assert_true(w.rss_peak - rss_before <=
                2 * (uint64_t)value_size + budget + 64 * mib);
    free(p);
}

static void test_budget_256m(void **state)
{
    run(*state, "durability=process memory_budget=256M wal_access=write",
        256 * mib);
}

static void test_budget_32m(void **state)
{
    run(*state, "durability=process memory_budget=32M", 32 * mib);
}

static int setup(void **state)
{
    *state = scratch_new();
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_budget_256m, setup, teardown),
        cmocka_unit_test_setup_teardown(test_budget_32m, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
