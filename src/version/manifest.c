/* The format stands in manifest.h. */
#include "version/manifest.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "version/names.h"

#define REMEDY "restore the directory from a backup or run 'albertdb repair'"

/* ---- writing ------------------------------------------------------------ */

static adb_status poisoned(const struct manifest_writer *w)
{
    return status_set(ADB_IO,
                      "'%s': an earlier write or sync of it failed at offset "
                      "%" PRIu64 "; a new manifest is needed",
                      w->file->path, w->length);
}

/* Completes the record whose payload stands in scratch behind room for the
   header, and writes it. */
static adb_status write_record(struct manifest_writer *w, enum record_kind kind,
                               uint32_t count, size_t payload_size)
{
    bool marks = w->synced > w->marked;
    struct record r = {
        .previous = w->checksum,
        .kind = kind,
        .count = count,
        .has_watermark = marks,
        .watermark = {w->number, w->synced, 0},
        .payload = slice_of(w->scratch.data + record_payload_offset(true),
                            payload_size),
    };
    /* Without a watermark record_encode moves the payload forward. */
    record_encode(w->scratch.data, &r, w->number, w->length);
    adb_status status =
        env_file_write(w->file, w->length, w->scratch.data, r.size);
    if (status != ADB_OK) {
        w->poisoned = true;
        return status;
    }
    w->length += r.size;
    w->checksum = r.checksum;
    if (marks)
        w->marked = w->synced;
    return ADB_OK;
}

static adb_status begin_payload(struct manifest_writer *w)
{
    buffer_clear(&w->scratch);
    return buffer_append_zeros(&w->scratch, record_payload_offset(true));
}

/* Ends the payload: room for padding behind it. */
static adb_status end_payload(struct manifest_writer *w, size_t *size)
{
    *size = w->scratch.size - record_payload_offset(true);
    if (*size > UINT32_MAX - 64)
        return status_set(ADB_TOO_LARGE,
                          "'%s': a record of %zu bytes at offset %" PRIu64
                          " is too large",
                          w->file->path, *size, w->length);
    return buffer_reserve(&w->scratch, RECORD_ALIGNMENT);
}

adb_status manifest_writer_create(struct manifest_writer *w, struct env *env,
                                  const char *directory, uint64_t number)
{
    char *path = manifest_path(directory, number);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path in '%s'",
                          directory);
    w->number = number;
    adb_status status =
        env_open(env, path, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, &w->file);
    mem_free(path);
    if (status != ADB_OK)
        return status;

    size_t size;
    status = begin_payload(w);
    if (status == ADB_OK)
        status = buffer_append_varint(&w->scratch, DATABASE_FORMAT_VERSION);
    if (status == ADB_OK)
        status = buffer_append_varint(&w->scratch, number);
    if (status == ADB_OK)
        status = end_payload(w, &size);
    if (status == ADB_OK)
        status = write_record(w, RECORD_MANIFEST_HEADER, 0, size);
    return status;
}

/* size (varint), edit: encoded in place behind room for the longest varint,
   then moved up. */
static adb_status append_edit(struct buffer *out, const struct version_edit *e)
{
    size_t start = out->size;
    adb_status status = buffer_append_zeros(out, VARINT_MAX);
    if (status == ADB_OK)
        status = version_edit_encode(e, out);
    if (status != ADB_OK)
        return status;
    size_t size = out->size - start - VARINT_MAX;
    uint8_t *at = put_varint(out->data + start, size);
    memmove(at, out->data + start + VARINT_MAX, size);
    out->size = (size_t)(at - out->data) + size;
    return ADB_OK;
}

adb_status manifest_writer_append(struct manifest_writer *w,
                                  enum record_kind kind,
                                  const struct version_edit *const *edits,
                                  size_t count)
{
    assert(kind == RECORD_EDIT || kind == RECORD_CLOSE);
    assert(count > 0 && count <= RECORD_MAX_COUNT);
    if (w->poisoned)
        return poisoned(w);
    adb_status status = begin_payload(w);
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        status = append_edit(&w->scratch, edits[i]);
    size_t size;
    if (status == ADB_OK)
        status = end_payload(w, &size);
    if (status == ADB_OK)
        status = write_record(w, kind, (uint32_t)count, size);
    return status;
}

adb_status manifest_writer_sync(struct manifest_writer *w)
{
    if (w->poisoned)
        return poisoned(w);
    adb_status status = env_file_sync(w->file);
    if (status != ADB_OK) {
        w->poisoned = true;
        return status;
    }
    w->synced = w->length;
    return ADB_OK;
}

void manifest_writer_deinit(struct manifest_writer *w)
{
    /* What counts was synced before; a bad close loses nothing. */
    if (w->file && env_file_close(w->file) != ADB_OK)
        status_clear();
    buffer_deinit(&w->scratch);
    *w = (struct manifest_writer){0};
}

/* ---- reading ------------------------------------------------------------ */

struct reader {
    const char *path;
    uint64_t number;
    const uint8_t *data;
    size_t size;
    const struct current *known;
    manifest_visit visit;
    void *context;
    bool met_known; /* a record ends at the length that CURRENT names */
    struct manifest_end end;
    uint64_t failed_at; /* where damage was found, else what was read last */
};

static adb_status damaged(struct reader *r, uint64_t offset, const char *what)
{
    r->failed_at = offset;
    return status_set(ADB_CORRUPTION, "'%s' at offset %" PRIu64 ": %s; " REMEDY,
                      r->path, offset, what);
}

static adb_status read_header(struct reader *r, const struct record *record)
{
    uint64_t version, number;
    const uint8_t *p = record->payload.data;
    const uint8_t *end = p + record->payload.size;
    p = get_varint(p, end, &version);
    if (!p)
        return damaged(r, 0, "the header is malformed");
    if (version > DATABASE_FORMAT_VERSION)
        return status_set(ADB_UNSUPPORTED,
                          "'%s' at offset 0: the manifest has format %" PRIu64
                          ", this program knows up to %d: open the database "
                          "with a newer albertdb",
                          r->path, version, DATABASE_FORMAT_VERSION);
    p = get_varint(p, end, &number);
    if (p != end || number != r->number)
        return damaged(r, 0, "the header belongs to another manifest");
    return r->visit(r->context, 0, record, NULL);
}

static adb_status visit_edit(struct reader *r, uint64_t offset,
                             const struct record *record, adb_slice bytes)
{
    struct version_edit edit = {0};
    adb_status status = version_edit_decode(bytes, &edit);
    if (status == ADB_OK)
        status = r->visit(r->context, offset, record, &edit);
    version_edit_deinit(&edit);
    if (status == ADB_CORRUPTION || status == ADB_INVALID)
        return status_context(ADB_CORRUPTION,
                              "'%s' at offset %" PRIu64 " (" REMEDY ")",
                              r->path, offset);
    if (status != ADB_OK)
        return status_context(status, "'%s' at offset %" PRIu64, r->path,
                              offset);
    return ADB_OK;
}

static adb_status read_edits(struct reader *r, uint64_t offset,
                             const struct record *record)
{
    const uint8_t *p = record->payload.data;
    const uint8_t *end = p + record->payload.size;
    for (uint32_t i = 0; i < record->count; i++) {
        adb_slice bytes;
        p = get_slice(p, end, &bytes);
        if (!p)
            return damaged(r, offset, "the record is malformed");
        adb_status status = visit_edit(r, offset, record, bytes);
        if (status != ADB_OK)
            return status;
    }
    if (p != end)
        return damaged(r, offset, "the record is malformed");
    return ADB_OK;
}

static adb_status read_record(struct reader *r, const struct record *record)
{
    uint64_t offset = r->end.length;
    r->failed_at = offset;
    if (record->previous != r->end.checksum)
        return damaged(r, offset,
                       "the record does not follow the one before it");
    if (r->end.closed)
        return damaged(r, offset, "a record stands behind the closing one");
    if (record->has_watermark && (record->watermark.segment != r->number ||
                                  record->watermark.offset > offset))
        return damaged(r, offset, "the record has an impossible watermark");
    if ((record->kind == RECORD_MANIFEST_HEADER) != (offset == 0))
        return damaged(r, offset, "a header record is out of place");
    if (record->kind == RECORD_MANIFEST_HEADER)
        return read_header(r, record);
    if (record->kind != RECORD_EDIT && record->kind != RECORD_CLOSE)
        return damaged(r, offset, "the record does not belong in a manifest");
    return read_edits(r, offset, record);
}

static adb_status read_records(struct reader *r)
{
    struct record record;
    while (record_decode(r->data + r->end.length, r->size - r->end.length,
                         r->number, r->end.length, &record) == RECORD_VALID) {
        adb_status status = read_record(r, &record);
        if (status != ADB_OK)
            return status;
        if (record.has_watermark)
            r->end.synced = MAX_OF(r->end.synced, record.watermark.offset);
        r->end.length += record.size;
        r->end.checksum = record.checksum;
        r->end.closed = record.kind == RECORD_CLOSE;
        if (r->end.length == r->known->length &&
            r->end.checksum == r->known->checksum)
            r->met_known = true;
    }
    r->end.torn = r->size - r->end.length;
    return ADB_OK;
}

/* The records end here: is that how a crash may leave a manifest? */
static adb_status check_end(struct reader *r)
{
    uint64_t cut = r->end.length;
    if (cut < r->end.synced)
        return damaged(r, cut,
                       "a record is damaged or missing that was on stable "
                       "storage");
    struct record record;
    for (uint64_t at = cut + RECORD_ALIGNMENT; at < r->size;
         at += RECORD_ALIGNMENT)
        if (record_decode(r->data + at, r->size - at, r->number, at, &record) ==
            RECORD_VALID)
            return damaged(r, cut, "a record is damaged, valid ones follow it");
    if (cut == 0)
        return damaged(r, 0, "the header is damaged or missing");
    if (!r->known->manifest)
        return ADB_OK;
    if (!r->met_known)
        return damaged(r, r->known->length,
                       "no record ends here as CURRENT says");
    if (r->known->closed &&
        (r->size != r->known->length || cut != r->size || !r->end.closed))
        return damaged(r, cut,
                       "the manifest was closed and is not as it was then");
    return ADB_OK;
}

static adb_status read_manifest(struct env *env, struct reader *r)
{
    uint8_t *data;
    adb_status status =
        env_read_file(env, r->path, SIZE_MAX / 2, &data, &r->size);
    if (status != ADB_OK)
        return status;
    r->data = data;
    r->end.synced = r->known->manifest ? r->known->length : 0;
    status = read_records(r);
    if (status == ADB_OK)
        status = check_end(r);
    mem_free(data);
    return status;
}

static const struct current nothing_known;

adb_status manifest_read(struct env *env, const char *path, uint64_t number,
                         const struct current *known, manifest_visit visit,
                         void *context, struct manifest_end *end)
{
    struct reader r = {.path = path,
                       .number = number,
                       .known = known,
                       .visit = visit,
                       .context = context};
    adb_status status = read_manifest(env, &r);
    if (status == ADB_OK)
        *end = r.end;
    return status;
}

adb_status manifest_walk(struct env *env, const char *path, uint64_t number,
                         manifest_visit visit, void *context)
{
    struct manifest_end end;
    return manifest_read(env, path, number, &nothing_known, visit, context,
                         &end);
}

static adb_status accept_edit(void *context, uint64_t offset,
                              const struct record *r,
                              const struct version_edit *edit)
{
    (void)context, (void)offset, (void)r, (void)edit;
    return ADB_OK;
}

adb_status manifest_verify(struct env *env, const char *path, uint64_t number,
                           uint64_t *failed_at)
{
    struct reader r = {.path = path,
                       .number = number,
                       .known = &nothing_known,
                       .visit = accept_edit};
    adb_status status = read_manifest(env, &r);
    if (status != ADB_OK)
        *failed_at = r.failed_at;
    return status;
}

/* ---- what a damaged one still says -------------------------------------- */

/* A valid record. What makes no sense in it is damage, but ends nothing. */
static adb_status salvage_record(struct reader *r, uint64_t offset,
                                 const struct record *record, bool *damaged)
{
    r->end.length = offset;
    r->end.checksum = record->previous; /* whatever stood there before */
    adb_status status = read_record(r, record);
    if (status != ADB_CORRUPTION)
        return status;
    *damaged = true;
    return ADB_OK;
}

adb_status manifest_salvage(struct env *env, const char *path, uint64_t number,
                            manifest_visit visit, void *context, bool *damaged)
{
    uint8_t *data;
    struct reader r = {.path = path,
                       .number = number,
                       .known = &nothing_known,
                       .visit = visit,
                       .context = context};
    uint64_t checksum = 0;
    adb_status status = env_read_file(env, path, SIZE_MAX / 2, &data, &r.size);
    if (status != ADB_OK)
        return status;
    *damaged = r.size == 0;
    for (uint64_t at = 0; at < r.size && status == ADB_OK;) {
        struct record record;
        if (record_decode(data + at, r.size - at, number, at, &record) !=
            RECORD_VALID) {
            *damaged = true;
            at += RECORD_ALIGNMENT;
            continue;
        }
        *damaged |= record.previous != checksum;
        checksum = record.checksum;
        status = salvage_record(&r, at, &record, damaged);
        at += record.size;
    }
    mem_free(data);
    return status;
}
