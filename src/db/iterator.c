/*
 * Iterators of users: a registered sequence, a counted view, and a merge of
 * all its sources with bounds.
 *
 * Making the merge costs more than a short scan with it, so an iterator that is
 * given back may rest: it keeps view and merge, pins no block, holds no
 * sequence, and serves the next one that is asked for, as long as its view is
 * the present one. The view's replacement ends all rest.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "iter/merge.h"

/* The first key after all keys that start with prefix; false: there is none
   (all bytes 0xff). */
static bool prefix_end(adb_slice prefix, struct buffer *out, adb_status *status)
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
static adb_status resolve_bounds(struct adb_iter *it, const adb_iter_options *o)
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

static adb_status gather(struct adb_iter *it, size_t *count)
{
    struct db_view *v = it->view;
    uint64_t seq = it->registered->seq;
    struct kv_iter **sources = it->sources;
    size_t n = 0;
    for (size_t i = 0; i <= v->frozen_count; i++) {
        struct memtable *m = i == 0 ? v->writable : v->frozen[i - 1];
        if (memtable_empty(m))
            continue;
        it->has_writable |= i == 0;
        sources[n] = memtable_iter_new(m, seq, false);
        if (!sources[n++])
            goto no_memory;
    }
    it->memtable_count = n;
    it->whole = true;
    for (size_t i = 0; i < v->version->run_count; i++) {
        if (!run_in_bounds(it, &v->version->runs[i])) {
            it->whole = false;
            continue;
        }
        sources[n] = version_run_iter(v->version, i,
                                      SST_STAND_AT_DAMAGE |
                                          (it->no_fill ? SST_NO_FILL : 0));
        if (!sources[n++])
            goto no_memory;
    }
    size_t runs = n - it->memtable_count;
    it->extra_runs = runs ? (unsigned)runs - 1 : 0;
    *count = n;
    return ADB_OK;
no_memory:
    while (n-- > 0)
        kv_iter_close(sources[n]);
    return status_set(ADB_NO_MEMORY, "no memory for an iterator");
}

/* From the bounds, or else from the keys of all tables; a memtable's may lie
   outside, which makes their heads say less, never wrong. */
static void choose_origin(struct adb_iter *it)
{
    const struct version *v = it->view->version;
    adb_slice first = it->lower, last = it->upper;
    for (size_t i = 0; i < v->run_count; i++) {
        const struct version_run *run = &v->runs[i];
        adb_slice smallest = run->tables[0]->info.smallest,
                  largest = run->tables[run->count - 1]->info.largest;
        if (!it->has_lower &&
            (i == 0 || slice_compare(smallest, first) < 0))
            first = smallest;
        if (!it->has_upper && (i == 0 || slice_compare(largest, last) > 0))
            last = largest;
    }
    key_origin_of(&it->origin, first, last);
    it->bounded_origin = it->has_lower || it->has_upper;
}

static struct user_iter_options seen_by(const struct adb_iter *it)
{
    return (struct user_iter_options){.read_seq = it->registered->seq,
                                      .lower = it->lower,
                                      .upper = it->upper,
                                      .origin = &it->origin};
}

static adb_status build(struct adb_iter *it)
{
    struct db_view *v = it->view;
    size_t count = 0, most = 1 + v->frozen_count + v->version->run_count;
    it->sources = mem_alloc(most * sizeof(struct kv_iter *));
    if (!it->sources)
        return status_set(ADB_NO_MEMORY, "no memory for an iterator");
    adb_status status = gather(it, &count);
    if (status != ADB_OK)
        return status;
    choose_origin(it);
    struct user_iter_options o = seen_by(it);
    struct kv_iter *merged = merge_iter_new(it->sources, count);
    it->user = merged ? user_iter_new(merged, &o) : NULL;
    return it->user ? ADB_OK
                    : status_set(ADB_NO_MEMORY, "no memory for an iterator");
}

/* ---- rest -------------------------------------------------------------- */

/* Every run makes seeks and steps dearer: keeper.c decides when reads have
   paid for fewer. */
static void tell_cost(struct adb_iter *it)
{
    uint64_t each =
        it->seeks * DB_SEEK_RUN_NS + it->steps * DB_STEP_RUN_NS;
    if (it->extra_runs && each)
        db_count(&db_my_shard(it->db)->iterator_extra_ns,
                 it->extra_runs * each);
    it->seeks = it->steps = 0;
}

/* What made it this iterator rather than another one of its view. */
static void forget_user(struct adb_iter *it)
{
    tell_cost(it);
    db_unregister(it->db, it->registered);
    it->registered = NULL;
    mem_free((void *)(uintptr_t)it->lower.data);
    mem_free((void *)(uintptr_t)it->upper.data);
    it->lower = it->upper = slice_of(NULL, 0);
    it->has_lower = it->has_upper = it->failed = false;
}

static void forget_view(struct adb_iter *it)
{
    kv_iter_close(it->user);
    mem_free(it->sources);
    db_view_unref(it->view);
    it->user = NULL;
    it->sources = NULL;
    it->view = NULL;
    it->memtable_count = 0;
    it->whole = it->has_writable = false;
}

/* Needs no lock of the database's. */
static void free_rested(struct adb_iter *it)
{
    forget_view(it);
    mem_free(it);
}

void db_iter_drop_resting(adb *db)
{
    for (size_t i = 0; i < DB_SHARDS; i++) {
        /* Sequentially consistent, as in let_rest. */
        struct adb_iter *it = atomic_exchange(&db->shards[i].resting, NULL);
        if (it)
            free_rested(it);
    }
}

/* The i-th place where this thread looks for an iterator at rest. Its own comes
   first: what another one used last lies in that one's caches. */
static _Atomic(adb_iter *) *resting_place(adb *db, unsigned i)
{
    return &db->shards[(thread_ordinal() + i) % DB_SHARDS].resting;
}

static struct adb_iter *wake_one(adb *db)
{
    for (unsigned i = 0; i < DB_RESTING; i++) {
        _Atomic(adb_iter *) *place = resting_place(db, i);
        if (!atomic_load_explicit(place, memory_order_relaxed))
            continue;
        struct adb_iter *it = atomic_exchange(place, NULL);
        if (it)
            return it;
    }
    return NULL;
}

static bool let_rest(adb *db, struct adb_iter *it)
{
    kv_iter_rest(it->user);
    struct db_view *view = it->view;
    for (unsigned i = 0; i < DB_RESTING; i++) {
        _Atomic(adb_iter *) *place = resting_place(db, i);
        struct adb_iter *nobody = NULL;
        if (!atomic_compare_exchange_strong(place, &nobody, it))
            continue;
        /* Who replaces the view stores it first and then looks here; we, the
           other way round: one of us sees the other. */
        if (atomic_load(&db->view) != view &&
            (it = atomic_exchange(place, NULL)))
            free_rested(it);
        return true;
    }
    return false;
}

/* ---- life -------------------------------------------------------------- */

/* May it serve again? Asked after registering: as its view is the present one
   now, it was when the sequence was published, and lacks nothing. */
static bool still_fits(adb *db, const struct adb_iter *it, bool no_fill)
{
    const struct db_view *v = it->view;
    return v == atomic_load(&db->view) && it->no_fill == no_fill &&
           (it->has_writable || memtable_empty(v->writable));
}

static void reuse(struct adb_iter *it)
{
    if (it->bounded_origin || it->has_lower || it->has_upper)
        choose_origin(it);
    struct user_iter_options o = seen_by(it);
    for (size_t i = 0; i < it->memtable_count; i++)
        memtable_iter_reset(it->sources[i], o.read_seq);
    user_iter_reset(it->user, &o);
}

static adb_status start(struct adb_iter *it, const adb_iter_options *options)
{
    adb *db = it->db;
    it->registered = db_register(db, options->snapshot, &it->own);
    adb_status status = resolve_bounds(it, options);
    if (status != ADB_OK)
        return status;
    if (it->view && still_fits(db, it, options->no_fill_cache)) {
        reuse(it);
        return ADB_OK;
    }
    forget_view(it);
    /* After registering: whatever the view's tables left out, this sequence
       did not need. */
    it->view = db_view_ref(db);
    it->no_fill = options->no_fill_cache;
    return build(it);
}

adb_status db_iter_new(adb *db, const adb_iter_options *options, adb_iter **out)
{
    struct adb_iter *it = wake_one(db);
    if (!it && !(it = mem_zalloc(sizeof *it)))
        return status_set(ADB_NO_MEMORY, "no memory for an iterator");
    it->db = db;
    it->fork_generation = db->fork_generation;
    adb_status status = start(it, options);
    if (status != ADB_OK) {
        forget_user(it);
        free_rested(it);
        return status;
    }
    struct db_shard *mine = db_my_shard(db);
    atomic_fetch_add(&mine->live_iterators, 1);
    db_count(&mine->iterators, 1);
    *out = it;
    return ADB_OK;
}

void db_iter_free(adb_iter *it)
{
    adb *db = it->db;
    forget_user(it);
    if (!it->whole || !let_rest(db, it))
        free_rested(it);
    atomic_fetch_sub(&db_my_shard(db)->live_iterators, 1);
}
