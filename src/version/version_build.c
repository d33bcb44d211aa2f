/*
 * Making the next version from one and an edit, copy-on-write: runs that the
 * edit does not touch are shared, those it touches are gathered table by table
 * and sorted anew.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "version/version_internal.h"

enum action { ACTION_REMOVE, ACTION_MOVE, ACTION_ADD };

/* What the edit says of one table number. */
struct change {
    uint64_t number;
    enum action action;
    struct table_place place;      /* of moves and additions */
    const struct table_info *info; /* of additions */
    bool met;                      /* the base has that table */
};

/* A table of the next version in a run that is made anew. */
struct entry {
    struct table_place place;
    struct version_table *table; /* counted */
};

struct build {
    const struct version *base;
    struct table_owner *owner;
    struct change *changes; /* ascending by number */
    size_t change_count;
    bool *touched; /* per run of base */
    struct entry *entries;
    size_t entry_count;
    struct version_table **dropped;
    size_t dropped_count;
};

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory for a new version");
}

struct version *version_new_empty(void)
{
    struct version *v = mem_zalloc(sizeof *v);
    if (v)
        atomic_init(&v->refs, 1);
    return v;
}

/* ---- the edit, by table number ------------------------------------------ */

static int change_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct change *)a)->number;
    uint64_t y = ((const struct change *)b)->number;
    return x < y ? -1 : x > y;
}

static adb_status list_changes(struct build *b, const struct version_edit *e)
{
    size_t count = e->removed_count + e->moved_count + e->added_count;
    b->changes = mem_zalloc((count + 1) * sizeof *b->changes);
    if (!b->changes)
        return no_memory();
    struct change *c = b->changes;
    for (size_t i = 0; i < e->removed_count; i++)
        *c++ =
            (struct change){e->removed[i], ACTION_REMOVE, {0, 0}, NULL, false};
    for (size_t i = 0; i < e->moved_count; i++)
        *c++ = (struct change){e->moved[i].number, ACTION_MOVE, e->moved[i].to,
                               NULL, false};
    for (size_t i = 0; i < e->added_count; i++)
        *c++ = (struct change){e->added[i].info.number, ACTION_ADD,
                               e->added[i].place, &e->added[i].info, false};
    b->change_count = count;
    qsort(b->changes, count, sizeof *b->changes, change_compare);
    for (size_t i = 1; i < count; i++)
        if (b->changes[i].number == b->changes[i - 1].number)
            return status_set(ADB_INVALID,
                              "the edit speaks of table %06" PRIu64 " twice",
                              b->changes[i].number);
    return ADB_OK;
}

static struct change *find_change(const struct build *b, uint64_t number)
{
    size_t low = 0, high = b->change_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->changes[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == b->change_count || b->changes[low].number != number)
        return NULL;
    return &b->changes[low];
}

/* Marks the runs that the edit touches and the changes that have a table. */
static adb_status match_base(struct build *b)
{
    for (size_t i = 0; i < b->base->run_count && b->change_count; i++) {
        const struct version_run *run = &b->base->runs[i];
        for (size_t j = 0; j < run->count; j++) {
            struct change *c = find_change(b, run->tables[j]->info.number);
            if (!c)
                continue;
            if (c->action == ACTION_ADD)
                return status_set(ADB_INVALID,
                                  "the edit adds table %06" PRIu64
                                  " which is there already",
                                  c->number);
            c->met = true;
            b->touched[i] = true;
        }
        for (size_t k = 0; k < b->change_count; k++)
            if (b->changes[k].action != ACTION_REMOVE &&
                b->changes[k].place.run == run->run)
                b->touched[i] = true;
    }
    for (size_t k = 0; k < b->change_count; k++)
        if (b->changes[k].action != ACTION_ADD && !b->changes[k].met)
            return status_set(ADB_INVALID,
                              "the edit removes or moves table %06" PRIu64
                              " which is not there",
                              b->changes[k].number);
    return ADB_OK;
}

/* ---- the tables of touched runs ------------------------------------------ */

static adb_status make_room(struct build *b)
{
    size_t count = b->change_count;
    for (size_t i = 0; i < b->base->run_count; i++)
        if (b->touched[i])
            count += b->base->runs[i].count;
    b->entries = mem_alloc((count + 1) * sizeof *b->entries);
    b->dropped = mem_alloc((b->change_count + 1) * sizeof *b->dropped);
    return b->entries && b->dropped ? ADB_OK : no_memory();
}

static void gather_run(struct build *b, const struct version_run *run)
{
    for (size_t j = 0; j < run->count; j++) {
        struct version_table *t = run->tables[j];
        struct change *c = find_change(b, t->info.number);
        if (c && c->action == ACTION_REMOVE) {
            b->dropped[b->dropped_count++] = version_table_ref(t);
            continue;
        }
        struct table_place place = {run->level, run->run};
        b->entries[b->entry_count++] =
            (struct entry){c ? c->place : place, version_table_ref(t)};
    }
}

static adb_status add_new(struct build *b, const struct change *c)
{
    struct version_table *t = mem_zalloc(sizeof *t);
    if (!t)
        return no_memory();
    atomic_init(&t->refs, 1);
    t->owner = b->owner;
    adb_status status = table_info_copy(c->info, &t->info);
    if (status != ADB_OK) {
        mem_free(t);
        return status;
    }
    b->entries[b->entry_count++] = (struct entry){c->place, t};
    return ADB_OK;
}

/* Newer runs first, inside a run by key. */
static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->place.run != y->place.run)
        return x->place.run > y->place.run ? -1 : 1;
    return slice_compare(x->table->info.smallest, y->table->info.smallest);
}

static adb_status gather(struct build *b)
{
    adb_status status = make_room(b);
    if (status != ADB_OK)
        return status;
    for (size_t i = 0; i < b->base->run_count; i++)
        if (b->touched[i])
            gather_run(b, &b->base->runs[i]);
    for (size_t k = 0; k < b->change_count; k++) {
        if (b->changes[k].action != ACTION_ADD)
            continue;
        status = add_new(b, &b->changes[k]);
        if (status != ADB_OK)
            return status;
    }
    qsort(b->entries, b->entry_count, sizeof *b->entries, entry_compare);
    return ADB_OK;
}

/* ---- the next version ---------------------------------------------------- */

static adb_status make_run(const struct entry *entries, size_t count,
                           struct version_run *out)
{
    struct run_block *block = run_block_new(count);
    if (!block)
        return no_memory();
    *out = (struct version_run){.level = entries[0].place.level,
                                .run = entries[0].place.run,
                                .count = count,
                                .tables = block->tables,
                                .last_heads = run_block_heads(block),
                                .block = block};
    for (size_t i = 0; i < count; i++) {
        struct version_table *t = entries[i].table;
        block->tables[i] = version_table_ref(t);
        out->last_heads[i] =
            key_head8(t->info.largest.data, t->info.largest.size);
        out->bytes += t->info.size;
        if (entries[i].place.level != out->level)
            return status_set(ADB_INVALID,
                              "run %" PRIu64 " would lie at levels %" PRIu32
                              " and %" PRIu32,
                              out->run, out->level, entries[i].place.level);
    }
    return version_check_run(out);
}

static size_t group_size(const struct build *b, size_t first)
{
    size_t end = first;
    while (end < b->entry_count &&
           b->entries[end].place.run == b->entries[first].place.run)
        end++;
    return end - first;
}

static size_t count_runs(const struct build *b)
{
    size_t count = 0;
    for (size_t i = 0; i < b->base->run_count; i++)
        count += !b->touched[i];
    for (size_t i = 0; i < b->entry_count; i += group_size(b, i))
        count++;
    return count;
}

static void add_sums(struct version *v, const struct version_run *run)
{
    v->bytes += run->bytes;
    v->table_count += run->count;
    for (size_t i = 0; i < run->count; i++) {
        v->entries += run->tables[i]->info.entries;
        v->tombstones += run->tables[i]->info.tombstones;
    }
}

/* Merges untouched runs and new ones, newest first. */
static adb_status merge_runs(const struct build *b, struct version *v)
{
    const struct version *base = b->base;
    size_t old = 0, fresh = 0;
    for (;;) {
        while (old < base->run_count && b->touched[old])
            old++;
        bool have_old = old < base->run_count;
        bool have_fresh = fresh < b->entry_count;
        if (!have_old && !have_fresh)
            return version_check_order(v);
        struct version_run *out = &v->runs[v->run_count++];
        if (have_fresh &&
            (!have_old || b->entries[fresh].place.run > base->runs[old].run)) {
            size_t size = group_size(b, fresh);
            adb_status status = make_run(b->entries + fresh, size, out);
            if (status != ADB_OK)
                return status;
            fresh += size;
        } else {
            *out = base->runs[old++];
            run_block_ref(out->block);
        }
        add_sums(v, out);
    }
}

static adb_status make_version(const struct build *b, struct version **out)
{
    struct version *v = version_new_empty();
    if (!v)
        return no_memory();
    v->runs = mem_zalloc((count_runs(b) + 1) * sizeof *v->runs);
    adb_status status = v->runs ? merge_runs(b, v) : no_memory();
    if (status != ADB_OK) {
        version_unref(v);
        return status;
    }
    *out = v;
    return ADB_OK;
}

static void build_deinit(struct build *b)
{
    for (size_t i = 0; i < b->entry_count; i++)
        version_table_unref(b->entries[i].table);
    for (size_t i = 0; i < b->dropped_count; i++)
        version_table_unref(b->dropped[i]);
    mem_free(b->dropped);
    mem_free(b->entries);
    mem_free(b->touched);
    mem_free(b->changes);
}

adb_status version_build(const struct version *base,
                         const struct version_edit *edit,
                         struct table_owner *owner, struct version_step *out)
{
    struct build b = {.base = base, .owner = owner};
    struct version *next = NULL;
    adb_status status;
    b.touched = mem_zalloc(base->run_count + 1);
    status = b.touched ? list_changes(&b, edit) : no_memory();
    if (status == ADB_OK)
        status = match_base(&b);
    if (status == ADB_OK)
        status = gather(&b);
    if (status == ADB_OK)
        status = make_version(&b, &next);
    if (status == ADB_OK)
        status = quarantine_build(base, edit, next, &next->quarantine);
    if (status == ADB_OK) {
        *out = (struct version_step){next, b.dropped, b.dropped_count};
        b.dropped = NULL;
        b.dropped_count = 0;
    }
    if (status != ADB_OK)
        version_unref(next);
    build_deinit(&b);
    return status;
}

void version_step_deinit(struct version_step *s)
{
    for (size_t i = 0; i < s->dropped_count; i++)
        version_table_unref(s->dropped[i]);
    mem_free(s->dropped);
    version_unref(s->next);
    *s = (struct version_step){0};
}
