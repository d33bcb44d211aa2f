/*
 * The version set and the directory: is a database there, are its tables
 * whole, which files are leftovers?
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sst/sst_writer.h"
#include "version/names.h"
#include "version/version_set_internal.h"
#include "wal/wal_reader.h"

/* A manifest larger than this is none that an interrupted creation left. */
enum { CREATION_MAX_BYTES = 4096 };

static adb_status no_memory(const char *directory)
{
    return status_set(ADB_NO_MEMORY, "no memory for the names in '%s'",
                      directory);
}

/* ---- probing ------------------------------------------------------------- */

struct census {
    bool current, repair;
    bool foreign;
    size_t ours;               /* tables, logs, manifests */
    char first[NAME_MAX_TEXT]; /* one of them, for messages */
    bool writes;               /* tables or logs among them */
    uint64_t *manifests;       /* owned */
    size_t manifest_count;
};

static adb_status add_manifest(struct census *c, uint64_t number)
{
    uint64_t *grown =
        mem_realloc(c->manifests, (c->manifest_count + 1) * sizeof *grown);
    if (!grown)
        return no_memory("the directory");
    c->manifests = grown;
    grown[c->manifest_count++] = number;
    return ADB_OK;
}

static adb_status count_name(void *context, const char *name)
{
    struct census *c = context;
    uint64_t number = 0;
    adb_status status = ADB_OK;
    enum name_kind kind = name_parse(name, &number);
    switch (kind) {
    case NAME_CURRENT:
        c->current = true;
        return ADB_OK;
    case NAME_REPAIR:
        c->repair = true;
        return ADB_OK;
    case NAME_LOCK:
    case NAME_TEMPORARY:
        return ADB_OK;
    case NAME_FOREIGN:
        /* What mkfs puts into a fresh file system's root is nobody's data. */
        if (strcmp(name, "lost+found") != 0)
            c->foreign = true;
        return ADB_OK;
    case NAME_MANIFEST:
        status = add_manifest(c, number);
        break;
    case NAME_TABLE:
    case NAME_LOG:
        c->writes = true;
        break;
    }
    if (c->ours++ == 0) {
        size_t size = MIN_OF(strlen(name), sizeof c->first - 1);
        memcpy(c->first, name, size);
    }
    return status;
}

/* Does a record speak of anybody's data? */
static bool names_something(const struct record *r)
{
    if (r->kind == RECORD_MANIFEST_HEADER)
        return false;
    if (r->kind != RECORD_EDIT || r->has_watermark || r->count != 1)
        return true;
    adb_slice bytes;
    const uint8_t *p = r->payload.data;
    struct version_edit e = {0};
    if (!get_slice(p, p + r->payload.size, &bytes))
        return true;
    bool something = version_edit_decode(bytes, &e) != ADB_OK ||
                     version_edit_changes_tables(&e) ||
                     e.segments_created_count || e.segment_ends_count ||
                     e.last_seq || e.synced_through.segment;
    version_edit_deinit(&e);
    return something;
}

/* Is this manifest what version_set_create leaves when it is interrupted
   before CURRENT: the snapshot of nothing, whole or torn? */
static adb_status is_creation(struct env *env, const char *directory,
                              uint64_t number, bool *yes)
{
    uint8_t *data;
    size_t size;
    char *path = manifest_path(directory, number);
    if (!path)
        return no_memory(directory);
    *yes = false;
    adb_status status =
        env_read_file(env, path, CREATION_MAX_BYTES, &data, &size);
    mem_free(path);
    if (status == ADB_TOO_LARGE)
        return ADB_OK;
    if (status != ADB_OK)
        return status;
    *yes = true;
    struct record r;
    for (size_t at = 0; at < size; at += RECORD_ALIGNMENT)
        if (record_decode(data + at, size - at, number, at, &r) ==
                RECORD_VALID &&
            names_something(&r))
            *yes = false;
    mem_free(data);
    return ADB_OK;
}

static adb_status judge(struct env *env, const char *directory,
                        const struct census *c)
{
    if (c->repair)
        return status_set(ADB_CORRUPTION,
                          "'%s': a repair was interrupted; run 'albertdb "
                          "repair' again",
                          directory);
    if (c->current)
        return ADB_OK;
    bool creation = !c->writes;
    for (size_t i = 0; i < c->manifest_count && creation; i++) {
        adb_status status =
            is_creation(env, directory, c->manifests[i], &creation);
        if (status != ADB_OK)
            return status;
    }
    if (c->ours && !creation)
        return status_set(ADB_CORRUPTION,
                          "'%s/CURRENT' is missing although '%s' is there; "
                          "restore the directory from a backup or run "
                          "'albertdb repair'",
                          directory, c->first);
    if (c->foreign && !c->ours)
        return status_set(ADB_NOT_A_DATABASE,
                          "'%s' holds files but no database; choose an empty "
                          "or a new directory",
                          directory);
    return ADB_NOT_FOUND;
}

adb_status version_set_probe(struct env *env, const char *directory)
{
    struct env_stat st;
    struct census c = {0};
    adb_status status = env_stat(env, directory, &st);
    if (status != ADB_OK)
        return status;
    if (st.kind == ENV_KIND_NONE)
        return ADB_NOT_FOUND;
    if (st.kind != ENV_KIND_DIRECTORY)
        return status_set(ADB_NOT_A_DATABASE, "'%s' is not a directory",
                          directory);
    status = env_list_dir(env, directory, count_name, &c);
    if (status == ADB_OK)
        status = judge(env, directory, &c);
    mem_free(c.manifests);
    return status;
}

/* ---- tables -------------------------------------------------------------- */

static adb_status check_table(struct version_set *s,
                              const struct table_info *info)
{
    struct env_stat st;
    char *path = sst_path(s->options.directory, info->number);
    if (!path)
        return no_memory(s->options.directory);
    adb_status status = env_stat(s->options.env, path, &st);
    if (status == ADB_OK && st.kind != ENV_KIND_FILE)
        status = status_set(ADB_CORRUPTION,
                            "'%s' is missing, the manifest names it; restore "
                            "the file from a backup or run 'albertdb repair'",
                            path);
    else if (status == ADB_OK && st.size != info->size)
        status = status_set(ADB_CORRUPTION,
                            "'%s' has %" PRIu64 " bytes, the manifest says "
                            "%" PRIu64 "; restore the file from a backup or "
                            "run 'albertdb repair'",
                            path, st.size, info->size);
    mem_free(path);
    return status;
}

adb_status version_set_check_tables(struct version_set *s)
{
    adb_status status = ADB_OK;
    const struct version *v = s->current;
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count && status == ADB_OK; j++)
            status = check_table(s, &v->runs[i].tables[j]->info);
    return status;
}

struct segment_check {
    struct version_set *set;
    const char *manifest; /* path */
    struct wal_reader reader;
};

static adb_status check_segment(void *context, const char *name)
{
    struct segment_check *c = context;
    struct version_set *s = c->set;
    uint64_t number = 0;
    bool exists, valid = false;
    struct record header;
    if (name_parse(name, &number) != NAME_LOG || !s->logs.segments_below ||
        number < s->logs.segments_below)
        return ADB_OK;
    adb_status status =
        wal_reader_open(&c->reader, s->options.env, s->options.directory,
                        number, &exists);
    if (status == ADB_OK && exists)
        status = wal_reader_record(&c->reader, 0, &valid, &header);
    if (status == ADB_OK && valid)
        return status_set(ADB_CORRUPTION,
                          "the end of '%s' is missing: the log segment "
                          "'%s/%s' was made after it; restore the directory "
                          "from a backup or run 'albertdb repair'",
                          c->manifest, s->options.directory, name);
    return status;
}

adb_status version_set_check_segments(struct version_set *s,
                                      const char *manifest)
{
    struct segment_check c = {.set = s, .manifest = manifest};
    adb_status status = env_list_dir(s->options.env, s->options.directory,
                                     check_segment, &c);
    wal_reader_deinit(&c.reader);
    return status;
}

static adb_status skip_number(void *context, const char *name)
{
    struct version_set *s = context;
    uint64_t number = 0, next = atomic_load(&s->next_file);
    enum name_kind kind = name_parse(name, &number);
    /* Nobody else takes numbers yet. */
    if ((kind == NAME_TABLE || kind == NAME_MANIFEST || kind == NAME_LOG) &&
        number >= next)
        atomic_store(&s->next_file, number + 1);
    return ADB_OK;
}

adb_status version_set_skip_used_numbers(struct version_set *s)
{
    return env_list_dir(s->options.env, s->options.directory, skip_number, s);
}

/* ---- the sweep ----------------------------------------------------------- */

struct sweep {
    struct version_set *set;
    uint64_t *tables; /* owned; current ones, ascending */
    size_t table_count;
    struct buffer names; /* of leftovers, zero terminated one after another */
};

static int number_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static adb_status list_tables(struct sweep *w)
{
    const struct version *v = w->set->current;
    w->tables = mem_alloc((v->table_count + 1) * sizeof *w->tables);
    if (!w->tables)
        return no_memory(w->set->options.directory);
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count; j++)
            w->tables[w->table_count++] = v->runs[i].tables[j]->info.number;
    qsort(w->tables, w->table_count, sizeof *w->tables, number_compare);
    return ADB_OK;
}

static bool live_segment(const struct version_set *s, uint64_t number)
{
    if (s->first_new_segment && number >= s->first_new_segment)
        return true;
    for (size_t i = 0; i < s->logs.count; i++)
        if (s->logs.segments[i] == number)
            return true;
    return false;
}

static bool is_leftover(const struct sweep *w, enum name_kind kind,
                        uint64_t number)
{
    const struct version_set *s = w->set;
    switch (kind) {
    case NAME_TABLE:
        return number < s->sweep_below && !s->tables_dropped &&
               !bsearch(&number, w->tables, w->table_count, sizeof *w->tables,
                        number_compare);
    case NAME_MANIFEST:
        /* While it is open which manifest holds, all stay. */
        return number != s->manifest.number && !s->manifest.poisoned;
    case NAME_LOG:
        return !live_segment(s, number);
    case NAME_TEMPORARY:
        return true;
    case NAME_FOREIGN:
    case NAME_CURRENT:
    case NAME_LOCK:
    case NAME_REPAIR:
        return false;
    }
    return false;
}

static adb_status sweep_name(void *context, const char *name)
{
    struct sweep *w = context;
    uint64_t number = 0;
    enum name_kind kind = name_parse(name, &number);
    if (!is_leftover(w, kind, number))
        return ADB_OK;
    return buffer_append(&w->names, name, strlen(name) + 1);
}

adb_status version_set_sweep(struct version_set *s,
                             adb_status (*remove)(void *context,
                                                  const char *name),
                             void *context)
{
    struct sweep w = {.set = s};
    mutex_lock(&s->apply_lock);
    adb_status status = list_tables(&w);
    if (status == ADB_OK)
        status =
            env_list_dir(s->options.env, s->options.directory, sweep_name, &w);
    mutex_unlock(&s->apply_lock);
    for (size_t at = 0; at < w.names.size && status == ADB_OK;) {
        const char *name = (const char *)w.names.data + at;
        at += strlen(name) + 1;
        status = remove(context, name);
    }
    buffer_deinit(&w.names);
    mem_free(w.tables);
    return status;
}

/* ---- verification -------------------------------------------------------- */

adb_status version_set_verify_manifest(struct version_set *s,
                                       uint64_t *number, uint64_t *offset)
{
    mutex_lock(&s->apply_lock);
    *number = s->manifest.number;
    char *path = manifest_path(s->options.directory, *number);
    adb_status status =
        path ? manifest_verify(s->options.env, path, *number, offset)
             : no_memory(s->options.directory);
    mutex_unlock(&s->apply_lock);
    mem_free(path);
    return status;
}
