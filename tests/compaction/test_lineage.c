/*
 * What the tables of a merge say of older files, plan by plan. Tables are one
 * letter a key; their numbers are those of their places in the setup, from 1.
 */
#include "support/table_store.h"

#include "compaction/compaction.h"

enum { MAKING = 900, NEXT = 1000 };

static uint64_t new_file(void *context)
{
    return store_new_file(context);
}

/* keys: lower case is a value, upper case the deletion of the same key. */
static void add(struct store *s, struct version_edit *edit, uint32_t level,
                uint64_t run, const char *keys)
{
    static uint64_t seq = 1;
    struct version_text v[16];
    size_t count = strlen(keys);
    struct table_info info;
    struct sst_writer *writer;
    for (size_t i = 0; i < count; i++) {
        bool deletion = keys[i] < 'a';
        v[i] = (struct version_text){.key = {(char)(keys[i] | 0x20)},
                                     .seq = seq++,
                                     .kind = deletion ? KV_DELETE : KV_PUT,
                                     .value_size = deletion ? 0 : 10};
    }
    struct vector_iter *it = vector_iter_new(v, count);
    struct sst_writer_options o = store_table_options(s);
    o.number = store_new_file(s);
    check(sst_writer_open(&o, &writer));
    it->base.ops->seek_first(&it->base);
    for (size_t i = 0; i < count; i++) {
        check(sst_writer_add(writer, &it->base));
        kv_iter_next(&it->base);
    }
    kv_iter_close(&it->base);
    check(sst_writer_finish(writer, &info));
    check(version_edit_add_table(edit, (struct table_place){level, run},
                                 &info));
    table_info_deinit(&info);
}

struct plan {
    struct picker_source sources[4];
    size_t count;
    bool bottom;
    const char *cut; /* NULL: none */
};

/* Merges and applies. Files to be are numbered from NEXT on. */
static void merge(struct store *s, const struct plan *p)
{
    adb_slice cut = p->cut ? slice_of_string(p->cut) : slice_of(NULL, 0);
    const struct picker_source *oldest = &p->sources[p->count - 1];
    const struct version_run *run = &s->version->runs[oldest->run_index];
    struct picker_plan plan = {.kind = PICKER_MERGE,
                               .sources = (struct picker_source *)p->sources,
                               .source_count = p->count,
                               .output_level = run->level,
                               .output_run = run->run,
                               .output_bottom = p->bottom,
                               .cuts = &cut,
                               .cut_count = p->cut != NULL};
    const uint64_t making[] = {MAKING};
    s->next_file = MAX_OF(s->next_file, (uint64_t)NEXT);
    struct compaction_job job = {.env = s->env,
                                 .directory = store_directory,
                                 .table = store_table_options(s),
                                 .version = s->version,
                                 .plan = &plan,
                                 .next_file = s->next_file,
                                 .making = making,
                                 .making_count = 1,
                                 .new_file = new_file,
                                 .context = s};
    struct compaction_result result;
    struct version_edit edit = {0};
    check(compaction_run(&job, &edit, &result));
    store_apply(s, &edit);
}

/* "from before except ..."; before "k+": the key behind k. */
static void expect(struct store *s, size_t run, size_t table,
                   const char *expected)
{
    struct sst_reader *r;
    char text[200], before[8];
    check(version_table_reader(s->version->runs[run].tables[table], &r));
    const struct table_lineage *l = sst_reader_lineage(r);
    if (!l->below) {
        snprintf(text, sizeof text, "nothing");
    } else {
        bool behind = l->before.size == 2;
        snprintf(before, sizeof before, "%.1s%s",
                 (const char *)l->before.data, behind ? "+" : "");
        int n = snprintf(text, sizeof text, "%.*s %s", (int)l->from.size,
                         (const char *)l->from.data, before);
        for (size_t i = 0; i < l->except_count; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, " %llu",
                          (unsigned long long)l->except[i]);
    }
    assert_string_equal(text, expected);
}

/* Newer tables with keys of the range are named, and what is being made; others
   and the inputs are not. */
static void test_named(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 16, 1, "bd");  /* 1 */
    add(s, &edit, 16, 1, "mn");  /* 2 */
    add(s, &edit, 16, 1, "pq");  /* 3 */
    add(s, &edit, 2, 2, "Mo");   /* 4 */
    add(s, &edit, 0, 3, "ac");   /* 5 */
    add(s, &edit, 0, 3, "ln");   /* 6 */
    add(s, &edit, 0, 3, "oz");   /* 7 */
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{1, 0, 1}, {2, 1, 1}},
                            .count = 2,
                            .bottom = true});
    expect(s, 1, 1, "m o+ 6 7 900");
    expect(s, 1, 0, "nothing");
    store_free(s);
}

/* The tables share out the range, each names what has keys of its part. */
static void test_shared_out(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 16, 1, "bdmn"); /* 1 */
    add(s, &edit, 2, 2, "Adfx");  /* 2 */
    add(s, &edit, 0, 3, "ac");    /* 3 */
    add(s, &edit, 0, 3, "gy");    /* 4 */
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{1, 0, 1}, {2, 0, 1}},
                            .count = 2,
                            .bottom = true,
                            .cut = "h"});
    expect(s, 1, 0, "a m 3 4 900");
    expect(s, 1, 1, "m x+ 4 900");
    store_free(s);
}

/* Above something older nothing is said, but what an input says goes on. */
static void test_handed_on(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 17, 1, "de"); /* 1: set aside */
    add(s, &edit, 16, 2, "cm");
    add(s, &edit, 2, 3, "Cmz");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true});
    expect(s, 0, 0, "c z+ 1 900");
    add(s, &edit, 0, 4, "bx");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}}, .count = 2});
    assert_int_equal(s->version->run_count, 2);
    expect(s, 0, 0, "c z+ 1 900");
    store_free(s);
}

/* What loses its last keys keeps the range all the same. */
static void test_range_stays(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 16, 1, "abmyz");
    add(s, &edit, 2, 2, "ABYZ");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true});
    assert_int_equal(s->version->runs[0].tables[0]->info.entries, 1);
    expect(s, 0, 0, "a z+ 900");
    add(s, &edit, 2, 3, "M");
    add(s, &edit, 2, 3, "n");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 2}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true});
    expect(s, 0, 0, "a z+ 900");
    store_free(s);
}

/* Where nothing is left behind a cut the table before it has the rest. */
static void test_nothing_behind_cut(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 16, 1, "abmn");
    add(s, &edit, 2, 2, "AMN");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true,
                            .cut = "h"});
    assert_int_equal(s->version->table_count, 1);
    expect(s, 0, 0, "a n+ 900");
    store_free(s);
}

/* Nothing is left but a tombstone that says so. */
static void test_nothing_left(void **state)
{
    (void)state;
    struct store *s = store_new();
    struct version_edit edit = {0};
    add(s, &edit, 16, 1, "abc");
    add(s, &edit, 2, 2, "ABC");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true});
    assert_int_equal(s->version->table_count, 1);
    const struct table_info *info = &s->version->runs[0].tables[0]->info;
    assert_int_equal(info->entries, 1);
    assert_int_equal(info->tombstones, 1);
    assert_true(slice_equal(info->smallest, slice_of_string("c")));
    expect(s, 0, 0, "a c+ 900");
    add(s, &edit, 2, 3, "d");
    store_apply(s, &edit);
    merge(s, &(struct plan){.sources = {{0, 0, 1}, {1, 0, 1}},
                            .count = 2,
                            .bottom = true});
    assert_int_equal(s->version->tombstones, 0);
    expect(s, 0, 0, "a d+ 900");
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),        cmocka_unit_test(test_shared_out),
        cmocka_unit_test(test_handed_on),    cmocka_unit_test(test_range_stays),
        cmocka_unit_test(test_nothing_behind_cut),
        cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
