/*
 * A new memtable takes its memory from a full cache: not the writer that needs
 * it makes the room, and it is made though nobody reads any more.
 */
#include "db/db_test.h"

#include "env/env_memory.h"

enum { KEYS = 16000, WAIT_MS = 20000 };

static void read_all(adb *db)
{
    char key[32];
    for (int i = 0; i < KEYS; i++) {
        adb_value v = ADB_VALUE_INIT;
        struct db_read r = {.pinned = &v};
        snprintf(key, sizeof key, "key%08d", i);
        assert_ok(db_get(db, slice_of_string(key), &r));
        db_value_release(&v);
    }
}

static void test_nobody_reads(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/d",
                           "durability=process memory_budget=8M "
                           "memtable_size=1M max_memtables=4 "
                           "idle_compaction=false");
    /* The tables are twice the budget. */
    db_test_put_many(db, "key", KEYS, 1024);
    db_test_compact(db);
    read_all(db);
    uint64_t budget = db_test_stat(db, "budget");
    assert_true(db_test_stat(db, "total") > budget / 10 * 9);
    /* It keeps the memtable that is frozen below, flushed or not. */
    adb_iter_options options = ADB_ITER_OPTIONS_INIT;
    adb_iter *it = NULL;
    assert_ok(db_iter_new(db, &options, &it));
    db_test_put_many(db, "other", 11000, 100); /* one and a half of them */
    uint64_t total = 0;
    for (int ms = 0; ms < WAIT_MS; ms++) {
        total = db_test_stat(db, "total");
        if (total <= budget)
            break;
        clock_sleep_ns(1000000);
    }
    assert_true(total <= budget);
    db_iter_free(it);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nobody_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
