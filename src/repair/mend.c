/*
 * The manifest is whole: it says which tables there must be, and where. Those
 * that are damaged are written anew, without what is damaged, to the same
 * place; the others stay as they are. So does the log if it is whole.
 */
#include "repair/repair_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sst/run_builder.h"
#include "version/names.h"

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory to repair a database");
}

static adb_status keep_table(struct repair *r, const struct edit_table *t)
{
    struct table_info copy;
    adb_status status = table_info_copy(&t->info, &copy);
    if (status != ADB_OK)
        return status;
    status = version_edit_add_table(&r->edit, t->place, &copy);
    if (status != ADB_OK)
        table_info_deinit(&copy);
    return status;
}

/* ---- one damaged table -------------------------------------------------- */

struct salvage_context {
    struct repair *r;
    const struct table_info *info;
};

static void on_damage(void *context, const struct sst_damage *damage)
{
    const struct salvage_context *c = context;
    repair_tell_table(c->r, c->info->number, damage);
}

/* What is left of it stands where it stood. What it says of sequences holds
   for less as well. */
static adb_status place_rest(struct repair *r, const struct edit_table *t,
                             struct run_tables *rest)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < rest->count && status == ADB_OK; i++) {
        struct table_info *info = &rest->tables[i];
        info->min_seq = t->info.min_seq;
        info->max_seq = t->info.max_seq;
        status = version_edit_add_table(&r->edit, t->place, info);
    }
    return status;
}

static adb_status look_through(struct kv_iter *source)
{
    source->ops->seek_first(source);
    while (source->valid)
        kv_iter_next(source);
    return kv_iter_status(source);
}

/* What lineage the rest is to have (struct table_lineage). */
struct heritage {
    struct table_lineage told; /* owned */
    struct run_other *others;  /* owned */
    size_t other_count;
};

static void heritage_deinit(struct heritage *h)
{
    table_lineage_deinit(&h->told);
    mem_free(h->others);
}

/* The range that the table spoke of; all keys, if that cannot be read. */
static adb_status read_range(struct repair *r, const struct edit_table *t,
                             struct table_lineage *out)
{
    struct sst_reader *reader;
    adb_status status = sst_reader_open(&r->here, &t->info, &reader);
    if (status != ADB_OK) {
        *out = (struct table_lineage){.below = 1};
        return repair_can_pass(r, status) ? ADB_OK : status;
    }
    struct table_lineage range = *sst_reader_lineage(reader);
    range.except_count = 0;
    status = table_lineage_copy(&range, out);
    sst_reader_unref(reader);
    return status;
}

static int other_order(const void *a, const void *b)
{
    uint64_t x = ((const struct run_other *)a)->number;
    uint64_t y = ((const struct run_other *)b)->number;
    return x < y ? -1 : x > y;
}

/* The manifest is whole: what counts of older files is its other tables. */
static adb_status inherit(struct repair *r, const struct edit_table *t,
                          struct heritage *h)
{
    *h = (struct heritage){.other_count = 0};
    h->others = mem_alloc((r->replay.count + 1) * sizeof *h->others);
    if (!h->others)
        return no_memory();
    adb_status status = read_range(r, t, &h->told);
    for (size_t i = 0; i < r->replay.count; i++) {
        const struct table_info *info = &r->replay.tables[i].info;
        h->told.through = MAX_OF(h->told.through, info->max_seq);
        if (info->number != t->info.number)
            h->others[h->other_count++] =
                (struct run_other){.number = info->number,
                                   .smallest = info->smallest,
                                   .largest = info->largest};
    }
    if (h->other_count)
        qsort(h->others, h->other_count, sizeof *h->others, other_order);
    if (h->told.below)
        h->told.below = r->next_file;
    return status;
}

static adb_status write_rest(struct repair *r, const struct edit_table *t,
                             struct kv_iter *source)
{
    struct run_tables rest = {0};
    struct heritage heritage;
    struct run_job job = {.source = source,
                          .new_file = repair_new_file,
                          .context = r};
    if (r->request->dry_run)
        return look_through(source);
    repair_table_options(r, &job.table);
    adb_status status = inherit(r, t, &heritage);
    job.lineage = heritage.told;
    job.others = heritage.others;
    job.other_count = heritage.other_count;
    if (status == ADB_OK)
        status = run_build(&job, &rest);
    heritage_deinit(&heritage);
    if (status == ADB_OK)
        status = place_rest(r, t, &rest);
    run_tables_deinit(&rest);
    return status;
}

static void sum_up(struct repair *r, const struct edit_table *t,
                   const struct sst_salvaged *found)
{
    char *path = sst_path(r->path, t->info.number);
    uint64_t lost = t->info.entries > found->entries
                        ? t->info.entries - found->entries
                        : 0;
    r->summary.versions_lost += lost;
    r->summary.tables_damaged++;
    r->summary.stale_possible |= lost > 0;
    repair_note(r, path,
                "'%s': %" PRIu64 " versions kept, %" PRIu64 " lost%s",
                path ? path : "", found->entries, lost,
                lost ? "; of the keys told, older versions may show, and "
                       "deleted ones be back"
                     : "");
    mem_free(path);
}

static adb_status salvage_table(struct repair *r, const struct edit_table *t)
{
    struct salvage_context context = {r, &t->info};
    struct sst_salvage_options o = {
        .context = &r->here,
        .info = &t->info,
        .skip_unreadable = r->request->skip_unreadable,
        .report = on_damage,
        .caller = &context};
    struct kv_iter *source;
    struct sst_salvaged found;
    adb_status status = sst_salvage_new(&o, &source);
    if (status != ADB_OK)
        return status;
    status = write_rest(r, t, source);
    sst_salvage_result(source, &found);
    kv_iter_close(source);
    if (status != ADB_OK)
        return status;
    sum_up(r, t, &found);
    return repair_add_table_name(&r->away, t->info.number);
}

static adb_status missing_table(struct repair *r, const struct edit_table *t)
{
    char *path = sst_path(r->path, t->info.number);
    struct sst_salvaged nothing = {0};
    if (!path)
        return no_memory();
    repair_tell(r,
                status_set(ADB_CORRUPTION, "'%s' is missing", path),
                path, 0, t->info.size, t->info.smallest, t->info.largest);
    mem_free(path);
    sum_up(r, t, &nothing);
    return ADB_OK;
}

static void on_progress(void *context, uint64_t bytes)
{
    repair_advance(context, bytes);
}

static adb_status mend_table(struct repair *r, const struct edit_table *t,
                             bool *needed)
{
    if (!numbers_have(&r->tables, t->info.number)) {
        *needed = true;
        return missing_table(r, t);
    }
    adb_status status =
        sst_verify_table(&r->here, &t->info, NULL, on_progress, r);
    r->summary.tables++;
    if (status == ADB_OK)
        return keep_table(r, t);
    if (!repair_can_pass(r, status))
        return status;
    *needed = true;
    return salvage_table(r, t);
}

/* ---- the log ------------------------------------------------------------ */

static adb_status describe_log(struct repair *r, struct log_source *s)
{
    const struct log_state *logs = &r->replay.logs;
    adb_status status = ADB_OK;
    *s = (struct log_source){.synced_through = logs->synced_through,
                             .closed_cleanly = r->manifest_closed,
                             .database = logs->database};
    for (size_t i = 0; i < logs->count && status == ADB_OK; i++)
        status = numbers_add(&s->segments, logs->segments[i]);
    s->ends = mem_zalloc((logs->count + 1) * sizeof *s->ends);
    if (!s->ends)
        return no_memory();
    if (logs->count)
        memcpy(s->ends, logs->ends, logs->count * sizeof *s->ends);
    return status;
}

/* The new manifest speaks of the same segments. */
static adb_status keep_log(struct repair *r)
{
    const struct log_state *logs = &r->replay.logs;
    adb_status status = ADB_OK;
    r->log_stays = true;
    for (size_t i = 0; i < logs->count && status == ADB_OK; i++) {
        status = version_edit_create_segment(&r->edit, logs->segments[i]);
        if (status == ADB_OK && logs->ends[i].segment)
            status = version_edit_end_segment(&r->edit, &logs->ends[i]);
    }
    return status;
}

static adb_status salvage_log(struct repair *r, const struct log_source *s)
{
    adb_status status = repair_log_to_tables(r, s, false, 0, &r->edit);
    for (size_t i = 0; i < s->segments.count && status == ADB_OK; i++)
        if (numbers_have(&r->logs, s->segments.items[i]))
            status = repair_add_log_name(&r->away, s->segments.items[i]);
    return status;
}

static adb_status mend_log(struct repair *r, bool *needed)
{
    struct log_source s;
    bool whole = false;
    adb_status status = describe_log(r, &s);
    if (status == ADB_OK)
        status = repair_check_log(r, &s, &whole);
    if (status == ADB_OK && whole) {
        status = keep_log(r);
    } else if (status == ADB_OK) {
        *needed = true;
        status = salvage_log(r, &s);
    }
    log_source_deinit(&s);
    return status;
}

adb_status repair_mend(struct repair *r, bool *needed)
{
    adb_status status = ADB_OK;
    /* A quarantine ends here: its table is whole, or is written anew. */
    *needed = r->replay.quarantine.quarantined_count > 0;
    for (size_t i = 0; i < r->replay.count && status == ADB_OK; i++)
        status = mend_table(r, &r->replay.tables[i], needed);
    if (status == ADB_OK)
        status = mend_log(r, needed);
    r->edit.database = r->replay.logs.database;
    if (status == ADB_OK)
        status = repair_add_manifest_name(&r->away, r->manifest);
    return status == ADB_OK ? repair_add_name(&r->away, NAME_CURRENT_TEXT)
                            : status;
}
