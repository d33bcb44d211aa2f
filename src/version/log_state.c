#include "version/log_state.h"

#include <inttypes.h>

#include "base/alloc.h"

void log_state_deinit(struct log_state *s)
{
    mem_free(s->segments);
    mem_free(s->ends);
    *s = (struct log_state){0};
}

/* Room for `count` segments. */
static adb_status reserve(struct log_state *s, size_t count)
{
    uint64_t *segments =
        mem_realloc(s->segments, (count + 1) * sizeof *segments);
    if (segments)
        s->segments = segments;
    struct wal_end *ends = mem_realloc(s->ends, (count + 1) * sizeof *ends);
    if (ends)
        s->ends = ends;
    if (!segments || !ends)
        return status_set(ADB_NO_MEMORY, "no memory for %zu log segments",
                          count);
    return ADB_OK;
}

adb_status log_state_copy(const struct log_state *in, struct log_state *out)
{
    struct log_state copy = {.count = in->count,
                             .synced_through = in->synced_through,
                             .last_seq = in->last_seq,
                             .segments_below = in->segments_below,
                             .database = in->database};
    adb_status status = reserve(&copy, in->count);
    if (status != ADB_OK) {
        log_state_deinit(&copy);
        return status;
    }
    if (in->count) {
        memcpy(copy.segments, in->segments, in->count * sizeof *in->segments);
        memcpy(copy.ends, in->ends, in->count * sizeof *in->ends);
    }
    *out = copy;
    return ADB_OK;
}

/* Index of the segment; count: not there. */
static size_t find(const struct log_state *s, uint64_t number)
{
    size_t i = 0;
    while (i < s->count && s->segments[i] != number)
        i++;
    return i;
}

static adb_status create(struct log_state *s, uint64_t number)
{
    if (!number || (s->count && number <= s->segments[s->count - 1]))
        return status_set(
            ADB_INVALID,
            "the edit creates log segment %" PRIu64 " out of order", number);
    adb_status status = reserve(s, s->count + 1);
    if (status != ADB_OK)
        return status;
    s->segments[s->count] = number;
    s->ends[s->count++] = (struct wal_end){0};
    if (s->segments_below)
        s->segments_below = MAX_OF(s->segments_below, number + 1);
    return ADB_OK;
}

static adb_status remove_segment(struct log_state *s, uint64_t number)
{
    size_t i = find(s, number);
    if (i == s->count)
        return status_set(ADB_INVALID,
                          "the edit removes log segment %" PRIu64
                          " which is not there",
                          number);
    size_t behind = s->count - i - 1;
    memmove(s->segments + i, s->segments + i + 1, behind * sizeof *s->segments);
    memmove(s->ends + i, s->ends + i + 1, behind * sizeof *s->ends);
    s->count--;
    return ADB_OK;
}

static adb_status end_segment(struct log_state *s, const struct wal_end *end)
{
    size_t i = find(s, end->segment);
    if (i == s->count)
        return status_set(ADB_INVALID,
                          "the edit ends log segment %" PRIu64
                          " which is not there",
                          end->segment);
    s->ends[i] = *end;
    return ADB_OK;
}

adb_status log_state_apply(struct log_state *s, const struct version_edit *e)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < e->segments_created_count && status == ADB_OK; i++)
        status = create(s, e->segments_created[i]);
    for (size_t i = 0; i < e->segment_ends_count && status == ADB_OK; i++)
        status = end_segment(s, &e->segment_ends[i]);
    for (size_t i = 0; i < e->segments_removed_count && status == ADB_OK; i++)
        status = remove_segment(s, e->segments_removed[i]);
    if (e->database) {
        if (s->database && s->database != e->database)
            return status_set(ADB_INVALID,
                              "the edit belongs to another database");
        s->database = e->database;
    }
    s->segments_below = MAX_OF(s->segments_below, e->segments_below);
    s->last_seq = MAX_OF(s->last_seq, e->last_seq);
    if (watermark_after(&e->synced_through, &s->synced_through))
        s->synced_through = e->synced_through;
    return status;
}
