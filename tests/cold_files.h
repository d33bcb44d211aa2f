/*
 * Files of an env nothing of which is in memory, for reads that must not wait;
 * others read as ever. Notes what was read and what was asked for, in order.
 */
#ifndef TESTS_COLD_FILES_H
#define TESTS_COLD_FILES_H

#include "env/env.h"

enum { COLD_EVENTS = 4096 };

static struct {
    bool warm; /* they are in memory after all */
    struct cold_event {
        enum cold_kind { COLD_READ, COLD_NOW, COLD_ASK } kind;
        uint64_t offset, size;
    } events[COLD_EVENTS];
    size_t count;
    struct env_ops env;
    const struct env_ops *base_env;
    struct env_file_ops file;
    const struct env_file_ops *base_file;
} cold;

static void cold_note(enum cold_kind kind, uint64_t offset, uint64_t size)
{
    assert_true(cold.count < COLD_EVENTS);
    cold.events[cold.count++] = (struct cold_event){kind, offset, size};
}

/* How many of a kind from event `begin` on. */
static inline size_t cold_count(size_t begin, enum cold_kind kind)
{
    size_t n = 0;
    for (size_t i = begin; i < cold.count; i++)
        n += cold.events[i].kind == kind;
    return n;
}

static adb_status cold_read(struct env_file *f, uint64_t offset, void *data,
                            size_t size, size_t *got)
{
    cold_note(COLD_READ, offset, size);
    return cold.base_file->read(f, offset, data, size, got);
}

static adb_status cold_read_now(struct env_file *f, uint64_t offset, void *data,
                                size_t size, size_t *got)
{
    cold_note(COLD_NOW, offset, size);
    return cold.warm ? cold.base_file->read(f, offset, data, size, got)
                     : ADB_BUSY;
}

static void cold_advise_ahead(struct env_file *f, uint64_t offset,
                              uint64_t size)
{
    (void)f;
    cold_note(COLD_ASK, offset, size);
}

static adb_status cold_open(struct env *e, const char *path, unsigned flags,
                            struct env_file **out)
{
    adb_status status = cold.base_env->open(e, path, flags, out);
    if (status != ADB_OK || !(flags & ENV_RANDOM))
        return status;
    cold.base_file = (*out)->ops;
    cold.file = *cold.base_file;
    cold.file.read = cold_read;
    cold.file.read_now = cold_read_now;
    cold.file.advise_ahead = cold_advise_ahead;
    (*out)->ops = &cold.file;
    return ADB_OK;
}

static inline void cold_end(struct env *env)
{
    env->ops = cold.base_env;
}

/* Tables' files that are opened from now on are cold, until cold_end. */
static inline void cold_begin(struct env *env)
{
    if (env->ops == &cold.env) /* a test that failed left it so */
        cold_end(env);
    memset(&cold, 0, sizeof cold);
    cold.base_env = env->ops;
    cold.env = *env->ops;
    cold.env.open = cold_open;
    env->ops = &cold.env;
}

#endif
