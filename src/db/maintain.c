/*
 * Flush on demand, approximate sizes, verification.
 */
#include "db/db_internal.h"

#include <stdio.h>

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
    adb *db;
    adb_damage_fn report;
    adb_progress_fn progress;
    void *context;
    uint64_t done, total;
    uint64_t damaged;  /* pieces */
    adb_status unread; /* why the last piece was not read that could not be */
    const char *file;  /* path of the table being looked at */
    bool whole;        /* no damage of that table that counts, so far */
    uint64_t *whole_numbers; /* owned: tables that may leave the quarantine */
    size_t whole_count;
};

/* The thread's message is left as it was. */
static void tell(struct verification *v, const adb_damage *damage)
{
    if (damage->status == ADB_CORRUPTION || damage->status == ADB_UNSUPPORTED)
        v->damaged++;
    else
        v->unread = damage->status;
    if (v->report)
        v->report(v->context, damage);
}

/* The thread's message tells of a file that has no keys of its own. */
static void tell_failure(struct verification *v, adb_status status,
                         const char *file, uint64_t offset)
{
    char text[STATUS_MESSAGE_MAX];
    snprintf(text, sizeof text, "%s", status_message());
    adb_damage damage = {.struct_size = sizeof damage,
                         .status = status,
                         .file = file ? file : v->db->path,
                         .offset = offset,
                         .text = text};
    tell(v, &damage);
}

static void on_damage(void *context, const struct sst_damage *found)
{
    struct verification *v = context;
    v->whole &= !db_damage_counts(found);
    adb_damage damage = {.struct_size = sizeof damage,
                         .status = found->status,
                         .file = v->file ? v->file : v->db->path,
                         .offset = found->offset,
                         .size = found->size,
                         .from = found->from,
                         .to = found->to,
                         .text = found->text};
    tell(v, &damage);
}

static void on_progress(void *context, uint64_t bytes)
{
    struct verification *v = context;
    v->done += bytes;
    if (v->progress)
        v->progress(v->context, v->done, v->total);
}

static adb_status verify_table(struct verification *v,
                               const struct version_table *t)
{
    char *path = sst_path(v->db->path, t->info.number);
    v->file = path;
    v->whole = true;
    adb_status status = sst_verify_table(&v->db->tables, &t->info, on_damage,
                                         on_progress, v);
    v->file = NULL;
    mem_free(path);
    v->whole &= status == ADB_OK || status == ADB_CORRUPTION;
    return status;
}

/* In quarantine, and found whole: room for all such was made before. */
static void note_whole(struct verification *v, const struct version *version,
                       const struct version_table *t)
{
    if (v->whole && version_quarantined(version, t->info.number))
        v->whole_numbers[v->whole_count++] = t->info.number;
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
    struct wal_position at = {0};
    if (count && !ends)
        tell_failure(
            v, status_set(ADB_NO_MEMORY, "no memory to verify the log"), NULL,
            0);
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
            .failed_at = &at,
        };
        adb_status status = wal_recover(&in, &found);
        if (status != ADB_OK) {
            char *path = wal_segment_path(db->path, at.segment);
            tell_failure(v, status, path, at.offset);
            mem_free(path);
        }
        wal_recovered_deinit(&found);
    }
    if (segments)
        wal_unpin(db->wal, segments[0]);
    mem_free(segments);
    mem_free(ends);
}

/* Without a lock, so that flushes go on meanwhile; what fails then is looked
   at again with the manifest held still. */
static void verify_manifest(adb *db, struct verification *v)
{
    struct version_set_stats stats;
    uint64_t offset = 0;
    version_set_stats(db->versions, &stats);
    uint64_t number = stats.manifest_number;
    char *path = manifest_path(db->path, number);
    adb_status status =
        path ? manifest_verify(db->env, path, number, &offset)
             : status_set(ADB_NO_MEMORY, "no memory for a path");
    if (path && status != ADB_OK)
        status = version_set_verify_manifest(db->versions, &number, &offset);
    if (status != ADB_OK) {
        struct status_saved saved;
        status_save(&saved, status);
        mem_free(path);
        path = manifest_path(db->path, number);
        status_restore(&saved);
        tell_failure(v, status, path, offset);
    }
    mem_free(path);
}

static adb_status verify_tables(struct verification *v,
                                const struct version *version)
{
    size_t most = version_quarantined_count(version);
    v->whole_numbers = mem_alloc((most + 1) * sizeof *v->whole_numbers);
    if (!v->whole_numbers)
        return status_set(ADB_NO_MEMORY, "no memory to verify '%s'",
                          v->db->path);
    for (size_t r = 0; r < version->run_count; r++)
        for (size_t i = 0; i < version->runs[r].count; i++) {
            const struct version_table *t = version->runs[r].tables[i];
            if (verify_table(v, t) == ADB_NO_MEMORY)
                return ADB_NO_MEMORY;
            note_whole(v, version, t);
        }
    return ADB_OK;
}

static adb_status verdict(const struct verification *v)
{
    if (v->damaged)
        return status_set(ADB_CORRUPTION,
                          "'%s': %llu damaged pieces; run 'albertdb repair', "
                          "or restore the files named from a backup",
                          v->db->path, (unsigned long long)v->damaged);
    if (v->unread != ADB_OK)
        return status_set(v->unread, "'%s' could not be read in full",
                          v->db->path);
    return ADB_OK;
}

adb_status db_verify(adb *db, adb_damage_fn report, adb_progress_fn progress,
                     void *context)
{
    struct db_view *view = db_view_ref(db);
    struct verification v = {
        .db = db,
        .report = report,
        .progress = progress,
        .context = context,
        .total = view->version->bytes,
    };
    adb_status status = verify_tables(&v, view->version);
    db_view_unref(view);
    if (status == ADB_OK && v.whole_count)
        status = db_release_tables(db, v.whole_numbers, v.whole_count);
    mem_free(v.whole_numbers);
    if (status != ADB_OK)
        return status;
    verify_manifest(db, &v);
    verify_log(db, &v);
    return verdict(&v);
}
