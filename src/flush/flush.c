#include "flush/flush.h"

#include "base/alloc.h"
#include "iter/merge.h"
#include "sst/run_builder.h"

/* All versions of all memtables as one stream. */
static adb_status open_source(const struct flush_job *job,
                              struct kv_iter **out)
{
    struct kv_iter **sources =
        mem_alloc((job->memtable_count + 1) * sizeof *sources);
    size_t count = 0;
    struct kv_iter *merged = NULL;
    if (!sources)
        return status_set(ADB_NO_MEMORY, "no memory to flush %zu memtables",
                          job->memtable_count);
    while (count < job->memtable_count) {
        sources[count] =
            memtable_iter_new(job->memtables[count], KV_MAX_SEQ, true);
        if (!sources[count])
            break;
        count++;
    }
    if (count == job->memtable_count) {
        merged = merge_iter_new(sources, count);
    } else {
        while (count > 0)
            kv_iter_close(sources[--count]);
    }
    mem_free(sources);
    if (!merged)
        return status_set(ADB_NO_MEMORY, "no memory to flush %zu memtables",
                          job->memtable_count);
    *out = merged;
    return ADB_OK;
}

/* What they hold is in tables only once all of them are part of the database;
   what is older is already. */
static struct table_lineage lineage_of(const struct flush_job *job)
{
    struct table_lineage l = {.through = KV_MAX_SEQ};
    for (size_t i = 0; i < job->memtable_count; i++) {
        struct memtable_stats stats;
        memtable_stats(job->memtables[i], &stats);
        if (stats.min_seq)
            l.through = MIN_OF(l.through, stats.min_seq - 1);
    }
    if (job->first_seq)
        l.through = MIN_OF(l.through, job->first_seq - 1);
    if (l.through == KV_MAX_SEQ)
        l.through = 0;
    return l;
}

/* All of the run's tables, or none. */
static adb_status enter_tables(struct version_edit *edit,
                               struct table_place place,
                               struct run_tables *run)
{
    size_t before = edit->added_count;
    adb_status status = ADB_OK;
    for (size_t i = 0; status == ADB_OK && i < run->count; i++)
        status = version_edit_add_table(edit, place, &run->tables[i]);
    if (status != ADB_OK) {
        for (size_t i = before; i < edit->added_count; i++)
            run->tables[i - before] = edit->added[i].info;
        edit->added_count = before;
    }
    return status;
}

adb_status flush_run(const struct flush_job *job, struct version_edit *edit,
                     struct flush_result *result)
{
    struct run_job build = {
        .table = job->table,
        .snapshots = job->snapshots,
        .snapshot_count = job->snapshot_count,
        .max_table_bytes = job->max_table_bytes,
        .lineage = lineage_of(job),
        .new_file = job->new_file,
        .cancelled = job->cancelled,
        .context = job->context,
    };
    build.table.env = job->env;
    build.table.directory = job->directory;
    adb_status status = open_source(job, &build.source);
    if (status != ADB_OK)
        return status;
    struct run_tables run = {0};
    status = run_build(&build, &run);
    kv_iter_close(build.source);
    if (status != ADB_OK)
        return status;
    struct flush_result done = {.entries_in = run.entries_in,
                                .entries_out = run.entries_out,
                                .bytes_out = run.bytes,
                                .tables = run.count};
    status = enter_tables(edit, job->place, &run);
    if (status == ADB_OK)
        *result = done;
    else
        run_tables_remove(&build, &run);
    run_tables_deinit(&run);
    return status;
}
