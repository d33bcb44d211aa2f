#include "env/env_posix.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "env/env_error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct posix_map {
    struct env_map base;
    struct posix_file *file; /* borrowed until the map is released */
    unsigned generation;     /* env_fork_generation() at its birth */
    bool writable;
};

static size_t page_size(void)
{
    static _Atomic size_t known;
    size_t size = atomic_load_explicit(&known, memory_order_relaxed);
    if (!size) {
        size = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&known, size, memory_order_relaxed);
    }
    return size;
}

/* A page behind the end of the file cannot be touched without SIGBUS. */
static adb_status check_covered(struct posix_map *m, size_t end)
{
    uint64_t size;
    adb_status status = env_file_size(&m->file->base, &size);
    if (status == ADB_OK && size < end)
        return status_set(ADB_IO, "'%s' has %llu bytes, %zu are mapped",
                          m->file->base.path, (unsigned long long)size, end);
    return status;
}

adb_status posix_map_touch(struct env_map *map, size_t offset, size_t size)
{
    struct posix_map *m = (struct posix_map *)map;
    adb_status status = check_covered(m, offset + size);
    if (status != ADB_OK)
        return status;
    for (size_t at = offset & ~(page_size() - 1); at < offset + size;
         at += page_size())
        /* Changes nothing even if another thread stores there right now. */
        atomic_fetch_or((_Atomic uint8_t *)(map->base + at), 0);
    return ADB_OK;
}

static adb_status posix_map_populate(struct env_map *map, size_t offset,
                                     size_t size)
{
    struct posix_map *m = (struct posix_map *)map;
    if (offset > map->size || size > map->size - offset)
        return status_set(ADB_INVALID,
                          "populating %zu bytes at %zu of a map of %zu ('%s')",
                          size, offset, map->size, m->file->base.path);
    if (size == 0)
        return ADB_OK;
    size_t start = offset & ~(page_size() - 1);
    while (madvise(map->base + start, offset + size - start,
                   MADV_POPULATE_WRITE) != 0) {
        if (errno == EINTR)
            continue;
        if (errno == EINVAL)
            return posix_map_touch(map, offset, size);
        return env_error(errno,
                         "cannot populate %zu bytes at offset %zu of the "
                         "mapped '%s'", size, offset, m->file->base.path);
    }
    return ADB_OK;
}

static void posix_map_drop(struct env_map *map, size_t offset, size_t size)
{
    size_t page = page_size();
    size_t start = (offset + page - 1) & ~(page - 1);
    size_t end = (offset + size) & ~(page - 1);
    /* A shared map: what was stored stays, dirty, in the page cache. */
    if (start < end)
        madvise(map->base + start, end - start, MADV_DONTNEED);
}

static size_t posix_map_absent(struct env_map *map, size_t *offset, size_t end)
{
    enum { LOOK = 128 };
    unsigned char resident[LOOK];
    size_t page = page_size(), size = 0;
    size_t at = *offset & ~(page - 1);
    bool over = false;
    end = MIN_OF(end, map->size);
    while (at < end && !over) {
        size_t pages = MIN_OF((end - at + page - 1) / page, (size_t)LOOK);
        if (mincore(map->base + at, pages * page, resident) != 0)
            break; /* not known */
        for (size_t i = 0; i < pages && !over; i++, at += page) {
            bool here = resident[i] & 1;
            over = here && size;
            if (!here && !size)
                *offset = MAX_OF(*offset, at);
            if (!here)
                size = MIN_OF(at + page, end) - *offset;
        }
    }
    return size;
}

static void posix_map_unmap(struct env_map *map)
{
    struct posix_map *m = (struct posix_map *)map;
    /* A forked child never had a writable map: something of its own may lie
       at that address by now. */
    if (!m->writable || m->generation == env_fork_generation())
        munmap(map->base, map->size);
    mem_free(m);
}

static const struct env_map_ops posix_map_ops = {
    .populate = posix_map_populate,
    .drop = posix_map_drop,
    .absent = posix_map_absent,
    .unmap = posix_map_unmap,
};

static bool advise(const struct posix_map *m, void *base, int advice)
{
    int result;
    do {
        result = madvise(base, m->base.size, advice);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

static adb_status map_pages(struct posix_map *m)
{
    const char *path = m->file->base.path;
    int protection = PROT_READ | (m->writable ? PROT_WRITE : 0);
    void *base = mmap(NULL, m->base.size, protection, MAP_SHARED, m->file->fd,
                      0);
    if (base == MAP_FAILED)
        return env_error(errno, "cannot map %zu bytes of '%s'", m->base.size,
                         path);
    /* RANDOM: else each fault reads around itself and each sync looks at more
       pages than were written. DONTFORK: a child must not write the log. */
    if (m->writable && !(advise(m, base, MADV_DONTFORK) &&
                         advise(m, base, MADV_RANDOM))) {
        adb_status status = env_error(errno, "cannot prepare the map of '%s'",
                                      path);
        munmap(base, m->base.size);
        return status;
    }
    m->base.base = base;
    return ADB_OK;
}

adb_status posix_file_map(struct env_file *f, size_t size, bool writable,
                          struct env_map **out)
{
    struct posix_map *m = mem_zalloc(sizeof *m);
    if (!m)
        return status_set(ADB_NO_MEMORY, "no memory to map '%s'", f->path);
    m->base.ops = &posix_map_ops;
    m->base.size = size;
    m->file = (struct posix_file *)f;
    env_watch_forks();
    m->generation = env_fork_generation();
    m->writable = writable;
    adb_status status = check_covered(m, size);
    if (status == ADB_OK)
        status = map_pages(m);
    if (status != ADB_OK) {
        mem_free(m);
        return status;
    }
    *out = &m->base;
    return ADB_OK;
}
