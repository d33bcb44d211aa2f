/*
 * The manifest is not whole: which tables are part of the database, and in
 * which order of age, nobody says. So all that may be are read - every table
 * in the directory but those that some record says were removed, and the log -
 * and merged into one run: of each key the version with the largest sequence
 * stays.
 *
 * A crash may have left files that were history already: inputs of a merge,
 * segments of a flushed memtable. Their sequences would beat those that a merge
 * has set to 0, and bring back what it has deleted. What tables say of where
 * they come from (struct table_lineage) tells:
 *
 *   through    writes up to it are in tables: the log's are not needed
 *   below      of keys in its range tables numbered below hold nothing that
 *              counts, but those it names: such versions are left out
 *
 * Why that suffices: let D be a table that is history, with a version of key k.
 * The merge that took D wrote k's newest version, which beats D's, unless it
 * (or one that took its output) dropped a tombstone of k or set a sequence to
 * 0. That one said of k that D does not count, since D's number was below, and
 * whichever merge took its table since has said so too (compaction/lineage.h).
 *
 * A table that never became part of the database, because its merge failed or
 * the process died, holds versions that are elsewhere too. What it says of its
 * inputs holds while it counts itself. Where a later merge says that it does
 * not, it is not heard: its inputs may be what counts, and what else it would
 * say of history the later merge says too.
 *
 * So all depends on being able to read what the tables say. If the end of one
 * is damaged, or was never written, that is told, since any key may then show
 * an older version.
 *
 * Tables whose keys do not overlap are read one after the other, in layers, so
 * that many tables need few open ones.
 */
#include "repair/repair_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "compaction/picker.h"
#include "iter/entry.h"
#include "iter/merge.h"
#include "sst/run_builder.h"
#include "version/names.h"

/* A table to be read. */
struct source {
    struct table_info info; /* owned; as far as it is known */
    const struct sst_context *context; /* which directory */
    bool ranged;                       /* its keys are known */
    bool silent;                       /* its lineage is not known */
    struct table_lineage lineage;      /* owned */
    const struct source **above; /* owned: those that may supersede some of it,
                                    the newest first */
    size_t above_count;
    size_t layer;
};
struct sources {
    struct repair *r;
    struct source *items; /* owned */
    size_t count;
    size_t layers;
    uint64_t through; /* writes up to this are in tables */
    uint64_t covered; /* see struct log_source */
};

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory to repair a database");
}

static void sources_deinit(struct sources *s)
{
    for (size_t i = 0; i < s->count; i++) {
        table_info_deinit(&s->items[i].info);
        table_lineage_deinit(&s->items[i].lineage);
        mem_free(s->items[i].above);
    }
    mem_free(s->items);
}

/* lineage NULL: not known. */
static adb_status add_source(struct sources *s, const struct table_info *info,
                             const struct table_lineage *lineage,
                             const struct sst_context *context, bool ranged)
{
    static const struct table_lineage unknown;
    struct source *more =
        mem_realloc(s->items, (s->count + 1) * sizeof *more);
    if (!more)
        return no_memory();
    s->items = more;
    struct source *t = &more[s->count];
    *t = (struct source){.context = context, .ranged = ranged};
    adb_status status = table_info_copy(info, &t->info);
    if (status != ADB_OK)
        return status;
    s->count++; /* from here on it is freed with the others */
    t->silent = !lineage;
    lineage = lineage ? lineage : &unknown;
    s->through = MAX_OF(s->through, lineage->through);
    s->covered = MAX_OF(s->covered, lineage->through);
    if (!t->silent)
        s->covered = MAX_OF(s->covered, info->max_seq);
    s->r->last_seq = MAX_OF(s->r->last_seq, lineage->through);
    return table_lineage_copy(lineage, &t->lineage);
}

/* ---- which tables ------------------------------------------------------- */

/* known: by some record of a manifest; NULL: it is not. */
static adb_status add_table(struct sources *s, uint64_t number,
                            const struct table_info *known)
{
    struct repair *r = s->r;
    struct table_info bare = {.number = number};
    struct sst_reader *reader;
    adb_status status =
        sst_reader_open(&r->here, known ? known : &bare, &reader);
    if (status != ADB_OK)
        return repair_can_pass(r, status)
                   ? add_source(s, known ? known : &bare, NULL, &r->here,
                                known != NULL)
                   : status;
    sst_reader_describe(reader, &bare);
    status = add_source(s, known ? known : &bare, sst_reader_lineage(reader),
                        &r->here, true);
    sst_reader_unref(reader);
    return status;
}

static adb_status add_tables(struct sources *s)
{
    struct repair *r = s->r;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->tables.count && status == ADB_OK; i++) {
        uint64_t number = r->tables.items[i];
        if (!numbers_have(&r->facts.removed, number))
            status = add_table(s, number, facts_table(&r->facts, number));
    }
    return status;
}

/* Where a table does not say what it took the place of, that may be back, of
   keys that nobody knows. */
static void tell_silent(struct repair *r, const char *path, const char *why)
{
    adb_slice any = slice_of(NULL, 0);
    repair_tell(r,
                status_set(ADB_CORRUPTION,
                           "'%s' cannot say what it took the place of: %s. If "
                           "it was part of the database, older versions of any "
                           "key may show, and deleted keys be back",
                           path, why),
                path, 0, 0, any, any);
    r->summary.stale_possible = 1;
}

static void tell_all_silent(const struct sources *s)
{
    for (size_t i = 0; i < s->count; i++) {
        if (!s->items[i].silent)
            continue;
        char *path = sst_path(s->r->path, s->items[i].info.number);
        tell_silent(s->r, path ? path : s->r->path,
                    "its end is damaged, or was never written");
        mem_free(path);
    }
}

/* Named by a record, not removed by one, and not there. The record of its
   removal may be what is damaged. */
static void tell_missing(struct repair *r)
{
    for (size_t i = 0; i < r->facts.table_count; i++) {
        const struct table_info *info = &r->facts.tables[i].info;
        if (numbers_have(&r->facts.removed, info->number) ||
            numbers_have(&r->tables, info->number))
            continue;
        char *path = sst_path(r->path, info->number);
        repair_tell(r,
                    status_set(ADB_CORRUPTION,
                               "'%s' is missing, or was removed by a record "
                               "that is damaged",
                               path ? path : r->path),
                    path, 0, info->size, info->smallest, info->largest);
        tell_silent(r, path ? path : r->path, "it is missing");
        mem_free(path);
    }
}

/* ---- which log ---------------------------------------------------------- */

static adb_status describe_log(struct repair *r, struct log_source *s)
{
    const struct facts *f = &r->facts;
    adb_status status = ADB_OK;
    *s = (struct log_source){.synced_through = f->synced_through,
                             .database = f->database};
    for (size_t i = 0; i < r->logs.count && status == ADB_OK; i++)
        if (!numbers_have(&f->segments_removed, r->logs.items[i]))
            status = numbers_add(&s->segments, r->logs.items[i]);
    for (size_t i = 0; i < f->segments.count && status == ADB_OK; i++) {
        uint64_t number = f->segments.items[i];
        if (!numbers_have(&f->segments_removed, number) &&
            !numbers_have(&r->logs, number))
            status = numbers_add(&s->segments, number); /* it is missing */
    }
    numbers_sort(&s->segments);
    s->ends = mem_zalloc((s->segments.count + 1) * sizeof *s->ends);
    if (!s->ends)
        return no_memory();
    for (size_t i = 0; i < s->segments.count; i++)
        for (size_t j = 0; j < f->end_count; j++)
            if (f->ends[j].segment == s->segments.items[i])
                s->ends[i] = f->ends[j];
    return status;
}

static adb_status add_log(struct sources *s)
{
    struct repair *r = s->r;
    struct version_edit edit = {0};
    struct log_source log;
    static const struct table_lineage none;
    bool whole = false;
    adb_status status = describe_log(r, &log);
    log.unsure = true;
    log.covered = s->covered;
    if (status == ADB_OK)
        status = repair_find_log(r, &log, &whole);
    if (status == ADB_OK)
        status = repair_log_to_tables(r, &log, whole, s->through, &edit);
    for (size_t i = 0; i < edit.added_count && status == ADB_OK; i++)
        status =
            add_source(s, &edit.added[i].info, &none, &r->staged, true);
    version_edit_deinit(&edit);
    log_source_deinit(&log);
    return status;
}

/* ---- what is superseded ------------------------------------------------- */

/* Does `by` say of some key that t does not count? */
static bool may_supersede(const struct source *by, const struct source *t)
{
    const struct table_lineage *l = &by->lineage;
    if (!table_lineage_supersedes(l, t->info.number))
        return false;
    if (!t->ranged ||
        table_lineage_overlaps(l, t->info.smallest, t->info.largest))
        return true;
    /* Nor does what it says of others. */
    return t->lineage.below &&
           table_lineage_before(l->from, t->lineage.before) &&
           table_lineage_before(t->lineage.from, l->before);
}

static int number_falls(const void *a, const void *b)
{
    uint64_t x = (*(const struct source *const *)a)->info.number;
    uint64_t y = (*(const struct source *const *)b)->info.number;
    return x > y ? -1 : x < y;
}

static adb_status find_above_of(struct source *t,
                                const struct source *const *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!may_supersede(all[i], t))
            continue;
        const struct source **more =
            mem_realloc(t->above, (t->above_count + 1) * sizeof *more);
        if (!more)
            return no_memory();
        t->above = more;
        more[t->above_count++] = all[i];
    }
    return ADB_OK;
}

/* The newest first: they decide most. From here on the sources stay where they
   are. */
static adb_status find_above(struct sources *s)
{
    const struct source **all = mem_alloc((s->count + 1) * sizeof *all);
    adb_status status = all ? ADB_OK : no_memory();
    for (size_t i = 0; i < s->count && all; i++)
        all[i] = &s->items[i];
    if (s->count && all)
        qsort(all, s->count, sizeof *all, number_falls);
    for (size_t i = 0; i < s->count && status == ADB_OK; i++)
        status = find_above_of(&s->items[i], all, s->count);
    mem_free(all);
    return status;
}

/* What is superseded itself, of that key, supersedes nothing: it may be of a
   merge that failed, and its inputs are what counts. Ends, since tables speak
   of lower numbers only. */
static bool is_superseded(const struct source *t, adb_slice key)
{
    for (size_t i = 0; i < t->above_count; i++) {
        const struct source *by = t->above[i];
        if (slice_compare(by->lineage.from, key) <= 0 &&
            table_lineage_before(key, by->lineage.before) &&
            !is_superseded(by, key))
            return true;
    }
    return false;
}

/* ---- layers ------------------------------------------------------------- */

static int source_order(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    if (x->ranged != y->ranged)
        return x->ranged ? -1 : 1;
    return slice_compare(x->info.smallest, y->info.smallest);
}

/* Each table goes into the first layer that ends before it begins. */
static adb_status make_layers(struct sources *s)
{
    const struct source **last =
        mem_alloc((s->count + 1) * sizeof *last);
    if (!last)
        return no_memory();
    if (s->count)
        qsort(s->items, s->count, sizeof *s->items, source_order);
    for (size_t i = 0; i < s->count; i++) {
        struct source *t = &s->items[i];
        size_t layer = 0;
        while (layer < s->layers &&
               (!t->ranged || slice_compare(last[layer]->info.largest,
                                            t->info.smallest) >= 0))
            layer++;
        s->layers = MAX_OF(s->layers, layer + 1);
        last[layer] = t;
        t->layer = layer;
    }
    mem_free(last);
    return ADB_OK;
}

/* ---- reading a layer ---------------------------------------------------- */

struct layer_iter {
    struct kv_iter base;
    struct sources *sources; /* borrowed */
    size_t layer, next;      /* the source to be opened next */
    struct kv_iter *table;   /* owned */
    struct table_info known; /* of that table; borrows from its source */
};

static struct layer_iter *layer_of(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct layer_iter, base);
}

static void on_damage(void *context, const struct sst_damage *damage)
{
    const struct layer_iter *l = context;
    repair_tell_table(l->sources->r,
                      l->sources->items[l->next - 1].info.number, damage);
}

static void count_table(struct layer_iter *l)
{
    struct repair *r = l->sources->r;
    const struct source *t = &l->sources->items[l->next - 1];
    struct sst_salvaged found;
    sst_salvage_result(l->table, &found);
    if (t->context != &r->here)
        return; /* of the log */
    r->summary.tables++;
    r->summary.tables_damaged += found.pieces > 0;
    r->summary.versions_lost += found.lost;
    r->summary.stale_possible |= found.pieces > 0;
    repair_advance(r, t->info.size);
}

static adb_status open_next(struct layer_iter *l)
{
    struct sources *s = l->sources;
    struct kv_iter *table = NULL;
    if (l->table)
        count_table(l);
    kv_iter_close(l->table);
    l->table = NULL;
    while (l->next < s->count && s->items[l->next].layer != l->layer)
        l->next++;
    if (l->next == s->count)
        return ADB_NOT_FOUND;
    l->known = s->items[l->next].info;
    if (!s->items[l->next].ranged)
        l->known.smallest = l->known.largest = slice_of(NULL, 0);
    struct sst_salvage_options o = {
        .context = s->items[l->next].context,
        .info = &l->known,
        .skip_unreadable = s->r->request->skip_unreadable,
        .report = on_damage,
        .caller = l};
    l->next++;
    adb_status status = sst_salvage_new(&o, &table);
    if (status == ADB_OK) {
        l->table = table;
        table->ops->seek_first(table);
    }
    return status;
}

/* Does the table stand at an entry that counts? */
static bool at_entry(const struct layer_iter *l)
{
    const struct kv_iter *t = l->table;
    return t && t->valid &&
           !is_superseded(&l->sources->items[l->next - 1], t->key);
}

/* To the first entry at or behind the table's place. */
static void settle(struct layer_iter *l)
{
    adb_status status = ADB_OK;
    while (status == ADB_OK && !at_entry(l)) {
        if (l->table && l->table->valid) {
            kv_iter_next(l->table);
            continue;
        }
        status = l->table ? kv_iter_status(l->table) : ADB_OK;
        if (status == ADB_OK)
            status = open_next(l);
    }
    if (status == ADB_OK) {
        struct repair *r = l->sources->r;
        iter_copy_entry(&l->base, l->table);
        r->last_seq = MAX_OF(r->last_seq, l->base.seq);
    } else if (status == ADB_NOT_FOUND) {
        kv_iter_end(&l->base);
    } else {
        kv_iter_fail(&l->base, status);
    }
}

static void layer_seek_first(struct kv_iter *it)
{
    settle(layer_of(it));
}

static void layer_next(struct kv_iter *it)
{
    struct layer_iter *l = layer_of(it);
    assert(it->valid);
    kv_iter_next(l->table);
    settle(l);
}

static adb_status layer_load(struct kv_iter *it)
{
    struct layer_iter *l = layer_of(it);
    adb_status status = kv_iter_load(l->table);
    if (status == ADB_OK)
        it->value = l->table->value;
    return status;
}

static adb_status layer_read_value(struct kv_iter *it, uint64_t offset,
                                   void *data, size_t size)
{
    struct kv_iter *table = layer_of(it)->table;
    return table->ops->read_value(table, offset, data, size);
}

static void layer_close(struct kv_iter *it)
{
    struct layer_iter *l = layer_of(it);
    kv_iter_close(l->table);
    mem_free(it->error);
    mem_free(l);
}

static struct kv_iter *layer_new(struct sources *s, size_t layer)
{
    static const struct kv_iter_ops ops = {
        .seek_first = layer_seek_first,
        .next = layer_next,
        .load = layer_load,
        .read_value = layer_read_value,
        .close = layer_close,
    };
    struct layer_iter *l = mem_zalloc(sizeof *l);
    if (!l)
        return NULL;
    l->base.ops = &ops;
    l->sources = s;
    l->layer = layer;
    return &l->base;
}

static adb_status open_all(struct sources *s, struct kv_iter **out)
{
    struct kv_iter **layers = mem_alloc((s->layers + 1) * sizeof *layers);
    size_t count = 0;
    if (!layers)
        return no_memory();
    while (count < s->layers && (layers[count] = layer_new(s, count)))
        count++;
    struct kv_iter *merged =
        count == s->layers ? merge_iter_new(layers, count) : NULL;
    if (count < s->layers)
        while (count > 0)
            kv_iter_close(layers[--count]);
    mem_free(layers);
    *out = merged;
    return merged ? ADB_OK : no_memory();
}

/* ---- one run ------------------------------------------------------------ */

static adb_status write_run(struct repair *r, struct kv_iter *source)
{
    struct run_tables run = {0};
    struct run_job job = {.source = source,
                          .bottom = true,
                          .max_table_bytes = r->options.table_size,
                          /* Whatever was there before is in them. */
                          .lineage = {.through = r->last_seq,
                                      .below = r->next_file},
                          .new_file = repair_new_file,
                          .context = r};
    struct table_place place = {PICKER_BOTTOM_LEVEL, TABLE_FIRST_RUN};
    repair_table_options(r, &job.table);
    adb_status status = run_build(&job, &run);
    for (size_t i = 0; i < run.count && status == ADB_OK; i++)
        status = version_edit_add_table(&r->edit, place, &run.tables[i]);
    run_tables_deinit(&run);
    return status;
}

static adb_status look_through(struct kv_iter *source)
{
    source->ops->seek_first(source);
    while (source->valid)
        kv_iter_next(source);
    return kv_iter_status(source);
}

/* The log's tables have been merged; only what is brought stays. */
static adb_status forget_log_tables(struct repair *r, const struct sources *s)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < s->count && status == ADB_OK; i++) {
        if (s->items[i].context != &r->staged)
            continue;
        uint64_t number = s->items[i].info.number;
        file_table_forget(r->staged_files, number);
        char *path = sst_path(r->stage, number);
        status = path ? env_unlink(r->env, path) : no_memory();
        mem_free(path);
    }
    return status;
}

static adb_status merge_all(struct sources *s)
{
    struct repair *r = s->r;
    struct kv_iter *source;
    adb_status status = make_layers(s);
    if (status == ADB_OK)
        status = find_above(s);
    if (status == ADB_OK)
        status = open_all(s, &source);
    if (status != ADB_OK)
        return status;
    status = r->request->dry_run ? look_through(source)
                                 : write_run(r, source);
    kv_iter_close(source);
    return status == ADB_OK ? forget_log_tables(r, s) : status;
}

static adb_status list_all(struct repair *r)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->tables.count && status == ADB_OK; i++)
        status = repair_add_table_name(&r->away, r->tables.items[i]);
    for (size_t i = 0; i < r->logs.count && status == ADB_OK; i++)
        status = repair_add_log_name(&r->away, r->logs.items[i]);
    for (size_t i = 0; i < r->manifests.count && status == ADB_OK; i++)
        status = repair_add_manifest_name(&r->away, r->manifests.items[i]);
    if (status == ADB_OK && r->has_current)
        status = repair_add_name(&r->away, NAME_CURRENT_TEXT);
    return status;
}

adb_status repair_rebuild(struct repair *r)
{
    struct sources s = {.r = r};
    r->next_run = TABLE_FIRST_RUN + 1;
    r->edit.database = r->facts.database;
    tell_missing(r);
    adb_status status = add_tables(&s);
    if (status == ADB_OK)
        tell_all_silent(&s);
    if (status == ADB_OK)
        status = add_log(&s);
    if (status == ADB_OK)
        status = merge_all(&s);
    sources_deinit(&s);
    return status == ADB_OK ? list_all(r) : status;
}
