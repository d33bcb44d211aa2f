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

/* Of what is made next. Small at first, four times as large each time one was
   filled; what ends with its memtable is large enough. */
static uint64_t class_locked(const struct wal *w, bool filled)
{
    if (!w->segment_size)
        return w->options.min_segment;
    return MIN_OF(w->segment_size * (filled ? 4 : 1), w->options.max_segment);
}

static struct wal_spare pop_spare_locked(struct wal *w)
{
    struct wal_spare found = {.path = NULL};
    for (size_t i = 0; i < WAL_SPARES_MAX; i++) {
        if (!w->spares[i].path)
            continue;
        found = w->spares[i];
        w->spares[i] = (struct wal_spare){.path = NULL};
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

/* One sync each of directory and manifest, however many they are. */
static adb_status announce(struct wal *w, uint64_t first, unsigned count)
{
    adb_status status = env_sync_dir(w->options.env, w->directory);
    if (status != ADB_OK || !w->options.segments_created)
        return status;
    mutex_lock(&w->lock);
    struct watermark known = w->synced_through;
    mutex_unlock(&w->lock);
    return w->options.segments_created(w->options.context, first, count,
                                       &known);
}

/* One that was just taken may still be populated. */
static void wait_until_unused(struct wal *w, const struct wal_segment *s)
{
    mutex_lock(&w->lock);
    while (s->users)
        condition_wait(&w->changed, &w->lock);
    mutex_unlock(&w->lock);
}

void wal_discard_segment(struct wal *w, struct wal_segment *s, bool announced)
{
    struct status_saved saved;
    status_save(&saved, ADB_IO);
    wait_until_unused(w, s);
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

static void discard_list(struct wal *w, struct wal_segment *s, bool announced)
{
    for (struct wal_segment *next; s; s = next) {
        next = s->next;
        wal_discard_segment(w, s, announced);
    }
}

/* The file of segment `number`: a spare's or a new one. */
static adb_status make_file(struct wal *w, uint64_t number, uint64_t size,
                            struct wal_segment **out)
{
    mutex_lock(&w->lock);
    struct wal_spare spare = pop_spare_locked(w);
    mutex_unlock(&w->lock);
    adb_status status = spare.path ? check_unlinked(w, &spare) : ADB_OK;
    if (spare.path)
        size = MAX_OF(size, spare.capacity);
    if (status == ADB_OK)
        status = wal_segment_create(&w->place, number, size, spare.path,
                                    spare.written, out);
    mem_free(spare.path);
    return status;
}

static void count_made(struct wal *w, const struct wal_segment *made)
{
    mutex_lock(&w->lock);
    for (const struct wal_segment *s = made; s; s = s->next) {
        w->stats.segments_created++;
        w->stats.segments_recycled += s->recycled;
    }
    mutex_unlock(&w->lock);
}

/* Makes up to `count`, oldest first in *out. Some are better than none: what
   stands in the way of one more is met again. Called with `making` set by this
   thread and without the lock, which alone moves next_number. */
static adb_status make_segments(struct wal *w, uint64_t size, unsigned count,
                                struct wal_segment **out)
{
    uint64_t first = w->next_number;
    struct wal_segment *made = NULL, **last = &made;
    unsigned n = 0;
    adb_status status = ADB_OK;
    while (n < count && status == ADB_OK) {
        status = make_file(w, first + n, size, last);
        if (status == ADB_OK) {
            last = &(*last)->next;
            n++;
        }
    }
    if (!n)
        return status;
    if (status != ADB_OK)
        status_clear();

    status = announce(w, first, n);
    w->next_number = first + n; /* even in vain: the manifest may know them */
    if (status != ADB_OK) {
        discard_list(w, made, status == ADB_UNKNOWN_OUTCOME);
        /* Unknown is what becomes of the segment, not of the record that was
           to be its first: that one does not exist. */
        if (status == ADB_UNKNOWN_OUTCOME)
            status = status_context(ADB_IO, "no new log segment");
        return status;
    }
    count_made(w, made);
    *out = made;
    return ADB_OK;
}

static void making_ends(struct wal *w, struct wal_segment *made)
{
    mutex_lock(&w->lock);
    w->making = false;
    struct wal_segment **last = &w->prepared;
    while (*last)
        last = &(*last)->next;
    *last = made;
    for (; made; made = made->next)
        w->prepared_count++;
    condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
}

static struct wal_segment *pop_prepared_locked(struct wal *w)
{
    struct wal_segment *s = w->prepared;
    if (s) {
        w->prepared = s->next;
        w->prepared_count--;
        s->next = NULL;
    }
    return s;
}

static void put_prepared_back(struct wal *w, struct wal_segment *s)
{
    mutex_lock(&w->lock);
    s->next = w->prepared;
    w->prepared = s;
    w->prepared_count++;
    mutex_unlock(&w->lock);
}

/* The one prepared first has `need` bytes, or nothing has changed. */
static adb_status grow_prepared(struct wal *w, struct wal_segment *s,
                                uint64_t need)
{
    if (s->capacity >= need)
        return ADB_OK;
    wait_until_unused(w, s);
    adb_status status = wal_segment_grow(s, round_to_block(need));
    if (status != ADB_OK)
        put_prepared_back(w, s);
    return status;
}

static adb_status make_own(struct wal *w, uint64_t size,
                           struct wal_segment **out)
{
    adb_status status = make_segments(w, size, 1, out);
    making_ends(w, NULL);
    return status;
}

adb_status wal_take_segment(struct wal *w, uint64_t need,
                            struct wal_segment **out)
{
    mutex_lock(&w->lock);
    while (!w->prepared && w->making)
        condition_wait(&w->changed, &w->lock);
    struct wal_segment *s = pop_prepared_locked(w);
    uint64_t class = class_locked(w, w->current != NULL);
    if (!s)
        w->making = true;
    mutex_unlock(&w->lock);

    adb_status status =
        s ? grow_prepared(w, s, need)
          : make_own(w, MAX_OF(class, round_to_block(need)), &s);
    if (status != ADB_OK)
        return status;
    mutex_lock(&w->lock);
    w->segment_size = class;
    w->taken++;
    mutex_unlock(&w->lock);
    *out = s;
    return ADB_OK;
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

/* So many are kept prepared: a disk under load takes a tenth of a second and
   more for the syncs that one costs, in which a writer fills several small
   ones; but not more than were needed so far. */
static unsigned wanted_locked(const struct wal *w)
{
    uint64_t n = WAL_PREPARE_AHEAD / class_locked(w, false);
    n = MIN_OF(n, MIN_OF(w->taken, (uint64_t)WAL_PREPARED_MAX));
    return (unsigned)MAX_OF(n, 1);
}

/* How many to make now: several at once share their syncs. */
static unsigned missing_locked(const struct wal *w)
{
    unsigned wanted = wanted_locked(w);
    return w->prepared_count <= wanted / 2 ? wanted - w->prepared_count : 0;
}

/* The offset behind which the next ones are made: at once, for a small memtable
   ends a segment early; but not of a log that holds next to nothing. */
static uint64_t make_from(const struct wal_segment *s)
{
    enum { EARLY = 64 << 10 };
    return MIN_OF(s->capacity / 2, (uint64_t)EARLY);
}

static bool is_unpopulated(const struct wal_segment *s)
{
    return s->map && !atomic_load_explicit(&s->populated, memory_order_relaxed);
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
    if (missing_locked(w))
        at = MIN_OF(at, make_from(s));
    if (w->prepared && is_unpopulated(w->prepared))
        at = 0;
    return at;
}

/* Makes what is missing behind s, where s is still the writer's. */
static adb_status make_next(struct wal *w, const struct wal_segment *s)
{
    uint64_t end = atomic_load_explicit(&s->end, memory_order_relaxed);
    mutex_lock(&w->lock);
    unsigned missing = missing_locked(w);
    uint64_t class = class_locked(w, false);
    bool make = missing && w->current == s && !w->making && end > make_from(s);
    if (make)
        w->making = true;
    mutex_unlock(&w->lock);
    if (!make)
        return ADB_OK;
    struct wal_segment *made = NULL;
    adb_status status = make_segments(w, class, missing, &made);
    making_ends(w, made);
    return status;
}

/* Populates the beginning of the one that comes next. The writer may take it
   meanwhile. */
static adb_status populate_next(struct wal *w)
{
    mutex_lock(&w->lock);
    struct wal_segment *next = w->prepared;
    if (next && !is_unpopulated(next))
        next = NULL;
    if (next)
        next->users++;
    mutex_unlock(&w->lock);
    if (!next)
        return ADB_OK;
    adb_status status = wal_segment_populate(next, WAL_POPULATE_STEP);
    mutex_lock(&w->lock);
    next->users--;
    condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
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
        status = make_next(w, s);
    if (status == ADB_OK)
        status = populate_next(w);

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
    const struct wal_spare filled = {
        .capacity = s->capacity,
        .written = wal_segment_written(s),
    };
    s->path = NULL;
    wal_segment_free(s);

    adb_status status = ADB_OK;
    bool keep = false;
    if (spare) {
        status = env_stat(env, path, &stat);
        keep = status == ADB_OK && stat.kind == ENV_KIND_FILE &&
               stat.links == 1 && stat.size >= filled.capacity;
    }
    if (spare) {
        mutex_lock(&w->lock);
        *spare = filled;
        spare->path = keep ? path : NULL;
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
    for (struct wal_segment *s; (s = pop_prepared_locked(w)) != NULL;) {
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
