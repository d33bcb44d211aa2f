/* Descriptors stay bounded, are shared, and failures leave no trace. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/thread.h"
#include "env/env_fault.h"
#include "sst/file_table.h"
#include "sst/sst_writer.h"

enum { FILES = 20 };
static char directory[] = "file-table-XXXXXX";
static struct env *fault;
static struct file_table *table;

static void make_file(uint64_t number)
{
    char *path = sst_path(directory, number);
    struct env_file *file;
    assert_non_null(path);
    assert_int_equal(env_open(env_posix(), path,
                              ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &file),
                     ADB_OK);
    uint8_t bytes[8];
    put_u64(bytes, number);
    assert_int_equal(env_file_write(file, 0, bytes, 8), ADB_OK);
    assert_int_equal(env_file_close(file), ADB_OK);
    mem_free(path);
}

static uint64_t read_number(struct env_file *file)
{
    uint8_t bytes[8] = {0};
    return env_file_read_full(file, 0, bytes, 8) == ADB_OK ? get_u64(bytes) : 0;
}

static uint64_t acquire_and_read(uint64_t number)
{
    struct file_handle *handle;
    struct env_file *file;
    if (file_table_acquire(table, number, &handle, &file) != ADB_OK)
        return 0;
    uint64_t found = read_number(file);
    file_table_release(table, handle);
    return found;
}

static int setup(void **state)
{
    (void)state;
    env_fault_set(fault, NULL);
    return file_table_new(fault, directory, 4, &table) != ADB_OK;
}

static int teardown(void **state)
{
    (void)state;
    file_table_free(table);
    return env_fault_calls(fault, 0) != 0;
}

static uint64_t opens(void)
{
    return env_fault_calls(fault, ENV_FAULT_OPEN);
}

static void the_least_recently_used_is_closed(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 4; i++)
        assert_int_equal(acquire_and_read(i), i);
    assert_int_equal(file_table_open_count(table), 4);
    assert_int_equal(opens(), 4);
    assert_int_equal(acquire_and_read(1), 1);
    assert_int_equal(acquire_and_read(5), 5); /* 2 goes */
    assert_int_equal(file_table_open_count(table), 4);
    assert_int_equal(acquire_and_read(1), 1);
    assert_int_equal(acquire_and_read(3), 3);
    assert_int_equal(opens(), 5);
    assert_int_equal(acquire_and_read(2), 2);
    assert_int_equal(opens(), 6);
}

static void what_is_in_use_stays_open(void **state)
{
    (void)state;
    struct file_handle *handles[8];
    struct env_file *files[8];
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(
            file_table_acquire(table, i + 1, &handles[i], &files[i]), ADB_OK);
    assert_int_equal(file_table_open_count(table), 8);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(read_number(files[i]), i + 1);
        file_table_release(table, handles[i]);
    }
    assert_int_equal(file_table_open_count(table), 4);
}

static void forgotten_files_are_closed(void **state)
{
    (void)state;
    struct file_handle *handle;
    struct env_file *file;
    assert_int_equal(acquire_and_read(1), 1);
    file_table_forget(table, 1);
    assert_int_equal(file_table_open_count(table), 0);
    assert_int_equal(file_table_acquire(table, 2, &handle, &file), ADB_OK);
    file_table_forget(table, 2);
    file_table_forget(table, 2);
    assert_int_equal(file_table_open_count(table), 1);
    assert_int_equal(read_number(file), 2);
    assert_int_equal(acquire_and_read(2), 2); /* a descriptor of its own */
    file_table_release(table, handle);
    assert_int_equal(file_table_open_count(table), 1);
}

static void failures_leave_no_trace(void **state)
{
    (void)state;
    struct file_handle *handle;
    struct env_file *file;
    assert_int_equal(file_table_acquire(table, 999, &handle, &file),
                     ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "000999.sst"));
    assert_int_equal(file_table_open_count(table), 0);
    struct env_fault_rule rule = {
        .operations = ENV_FAULT_OPEN, .count = 1, .error = EIO};
    env_fault_set(fault, &rule);
    assert_int_equal(file_table_acquire(table, 1, &handle, &file), ADB_IO);
    assert_int_equal(acquire_and_read(1), 1);
}

/* Out of descriptors: the idle ones make room. */
static void idle_files_yield_to_the_system(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(acquire_and_read(i), i);
    struct env_fault_rule rule = {
        .operations = ENV_FAULT_OPEN, .count = 1, .error = EMFILE};
    env_fault_set(fault, &rule);
    assert_int_equal(acquire_and_read(4), 4);
    assert_int_equal(file_table_open_count(table), 1);
}

static void holds_are_bounded(void **state)
{
    (void)state;
    assert_true(file_table_begin_hold(table));
    assert_true(file_table_begin_hold(table));
    assert_false(file_table_begin_hold(table));
    file_table_end_hold(table);
    assert_true(file_table_begin_hold(table));
    file_table_end_hold(table);
    file_table_end_hold(table);
}

static _Atomic int wrong;

static void *work(void *argument)
{
    struct random random;
    random_seed(&random, (uint64_t)(uintptr_t)argument);
    for (int i = 0; i < 3000; i++) {
        uint64_t number = 1 + random_below(&random, FILES + 1);
        uint64_t found = acquire_and_read(number);
        /* One number has no file. */
        if (found != (number > FILES ? 0 : number))
            atomic_fetch_add(&wrong, 1);
        if (random_below(&random, 50) == 0)
            file_table_forget(table, 1 + random_below(&random, FILES));
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct thread threads[6];
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(
            thread_start(&threads[i], "files", work, (void *)(i + 1)), ADB_OK);
    for (int i = 0; i < 6; i++)
        thread_join(&threads[i]);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(file_table_open_count(table) <= 4);
}

static int64_t allocations_left;
static int fail_later(void *context, size_t size)
{
    (void)context;
    (void)size;
    return allocations_left-- <= 0;
}

static void out_of_memory(void **state)
{
    (void)state;
    adb_status status = ADB_NO_MEMORY;
    for (int64_t n = 0; status == ADB_NO_MEMORY; n++) {
        struct file_table *t = NULL;
        struct file_handle *handle;
        struct env_file *file;
        allocations_left = n;
        mem_set_fail_hook(fail_later, NULL);
        status = file_table_new(env_posix(), directory, 4, &t);
        if (status == ADB_OK) {
            status = file_table_acquire(t, 1, &handle, &file);
            if (status == ADB_OK)
                file_table_release(t, handle);
        }
        file_table_free(t);
        mem_set_fail_hook(NULL, NULL);
    }
    assert_int_equal(status, ADB_OK);
}

int main(void)
{
    if (!mkdtemp(directory) || !(fault = env_fault_new(env_posix())))
        return 1;
    for (uint64_t i = 1; i <= FILES; i++)
        make_file(i);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_least_recently_used_is_closed),
        TEST(what_is_in_use_stays_open),
        TEST(forgotten_files_are_closed),
        TEST(failures_leave_no_trace),
        TEST(idle_files_yield_to_the_system),
        TEST(holds_are_bounded),
        TEST(many_threads),
        cmocka_unit_test(out_of_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (uint64_t i = 1; i <= FILES; i++) {
        char *path = sst_path(directory, i);
        unlink(path);
        mem_free(path);
    }
    rmdir(directory);
    env_fault_free(fault);
    return failed;
}
