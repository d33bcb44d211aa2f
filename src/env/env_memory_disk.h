/*
 * The inside of the simulated disk: private to src/env.
 *
 *   memory_disk
 *     inodes ---> files and directories, in order of creation
 *     operations  name operations that are not durable, oldest first
 *
 *   file                                   directory
 *     sectors[i]  what reads see now         live     what lookups see now
 *     dirty[]     sectors with unsynced      durable  what a power cut leaves
 *                 contents: the synced one            when every pending
 *                 and each later one                  operation is lost
 *     resizes[]   unsynced sizes
 *
 * Contents of sectors are never changed once written; disks, versions and
 * images share them by counted reference, so that an image costs a pointer a
 * sector.
 *
 * `now` counts changes. A version's or operation's `at` is the change that
 * made it; 0 stands for "synced".
 *
 * The host's memory: what models the disk comes from disk_alloc, which does
 * not fail. A test that fails the library's n-th allocation means the
 * library's, and a store to a map has no way to report.
 *
 * Locking: disk->lock guards everything below; functions here are called with
 * it held unless they say otherwise.
 */
#ifndef ENV_ENV_MEMORY_DISK_H
#define ENV_ENV_MEMORY_DISK_H

#include <stdatomic.h>

#include "base/thread.h"
#include "env/env_memory.h"

enum { SECTOR_SIZE = 512, MAP_PAGE = 4096 };
/* Larger ones would only come from a bug of the caller. */
#define MEMORY_FILE_MAX ((uint64_t)1 << 34)

struct sector {
    _Atomic unsigned refs; /* disks share sectors, each under its own lock */
    uint8_t bytes[SECTOR_SIZE];
};

struct sector_version {
    uint64_t at;
    struct sector *content; /* counted; NULL: zeros */
    bool cut; /* by a truncation: bound to the fate of that resize */
};

/* count == 0: a sync failed and dropped the versions; `synced` is what the
   disk has, though reads still see what was lost. */
struct dirty_sector {
    uint32_t index;
    uint32_t count;
    uint32_t capacity;
    struct sector *synced;           /* counted; NULL: zeros */
    struct sector_version *versions; /* owned; oldest first */
};

struct resize {
    uint64_t at;
    uint64_t size;
};

struct name {
    char *text; /* owned */
    struct inode *inode;
};
struct names { /* sorted by text */
    struct name *list;
    size_t count;
    size_t capacity;
};

struct inode {
    struct inode *next, *previous; /* all of the disk, in creation order */
    enum env_kind kind;
    /* Freed when all three are zero. */
    unsigned links;   /* live names */
    unsigned holds;   /* durable names and pending operations */
    unsigned handles; /* open files, maps and locks */
    /* Of the holds, pending operations on names in this directory. */
    unsigned uses;

    /* files */
    uint64_t size;
    uint64_t synced_size;
    struct resize *resizes; /* owned */
    size_t resize_count, resize_capacity;
    struct sector **sectors; /* owned, each counted; NULL: zeros */
    uint32_t *dirty_of;      /* owned; place in dirty plus 1, or 0 */
    uint32_t sector_capacity; /* of both; sectors beyond are zeros */
    struct dirty_sector *dirty; /* owned */
    size_t dirty_count, dirty_capacity;
    uint64_t reserved; /* sectors [0, reserved) have blocks in any case */
    uint64_t blocks;   /* sectors with blocks */
    struct memory_map *maps; /* borrowed list */
    bool locked;
    unsigned lock_generation;

    /* directories */
    struct names live;
    struct names durable;

    /* While an image is made: */
    struct names surviving;
    struct inode *copy;
};

enum name_operation_kind { NAME_LINK, NAME_UNLINK, NAME_RENAME };

struct name_operation {
    enum name_operation_kind kind;
    uint64_t at;
    struct inode *inode;           /* held: what the name means */
    struct inode *directory;       /* held */
    char *name;                    /* owned */
    struct inode *to_directory;    /* held; rename only, else NULL */
    char *to_name;                 /* owned; rename only */
    bool synced, to_synced;        /* directories synced since */
};

struct memory_disk {
    struct env base;
    enum env_memory_model model;
    struct mutex lock;
    uint64_t now;
    struct inode *first, *last;
    struct inode *root;
    struct name_operation *operations; /* owned */
    size_t operation_count, operation_capacity;
    uint64_t capacity; /* in sectors */
    uint64_t used;     /* sectors of files with a name or a handle */
    struct random random;
    void (*observe)(void *context, struct env *e, const char *operation,
                    const char *path);
    void *observe_context;
};

struct memory_map {
    struct env_map base;
    struct memory_disk *disk;
    struct inode *inode; /* handle counted */
    char *path;          /* owned */
    bool writable;
    uint8_t *populated;  /* owned; a byte a page */
    uint8_t *present;    /* owned; the same: written or populated */
    struct memory_map *next;
};

static inline struct memory_disk *disk_of(struct env *e)
{
    return (struct memory_disk *)e;
}

/* ---- env_memory_names.c ---- */

void *disk_alloc(size_t size); /* zeroed, never NULL; free with disk_free */
void *disk_grow(void *array, size_t count, size_t *capacity, size_t element);
void disk_free(void *pointer);

struct inode *inode_new(struct memory_disk *d, enum env_kind kind);
/* Frees it when nothing refers to it any more. */
void inode_settle(struct memory_disk *d, struct inode *inode);
/* Without regard to who refers to it. */
void inode_destroy(struct memory_disk *d, struct inode *inode);

struct inode *names_find(const struct names *names, const char *text);
/* Returns what the name meant before, or NULL. */
struct inode *names_set(struct names *names, const char *text,
                        struct inode *inode);
void names_remove(struct names *names, const char *text);
void names_copy(struct names *to, const struct names *from);
void names_deinit(struct names *names);

/* A name operation that has happened to `live` goes on the list. */
void operation_add(struct memory_disk *d, enum name_operation_kind kind,
                   struct inode *inode, struct inode *directory,
                   const char *name, struct inode *to_directory,
                   const char *to_name);
/* What the operation does to the names of its directories. counted: entries
   hold their inodes. */
void operation_apply(struct memory_disk *d, const struct name_operation *o,
                     struct names *names, struct names *to_names,
                     bool counted);
bool operation_touches(const struct name_operation *o,
                       const struct name_operation *earlier);
void names_sync_directory(struct memory_disk *d, struct inode *directory);
/* The ordered model: a file's sync makes its name durable. */
void names_sync_file(struct memory_disk *d, struct inode *inode);
void operations_deinit(struct memory_disk *d);

/* ---- env_memory_file.c ---- */

struct sector *sector_ref(struct sector *s); /* NULL is fine */
void sector_unref(struct sector *s);
static inline uint64_t sectors_of(uint64_t bytes)
{
    return (bytes + SECTOR_SIZE - 1) / SECTOR_SIZE;
}
struct sector *file_sector(const struct inode *inode, uint64_t index);
/* Puts content (the reference passes over) without any trace. */
void file_place_sector(struct inode *inode, uint32_t index,
                       struct sector *content);
void file_deinit(struct memory_disk *d, struct inode *inode);

size_t file_read(const struct inode *inode, uint64_t offset, void *data,
                 size_t size);
/* These return 0 or an errno. */
int file_write(struct memory_disk *d, struct inode *inode, uint64_t offset,
               const void *data, size_t size);
int file_resize(struct memory_disk *d, struct inode *inode, uint64_t size);
int file_allocate(struct memory_disk *d, struct inode *inode, uint64_t size);
void file_sync(struct inode *inode);
/* The sync failed, and the unsynced contents never reach the disk. */
void file_lose(struct inode *inode);
void file_damage(struct inode *inode, uint64_t offset, const uint8_t *data,
                 size_t size);

adb_status memory_file_map(struct memory_disk *d, struct inode *inode,
                           const char *path, size_t size, bool writable,
                           struct env_map **out);

/* ---- env_memory.c ---- */

struct memory_disk *disk_new(enum env_memory_model model);
/* Tells the observer; called without the lock. */
void disk_changed(struct memory_disk *d, const char *operation,
                  const char *path);

#endif
