#include "env/env_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "env/env_error.h"

/* From linux/magic.h, which not every build machine has. */
enum { MAGIC_EXT = 0xEF53, MAGIC_XFS = 0x58465342, MAGIC_TMPFS = 0x01021994 };

/* Linux moves at most this much in one call. */
#define TRANSFER_MAX ((size_t)0x7ffff000)

static int fd_of(struct env_file *f)
{
    return ((struct posix_file *)f)->fd;
}

/* ---- files ---- */

static adb_status posix_read(struct env_file *f, uint64_t offset, void *data,
                             size_t size, size_t *got)
{
    size_t done = 0;
    /* Offsets may come from damaged bytes: past every end is no error. */
    if (offset > INT64_MAX - size)
        size = 0;
    while (done < size) {
        ssize_t n = pread(fd_of(f), (uint8_t *)data + done,
                          MIN_OF(size - done, TRANSFER_MAX),
                          (off_t)(offset + done));
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return env_error(errno,
                             "cannot read %zu bytes at offset %" PRIu64
                             " of '%s'", size, offset, f->path);
    }
    *got = done;
    return ADB_OK;
}

static void posix_advise_ahead(struct env_file *f, uint64_t offset,
                               uint64_t size)
{
    /* Of one call the kernel takes no more than the device's own read-ahead,
       or what it moves at once: 128 KiB where it is least. */
    const uint64_t step = 128 << 10;
    for (uint64_t at = 0; at < size; at += step)
        posix_fadvise(fd_of(f), (off_t)(offset + at),
                      (off_t)MIN_OF(size - at, step), POSIX_FADV_WILLNEED);
}

static adb_status refuse_to_wait(struct env_file *f, uint64_t offset,
                                 uint64_t size)
{
    posix_advise_ahead(f, offset, size);
    return ADB_BUSY;
}

/* Linux begins to fetch what it refuses to wait for. */
static adb_status posix_read_now(struct env_file *f, uint64_t offset,
                                 void *data, size_t size, size_t *got)
{
    _Atomic bool *always = &((struct posix_file *)f)->always_waits;
    size_t done = 0;
    if (offset > INT64_MAX - size)
        size = 0;
    if (atomic_load_explicit(always, memory_order_relaxed))
        return refuse_to_wait(f, offset, size);
    while (done < size) {
        struct iovec rest = {(uint8_t *)data + done,
                             MIN_OF(size - done, TRANSFER_MAX)};
        ssize_t n = preadv2(fd_of(f), &rest, 1, (off_t)(offset + done),
                            RWF_NOWAIT);
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
            atomic_store_explicit(always, true, memory_order_relaxed);
            return refuse_to_wait(f, offset, size);
        } else if (errno != EINTR)
            return ADB_BUSY; /* what else it is shows when it is waited for */
    }
    *got = done;
    return ADB_OK;
}

static adb_status posix_write(struct env_file *f, uint64_t offset,
                              const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pwrite(fd_of(f), (const uint8_t *)data + done,
                           MIN_OF(size - done, TRANSFER_MAX),
                           (off_t)(offset + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return env_error(n == 0 ? EIO : errno,
                             "cannot write %zu bytes at offset %" PRIu64
                             " of '%s'", size, offset, f->path);
    }
    return ADB_OK;
}

static adb_status posix_sync(struct env_file *f)
{
    /* An interrupted wait has not failed; every other error is final, since
       the kernel then forgets which pages it could not write. */
    while (fdatasync(fd_of(f)) != 0)
        if (errno != EINTR)
            return env_error(errno, "cannot sync '%s'", f->path);
    return ADB_OK;
}

static adb_status posix_truncate(struct env_file *f, uint64_t size)
{
    while (ftruncate(fd_of(f), (off_t)size) != 0)
        if (errno != EINTR)
            return env_error(errno, "cannot truncate '%s' to %" PRIu64
                             " bytes", f->path, size);
    return ADB_OK;
}

static adb_status posix_allocate(struct env_file *f, uint64_t size)
{
    if (size == 0)
        return ADB_OK;
    /* Not posix_fallocate: where the file system cannot, it writes zeros over
       the file, slowly and without giving what was asked for. */
    while (fallocate(fd_of(f), 0, 0, (off_t)size) != 0)
        if (errno != EINTR)
            return env_error(errno, "cannot allocate %" PRIu64
                             " bytes for '%s'", size, f->path);
    return ADB_OK;
}

static adb_status posix_size(struct env_file *f, uint64_t *size)
{
    struct stat st;
    if (fstat(fd_of(f), &st) != 0)
        return env_error(errno, "cannot get the size of '%s'", f->path);
    *size = (uint64_t)st.st_size;
    return ADB_OK;
}

static adb_status posix_close(struct env_file *f)
{
    adb_status status = ADB_OK;
    /* Linux has released the descriptor even when it reports EINTR. */
    if (close(fd_of(f)) != 0 && errno != EINTR)
        status = env_error(errno, "cannot close '%s'", f->path);
    mem_free(f);
    return status;
}

static const struct env_file_ops posix_file_ops = {
    .read = posix_read,
    .read_now = posix_read_now,
    .write = posix_write,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .size = posix_size,
    .map = posix_file_map,
    .advise_ahead = posix_advise_ahead,
    .close = posix_close,
};

static adb_status refuse_special(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return env_error(errno, "cannot stat '%s'", path);
    if (!S_ISREG(st.st_mode))
        return status_set(ADB_IO, "cannot open '%s': not a regular file",
                          path);
    return ADB_OK;
}

static adb_status posix_open(struct env *e, const char *path, unsigned flags,
                             struct env_file **out)
{
    (void)e;
    int mode = O_CLOEXEC | (flags & ENV_WRITE ? O_RDWR : O_RDONLY) |
               (flags & ENV_CREATE ? O_CREAT : 0) |
               (flags & ENV_EXCLUSIVE ? O_EXCL : 0) |
               (flags & ENV_TRUNCATE ? O_TRUNC : 0);
    size_t path_size = strlen(path) + 1;
    struct posix_file *f = mem_zalloc(sizeof *f + path_size);
    if (!f)
        return status_set(ADB_NO_MEMORY, "no memory to open '%s'", path);
    do {
        f->fd = open(path, mode, 0644);
    } while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0) {
        adb_status status = env_error(errno, "cannot open '%s'", path);
        mem_free(f);
        return status;
    }
    adb_status status = refuse_special(f->fd, path);
    if (status != ADB_OK) {
        close(f->fd);
        mem_free(f);
        return status;
    }
    if (flags & ENV_RANDOM)
        posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    f->base.ops = &posix_file_ops;
    f->base.path = (char *)(f + 1);
    memcpy(f->base.path, path, path_size);
    *out = &f->base;
    return ADB_OK;
}

/* ---- names ---- */

static adb_status posix_stat(struct env *e, const char *path,
                             struct env_stat *out)
{
    (void)e;
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return env_error(errno, "cannot stat '%s'", path);
        *out = (struct env_stat){.kind = ENV_KIND_NONE};
        return ADB_OK;
    }
    *out = (struct env_stat){
        .kind = S_ISREG(st.st_mode)   ? ENV_KIND_FILE
                : S_ISDIR(st.st_mode) ? ENV_KIND_DIRECTORY
                                      : ENV_KIND_OTHER,
        .size = (uint64_t)st.st_size,
        .links = (uint64_t)st.st_nlink,
        .allocated = (uint64_t)st.st_blocks * 512,
    };
    return ADB_OK;
}

static adb_status posix_rename(struct env *e, const char *from,
                               const char *to)
{
    (void)e;
    if (rename(from, to) != 0)
        return env_error(errno, "cannot rename '%s' to '%s'", from, to);
    return ADB_OK;
}

static adb_status posix_unlink(struct env *e, const char *path)
{
    (void)e;
    if (unlink(path) != 0)
        return env_error(errno, "cannot remove '%s'", path);
    return ADB_OK;
}

static adb_status posix_make_dir(struct env *e, const char *path)
{
    (void)e;
    if (mkdir(path, 0755) != 0)
        return env_error(errno, "cannot create directory '%s'", path);
    return ADB_OK;
}

static adb_status posix_remove_dir(struct env *e, const char *path)
{
    (void)e;
    if (rmdir(path) != 0)
        return env_error(errno, "cannot remove directory '%s'", path);
    return ADB_OK;
}

static adb_status posix_sync_dir(struct env *e, const char *path)
{
    (void)e;
    adb_status status = ADB_OK;
    int fd;
    do {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return env_error(errno, "cannot open directory '%s'", path);
    while (fsync(fd) != 0)
        if (errno != EINTR) {
            status = env_error(errno, "cannot sync directory '%s'", path);
            break;
        }
    close(fd);
    return status;
}

static adb_status visit_names(DIR *stream, const char *path,
                              adb_status (*visit)(void *, const char *),
                              void *context)
{
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (!entry)
            return errno ? env_error(errno, "cannot list directory '%s'", path)
                         : ADB_OK;
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0)
            continue;
        adb_status status = visit(context, entry->d_name);
        if (status != ADB_OK)
            return status;
    }
}

static adb_status posix_list_dir(struct env *e, const char *path,
                                 adb_status (*visit)(void *, const char *),
                                 void *context)
{
    (void)e;
    DIR *stream = opendir(path); /* close-on-exec by itself */
    if (!stream)
        return env_error(errno, "cannot list directory '%s'", path);
    adb_status status = visit_names(stream, path, visit, context);
    closedir(stream);
    return status;
}

/* ---- the rest ---- */

static adb_status posix_fs_class(struct env *e, const char *path,
                                 enum env_fs_class *out)
{
    (void)e;
    struct statfs fs;
    while (statfs(path, &fs) != 0)
        if (errno != EINTR)
            return env_error(errno, "cannot tell the file system of '%s'",
                             path);
    /* f_type is a signed word of the machine's size. */
    uint32_t magic = (uint32_t)fs.f_type;
    bool safe = magic == MAGIC_EXT || magic == MAGIC_XFS ||
                magic == MAGIC_TMPFS;
    *out = safe ? ENV_FS_MAP_SAFE : ENV_FS_OTHER;
    return ADB_OK;
}

static adb_status posix_free_space(struct env *e, const char *path,
                                   uint64_t *bytes)
{
    (void)e;
    struct statvfs fs;
    while (statvfs(path, &fs) != 0)
        if (errno != EINTR)
            return env_error(errno, "cannot tell the free space of '%s'",
                             path);
    *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return ADB_OK;
}

static uint64_t posix_wall_ns(struct env *e)
{
    (void)e;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) +
           (uint64_t)now.tv_nsec;
}

static adb_status posix_random(struct env *e, void *data, size_t size)
{
    (void)e;
    size_t done = 0;
    while (done < size) {
        ssize_t n = getrandom((uint8_t *)data + done, size - done, 0);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno != EINTR)
            return env_error(errno, "cannot get random bytes");
    }
    return ADB_OK;
}

static const struct env_ops posix_ops = {
    .open = posix_open,
    .stat = posix_stat,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .make_dir = posix_make_dir,
    .remove_dir = posix_remove_dir,
    .sync_dir = posix_sync_dir,
    .list_dir = posix_list_dir,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .fs_class = posix_fs_class,
    .free_space = posix_free_space,
    .wall_ns = posix_wall_ns,
    .random = posix_random,
};

struct env *env_posix(void)
{
    static struct env env = {.ops = &posix_ops};
    return &env;
}
