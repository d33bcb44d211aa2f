/* The failing env over the real one and over the simulated disk. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "env/env_fault.h"
#include "env/env_memory.h"

static adb_status ignore_name(void *context, const char *name)
{
    (void)context;
    (void)name;
    return ADB_OK;
}

static adb_status all_on_map(struct env_file *f)
{
    struct env_map *m;
    adb_status status = env_file_map(f, 4096, true, &m);
    if (status != ADB_OK)
        return status;
    status = env_map_populate(m, 0, 4096);
    if (status == ADB_OK)
        env_map_store(m, 100, "mapped", 6);
    env_map_unmap(m);
    return status;
}

static adb_status all_on_file(struct env_file *f)
{
    uint8_t bytes[8];
    uint64_t size;
    adb_status status = env_file_truncate(f, 4096);
    if (status == ADB_OK)
        status = env_file_allocate(f, 4096);
    if (status == ADB_OK)
        status = env_file_write(f, 0, "contents", 8);
    if (status == ADB_OK)
        status = env_file_sync(f);
    if (status == ADB_OK)
        status = env_file_read_full(f, 0, bytes, 8);
    if (status == ADB_OK)
        status = env_file_size(f, &size);
    if (status == ADB_OK)
        status = all_on_map(f);
    return status;
}

static adb_status open_and_all_on_file(struct env *e, const char *path)
{
    struct env_file *f;
    struct status_saved saved;
    adb_status status = env_open(e, path, ENV_WRITE | ENV_CREATE, &f);
    if (status != ADB_OK)
        return status;
    status = all_on_file(f);
    status_save(&saved, status);
    adb_status closed = env_file_close(f);
    return status == ADB_OK ? closed : status_restore(&saved);
}

static adb_status lock_once(struct env *e, const char *path)
{
    void *lock;
    adb_status status = env_lock(e, path, &lock);
    if (status == ADB_OK)
        env_unlock(e, lock);
    return status;
}

/* Every operation there is, one after the other, each in need of the ones
   before; cleans up after itself only when nothing failed. */
static adb_status all_operations(struct env *e, const char *directory)
{
    struct env_stat st;
    char d[128], a[160], b[160], l[160];
    snprintf(d, sizeof d, "%s/work", directory);
    snprintf(a, sizeof a, "%s/a", d);
    snprintf(b, sizeof b, "%s/b", d);
    snprintf(l, sizeof l, "%s/LOCK", d);
    adb_status status = env_make_dir(e, d);
    if (status == ADB_OK)
        status = lock_once(e, l);
    if (status == ADB_OK)
        status = open_and_all_on_file(e, a);
    if (status == ADB_OK)
        status = env_stat(e, a, &st);
    if (status == ADB_OK)
        status = env_rename(e, a, b);
    if (status == ADB_OK)
        status = env_sync_dir(e, d);
    if (status == ADB_OK)
        status = env_list_dir(e, d, ignore_name, NULL);
    if (status == ADB_OK)
        status = env_unlink(e, b);
    if (status == ADB_OK)
        status = env_unlink(e, l);
    if (status == ADB_OK)
        status = env_remove_dir(e, d);
    return status;
}

/* Cleaning up, whatever there is. */
static void remove_all(struct env *e, const char *directory)
{
    static const char *const names[] = {"work/a", "work/b", "work/LOCK"};
    char path[160];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        if (env_unlink(e, path) != ADB_OK)
            status_clear();
    }
    snprintf(path, sizeof path, "%s/work", directory);
    if (env_remove_dir(e, path) != ADB_OK)
        status_clear();
}

/* Each kind of call is made, and when it fails the failure is reported as what
   it was, with the path. */
static void check_each_kind(struct env *base, const char *directory)
{
    struct env *e = env_fault_new(base);
    assert_non_null(e);
    assert_int_equal(all_operations(e, directory), ADB_OK);
    for (unsigned bit = 1; bit < ENV_FAULT_ANY; bit <<= 1) {
        if (env_fault_calls(e, bit) == 0)
            fail_msg("operation %#x never called", bit);
    }
    for (unsigned bit = 1; bit < ENV_FAULT_ANY; bit <<= 1) {
        struct env_fault_rule rule = {.operations = bit, .count = 1,
                                      .error = EIO};
        env_fault_set(e, &rule);
        status_clear();
        assert_int_equal(all_operations(e, directory), ADB_IO);
        assert_int_equal(env_fault_hits(e), 1);
        assert_non_null(strstr(status_message(), "/work"));
        assert_non_null(strstr(status_message(), strerror(EIO)));
        remove_all(base, directory);

        rule.error = ENOSPC;
        env_fault_set(e, &rule);
        assert_int_equal(all_operations(e, directory), ADB_NO_SPACE);
        remove_all(base, directory);
    }
    struct env_fault_rule rule = {.operations = ENV_FAULT_ALLOCATE,
                                  .count = 1, .error = EOPNOTSUPP};
    env_fault_set(e, &rule);
    assert_int_equal(all_operations(e, directory), ADB_UNSUPPORTED);
    remove_all(base, directory);

    /* Every call in turn. */
    env_fault_set(e, NULL);
    assert_int_equal(all_operations(e, directory), ADB_OK);
    uint64_t calls = env_fault_calls(e, ENV_FAULT_ANY);
    for (uint64_t skip = 0; skip < calls; skip++) {
        rule = (struct env_fault_rule){.operations = ENV_FAULT_ANY,
                                       .skip = skip, .count = UINT64_MAX,
                                       .error = EIO};
        env_fault_set(e, &rule);
        assert_int_equal(all_operations(e, directory), ADB_IO);
        assert_true(env_fault_hits(e) >= 1);
        remove_all(base, directory);
    }
    env_fault_free(e);
}

static void test_each_kind_posix(void **state)
{
    (void)state;
    char directory[] = "/tmp/albertdb-fault-XXXXXX";
    assert_non_null(mkdtemp(directory));
    check_each_kind(env_posix(), directory);
    assert_int_equal(env_remove_dir(env_posix(), directory), ADB_OK);
}

static void test_each_kind_memory(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    check_each_kind(disk, "");
    env_memory_free(disk);
}

static void test_rules(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *e = env_fault_new(disk);
    struct env_file *a, *b;
    assert_int_equal(env_open(e, "/a.log", ENV_WRITE | ENV_CREATE, &a),
                     ADB_OK);
    assert_int_equal(env_open(e, "/b.sst", ENV_WRITE | ENV_CREATE, &b),
                     ADB_OK);
    /* The second and third write to a log. */
    struct env_fault_rule rule = {.operations = ENV_FAULT_WRITE,
                                  .path_part = ".log", .skip = 1, .count = 2,
                                  .error = EIO, .partial = 3};
    env_fault_set(e, &rule);
    uint64_t size;
    assert_int_equal(env_file_write(b, 0, "12345", 5), ADB_OK);
    assert_int_equal(env_file_write(a, 0, "12345", 5), ADB_OK);
    assert_int_equal(env_file_write(b, 0, "12345", 5), ADB_OK);
    assert_int_equal(env_file_write(a, 5, "12345", 5), ADB_IO);
    assert_non_null(strstr(status_message(), "5 bytes at offset 5"));
    assert_int_equal(env_file_size(a, &size), ADB_OK);
    assert_int_equal(size, 8);
    assert_int_equal(env_file_write(a, 5, "1", 1), ADB_IO);
    assert_int_equal(env_file_write(a, 5, "1", 1), ADB_OK);
    assert_int_equal(env_fault_hits(e), 2);
    assert_int_equal(env_fault_calls(e, ENV_FAULT_WRITE), 6);
    assert_int_equal(env_fault_calls(e, ENV_FAULT_WRITE | ENV_FAULT_SIZE), 7);
    assert_int_equal(env_fault_calls(e, ENV_FAULT_SYNC), 0);

    /* Only slow. */
    rule = (struct env_fault_rule){.operations = ENV_FAULT_SYNC, .count = 1,
                                   .delay_ns = 2000000};
    env_fault_set(e, &rule);
    uint64_t start = clock_now_ns();
    assert_int_equal(env_file_sync(a), ADB_OK);
    assert_true(clock_now_ns() - start >= 2000000);
    assert_int_equal(env_fault_hits(e), 0);

    /* Either path of a rename. */
    rule = (struct env_fault_rule){.operations = ENV_FAULT_RENAME,
                                   .path_part = "new", .count = 1,
                                   .error = EIO};
    env_fault_set(e, &rule);
    assert_int_equal(env_rename(e, "/b.sst", "/new"), ADB_IO);
    assert_int_equal(env_rename(e, "/b.sst", "/new"), ADB_OK);
    assert_int_equal(env_file_close(a), ADB_OK);
    assert_int_equal(env_file_close(b), ADB_OK);
    env_fault_free(e);
    env_memory_free(disk);
}

/* After a failed sync the data may be gone for good, though reads still see
   it and a second sync succeeds. */
static void test_sync_failure_drops(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_ORDERED);
    struct env *e = env_fault_new(disk);
    struct env_file *f;
    uint8_t bytes[3];
    assert_int_equal(env_open(e, "/f", ENV_WRITE | ENV_CREATE, &f), ADB_OK);
    assert_int_equal(env_file_write(f, 0, "old", 3), ADB_OK);
    assert_int_equal(env_file_sync(f), ADB_OK);
    struct env_fault_rule rule = {.operations = ENV_FAULT_SYNC, .count = 1,
                                  .error = EIO, .drop_on_sync_failure = true};
    env_fault_set(e, &rule);
    assert_int_equal(env_file_write(f, 0, "new", 3), ADB_OK);
    assert_int_equal(env_file_sync(f), ADB_IO);
    assert_int_equal(env_file_sync(f), ADB_OK);
    assert_int_equal(env_file_read_full(f, 0, bytes, 3), ADB_OK);
    assert_memory_equal(bytes, "new", 3);
    struct env *image = env_memory_crash(disk, NULL, 0);
    struct env_file *g;
    assert_int_equal(env_open(image, "/f", ENV_READ, &g), ADB_OK);
    assert_int_equal(env_file_read_full(g, 0, bytes, 3), ADB_OK);
    assert_memory_equal(bytes, "old", 3);
    assert_int_equal(env_file_close(g), ADB_OK);
    env_memory_free(image);
    assert_int_equal(env_file_close(f), ADB_OK);
    env_fault_free(e);
    env_memory_free(disk);
}

/* env_replace_file: whatever call fails and whenever power is cut, the file
   has one of the two contents, and after success the new one. */
static void check_old_or_new(struct env *disk, bool must_be_new)
{
    struct random random;
    random_seed(&random, 5);
    for (int i = 0; i < 64; i++) {
        uint8_t *data;
        size_t size;
        struct env *image = env_memory_crash(disk, &random, ~UINT64_C(0));
        assert_int_equal(env_read_file(image, "/CUR", 64, &data, &size),
                         ADB_OK);
        bool is_new = strcmp((char *)data, "new") == 0;
        assert_true(is_new || (!must_be_new &&
                               strcmp((char *)data, "old one") == 0));
        mem_free(data);
        env_memory_free(image);
    }
}

static void observe_replace(void *context, struct env *disk,
                            const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    ++*(unsigned *)context;
    check_old_or_new(disk, false);
}

static void test_replace_file(void **state)
{
    (void)state;
    uint64_t calls = 1;
    for (uint64_t skip = 0; skip <= calls; skip++) {
        struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
        struct env *e = env_fault_new(disk);
        unsigned observed = 0;
        assert_int_equal(env_replace_file(e, "", "CUR", "old one", 7), ADB_OK);
        calls = env_fault_calls(e, ENV_FAULT_ANY);
        struct env_fault_rule rule = {.operations = ENV_FAULT_ANY,
                                      .skip = skip, .count = 1, .error = EIO,
                                      .drop_on_sync_failure = true};
        env_fault_set(e, &rule);
        env_memory_set_observer(disk, observe_replace, &observed);
        adb_status status = env_replace_file(e, "", "CUR", "new", 3);
        assert_int_equal(status, skip < calls ? ADB_IO : ADB_OK);
        check_old_or_new(disk, status == ADB_OK);
        if (status == ADB_OK)
            assert_true(observed >= 5);
        env_memory_set_observer(disk, NULL, NULL);
        env_fault_free(e);
        env_memory_free(disk);
    }
}

static int fail_nth(void *context, size_t size)
{
    (void)size;
    return --*(int *)context == 0;
}

static void test_no_memory(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *e = env_fault_new(disk);
    adb_status status = ADB_NO_MEMORY;
    for (int nth = 1; status != ADB_OK; nth++) {
        int left = nth;
        mem_set_fail_hook(fail_nth, &left);
        status = all_operations(e, "");
        mem_set_fail_hook(NULL, NULL);
        assert_true(status == ADB_OK || status == ADB_NO_MEMORY);
        remove_all(disk, "");
        assert_true(nth < 100);
    }
    int left = 1;
    mem_set_fail_hook(fail_nth, &left);
    assert_null(env_anonymous_reserve(4096, false));
    mem_set_fail_hook(NULL, NULL);
    env_fault_free(e);
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_posix),
        cmocka_unit_test(test_each_kind_memory),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_sync_failure_drops),
        cmocka_unit_test(test_replace_file),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
