#include "version/current.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "version/names.h"

enum { LINE_MAX_BYTES = 512, SUM_DIGITS = 16 };

/* ---- the line ---------------------------------------------------------- */

static size_t format_line(const struct current *c, char *line)
{
    char name[NAME_MAX_TEXT];
    int n = snprintf(line, LINE_MAX_BYTES,
                     "albertdb %d %s %s length %" PRIu64 " last %016" PRIx64
                     " sum ",
                     DATABASE_FORMAT_VERSION, c->closed ? "closed" : "open",
                     name_manifest(c->manifest, name), c->length, c->checksum);
    uint64_t sum = checksum_bytes(line, (size_t)n);
    n +=
        snprintf(line + n, LINE_MAX_BYTES - (size_t)n, "%016" PRIx64 "\n", sum);
    return (size_t)n;
}

static adb_status damaged(const char *path, const char *what)
{
    return status_set(ADB_CORRUPTION,
                      "'%s' at offset 0: %s; restore the directory from a "
                      "backup or run 'albertdb repair'",
                      path, what);
}

static bool sum_matches(const char *line, size_t size)
{
    char sum[SUM_DIGITS + 2];
    if (size < SUM_DIGITS + 1)
        return false;
    size_t text = size - SUM_DIGITS - 1;
    snprintf(sum, sizeof sum, "%016" PRIx64 "\n", checksum_bytes(line, text));
    return memcmp(line + text, sum, SUM_DIGITS + 1) == 0;
}

/* line ends with a zero byte behind its newline. */
static adb_status parse_line(const char *path, const char *line, size_t size,
                             struct current *out)
{
    if (!sum_matches(line, size))
        return damaged(path, "its checksum does not match");
    unsigned version;
    if (sscanf(line, "albertdb %9u ", &version) != 1)
        return damaged(path, "it does not begin as it must");
    if (version > DATABASE_FORMAT_VERSION)
        return status_set(ADB_UNSUPPORTED,
                          "'%s' at offset 0: the database has format %u, this "
                          "program knows up to %d: open it with a newer "
                          "albertdb",
                          path, version, DATABASE_FORMAT_VERSION);

    struct current c = {0};
    char state[8], name[NAME_MAX_TEXT];
    uint64_t number = 0;
    if (sscanf(line,
               "albertdb %*u %7s %31s length %" SCNu64 " last %" SCNx64 " sum ",
               state, name, &c.length, &c.checksum) != 4 ||
        name_parse(name, &number) != NAME_MANIFEST)
        return damaged(path, "it does not name a manifest");
    c.manifest = number;
    c.closed = strcmp(state, "closed") == 0;
    if (!c.closed && strcmp(state, "open") != 0)
        return damaged(path, "it is neither open nor closed");
    *out = c;
    return ADB_OK;
}

adb_status current_read(struct env *env, const char *directory,
                        struct current *out)
{
    uint8_t *data = NULL;
    size_t size;
    char *path = env_join(directory, NAME_CURRENT_TEXT);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path in '%s'",
                          directory);
    char line[LINE_MAX_BYTES + 1];
    adb_status status = env_read_file(env, path, LINE_MAX_BYTES, &data, &size);
    if (status == ADB_TOO_LARGE)
        status = damaged(path, "it is too long");
    if (status == ADB_OK) {
        memcpy(line, data, size);
        line[size] = 0;
        status = parse_line(path, line, size, out);
    }
    mem_free(data);
    mem_free(path);
    return status;
}

/* ---- replacing it ------------------------------------------------------ */

adb_status current_write(struct env *env, const char *directory,
                         const struct current *c, bool *maybe)
{
    char line[LINE_MAX_BYTES];
    size_t size = format_line(c, line);
    adb_status status = ADB_NO_MEMORY;
    *maybe = false;
    char *path = env_join(directory, NAME_CURRENT_TEXT);
    char *temporary = env_join(directory, NAME_CURRENT_TEXT ".tmp");
    if (!path || !temporary) {
        status_set(ADB_NO_MEMORY, "no memory for a path in '%s'", directory);
        goto out;
    }
    status = env_write_file(env, temporary, line, size);
    if (status != ADB_OK)
        goto out;
    *maybe = true;
    status = env_rename(env, temporary, path);
    if (status == ADB_OK)
        status = env_sync_dir(env, directory);
out:
    mem_free(path);
    mem_free(temporary);
    return status;
}
