/* Opening and closing a table: what becomes resident, and that it agrees with
   what the manifest says. */
#include "sst/sst_reader_internal.h"

#include <assert.h>
#include <inttypes.h>

#include "sst/sst_writer.h"

static adb_status mismatch(const struct sst_reader *r, const char *what,
                           uint64_t found, uint64_t expected)
{
    return status_set(ADB_CORRUPTION,
                      "%s: %s is %" PRIu64 ", expected %" PRIu64, r->path, what,
                      found, expected);
}

static adb_status read_footer(struct sst_reader *r, struct env_file *file,
                              struct sst_footer *footer)
{
    uint8_t bytes[SST_FOOTER_SIZE];
    uint64_t size;
    adb_status status = env_file_size(file, &size);
    if (status != ADB_OK)
        return status;
    if (r->info.size && size != r->info.size)
        return mismatch(r, "size of the file", size, r->info.size);
    if (size < SST_FOOTER_SIZE)
        return mismatch(r, "size of the file", size, SST_FOOTER_SIZE);
    r->data_end = size - SST_FOOTER_SIZE;
    status = env_file_read_full(file, r->data_end, bytes, sizeof bytes);
    if (status == ADB_OK)
        status =
            sst_footer_decode(bytes, r->info.number, size, r->path, footer);
    if (status != ADB_OK)
        return status;
    if (r->info.checksum && footer->file_checksum != r->info.checksum)
        return mismatch(r, "checksum of the file", footer->file_checksum,
                        r->info.checksum);
    r->info.size = size;
    r->info.checksum = footer->file_checksum;
    return ADB_OK;
}

/* Top index and properties are small and never packed, yet they come through
   the same door as all frames. */
static adb_status load_whole(struct sst_reader *r, const struct sst_handle *h,
                             uint8_t **raw)
{
    *raw = mem_alloc(sst_load_room(h));
    if (!*raw)
        return status_set(ADB_NO_MEMORY, "%s: no memory to open it", r->path);
    adb_status status = sst_load_raw(r, h, *raw);
    if (status != ADB_OK) {
        mem_free(*raw);
        *raw = NULL;
    }
    return status;
}

static adb_status read_top(struct sst_reader *r, const struct sst_handle *h)
{
    uint8_t *raw;
    adb_status status = load_whole(r, h, &raw);
    if (status != ADB_OK)
        return status;
    status = sst_top_decode(raw, h->raw_size, r->data_end, &r->top);
    mem_free(raw);
    return status == ADB_OK ? status
                            : sst_place(status, r, "top index", h->offset);
}

static adb_status read_properties(struct sst_reader *r,
                                  const struct sst_handle *h)
{
    uint8_t *raw;
    adb_status status = load_whole(r, h, &raw);
    if (status != ADB_OK)
        return status;
    status = sst_properties_decode(raw, h->raw_size, &r->properties);
    mem_free(raw);
    return status == ADB_OK ? status
                            : sst_place(status, r, "properties", h->offset);
}

static adb_status compare(struct sst_reader *r)
{
    const struct sst_properties *p = &r->properties;
    uint64_t entries = 0;
    r->blocks = 0;
    for (uint32_t i = 0; i < r->top.count; i++) {
        const struct sst_part *part = &r->top.parts[i];
        if (part->first_block != r->blocks)
            return mismatch(r, "number of a part's first block",
                            part->first_block, r->blocks);
        if (!part->blocks)
            return mismatch(r, "number of a part's blocks", 0, 1);
        r->blocks += part->blocks;
        entries += part->entries;
    }
    /* Arrays are made of that many: no more than there is room for. */
    if (r->blocks > r->data_end / SST_TRAILER_SIZE)
        return mismatch(r, "number of blocks", r->blocks, p->blocks);
    if (r->blocks != p->blocks)
        return mismatch(r, "number of blocks", r->blocks, p->blocks);
    if (entries != p->info.entries)
        return mismatch(r, "number of entries", entries, p->info.entries);
    if (r->info.entries && entries != r->info.entries)
        return mismatch(r, "number of entries", entries, r->info.entries);
    return ADB_OK;
}

static adb_status make_slots(struct sst_reader *r)
{
    size_t count = MAX_OF(r->top.count, 1u);
    r->part_heads = mem_alloc(count * sizeof *r->part_heads);
    r->slots = mem_zalloc(count * sizeof *r->slots);
    if (!r->part_heads || !r->slots)
        return status_set(ADB_NO_MEMORY, "%s: no memory to open it", r->path);
    for (uint32_t i = 0; i < r->top.count; i++)
        r->part_heads[i] = r->top.parts[i].head;
    r->charge = sizeof *r + r->top.memory +
                count * (sizeof *r->part_heads + sizeof *r->slots);
    return ADB_OK;
}

/* A table that cannot be mapped is read through the cache: slower, not wrong.
   The mapping keeps its file open as long as it lives. */
static adb_status map_file(struct sst_reader *r)
{
    struct file_table *files = r->context.files;
    struct env_file *file;
    if (r->info.size > SIZE_MAX || !file_table_begin_hold(files))
        return ADB_OK;
    size_t words = (size_t)(r->blocks / 64 + 1);
    r->verified = mem_zalloc(words * sizeof *r->verified);
    adb_status status =
        r->verified
            ? file_table_acquire(files, r->info.number, &r->map_handle, &file)
            : status_set(ADB_NO_MEMORY, "%s: no memory to open it", r->path);
    if (status != ADB_OK) {
        file_table_end_hold(files);
        return status;
    }
    status = env_file_map(file, (size_t)r->info.size, false, &r->map);
    if (status == ADB_OK) {
        r->charge += words * sizeof *r->verified;
        return ADB_OK;
    }
    file_table_release(files, r->map_handle);
    file_table_end_hold(files);
    r->map = NULL;
    r->map_handle = NULL;
    return ADB_OK;
}

static adb_status fill(struct sst_reader *r, uint64_t *at)
{
    struct file_handle *handle;
    struct env_file *file;
    struct sst_footer footer;
    adb_status status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    status = read_footer(r, file, &footer);
    file_table_release(r->context.files, handle);
    *at = r->data_end;
    if (status == ADB_OK) {
        *at = footer.properties.offset;
        status = read_properties(r, &footer.properties);
    }
    if (status == ADB_OK) {
        *at = footer.top.offset;
        status = read_top(r, &footer.top);
    }
    if (status == ADB_OK)
        status = compare(r);
    if (status == ADB_OK)
        status = make_slots(r);
    if (status == ADB_OK && r->context.map_tables)
        status = map_file(r);
    return status;
}

/* Also of a reader that is only half made. */
static void free_reader(struct sst_reader *r)
{
    for (uint32_t i = 0; r->slots && i < r->top.count; i++)
        cache_drop(r->context.cache, &r->slots[i].index, 2);
    if (r->map) {
        env_map_unmap(r->map);
        file_table_release(r->context.files, r->map_handle);
        file_table_end_hold(r->context.files);
    }
    sst_top_deinit(&r->top);
    sst_properties_deinit(&r->properties);
    table_info_deinit(&r->info);
    mem_free((void *)r->verified);
    mem_free(r->part_heads);
    mem_free(r->slots);
    mem_free(r->path);
    mem_free(r);
}

adb_status sst_reader_open_at(const struct sst_context *context,
                              const struct table_info *info,
                              struct sst_reader **out, uint64_t *at)
{
    struct sst_reader *r = mem_zalloc(sizeof *r);
    if (!r)
        return status_set(ADB_NO_MEMORY, "no memory to open a table");
    r->context = *context;
    atomic_init(&r->refs, 1);
    adb_status status = table_info_copy(info, &r->info);
    if (status == ADB_OK) {
        r->path = sst_path(context->directory, info->number);
        status =
            r->path ? fill(r, at)
                    : status_set(ADB_NO_MEMORY, "no memory for a table's path");
    }
    if (status != ADB_OK) {
        free_reader(r);
        return status;
    }
    ledger_add(context->ledger, LEDGER_TABLE, (int64_t)r->charge);
    *out = r;
    return ADB_OK;
}

adb_status sst_reader_open(const struct sst_context *context,
                           const struct table_info *info,
                           struct sst_reader **out)
{
    uint64_t at = 0;
    return sst_reader_open_at(context, info, out, &at);
}

void sst_reader_describe(const struct sst_reader *r, struct table_info *out)
{
    *out = r->properties.info;
    out->size = r->info.size;
    out->checksum = r->info.checksum;
}

const struct table_lineage *sst_reader_lineage(const struct sst_reader *r)
{
    return &r->properties.lineage;
}

static adb_status fill_raw(struct sst_reader *r)
{
    struct file_handle *handle;
    struct env_file *file;
    adb_status status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    status = env_file_size(file, &r->info.size);
    file_table_release(r->context.files, handle);
    r->data_end = r->info.size;
    return status;
}

adb_status sst_reader_open_raw(const struct sst_context *context,
                               uint64_t number, struct sst_reader **out)
{
    struct sst_reader *r = mem_zalloc(sizeof *r);
    if (!r)
        return status_set(ADB_NO_MEMORY, "no memory to open a table");
    r->context = *context;
    r->info.number = number;
    atomic_init(&r->refs, 1);
    r->path = sst_path(context->directory, number);
    adb_status status =
        r->path ? fill_raw(r)
                : status_set(ADB_NO_MEMORY, "no memory for a table's path");
    if (status != ADB_OK) {
        free_reader(r);
        return status;
    }
    *out = r;
    return ADB_OK;
}

struct sst_reader *sst_reader_ref(struct sst_reader *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void sst_reader_unref(struct sst_reader *r)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    ledger_add(r->context.ledger, LEDGER_TABLE, -(int64_t)r->charge);
    free_reader(r);
}
