#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "env/env_error.h"
#include "env/env_memory_disk.h"

/* More contents of one sector than this between two syncs tell a test nothing
   new; the older ones in the middle are forgotten. */
enum { VERSIONS_MAX = 24 };

/* ---- sectors ---- */

static const uint8_t zeros[SECTOR_SIZE];

struct sector *sector_ref(struct sector *s)
{
    if (s)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void sector_unref(struct sector *s)
{
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        disk_free(s);
}

static const uint8_t *sector_bytes(const struct sector *s)
{
    return s ? s->bytes : zeros;
}

/* A fresh sector like s, with data over a part of it. */
static struct sector *sector_patched(const struct sector *s, size_t offset,
                                     const void *data, size_t size)
{
    struct sector *fresh = disk_alloc(sizeof *fresh);
    atomic_init(&fresh->refs, 1);
    memcpy(fresh->bytes, sector_bytes(s), SECTOR_SIZE);
    memcpy(fresh->bytes + offset, data, size);
    return fresh;
}

struct sector *file_sector(const struct inode *inode, uint64_t index)
{
    return index < inode->sector_capacity ? inode->sectors[index] : NULL;
}

static void cover_sector(struct inode *inode, uint32_t index)
{
    if (index < inode->sector_capacity)
        return;
    uint32_t old = inode->sector_capacity;
    uint32_t capacity = MAX_OF(MAX_OF(old * 2, index + 1), (uint32_t)8);
    struct sector **sectors = disk_alloc(capacity * sizeof *sectors);
    uint32_t *dirty_of = disk_alloc(capacity * sizeof *dirty_of);
    if (old) {
        memcpy(sectors, inode->sectors, old * sizeof *sectors);
        memcpy(dirty_of, inode->dirty_of, old * sizeof *dirty_of);
    }
    disk_free(inode->sectors);
    disk_free(inode->dirty_of);
    inode->sectors = sectors;
    inode->dirty_of = dirty_of;
    inode->sector_capacity = capacity;
}

void file_place_sector(struct inode *inode, uint32_t index,
                       struct sector *content)
{
    cover_sector(inode, index);
    sector_unref(inode->sectors[index]);
    inode->sectors[index] = content;
}

static void dirty_deinit(struct dirty_sector *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        sector_unref(s->versions[i].content);
    sector_unref(s->synced);
    disk_free(s->versions);
}

void file_deinit(struct memory_disk *d, struct inode *inode)
{
    d->used -= inode->blocks;
    for (size_t i = 0; i < inode->dirty_count; i++)
        dirty_deinit(&inode->dirty[i]);
    for (uint32_t i = 0; i < inode->sector_capacity; i++)
        sector_unref(inode->sectors[i]);
    disk_free(inode->dirty);
    disk_free(inode->dirty_of);
    disk_free(inode->sectors);
    disk_free(inode->resizes);
}

/* ---- versions ---- */

static struct dirty_sector *make_dirty(struct inode *inode, uint32_t index)
{
    if (inode->dirty_of[index])
        return &inode->dirty[inode->dirty_of[index] - 1];
    inode->dirty = disk_grow(inode->dirty, inode->dirty_count,
                             &inode->dirty_capacity, sizeof *inode->dirty);
    struct dirty_sector *s = &inode->dirty[inode->dirty_count++];
    *s = (struct dirty_sector){
        .index = index,
        .synced = sector_ref(inode->sectors[index]),
    };
    inode->dirty_of[index] = (uint32_t)inode->dirty_count;
    return s;
}

static void forget_one_version(struct dirty_sector *s)
{
    for (uint32_t i = 1; i + 1 < s->count; i++)
        if (!s->versions[i].cut) {
            sector_unref(s->versions[i].content);
            s->count--;
            memmove(&s->versions[i], &s->versions[i + 1],
                    (s->count - i) * sizeof *s->versions);
            return;
        }
}

/* content (the reference passes over) is what the sector holds from now. */
static void change_sector(struct memory_disk *d, struct inode *inode,
                          uint32_t index, struct sector *content, bool cut)
{
    cover_sector(inode, index);
    struct dirty_sector *s = make_dirty(inode, index);
    if (s->count >= VERSIONS_MAX)
        forget_one_version(s);
    size_t capacity = s->capacity;
    s->versions =
        disk_grow(s->versions, s->count, &capacity, sizeof *s->versions);
    s->capacity = (uint32_t)capacity;
    s->versions[s->count++] =
        (struct sector_version){d->now, sector_ref(content), cut};
    file_place_sector(inode, index, content);
}

static void record_resize(struct memory_disk *d, struct inode *inode,
                          uint64_t size)
{
    if (size == inode->size)
        return;
    inode->resizes = disk_grow(inode->resizes, inode->resize_count,
                               &inode->resize_capacity,
                               sizeof *inode->resizes);
    inode->resizes[inode->resize_count++] = (struct resize){d->now, size};
    inode->size = size;
}

static void clear_versions(struct dirty_sector *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        sector_unref(s->versions[i].content);
    s->count = 0;
}

void file_sync(struct inode *inode)
{
    size_t lost = 0;
    for (size_t i = 0; i < inode->dirty_count; i++) {
        struct dirty_sector s = inode->dirty[i];
        if (s.count == 0) {
            /* Clean in the eyes of the system, though never written. */
            inode->dirty[lost++] = s;
            inode->dirty_of[s.index] = (uint32_t)lost;
            continue;
        }
        inode->dirty_of[s.index] = 0;
        dirty_deinit(&s);
    }
    inode->dirty_count = lost;
    if (inode->resize_count)
        inode->synced_size = inode->size;
    inode->resize_count = 0;
}

void file_lose(struct inode *inode)
{
    for (size_t i = 0; i < inode->dirty_count; i++)
        clear_versions(&inode->dirty[i]);
    inode->resize_count = 0;
}

/* ---- space ---- */

static bool has_block(const struct inode *inode, uint64_t index)
{
    return index < inode->reserved || file_sector(inode, index);
}

static bool take_block(struct memory_disk *d, struct inode *inode)
{
    if (d->used >= d->capacity)
        return false;
    d->used++;
    inode->blocks++;
    return true;
}

int file_allocate(struct memory_disk *d, struct inode *inode, uint64_t size)
{
    if (size > MEMORY_FILE_MAX)
        return EFBIG;
    uint64_t end = sectors_of(size), needed = 0;
    for (uint64_t i = inode->reserved; i < end; i++)
        needed += !has_block(inode, i);
    if (needed > d->capacity - MIN_OF(d->used, d->capacity))
        return ENOSPC;
    d->used += needed;
    inode->blocks += needed;
    inode->reserved = MAX_OF(inode->reserved, end);
    d->now++;
    if (size > inode->size)
        record_resize(d, inode, size);
    return 0;
}

/* ---- contents ---- */

size_t file_read(const struct inode *inode, uint64_t offset, void *data,
                 size_t size)
{
    if (offset >= inode->size)
        return 0;
    size = (size_t)MIN_OF((uint64_t)size, inode->size - offset);
    for (size_t done = 0; done < size;) {
        size_t within = (size_t)((offset + done) % SECTOR_SIZE);
        size_t part = MIN_OF(size - done, SECTOR_SIZE - within);
        struct sector *s = file_sector(inode, (offset + done) / SECTOR_SIZE);
        memcpy((uint8_t *)data + done, sector_bytes(s) + within, part);
        done += part;
    }
    return size;
}

/* Maps of the file show what was written. */
static void show_in_maps(struct inode *inode, uint64_t offset,
                         const void *data, size_t size)
{
    for (struct memory_map *m = inode->maps; m; m = m->next)
        if (offset < m->base.size) {
            memcpy(m->base.base + offset, data,
                   MIN_OF(size, m->base.size - (size_t)offset));
            m->present[offset / MAP_PAGE] = 1;
        }
}

/* One sector's part of a write. */
static bool write_part(struct memory_disk *d, struct inode *inode,
                       uint64_t offset, const void *data, size_t size)
{
    uint32_t index = (uint32_t)(offset / SECTOR_SIZE);
    size_t within = (size_t)(offset % SECTOR_SIZE);
    struct sector *before = file_sector(inode, index);
    if (!has_block(inode, index) && !take_block(d, inode))
        return false;
    if (!before || memcmp(before->bytes + within, data, size) != 0)
        change_sector(d, inode, index,
                      sector_patched(before, within, data, size), false);
    show_in_maps(inode, offset, data, size);
    return true;
}

int file_write(struct memory_disk *d, struct inode *inode, uint64_t offset,
               const void *data, size_t size)
{
    size_t done = 0;
    if (offset > MEMORY_FILE_MAX || size > MEMORY_FILE_MAX - offset)
        return EFBIG;
    d->now++;
    while (done < size) {
        size_t within = (size_t)((offset + done) % SECTOR_SIZE);
        size_t part = MIN_OF(size - done, SECTOR_SIZE - within);
        if (!write_part(d, inode, offset + done, (const uint8_t *)data + done,
                        part))
            break;
        done += part;
    }
    if (done && offset + done > inode->size)
        record_resize(d, inode, offset + done);
    return done < size ? ENOSPC : 0;
}

static void drop_block(struct memory_disk *d, struct inode *inode)
{
    assert(inode->blocks > 0 && d->used > 0);
    inode->blocks--;
    d->used--;
}

/* Everything from size on becomes zeros without blocks. */
static void cut_sectors(struct memory_disk *d, struct inode *inode,
                        uint64_t size)
{
    uint64_t first = sectors_of(size);
    uint64_t end = MAX_OF((uint64_t)inode->sector_capacity, inode->reserved);
    for (uint64_t i = first; i < end; i++) {
        if (has_block(inode, i))
            drop_block(d, inode);
        if (file_sector(inode, i))
            change_sector(d, inode, (uint32_t)i, NULL, true);
    }
    inode->reserved = MIN_OF(inode->reserved, first);
    size_t within = (size_t)(size % SECTOR_SIZE);
    struct sector *last = file_sector(inode, size / SECTOR_SIZE);
    if (within && last)
        change_sector(d, inode, (uint32_t)(size / SECTOR_SIZE),
                      sector_patched(last, within, zeros,
                                     SECTOR_SIZE - within), true);
    for (struct memory_map *m = inode->maps; m; m = m->next)
        if (size < m->base.size)
            memset(m->base.base + size, 0, m->base.size - (size_t)size);
}

int file_resize(struct memory_disk *d, struct inode *inode, uint64_t size)
{
    if (size > MEMORY_FILE_MAX)
        return EFBIG;
    d->now++;
    if (size < inode->size)
        cut_sectors(d, inode, size);
    record_resize(d, inode, size);
    return 0;
}

static void patch(struct sector **content, size_t offset, const void *data,
                  size_t size)
{
    struct sector *fresh = sector_patched(*content, offset, data, size);
    sector_unref(*content);
    *content = fresh;
}

void file_damage(struct inode *inode, uint64_t offset, const uint8_t *data,
                 size_t size)
{
    for (size_t done = 0; done < size;) {
        uint32_t index = (uint32_t)((offset + done) / SECTOR_SIZE);
        size_t within = (size_t)((offset + done) % SECTOR_SIZE);
        size_t part = MIN_OF(size - done, SECTOR_SIZE - within);
        cover_sector(inode, index);
        patch(&inode->sectors[index], within, data + done, part);
        if (inode->dirty_of[index]) {
            struct dirty_sector *s =
                &inode->dirty[inode->dirty_of[index] - 1];
            patch(&s->synced, within, data + done, part);
            for (uint32_t i = 0; i < s->count; i++)
                patch(&s->versions[i].content, within, data + done, part);
        }
        done += part;
    }
    show_in_maps(inode, offset, data, size);
}

/* ---- maps ---- */

static adb_status map_populate(struct env_map *map, size_t offset, size_t size)
{
    struct memory_map *m = (struct memory_map *)map;
    struct memory_disk *d = m->disk;
    int error = 0;
    if (offset > map->size || size > map->size - offset)
        return status_set(ADB_INVALID,
                          "populating %zu bytes at %zu of a map of %zu ('%s')",
                          size, offset, map->size, m->path);
    mutex_lock(&d->lock);
    uint64_t first = offset / MAP_PAGE * MAP_PAGE;
    uint64_t end = (offset + size + MAP_PAGE - 1) / MAP_PAGE * MAP_PAGE;
    end = MIN_OF(end, m->inode->size);
    /* Pages behind the end, cut off since. */
    if (offset + size > m->inode->size)
        error = EFAULT;
    for (uint64_t i = first / SECTOR_SIZE; !error && i < sectors_of(end);
         i++) {
        if (has_block(m->inode, i))
            continue;
        if (!take_block(d, m->inode))
            error = ENOSPC;
        else
            file_place_sector(m->inode, (uint32_t)i,
                              sector_patched(NULL, 0, zeros, 0));
    }
    if (!error && size)
        for (uint64_t page = first / MAP_PAGE;
             page <= (offset + size - 1) / MAP_PAGE; page++)
            m->populated[page] = m->present[page] = 1;
    mutex_unlock(&d->lock);
    if (error)
        return env_error(error, "cannot populate %zu bytes at offset %zu of "
                         "the mapped '%s'", size, offset, m->path);
    return ADB_OK;
}

static void map_store(struct env_map *map, size_t offset, const void *data,
                      size_t size)
{
    struct memory_map *m = (struct memory_map *)map;
    if (size == 0)
        return;
    mutex_lock(&m->disk->lock);
    assert(m->writable && offset <= map->size && size <= map->size - offset);
    for (size_t page = offset / MAP_PAGE;
         page <= (offset + size - 1) / MAP_PAGE; page++)
        assert(m->populated[page]);
    int error = file_write(m->disk, m->inode, offset, data, size);
    assert(error == 0);
    (void)error;
    mutex_unlock(&m->disk->lock);
    disk_changed(m->disk, "store", m->path);
}

/* This disk has its pages in memory all the time. So that both kinds are met,
   two of eight count as absent until they are written or populated. */
static size_t map_absent(struct env_map *map, size_t *offset, size_t end)
{
    const struct memory_map *m = (struct memory_map *)map;
    size_t size = 0;
    mutex_lock(&m->disk->lock);
    for (size_t page = *offset / MAP_PAGE; page * MAP_PAGE < end && !size;
         page++) {
        if (page % 8 < 5 || page % 8 > 6 || m->present[page])
            continue;
        *offset = page * MAP_PAGE;
        size = MIN_OF((size_t)MAP_PAGE, map->size - *offset);
    }
    mutex_unlock(&m->disk->lock);
    return size;
}

static void map_unmap(struct env_map *map)
{
    struct memory_map *m = (struct memory_map *)map;
    struct memory_disk *d = m->disk;
    mutex_lock(&d->lock);
    for (struct memory_map **at = &m->inode->maps; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            break;
        }
    m->inode->handles--;
    inode_settle(d, m->inode);
    mutex_unlock(&d->lock);
    disk_free(map->base);
    disk_free(m->populated);
    disk_free(m->present);
    mem_free(m->path);
    mem_free(m);
}

static const struct env_map_ops memory_map_ops = {
    .populate = map_populate,
    .absent = map_absent,
    .unmap = map_unmap,
};

adb_status memory_file_map(struct memory_disk *d, struct inode *inode,
                           const char *path, size_t size, bool writable,
                           struct env_map **out)
{
    struct memory_map *m = mem_zalloc(sizeof *m);
    char *own_path = m ? mem_strdup(path) : NULL;
    if (!own_path) {
        mem_free(m);
        return status_set(ADB_NO_MEMORY, "no memory to map '%s'", path);
    }
    mutex_lock(&d->lock);
    if (size == 0 || size > inode->size) {
        uint64_t file_size = inode->size;
        mutex_unlock(&d->lock);
        mem_free(own_path);
        mem_free(m);
        return size == 0
                   ? env_error(EINVAL, "cannot map 0 bytes of '%s'", path)
                   : status_set(ADB_IO,
                                "'%s' has %" PRIu64 " bytes, %zu are mapped",
                                path, file_size, size);
    }
    m->base = (struct env_map){
        .ops = &memory_map_ops,
        .base = disk_alloc(size),
        .size = size,
        .store = map_store,
    };
    m->disk = d;
    m->inode = inode;
    m->path = own_path;
    m->writable = writable;
    m->populated = disk_alloc(size / MAP_PAGE + 1);
    m->present = disk_alloc(size / MAP_PAGE + 1);
    m->next = inode->maps;
    inode->maps = m;
    inode->handles++;
    /* Sector by sector, so that holes cost no memory. */
    for (uint32_t i = 0; i < inode->sector_capacity &&
                         (uint64_t)i * SECTOR_SIZE < size; i++)
        if (inode->sectors[i])
            memcpy(m->base.base + (size_t)i * SECTOR_SIZE,
                   inode->sectors[i]->bytes,
                   MIN_OF((size_t)SECTOR_SIZE,
                          size - (size_t)i * SECTOR_SIZE));
    mutex_unlock(&d->lock);
    *out = &m->base;
    return ADB_OK;
}
