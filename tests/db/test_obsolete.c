/*
 * Tables that merges replaced: gone from the disk, and from the files that are
 * open, once nobody reads them; there as long as somebody does.
 */
#include "db_test.h"

#include "db/db_internal.h"
#include "env/env_memory.h"

enum { ROUNDS = 6 };

static adb_status count_table(void *context, const char *name)
{
    *(unsigned *)context += strstr(name, ".sst") != NULL;
    return ADB_OK;
}

static unsigned tables_on(struct env *disk)
{
    unsigned count = 0;
    assert_ok(env_list_dir(disk, "/db", count_table, &count));
    return count;
}

/* Six runs, each of which has been read, become one. */
static void flush_and_merge(adb *db)
{
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        db_test_put(db, key, "value");
        assert_ok(db_flush(db));
        db_test_expect_at(db, NULL, key, "value");
    }
    db_test_compact(db);
}

/* Nobody is in an epoch of before any more. */
static void remove_obsolete(adb *db)
{
    epoch_barrier(db->epoch);
    db_remove_obsolete(db);
}

static const char options[] = "background_threads=2 memory_budget=4M";

static void test_files_are_closed(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    (void)state;
    for (int i = 0; i < 3; i++) {
        flush_and_merge(db);
        remove_obsolete(db);
        assert_int_equal(tables_on(disk), 1);
        assert_true(file_table_open_count(db->files) <= 1);
    }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* An iterator reads its tables to the end, also those it had not opened. */
static void test_files_stay_for_a_reader(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    unsigned seen = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        db_test_put(db, key, "value");
        assert_ok(db_flush(db));
    }
    assert_ok(db_iter_new(db, &o, &it));
    db_test_compact(db);
    remove_obsolete(db);
    assert_int_equal(tables_on(disk), 4);
    for (it->user->ops->seek_first(it->user); it->user->valid;
         kv_iter_next(it->user))
        seen++;
    assert_ok(kv_iter_status(it->user));
    assert_int_equal(seen, 3);
    db_iter_free(it);
    remove_obsolete(db);
    assert_int_equal(tables_on(disk), 1);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* An iterator at rest keeps no table once its view was replaced. */
static void test_rest_keeps_nothing(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    (void)state;
    for (int i = 0; i < 3; i++) {
        db_test_put(db, "key", "value");
        assert_ok(db_flush(db));
    }
    assert_ok(db_iter_new(db, &o, &it));
    it->user->ops->seek_first(it->user);
    assert_true(it->user->valid);
    db_iter_free(it);
    db_test_compact(db);
    remove_obsolete(db);
    assert_int_equal(tables_on(disk), 1);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_closed),
        cmocka_unit_test(test_files_stay_for_a_reader),
        cmocka_unit_test(test_rest_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
