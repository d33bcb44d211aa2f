#include "sst/sst_window.h"

enum {
    REACH_MIN = 64 << 10,
    REACH_MAX = 1 << 20,
    GAP_MAX = 16 << 10,
    MAPPED_FROM = 128 << 10
};

struct range {
    uint64_t begin, end;
};

static struct range range_of(const struct sst_index *index, uint32_t block)
{
    const struct sst_handle *h = &index->blocks[block].handle;
    return (struct range){h->offset, h->offset + sst_handle_span(h)};
}

/* The block and its neighbours in the direction of travel, while they lie
   close together and within reach. */
static struct range choose(const struct sst_index *index, uint32_t block,
                           bool backward, size_t reach)
{
    struct range all = range_of(index, block);
    for (;;) {
        if (backward ? block == 0 : block + 1 == index->count)
            break;
        block += backward ? -1u : 1;
        struct range more = range_of(index, block);
        if (backward) {
            if (more.end > all.begin || all.begin - more.end > GAP_MAX ||
                all.end - more.begin > reach)
                break;
            all.begin = more.begin;
        } else {
            if (more.begin < all.end || more.begin - all.end > GAP_MAX ||
                more.end - all.begin > reach)
                break;
            all.end = more.end;
        }
    }
    return all;
}

/* Merges come and go with windows by the dozen. In a heap they would leave
   holes that are nobody's in the ledger; mappings leave nothing. */
static uint8_t *take_memory(size_t size)
{
    return size > MAPPED_FROM ? env_anonymous_reserve(size, false)
                              : mem_alloc(size);
}

static void give_memory(uint8_t *data, size_t size)
{
    if (size > MAPPED_FROM)
        env_anonymous_release(data, size);
    else
        mem_free(data);
}

static adb_status grow(struct sst_window *w, struct sst_reader *r, size_t size)
{
    if (size <= w->capacity)
        return ADB_OK;
    uint8_t *data = take_memory(size);
    if (!data)
        return status_set(ADB_NO_MEMORY, "%s: no memory to read ahead",
                          r->path);
    give_memory(w->data, w->capacity);
    ledger_add(r->context.ledger, LEDGER_ITERATOR,
               (int64_t)size - (int64_t)w->capacity);
    w->data = data;
    w->capacity = size;
    cache_trim(r->context.cache);
    return ADB_OK;
}

static adb_status read_range(struct sst_window *w, struct sst_reader *r,
                             struct range range, bool backward)
{
    size_t size = (size_t)(range.end - range.begin);
    struct file_handle *handle;
    struct env_file *file;
    w->size = 0;
    adb_status status = grow(w, r, size);
    if (status == ADB_OK)
        status = file_table_acquire(r->context.files, r->info.number, &handle,
                                    &file);
    if (status != ADB_OK)
        return status;
    sst_ahead_read(&w->ahead, r, range.begin, range.end, backward);
    status = env_file_read_full(file, range.begin, w->data, size);
    file_table_release(r->context.files, handle);
    if (status == ADB_OK) {
        w->offset = range.begin;
        w->size = size;
        SST_COUNT(r, loaded_bytes, size);
    }
    return status;
}

adb_status sst_window_get(struct sst_window *w, struct sst_reader *r,
                          const struct sst_index *index, uint32_t block,
                          bool backward, const uint8_t **stored)
{
    struct range need = range_of(index, block);
    if (need.begin < w->offset || need.end > w->offset + w->size) {
        size_t reach = MAX_OF(w->reach, (size_t)REACH_MIN);
        struct range all = choose(index, block, backward, reach);
        adb_status status = read_range(w, r, all, backward);
        /* What lies around the block may be unreadable; the block alone
           counts. */
        if (status != ADB_OK &&
            (all.begin != need.begin || all.end != need.end))
            status = read_range(w, r, need, backward);
        if (status != ADB_OK)
            return status;
        w->reach = MIN_OF(2 * reach, (size_t)REACH_MAX);
    }
    *stored = w->data + (need.begin - w->offset);
    return ADB_OK;
}

void sst_window_deinit(struct sst_window *w, struct sst_reader *r)
{
    ledger_add(r->context.ledger, LEDGER_ITERATOR, -(int64_t)w->capacity);
    give_memory(w->data, w->capacity);
    *w = (struct sst_window){0};
}
