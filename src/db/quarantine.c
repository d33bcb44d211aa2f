/*
 * Damaged tables: found when a merge fails on one, written down in the
 * manifest, from then on left alone by compaction (compaction/picker.h), and
 * released when verification finds them whole.
 *
 * What the system could not read is no damage: such a merge is tried again.
 * Neither is what a second look does not find: then a bad byte came from
 * memory or on the way, and the merge is tried again too.
 */
#include "db/db_internal.h"

#include <stdio.h>

#include "base/alloc.h"

/* ---- finding ----------------------------------------------------------- */

/* The first damaged piece of a table that a merge needs. */
struct finding {
    struct quarantined at; /* keys owned */
    bool found;
    adb_status failed; /* the second look itself */
    char text[STATUS_MESSAGE_MAX];
};

static void note_damage(void *context, const struct sst_damage *damage)
{
    struct finding *f = context;
    struct quarantined at = {0, damage->offset, damage->from, damage->to};
    if (f->found || !db_damage_counts(damage))
        return;
    f->failed = quarantined_copy(&at, &f->at);
    f->found = f->failed == ADB_OK;
    snprintf(f->text, sizeof f->text, "%s", damage->text);
}

/* Looks at every byte of a table again. */
static adb_status look_again(adb *db, const struct version_table *t,
                             struct version_edit *edit)
{
    struct finding f = {.failed = ADB_OK};
    adb_status status =
        sst_verify_table(&db->tables, &t->info, note_damage, NULL, &f);
    if (f.failed != ADB_OK)
        return f.failed;
    if (!f.found)
        return status == ADB_CORRUPTION ? ADB_OK : status;
    f.at.number = t->info.number;
    status = version_edit_quarantine(edit, &f.at);
    quarantined_deinit(&f.at);
    if (status == ADB_OK)
        db_log(db, 1, "damaged table set aside; run 'albertdb repair': %s",
               f.text);
    return status;
}

static adb_status look_at_inputs(adb *db, const struct version *v,
                                 const struct picker_plan *plan,
                                 struct version_edit *edit)
{
    adb_status status = ADB_OK;
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct picker_source *source = &plan->sources[s];
        const struct version_run *run = &v->runs[source->run_index];
        for (size_t i = 0; i < source->count && status == ADB_OK; i++) {
            if (atomic_load(&db->cancel_compaction))
                return status_set(ADB_CLOSED, "the database is being closed");
            status = look_again(db, run->tables[source->first + i], edit);
        }
    }
    return status;
}

adb_status db_quarantine_inputs(adb *db, const struct version *v,
                                const struct picker_plan *plan)
{
    struct version_edit edit = {0};
    struct version_edit *edits[1] = {&edit};
    struct status_saved merge;
    status_save(&merge, ADB_CORRUPTION);
    adb_status status = look_at_inputs(db, v, plan, &edit);
    if (status == ADB_OK && edit.quarantined_count)
        status = version_set_apply(db->versions, edits, 1);
    else if (status == ADB_OK)
        status = status_restore(&merge);
    version_edit_deinit(&edit);
    return status;
}

/* ---- telling ----------------------------------------------------------- */

static const struct version_table *find_table(const struct version *v,
                                              uint64_t number)
{
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count; j++)
            if (v->runs[i].tables[j]->info.number == number)
                return v->runs[i].tables[j];
    return NULL;
}

static bool overlaps(const struct table_info *info, adb_slice from,
                     adb_slice to)
{
    return (!from.data || slice_compare(info->largest, from) >= 0) &&
           (!to.data || slice_compare(info->smallest, to) <= 0);
}

adb_status db_quarantine_status_locked(adb *db, adb_slice from, adb_slice to)
{
    const struct version *v = db->version;
    const struct quarantined *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < version_quarantined_count(v); i++) {
        const struct quarantined *q = &v->quarantine->items[i];
        const struct version_table *t = find_table(v, q->number);
        if (!t || !overlaps(&t->info, from, to))
            continue;
        first = first ? first : q;
        count++;
    }
    if (!count)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "'%s': %zu damaged tables are set aside, the first is "
                      "%06llu.sst, damaged at offset %llu; run 'albertdb "
                      "verify' to see all damage, 'albertdb repair' to mend it",
                      db->path, count, (unsigned long long)first->number,
                      (unsigned long long)first->offset);
}

void db_log_quarantine(adb *db)
{
    mutex_lock(&db->lock);
    adb_status status = db_quarantine_status_locked(db, slice_of(NULL, 0),
                                                    slice_of(NULL, 0));
    mutex_unlock(&db->lock);
    if (status != ADB_OK)
        db_log(db, 1, "%s", status_message());
    status_clear();
}

/* ---- releasing --------------------------------------------------------- */

/* Another thread may have released it, or the table may be gone. */
static adb_status release(adb *db, uint64_t number)
{
    struct version_edit edit = {0};
    struct version_edit *edits[1] = {&edit};
    adb_status status = version_edit_release(&edit, number);
    if (status == ADB_OK)
        status = version_set_apply(db->versions, edits, 1);
    version_edit_deinit(&edit);
    if (status == ADB_OK)
        db_log(db, 2, "table %06llu was found whole and is used again",
               (unsigned long long)number);
    return status == ADB_INVALID ? ADB_OK : status;
}

adb_status db_release_tables(adb *db, const uint64_t *numbers, size_t count)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        status = release(db, numbers[i]);
    mutex_lock(&db->lock);
    condition_broadcast(&db->compaction_work);
    mutex_unlock(&db->lock);
    return status;
}
