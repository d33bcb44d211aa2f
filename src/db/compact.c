/*
 * Compaction in the engine: asks the picker, marks the inputs busy, runs the
 * job without locks, makes its edit durable.
 */
#include "db/db_internal.h"

#include "base/alloc.h"

/* The most input of one job, in memtables: bounds scratch and pauses. */
enum { MERGE_MEMTABLES = 16 };

/* Bytes compaction reads for each byte users write, about: DESIGN's figure for
   lazy leveling less the flush. */
#define COMPACTION_AMPLIFICATION 3.0

static bool is_source(const struct db_job *job, uint64_t run)
{
    const struct picker_plan *plan = job->plan;
    for (size_t i = 0; i < plan->source_count; i++)
        if (job->version->runs[plan->sources[i].run_index].run == run)
            return true;
    return false;
}

/* What merges under way will make of a run. */
static void describe_future_locked(const adb *db, struct picker_run *run)
{
    for (const struct db_job *j = db->jobs; j; j = j->next)
        if (j->plan)
            picker_run_affected(run, j->plan, is_source(j, run->run));
}

static void describe_run(const struct version *v,
                         const struct version_run *run,
                         struct picker_table *tables, struct picker_run *out)
{
    for (size_t i = 0; i < run->count; i++) {
        const struct version_table *t = run->tables[i];
        tables[i] = (struct picker_table){
            .number = t->info.number,
            .size = t->info.size,
            .entries = t->info.entries,
            .tombstones = t->info.tombstones,
            .smallest = t->info.smallest,
            .largest = t->info.largest,
            .busy = t->busy,
            .quarantined = version_quarantined(v, t->info.number) != NULL,
        };
    }
    *out = (struct picker_run){.level = run->level,
                               .run = run->run,
                               .tables = tables,
                               .count = run->count};
}

adb_status db_picker_input_locked(adb *db, struct db_picker_input *out)
{
    struct version *v = db->version;
    *out = (struct db_picker_input){0};
    out->runs = mem_alloc((v->run_count + 1) * sizeof *out->runs);
    out->tables = mem_alloc((v->table_count + 1) * sizeof *out->tables);
    if (!out->runs || !out->tables) {
        db_picker_input_deinit(out);
        return status_set(ADB_NO_MEMORY, "no memory to plan compaction");
    }
    size_t used = 0;
    for (size_t i = 0; i < v->run_count; i++) {
        describe_run(v, &v->runs[i], out->tables + used, &out->runs[i]);
        describe_future_locked(db, &out->runs[i]);
        used += v->runs[i].count;
    }
    out->version = version_ref(v);
    out->input = (struct picker_input){
        .options =
            {
                .policy = (enum picker_policy)db->options.compaction,
                .memtable_bytes = db->options.memtable_size,
                .table_bytes = db->options.table_size,
                .max_merge_bytes =
                    MERGE_MEMTABLES * db->options.memtable_size,
                .flush_trigger = 4,
            },
        .runs = out->runs,
        .run_count = v->run_count,
        .since_bottom =
            atomic_load(&db->counters.flush_bytes) - db->bottom_mark,
        .bottom_failed = db->bottom_failed,
    };
    return ADB_OK;
}

void db_picker_input_deinit(struct db_picker_input *in)
{
    version_unref(in->version);
    mem_free(in->runs);
    mem_free(in->tables);
    *in = (struct db_picker_input){0};
}

static void mark_busy(struct version *v, const struct picker_plan *plan,
                      bool busy)
{
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct picker_source *s = &plan->sources[i];
        for (size_t t = 0; t < s->count; t++)
            v->runs[s->run_index].tables[s->first + t]->busy = busy;
    }
}

static int cancelled(void *context)
{
    const struct db_job *job = context;
    return atomic_load_explicit(&job->db->cancel_compaction,
                                memory_order_relaxed);
}

/* A merge under way. */
struct merge {
    struct db_job job;
    /* at the moment of the plan: see struct compaction_job */
    uint64_t next_file;
    uint64_t *making; /* owned */
    size_t making_count;
    bool outcome_unknown;
};

/* Under lock since the plan was made. */
static adb_status begin_merge_locked(adb *db, struct version *version,
                                     const struct picker_plan *plan,
                                     struct merge *m)
{
    *m = (struct merge){.next_file = version_set_next_file(db->versions),
                        .outcome_unknown = db->outcome_unknown};
    adb_status status =
        db_tables_being_made_locked(db, &m->making, &m->making_count);
    if (status == ADB_OK) {
        db_job_begin_locked(db, &m->job);
        m->job.plan = plan;
        m->job.version = version;
    }
    return status;
}

static adb_status run_job(struct merge *m, struct compaction_result *result)
{
    adb *db = m->job.db;
    uint64_t *snapshots = NULL;
    struct version_edit edit = {0};
    struct compaction_job job = {
        .env = db->env,
        .directory = db->path,
        .version = m->job.version,
        .plan = m->job.plan,
        .next_file = m->next_file,
        .making = m->making,
        .making_count = m->making_count,
        .new_file = db_job_new_file,
        .cancelled = cancelled,
        .context = &m->job,
    };
    db_fill_table_options(db, &job.table);
    /* What is neither in the version nor being made does not count: let that be
       true before it is said. */
    adb_status status =
        m->outcome_unknown ? db_settle_outcome(db) : ADB_OK;
    if (status == ADB_OK)
        status = db_snapshots(db, &snapshots, &job.snapshot_count);
    if (status != ADB_OK)
        return status;
    job.snapshots = snapshots;
    status = compaction_run(&job, &edit, result);
    if (status == ADB_OK)
        status = db_job_apply(&m->job, &edit);
    mem_free(snapshots);
    version_edit_deinit(&edit);
    return status;
}

static void count_job(adb *db, const struct compaction_result *r, uint64_t ns)
{
    db_count(r->moved ? &db->counters.moves : &db->counters.compactions, 1);
    db_count(&db->counters.compaction_bytes_in, r->bytes_in);
    db_count(&db->counters.compaction_bytes_out, r->bytes_out);
    db_count(&db->counters.compaction_ns, ns);
    db_count(&db->counters.shadowed_dropped, r->shadowed_dropped);
    db_count(&db->counters.tombstones_dropped, r->tombstones_dropped);
}

static void update_debt_locked(adb *db)
{
    struct db_picker_input in;
    if (db_picker_input_locked(db, &in) != ADB_OK)
        return;
    picker_debt(&in.input, &db->debt);
    db_picker_input_deinit(&in);
    db_update_pressure_locked(db);
}

/* Carries out a plan whose inputs are marked busy. lock held on entry and
   exit. */
static adb_status carry_out_unlocking(adb *db, struct db_picker_input *in,
                                      const struct picker_plan *plan)
{
    struct compaction_result result = {0};
    struct merge m;
    uint64_t began = clock_now_ns();
    uint64_t flushed = atomic_load(&db->counters.flush_bytes);
    adb_status status = begin_merge_locked(db, in->version, plan, &m);
    if (status != ADB_OK) {
        mark_busy(in->version, plan, false);
        return status;
    }
    db->running_compactions++;
    mutex_unlock(&db->lock);
    db_log(db, 2, "compaction: %s, %llu bytes into level %u",
           plan->reason ? plan->reason : "", 
           (unsigned long long)plan->input_bytes, plan->output_level);
    status = run_job(&m, &result);
    adb_status outcome = status;
    uint64_t took = clock_now_ns() - began;
    bool damaged = status == ADB_CORRUPTION;
    if (damaged)
        status = db_quarantine_inputs(db, in->version, plan);
    mem_free(m.making);
    mutex_lock(&db->lock);
    db_job_end_locked(&m.job, outcome);
    db->running_compactions--;
    bool to_bottom = plan->kind == PICKER_MERGE &&
                     plan->output_level == PICKER_BOTTOM_LEVEL;
    if (to_bottom) {
        db->bottom_mark = MAX_OF(db->bottom_mark, flushed);
        db->bottom_failed = status != ADB_OK;
    }
    mark_busy(in->version, plan, false);
    if (status != ADB_OK)
        return status;
    /* Of the bottom's failure only its own merge says that it is over. */
    if (!db->bottom_failed)
        db->compaction_error.code = ADB_OK;
    if (!damaged) {
        count_job(db, &result, took);
        pressure_compacted(&db->pressure, result.bytes_in, took,
                           COMPACTION_AMPLIFICATION);
        if (to_bottom)
            pressure_merged(&db->pressure, result.entries_above,
                            result.shadowed_dropped);
    }
    return ADB_OK;
}

static adb_status step_with_unlocking(adb *db, struct db_picker_input *in,
                                      struct picker_plan *plan, bool *did)
{
    *did = plan->kind != PICKER_NONE;
    if (!*did)
        return ADB_OK;
    mark_busy(in->version, plan, true);
    adb_status status = carry_out_unlocking(db, in, plan);
    update_debt_locked(db);
    condition_broadcast(&db->changed);
    condition_broadcast(&db->compaction_work);
    return status;
}

/* Frees what the plan borrowed and removes the files it made obsolete. */
static void finish_step_unlocking(adb *db, struct db_picker_input *in,
                                  struct picker_plan *plan, bool did)
{
    mutex_unlock(&db->lock);
    struct status_saved saved;
    status_save(&saved, ADB_OK);
    picker_plan_deinit(plan);
    db_picker_input_deinit(in);
    if (did)
        db_remove_obsolete(db);
    status_restore(&saved);
    mutex_lock(&db->lock);
}

adb_status db_compact_step_unlocking(adb *db, bool idle, bool *did)
{
    struct db_picker_input in;
    struct picker_plan plan = {0};
    *did = false;
    adb_status status = db_picker_input_locked(db, &in);
    if (status != ADB_OK)
        return status;
    picker_debt(&in.input, &db->debt);
    db_update_pressure_locked(db);
    /* As users wrote them or, if more, as tables hold them: the last flushes of
       a load would else never fit. */
    uint64_t written = MAX_OF(atomic_load(&db->counters.write_bytes),
                              atomic_load(&db->counters.flush_bytes));
    in.input.idle = idle && db->options.idle_compaction;
    in.input.idle_budget = written > db->idle_written_mark
                               ? written - db->idle_written_mark
                               : 0;
    in.input.next_run = version_set_new_run(db->versions);
    status = picker_pick(&in.input, &plan);
    if (status == ADB_OK) {
        uint64_t cost = plan.kind == PICKER_MERGE && in.input.idle
                            ? plan.input_bytes : 0;
        status = step_with_unlocking(db, &in, &plan, did);
        if (*did && cost) {
            db->idle_written_mark += MIN_OF(cost, in.input.idle_budget);
            db_count(&db->counters.idle_bytes, cost);
        }
    }
    finish_step_unlocking(db, &in, &plan, *did);
    return status;
}

/* One step of a manual compaction. */
static adb_status range_step_unlocking(adb *db, adb_slice from, adb_slice to,
                                       bool *did)
{
    struct db_picker_input in;
    struct picker_plan plan = {0};
    *did = false;
    adb_status status = db_picker_input_locked(db, &in);
    if (status != ADB_OK)
        return status;
    in.input.next_run = version_set_new_run(db->versions);
    status = picker_pick_range(&in.input, from, to, &plan);
    bool blocked = plan.kind == PICKER_NONE && plan.blocked;
    bool behind_damage = blocked && db->running_compactions == 0;
    if (status == ADB_OK)
        status = step_with_unlocking(db, &in, &plan, did);
    finish_step_unlocking(db, &in, &plan, *did);
    if (status != ADB_OK || !blocked)
        return status;
    if (behind_damage)
        return ADB_OK; /* what is left is in quarantine */
    /* The lock was dropped: the job in the way may have ended already. */
    if (db->running_compactions > 0)
        condition_wait(&db->changed, &db->lock);
    *did = true; /* try again */
    return ADB_OK;
}

adb_status db_compact(adb *db, adb_slice from, adb_slice to)
{
    adb_status status = db_flush(db);
    if (status != ADB_OK)
        return status;
    mutex_lock(&db->lock);
    /* Automatic merges stand back, or the two would wait for each other's
       inputs in turns. */
    db->compaction_holds++;
    while (db->running_compactions > 0)
        condition_wait(&db->changed, &db->lock);
    bool did = true;
    while (did && status == ADB_OK && !db->closing)
        status = range_step_unlocking(db, from, to, &did);
    if (status == ADB_OK)
        status = db_quarantine_status_locked(db, from, to);
    db->compaction_holds--;
    condition_broadcast(&db->compaction_work);
    condition_broadcast(&db->changed);
    mutex_unlock(&db->lock);
    return status;
}

adb_status db_wait_idle(adb *db, uint64_t timeout_ms)
{
    uint64_t now = clock_now_ns();
    uint64_t most = (UINT64_MAX - now) / 1000000;
    uint64_t deadline =
        timeout_ms ? now + MIN_OF(timeout_ms, most) * 1000000 : 0;
    adb_status status = ADB_OK;
    mutex_lock(&db->lock);
    while (status == ADB_OK) {
        struct db_picker_input in;
        struct picker_plan plan = {0};
        bool due = true;
        struct status_saved *failed = db->flush_error.code != ADB_OK
                                          ? &db->flush_error
                                          : &db->compaction_error;
        if (failed->code != ADB_OK) {
            status = status_restore(failed);
            break;
        }
        if (db->frozen_count == 0 && db->running_compactions == 0) {
            status = db_picker_input_locked(db, &in);
            if (status != ADB_OK)
                break;
            in.input.next_run = version_set_new_run(db->versions);
            status = picker_pick(&in.input, &plan);
            due = status == ADB_OK && plan.kind != PICKER_NONE;
            picker_plan_deinit(&plan);
            db_picker_input_deinit(&in);
        }
        if (status != ADB_OK || !due)
            break;
        condition_broadcast(&db->compaction_work);
        if (!deadline)
            condition_wait(&db->changed, &db->lock);
        else if (!condition_wait_until(&db->changed, &db->lock, deadline))
            status = status_set(ADB_TIMEOUT, "background work goes on");
    }
    mutex_unlock(&db->lock);
    return status;
}
