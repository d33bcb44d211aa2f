/*
 * Tables' files of an env, with notes of what was read and what was asked for,
 * in order. Nothing of them is in memory, for reads that must not wait, unless
 * `warm` is set; others read as ever.
 */
#ifndef TESTS_WATCHED_FILES_H
#define TESTS_WATCHED_FILES_H

#include "env/env.h"

enum { WATCH_EVENTS = 1 << 16 };

static struct {
    bool warm;              /* they are in memory after all */
    unsigned flags;         /* of the last open */
    unsigned failing_opens; /* so many of those to come */
    struct watch_event {
        enum watch_kind { WATCH_READ, WATCH_NOW, WATCH_ASK } kind;
        uint64_t offset, size;
    } events[WATCH_EVENTS];
    size_t count;
    struct env_ops env;
    const struct env_ops *base_env;
    struct env_file_ops file;
    const struct env_file_ops *base_file;
} watched;

static void watch_note(enum watch_kind kind, uint64_t offset, uint64_t size)
{
    assert_true(watched.count < WATCH_EVENTS);
    watched.events[watched.count++] = (struct watch_event){kind, offset, size};
}

/* How many of a kind from event `begin` on. */
static inline size_t watch_count(size_t begin, enum watch_kind kind)
{
    size_t n = 0;
    for (size_t i = begin; i < watched.count; i++)
        n += watched.events[i].kind == kind;
    return n;
}

static adb_status watch_read(struct env_file *f, uint64_t offset, void *data,
                             size_t size, size_t *got)
{
    watch_note(WATCH_READ, offset, size);
    return watched.base_file->read(f, offset, data, size, got);
}

static adb_status watch_read_now(struct env_file *f, uint64_t offset,
                                 void *data, size_t size, size_t *got)
{
    watch_note(WATCH_NOW, offset, size);
    return watched.warm ? watched.base_file->read(f, offset, data, size, got)
                        : ADB_BUSY;
}

static void watch_advise_ahead(struct env_file *f, uint64_t offset,
                               uint64_t size)
{
    watch_note(WATCH_ASK, offset, size);
    watched.base_file->advise_ahead(f, offset, size);
}

static adb_status watch_open(struct env *e, const char *path, unsigned flags,
                             struct env_file **out)
{
    if (watched.failing_opens) {
        watched.failing_opens--;
        return status_set(ADB_IO, "no open");
    }
    adb_status status = watched.base_env->open(e, path, flags, out);
    watched.flags = flags;
    if (status != ADB_OK || !(flags & ENV_RANDOM))
        return status;
    watched.base_file = (*out)->ops;
    watched.file = *watched.base_file;
    watched.file.read = watch_read;
    watched.file.read_now = watch_read_now;
    watched.file.advise_ahead = watch_advise_ahead;
    (*out)->ops = &watched.file;
    return ADB_OK;
}

static inline void watch_end(struct env *env)
{
    env->ops = watched.base_env;
}

/* Tables' files that are opened from now on are watched, until watch_end. */
static inline void watch_begin(struct env *env)
{
    if (env->ops == &watched.env) /* a test that failed left it so */
        watch_end(env);
    memset(&watched, 0, sizeof watched);
    watched.base_env = env->ops;
    watched.env = *env->ops;
    watched.env.open = watch_open;
    env->ops = &watched.env;
}

#endif
