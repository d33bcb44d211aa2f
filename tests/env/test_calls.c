/*
 * The real env when the system refuses: every system call of it is answered by
 * this program first, which fails the chosen one with a chosen errno. What was
 * interrupted is tried again, what moved in part goes on, everything else is a
 * status whose message names path and errno.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "base/alloc.h"
#include "env/env.h"

/* ---- the system's calls -------------------------------------------------- */

enum call { NO_CALL, PREAD, PWRITE, FDATASYNC, FTRUNCATE, FALLOCATE, FSTAT,
            CLOSE, OPEN, FSYNC, MADVISE, FCNTL, STATFS, STATVFS, GETRANDOM,
            READDIR, STAT, GETRLIMIT, MINCORE };

static struct {
    enum call call;
    int error;
    unsigned skip, times; /* so many pass, then so many fail */
    size_t at_most;       /* of pread and pwrite: bytes moved; 0: all */
    bool nothing;         /* pwrite says that it wrote nothing */
    unsigned made;        /* calls of that kind */
    rlim_t limit;
    /* What mincore says of the pages from `map` on; NULL: as it is. */
    const unsigned char *resident, *map;
} plan;

static bool fails(enum call call)
{
    if (plan.call != call)
        return false;
    plan.made++;
    if (plan.skip > 0) {
        plan.skip--;
        return false;
    }
    if (plan.times == 0)
        return false;
    plan.times--;
    errno = plan.error;
    return true;
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

static size_t part_of(size_t size)
{
    return plan.at_most && plan.at_most < size ? plan.at_most : size;
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return fails(PREAD) ? -1 : REAL(pread)(fd, data, part_of(size), offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    if (fails(PWRITE))
        return plan.nothing ? 0 : -1;
    return REAL(pwrite)(fd, data, part_of(size), offset);
}

int fdatasync(int fd)
{
    return fails(FDATASYNC) ? -1 : REAL(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails(FSYNC) ? -1 : REAL(fsync)(fd);
}

int ftruncate(int fd, off_t size)
{
    return fails(FTRUNCATE) ? -1 : REAL(ftruncate)(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    return fails(FALLOCATE) ? -1 : REAL(fallocate)(fd, mode, offset, size);
}

int fstat(int fd, struct stat *out)
{
    return fails(FSTAT) ? -1 : REAL(fstat)(fd, out);
}

int stat(const char *path, struct stat *out)
{
    return fails(STAT) ? -1 : REAL(stat)(path, out);
}

int close(int fd)
{
    int result = REAL(close)(fd);
    return fails(CLOSE) ? -1 : result;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(OPEN) ? -1 : REAL(open)(path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    return fails(FCNTL) ? -1 : REAL(fcntl)(fd, command, argument);
}

int madvise(void *base, size_t size, int advice)
{
    return fails(MADVISE) ? -1 : REAL(madvise)(base, size, advice);
}

int mincore(void *base, size_t size, unsigned char *out)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (fails(MINCORE))
        return -1;
    if (!plan.resident)
        return REAL(mincore)(base, size, out);
    memcpy(out, plan.resident + ((unsigned char *)base - plan.map) / page,
           (size + page - 1) / page);
    return 0;
}

int statfs(const char *path, struct statfs *out)
{
    return fails(STATFS) ? -1 : REAL(statfs)(path, out);
}

int statvfs(const char *path, struct statvfs *out)
{
    return fails(STATVFS) ? -1 : REAL(statvfs)(path, out);
}

ssize_t getrandom(void *data, size_t size, unsigned flags)
{
    return fails(GETRANDOM) ? -1 : REAL(getrandom)(data, part_of(size), flags);
}

struct dirent *readdir(DIR *stream)
{
    return fails(READDIR) ? NULL : REAL(readdir)(stream);
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *out)
{
    if (fails(GETRLIMIT))
        return -1;
    int result = REAL(getrlimit)(resource, out);
    if (plan.call == GETRLIMIT)
        out->rlim_cur = plan.limit;
    return result;
}

/* ---- one operation of the env for each call ------------------------------ */

static char *directory;

static adb_status visit_nothing(void *context, const char *name)
{
    (void)context, (void)name;
    return ADB_OK;
}

static adb_status lock_once(struct env *e, const char *path)
{
    void *lock;
    adb_status status = env_lock(e, path, &lock);
    if (status == ADB_OK)
        env_unlock(e, lock);
    return status;
}

static adb_status map_once(struct env_file *f)
{
    struct env_map *m;
    adb_status status = env_file_map(f, 8192, true, &m);
    if (status != ADB_OK)
        return status;
    plan.made = 0;
    status = env_map_populate(m, 100, 5000);
    if (status == ADB_OK)
        env_map_store(m, 8, "stored", 6);
    env_map_unmap(m);
    return status;
}

static adb_status on_file(struct env *e, struct env_file *f, enum call call)
{
    uint8_t data[64] = "some bytes";
    uint64_t size;
    size_t got = 0;
    switch (call) {
    case PREAD:
        return env_file_read(f, 0, data, sizeof data, &got);
    case PWRITE:
        return env_file_write(f, 0, data, sizeof data);
    case FDATASYNC:
        return env_file_sync(f);
    case FTRUNCATE:
        return env_file_truncate(f, 8192);
    case FALLOCATE:
        return env_file_allocate(f, 8192);
    case FSTAT:
        return env_file_size(f, &size);
    case MADVISE:
        return map_once(f);
    default:
        (void)e;
        return status_set(ADB_INVALID, "no such call");
    }
}

static adb_status on_names(struct env *e, const char *path, enum call call)
{
    struct env_stat st;
    struct env_file *f;
    enum env_fs_class class;
    uint64_t bytes, noise[4];
    adb_status status;
    switch (call) {
    case OPEN:
        status = env_open(e, path, ENV_WRITE | ENV_CREATE, &f);
        return status == ADB_OK ? env_file_close(f) : status;
    case FSYNC:
        return env_sync_dir(e, directory);
    case FCNTL:
        return lock_once(e, path);
    case STATFS:
        return e->ops->fs_class(e, directory, &class);
    case STATVFS:
        return e->ops->free_space(e, directory, &bytes);
    case GETRANDOM:
        return e->ops->random(e, noise, sizeof noise);
    case READDIR:
        return env_list_dir(e, directory, visit_nothing, NULL);
    case STAT:
        return env_stat(e, path, &st);
    default:
        return on_file(e, NULL, NO_CALL);
    }
}

static bool is_on_file(enum call call)
{
    return call <= FSTAT || call == MADVISE;
}

/* Nothing of it but the one operation meets the plan. */
static adb_status run(enum call call)
{
    struct env *e = env_posix();
    struct env_file *f = NULL;
    char path[4200];
    snprintf(path, sizeof path, "%s/file", directory);
    if (!is_on_file(call))
        return on_names(e, path, call);
    enum call planned = plan.call;
    plan.call = NO_CALL;
    assert_ok(env_open(e, path, ENV_WRITE | ENV_CREATE, &f));
    assert_ok(env_file_truncate(f, 8192));
    plan.call = planned;
    adb_status status = on_file(e, f, call);
    plan.call = NO_CALL;
    struct status_saved saved;
    status_save(&saved, status);
    assert_ok(env_file_close(f));
    return status_restore(&saved);
}

static adb_status run_with(enum call call, int error, unsigned times)
{
    plan.call = call;
    plan.error = error;
    plan.times = times;
    plan.skip = plan.made = 0;
    adb_status status = run(call);
    plan.call = NO_CALL;
    plan.at_most = 0;
    plan.nothing = false;
    return status;
}

/* ---- tests --------------------------------------------------------------- */

static void test_interrupted(void **state)
{
    (void)state;
    static const enum call calls[] = {
        PREAD, PWRITE, FDATASYNC, FTRUNCATE, FALLOCATE, OPEN,
        FSYNC, FCNTL,  STATFS,    STATVFS,   GETRANDOM};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_ok(run_with(calls[i], EINTR, 3));
        assert_true(plan.made >= 4);
    }
    /* The descriptor is gone all the same: never closed twice. */
    struct env_file *f;
    char path[4200];
    snprintf(path, sizeof path, "%s/closed", directory);
    assert_ok(env_open(env_posix(), path, ENV_WRITE | ENV_CREATE, &f));
    plan.call = CLOSE;
    plan.error = EINTR;
    plan.times = 1;
    plan.made = 0;
    assert_ok(env_file_close(f));
    assert_int_equal(plan.made, 1);
    plan.call = NO_CALL;
}

static const struct failure {
    enum call call;
    int error;
    adb_status status;
    const char *message;
} failures[] = {
    {PREAD, EIO, ADB_IO, "cannot read 64 bytes at offset 0 of '"},
    {PWRITE, EIO, ADB_IO, "cannot write 64 bytes at offset 0 of '"},
    {PWRITE, ENOSPC, ADB_NO_SPACE, "cannot write 64 bytes"},
    {PWRITE, EDQUOT, ADB_NO_SPACE, "cannot write 64 bytes"},
    {FDATASYNC, EIO, ADB_IO, "cannot sync '"},
    {FTRUNCATE, EIO, ADB_IO, "cannot truncate '"},
    {FALLOCATE, ENOSPC, ADB_NO_SPACE, "cannot allocate 8192 bytes for '"},
    {FALLOCATE, EOPNOTSUPP, ADB_UNSUPPORTED, "cannot allocate"},
    {FALLOCATE, ENOSYS, ADB_UNSUPPORTED, "cannot allocate"},
    {FSTAT, EIO, ADB_IO, "cannot get the size of '"},
    {OPEN, EMFILE, ADB_IO, "cannot open '"},
    {OPEN, ENOENT, ADB_NOT_FOUND, "cannot open '"},
    {OPEN, EEXIST, ADB_EXISTS, "cannot open '"},
    {FSYNC, EIO, ADB_IO, "cannot sync directory '"},
    {FCNTL, EAGAIN, ADB_BUSY, "is locked: the database is open"},
    {FCNTL, EACCES, ADB_BUSY, "is locked: the database is open"},
    {FCNTL, ENOLCK, ADB_IO, "cannot lock '"},
    {STATFS, EIO, ADB_IO, "cannot tell the file system of '"},
    {STATVFS, EIO, ADB_IO, "cannot tell the free space of '"},
    {GETRANDOM, EAGAIN, ADB_IO, "cannot get random bytes"},
    {READDIR, EIO, ADB_IO, "cannot list directory '"},
    {STAT, EACCES, ADB_IO, "cannot stat '"},
    {MADVISE, ENOMEM, ADB_NO_MEMORY, "cannot prepare the map of '"},
};

static void test_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        const struct failure *f = &failures[i];
        char number[32];
        adb_status status = run_with(f->call, f->error, 1);
        if (status != f->status || !strstr(status_message(), f->message))
            fail_msg("%s with errno %d: %s: %s", f->message, f->error,
                     status_name(status), status_message());
        snprintf(number, sizeof number, "(errno %d)", f->error);
        if (status != ADB_BUSY)
            assert_non_null(strstr(status_message(), number));
        assert_ok(run_with(f->call, f->error, 0)); /* and then it works */
    }
}

/* A directory that cannot be opened for its sync, a file whose kind cannot be
   told, a close that reports a write that was late. */
static void test_failures_on_the_way(void **state)
{
    (void)state;
    struct env *e = env_posix();
    struct env_file *f;
    char path[4200];
    snprintf(path, sizeof path, "%s/way", directory);
    plan.call = OPEN;
    plan.error = EIO;
    plan.times = 1;
    assert_int_equal(env_sync_dir(e, directory), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot open directory '"));
    plan.error = EINTR;
    plan.times = 2;
    assert_ok(env_sync_dir(e, directory));
    plan.times = 2;
    assert_ok(lock_once(e, path));
    plan.error = EROFS;
    plan.times = 1;
    assert_int_equal(lock_once(e, path), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot open lock file '"));
    plan.call = FSTAT;
    plan.error = EIO;
    plan.times = 1;
    assert_int_equal(env_open(e, path, ENV_WRITE, &f), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot stat '"));
    plan.call = NO_CALL;
    assert_ok(env_open(e, path, ENV_WRITE, &f));
    plan.call = CLOSE;
    plan.times = 1;
    assert_int_equal(env_file_close(f), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot close '"));
    plan.call = NO_CALL;
}

/* The system moves less than was asked for. */
static void test_short_transfers(void **state)
{
    (void)state;
    struct env *e = env_posix();
    struct env_file *f;
    char path[4200];
    uint8_t out[1000], in[1000];
    size_t got;
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 7);
    snprintf(path, sizeof path, "%s/short", directory);
    assert_ok(env_open(e, path, ENV_WRITE | ENV_CREATE, &f));
    plan.call = PWRITE;
    plan.at_most = 33;
    plan.made = plan.times = 0;
    assert_ok(env_file_write(f, 0, out, sizeof out));
    assert_int_equal(plan.made, 31);
    plan.call = PREAD;
    plan.made = 0;
    assert_ok(env_file_read(f, 0, in, sizeof in, &got));
    assert_int_equal(plan.made, 31);
    assert_int_equal(got, sizeof out);
    assert_memory_equal(in, out, sizeof out);
    /* Interrupted in the midst of it. */
    plan.call = PWRITE;
    plan.error = EINTR;
    plan.skip = 2;
    plan.times = 1;
    assert_ok(env_file_write(f, 500, out, 500));
    plan.call = NO_CALL;
    plan.at_most = 0;
    assert_ok(env_file_read_full(f, 500, in, 500));
    assert_memory_equal(in, out, 500);
    assert_ok(env_file_close(f));
    plan.at_most = 5;
    assert_ok(run_with(GETRANDOM, 0, 0));
    assert_true(plan.made >= 6);
    plan.at_most = 0;

    /* Nothing at all, again and again, would be for ever. */
    plan.nothing = true;
    assert_int_equal(run_with(PWRITE, 0, 1), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot write 64 bytes"));
}

/* Kernels before 5.14 do not know how to populate a map. */
static void test_old_kernel(void **state)
{
    (void)state;
    struct env *e = env_posix();
    struct env_file *f;
    struct env_map *m;
    char path[4200];
    uint8_t data[6];
    snprintf(path, sizeof path, "%s/map", directory);
    assert_ok(env_open(e, path, ENV_WRITE | ENV_CREATE, &f));
    assert_ok(env_file_truncate(f, 8192));
    /* The second preparation of a map is refused. */
    plan.call = MADVISE;
    plan.error = EIO;
    plan.skip = 1;
    plan.times = 1;
    assert_int_equal(env_file_map(f, 8192, true, &m), ADB_IO);
    plan.call = NO_CALL;
    assert_ok(env_file_map(f, 8192, true, &m));
    plan.call = MADVISE;
    plan.error = EINVAL;
    plan.skip = 0;
    plan.times = 1;
    assert_ok(env_map_populate(m, 4000, 200));
    env_map_store(m, 4094, "stored", 6);
    assert_ok(env_file_read_full(f, 4094, data, 6));
    assert_memory_equal(data, "stored", 6);
    plan.error = EINTR;
    plan.times = 2;
    assert_ok(env_map_populate(m, 0, 8192));
    assert_int_equal(plan.times, 0);
    plan.error = EFAULT;
    plan.times = 1;
    assert_int_equal(env_map_populate(m, 0, 8192), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot populate 8192 bytes"));
    /* Its size cannot be asked for. */
    plan.call = FSTAT;
    plan.error = EIO;
    plan.times = 2;
    struct env_map *second;
    assert_int_equal(env_file_map(f, 8192, true, &second), ADB_IO);
    plan.call = NO_CALL;
    /* Less than a page: nothing to be dropped; more: contents stay. */
    env_map_drop(m, 10, 100);
    env_map_drop(m, 0, 8192);
    assert_memory_equal(m->base + 4094, "stored", 6);
    env_map_unmap(m);
    assert_ok(env_file_close(f));
    /* No map for writing of what is open for reading. */
    assert_ok(env_open(e, path, ENV_READ, &f));
    assert_int_equal(env_file_map(f, 8192, true, &m), ADB_IO);
    assert_non_null(strstr(status_message(), "cannot map 8192 bytes of '"));
    assert_ok(env_file_close(f));
}

/* Which pages would have to be read. */
static void test_absent(void **state)
{
    enum { PAGES = 300 };
    (void)state;
    struct env *e = env_posix();
    struct env_file *f;
    struct env_map *m;
    char path[4200];
    unsigned char resident[PAGES];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), at = 0;
    snprintf(path, sizeof path, "%s/absent", directory);
    assert_ok(env_open(e, path, ENV_WRITE | ENV_CREATE, &f));
    assert_ok(env_file_truncate(f, PAGES * page));
    assert_ok(env_file_map(f, PAGES * page, true, &m));
    memset(resident, 1, sizeof resident);
    plan.map = m->base;
    plan.resident = resident;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), 0);

    /* Over the bound of what is asked for at once, and the last page. */
    memset(resident + 120, 0, 30);
    resident[PAGES - 1] = 0;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), 30 * page);
    assert_int_equal(at, 120 * page);
    at += 30 * page;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), page);
    assert_int_equal(at, (PAGES - 1) * page);
    at += page;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), 0);
    /* Nothing outside of the range, whole pages or not. */
    at = 130 * page + 10;
    assert_int_equal(env_map_absent(m, &at, 132 * page - 10), 2 * page - 20);
    assert_int_equal(at, 130 * page + 10);
    at = 0;
    assert_int_equal(env_map_absent(m, &at, 120 * page), 0);
    /* Not known. */
    plan.call = MINCORE;
    plan.error = EAGAIN;
    plan.skip = 0;
    plan.times = 1;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), 0);
    plan.call = NO_CALL;
    plan.resident = NULL;

    /* As the system says it: what was populated is there. */
    assert_ok(env_map_populate(m, 0, PAGES * page));
    at = 0;
    assert_int_equal(env_map_absent(m, &at, PAGES * page), 0);
    env_map_unmap(m);
    assert_ok(env_file_close(f));
}

static void test_limits(void **state)
{
    (void)state;
    plan.call = GETRLIMIT;
    plan.times = 0;
    plan.limit = 1000;
    assert_int_equal(env_file_limit(), 1000);
    plan.limit = RLIM_INFINITY;
    assert_int_equal(env_file_limit(), 1048576);
    plan.error = EPERM;
    plan.times = 1;
    assert_int_equal(env_file_limit(), 256);
    plan.call = NO_CALL;
    /* More address space than there is. */
    assert_null(env_anonymous_reserve((size_t)1 << 48, false));
    assert_null(env_anonymous_reserve((size_t)1 << 48, true));
}

static int set_up(void **state)
{
    (void)state;
    directory = scratch_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    plan.call = NO_CALL;
    scratch_remove(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_failures_on_the_way),
        cmocka_unit_test(test_short_transfers),
        cmocka_unit_test(test_old_kernel),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
