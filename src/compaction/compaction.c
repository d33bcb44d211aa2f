#include "compaction/compaction.h"

#include <assert.h>

#include "base/alloc.h"
#include "compaction/input_iter.h"
#include "compaction/job_inputs.h"
#include "compaction/lineage.h"
#include "iter/merge.h"
#include "sst/run_builder.h"

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory for a compaction");
}

/* ---- the plan's tables ---- */

struct input_sums {
    size_t tables;
    uint64_t bytes;   /* of files */
    uint64_t entries;
    uint64_t above;   /* entries of runs above the bottom */
    uint64_t raw;     /* of keys and values */
};

static void sum_inputs(const struct compaction_job *job,
                       struct input_sums *sums)
{
    memset(sums, 0, sizeof *sums);
    for (size_t s = 0; s < job->plan->source_count; s++) {
        const struct picker_source *source = &job->plan->sources[s];
        const struct version_run *run = job_source_run(job, source);
        for (size_t i = 0; i < source->count; i++) {
            const struct table_info *info =
                &run->tables[source->first + i]->info;
            sums->tables++;
            sums->bytes += info->size;
            sums->entries += info->entries;
            if (run->level < PICKER_BOTTOM_LEVEL)
                sums->above += info->entries;
            sums->raw += info->key_bytes + info->value_bytes;
        }
    }
}

/* ---- the edit: all of a job, or nothing ---- */

struct edit_mark {
    size_t added, removed, moved;
};

static struct edit_mark edit_mark(const struct version_edit *edit)
{
    struct edit_mark mark = {edit->added_count, edit->removed_count,
                             edit->moved_count};
    return mark;
}

/* Takes back what was entered since mark; the infos of tables return to
   where they came from. */
static void edit_rewind(struct version_edit *edit, struct edit_mark mark,
                        struct table_info *tables)
{
    for (size_t i = mark.added; i < edit->added_count; i++)
        tables[i - mark.added] = edit->added[i].info;
    edit->added_count = mark.added;
    edit->removed_count = mark.removed;
    edit->moved_count = mark.moved;
}

static adb_status enter_removals(const struct compaction_job *job,
                                 struct version_edit *edit)
{
    for (size_t s = 0; s < job->plan->source_count; s++) {
        const struct picker_source *source = &job->plan->sources[s];
        const struct version_run *run = job_source_run(job, source);
        for (size_t i = 0; i < source->count; i++) {
            adb_status status = version_edit_remove_table(
                edit, run->tables[source->first + i]->info.number);
            if (status != ADB_OK)
                return status;
        }
    }
    return ADB_OK;
}

static adb_status enter_merge(const struct compaction_job *job,
                              struct run_tables *run,
                              struct version_edit *edit)
{
    struct edit_mark mark = edit_mark(edit);
    struct table_place place = {job->plan->output_level,
                                job->plan->output_run};
    adb_status status = enter_removals(job, edit);
    for (size_t i = 0; status == ADB_OK && i < run->count; i++)
        status = version_edit_add_table(edit, place, &run->tables[i]);
    if (status != ADB_OK)
        edit_rewind(edit, mark, run->tables);
    return status;
}

/* Where a source's tables go; called from the oldest source on. *older: how
   many runs were made of older ones so far. */
static struct table_place moved_place(const struct compaction_job *job,
                                      size_t source, uint64_t *older)
{
    const struct picker_plan *plan = job->plan;
    struct table_place to = {plan->output_level, plan->output_run};
    size_t run = plan->sources[source].run_index;
    if (plan->keep_runs)
        to.run = job->version->runs[run].run;
    if (plan->new_runs) {
        if (source + 1 < plan->source_count &&
            plan->sources[source + 1].run_index != run)
            ++*older;
        to.run += *older;
    }
    return to;
}

static adb_status enter_moves(const struct compaction_job *job,
                              struct version_edit *edit)
{
    const struct picker_plan *plan = job->plan;
    struct edit_mark mark = edit_mark(edit);
    adb_status status = ADB_OK;
    uint64_t older = 0;
    for (size_t s = plan->source_count; status == ADB_OK && s-- > 0;) {
        const struct picker_source *source = &plan->sources[s];
        const struct version_run *run = job_source_run(job, source);
        struct table_place to = moved_place(job, s, &older);
        for (size_t i = 0; status == ADB_OK && i < source->count; i++)
            status = version_edit_move_table(
                edit, run->tables[source->first + i]->info.number, to);
    }
    if (status != ADB_OK)
        edit_rewind(edit, mark, NULL);
    return status;
}

/* ---- merging ---- */

static adb_status open_source(const struct compaction_job *job,
                              struct kv_iter **out)
{
    const struct picker_plan *plan = job->plan;
    struct kv_iter **sources =
        mem_alloc((plan->source_count + 1) * sizeof *sources);
    struct kv_iter *merged = NULL;
    size_t count = 0;
    if (!sources)
        return no_memory();
    for (; count < plan->source_count; count++) {
        const struct picker_source *source = &plan->sources[count];
        const struct version_run *run = job_source_run(job, source);
        sources[count] =
            input_iter_new(run->tables + source->first, source->count);
        if (!sources[count])
            break;
    }
    if (count == plan->source_count) {
        merged = merge_iter_new(sources, count);
    } else {
        while (count > 0)
            kv_iter_close(sources[--count]);
    }
    mem_free(sources);
    if (!merged)
        return no_memory();
    *out = merged;
    return ADB_OK;
}

/* run_build's callbacks: its bytes of keys and values become file bytes. */
struct merge_context {
    const struct compaction_job *job;
    struct input_sums inputs;
};

static uint64_t merge_new_file(void *context)
{
    const struct compaction_job *job = ((struct merge_context *)context)->job;
    return job->new_file(job->context);
}

static int merge_cancelled(void *context)
{
    const struct compaction_job *job = ((struct merge_context *)context)->job;
    return job->cancelled ? job->cancelled(job->context) : 0;
}

static void merge_progress(void *context, uint64_t taken)
{
    const struct merge_context *m = context;
    if (!m->job->progress)
        return;
    double share = m->inputs.raw ? (double)taken / (double)m->inputs.raw : 1;
    uint64_t done = (uint64_t)(MIN_OF(share, 1.0) * (double)m->inputs.bytes);
    m->job->progress(m->job->context, MIN_OF(done, m->inputs.bytes));
}

/* What the manifest says of the inputs must have come out of them: a table
   that ends early without an error would lose data for good. */
static adb_status check_entries(const struct compaction_job *job,
                                const struct input_sums *inputs,
                                const struct run_tables *run)
{
    if (run->entries_in == inputs->entries)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "%s: %zu tables to compact gave %llu entries where the "
                      "manifest counts %llu",
                      job->directory, inputs->tables,
                      (unsigned long long)run->entries_in,
                      (unsigned long long)inputs->entries);
}

static void fill_result(const struct input_sums *inputs,
                        const struct run_tables *run,
                        struct compaction_result *result)
{
    struct compaction_result r = {
        .bytes_in = inputs->bytes,
        .bytes_out = run->bytes,
        .entries_in = run->entries_in,
        .entries_out = run->entries_out,
        .entries_above = inputs->above,
        .shadowed_dropped = run->shadowed,
        .tombstones_dropped = run->tombstones,
        .tables_in = inputs->tables,
        .tables_out = run->count,
    };
    *result = r;
}

static adb_status merge_tables(const struct compaction_job *job,
                               struct version_edit *edit,
                               struct compaction_result *result)
{
    const struct picker_plan *plan = job->plan;
    struct merge_context context = {.job = job};
    struct run_job build = {
        .table = job->table,
        .snapshots = job->snapshots,
        .snapshot_count = job->snapshot_count,
        .bottom = plan->output_bottom,
        .max_table_bytes = plan->table_bytes,
        .cuts = plan->cuts,
        .cut_count = plan->cut_count,
        .new_file = merge_new_file,
        .cancelled = merge_cancelled,
        .progress = merge_progress,
        .context = &context,
    };
    build.table.env = job->env;
    build.table.directory = job->directory;
    sum_inputs(job, &context.inputs);
    struct run_tables run = {0};
    struct compaction_lineage lineage;
    adb_status status = lineage_gather(job, &lineage);
    build.lineage = lineage.told;
    build.others = lineage.others;
    build.other_count = lineage.other_count;
    if (status == ADB_OK)
        status = open_source(job, &build.source);
    if (status == ADB_OK) {
        struct key_origin origin;
        adb_slice smallest, largest;
        job_input_keys(job, &smallest, &largest);
        key_origin_of(&origin, smallest, largest);
        kv_iter_set_origin(build.source, &origin);
        status = run_build(&build, &run);
        kv_iter_close(build.source);
    }
    lineage_deinit(&lineage);
    if (status != ADB_OK)
        return status;
    struct compaction_result done;
    fill_result(&context.inputs, &run, &done);
    status = check_entries(job, &context.inputs, &run);
    if (status == ADB_OK)
        status = enter_merge(job, &run, edit);
    if (status == ADB_OK)
        *result = done;
    else
        run_tables_remove(&build, &run);
    run_tables_deinit(&run);
    return status;
}

static adb_status move_tables(const struct compaction_job *job,
                              struct version_edit *edit,
                              struct compaction_result *result)
{
    struct input_sums inputs;
    sum_inputs(job, &inputs);
    adb_status status = enter_moves(job, edit);
    if (status != ADB_OK)
        return status;
    *result = (struct compaction_result){
        .tables_in = inputs.tables, .tables_out = inputs.tables, .moved = true};
    return ADB_OK;
}

adb_status compaction_run(const struct compaction_job *job,
                          struct version_edit *edit,
                          struct compaction_result *result)
{
    assert(job->plan->kind != PICKER_NONE);
    return job->plan->kind == PICKER_MOVE ? move_tables(job, edit, result)
                                          : merge_tables(job, edit, result);
}
