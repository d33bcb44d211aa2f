/*
 * Which tables of a version are damaged: immutable and shared like its runs.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "version/version_internal.h"

void quarantine_unref(struct quarantine *q)
{
    if (!q || atomic_fetch_sub_explicit(&q->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < q->count; i++)
        quarantined_deinit(&q->items[i]);
    mem_free(q);
}

const struct quarantined *version_quarantined(const struct version *v,
                                              uint64_t number)
{
    size_t low = 0, high = version_quarantined_count(v);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->quarantine->items[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == version_quarantined_count(v) ||
        v->quarantine->items[low].number != number)
        return NULL;
    return &v->quarantine->items[low];
}

/* ---- building ------------------------------------------------------------ */

static bool has_table(const struct version *v, uint64_t number)
{
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count; j++)
            if (v->runs[i].tables[j]->info.number == number)
                return true;
    return false;
}

static bool is_listed(const uint64_t *numbers, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static adb_status not_there(uint64_t number)
{
    return status_set(ADB_INVALID,
                      "the edit speaks of the damage of table %06" PRIu64
                      " which is not there",
                      number);
}

static adb_status check_edit(const struct version *base,
                             const struct version_edit *e,
                             const struct version *v)
{
    for (size_t i = 0; i < e->quarantined_count; i++)
        if (!has_table(v, e->quarantined[i].number))
            return not_there(e->quarantined[i].number);
    for (size_t i = 0; i < e->released_count; i++) {
        bool known = version_quarantined(base, e->released[i]) != NULL;
        for (size_t j = 0; j < e->quarantined_count; j++)
            known |= e->quarantined[j].number == e->released[i];
        if (!known || !has_table(v, e->released[i]))
            return not_there(e->released[i]);
    }
    return ADB_OK;
}

/* In quarantine, or again: what is said last holds. */
static adb_status put(struct quarantine *q, const struct quarantined *item)
{
    struct quarantined copy;
    size_t i = 0;
    adb_status status = quarantined_copy(item, &copy);
    if (status != ADB_OK)
        return status;
    while (i < q->count && q->items[i].number < copy.number)
        i++;
    if (i < q->count && q->items[i].number == copy.number) {
        quarantined_deinit(&q->items[i]);
    } else {
        memmove(&q->items[i + 1], &q->items[i],
                (q->count - i) * sizeof q->items[0]);
        q->count++;
    }
    q->items[i] = copy;
    return ADB_OK;
}

static void take_out(struct quarantine *q, const struct version_edit *e)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        uint64_t number = q->items[i].number;
        if (is_listed(e->released, e->released_count, number) ||
            is_listed(e->removed, e->removed_count, number))
            quarantined_deinit(&q->items[i]);
        else
            q->items[kept++] = q->items[i];
    }
    q->count = kept;
}

static adb_status change(const struct version *base,
                         const struct version_edit *e, struct quarantine *q)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < version_quarantined_count(base); i++)
        if (status == ADB_OK)
            status = put(q, &base->quarantine->items[i]);
    for (size_t i = 0; i < e->quarantined_count && status == ADB_OK; i++)
        status = put(q, &e->quarantined[i]);
    if (status == ADB_OK)
        take_out(q, e);
    return status;
}

adb_status quarantine_build(const struct version *base,
                            const struct version_edit *edit,
                            const struct version *v, struct quarantine **out)
{
    size_t most = version_quarantined_count(base) + edit->quarantined_count;
    *out = NULL;
    adb_status status = check_edit(base, edit, v);
    if (status != ADB_OK || !most)
        return status;
    struct quarantine *q = mem_zalloc(sizeof *q + most * sizeof q->items[0]);
    if (!q)
        return status_set(ADB_NO_MEMORY, "no memory for damaged tables");
    atomic_init(&q->refs, 1);
    status = change(base, edit, q);
    if (status != ADB_OK || !q->count) {
        quarantine_unref(q);
        return status;
    }
    assert(q->count <= most);
    *out = q;
    return ADB_OK;
}
