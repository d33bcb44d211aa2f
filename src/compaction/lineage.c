#include "compaction/lineage.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "compaction/job_inputs.h"

/* ---- the range ---- */

struct range {
    bool any; /* else it is empty */
    adb_slice from, before;
};

/* The least range that holds both. */
static void widen(struct range *r, adb_slice from, adb_slice before)
{
    if (!r->any) {
        *r = (struct range){true, from, before};
        return;
    }
    if (slice_compare(from, r->from) < 0)
        r->from = from;
    if (!before.size || !table_lineage_before(before, r->before))
        r->before = before;
}

/* Ends behind `largest` at least. */
static adb_status widen_to(struct range *r, adb_slice smallest,
                           adb_slice largest, struct buffer *next)
{
    /* The key that comes next, whatever keys there are. */
    adb_status status = buffer_append(next, largest.data, largest.size);
    if (status == ADB_OK)
        status = buffer_append(next, "", 1);
    if (status == ADB_OK)
        widen(r, smallest, buffer_slice(next));
    return status;
}

static adb_status take_inputs(const struct compaction_job *job,
                              const struct picker_source *source,
                              struct table_lineage *told, struct range *range)
{
    const struct version_run *run = job_source_run(job, source);
    for (size_t i = source->first; i < source->first + source->count; i++) {
        struct sst_reader *reader;
        adb_status status = version_table_reader(run->tables[i], &reader);
        if (status != ADB_OK)
            return status;
        const struct table_lineage *l = sst_reader_lineage(reader);
        /* It is part of the database, so all of its memtable is. */
        uint64_t through = MAX_OF(l->through, run->tables[i]->info.max_seq);
        told->through = MAX_OF(told->through, through);
        if (l->below)
            widen(range, l->from, l->before);
    }
    return ADB_OK;
}

/* From the first key of any input to the last. */
static adb_status take_keys(const struct compaction_job *job,
                            struct range *range, struct buffer *next)
{
    adb_slice smallest, largest;
    job_input_keys(job, &smallest, &largest);
    return widen_to(range, smallest, largest, next);
}

/* ---- what else counts there ---- */

static bool is_input(const struct picker_plan *plan, size_t run, size_t table)
{
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct picker_source *from = &plan->sources[s];
        if (from->run_index == run && table >= from->first &&
            table - from->first < from->count)
            return true;
    }
    return false;
}

static int other_order(const void *a, const void *b)
{
    uint64_t x = ((const struct run_other *)a)->number;
    uint64_t y = ((const struct run_other *)b)->number;
    return x < y ? -1 : x > y;
}

static void add_other(struct compaction_lineage *l, struct run_other other)
{
    l->others[l->other_count++] = other;
}

static void add_run(const struct compaction_job *job, size_t index,
                    struct compaction_lineage *l)
{
    const struct version_run *run = &job->version->runs[index];
    for (size_t i = version_run_lower(run, l->told.from); i < run->count; i++) {
        const struct table_info *info = &run->tables[i]->info;
        if (!table_lineage_before(info->smallest, l->told.before))
            return;
        if (!is_input(job->plan, index, i))
            add_other(l, (struct run_other){.number = info->number,
                                            .smallest = info->smallest,
                                            .largest = info->largest});
    }
}

static adb_status find_others(const struct compaction_job *job,
                              struct compaction_lineage *l)
{
    const struct version *v = job->version;
    l->others = mem_alloc((v->table_count + job->making_count + 1) *
                          sizeof *l->others);
    if (!l->others)
        return status_set(ADB_NO_MEMORY, "no memory for a merge's lineage");
    for (size_t i = 0; i < v->run_count; i++)
        add_run(job, i, l);
    for (size_t i = 0; i < job->making_count; i++)
        add_other(l, (struct run_other){.number = job->making[i],
                                        .anywhere = true});
    qsort(l->others, l->other_count, sizeof *l->others, other_order);
    return ADB_OK;
}

adb_status lineage_gather(const struct compaction_job *job,
                          struct compaction_lineage *out)
{
    const struct picker_plan *plan = job->plan;
    struct range range = {.any = false};
    adb_status status = ADB_OK;
    *out = (struct compaction_lineage){.other_count = 0};
    for (size_t s = 0; s < plan->source_count && status == ADB_OK; s++)
        status = take_inputs(job, &plan->sources[s], &out->told, &range);
    if (status == ADB_OK && plan->output_bottom)
        status = take_keys(job, &range, &out->before);
    if (status != ADB_OK || !range.any || !job->next_file)
        return status;
    out->told.below = job->next_file;
    out->told.from = range.from;
    out->told.before = range.before;
    return find_others(job, out);
}

void lineage_deinit(struct compaction_lineage *l)
{
    buffer_deinit(&l->before);
    mem_free(l->others);
}
