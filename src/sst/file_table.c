/*
 * States of a handle
 *
 *      opening --fails--> gone (those who waited try for themselves)
 *        | opened
 *        v
 *      in use (users > 0, in the hash, in no list)
 *        | last release       ^ acquire
 *        v                    |
 *      idle (in the hash and the idle list)
 *        | too many open, or forgotten
 *        v
 *      closed, freed
 *
 * A handle forgotten while opening or in use leaves the hash at once and is
 * closed at its last release.
 */
#include "sst/file_table.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "sst/sst_writer.h"

struct file_handle {
    uint64_t number;
    struct env_file *file; /* owned; set by the opener before ready */
    struct file_handle *next_in_bucket;
    struct file_handle *older, *newer; /* idle list */
    unsigned users;
    bool ready;
    bool failed;
    bool forgotten; /* not in the hash any more */
};

struct file_table {
    /* immutable */
    struct env *env;
    char *directory; /* owned */
    unsigned max_open;
    unsigned bucket_mask;

    struct mutex lock;       /* guards all below */
    struct condition opened; /* some handle became ready or failed */
    struct file_handle **buckets;
    struct file_handle *oldest, *newest; /* idle, least recently used first */
    unsigned open;                       /* opening ones included */
    unsigned held;
};

adb_status file_table_new(struct env *env, const char *directory,
                          unsigned max_open, struct file_table **out)
{
    struct file_table *t = mem_zalloc(sizeof *t);
    unsigned buckets = 16;
    while (buckets < max_open && buckets < 1u << 16)
        buckets *= 2;
    if (t) {
        t->directory = mem_strdup(directory);
        t->buckets = mem_zalloc(buckets * sizeof(*t->buckets));
    }
    if (!t || !t->directory || !t->buckets) {
        if (t) {
            mem_free(t->directory);
            mem_free(t->buckets);
        }
        mem_free(t);
        return status_set(ADB_NO_MEMORY, "no memory for the table of files");
    }
    t->env = env;
    t->max_open = MAX_OF(max_open, 1u);
    t->bucket_mask = buckets - 1;
    mutex_init(&t->lock);
    condition_init(&t->opened);
    *out = t;
    return ADB_OK;
}

/* ---- the hash and the idle list; all under the lock ---- */

static struct file_handle **bucket_of(struct file_table *t, uint64_t number)
{
    uint64_t mixed = number * 0x9E3779B97F4A7C15u;
    return &t->buckets[(mixed >> 32) & t->bucket_mask];
}

static struct file_handle *find_locked(struct file_table *t, uint64_t number)
{
    struct file_handle *h = *bucket_of(t, number);
    while (h && h->number != number)
        h = h->next_in_bucket;
    return h;
}

static void unhash_locked(struct file_table *t, struct file_handle *h)
{
    struct file_handle **place = bucket_of(t, h->number);
    while (*place != h)
        place = &(*place)->next_in_bucket;
    *place = h->next_in_bucket;
}

static void idle_push_locked(struct file_table *t, struct file_handle *h)
{
    h->newer = NULL;
    h->older = t->newest;
    if (t->newest)
        t->newest->newer = h;
    else
        t->oldest = h;
    t->newest = h;
}

static void idle_unlink_locked(struct file_table *t, struct file_handle *h)
{
    if (h->older)
        h->older->newer = h->newer;
    else
        t->oldest = h->newer;
    if (h->newer)
        h->newer->older = h->older;
    else
        t->newest = h->older;
}

/* Takes the oldest idle handles away until at most `limit` are open; returns
   them as a list by next_in_bucket, to be closed without the lock. */
static struct file_handle *shrink_locked(struct file_table *t, unsigned limit)
{
    struct file_handle *list = NULL;
    while (t->open > limit && t->oldest) {
        struct file_handle *h = t->oldest;
        idle_unlink_locked(t, h);
        unhash_locked(t, h);
        t->open--;
        h->next_in_bucket = list;
        list = h;
    }
    return list;
}

/* A failure to close a file that was only read loses nothing. */
static void close_list(struct file_handle *list)
{
    while (list) {
        struct file_handle *next = list->next_in_bucket;
        adb_status ignored = env_file_close(list->file);
        (void)ignored;
        mem_free(list);
        list = next;
    }
}

void file_table_free(struct file_table *t)
{
    if (!t)
        return;
    struct file_handle *list = shrink_locked(t, 0);
    assert(t->open == 0);
    close_list(list);
    condition_deinit(&t->opened);
    mutex_deinit(&t->lock);
    mem_free(t->buckets);
    mem_free(t->directory);
    mem_free(t);
}

/* ---- opening ---- */

static adb_status open_path(struct file_table *t, uint64_t number,
                            struct env_file **file)
{
    char *path = sst_path(t->directory, number);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a table's path");
    adb_status status = env_open(t->env, path, ENV_READ | ENV_RANDOM, file);
    if (status != ADB_OK && status != ADB_NOT_FOUND) {
        /* Out of descriptors, perhaps: make room and try once more. */
        mutex_lock(&t->lock);
        struct file_handle *list = shrink_locked(t, 0);
        mutex_unlock(&t->lock);
        if (list) {
            close_list(list);
            status = env_open(t->env, path, ENV_READ | ENV_RANDOM, file);
        }
    }
    mem_free(path);
    /* "Not found" would pass for an absent key further up. */
    if (status == ADB_NOT_FOUND)
        status = status_context(ADB_CORRUPTION, "a table's file is missing");
    return status;
}

/* Opens the file of a fresh handle, without the lock, and tells those who
   wait. */
static adb_status open_handle(struct file_table *t, struct file_handle *h)
{
    struct env_file *file = NULL;
    adb_status status = open_path(t, h->number, &file);
    mutex_lock(&t->lock);
    h->file = file;
    h->ready = status == ADB_OK;
    h->failed = status != ADB_OK;
    bool last = false;
    if (h->failed) {
        if (!h->forgotten)
            unhash_locked(t, h);
        h->forgotten = true;
        t->open--;
        last = --h->users == 0;
    }
    condition_broadcast(&t->opened);
    mutex_unlock(&t->lock);
    if (last)
        mem_free(h);
    return status;
}

/* Joins a handle that another thread opened or is opening. False: that
   failed, try again. */
static bool join_locked(struct file_table *t, struct file_handle *h)
{
    if (h->users++ == 0)
        idle_unlink_locked(t, h);
    while (!h->ready && !h->failed)
        condition_wait(&t->opened, &t->lock);
    if (h->ready)
        return true;
    if (--h->users == 0)
        mem_free(h);
    return false;
}

adb_status file_table_acquire(struct file_table *t, uint64_t number,
                              struct file_handle **handle,
                              struct env_file **file)
{
    struct file_handle *h;
    mutex_lock(&t->lock);
    while ((h = find_locked(t, number)) != NULL) {
        if (!join_locked(t, h))
            continue;
        mutex_unlock(&t->lock);
        *handle = h;
        *file = h->file;
        return ADB_OK;
    }
    h = mem_zalloc(sizeof *h);
    if (!h) {
        mutex_unlock(&t->lock);
        return status_set(ADB_NO_MEMORY, "no memory for a file handle");
    }
    h->number = number;
    h->users = 1;
    h->next_in_bucket = *bucket_of(t, number);
    *bucket_of(t, number) = h;
    struct file_handle *list = shrink_locked(t, t->max_open - 1);
    t->open++;
    mutex_unlock(&t->lock);
    close_list(list);

    adb_status status = open_handle(t, h);
    if (status != ADB_OK)
        return status;
    *handle = h;
    *file = h->file;
    return ADB_OK;
}

void file_table_release(struct file_table *t, struct file_handle *h)
{
    struct file_handle *list = NULL;
    mutex_lock(&t->lock);
    assert(h->users > 0 && h->ready);
    if (--h->users == 0) {
        if (h->forgotten) {
            t->open--;
            h->next_in_bucket = NULL;
            list = h;
        } else {
            idle_push_locked(t, h);
            list = shrink_locked(t, t->max_open);
        }
    }
    mutex_unlock(&t->lock);
    close_list(list);
}

void file_table_forget(struct file_table *t, uint64_t number)
{
    struct file_handle *list = NULL;
    mutex_lock(&t->lock);
    struct file_handle *h = find_locked(t, number);
    if (h) {
        unhash_locked(t, h);
        h->forgotten = true;
        if (h->users == 0) {
            idle_unlink_locked(t, h);
            t->open--;
            h->next_in_bucket = NULL;
            list = h;
        }
    }
    mutex_unlock(&t->lock);
    close_list(list);
}

unsigned file_table_open_count(struct file_table *t)
{
    mutex_lock(&t->lock);
    unsigned open = t->open;
    mutex_unlock(&t->lock);
    return open;
}

bool file_table_begin_hold(struct file_table *t)
{
    mutex_lock(&t->lock);
    bool may = t->held < t->max_open / 2;
    t->held += may;
    mutex_unlock(&t->lock);
    return may;
}

void file_table_end_hold(struct file_table *t)
{
    mutex_lock(&t->lock);
    assert(t->held > 0);
    t->held--;
    mutex_unlock(&t->lock);
}
