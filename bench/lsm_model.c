#include "lsm_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

enum { ENTRY_BYTES = 100, KEY_BYTES = 8, MAX_JOBS = 16 };

/* picker_table.number is the index of its keys in model.sets. */
struct table_set {
    uint32_t *keys; /* owned */
    uint32_t count;
};
struct model_tables {
    struct picker_table *data; /* owned */
    size_t count, capacity;
};
struct running {
    struct picker_plan plan;
    struct model_tables output;
    uint64_t *inputs; /* owned: table numbers */
    size_t input_count;
    double work, done; /* bytes to write */
    uint64_t flushed;  /* when it began */
};

struct model {
    struct model_options o;
    uint8_t *encoded; /* the keys' bytes */
    struct table_set *sets;
    uint64_t set_count, set_capacity;
    struct picker_run *runs; /* newest first; tables owned */
    size_t *run_capacity;
    size_t run_count, run_room;
    uint64_t next_run;
    uint64_t flushed, bottom_mark; /* bytes; as adb has them */
    struct running jobs[MAX_JOBS];
    unsigned job_count;

    uint32_t *memtable; /* keys */
    uint32_t memtable_count;
    uint32_t *stamp; /* per key: the memtable that holds it */
    uint32_t stamp_now;

    double *cumulative; /* of zipf */
    uint32_t *shuffle;
    struct random random;

    double written; /* bytes into tables */
    double time;
    bool measuring;
    double samples, live;
    struct model_result *r;
    bool failed;
};

static void model_fail(struct model *m, const char *why)
{
    fprintf(stderr, "model: %s\n", why);
    m->failed = true;
}

static void *room(struct model *m, void *old, size_t bytes)
{
    void *p = realloc(old, bytes);

    if (!p) {
        fprintf(stderr, "model: out of memory\n");
        exit(1);
    }
    (void)m;
    return p;
}

/* ---- tables and runs ---- */

static adb_slice key_slice(const struct model *m, uint32_t key)
{
    return slice_of(m->encoded + (size_t)key * KEY_BYTES, KEY_BYTES);
}

static uint32_t key_of(adb_slice s)
{
    return (uint32_t)key_head8(s.data, s.size);
}

static struct picker_table new_table(struct model *m, const uint32_t *keys,
                                     uint32_t count)
{
    if (m->set_count == m->set_capacity) {
        m->set_capacity = m->set_capacity ? m->set_capacity * 2 : 1024;
        m->sets = room(m, m->sets, m->set_capacity * sizeof *m->sets);
    }
    uint32_t *copy = room(m, NULL, count * sizeof *copy);
    memcpy(copy, keys, count * sizeof *copy);
    m->sets[m->set_count] = (struct table_set){copy, count};
    return (struct picker_table){
        .number = m->set_count++,
        .size = (uint64_t)count * ENTRY_BYTES,
        .entries = count,
        .smallest = key_slice(m, keys[0]),
        .largest = key_slice(m, keys[count - 1]),
    };
}

static void push_table(struct model *m, struct model_tables *t,
                       struct picker_table table)
{
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 16;
        t->data = room(m, t->data, t->capacity * sizeof *t->data);
    }
    t->data[t->count++] = table;
}

/* The run of that number and level, made where its age belongs. */
static struct picker_run *find_run(struct model *m, uint64_t number,
                                   uint32_t level)
{
    size_t i = 0;

    while (i < m->run_count && m->runs[i].run > number)
        i++;
    if (i < m->run_count && m->runs[i].run == number) {
        if (m->runs[i].level != level)
            model_fail(m, "a run would stand at two levels");
        return &m->runs[i];
    }
    if (m->run_count == m->run_room) {
        m->run_room = m->run_room ? m->run_room * 2 : 64;
        m->runs = room(m, m->runs, m->run_room * sizeof *m->runs);
    }
    memmove(m->runs + i + 1, m->runs + i,
            (m->run_count - i) * sizeof *m->runs);
    m->run_count++;
    m->runs[i] = (struct picker_run){.level = level, .run = number};
    return &m->runs[i];
}

static int by_smallest(const void *a, const void *b)
{
    const struct picker_table *x = a, *y = b;

    return slice_compare(x->smallest, y->smallest);
}

/* Adds tables to a run and checks that it stays disjoint. */
static void run_add(struct model *m, uint64_t number, uint32_t level,
                    const struct picker_table *tables, size_t count)
{
    if (!count)
        return;
    struct picker_run *run = find_run(m, number, level);
    struct picker_table *all =
        room(m, (void *)run->tables, (run->count + count) * sizeof *all);
    size_t low = 0, high = run->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(all[middle].smallest, tables[0].smallest) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool one_gap = low == run->count ||
                   slice_compare(tables[count - 1].largest,
                                 all[low].smallest) < 0;
    memmove(all + low + count, all + low, (run->count - low) * sizeof *all);
    memcpy(all + low, tables, count * sizeof *all);
    run->tables = all;
    run->count += count;
    if (!one_gap)
        qsort(all, run->count, sizeof *all, by_smallest);
    for (size_t i = 1; i < run->count; i++) {
        if (slice_compare(all[i - 1].largest, all[i].smallest) >= 0)
            model_fail(m, "a run's tables would overlap");
    }
}

/* Takes the plan's tables out of their runs. Jobs that ended meanwhile may
   have shifted indices, so tables are found by number. */
static void remove_tables(struct model *m, const uint64_t *numbers,
                          size_t count)
{
    for (size_t i = 0; i < count; i++)
        m->sets[numbers[i]].count |= UINT32_C(1) << 31;
    size_t kept_runs = 0;
    for (size_t i = 0; i < m->run_count; i++) {
        struct picker_table *tables = (void *)m->runs[i].tables;
        size_t kept = 0;
        for (size_t j = 0; j < m->runs[i].count; j++) {
            if (!(m->sets[tables[j].number].count >> 31))
                tables[kept++] = tables[j];
        }
        m->runs[i].count = kept;
        if (kept)
            m->runs[kept_runs++] = m->runs[i];
        else
            free(tables);
    }
    m->run_count = kept_runs;
    for (size_t i = 0; i < count; i++)
        m->sets[numbers[i]].count &= ~(UINT32_C(1) << 31);
}

static void drop_sets(struct model *m, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(m->sets[numbers[i]].keys);
        m->sets[numbers[i]].keys = NULL;
    }
}

/* ---- measures ---- */

static double space_now(const struct model *m)
{
    double bytes = 0;

    for (size_t i = 0; i < m->run_count; i++) {
        for (size_t j = 0; j < m->runs[i].count; j++)
            bytes += (double)m->runs[i].tables[j].size;
    }
    for (unsigned i = 0; i < m->job_count; i++)
        bytes += m->jobs[i].done;
    return bytes / (m->live * ENTRY_BYTES);
}

static void sample_peak(struct model *m)
{
    if (m->measuring)
        m->r->space_peak = MAX_OF(m->r->space_peak, space_now(m));
}

static void sample(struct model *m)
{
    double covered = 0, space = space_now(m);

    if (!m->measuring)
        return;
    for (size_t i = 0; i < m->run_count; i++) {
        for (size_t j = 0; j < m->runs[i].count; j++) {
            const struct picker_table *t = &m->runs[i].tables[j];
            covered += key_of(t->largest) - key_of(t->smallest) + 1;
        }
    }
    m->samples++;
    m->r->runs += (double)m->run_count;
    m->r->runs_peak = MAX_OF(m->r->runs_peak, (double)m->run_count);
    m->r->runs_key += covered / m->o.keys;
    m->r->space += space;
    m->r->space_peak = MAX_OF(m->r->space_peak, space);
}

/* ---- merges ---- */

static int compare_keys(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void cut_output(struct model *m, const struct picker_plan *plan,
                       const uint32_t *keys, size_t count,
                       struct model_tables *out)
{
    size_t start = 0, cut = 0;

    for (size_t i = 0; i < count; i++) {
        bool at_cut = false;
        while (cut < plan->cut_count && keys[i] >= key_of(plan->cuts[cut])) {
            at_cut = true;
            cut++;
        }
        if (i > start &&
            (at_cut || (i - start) * ENTRY_BYTES >= plan->table_bytes)) {
            push_table(m, out, new_table(m, keys + start,
                                         (uint32_t)(i - start)));
            start = i;
        }
    }
    if (count > start)
        push_table(m, out, new_table(m, keys + start,
                                     (uint32_t)(count - start)));
}

static void merge_inputs(struct model *m, const struct picker_plan *plan,
                         struct running *job)
{
    size_t total = 0, distinct = 0;
    uint32_t *keys = room(m, NULL, (size_t)plan->input_bytes / ENTRY_BYTES *
                                           sizeof *keys + 1);

    for (size_t i = 0; i < job->input_count; i++) {
        const struct table_set *set = &m->sets[job->inputs[i]];
        memcpy(keys + total, set->keys, set->count * sizeof *keys);
        total += set->count;
    }
    qsort(keys, total, sizeof *keys, compare_keys);
    for (size_t i = 0; i < total; i++) {
        if (!distinct || keys[distinct - 1] != keys[i])
            keys[distinct++] = keys[i];
    }
    cut_output(m, plan, keys, distinct, &job->output);
    job->work = (double)distinct * ENTRY_BYTES;
    free(keys);
}

static void mark_inputs(struct model *m, const struct picker_plan *plan,
                        uint64_t *numbers, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct picker_source *from = &plan->sources[i];
        struct picker_table *tables =
            (void *)m->runs[from->run_index].tables;
        for (size_t j = from->first; j < from->first + from->count; j++) {
            tables[j].busy = true;
            numbers[(*count)++] = tables[j].number;
        }
    }
}

static size_t plan_table_count(const struct picker_plan *plan)
{
    size_t count = 0;

    for (size_t i = 0; i < plan->source_count; i++)
        count += plan->sources[i].count;
    return count;
}

static void move_tables(struct model *m, const struct picker_plan *plan)
{
    size_t count = plan_table_count(plan), done = 0;
    struct picker_table *tables = room(m, NULL, count * sizeof *tables);
    uint64_t *numbers = room(m, NULL, count * sizeof *numbers);
    uint64_t *run_of = room(m, NULL, plan->source_count * sizeof *run_of);

    for (size_t i = 0; i < plan->source_count; i++) {
        const struct picker_source *from = &plan->sources[i];
        const struct picker_run *run = &m->runs[from->run_index];
        run_of[i] = plan->keep_runs ? run->run : plan->output_run;
        memcpy(tables + done, run->tables + from->first,
               from->count * sizeof *tables);
        for (size_t j = 0; j < from->count; j++) {
            numbers[done] = tables[done].number;
            if (m->measuring && !plan->keep_runs)
                m->r->moved += (double)tables[done].size;
            done++;
        }
    }
    remove_tables(m, numbers, count);
    done = 0;
    for (size_t i = 0; i < plan->source_count; i++) {
        run_add(m, run_of[i], plan->output_level, tables + done,
                plan->sources[i].count);
        done += plan->sources[i].count;
    }
    m->r->moves++;
    free(tables);
    free(numbers);
    free(run_of);
}

static void finish_job(struct model *m, unsigned index)
{
    struct running *job = &m->jobs[index];

    job->done = job->work;
    sample_peak(m);
    m->written += job->work;
    if (job->plan.output_level == PICKER_BOTTOM_LEVEL)
        m->bottom_mark = MAX_OF(m->bottom_mark, job->flushed);
    remove_tables(m, job->inputs, job->input_count);
    drop_sets(m, job->inputs, job->input_count);
    run_add(m, job->plan.output_run, job->plan.output_level, job->output.data,
            job->output.count);
    picker_plan_deinit(&job->plan);
    free(job->inputs);
    free(job->output.data);
    *job = m->jobs[--m->job_count];
}

static void start_job(struct model *m, struct picker_plan *plan)
{
    struct running *job = &m->jobs[m->job_count++];

    *job = (struct running){.plan = *plan, .flushed = m->flushed};
    job->inputs =
        room(m, NULL, plan_table_count(plan) * sizeof *job->inputs);
    mark_inputs(m, plan, job->inputs, &job->input_count);
    merge_inputs(m, plan, job);
    m->r->merges++;
    if (m->measuring)
        m->r->job_peak = MAX_OF(m->r->job_peak,
                            (double)plan->input_bytes / ENTRY_BYTES /
                                m->o.memtable);
    *plan = (struct picker_plan){.kind = PICKER_NONE};
}

static struct picker_input picker_view(const struct model *m)
{
    double memtable = (double)m->o.memtable * ENTRY_BYTES;

    for (size_t i = 0; i < m->run_count; i++) {
        struct picker_run *run = &m->runs[i];
        run->joined = run->leaving = false;
        /* Merges only: what keeps the number of its run moves at once. */
        for (unsigned j = 0; j < m->job_count; j++)
            picker_run_affected(run, &m->jobs[j].plan, false);
    }

    return (struct picker_input){
        .options = {.policy = m->o.policy,
                    .memtable_bytes = (uint64_t)memtable,
                    .table_bytes = (uint64_t)(memtable * m->o.table),
                    .max_merge_bytes = (uint64_t)(memtable * m->o.max_merge),
                    .flush_trigger = m->o.flush_trigger},
        .runs = m->runs,
        .run_count = m->run_count,
        .next_run = m->next_run,
        .since_bottom = m->flushed - m->bottom_mark,
    };
}

static void schedule(struct model *m)
{
    while (m->job_count < m->o.jobs && !m->failed) {
        struct picker_input input = picker_view(m);
        struct picker_plan plan;
        if (picker_pick(&input, &plan) != ADB_OK) {
            model_fail(m, "the picker failed");
            return;
        }
        enum picker_kind kind = plan.kind;
        if (kind == PICKER_MERGE) {
            start_job(m, &plan);
            if (m->o.bandwidth == 0)
                finish_job(m, m->job_count - 1);
        } else if (kind == PICKER_MOVE) {
            move_tables(m, &plan);
        }
        picker_plan_deinit(&plan);
        if (kind == PICKER_NONE)
            return;
    }
}

/* ---- time and writes ---- */

/* Merges share what bandwidth allows in this time. */
static void advance(struct model *m, double writes)
{
    double budget = writes * m->o.bandwidth * ENTRY_BYTES;

    m->time += writes;
    while (m->job_count && budget > 0) {
        double least = budget / m->job_count;
        for (unsigned i = 0; i < m->job_count; i++)
            least = MIN_OF(least, m->jobs[i].work - m->jobs[i].done);
        budget -= least * m->job_count;
        bool ended = false;
        for (unsigned i = 0; i < m->job_count; i++)
            m->jobs[i].done += least;
        for (unsigned i = m->job_count; i-- > 0;) {
            if (m->jobs[i].done >= m->jobs[i].work - 0.5) {
                finish_job(m, i);
                ended = true;
            }
        }
        if (ended)
            schedule(m);
        else
            break;
    }
}

static void flush(struct model *m)
{
    qsort(m->memtable, m->memtable_count, sizeof *m->memtable, compare_keys);
    struct picker_table t = new_table(m, m->memtable, m->memtable_count);
    m->written += (double)t.size;
    m->flushed += t.size;
    run_add(m, m->next_run++, 0, &t, 1);
    m->memtable_count = 0;
    m->stamp_now++;
    sample_peak(m);
    schedule(m);
}

/* The writer is delayed the more the further compaction is behind. */
static double pace(struct model *m)
{
    struct picker_input input = picker_view(m);
    struct picker_debt debt;

    picker_debt(&input, &debt);
    if (m->measuring)
        m->r->score_peak = MAX_OF(m->r->score_peak, debt.score);
    if (debt.score <= 1.0)
        return 1.0;
    return 1.0 / MAX_OF(1.0 - (debt.score - 1.0), 0.05);
}

static void put(struct model *m, uint32_t key)
{
    if (m->stamp[key] != m->stamp_now) {
        m->stamp[key] = m->stamp_now;
        m->memtable[m->memtable_count++] = key;
    }
    if (m->memtable_count == m->o.memtable)
        flush(m);
}

/* Writes in lots of an eighth of a memtable; then time passes, and half of
   the times a look is taken. */
static void run_writes(struct model *m, uint32_t count,
                       uint32_t (*next)(struct model *m, uint32_t i))
{
    uint32_t lot = MAX_OF(m->o.memtable / 8, 1);

    for (uint32_t i = 0; i < count && !m->failed; i++) {
        put(m, next(m, i));
        if (i % lot)
            continue;
        if (m->o.bandwidth > 0)
            advance(m, lot * pace(m));
        if (i / lot % 2)
            sample(m);
    }
}

static uint32_t next_fill(struct model *m, uint32_t i)
{
    m->live = i + 1;
    return m->o.sequential ? i : m->shuffle[i];
}

static uint32_t next_update(struct model *m, uint32_t i)
{
    uint32_t low = 0, high = m->o.keys - 1;

    (void)i;
    if (!m->cumulative)
        return (uint32_t)random_below(&m->random, m->o.keys);
    double x = (double)(random_next(&m->random) >> 11) * 0x1p-53;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (m->cumulative[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return m->shuffle[low];
}

/* ---- setup ---- */

static void setup(struct model *m)
{
    uint32_t n = m->o.keys;

    random_seed(&m->random, m->o.seed);
    m->next_run = 1;
    m->stamp_now = 1;
    m->encoded = room(m, NULL, (size_t)n * KEY_BYTES);
    m->stamp = calloc(n, sizeof *m->stamp);
    m->memtable = room(m, NULL, m->o.memtable * sizeof *m->memtable);
    m->shuffle = room(m, NULL, n * sizeof *m->shuffle);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t big_endian = __builtin_bswap64(i);
        memcpy(m->encoded + (size_t)i * KEY_BYTES, &big_endian, KEY_BYTES);
        uint32_t j = (uint32_t)random_below(&m->random, i + 1);
        m->shuffle[i] = m->shuffle[j];
        m->shuffle[j] = i;
    }
    if (m->o.zipf == 0)
        return;
    double sum = 0;
    m->cumulative = room(m, NULL, n * sizeof *m->cumulative);
    for (uint32_t i = 0; i < n; i++) {
        sum += 1.0 / pow(i + 1.0, m->o.zipf);
        m->cumulative[i] = sum;
    }
    for (uint32_t i = 0; i < n; i++)
        m->cumulative[i] /= sum;
}

static void teardown(struct model *m)
{
    while (m->job_count)
        finish_job(m, 0);
    for (size_t i = 0; i < m->run_count; i++)
        free((void *)m->runs[i].tables);
    for (uint64_t i = 0; i < m->set_count; i++)
        free(m->sets[i].keys);
    free(m->sets);
    free(m->runs);
    free(m->encoded);
    free(m->stamp);
    free(m->memtable);
    free(m->shuffle);
    free(m->cumulative);
}

bool model_run(const struct model_options *options,
               struct model_result *result)
{
    struct model m = {.o = *options, .r = result};

    *result = (struct model_result){0};
    m.o.jobs = MIN_OF(MAX_OF(m.o.jobs, 1), MAX_JOBS);
    setup(&m);
    run_writes(&m, m.o.keys, next_fill);
    result->fill_amplification = m.written / m.o.keys / ENTRY_BYTES;
    m.written = 0;
    m.time = 0;
    m.measuring = true;
    run_writes(&m, m.o.updates, next_update);
    m.measuring = false;
    double user = (double)m.o.updates;
    result->write_amplification = m.written / user / ENTRY_BYTES;
    result->moved /= user * ENTRY_BYTES;
    result->runs /= MAX_OF(m.samples, 1);
    result->runs_key /= MAX_OF(m.samples, 1);
    result->space /= MAX_OF(m.samples, 1);
    result->slowdown = m.o.bandwidth > 0 ? m.time / user : 1.0;
    for (size_t i = 0; i < m.run_count; i++)
        result->tables += m.runs[i].count;
    teardown(&m);
    return !m.failed;
}
