/* Loading what the cache does not have: read, verify, unpack, decode. */
#include "sst/sst_reader_internal.h"

#include <inttypes.h>

#include "base/hash.h"

adb_status sst_place(adb_status status, const struct sst_reader *r,
                     const char *what, uint64_t offset)
{
    return status_context(status, "%s: %s at offset %" PRIu64, r->path, what,
                          offset);
}

static adb_status no_memory(const struct sst_reader *r, size_t size)
{
    return status_set(ADB_NO_MEMORY, "%s: no memory for %zu bytes of a table",
                      r->path, size);
}

/* ---- bytes ---- */

void sst_ask(struct sst_reader *r, uint64_t offset, uint64_t size)
{
    struct file_handle *handle;
    struct env_file *file;
    struct status_saved saved;
    status_save(&saved, ADB_OK);
    if (file_table_acquire(r->context.files, r->info.number, &handle, &file) ==
        ADB_OK) {
        env_file_advise_ahead(file, offset, size);
        file_table_release(r->context.files, handle);
    }
    status_restore(&saved);
}

static adb_status read_file(struct sst_reader *r, uint64_t offset, void *data,
                            size_t size, unsigned flags)
{
    struct file_handle *handle;
    struct env_file *file;
    adb_status status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    status = flags & SST_NO_WAIT
                 ? env_file_read_full_now(file, offset, data, size)
                 : env_file_read_full(file, offset, data, size);
    file_table_release(r->context.files, handle);
    if (status != ADB_BUSY)
        SST_COUNT(r, loaded_bytes, size);
    return status;
}

static adb_status check_frame(struct sst_reader *r, const struct sst_handle *h,
                              const uint8_t *stored,
                              enum sst_compression *compression)
{
    adb_status status =
        sst_frame_check(stored, h, r->info.number, r->path, compression);
    if (status == ADB_OK &&
        (*compression != SST_COMPRESSION_NONE) != sst_is_packed(h))
        return status_set(ADB_CORRUPTION,
                          "%s: frame at offset %" PRIu64
                          ": sizes do not fit its compression",
                          r->path, h->offset);
    return status;
}

adb_status sst_unpack(struct sst_reader *r, const struct sst_handle *h,
                      const uint8_t *stored, struct buffer *scratch,
                      const uint8_t **raw)
{
    enum sst_compression compression;
    adb_status status = check_frame(r, h, stored, &compression);
    if (status != ADB_OK)
        return status;
    if (compression == SST_COMPRESSION_NONE) {
        *raw = stored;
        return ADB_OK;
    }
    buffer_clear(scratch);
    status = buffer_reserve(scratch, h->raw_size);
    if (status != ADB_OK)
        return status;
    status = sst_decompress(compression, stored, h->size, scratch->data,
                            h->raw_size);
    if (status != ADB_OK)
        return sst_place(status, r, "frame", h->offset);
    scratch->size = h->raw_size;
    *raw = scratch->data;
    return ADB_OK;
}

static adb_status load_raw(struct sst_reader *r, const struct sst_handle *h,
                           uint8_t *raw, unsigned flags)
{
    size_t span = sst_handle_span(h);
    enum sst_compression compression;
    if (!sst_is_packed(h)) {
        adb_status status = read_file(r, h->offset, raw, span, flags);
        return status == ADB_OK ? check_frame(r, h, raw, &compression) : status;
    }
    uint8_t *stored = mem_alloc(span);
    if (!stored)
        return no_memory(r, span);
    adb_status status = read_file(r, h->offset, stored, span, flags);
    if (status == ADB_OK)
        status = check_frame(r, h, stored, &compression);
    if (status == ADB_OK) {
        status = sst_decompress(compression, stored, h->size, raw, h->raw_size);
        if (status != ADB_OK)
            sst_place(status, r, "frame", h->offset);
    }
    mem_free(stored);
    return status;
}

adb_status sst_load_raw(struct sst_reader *r, const struct sst_handle *h,
                        uint8_t *raw)
{
    return load_raw(r, h, raw, 0);
}

/* ---- frames ---- */

static uint64_t ghost_of(const struct sst_reader *r, const struct sst_handle *h)
{
    uint64_t place[2] = {r->info.number, h->offset};
    return hash_key(place, sizeof place);
}

static void free_frame(struct cache_frame *frame)
{
    frame_pool_give(frame->context, frame, frame->charge);
}

static void free_index(struct cache_frame *frame)
{
    struct index_frame *index = index_frame_of(frame);
    cache_drop(frame->cache, index->slots, index->index.count);
    free_frame(frame);
}

/* Before it meets the cache an index has no children to drop. */
void sst_discard_frame(struct cache_frame *frame)
{
    if (frame)
        free_frame(frame);
}

static adb_status fail_frame(struct cache_frame *frame, adb_status status)
{
    free_frame(frame);
    return status;
}

/* Memory for a frame, with its header set up but for the parent; NULL: none,
   and the message is set. */
static void *new_frame(struct sst_reader *r, size_t size,
                       const struct sst_handle *h, enum ledger_row row,
                       void (*free)(struct cache_frame *))
{
    size_t charge;
    struct frame_pool *pool = r->context.frames;
    struct cache_frame *frame = frame_pool_take(pool, size, &charge);
    if (!frame) {
        (void)!no_memory(r, size);
        return NULL;
    }
    *frame = (struct cache_frame){
        .free = free,
        .context = pool,
        .charge = charge,
        .row = (uint8_t)row,
        .ghost = ghost_of(r, h),
    };
    return frame;
}

enum { LINE = 64 };
#define ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))

adb_status sst_load_filter(struct sst_reader *r, uint32_t part,
                           struct filter_frame **out)
{
    const struct sst_handle *h = &r->top.parts[part].filter;
    size_t header = ROUND_UP(sizeof(struct filter_frame), (size_t)LINE);
    size_t size = header + sst_load_room(h);
    struct filter_frame *f = new_frame(r, size, h, LEDGER_FILTER, free_frame);
    if (!f)
        return ADB_NO_MEMORY;
    uint8_t *raw = (uint8_t *)f + header;
    adb_status status = sst_load_raw(r, h, raw);
    if (status != ADB_OK)
        return fail_frame(&f->frame, status);
    status = sst_filter_decode(raw, h->raw_size, &f->filter);
    if (status != ADB_OK)
        return fail_frame(&f->frame, sst_place(status, r, "filter", h->offset));
    SST_COUNT(r, filter_loads, 1);
    *out = f;
    return ADB_OK;
}

/* The frame needs slots and arrays whose number stands in the bytes, so those
   are read first, into memory that the frame then keeps:

     index_frame | slots | raw | arrays of the decoded index             */
static adb_status decode_index(struct sst_reader *r, uint32_t part,
                               const uint8_t *raw, struct index_frame **out)
{
    const struct sst_part *p = &r->top.parts[part];
    size_t arrays = sst_index_memory(raw, p->index.raw_size);
    if (!arrays)
        return sst_place(status_set(ADB_CORRUPTION, "not an index"), r, "index",
                         p->index.offset);
    uint32_t count = sst_index_count(raw);
    if (count != p->blocks)
        return sst_place(status_set(ADB_CORRUPTION,
                                    "%u blocks where the top index says %u",
                                    count, p->blocks),
                         r, "index", p->index.offset);
    size_t head = ROUND_UP(sizeof(struct index_frame), (size_t)LINE);
    size_t slots = (size_t)p->blocks * sizeof(cache_slot);
    size_t kept = ROUND_UP((size_t)p->index.raw_size, (size_t)8);
    size_t size = head + slots + arrays + kept;
    struct index_frame *index =
        new_frame(r, size, &p->index, LEDGER_INDEX, free_index);
    if (!index)
        return ADB_NO_MEMORY;
    char *memory = (char *)index;
    index->slots = (void *)(memory + head);
    for (uint32_t i = 0; i < p->blocks; i++)
        atomic_init(&index->slots[i], NULL);
    uint8_t *copy = (uint8_t *)memory + head + slots + arrays;
    memcpy(copy, raw, p->index.raw_size);
    adb_status status = sst_index_decode(copy, p->index.raw_size, r->data_end,
                                         memory + head + slots, &index->index);
    if (status != ADB_OK)
        return fail_frame(&index->frame,
                          sst_place(status, r, "index", p->index.offset));
    index->index.fetch = (const uint64_t *)(const void *)index->slots;
    *out = index;
    return ADB_OK;
}

adb_status sst_load_index(struct sst_reader *r, uint32_t part,
                          struct index_frame **out)
{
    const struct sst_handle *h = &r->top.parts[part].index;
    uint8_t *raw = mem_alloc(sst_load_room(h));
    if (!raw)
        return no_memory(r, sst_load_room(h));
    adb_status status = sst_load_raw(r, h, raw);
    if (status == ADB_OK)
        status = decode_index(r, part, raw, out);
    mem_free(raw);
    if (status == ADB_OK)
        SST_COUNT(r, index_loads, 1);
    return status;
}

/* Mapped bytes are checked the first time only. */
static adb_status check_mapped(struct sst_reader *r, uint64_t ordinal,
                               const struct sst_handle *h)
{
    _Atomic uint64_t *word = &r->verified[ordinal / 64];
    uint64_t bit = UINT64_C(1) << (ordinal % 64);
    if (atomic_load_explicit(word, memory_order_relaxed) & bit)
        return ADB_OK;
    enum sst_compression compression;
    adb_status status =
        check_frame(r, h, r->map->base + h->offset, &compression);
    if (status == ADB_OK)
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    return status;
}

size_t sst_block_size_in(size_t memory)
{
    const size_t beside = sizeof(struct block_frame) + SST_TRAILER_SIZE;
    return MAX_OF(memory, 2 * beside) - beside;
}

adb_status sst_load_block(struct sst_reader *r, uint32_t part,
                          struct index_frame *index, uint32_t block,
                          unsigned flags, struct block_frame **out)
{
    const struct sst_handle *h = &index->index.blocks[block].handle;
    bool mapped = sst_is_mapped(r, h);
    size_t size = sizeof(struct block_frame) + (mapped ? 0 : sst_load_room(h));
    struct block_frame *b = new_frame(r, size, h, LEDGER_BLOCK, free_frame);
    if (!b)
        return ADB_NO_MEMORY;
    b->frame.parent = &index->frame;
    const uint8_t *raw = b->raw;
    adb_status status;
    if (mapped) {
        raw = r->map->base + h->offset;
        status = check_mapped(r, r->top.parts[part].first_block + block, h);
    } else {
        status = load_raw(r, h, b->raw, flags);
    }
    if (status != ADB_OK)
        return fail_frame(&b->frame, status);
    status = sst_block_open(&b->block, raw, h->raw_size);
    if (status != ADB_OK)
        return fail_frame(&b->frame,
                          sst_place(status, r, "data block", h->offset));
    SST_COUNT(r, block_loads, 1);
    *out = b;
    return ADB_OK;
}

/* ---- extents ---- */

enum { CHUNK = SST_EXTENT_CHUNK, RUN_CHUNKS = 16, ASK_MAX = 1 << 20 };

struct extent {
    uint64_t offset, size;
};

/* Reads whole chunks [first, first + count) into data and verifies them. */
static adb_status load_chunks(struct sst_reader *r, struct env_file *file,
                              const struct extent *e, uint64_t first,
                              size_t count, uint8_t *data)
{
    uint8_t sums[RUN_CHUNKS * 8];
    uint64_t begin = first * CHUNK;
    size_t size = (size_t)MIN_OF(e->size - begin, (uint64_t)count * CHUNK);
    adb_status status = env_file_read_full(file, e->offset + begin, data, size);
    if (status == ADB_OK)
        status = env_file_read_full(
            file, sst_extent_checksum_offset(e->offset, e->size, first), sums,
            count * 8);
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        status = sst_chunk_check(data + i * CHUNK,
                                 MIN_OF(size - i * CHUNK, (size_t)CHUNK),
                                 get_u64(sums + 8 * i), r->info.number,
                                 e->offset, first + i, r->path);
    SST_COUNT(r, loaded_bytes, size + count * 8);
    return status;
}

/* A range inside one chunk that does not cover it: through a chunk of our
   own. */
static adb_status load_piece(struct sst_reader *r, struct env_file *file,
                             const struct extent *e, uint64_t from, void *data,
                             size_t size)
{
    uint8_t *chunk = mem_alloc(CHUNK);
    if (!chunk)
        return no_memory(r, CHUNK);
    adb_status status = load_chunks(r, file, e, from / CHUNK, 1, chunk);
    if (status == ADB_OK)
        memcpy(data, chunk + from % CHUNK, size);
    mem_free(chunk);
    return status;
}

static adb_status load_range(struct sst_reader *r, struct env_file *file,
                             const struct extent *e, uint64_t from,
                             uint8_t *data, size_t size)
{
    while (size) {
        uint64_t chunk_end = MIN_OF((from / CHUNK + 1) * CHUNK, e->size);
        size_t step;
        adb_status status;
        if (from % CHUNK || size < chunk_end - from) {
            step = (size_t)MIN_OF((uint64_t)size, chunk_end - from);
            status = load_piece(r, file, e, from, data, step);
        } else {
            /* As many whole chunks as fit; the value's last may be short. */
            uint64_t count = from + size == e->size ? (size + CHUNK - 1) / CHUNK
                                                    : size / CHUNK;
            count = MIN_OF(count, (uint64_t)RUN_CHUNKS);
            step = (size_t)MIN_OF((uint64_t)size, count * CHUNK);
            status = load_chunks(r, file, e, from / CHUNK, (size_t)count, data);
        }
        if (status != ADB_OK)
            return status;
        from += step;
        data += step;
        size -= step;
    }
    return ADB_OK;
}

void sst_ask_value(struct sst_reader *r, uint64_t extent_offset,
                   uint64_t value_size)
{
    sst_ask(r, extent_offset,
            MIN_OF(sst_extent_span(value_size), (uint64_t)ASK_MAX));
}

adb_status sst_load_value(struct sst_reader *r, uint64_t extent_offset,
                          uint64_t value_size, uint64_t from, void *data,
                          size_t size)
{
    if (from > value_size || size > value_size - from)
        return status_set(ADB_INVALID, "%s: read behind the end of a value",
                          r->path);
    adb_status status =
        sst_extent_check(extent_offset, value_size, r->data_end);
    if (status != ADB_OK)
        return sst_place(status, r, "value", extent_offset);
    struct file_handle *handle;
    struct env_file *file;
    status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    struct extent extent = {extent_offset, value_size};
    status = load_range(r, file, &extent, from, data, size);
    file_table_release(r->context.files, handle);
    return status;
}
