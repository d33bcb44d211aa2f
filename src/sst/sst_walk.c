#include "sst/sst_walk.h"

#include <assert.h>

#include "base/hash.h"
#include "sst/block_writer.h"

enum {
    WINDOW = 4 << 20,
    AHEAD = 2 << 20,       /* larger frames hold no data block */
    LZ4_MAX_SPAN = 1 << 20, /* nor do larger lz4 frames */
    PAGE = 4096
};

void sst_walk_begin(struct sst_walk *w, struct sst_reader *r, uint64_t begin,
                    uint64_t end)
{
    assert(begin <= end && end <= r->info.size);
    w->reader = r;
    w->at = begin;
    w->end = end;
    w->have = 0;
}

void sst_walk_deinit(struct sst_walk *w)
{
    mem_free(w->data);
    buffer_deinit(&w->raw);
    *w = (struct sst_walk){0};
}

/* ---- the window --------------------------------------------------------- */

static adb_status read_file(struct sst_walk *w, uint64_t offset, uint8_t *to,
                            size_t size)
{
    struct file_table *files = w->reader->context.files;
    struct file_handle *handle;
    struct env_file *file;
    adb_status status =
        file_table_acquire(files, w->reader->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    status = env_file_read_full(file, offset, to, size);
    file_table_release(files, handle);
    return status;
}

/* Page by page; those that cannot be read become zeros. */
static adb_status read_pages(struct sst_walk *w, uint64_t offset, uint8_t *to,
                             size_t size)
{
    while (size) {
        size_t piece = MIN_OF(size, PAGE - (size_t)(offset % PAGE));
        adb_status status = read_file(w, offset, to, piece);
        if (status == ADB_IO)
            memset(to, 0, piece);
        else if (status != ADB_OK)
            return status;
        offset += piece;
        to += piece;
        size -= piece;
    }
    return ADB_OK;
}

static adb_status make_room(struct sst_walk *w)
{
    size_t wanted = (size_t)MIN_OF((uint64_t)WINDOW, w->end - w->at);
    if (w->capacity >= wanted)
        return ADB_OK;
    uint8_t *data = mem_realloc(w->data, wanted);
    if (!data)
        return status_set(ADB_NO_MEMORY, "%s: no memory to search it",
                          w->reader->path);
    w->data = data;
    w->capacity = wanted;
    return ADB_OK;
}

/* Has the window what may belong to a frame at w->at? */
static adb_status fill(struct sst_walk *w)
{
    uint64_t wanted = MIN_OF((uint64_t)AHEAD, w->end - w->at);
    if (w->have && w->at >= w->base && w->at + wanted <= w->base + w->have)
        return ADB_OK;
    adb_status status = make_room(w);
    if (status != ADB_OK)
        return status;
    size_t kept = 0;
    if (w->have && w->at < w->base + w->have) {
        kept = (size_t)(w->base + w->have - w->at);
        memmove(w->data, w->data + (w->at - w->base), kept);
    }
    size_t size = (size_t)MIN_OF((uint64_t)WINDOW, w->end - w->at) - kept;
    w->base = w->at;
    w->have = 0;
    sst_ahead_read(&w->ahead, w->reader, w->at + kept, w->at + kept + size,
                   false);
    status = read_file(w, w->at + kept, w->data + kept, size);
    if (status == ADB_IO && w->skip_unreadable)
        status = read_pages(w, w->at + kept, w->data + kept, size);
    if (status == ADB_OK)
        w->have = kept + size;
    return status;
}

/* ---- what begins here? -------------------------------------------------- */

static bool plausible_form(uint8_t form)
{
    return !(form & ~(SST_FORM_KIND | SST_FORM_EXTENT)) &&
           (form & SST_FORM_KIND) <= KV_KIND_MAX;
}

/* Could this be the header of a data block? */
static bool plausible_header(const uint8_t head[SST_BLOCK_HEADER])
{
    return head[7] == 0 && head[4] <= (SST_BLOCK_WIDE | SST_BLOCK_MIXED) &&
           head[6] <= 7 && head[3] == 0 && get_u32(head) != 0 &&
           get_u64(head + 8) <= KV_MAX_SEQ &&
           get_u32(head + 16) <= ADB_MAX_KEY_SIZE &&
           (head[4] & SST_BLOCK_MIXED ? head[5] == 0
                                      : plausible_form(head[5]));
}

/* Where the last entry of a plain block ends, if the block begins at p; 0: it
   does not. */
static size_t plain_size(const uint8_t *p, size_t available)
{
    bool wide = p[4] & SST_BLOCK_WIDE, mixed = p[4] & SST_BLOCK_MIXED;
    uint64_t count = get_u32(p), width = wide ? 4 : 2;
    uint64_t heads =
        SST_BLOCK_HEADER + (((uint64_t)get_u32(p + 16) + 3) & ~UINT64_C(3));
    uint64_t offsets = heads + 4 * count, data = offsets + width * count;
    if (data > available)
        return 0;
    const uint8_t *last = p + offsets + width * (count - 1);
    size_t at = wide ? get_u32(last) : get_u16(last);
    size_t fixed = (size_t)mixed + p[6];
    if (at < data || at + fixed >= available)
        return 0;
    const uint8_t *q = p + at, *end = p + available;
    uint8_t form = mixed ? *q : p[5];
    uint64_t suffix, value;
    q = get_varint(q + fixed, end, &suffix);
    if (q)
        q = get_varint(q, end, &value);
    if (!q || suffix > ADB_MAX_KEY_SIZE)
        return 0;
    uint64_t rest = suffix + (form & SST_FORM_EXTENT ? 8 : value);
    return rest <= (uint64_t)(end - q) ? (size_t)(q - p) + (size_t)rest : 0;
}

/* Does a frame of `size` stored bytes end as one of that kind must? */
static bool is_sealed(const struct sst_walk *w, const uint8_t *p,
                      size_t available, size_t size, uint8_t kind)
{
    return size && size + SST_TRAILER_SIZE <= available && p[size] == kind &&
           get_u64(p + size + 1) ==
               checksum_bound(p, size + 1, w->reader->info.number, w->at);
}

/* Tries every end that an lz4 frame at p may have. *size 0: none fits. */
static adb_status lz4_size(const struct sst_walk *w, const uint8_t *p,
                           size_t available, size_t *size)
{
    struct checksum_stream sum;
    size_t done = 0;
    *size = 0;
    if (available < SST_TRAILER_SIZE)
        return ADB_OK;
    if (checksum_stream_init_bound(&sum, w->reader->info.number, w->at) != 0)
        return status_set(ADB_NO_MEMORY, "%s: no memory to search it",
                          w->reader->path);
    size_t most =
        MIN_OF(available - SST_TRAILER_SIZE + 1, (size_t)LZ4_MAX_SPAN);
    while (done < most) {
        const uint8_t *kind =
            memchr(p + done, SST_COMPRESSION_LZ4, most - done);
        if (!kind)
            break;
        size_t at = (size_t)(kind - p);
        checksum_stream_update(&sum, p + done, at + 1 - done);
        done = at + 1;
        if (checksum_stream_bound_value(&sum) == get_u64(p + done)) {
            *size = at;
            break;
        }
    }
    checksum_stream_deinit(&sum);
    return ADB_OK;
}

struct frame {
    size_t size; /* stored; 0: there is none */
    enum sst_compression kind;
};

static adb_status look(const struct sst_walk *w, const uint8_t *p,
                       size_t available, struct frame *f)
{
    uint8_t head[SST_BLOCK_HEADER];
    *f = (struct frame){0, SST_COMPRESSION_NONE};
    if (available < SST_BLOCK_HEADER + SST_TRAILER_SIZE)
        return ADB_OK;
    if (plausible_header(p)) {
        f->size = plain_size(p, available);
        if (is_sealed(w, p, available, f->size, SST_COMPRESSION_NONE))
            return ADB_OK;
    }
    f->kind = SST_COMPRESSION_ZSTD;
    f->size = sst_zstd_span(p, available);
    if (is_sealed(w, p, available, f->size, SST_COMPRESSION_ZSTD))
        return ADB_OK;
    f->kind = SST_COMPRESSION_LZ4;
    f->size = 0;
    if (p[0] < 0x10 || sst_lz4_head(p, MIN_OF(available, (size_t)PAGE), head,
                                    sizeof head) < sizeof head ||
        !plausible_header(head))
        return ADB_OK;
    return lz4_size(w, p, available, &f->size);
}

/* A sealed frame: is it a data block? ADB_CORRUPTION: no. */
static adb_status open_frame(struct sst_walk *w, const uint8_t *p,
                             const struct frame *f, struct sst_block *block)
{
    const uint8_t *raw = p;
    size_t size = f->size;
    if (f->kind != SST_COMPRESSION_NONE) {
        buffer_clear(&w->raw);
        adb_status status = sst_decompress_all(f->kind, p, f->size, &w->raw);
        if (status != ADB_OK)
            return status;
        raw = w->raw.data;
        size = w->raw.size;
    }
    adb_status status = sst_block_open(block, raw, size);
    return status == ADB_OK ? sst_block_check_order(block) : status;
}

adb_status sst_walk_next(struct sst_walk *w, struct sst_block *block,
                         uint64_t *offset, size_t *span)
{
    while (w->at < w->end) {
        struct frame f;
        adb_status status = fill(w);
        if (status != ADB_OK)
            return status;
        const uint8_t *p = w->data + (w->at - w->base);
        size_t available = w->have - (size_t)(w->at - w->base);
        status = look(w, p, available, &f);
        if (status != ADB_OK)
            return status;
        if (!f.size) {
            w->at++;
            continue;
        }
        *offset = w->at;
        *span = f.size + SST_TRAILER_SIZE;
        w->at += *span;
        status = open_frame(w, p, &f, block);
        if (status != ADB_CORRUPTION)
            return status;
    }
    return ADB_NOT_FOUND;
}
