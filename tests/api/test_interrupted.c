/*
 * System calls that are interrupted (EINTR) or move less than they were asked
 * to: nobody above the env ever gets to know. The linker puts the functions
 * below in front of the C library's (tests/CMakeLists.txt), so that one call in
 * three of a database's whole life does one or the other.
 */
#include "api_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

enum { KEYS = 3000 };

static _Atomic bool on;
static _Atomic uint64_t waits, calls, interrupted, shortened;

enum outcome { INTERRUPTED, SHORT, WHOLE };

/* Spread evenly over all calls, whatever the order of threads. */
static enum outcome next_outcome(void)
{
    if (!atomic_load(&on))
        return WHOLE;
    enum outcome next = atomic_fetch_add(&calls, 1) % 3;
    if (next == INTERRUPTED) {
        atomic_fetch_add(&interrupted, 1);
        errno = EINTR;
    }
    return next;
}

/* What a transfer of that size moves: a part, never nothing, which would be the
   end of the file. 0: it is interrupted. */
static size_t part_of(size_t size)
{
    enum outcome next = next_outcome();
    if (next != SHORT || size < 2)
        return next == INTERRUPTED ? 0 : size;
    atomic_fetch_add(&shortened, 1);
    return 1 + size / 3;
}

#define WRAPPED(type, name, parameters, arguments)                             \
    type __real_##name parameters;                                             \
    type __wrap_##name parameters;                                             \
    type __wrap_##name parameters                                              \
    {                                                                          \
        return next_outcome() == INTERRUPTED ? (type)-1                        \
                                             : __real_##name arguments;        \
    }

ssize_t __real_pread(int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t offset)
{
    size_t part = part_of(size);
    return part ? __real_pread(fd, data, part, offset) : -1;
}

/* One that was cut short is one that would have to wait for the rest. */
ssize_t __real_preadv2(int fd, const struct iovec *parts, int count,
                       off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count,
                       off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count,
                       off_t offset, int flags)
{
    struct iovec less = {parts->iov_base, part_of(parts->iov_len)};
    assert_int_equal(count, 1);
    if (!less.iov_len)
        return -1;
    if (less.iov_len == parts->iov_len || atomic_fetch_add(&waits, 1) % 2)
        return __real_preadv2(fd, &less, 1, offset, flags);
    errno = EAGAIN;
    return -1;
}

ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    size_t part = part_of(size);
    return part ? __real_pwrite(fd, data, part, offset) : -1;
}

ssize_t __real_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    size_t part = part_of(size);
    return part ? __real_getrandom(data, part, flags) : -1;
}

WRAPPED(int, fdatasync, (int fd), (fd))
WRAPPED(int, fsync, (int fd), (fd))
WRAPPED(int, ftruncate, (int fd, off_t size), (fd, size))
WRAPPED(int, fallocate, (int fd, int mode, off_t offset, off_t size),
        (fd, mode, offset, size))
WRAPPED(int, open, (const char *path, int flags, mode_t mode),
        (path, flags, mode))
WRAPPED(int, fcntl, (int fd, int command, void *argument),
        (fd, command, argument))
WRAPPED(int, madvise, (void *at, size_t size, int advice), (at, size, advice))
WRAPPED(int, statfs, (const char *path, struct statfs *out), (path, out))
WRAPPED(int, statvfs, (const char *path, struct statvfs *out), (path, out))

static size_t make_value(char *value, unsigned key, unsigned round)
{
    /* Most stand in blocks, some in extents of their own. */
    size_t size = key % 100 == 7 ? 70000 : 200 + key % 300;
    memset(value, 'a' + (int)(key + round) % 26, size);
    return size;
}

static void write_all(adb *db, unsigned round)
{
    static char value[70000];
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned k = i * 1009 % KEYS;
        size_t size = make_value(value, k, round);
        adb_write_options o = ADB_WRITE_OPTIONS_INIT;
        o.durability = i % 50 ? ADB_DURABILITY_PROCESS : ADB_DURABILITY_SYNC;
        assert_ok(adb_put(db, &o, &k, sizeof k, value, size));
    }
}

static void read_all(adb *db, unsigned round)
{
    static char value[70000];
    for (unsigned k = 0; k < KEYS; k++) {
        size_t size = make_value(value, k, round);
        adb_value v = ADB_VALUE_INIT;
        assert_ok(adb_get(db, NULL, &k, sizeof k, &v));
        assert_int_equal(v.size, size);
        assert_memory_equal(v.data, value, size);
        adb_value_release(&v);
    }
}

/* All at once, and by seeks. */
static void read_together(adb *db, unsigned round)
{
    static char value[70000];
    static unsigned numbers[KEYS];
    static adb_slice keys[KEYS];
    static adb_value values[KEYS];
    static adb_status statuses[KEYS];
    adb_iter *it = NULL;
    for (unsigned k = 0; k < KEYS; k++) {
        numbers[k] = k;
        keys[k] = (adb_slice){&numbers[k], sizeof k};
    }
    assert_ok(adb_multi_get(db, NULL, KEYS, keys, values, statuses));
    assert_ok(adb_iter_new(db, NULL, &it));
    for (unsigned k = 0; k < KEYS; k++) {
        size_t size = make_value(value, k, round);
        assert_ok(statuses[k]);
        assert_int_equal(values[k].size, size);
        assert_memory_equal(values[k].data, value, size);
        adb_value_release(&values[k]);
        assert_true(adb_iter_seek(it, &numbers[k], sizeof k));
        adb_slice found = adb_iter_value(it);
        assert_int_equal(found.size, size);
        assert_memory_equal(found.data, value, size);
    }
    adb_iter_free(it);
}

static void live(const char *path, const char *options)
{
    adb *db = NULL;
    atomic_store(&on, true);
    for (unsigned round = 0; round < 3; round++) {
        db = open_with(path, options);
        if (round > 0)
            read_together(db, round - 1);
        write_all(db, round);
        read_all(db, round);
        if (round == 1)
            assert_ok(adb_compact(db, (adb_slice){0}, (adb_slice){0}));
        assert_ok(adb_close(db));
    }
    assert_ok(adb_destroy(path));
    atomic_store(&on, false);
}

static void test_life(void **state)
{
    (void)state;
    static const char *const access[] = {"map", "write"};
    for (int i = 0; i < 2; i++) {
        char *directory = scratch_new(), path[4200], options[200];
        snprintf(path, sizeof path, "%s/db", directory);
        snprintf(options, sizeof options,
                 "wal_access=%s memory_budget=4M memtable_size=256K "
                 "wal_segment_min=64K wal_segment_max=256K",
                 access[i]);
        live(path, options);
        scratch_remove(directory);
    }
    printf("%llu calls, %llu interrupted, %llu cut short\n",
           (unsigned long long)calls, (unsigned long long)interrupted,
           (unsigned long long)shortened);
    assert_true(interrupted > 500);
    assert_true(shortened > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
