#include "wal/wal_reader.h"

#include "base/alloc.h"
#include "wal/wal.h"

enum { WINDOW = 1 << 20, PAGE = 4096 };

adb_status wal_reader_open(struct wal_reader *r, struct env *env,
                           const char *directory, uint64_t number,
                           bool *exists)
{
    if (r->file && r->number == number) {
        *exists = true;
        return ADB_OK;
    }
    adb_status status = env_file_close(r->file);
    r->file = NULL;
    r->have = 0;
    r->number = number;
    if (status != ADB_OK)
        return status;

    char *path = wal_segment_path(directory, number);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory to read the log");
    struct env_stat stat;
    status = env_stat(env, path, &stat);
    *exists = status == ADB_OK && stat.kind != ENV_KIND_NONE;
    if (*exists)
        status = env_open(env, path, ENV_READ, &r->file);
    mem_free(path);
    if (status == ADB_OK && *exists)
        status = env_file_size(r->file, &r->size);
    return status;
}

void wal_reader_deinit(struct wal_reader *r)
{
    /* It was only read: what was found in it stays this thread's message. */
    struct status_saved found;
    status_save(&found, ADB_OK);
    if (env_file_close(r->file) != ADB_OK)
        status_restore(&found);
    r->file = NULL;
    mem_free(r->data);
    r->data = NULL;
    r->capacity = r->have = 0;
}

/* Page by page; those that cannot be read become zeros. */
static adb_status read_pages(struct wal_reader *r, uint64_t offset,
                             uint8_t *to, size_t size)
{
    while (size) {
        size_t piece = MIN_OF(size, PAGE - (size_t)(offset % PAGE)), got;
        adb_status status = env_file_read(r->file, offset, to, piece, &got);
        if (status == ADB_IO)
            got = 0;
        else if (status != ADB_OK)
            return status;
        memset(to + got, 0, piece - got);
        offset += piece;
        to += piece;
        size -= piece;
    }
    return ADB_OK;
}

/* Makes [offset, offset + size), which lies inside the file, part of the
   window, keeping what it already has of it. */
static adb_status load(struct wal_reader *r, uint64_t offset, size_t size)
{
    if (offset >= r->base && offset + size <= r->base + r->have)
        return ADB_OK;
    size_t most = (size_t)MIN_OF((uint64_t)size + WINDOW, r->size);
    if (r->capacity < most) {
        uint8_t *data = mem_realloc(r->data, most);
        if (!data)
            return status_set(ADB_NO_MEMORY,
                              "no memory for a log record of %zu bytes in '%s'",
                              size, r->file->path);
        r->data = data;
        r->capacity = most;
    }
    size_t kept = 0;
    if (offset >= r->base && offset < r->base + r->have) {
        kept = (size_t)(r->base + r->have - offset);
        memmove(r->data, r->data + (offset - r->base), kept);
    }
    r->base = offset;
    r->have = kept;
    size_t want = (size_t)MIN_OF((uint64_t)most, r->size - offset) - kept, got;
    adb_status status = env_file_read(r->file, offset + kept, r->data + kept,
                                      want, &got);
    if (status == ADB_IO && r->skip_unreadable) {
        status = read_pages(r, offset + kept, r->data + kept, want);
        got = want;
    }
    if (status == ADB_OK && kept + got < size)
        status = status_set(ADB_IO, "'%s' shrank while it was read",
                            r->file->path);
    if (status == ADB_OK)
        r->have += got;
    return status;
}

static const uint8_t *at(const struct wal_reader *r, uint64_t offset)
{
    return r->data + (offset - r->base);
}

/* What record_peek may read. */
static adb_status load_head(struct wal_reader *r, uint64_t offset)
{
    return load(r, offset,
                (size_t)MIN_OF(r->size - offset, (uint64_t)RECORD_HEAD_MAX));
}

adb_status wal_reader_record(struct wal_reader *r, uint64_t offset, bool *valid,
                             struct record *out)
{
    struct record head;
    *valid = false;
    if (offset >= r->size)
        return ADB_OK;
    adb_status status = load_head(r, offset);
    if (status != ADB_OK ||
        !record_peek(at(r, offset), r->size - offset, &head))
        return status;
    status = load(r, offset, head.size);
    if (status == ADB_OK)
        *valid = record_decode(at(r, offset), head.size, r->number, offset,
                               out) == RECORD_VALID;
    return status;
}

adb_status wal_reader_owner(struct wal_reader *r, uint64_t *number)
{
    struct record head;
    uint64_t version, own;
    *number = 0;
    if (r->size == 0)
        return ADB_OK;
    adb_status status = load_head(r, 0);
    if (status != ADB_OK || !record_peek(at(r, 0), r->size, &head) ||
        head.kind != RECORD_SEGMENT_HEADER)
        return status;
    status = load(r, 0, head.size);
    if (status != ADB_OK)
        return status;
    const uint8_t *p = at(r, 0) + record_payload_offset(head.has_watermark);
    const uint8_t *end = at(r, 0) + head.size;
    p = get_varint(p, end, &version);
    if (p)
        p = get_varint(p, end, &own);
    if (p && record_decode(at(r, 0), head.size, own, 0, &head) ==
                 RECORD_VALID)
        *number = own;
    return ADB_OK;
}

/* The first offset from `from` on whose eight bytes are not all zero, or the
   end of the window. Preallocated tails are long. */
static uint64_t skip_zeros(const struct wal_reader *r, uint64_t from)
{
    uint64_t end = r->base + r->have;
    while (from + 8 <= end && !get_u64(at(r, from)))
        from += 8;
    return from;
}

adb_status wal_reader_find(struct wal_reader *r, uint64_t *offset,
                           struct record *head)
{
    uint64_t o = *offset;
    while (o < r->size) {
        adb_status status = load_head(r, o);
        if (status != ADB_OK)
            return status;
        uint64_t next = skip_zeros(r, o);
        if (next > o) {
            o = next;
            continue;
        }
        if (record_peek(at(r, o), r->size - o, head)) {
            *offset = o;
            return ADB_OK;
        }
        o += RECORD_ALIGNMENT;
    }
    *offset = r->size;
    return ADB_OK;
}
