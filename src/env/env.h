/*
 * env: the only door to the operating system. All file operations, mapped log
 * stores, wall time and randomness of the library pass here, so that a test
 * can put a simulated disk (env_memory) or faults (env_fault) behind it.
 * Threads, locks and monotonic time are base/thread.h, heap memory
 * base/alloc.h.
 *
 * Contract of every operation
 *   - adb_status; messages name the path, the offset where there is one, and
 *     errno. EINTR and short transfers are retried inside.
 *   - Something missing is ADB_NOT_FOUND (here with a message), something in
 *     the way ADB_EXISTS, what the file system cannot do ADB_UNSUPPORTED
 *     (env_file_allocate: write zeros instead), everything else as
 *     status_set_errno has it.
 *   - Paths are absolute or relative strings, '/' separated.
 *   - An env and its files may be used from any thread; one file's close must
 *     not race its other calls.
 *   - Nothing here retries a failed sync. After env_file_sync failed, what the
 *     file holds is unknown; callers never write that file again.
 */
#ifndef ENV_ENV_H
#define ENV_ENV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

struct env;
struct env_file;
struct env_map;

enum env_open_flags {
    ENV_READ = 0,          /* existing file, reads only */
    ENV_WRITE = 1 << 0,    /* reads and writes */
    ENV_CREATE = 1 << 1,   /* create if missing (with ENV_WRITE) */
    ENV_EXCLUSIVE = 1 << 2, /* with ENV_CREATE: fail if it exists */
    ENV_TRUNCATE = 1 << 3,
    ENV_RANDOM = 1 << 4    /* will be read here and there: the system reads no
                              more than asked for, or by advise_ahead. A hint */
};

enum env_kind { ENV_KIND_NONE, ENV_KIND_FILE, ENV_KIND_DIRECTORY,
                ENV_KIND_OTHER };

struct env_stat {
    enum env_kind kind; /* ENV_KIND_NONE: nothing there */
    uint64_t size;
    uint64_t links;
    uint64_t allocated; /* bytes of real blocks */
};

/* What wal_access=auto needs to know about the file system of a path. */
enum env_fs_class {
    ENV_FS_MAP_SAFE, /* overwrites in place, local: ext4, xfs, tmpfs */
    ENV_FS_OTHER     /* copy-on-write, networked or unknown */
};

struct env_file_ops {
    adb_status (*read)(struct env_file *f, uint64_t offset, void *data,
                       size_t size, size_t *got);
    adb_status (*read_now)(struct env_file *f, uint64_t offset, void *data,
                           size_t size, size_t *got);
    adb_status (*write)(struct env_file *f, uint64_t offset, const void *data,
                        size_t size);
    adb_status (*sync)(struct env_file *f);
    adb_status (*truncate)(struct env_file *f, uint64_t size);
    adb_status (*allocate)(struct env_file *f, uint64_t size);
    adb_status (*size)(struct env_file *f, uint64_t *size);
    adb_status (*map)(struct env_file *f, size_t size, bool writable,
                      struct env_map **out);
    void (*advise_ahead)(struct env_file *f, uint64_t offset, uint64_t size);
    adb_status (*close)(struct env_file *f);
};
struct env_file {
    const struct env_file_ops *ops;
    char *path; /* owned; for messages */
};

struct env_map_ops {
    /* Makes [offset, offset+size) resident and writable without faults; a
       failure is a status, never SIGBUS. */
    adb_status (*populate)(struct env_map *m, size_t offset, size_t size);
    /* The range will not be touched again through this map (until populated
       anew); its contents stay in the file. A hint, NULL: not taken. */
    void (*drop)(struct env_map *m, size_t offset, size_t size);
    /* The first range of pages in [*offset, end) that have to be read from the
       disk when they are touched: its size, 0: none; *offset: where it begins.
       A hint, pages come and go. NULL: not known. */
    size_t (*absent)(struct env_map *m, size_t *offset, size_t end);
    void (*unmap)(struct env_map *m);
};
struct env_map {
    const struct env_map_ops *ops;
    uint8_t *base;
    size_t size;
    /* NULL on a real file: stores are plain memory copies. */
    void (*store)(struct env_map *m, size_t offset, const void *data,
                  size_t size);
};

struct env_ops {
    adb_status (*open)(struct env *e, const char *path, unsigned flags,
                       struct env_file **out);
    adb_status (*stat)(struct env *e, const char *path, struct env_stat *out);
    adb_status (*rename)(struct env *e, const char *from, const char *to);
    adb_status (*unlink)(struct env *e, const char *path);
    adb_status (*make_dir)(struct env *e, const char *path);
    adb_status (*remove_dir)(struct env *e, const char *path);
    adb_status (*sync_dir)(struct env *e, const char *path);
    /* Calls visit for each name except . and ..; stops at its first failure. */
    adb_status (*list_dir)(struct env *e, const char *path,
                           adb_status (*visit)(void *context,
                                               const char *name),
                           void *context);
    /* An exclusive lock on path (created if missing), held against other
       processes and against this one; ADB_BUSY with a message when taken. The
       lock does not pass to a forked child. */
    adb_status (*lock)(struct env *e, const char *path, void **out);
    void (*unlock)(struct env *e, void *lock);
    adb_status (*fs_class)(struct env *e, const char *path,
                           enum env_fs_class *out);
    adb_status (*free_space)(struct env *e, const char *path,
                             uint64_t *bytes);
    uint64_t (*wall_ns)(struct env *e); /* since 1970, may jump */
    adb_status (*random)(struct env *e, void *data, size_t size);
};
struct env {
    const struct env_ops *ops;
};

/* The real one; a static singleton. */
struct env *env_posix(void);

/* ---- files ---- */

static inline adb_status env_open(struct env *e, const char *path,
                                  unsigned flags, struct env_file **out)
{
    return e->ops->open(e, path, flags, out);
}
/* Reads up to size bytes; *got < size only at the end of the file. */
static inline adb_status env_file_read(struct env_file *f, uint64_t offset,
                                       void *data, size_t size, size_t *got)
{
    return f->ops->read(f, offset, data, size, got);
}
/* Reads exactly size bytes; a shorter file is ADB_CORRUPTION. */
adb_status env_file_read_full(struct env_file *f, uint64_t offset, void *data,
                              size_t size) ADB_MUST_CHECK;
/* The same without waiting for a device: ADB_BUSY, without a message, when not
   all of it is in memory; the system fetches it meanwhile. What cannot be read
   at all may be ADB_BUSY too. */
adb_status env_file_read_full_now(struct env_file *f, uint64_t offset,
                                  void *data, size_t size) ADB_MUST_CHECK;
static inline adb_status env_file_write(struct env_file *f, uint64_t offset,
                                        const void *data, size_t size)
{
    return f->ops->write(f, offset, data, size);
}
/* Contents (mapped stores too) and size become durable; the name does not. */
static inline adb_status env_file_sync(struct env_file *f)
{
    return f->ops->sync(f);
}
static inline adb_status env_file_truncate(struct env_file *f, uint64_t size)
{
    return f->ops->truncate(f, size);
}
/* Gives the file real blocks up to size (and that size if it was shorter). */
static inline adb_status env_file_allocate(struct env_file *f, uint64_t size)
{
    return f->ops->allocate(f, size);
}
static inline adb_status env_file_size(struct env_file *f, uint64_t *size)
{
    return f->ops->size(f, size);
}
/* The map must be released before the file is closed. Writable maps are
   shared with the file and take stores only through env_map_store; they are
   not inherited over fork. */
static inline adb_status env_file_map(struct env_file *f, size_t size,
                                      bool writable, struct env_map **out)
{
    return f->ops->map(f, size, writable, out);
}
/* The range will be read next: it may be fetched meanwhile. A hint. */
static inline void env_file_advise_ahead(struct env_file *f, uint64_t offset,
                                         uint64_t size)
{
    f->ops->advise_ahead(f, offset, size);
}
/* NULL is fine. The file is gone whatever the status. */
static inline adb_status env_file_close(struct env_file *f)
{
    return f ? f->ops->close(f) : ADB_OK;
}

/* ---- maps ---- */

/* Copies size bytes to offset of a writable map. The range must have been
   populated. Inlined to a memory copy for real files. */
static inline void env_map_store(struct env_map *m, size_t offset,
                                 const void *data, size_t size)
{
    if (unlikely(m->store != NULL))
        m->store(m, offset, data, size);
    else
        memcpy(m->base + offset, data, size);
}
static inline adb_status env_map_populate(struct env_map *m, size_t offset,
                                          size_t size)
{
    return m->ops->populate(m, offset, size);
}
/* See env_map_ops. Worth it before a sync of much: the kernel then takes the
   pages out of the map in one go instead of interrupting every processor once
   for each page that it writes. */
static inline void env_map_drop(struct env_map *m, size_t offset, size_t size)
{
    if (m->ops->drop)
        m->ops->drop(m, offset, size);
}
/* See env_map_ops. */
static inline size_t env_map_absent(struct env_map *m, size_t *offset,
                                    size_t end)
{
    return m->ops->absent ? m->ops->absent(m, offset, end) : 0;
}
static inline void env_map_unmap(struct env_map *m) /* NULL is fine */
{
    if (m)
        m->ops->unmap(m);
}

/* ---- names ---- */

static inline adb_status env_stat(struct env *e, const char *path,
                                  struct env_stat *out)
{
    return e->ops->stat(e, path, out);
}
static inline adb_status env_rename(struct env *e, const char *from,
                                    const char *to)
{
    return e->ops->rename(e, from, to);
}
static inline adb_status env_unlink(struct env *e, const char *path)
{
    return e->ops->unlink(e, path);
}
/* ADB_EXISTS when something is there already. */
static inline adb_status env_make_dir(struct env *e, const char *path)
{
    return e->ops->make_dir(e, path);
}
static inline adb_status env_remove_dir(struct env *e, const char *path)
{
    return e->ops->remove_dir(e, path);
}
static inline adb_status env_sync_dir(struct env *e, const char *path)
{
    return e->ops->sync_dir(e, path);
}
static inline adb_status env_list_dir(struct env *e, const char *path,
                                      adb_status (*visit)(void *, const char *),
                                      void *context)
{
    return e->ops->list_dir(e, path, visit, context);
}
static inline adb_status env_lock(struct env *e, const char *path, void **out)
{
    return e->ops->lock(e, path, out);
}
static inline void env_unlock(struct env *e, void *lock)
{
    e->ops->unlock(e, lock);
}

/* ---- conveniences, env.c ---- */

/* Reads a whole file of at most limit bytes into a fresh block (mem_free), with
   a zero byte behind it that size does not count. A larger file is
   ADB_TOO_LARGE. */
adb_status env_read_file(struct env *e, const char *path, size_t limit,
                         uint8_t **data, size_t *size) ADB_MUST_CHECK;

/* Gives path these contents, and syncs them; the name is not durable. */
adb_status env_write_file(struct env *e, const char *path, const void *data,
                          size_t size) ADB_MUST_CHECK;

/* Writes path so that after any crash it has the old or the new content:
   path.tmp written and synced, renamed, directory synced. */
adb_status env_replace_file(struct env *e, const char *directory,
                            const char *name, const void *data, size_t size)
    ADB_MUST_CHECK;

/* "directory/name" as fresh memory (mem_free); NULL: out of memory. */
char *env_join(const char *directory, const char *name);

/* How many descriptors this process may have open. */
unsigned env_file_limit(void);

/* Fork: a number that a forked child sees changed, from the first watch on.
   Locks and maps watch by themselves. It is asked at every public call, hence
   inline. */
extern _Atomic unsigned env_forks;
void env_watch_forks(void);
static inline unsigned env_fork_generation(void)
{
    return atomic_load_explicit(&env_forks, memory_order_relaxed);
}

/* Anonymous memory straight from the system, zeroed, for arenas: reserve
   takes address space only, pages come with first touch; huge asks for huge
   pages. NULL on failure. */
void *env_anonymous_reserve(size_t size, bool huge);
void env_anonymous_release(void *base, size_t size);
/* Gives the pages back; the range reads as zero again. */
void env_anonymous_discard(void *base, size_t size);
/* Whether the range, of whole huge pages and reserved as huge, is to have
   them from now on; pages that are there stay as they are. A range that
   differs from its neighbours is a mapping of its own to the system. */
void env_anonymous_huge(void *base, size_t size, bool huge);
/* Makes huge pages of the pages that are there, now: it copies them. Without
   effect where the system cannot (Linux before 6.1). */
void env_anonymous_merge(void *base, size_t size);

#endif
