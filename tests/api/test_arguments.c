/*
 * Arguments that cannot be, one at a time: ADB_INVALID and words, nothing
 * written, nothing crashed. What may be left out may be left out.
 */
#include "api_test.h"

#include "base/alloc.h"

static const adb_slice nothing = {NULL, 0}, broken = {NULL, 5};

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

static void refused(adb_status status, const char *message)
{
    if (status != ADB_INVALID || !strstr(adb_error_message(), message))
        fail_msg("'%s' is %s: %s", message, adb_status_name(status),
                 adb_error_message());
}

static void test_no_database(void **state)
{
    (void)state;
    static const char message[] = "no database handle given";
    adb_value v = ADB_VALUE_INIT;
    adb_slice key = {"k", 1};
    adb_status one;
    adb_batch *batch = adb_batch_new();
    adb_iter *it;
    char buffer[8];
    size_t size;
    uint64_t bytes;
    refused(adb_delete(NULL, NULL, "k", 1), message);
    refused(adb_write(NULL, NULL, batch), message);
    refused(adb_get(NULL, NULL, "k", 1, &v), message);
    refused(adb_get_into(NULL, NULL, "k", 1, buffer, 8, &size), message);
    refused(adb_multi_get(NULL, NULL, 1, &key, &v, &one), message);
    refused(adb_iter_new(NULL, NULL, &it), message);
    refused(adb_approximate_size(NULL, nothing, nothing, &bytes), message);
    refused(adb_verify_damage(NULL, NULL, NULL, NULL), message);
    adb_options_set_log(NULL, NULL, NULL);
    assert_int_equal(adb_batch_count(NULL), 0);
    assert_int_equal(adb_batch_size(NULL), 0);
    assert_ok(adb_batch_put(batch, "k", 1, "v", 1));
    assert_int_equal(adb_batch_count(batch), 1);
    assert_true(adb_batch_size(batch) >= 2);
    adb_batch_free(batch);
}

static void test_pointers(void **state)
{
    adb *db = open_with(*state, "");
    adb_options *o = adb_options_new();
    adb_value values[2] = {ADB_VALUE_INIT, ADB_VALUE_INIT};
    adb_slice keys[2] = {{"k", 1}, {NULL, 3}};
    adb_status statuses[2];
    adb_iter *it;
    char buffer[8];
    size_t size;
    uint64_t bytes;
    static const char null[] = "a pointer is NULL but its size is";
    static const char no_place[] = "keys but no place for them";
    refused(adb_destroy(""), "no path given");
    refused(adb_batch_delete(NULL, "k", 1), "no batch given");
    refused(adb_get_into(db, NULL, NULL, 3, buffer, 8, &size), null);
    refused(adb_multi_get(db, NULL, 2, keys, values, statuses), null);
    refused(adb_multi_get(db, NULL, 2, keys, NULL, statuses), no_place);
    refused(adb_multi_get(db, NULL, 2, keys, values, NULL), no_place);
    for (int i = 0; i < 2; i++) {
        adb_iter_options io = ADB_ITER_OPTIONS_INIT;
        *(i ? &io.upper : &io.lower) = broken;
        refused(adb_iter_new(db, &io, &it), null);
    }
    refused(adb_compact(db, nothing, broken), null);
    refused(adb_approximate_size(db, nothing, broken, &bytes), null);
    refused(adb_options_get(NULL, "durability", buffer, 8), "no options");
    refused(adb_options_get(o, "durability", buffer, 0), "no buffer given");
    refused(adb_options_get(o, "no_such", buffer, 8), "unknown option");
    refused(adb_options_get(o, NULL, buffer, 8), "unknown option '(null)'");
    adb_snapshot *snapshot;
    assert_ok(adb_snapshot_new(db, &snapshot));
    adb_snapshot_release(NULL, snapshot);
    adb_snapshot_release(db, snapshot);
    adb_options_free(o);
    assert_ok(adb_close(db));
}

/* Empty keys and values are keys and values, with or without a pointer. */
static void test_empty(void **state)
{
    adb *db = open_with(*state, "");
    adb_value v = ADB_VALUE_INIT;
    size_t size = 9;
    assert_ok(adb_put(db, NULL, NULL, 0, NULL, 0));
    assert_ok(adb_get(db, NULL, "", 0, &v));
    assert_int_equal(v.size, 0);
    adb_value_release(&v);
    assert_ok(adb_get_into(db, NULL, NULL, 0, NULL, 0, &size));
    assert_int_equal(size, 0);
    adb_iter *it;
    assert_ok(adb_iter_new(db, NULL, &it));
    assert_true(adb_iter_seek_for_prev(it, NULL, 0));
    assert_int_equal(adb_iter_key(it).size, 0);
    assert_false(adb_iter_prev(it));
    assert_null(adb_iter_key(it).data);
    assert_null(adb_iter_value(it).data);
    assert_false(adb_iter_prev(it));
    assert_false(adb_iter_valid(it));
    adb_iter_free(it);
    assert_ok(adb_delete(db, NULL, NULL, 0));
    assert_int_equal(adb_get(db, NULL, NULL, 0, &v), ADB_NOT_FOUND);
    assert_ok(adb_close(db));
}

static void test_write_options(void **state)
{
    adb *db = open_with(*state, "durability=process");
    adb_write_options w = ADB_WRITE_OPTIONS_INIT;
    w.durability = (adb_durability)17;
    refused(adb_put(db, &w, "k", 1, "v", 1), "durability 17 does not exist");
    w.durability = (adb_durability)-1;
    refused(adb_delete(db, &w, "k", 1), "does not exist");
    expect_text(db, "k", NULL);
    /* Older than the field: not looked at. */
    w.struct_size = offsetof(adb_write_options, durability);
    assert_ok(adb_put(db, &w, "k", 1, "v", 1));
    w = (adb_write_options)ADB_WRITE_OPTIONS_INIT;
    w.durability = ADB_DURABILITY_SYNC;
    w.timeout_ms = UINT64_MAX; /* no overflow: never */
    assert_ok(adb_put(db, &w, "k", 1, "w", 1));
    expect_text(db, "k", "w");
    char key[ADB_MAX_KEY_SIZE + 1] = "";
    assert_int_equal(adb_put(db, NULL, key, sizeof key, "v", 1),
                     ADB_TOO_LARGE);
    assert_int_equal(adb_delete(db, NULL, key, sizeof key), ADB_TOO_LARGE);
    assert_ok(adb_close(db));
}

/* ---- no memory ----------------------------------------------------------- */

static int fail_all(void *context, size_t size)
{
    (void)context, (void)size;
    return 1;
}

static void test_out_of_memory(void **state)
{
    adb *db = open_with(*state, "");
    adb_iter *it;
    static char key[1000];
    put_text(db, "k", "v");
    assert_ok(adb_iter_new(db, NULL, &it));
    mem_set_fail_hook(fail_all, NULL);
    adb_options *o = adb_options_new();
    adb_batch *b = adb_batch_new();
    adb_snapshot *snapshot;
    adb_status snapped = adb_snapshot_new(db, &snapshot);
    int found = adb_iter_seek_for_prev(it, key, sizeof key);
    adb *none = NULL;
    adb_status opened = adb_open(*state, NULL, &none);
    mem_set_fail_hook(NULL, NULL);
    assert_null(o);
    assert_null(b);
    assert_int_equal(snapped, ADB_NO_MEMORY);
    assert_int_equal(opened, ADB_NO_MEMORY);
    assert_false(found);
    assert_int_equal(adb_iter_status(it), ADB_NO_MEMORY);
    memset(key, 'z', sizeof key);
    assert_true(adb_iter_seek_for_prev(it, key, sizeof key));
    assert_memory_equal(adb_iter_key(it).data, "k", 1);
    adb_iter_free(it);
    assert_ok(adb_close(db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_database),
        cmocka_unit_test_setup_teardown(test_pointers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
