/*
 * The life of segment files:
 *
 *   (spare or nothing) --make--> prepared --take--> current --> sealed
 *         ^                                                       |
 *         +--------------- released, kept as spare <--------------+--> removed
 *
 * Making means blocks, map, durable name, and the owner's word that the
 * manifest knows the number; only then may a record go in.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "wal/wal_internal.h"

/* ---- making ---- */

static uint64_t round_to_block(uint64_t size)
{
    return (size + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}

/* Small at first, doubling each time a segment was filled. */
static uint64_t next_class_locked(const struct wal *w)
{
    if (!w->segment_size)
        return w->options.min_segment;
    if (!w->current)
        return w->segment_size;
    return MIN_OF(w->segment_size * 2, w->options.max_segment);
}

static struct wal_spare pop_spare_locked(struct wal *w)
{
    struct wal_spare found = {NULL, 0, false};
    for (size_t i = 0; i < WAL_SPARES_MAX; i++) {
        if (!w->spares[i].path)
            continue;
        found = w->spares[i];
        w->spares[i] = (struct wal_spare){NULL, 0, false};
        break;
    }
    return found;
}

/* A spare that somebody linked to since must not be written. */
static adb_status check_unlinked(struct wal *w, struct wal_spare *spare)
{
    struct env_stat stat;
    adb_status status = env_stat(w->options.env, spare->path, &stat);
    if (status != ADB_OK)
        return status;
    if (stat.kind == ENV_KIND_FILE && stat.links == 1)
        return ADB_OK;
    status = stat.kind == ENV_KIND_NONE
                 ? ADB_OK
                 : env_unlink(w->options.env, spare->path);
    mem_free(spare->path);
    spare->path = NULL;
    return status;
}

static adb_status announce(struct wal *w, struct wal_segment *s)
{
    adb_status status = env_sync_dir(w->options.env, w->directory);
    if (status != ADB_OK || !w->options.segment_created)
        return status;
    mutex_lock(&w->lock);
    struct watermark known = w->synced_through;
    mutex_unlock(&w->lock);
    return w->options.segment_created(w->options.context, s->number, &known);
}

void wal_discard_segment(struct wal *w, struct wal_segment *s, bool announced)
{
    struct status_saved saved;
    status_save(&saved, ADB_IO);
    char *path = s->path;
    s->path = NULL;
    wal_segment_free(s);
    /* A file that the manifest may name stays: without a header it counts as
       never begun, but missing it would be damage. It goes with the next
       sweep. */
    if (!announced)
        (void)!env_unlink(w->options.env, path);
    mem_free(path);
    status_restore(&saved);
}

/* Called with `making` set by this thread and without the lock. */
static adb_status make_segment(struct wal *w, uint64_t need,
                               struct wal_segment **out)
{
    mutex_lock(&w->lock);
    uint64_t number = w->next_number;
    uint64_t class = next_class_locked(w);
    struct wal_spare spare = pop_spare_locked(w);
    mutex_unlock(&w->lock);

    struct wal_segment *s = NULL;
    bool announced = false, recycled = false;
    adb_status status = spare.path ? check_unlinked(w, &spare) : ADB_OK;
    if (status == ADB_OK) {
        recycled = spare.path != NULL;
        uint64_t size = MAX_OF(class, round_to_block(need));
        if (recycled)
            size = MAX_OF(size, spare.capacity);
        status = wal_segment_create(&w->place, number, size, spare.path, &s);
    }
    mem_free(spare.path);
    if (status == ADB_OK) {
        announced = true;
        status = announce(w, s);
        if (status != ADB_OK)
            wal_discard_segment(w, s, status == ADB_UNKNOWN_OUTCOME);
        /* Unknown is what becomes of the segment, not of the record that was
           to be its first: that one does not exist. */
        if (status == ADB_UNKNOWN_OUTCOME)
            status = status_context(ADB_IO, "no new log segment");
    }

    mutex_lock(&w->lock);
    if (announced) /* even in vain: the manifest may have heard of it */
        w->next_number = number + 1;
    if (status == ADB_OK) {
        w->segment_size = class;
        w->stats.segments_created++;
        w->stats.segments_recycled += recycled;
    }
    mutex_unlock(&w->lock);
    if (status == ADB_OK)
        *out = s;
    return status;
}

static void making_ends(struct wal *w, struct wal_segment *prepared)
{
    mutex_lock(&w->lock);
    w->making = false;
    if (prepared)
        w->prepared = prepared;
    condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
}

adb_status wal_take_segment(struct wal *w, uint64_t need,
                            struct wal_segment **out)
{
    mutex_lock(&w->lock);
    while (w->making)
        condition_wait(&w->changed, &w->lock);
    struct wal_segment *s = w->prepared;
    w->prepared = NULL;
    w->making = true;
    mutex_unlock(&w->lock);

    adb_status status = ADB_OK;
    if (!s)
        status = make_segment(w, need, &s);
    else if (s->capacity < need)
        status = wal_segment_grow(s, round_to_block(need));
    making_ends(w, status == ADB_OK ? NULL : s);
    if (status == ADB_OK)
        *out = s;
    return status;
}

/* ---- preparing ---- */

/* Populates a few MiB ahead of the writer in s. */
static adb_status populate_ahead(struct wal_segment *s)
{
    uint64_t target = atomic_load_explicit(&s->end, memory_order_relaxed) +
                      WAL_POPULATE_AHEAD;
    target = MIN_OF(target, s->capacity);
    for (;;) {
        uint64_t have =
            atomic_load_explicit(&s->populated, memory_order_relaxed);
        if (have >= target)
            return ADB_OK;
        adb_status status = wal_segment_populate(s, have + WAL_POPULATE_STEP);
        if (status != ADB_OK)
            return status;
    }
}

/* The offset behind which the next segment is made: at once, since a disk under
   load takes tens of milliseconds, and a small memtable ends a segment sooner;
   but not of a log that holds next to nothing. */
static uint64_t make_from(const struct wal_segment *s)
{
    enum { EARLY = 64 << 10 };
    return MIN_OF(s->capacity / 2, (uint64_t)EARLY);
}

/* The offset behind which the next segment is populated: later, when the pages
   that were asked for are there. */
static uint64_t populate_next_from(const struct wal_segment *s)
{
    enum { LATER = 16 << 20 };
    return MIN_OF(s->capacity / 4 * 3, (uint64_t)LATER);
}

static bool is_fresh(const struct wal_segment *s)
{
    return s->map && !atomic_load_explicit(&s->populated, memory_order_relaxed);
}

/* The offset behind which there is something to do for the next segment. */
static uint64_t next_segment_from_locked(const struct wal *w,
                                         const struct wal_segment *s)
{
    if (!w->prepared)
        return make_from(s);
    return is_fresh(w->prepared) ? populate_next_from(s) : UINT64_MAX;
}

/* The offset from which on there is something to do again. */
static uint64_t next_prepare_locked(const struct wal *w,
                                    const struct wal_segment *s, bool failed)
{
    uint64_t end = atomic_load_explicit(&s->end, memory_order_relaxed);
    if (failed)
        return end + s->capacity / 8; /* not at every append */
    uint64_t at = UINT64_MAX;
    uint64_t have = atomic_load_explicit(&s->populated, memory_order_relaxed);
    if (have < s->capacity)
        at = have > WAL_POPULATE_AHEAD / 2 ? have - WAL_POPULATE_AHEAD / 2 : 0;
    return MIN_OF(at, next_segment_from_locked(w, s));
}

static bool begin_making(struct wal *w, const struct wal_segment *s)
{
    uint64_t end = atomic_load_explicit(&s->end, memory_order_relaxed);
    mutex_lock(&w->lock);
    bool make = w->current == s && !w->making &&
                end > next_segment_from_locked(w, s);
    if (make)
        w->making = true;
    mutex_unlock(&w->lock);
    return make;
}

/* The first time makes it, the second time populates its beginning. */
static adb_status prepare_next(struct wal *w)
{
    /* Nobody else touches it while `making` is set. */
    struct wal_segment *next = w->prepared;
    adb_status status;
    if (next) {
        status = wal_segment_populate(next, WAL_POPULATE_STEP);
    } else {
        status = make_segment(w, 0, &next);
        if (status == ADB_OK)
            wal_segment_fetch(next);
    }
    making_ends(w, next);
    return status;
}

bool wal_wants_prepare(struct wal *w)
{
    return atomic_load_explicit(&w->wants_prepare, memory_order_relaxed);
}

adb_status wal_prepare(struct wal *w, bool *busy)
{
    *busy = false;
    atomic_store_explicit(&w->wants_prepare, false, memory_order_relaxed);
    mutex_lock(&w->lock);
    struct wal_segment *s = w->current;
    if (s)
        s->users++;
    mutex_unlock(&w->lock);
    if (!s)
        return ADB_OK;

    adb_status status = s->map ? populate_ahead(s) : ADB_OK;
    if (status == ADB_OK)
        wal_segment_fetch(s);
    if (status == ADB_OK && begin_making(w, s))
        status = prepare_next(w);

    mutex_lock(&w->lock);
    s->users--;
    if (w->current == s)
        atomic_store_explicit(
            &w->prepare_at, next_prepare_locked(w, s, status != ADB_OK),
            memory_order_relaxed);
    *busy = w->current != s && w->current;
    mutex_unlock(&w->lock);
    return status;
}

/* ---- releasing ---- */

static bool pinned_locked(const struct wal *w, uint64_t number)
{
    if (w->pins_on_all)
        return true;
    for (size_t i = 0; i < WAL_PINS_MAX; i++)
        if (w->pins[i] && w->pins[i] <= number)
            return true;
    return false;
}

static struct wal_segment *unlink_free_locked(struct wal *w)
{
    struct wal_segment *before = NULL;
    for (struct wal_segment *s = w->oldest; s; before = s, s = s->next) {
        if (!s->released || s->users || pinned_locked(w, s->number))
            continue;
        *(before ? &before->next : &w->oldest) = s->next;
        if (w->youngest == s)
            w->youngest = before;
        s->next = NULL;
        return s;
    }
    return NULL;
}

/* A place among the spares for s, or NULL. */
static struct wal_spare *reserve_spare_locked(struct wal *w,
                                              const struct wal_segment *s)
{
    if (s->failed || s->capacity % WAL_BLOCK ||
        s->capacity < w->options.min_segment ||
        s->capacity > w->options.max_segment)
        return NULL;
    for (size_t i = 0; i < w->options.spares; i++) {
        if (w->spares[i].path || w->spares[i].taken)
            continue;
        w->spares[i].taken = true;
        return &w->spares[i];
    }
    return NULL;
}

static adb_status dispose(struct wal *w, struct wal_segment *s,
                          struct wal_spare *spare)
{
    struct env *env = w->options.env;
    struct env_stat stat;
    char *path = s->path;
    uint64_t capacity = s->capacity;
    s->path = NULL;
    wal_segment_free(s);

    adb_status status = ADB_OK;
    bool keep = false;
    if (spare) {
        status = env_stat(env, path, &stat);
        keep = status == ADB_OK && stat.kind == ENV_KIND_FILE &&
               stat.links == 1 && stat.size >= capacity;
    }
    if (spare) {
        mutex_lock(&w->lock);
        *spare = (struct wal_spare){keep ? path : NULL, capacity, false};
        mutex_unlock(&w->lock);
    }
    if (keep)
        return ADB_OK;
    if (status == ADB_OK)
        status = env_unlink(env, path);
    mem_free(path);
    return status;
}

/* Disposes of all that is released, unused and unpinned. */
static adb_status sweep(struct wal *w)
{
    adb_status first = ADB_OK;
    struct status_saved saved;
    for (;;) {
        mutex_lock(&w->lock);
        struct wal_segment *s = unlink_free_locked(w);
        struct wal_spare *spare = s ? reserve_spare_locked(w, s) : NULL;
        mutex_unlock(&w->lock);
        if (!s)
            break;
        adb_status status = dispose(w, s, spare);
        if (status != ADB_OK && first == ADB_OK) {
            status_save(&saved, status);
            first = status;
        }
    }
    return first == ADB_OK ? ADB_OK : status_restore(&saved);
}

adb_status wal_release(struct wal *w, uint64_t segment)
{
    mutex_lock(&w->lock);
    for (struct wal_segment *s = w->oldest; s; s = s->next)
        if (s->number < segment && s != w->current)
            s->released = true;
    mutex_unlock(&w->lock);
    return sweep(w);
}

void wal_pin(struct wal *w, uint64_t segment)
{
    assert(segment > 0);
    mutex_lock(&w->lock);
    size_t i = 0;
    while (i < WAL_PINS_MAX && w->pins[i])
        i++;
    if (i < WAL_PINS_MAX)
        w->pins[i] = segment;
    else
        w->pins_on_all++;
    mutex_unlock(&w->lock);
}

void wal_unpin(struct wal *w, uint64_t segment)
{
    mutex_lock(&w->lock);
    size_t i = 0;
    while (i < WAL_PINS_MAX && w->pins[i] != segment)
        i++;
    assert(i < WAL_PINS_MAX || w->pins_on_all);
    if (i < WAL_PINS_MAX)
        w->pins[i] = 0;
    else
        w->pins_on_all--;
    mutex_unlock(&w->lock);
    if (sweep(w) != ADB_OK)
        status_clear(); /* orphans are swept by the next open */
}

adb_status wal_remove_unused(struct wal *w)
{
    adb_status first = sweep(w);
    struct wal_segment *s = w->prepared;
    w->prepared = NULL;
    if (s) {
        adb_status status = env_unlink(w->options.env, s->path);
        if (first == ADB_OK)
            first = status;
        wal_segment_free(s);
    }
    for (size_t i = 0; i < WAL_SPARES_MAX; i++) {
        if (!w->spares[i].path)
            continue;
        adb_status status = env_unlink(w->options.env, w->spares[i].path);
        if (first == ADB_OK)
            first = status;
        mem_free(w->spares[i].path);
        w->spares[i].path = NULL;
    }
    return first;
}
