#include "wal/wal_segment.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "wal/record_format.h"
#include "wal/wal.h"

/* Files that were used before hold old records. They are bound to the old
   number and never validate, but a clean start is easier to read in a dump. */
static adb_status clear_header(struct wal_segment *s)
{
    static const uint8_t zeros[RECORD_HEADER_SIZE];
    return env_file_write(s->file, 0, zeros, sizeof(zeros));
}

/* Blocks for the whole capacity. Where the file system cannot promise them
   the segment may not be mapped: a store without a block is a SIGBUS. */
static adb_status allocate(struct wal_segment *s, uint64_t capacity, bool *map)
{
    adb_status status = env_file_allocate(s->file, capacity);
    if (status == ADB_UNSUPPORTED) {
        status_clear();
        *map = false;
        return ADB_OK;
    }
    return status;
}

static adb_status map_whole(struct wal_segment *s)
{
    adb_status status = env_file_map(s->file, s->capacity, true, &s->map);
    if (status == ADB_OK) {
        atomic_store_explicit(&s->populated, 0, memory_order_relaxed);
        return ADB_OK;
    }
    s->map = NULL;
    atomic_store_explicit(&s->populated, UINT64_MAX, memory_order_relaxed);
    if (status == ADB_UNSUPPORTED) {
        status_clear();
        return ADB_OK;
    }
    return status;
}

static adb_status open_file(struct env *env, const char *path,
                            const char *reuse, struct env_file **out)
{
    if (reuse) {
        adb_status status = env_rename(env, reuse, path);
        if (status != ADB_OK)
            return status;
        return env_open(env, path, ENV_WRITE, out);
    }
    unsigned flags = ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE;
    adb_status status = env_open(env, path, flags, out);
    if (status != ADB_EXISTS)
        return status;
    /* A leftover of that name can only stem from a creation that a crash
       interrupted: no record of it was ever acknowledged. Not truncated but
       replaced, for other directories may have links to it. */
    status = env_unlink(env, path);
    return status == ADB_OK ? env_open(env, path, flags, out) : status;
}

static adb_status fill(struct wal_segment *s, const struct wal_place *place,
                       const char *reuse)
{
    bool map = place->map;
    adb_status status = open_file(place->env, s->path, reuse, &s->file);
    if (status == ADB_OK)
        status = allocate(s, s->capacity, &map);
    if (status == ADB_OK && reuse)
        status = clear_header(s);
    if (status == ADB_OK && map)
        status = map_whole(s);
    if (status == ADB_OK && s->map && s->written < s->capacity)
        env_file_advise_ahead(s->file, s->written, s->capacity - s->written);
    return status;
}

struct wal_segment *wal_segment_new(const char *directory, uint64_t number)
{
    struct wal_segment *s = mem_zalloc(sizeof(*s));
    if (s)
        s->path = wal_segment_path(directory, number);
    if (!s || !s->path) {
        mem_free(s);
        status_set(ADB_NO_MEMORY, "no memory for log segment %" PRIu64, number);
        return NULL;
    }
    mutex_init(&s->edge);
    s->number = number;
    return s;
}

adb_status wal_segment_create(const struct wal_place *place, uint64_t number,
                              uint64_t capacity, const char *reuse,
                              uint64_t written, struct wal_segment **out)
{
    assert(capacity % WAL_BLOCK == 0);
    struct wal_segment *s = wal_segment_new(place->directory, number);
    if (!s)
        return ADB_NO_MEMORY;
    s->capacity = capacity;
    s->recycled = reuse != NULL;
    s->written = written;
    atomic_init(&s->populated, UINT64_MAX);

    adb_status status = fill(s, place, reuse);
    if (status != ADB_OK) {
        struct status_saved saved;
        status_save(&saved, status);
        bool exists = s->file != NULL;
        char *path = s->path;
        s->path = NULL;
        wal_segment_free(s);
        if (exists && env_unlink(place->env, path) != ADB_OK)
            status_clear(); /* the sweep of the next open removes it */
        mem_free(path);
        return status_restore(&saved);
    }
    *out = s;
    return ADB_OK;
}

adb_status wal_segment_grow(struct wal_segment *s, uint64_t capacity)
{
    assert(capacity % WAL_BLOCK == 0 && capacity > s->capacity);
    assert(atomic_load(&s->end) == 0);
    bool map = s->map != NULL;
    adb_status status = allocate(s, capacity, &map);
    if (status != ADB_OK)
        return status;
    bool mapped = s->map != NULL;
    env_map_unmap(s->map);
    s->map = NULL;
    s->capacity = capacity;
    atomic_store_explicit(&s->populated, UINT64_MAX, memory_order_relaxed);
    return mapped && map ? map_whole(s) : ADB_OK;
}

/* Both threads populate from where the window ends now, so that the larger
   of two results is still one unbroken window. */
static void raise_populated(struct wal_segment *s, uint64_t end)
{
    uint64_t seen = atomic_load_explicit(&s->populated, memory_order_relaxed);
    while (seen < end && !atomic_compare_exchange_weak_explicit(
                             &s->populated, &seen, end, memory_order_release,
                             memory_order_relaxed))
        ;
}

/* Those pages of [from, end) that would have to be read. One by one: written
   together they are one folio to the system, and a sync writes all of it for a
   record in one of them. */
static adb_status write_absent(struct wal_segment *s, uint64_t from,
                               uint64_t end)
{
    static const uint8_t zeros[WAL_BLOCK];
    size_t at = from, size;
    while ((size = env_map_absent(s->map, &at, end)) > 0)
        for (size_t n; size; at += n, size -= n) {
            n = MIN_OF(size, sizeof(zeros));
            adb_status status = env_file_write(s->file, at, zeros, n);
            if (status != ADB_OK)
                return status;
        }
    return ADB_OK;
}

static uint64_t edge_of(const struct wal_segment *s)
{
    return atomic_load_explicit(&s->populated, memory_order_relaxed);
}

uint64_t wal_segment_written(const struct wal_segment *s)
{
    return MIN_OF(MAX_OF(s->written, edge_of(s)), s->capacity);
}

static adb_status make_resident(struct wal_segment *s, uint64_t from,
                                uint64_t end)
{
    if (from >= end)
        return ADB_OK;
    adb_status status = env_map_populate(s->map, from, end - from);
    if (status == ADB_OK)
        raise_populated(s, end);
    return status;
}

adb_status wal_segment_populate(struct wal_segment *s, uint64_t end)
{
    end = MIN_OF(end, s->capacity);
    mutex_lock(&s->edge);
    uint64_t from = edge_of(s);
    adb_status status = write_absent(s, from, end);
    mutex_unlock(&s->edge);
    /* The writer need not wait for this. */
    return status == ADB_OK ? make_resident(s, from, end) : status;
}

adb_status wal_segment_reach_slow(struct wal_segment *s, uint64_t end,
                                  uint64_t *self)
{
    assert(end <= s->capacity);
    end = (end + WAL_SELF_POPULATE - 1) / WAL_SELF_POPULATE * WAL_SELF_POPULATE;
    end = MIN_OF(end, s->capacity);
    (*self)++;
    mutex_lock(&s->edge);
    uint64_t from = edge_of(s);
    adb_status status = write_absent(s, from, end);
    if (status == ADB_OK)
        status = make_resident(s, from, end);
    mutex_unlock(&s->edge);
    return status;
}

void wal_segment_free(struct wal_segment *s)
{
    if (!s)
        return;
    env_map_unmap(s->map);
    /* What had to be durable was synced; close can add no promise. */
    if (s->file && env_file_close(s->file) != ADB_OK)
        status_clear();
    mutex_deinit(&s->edge);
    mem_free(s->path);
    mem_free(s);
}
