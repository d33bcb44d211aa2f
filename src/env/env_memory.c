#include <assert.h>
#include <errno.h>

#include "base/alloc.h"
#include "env/env_error.h"
#include "env/env_memory_disk.h"

struct memory_file {
    struct env_file base; /* path lies behind this struct */
    struct memory_disk *disk;
    struct inode *inode; /* handle counted */
    bool writable;
};

struct memory_lock {
    struct inode *inode; /* handle counted */
};

enum { NAME_MAX_SIZE = 255 };

/* Where a path leads. */
struct place {
    struct inode *directory; /* NULL: the root itself */
    char name[NAME_MAX_SIZE + 1];
    struct inode *inode; /* NULL: nothing there */
};

void disk_changed(struct memory_disk *d, const char *operation,
                  const char *path)
{
    if (d->observe)
        d->observe(d->observe_context, &d->base, operation, path);
}

/* ---- paths ---- */

/* Copies the next component and moves past it; its size, 0 at the end. */
static size_t next_component(const char **path, char *name)
{
    const char *p = *path;
    for (;;) {
        while (*p == '/')
            p++;
        size_t size = strcspn(p, "/");
        *path = p + size;
        if (size == 1 && *p == '.') {
            p++;
            continue;
        }
        if (size <= NAME_MAX_SIZE) {
            memcpy(name, p, size);
            name[size] = '\0';
        }
        return size;
    }
}

/* Returns 0 or an errno; a missing last component is no error. */
static int find_place(struct memory_disk *d, const char *path,
                      struct place *out)
{
    out->directory = NULL;
    out->inode = d->root;
    for (;;) {
        char name[NAME_MAX_SIZE + 1];
        size_t size = next_component(&path, name);
        if (size == 0)
            return 0;
        if (size > NAME_MAX_SIZE)
            return ENAMETOOLONG;
        if (strcmp(name, "..") == 0)
            return EINVAL;
        if (!out->inode)
            return ENOENT;
        if (out->inode->kind != ENV_KIND_DIRECTORY)
            return ENOTDIR;
        out->directory = out->inode;
        memcpy(out->name, name, size + 1);
        out->inode = names_find(&out->directory->live, name);
    }
}

static int find_existing(struct memory_disk *d, const char *path,
                         struct place *out)
{
    int error = find_place(d, path, out);
    return error ? error : out->inode ? 0 : ENOENT;
}

/* ---- names ---- */

static void link_new(struct memory_disk *d, struct place *p,
                     enum env_kind kind)
{
    p->inode = inode_new(d, kind);
    p->inode->links = 1;
    names_set(&p->directory->live, p->name, p->inode);
    operation_add(d, NAME_LINK, p->inode, p->directory, p->name, NULL, NULL);
}

static void unlink_place(struct memory_disk *d, struct place *p)
{
    names_remove(&p->directory->live, p->name);
    operation_add(d, NAME_UNLINK, p->inode, p->directory, p->name, NULL,
                  NULL);
    p->inode->links--;
    inode_settle(d, p->inode);
}

/* May `to` be replaced by `from`? Returns 0 or an errno. */
static int check_replace(const struct inode *from, const struct inode *to)
{
    if (!to)
        return 0;
    if (from->kind != ENV_KIND_DIRECTORY)
        return to->kind == ENV_KIND_DIRECTORY ? EISDIR : 0;
    if (to->kind != ENV_KIND_DIRECTORY)
        return ENOTDIR;
    return to->live.count ? ENOTEMPTY : 0;
}

static bool lies_within(const struct inode *inode,
                        const struct inode *directory)
{
    if (inode == directory)
        return true;
    for (size_t i = 0; i < directory->live.count; i++)
        if (lies_within(inode, directory->live.list[i].inode))
            return true;
    return false;
}

static int rename_place(struct memory_disk *d, struct place *from,
                        struct place *to)
{
    if (!from->directory || !to->directory)
        return EBUSY;
    if (from->inode == to->inode)
        return 0;
    if (lies_within(to->directory, from->inode))
        return EINVAL;
    int error = check_replace(from->inode, to->inode);
    if (error)
        return error;
    names_remove(&from->directory->live, from->name);
    names_set(&to->directory->live, to->name, from->inode);
    operation_add(d, NAME_RENAME, from->inode, from->directory, from->name,
                  to->directory, to->name);
    if (to->inode) {
        to->inode->links--;
        inode_settle(d, to->inode);
    }
    return 0;
}

static adb_status memory_rename(struct env *e, const char *from,
                                const char *to)
{
    struct memory_disk *d = disk_of(e);
    struct place old, new;
    mutex_lock(&d->lock);
    int error = find_place(d, from, &old);
    if (!error)
        error = find_place(d, to, &new);
    if (!error && !old.inode)
        error = ENOENT;
    if (!error)
        error = rename_place(d, &old, &new);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot rename '%s' to '%s'", from, to);
    disk_changed(d, "rename", to);
    return ADB_OK;
}

static adb_status memory_unlink(struct env *e, const char *path)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error && p.inode->kind == ENV_KIND_DIRECTORY)
        error = EISDIR;
    if (!error)
        unlink_place(d, &p);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot remove '%s'", path);
    disk_changed(d, "unlink", path);
    return ADB_OK;
}

static adb_status memory_make_dir(struct env *e, const char *path)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    mutex_lock(&d->lock);
    int error = find_place(d, path, &p);
    if (!error && p.inode)
        error = EEXIST;
    if (!error)
        link_new(d, &p, ENV_KIND_DIRECTORY);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot create directory '%s'", path);
    disk_changed(d, "make_dir", path);
    return ADB_OK;
}

static adb_status memory_remove_dir(struct env *e, const char *path)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error && p.inode->kind != ENV_KIND_DIRECTORY)
        error = ENOTDIR;
    if (!error && !p.directory)
        error = EBUSY;
    if (!error && p.inode->live.count)
        error = ENOTEMPTY;
    if (!error)
        unlink_place(d, &p);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot remove directory '%s'", path);
    disk_changed(d, "remove_dir", path);
    return ADB_OK;
}

static adb_status memory_sync_dir(struct env *e, const char *path)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error && p.inode->kind != ENV_KIND_DIRECTORY)
        error = ENOTDIR;
    if (!error)
        names_sync_directory(d, p.inode);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot sync directory '%s'", path);
    disk_changed(d, "sync_dir", path);
    return ADB_OK;
}

static adb_status memory_list_dir(struct env *e, const char *path,
                                  adb_status (*visit)(void *, const char *),
                                  void *context)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    struct names names = {0};
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error && p.inode->kind != ENV_KIND_DIRECTORY)
        error = ENOTDIR;
    if (!error) /* visit may change the directory */
        names_copy(&names, &p.inode->live);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot list directory '%s'", path);
    adb_status status = ADB_OK;
    for (size_t i = 0; i < names.count && status == ADB_OK; i++)
        status = visit(context, names.list[i].text);
    names_deinit(&names);
    return status;
}

static adb_status memory_stat(struct env *e, const char *path,
                              struct env_stat *out)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    *out = (struct env_stat){.kind = ENV_KIND_NONE};
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error)
        *out = (struct env_stat){.kind = p.inode->kind,
                                 .size = p.inode->size,
                                 .links = p.inode->links,
                                 .allocated = p.inode->blocks * SECTOR_SIZE};
    mutex_unlock(&d->lock);
    if (error && error != ENOENT && error != ENOTDIR)
        return env_error(error, "cannot stat '%s'", path);
    return ADB_OK;
}

/* ---- files ---- */

static struct memory_file *file_of(struct env_file *f)
{
    return (struct memory_file *)f;
}

static adb_status memory_read(struct env_file *file, uint64_t offset,
                              void *data, size_t size, size_t *got)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    *got = file_read(f->inode, offset, data, size);
    mutex_unlock(&f->disk->lock);
    return ADB_OK;
}

static adb_status memory_write(struct env_file *file, uint64_t offset,
                               const void *data, size_t size)
{
    struct memory_file *f = file_of(file);
    if (size == 0)
        return ADB_OK;
    mutex_lock(&f->disk->lock);
    int error = f->writable ? file_write(f->disk, f->inode, offset, data, size)
                            : EBADF;
    mutex_unlock(&f->disk->lock);
    if (error)
        return env_error(error, "cannot write %zu bytes at offset %llu of "
                         "'%s'", size, (unsigned long long)offset, file->path);
    disk_changed(f->disk, "write", file->path);
    return ADB_OK;
}

static adb_status memory_sync(struct env_file *file)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    file_sync(f->inode);
    if (f->disk->model == ENV_MEMORY_ORDERED)
        names_sync_file(f->disk, f->inode);
    mutex_unlock(&f->disk->lock);
    disk_changed(f->disk, "sync", file->path);
    return ADB_OK;
}

static adb_status memory_truncate(struct env_file *file, uint64_t size)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    int error = f->writable ? file_resize(f->disk, f->inode, size) : EINVAL;
    mutex_unlock(&f->disk->lock);
    if (error)
        return env_error(error, "cannot truncate '%s' to %llu bytes",
                         file->path, (unsigned long long)size);
    disk_changed(f->disk, "truncate", file->path);
    return ADB_OK;
}

static adb_status memory_allocate(struct env_file *file, uint64_t size)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    int error = f->writable ? file_allocate(f->disk, f->inode, size) : EBADF;
    mutex_unlock(&f->disk->lock);
    if (error)
        return env_error(error, "cannot allocate %llu bytes for '%s'",
                         (unsigned long long)size, file->path);
    disk_changed(f->disk, "allocate", file->path);
    return ADB_OK;
}

static adb_status memory_size(struct env_file *file, uint64_t *size)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    *size = f->inode->size;
    mutex_unlock(&f->disk->lock);
    return ADB_OK;
}

static adb_status memory_map(struct env_file *file, size_t size, bool writable,
                             struct env_map **out)
{
    struct memory_file *f = file_of(file);
    if (writable && !f->writable)
        return env_error(EACCES, "cannot map '%s' for writing", file->path);
    return memory_file_map(f->disk, f->inode, file->path, size, writable, out);
}

static void memory_advise_ahead(struct env_file *file, uint64_t offset,
                                uint64_t size)
{
    (void)file;
    (void)offset;
    (void)size;
}

static adb_status memory_close(struct env_file *file)
{
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    f->inode->handles--;
    inode_settle(f->disk, f->inode);
    mutex_unlock(&f->disk->lock);
    mem_free(f);
    return ADB_OK;
}

static const struct env_file_ops memory_file_ops = {
    .read = memory_read,
    .read_now = memory_read, /* nobody waits for this disk */
    .write = memory_write,
    .sync = memory_sync,
    .truncate = memory_truncate,
    .allocate = memory_allocate,
    .size = memory_size,
    .map = memory_map,
    .advise_ahead = memory_advise_ahead,
    .close = memory_close,
};

static int open_place(struct memory_disk *d, const char *path, unsigned flags,
                      struct place *p, bool *changed)
{
    int error = find_place(d, path, p);
    if (error)
        return error;
    if (!p->inode) {
        if (!(flags & ENV_CREATE))
            return ENOENT;
        link_new(d, p, ENV_KIND_FILE);
        *changed = true;
    } else if ((flags & ENV_CREATE) && (flags & ENV_EXCLUSIVE)) {
        return EEXIST;
    } else if (p->inode->kind == ENV_KIND_DIRECTORY) {
        return EISDIR;
    } else if ((flags & ENV_TRUNCATE) && p->inode->size) {
        *changed = true;
        file_resize(d, p->inode, 0);
    }
    p->inode->handles++;
    return 0;
}

static adb_status memory_open(struct env *e, const char *path, unsigned flags,
                              struct env_file **out)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    bool changed = false;
    size_t path_size = strlen(path) + 1;
    struct memory_file *f = mem_alloc(sizeof *f + path_size);
    if (!f)
        return status_set(ADB_NO_MEMORY, "no memory to open '%s'", path);
    mutex_lock(&d->lock);
    int error = open_place(d, path, flags, &p, &changed);
    mutex_unlock(&d->lock);
    if (error) {
        mem_free(f);
        return env_error(error, "cannot open '%s'", path);
    }
    *f = (struct memory_file){
        .base = {.ops = &memory_file_ops, .path = (char *)(f + 1)},
        .disk = d,
        .inode = p.inode,
        .writable = (flags & ENV_WRITE) != 0,
    };
    memcpy(f->base.path, path, path_size);
    *out = &f->base;
    if (changed)
        disk_changed(d, "open", path);
    return ADB_OK;
}

void env_memory_lose_unsynced(struct env_file *file)
{
    if (file->ops != &memory_file_ops)
        return;
    struct memory_file *f = file_of(file);
    mutex_lock(&f->disk->lock);
    file_lose(f->inode);
    mutex_unlock(&f->disk->lock);
}

/* ---- locks ---- */

static adb_status memory_lock(struct env *e, const char *path, void **out)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    bool changed = false;
    struct memory_lock *l = mem_alloc(sizeof *l);
    if (!l)
        return status_set(ADB_NO_MEMORY, "no memory to lock '%s'", path);
    env_watch_forks();
    mutex_lock(&d->lock);
    int error = open_place(d, path, ENV_WRITE | ENV_CREATE, &p, &changed);
    /* A child of the process that locked has a disk of its own, on which
       nobody holds the lock. */
    if (!error && p.inode->locked &&
        p.inode->lock_generation == env_fork_generation()) {
        p.inode->handles--;
        error = EWOULDBLOCK;
    } else if (!error) {
        p.inode->locked = true;
        p.inode->lock_generation = env_fork_generation();
    }
    mutex_unlock(&d->lock);
    if (error) {
        mem_free(l);
        return error == EWOULDBLOCK
                   ? status_set(ADB_BUSY, "'%s' is locked: the database is "
                                "open in this or another process", path)
                   : env_error(error, "cannot open lock file '%s'", path);
    }
    l->inode = p.inode;
    *out = l;
    if (changed)
        disk_changed(d, "lock", path);
    return ADB_OK;
}

static void memory_unlock(struct env *e, void *lock)
{
    struct memory_disk *d = disk_of(e);
    struct memory_lock *l = lock;
    if (!l)
        return;
    mutex_lock(&d->lock);
    l->inode->locked = false;
    l->inode->handles--;
    inode_settle(d, l->inode);
    mutex_unlock(&d->lock);
    mem_free(l);
}

/* ---- the rest ---- */

static adb_status memory_fs_class(struct env *e, const char *path,
                                  enum env_fs_class *out)
{
    struct env_stat st;
    adb_status status = memory_stat(e, path, &st);
    if (status != ADB_OK)
        return status;
    if (st.kind == ENV_KIND_NONE)
        return env_error(ENOENT, "cannot tell the file system of '%s'", path);
    *out = ENV_FS_MAP_SAFE;
    return ADB_OK;
}

static adb_status memory_free_space(struct env *e, const char *path,
                                    uint64_t *bytes)
{
    struct memory_disk *d = disk_of(e);
    (void)path;
    mutex_lock(&d->lock);
    *bytes = (d->capacity - MIN_OF(d->used, d->capacity)) * SECTOR_SIZE;
    mutex_unlock(&d->lock);
    return ADB_OK;
}

/* Time and randomness follow from what was done to the disk, so that a run can
   be repeated. */
static uint64_t memory_wall_ns(struct env *e)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    uint64_t now = UINT64_C(1700000000000000000) + d->now * 1000;
    mutex_unlock(&d->lock);
    return now;
}

static adb_status memory_random(struct env *e, void *data, size_t size)
{
    struct memory_disk *d = disk_of(e);
    uint8_t *p = data;
    mutex_lock(&d->lock);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(random_next(&d->random) >> 56);
    mutex_unlock(&d->lock);
    return ADB_OK;
}

static const struct env_ops memory_ops = {
    .open = memory_open,
    .stat = memory_stat,
    .rename = memory_rename,
    .unlink = memory_unlink,
    .make_dir = memory_make_dir,
    .remove_dir = memory_remove_dir,
    .sync_dir = memory_sync_dir,
    .list_dir = memory_list_dir,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .fs_class = memory_fs_class,
    .free_space = memory_free_space,
    .wall_ns = memory_wall_ns,
    .random = memory_random,
};

struct memory_disk *disk_new(enum env_memory_model model)
{
    struct memory_disk *d = disk_alloc(sizeof *d);
    d->base.ops = &memory_ops;
    d->model = model;
    d->capacity = (uint64_t)1 << 40;
    mutex_init(&d->lock);
    random_seed(&d->random, 1);
    return d;
}

struct env *env_memory_new(enum env_memory_model model)
{
    struct memory_disk *d = disk_new(model);
    d->root = inode_new(d, ENV_KIND_DIRECTORY);
    d->root->links = 1;
    return &d->base;
}

void env_memory_free(struct env *e)
{
    struct memory_disk *d = disk_of(e);
    if (!e)
        return;
    while (d->first) {
        assert(d->first->handles == 0);
        inode_destroy(d, d->first);
    }
    operations_deinit(d);
    mutex_deinit(&d->lock);
    disk_free(d);
}

void env_memory_set_observer(struct env *e,
                             void (*observe)(void *context, struct env *e,
                                             const char *operation,
                                             const char *path),
                             void *context)
{
    struct memory_disk *d = disk_of(e);
    d->observe = observe;
    d->observe_context = context;
}

void env_memory_set_capacity(struct env *e, uint64_t bytes)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    d->capacity = bytes / SECTOR_SIZE;
    mutex_unlock(&d->lock);
}

adb_status env_memory_damage(struct env *e, const char *path, uint64_t offset,
                             const void *data, size_t size)
{
    struct memory_disk *d = disk_of(e);
    struct place p;
    mutex_lock(&d->lock);
    int error = find_existing(d, path, &p);
    if (!error && (offset > p.inode->size || size > p.inode->size - offset))
        error = EINVAL;
    if (!error)
        file_damage(p.inode, offset, data, size);
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot damage '%s'", path);
    return ADB_OK;
}
