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

static void test_put_get_delete(void **state)
{
    adb *db = open_with(*state, "");
    put_text(db, "b", "2");
    put_text(db, "a", "1");
    put_text(db, "", "empty key");
    put_text(db, "empty value", "");
    expect_text(db, "a", "1");
    expect_text(db, "b", "2");
    expect_text(db, "", "empty key");
    expect_text(db, "empty value", "");
    expect_text(db, "c", NULL);
    put_text(db, "a", "one");
    expect_text(db, "a", "one");
    assert_ok(adb_delete(db, NULL, "a", 1));
    expect_text(db, "a", NULL);
    assert_ok(adb_delete(db, NULL, "never there", 11));
    assert_ok(adb_close(db));
}

static void test_reopen(void **state)
{
    adb *db = open_with(*state, "");
    put_text(db, "a", "1");
    put_text(db, "b", "2");
    assert_ok(adb_close(db));
    db = open_with(*state, "");
    expect_text(db, "a", "1");
    put_text(db, "a", "1.1");
    assert_ok(adb_flush(db));
    expect_text(db, "a", "1.1");
    put_text(db, "c", "3");
    assert_ok(adb_close(db));
    db = open_with(*state, "create_if_missing=false");
    expect_text(db, "a", "1.1");
    expect_text(db, "b", "2");
    expect_text(db, "c", "3");
    assert_ok(adb_close(db));
}

static void test_shadowing_across_flushes(void **state)
{
    adb *db = open_with(*state, "");
    for (int round = 0; round < 5; round++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", round);
        put_text(db, "key", value);
        put_text(db, round % 2 ? "odd" : "even", value);
        assert_ok(adb_flush(db));
        expect_text(db, "key", value);
    }
    expect_text(db, "odd", "v3");
    expect_text(db, "even", "v4");
    assert_ok(adb_delete(db, NULL, "key", 3));
    expect_text(db, "key", NULL);
    assert_ok(adb_flush(db));
    expect_text(db, "key", NULL);
    adb_slice all = {0, 0};
    assert_ok(adb_compact(db, all, all));
    expect_text(db, "key", NULL);
    expect_text(db, "odd", "v3");
    assert_int_equal(stat_number(db, "tombstones"), 0);
    assert_ok(adb_close(db));
}

static void test_iterate(void **state)
{
    adb *db = open_with(*state, "");
    adb_iter *it;
    put_text(db, "b", "2");
    put_text(db, "d", "4");
    assert_ok(adb_flush(db));
    put_text(db, "a", "1");
    put_text(db, "c", "3");
    put_text(db, "d", "four");
    assert_ok(adb_delete(db, NULL, "b", 1));
    assert_ok(adb_iter_new(db, NULL, &it));
    put_text(db, "e", "not seen");
    char seen[64] = "";
    for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it)) {
        adb_slice k = adb_iter_key(it), v = adb_iter_value(it);
        strncat(seen, k.data, k.size);
        strcat(seen, "=");
        strncat(seen, v.data, v.size);
        strcat(seen, " ");
    }
    assert_string_equal(seen, "a=1 c=3 d=four ");
    assert_true(adb_iter_seek_last(it));
    assert_memory_equal(adb_iter_key(it).data, "d", 1);
    assert_true(adb_iter_prev(it));
    assert_memory_equal(adb_iter_key(it).data, "c", 1);
    assert_true(adb_iter_seek(it, "b", 1));
    assert_memory_equal(adb_iter_key(it).data, "c", 1);
    assert_true(adb_iter_seek_for_prev(it, "b", 1));
    assert_memory_equal(adb_iter_key(it).data, "a", 1);
    assert_false(adb_iter_prev(it));
    assert_ok(adb_iter_status(it));
    assert_int_equal(adb_close(db), ADB_BUSY);
    adb_iter_free(it);
    assert_ok(adb_close(db));
}

static void test_many_keys_through_all_levels(void **state)
{
    enum { KEYS = 60000 };
    adb *db = open_with(*state, "durability=process memtable_size=256K "
                                "memory_budget=8M");
    char key[32], value[128];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < KEYS; i++) {
            int n = (int)((uint64_t)i * 7919 % KEYS);
            snprintf(key, sizeof key, "key%08d", n);
            snprintf(value, sizeof value, "value %d of round %d %060d", n,
                     round, n);
            put_text(db, key, value);
        }
    assert_ok(adb_wait_idle(db, 60000));
    for (int reopened = 0; reopened < 2; reopened++) {
        for (int i = 0; i < KEYS; i += 7) {
            snprintf(key, sizeof key, "key%08d", i);
            snprintf(value, sizeof value, "value %d of round 2 %060d", i, i);
            expect_text(db, key, value);
        }
        adb_iter *it;
        int count = 0;
        assert_ok(adb_iter_new(db, NULL, &it));
        for (int more = adb_iter_seek_first(it); more;
             more = adb_iter_next(it))
            count++;
        assert_ok(adb_iter_status(it));
        adb_iter_free(it);
        assert_int_equal(count, KEYS);
        assert_ok(adb_close(db));
        db = open_with(*state, "memory_budget=8M");
    }
    assert_ok(adb_verify(db, NULL, NULL, NULL));
    assert_ok(adb_close(db));
    assert_ok(adb_destroy(*state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shadowing_across_flushes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_iterate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_keys_through_all_levels,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
