/* The tables that a job's plan takes. */
#ifndef COMPACTION_JOB_INPUTS_H
#define COMPACTION_JOB_INPUTS_H

#include <assert.h>

#include "compaction/compaction.h"

static inline const struct version_run *
job_source_run(const struct compaction_job *job,
               const struct picker_source *source)
{
    const struct version *v = job->version;
    assert(source->run_index < v->run_count);
    const struct version_run *run = &v->runs[source->run_index];
    assert(source->count <= run->count &&
           source->first <= run->count - source->count);
    return run;
}

/* The first and the last key of all inputs, borrowed from the version. */
static inline void job_input_keys(const struct compaction_job *job,
                                  adb_slice *smallest, adb_slice *largest)
{
    *smallest = *largest = slice_of(NULL, 0);
    for (size_t s = 0; s < job->plan->source_count; s++) {
        const struct picker_source *source = &job->plan->sources[s];
        struct version_table *const *t =
            job_source_run(job, source)->tables + source->first;
        adb_slice first = t[0]->info.smallest;
        adb_slice last = t[source->count - 1]->info.largest;
        if (s == 0 || slice_compare(first, *smallest) < 0)
            *smallest = first;
        if (s == 0 || slice_compare(last, *largest) > 0)
            *largest = last;
    }
}

#endif
