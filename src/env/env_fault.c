#include "env/env_fault.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "env/env_error.h"
#include "env/env_memory.h"

enum { OPERATIONS = 17 };

struct fault_env {
    struct env env;
    struct env *base; /* borrowed */
    struct mutex lock; /* guards what follows */
    struct env_fault_rule rule; /* operations 0: none */
    uint64_t calls[OPERATIONS];
    uint64_t hits;
};

struct fault_file {
    struct env_file file; /* path is the base file's */
    struct fault_env *env;
    struct env_file *base; /* owned */
};

struct fault_map {
    struct env_map map;
    struct fault_env *env;
    struct env_map *base; /* owned */
    const char *path;     /* the file's: maps go before files */
};

/* What is to become of one call. */
struct verdict {
    int error; /* 0: let it pass */
    uint64_t partial;
    bool drop;
};

static struct fault_env *env_of(struct env *e)
{
    return (struct fault_env *)e;
}

static bool path_matches(const char *part, const char *path, const char *path2)
{
    return !part || strstr(path, part) || (path2 && strstr(path2, part));
}

static struct verdict judge(struct fault_env *e, unsigned operation,
                            const char *path, const char *path2)
{
    struct verdict verdict = {0};
    uint64_t delay = 0;
    mutex_lock(&e->lock);
    struct env_fault_rule *r = &e->rule;
    e->calls[__builtin_ctz(operation)]++;
    if ((r->operations & operation) &&
        path_matches(r->path_part, path, path2)) {
        if (r->skip > 0) {
            r->skip--;
        } else if (r->count > 0) {
            if (r->count != UINT64_MAX)
                r->count--;
            verdict.error = r->error;
            verdict.partial = r->partial;
            verdict.drop = r->drop_on_sync_failure;
            delay = r->delay_ns;
            e->hits += r->error != 0;
        }
    }
    mutex_unlock(&e->lock);
    if (delay)
        clock_sleep_ns(delay);
    return verdict;
}

/* ADB_OK, or the failure with its message. */
static adb_status check(struct fault_env *e, unsigned operation,
                        const char *what, const char *path, const char *path2)
{
    struct verdict v = judge(e, operation, path, path2);
    return v.error ? env_error(v.error, "cannot %s '%s'", what, path) : ADB_OK;
}

/* ---- maps ---- */

static adb_status fault_populate(struct env_map *map, size_t offset,
                                 size_t size)
{
    struct fault_map *m = (struct fault_map *)map;
    adb_status status =
        check(m->env, ENV_FAULT_POPULATE, "populate the map of", m->path,
              NULL);
    return status == ADB_OK ? env_map_populate(m->base, offset, size) : status;
}

static void fault_store(struct env_map *map, size_t offset, const void *data,
                        size_t size)
{
    env_map_store(((struct fault_map *)map)->base, offset, data, size);
}

static size_t fault_absent(struct env_map *map, size_t *offset, size_t end)
{
    return env_map_absent(((struct fault_map *)map)->base, offset, end);
}

static void fault_unmap(struct env_map *map)
{
    env_map_unmap(((struct fault_map *)map)->base);
    mem_free(map);
}

static const struct env_map_ops fault_map_ops = {
    .populate = fault_populate,
    .absent = fault_absent,
    .unmap = fault_unmap,
};

/* ---- files ---- */

static struct fault_file *file_of(struct env_file *f)
{
    return (struct fault_file *)f;
}

static adb_status check_file(struct fault_file *f, unsigned operation,
                             const char *what)
{
    return check(f->env, operation, what, f->file.path, NULL);
}

static adb_status fault_read(struct env_file *file, uint64_t offset,
                             void *data, size_t size, size_t *got)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_READ, "read");
    return status == ADB_OK ? env_file_read(f->base, offset, data, size, got)
                            : status;
}

static adb_status fault_read_now(struct env_file *file, uint64_t offset,
                                 void *data, size_t size, size_t *got)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_READ, "read");
    return status == ADB_OK
               ? f->base->ops->read_now(f->base, offset, data, size, got)
               : status;
}

static adb_status fault_write(struct env_file *file, uint64_t offset,
                              const void *data, size_t size)
{
    struct fault_file *f = file_of(file);
    struct verdict v = judge(f->env, ENV_FAULT_WRITE, file->path, NULL);
    if (!v.error)
        return env_file_write(f->base, offset, data, size);
    /* A call that moved everything would have said so. */
    size_t part = (size_t)MIN_OF(v.partial, (uint64_t)(size ? size - 1 : 0));
    adb_status status =
        part ? env_file_write(f->base, offset, data, part) : ADB_OK;
    if (status != ADB_OK)
        return status;
    return env_error(v.error, "cannot write %zu bytes at offset %llu of '%s'",
                     size, (unsigned long long)offset, file->path);
}

static adb_status fault_sync(struct env_file *file)
{
    struct fault_file *f = file_of(file);
    struct verdict v = judge(f->env, ENV_FAULT_SYNC, file->path, NULL);
    if (!v.error)
        return env_file_sync(f->base);
    if (v.drop)
        env_memory_lose_unsynced(f->base);
    return env_error(v.error, "cannot sync '%s'", file->path);
}

static adb_status fault_truncate(struct env_file *file, uint64_t size)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_TRUNCATE, "truncate");
    return status == ADB_OK ? env_file_truncate(f->base, size) : status;
}

static adb_status fault_allocate(struct env_file *file, uint64_t size)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_ALLOCATE, "allocate");
    return status == ADB_OK ? env_file_allocate(f->base, size) : status;
}

static adb_status fault_size(struct env_file *file, uint64_t *size)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_SIZE, "get the size of");
    return status == ADB_OK ? env_file_size(f->base, size) : status;
}

static adb_status fault_map(struct env_file *file, size_t size, bool writable,
                            struct env_map **out)
{
    struct fault_file *f = file_of(file);
    adb_status status = check_file(f, ENV_FAULT_MAP, "map");
    if (status != ADB_OK)
        return status;
    struct fault_map *m = mem_zalloc(sizeof *m);
    if (!m)
        return status_set(ADB_NO_MEMORY, "no memory to map '%s'", file->path);
    status = env_file_map(f->base, size, writable, &m->base);
    if (status != ADB_OK) {
        mem_free(m);
        return status;
    }
    m->map = *m->base;
    m->map.ops = &fault_map_ops;
    if (m->base->store)
        m->map.store = fault_store;
    m->env = f->env;
    m->path = file->path;
    *out = &m->map;
    return ADB_OK;
}

static void fault_advise_ahead(struct env_file *file, uint64_t offset,
                               uint64_t size)
{
    env_file_advise_ahead(file_of(file)->base, offset, size);
}

static adb_status fault_close(struct env_file *file)
{
    struct fault_file *f = file_of(file);
    adb_status failure = check_file(f, ENV_FAULT_CLOSE, "close");
    struct status_saved saved;
    status_save(&saved, failure);
    adb_status status = env_file_close(f->base);
    mem_free(f);
    return failure == ADB_OK ? status : status_restore(&saved);
}

static const struct env_file_ops fault_file_ops = {
    .read = fault_read,
    .read_now = fault_read_now,
    .write = fault_write,
    .sync = fault_sync,
    .truncate = fault_truncate,
    .allocate = fault_allocate,
    .size = fault_size,
    .map = fault_map,
    .advise_ahead = fault_advise_ahead,
    .close = fault_close,
};

/* ---- names ---- */

static adb_status fault_open(struct env *env, const char *path, unsigned flags,
                             struct env_file **out)
{
    struct fault_env *e = env_of(env);
    adb_status status = check(e, ENV_FAULT_OPEN, "open", path, NULL);
    if (status != ADB_OK)
        return status;
    struct fault_file *f = mem_zalloc(sizeof *f);
    if (!f)
        return status_set(ADB_NO_MEMORY, "no memory to open '%s'", path);
    status = env_open(e->base, path, flags, &f->base);
    if (status != ADB_OK) {
        mem_free(f);
        return status;
    }
    f->file = (struct env_file){&fault_file_ops, f->base->path};
    f->env = e;
    *out = &f->file;
    return ADB_OK;
}

static adb_status fault_stat(struct env *env, const char *path,
                             struct env_stat *out)
{
    struct fault_env *e = env_of(env);
    adb_status status = check(e, ENV_FAULT_STAT, "stat", path, NULL);
    return status == ADB_OK ? env_stat(e->base, path, out) : status;
}

static adb_status fault_rename(struct env *env, const char *from,
                               const char *to)
{
    struct fault_env *e = env_of(env);
    adb_status status = check(e, ENV_FAULT_RENAME, "rename", from, to);
    return status == ADB_OK ? env_rename(e->base, from, to) : status;
}

static adb_status fault_unlink(struct env *env, const char *path)
{
    struct fault_env *e = env_of(env);
    adb_status status = check(e, ENV_FAULT_UNLINK, "remove", path, NULL);
    return status == ADB_OK ? env_unlink(e->base, path) : status;
}

static adb_status fault_make_dir(struct env *env, const char *path)
{
    struct fault_env *e = env_of(env);
    adb_status status =
        check(e, ENV_FAULT_MAKE_DIR, "create directory", path, NULL);
    return status == ADB_OK ? env_make_dir(e->base, path) : status;
}

static adb_status fault_remove_dir(struct env *env, const char *path)
{
    struct fault_env *e = env_of(env);
    adb_status status =
        check(e, ENV_FAULT_UNLINK, "remove directory", path, NULL);
    return status == ADB_OK ? env_remove_dir(e->base, path) : status;
}

static adb_status fault_sync_dir(struct env *env, const char *path)
{
    struct fault_env *e = env_of(env);
    adb_status status =
        check(e, ENV_FAULT_SYNC_DIR, "sync directory", path, NULL);
    return status == ADB_OK ? env_sync_dir(e->base, path) : status;
}

static adb_status fault_list_dir(struct env *env, const char *path,
                                 adb_status (*visit)(void *, const char *),
                                 void *context)
{
    struct fault_env *e = env_of(env);
    adb_status status =
        check(e, ENV_FAULT_LIST, "list directory", path, NULL);
    return status == ADB_OK ? env_list_dir(e->base, path, visit, context)
                            : status;
}

static adb_status fault_lock(struct env *env, const char *path, void **out)
{
    struct fault_env *e = env_of(env);
    adb_status status = check(e, ENV_FAULT_LOCK, "lock", path, NULL);
    return status == ADB_OK ? env_lock(e->base, path, out) : status;
}

static void fault_unlock(struct env *env, void *lock)
{
    env_unlock(env_of(env)->base, lock);
}

/* ---- passed through ---- */

static adb_status fault_fs_class(struct env *env, const char *path,
                                 enum env_fs_class *out)
{
    struct env *base = env_of(env)->base;
    return base->ops->fs_class(base, path, out);
}

static adb_status fault_free_space(struct env *env, const char *path,
                                   uint64_t *bytes)
{
    struct env *base = env_of(env)->base;
    return base->ops->free_space(base, path, bytes);
}

static uint64_t fault_wall_ns(struct env *env)
{
    struct env *base = env_of(env)->base;
    return base->ops->wall_ns(base);
}

static adb_status fault_random(struct env *env, void *data, size_t size)
{
    struct env *base = env_of(env)->base;
    return base->ops->random(base, data, size);
}

static const struct env_ops fault_ops = {
    .open = fault_open,
    .stat = fault_stat,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .make_dir = fault_make_dir,
    .remove_dir = fault_remove_dir,
    .sync_dir = fault_sync_dir,
    .list_dir = fault_list_dir,
    .lock = fault_lock,
    .unlock = fault_unlock,
    .fs_class = fault_fs_class,
    .free_space = fault_free_space,
    .wall_ns = fault_wall_ns,
    .random = fault_random,
};

struct env *env_fault_new(struct env *base)
{
    struct fault_env *e = mem_zalloc(sizeof *e);
    if (!e)
        return NULL;
    e->env.ops = &fault_ops;
    e->base = base;
    mutex_init(&e->lock);
    return &e->env;
}

void env_fault_free(struct env *env)
{
    if (!env)
        return;
    mutex_deinit(&env_of(env)->lock);
    mem_free(env);
}

void env_fault_set(struct env *env, const struct env_fault_rule *rule)
{
    struct fault_env *e = env_of(env);
    mutex_lock(&e->lock);
    e->rule = rule ? *rule : (struct env_fault_rule){0};
    memset(e->calls, 0, sizeof e->calls);
    e->hits = 0;
    mutex_unlock(&e->lock);
}

uint64_t env_fault_calls(struct env *env, unsigned operations)
{
    struct fault_env *e = env_of(env);
    uint64_t sum = 0;
    mutex_lock(&e->lock);
    for (int i = 0; i < OPERATIONS; i++)
        if (operations & 1u << i)
            sum += e->calls[i];
    mutex_unlock(&e->lock);
    return sum;
}

uint64_t env_fault_hits(struct env *env)
{
    struct fault_env *e = env_of(env);
    mutex_lock(&e->lock);
    uint64_t hits = e->hits;
    mutex_unlock(&e->lock);
    return hits;
}
