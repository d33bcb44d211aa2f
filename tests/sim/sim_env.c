#include "sim/sim_env.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/thread.h"
#include "sim/scheduler.h"

struct sim_env {
    struct env env;
    struct sim_env_options options;
    struct random random;
    uint64_t changes, handles;
};

struct sim_file {
    struct env_file file; /* path is the base file's */
    struct sim_env *env;
    struct env_file *base; /* owned */
};

struct sim_map {
    struct env_map map;
    struct sim_env *env;
    struct env_map *base; /* owned */
    const char *path;     /* the file's: maps go before files */
};

static struct sim_env *env_of(struct env *e)
{
    return (struct sim_env *)e;
}

static struct sim_file *file_of(struct env_file *f)
{
    return (struct sim_file *)f;
}

static struct sim_map *map_of(struct env_map *m)
{
    return (struct sim_map *)m;
}

/* ---- time ---- */

/* How long kinds of operations take, in parts of a sync. */
enum { COST_SYNC = 1, COST_NAME = 4, COST_READ = 16, COST_WRITE = 32,
       COST_NOTHING = 0 };

/* What remains of the operation's time behind its effect. */
static uint64_t begin(struct sim_env *e, uint64_t part)
{
    if (!part || !e->options.latency_ns) {
        scheduler_point();
        return 0;
    }
    uint64_t ns = random_below(&e->random,
                               2 * (e->options.latency_ns / part) + 1);
    if (random_below(&e->random, 1000) < e->options.stall_permille)
        ns *= 50;
    uint64_t before = random_below(&e->random, ns + 1);
    clock_sleep_ns(before);
    return ns - before;
}

static adb_status end(uint64_t rest, adb_status status)
{
    if (rest)
        clock_sleep_ns(rest);
    else
        scheduler_point();
    return status;
}

static adb_status changed(struct sim_env *e, uint64_t rest, adb_status status)
{
    e->changes++;
    return end(rest, status);
}

static bool in_parts(struct sim_env *e, size_t size, size_t *first)
{
    if (size < 2 ||
        random_below(&e->random, 1000) >= e->options.part_permille)
        return false;
    *first = 1 + (size_t)random_below(&e->random, size - 1);
    return true;
}

/* ---- maps ---- */

static adb_status sim_populate(struct env_map *map, size_t offset, size_t size)
{
    struct sim_map *m = map_of(map);
    uint64_t rest = begin(m->env, COST_READ);
    adb_status status = env_map_populate(m->base, offset, size);
    scheduler_trace("populate %s %zu+%zu: %s", m->path, offset, size,
                    status_name(status));
    return end(rest, status);
}

static void sim_store(struct env_map *map, size_t offset, const void *data,
                      size_t size)
{
    struct sim_map *m = map_of(map);
    const uint8_t *p = data;
    size_t first;
    scheduler_trace("store %s %zu+%zu %016" PRIx64, m->path, offset, size,
                    hash_key(data, size));
    if (in_parts(m->env, size, &first)) {
        bool backward = random_below(&m->env->random, 2);
        size_t at = backward ? first : 0;
        size_t part = backward ? size - first : first;
        env_map_store(m->base, offset + at, p + at, part);
        m->env->changes++;
        scheduler_point();
        at = backward ? 0 : first;
        env_map_store(m->base, offset + at, p + at, size - part);
    } else {
        env_map_store(m->base, offset, data, size);
    }
    m->env->changes++;
    scheduler_point();
}

static size_t sim_absent(struct env_map *map, size_t *offset, size_t end)
{
    return env_map_absent(map_of(map)->base, offset, end);
}

static void sim_unmap(struct env_map *map)
{
    struct sim_map *m = map_of(map);
    m->env->handles--;
    env_map_unmap(m->base);
    free(m);
}

static const struct env_map_ops sim_map_ops = {
    .populate = sim_populate,
    .absent = sim_absent,
    .unmap = sim_unmap,
};

/* ---- files ---- */

static adb_status sim_read(struct env_file *file, uint64_t offset, void *data,
                           size_t size, size_t *got)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_READ);
    adb_status status = env_file_read(f->base, offset, data, size, got);
    scheduler_trace("read %s %" PRIu64 "+%zu: %s %016" PRIx64, file->path,
                    offset, size, status_name(status),
                    status == ADB_OK ? hash_key(data, *got) : 0);
    return end(rest, status);
}

/* Now and then it is not in memory. */
static adb_status sim_read_now(struct env_file *file, uint64_t offset,
                               void *data, size_t size, size_t *got)
{
    if (random_below(&file_of(file)->env->random, 4) > 0)
        return sim_read(file, offset, data, size, got);
    scheduler_trace("read %s %" PRIu64 "+%zu: not now", file->path, offset,
                    size);
    return ADB_BUSY;
}

static adb_status write_in_parts(struct sim_file *f, uint64_t offset,
                                 const uint8_t *data, size_t size,
                                 size_t first)
{
    adb_status status = env_file_write(f->base, offset, data, first);
    if (status != ADB_OK)
        return status;
    f->env->changes++;
    scheduler_point();
    return env_file_write(f->base, offset + first, data + first, size - first);
}

static adb_status sim_write(struct env_file *file, uint64_t offset,
                            const void *data, size_t size)
{
    struct sim_file *f = file_of(file);
    size_t first;
    uint64_t rest = begin(f->env, COST_WRITE);
    adb_status status =
        in_parts(f->env, size, &first)
            ? write_in_parts(f, offset, data, size, first)
            : env_file_write(f->base, offset, data, size);
    scheduler_trace("write %s %" PRIu64 "+%zu %016" PRIx64 ": %s", file->path,
                    offset, size, hash_key(data, size), status_name(status));
    return changed(f->env, rest, status);
}

static adb_status sim_sync(struct env_file *file)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_SYNC);
    adb_status status = env_file_sync(f->base);
    scheduler_trace("sync %s: %s", file->path, status_name(status));
    return changed(f->env, rest, status);
}

static adb_status sim_truncate(struct env_file *file, uint64_t size)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_NAME);
    adb_status status = env_file_truncate(f->base, size);
    scheduler_trace("truncate %s %" PRIu64 ": %s", file->path, size,
                    status_name(status));
    return changed(f->env, rest, status);
}

static adb_status sim_allocate(struct env_file *file, uint64_t size)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_NAME);
    adb_status status = env_file_allocate(f->base, size);
    scheduler_trace("allocate %s %" PRIu64 ": %s", file->path, size,
                    status_name(status));
    return changed(f->env, rest, status);
}

static adb_status sim_size(struct env_file *file, uint64_t *size)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_NOTHING);
    adb_status status = env_file_size(f->base, size);
    scheduler_trace("size %s: %s", file->path, status_name(status));
    return end(rest, status);
}

static adb_status sim_map_file(struct env_file *file, size_t size,
                               bool writable, struct env_map **out)
{
    struct sim_file *f = file_of(file);
    struct env_map *base;
    uint64_t rest = begin(f->env, COST_READ);
    adb_status status = env_file_map(f->base, size, writable, &base);
    scheduler_trace("map %s %zu: %s", file->path, size, status_name(status));
    if (status == ADB_OK) {
        struct sim_map *m = calloc(1, sizeof *m);
        m->map = *base;
        m->map.ops = &sim_map_ops;
        m->map.store = sim_store;
        m->env = f->env;
        m->base = base;
        m->path = file->path;
        f->env->handles++;
        *out = &m->map;
    }
    return end(rest, status);
}

static void sim_advise_ahead(struct env_file *file, uint64_t offset,
                             uint64_t size)
{
    env_file_advise_ahead(file_of(file)->base, offset, size);
}

static adb_status sim_close(struct env_file *file)
{
    struct sim_file *f = file_of(file);
    uint64_t rest = begin(f->env, COST_NOTHING);
    scheduler_trace("close %s", file->path);
    adb_status status = env_file_close(f->base);
    f->env->handles--;
    free(f);
    return end(rest, status);
}

static const struct env_file_ops sim_file_ops = {
    .read = sim_read,
    .read_now = sim_read_now,
    .write = sim_write,
    .sync = sim_sync,
    .truncate = sim_truncate,
    .allocate = sim_allocate,
    .size = sim_size,
    .map = sim_map_file,
    .advise_ahead = sim_advise_ahead,
    .close = sim_close,
};

/* ---- names ---- */

static adb_status sim_open(struct env *env, const char *path, unsigned flags,
                           struct env_file **out)
{
    struct sim_env *e = env_of(env);
    struct env_file *base;
    uint64_t rest = begin(e, COST_NAME);
    adb_status status = env_open(e->options.base, path, flags, &base);
    scheduler_trace("open %s %x: %s", path, flags, status_name(status));
    if (status == ADB_OK) {
        struct sim_file *f = calloc(1, sizeof *f);
        f->file = (struct env_file){&sim_file_ops, base->path};
        f->env = e;
        f->base = base;
        e->handles++;
        *out = &f->file;
    }
    return flags & ENV_CREATE ? changed(e, rest, status) : end(rest, status);
}

static adb_status sim_stat(struct env *env, const char *path,
                           struct env_stat *out)
{
    struct sim_env *e = env_of(env);
    uint64_t rest = begin(e, COST_NOTHING);
    adb_status status = env_stat(e->options.base, path, out);
    scheduler_trace("stat %s: %s", path, status_name(status));
    return end(rest, status);
}

static adb_status sim_rename(struct env *env, const char *from, const char *to)
{
    struct sim_env *e = env_of(env);
    uint64_t rest = begin(e, COST_NAME);
    adb_status status = env_rename(e->options.base, from, to);
    scheduler_trace("rename %s %s: %s", from, to, status_name(status));
    return changed(e, rest, status);
}

/* The operations that take one path and change something. */
static adb_status on_path(struct sim_env *e, const char *what,
                          adb_status (*operation)(struct env *, const char *),
                          const char *path, uint64_t cost)
{
    uint64_t rest = begin(e, cost);
    adb_status status = operation(e->options.base, path);
    scheduler_trace("%s %s: %s", what, path, status_name(status));
    return changed(e, rest, status);
}

static adb_status sim_unlink(struct env *env, const char *path)
{
    return on_path(env_of(env), "unlink", env_unlink, path, COST_NAME);
}

static adb_status sim_make_dir(struct env *env, const char *path)
{
    return on_path(env_of(env), "make_dir", env_make_dir, path, COST_NAME);
}

static adb_status sim_remove_dir(struct env *env, const char *path)
{
    return on_path(env_of(env), "remove_dir", env_remove_dir, path, COST_NAME);
}

static adb_status sim_sync_dir(struct env *env, const char *path)
{
    return on_path(env_of(env), "sync_dir", env_sync_dir, path, COST_SYNC);
}

static adb_status sim_list_dir(struct env *env, const char *path,
                               adb_status (*visit)(void *, const char *),
                               void *context)
{
    struct sim_env *e = env_of(env);
    uint64_t rest = begin(e, COST_READ);
    adb_status status = env_list_dir(e->options.base, path, visit, context);
    scheduler_trace("list %s: %s", path, status_name(status));
    return end(rest, status);
}

static adb_status sim_lock(struct env *env, const char *path, void **out)
{
    struct sim_env *e = env_of(env);
    uint64_t rest = begin(e, COST_NAME);
    adb_status status = env_lock(e->options.base, path, out);
    scheduler_trace("lock %s: %s", path, status_name(status));
    e->handles += status == ADB_OK;
    return changed(e, rest, status);
}

static void sim_unlock(struct env *env, void *lock)
{
    struct sim_env *e = env_of(env);
    scheduler_point();
    env_unlock(e->options.base, lock);
    e->handles--;
    scheduler_trace("unlock");
}

/* ---- passed through ---- */

static adb_status sim_fs_class(struct env *env, const char *path,
                               enum env_fs_class *out)
{
    struct env *base = env_of(env)->options.base;
    return base->ops->fs_class(base, path, out);
}

static adb_status sim_free_space(struct env *env, const char *path,
                                 uint64_t *bytes)
{
    struct env *base = env_of(env)->options.base;
    return base->ops->free_space(base, path, bytes);
}

static uint64_t sim_wall_ns(struct env *env)
{
    struct env *base = env_of(env)->options.base;
    return base->ops->wall_ns(base);
}

static adb_status sim_random(struct env *env, void *data, size_t size)
{
    struct env *base = env_of(env)->options.base;
    return base->ops->random(base, data, size);
}

static const struct env_ops sim_ops = {
    .open = sim_open,
    .stat = sim_stat,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .make_dir = sim_make_dir,
    .remove_dir = sim_remove_dir,
    .sync_dir = sim_sync_dir,
    .list_dir = sim_list_dir,
    .lock = sim_lock,
    .unlock = sim_unlock,
    .fs_class = sim_fs_class,
    .free_space = sim_free_space,
    .wall_ns = sim_wall_ns,
    .random = sim_random,
};

struct env *sim_env_new(const struct sim_env_options *options)
{
    struct sim_env *e = calloc(1, sizeof *e);
    e->env.ops = &sim_ops;
    e->options = *options;
    random_seed(&e->random, options->seed);
    return &e->env;
}

void sim_env_free(struct env *env)
{
    free(env);
}

uint64_t sim_env_changes(struct env *env)
{
    return env_of(env)->changes;
}

uint64_t sim_env_handles(struct env *env)
{
    return env_of(env)->handles;
}
