/*
 * Opening where something is in the way: threads that do not start, a database
 * that shall not be there or shall be, another opener, names of all forms. What
 * was taken is given back, and the next opening finds all of it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "db_test.h"

#include "env/env_memory.h"

static int threads_left = -1; /* that may start; -1: all */

int pthread_create(pthread_t *t, const pthread_attr_t *attributes,
                   void *(*run)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (threads_left == 0)
        return EAGAIN;
    threads_left -= threads_left > 0;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(t, attributes, run, argument);
}

static void test_threads_do_not_start(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct adb_options o = db_test_options(
        disk, "memtable_size=64K background_threads=3 durability=process");
    adb *db = db_test_open(disk, "/db", "durability=process");
    db_test_put(db, "key", "value");
    assert_ok(db_close(db));
    /* Three for work, two for the log. */
    for (int n = 0; n < 5; n++) {
        threads_left = n;
        adb_status status = db_open("/db", &o, &db);
        threads_left = -1;
        assert_int_equal(status, ADB_IO);
        assert_non_null(strstr(status_message(), "cannot start the thread"));
    }
    threads_left = 5;
    assert_ok(db_open("/db", &o, &db));
    threads_left = -1;
    db_test_expect(db, "key", "value");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

static void test_what_is_there(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct adb_options o = db_test_options(disk, "create_if_missing=false");
    adb *db, *second;
    assert_int_equal(db_open("/db", &o, &db), ADB_NOT_A_DATABASE);
    assert_non_null(strstr(status_message(), "create_if_missing is off"));
    db = db_test_open(disk, "/db", "");
    assert_int_equal(db_open("/db", &o, &second), ADB_BUSY);
    assert_non_null(strstr(status_message(), "is open already"));
    assert_ok(db_close(db));
    o = db_test_options(disk, "error_if_exists=true");
    assert_int_equal(db_open("/db", &o, &db), ADB_EXISTS);
    assert_non_null(strstr(status_message(), "holds a database already"));
    /* No place for it. */
    o = db_test_options(disk, "");
    assert_int_equal(db_open("/none/db", &o, &db), ADB_NOT_FOUND);
    assert_non_null(strstr(status_message(), "cannot make the database "));
    assert_int_equal(db_destroy(disk, "/none"), ADB_NOT_A_DATABASE);
    env_memory_free(disk);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"/db",  "db2",      "/db3/", "db4//",
                                        "/a/b", "//a///c//"};
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    assert_ok(env_make_dir(disk, "/a"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        adb *db = db_test_open(disk, names[i], "");
        db_test_put(db, "key", names[i]);
        assert_ok(db_close(db));
        db = db_test_open(disk, names[i], "create_if_missing=false");
        db_test_expect(db, "key", names[i]);
        assert_ok(db_close(db));
        assert_ok(db_destroy(disk, names[i]));
    }
    env_memory_free(disk);
}

/* Segments that shrink below those there are, files that only half belong. */
static void test_other_options(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", "durability=process "
                                        "wal_segment_min=1M");
    db_test_put(db, "key", "value");
    assert_ok(db_close(db));
    db = db_test_open(disk, "/db",
                      "durability=none memtable_size=32K max_open_files=8");
    db_test_expect(db, "key", "value");
    assert_ok(db_sync(db));
    assert_ok(db_flush(db));
    struct db_write nothing = {
        .batch = &(struct kv_batch){.count = 0},
        .durability = ADB_DURABILITY_NONE};
    assert_ok(db_write(db, &nothing));
    /* Asked for more than the database promises. */
    assert_ok(db_test_put_as(db, "key", "safe", ADB_DURABILITY_SYNC));
    db_test_abandon(db);
    db = db_test_open(disk, "/db", "");
    db_test_expect(db, "key", "safe");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_start),
        cmocka_unit_test(test_what_is_there),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
