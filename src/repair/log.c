/*
 * The log: is it whole, and its writes as tables. Replayed as at an opening
 * (db/recover.c), through a memtable that is flushed whenever it is full.
 */
#include "repair/repair_internal.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "kv/batch.h"
#include "wal/wal_salvage.h"

void log_source_deinit(struct log_source *s)
{
    numbers_deinit(&s->segments);
    mem_free(s->ends);
    *s = (struct log_source){0};
}

/* ---- into tables -------------------------------------------------------- */

struct building {
    struct repair *r;
    struct version_edit *edit;
    uint64_t through; /* is in tables already */
    struct memtable_pool *pool; /* owned */
    struct memtable *memtable;  /* counted */
};

static adb_status flush_memtable(struct building *b)
{
    struct repair *r = b->r;
    struct flush_result result;
    if (memtable_empty(b->memtable))
        return ADB_OK;
    struct flush_job job = {
        .env = r->env,
        .directory = r->stage,
        .memtables = &b->memtable,
        .memtable_count = 1,
        .place = {.level = 0, .run = r->next_run++},
        .new_file = repair_new_file,
        .context = r,
    };
    repair_table_options(r, &job.table);
    return flush_run(&job, b->edit, &result);
}

static adb_status make_room(struct building *b, adb_slice key, adb_slice value)
{
    size_t worst = memtable_worst_case(1, key.size, value.size);
    struct memtable *fresh;
    if (b->memtable && memtable_has_room(b->memtable, worst))
        return ADB_OK;
    adb_status status = b->memtable ? flush_memtable(b) : ADB_OK;
    if (status == ADB_OK)
        status = memtable_new(b->pool, 0, &fresh);
    if (status == ADB_OK && !memtable_has_room(fresh, worst)) {
        memtable_unref(fresh);
        status = memtable_new(b->pool, worst, &fresh);
    }
    if (status != ADB_OK)
        return status;
    memtable_unref(b->memtable);
    b->memtable = fresh;
    return ADB_OK;
}

static adb_status add_record(void *context, uint64_t segment, uint64_t offset,
                             uint64_t seq, uint32_t count, adb_slice payload)
{
    struct building *b = context;
    const uint8_t *p = payload.data, *end = p + payload.size;
    adb_status status = ADB_OK;
    for (uint32_t i = 0; i < count && status == ADB_OK; i++) {
        struct memtable_write w = {.seq = seq + i, .in_place = true};
        status = kv_operation_decode(&p, end, &w.kind, &w.key, &w.value);
        if (status == ADB_OK && w.seq <= b->through)
            continue;
        if (status == ADB_OK)
            status = make_room(b, w.key, w.value);
        if (status != ADB_OK)
            return status_context(status, "log segment %llu, offset %llu",
                                  (unsigned long long)segment,
                                  (unsigned long long)offset);
        w.hash = hash_key(w.key.data, w.key.size);
        status = memtable_put(b->memtable, &w);
        b->r->last_seq = MAX_OF(b->r->last_seq, w.seq);
    }
    return status;
}

/* ---- looking only ------------------------------------------------------- */

static adb_status look_at_record(void *context, uint64_t segment,
                                 uint64_t offset, uint64_t seq, uint32_t count,
                                 adb_slice payload)
{
    const uint8_t *p = payload.data, *end = p + payload.size;
    enum kv_kind kind;
    adb_slice key, value;
    adb_status status = ADB_OK;
    (void)context, (void)segment, (void)offset, (void)seq;
    for (uint32_t i = 0; i < count && status == ADB_OK; i++)
        status = kv_operation_decode(&p, end, &kind, &key, &value);
    return status;
}

static struct wal_recovery recovery_of(struct repair *r,
                                       const struct log_source *s)
{
    return (struct wal_recovery){
        .env = r->env,
        .directory = r->path,
        .segments = s->segments.items,
        .segment_count = s->segments.count,
        .ends = s->ends,
        .synced_through = s->synced_through,
        .closed_cleanly = s->closed_cleanly,
        .check_only = true,
        .database = s->database,
    };
}

adb_status repair_check_log(struct repair *r, const struct log_source *s,
                            bool *whole)
{
    struct wal_recovery in = recovery_of(r, s);
    struct wal_recovered out = {0};
    in.replay = look_at_record;
    *whole = false;
    /* Recovery takes one that is missing for the end of what was synced. */
    for (size_t i = 0; i < s->segments.count; i++)
        if (!numbers_have(&r->logs, s->segments.items[i]))
            return ADB_OK;
    adb_status status = wal_recover(&in, &out);
    *whole = status == ADB_OK && !(out.cut && s->unsure);
    wal_recovered_deinit(&out);
    return repair_can_pass(r, status) ? ADB_OK : status;
}

/* From the i-th segment on. */
static void trim(struct log_source *s, size_t i)
{
    s->segments.count -= i;
    memmove(s->segments.items, s->segments.items + i,
            s->segments.count * sizeof *s->segments.items);
    memmove(s->ends, s->ends + i, s->segments.count * sizeof *s->ends);
}

adb_status repair_find_log(struct repair *r, struct log_source *s, bool *whole)
{
    struct wal_salvage in = {.env = r->env,
                             .directory = r->path,
                             .segments = s->segments.items,
                             .segment_count = s->segments.count,
                             .skip_unreadable = r->request->skip_unreadable,
                             .database = s->database};
    size_t first;
    uint64_t next_seq;
    *whole = s->segments.count == 0;
    if (*whole)
        return ADB_OK;
    adb_status status = wal_find_chain(&in, &first, &next_seq);
    /* What stands before the chain is spare, or history, if tables hold all
       that the chain does not. */
    if (status != ADB_OK || first == s->segments.count ||
        next_seq > s->covered + 1)
        return status;
    struct log_source live = *s;
    live.segments.items += first;
    live.segments.count -= first;
    live.ends += first;
    status = repair_check_log(r, &live, whole);
    if (status == ADB_OK && *whole)
        trim(s, first);
    return status;
}

/* ---- salvage ------------------------------------------------------------ */

static void on_hole(void *context, const struct wal_hole *hole)
{
    struct repair *r = ((struct building *)context)->r;
    char *path = wal_segment_path(r->path, hole->segment);
    adb_slice none = slice_of(NULL, 0);
    r->summary.log_holes++;
    r->summary.log_operations_lost += hole->operations;
    if (hole->operations)
        status_set(hole->status, "%s; up to %llu writes are lost", hole->text,
                   (unsigned long long)hole->operations);
    else
        status_set(hole->status, "%s; writes may be lost", hole->text);
    repair_tell(r, hole->status, path, hole->offset, hole->size, none, none);
    mem_free(path);
}

static adb_status salvage(struct building *b, const struct log_source *s)
{
    struct repair *r = b->r;
    struct wal_salvaged out;
    struct wal_salvage in = {
        .env = r->env,
        .directory = r->path,
        .segments = s->segments.items,
        .segment_count = s->segments.count,
        .ends = s->ends,
        .synced_through = s->synced_through,
        .database = s->database,
        .through = b->through,
        .covered = s->covered,
        .skip_unreadable = r->request->skip_unreadable,
        .replay = r->request->dry_run ? look_at_record : add_record,
        .report = on_hole,
        .context = b,
    };
    adb_status status = wal_salvage(&in, &out);
    if (status == ADB_OK)
        r->summary.log_records += out.records;
    return status;
}

static adb_status recover(struct building *b, const struct log_source *s)
{
    struct wal_recovery in = recovery_of(b->r, s);
    struct wal_recovered out = {0};
    in.replay = b->r->request->dry_run ? look_at_record : add_record;
    in.context = b;
    adb_status status = wal_recover(&in, &out);
    if (status == ADB_OK)
        b->r->summary.log_records += out.records;
    wal_recovered_deinit(&out);
    return status;
}

adb_status repair_log_to_tables(struct repair *r, const struct log_source *s,
                                bool whole, uint64_t through,
                                struct version_edit *edit)
{
    struct building b = {.r = r, .edit = edit, .through = through};
    b.pool = memtable_pool_new(r->options.memtable_size, 1, &r->ledger);
    if (!b.pool)
        return status_set(ADB_NO_MEMORY, "no memory to read the log");
    adb_status status = whole ? recover(&b, s) : salvage(&b, s);
    if (status == ADB_OK && b.memtable)
        status = flush_memtable(&b);
    memtable_unref(b.memtable);
    memtable_pool_free(b.pool);
    return status;
}
