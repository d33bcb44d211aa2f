/*
 * Writers and waiters with a deadline: a queue that does not move ends in
 * ADB_TIMEOUT that says what was waited for, changes nothing, and is over when
 * flushes go on; values larger than a memtable pass one at a time. One flush
 * that takes long makes all writers slower and none stand still.
 */
#include "db_test.h"

#include "env/env_fault.h"
#include "env/env_memory.h"

static const char options[] =
    "memtable_size=64K max_memtables=2 memory_budget=8M "
    "durability=process wal_segment_min=64K idle_compaction=false";

static adb_status put_within(adb *db, const char *key, size_t size,
                             uint64_t ms)
{
    char *value = malloc(size);
    memset(value, key[0], size);
    struct db_write w = {.kind = KV_PUT,
                         .key = slice_of_string(key),
                         .value = slice_of(value, size),
                         .durability = db_durability(db),
                         .deadline_ns = clock_now_ns() + ms * 1000000};
    adb_status status = db_write(db, &w);
    free(value);
    return status;
}

static void expect_size(adb *db, const char *key, size_t size)
{
    uint8_t small[4];
    size_t found = 0;
    struct db_read r = {.buffer = small, .buffer_size = 4,
                        .value_size = &found};
    assert_int_equal(db_get(db, slice_of_string(key), &r),
                     size > 4 ? ADB_TOO_LARGE : ADB_OK);
    assert_int_equal(found, size);
}

/* Until there is no room; how many were taken. */
static unsigned fill_queue(adb *db)
{
    char key[16];
    db_test_hold_flush(db, true);
    for (unsigned i = 0;; i++) {
        snprintf(key, sizeof key, "k%05u", i);
        adb_status status = put_within(db, key, 900, 40);
        if (status != ADB_OK) {
            assert_int_equal(status, ADB_TIMEOUT);
            return i;
        }
        assert_true(i < 100000);
    }
}

static void test_full_queue(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    unsigned taken = fill_queue(db);
    assert_non_null(strstr(status_message(), "the write's deadline passed"));
    assert_non_null(strstr(status_message(), "memtables wait"));
    assert_true(taken > 60);
    assert_int_equal(db_wait_idle(db, 20), ADB_TIMEOUT);
    assert_non_null(strstr(status_message(), "background work goes on"));
    assert_true(db_test_stat(db, "waits") > 0);
    assert_true(db_test_stat(db, "wait_max_ns") > 0);
    db_test_hold_flush(db, false);
    assert_ok(put_within(db, "k99999", 900, 60000));
    assert_ok(db_wait_idle(db, 0));
    assert_ok(db_wait_idle(db, 60000));
    for (unsigned i = 0; i < taken; i += 7) {
        char key[16];
        snprintf(key, sizeof key, "k%05u", i);
        expect_size(db, key, 900);
    }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

static unsigned writes_that_fit(const char *more)
{
    char text[256];
    snprintf(text, sizeof text,
             "memtable_size=1M max_memtables=2 wal_segment_min=64K "
             "wal_segment_max=64K idle_compaction=false %s",
             more);
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", text);
    unsigned taken = fill_queue(db);
    db_test_hold_flush(db, false);
    assert_ok(db_close(db));
    env_memory_free(disk);
    return taken;
}

/* A memtable may end early, with its log segment, but not the last one there
   is room for: its writer would wait beside a memtable that is not full. */
static void test_room_to_the_end(void **state)
{
    (void)state;
    unsigned without_log = writes_that_fit("durability=none");
    unsigned with_log = writes_that_fit("durability=process");
    printf("%u writes of 900 bytes in two MiB, %u with their log\n",
           without_log, with_log);
    assert_true(without_log > 2000);
    /* All of the second, and three quarters of the first. */
    assert_true(with_log > without_log / 16 * 14);
}

/* The flush thread wakes who waits for it before it drops the memtable, so
   this may take a moment; but nothing else has to happen first. */
static void expect_given_back(adb *db, const char *row)
{
    uint64_t until = clock_now_ns() + 10000000000;
    while (db_test_stat(db, row) != 0 && clock_now_ns() < until)
        clock_sleep_ns(1000000);
    assert_int_equal(db_test_stat(db, row), 0);
}

/* One that is larger than a memtable waits for all others, and they for it. */
static void test_large_values(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    assert_ok(put_within(db, "a", 200000, 60000));
    assert_ok(db_flush(db));
    expect_given_back(db, "oversize");
    db_test_hold_flush(db, true);
    assert_ok(put_within(db, "a", 300000, 60000));
    assert_ok(put_within(db, "b", 100, 60000)); /* beside it, there is room */
    assert_int_equal(put_within(db, "c", 300000, 30), ADB_TIMEOUT);
    assert_int_equal(put_within(db, "d", 300000, 30), ADB_TIMEOUT);
    expect_size(db, "a", 300000);
    db_test_hold_flush(db, false);
    assert_ok(put_within(db, "c", 300000, 60000));
    assert_ok(put_within(db, "d", 400000, 60000));
    assert_ok(put_within(db, "e", 3, 60000));
    for (int i = 0; i < 2; i++) {
        expect_size(db, "a", 300000);
        expect_size(db, "b", 100);
        expect_size(db, "c", 300000);
        expect_size(db, "d", 400000);
        expect_size(db, "e", 3);
        assert_ok(db_flush(db));
    }
    expect_given_back(db, "oversize");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

static void write_for(adb *db, uint64_t ms)
{
    uint64_t until = clock_now_ns() + ms * 1000000;
    for (unsigned i = 0; clock_now_ns() < until; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%07u", i);
        assert_ok(put_within(db, key, 100, 60000));
    }
}

/* The disk does something else for a second, in which writers at full speed
   would fill the queue twenty times over. */
static void test_one_slow_flush(void **state)
{
    (void)state;
    /* Of two in a second one is a flush's: one thread merges. */
    static const struct env_fault_rule slow = {.operations = ENV_FAULT_SYNC,
                                               .path_part = ".sst",
                                               .count = 2,
                                               .delay_ns = 1000000000};
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    adb *db = db_test_open(env, "/db",
                           "memtable_size=1M durability=process "
                           "background_threads=2 idle_compaction=false");
    write_for(db, 500);
    uint64_t before = db_test_stat(db, "flush_ns");
    env_fault_set(env, &slow);
    write_for(db, 1500);
    assert_true(db_test_stat(db, "flush_ns") - before > slow.delay_ns);
    printf("longest wait %.1f ms\n",
           (double)db_test_stat(db, "wait_max_ns") / 1e6);
    assert_true(db_test_stat(db, "wait_max_ns") < 60000000);
    assert_ok(db_close(db));
    env_fault_free(env);
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_room_to_the_end),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_one_slow_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
