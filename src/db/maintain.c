/*
 * Flush on demand, approximate sizes, verification.
 */
#include "db/db_internal.h"

#include "base/alloc.h"
#include "version/names.h"

/* Freezes what is in the writable memtable now; *seq is the last write. */
static adb_status freeze(adb *db, uint64_t *seq)
{
    adb_status status = ADB_OK;
    mutex_lock(&db->write_lock);
    uint64_t until = *seq = db->last_seq;
    while (status == ADB_OK && !memtable_empty(db->active.table)) {
        struct memtable_stats stats;
        memtable_stats(db->active.table, &stats);
        if (stats.min_seq > until)
            break; /* another thread switched, then wrote */
        status = db_switch_memtable_unlocking(db, 0, 0);
    }
    mutex_unlock(&db->write_lock);
    return status;
}

adb_status db_flush(adb *db)
{
    uint64_t seq;
    adb_status status = freeze(db, &seq);
    return status == ADB_OK ? db_wait_flushed(db, seq) : status;
}

static uint64_t table_size_between(struct version_table *t, adb_slice from,
                                   adb_slice to)
{
    struct sst_reader *reader;
    if (version_table_reader(t, &reader) != ADB_OK)
        return t->info.size;
    uint64_t begin = from.data ? sst_reader_offset_of(reader, from) : 0;
    uint64_t end = to.data ? sst_reader_offset_of(reader, to) : t->info.size;
    return end > begin ? end - begin : 0;
}

static uint64_t run_size_between(const struct version_run *run,
                                 adb_slice from, adb_slice to)
{
    uint64_t bytes = 0;
    size_t i = from.data ? version_run_lower(run, from) : 0;
    for (; i < run->count; i++) {
        struct version_table *t = run->tables[i];
        bool begins_inside =
            !from.data || slice_compare(t->info.smallest, from) >= 0;
        bool ends_inside = !to.data || slice_compare(t->info.largest, to) < 0;
        if (to.data && slice_compare(t->info.smallest, to) >= 0)
            break;
        bytes += begins_inside && ends_inside
                     ? t->info.size
                     : table_size_between(t, from, to);
    }
    return bytes;
}

adb_status db_approximate_size(adb *db, adb_slice from, adb_slice to,
                               uint64_t *bytes)
{
    struct db_view *v = db_view_ref(db);
    uint64_t total = memtable_approximate_size(v->writable, from, to);
    for (size_t i = 0; i < v->frozen_count; i++)
        total += memtable_approximate_size(v->frozen[i], from, to);
    for (size_t i = 0; i < v->version->run_count; i++)
        total += run_size_between(&v->version->runs[i], from, to);
    db_view_unref(v);
    *bytes = total;
    return ADB_OK;
}

/* ---- verification ------------------------------------------------------ */

struct verification {
    adb_report_fn report;
    adb_progress_fn progress;
    void *context;
    uint64_t done, total;
    uint64_t damaged;
};

static void tell(struct verification *v, const char *text)
{
    v->damaged++;
    if (v->report)
        v->report(v->context, text);
}

static void on_damage(void *context, const char *text)
{
    tell(context, text);
}

static void on_progress(void *context, uint64_t bytes)
{
    struct verification *v = context;
    v->done += bytes;
    if (v->progress)
        v->progress(v->context, v->done, v->total);
}

static void verify_table(struct verification *v, struct version_table *t)
{
    struct sst_reader *reader;
    uint64_t before = v->damaged;
    adb_status status = version_table_reader(t, &reader);
    if (status == ADB_OK)
        status = sst_reader_verify(reader, on_damage, on_progress, v);
    /* What failed before a byte could be checked has not been told yet. */
    if (status != ADB_OK && v->damaged == before)
        tell(v, status_message());
}

static adb_status accept_record(void *context, uint64_t segment,
                                uint64_t offset, uint64_t seq, uint32_t count,
                                adb_slice payload)
{
    const uint8_t *p = payload.data, *end = p + payload.size;
    enum kv_kind kind;
    adb_slice key, value;
    (void)context;
    (void)seq;
    adb_status status = ADB_OK;
    for (uint32_t i = 0; i < count && status == ADB_OK; i++)
        status = kv_operation_decode(&p, end, &kind, &key, &value);
    if (status != ADB_OK)
        return status_context(status, "log segment %llu, offset %llu",
                              (unsigned long long)segment,
                              (unsigned long long)offset);
    return ADB_OK;
}

/* The live segments that are written no more, pinned so that a flush does not
   take them away. The one being written is checked when it is recovered. */
static uint64_t *closed_segments(adb *db, size_t *count)
{
    uint64_t *segments = NULL;
    uint64_t writing = wal_end_position(db->wal).segment;
    size_t n = 0;
    mutex_lock(&db->lock);
    while (n < db->segment_count && db->segments[n] < writing)
        n++;
    if (n)
        segments = mem_alloc(n * sizeof *segments);
    if (segments) {
        memcpy(segments, db->segments, n * sizeof *segments);
        wal_pin(db->wal, segments[0]);
    }
    mutex_unlock(&db->lock);
    *count = n;
    return segments;
}

static void verify_log(adb *db, struct verification *v)
{
    size_t count;
    uint64_t *segments = closed_segments(db, &count);
    struct wal_end *ends = segments ? mem_zalloc(count * sizeof *ends) : NULL;
    struct wal_recovered found = {0};
    if (ends) {
        struct wal_recovery in = {
            .env = db->env,
            .directory = db->path,
            .segments = segments,
            .segment_count = count,
            .ends = ends,
            .check_only = true,
            .database = version_set_database(db->versions),
            .replay = accept_record,
        };
        if (wal_recover(&in, &found) != ADB_OK)
            tell(v, status_message());
        wal_recovered_deinit(&found);
    }
    if (segments)
        wal_unpin(db->wal, segments[0]);
    mem_free(segments);
    mem_free(ends);
}

static adb_status accept_edit(void *context, uint64_t offset,
                              const struct record *r,
                              const struct version_edit *edit)
{
    (void)context;
    (void)offset;
    (void)r;
    (void)edit;
    return ADB_OK;
}

/* Without a lock, so that flushes go on meanwhile; what fails then is looked
   at again with the manifest held still. */
static void verify_manifest(adb *db, struct verification *v)
{
    struct version_set_stats stats;
    version_set_stats(db->versions, &stats);
    char *path = manifest_path(db->path, stats.manifest_number);
    if (path && manifest_walk(db->env, path, stats.manifest_number,
                              accept_edit, NULL) != ADB_OK &&
        version_set_walk_manifest(db->versions, accept_edit, NULL) != ADB_OK)
        tell(v, status_message());
    mem_free(path);
}

adb_status db_verify(adb *db, adb_report_fn report, adb_progress_fn progress,
                     void *context)
{
    struct db_view *view = db_view_ref(db);
    struct verification v = {
        .report = report,
        .progress = progress,
        .context = context,
        .total = view->version->bytes,
    };
    for (size_t r = 0; r < view->version->run_count; r++)
        for (size_t t = 0; t < view->version->runs[r].count; t++)
            verify_table(&v, view->version->runs[r].tables[t]);
    db_view_unref(view);
    verify_manifest(db, &v);
    verify_log(db, &v);
    if (v.damaged == 0)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "'%s': %llu damaged pieces; restore the files named "
                      "from a backup",
                      db->path, (unsigned long long)v.damaged);
}
