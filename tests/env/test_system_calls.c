/*
 * What the real env asks the system for, and how it goes on when the system
 * does a part of it or is interrupted. This program's own pread, preadv2,
 * pwrite, posix_fadvise, fdatasync and fsync stand in front of the C library's.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "env/env_posix.h"
#include "support.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

/* How the next calls go. */
static struct {
    bool staged;         /* by a test; else calls just pass */
    unsigned interrupts; /* so many fail with EINTR first */
    int error;           /* then they fail with this; 0: they work */
    size_t piece;        /* and move at most so many bytes; 0: all */
    unsigned calls;
    bool directory; /* the last sync was one of a directory */
    int waits_from; /* reads that must not wait fail from this offset on */
    unsigned asked; /* requests to fetch */
} stage;

ssize_t pread(int fd, void *data, size_t size, off_t offset);
ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset,
                int flags);
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset);
int posix_fadvise(int fd, off_t offset, off_t size, int advice);
int fdatasync(int fd);
int fsync(int fd);

/* False: the call fails as staged. */
static bool goes_on(void)
{
    if (!stage.staged)
        return true;
    stage.calls++;
    errno = stage.error;
    if (stage.interrupts) {
        stage.interrupts--;
        errno = EINTR;
        return false;
    }
    return stage.error == 0;
}

static size_t part_of(size_t size)
{
    return stage.staged && stage.piece && stage.piece < size ? stage.piece
                                                             : size;
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return goes_on() ? syscall(SYS_pread64, fd, data, part_of(size), offset)
                     : -1;
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset,
                int flags)
{
    assert_int_equal(count, 1);
    assert_int_equal(flags, RWF_NOWAIT);
    size_t size = part_of(parts->iov_len);
    if (!goes_on())
        return -1;
    if (offset >= stage.waits_from) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_pread64, fd, parts->iov_base,
                   MIN_OF(size, (size_t)(stage.waits_from - offset)), offset);
}

int posix_fadvise(int fd, off_t offset, off_t size, int advice)
{
    (void)fd, (void)offset, (void)size;
    stage.asked += advice == POSIX_FADV_WILLNEED;
    return 0;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return goes_on() ? syscall(SYS_pwrite64, fd, data, part_of(size), offset)
                     : -1;
}

static int note_sync(int fd, long number)
{
    struct stat st;
    stage.directory = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return goes_on() ? (int)syscall(number, fd) : -1;
}

int fdatasync(int fd)
{
    return note_sync(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return note_sync(fd, SYS_fsync);
}

static void begin(unsigned interrupts, int error, size_t piece)
{
    memset(&stage, 0, sizeof stage);
    stage.staged = true;
    stage.interrupts = interrupts;
    stage.error = error;
    stage.piece = piece;
    stage.waits_from = INT_MAX;
}

/* How many calls there were. */
static unsigned end(void)
{
    stage.staged = false;
    return stage.calls;
}

static struct env_file *new_file(const char *directory)
{
    struct env_file *f = NULL;
    char *path = env_join(directory, "file");
    assert_ok(env_open(env_posix(), path,
                       ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f));
    mem_free(path);
    return f;
}

/* One call to the system for each sync, again only after an interruption. */
static void test_sync(void **state)
{
    char *directory = scratch_new();
    struct env_file *f = new_file(directory);
    (void)state;
    begin(0, 0, 0);
    assert_ok(env_file_sync(f));
    assert_int_equal(end(), 1);
    assert_false(stage.directory);
    begin(2, 0, 0);
    assert_ok(env_file_sync(f));
    assert_int_equal(end(), 3);
    begin(0, EIO, 0);
    assert_int_equal(env_file_sync(f), ADB_IO);
    assert_int_equal(end(), 1);
    assert_ok(env_file_close(f));
    scratch_remove(directory);
}

static void test_sync_of_a_directory(void **state)
{
    char *directory = scratch_new();
    (void)state;
    begin(0, 0, 0);
    assert_ok(env_sync_dir(env_posix(), directory));
    assert_int_equal(end(), 1);
    assert_true(stage.directory);
    begin(2, 0, 0);
    assert_ok(env_sync_dir(env_posix(), directory));
    assert_int_equal(end(), 3);
    begin(0, EIO, 0);
    assert_int_equal(env_sync_dir(env_posix(), directory), ADB_IO);
    assert_int_equal(end(), 1);
    scratch_remove(directory);
}

/* Bytes arrive whole, in whatever pieces the system moves them. */
static void test_pieces(void **state)
{
    static const char text[] = "twenty-six bytes and a zero";
    char found[sizeof text];
    size_t got;
    char *directory = scratch_new();
    struct env_file *f = new_file(directory);
    (void)state;
    begin(1, 0, 5);
    assert_ok(env_file_write(f, 3, text, sizeof text));
    assert_int_equal(end(), 1 + (sizeof text + 4) / 5);
    begin(1, 0, 4);
    assert_ok(env_file_read(f, 3, found, sizeof found, &got));
    assert_int_equal(end(), 1 + (sizeof text + 3) / 4);
    assert_int_equal(got, sizeof text);
    assert_memory_equal(found, text, sizeof text);
    begin(0, ENOSPC, 0);
    assert_int_equal(env_file_write(f, 0, text, 4), ADB_NO_SPACE);
    begin(0, EIO, 0);
    assert_int_equal(env_file_read(f, 0, found, 4, &got), ADB_IO);
    end();
    assert_ok(env_file_close(f));
    scratch_remove(directory);
}

/* What is not in memory is not waited for; a piece that is there is no end. */
static void test_now(void **state)
{
    static const char text[] = "what is in memory";
    char found[sizeof text];
    char *directory = scratch_new();
    struct env_file *f = new_file(directory);
    (void)state;
    assert_ok(env_file_write(f, 0, text, sizeof text));
    begin(1, 0, 5);
    assert_ok(env_file_read_full_now(f, 0, found, sizeof text));
    assert_int_equal(end(), 1 + (sizeof text + 4) / 5);
    assert_memory_equal(found, text, sizeof text);
    begin(0, 0, 0);
    stage.waits_from = 7;
    assert_int_equal(env_file_read_full_now(f, 0, found, sizeof text),
                     ADB_BUSY);
    assert_int_equal(end(), 2);
    assert_int_equal(stage.asked, 0);
    begin(0, 0, 0);
    assert_int_equal(env_file_read_full_now(f, 1, found, sizeof text),
                     ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "bytes wanted at offset 1"));
    assert_int_equal(env_file_read_full_now(f, UINT64_MAX - 1, found, 5),
                     ADB_CORRUPTION);
    end();
    assert_ok(env_file_close(f));
    scratch_remove(directory);
}

/* Where the file system cannot tell, it is asked to fetch and never again
   whether it can tell. */
static void test_now_cannot_be_told(void **state)
{
    char found[4];
    char *directory = scratch_new();
    struct env_file *f = new_file(directory);
    (void)state;
    assert_ok(env_file_write(f, 0, "text", 4));
    begin(0, EOPNOTSUPP, 0);
    assert_int_equal(env_file_read_full_now(f, 0, found, 4), ADB_BUSY);
    assert_int_equal(env_file_read_full_now(f, 0, found, 4), ADB_BUSY);
    assert_int_equal(end(), 1);
    assert_int_equal(stage.asked, 2);
    assert_ok(env_file_read_full(f, 0, found, 4));
    assert_memory_equal(found, "text", 4);
    assert_ok(env_file_close(f));
    /* What cannot be read says so to who waits; and can be told later. */
    f = new_file(directory);
    assert_ok(env_file_write(f, 0, "text", 4));
    begin(0, EIO, 0);
    assert_int_equal(env_file_read_full_now(f, 0, found, 4), ADB_BUSY);
    assert_int_equal(env_file_read_full(f, 0, found, 4), ADB_IO);
    end();
    assert_int_equal(stage.asked, 0);
    assert_ok(env_file_read_full_now(f, 0, found, 4));
    assert_ok(env_file_close(f));
    scratch_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_sync_of_a_directory),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_now),
        cmocka_unit_test(test_now_cannot_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
