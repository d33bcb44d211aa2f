/*
 * Gets of many keys over tables that are not in memory: all of a group are
 * asked for before the first is waited for, each key has its own answer, and
 * counts once.
 */
#include "db/db_test.h"

#include "watched_files.h"
#include "env/env_memory.h"
#include "sst/sst_reader.h"

enum { KEYS = 20000, COUNT = 150, GROUP = 64, LARGE = 100000 };

static struct env *disk;
static char key_text[COUNT][32];
static adb_slice keys[COUNT];
static adb_value values[COUNT];
static adb_status statuses[COUNT];

static int setup(void **state)
{
    (void)state;
    disk = env_memory_new(ENV_MEMORY_STRICT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    env_memory_free(disk);
    return 0;
}

static char *large_value(void)
{
    char *value = malloc(LARGE + 1);
    memset(value, 'v', LARGE);
    value[LARGE] = '\0';
    return value;
}

/* One table; of each key the value is "value of KEY" and some filling, and of
   "large" it is long. Nothing of it is in memory. */
static adb *open_cold(void)
{
    const char *options = "durability=process idle_compaction=false";
    char key[32], value[200], *large = large_value();
    adb *db = db_test_open(disk, "/d", options);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%06d", i);
        snprintf(value, sizeof value, "value of %-90s", key);
        db_test_put(db, key, value);
    }
    db_test_put(db, "large", large);
    db_test_compact(db);
    assert_ok(db_close(db));
    free(large);
    watch_begin(disk);
    db = db_test_open(disk, "/d", options);
    /* Filter and index come into the cache. */
    db_test_expect(db, "key0000000", NULL);
    snprintf(value, sizeof value, "value of %-90s", "key000000");
    db_test_expect(db, "key000000", value);
    watched.count = 0;
    return db;
}

static void shut(adb *db)
{
    assert_ok(db_close(db));
    watch_end(disk);
}

/* Far apart, so that each lies in a block of its own. */
static void choose_keys(void)
{
    for (int i = 0; i < COUNT; i++) {
        snprintf(key_text[i], sizeof key_text[i], "key%06d", 100 + 120 * i);
        keys[i] = slice_of_string(key_text[i]);
    }
}

static void expect_own(int i)
{
    char value[200];
    snprintf(value, sizeof value, "value of %-90s", key_text[i]);
    assert_int_equal(statuses[i], ADB_OK);
    assert_int_equal(values[i].size, strlen(value));
    assert_memory_equal(values[i].data, value, values[i].size);
    db_value_release(&values[i]);
}

static adb_status get_all(adb *db)
{
    struct db_read r = {.snapshot = NULL};
    return db_multi_get(db, &r, COUNT, keys, values, statuses);
}

static void release_all(void)
{
    for (int i = 0; i < COUNT; i++)
        if (statuses[i] == ADB_OK)
            db_value_release(&values[i]);
}

static void test_side_by_side(void **state)
{
    (void)state;
    adb *db = open_cold();
    uint64_t gets = db_test_stat(db, "gets");
    uint64_t positives = db_test_stat(db, "filter_positives");
    choose_keys();
    assert_ok(get_all(db));
    /* Group after group: so many requests, then so many reads. */
    size_t i = 0;
    for (size_t left = COUNT; left; left -= MIN_OF(left, (size_t)GROUP)) {
        for (size_t n = 0; n < MIN_OF(left, (size_t)GROUP); n++)
            assert_int_equal(watched.events[i++].kind, WATCH_NOW);
        for (size_t n = 0; n < MIN_OF(left, (size_t)GROUP); n++)
            assert_int_equal(watched.events[i++].kind, WATCH_READ);
    }
    assert_int_equal(i, watched.count);
    for (int k = 0; k < COUNT; k++)
        expect_own(k);
    assert_int_equal(db_test_stat(db, "gets"), gets + COUNT);
    assert_int_equal(db_test_stat(db, "found"), gets - 1 + COUNT);
    assert_int_equal(db_test_stat(db, "filter_positives"), positives + COUNT);
    /* Now the cache has them. */
    watched.count = 0;
    assert_ok(get_all(db));
    assert_int_equal(watched.count, 0);
    for (int k = 0; k < COUNT; k++)
        expect_own(k);
    shut(db);
}

/* Memtable, none, deleted, large, and what is in memory after all. */
static void test_all_kinds(void **state)
{
    (void)state;
    adb *db = open_cold();
    char *large = large_value();
    choose_keys();
    db_test_put(db, key_text[3], "newer");
    db_test_delete(db, key_text[70]);
    keys[5] = slice_of_string("nothing of that name");
    keys[80] = slice_of_string("large");
    keys[149] = keys[0];
    assert_ok(get_all(db));
    release_all();
    /* Its block is in the cache now, so it is known where it lies. */
    size_t before = watched.count;
    assert_ok(get_all(db));
    assert_int_equal(watch_count(before, WATCH_ASK), 1);
    assert_int_equal(watch_count(before, WATCH_NOW), 0);
    assert_int_equal(statuses[3], ADB_OK);
    assert_memory_equal(values[3].data, "newer", 5);
    assert_int_equal(statuses[5], ADB_NOT_FOUND);
    assert_int_equal(statuses[70], ADB_NOT_FOUND);
    assert_int_equal(values[80].size, LARGE);
    assert_memory_equal(values[80].data, large, LARGE);
    db_value_release(&values[3]);
    db_value_release(&values[80]);
    strcpy(key_text[149], key_text[0]);
    for (int i = 0; i < COUNT; i++)
        if (i != 3 && i != 5 && i != 70 && i != 80)
            expect_own(i);
    free(large);
    shut(db);
}

/* What comes back, and its message, is the first key's that failed, in
   whatever order they were read. */
static adb_status broken_read(struct env_file *f, uint64_t offset, void *data,
                              size_t size, size_t *got)
{
    (void)f, (void)data, (void)size, (void)got;
    watch_note(WATCH_READ, offset, size);
    return status_set(ADB_IO, "no read at %llu", (unsigned long long)offset);
}

static void test_failures(void **state)
{
    (void)state;
    adb *db = open_cold();
    char text[64];
    choose_keys();
    db_test_put(db, key_text[0], "in the memtable");
    watched.file.read = broken_read;
    assert_int_equal(get_all(db), ADB_IO);
    const struct watch_event *first = NULL;
    for (size_t i = 0; i < watched.count && !first; i++)
        if (watched.events[i].kind == WATCH_READ)
            first = &watched.events[i];
    assert_non_null(first);
    snprintf(text, sizeof text, "no read at %llu",
             (unsigned long long)first->offset);
    assert_non_null(strstr(status_message(), text));
    assert_int_equal(statuses[0], ADB_OK);
    db_value_release(&values[0]);
    for (int i = 1; i < COUNT; i++)
        assert_int_equal(statuses[i], ADB_IO);
    watched.file.read = watch_read;
    assert_ok(get_all(db));
    db_value_release(&values[0]);
    for (int i = 1; i < COUNT; i++)
        expect_own(i);
    shut(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
