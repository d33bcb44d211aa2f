#include "wal/wal_salvage.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "kv/types.h"
#include "wal/wal_internal.h"
#include "wal/wal_reader.h"

/* A listed segment, as far as it can be told before its records are read. */
struct part {
    bool exists, headed; /* the header is valid, and ours */
    bool passed_by;      /* no part of history, or not ours */
    struct wal_end before;
    uint64_t begin;     /* of its records */
    uint64_t limit;     /* records end here at the latest */
    uint64_t first_seq; /* of its first record; UINT64_MAX: it has none */
};

struct work {
    const struct wal_salvage *in;
    struct wal_salvaged *out;
    struct part *parts; /* owned */
    struct wal_reader reader;
    struct watermark known; /* synced, as records say */
};

static uint64_t number_of(const struct work *w, size_t i)
{
    return w->in->segments[i];
}

/* The thread's message says what is wrong. */
static void tell(struct work *w, adb_status status, size_t i, uint64_t offset,
                 uint64_t size, uint64_t operations)
{
    char text[STATUS_MESSAGE_MAX];
    memcpy(text, status_message(), sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct wal_hole hole = {number_of(w, i), offset, size,
                            operations,      status, text};
    w->out->holes++;
    if (w->in->report)
        w->in->report(w->in->context, &hole);
}

/* next_seq: of the record behind, UINT64_MAX: there is none. */
static void tell_hole(struct work *w, size_t i, uint64_t offset, uint64_t size,
                      uint64_t next_seq)
{
    uint64_t missing = 0, through = w->in->through;
    if (!w->parts[i].exists)
        through = MAX_OF(through, w->in->covered);
    uint64_t expected = MAX_OF(w->out->next_seq, through ? through + 1 : 0);
    if (next_seq <= through + 1)
        return;
    char *path = wal_segment_path(w->in->directory, number_of(w, i));
    if (expected && next_seq != UINT64_MAX && next_seq > expected)
        missing = next_seq - expected;
    adb_status status =
        w->parts[i].exists
            ? status_set(ADB_CORRUPTION,
                         "'%s' offset %" PRIu64 ": %" PRIu64
                         " bytes hold no valid record",
                         path ? path : "log", offset, size)
            : status_set(ADB_CORRUPTION, "'%s' is missing",
                         path ? path : "log");
    mem_free(path);
    tell(w, status, i, offset, size, missing);
}

static adb_status open_part(struct work *w, size_t i, bool *exists)
{
    return wal_reader_open(&w->reader, w->in->env, w->in->directory,
                           number_of(w, i), exists);
}

/* ---- what is there ------------------------------------------------------ */

/* Not the header of this segment: is it another's? */
static adb_status check_owner(struct work *w, size_t i)
{
    uint64_t owner;
    adb_status status = wal_reader_owner(&w->reader, &owner);
    if (status != ADB_OK || !owner || owner == number_of(w, i))
        return status;
    w->parts[i].passed_by = true;
    tell(w,
         status_set(ADB_CORRUPTION, "'%s' is log segment %" PRIu64,
                    w->reader.file->path, owner),
         i, 0, w->reader.size, 0);
    return ADB_OK;
}

static adb_status read_header(struct work *w, size_t i)
{
    struct part *p = &w->parts[i];
    struct record header;
    bool valid;
    p->limit = p->first_seq = UINT64_MAX;
    adb_status status = open_part(w, i, &p->exists);
    if (status != ADB_OK || !p->exists)
        return status;
    status = wal_reader_record(&w->reader, 0, &valid, &header);
    if (status == ADB_OK && !valid)
        return check_owner(w, i);
    if (status != ADB_OK || header.kind != RECORD_SEGMENT_HEADER)
        return status;
    status = wal_decode_header(w->reader.file->path, header.payload,
                               number_of(w, i), w->in->database, &p->before);
    if (status == ADB_CORRUPTION) {
        p->passed_by = true;
        tell(w, status, i, 0, w->reader.size, 0);
        return ADB_OK;
    }
    p->headed = status == ADB_OK;
    p->begin = header.size;
    return status;
}

/* Each header tells where the segment before ended, and that those between
   are none of history. */
static void chain(struct work *w)
{
    for (size_t j = w->in->segment_count; j-- > 0;) {
        const struct part *p = &w->parts[j];
        if (!p->headed || p->passed_by)
            continue;
        for (size_t k = j; k-- > 0 && number_of(w, k) >= p->before.segment;) {
            if (number_of(w, k) > p->before.segment)
                w->parts[k].passed_by = true;
            else
                w->parts[k].limit =
                    MIN_OF(w->parts[k].limit, p->before.length);
        }
    }
    for (size_t i = 0; i < w->in->segment_count && w->in->ends; i++)
        if (w->in->ends[i].segment)
            w->parts[i].limit = w->in->ends[i].length;
}

/* ---- records ------------------------------------------------------------ */

static bool is_batch(const struct record *r, uint64_t at, uint64_t limit)
{
    return r->kind == RECORD_BATCH && r->count > 0 && limit > at &&
           r->size <= limit - at && r->seq + r->count <= KV_MAX_SEQ + 1;
}

/* The first valid batch at or behind *at with a sequence from `least` on;
   *at becomes its place, or the segment's end. */
static adb_status find_record(struct work *w, const struct part *p,
                              uint64_t least, uint64_t *at, struct record *r)
{
    /* Values may be full of what looks like heads. */
    uint64_t budget = w->reader.size * 16 + (UINT64_C(64) << 20);
    while (*at < w->reader.size && *at < p->limit) {
        struct record head;
        bool valid = false;
        adb_status status = wal_reader_find(&w->reader, at, &head);
        if (status != ADB_OK || *at >= w->reader.size)
            return status;
        if (is_batch(&head, *at, p->limit) && head.seq >= least &&
            head.size <= budget) {
            budget -= head.size;
            status = wal_reader_record(&w->reader, *at, &valid, r);
        }
        if (status != ADB_OK || valid)
            return status;
        *at += RECORD_ALIGNMENT;
    }
    *at = w->reader.size;
    return ADB_OK;
}

static adb_status find_first(struct work *w, size_t i)
{
    struct part *p = &w->parts[i];
    struct record r;
    uint64_t at = p->begin;
    bool exists;
    if (p->passed_by || !p->exists)
        return ADB_OK;
    adb_status status = open_part(w, i, &exists);
    if (status == ADB_OK && exists)
        status = find_record(w, p, 0, &at, &r);
    if (status == ADB_OK && exists && at < w->reader.size)
        p->first_seq = r.seq;
    return status;
}

/* Sequences of later segments are not met in earlier ones. */
static uint64_t seq_limit(const struct work *w, size_t i)
{
    uint64_t least = UINT64_MAX;
    for (size_t j = i + 1; j < w->in->segment_count; j++)
        if (!w->parts[j].passed_by)
            least = MIN_OF(least, w->parts[j].first_seq);
    return least;
}

static adb_status take(struct work *w, size_t i, uint64_t at,
                       const struct record *r)
{
    const struct wal_salvage *in = w->in;
    if (r->has_watermark && watermark_after(&r->watermark, &w->known))
        w->known = r->watermark;
    adb_status status = in->replay(in->context, number_of(w, i), at, r->seq,
                                   r->count, r->payload);
    if (status == ADB_CORRUPTION) {
        tell(w, status, i, at, r->size, r->count);
        status = ADB_OK;
    } else if (status == ADB_OK) {
        w->out->records++;
        w->out->bytes += r->size;
    }
    w->out->next_seq = r->seq + r->count;
    return status;
}

/* How far the segment surely reached: its known end, or what was synced. */
static uint64_t known_reach(const struct work *w, size_t i)
{
    const struct part *p = &w->parts[i];
    uint64_t reach = p->limit == UINT64_MAX ? 0 : p->limit;
    if (w->known.segment == number_of(w, i))
        reach = MAX_OF(reach, w->known.offset);
    return reach;
}

static adb_status salvage_records(struct work *w, size_t i)
{
    const struct part *p = &w->parts[i];
    uint64_t at = p->begin, before = seq_limit(w, i);
    for (;;) {
        struct record r;
        uint64_t found = at;
        adb_status status =
            find_record(w, p, w->out->next_seq, &found, &r);
        if (status != ADB_OK)
            return status;
        if (found >= w->reader.size || r.seq + r.count > before)
            break;
        if (found > at)
            tell_hole(w, i, at, found - at, r.seq);
        status = take(w, i, found, &r);
        if (status != ADB_OK)
            return status;
        at = found + r.size;
    }
    if (at < known_reach(w, i))
        tell_hole(w, i, at, known_reach(w, i) - at, before);
    return ADB_OK;
}

/* The sequence behind the last of a segment that is missing, as later ones
   have it. */
static uint64_t end_of_missing(const struct work *w, size_t i)
{
    uint64_t end = seq_limit(w, i);
    for (size_t j = i + 1; j < w->in->segment_count; j++) {
        const struct part *p = &w->parts[j];
        if (p->headed && !p->passed_by &&
            p->before.segment == number_of(w, i))
            end = MIN_OF(end, p->before.next_seq);
    }
    return end;
}

static adb_status salvage_part(struct work *w, size_t i)
{
    struct part *p = &w->parts[i];
    bool exists;
    if (p->passed_by)
        return ADB_OK;
    if (!p->exists) {
        tell_hole(w, i, 0, 0, end_of_missing(w, i));
        return ADB_OK;
    }
    adb_status status = open_part(w, i, &exists);
    return status == ADB_OK && exists ? salvage_records(w, i) : status;
}

static adb_status read_headers(struct work *w)
{
    const struct wal_salvage *in = w->in;
    w->reader.skip_unreadable = in->skip_unreadable;
    w->parts = mem_zalloc((in->segment_count + 1) * sizeof *w->parts);
    adb_status status =
        w->parts ? ADB_OK
                 : status_set(ADB_NO_MEMORY, "no memory to salvage the log");
    for (size_t i = 0; i < in->segment_count && status == ADB_OK; i++)
        status = read_header(w, i);
    return status;
}

static bool in_chain(const struct work *w, size_t i)
{
    return w->parts[i].headed && !w->parts[i].passed_by;
}

adb_status wal_find_chain(const struct wal_salvage *in, size_t *first,
                          uint64_t *next_seq)
{
    struct wal_salvaged ignored = {0};
    struct work w = {.in = in, .out = &ignored};
    adb_status status = read_headers(&w);
    size_t at = in->segment_count, i = at;
    while (status == ADB_OK && i-- > 0)
        if (in_chain(&w, i) && (at == in->segment_count ||
                                number_of(&w, i) == w.parts[at].before.segment))
            at = i;
    if (status == ADB_OK) {
        *first = at;
        *next_seq = at < in->segment_count ? w.parts[at].before.next_seq : 0;
    }
    wal_reader_deinit(&w.reader);
    mem_free(w.parts);
    return status;
}

adb_status wal_salvage(const struct wal_salvage *in, struct wal_salvaged *out)
{
    struct wal_salvaged result = {0};
    struct work w = {.in = in, .out = &result, .known = in->synced_through};
    adb_status status = read_headers(&w);
    if (status == ADB_OK)
        chain(&w);
    for (size_t i = 0; i < in->segment_count && status == ADB_OK; i++)
        status = find_first(&w, i);
    for (size_t i = 0; i < in->segment_count && status == ADB_OK; i++)
        status = salvage_part(&w, i);
    wal_reader_deinit(&w.reader);
    mem_free(w.parts);
    if (status == ADB_OK)
        *out = result;
    return status;
}
