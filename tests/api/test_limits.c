/*
 * The limits of keys, values, batches and options; arguments that are missing;
 * option structs of programs built with an older header.
 */
#include "api_test.h"

#include <dirent.h>
#include <sys/stat.h>

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

/* The call is refused, and the message says `words`. */
#define expect_refused(call, expected, words)                                  \
    do {                                                                       \
        assert_int_equal(call, expected);                                      \
        if (!strstr(adb_error_message(), words))                               \
            fail_msg("%s: message without '%s': %s", #call, words,             \
                     adb_error_message());                                     \
    } while (0)

static void test_sizes_of_keys(void **state)
{
    adb *db = open_with(*state, "durability=process");
    adb_batch *batch = adb_batch_new();
    adb_value v = ADB_VALUE_INIT;
    char *key = malloc(ADB_MAX_KEY_SIZE + 1);
    memset(key, 'k', ADB_MAX_KEY_SIZE + 1);
    put_text(db, "", "");
    expect_text(db, "", "");
    assert_ok(adb_put(db, NULL, NULL, 0, NULL, 0));
    assert_ok(adb_put(db, NULL, key, ADB_MAX_KEY_SIZE, "long", 4));
    assert_ok(adb_put(db, NULL, key, ADB_MAX_KEY_SIZE - 1, "less", 4));
    expect_refused(adb_put(db, NULL, key, ADB_MAX_KEY_SIZE + 1, "x", 1),
                   ADB_TOO_LARGE, "65536");
    expect_refused(adb_delete(db, NULL, key, ADB_MAX_KEY_SIZE + 1),
                   ADB_TOO_LARGE, "65536");
    expect_refused(adb_batch_put(batch, key, ADB_MAX_KEY_SIZE + 1, "x", 1),
                   ADB_TOO_LARGE, "65536");
    assert_int_equal(adb_batch_count(batch), 0);
    assert_int_equal(adb_get(db, NULL, key, ADB_MAX_KEY_SIZE + 1, &v),
                     ADB_NOT_FOUND);
    for (int round = 0; round < 3; round++) {
        assert_ok(adb_get(db, NULL, key, ADB_MAX_KEY_SIZE, &v));
        assert_memory_equal(v.data, "long", 4);
        adb_value_release(&v);
        assert_ok(adb_get(db, NULL, key, ADB_MAX_KEY_SIZE - 1, &v));
        assert_memory_equal(v.data, "less", 4);
        adb_value_release(&v);
        expect_text(db, "", "");
        if (round == 0) {
            assert_ok(adb_close(db));
            db = open_with(*state, "durability=process");
        } else {
            assert_ok(adb_flush(db));
        }
    }
    adb_iter *it;
    assert_ok(adb_iter_new(db, NULL, &it));
    assert_true(adb_iter_seek_for_prev(it, key, ADB_MAX_KEY_SIZE + 1));
    assert_int_equal(adb_iter_key(it).size, ADB_MAX_KEY_SIZE);
    assert_true(adb_iter_seek_first(it));
    assert_int_equal(adb_iter_key(it).size, 0);
    adb_iter_free(it);
    adb_batch_free(batch);
    free(key);
    assert_ok(adb_close(db));
}

static void test_sizes_of_values(void **state)
{
    adb *db = open_with(*state, "");
    adb_batch *batch = adb_batch_new();
    /* Refused before a byte of it is looked at. */
    expect_refused(
        adb_put(db, NULL, "k", 1, "v", (size_t)ADB_MAX_VALUE_SIZE + 1),
        ADB_TOO_LARGE, "1073741824");
    expect_refused(
        adb_batch_put(batch, "k", 1, "v", (size_t)ADB_MAX_VALUE_SIZE + 1),
        ADB_TOO_LARGE, "1073741824");
    expect_text(db, "k", NULL);
    adb_batch_free(batch);
    assert_ok(adb_close(db));
}

/* One batch far above the memtable's size: whole before and after reopening. */
static void test_batch_of_a_million(void **state)
{
    enum { ENTRIES = 1000000 };
    uint64_t count = test_scaled(ENTRIES, ENTRIES / 20);
    const char *options = "durability=process memory_budget=8M";
    adb *db = open_with(*state, options);
    adb_batch *batch = adb_batch_new();
    char key[32], value[64];
    for (uint64_t i = 0; i < count; i++) {
        int k = snprintf(key, sizeof key, "key%010llu", (unsigned long long)i);
        int v = snprintf(value, sizeof value, "value of %llu",
                         (unsigned long long)i);
        assert_ok(adb_batch_put(batch, key, (size_t)k, value, (size_t)v));
        if (i % 10 == 3)
            assert_ok(adb_batch_delete(batch, key, (size_t)k));
    }
    assert_int_equal(adb_batch_count(batch), count + count / 10);
    put_text(db, "key0000000003", "was here before");
    assert_ok(adb_write(db, NULL, batch));
    for (int round = 0; round < 3; round++) {
        adb_iter *it;
        uint64_t seen = 0;
        assert_ok(adb_iter_new(db, NULL, &it));
        for (int more = adb_iter_seek_first(it); more;
             more = adb_iter_next(it))
            seen++;
        assert_ok(adb_iter_status(it));
        adb_iter_free(it);
        assert_int_equal(seen, count - count / 10);
        expect_text(db, "key0000000003", NULL);
        expect_text(db, "key0000000004", "value of 4");
        if (round == 0) {
            assert_ok(adb_close(db));
            db = open_with(*state, options);
        } else {
            assert_ok(adb_compact(db, (adb_slice){0, 0}, (adb_slice){0, 0}));
        }
    }
    adb_batch_clear(batch);
    assert_int_equal(adb_batch_count(batch), 0);
    assert_ok(adb_write(db, NULL, batch)); /* nothing */
    adb_batch_free(batch);
    assert_ok(adb_close(db));
}

static void test_missing_arguments(void **state)
{
    adb *db = open_with(*state, ""), *none = NULL;
    adb_options *o = adb_options_new();
    adb_value v = ADB_VALUE_INIT;
    adb_batch *batch = adb_batch_new();
    adb_snapshot *snapshot;
    adb_iter *it;
    adb_slice nothing = {NULL, 0}, broken = {NULL, 5};
    uint64_t bytes;
    size_t size;
    char buffer[64], *json;
    adb_option_info info;

    assert_int_equal(adb_open(NULL, NULL, &none), ADB_INVALID);
    assert_int_equal(adb_open("", NULL, &none), ADB_INVALID);
    assert_int_equal(adb_open(*state, NULL, NULL), ADB_INVALID);
    assert_null(none);
    assert_ok(adb_close(NULL));
    assert_int_equal(adb_destroy(NULL), ADB_INVALID);
    assert_int_equal(adb_sync(NULL), ADB_INVALID);
    assert_int_equal(adb_health(NULL), ADB_INVALID);
    assert_int_equal(adb_put(NULL, NULL, "k", 1, "v", 1), ADB_INVALID);
    assert_int_equal(adb_put(db, NULL, NULL, 1, "v", 1), ADB_INVALID);
    assert_int_equal(adb_put(db, NULL, "k", 1, NULL, 1), ADB_INVALID);
    assert_int_equal(adb_delete(db, NULL, NULL, 1), ADB_INVALID);
    assert_int_equal(adb_write(db, NULL, NULL), ADB_INVALID);
    assert_int_equal(adb_batch_put(NULL, "k", 1, "v", 1), ADB_INVALID);
    assert_int_equal(adb_batch_put(batch, NULL, 1, "v", 1), ADB_INVALID);
    assert_int_equal(adb_batch_put(batch, "k", 1, NULL, 1), ADB_INVALID);
    assert_int_equal(adb_batch_delete(batch, NULL, 1), ADB_INVALID);
    assert_int_equal(adb_get(db, NULL, NULL, 1, &v), ADB_INVALID);
    assert_int_equal(adb_get(db, NULL, "k", 1, NULL), ADB_INVALID);
    assert_int_equal(adb_get_into(db, NULL, "k", 1, NULL, 1, &size),
                     ADB_INVALID);
    assert_int_equal(adb_get_into(db, NULL, "k", 1, buffer, 1, NULL),
                     ADB_INVALID);
    assert_int_equal(adb_multi_get(db, NULL, 1, NULL, NULL, NULL),
                     ADB_INVALID);
    adb_status status;
    assert_int_equal(adb_multi_get(db, NULL, 1, &broken, &v, &status),
                     ADB_INVALID);
    assert_ok(adb_multi_get(db, NULL, 0, NULL, NULL, NULL));
    assert_int_equal(adb_snapshot_new(db, NULL), ADB_INVALID);
    assert_int_equal(adb_snapshot_new(NULL, &snapshot), ADB_INVALID);
    assert_int_equal(adb_iter_new(db, NULL, NULL), ADB_INVALID);
    adb_iter_options io = ADB_ITER_OPTIONS_INIT;
    io.prefix = broken;
    assert_int_equal(adb_iter_new(db, &io, &it), ADB_INVALID);
    assert_int_equal(adb_flush(NULL), ADB_INVALID);
    assert_int_equal(adb_compact(NULL, nothing, nothing), ADB_INVALID);
    assert_int_equal(adb_compact(db, broken, nothing), ADB_INVALID);
    assert_int_equal(adb_wait_idle(NULL, 0), ADB_INVALID);
    assert_int_equal(adb_approximate_size(db, nothing, nothing, NULL),
                     ADB_INVALID);
    assert_int_equal(adb_approximate_size(db, broken, nothing, &bytes),
                     ADB_INVALID);
    assert_int_equal(adb_stats(db, NULL), ADB_INVALID);
    assert_int_equal(adb_stats(NULL, &json), ADB_INVALID);
    assert_int_equal(adb_verify(NULL, NULL, NULL, NULL), ADB_INVALID);
    assert_int_equal(adb_options_set(NULL, "durability", "sync"),
                     ADB_INVALID);
    assert_int_equal(adb_options_set(o, NULL, "sync"), ADB_INVALID);
    assert_int_equal(adb_options_set(o, "durability", NULL), ADB_INVALID);
    assert_int_equal(adb_options_get(o, "durability", NULL, 10), ADB_INVALID);
    assert_int_equal(adb_options_describe(0, NULL), ADB_INVALID);
    assert_int_equal(adb_options_describe(10000, &info), ADB_NOT_FOUND);
    adb_value_release(NULL);
    adb_value_release(&v);
    adb_iter_free(NULL);
    adb_batch_free(NULL);
    adb_batch_clear(NULL);
    adb_options_free(NULL);
    adb_free(NULL);
    adb_snapshot_release(NULL, NULL);
    adb_snapshot_release(db, NULL);
    assert_true(adb_error_message()[0] != '\0');
    adb_batch_free(batch);
    adb_options_free(o);
    assert_ok(adb_close(db));
}

static void test_every_option(void **state)
{
    (void)state;
    adb_options *o = adb_options_new();
    adb_option_info info;
    char value[128], again[128];
    size_t count = 0;
    while (adb_options_describe(count, &info) == ADB_OK) {
        assert_non_null(info.type);
        assert_non_null(info.range);
        assert_true(strlen(info.description) > 10);
        /* What is printed can be read, and is the default. */
        assert_ok(adb_options_get(o, info.name, value, sizeof value));
        assert_ok(adb_options_set(o, info.name, value));
        assert_ok(adb_options_get(o, info.name, again, sizeof again));
        assert_string_equal(value, again);
        assert_ok(adb_options_set(o, info.name, info.default_value));
        assert_ok(adb_options_get(o, info.name, again, sizeof again));
        assert_string_equal(value, again);
        static const char *const never[] = {
            "", "-1", "nonsense", "99999999999999999999999999", "1X", " 1",
            "18446744073709551615G", "0x10"};
        for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
            expect_refused(adb_options_set(o, info.name, never[i]),
                           ADB_INVALID, info.range);
            assert_non_null(strstr(adb_error_message(), info.name));
        }
        assert_ok(adb_options_get(o, info.name, again, sizeof again));
        assert_string_equal(value, again);
        assert_int_equal(adb_options_get(o, info.name, again, 1),
                         ADB_INVALID);
        count++;
    }
    assert_true(count >= 15);
    expect_refused(adb_options_set(o, "no_such_option", "1"), ADB_INVALID,
                   "no_such_option");
    adb_options_free(o);
}

static void test_options_out_of_range(void **state)
{
    static const char *const bad[][2] = {
        {"memory_budget", "1023K"}, {"memory_budget", "2T"},
        {"memtable_size", "1K"},    {"max_memtables", "1"},
        {"max_memtables", "17"},    {"durability", "SYNC"},
        {"sync_interval", "0ms"},   {"sync_interval", "5"},
        {"wal_segment_min", "1"},   {"block_size", "128K"},
        {"filter_bits", "33"},      {"background_threads", "1"},
        {"max_open_files", "7"},    {"create_if_missing", "yes"},
    };
    adb_options *o = adb_options_new();
    adb *db = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused(adb_options_set(o, bad[i][0], bad[i][1]), ADB_INVALID,
                       bad[i][0]);
    /* Each in range, but not together. */
    assert_ok(adb_options_set(o, "wal_segment_max", "64K"));
    expect_refused(adb_open(*state, o, &db), ADB_INVALID, "wal_segment_max");
    assert_null(db);
    adb_options_free(o);
}

static void test_older_option_structs(void **state)
{
    adb *db = open_with(*state, "");
    adb_snapshot *snapshot;
    adb_value v = ADB_VALUE_INIT;
    put_text(db, "k", "old");
    assert_ok(adb_snapshot_new(db, &snapshot));
    put_text(db, "k", "new");
    /* Fields behind struct_size are not looked at. */
    adb_read_options r = ADB_READ_OPTIONS_INIT;
    r.snapshot = snapshot;
    r.struct_size = offsetof(adb_read_options, snapshot);
    assert_ok(adb_get(db, &r, "k", 1, &v));
    assert_memory_equal(v.data, "new", 3);
    adb_value_release(&v);
    r.struct_size = offsetof(adb_read_options, no_fill_cache);
    assert_ok(adb_get(db, &r, "k", 1, &v));
    assert_memory_equal(v.data, "old", 3);
    adb_value_release(&v);
    adb_write_options w = ADB_WRITE_OPTIONS_INIT;
    w.durability = (adb_durability)77;
    assert_int_equal(adb_put(db, &w, "k", 1, "x", 1), ADB_INVALID);
    w.struct_size = sizeof(size_t);
    assert_ok(adb_put(db, &w, "k", 1, "x", 1));
    w = (adb_write_options)ADB_WRITE_OPTIONS_INIT;
    w.timeout_ms = UINT64_MAX; /* no overflow into a deadline long past */
    assert_ok(adb_put(db, &w, "k", 1, "y", 1));
    assert_ok(adb_wait_idle(db, UINT64_MAX));
    adb_iter_options i = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    i.lower = (adb_slice){"zzz", 3};
    i.struct_size = offsetof(adb_iter_options, lower);
    assert_ok(adb_iter_new(db, &i, &it));
    assert_true(adb_iter_seek_first(it));
    adb_iter_free(it);
    adb_snapshot_release(db, snapshot);
    assert_ok(adb_close(db));
}

/* ---- values of middling size ------------------------------------------- */

static unsigned char *make(size_t size, unsigned seed)
{
    unsigned char *p = malloc(size);
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (unsigned char)(x >> 24);
    }
    return p;
}

static void check_value(adb *db, const char *key, const unsigned char *p,
                        size_t size)
{
    adb_value v = ADB_VALUE_INIT;
    size_t said = 0;
    assert_ok(adb_get(db, NULL, key, strlen(key), &v));
    assert_int_equal(v.size, size);
    assert_int_equal(memcmp(v.data, p, size), 0);
    adb_value_release(&v);
    unsigned char *copy = malloc(size + 1);
    memset(copy, 0xee, size + 1);
    assert_int_equal(adb_get_into(db, NULL, key, strlen(key), copy, size - 1,
                                  &said), ADB_TOO_LARGE);
    assert_int_equal(said, size);
    assert_int_equal(copy[0], 0xee);
    assert_int_equal(adb_get_into(db, NULL, key, strlen(key), NULL, 0, &said),
                     ADB_TOO_LARGE);
    assert_ok(adb_get_into(db, NULL, key, strlen(key), copy, size, &said));
    assert_int_equal(said, size);
    assert_int_equal(memcmp(copy, p, size), 0);
    assert_int_equal(copy[size], 0xee);
    free(copy);
}

static void check_iterated(adb *db, const unsigned char *p, size_t size)
{
    adb_iter *it;
    assert_ok(adb_iter_new(db, NULL, &it));
    for (int way = 0; way < 2; way++) {
        int seen = 0;
        for (int more = way ? adb_iter_seek_last(it) : adb_iter_seek_first(it);
             more; more = way ? adb_iter_prev(it) : adb_iter_next(it)) {
            adb_slice k = adb_iter_key(it), v = adb_iter_value(it);
            int big = k.size == 3 && memcmp(k.data, "big", 3) == 0;
            assert_ok(adb_iter_status(it));
            assert_int_equal(v.size, big ? size : 5);
            if (big)
                assert_int_equal(memcmp(v.data, p, size), 0);
            seen++;
        }
        assert_ok(adb_iter_status(it));
        assert_int_equal(seen, 3);
    }
    adb_iter_free(it);
}

static void large_value(const char *path, size_t size, const char *options)
{
    unsigned char *a = make(size, 1), *b = make(size, 2);
    adb *db = open_with(path, options);
    adb_slice all = {0, 0};
    put_text(db, "aaa", "first");
    put_text(db, "zzz", "last.");
    assert_ok(adb_put(db, NULL, "big", 3, a, size));
    check_value(db, "big", a, size);
    check_iterated(db, a, size);
    assert_ok(adb_put(db, NULL, "big", 3, b, size));
    check_value(db, "big", b, size);
    check_iterated(db, b, size);
    assert_ok(adb_flush(db));
    check_value(db, "big", b, size);
    check_iterated(db, b, size);
    adb_snapshot *snapshot;
    assert_ok(adb_snapshot_new(db, &snapshot));
    assert_ok(adb_put(db, NULL, "big", 3, a, size));
    assert_ok(adb_compact(db, all, all));
    check_value(db, "big", a, size);
    adb_read_options r = ADB_READ_OPTIONS_INIT;
    adb_value v = ADB_VALUE_INIT;
    r.snapshot = snapshot;
    assert_ok(adb_get(db, &r, "big", 3, &v));
    assert_int_equal(v.size, size);
    assert_int_equal(memcmp(v.data, b, size), 0);
    adb_value_release(&v);
    adb_snapshot_release(db, snapshot);
    assert_ok(adb_close(db));
    db = open_with(path, options);
    check_value(db, "big", a, size);
    check_iterated(db, a, size);
    assert_ok(adb_delete(db, NULL, "big", 3));
    expect_text(db, "big", NULL);
    assert_ok(adb_close(db));
    db = open_with(path, options);
    expect_text(db, "big", NULL);
    assert_ok(adb_compact(db, all, all));
    assert_true(stat_number(db, "entries") == 2);
    assert_ok(adb_close(db));
    assert_ok(adb_destroy(path));
    free(a);
    free(b);
}

static void test_values_of_all_sizes(void **state)
{
    static const size_t sizes[] = {
        1,       1023,    1024,    1025,        4000,   8191,
        65535,   65536,   65537,   100000,      131072, 1000000,
        2097152, 4190000, 4194304, 4194304 + 1, 9000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        large_value(*state, sizes[i],
                    "durability=process memory_budget=32M");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i += 3)
        large_value(*state, sizes[i],
                    "durability=process memory_budget=1M "
                    "wal_access=write compression=zstd");
    if (test_scaled(1, 0))
        large_value(*state, 70u << 20, "durability=process");
}

/* Blocks of all files of a directory, in bytes. */
static uint64_t disk_use(const char *path)
{
    char name[4096];
    uint64_t bytes = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        struct stat s;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (stat(name, &s) == 0 && S_ISREG(s.st_mode))
            bytes += (uint64_t)s.st_blocks * 512;
    }
    closedir(dir);
    return bytes;
}

/* Little data takes little disk, by whatever durability. */
static void test_ten_keys(void **state)
{
    static const char *const options[] = {
        "", "durability=process", "durability=none", "wal_access=write"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char key[] = "key 0";
        adb *db = open_with(*state, options[i]);
        for (; key[4] <= '9'; key[4]++)
            put_text(db, key, "value");
        assert_true(disk_use(*state) < 4 << 20);
        assert_ok(adb_close(db));
        assert_true(disk_use(*state) < 4 << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ten_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes_of_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes_of_values, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_batch_of_a_million, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_missing_arguments, setup,
                                        teardown),
        cmocka_unit_test(test_every_option),
        cmocka_unit_test_setup_teardown(test_options_out_of_range, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_older_option_structs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_values_of_all_sizes, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
