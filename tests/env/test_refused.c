/*
 * What cannot be done, on the real env and on the simulated disk alike: the
 * same statuses, and the directory is as before.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "base/alloc.h"
#include "env/env_fault.h"
#include "env/env_memory.h"

static const char *base;
static char path_text[8][4600];

/* Below the directory; good for eight calls. */
static const char *at(const char *name)
{
    static unsigned turn;
    char *path = path_text[turn++ % 8];
    snprintf(path, sizeof path_text[0], "%s/%s", base, name);
    return path;
}

static adb_status visit_nothing(void *context, const char *name)
{
    (void)context, (void)name;
    return ADB_OK;
}

static void make(struct env *e)
{
    struct env_file *f;
    assert_ok(env_make_dir(e, at("full")));
    assert_ok(env_make_dir(e, at("empty")));
    assert_ok(env_make_dir(e, at("full/below")));
    assert_ok(env_open(e, at("file"), ENV_WRITE | ENV_CREATE, &f));
    assert_ok(env_file_write(f, 0, "contents", 8));
    assert_ok(env_file_close(f));
}

static void clear(struct env *e)
{
    assert_ok(env_unlink(e, at("file")));
    assert_ok(env_remove_dir(e, at("full/below")));
    assert_ok(env_remove_dir(e, at("full")));
    assert_ok(env_remove_dir(e, at("empty")));
}

static adb_status open_once(struct env *e, const char *name, unsigned flags)
{
    struct env_file *f;
    adb_status status = env_open(e, at(name), flags, &f);
    return status == ADB_OK ? env_file_close(f) : status;
}

/* Each call in turn; the statuses into `out`. */
static size_t all_refusals(struct env *e, adb_status *out)
{
    struct env_stat st;
    void *lock;
    size_t n = 0;
    char name[400];
    memset(name, 'n', 300);
    name[300] = '\0';
    out[n++] = open_once(e, name, ENV_WRITE | ENV_CREATE);
    out[n++] = env_stat(e, at(name), &st);
    out[n++] = env_make_dir(e, at(name));
    out[n++] = env_rename(e, at("file"), at(name));
    out[n++] = env_rename(e, at(name), at("other"));
    out[n++] = open_once(e, "file/below", ENV_WRITE | ENV_CREATE);
    out[n++] = open_once(e, "none/below", ENV_WRITE | ENV_CREATE);
    out[n++] = open_once(e, "empty", ENV_WRITE);
    out[n++] = open_once(e, "empty", ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE);
    out[n++] = env_rename(e, at("none"), at("other"));
    out[n++] = env_rename(e, at("file"), at("empty"));
    out[n++] = env_rename(e, at("empty"), at("file"));
    out[n++] = env_rename(e, at("empty"), at("full"));
    out[n++] = env_rename(e, at("full"), at("full/below/itself"));
    out[n++] = env_rename(e, at("file"), at("none/other"));
    out[n++] = env_rename(e, at("file"), at("file"));
    out[n++] = env_unlink(e, at("none"));
    out[n++] = env_unlink(e, at("empty"));
    out[n++] = env_make_dir(e, at("empty"));
    out[n++] = env_make_dir(e, at("file"));
    out[n++] = env_make_dir(e, at("file/below"));
    out[n++] = env_remove_dir(e, at("file"));
    out[n++] = env_remove_dir(e, at("none"));
    out[n++] = env_remove_dir(e, at("full"));
    out[n++] = env_sync_dir(e, at("none"));
    out[n++] = env_sync_dir(e, at("file"));
    out[n++] = env_list_dir(e, at("none"), visit_nothing, NULL);
    out[n++] = env_list_dir(e, at("file"), visit_nothing, NULL);
    out[n++] = env_lock(e, at("none/LOCK"), &lock);
    out[n++] = env_lock(e, at("empty"), &lock);
    /* Beside "." and doubled slashes a path leads where it seems to. */
    out[n++] = env_stat(e, at("./empty/.//../empty/."), &st);
    out[n++] = env_stat(e, at(".//full///below/."), &st);
    out[n++] = st.kind == ENV_KIND_DIRECTORY ? ADB_OK : ADB_INVALID;
    return n;
}

/* A file open for reading alone. */
static size_t read_only(struct env *e, adb_status *out)
{
    struct env_file *f;
    struct env_map *m;
    uint8_t byte;
    size_t n = 0, got;
    assert_ok(env_open(e, at("file"), ENV_READ, &f));
    out[n++] = env_file_write(f, 0, "x", 1);
    out[n++] = env_file_truncate(f, 1);
    out[n++] = env_file_allocate(f, 4096);
    out[n++] = env_file_map(f, 8, true, &m);
    out[n++] = env_file_read(f, 100, &byte, 1, &got);
    out[n++] = env_file_map(f, 9000, false, &m);
    out[n++] = env_file_write(f, 0, "x", 0);
    env_file_advise_ahead(f, 0, 8);
    assert_ok(env_file_close(f));
    return n;
}

static void test_alike(void **state)
{
    (void)state;
    adb_status real[64], model[64];
    char *scratch = scratch_new();
    base = scratch;
    make(env_posix());
    size_t count = all_refusals(env_posix(), real);
    count += read_only(env_posix(), real + count);
    clear(env_posix());
    scratch_remove(scratch);
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    base = "";
    make(disk);
    size_t same = all_refusals(disk, model);
    same += read_only(disk, model + same);
    clear(disk);
    env_memory_free(disk);
    assert_int_equal(count, same);
    for (size_t i = 0; i < count; i++) {
        /* The simulated disk knows no "..": it says so. */
        if (i == 30)
            continue;
        if (real[i] != model[i])
            fail_msg("call %zu: %s, on the simulated disk %s", i,
                     status_name(real[i]), status_name(model[i]));
    }
    assert_int_equal(model[30], ADB_IO);
    assert_ok(real[30]);
}

/* The root, and damage where nothing is. */
static void test_simulated_disk(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_ORDERED);
    enum env_fs_class class;
    uint64_t space;
    base = "";
    assert_int_equal(env_remove_dir(disk, "/"), ADB_IO);
    assert_int_equal(env_rename(disk, "/", "/x"), ADB_IO);
    assert_int_equal(env_memory_damage(disk, "/none", 0, "x", 1),
                     ADB_NOT_FOUND);
    make(disk);
    assert_int_equal(env_memory_damage(disk, "/file", 9, "x", 1), ADB_IO);
    assert_int_equal(env_memory_damage(disk, "/file", 8, "x", 1), ADB_IO);
    assert_ok(env_memory_damage(disk, "/file", 7, "x", 1));
    assert_int_equal(disk->ops->fs_class(disk, "/none", &class),
                     ADB_NOT_FOUND);
    assert_ok(disk->ops->fs_class(disk, "/full", &class));
    env_memory_set_capacity(disk, 0);
    assert_ok(disk->ops->free_space(disk, "/", &space));
    assert_int_equal(space, 0);
    struct env_file *f;
    uint8_t bytes[600] = {0};
    assert_ok(env_open(disk, "/file", ENV_WRITE, &f));
    assert_int_equal(env_file_write(f, 4096, bytes, sizeof bytes),
                     ADB_NO_SPACE);
    assert_int_equal(env_file_allocate(f, 1 << 20), ADB_NO_SPACE);
    assert_ok(env_file_close(f));
    env_memory_set_capacity(disk, 1 << 20);
    env_unlock(disk, NULL);
    clear(disk);
    env_memory_free(disk);
}

/* Freed, and without memory from the beginning. */
static int fail_all(void *context, size_t size)
{
    (void)context, (void)size;
    return 1;
}

static void test_fault_env(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    mem_set_fail_hook(fail_all, NULL);
    assert_null(env_fault_new(disk));
    mem_set_fail_hook(NULL, NULL);
    env_fault_free(NULL);
    struct env *e = env_fault_new(disk);
    enum env_fs_class class;
    uint64_t space;
    assert_ok(e->ops->fs_class(e, "/", &class));
    assert_ok(e->ops->free_space(e, "/", &space));
    assert_int_equal(env_fault_calls(e, ENV_FAULT_ANY), 0);
    env_fault_free(e);
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_simulated_disk),
        cmocka_unit_test(test_fault_env),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
