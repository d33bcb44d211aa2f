/*
 * Recovery: which records are history, and is anything missing that was
 * promised?
 *
 *   segment 5         segment 7 (previous: 5, its length, its checksum)
 *   | h | r | r |     | h | r | r | ~hole~ | r |
 *                                   ^ E          ^ only looked through
 *
 * 1. The headers of all listed segments are read; they form the chain.
 * 2. From the first segment on, records are replayed while each is valid and
 *    names its predecessor. History ends at E: at the first byte that is no
 *    such record, with no later segment that continues from exactly there.
 * 3. Everything behind E is searched for valid records, at every multiple of
 *    8, for the sake of their watermarks.
 * 4. A watermark beyond E, wherever it was found, proves that bytes once on
 *    stable storage are gone: damage. Without one the hole is what an unsynced
 *    tail looks like after a crash, and history is cut at E.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "kv/types.h"
#include "wal/wal.h"
#include "wal/wal_internal.h"
#include "wal/wal_reader.h"

/* What the header of a listed segment says. */
struct link {
    bool valid;
    struct wal_end before;   /* the predecessor's end */
    struct record header;    /* payload not kept */
    uint64_t discarded;      /* records found behind the end of history */
};

struct recovery {
    const struct wal_recovery *in;
    struct wal_recovered *out;
    struct link *links; /* owned, one per listed segment */
    struct wal_reader reader;
    struct watermark known; /* the largest valid one */
    struct wal_position at; /* what is being looked at */
    struct wal_end last;    /* E */
};

static void learn(struct recovery *r, const struct record *record)
{
    if (record->has_watermark && watermark_after(&record->watermark, &r->known))
        r->known = record->watermark;
}

static adb_status open_segment(struct recovery *r, size_t i, bool *exists)
{
    return wal_reader_open(&r->reader, r->in->env, r->in->directory,
                           r->in->segments[i], exists);
}

/* ---- headers ---- */

adb_status wal_decode_header(const char *path, adb_slice payload,
                             uint64_t number, uint64_t expected,
                             struct wal_end *before)
{
    const uint8_t *p = payload.data, *end = p + payload.size;
    uint64_t version, own, capacity, database = 0;
    struct wal_end b = {0};

    p = get_varint(p, end, &version);
    if (p && version != WAL_FORMAT_VERSION)
        return status_set(ADB_UNSUPPORTED,
                          "'%s' has log format version %" PRIu64
                          ", this build knows %d",
                          path, version, WAL_FORMAT_VERSION);
    if (p)
        p = get_varint(p, end, &own);
    if (p)
        p = get_varint(p, end, &capacity);
    if (p)
        p = get_varint(p, end, &b.segment);
    if (p)
        p = get_varint(p, end, &b.length);
    if (p && end - p > 8) {
        b.checksum = get_u64(p);
        p = get_varint(p + 8, end, &b.next_seq);
        if (p && p < end)
            p = get_varint(p, end, &database);
    } else {
        p = NULL;
    }
    if (p != end || own != number || b.segment >= number ||
        b.next_seq > KV_MAX_SEQ + 1)
        return status_set(ADB_CORRUPTION,
                          "'%s' offset 0: malformed segment header", path);
    if (expected && database != expected)
        return status_set(ADB_CORRUPTION,
                          "'%s' offset 0: the segment belongs to another "
                          "database",
                          path);
    *before = b;
    return ADB_OK;
}

static adb_status read_header(struct recovery *r, size_t i)
{
    struct link *link = &r->links[i];
    bool exists, valid;
    r->at = (struct wal_position){r->in->segments[i], 0};
    adb_status status = open_segment(r, i, &exists);
    if (status != ADB_OK || !exists)
        return status;
    status = wal_reader_record(&r->reader, 0, &valid, &link->header);
    if (status == ADB_OK && valid &&
        link->header.kind == RECORD_SEGMENT_HEADER) {
        learn(r, &link->header);
        status = wal_decode_header(r->reader.file->path, link->header.payload,
                                   r->in->segments[i], r->in->database,
                                   &link->before);
        link->valid = status == ADB_OK;
    }
    link->header.payload = slice_of(NULL, 0);
    return status;
}

/* ---- the chain ---- */

static const size_t none = SIZE_MAX;

/* Of several segments that claim to follow the same one, the youngest was
   made last, by a process that had cut the others off. */
static size_t first_segment(const struct recovery *r)
{
    for (size_t i = r->in->segment_count; i-- > 0;)
        if (r->links[i].valid &&
            r->links[i].before.segment < r->in->segments[0])
            return i;
    return none;
}

static size_t successor(const struct recovery *r, size_t i)
{
    for (size_t j = r->in->segment_count; j-- > i + 1;) {
        const struct link *link = &r->links[j];
        if (link->valid && link->before.segment == r->last.segment &&
            link->before.length == r->last.length &&
            link->before.checksum == r->last.checksum &&
            link->before.next_seq >= r->last.next_seq)
            return j;
    }
    return none;
}

static const struct wal_end *known_end(const struct recovery *r, size_t i)
{
    return r->in->ends && r->in->ends[i].segment ? &r->in->ends[i] : NULL;
}

/* Records at or behind this offset are not history, valid or not: appends
   that failed, or that an earlier recovery cut off. */
static uint64_t length_limit(const struct recovery *r, size_t i)
{
    const struct wal_end *end = known_end(r, i);
    if (end)
        return end->length;
    for (size_t j = r->in->segment_count; j-- > i + 1;)
        if (r->links[j].valid &&
            r->links[j].before.segment == r->in->segments[i])
            return r->links[j].before.length;
    return UINT64_MAX;
}

/* ---- replay ---- */

static bool continues(const struct recovery *r, const struct record *record,
                      uint64_t limit)
{
    return record->kind == RECORD_BATCH && record->count > 0 &&
           record->previous == r->last.checksum &&
           record->seq >= r->last.next_seq &&
           record->seq + record->count <= KV_MAX_SEQ + 1 &&
           record->size <= limit - r->last.length;
}

static adb_status replay_segment(struct recovery *r, size_t i)
{
    const struct link *link = &r->links[i];
    uint64_t number = r->in->segments[i], limit = length_limit(r, i);
    bool exists;
    adb_status status = open_segment(r, i, &exists);
    if (status != ADB_OK)
        return status;
    if (!exists)
        return status_set(ADB_CORRUPTION, "log segment %" PRIu64 " vanished",
                          number);
    r->last = (struct wal_end){number, link->header.size,
                               link->header.checksum, link->before.next_seq};
    r->out->bytes += link->header.size;
    while (r->last.length < limit) {
        struct record record;
        bool valid;
        r->at = (struct wal_position){number, r->last.length};
        status = wal_reader_record(&r->reader, r->last.length, &valid, &record);
        if (status != ADB_OK)
            return status;
        if (!valid || !continues(r, &record, limit))
            break;
        learn(r, &record);
        status = r->in->replay(r->in->context, number, r->last.length,
                               record.seq, record.count, record.payload);
        if (status != ADB_OK)
            return status;
        r->last = (struct wal_end){number, r->last.length + record.size,
                                   record.checksum, record.seq + record.count};
        r->out->records++;
        r->out->bytes += record.size;
    }
    r->out->ends[i] = r->last;
    return ADB_OK;
}

static adb_status check_first(const struct recovery *r, size_t i)
{
    uint64_t next_seq = r->links[i].before.next_seq;
    if (!r->in->next_seq || next_seq <= r->in->next_seq)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "log segment %" PRIu64 " begins with sequence %" PRIu64
                      ", %" PRIu64 " was expected",
                      r->in->segments[i], next_seq, r->in->next_seq);
}

static adb_status replay_chain(struct recovery *r)
{
    size_t i = first_segment(r);
    adb_status status = i == none ? ADB_OK : check_first(r, i);
    while (i != none && status == ADB_OK) {
        status = replay_segment(r, i);
        if (status == ADB_OK)
            i = successor(r, i);
    }
    return status;
}

/* ---- behind the end ---- */

/* Could a record at `offset` of segment `number` have been written after E?
   Keeps the records that recycled files are full of from being summed. */
static bool later_record(const struct recovery *r, const struct record *head,
                         uint64_t number, uint64_t offset)
{
    const struct watermark *mark = &head->watermark;
    if (head->kind != RECORD_BATCH || !head->count ||
        head->seq < r->last.next_seq)
        return false;
    return !head->has_watermark || mark->segment < number ||
           (mark->segment == number && mark->offset <= offset);
}

static adb_status scan_segment(struct recovery *r, size_t i, uint64_t from)
{
    uint64_t number = r->in->segments[i];
    bool exists;
    adb_status status = open_segment(r, i, &exists);
    if (status != ADB_OK || !exists)
        return status;
    /* Values may be full of what looks like heads. Sums over more bytes than
       any real log needs stop the search; all that is lost is the proof that
       a hole is damage. */
    uint64_t budget = r->reader.size * 16 + (UINT64_C(64) << 20);
    uint64_t at = from;
    while (at < r->reader.size) {
        struct record head;
        status = wal_reader_find(&r->reader, &at, &head);
        if (status != ADB_OK || at >= r->reader.size || head.size > budget)
            return status;
        if (!later_record(r, &head, number, at)) {
            at += RECORD_ALIGNMENT;
            continue;
        }
        budget -= head.size;
        bool valid;
        struct record record;
        status = wal_reader_record(&r->reader, at, &valid, &record);
        if (status != ADB_OK)
            return status;
        if (valid) {
            learn(r, &record);
            r->links[i].discarded++;
            r->out->discarded_bytes += record.size;
        }
        at += valid ? record.size : RECORD_ALIGNMENT;
    }
    return ADB_OK;
}

static adb_status scan_rest(struct recovery *r)
{
    for (size_t i = 0; i < r->in->segment_count; i++) {
        uint64_t number = r->in->segments[i], from;
        if (number < r->last.segment)
            continue;
        if (number == r->last.segment)
            from = r->last.length;
        else
            from = r->links[i].valid ? r->links[i].header.size : 0;
        adb_status status = scan_segment(r, i, from);
        if (status != ADB_OK)
            return status;
        /* What was cut off by an earlier recovery is no news. */
        if (number != r->last.segment ? r->links[i].valid ||
                                            r->links[i].discarded
                                      : r->links[i].discarded &&
                                            !known_end(r, i))
            r->out->cut = true;
    }
    return ADB_OK;
}

/* ---- verdict ---- */

static adb_status damage(struct recovery *r, uint64_t segment,
                         uint64_t offset, const char *proof)
{
    r->at = (struct wal_position){segment, offset};
    char *path = wal_segment_path(r->in->directory, segment);
    adb_status status = status_set(
        ADB_CORRUPTION,
        "'%s' at offset %" PRIu64 ": a log record is damaged or missing (%s); "
        "restore the directory from a backup or run 'albertdb repair'",
        path ? path : "log", offset, proof);
    mem_free(path);
    return status;
}

static adb_status check_watermarks(struct recovery *r)
{
    const struct wal_recovery *in = r->in;
    struct watermark reach = r->known;
    for (size_t i = 0; i < in->segment_count; i++) {
        const struct wal_end *end = known_end(r, i);
        struct watermark mark = {in->segments[i], end ? end->length : 0, 0};
        if (end && watermark_after(&mark, &reach))
            reach = mark;
    }
    struct watermark end = {r->last.segment, r->last.length, 0};
    if (!end.segment)
        end.segment = in->segments[0];
    if (!watermark_after(&reach, &end))
        return ADB_OK;
    char proof[96];
    snprintf(proof, sizeof(proof),
             "segment %" PRIu64 " up to offset %" PRIu64 " had been synced",
             reach.segment, reach.offset);
    return damage(r, end.segment, end.offset, proof);
}

static bool same_end(const struct wal_end *a, const struct wal_end *b)
{
    return a->segment == b->segment && a->length == b->length &&
           a->checksum == b->checksum && a->next_seq == b->next_seq;
}

/* Where ends are known they are met exactly: those of an earlier recovery by
   every segment of the chain, those of a clean close by all. (A segment whose
   end is not recorded has it in its successor's header, and the watermark of a
   clean close covers all of it.) */
static adb_status check_ends(struct recovery *r)
{
    const struct wal_recovery *in = r->in;
    for (size_t i = 0; i < in->segment_count; i++) {
        const struct wal_end *found = &r->out->ends[i];
        if (!in->ends || !in->ends[i].segment ||
            (!in->closed_cleanly && !found->segment))
            continue;
        if (!same_end(found, &in->ends[i]))
            return damage(r, in->segments[i],
                          found->segment ? found->length : 0,
                          "the segment ends otherwise than recorded");
    }
    return ADB_OK;
}

/* After a clean close nothing valid may follow the end. */
static adb_status check_nothing_follows(struct recovery *r)
{
    for (size_t i = 0; i < r->in->segment_count; i++) {
        const struct wal_end *end = &r->out->ends[i];
        bool exists, valid = false;
        struct record record;
        adb_status status = open_segment(r, i, &exists);
        if (status == ADB_OK && exists && end->segment)
            status = wal_reader_record(&r->reader, end->length, &valid,
                                       &record);
        if (status != ADB_OK)
            return status;
        if (valid && record.previous == end->checksum)
            return damage(r, end->segment, end->length,
                          "records follow the recorded end");
    }
    return ADB_OK;
}

static adb_status sync_survivors(struct recovery *r)
{
    for (size_t i = 0; i < r->in->segment_count; i++) {
        const struct wal_end *end = &r->out->ends[i];
        struct watermark mark = {end->segment, end->length, 0};
        bool exists;
        if (!end->segment || !watermark_after(&mark, &r->known))
            continue;
        adb_status status = open_segment(r, i, &exists);
        if (status == ADB_OK && exists)
            status = env_file_sync(r->reader.file);
        if (status != ADB_OK)
            return status;
    }
    if (r->last.segment)
        r->known = (struct watermark){
            r->last.segment, r->last.length,
            r->last.next_seq ? r->last.next_seq - 1 : 0};
    return ADB_OK;
}

static adb_status recover(struct recovery *r)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->in->segment_count && status == ADB_OK; i++)
        status = read_header(r, i);
    if (status == ADB_OK)
        status = replay_chain(r);
    if (status == ADB_OK)
        status = r->in->closed_cleanly ? check_nothing_follows(r)
                                       : scan_rest(r);
    if (status == ADB_OK)
        status = check_watermarks(r);
    if (status == ADB_OK)
        status = check_ends(r);
    struct watermark last = {r->last.segment, r->last.length, 0};
    r->out->unsynced = last.segment && watermark_after(&last, &r->known);
    if (status == ADB_OK && !r->in->check_only)
        status = sync_survivors(r);
    return status;
}

adb_status wal_recover(const struct wal_recovery *in,
                       struct wal_recovered *out)
{
    struct wal_recovered result = {.synced_through = in->synced_through};
    struct recovery r = {
        .in = in, .out = &result, .known = in->synced_through};
    adb_status status = ADB_OK;
    if (in->segment_count) {
        result.ends = mem_zalloc(in->segment_count * sizeof(*result.ends));
        r.links = mem_zalloc(in->segment_count * sizeof(*r.links));
        status = result.ends && r.links
                     ? recover(&r)
                     : status_set(ADB_NO_MEMORY, "no memory to recover the log");
    }
    wal_reader_deinit(&r.reader);
    mem_free(r.links);
    if (status != ADB_OK) {
        if (in->failed_at)
            *in->failed_at = r.at;
        wal_recovered_deinit(&result);
        return status;
    }
    result.last = r.last;
    result.synced_through = r.known;
    *out = result;
    return ADB_OK;
}

void wal_recovered_deinit(struct wal_recovered *out)
{
    mem_free(out->ends);
    out->ends = NULL;
}
