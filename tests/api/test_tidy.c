/*
 * Readers that keep looking into several runs pay for a merge into one, long
 * before the database counts as idle; without them it stays as it is.
 */
#include "api_test.h"

#include "base/thread.h"

enum { KEYS = 3000, FLUSHES = 3 };

static adb *filled(const char *path, const char *options)
{
    adb *db = open_with(path, options);
    for (int round = 0; round < FLUSHES; round++) {
        for (int i = 0; i < KEYS; i++) {
            char key[32], value[64];
            snprintf(key, sizeof key, "%08d", i * FLUSHES + round);
            memset(value, round + i, sizeof value);
            assert_ok(adb_put(db, NULL, key, strlen(key), value,
                              sizeof value));
        }
        assert_ok(adb_flush(db));
    }
    /* The figure follows the last flush. */
    for (int i = 0; stat_number(db, "sorted_runs") != FLUSHES; i++) {
        assert_true(i < 2000);
        clock_sleep_ns(1000000);
    }
    return db;
}

static void get_some(adb *db)
{
    for (int i = 0; i < 1000; i++) {
        char key[32];
        adb_value v;
        snprintf(key, sizeof key, "%08d", i);
        assert_ok(adb_get(db, NULL, key, strlen(key), &v));
        adb_value_release(&v);
    }
}

static void scan_some(adb *db)
{
    adb_iter *it;
    assert_ok(adb_iter_new(db, NULL, &it));
    for (int i = 0; i < 100; i++) {
        adb_iter_seek(it, "0000", 4);
        for (int n = 0; n < 10; n++)
            adb_iter_next(it);
    }
    assert_ok(adb_iter_status(it));
    adb_iter_free(it);
}

/* Reads for at most so long; how many runs are there then? */
static uint64_t runs_after(adb *db, void (*read)(adb *db), uint64_t seconds)
{
    uint64_t until = clock_now_ns() + seconds * 1000000000, runs;
    do {
        if (read)
            read(db);
        else
            clock_sleep_ns(10000000);
        runs = stat_number(db, "sorted_runs");
    } while (runs > 1 && clock_now_ns() < until);
    return runs;
}

static void expect_tidied(const char *path, void (*read)(adb *db))
{
    adb *db = filled(path, "durability=process");
    /* Nine seconds: one less than what counts as idle. */
    assert_int_equal(runs_after(db, read, 9), 1);
    assert_true(stat_number(db, "idle_bytes") > 0);
    assert_ok(adb_close(db));
}

static void test_gets(void **state)
{
    expect_tidied(*state, get_some);
}

static void test_scans(void **state)
{
    expect_tidied(*state, scan_some);
}

static void test_nobody_reads(void **state)
{
    adb *db = filled(*state, "durability=process");
    assert_int_equal(runs_after(db, NULL, 3), FLUSHES);
    assert_ok(adb_close(db));
}

static void test_switched_off(void **state)
{
    adb *db = filled(*state, "durability=process idle_compaction=false");
    assert_int_equal(runs_after(db, get_some, 3), FLUSHES);
    assert_ok(adb_close(db));
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
        cmocka_unit_test_setup_teardown(test_gets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scans, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_switched_off, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
