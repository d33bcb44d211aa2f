/*
 * Iterators of users: a registered sequence, a counted view, and a merge of
 * all its sources with bounds.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "iter/merge.h"

/* The first key after all keys that start with prefix; false: there is none
   (all bytes 0xff). */
static bool prefix_end(adb_slice prefix, struct buffer *out,
                       adb_status *status)
{
    const uint8_t *p = prefix.data;
    size_t size = prefix.size;
    while (size > 0 && p[size - 1] == 0xff)
        size--;
    if (size == 0)
        return false;
    *status = buffer_append(out, p, size);
    if (*status == ADB_OK)
        out->data[size - 1]++;
    return *status == ADB_OK;
}

static adb_status own(adb_slice s, adb_slice *out)
{
    uint8_t *copy = mem_alloc(s.size);
    if (!copy)
        return status_set(ADB_NO_MEMORY, "no memory for an iterator");
    if (s.size)
        memcpy(copy, s.data, s.size);
    *out = slice_of(copy, s.size);
    return ADB_OK;
}

/* Bounds and prefix come to one interval. */
static adb_status resolve_bounds(struct adb_iter *it,
                                 const adb_iter_options *o)
{
    adb_slice lower = o->lower, upper = o->upper;
    struct buffer end = {0};
    adb_status status = ADB_OK;
    if (o->prefix.data) {
        if (!lower.data || slice_compare(lower, o->prefix) < 0)
            lower = o->prefix;
        if (prefix_end(o->prefix, &end, &status)) {
            adb_slice until = buffer_slice(&end);
            if (!upper.data || slice_compare(until, upper) < 0)
                upper = until;
        }
    }
    if (status == ADB_OK && lower.data) {
        status = own(lower, &it->lower);
        it->has_lower = status == ADB_OK;
    }
    if (status == ADB_OK && upper.data) {
        status = own(upper, &it->upper);
        it->has_upper = status == ADB_OK;
    }
    buffer_deinit(&end);
    return status;
}

static bool run_in_bounds(const struct adb_iter *it,
                          const struct version_run *run)
{
    if (it->has_lower && version_run_lower(run, it->lower) == run->count)
        return false;
    return !it->has_upper ||
           slice_compare(run->tables[0]->info.smallest, it->upper) < 0;
}

static adb_status gather(struct adb_iter *it, bool no_fill,
                         struct kv_iter **sources, size_t *count)
{
    struct db_view *v = it->view;
    uint64_t seq = it->registered->seq;
    size_t n = 0;
    for (size_t i = 0; i <= v->frozen_count; i++) {
        struct memtable *m = i == 0 ? v->writable : v->frozen[i - 1];
        if (memtable_empty(m))
            continue;
        sources[n] = memtable_iter_new(m, seq, false);
        if (!sources[n++])
            goto no_memory;
    }
    for (size_t i = 0; i < v->version->run_count; i++) {
        if (!run_in_bounds(it, &v->version->runs[i]))
            continue;
        sources[n] =
            version_run_iter(v->version, i, no_fill ? SST_NO_FILL : 0);
        if (!sources[n++])
            goto no_memory;
    }
    *count = n;
    return ADB_OK;
no_memory:
    while (n-- > 0)
        kv_iter_close(sources[n]);
    return status_set(ADB_NO_MEMORY, "no memory for an iterator");
}

static adb_status build(struct adb_iter *it, bool no_fill)
{
    struct db_view *v = it->view;
    size_t count = 0, most = 1 + v->frozen_count + v->version->run_count;
    struct kv_iter **sources = mem_alloc(most * sizeof *sources);
    if (!sources)
        return status_set(ADB_NO_MEMORY, "no memory for an iterator");
    adb_status status = gather(it, no_fill, sources, &count);
    if (status == ADB_OK) {
        struct kv_iter *merged = merge_iter_new(sources, count);
        struct user_iter_options o = {
            .read_seq = it->registered->seq,
            .lower = it->lower,
            .upper = it->upper,
        };
        it->user = merged ? user_iter_new(merged, &o) : NULL;
        if (!it->user)
            status = status_set(ADB_NO_MEMORY, "no memory for an iterator");
    }
    mem_free(sources);
    return status;
}

static void free_parts(struct adb_iter *it)
{
    kv_iter_close(it->user);
    db_view_unref(it->view);
    db_unregister(it->db, it->registered);
    mem_free((void *)(uintptr_t)it->lower.data);
    mem_free((void *)(uintptr_t)it->upper.data);
    mem_free(it);
}

adb_status db_iter_new(adb *db, const adb_iter_options *options,
                       adb_iter **out)
{
    struct adb_iter *it = mem_zalloc(sizeof *it);
    if (!it)
        return status_set(ADB_NO_MEMORY, "no memory for an iterator");
    it->db = db;
    adb_status status = db_register(db, options->snapshot, &it->registered);
    if (status == ADB_OK) {
        /* After registering: whatever the view's tables left out, this
           sequence did not need. */
        it->view = db_view_ref(db);
        status = resolve_bounds(it, options);
    }
    if (status == ADB_OK)
        status = build(it, options->no_fill_cache);
    if (status != ADB_OK) {
        free_parts(it);
        return status;
    }
    atomic_fetch_add(&db->live_iterators, 1);
    db_count(&db->counters.iterators, 1);
    *out = it;
    return ADB_OK;
}

void db_iter_free(adb_iter *it)
{
    adb *db = it->db;
    free_parts(it);
    atomic_fetch_sub(&db->live_iterators, 1);
}
