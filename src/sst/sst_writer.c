/*
 * A table file, in order of writing:
 *
 *   "albrtsst"
 *   part 0:  data block frames, and between them the extents of large values
 *            (each before the block that refers to it)
 *            filter frame, index frame
 *   part 1:  ...
 *   top index frame, properties frame, footer
 *
 * A data block is closed when the next entry would make it pass block_size,
 * and only then, since its separator depends on that entry's key. A part is
 * closed behind a block, when it has part_keys distinct keys or its index has
 * grown to a megabyte (long keys), so memory is bounded by one part.
 *
 * The whole-file checksum is XXH3 over every byte before the footer, taken
 * from the write buffer as it goes out.
 */
#include "sst/sst_writer.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "sst/block_writer.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "sst/index.h"

enum {
    OUT_SIZE = 256 * 1024, /* stays in the second-level cache */
    DEFAULT_BLOCK_SIZE = 4096,
    MAX_BLOCK_SIZE = 1 << 20,
    PART_INDEX_MAX = 1 << 20,
    MAX_EXTENT_THRESHOLD = 1 << 20
};

struct sst_writer {
    struct sst_writer_options options; /* defaults filled in */
    char *path;                        /* owned */
    struct env_file *file;             /* owned */
    struct sst_compressor *compressor; /* owned */
    struct checksum_stream checksum;

    /* Bytes not yet handed to the file, which has `written`. */
    uint8_t *out; /* owned */
    size_t out_size, out_capacity;
    uint64_t written;

    struct sst_block_writer block;
    struct sst_index_builder index; /* of the part in work */
    uint64_t *hashes;               /* owned; distinct keys of the part */
    size_t hash_count, hash_capacity;
    struct sst_part part;

    struct buffer top;       /* encoded parts */
    struct buffer scratch;   /* raw bytes on their way to compression */
    struct buffer separator; /* of the block closed last */
    struct buffer checksums; /* of the extent in work */

    struct buffer smallest, last_key; /* last_key: when block is empty */
    struct sst_properties properties;
    int64_t charged; /* to LEDGER_BUILD */
};

/* ---- opening ---- */

static adb_status check_options(struct sst_writer_options *o)
{
    if (!o->block_size)
        o->block_size = DEFAULT_BLOCK_SIZE;
    if (!o->part_keys)
        o->part_keys = SST_PART_KEYS;
    if (!o->extent_threshold)
        o->extent_threshold = SST_EXTENT_THRESHOLD;
    if (o->block_size > MAX_BLOCK_SIZE || o->filter_bits > 64 ||
        o->extent_threshold > MAX_EXTENT_THRESHOLD || !o->number)
        return status_set(ADB_INVALID,
                          "table options out of range: number %llu, block size "
                          "%zu, filter bits %u, extent threshold %u",
                          (unsigned long long)o->number, o->block_size,
                          o->filter_bits, o->extent_threshold);
    return ADB_OK;
}

static void describe(struct sst_writer *w)
{
    struct sst_properties *p = &w->properties;
    p->info.number = w->options.number;
    p->info.created_ns = w->options.env->ops->wall_ns(w->options.env);
    p->info.min_seq = KV_MAX_SEQ;
    p->block_size = (uint32_t)w->options.block_size;
    p->part_keys = w->options.part_keys;
    p->extent_threshold = w->options.extent_threshold;
    p->filter_bits = w->options.filter_bits;
    p->compression = w->options.compression;
    p->compression_level = w->options.compression_level;
    p->histogram_width = 64;
}

static void recharge(struct sst_writer *w)
{
    size_t now = sizeof *w + w->out_capacity + w->block.bytes.capacity +
                 sst_block_writer_slots_size(&w->block) +
                 w->index.keys.capacity + w->index.blocks.capacity +
                 w->hash_capacity * sizeof *w->hashes + w->top.capacity +
                 w->scratch.capacity + w->checksums.capacity;
    if ((int64_t)now != w->charged) {
        ledger_add(w->options.ledger, LEDGER_BUILD, (int64_t)now - w->charged);
        w->charged = (int64_t)now;
    }
}

/* Frees all but the file's name on disk. */
static void writer_free(struct sst_writer *w)
{
    ledger_add(w->options.ledger, LEDGER_BUILD, -w->charged);
    if (w->checksum.state)
        checksum_stream_deinit(&w->checksum);
    sst_compressor_free(w->compressor);
    sst_block_writer_deinit(&w->block);
    sst_index_builder_deinit(&w->index);
    buffer_deinit(&w->top);
    buffer_deinit(&w->scratch);
    buffer_deinit(&w->separator);
    buffer_deinit(&w->checksums);
    buffer_deinit(&w->smallest);
    buffer_deinit(&w->last_key);
    mem_free(w->hashes);
    mem_free(w->out);
    mem_free(w->path);
    mem_free(w);
}

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory to build a table");
}

static adb_status writer_init(struct sst_writer *w)
{
    w->path = sst_path(w->options.directory, w->options.number);
    w->out = mem_alloc(OUT_SIZE);
    if (!w->path || !w->out || checksum_stream_init(&w->checksum) != 0)
        return no_memory();
    w->out_capacity = OUT_SIZE;
    adb_status status =
        sst_compressor_new(w->options.compression,
                           w->options.compression_level, &w->compressor);
    if (status != ADB_OK)
        return status;
    return env_open(w->options.env, w->path,
                    ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, &w->file);
}

adb_status sst_writer_open(const struct sst_writer_options *options,
                           struct sst_writer **out)
{
    struct sst_writer *w = mem_zalloc(sizeof *w);
    if (!w)
        return no_memory();
    w->options = *options;
    adb_status status = check_options(&w->options);
    if (status == ADB_OK)
        status = writer_init(w);
    if (status != ADB_OK) {
        writer_free(w);
        return status;
    }
    describe(w);
    recharge(w);
    memcpy(w->out, sst_magic, SST_HEADER_SIZE);
    w->out_size = SST_HEADER_SIZE;
    *out = w;
    return ADB_OK;
}

/* ---- output ---- */

static uint64_t position(const struct sst_writer *w)
{
    return w->written + w->out_size;
}

static adb_status out_flush(struct sst_writer *w)
{
    if (!w->out_size)
        return ADB_OK;
    checksum_stream_update(&w->checksum, w->out, w->out_size);
    adb_status status =
        env_file_write(w->file, w->written, w->out, w->out_size);
    if (status != ADB_OK)
        return status;
    w->written += w->out_size;
    w->out_size = 0;
    return ADB_OK;
}

/* Makes room for `size` more bytes in one piece, at w->out + w->out_size. */
static adb_status out_reserve(struct sst_writer *w, size_t size)
{
    if (likely(size <= w->out_capacity - w->out_size))
        return ADB_OK;
    adb_status status = out_flush(w);
    if (status != ADB_OK || size <= w->out_capacity)
        return status;
    uint8_t *grown = mem_realloc(w->out, size);
    if (!grown)
        return no_memory();
    w->out = grown;
    w->out_capacity = size;
    return ADB_OK;
}

/* The `size` stored bytes at the end of the buffer become a frame. */
static void out_seal(struct sst_writer *w, size_t size, size_t raw_size,
                     enum sst_compression compression,
                     struct sst_handle *handle)
{
    *handle = (struct sst_handle){position(w), (uint32_t)size,
                                  (uint32_t)raw_size};
    sst_frame_seal(w->out + w->out_size, size, compression, w->options.number,
                   handle->offset);
    w->out_size += size + SST_TRAILER_SIZE;
}

/* A frame of raw bytes, packed if that is wanted and pays. */
static adb_status write_frame(struct sst_writer *w, const uint8_t *raw,
                              size_t size, bool pack,
                              struct sst_handle *handle, bool *packed)
{
    if (size > SST_MAX_BLOCK)
        return status_set(ADB_TOO_LARGE, "%s: a block of %zu bytes", w->path,
                          size);
    size_t room = pack ? sst_compress_bound(w->compressor, size) : size;
    adb_status status =
        out_reserve(w, MAX_OF(room, size) + SST_TRAILER_SIZE);
    if (status != ADB_OK)
        return status;
    uint8_t *to = w->out + w->out_size;
    size_t stored = pack ? sst_compress(w->compressor, raw, size, to) : 0;
    *packed = stored != 0;
    if (!stored) {
        memcpy(to, raw, size);
        stored = size;
    }
    out_seal(w, stored, size,
             *packed ? w->options.compression : SST_COMPRESSION_NONE, handle);
    return ADB_OK;
}

/* ---- extents ---- */

static adb_status pad_to_extent(struct sst_writer *w)
{
    size_t past = position(w) % SST_EXTENT_ALIGN;
    size_t padding = past ? SST_EXTENT_ALIGN - past : 0;
    adb_status status = out_reserve(w, padding);
    if (status != ADB_OK)
        return status;
    memset(w->out + w->out_size, 0, padding);
    w->out_size += padding;
    return ADB_OK;
}

static adb_status write_chunk(struct sst_writer *w, struct kv_iter *entry,
                              uint64_t extent, uint64_t i, size_t size)
{
    adb_status status = out_reserve(w, size);
    if (status != ADB_OK)
        return status;
    uint8_t *to = w->out + w->out_size;
    uint64_t from = i * SST_EXTENT_CHUNK;
    if (entry->value.data)
        memcpy(to, (const uint8_t *)entry->value.data + from, size);
    else
        status = entry->ops->read_value(entry, from, to, size);
    if (status != ADB_OK)
        return status;
    w->out_size += size;
    return buffer_append_u64(
        &w->checksums,
        sst_chunk_checksum(to, size, w->options.number, extent, i));
}

static adb_status write_extent(struct sst_writer *w, struct kv_iter *entry,
                               uint64_t *extent)
{
    uint64_t size = entry->value.size;
    adb_status status = pad_to_extent(w);
    uint64_t offset = position(w);

    buffer_clear(&w->checksums);
    for (uint64_t i = 0, done = 0; done < size && status == ADB_OK; i++) {
        size_t chunk = (size_t)MIN_OF(size - done, SST_EXTENT_CHUNK);
        status = write_chunk(w, entry, offset, i, chunk);
        done += chunk;
    }
    if (status == ADB_OK)
        status = out_reserve(w, w->checksums.size);
    if (status != ADB_OK)
        return status;
    memcpy(w->out + w->out_size, w->checksums.data, w->checksums.size);
    w->out_size += w->checksums.size;
    assert(position(w) == offset + sst_extent_span(size));
    w->properties.extents++;
    w->properties.extent_bytes += sst_extent_span(size);
    *extent = offset;
    return ADB_OK;
}

/* ---- blocks and parts ---- */

static adb_status write_block(struct sst_writer *w, struct sst_handle *handle,
                              bool *packed)
{
    size_t bound = sst_block_writer_bound(&w->block);

    /* What is not to be packed is laid out where it will be written from. */
    if (w->options.compression == SST_COMPRESSION_NONE) {
        adb_status status = out_reserve(w, bound + SST_TRAILER_SIZE);
        if (status != ADB_OK)
            return status;
        size_t size =
            sst_block_writer_finish(&w->block, w->out + w->out_size);
        out_seal(w, size, size, SST_COMPRESSION_NONE, handle);
        *packed = false;
        return ADB_OK;
    }
    buffer_clear(&w->scratch);
    adb_status status = buffer_reserve(&w->scratch, bound);
    if (status != ADB_OK)
        return status;
    size_t size = sst_block_writer_finish(&w->block, w->scratch.data);
    return write_frame(w, w->scratch.data, size, true, handle, packed);
}

/* Closes the block. next: the key of the entry to come; NULL data: none. */
static adb_status finish_block(struct sst_writer *w, const adb_slice *next)
{
    adb_slice last = sst_block_writer_last(&w->block);
    bool continues = next && slice_equal(last, *next);
    struct sst_handle handle;
    bool packed;

    buffer_clear(&w->last_key);
    buffer_clear(&w->separator);
    adb_status status = buffer_append(&w->last_key, last.data, last.size);
    if (status == ADB_OK)
        status = sst_separator(last, next ? *next : last, &w->separator);
    if (status == ADB_OK)
        status = write_block(w, &handle, &packed);
    if (status != ADB_OK)
        return status;
    w->part.blocks++;
    w->part.continues = continues;
    w->properties.blocks++;
    w->properties.data_bytes += sst_handle_span(&handle);
    w->properties.raw_data_bytes += handle.raw_size;
    sst_block_writer_clear(&w->block);
    return sst_index_builder_add(&w->index, &handle, packed,
                                 buffer_slice(&w->separator), continues);
}

static adb_status write_filter(struct sst_writer *w, struct sst_handle *handle)
{
    if (!w->options.filter_bits)
        return ADB_OK;
    size_t size = sst_filter_size(w->hash_count, w->options.filter_bits);
    adb_status status = out_reserve(w, size + SST_TRAILER_SIZE);
    if (status != ADB_OK)
        return status;
    sst_filter_build(w->hashes, w->hash_count, w->options.filter_bits,
                     w->out + w->out_size);
    out_seal(w, size, size, SST_COMPRESSION_NONE, handle);
    w->properties.filter_bytes += sst_handle_span(handle);
    return ADB_OK;
}

static adb_status finish_part(struct sst_writer *w)
{
    bool packed;

    adb_status status = write_filter(w, &w->part.filter);
    if (status != ADB_OK)
        return status;
    buffer_clear(&w->scratch);
    status = sst_index_builder_finish(&w->index, &w->scratch);
    if (status == ADB_OK)
        status = write_frame(w, w->scratch.data, w->scratch.size, true,
                             &w->part.index, &packed);
    if (status != ADB_OK)
        return status;
    w->properties.index_bytes += sst_handle_span(&w->part.index);
    w->properties.parts++;
    w->part.last_key = buffer_slice(&w->separator);
    status = sst_part_encode(&w->top, &w->part);
    w->part = (struct sst_part){.blocks = 0};
    w->hash_count = 0;
    sst_index_builder_clear(&w->index);
    recharge(w);
    return status;
}

static bool part_full(const struct sst_writer *w)
{
    return w->part.keys >= w->options.part_keys ||
           sst_index_builder_size(&w->index) >= PART_INDEX_MAX;
}

/* ---- adding ---- */

static adb_status note_key(struct sst_writer *w, adb_slice key)
{
    if (w->hash_count == w->hash_capacity) {
        size_t capacity = w->hash_capacity ? w->hash_capacity * 2 : 1024;
        uint64_t *hashes = mem_realloc(w->hashes, capacity * sizeof *hashes);
        if (!hashes)
            return no_memory();
        w->hashes = hashes;
        w->hash_capacity = capacity;
    }
    w->hashes[w->hash_count++] = hash_key(key.data, key.size);
    w->part.keys++;
    return ADB_OK;
}

/* Buckets of equal width; when an entry lies behind the last, neighbours join
   and the width doubles. */
static void note_tombstone(struct sst_properties *p, uint64_t ordinal)
{
    while (ordinal / p->histogram_width >= SST_HISTOGRAM_BUCKETS) {
        for (int i = 0; i < SST_HISTOGRAM_BUCKETS / 2; i++)
            p->histogram[i] = p->histogram[2 * i] + p->histogram[2 * i + 1];
        memset(p->histogram + SST_HISTOGRAM_BUCKETS / 2, 0,
               sizeof p->histogram / 2);
        p->histogram_width *= 2;
    }
    p->histogram[ordinal / p->histogram_width]++;
}

static void count_entry(struct sst_writer *w, const struct kv_entry *e)
{
    struct table_info *info = &w->properties.info;
    if (e->kind == KV_DELETE) {
        info->tombstones++;
        note_tombstone(&w->properties, info->entries);
    }
    info->entries++;
    info->key_bytes += e->key.size;
    info->value_bytes += e->value.size;
    info->min_seq = MIN_OF(info->min_seq, e->seq);
    info->max_seq = MAX_OF(info->max_seq, e->seq);
    w->part.entries++;
}

/* The key added last; entries must not be 0. */
static adb_slice last_key(const struct sst_writer *w)
{
    return w->block.count ? sst_block_writer_last(&w->block)
                          : buffer_slice(&w->last_key);
}

/* Closes block and part if the entry does not fit any more. */
static adb_status make_room(struct sst_writer *w, adb_slice key,
                            size_t stored_size)
{
    if (!sst_block_writer_full(&w->block, key.size + stored_size,
                               w->options.block_size))
        return ADB_OK;
    adb_status status = finish_block(w, &key);
    if (status == ADB_OK && part_full(w))
        status = finish_part(w);
    return status;
}

adb_status sst_writer_add(struct sst_writer *w, struct kv_iter *entry)
{
    assert(entry->valid);
    struct kv_entry e = {.key = entry->key,
                         .value = entry->value,
                         .seq = entry->seq,
                         .kind = entry->kind};
    bool large = e.value.size > w->options.extent_threshold;
    bool first = w->properties.info.entries == 0;
    bool new_key = first || !slice_equal(last_key(w), e.key);
    assert(first || !new_key || slice_compare(last_key(w), e.key) < 0);
    adb_status status = ADB_OK;
    uint64_t extent = 0;

    if (first)
        status = buffer_append(&w->smallest, e.key.data, e.key.size);
    if (status == ADB_OK)
        status = make_room(w, e.key, large ? 8 : e.value.size);
    if (!w->part.entries)
        w->part.first_offset = position(w);
    if (status == ADB_OK && large) {
        status = write_extent(w, entry, &extent);
        e.value.data = NULL;
    } else if (status == ADB_OK && e.value.size) {
        status = kv_iter_load(entry);
        e.value = entry->value;
    }
    if (status == ADB_OK && (new_key || !w->part.keys)) {
        status = note_key(w, e.key);
        w->properties.keys += new_key;
    }
    if (status == ADB_OK)
        status = sst_block_writer_add(&w->block, &e, extent);
    if (status == ADB_OK)
        count_entry(w, &e);
    return status;
}

uint64_t sst_writer_size(const struct sst_writer *w)
{
    return position(w) + w->block.bytes.size + (uint64_t)w->block.count * 12 +
           sst_index_builder_size(&w->index) + w->top.size +
           w->hash_count * w->options.filter_bits / 8 + SST_FOOTER_SIZE + 512;
}

/* ---- finishing ---- */

void sst_writer_set_lineage(struct sst_writer *w,
                            const struct table_lineage *lineage)
{
    w->properties.lineage = *lineage;
}

static adb_status write_top(struct sst_writer *w, struct sst_footer *footer)
{
    bool packed;

    if (!w->top.size) {
        adb_status status = buffer_append_u32(&w->top, 0);
        if (status != ADB_OK)
            return status;
    }
    return write_frame(w, w->top.data, w->top.size, false, &footer->top,
                       &packed);
}

static adb_status write_properties(struct sst_writer *w, adb_slice largest,
                                   struct sst_footer *footer)
{
    struct table_info *info = &w->properties.info;
    bool packed;

    info->smallest = buffer_slice(&w->smallest);
    info->largest = largest;
    if (!info->entries)
        info->min_seq = 0;
    buffer_clear(&w->scratch);
    adb_status status = sst_properties_encode(&w->scratch, &w->properties);
    if (status == ADB_OK)
        status = write_frame(w, w->scratch.data, w->scratch.size, false,
                             &footer->properties, &packed);
    return status;
}

static adb_status write_footer(struct sst_writer *w, struct sst_footer *footer)
{
    uint8_t bytes[SST_FOOTER_SIZE];

    adb_status status = out_flush(w);
    if (status != ADB_OK)
        return status;
    footer->file_checksum = checksum_stream_value(&w->checksum);
    footer->file_number = w->options.number;
    footer->file_size = w->written + SST_FOOTER_SIZE;
    sst_footer_encode(footer, bytes);
    w->properties.info.checksum = footer->file_checksum;
    w->properties.info.size = footer->file_size;
    return env_file_write(w->file, w->written, bytes, sizeof bytes);
}

static adb_status finish_contents(struct sst_writer *w)
{
    struct sst_footer footer = {.file_size = 0};
    adb_status status = ADB_OK;

    if (w->block.count)
        status = finish_block(w, NULL);
    if (status == ADB_OK && w->index.count)
        status = finish_part(w);
    if (status == ADB_OK)
        status = write_top(w, &footer);
    if (status == ADB_OK)
        status = write_properties(w, buffer_slice(&w->last_key), &footer);
    if (status == ADB_OK)
        status = write_footer(w, &footer);
    if (status == ADB_OK)
        status = env_file_sync(w->file);
    return status;
}

adb_status sst_writer_finish(struct sst_writer *w, struct table_info *info)
{
    struct table_info own;

    adb_status status = finish_contents(w);
    if (status == ADB_OK)
        status = table_info_copy(&w->properties.info, &own);
    if (status == ADB_OK) {
        status = env_file_close(w->file);
        w->file = NULL;
        if (status != ADB_OK)
            table_info_deinit(&own);
    }
    if (status != ADB_OK) {
        sst_writer_abandon(w);
        return status;
    }
    writer_free(w);
    *info = own;
    return ADB_OK;
}

void sst_writer_abandon(struct sst_writer *w)
{
    if (!w)
        return;
    /* What led here stays this thread's message; a file that cannot be
       removed is found as an orphan at the next open. */
    struct status_saved cause;
    status_save(&cause, ADB_OK);
    adb_status closed = env_file_close(w->file);
    adb_status removed = env_unlink(w->options.env, w->path);
    if (closed != ADB_OK || removed != ADB_OK)
        status_restore(&cause);
    writer_free(w);
}
