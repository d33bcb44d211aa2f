/* The real env against a real directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "env/env_posix.h"

static char *directory;

static int setup(void **state)
{
    (void)state;
    static char template[] = "/tmp/albertdb-env-XXXXXX";
    directory = mkdtemp(template);
    return directory ? 0 : -1;
}

static adb_status remove_one(void *context, const char *name)
{
    struct env *e = context;
    char *path = env_join(directory, name);
    if (env_unlink(e, path) != ADB_OK)
        assert_int_equal(env_remove_dir(e, path), ADB_OK);
    mem_free(path);
    return ADB_OK;
}

static int teardown(void **state)
{
    (void)state;
    struct env *e = env_posix();
    assert_int_equal(env_list_dir(e, directory, remove_one, e), ADB_OK);
    return env_remove_dir(e, directory) == ADB_OK ? 0 : -1;
}

/* Valid until the next call but three. */
static const char *at(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static struct env_file *must_open(const char *name, unsigned flags)
{
    struct env_file *f = NULL;
    assert_int_equal(env_open(env_posix(), at(name), flags, &f), ADB_OK);
    return f;
}

static void test_open_flags(void **state)
{
    (void)state;
    struct env *e = env_posix();
    struct env_file *f;
    assert_int_equal(env_open(e, at("a"), ENV_READ, &f), ADB_NOT_FOUND);
    assert_non_null(strstr(status_message(), "cannot open '"));
    assert_non_null(strstr(status_message(), "/a': No such file"));
    assert_int_equal(env_open(e, at("a"), ENV_WRITE, &f), ADB_NOT_FOUND);

    f = must_open("a", ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE);
    assert_int_equal(fcntl(((struct posix_file *)f)->fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(env_file_write(f, 0, "hello", 5), ADB_OK);
    assert_int_equal(env_file_close(f), ADB_OK);
    assert_int_equal(
        env_open(e, at("a"), ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, &f),
        ADB_EXISTS);
    assert_int_equal(env_open(e, directory, ENV_READ, &f), ADB_IO);
    assert_non_null(strstr(status_message(), "not a regular file"));

    f = must_open("a", ENV_READ);
    assert_int_equal(env_file_write(f, 0, "x", 1), ADB_IO);
    assert_non_null(strstr(status_message(), "offset 0"));
    assert_int_equal(env_file_close(f), ADB_OK);
    uint64_t size;
    f = must_open("a", ENV_WRITE | ENV_CREATE | ENV_TRUNCATE);
    assert_int_equal(env_file_size(f, &size), ADB_OK);
    assert_int_equal(size, 0);
    assert_int_equal(env_file_close(f), ADB_OK);
    assert_int_equal(env_file_close(NULL), ADB_OK);
}

static void test_contents(void **state)
{
    (void)state;
    uint8_t data[100];
    size_t got;
    uint64_t size;
    struct env_file *f = must_open("c", ENV_WRITE | ENV_CREATE);
    assert_int_equal(env_file_write(f, 10, "abc", 3), ADB_OK);
    assert_int_equal(env_file_sync(f), ADB_OK);
    assert_int_equal(env_file_read(f, 8, data, sizeof data, &got), ADB_OK);
    assert_int_equal(got, 5);
    assert_memory_equal(data, "\0\0abc", 5);
    assert_int_equal(env_file_read_full(f, 10, data, 3), ADB_OK);
    assert_int_equal(env_file_read_full(f, 11, data, 3), ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "3 bytes wanted at offset 11"));
    /* An offset no file can have is just past the end. */
    assert_int_equal(env_file_read(f, UINT64_MAX - 1, data, 5, &got), ADB_OK);
    assert_int_equal(got, 0);
    assert_int_equal(env_file_truncate(f, 11), ADB_OK);
    assert_int_equal(env_file_truncate(f, 13), ADB_OK);
    assert_int_equal(env_file_read_full(f, 10, data, 3), ADB_OK);
    assert_memory_equal(data, "a\0\0", 3);
    env_file_advise_ahead(f, 0, 13);
    env_file_advise_ahead(f, 100, 1 << 20);
    env_file_advise_ahead(f, UINT64_MAX - 10, 5);

    adb_status status = env_file_allocate(f, 100000);
    assert_true(status == ADB_OK || status == ADB_UNSUPPORTED);
    if (status == ADB_OK) {
        struct env_stat st;
        assert_int_equal(env_file_size(f, &size), ADB_OK);
        assert_int_equal(size, 100000);
        assert_int_equal(env_stat(env_posix(), at("c"), &st), ADB_OK);
        assert_true(st.allocated >= 100000);
        /* Never shrinks. */
        assert_int_equal(env_file_allocate(f, 10), ADB_OK);
        assert_int_equal(env_file_size(f, &size), ADB_OK);
        assert_int_equal(size, 100000);
    }
    assert_int_equal(env_file_allocate(f, 0), ADB_OK);
    assert_int_equal(env_file_close(f), ADB_OK);
}

static void test_file_size_limit(void **state)
{
    (void)state;
    struct env_file *f = must_open("limit", ENV_WRITE | ENV_CREATE);
    struct rlimit before, limit;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    /* The first part fits: the transfer is short, then refused. */
    static uint8_t block[8192];
    adb_status written = env_file_write(f, 0, block, sizeof block);
    adb_status allocated = env_file_allocate(f, sizeof block);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(written, ADB_IO);
    assert_int_equal(allocated, ADB_IO);
    assert_int_equal(env_file_close(f), ADB_OK);
}

static adb_status count_name(void *context, const char *name)
{
    unsigned *count = context;
    assert_int_not_equal(name[0], '.');
    return ++*count == 3 ? status_set(ADB_INVALID, "three") : ADB_OK;
}

static void test_names(void **state)
{
    (void)state;
    struct env *e = env_posix();
    struct env_stat st;
    assert_int_equal(env_make_dir(e, at("d")), ADB_OK);
    assert_int_equal(env_make_dir(e, at("d")), ADB_EXISTS);
    assert_int_equal(env_make_dir(e, at("no/d")), ADB_NOT_FOUND);
    assert_int_equal(env_stat(e, at("d"), &st), ADB_OK);
    assert_int_equal(st.kind, ENV_KIND_DIRECTORY);
    assert_int_equal(env_stat(e, at("none"), &st), ADB_OK);
    assert_int_equal(st.kind, ENV_KIND_NONE);
    for (char name[] = "d/0"; name[2] < '4'; name[2]++)
        assert_int_equal(env_file_close(must_open(
                             name, ENV_WRITE | ENV_CREATE)), ADB_OK);
    assert_int_equal(env_stat(e, at("d/0/x"), &st), ADB_OK);
    assert_int_equal(st.kind, ENV_KIND_NONE);
    assert_int_equal(env_stat(e, at("d/0"), &st), ADB_OK);
    assert_int_equal(st.kind, ENV_KIND_FILE);
    assert_int_equal(st.links, 1);
    unsigned count = 0;
    assert_int_equal(env_list_dir(e, at("d"), count_name, &count),
                     ADB_INVALID);
    assert_int_equal(count, 3);
    assert_int_equal(env_list_dir(e, at("none"), count_name, &count),
                     ADB_NOT_FOUND);
    assert_int_equal(env_remove_dir(e, at("d")), ADB_IO);
    assert_int_equal(env_rename(e, at("d/0"), at("d/1")), ADB_OK);
    assert_int_equal(env_rename(e, at("d/0"), at("d/1")), ADB_NOT_FOUND);
    assert_non_null(strstr(status_message(), "cannot rename '"));
    assert_int_equal(env_unlink(e, at("d/0")), ADB_NOT_FOUND);
    for (char name[] = "d/1"; name[2] < '4'; name[2]++)
        assert_int_equal(env_unlink(e, at(name)), ADB_OK);
    assert_int_equal(env_sync_dir(e, at("d")), ADB_OK);
    assert_int_equal(env_sync_dir(e, at("none")), ADB_NOT_FOUND);
    assert_int_equal(env_remove_dir(e, at("d")), ADB_OK);
    assert_int_equal(env_remove_dir(e, at("d")), ADB_NOT_FOUND);
}

static void test_map(void **state)
{
    (void)state;
    struct env_map *m;
    uint8_t data[6];
    struct env_file *f = must_open("m", ENV_WRITE | ENV_CREATE);
    assert_int_equal(env_file_truncate(f, 1 << 16), ADB_OK);
    assert_int_equal(env_file_map(f, 1 << 17, true, &m), ADB_IO);
    assert_int_equal(env_file_map(f, 1 << 16, true, &m), ADB_OK);
    assert_int_equal(env_map_populate(m, 100, 20000), ADB_OK);
    assert_int_equal(env_map_populate(m, 1 << 16, 0), ADB_OK);
    assert_int_equal(env_map_populate(m, 1 << 16, 1), ADB_INVALID);
    env_map_store(m, 4094, "stored", 6);
    assert_int_equal(posix_map_touch(m, 4000, 200), ADB_OK);
    assert_int_equal(env_file_read_full(f, 4094, data, 6), ADB_OK);
    assert_memory_equal(data, "stored", 6);
    /* Cut under the map: a status, never SIGBUS. */
    assert_int_equal(env_file_truncate(f, 4096), ADB_OK);
    assert_int_equal(env_map_populate(m, 32768, 100), ADB_IO);
    assert_int_equal(posix_map_touch(m, 32768, 100), ADB_IO);
    env_map_unmap(m);
    env_map_unmap(NULL);

    assert_int_equal(env_file_map(f, 4096, false, &m), ADB_OK);
    assert_memory_equal(m->base + 4094, "st", 2);
    env_map_unmap(m);
    assert_int_equal(env_file_close(f), ADB_OK);
}

/* Runs body in a forked child; its return value is the exit code. */
static int in_child(int (*body)(void *), void *argument)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(body(argument));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int child_unmaps(void *argument)
{
    struct env_map *m = argument;
    size_t size = m->size;
    uint8_t *base = m->base;
    /* The hole is the child's to use; releasing the map must leave it. */
    uint8_t *mine = mmap(base, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                         -1, 0);
    if (mine != base)
        return 1;
    mine[0] = 7;
    env_map_unmap(m);
    return mine[0] == 7 ? 0 : 2;
}

static void test_map_and_fork(void **state)
{
    (void)state;
    struct env_map *m;
    struct env_file *f = must_open("mf", ENV_WRITE | ENV_CREATE);
    assert_int_equal(env_file_truncate(f, 1 << 16), ADB_OK);
    assert_int_equal(env_file_map(f, 1 << 16, true, &m), ADB_OK);
    assert_int_equal(in_child(child_unmaps, m), 0);
    env_map_unmap(m);
    assert_int_equal(env_file_close(f), ADB_OK);
}

static int child_locks(void *argument)
{
    (void)argument;
    void *lock;
    return (int)env_lock(env_posix(), at("LOCK"), &lock);
}

static int child_releases(void *argument)
{
    env_unlock(env_posix(), argument);
    return 0;
}

static void test_lock(void **state)
{
    (void)state;
    struct env *e = env_posix();
    void *lock, *second;
    assert_int_equal(env_lock(e, at("LOCK"), &lock), ADB_OK);
    assert_int_equal(env_lock(e, at("LOCK"), &second), ADB_BUSY);
    assert_non_null(strstr(status_message(), "/LOCK'"));
    /* Another descriptor's close does not drop it. */
    assert_int_equal(env_file_close(must_open("LOCK", ENV_WRITE)), ADB_OK);
    assert_int_equal(in_child(child_locks, NULL), ADB_BUSY);
    /* What a child does with the handle does not reach the parent's lock. */
    assert_int_equal(in_child(child_releases, lock), 0);
    assert_int_equal(in_child(child_locks, NULL), ADB_BUSY);
    env_unlock(e, lock);
    assert_int_equal(in_child(child_locks, NULL), ADB_OK);
    assert_int_equal(env_lock(e, at("LOCK"), &lock), ADB_OK);
    env_unlock(e, lock);
    env_unlock(e, NULL);
    assert_int_equal(env_lock(e, at("no/LOCK"), &lock), ADB_NOT_FOUND);
}

/* Takes the lock, forks a grandchild that stays, and dies. */
static int child_dies_with_lock(void *argument)
{
    int *pipes = argument;
    void *lock;
    if (env_lock(env_posix(), at("LOCK"), &lock) != ADB_OK)
        return 1;
    if (fork() == 0) {
        char byte;
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
    }
    return 0;
}

static void test_lock_dies_with_its_owner(void **state)
{
    (void)state;
    int pipes[2];
    void *lock;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(in_child(child_dies_with_lock, pipes), 0);
    /* The grandchild lives until the pipe closes, and may not have run its
       fork handler yet. */
    adb_status status = ADB_BUSY;
    for (int i = 0; i < 1000 && status == ADB_BUSY; i++) {
        status = env_lock(env_posix(), at("LOCK"), &lock);
        usleep(1000);
    }
    assert_int_equal(status, ADB_OK);
    env_unlock(env_posix(), lock);
    close(pipes[0]);
    close(pipes[1]);
}

static int child_generation(void *argument)
{
    return env_fork_generation() != *(unsigned *)argument ? 0 : 1;
}

static void test_fork_generation(void **state)
{
    (void)state;
    env_watch_forks();
    unsigned mine = env_fork_generation();
    assert_int_equal(in_child(child_generation, &mine), 0);
    assert_int_equal(env_fork_generation(), mine);
}

static void test_conveniences(void **state)
{
    (void)state;
    struct env *e = env_posix();
    uint8_t *data;
    size_t size;
    struct env_stat st;
    assert_int_equal(env_replace_file(e, directory, "CUR", "one", 3), ADB_OK);
    assert_int_equal(env_replace_file(e, directory, "CUR", "second", 6),
                     ADB_OK);
    assert_int_equal(env_read_file(e, at("CUR"), 6, &data, &size), ADB_OK);
    assert_int_equal(size, 6);
    assert_string_equal((char *)data, "second");
    mem_free(data);
    assert_int_equal(env_read_file(e, at("CUR"), 5, &data, &size),
                     ADB_TOO_LARGE);
    assert_int_equal(env_read_file(e, at("none"), 5, &data, &size),
                     ADB_NOT_FOUND);
    assert_int_equal(env_stat(e, at("CUR.tmp"), &st), ADB_OK);
    assert_int_equal(st.kind, ENV_KIND_NONE);
    assert_int_equal(env_replace_file(e, at("none"), "CUR", "x", 1),
                     ADB_NOT_FOUND);
}

static void test_system(void **state)
{
    (void)state;
    struct env *e = env_posix();
    enum env_fs_class class;
    uint64_t space, a[4] = {0}, b[4] = {0};
    assert_int_equal(env_posix()->ops->fs_class(e, directory, &class), ADB_OK);
    assert_int_equal(e->ops->fs_class(e, "/proc", &class), ADB_OK);
    assert_int_equal(class, ENV_FS_OTHER);
    assert_int_equal(e->ops->fs_class(e, at("none"), &class), ADB_NOT_FOUND);
    assert_int_equal(e->ops->free_space(e, directory, &space), ADB_OK);
    assert_true(space > 0);
    assert_int_equal(e->ops->random(e, a, sizeof a), ADB_OK);
    assert_int_equal(e->ops->random(e, b, sizeof b), ADB_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(e->ops->wall_ns(e) > UINT64_C(1600000000000000000));
}

static void test_anonymous(void **state)
{
    (void)state;
    for (int huge = 0; huge < 2; huge++) {
        size_t size = (5 << 20) + 100;
        uint8_t *p = env_anonymous_reserve(size, huge);
        assert_non_null(p);
        if (huge)
            assert_int_equal((uintptr_t)p % (2 << 20), 0);
        assert_int_equal(p[0] | p[size - 1], 0);
        memset(p, 1, size);
        env_anonymous_discard(p, size);
        assert_int_equal(p[0] | p[size - 1], 0);
        env_anonymous_release(p, size);
    }
    /* Far more address space than memory. */
    void *p = env_anonymous_reserve((size_t)1 << 38, false);
    assert_non_null(p);
    env_anonymous_release(p, (size_t)1 << 38);
    assert_null(env_anonymous_reserve(0, false));
    assert_null(env_anonymous_reserve(SIZE_MAX, true));
    env_anonymous_release(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_flags),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_and_fork),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_dies_with_its_owner),
        cmocka_unit_test(test_fork_generation),
        cmocka_unit_test(test_conveniences),
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_anonymous),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
