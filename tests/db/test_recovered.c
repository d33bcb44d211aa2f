/*
 * What an opening makes of a log: a memtable of the usual size that lives on,
 * or tables.
 */
#include "db_test.h"

#include "env/env_memory.h"

static const char options[] = "memory_budget=4M memtable_size=64K "
                              "durability=process wal_segment_min=64K";
enum { LARGE = 300000 };

static void put_large(adb *db, const char *key)
{
    char *value = malloc(LARGE + 1);
    memset(value, key[0], LARGE);
    value[LARGE] = '\0';
    db_test_put(db, key, value);
    free(value);
}

static void expect_large(adb *db, const char *key)
{
    char *value = malloc(LARGE + 1);
    memset(value, key[0], LARGE);
    value[LARGE] = '\0';
    db_test_expect(db, key, value);
    free(value);
}

/* What fits the memtable stays there, and its log with it. */
static void test_fits(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    db_test_put(db, "small", "value");
    assert_ok(db_close(db));
    db = db_test_open(disk, "/db", options);
    assert_int_equal(db_test_stat(db, "keys"), 1);
    assert_int_equal(db_test_stat(db, "count"), 0);
    db_test_expect(db, "small", "value");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* A write larger than a memtable goes to a table, as it would have when the
   next one came: no arena of its size lives on. */
static void test_write_above_the_memtable_size(void **state)
{
    bool alone = *(bool *)*state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    if (!alone)
        db_test_put(db, "small", "value");
    put_large(db, "large");
    assert_ok(db_close(db));
    db = db_test_open(disk, "/db", options);
    assert_int_equal(db_test_stat(db, "oversize"), 0);
    assert_int_equal(db_test_stat(db, "keys"), 0);
    assert_true(db_test_stat(db, "count") > 0);
    expect_large(db, "large");
    db_test_expect(db, "small", alone ? NULL : "value");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    static bool yes = true, no = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test_prestate(test_write_above_the_memtable_size, &yes),
        cmocka_unit_test_prestate(test_write_above_the_memtable_size, &no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
