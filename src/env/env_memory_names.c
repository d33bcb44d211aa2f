#include <assert.h>
#include <stdlib.h>

#include "env/env_memory_disk.h"

void *disk_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        abort();
    return p;
}

void *disk_grow(void *array, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity)
        return array;
    *capacity = MAX_OF(*capacity * 2, (size_t)4);
    array = realloc(array, *capacity * element);
    if (!array)
        abort();
    return array;
}

void disk_free(void *pointer)
{
    free(pointer);
}

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = disk_alloc(size);
    memcpy(copy, text, size);
    return copy;
}

/* ---- sorted names ---- */

/* The place of text, or where it belongs. */
static size_t names_place(const struct names *names, const char *text,
                          bool *found)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(names->list[middle].text, text);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

struct inode *names_find(const struct names *names, const char *text)
{
    bool found;
    size_t place = names_place(names, text, &found);
    return found ? names->list[place].inode : NULL;
}

struct inode *names_set(struct names *names, const char *text,
                        struct inode *inode)
{
    bool found;
    size_t place = names_place(names, text, &found);
    if (found) {
        struct inode *before = names->list[place].inode;
        names->list[place].inode = inode;
        return before;
    }
    names->list = disk_grow(names->list, names->count, &names->capacity,
                            sizeof *names->list);
    memmove(&names->list[place + 1], &names->list[place],
            (names->count - place) * sizeof *names->list);
    names->list[place] = (struct name){copy_text(text), inode};
    names->count++;
    return NULL;
}

void names_remove(struct names *names, const char *text)
{
    bool found;
    size_t place = names_place(names, text, &found);
    assert(found);
    disk_free(names->list[place].text);
    names->count--;
    memmove(&names->list[place], &names->list[place + 1],
            (names->count - place) * sizeof *names->list);
}

void names_copy(struct names *to, const struct names *from)
{
    *to = (struct names){.count = from->count, .capacity = from->count};
    if (from->count == 0)
        return;
    to->list = disk_alloc(from->count * sizeof *to->list);
    for (size_t i = 0; i < from->count; i++)
        to->list[i] = (struct name){copy_text(from->list[i].text),
                                    from->list[i].inode};
}

void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        disk_free(names->list[i].text);
    disk_free(names->list);
    *names = (struct names){0};
}

/* ---- inodes ---- */

struct inode *inode_new(struct memory_disk *d, enum env_kind kind)
{
    struct inode *inode = disk_alloc(sizeof *inode);
    inode->kind = kind;
    inode->previous = d->last;
    if (d->last)
        d->last->next = inode;
    else
        d->first = inode;
    d->last = inode;
    return inode;
}

void inode_destroy(struct memory_disk *d, struct inode *inode)
{
    if (inode->previous)
        inode->previous->next = inode->next;
    else
        d->first = inode->next;
    if (inode->next)
        inode->next->previous = inode->previous;
    else
        d->last = inode->previous;
    file_deinit(d, inode);
    names_deinit(&inode->live);
    names_deinit(&inode->durable);
    disk_free(inode);
}

static void inode_release(struct memory_disk *d, struct inode *inode)
{
    assert(inode->holds > 0);
    inode->holds--;
    inode_settle(d, inode);
}

void inode_settle(struct memory_disk *d, struct inode *inode)
{
    /* Space is free once no process can reach it, whatever a power cut might
       bring back. */
    if (inode->links == 0 && inode->handles == 0) {
        d->used -= inode->blocks;
        inode->blocks = 0;
    }
    if (inode->links || inode->holds || inode->handles)
        return;
    struct names durable = inode->durable;
    inode->durable = (struct names){0};
    inode_destroy(d, inode);
    for (size_t i = 0; i < durable.count; i++)
        inode_release(d, durable.list[i].inode);
    names_deinit(&durable);
}

/* ---- pending operations ---- */

void operation_add(struct memory_disk *d, enum name_operation_kind kind,
                   struct inode *inode, struct inode *directory,
                   const char *name, struct inode *to_directory,
                   const char *to_name)
{
    d->operations = disk_grow(d->operations, d->operation_count,
                              &d->operation_capacity, sizeof *d->operations);
    d->operations[d->operation_count++] = (struct name_operation){
        .kind = kind,
        .at = ++d->now,
        .inode = inode,
        .directory = directory,
        .name = copy_text(name),
        .to_directory = to_directory,
        .to_name = to_name ? copy_text(to_name) : NULL,
    };
    inode->holds++;
    directory->holds++;
    directory->uses++;
    if (to_directory) {
        to_directory->holds++;
        to_directory->uses++;
    }
}

static void link_name(struct memory_disk *d, struct names *names,
                      const char *name, struct inode *inode, bool counted)
{
    if (counted)
        inode->holds++;
    struct inode *before = names_set(names, name, inode);
    if (before && counted)
        inode_release(d, before);
}

static void unlink_name(struct memory_disk *d, struct names *names,
                        const char *name, struct inode *inode, bool counted)
{
    /* It means something else where the operation that made it was lost. */
    if (names_find(names, name) != inode)
        return;
    names_remove(names, name);
    if (counted)
        inode_release(d, inode);
}

void operation_apply(struct memory_disk *d, const struct name_operation *o,
                     struct names *names, struct names *to_names, bool counted)
{
    switch (o->kind) {
    case NAME_LINK:
        link_name(d, names, o->name, o->inode, counted);
        break;
    case NAME_UNLINK:
        unlink_name(d, names, o->name, o->inode, counted);
        break;
    case NAME_RENAME:
        unlink_name(d, names, o->name, o->inode, counted);
        link_name(d, to_names, o->to_name, o->inode, counted);
        break;
    }
}

static bool names_place_of(const struct name_operation *o,
                           const struct inode *directory, const char *name)
{
    return (o->directory == directory && strcmp(o->name, name) == 0) ||
           (o->to_directory == directory && strcmp(o->to_name, name) == 0);
}

bool operation_touches(const struct name_operation *o,
                       const struct name_operation *earlier)
{
    return names_place_of(o, earlier->directory, earlier->name) ||
           (earlier->to_directory &&
            names_place_of(o, earlier->to_directory, earlier->to_name));
}

static void operation_free(struct memory_disk *d, struct name_operation *o)
{
    disk_free(o->name);
    disk_free(o->to_name);
    inode_release(d, o->inode);
    if (o->to_directory) {
        o->to_directory->uses--;
        inode_release(d, o->to_directory);
    }
    o->directory->uses--;
    inode_release(d, o->directory);
}

/* Makes the operations with commit[i] durable and takes them off the list;
   false: there are none. */
static bool commit_operations(struct memory_disk *d, const bool *commit)
{
    size_t kept = 0, count = d->operation_count;
    for (size_t i = 0; i < count; i++) {
        struct name_operation o = d->operations[i];
        if (!commit[i]) {
            d->operations[kept++] = o;
            continue;
        }
        operation_apply(d, &o, &o.directory->durable,
                        o.to_directory ? &o.to_directory->durable : NULL,
                        true);
        operation_free(d, &o);
    }
    d->operation_count = kept;
    return kept < count;
}

static void commit_first(struct memory_disk *d, size_t count)
{
    bool *commit = disk_alloc(d->operation_count);
    memset(commit, true, count);
    commit_operations(d, commit);
    disk_free(commit);
}

/* A directory that is durably gone: its names concern nobody any more. */
static bool is_gone(const struct inode *directory)
{
    return directory->links == 0 && directory->handles == 0 &&
           directory->holds == directory->uses;
}

/* What happened before to a name of a committed operation goes with it: applied
   later it would undo the newer one. */
static void commit_earlier(const struct memory_disk *d, bool *commit)
{
    for (size_t i = d->operation_count; i-- > 0;)
        for (size_t j = i + 1; j < d->operation_count && !commit[i]; j++)
            commit[i] = commit[j] && operation_touches(&d->operations[j],
                                                       &d->operations[i]);
}

/* Strict: what concerns this directory; a rename across two of them when both
   were synced. */
static void commit_directory(struct memory_disk *d, struct inode *directory)
{
    bool *commit = disk_alloc(d->operation_count), committed;
    do {
        for (size_t i = 0; i < d->operation_count; i++) {
            struct name_operation *o = &d->operations[i];
            struct inode *to = o->to_directory;
            o->synced |= o->directory == directory || is_gone(o->directory);
            o->to_synced |= !to || to == directory || is_gone(to);
            commit[i] = o->synced && o->to_synced;
        }
        commit_earlier(d, commit);
        committed = commit_operations(d, commit);
        /* That may have been the end of another directory. */
    } while (committed);
    disk_free(commit);
}

void names_sync_directory(struct memory_disk *d, struct inode *directory)
{
    if (d->model == ENV_MEMORY_STRICT) {
        commit_directory(d, directory);
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < d->operation_count; i++)
        if (d->operations[i].directory == directory ||
            d->operations[i].to_directory == directory)
            count = i + 1;
    commit_first(d, count);
}

void names_sync_file(struct memory_disk *d, struct inode *inode)
{
    size_t count = 0;
    for (size_t i = 0; i < d->operation_count; i++)
        if (d->operations[i].inode == inode)
            count = i + 1;
    commit_first(d, count);
}

void operations_deinit(struct memory_disk *d)
{
    for (size_t i = 0; i < d->operation_count; i++) {
        disk_free(d->operations[i].name);
        disk_free(d->operations[i].to_name);
    }
    disk_free(d->operations);
}
