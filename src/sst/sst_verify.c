/*
 * Verification: every piece on its own first (so that each damaged one is
 * named), then the file as a whole, which also covers padding.
 *
 * What is looked for beyond checksums, i.e. for bugs and forged files: order
 * of entries within and across blocks, separators and last keys that bound
 * their blocks and parts and tell where versions go on, filters that know
 * their keys, and counts that match the properties.
 */
#include "sst/sst_ahead.h"
#include "sst/sst_reader_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

enum { PIECE = 1 << 20, KEY_TEXT = 80 };

struct verify {
    struct sst_reader *reader;
    sst_damage_fn report;
    void (*progress)(void *context, uint64_t bytes);
    void *context;
    uint64_t damaged;    /* pieces */
    adb_status unread;   /* why the last piece was not read that could not be */
    uint64_t done;    /* bytes of the present pass */
    uint64_t half;    /* bytes not yet shown as progress, see advance */
    adb_status fatal; /* out of memory: the verification itself failed */

    struct sst_ahead ahead;
    struct buffer raw, value, key;
    struct buffer last_key; /* entry before; valid with has_last */
    uint64_t last_seq;
    bool has_last;
    struct buffer after; /* separator of the block before, with has_after */
    bool has_after;
    bool continues; /* that block's last key may go on behind it */
    struct table_info found;
    uint64_t keys, extents;
};

/* Two passes over the file, each counts half. */
static void advance(struct verify *v, uint64_t bytes)
{
    bytes = MIN_OF(bytes, v->reader->info.size - v->done);
    v->done += bytes;
    v->half += bytes;
    if (v->progress && v->half >= 2)
        v->progress(v->context, v->half / 2);
    v->half %= 2;
}

static void end_pass(struct verify *v)
{
    advance(v, v->reader->info.size - v->done);
    v->done = 0;
}

/* Where a piece lies and which keys it may touch; keys with data NULL: as far
   as the table's go. */
struct place {
    enum sst_piece piece;
    uint64_t offset, size;
    adb_slice from, to;
};

static struct place place_of(enum sst_piece piece, const struct sst_handle *h,
                             adb_slice from, adb_slice to)
{
    return (struct place){piece, h->offset, sst_handle_span(h), from, to};
}

/* The whole table as one piece that begins at offset. */
static struct place whole(uint64_t offset, uint64_t size)
{
    return (struct place){.piece = SST_PIECE_TABLE,
                          .offset = offset,
                          .size = size};
}

/* Makes words of the thread's message and a place in a table with the keys
   [smallest, largest]. */
static void report_damage(sst_damage_fn report, void *context,
                          adb_status status, const struct place *p,
                          adb_slice smallest, adb_slice largest)
{
    char text[STATUS_MESSAGE_MAX + 3 * KEY_TEXT], a[KEY_TEXT], b[KEY_TEXT];
    struct sst_damage d = {.status = status,
                           .piece = p->piece,
                           .offset = p->offset,
                           .size = p->size,
                           .from = p->from.data ? p->from : smallest,
                           .to = p->to.data ? p->to : largest,
                           .text = text};
    snprintf(text, sizeof text, "%s; keys '%s' to '%s'", status_message(),
             slice_print(d.from, a, sizeof a), slice_print(d.to, b, sizeof b));
    report(context, &d);
}

static bool is_damage(adb_status status)
{
    return status == ADB_CORRUPTION || status == ADB_UNSUPPORTED;
}

/* The thread's message is the finding. */
static void finding(struct verify *v, adb_status status, struct place place)
{
    if (status == ADB_NO_MEMORY) {
        v->fatal = status;
        return;
    }
    if (is_damage(status))
        v->damaged++;
    else
        v->unread = status;
    v->has_last = false;
    const struct table_info *info = &v->reader->properties.info;
    if (v->report)
        report_damage(v->report, v->context, status, &place, info->smallest,
                      info->largest);
}

static adb_status load(struct verify *v, const struct sst_handle *h)
{
    sst_ahead_read(&v->ahead, v->reader, h->offset,
                   h->offset + sst_handle_span(h), false);
    buffer_clear(&v->raw);
    adb_status status = buffer_reserve(&v->raw, sst_load_room(h));
    return status == ADB_OK ? sst_load_raw(v->reader, h, v->raw.data) : status;
}

/* ---- entries ---- */

static adb_status wrong(struct verify *v, const char *what, uint64_t offset)
{
    return status_set(ADB_CORRUPTION,
                      "%s: data block at offset %" PRIu64 ": %s",
                      v->reader->path, offset, what);
}

static adb_status verify_extent(struct verify *v,
                                const struct sst_block_entry *e)
{
    adb_status status = buffer_reserve(&v->value, PIECE);
    for (uint64_t from = 0; from < e->value.size && status == ADB_OK;) {
        size_t n = (size_t)MIN_OF(e->value.size - from, (uint64_t)PIECE);
        sst_ahead_read(&v->ahead, v->reader, e->extent_offset + from,
                       e->extent_offset + from + n, false);
        status = sst_load_value(v->reader, e->extent_offset, e->value.size,
                                from, v->value.data, n);
        from += n;
        advance(v, n);
    }
    return status;
}

static void count_entry(struct verify *v, const struct sst_block_entry *e,
                        size_t key_size)
{
    struct table_info *f = &v->found;
    f->entries++;
    f->tombstones += e->kind == KV_DELETE;
    f->key_bytes += key_size;
    f->value_bytes += e->value.size;
    f->min_seq = MIN_OF(f->min_seq, e->seq);
    f->max_seq = MAX_OF(f->max_seq, e->seq);
    v->extents += e->value.data == NULL;
}

/* Order against the entry before, and the filter. Makes `key` the last. */
static adb_status verify_entry(struct verify *v, const struct sst_block *b,
                               const struct sst_block_entry *e,
                               const struct sst_filter *filter, uint64_t offset)
{
    buffer_clear(&v->key);
    adb_status status = buffer_append(&v->key, b->prefix, b->prefix_size);
    if (status == ADB_OK)
        status = buffer_append(&v->key, e->suffix.data, e->suffix.size);
    if (status != ADB_OK)
        return status;
    adb_slice key = buffer_slice(&v->key), last = buffer_slice(&v->last_key);
    if (v->has_last && kv_compare(last, v->last_seq, key, e->seq) >= 0)
        return wrong(v, "entries out of order", offset);
    if (!v->has_last || !slice_equal(last, key)) {
        v->keys++;
        if (filter &&
            !sst_filter_may_contain(filter, hash_key(key.data, key.size)))
            return wrong(v, "a key is missing in the filter", offset);
    }
    count_entry(v, e, key.size);
    struct buffer swap = v->last_key;
    v->last_key = v->key;
    v->key = swap;
    v->last_seq = e->seq;
    v->has_last = true;
    return ADB_OK;
}

/* Damaged extents are findings of their own; the block goes on. */
static adb_status verify_entries(struct verify *v, const struct sst_block *b,
                                 const struct sst_filter *filter,
                                 uint64_t offset)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        sst_block_entry(b, i, &e);
        adb_status status = verify_entry(v, b, &e, filter, offset);
        if (status != ADB_OK)
            return status;
        if (e.value.data)
            continue;
        status = verify_extent(v, &e);
        if (status != ADB_OK) {
            adb_slice key = buffer_slice(&v->last_key);
            finding(v, status,
                    (struct place){SST_PIECE_VALUE, e.extent_offset,
                                   sst_extent_span(e.value.size), key, key});
            v->has_last = v->fatal == ADB_OK;
        }
    }
    return ADB_OK;
}

/* ---- blocks and parts ---- */

/* The separator behind block i, whole, into `out`. */
static adb_status separator(const struct sst_index *index, uint32_t i,
                            struct buffer *out)
{
    adb_slice suffix = sst_index_suffix(index, i);
    buffer_clear(out);
    adb_status status =
        buffer_append(out, index->prefix.data, index->prefix.size);
    return status == ADB_OK ? buffer_append(out, suffix.data, suffix.size)
                            : status;
}

/* Would a search find what the block holds? Not where keys lie outside of what
   the index says of this block and the one before. */
static adb_status verify_bounds(struct verify *v, const struct sst_block *b,
                                adb_slice upto, uint64_t offset)
{
    struct sst_block_entry e;
    bool ran_off;
    adb_slice after = buffer_slice(&v->after);
    if (slice_compare(buffer_slice(&v->last_key), upto) > 0)
        return wrong(v, "keys above their separator", offset);
    if (!v->has_after)
        return ADB_OK;
    if (sst_block_seek(b, after, KV_MAX_SEQ) > 0)
        return wrong(v, "keys below their separator", offset);
    if (!v->continues &&
        sst_block_get(b, after, KV_MAX_SEQ, &e, &ran_off) == ADB_OK)
        return wrong(v, "goes on with a key that has ended", offset);
    return ADB_OK;
}

static adb_status verify_block(struct verify *v, const struct sst_handle *h,
                               const struct sst_filter *filter, adb_slice upto)
{
    struct sst_block b;
    adb_status status = load(v, h);
    if (status != ADB_OK)
        return status;
    status = sst_block_open(&b, v->raw.data, h->raw_size);
    if (status == ADB_OK)
        status = sst_block_check_order(&b);
    if (status != ADB_OK)
        return sst_place(status, v->reader, "frame", h->offset);
    status = verify_entries(v, &b, filter, h->offset);
    return status == ADB_OK ? verify_bounds(v, &b, upto, h->offset) : status;
}

static void verify_blocks(struct verify *v, const struct sst_index *index,
                          const struct sst_filter *filter)
{
    struct buffer upto = {0};
    for (uint32_t i = 0; i < index->count && v->fatal == ADB_OK; i++) {
        const struct sst_handle *h = &index->blocks[i].handle;
        adb_status status = separator(index, i, &upto);
        adb_slice b = buffer_slice(&upto);
        adb_slice a =
            v->has_after ? buffer_slice(&v->after) : slice_of(NULL, 0);
        if (status == ADB_OK)
            status = verify_block(v, h, filter, b);
        if (status != ADB_OK)
            finding(v, status, place_of(SST_PIECE_BLOCK, h, a, b));
        advance(v, sst_handle_span(h));
        struct buffer swap = v->after;
        v->after = upto;
        upto = swap;
        v->has_after = true;
        v->continues = index->blocks[i].continues;
    }
    buffer_deinit(&upto);
}

/* The part's last key bounds it: searches go by that. */
static adb_status verify_part_end(struct verify *v, const struct sst_part *p,
                                  bool continues)
{
    if (v->has_last && slice_compare(buffer_slice(&v->last_key),
                                     p->last_key) > 0)
        return wrong(v, "keys above the last of their part", p->first_offset);
    buffer_clear(&v->after);
    v->has_after = true;
    v->continues = continues && p->continues;
    return buffer_append(&v->after, p->last_key.data, p->last_key.size);
}

/* A part whose index is damaged cannot be looked into; its blocks count as
   one finding. */
static void verify_part(struct verify *v, uint32_t part)
{
    const struct sst_part *p = &v->reader->top.parts[part];
    adb_slice from = part ? v->reader->top.parts[part - 1].last_key
                          : slice_of(NULL, 0);
    struct filter_frame *filter = NULL;
    struct index_frame *index = NULL;
    bool continues = true; /* of a part not looked into */
    if (p->filter.size) {
        adb_status status = sst_load_filter(v->reader, part, &filter);
        if (status != ADB_OK)
            finding(v, status, place_of(SST_PIECE_FILTER, &p->filter, from,
                                        p->last_key));
        advance(v, sst_handle_span(&p->filter));
    }
    adb_status status = sst_load_index(v->reader, part, &index);
    advance(v, sst_handle_span(&p->index));
    struct place index_place =
        place_of(SST_PIECE_INDEX, &p->index, from, p->last_key);
    if (status != ADB_OK) {
        finding(v, status, index_place);
    } else if (v->fatal == ADB_OK) {
        verify_blocks(v, &index->index, filter ? &filter->filter : NULL);
        continues = v->continues;
    }
    status = verify_part_end(v, p, continues);
    if (status != ADB_OK)
        finding(v, status, index_place);
    sst_discard_frame(index ? &index->frame : NULL);
    sst_discard_frame(filter ? &filter->frame : NULL);
}

/* ---- the whole ---- */

static void expect(struct verify *v, const char *what, uint64_t found,
                   uint64_t expected)
{
    if (found != expected)
        finding(v,
                status_set(ADB_CORRUPTION,
                           "%s: %s is %" PRIu64 ", properties say %" PRIu64,
                           v->reader->path, what, found, expected),
                whole(0, v->reader->info.size));
}

static void verify_counts(struct verify *v)
{
    const struct sst_properties *p = &v->reader->properties;
    expect(v, "number of entries", v->found.entries, p->info.entries);
    expect(v, "number of keys", v->keys, p->keys);
    expect(v, "number of tombstones", v->found.tombstones, p->info.tombstones);
    expect(v, "size of all keys", v->found.key_bytes, p->info.key_bytes);
    expect(v, "size of all values", v->found.value_bytes, p->info.value_bytes);
    expect(v, "number of extents", v->extents, p->extents);
    if (v->found.entries) {
        expect(v, "least sequence", v->found.min_seq, p->info.min_seq);
        expect(v, "greatest sequence", v->found.max_seq, p->info.max_seq);
    }
}

static adb_status file_checksum(struct verify *v, struct env_file *file,
                                uint64_t *checksum)
{
    struct checksum_stream stream;
    uint64_t end = v->reader->data_end;
    adb_status status = buffer_reserve(&v->value, PIECE);
    if (status != ADB_OK)
        return status;
    if (checksum_stream_init(&stream) != 0)
        return status_set(ADB_NO_MEMORY, "no memory to verify a table");
    for (uint64_t at = 0; at < end && status == ADB_OK;) {
        size_t n = (size_t)MIN_OF(end - at, (uint64_t)PIECE);
        sst_ahead_read(&v->ahead, v->reader, at, at + n, false);
        status = env_file_read_full(file, at, v->value.data, n);
        if (status == ADB_OK)
            checksum_stream_update(&stream, v->value.data, n);
        advance(v, n);
        at += n;
    }
    *checksum = checksum_stream_value(&stream);
    checksum_stream_deinit(&stream);
    return status;
}

/* Footer, and the frames it points to: they were whole when the table was
   opened. */
static adb_status verify_end(struct verify *v, struct env_file *file)
{
    struct sst_reader *r = v->reader;
    uint8_t bytes[SST_FOOTER_SIZE];
    struct sst_footer footer;
    adb_status status =
        env_file_read_full(file, r->data_end, bytes, sizeof bytes);
    if (status == ADB_OK)
        status = sst_footer_decode(bytes, r->info.number, r->info.size, r->path,
                                   &footer);
    if (status != ADB_OK) {
        finding(v, status, whole(r->data_end, SST_FOOTER_SIZE));
        return status;
    }
    const struct sst_handle *frames[] = {&footer.top, &footer.properties};
    for (int i = 0; i < 2; i++) {
        status = load(v, frames[i]);
        if (status != ADB_OK)
            finding(v, status,
                    whole(frames[i]->offset, sst_handle_span(frames[i])));
    }
    return ADB_OK;
}

static void verify_file(struct verify *v)
{
    struct sst_reader *r = v->reader;
    struct file_handle *handle;
    struct env_file *file;
    uint64_t checksum = 0;
    adb_status status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK) {
        finding(v, status, whole(0, r->info.size));
        return;
    }
    (void)verify_end(v, file);
    bool known = v->damaged || v->unread != ADB_OK;
    status = file_checksum(v, file, &checksum);
    /* A damaged piece has been named already; only what no piece covers is
       news. */
    if (status == ADB_OK && checksum != r->info.checksum)
        status = status_set(ADB_CORRUPTION,
                            "%s: checksum of the whole file does not match, "
                            "damage lies between blocks",
                            r->path);
    if (status != ADB_OK && (!known || status == ADB_NO_MEMORY))
        finding(v, status, whole(0, r->info.size));
    file_table_release(r->context.files, handle);
}

adb_status sst_reader_verify(struct sst_reader *r, sst_damage_fn report,
                             void (*progress)(void *context, uint64_t bytes),
                             void *context)
{
    struct verify v = {.reader = r,
                       .report = report,
                       .progress = progress,
                       .context = context,
                       .found = {.min_seq = KV_MAX_SEQ}};
    for (uint32_t part = 0; part < r->top.count && v.fatal == ADB_OK; part++)
        verify_part(&v, part);
    if (!v.damaged && v.unread == ADB_OK && v.fatal == ADB_OK)
        verify_counts(&v);
    end_pass(&v);
    if (v.fatal == ADB_OK)
        verify_file(&v);
    end_pass(&v);
    buffer_deinit(&v.raw);
    buffer_deinit(&v.value);
    buffer_deinit(&v.key);
    buffer_deinit(&v.last_key);
    buffer_deinit(&v.after);
    if (v.fatal != ADB_OK)
        return v.fatal;
    if (v.damaged)
        return status_set(ADB_CORRUPTION, "%s: %" PRIu64 " damaged pieces",
                          r->path, v.damaged);
    if (v.unread != ADB_OK)
        return status_set(v.unread, "%s: could not be read in full", r->path);
    return ADB_OK;
}

adb_status sst_verify_table(const struct sst_context *context,
                            const struct table_info *info,
                            sst_damage_fn report,
                            void (*progress)(void *context, uint64_t bytes),
                            void *caller)
{
    struct sst_reader *r;
    uint64_t at = 0;
    adb_status status = sst_reader_open_at(context, info, &r, &at);
    if (status == ADB_OK) {
        status = sst_reader_verify(r, report, progress, caller);
        sst_reader_unref(r);
        return status;
    }
    if (progress)
        progress(caller, info->size);
    struct place place = whole(at, 0);
    if (status != ADB_NO_MEMORY && report)
        report_damage(report, caller, status, &place, info->smallest,
                      info->largest);
    return status;
}
