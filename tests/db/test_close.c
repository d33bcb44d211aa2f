/* What somebody still holds keeps a database from closing. */
#include "db_test.h"

#include "env/env_memory.h"

static void expect_busy(adb *db, const char *what)
{
    assert_int_equal(db_close(db), ADB_BUSY);
    if (!strstr(status_message(), what))
        fail_msg("'%s' does not speak of '%s'", status_message(), what);
    db_test_expect(db, "key", "value"); /* and it goes on */
}

static void test_handles(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", "memory_budget=4M");
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_value value = ADB_VALUE_INIT;
    struct db_read read = {.pinned = &value};
    adb_snapshot *snapshot;
    adb_iter *it;
    (void)state;
    db_test_put(db, "key", "value");
    assert_ok(db_snapshot_new(db, &snapshot));
    expect_busy(db, "1 snapshots");
    db_snapshot_release(db, snapshot);
    assert_ok(db_iter_new(db, &o, &it));
    expect_busy(db, "1 iterators");
    db_iter_free(it);
    assert_ok(db_get(db, slice_of_string("key"), &read));
    expect_busy(db, "1 values");
    db_value_release(&value);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
