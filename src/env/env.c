#include "env/env.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "env/env_error.h"

adb_status env_error(int error, const char *format, ...)
{
    char text[STATUS_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    adb_status status = status_set_errno(error, "%s", text);
    if (error == ENOENT)
        return ADB_NOT_FOUND;
    if (error == EEXIST)
        return ADB_EXISTS;
    if (error == EOPNOTSUPP || error == ENOSYS)
        return ADB_UNSUPPORTED;
    return status;
}

static adb_status check_whole(const struct env_file *f, adb_status status,
                              uint64_t offset, size_t size, size_t got)
{
    if (status == ADB_OK && got < size)
        return status_set(ADB_CORRUPTION,
                          "'%s' is too short: %zu bytes wanted at offset "
                          "%" PRIu64 ", %zu there",
                          f->path, size, offset, got);
    return status;
}

adb_status env_file_read_full(struct env_file *f, uint64_t offset, void *data,
                              size_t size)
{
    size_t got = 0;
    adb_status status = env_file_read(f, offset, data, size, &got);
    return check_whole(f, status, offset, size, got);
}

adb_status env_file_read_full_now(struct env_file *f, uint64_t offset,
                                  void *data, size_t size)
{
    size_t got = 0;
    adb_status status = f->ops->read_now(f, offset, data, size, &got);
    return check_whole(f, status, offset, size, got);
}

char *env_join(const char *directory, const char *name)
{
    size_t directory_size = strlen(directory), name_size = strlen(name);
    char *path = mem_alloc(directory_size + name_size + 2);
    if (!path)
        return NULL;
    memcpy(path, directory, directory_size);
    path[directory_size] = '/';
    memcpy(path + directory_size + 1, name, name_size + 1);
    return path;
}

static adb_status read_whole(struct env_file *f, size_t limit, uint8_t **data,
                             size_t *size)
{
    uint64_t file_size;
    adb_status status = env_file_size(f, &file_size);
    if (status != ADB_OK)
        return status;
    if (file_size > limit)
        return status_set(ADB_TOO_LARGE,
                          "'%s' has %" PRIu64 " bytes, at most %zu expected",
                          f->path, file_size, limit);
    uint8_t *bytes = mem_alloc((size_t)file_size + 1);
    if (!bytes)
        return status_set(ADB_NO_MEMORY, "no memory for '%s', %" PRIu64
                          " bytes", f->path, file_size);
    status = env_file_read_full(f, 0, bytes, (size_t)file_size);
    if (status != ADB_OK) {
        mem_free(bytes);
        return status;
    }
    bytes[file_size] = 0;
    *data = bytes;
    *size = (size_t)file_size;
    return ADB_OK;
}

adb_status env_read_file(struct env *e, const char *path, size_t limit,
                         uint8_t **data, size_t *size)
{
    struct env_file *f;
    uint8_t *bytes = NULL;
    size_t got = 0;
    adb_status status = env_open(e, path, ENV_READ, &f);
    if (status != ADB_OK)
        return status;
    status = read_whole(f, limit, &bytes, &got);
    /* A file only read has nothing to lose when it closes badly. */
    struct status_saved saved;
    status_save(&saved, status);
    if (env_file_close(f) != ADB_OK && status == ADB_OK)
        status_clear();
    if (status != ADB_OK)
        return status_restore(&saved);
    *data = bytes;
    *size = got;
    return ADB_OK;
}

adb_status env_write_file(struct env *e, const char *path, const void *data,
                          size_t size)
{
    struct env_file *f;
    adb_status status =
        env_open(e, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f);
    if (status != ADB_OK)
        return status;
    status = env_file_write(f, 0, data, size);
    if (status == ADB_OK)
        status = env_file_sync(f);
    struct status_saved saved;
    status_save(&saved, status);
    adb_status closed = env_file_close(f);
    return status == ADB_OK ? closed : status_restore(&saved);
}

adb_status env_replace_file(struct env *e, const char *directory,
                            const char *name, const void *data, size_t size)
{
    adb_status status = ADB_NO_MEMORY;
    struct status_saved saved;
    char *temporary = NULL;
    char *path = env_join(directory, name);
    if (path)
        temporary = mem_alloc(strlen(path) + sizeof ".tmp");
    if (!temporary) {
        status_set(ADB_NO_MEMORY, "no memory for a path in '%s'", directory);
        goto out;
    }
    memcpy(temporary, path, strlen(path));
    memcpy(temporary + strlen(path), ".tmp", sizeof ".tmp");

    status = env_write_file(e, temporary, data, size);
    if (status == ADB_OK)
        status = env_rename(e, temporary, path);
    if (status != ADB_OK) {
        /* Only tidiness: a leftover is truncated by the next call. */
        status_save(&saved, status);
        if (env_unlink(e, temporary) != ADB_OK)
            status_clear();
        status_restore(&saved);
        goto out;
    }
    status = env_sync_dir(e, directory);
out:
    mem_free(temporary);
    mem_free(path);
    return status;
}
