/*
 * Iterators that are given back serve again: each new one must see exactly
 * what a fresh one would, and nothing may be kept alive by one at rest.
 */
#include "api_test.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

/* All keys an iterator shows, joined. */
static void expect_keys(adb *db, const adb_iter_options *options,
                        const char *keys)
{
    char text[512] = "";
    adb_iter *it;
    assert_ok(adb_iter_new(db, options, &it));
    assert_false(adb_iter_valid(it));
    for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it)) {
        adb_slice key = adb_iter_key(it);
        strncat(text, key.data, key.size);
    }
    assert_ok(adb_iter_status(it));
    adb_iter_free(it);
    assert_string_equal(text, keys);
}

/* Where all keys with a prefix end, and what it comes to beside bounds. */
static void test_prefixes(void **state)
{
    static const struct {
        const char *prefix, *lower, *upper, *keys;
    } rows[] = {
        {"a", NULL, NULL, "a|a\xfe|a\xff\x01|a\xff|a\xff\xff|"},
        {"a\xff", NULL, NULL, "a\xff\x01|a\xff|a\xff\xff|"},
        {"a\xff\xff", NULL, NULL, "a\xff\xff|"},
        {"\xff", NULL, NULL, "\xff|\xff\xff|"},
        {"\xff\xff", NULL, NULL, "\xff\xff|"},
        {"b", NULL, NULL, "b|"},
        {"c", NULL, NULL, ""},
        {"a", "a\xff", NULL, "a\xff\x01|a\xff|a\xff\xff|"},
        {"a", NULL, "a\xff", "a|a\xfe|"},
        {"a\xff", "a", "b", "a\xff\x01|a\xff|a\xff\xff|"},
    };
    static const char *const keys[] = {"a", "a\xfe", "a\xff", "a\xff\x01",
                                       "a\xff\xff", "b", "\xff",
                                       "\xff\xff"};
    adb *db = open_with(*state, "");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char key[8];
        snprintf(key, sizeof key, "%s|", keys[i]);
        put_text(db, key, "1");
    }
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        size_t row = i / 2;
        adb_iter_options o = ADB_ITER_OPTIONS_INIT;
        o.prefix = (adb_slice){rows[row].prefix, strlen(rows[row].prefix)};
        if (rows[row].lower)
            o.lower = (adb_slice){rows[row].lower, strlen(rows[row].lower)};
        if (rows[row].upper)
            o.upper = (adb_slice){rows[row].upper, strlen(rows[row].upper)};
        expect_keys(db, &o, rows[row].keys);
        if (i == sizeof rows / sizeof rows[0])
            assert_ok(adb_flush(db)); /* then from a table */
    }
    assert_ok(adb_close(db));
}

static void test_sees_what_a_fresh_one_would(void **state)
{
    adb_snapshot *before;
    adb *db = open_with(*state, "");
    expect_keys(db, NULL, ""); /* the writable memtable is no source yet */
    put_text(db, "b", "1");
    expect_keys(db, NULL, "b");
    put_text(db, "a", "1");
    expect_keys(db, NULL, "ab");
    assert_ok(adb_snapshot_new(db, &before));
    put_text(db, "c", "1");
    assert_ok(adb_delete(db, NULL, "a", 1));
    adb_iter_options old = ADB_ITER_OPTIONS_INIT;
    old.snapshot = before;
    for (int i = 0; i < 3; i++) {
        expect_keys(db, NULL, "bc");
        expect_keys(db, &old, "ab");
        assert_ok(i == 0 ? adb_flush(db) : ADB_OK);
    }
    put_text(db, "d", "1");
    adb_iter_options bounded = ADB_ITER_OPTIONS_INIT;
    bounded.lower = (adb_slice){"b", 1};
    bounded.upper = (adb_slice){"d", 1};
    expect_keys(db, &bounded, "bc");
    expect_keys(db, NULL, "bcd");
    bounded.upper = (adb_slice){NULL, 0};
    bounded.lower = (adb_slice){"x", 1}; /* leaves tables out */
    expect_keys(db, &bounded, "");
    expect_keys(db, NULL, "bcd");
    adb_iter_options apart = ADB_ITER_OPTIONS_INIT;
    apart.no_fill_cache = 1;
    expect_keys(db, &apart, "bcd");
    expect_keys(db, NULL, "bcd");
    adb_snapshot_release(db, before);
    assert_ok(adb_close(db));
}

static size_t table_files(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        count += strstr(e->d_name, ".sst") != NULL;
    closedir(dir);
    return count;
}

/* An iterator at rest keeps no table that a merge has replaced. */
static void test_rest_keeps_nothing(void **state)
{
    adb *db = open_with(*state, "idle_compaction=false");
    for (int i = 0; i < 3; i++) {
        put_text(db, "a", "1");
        put_text(db, "b", "2");
        assert_ok(adb_flush(db));
        expect_keys(db, NULL, "ab");
    }
    assert_ok(adb_compact(db, (adb_slice){NULL, 0}, (adb_slice){NULL, 0}));
    expect_keys(db, NULL, "ab");
    for (int i = 0; table_files(*state) > 1; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    assert_int_equal(stat_number(db, "pinned_bytes"), 0);
    assert_ok(adb_close(db));
}

struct race {
    adb *db;
    _Atomic int stop;
    _Atomic uint64_t written;
};

static void *iterate(void *argument)
{
    struct race *race = argument;
    while (!atomic_load(&race->stop)) {
        /* Everything written before must be there: nothing is deleted. */
        uint64_t least = atomic_load(&race->written), n = 0;
        adb_iter *it;
        assert_ok(adb_iter_new(race->db, NULL, &it));
        for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it))
            n++;
        assert_ok(adb_iter_status(it));
        adb_iter_free(it);
        assert_true(n >= least);
    }
    return NULL;
}

static void test_race_with_new_views(void **state)
{
    struct race race = {0};
    pthread_t threads[3];
    race.db = open_with(*state, "memory_budget=4M memtable_size=64K "
                                "durability=process");
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, iterate, &race), 0);
    uint64_t count = test_scaled(4000, 800);
    for (uint64_t i = 0; i < count; i++) {
        char key[32], value[100];
        int size = snprintf(key, sizeof key, "%08llu",
                            (unsigned long long)(i * 7919 % 1000003));
        memset(value, (int)i, sizeof value);
        assert_ok(adb_put(race.db, NULL, key, (size_t)size, value,
                          sizeof value));
        atomic_store(&race.written, i + 1);
        if (i % 97 == 0)
            assert_ok(adb_flush(race.db));
    }
    atomic_store(&race.stop, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_ok(adb_close(race.db));
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
        cmocka_unit_test_setup_teardown(test_prefixes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sees_what_a_fresh_one_would,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest_keeps_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_race_with_new_views, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
