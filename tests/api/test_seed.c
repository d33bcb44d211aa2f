/*
 * The life of a record as the founding document of the project tells it
 * (docs/seed.md lists its statements): each test shows one of them.
 */
#include "api_test.h"

#include <dirent.h>

#include "base/hash.h"
#include "db/db.h"

enum { FILE_MAX = 1 << 20, FROZEN = 3 };

static const char small[] = "durability=process memtable_size=64K "
                            "max_memtables=4 compression=none";

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

/* Keys and values are arbitrary arrays of bytes. */
static void test_arbitrary_bytes(void **state)
{
    adb *db = open_with(*state, small);
    uint8_t all[256], reversed[256];
    adb_value v = ADB_VALUE_INIT;
    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
        reversed[i] = (uint8_t)(255 - i);
    }
    for (int flushed = 0; flushed < 2; flushed++) {
        assert_ok(adb_put(db, NULL, all, sizeof all, reversed, 256));
        if (flushed)
            assert_ok(adb_flush(db));
        assert_ok(adb_get(db, NULL, all, sizeof all, &v));
        assert_int_equal(v.size, 256);
        assert_memory_equal(v.data, reversed, 256);
        adb_value_release(&v);
    }
    assert_ok(adb_close(db));
}

/* Memtable and log hold a write as soon as it returns; the log alone brings it
   back when the process died: there was no table before. The memtable that it
   restores is then flushed at once where nobody had synced the log
   (docs/recovery.md), so that no later durable write can outlive it. */
static void test_log_restores_memtable(void **state)
{
    char *json;
    adb *db = open_with(*state, small);
    put_text(db, "a", "1");
    put_text(db, "b", "2");
    put_text(db, "a", "3");
    expect_text(db, "a", "3");
    assert_int_equal(stat_number(db, "keys"), 2);
    assert_int_equal(stat_number(db, "records"), 3);
    assert_int_equal(stat_number(db, "flushes"), 0);
    db_test_abandon(db);
    db = open_with(*state, small);
    assert_int_equal(stat_number(db, "recovered_records"), 3);
    assert_ok(adb_stats(db, &json));
    char *tables = strstr(json, "\"tables\":{");
    char *entries = tables ? strstr(tables, "\"entries\":") : NULL;
    assert_non_null(entries);
    assert_int_equal(stat_number(db, "keys") +
                         strtoull(strchr(entries, ':') + 1, NULL, 10), 2);
    adb_free(json);
    expect_text(db, "a", "3");
    expect_text(db, "b", "2");
    assert_ok(adb_close(db));
}

/* A log known to be synced restores the memtable, and makes no table. */
static void test_synced_log_restores_memtable(void **state)
{
    adb *db = open_with(*state, small);
    put_text(db, "a", "1");
    put_text(db, "b", "2");
    put_text(db, "a", "3");
    assert_ok(adb_close(db));
    db = open_with(*state, small);
    assert_int_equal(stat_number(db, "recovered_records"), 3);
    assert_int_equal(stat_number(db, "keys"), 2);
    expect_text(db, "a", "3");
    expect_text(db, "b", "2");
    assert_ok(adb_close(db));
}

/* An update of a record in the memtable replaces its node; one of a record in
   a table is simply written into the tree. */
static void test_updates(void **state)
{
    adb *db = open_with(*state, small);
    put_text(db, "key", "one");
    put_text(db, "key", "two");
    put_text(db, "key", "six");
    assert_int_equal(stat_number(db, "keys"), 1);
    assert_int_equal(stat_number(db, "versions"), 1);
    assert_int_equal(stat_number(db, "replaced_in_place"), 2);
    assert_ok(adb_flush(db));
    assert_int_equal(stat_number(db, "keys"), 0);
    put_text(db, "key", "new");
    assert_int_equal(stat_number(db, "keys"), 1);
    assert_int_equal(stat_number(db, "replaced_in_place"), 0);
    assert_int_equal(stat_number(db, "entries"), 1);
    expect_text(db, "key", "new");
    assert_ok(adb_close(db));
}

/* Writes until one more memtable waits for its flush. */
static void fill_memtable(adb *db, int round)
{
    size_t before = db_test_frozen_count(db);
    char key[32], value[512];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; db_test_frozen_count(db) == before; i++) {
        snprintf(key, sizeof key, "filler %d %d", round, i);
        put_text(db, key, value);
        assert_true(i < 10000);
    }
}

static void write_round(adb *db, int round)
{
    char key[16], value[16];
    snprintf(key, sizeof key, "only %d", round);
    snprintf(value, sizeof value, "round %d", round);
    put_text(db, "every", value);
    put_text(db, key, value);
    if (round == 1)
        assert_ok(adb_delete(db, NULL, "only 0", 6));
}

static void expect_rounds(adb *db)
{
    expect_text(db, "every", "round 3");
    expect_text(db, "only 0", NULL);
    expect_text(db, "only 1", "round 1");
    expect_text(db, "only 2", "round 2");
    expect_text(db, "only 3", "round 3");
}

/* One memtable takes writes; those being flushed stay readable, the newest is
   asked first, and the tables they become say the same. */
static void test_flushing_memtables(void **state)
{
    adb *db = open_with(*state, small);
    db_test_hold_flush(db, true);
    for (int round = 0; round < FROZEN; round++) {
        write_round(db, round);
        fill_memtable(db, round);
        assert_int_equal(db_test_frozen_count(db), round + 1);
    }
    write_round(db, FROZEN);
    assert_int_equal(stat_number(db, "count"), 0);
    expect_rounds(db);
    db_test_hold_flush(db, false);
    assert_ok(adb_flush(db));
    assert_int_equal(db_test_frozen_count(db), 0);
    assert_int_equal(stat_number(db, "keys"), 0);
    expect_rounds(db);
    assert_ok(adb_close(db));
}

/* At the threshold, and not before, the memtable is flushed by itself, and one
   that a hot key keeps small is flushed when its log has grown. */
static void test_thresholds(void **state)
{
    adb *db = open_with(*state, small);
    put_text(db, "little", "data");
    assert_ok(adb_wait_idle(db, 0));
    assert_int_equal(stat_number(db, "flushes"), 0);
    /* Held meanwhile, or it may be over before it is seen to begin. */
    db_test_hold_flush(db, true);
    fill_memtable(db, 0);
    db_test_hold_flush(db, false);
    assert_ok(adb_wait_idle(db, 0));
    assert_int_equal(stat_number(db, "flushes"), 1);

    char value[512];
    memset(value, 'y', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 600; i++) /* 300 KiB of log, one key */
        put_text(db, "hot", value);
    assert_ok(adb_wait_idle(db, 0));
    assert_int_equal(stat_number(db, "flushes"), 2);
    expect_text(db, "hot", value);
    assert_ok(adb_close(db));
}

/* Once its memtable is in a table the log is deleted, or kept as a spare that
   counts as deleted: nothing is recovered from it. */
static void test_log_deleted(void **state)
{
    adb *db = open_with(*state, small);
    for (int round = 0; round < 4; round++) {
        write_round(db, round);
        assert_ok(adb_flush(db));
    }
    db_test_abandon(db);
    db = open_with(*state, small);
    assert_int_equal(stat_number(db, "recovered_records"), 0);
    expect_rounds(db);
    assert_ok(adb_close(db));
}

/* ---- tables ------------------------------------------------------------ */

struct tables {
    int count;
    uint64_t sum; /* of all names and contents, in any order */
};

static uint64_t sum_file(const char *path)
{
    static uint8_t bytes[FILE_MAX];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return checksum_bytes(bytes, size);
}

/* The tables there are; except: names that do not count. */
static struct tables look_at_tables(const char *path, const char *except)
{
    struct tables t = {0, 0};
    char name[5000];
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *e; (e = readdir(directory));) {
        if (!strstr(e->d_name, ".sst") || strstr(except, e->d_name))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        t.count++;
        t.sum += sum_file(name) ^ checksum_bytes(e->d_name, 10);
    }
    closedir(directory);
    return t;
}

static void names_of_tables(const char *path, char *names, size_t size)
{
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *e; (e = readdir(directory));)
        if (strstr(e->d_name, ".sst"))
            snprintf(names + strlen(names), size - strlen(names), "%s ",
                     e->d_name);
    closedir(directory);
}

/* A table never changes: updates and deletions go to new ones. */
static void test_tables_immutable(void **state)
{
    adb *db = open_with(*state, small);
    char before[256] = "", after[512] = "";
    write_round(db, 0);
    assert_ok(adb_flush(db));
    names_of_tables(*state, before, sizeof before);
    struct tables first = look_at_tables(*state, "");
    assert_int_equal(first.count, 1);
    write_round(db, 1);
    put_text(db, "every", "changed");
    assert_ok(adb_flush(db));
    names_of_tables(*state, after, sizeof after);
    char *old = strstr(after, before);
    assert_non_null(old);
    /* Without the newer one, what there was is what there is. */
    memmove(old, old + strlen(before), strlen(old + strlen(before)) + 1);
    struct tables still = look_at_tables(*state, after);
    assert_int_equal(still.count, 1);
    assert_int_equal(still.sum, first.sum);
    assert_int_equal(look_at_tables(*state, "").count, 2);
    expect_text(db, "every", "changed");
    assert_ok(adb_close(db));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_arbitrary_bytes),    TEST(test_log_restores_memtable),
        TEST(test_updates),            TEST(test_flushing_memtables),
        TEST(test_thresholds),         TEST(test_log_deleted),
        TEST(test_tables_immutable),
        TEST(test_synced_log_restores_memtable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
