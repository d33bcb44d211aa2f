/*
 * Compaction: random runs are merged step by step into one, and after each
 * step every snapshot sees what it saw before. Then: every call to the disk
 * fails once, every allocation, inputs are damaged, jobs are cancelled.
 */
#include "support/table_store.h"

#include <errno.h>

#include "compaction/compaction.h"

enum { MAX_SNAPSHOTS = 5 };

struct world {
    struct store *store;
    struct random random;
    uint64_t snapshots[MAX_SNAPSHOTS];
    size_t snapshot_count;
    int cancel_after; /* calls of cancelled; < 0: never */
    uint64_t progress, last_progress;
    bool progress_fell;
};

static uint64_t new_file(void *context)
{
    return store_new_file(((struct world *)context)->store);
}

static int cancelled(void *context)
{
    struct world *w = context;
    return w->cancel_after >= 0 && w->cancel_after-- == 0;
}

static void progress(void *context, uint64_t bytes)
{
    struct world *w = context;
    w->progress_fell |= bytes < w->last_progress;
    w->last_progress = bytes;
}

/* One run from sorted versions, cut into tables of about per_table entries. */
static void write_run(struct store *s, const struct version_text *v,
                      size_t count, size_t per_table, struct table_place place,
                      struct version_edit *edit)
{
    struct vector_iter *it = vector_iter_new(v, count);
    struct sst_writer *writer = NULL;
    size_t in_table = 0;
    it->base.ops->seek_first(&it->base);
    for (size_t i = 0; i < count; i++) {
        struct table_info info = {0};
        if (!writer) {
            struct sst_writer_options o = store_table_options(s);
            o.number = store_new_file(s);
            check(sst_writer_open(&o, &writer));
            in_table = 0;
        }
        check(sst_writer_add(writer, &it->base));
        kv_iter_next(&it->base);
        bool last = i + 1 == count;
        if (!last && (++in_table < per_table ||
                      strcmp(v[i].key, v[i + 1].key) == 0))
            continue;
        check(sst_writer_finish(writer, &info));
        writer = NULL;
        check(version_edit_add_table(edit, place, &info));
        table_info_deinit(&info);
    }
    kv_iter_close(&it->base);
}

/* Runs with ascending ages, the newest with the highest sequences. */
static void make_runs(struct world *w, size_t runs, size_t entries,
                      size_t keys)
{
    struct store *s = w->store;
    struct version_edit edit = {0};
    uint64_t seq = 1;
    for (size_t r = 0; r < runs; r++) {
        size_t count = 1 + random_below(&w->random, entries);
        struct version_text *v =
            store_random_versions(s, &w->random, count, keys, seq);
        struct table_place place = {(uint32_t)(runs - 1 - r), 100 + r};
        qsort(v, count, sizeof *v, version_order);
        write_run(s, v, count, 1 + random_below(&w->random, count), place,
                  &edit);
        seq += count;
    }
    store_sort_model(s);
    store_apply(s, &edit);
    w->snapshot_count = random_below(&w->random, MAX_SNAPSHOTS + 1);
    uint64_t at = 0;
    for (size_t i = 0; i < w->snapshot_count; i++)
        w->snapshots[i] = at += random_below(&w->random, seq / 3 + 1);
}

static struct world *world_new(uint64_t seed, size_t runs, size_t entries,
                               size_t keys)
{
    struct world *w = calloc(1, sizeof *w);
    random_seed(&w->random, seed);
    w->store = store_new();
    w->cancel_after = -1;
    make_runs(w, runs, entries, keys);
    return w;
}

static void world_free(struct world *w)
{
    store_free(w->store);
    free(w);
}

static struct compaction_job make_job(struct world *w,
                                      const struct picker_plan *plan)
{
    struct compaction_job job = {
        .env = w->store->env,
        .directory = store_directory,
        .table = store_table_options(w->store),
        .version = w->store->version,
        .plan = plan,
        .snapshots = w->snapshots,
        .snapshot_count = w->snapshot_count,
        .new_file = new_file,
        .cancelled = cancelled,
        .progress = progress,
        .context = w,
    };
    return job;
}

/* ---- plans ---- */

/* Runs from .. to (indices, newest first), or of each the tables that overlap
   a growing range of keys around one table. */
static void widen(const struct version_run *run, adb_slice *low,
                  adb_slice *high, bool *grown)
{
    for (size_t t = 0; t < run->count; t++) {
        const struct table_info *info = &run->tables[t]->info;
        if (slice_compare(info->largest, *low) < 0 ||
            slice_compare(info->smallest, *high) > 0)
            continue;
        if (slice_compare(info->smallest, *low) < 0) {
            *low = info->smallest;
            *grown = true;
        }
        if (slice_compare(info->largest, *high) > 0) {
            *high = info->largest;
            *grown = true;
        }
    }
}

static void select_tables(const struct version_run *run, adb_slice low,
                          adb_slice high, size_t index,
                          struct picker_plan *plan)
{
    struct picker_source source = {.run_index = index};
    for (size_t t = 0; t < run->count; t++) {
        const struct table_info *info = &run->tables[t]->info;
        if (slice_compare(info->largest, low) < 0 ||
            slice_compare(info->smallest, high) > 0)
            continue;
        if (source.count++ == 0)
            source.first = t;
    }
    if (source.count)
        plan->sources[plan->source_count++] = source;
}

struct plan_memory {
    struct picker_source sources[16];
    adb_slice cuts[8];
    char cut_text[8][16];
};

static struct picker_plan make_plan(struct world *w, struct plan_memory *m,
                                    size_t from, size_t to, bool slice)
{
    const struct version *v = w->store->version;
    const struct version_run *last = &v->runs[to];
    const struct table_info *seed =
        &last->tables[random_below(&w->random, last->count)]->info;
    adb_slice low = slice ? seed->smallest : slice_of("", 0);
    adb_slice high = slice ? seed->largest : slice_of_string("\xff");
    struct picker_plan plan = {.kind = PICKER_MERGE, .sources = m->sources};
    for (bool grown = true; grown;) {
        grown = false;
        for (size_t i = from; i <= to; i++)
            widen(&v->runs[i], &low, &high, &grown);
    }
    for (size_t i = from; i <= to; i++)
        select_tables(&v->runs[i], low, high, i, &plan);
    plan.output_run = last->run;
    plan.output_level = last->level;
    plan.output_bottom = to + 1 == v->run_count;
    if (random_below(&w->random, 2))
        plan.table_bytes = 1000 + random_below(&w->random, 20000);
    for (size_t i = random_below(&w->random, 8); i > 0; i--) {
        sprintf(m->cut_text[plan.cut_count], "k%03zu", 90 - 10 * i);
        m->cuts[plan.cut_count] = slice_of_string(m->cut_text[plan.cut_count]);
        plan.cut_count++;
    }
    plan.cuts = m->cuts;
    return plan;
}

static struct picker_plan random_plan(struct world *w, struct plan_memory *m)
{
    size_t runs = w->store->version->run_count;
    size_t to = random_below(&w->random, runs);
    size_t from = random_below(&w->random, to + 1);
    return make_plan(w, m, from, to, random_below(&w->random, 2));
}

static struct picker_plan whole_plan(struct world *w, struct plan_memory *m)
{
    return make_plan(w, m, 0, w->store->version->run_count - 1, false);
}

/* ---- checks ---- */

static void check_result(const struct compaction_job *job,
                         const struct version_edit *edit,
                         const struct compaction_result *r)
{
    uint64_t bytes = 0, entries = 0, above = 0;
    for (size_t i = 0; i < edit->added_count; i++) {
        bytes += edit->added[i].info.size;
        entries += edit->added[i].info.entries;
    }
    for (size_t i = 0; i < job->plan->source_count; i++) {
        const struct picker_source *from = &job->plan->sources[i];
        const struct version_run *run = &job->version->runs[from->run_index];
        for (size_t t = from->first; t < from->first + from->count; t++)
            if (run->level != PICKER_BOTTOM_LEVEL)
                above += run->tables[t]->info.entries;
    }
    assert_int_equal(r->entries_above, above);
    assert_int_equal(r->tables_out, edit->added_count);
    assert_int_equal(r->tables_in, edit->removed_count);
    assert_int_equal(r->bytes_out, bytes);
    assert_int_equal(r->entries_out, entries);
    assert_int_equal(r->entries_in, entries + r->shadowed_dropped +
                                        r->tombstones_dropped);
    assert_true(r->bytes_in > 0 && !r->moved);
}

/* No table spans a cut. */
static void check_cuts(const struct version_edit *edit,
                       const struct picker_plan *plan)
{
    for (size_t i = 0; i < edit->added_count; i++) {
        const struct table_info *info = &edit->added[i].info;
        assert_int_equal(edit->added[i].place.run, plan->output_run);
        assert_int_equal(edit->added[i].place.level, plan->output_level);
        for (size_t c = 0; c < plan->cut_count; c++)
            assert_true(slice_compare(info->largest, plan->cuts[c]) < 0 ||
                        slice_compare(info->smallest, plan->cuts[c]) >= 0);
    }
}

static void compact_once(struct world *w, const struct picker_plan *plan)
{
    struct compaction_job job = make_job(w, plan);
    struct compaction_result result;
    struct version_edit edit = {0};
    w->last_progress = 0;
    check(env_sync_dir(w->store->env, store_directory));
    check(compaction_run(&job, &edit, &result));
    assert_int_equal(env_memory_pending(w->store->disk), 0);
    assert_false(w->progress_fell);
    assert_true(w->last_progress <= result.bytes_in);
    check_result(&job, &edit, &result);
    check_cuts(&edit, plan);
    store_apply(w->store, &edit);
    store_check_files(w->store);
    store_check_order(w->store);
    store_check(w->store, w->snapshots, w->snapshot_count);
}

/* Everything in one bottom run: nothing is kept that nobody sees. */
static void check_minimal(struct world *w)
{
    struct store *s = w->store;
    size_t kept = store_check_order(s), needed = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct version_text *v = &s->model[i];
        bool newest = i == 0 || strcmp(v[-1].key, v->key) != 0;
        uint64_t below = newest ? KV_MAX_SEQ + 1 : v[-1].seq;
        bool seen = newest, older = false;
        for (size_t n = 0; n < w->snapshot_count; n++) {
            seen |= w->snapshots[n] >= v->seq && w->snapshots[n] < below;
            older |= w->snapshots[n] < v->seq;
        }
        needed += seen && (v->kind == KV_PUT || older);
    }
    assert_int_equal(kept, needed);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *w =
            world_new(seed, 2 + seed % 6, 30 + seed * 5, 5 + seed * 3);
        struct plan_memory m;
        store_check(w->store, w->snapshots, w->snapshot_count);
        for (int step = 0; step < 6 && w->store->version->run_count; step++) {
            struct picker_plan plan = random_plan(w, &m);
            compact_once(w, &plan);
        }
        if (w->store->version->run_count) {
            struct picker_plan plan = whole_plan(w, &m);
            compact_once(w, &plan);
            check_minimal(w);
        }
        /* Snapshots gone: only what is newest, with sequence 0. */
        w->snapshot_count = 0;
        if (w->store->version->run_count) {
            struct picker_plan plan = whole_plan(w, &m);
            compact_once(w, &plan);
            check_minimal(w);
            for (size_t r = 0; r < w->store->version->run_count; r++)
                for (size_t t = 0; t < w->store->version->runs[r].count; t++)
                    assert_int_equal(
                        w->store->version->runs[r].tables[t]->info.max_seq, 0);
        }
        world_free(w);
    }
}

/* A key deleted everywhere leaves no table. */
static void test_nothing_survives(void **state)
{
    (void)state;
    struct world *w = calloc(1, sizeof *w);
    struct version_text old[] = {{"a", 1, KV_PUT, 10}, {"b", 2, KV_PUT, 10}};
    struct version_text new[] = {{"a", 3, KV_DELETE, 0},
                                 {"b", 4, KV_DELETE, 0}};
    struct version_edit edit = {0};
    struct plan_memory m;
    random_seed(&w->random, 1);
    w->store = store_new();
    w->cancel_after = -1;
    write_run(w->store, old, 2, 1,
              (struct table_place){PICKER_BOTTOM_LEVEL, 1}, &edit);
    write_run(w->store, new, 2, 1, (struct table_place){0, 2}, &edit);
    store_apply(w->store, &edit);
    struct picker_plan plan = whole_plan(w, &m);
    compact_once(w, &plan);
    assert_int_equal(w->store->version->table_count, 0);
    world_free(w);
}

static void test_move(void **state)
{
    (void)state;
    struct world *w = world_new(7, 2, 50, 20);
    const struct version_run *run = &w->store->version->runs[1];
    struct picker_source source = {1, 0, run->count};
    struct picker_plan plan = {.kind = PICKER_MOVE,
                               .sources = &source,
                               .source_count = 1,
                               .output_level = 9,
                               .output_run = run->run};
    struct compaction_job job = make_job(w, &plan);
    struct compaction_result result;
    struct version_edit edit = {0};
    check(compaction_run(&job, &edit, &result));
    assert_true(result.moved);
    assert_int_equal(result.bytes_out, 0);
    assert_int_equal(edit.moved_count, run->count);
    store_apply(w->store, &edit);
    assert_int_equal(w->store->version->runs[1].level, 9);
    store_check(w->store, w->snapshots, w->snapshot_count);
    /* Whole runs keep their numbers. */
    source = (struct picker_source){0, 0, w->store->version->runs[0].count};
    uint64_t number = w->store->version->runs[0].run;
    plan.keep_runs = true;
    plan.output_run = 0;
    job.version = w->store->version;
    check(compaction_run(&job, &edit, &result));
    store_apply(w->store, &edit);
    assert_int_equal(w->store->version->runs[0].run, number);
    assert_int_equal(w->store->version->runs[0].level, 9);
    store_check_files(w->store);
    world_free(w);
}

static void test_cancel(void **state)
{
    (void)state;
    struct world *w = world_new(11, 3, 900, 300);
    struct plan_memory m;
    struct picker_plan plan = whole_plan(w, &m);
    struct compaction_job job = make_job(w, &plan);
    for (int n = 0;; n++) {
        struct version_edit edit = {0};
        struct compaction_result result;
        w->cancel_after = n;
        adb_status status = compaction_run(&job, &edit, &result);
        if (status == ADB_OK) {
            assert_true(n >= 4); /* it was asked now and then */
            store_apply(w->store, &edit);
            break;
        }
        assert_int_equal(status, ADB_CLOSED);
        assert_true(edit_is_empty(&edit));
        version_edit_deinit(&edit);
        store_check_files(w->store);
    }
    w->cancel_after = -1;
    store_check(w->store, w->snapshots, w->snapshot_count);
    world_free(w);
}

/* Nothing of a failed job remains. Its edit held something before. */
static void check_failed(struct world *w, const struct version_edit *edit)
{
    assert_int_equal(edit->added_count, 0);
    assert_int_equal(edit->removed_count, 1);
    assert_int_equal(edit->moved_count, 0);
    store_check_files(w->store);
}

/* True when the nth call to the disk failed the job; *hit: it was made. */
static bool fails_at(uint64_t nth, bool *hit)
{
    struct world *w = world_new(21, 3, 120, 60);
    struct plan_memory m;
    struct picker_plan plan = whole_plan(w, &m);
    struct compaction_job job = make_job(w, &plan);
    struct env_fault_rule rule = {
        .operations = ENV_FAULT_ANY & ~(unsigned)ENV_FAULT_UNLINK,
        .skip = nth,
        .count = 1,
        .error = nth % 2 ? EIO : ENOSPC};
    struct version_edit edit = {0};
    struct compaction_result result;
    check(version_edit_remove_table(&edit, 999));
    env_fault_set(w->store->env, &rule);
    adb_status status = compaction_run(&job, &edit, &result);
    *hit = env_fault_hits(w->store->env) > 0;
    env_fault_set(w->store->env, NULL);
    if (status != ADB_OK) {
        assert_true(*hit);
        /* What could not be read is not damaged. */
        assert_int_equal(status, nth % 2 ? ADB_IO : ADB_NO_SPACE);
        assert_non_null(strstr(status_message(), store_directory));
        check_failed(w, &edit);
        version_edit_deinit(&edit);
    } else {
        /* A failure that harms nothing, as of closing what was read. */
        edit.removed[0] = edit.removed[--edit.removed_count];
        store_apply(w->store, &edit);
    }
    store_check(w->store, w->snapshots, w->snapshot_count);
    world_free(w);
    return status != ADB_OK;
}

static void test_disk_faults(void **state)
{
    (void)state;
    size_t failures = 0;
    bool hit = true;
    for (uint64_t nth = 0; hit; nth++)
        failures += fails_at(nth, &hit);
    assert_true(failures > 10);
}

static int fail_rest(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- <= 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct world *w = world_new(31, 3, 60, 30);
    struct plan_memory m;
    struct picker_plan plan = whole_plan(w, &m);
    struct compaction_job job = make_job(w, &plan);
    for (int nth = 0;; nth++) {
        struct version_edit edit = {0};
        struct compaction_result result;
        check(version_edit_remove_table(&edit, 999));
        int left = nth;
        mem_set_fail_hook(fail_rest, &left);
        adb_status status = compaction_run(&job, &edit, &result);
        mem_set_fail_hook(NULL, NULL);
        if (status == ADB_OK) {
            version_edit_deinit(&edit);
            break;
        }
        assert_int_equal(status, ADB_NO_MEMORY);
        assert_int_equal(edit.added_count, 0);
        assert_int_equal(edit.removed_count, 1);
        version_edit_deinit(&edit);
    }
    world_free(w);
}

/* One byte of any input is wrong: the job fails with words, or succeeds where
   the byte does not matter; then nothing is missing from what it wrote. */
static void test_damaged_input(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *w = world_new(41, 3, 80, 40);
        struct plan_memory m;
        struct picker_plan plan = whole_plan(w, &m);
        struct compaction_job job = make_job(w, &plan);
        struct version_edit edit = {0};
        struct compaction_result result;
        struct random r;
        random_seed(&r, seed);
        const struct version_run *run =
            &w->store->version->runs[random_below(&r, 3)];
        const struct table_info *info =
            &run->tables[random_below(&r, run->count)]->info;
        char *path = sst_path(store_directory, info->number);
        uint64_t offset = random_below(&r, info->size);
        struct env_file *file;
        uint8_t byte;
        check(env_open(w->store->disk, path, ENV_READ, &file));
        check(env_file_read_full(file, offset, &byte, 1));
        check(env_file_close(file));
        byte ^= (uint8_t)(1 + random_below(&r, 255));
        check(env_memory_damage(w->store->disk, path, offset, &byte, 1));
        mem_free(path);
        adb_status status = compaction_run(&job, &edit, &result);
        if (status == ADB_OK) {
            store_apply(w->store, &edit);
            store_check(w->store, w->snapshots, w->snapshot_count);
        } else {
            if (status != ADB_UNSUPPORTED)
                assert_int_equal(status, ADB_CORRUPTION);
            assert_non_null(strstr(status_message(), ".sst"));
            assert_true(edit_is_empty(&edit));
            store_check_files(w->store);
        }
        world_free(w);
    }
}

/* A table with fewer entries than the manifest says must not be replaced. */
static void test_missing_entries(void **state)
{
    (void)state;
    struct world *w = world_new(51, 2, 80, 40);
    struct plan_memory m;
    struct picker_plan plan = whole_plan(w, &m);
    struct compaction_job job = make_job(w, &plan);
    struct version_edit edit = {0};
    struct compaction_result result;
    struct version_table *table = w->store->version->runs[0].tables[0];
    struct sst_reader *reader;
    check(version_table_reader(table, &reader)); /* opened while it agrees */
    table->info.entries++;
    assert_int_equal(compaction_run(&job, &edit, &result), ADB_CORRUPTION);
    table->info.entries--;
    assert_true(edit_is_empty(&edit));
    store_check_files(w->store);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_nothing_survives),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_disk_faults),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_damaged_input),
        cmocka_unit_test(test_missing_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
