/*
 * Frames, extents and footer; top index and properties are in
 * format_top.c and format_properties.c.
 *
 * Footer, 80 bytes:
 *   0   u64 top index offset, u32 stored size, u32 unpacked size
 *   16  u64 properties offset, u32 stored size, u32 unpacked size
 *   32  u64 XXH3 of all bytes before the footer
 *   40  u64 file number
 *   48  u64 file size
 *   56  u32 format version
 *   60  u32 features, none yet; unknown ones are refused
 *   64  8 bytes "albrtsst"
 *   72  u64 checksum of bytes 0..71, bound to file number and footer offset
 */
#include "sst/format.h"

#include "base/hash.h"

const uint8_t sst_magic[SST_HEADER_SIZE] = {'a', 'l', 'b', 'r',
                                            't', 's', 's', 't'};

/* ---- frames ---- */

void sst_frame_seal(uint8_t *frame, size_t size,
                    enum sst_compression compression, uint64_t file_number,
                    uint64_t offset)
{
    frame[size] = (uint8_t)compression;
    put_u64(frame + size + 1,
            checksum_bound(frame, size + 1, file_number, offset));
}

adb_status sst_frame_check(const uint8_t *frame, const struct sst_handle *h,
                           uint64_t file_number, const char *path,
                           enum sst_compression *compression)
{
    uint64_t stored = get_u64(frame + h->size + 1);
    uint64_t found =
        checksum_bound(frame, (size_t)h->size + 1, file_number, h->offset);
    if (unlikely(stored != found))
        return status_set(ADB_CORRUPTION,
                          "%s: checksum of the %u bytes at offset %llu is "
                          "%016llx, not %016llx",
                          path, h->size, (unsigned long long)h->offset,
                          (unsigned long long)found,
                          (unsigned long long)stored);
    uint8_t kind = frame[h->size];
    if (kind > SST_COMPRESSION_ZSTD)
        return status_set(ADB_UNSUPPORTED,
                          "%s: block at offset %llu has compression %d of a "
                          "newer version",
                          path, (unsigned long long)h->offset, kind);
    if (kind == SST_COMPRESSION_NONE && h->size != h->raw_size)
        return status_set(ADB_CORRUPTION,
                          "%s: plain block at offset %llu has %u bytes, not %u",
                          path, (unsigned long long)h->offset, h->size,
                          h->raw_size);
    *compression = (enum sst_compression)kind;
    return ADB_OK;
}

adb_status sst_handle_check(const struct sst_handle *h, uint64_t limit)
{
    if (h->offset < SST_HEADER_SIZE || !h->size ||
        h->raw_size > SST_MAX_BLOCK || !sst_sizes_fit(h->size, h->raw_size) ||
        h->offset > limit || sst_handle_span(h) > limit - h->offset)
        return status_set(ADB_CORRUPTION,
                          "handle of %u bytes (%u unpacked) at offset %llu "
                          "does not lie in the file's %llu bytes",
                          h->size, h->raw_size, (unsigned long long)h->offset,
                          (unsigned long long)limit);
    return ADB_OK;
}

/* ---- extents ---- */

uint64_t sst_chunk_checksum(const void *chunk, size_t size,
                            uint64_t file_number, uint64_t extent_offset,
                            uint64_t i)
{
    return checksum_bound(chunk, size, file_number,
                          extent_offset + i * SST_EXTENT_CHUNK);
}

adb_status sst_chunk_check(const void *chunk, size_t size, uint64_t expected,
                           uint64_t file_number, uint64_t extent_offset,
                           uint64_t i, const char *path)
{
    uint64_t found =
        sst_chunk_checksum(chunk, size, file_number, extent_offset, i);
    if (found == expected)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "%s: checksum of the %zu value bytes at offset %llu is "
                      "%016llx, not %016llx",
                      path, size,
                      (unsigned long long)(extent_offset +
                                           i * SST_EXTENT_CHUNK),
                      (unsigned long long)found, (unsigned long long)expected);
}

adb_status sst_extent_check(uint64_t extent_offset, uint64_t value_size,
                            uint64_t limit)
{
    if (!extent_offset || extent_offset % SST_EXTENT_ALIGN || extent_offset > limit ||
        value_size > ADB_MAX_VALUE_SIZE ||
        sst_extent_span(value_size) > limit - extent_offset)
        return status_set(ADB_CORRUPTION,
                          "value of %llu bytes at offset %llu does not lie in "
                          "the file's %llu bytes",
                          (unsigned long long)value_size,
                          (unsigned long long)extent_offset,
                          (unsigned long long)limit);
    return ADB_OK;
}

/* ---- footer ---- */

static void put_handle(uint8_t *p, const struct sst_handle *h)
{
    put_u64(p, h->offset);
    put_u32(p + 8, h->size);
    put_u32(p + 12, h->raw_size);
}

static struct sst_handle get_handle(const uint8_t *p)
{
    return (struct sst_handle){get_u64(p), get_u32(p + 8), get_u32(p + 12)};
}

void sst_footer_encode(const struct sst_footer *f,
                       uint8_t bytes[SST_FOOTER_SIZE])
{
    put_handle(bytes, &f->top);
    put_handle(bytes + 16, &f->properties);
    put_u64(bytes + 32, f->file_checksum);
    put_u64(bytes + 40, f->file_number);
    put_u64(bytes + 48, f->file_size);
    put_u32(bytes + 56, SST_FORMAT_VERSION);
    put_u32(bytes + 60, 0);
    memcpy(bytes + 64, sst_magic, sizeof sst_magic);
    put_u64(bytes + 72, checksum_bound(bytes, 72, f->file_number,
                                       f->file_size - SST_FOOTER_SIZE));
}

/* Is this a footer at all, of this place, and of a version known here? */
static adb_status check_footer(const uint8_t *bytes, uint64_t file_number,
                               uint64_t file_size, const char *path)
{
    unsigned long long at = file_size - SST_FOOTER_SIZE;

    if (memcmp(bytes + 64, sst_magic, sizeof sst_magic) != 0)
        return status_set(ADB_CORRUPTION,
                          "%s: no table footer at offset %llu", path, at);
    if (get_u64(bytes + 72) !=
        checksum_bound(bytes, 72, file_number, (uint64_t)at))
        return status_set(ADB_CORRUPTION,
                          "%s: footer at offset %llu has a wrong checksum "
                          "(it says it belongs to file %llu of %llu bytes)",
                          path, at, (unsigned long long)get_u64(bytes + 40),
                          (unsigned long long)get_u64(bytes + 48));
    if (get_u32(bytes + 56) != SST_FORMAT_VERSION || get_u32(bytes + 60))
        return status_set(ADB_UNSUPPORTED,
                          "%s: table format version %u, features 0x%x; this "
                          "library knows version %d",
                          path, get_u32(bytes + 56), get_u32(bytes + 60),
                          SST_FORMAT_VERSION);
    if (get_u64(bytes + 40) != file_number || get_u64(bytes + 48) != file_size)
        return status_set(ADB_CORRUPTION,
                          "%s: footer is of another file", path);
    return ADB_OK;
}

adb_status sst_footer_decode(const uint8_t bytes[SST_FOOTER_SIZE],
                             uint64_t file_number, uint64_t file_size,
                             const char *path, struct sst_footer *out)
{
    if (file_size < SST_FOOTER_SIZE)
        return status_set(ADB_CORRUPTION,
                          "%s: %llu bytes are too few for a table", path,
                          (unsigned long long)file_size);
    if (!file_number)
        file_number = get_u64(bytes + 40);
    adb_status status = check_footer(bytes, file_number, file_size, path);
    if (status != ADB_OK)
        return status;

    struct sst_footer f = {
        .top = get_handle(bytes),
        .properties = get_handle(bytes + 16),
        .file_checksum = get_u64(bytes + 32),
        .file_number = file_number,
        .file_size = file_size,
    };
    status = sst_handle_check(&f.top, file_size - SST_FOOTER_SIZE);
    if (status == ADB_OK)
        status = sst_handle_check(&f.properties, file_size - SST_FOOTER_SIZE);
    if (status == ADB_OK && (f.top.size != f.top.raw_size ||
                             f.properties.size != f.properties.raw_size))
        status = status_set(ADB_CORRUPTION,
                            "top index and properties are never packed");
    if (status != ADB_OK)
        return status_context(status, "%s: footer", path);
    *out = f;
    return ADB_OK;
}
