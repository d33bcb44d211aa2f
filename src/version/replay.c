#include "version/replay.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"

void replay_deinit(struct replay *r)
{
    for (size_t i = 0; i < r->count; i++)
        table_info_deinit(&r->tables[i].info);
    mem_free(r->tables);
    mem_free(r->slots);
    version_edit_deinit(&r->quarantine);
    log_state_deinit(&r->logs);
    *r = (struct replay){0};
}

/* ---- the table of tables ------------------------------------------------ */

static size_t home(const struct replay *r, uint64_t number)
{
    return (size_t)((number * UINT64_C(0x9E3779B97F4A7C15)) >> 20) &
           (r->slot_count - 1);
}

static uint64_t number_in(const struct replay *r, size_t slot)
{
    return r->tables[r->slots[slot] - 1].info.number;
}

/* The slot that holds number, or the empty one where it would go. */
static size_t find_slot(const struct replay *r, uint64_t number)
{
    size_t slot = home(r, number);
    while (r->slots[slot] && number_in(r, slot) != number)
        slot = (slot + 1) & (r->slot_count - 1);
    return slot;
}

static adb_status grow(struct replay *r)
{
    size_t capacity = r->capacity ? 2 * r->capacity : 64;
    struct edit_table *tables =
        mem_realloc(r->tables, capacity * sizeof *tables);
    if (tables)
        r->tables = tables;
    size_t *slots = mem_zalloc(2 * capacity * sizeof *slots);
    if (!tables || !slots) {
        mem_free(slots);
        return status_set(ADB_NO_MEMORY, "no memory for %zu tables", capacity);
    }
    mem_free(r->slots);
    r->slots = slots;
    r->slot_count = 2 * capacity;
    r->capacity = capacity;
    for (size_t i = 0; i < r->count; i++)
        r->slots[find_slot(r, tables[i].info.number)] = i + 1;
    return ADB_OK;
}

/* The table's index; ADB_INVALID: not there. */
static adb_status find(const struct replay *r, uint64_t number, size_t *index)
{
    size_t slot = r->count ? find_slot(r, number) : 0;
    if (!r->count || !r->slots[slot])
        return status_set(ADB_INVALID,
                          "the edit removes or moves table %06" PRIu64
                          " which is not there",
                          number);
    *index = r->slots[slot] - 1;
    return ADB_OK;
}

/* Empties a slot and closes the gap in its probe sequence. */
static void empty_slot(struct replay *r, size_t hole)
{
    size_t mask = r->slot_count - 1;
    for (size_t at = (hole + 1) & mask; r->slots[at]; at = (at + 1) & mask) {
        size_t wanted = home(r, number_in(r, at));
        if (((at - wanted) & mask) >= ((at - hole) & mask)) {
            r->slots[hole] = r->slots[at];
            hole = at;
        }
    }
    r->slots[hole] = 0;
}

/* The table leaves the quarantine; false: it was not there. */
static bool take_out(struct replay *r, uint64_t number)
{
    struct version_edit *q = &r->quarantine;
    for (size_t i = 0; i < q->quarantined_count; i++) {
        if (q->quarantined[i].number != number)
            continue;
        quarantined_deinit(&q->quarantined[i]);
        q->quarantined[i] = q->quarantined[--q->quarantined_count];
        return true;
    }
    return false;
}

static adb_status remove_table(struct replay *r, uint64_t number)
{
    size_t index;
    adb_status status = find(r, number, &index);
    if (status != ADB_OK)
        return status;
    empty_slot(r, find_slot(r, number));
    table_info_deinit(&r->tables[index].info);
    take_out(r, number);
    size_t last = r->count - 1;
    if (index != last) {
        r->slots[find_slot(r, r->tables[last].info.number)] = index + 1;
        r->tables[index] = r->tables[last];
    }
    r->count = last;
    return ADB_OK;
}

static adb_status add_table(struct replay *r, const struct edit_table *t)
{
    adb_status status = ADB_OK;
    if (r->count == r->capacity)
        status = grow(r);
    if (status != ADB_OK)
        return status;
    size_t slot = find_slot(r, t->info.number);
    if (r->slots[slot])
        return status_set(ADB_INVALID,
                          "the edit adds table %06" PRIu64
                          " which is there already",
                          t->info.number);
    struct edit_table copy = {.place = t->place};
    status = table_info_copy(&t->info, &copy.info);
    if (status != ADB_OK)
        return status;
    r->tables[r->count++] = copy;
    r->slots[slot] = r->count;
    r->next_file = MAX_OF(r->next_file, t->info.number + 1);
    r->next_run = MAX_OF(r->next_run, t->place.run + 1);
    return ADB_OK;
}

static adb_status move_table(struct replay *r, const struct edit_move *m)
{
    size_t index;
    adb_status status = find(r, m->number, &index);
    if (status == ADB_OK) {
        r->tables[index].place = m->to;
        r->next_run = MAX_OF(r->next_run, m->to.run + 1);
    }
    return status;
}

/* ---- quarantine ---------------------------------------------------------- */

static adb_status quarantine_table(struct replay *r,
                                   const struct quarantined *q)
{
    size_t index;
    adb_status status = find(r, q->number, &index);
    if (status != ADB_OK)
        return status;
    take_out(r, q->number);
    return version_edit_quarantine(&r->quarantine, q);
}

static adb_status release_table(struct replay *r, uint64_t number)
{
    if (take_out(r, number))
        return ADB_OK;
    return status_set(ADB_INVALID,
                      "the edit releases table %06" PRIu64
                      " which is not in quarantine",
                      number);
}

/* ---- edits --------------------------------------------------------------- */

adb_status replay_apply(struct replay *r, const struct version_edit *e)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < e->removed_count && status == ADB_OK; i++)
        status = remove_table(r, e->removed[i]);
    for (size_t i = 0; i < e->moved_count && status == ADB_OK; i++)
        status = move_table(r, &e->moved[i]);
    for (size_t i = 0; i < e->added_count && status == ADB_OK; i++)
        status = add_table(r, &e->added[i]);
    for (size_t i = 0; i < e->quarantined_count && status == ADB_OK; i++)
        status = quarantine_table(r, &e->quarantined[i]);
    for (size_t i = 0; i < e->released_count && status == ADB_OK; i++)
        status = release_table(r, e->released[i]);
    if (status == ADB_OK)
        status = log_state_apply(&r->logs, e);
    r->next_file = MAX_OF(r->next_file, e->next_file);
    r->next_run = MAX_OF(r->next_run, e->next_run);
    for (size_t i = 0; i < e->segments_created_count; i++)
        r->next_file = MAX_OF(r->next_file, e->segments_created[i] + 1);
    r->edits++;
    return status;
}

adb_status replay_version(struct replay *r, struct table_owner *owner,
                          struct version **out)
{
    struct version *empty = version_new_empty();
    if (!empty)
        return status_set(ADB_NO_MEMORY, "no memory for a version");
    /* All tables as one edit; borrowed from r. */
    struct version_edit all = {
        .added = r->tables,
        .added_count = r->count,
        .quarantined = r->quarantine.quarantined,
        .quarantined_count = r->quarantine.quarantined_count};
    struct version_step step;
    adb_status status = version_build(empty, &all, owner, &step);
    if (status == ADB_OK) {
        status = version_check(step.next);
        if (status == ADB_OK)
            *out = version_ref(step.next);
        version_step_deinit(&step);
    }
    version_unref(empty);
    return status;
}
