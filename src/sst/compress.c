#include "sst/compress.h"

#include <lz4.h>
#include <stdatomic.h>
#include <zstd.h>

#include "base/alloc.h"
#include "sst/format.h"

struct sst_compressor {
    enum sst_compression kind;
    int level;
    void *lz4;       /* owned; working state */
    ZSTD_CCtx *zstd; /* owned; zstd allocates it by itself */
};

adb_status sst_compressor_new(enum sst_compression kind, int level,
                              struct sst_compressor **out)
{
    struct sst_compressor *c = mem_zalloc(sizeof *c);
    if (!c)
        return status_set(ADB_NO_MEMORY, "no memory for a compressor");
    c->kind = kind;
    c->level = level;
    bool ready = true;
    switch (kind) {
    case SST_COMPRESSION_NONE:
        break;
    case SST_COMPRESSION_LZ4:
        c->lz4 = mem_alloc((size_t)LZ4_sizeofState());
        ready = c->lz4 != NULL;
        break;
    case SST_COMPRESSION_ZSTD:
        c->zstd = ZSTD_createCCtx();
        ready = c->zstd != NULL;
        break;
    default:
        mem_free(c);
        return status_set(ADB_INVALID, "unknown compression %d", (int)kind);
    }
    if (!ready) {
        sst_compressor_free(c);
        return status_set(ADB_NO_MEMORY, "no memory for a compressor");
    }
    *out = c;
    return ADB_OK;
}

void sst_compressor_free(struct sst_compressor *c)
{
    if (!c)
        return;
    mem_free(c->lz4);
    ZSTD_freeCCtx(c->zstd);
    mem_free(c);
}

size_t sst_compress_bound(const struct sst_compressor *c, size_t size)
{
    switch (c->kind) {
    case SST_COMPRESSION_LZ4:
        return size > LZ4_MAX_INPUT_SIZE
                   ? size
                   : (size_t)LZ4_compressBound((int)size);
    case SST_COMPRESSION_ZSTD:
        return ZSTD_compressBound(size);
    default:
        return size;
    }
}

size_t sst_compress(struct sst_compressor *c, const void *data, size_t size,
                    void *out)
{
    /* What does not shrink by an eighth costs more at each load than it
       saves. */
    size_t worth = size - size / 8;
    size_t packed = 0;

    if (c->kind == SST_COMPRESSION_LZ4 && size <= LZ4_MAX_INPUT_SIZE) {
        int got = LZ4_compress_fast_extState(
            c->lz4, data, out, (int)size, LZ4_compressBound((int)size), 1);
        packed = got > 0 ? (size_t)got : 0;
    } else if (c->kind == SST_COMPRESSION_ZSTD) {
        packed = ZSTD_compressCCtx(c->zstd, out, ZSTD_compressBound(size),
                                   data, size, c->level);
        if (ZSTD_isError(packed))
            packed = 0;
    }
    return packed < worth && sst_sizes_fit(packed, size) ? packed : 0;
}

/* ---- unpacking ---- */

/* Making a zstd context costs more than unpacking a block with it, so a few
   idle ones wait here. They are taken and given back by exchange; when none
   waits, one is made. */
enum { IDLE_CONTEXTS = 8 };
static _Atomic(ZSTD_DCtx *) idle[IDLE_CONTEXTS];

static ZSTD_DCtx *take_context(void)
{
    for (int i = 0; i < IDLE_CONTEXTS; i++) {
        if (!atomic_load_explicit(&idle[i], memory_order_relaxed))
            continue;
        ZSTD_DCtx *d =
            atomic_exchange_explicit(&idle[i], NULL, memory_order_acquire);
        if (d)
            return d;
    }
    return ZSTD_createDCtx();
}

static void give_context(ZSTD_DCtx *d)
{
    for (int i = 0; i < IDLE_CONTEXTS; i++) {
        ZSTD_DCtx *expected = NULL;
        if (atomic_compare_exchange_strong_explicit(
                &idle[i], &expected, d, memory_order_release,
                memory_order_relaxed))
            return;
    }
    ZSTD_freeDCtx(d);
}

__attribute__((destructor)) static void free_contexts(void)
{
    for (int i = 0; i < IDLE_CONTEXTS; i++)
        ZSTD_freeDCtx(atomic_exchange(&idle[i], NULL));
}

static adb_status decompress_zstd(const void *data, size_t size, void *raw,
                                  size_t raw_size)
{
    ZSTD_DCtx *d = take_context();
    if (!d)
        return status_set(ADB_NO_MEMORY, "no memory to unpack a block");
    size_t got = ZSTD_decompressDCtx(d, raw, raw_size, data, size);
    give_context(d);
    if (ZSTD_isError(got))
        return status_set(ADB_CORRUPTION, "zstd block does not unpack: %s",
                          ZSTD_getErrorName(got));
    if (got != raw_size)
        return status_set(ADB_CORRUPTION,
                          "zstd block unpacks to %zu bytes, not %zu", got,
                          raw_size);
    return ADB_OK;
}

adb_status sst_decompress(enum sst_compression kind, const void *data,
                          size_t size, void *raw, size_t raw_size)
{
    if (size > INT32_MAX || raw_size > INT32_MAX)
        return status_set(ADB_CORRUPTION, "block size out of range");
    switch (kind) {
    case SST_COMPRESSION_NONE:
        if (size != raw_size)
            return status_set(ADB_CORRUPTION,
                              "plain block has %zu bytes, not %zu", size,
                              raw_size);
        memcpy(raw, data, size);
        return ADB_OK;
    case SST_COMPRESSION_LZ4: {
        int got = LZ4_decompress_safe(data, raw, (int)size, (int)raw_size);
        if (got < 0 || (size_t)got != raw_size)
            return status_set(ADB_CORRUPTION, "lz4 block does not unpack to "
                                              "%zu bytes",
                              raw_size);
        return ADB_OK;
    }
    case SST_COMPRESSION_ZSTD:
        return decompress_zstd(data, size, raw, raw_size);
    }
    return status_set(ADB_UNSUPPORTED, "block compression %d is of a newer "
                                       "version",
                      (int)kind);
}

/* ---- sizes not known ---- */

enum { ROOM_FIRST = 64 << 10 };

size_t sst_lz4_head(const void *data, size_t available, void *out, size_t size)
{
    int got = LZ4_decompress_safe_partial(
        data, out, (int)MIN_OF(available, (size_t)INT32_MAX), (int)size,
        (int)size);
    return got > 0 ? (size_t)got : 0;
}

size_t sst_zstd_span(const void *data, size_t available)
{
    if (available < 4 || get_u32(data) != ZSTD_MAGICNUMBER)
        return 0;
    size_t span = ZSTD_findFrameCompressedSize(data, available);
    return ZSTD_isError(span) ? 0 : span;
}

static adb_status decompress_all_lz4(const void *data, size_t size,
                                     struct buffer *raw)
{
    for (size_t room = ROOM_FIRST; room <= SST_MAX_BLOCK; room *= 2) {
        adb_status status = buffer_reserve(raw, room);
        if (status != ADB_OK)
            return status;
        int got = LZ4_decompress_safe(data, (char *)raw->data + raw->size,
                                      (int)size, (int)room);
        if (got >= 0) {
            raw->size += (size_t)got;
            return ADB_OK;
        }
        if (!sst_sizes_fit(size, room))
            break;
    }
    return status_set(ADB_CORRUPTION, "lz4 block does not unpack");
}

static adb_status decompress_all_zstd(const void *data, size_t size,
                                      struct buffer *raw)
{
    unsigned long long full = ZSTD_getFrameContentSize(data, size);
    if (full > SST_MAX_BLOCK || !sst_sizes_fit(size, full))
        return status_set(ADB_CORRUPTION, "zstd block of unknown size");
    adb_status status = buffer_reserve(raw, (size_t)full + 1);
    if (status == ADB_OK)
        status = decompress_zstd(data, size, raw->data + raw->size,
                                 (size_t)full);
    if (status == ADB_OK)
        raw->size += (size_t)full;
    return status;
}

adb_status sst_decompress_all(enum sst_compression kind, const void *data,
                              size_t size, struct buffer *raw)
{
    if (size > INT32_MAX)
        return status_set(ADB_CORRUPTION, "block size out of range");
    if (kind == SST_COMPRESSION_LZ4)
        return decompress_all_lz4(data, size, raw);
    if (kind == SST_COMPRESSION_ZSTD)
        return decompress_all_zstd(data, size, raw);
    return buffer_append(raw, data, size);
}
