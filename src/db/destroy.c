/*
 * Removing a database: only files whose names are ours, CURRENT last, so that
 * an interrupted removal is seen as damage and never as a smaller database.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "version/names.h"

struct removal {
    struct env *env;
    const char *path;
    char **names; /* owned */
    size_t count, capacity;
};

static adb_status note_name(void *context, const char *name)
{
    struct removal *r = context;
    uint64_t number;
    enum name_kind kind = name_parse(name, &number);
    if (kind == NAME_FOREIGN || kind == NAME_CURRENT || kind == NAME_LOCK)
        return ADB_OK;
    if (r->count == r->capacity) {
        size_t capacity = MAX_OF(2 * r->capacity, (size_t)32);
        char **more = mem_realloc(r->names, capacity * sizeof *more);
        if (!more)
            return status_set(ADB_NO_MEMORY, "no memory for file names");
        r->names = more;
        r->capacity = capacity;
    }
    r->names[r->count] = mem_strdup(name);
    if (!r->names[r->count])
        return status_set(ADB_NO_MEMORY, "no memory for file names");
    r->count++;
    return ADB_OK;
}

static adb_status remove_name(struct removal *r, const char *name)
{
    char *path = env_join(r->path, name);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a file name");
    adb_status status = env_unlink(r->env, path);
    mem_free(path);
    return status == ADB_NOT_FOUND ? ADB_OK : status;
}

static adb_status remove_all(struct removal *r)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->count && status == ADB_OK; i++)
        status = remove_name(r, r->names[i]);
    if (status == ADB_OK)
        status = remove_name(r, NAME_CURRENT_TEXT);
    if (status == ADB_OK)
        status = remove_name(r, "LOCK");
    return status;
}

adb_status db_destroy(struct env *env, const char *path)
{
    struct removal r = {.env = env, .path = path};
    void *lock = NULL;
    adb_status status = version_set_probe(env, path);
    /* Damaged or half removed databases may be removed too. */
    if (status != ADB_OK && status != ADB_CORRUPTION)
        return status == ADB_NOT_FOUND
                   ? status_set(ADB_NOT_A_DATABASE, "'%s' holds no database",
                                path)
                   : status;
    char *lock_path = env_join(path, "LOCK");
    if (!lock_path)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    status = env_lock(env, lock_path, &lock);
    mem_free(lock_path);
    if (status == ADB_OK)
        status = env_list_dir(env, path, note_name, &r);
    if (status == ADB_OK)
        status = remove_all(&r);
    if (lock)
        env_unlock(env, lock);
    /* Foreign files keep the directory; that is no failure. */
    if (status == ADB_OK && env_remove_dir(env, path) != ADB_OK)
        status_clear();
    for (size_t i = 0; i < r.count; i++)
        mem_free(r.names[i]);
    mem_free(r.names);
    return status;
}
