/*
 * What is in a caller's hand does not change: a pinned value through a
 * thousand overwrites of its key, flushes and merges; and what is in callers'
 * hands keeps the database open, and says so.
 */
#include "api_test.h"

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

static void make(unsigned char *p, size_t size, unsigned version)
{
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(version * 17 + i * (version % 5 + 1));
}

enum stage { WRITABLE, FLUSHED, COMPACTED, REOPENED, STAGES };

static adb *bring_to(adb *db, const char *path, const char *options,
                     enum stage stage)
{
    adb_slice all = {0, 0};
    if (stage == FLUSHED)
        assert_ok(adb_flush(db));
    if (stage == COMPACTED)
        assert_ok(adb_compact(db, all, all));
    if (stage == REOPENED) {
        assert_ok(adb_close(db));
        db = open_with(path, options);
    }
    return db;
}

/* All stages' values are held at once while the key is overwritten, in place
   and with other sizes, and everything beneath is flushed and merged. */
static void hold_value(const char *path, const char *options, size_t size)
{
    adb *db = open_with(path, options);
    unsigned char *expected = malloc(size + 1), *other = malloc(2 * size + 1);
    adb_slice all = {0, 0};
    for (enum stage stage = WRITABLE; stage < STAGES; stage++) {
        adb_value held[2] = {ADB_VALUE_INIT, ADB_VALUE_INIT};
        make(expected, size, stage);
        assert_ok(adb_put(db, NULL, "key", 3, expected, size));
        db = bring_to(db, path, options, stage);
        assert_ok(adb_get(db, NULL, "key", 3, &held[0]));
        assert_ok(adb_get(db, NULL, "key", 3, &held[1]));
        for (unsigned i = 0; i < 1000; i++) {
            size_t n = i % 3 == 0 ? size : i % 3 == 1 ? size / 2 : 2 * size;
            make(other, n, 100 + i);
            if (i % 50 == 49)
                assert_ok(adb_delete(db, NULL, "key", 3));
            assert_ok(adb_put(db, NULL, "key", 3, other, n));
            if (i == 300 || i == 600)
                assert_ok(adb_flush(db));
            if (i == 700)
                assert_ok(adb_compact(db, all, all));
            if (i % 100 == 0 || i == 999) {
                assert_int_equal(held[0].size, size);
                assert_int_equal(memcmp(held[0].data, expected, size), 0);
            }
        }
        assert_int_equal(adb_close(db), ADB_BUSY);
        assert_non_null(strstr(adb_error_message(), "2 values"));
        adb_value_release(&held[0]);
        assert_null(held[0].data);
        adb_value_release(&held[0]); /* once more does nothing */
        assert_int_equal(memcmp(held[1].data, expected, size), 0);
        adb_value_release(&held[1]);
        assert_int_equal(stat_number(db, "values"), 0);
    }
    assert_ok(adb_close(db));
    assert_ok(adb_destroy(path));
    free(expected);
    free(other);
}

static void test_small_value(void **state)
{
    hold_value(*state, "durability=process memory_budget=8M", 0);
    hold_value(*state, "durability=process memory_budget=8M", 10);
    hold_value(*state, "durability=process memory_budget=8M", 1000);
}

static void test_value_above_inline(void **state)
{
    hold_value(*state, "durability=process memory_budget=8M", 1025);
    hold_value(*state, "durability=process memory_budget=8M", 5000);
}

static void test_value_in_extent(void **state)
{
    hold_value(*state, "durability=process memory_budget=32M", 70000);
}

static void test_mapped_tables(void **state)
{
    hold_value(*state,
               "durability=process memory_budget=8M table_access=map "
               "compression=none",
               600);
}

/* A value of a block that was evicted, of a table that is gone. */
static void test_pinned_block_survives_eviction(void **state)
{
    adb *db = open_with(*state, "durability=process memory_budget=1M");
    adb_slice all = {0, 0};
    adb_value held = ADB_VALUE_INIT;
    char key[32], value[200];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20000; i++) {
            snprintf(key, sizeof key, "k%06d", i);
            snprintf(value, sizeof value, "%d %d %0150d", round, i, i);
            put_text(db, key, value);
        }
        if (round == 0) {
            assert_ok(adb_compact(db, all, all));
            assert_ok(adb_get(db, NULL, "k000077", 7, &held));
        }
    }
    assert_ok(adb_compact(db, all, all));
    for (int i = 0; i < 20000; i += 3) {
        snprintf(key, sizeof key, "k%06d", i);
        snprintf(value, sizeof value, "2 %d %0150d", i, i);
        expect_text(db, key, value);
    }
    snprintf(value, sizeof value, "0 77 %0150d", 77);
    assert_int_equal(held.size, strlen(value));
    assert_memory_equal(held.data, value, held.size);
    adb_value_release(&held);
    assert_ok(adb_close(db));
}

static void test_close_names_what_is_held(void **state)
{
    adb *db = open_with(*state, "");
    adb_iter *iterators[2];
    adb_snapshot *snapshots[3];
    adb_value value = ADB_VALUE_INIT;
    put_text(db, "k", "v");
    for (int i = 0; i < 2; i++)
        assert_ok(adb_iter_new(db, NULL, &iterators[i]));
    for (int i = 0; i < 3; i++)
        assert_ok(adb_snapshot_new(db, &snapshots[i]));
    assert_ok(adb_get(db, NULL, "k", 1, &value));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(adb_close(db), ADB_BUSY);
        const char *words = adb_error_message();
        assert_non_null(strstr(words, "2 iterators"));
        assert_non_null(strstr(words, "3 snapshots"));
        assert_non_null(strstr(words, "1 value"));
        /* Still usable. */
        put_text(db, "k", "v2");
        expect_text(db, "k", "v2");
        assert_ok(adb_flush(db));
    }
    assert_memory_equal(value.data, "v", 1);
    adb_iter_free(iterators[0]);
    adb_iter_free(iterators[1]);
    for (int i = 0; i < 3; i++)
        adb_snapshot_release(db, snapshots[i]);
    assert_int_equal(adb_close(db), ADB_BUSY);
    adb_value_release(&value);
    assert_ok(adb_close(db));
}

/* multi_get: one state, each key its own status. */
static void test_multi_get(void **state)
{
    adb *db = open_with(*state, "durability=process");
    adb_slice keys[4] = {{"a", 1}, {"none", 4}, {"b", 1}, {"a", 1}};
    adb_value values[4];
    adb_status statuses[4];
    put_text(db, "a", "1");
    assert_ok(adb_flush(db));
    put_text(db, "b", "2");
    assert_ok(adb_multi_get(db, NULL, 4, keys, values, statuses));
    put_text(db, "a", "changed");
    assert_int_equal(statuses[0], ADB_OK);
    assert_int_equal(statuses[1], ADB_NOT_FOUND);
    assert_int_equal(statuses[2], ADB_OK);
    assert_memory_equal(values[0].data, "1", 1);
    assert_memory_equal(values[2].data, "2", 1);
    assert_memory_equal(values[3].data, "1", 1);
    for (int i = 0; i < 4; i++)
        adb_value_release(&values[i]);
    assert_ok(adb_close(db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_value, setup, teardown),
        cmocka_unit_test_setup_teardown(test_value_above_inline, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_value_in_extent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_mapped_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pinned_block_survives_eviction,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_names_what_is_held, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_multi_get, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
