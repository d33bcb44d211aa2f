/*
 * The engine at its edges: names that are no text, sequences that run out,
 * sizes between keys, what is told to the log.
 */
#include "db_test.h"

#include <errno.h>

#include "db/db_internal.h"
#include "env/env_fault.h"
#include "env/env_memory.h"

/* ---- statistics ---------------------------------------------------------- */

/* The path stands in the statistics as JSON: what is no UTF-8 as U+FFFD. */
static void test_paths_as_json(void **state)
{
    (void)state;
    static const struct {
        const char *name, *json;
    } cases[] = {
        {"/plain", "\"path\":\"/plain\""},
        {"/a\"b\\c", "\"path\":\"/a\\\"b\\\\c\""},
        {"/tab\there\x01", "\"path\":\"/tab\\u0009here\\u0001\""},
        {"/\xc3\xa4", "\"path\":\"/\xc3\xa4\""},
        {"/\xe2\x82\xac", "\"path\":\"/\xe2\x82\xac\""},
        {"/\xf0\x9f\x99\x82", "\"path\":\"/\xf0\x9f\x99\x82\""},
        {"/\xf4\x8f\xbf\xbf", "\"path\":\"/\xf4\x8f\xbf\xbf\""},
        {"/\x80", "\"path\":\"/\\ufffd\""},
        {"/\xc0\xaf", "\"path\":\"/\\ufffd\\ufffd\""}, /* too long a form */
        {"/\xe0\x80\xaf", "\"path\":\"/\\ufffd\\ufffd\\ufffd\""},
        {"/\xed\xa0\x80", "\"path\":\"/\\ufffd\\ufffd\\ufffd\""},
        {"/\xf4\x90\x80\x80", "\"path\":\"/\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"/\xf5z", "\"path\":\"/\\ufffdz\""},
        {"/\xe2\x82", "\"path\":\"/\\ufffd\\ufffd\""}, /* cut short */
        {"/\xc3z", "\"path\":\"/\\ufffdz\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
        adb *db = db_test_open(disk, cases[i].name, "");
        char *json;
        assert_ok(db_stats(db, &json));
        if (!strstr(json, cases[i].json))
            fail_msg("%s is not in %.300s", cases[i].json, json);
        free(json);
        assert_ok(db_close(db));
        env_memory_free(disk);
    }
}

/* ---- sequences ----------------------------------------------------------- */

static void test_sequences_run_out(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", "durability=process");
    db_test_put(db, "key", "value");
    mutex_lock(&db->write_lock);
    uint64_t before = db->last_seq;
    db->last_seq = KV_MAX_SEQ - 1;
    mutex_unlock(&db->write_lock);
    assert_int_equal(db_test_put_as(db, "key", "other", ADB_DURABILITY_DEFAULT),
                     ADB_TOO_LARGE);
    assert_non_null(strstr(status_message(), "are used up"));
    mutex_lock(&db->write_lock);
    db->last_seq = before;
    mutex_unlock(&db->write_lock);
    db_test_expect(db, "key", "value");
    db_test_put(db, "key", "other");
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* ---- sizes --------------------------------------------------------------- */

static uint64_t size_between(adb *db, const char *from, const char *to)
{
    uint64_t bytes = ~UINT64_C(0);
    assert_ok(db_approximate_size(
        db, from ? slice_of_string(from) : slice_of(NULL, 0),
        to ? slice_of_string(to) : slice_of(NULL, 0), &bytes));
    return bytes;
}

static void test_sizes(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db",
                           "memory_budget=16M memtable_size=256K "
                           "table_size=64K compression=none block_size=1K");
    assert_int_equal(size_between(db, NULL, NULL), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            char key[16], value[301];
            snprintf(key, sizeof key, "key%04d", i);
            memset(value, 'a' + i % 26, 300);
            value[300] = '\0';
            db_test_put(db, key, value);
        }
        /* In memory, then in tables. */
        uint64_t all = size_between(db, NULL, NULL);
        assert_in_range(all, 200000, 900000);
        uint64_t half = size_between(db, "key0250", "key0750");
        assert_in_range(half, all / 4, all * 3 / 4);
        assert_in_range(size_between(db, NULL, "key0500"), all / 4,
                        all * 3 / 4);
        assert_in_range(size_between(db, "key0500", NULL), all / 4,
                        all * 3 / 4);
        assert_int_equal(size_between(db, "x", "z"), 0);
        assert_true(size_between(db, "key0750", "key0250") < all / 20);
        assert_true(size_between(db, "a", "b") < all / 20);
        db_test_compact(db);
    }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* ---- the log callback ---------------------------------------------------- */

struct told {
    struct mutex lock;
    unsigned lines, errors, warnings;
    bool flushed, merged;
};

static void listen_to(void *context, int level, const char *text)
{
    struct told *t = context;
    mutex_lock(&t->lock);
    t->lines++;
    t->errors += level == 0;
    t->warnings += level == 1;
    t->flushed |= strstr(text, "flushed ") != NULL;
    t->merged |= strstr(text, "compaction: ") != NULL;
    mutex_unlock(&t->lock);
}

static void wait_for(struct told *t, const unsigned *count)
{
    uint64_t until = clock_now_ns() + UINT64_C(20) * 1000000000;
    for (bool there = false; !there; usleep(1000)) {
        assert_true(clock_now_ns() < until);
        mutex_lock(&t->lock);
        there = *count > 0;
        mutex_unlock(&t->lock);
    }
}

/* Work, files that cannot be removed, syncs and flushes that fail. */
static void test_log(void **state)
{
    (void)state;
    struct told t = {.lines = 0};
    mutex_init(&t.lock);
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    struct adb_options o = db_test_options(
        env, "durability=process sync_interval=1ms memtable_size=64K "
             "wal_segment_min=64K wal_segment_max=64K memory_budget=4M");
    o.log = listen_to;
    o.log_context = &t;
    adb *db;
    assert_ok(db_open("/db", &o, &db));
    db_test_put(db, "key", "value");
    const struct env_fault_rule no_unlink = {.operations = ENV_FAULT_UNLINK,
                                             .count = ~UINT64_C(0),
                                             .error = EACCES};
    env_fault_set(env, &no_unlink);
    for (int i = 0; i < 3; i++) {
        db_test_put(db, "key", "value");
        assert_ok(db_flush(db));
    }
    db_test_compact(db);
    assert_ok(db_wait_idle(db, 0));
    wait_for(&t, &t.warnings);
    mutex_lock(&t.lock);
    assert_true(t.flushed && t.merged);
    assert_int_equal(t.errors, 0);
    mutex_unlock(&t.lock);
    const struct env_fault_rule no_sync = {.operations = ENV_FAULT_SYNC,
                                           .path_part = ".log",
                                           .count = ~UINT64_C(0),
                                           .error = EIO};
    env_fault_set(env, &no_sync);
    (void)!db_test_put_as(db, "more", "value", ADB_DURABILITY_DEFAULT);
    wait_for(&t, &t.errors);
    env_fault_set(env, NULL);
    db_test_abandon(db);
    /* What could not be removed goes now, or is told again. */
    env_fault_set(env, &no_unlink);
    unsigned before = t.warnings;
    assert_ok(db_open("/db", &o, &db));
    assert_true(t.warnings > before);
    env_fault_set(env, NULL);
    db_test_expect(db, "key", "value");
    assert_ok(db_close(db));
    env_fault_free(env);
    env_memory_free(disk);
    mutex_deinit(&t.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_as_json),
        cmocka_unit_test(test_sequences_run_out),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
