#include "model/model_env.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* The real env's operations with ours in place of some. Its files and maps
   stay what they are but for the table they carry. */
static struct env_ops env_table;
static struct env_file_ops file_table;
static struct env_map_ops map_table;
static const struct env_ops *real_env;
static const struct env_file_ops *real_file;
static const struct env_map_ops *real_map;
static pthread_mutex_t learning = PTHREAD_MUTEX_INITIALIZER;

static bool without_syncs;
static struct strike strike;
static _Atomic uint64_t operations;

/* ---- death ---- */

static void strike_now(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* True for the operation to die at; it dies here if that is to be before. */
static bool is_struck(enum strike_kind kind)
{
    if (!(strike.kinds & kind) || !strike.number ||
        atomic_fetch_add(&operations, 1) + 1 != strike.number)
        return false;
    if (strike.phase == STRIKE_BEFORE)
        strike_now();
    return true;
}

static adb_status after(bool struck, adb_status status)
{
    if (struck)
        strike_now();
    return status;
}

/* ---- maps ---- */

static void store(struct env_map *m, size_t offset, const void *data,
                  size_t size)
{
    bool struck = is_struck(STRIKE_DATA);
    if (struck && strike.phase == STRIKE_HALFWAY)
        size /= 2;
    memcpy(m->base + offset, data, size);
    if (struck)
        strike_now();
}

static adb_status populate(struct env_map *m, size_t offset, size_t size)
{
    bool struck = is_struck(STRIKE_FILES);
    return after(struck, real_map->populate(m, offset, size));
}

static void learn_map(struct env_map *m)
{
    pthread_mutex_lock(&learning);
    if (!real_map) {
        real_map = m->ops;
        map_table = *real_map;
        map_table.populate = populate;
    }
    pthread_mutex_unlock(&learning);
}

/* ---- files ---- */

static adb_status map(struct env_file *f, size_t size, bool writable,
                      struct env_map **out)
{
    bool struck = is_struck(STRIKE_FILES);
    adb_status status = real_file->map(f, size, writable, out);
    if (status == ADB_OK && writable && strike.number) {
        learn_map(*out);
        (*out)->ops = &map_table;
        (*out)->store = store;
    }
    return after(struck, status);
}

static adb_status write_data(struct env_file *f, uint64_t offset,
                             const void *data, size_t size)
{
    bool struck = is_struck(STRIKE_DATA);
    if (struck && strike.phase == STRIKE_HALFWAY)
        size /= 2;
    return after(struck, real_file->write(f, offset, data, size));
}

static adb_status sync_file(struct env_file *f)
{
    bool struck = is_struck(STRIKE_FILES);
    return after(struck, without_syncs ? ADB_OK : real_file->sync(f));
}

static adb_status truncate_file(struct env_file *f, uint64_t size)
{
    bool struck = is_struck(STRIKE_FILES);
    return after(struck, real_file->truncate(f, size));
}

static adb_status allocate(struct env_file *f, uint64_t size)
{
    bool struck = is_struck(STRIKE_FILES);
    return after(struck, real_file->allocate(f, size));
}

static void learn_file(struct env_file *f)
{
    pthread_mutex_lock(&learning);
    if (!real_file) {
        real_file = f->ops;
        file_table = *real_file;
        file_table.map = map;
        file_table.write = write_data;
        file_table.sync = sync_file;
        file_table.truncate = truncate_file;
        file_table.allocate = allocate;
    }
    pthread_mutex_unlock(&learning);
}

/* ---- names ---- */

static adb_status open_file(struct env *e, const char *path, unsigned flags,
                            struct env_file **out)
{
    bool struck = flags & ENV_WRITE && is_struck(STRIKE_FILES);
    (void)e;
    adb_status status = real_env->open(env_posix(), path, flags, out);
    if (status == ADB_OK) {
        learn_file(*out);
        (*out)->ops = &file_table;
    }
    return after(struck, status);
}

static adb_status rename_file(struct env *e, const char *from, const char *to)
{
    bool struck = is_struck(STRIKE_FILES);
    (void)e;
    return after(struck, real_env->rename(env_posix(), from, to));
}

static adb_status unlink_file(struct env *e, const char *path)
{
    bool struck = is_struck(STRIKE_FILES);
    (void)e;
    return after(struck, real_env->unlink(env_posix(), path));
}

static adb_status make_dir(struct env *e, const char *path)
{
    bool struck = is_struck(STRIKE_FILES);
    (void)e;
    return after(struck, real_env->make_dir(env_posix(), path));
}

static adb_status sync_dir(struct env *e, const char *path)
{
    bool struck = is_struck(STRIKE_FILES);
    (void)e;
    return after(struck, without_syncs ? ADB_OK
                                       : real_env->sync_dir(env_posix(), path));
}

static adb_status take_lock(struct env *e, const char *path, void **out)
{
    bool struck = is_struck(STRIKE_FILES);
    (void)e;
    return after(struck, real_env->lock(env_posix(), path, out));
}

static void learn_env(void)
{
    real_env = env_posix()->ops;
    env_table = *real_env; /* the rest of it asks nothing of its env */
    env_table.open = open_file;
    env_table.rename = rename_file;
    env_table.unlink = unlink_file;
    env_table.make_dir = make_dir;
    env_table.sync_dir = sync_dir;
    env_table.lock = take_lock;
}

struct env *model_env(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static struct env env = {.ops = &env_table};
    pthread_once(&once, learn_env);
    return &env;
}

void model_env_leave_out_syncs(bool leave_out)
{
    without_syncs = leave_out;
}

void model_env_set_strike(const struct strike *new_strike)
{
    strike = *new_strike;
    atomic_store(&operations, 0);
}
