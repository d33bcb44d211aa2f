/*
 * Which tables are being made. A merge says in its output which older files do
 * not count any more (compaction/lineage.h); files that another job is making
 * may come to count, and have no place in the version yet.
 *
 *   job begins -> numbers handed out -> edit durable, version installed
 *                                       or files given up, job ends
 *
 * All under lock, as the planning of a merge is, so that a plan sees each table
 * in one place: being made, in the version, or history. What was installed must
 * not count as being made even for a moment longer: another job may have taken
 * it for its input and be through with it.
 */
#include "db/db_internal.h"

#include <stdlib.h>

#include "base/alloc.h"

void db_job_begin_locked(adb *db, struct db_job *job)
{
    *job = (struct db_job){.db = db, .next = db->jobs};
    db->jobs = job;
}

void db_job_end_locked(struct db_job *job, adb_status status)
{
    adb *db = job->db;
    struct db_job **at = &db->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    mem_free(job->tables);
    /* Its files stay, and a crash may make them count. */
    db->outcome_unknown |= status == ADB_UNKNOWN_OUTCOME;
}

static bool make_room(struct db_job *job)
{
    if (job->count < job->capacity)
        return true;
    size_t capacity = MAX_OF(2 * job->capacity, (size_t)16);
    uint64_t *more = mem_realloc(job->tables, capacity * sizeof *more);
    if (!more)
        return false;
    job->tables = more;
    job->capacity = capacity;
    return true;
}

uint64_t db_job_new_file(void *context)
{
    struct db_job *job = context;
    uint64_t number = 0;
    mutex_lock(&job->db->lock);
    if (make_room(job))
        number = job->tables[job->count++] =
            version_set_new_file(job->db->versions);
    mutex_unlock(&job->db->lock);
    return number;
}

static int number_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

adb_status db_job_apply(struct db_job *job, struct version_edit *edit)
{
    adb *db = job->db;
    struct version_edit *edits[1] = {edit};
    mutex_lock(&db->lock);
    job->edit = edit;
    mutex_unlock(&db->lock);
    adb_status status = version_set_apply(db->versions, edits, 1);
    if (status != ADB_OK)
        db_discard_tables(db, edit, status);
    mutex_lock(&db->lock);
    job->edit = NULL;
    mutex_unlock(&db->lock);
    return status;
}

static bool is_installed(const struct db_job *job, const struct version *v)
{
    if (!job->edit || !job->edit->added_count)
        return false;
    /* All of the edit, or nothing. */
    const struct edit_table *first = &job->edit->added[0];
    for (size_t i = 0; i < v->run_count; i++) {
        const struct version_table *t =
            v->runs[i].run == first->place.run
                ? version_run_find(&v->runs[i], first->info.smallest)
                : NULL;
        if (t)
            return t->info.number == first->info.number;
    }
    return false;
}

void db_job_installed_locked(adb *db, const struct version *v)
{
    db->outcome_unknown = false;
    for (struct db_job *j = db->jobs; j; j = j->next)
        if (is_installed(j, v))
            j->count = 0;
}

adb_status db_tables_being_made_locked(adb *db, uint64_t **numbers,
                                       size_t *count)
{
    size_t total = 0, found = 0;
    for (const struct db_job *j = db->jobs; j; j = j->next)
        total += j->count;
    uint64_t *list = mem_alloc((total + 1) * sizeof *list);
    if (!list)
        return status_set(ADB_NO_MEMORY, "no memory to plan compaction");
    for (const struct db_job *j = db->jobs; j; j = j->next)
        for (size_t i = 0; i < j->count; i++)
            list[found++] = j->tables[i];
    qsort(list, total, sizeof *list, number_order);
    *numbers = list;
    *count = total;
    return ADB_OK;
}

/* An edit that changes nothing: once it is durable, none before it that failed
   can be (version_set_apply). */
adb_status db_settle_outcome(adb *db)
{
    struct version_edit nothing = {.next_file = 0};
    struct version_edit *edits[1] = {&nothing};
    return version_set_apply(db->versions, edits, 1);
}
