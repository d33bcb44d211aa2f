/*
 * Encoding and decoding of version edits.
 *
 *   edit  := field*
 *   field := tag (varint) length (varint) bytes of that length
 *
 *   tag                  bytes (varints but for the checksums: 8 bytes)
 *   1 table added        level, run, number, size, entries, tombstones,
 *                        key bytes, value bytes, min seq, max seq, created,
 *                        checksum (u64), smallest (length, bytes),
 *                        largest (length, bytes)
 *   2 table removed      number
 *   3 table moved        number, level, run
 *   4 segment created    number
 *   5 segment removed    number
 *   6 segment end        number, length, next seq, checksum (u64)
 *   7 next file          number
 *   8 next run           number
 *   9 last seq           sequence
 *  10 synced through     segment, offset, seq
 *  11 segments below     number: every log segment ever made is below, but
 *                        for those that later edits create
 *  12 database           a random number that all files of a database share
 *  20 table quarantined  number, offset, from (length, bytes),
 *                        to (length, bytes)
 *  21 table released     number
 *
 * Tags are never reused. Numbers 7 to 12 stand at most once and only when
 * they say something.
 */
#include "version/version_edit.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "kv/types.h"

enum tag {
    TAG_TABLE_ADDED = 1,
    TAG_TABLE_REMOVED = 2,
    TAG_TABLE_MOVED = 3,
    TAG_SEGMENT_CREATED = 4,
    TAG_SEGMENT_REMOVED = 5,
    TAG_SEGMENT_END = 6,
    TAG_NEXT_FILE = 7,
    TAG_NEXT_RUN = 8,
    TAG_LAST_SEQ = 9,
    TAG_SYNCED_THROUGH = 10,
    TAG_SEGMENTS_BELOW = 11,
    TAG_DATABASE = 12,
    TAG_TABLE_QUARANTINED = 20,
    TAG_TABLE_RELEASED = 21
};

/* Counters beyond this are damage, not use: they would wrap. */
#define MAX_NUMBER (UINT64_C(1) << 60)

enum { TABLE_NUMBERS = 11 }; /* varints at the head of TAG_TABLE_ADDED */

/* ---- building --------------------------------------------------------- */

/* Makes room for one more item. Arrays grow at powers of two from 4, so that
   no capacity need be kept. */
static adb_status array_room(void **array, size_t count, size_t item_size)
{
    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return ADB_OK;
    size_t room = count ? 2 * count : 4;
    void *grown = mem_realloc(*array, room * item_size);
    if (!grown)
        return status_set(ADB_NO_MEMORY,
                          "no memory for a version edit of %zu items", room);
    *array = grown;
    return ADB_OK;
}
#define ROOM(array, count)                                                     \
    array_room((void **)&(array), (count), sizeof *(array))

void version_edit_deinit(struct version_edit *e)
{
    for (size_t i = 0; i < e->added_count; i++)
        table_info_deinit(&e->added[i].info);
    mem_free(e->added);
    for (size_t i = 0; i < e->quarantined_count; i++)
        quarantined_deinit(&e->quarantined[i]);
    mem_free(e->quarantined);
    mem_free(e->released);
    mem_free(e->removed);
    mem_free(e->moved);
    mem_free(e->segments_created);
    mem_free(e->segments_removed);
    mem_free(e->segment_ends);
    *e = (struct version_edit){0};
}

adb_status version_edit_add_table(struct version_edit *e,
                                  struct table_place place,
                                  struct table_info *info)
{
    assert(place.level <= TABLE_MAX_LEVEL && info->number);
    adb_status status = ROOM(e->added, e->added_count);
    if (status != ADB_OK)
        return status;
    e->added[e->added_count++] = (struct edit_table){place, *info};
    *info = (struct table_info){0};
    return ADB_OK;
}

static adb_status add_number(uint64_t **numbers, size_t *count, uint64_t number)
{
    adb_status status = array_room((void **)numbers, *count, sizeof **numbers);
    if (status == ADB_OK)
        (*numbers)[(*count)++] = number;
    return status;
}

adb_status version_edit_remove_table(struct version_edit *e, uint64_t number)
{
    return add_number(&e->removed, &e->removed_count, number);
}

adb_status version_edit_move_table(struct version_edit *e, uint64_t number,
                                   struct table_place to)
{
    assert(to.level <= TABLE_MAX_LEVEL);
    adb_status status = ROOM(e->moved, e->moved_count);
    if (status == ADB_OK)
        e->moved[e->moved_count++] = (struct edit_move){number, to};
    return status;
}

void quarantined_deinit(struct quarantined *q)
{
    mem_free((void *)(uintptr_t)q->from.data); /* and to behind it */
    *q = (struct quarantined){0};
}

adb_status quarantined_copy(const struct quarantined *in,
                            struct quarantined *out)
{
    uint8_t *keys = mem_alloc(in->from.size + in->to.size + 1);
    if (!keys)
        return status_set(ADB_NO_MEMORY, "no memory for two keys");
    if (in->from.size)
        memcpy(keys, in->from.data, in->from.size);
    if (in->to.size)
        memcpy(keys + in->from.size, in->to.data, in->to.size);
    *out = (struct quarantined){in->number, in->offset,
                                slice_of(keys, in->from.size),
                                slice_of(keys + in->from.size, in->to.size)};
    return ADB_OK;
}

adb_status version_edit_quarantine(struct version_edit *e,
                                   const struct quarantined *q)
{
    adb_status status = ROOM(e->quarantined, e->quarantined_count);
    if (status == ADB_OK)
        status = quarantined_copy(q, &e->quarantined[e->quarantined_count]);
    if (status == ADB_OK)
        e->quarantined_count++;
    return status;
}

adb_status version_edit_release(struct version_edit *e, uint64_t number)
{
    return add_number(&e->released, &e->released_count, number);
}

bool version_edit_changes_tables(const struct version_edit *e)
{
    return e->added_count || e->removed_count || e->moved_count ||
           e->quarantined_count || e->released_count;
}

adb_status version_edit_create_segment(struct version_edit *e, uint64_t number)
{
    return add_number(&e->segments_created, &e->segments_created_count, number);
}

adb_status version_edit_remove_segment(struct version_edit *e, uint64_t number)
{
    return add_number(&e->segments_removed, &e->segments_removed_count, number);
}

adb_status version_edit_end_segment(struct version_edit *e,
                                    const struct wal_end *end)
{
    adb_status status = ROOM(e->segment_ends, e->segment_ends_count);
    if (status == ADB_OK)
        e->segment_ends[e->segment_ends_count++] = *end;
    return status;
}

/* ---- encoding --------------------------------------------------------- */

static adb_status put_field(struct buffer *out, enum tag tag,
                            const uint8_t *bytes, size_t size)
{
    adb_status status = buffer_append_varint(out, tag);
    if (status == ADB_OK)
        status = buffer_append_slice(out, slice_of(bytes, size));
    return status;
}

static adb_status put_numbers(struct buffer *out, enum tag tag,
                              const uint64_t *numbers, size_t count)
{
    uint8_t bytes[4 * VARINT_MAX], *p = bytes;
    assert(count <= 4);
    for (size_t i = 0; i < count; i++)
        p = put_varint(p, numbers[i]);
    return put_field(out, tag, bytes, (size_t)(p - bytes));
}

static adb_status put_table(struct buffer *out, const struct edit_table *t)
{
    const struct table_info *info = &t->info;
    const uint64_t numbers[TABLE_NUMBERS] = {
        t->place.level, t->place.run,     info->number,    info->size,
        info->entries,  info->tombstones, info->key_bytes, info->value_bytes,
        info->min_seq,  info->max_seq,    info->created_ns};
    uint8_t head[TABLE_NUMBERS * VARINT_MAX + 8], *p = head;
    for (size_t i = 0; i < TABLE_NUMBERS; i++)
        p = put_varint(p, numbers[i]);
    put_u64(p, info->checksum);
    size_t head_size = (size_t)(p + 8 - head);
    size_t size = head_size + varint_size(info->smallest.size) +
                  info->smallest.size + varint_size(info->largest.size) +
                  info->largest.size;

    adb_status status = buffer_append_varint(out, TAG_TABLE_ADDED);
    if (status == ADB_OK)
        status = buffer_append_varint(out, size);
    if (status == ADB_OK)
        status = buffer_append(out, head, head_size);
    if (status == ADB_OK)
        status = buffer_append_slice(out, info->smallest);
    if (status == ADB_OK)
        status = buffer_append_slice(out, info->largest);
    return status;
}

static adb_status put_end(struct buffer *out, const struct wal_end *end)
{
    uint8_t bytes[3 * VARINT_MAX + 8], *p = bytes;
    p = put_varint(p, end->segment);
    p = put_varint(p, end->length);
    p = put_varint(p, end->next_seq);
    put_u64(p, end->checksum);
    return put_field(out, TAG_SEGMENT_END, bytes, (size_t)(p + 8 - bytes));
}

static adb_status put_quarantined(struct buffer *out,
                                  const struct quarantined *q)
{
    uint8_t head[2 * VARINT_MAX], *p = head;
    p = put_varint(p, q->number);
    p = put_varint(p, q->offset);
    size_t head_size = (size_t)(p - head);
    size_t size = head_size + varint_size(q->from.size) + q->from.size +
                  varint_size(q->to.size) + q->to.size;
    adb_status status = buffer_append_varint(out, TAG_TABLE_QUARANTINED);
    if (status == ADB_OK)
        status = buffer_append_varint(out, size);
    if (status == ADB_OK)
        status = buffer_append(out, head, head_size);
    if (status == ADB_OK)
        status = buffer_append_slice(out, q->from);
    if (status == ADB_OK)
        status = buffer_append_slice(out, q->to);
    return status;
}

static adb_status put_tables(struct buffer *out, const struct version_edit *e)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < e->removed_count && status == ADB_OK; i++)
        status = put_numbers(out, TAG_TABLE_REMOVED, &e->removed[i], 1);
    for (size_t i = 0; i < e->moved_count && status == ADB_OK; i++) {
        const struct edit_move *m = &e->moved[i];
        status =
            put_numbers(out, TAG_TABLE_MOVED,
                        (uint64_t[]){m->number, m->to.level, m->to.run}, 3);
    }
    for (size_t i = 0; i < e->added_count && status == ADB_OK; i++)
        status = put_table(out, &e->added[i]);
    for (size_t i = 0; i < e->quarantined_count && status == ADB_OK; i++)
        status = put_quarantined(out, &e->quarantined[i]);
    for (size_t i = 0; i < e->released_count && status == ADB_OK; i++)
        status = put_numbers(out, TAG_TABLE_RELEASED, &e->released[i], 1);
    return status;
}

static adb_status put_segments(struct buffer *out, const struct version_edit *e)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < e->segments_created_count && status == ADB_OK; i++)
        status =
            put_numbers(out, TAG_SEGMENT_CREATED, &e->segments_created[i], 1);
    for (size_t i = 0; i < e->segment_ends_count && status == ADB_OK; i++)
        status = put_end(out, &e->segment_ends[i]);
    for (size_t i = 0; i < e->segments_removed_count && status == ADB_OK; i++)
        status =
            put_numbers(out, TAG_SEGMENT_REMOVED, &e->segments_removed[i], 1);
    return status;
}

static adb_status put_counters(struct buffer *out, const struct version_edit *e)
{
    adb_status status = ADB_OK;
    if (e->next_file)
        status = put_numbers(out, TAG_NEXT_FILE, &e->next_file, 1);
    if (e->next_run && status == ADB_OK)
        status = put_numbers(out, TAG_NEXT_RUN, &e->next_run, 1);
    if (e->last_seq && status == ADB_OK)
        status = put_numbers(out, TAG_LAST_SEQ, &e->last_seq, 1);
    const struct watermark *w = &e->synced_through;
    if (w->segment && status == ADB_OK)
        status = put_numbers(out, TAG_SYNCED_THROUGH,
                             (uint64_t[]){w->segment, w->offset, w->seq}, 3);
    if (e->segments_below && status == ADB_OK)
        status = put_numbers(out, TAG_SEGMENTS_BELOW, &e->segments_below, 1);
    if (e->database && status == ADB_OK)
        status = put_numbers(out, TAG_DATABASE, &e->database, 1);
    return status;
}

adb_status version_edit_encode(const struct version_edit *e, struct buffer *out)
{
    size_t before = out->size;
    adb_status status = put_tables(out, e);
    if (status == ADB_OK)
        status = put_segments(out, e);
    if (status == ADB_OK)
        status = put_counters(out, e);
    if (status != ADB_OK)
        out->size = before;
    return status;
}

/* ---- decoding --------------------------------------------------------- */

struct cursor {
    const uint8_t *at, *end; /* at NULL: something was not whole */
};

static uint64_t take(struct cursor *c)
{
    uint64_t v = 0;
    if (c->at)
        c->at = get_varint(c->at, c->end, &v);
    return v;
}

static uint64_t take_u64(struct cursor *c)
{
    if (!c->at || c->end - c->at < 8) {
        c->at = NULL;
        return 0;
    }
    c->at += 8;
    return get_u64(c->at - 8);
}

static adb_slice take_slice(struct cursor *c)
{
    adb_slice s = {0};
    if (c->at)
        c->at = get_slice(c->at, c->end, &s);
    return s;
}

static adb_status malformed(uint64_t tag, const char *what)
{
    return status_set(ADB_CORRUPTION,
                      "version edit with field %" PRIu64 " that %s", tag, what);
}

static adb_status check_place(uint64_t tag, uint64_t level)
{
    if (level > TABLE_MAX_LEVEL)
        return malformed(tag, "names an impossible level");
    return ADB_OK;
}

static adb_status check_table(const struct edit_table *t)
{
    const struct table_info *info = &t->info;
    if (!info->number || info->number > MAX_NUMBER ||
        t->place.run > MAX_NUMBER || info->tombstones > info->entries ||
        info->min_seq > info->max_seq || info->max_seq > KV_MAX_SEQ)
        return malformed(TAG_TABLE_ADDED, "has impossible counts");
    if (info->smallest.size > ADB_MAX_KEY_SIZE ||
        info->largest.size > ADB_MAX_KEY_SIZE ||
        slice_compare(info->smallest, info->largest) > 0)
        return malformed(TAG_TABLE_ADDED, "has an impossible key range");
    return ADB_OK;
}

static adb_status take_table(struct cursor *c, struct version_edit *e)
{
    struct edit_table t = {0};
    uint64_t level = take(c);
    t.place.level = (uint32_t)level;
    t.place.run = take(c);
    t.info.number = take(c);
    t.info.size = take(c);
    t.info.entries = take(c);
    t.info.tombstones = take(c);
    t.info.key_bytes = take(c);
    t.info.value_bytes = take(c);
    t.info.min_seq = take(c);
    t.info.max_seq = take(c);
    t.info.created_ns = take(c);
    t.info.checksum = take_u64(c);
    t.info.smallest = take_slice(c);
    t.info.largest = take_slice(c);
    if (!c->at)
        return ADB_OK; /* the caller reports it */
    adb_status status = check_place(TAG_TABLE_ADDED, level);
    if (status == ADB_OK)
        status = check_table(&t);
    if (status != ADB_OK)
        return status;

    struct table_info copy;
    status = table_info_copy(&t.info, &copy);
    if (status != ADB_OK)
        return status;
    status = version_edit_add_table(e, t.place, &copy);
    if (status != ADB_OK)
        table_info_deinit(&copy);
    return status;
}

static adb_status take_move(struct cursor *c, struct version_edit *e)
{
    uint64_t number = take(c), level = take(c), run = take(c);
    adb_status status = check_place(TAG_TABLE_MOVED, level);
    if (status != ADB_OK)
        return status;
    return version_edit_move_table(e, number,
                                   (struct table_place){(uint32_t)level, run});
}

static adb_status take_quarantined(struct cursor *c, struct version_edit *e)
{
    struct quarantined q = {.number = take(c)};
    q.offset = take(c);
    q.from = take_slice(c);
    q.to = take_slice(c);
    if (!c->at)
        return ADB_OK; /* the caller reports it */
    if (q.from.size > ADB_MAX_KEY_SIZE || q.to.size > ADB_MAX_KEY_SIZE)
        return malformed(TAG_TABLE_QUARANTINED, "has an impossible key range");
    return version_edit_quarantine(e, &q);
}

static adb_status take_end(struct cursor *c, struct version_edit *e)
{
    struct wal_end end = {.segment = take(c)};
    end.length = take(c);
    end.next_seq = take(c);
    end.checksum = take_u64(c);
    return version_edit_end_segment(e, &end);
}

static adb_status take_once(struct cursor *c, uint64_t tag, uint64_t *value)
{
    if (*value)
        return malformed(tag, "stands twice");
    *value = take(c);
    if (c->at && (!*value || *value > MAX_NUMBER))
        return malformed(tag, "has an impossible value");
    return ADB_OK;
}

static adb_status take_watermark(struct cursor *c, struct watermark *w)
{
    adb_status status = take_once(c, TAG_SYNCED_THROUGH, &w->segment);
    w->offset = take(c);
    w->seq = take(c);
    return status;
}

static adb_status take_field(uint64_t tag, struct cursor *c,
                             struct version_edit *e)
{
    switch (tag) {
    case TAG_TABLE_ADDED:
        return take_table(c, e);
    case TAG_TABLE_REMOVED:
        return version_edit_remove_table(e, take(c));
    case TAG_TABLE_MOVED:
        return take_move(c, e);
    case TAG_SEGMENT_CREATED:
        return version_edit_create_segment(e, take(c));
    case TAG_SEGMENT_REMOVED:
        return version_edit_remove_segment(e, take(c));
    case TAG_SEGMENT_END:
        return take_end(c, e);
    case TAG_NEXT_FILE:
        return take_once(c, tag, &e->next_file);
    case TAG_NEXT_RUN:
        return take_once(c, tag, &e->next_run);
    case TAG_LAST_SEQ:
        return take_once(c, tag, &e->last_seq);
    case TAG_SYNCED_THROUGH:
        return take_watermark(c, &e->synced_through);
    case TAG_SEGMENTS_BELOW:
        return take_once(c, tag, &e->segments_below);
    case TAG_DATABASE:
        return take_once(c, tag, &e->database);
    case TAG_TABLE_QUARANTINED:
        return take_quarantined(c, e);
    case TAG_TABLE_RELEASED:
        return version_edit_release(e, take(c));
    default:
        return status_set(ADB_UNSUPPORTED,
                          "version edit with the unknown field %" PRIu64
                          "; a newer albertdb wrote it: open the database "
                          "with that version",
                          tag);
    }
}

adb_status version_edit_decode(adb_slice payload, struct version_edit *e)
{
    const uint8_t *at = payload.data;
    const uint8_t *end = payload.size ? at + payload.size : at;
    while (at < end) {
        uint64_t tag;
        adb_slice field;
        at = get_varint(at, end, &tag);
        if (at)
            at = get_slice(at, end, &field);
        if (!at)
            return status_set(ADB_CORRUPTION,
                              "version edit that ends inside a field");
        const uint8_t *bytes = field.data;
        struct cursor c = {bytes, bytes + field.size};
        adb_status status = take_field(tag, &c, e);
        if (status != ADB_OK)
            return status;
        if (c.at != c.end)
            return malformed(tag, "has not the length it states");
    }
    return ADB_OK;
}
