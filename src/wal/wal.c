/*
 * The order of records: which segment, which offset, which predecessor.
 *
 * A record reaches its segment payload first and checksum last, so a process
 * that dies in between leaves no valid record.
 */
#include "wal/wal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "wal/wal_internal.h"

char *wal_segment_path(const char *directory, uint64_t number)
{
    char name[32];
    snprintf(name, sizeof(name), "%06" PRIu64 ".log", number);
    return env_join(directory, name);
}

/* ---- open and close ---- */

static void free_list(struct wal_segment *s)
{
    for (struct wal_segment *next; s; s = next) {
        next = s->next;
        wal_segment_free(s);
    }
}

static void free_all(struct wal *w)
{
    free_list(w->oldest);
    free_list(w->prepared);
    for (size_t i = 0; i < WAL_SPARES_MAX; i++)
        mem_free(w->spares[i].path);
    ledger_add(w->options.ledger, LEDGER_WAL, -(int64_t)WAL_STAGE_SIZE);
    mem_free(w->stage);
    mem_free(w->directory);
    condition_deinit(&w->changed);
    mutex_deinit(&w->lock);
    mem_free(w);
}

static adb_status choose_access(struct wal *w)
{
    enum env_fs_class class = ENV_FS_OTHER;
    if (w->options.access == WAL_ACCESS_AUTO) {
        struct env *env = w->options.env;
        adb_status status = env->ops->fs_class(env, w->directory, &class);
        if (status != ADB_OK)
            return status;
    }
    w->place = (struct wal_place){
        .env = w->options.env,
        .directory = w->directory,
        .map = w->options.access == WAL_ACCESS_MAP || class == ENV_FS_MAP_SAFE,
    };
    return ADB_OK;
}

adb_status wal_open(const struct wal_options *options, uint64_t next_segment,
                    const struct wal_end *previous,
                    const struct watermark *synced_through, struct wal **out)
{
    assert(next_segment > previous->segment);
    assert(options->min_segment % WAL_BLOCK == 0 &&
           options->max_segment % WAL_BLOCK == 0 &&
           options->min_segment <= options->max_segment);

    struct wal *w = mem_zalloc(sizeof(*w));
    if (!w)
        return status_set(ADB_NO_MEMORY, "no memory for the log");
    mutex_init(&w->lock);
    condition_init(&w->changed);
    w->options = *options;
    w->options.spares = MIN_OF(options->spares, (unsigned)WAL_SPARES_MAX);
    w->previous = *previous;
    w->next_seq = previous->next_seq;
    w->next_number = next_segment;
    w->synced_through = *synced_through;
    w->directory = mem_strdup(options->directory);
    w->stage = mem_alloc(WAL_STAGE_SIZE);
    ledger_add(options->ledger, LEDGER_WAL, WAL_STAGE_SIZE);

    adb_status status =
        w->directory && w->stage
            ? choose_access(w)
            : status_set(ADB_NO_MEMORY, "no memory for the log");
    if (status != ADB_OK) {
        free_all(w);
        return status;
    }
    w->stats.mapped = w->place.map;
    *out = w;
    return ADB_OK;
}

adb_status wal_adopt(struct wal *w, uint64_t number)
{
    assert(!w->current && number < w->next_number);
    assert(!w->youngest || number > w->youngest->number);
    struct wal_segment *s = wal_segment_new(w->directory, number);
    if (!s)
        return ADB_NO_MEMORY;
    struct env_stat stat;
    adb_status status = env_stat(w->options.env, s->path, &stat);
    if (status != ADB_OK) {
        wal_segment_free(s);
        return status;
    }
    s->capacity = stat.kind == ENV_KIND_FILE ? stat.size : 0;
    s->written = s->capacity; /* as far as is known */
    s->synced = UINT64_MAX; /* wal_recover synced it */
    mutex_lock(&w->lock);
    if (w->youngest)
        w->youngest->next = s;
    else
        w->oldest = s;
    w->youngest = s;
    mutex_unlock(&w->lock);
    return ADB_OK;
}

/* How the present segment ends. */
static struct wal_end present_end(const struct wal *w)
{
    const struct wal_segment *s = w->current;
    if (!s)
        return w->previous;
    return (struct wal_end){
        .segment = s->number,
        .length = atomic_load_explicit(&s->end, memory_order_relaxed),
        .checksum = w->last_checksum,
        .next_seq = w->next_seq,
    };
}

adb_status wal_close(struct wal *w, struct wal_end *end,
                     struct watermark *synced_through)
{
    adb_status status = wal_failure(w);
    if (status == ADB_OK)
        status = wal_sync(w, wal_end_position(w));
    struct status_saved saved;
    status_save(&saved, status);
    adb_status removed = wal_remove_unused(w);
    if (status != ADB_OK) {
        status_restore(&saved);
    } else if (removed != ADB_OK) {
        status = removed;
    } else {
        *end = present_end(w);
        *synced_through = w->synced_through;
    }
    free_all(w);
    return status;
}

void wal_abandon(struct wal *w)
{
    free_all(w);
}

/* ---- failure ---- */

adb_status wal_fail(struct wal *w, struct wal_segment *s, adb_status code)
{
    mutex_lock(&w->lock);
    if (s)
        s->failed = true;
    status_save(&w->failure, code);
    atomic_store_explicit(&w->failed, true, memory_order_relaxed);
    mutex_unlock(&w->lock);
    return code;
}

adb_status wal_failure(struct wal *w)
{
    if (likely(!atomic_load_explicit(&w->failed, memory_order_relaxed)))
        return ADB_OK;
    mutex_lock(&w->lock);
    adb_status status = atomic_load_explicit(&w->failed, memory_order_relaxed)
                            ? status_restore(&w->failure)
                            : ADB_OK;
    mutex_unlock(&w->lock);
    return status;
}

/* ---- segments in order ---- */

static void seal_locked(struct wal *w)
{
    w->previous = present_end(w);
    w->current = NULL;
}

/* The bytes of a failed write that did reach the file may be a whole record,
   if all that is missing is padding. It must not surface after a crash: its
   checksum goes, and that is synced, for the system may have written the bytes
   out in between. */
static adb_status take_back(struct wal_segment *s, uint64_t offset,
                            adb_status status)
{
    static const uint8_t zeros[8];
    struct status_saved saved;
    status_save(&saved, status);
    if (s->map)
        return status;
    adb_status taken = wal_segment_put(s, offset, zeros, sizeof(zeros));
    if (taken == ADB_OK)
        taken = env_file_sync(s->file);
    status_restore(&saved);
    if (taken == ADB_OK)
        return status;
    return status_context(ADB_UNKNOWN_OUTCOME,
                          "the write did not happen, but could after a crash");
}

/* A write that failed. For want of space the segment ends before the failed
   record, for whatever else it is not trusted any more. Want of memory stops
   an append before the bytes that would make it a record. */
static adb_status write_failed(struct wal *w, struct wal_segment *s,
                               uint64_t offset, adb_status status)
{
    if (status == ADB_NO_MEMORY)
        return status;
    if (status != ADB_NO_SPACE) {
        wal_fail(w, s, status);
    } else {
        mutex_lock(&w->lock);
        if (w->current == s)
            seal_locked(w);
        mutex_unlock(&w->lock);
    }
    return take_back(s, offset, status);
}

static struct watermark read_watermark(struct wal *w, uint64_t *generation)
{
    mutex_lock(&w->lock);
    struct watermark known = w->synced_through;
    *generation =
        atomic_load_explicit(&w->synced_generation, memory_order_relaxed);
    mutex_unlock(&w->lock);
    return known;
}

static size_t encode_segment_header(uint8_t *payload, const struct wal *w,
                                    const struct wal_segment *s,
                                    const struct wal_end *before)
{
    uint8_t *p = payload;
    p = put_varint(p, WAL_FORMAT_VERSION);
    p = put_varint(p, s->number);
    p = put_varint(p, s->capacity);
    p = put_varint(p, before->segment);
    p = put_varint(p, before->length);
    put_u64(p, before->checksum);
    p = put_varint(p + 8, w->next_seq);
    if (w->options.database)
        p = put_varint(p, w->options.database);
    return (size_t)(p - payload);
}

/* Copies a record that is complete in memory to its place. */
static adb_status put_record(struct wal_segment *s, uint64_t offset,
                             const uint8_t *bytes, size_t size)
{
    if (!s->map)
        return wal_segment_put(s, offset, bytes, size);
    env_map_store(s->map, offset + 8, bytes + 8, size - 8);
    env_map_store(s->map, offset, bytes, 8);
    return ADB_OK;
}

/* The header record, and with it the place of s in history. */
static adb_status begin_segment(struct wal *w, struct wal_segment *s)
{
    uint8_t bytes[WAL_SEGMENT_HEADER_ROOM];
    struct wal_end before = present_end(w);
    uint64_t generation;
    struct record r = {.kind = RECORD_SEGMENT_HEADER, .seq = w->next_seq};
    r.watermark = read_watermark(w, &generation);
    r.has_watermark = r.watermark.segment != 0;
    uint8_t *payload = bytes + record_payload_offset(r.has_watermark);
    r.payload =
        slice_of(payload, encode_segment_header(payload, w, s, &before));
    record_encode(bytes, &r, s->number, 0);
    assert(r.size <= sizeof(bytes));

    adb_status status = wal_segment_reach(s, r.size, &w->self_populated);
    if (status == ADB_OK)
        status = put_record(s, 0, bytes, r.size);
    if (status != ADB_OK) {
        /* A segment without a header must not be a link of the chain. */
        wal_discard_segment(w, s, true);
        return status == ADB_NO_SPACE || status == ADB_NO_MEMORY
                   ? status
                   : wal_fail(w, NULL, status);
    }

    mutex_lock(&w->lock);
    w->previous = before;
    if (w->youngest)
        w->youngest->next = s;
    else
        w->oldest = s;
    w->youngest = s;
    w->current = s;
    w->appended = true;
    w->last_checksum = r.checksum;
    atomic_store_explicit(&s->end, r.size, memory_order_release);
    atomic_store_explicit(&s->seq, w->next_seq, memory_order_release);
    atomic_store_explicit(&w->prepare_at, 0, memory_order_relaxed);
    mutex_unlock(&w->lock);
    w->written_generation = generation;
    atomic_fetch_add_explicit(&w->bytes, r.size, memory_order_relaxed);
    return ADB_OK;
}

static adb_status next_segment(struct wal *w, uint64_t seq, size_t record)
{
    struct wal_segment *s;
    adb_status status =
        wal_take_segment(w, WAL_SEGMENT_HEADER_ROOM + record, &s);
    if (status != ADB_OK)
        return status;
    if (!w->previous.segment && !w->current)
        w->next_seq = seq; /* the very first record of a new log */
    return begin_segment(w, s);
}

uint64_t wal_room(const struct wal *w)
{
    const struct wal_segment *s = w->current;
    if (!s)
        return UINT64_MAX;
    return s->capacity - atomic_load_explicit(&s->end, memory_order_relaxed);
}

uint64_t wal_rotate(struct wal *w)
{
    mutex_lock(&w->lock);
    if (w->current)
        seal_locked(w);
    atomic_store_explicit(&w->failed, false, memory_order_relaxed);
    /* Not next_number: the segment that is being made right now has a smaller
       one and takes the records to come. */
    uint64_t number = w->previous.segment + 1;
    mutex_unlock(&w->lock);
    return number;
}

struct wal_position wal_end_position(struct wal *w)
{
    struct wal_position at = {0, 0};
    mutex_lock(&w->lock);
    if (w->current) {
        at.segment = w->current->number;
        at.offset = atomic_load_explicit(&w->current->end,
                                         memory_order_acquire);
    } else if (w->appended) {
        at.segment = w->previous.segment;
        at.offset = w->previous.length;
    }
    mutex_unlock(&w->lock);
    return at;
}

/* ---- appending ---- */

/* A record that fits the stage: assembled in warm memory, copied once. */
static adb_status append_small(struct wal *w, struct wal_segment *s,
                               uint64_t offset, struct record *r,
                               const adb_slice *pieces, size_t count)
{
    uint8_t *payload = w->stage + record_payload_offset(r->has_watermark);
    uint8_t *p = payload;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size)
            memcpy(p, pieces[i].data, pieces[i].size);
        p += pieces[i].size;
    }
    r->payload.data = payload;
    record_encode(w->stage, r, s->number, offset);
    adb_status status =
        wal_segment_reach(s, offset + r->size, &w->self_populated);
    if (status == ADB_OK)
        status = put_record(s, offset, w->stage, r->size);
    return status;
}

/* One piece of a large record: populated, copied and summed in steps that
   stay in the processor's cache. */
static adb_status put_piece(struct wal *w, struct wal_segment *s,
                            uint64_t offset, adb_slice piece,
                            struct checksum_stream *sum)
{
    const uint8_t *p = piece.data;
    for (size_t done = 0, n; done < piece.size; done += n) {
        n = MIN_OF(piece.size - done, (size_t)WAL_CHUNK_SIZE);
        adb_status status =
            wal_segment_reach(s, offset + done + n, &w->self_populated);
        if (status == ADB_OK)
            status = wal_segment_put(s, offset + done, p + done, n);
        if (status != ADB_OK)
            return status;
        checksum_stream_update(sum, p + done, n);
    }
    return ADB_OK;
}

/* A record larger than the stage: payload straight to its place, head last. */
static adb_status append_large(struct wal *w, struct wal_segment *s,
                               uint64_t offset, struct record *r,
                               const adb_slice *pieces, size_t count)
{
    static const uint8_t zeros[RECORD_ALIGNMENT];
    uint8_t head[RECORD_HEADER_SIZE + RECORD_WATERMARK_SIZE];
    size_t head_size = record_payload_offset(r->has_watermark);
    uint64_t p = offset + head_size, end = offset + r->size;
    struct checksum_stream sum;
    if (checksum_stream_init_bound(&sum, s->number, offset) != 0)
        return status_set(ADB_NO_MEMORY, "no memory for a checksum");

    record_encode_head(head, r);
    checksum_stream_update(&sum, head + 8, head_size - 8);
    adb_status status = wal_segment_reach(s, p, &w->self_populated);
    for (size_t i = 0; i < count && status == ADB_OK; i++) {
        status = put_piece(w, s, p, pieces[i], &sum);
        p += pieces[i].size;
    }
    r->checksum = checksum_stream_bound_value(&sum);
    checksum_stream_deinit(&sum);
    put_u64(head, r->checksum);
    if (status == ADB_OK)
        status = wal_segment_reach(s, end, &w->self_populated);
    if (status == ADB_OK && p < end)
        status = wal_segment_put(s, p, zeros, end - p);
    if (status == ADB_OK)
        status = put_record(s, offset, head, head_size);
    return status;
}

static adb_status payload_size(const adb_slice *pieces, size_t count,
                               size_t *out)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size > UINT32_MAX - sum)
            return status_set(ADB_TOO_LARGE,
                              "a log record holds at most %" PRIu32 " bytes",
                              UINT32_MAX);
        sum += pieces[i].size;
    }
    *out = sum;
    return ADB_OK;
}

static inline bool watermark_changed(const struct wal *w)
{
    return unlikely(atomic_load_explicit(&w->synced_generation,
                                         memory_order_relaxed) !=
                    w->written_generation);
}

/* Finds the segment for r, begins one if need be, and settles the watermark. */
static adb_status make_room(struct wal *w, uint64_t seq, struct record *r)
{
    bool changed = watermark_changed(w);
    struct wal_segment *s = w->current;
    r->size = record_size(r->payload.size, changed);
    if (unlikely(!s || wal_room(w) < r->size)) {
        adb_status status = next_segment(w, seq, r->size);
        if (status != ADB_OK)
            return status;
        changed = false; /* the header has just told */
    }
    r->has_watermark = changed;
    r->size = record_size(r->payload.size, changed);
    if (changed) {
        uint64_t generation;
        r->watermark = read_watermark(w, &generation);
        w->written_generation = generation;
    }
    return ADB_OK;
}

static void publish(struct wal *w, struct wal_segment *s, uint64_t end,
                    const struct record *r)
{
    w->last_checksum = r->checksum;
    w->next_seq = r->seq + r->count;
    atomic_store_explicit(&s->end, end, memory_order_release);
    atomic_store_explicit(&s->seq, w->next_seq, memory_order_release);
    /* Counters with one writer need no locked instruction. */
    atomic_store_explicit(
        &w->records,
        atomic_load_explicit(&w->records, memory_order_relaxed) + 1,
        memory_order_relaxed);
    atomic_store_explicit(
        &w->bytes,
        atomic_load_explicit(&w->bytes, memory_order_relaxed) + r->size,
        memory_order_relaxed);
    if (unlikely(end >= atomic_load_explicit(&w->prepare_at,
                                             memory_order_relaxed)) &&
        !atomic_load_explicit(&w->wants_prepare, memory_order_relaxed)) {
        atomic_store_explicit(&w->self_populated_shown, w->self_populated,
                              memory_order_relaxed);
        atomic_store_explicit(&w->wants_prepare, true, memory_order_relaxed);
    }
}

adb_status wal_append(struct wal *w, uint64_t seq, uint32_t count,
                      const adb_slice *pieces, size_t piece_count,
                      struct wal_position *at, uint64_t *bytes)
{
    assert(count > 0 && count <= RECORD_MAX_COUNT);
    assert(seq >= w->next_seq || !w->appended);
    if (unlikely(atomic_load_explicit(&w->failed, memory_order_relaxed)))
        return wal_failure(w);

    struct record r = {.kind = RECORD_BATCH, .seq = seq, .count = count};
    adb_status status = payload_size(pieces, piece_count, &r.payload.size);
    if (status == ADB_OK)
        status = make_room(w, seq, &r);
    if (unlikely(status != ADB_OK))
        return status;

    struct wal_segment *s = w->current;
    uint64_t offset = atomic_load_explicit(&s->end, memory_order_relaxed);
    r.previous = w->last_checksum;
    if (likely(r.size <= WAL_STAGE_SIZE))
        status = append_small(w, s, offset, &r, pieces, piece_count);
    else
        status = append_large(w, s, offset, &r, pieces, piece_count);
    if (unlikely(status != ADB_OK))
        return write_failed(w, s, offset, status);

    publish(w, s, offset + r.size, &r);
    at->segment = s->number;
    at->offset = offset + r.size;
    *bytes = r.size;
    return ADB_OK;
}

/* ---- figures ---- */

static void count_bytes(const struct wal_segment *s, struct wal_stats *out)
{
    for (; s; s = s->next) {
        out->live_bytes += s->capacity;
        out->mapped_bytes += s->map ? s->capacity : 0;
    }
}

void wal_stats(struct wal *w, struct wal_stats *out)
{
    mutex_lock(&w->lock);
    *out = w->stats;
    out->live_bytes = 0;
    out->mapped_bytes = 0;
    count_bytes(w->oldest, out);
    count_bytes(w->prepared, out);
    out->segments_ready = w->prepared_count;
    if (w->youngest && w->youngest->file)
        out->mapped = w->youngest->map != NULL;
    mutex_unlock(&w->lock);
    out->records = atomic_load_explicit(&w->records, memory_order_relaxed);
    out->appended_bytes = atomic_load_explicit(&w->bytes, memory_order_relaxed);
    out->self_populated = atomic_load_explicit(&w->self_populated_shown,
                                               memory_order_relaxed);
}
