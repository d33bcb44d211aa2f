/* What the tests of the log share: a directory on a chosen env, a log with
   made-up payloads that can be checked, and recovery into a list. */
#ifndef TESTS_WAL_SUPPORT_H
#define TESTS_WAL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "env/env.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "wal/wal.h"

#define CHECK_OK(expression)                                                   \
    do {                                                                       \
        adb_status check_status_ = (expression);                               \
        if (check_status_ != ADB_OK)                                           \
            fail_msg("%s: %s: %s", #expression, status_name(check_status_),    \
                     status_message());                                        \
    } while (0)

enum { LOG_SEGMENTS_MAX = 256 };

/* A log and what its owner would know of it. */
struct log {
    struct env *env;
    char directory[128];
    struct wal_options options;
    struct wal *wal;
    uint64_t created[LOG_SEGMENTS_MAX]; /* the manifest's list */
    size_t created_count;
    uint64_t next_seq;
};

static inline adb_status log_created(void *context, uint64_t first,
                                     unsigned count,
                                     const struct watermark *known)
{
    struct log *log = context;
    (void)known;
    assert_true(log->created_count + count <= LOG_SEGMENTS_MAX);
    assert_true(!log->created_count ||
                log->created[log->created_count - 1] < first);
    for (unsigned i = 0; i < count; i++)
        log->created[log->created_count++] = first + i;
    return ADB_OK;
}

static inline void log_init(struct log *log, struct env *env,
                            const char *directory, enum wal_access access)
{
    memset(log, 0, sizeof(*log));
    log->env = env;
    snprintf(log->directory, sizeof(log->directory), "%s", directory);
    log->options = (struct wal_options){
        .env = env,
        .directory = log->directory,
        .access = access,
        .min_segment = 64 << 10,
        .max_segment = 256 << 10,
        .spares = 2,
        .segments_created = log_created,
        .context = log,
    };
    log->next_seq = 1;
}

static inline void log_open(struct log *log)
{
    struct wal_end none = {0, 0, 0, 0};
    struct watermark nothing = {0, 0, 0};
    CHECK_OK(wal_open(&log->options, 1, &none, &nothing, &log->wal));
}

/* The payload of the record that begins with seq. */
static inline void fill_payload(uint8_t *p, size_t size, uint64_t seq)
{
    struct random random;
    random_seed(&random, seq);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)random_next(&random);
}

static inline adb_status log_append(struct log *log, size_t size,
                                    uint32_t count, struct wal_position *at)
{
    uint8_t *payload = malloc(size + 1);
    uint64_t bytes;
    fill_payload(payload, size, log->next_seq);
    adb_slice pieces[3] = {slice_of(payload, size / 3), slice_of(NULL, 0),
                           slice_of(payload + size / 3, size - size / 3)};
    adb_status status = wal_append(log->wal, log->next_seq, count, pieces, 3,
                                   at, &bytes);
    free(payload);
    if (status == ADB_OK)
        log->next_seq += count;
    return status;
}

/* Collects what recovery replays and checks every byte of it. */
struct replayed {
    uint64_t records, first_seq, next_seq;
};
static inline adb_status replay_one(void *context, uint64_t segment,
                                    uint64_t offset, uint64_t seq,
                                    uint32_t count, adb_slice payload)
{
    struct replayed *r = context;
    (void)segment;
    (void)offset;
    if (r->records)
        assert_int_equal(seq, r->next_seq);
    else
        r->first_seq = seq;
    uint8_t *expected = malloc(payload.size + 1);
    fill_payload(expected, payload.size, seq);
    assert_memory_equal(expected, payload.data, payload.size);
    free(expected);
    r->records++;
    r->next_seq = seq + count;
    return ADB_OK;
}

static inline adb_status log_recover(struct log *log, const struct wal_end *ends,
                                     bool clean, struct watermark known,
                                     struct replayed *replayed,
                                     struct wal_recovered *out)
{
    memset(replayed, 0, sizeof(*replayed));
    struct wal_recovery in = {
        .env = log->env,
        .directory = log->directory,
        .segments = log->created,
        .segment_count = log->created_count,
        .ends = ends,
        .synced_through = known,
        .closed_cleanly = clean,
        .replay = replay_one,
        .context = replayed,
    };
    return wal_recover(&in, out);
}

static inline struct watermark unknown(void)
{
    return (struct watermark){0, 0, 0};
}

/* ---- directories ---- */

static inline void temporary_directory(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(out, size, "%s/adb-wal-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(out));
}

static inline adb_status visit_unlink(void *context, const char *name)
{
    char *path = env_join(context, name);
    adb_status status = env_unlink(env_posix(), path);
    mem_free(path);
    return status;
}
static inline void remove_directory(const char *directory)
{
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", directory);
    CHECK_OK(env_list_dir(env_posix(), copy, visit_unlink, copy));
    CHECK_OK(env_remove_dir(env_posix(), copy));
}

static inline adb_status visit_count(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return ADB_OK;
}
static inline size_t count_files(struct log *log)
{
    size_t count = 0;
    CHECK_OK(env_list_dir(log->env, log->directory, visit_count, &count));
    return count;
}

/* ---- whole files ---- */

static inline uint8_t *read_segment(struct log *log, uint64_t number,
                                    size_t *size)
{
    char *path = wal_segment_path(log->directory, number);
    uint8_t *data = NULL;
    CHECK_OK(env_read_file(log->env, path, SIZE_MAX / 2, &data, size));
    mem_free(path);
    return data;
}

static inline void write_segment(struct log *log, uint64_t number,
                                 const uint8_t *data, size_t size)
{
    struct env_file *file;
    char *path = wal_segment_path(log->directory, number);
    CHECK_OK(env_open(log->env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
                      &file));
    if (size)
        CHECK_OK(env_file_write(file, 0, data, size));
    CHECK_OK(env_file_close(file));
    mem_free(path);
}

static inline void remove_segment(struct log *log, uint64_t number)
{
    char *path = wal_segment_path(log->directory, number);
    CHECK_OK(env_unlink(log->env, path));
    mem_free(path);
}

#endif
