/* Versions: building, finding, checking, sharing; edits that do not fit. */
#include "version_support.h"

struct bench {
    struct table_owner owner;
    struct version *version;
};

static void bench_init(struct bench *b)
{
    table_owner_init(&b->owner, NULL);
    b->version = version_new_empty();
}

static void bench_deinit(struct bench *b)
{
    version_unref(b->version);
    table_owner_deinit(&b->owner);
}

/* Applies and deinits e. */
static adb_status bench_apply(struct bench *b, struct version_edit *e)
{
    struct version_step step;
    adb_status status = version_build(b->version, e, &b->owner, &step);
    version_edit_deinit(e);
    if (status != ADB_OK)
        return status;
    assert_ok(version_check(step.next));
    version_unref(b->version);
    b->version = version_ref(step.next);
    for (size_t i = 0; i < step.dropped_count; i++)
        atomic_store(&step.dropped[i]->obsolete, true);
    version_step_deinit(&step);
    return ADB_OK;
}

/* Keys of a few bytes with many equal 8-byte heads. */
static size_t random_key(struct random *r, char *key)
{
    size_t prefix = random_below(r, 3) ? 9 : 0;
    size_t size = prefix + random_below(r, 4);
    memset(key, 'p', prefix);
    for (size_t i = prefix; i < size; i++)
        key[i] = (char)('a' + random_below(r, 4));
    return size;
}

static void expect_lookup(const struct version_run *run, adb_slice key)
{
    size_t lower = 0;
    while (lower < run->count &&
           slice_compare(run->tables[lower]->info.largest, key) < 0)
        lower++;
    assert_int_equal(version_run_lower(run, key), lower);
    struct version_table *t = version_run_find(run, key);
    if (lower < run->count &&
        slice_compare(run->tables[lower]->info.smallest, key) <= 0)
        assert_ptr_equal(t, run->tables[lower]);
    else
        assert_null(t);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void test_find(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, test_seed());
    for (int round = 0; round < 300; round++) {
        struct bench b;
        struct version_edit e = {0};
        char *keys[40];
        size_t count = 2 * (1 + random_below(&r, 20)), used = 0;
        bench_init(&b);
        for (size_t i = 0; i < count; i++) {
            keys[i] = calloc(1, 16);
            random_key(&r, keys[i]);
        }
        qsort(keys, count, sizeof *keys, compare_text);
        for (size_t i = 0; i < count; i++) /* distinct ones */
            if (!used || strcmp(keys[used - 1], keys[i]) != 0) {
                char *swap = keys[used];
                keys[used++] = keys[i];
                keys[i] = swap;
            }
        for (size_t i = 0; i + 1 < used; i += 2)
            add_invented(&e, i + 1, 0, 1, keys[i], keys[i + 1]);
        if (e.added_count) {
            assert_ok(bench_apply(&b, &e));
            for (int probe = 0; probe < 100; probe++) {
                char key[16];
                size_t size = random_key(&r, key);
                expect_lookup(&b.version->runs[0], slice_of(key, size));
            }
            for (size_t i = 0; i < used; i++)
                expect_lookup(&b.version->runs[0], slice_of_string(keys[i]));
        }
        for (size_t i = 0; i < count; i++)
            free(keys[i]);
        bench_deinit(&b);
    }
}

/* Unchanged runs are shared; obsolete tables come up when released. */
static void test_sharing(void **state)
{
    (void)state;
    struct bench b;
    struct version_edit e = {0};
    uint64_t numbers[4];
    bench_init(&b);
    add_invented(&e, 1, 1, 1, "a", "k");
    add_invented(&e, 2, 1, 1, "l", "z");
    add_invented(&e, 3, 0, 2, "c", "m");
    assert_ok(bench_apply(&b, &e));
    struct version *old = version_ref(b.version);
    assert_ok(version_edit_remove_table(&e, 3));
    add_invented(&e, 4, 0, 3, "d", "e");
    assert_ok(bench_apply(&b, &e));
    assert_int_equal(b.version->run_count, 2);
    assert_int_equal(b.version->runs[0].run, 3);
    assert_ptr_equal(b.version->runs[1].block, old->runs[1].block);
    assert_int_equal(table_owner_take_obsolete(&b.owner, numbers, 4), 0);
    version_unref(old);
    assert_int_equal(table_owner_take_obsolete(&b.owner, numbers, 4), 1);
    assert_int_equal(numbers[0], 3);
    assert_int_equal(table_owner_take_obsolete(&b.owner, numbers, 4), 0);

    /* Into the middle of a run, and from one run to another. */
    assert_ok(version_edit_remove_table(&e, 1));
    assert_ok(version_edit_move_table(&e, 4, (struct table_place){1, 1}));
    add_invented(&e, 5, 1, 1, "f", "g");
    assert_ok(bench_apply(&b, &e));
    struct buffer text = {0};
    describe_version(b.version, &text);
    assert_ok(buffer_append(&text, "", 1));
    assert_string_equal((char *)text.data, "L1 R1: 4[d-e] 5[f-g] 2[l-z]\n");
    buffer_deinit(&text);
    bench_deinit(&b);
}

static void expect_misfit(struct bench *b, struct version_edit *e)
{
    struct version *before = b->version;
    assert_int_equal(bench_apply(b, e), ADB_INVALID);
    assert_ptr_equal(b->version, before);
}

static void test_misfits(void **state)
{
    (void)state;
    struct bench b;
    struct version_edit e = {0};
    bench_init(&b);
    add_invented(&e, 1, 1, 5, "b", "k");
    add_invented(&e, 2, 1, 5, "m", "z");
    assert_ok(bench_apply(&b, &e));

    assert_ok(version_edit_remove_table(&e, 9)); /* not there */
    expect_misfit(&b, &e);
    assert_ok(version_edit_move_table(&e, 9, (struct table_place){1, 5}));
    expect_misfit(&b, &e);
    add_invented(&e, 1, 0, 6, "b", "c"); /* there already */
    expect_misfit(&b, &e);
    add_invented(&e, 3, 1, 5, "k", "l"); /* touches table 1 */
    expect_misfit(&b, &e);
    add_invented(&e, 3, 0, 5, "0", "1"); /* the run lies at level 1 */
    expect_misfit(&b, &e);
    add_invented(&e, 3, 2, 6, "0", "1"); /* newer, yet deeper */
    expect_misfit(&b, &e);
    assert_ok(version_edit_remove_table(&e, 1));
    assert_ok(version_edit_remove_table(&e, 1)); /* twice */
    expect_misfit(&b, &e);
    add_invented(&e, 3, 1, 5, "k1", "l"); /* fits */
    assert_ok(bench_apply(&b, &e));
    bench_deinit(&b);
}

static void expect_text(const struct bench *b, const char *expected)
{
    struct buffer text = {0};
    describe_version(b->version, &text);
    assert_ok(buffer_append(&text, "", 1));
    assert_string_equal((char *)text.data, expected);
    buffer_deinit(&text);
}

static void test_quarantine(void **state)
{
    (void)state;
    struct bench b;
    struct version_edit e = {0};
    bench_init(&b);
    add_invented(&e, 1, 1, 5, "b", "k");
    add_invented(&e, 2, 1, 5, "m", "z");
    add_quarantined(&e, 2, 70, "n", "o");
    assert_ok(bench_apply(&b, &e));
    add_quarantined(&e, 1, 8, "b", "c");
    assert_ok(bench_apply(&b, &e));
    struct version *old = version_ref(b.version);
    assert_int_equal(version_quarantined_count(old), 2);
    assert_int_equal(version_quarantined(old, 2)->offset, 70);
    assert_null(version_quarantined(old, 3));

    /* It goes where the table goes; what is said last holds. */
    assert_ok(version_edit_move_table(&e, 1, (struct table_place){2, 4}));
    add_quarantined(&e, 1, 9, "e", "f");
    assert_ok(bench_apply(&b, &e));
    expect_text(&b, "L1 R5: 2[m-z]\nL2 R4: 1[b-k]\n"
                    "damaged 1 at 9 [e-f]\ndamaged 2 at 70 [n-o]\n");
    /* It ends with the table, or when that is said. */
    assert_ok(version_edit_remove_table(&e, 2));
    assert_ok(bench_apply(&b, &e));
    assert_ok(version_edit_release(&e, 1));
    assert_ok(bench_apply(&b, &e));
    expect_text(&b, "L2 R4: 1[b-k]\n");
    assert_null(b.version->quarantine);
    assert_int_equal(version_quarantined(old, 1)->offset, 8);
    version_unref(old);

    add_quarantined(&e, 2, 1, "", ""); /* not there any more */
    expect_misfit(&b, &e);
    assert_ok(version_edit_release(&e, 1)); /* not in quarantine */
    expect_misfit(&b, &e);
    assert_ok(version_edit_remove_table(&e, 1));
    add_quarantined(&e, 1, 1, "", "");
    expect_misfit(&b, &e);
    bench_deinit(&b);
}

static void test_check(void **state)
{
    (void)state;
    struct bench b;
    struct version_edit e = {0};
    bench_init(&b);
    add_invented(&e, 1, 1, 1, "b", "k");
    add_invented(&e, 2, 0, 2, "c", "z");
    assert_ok(bench_apply(&b, &e));
    struct version *v = b.version;
    struct table_info *newer = &v->runs[0].tables[0]->info;
    newer->min_seq = 1;
    newer->max_seq = 2; /* wholly older than the older run */
    assert_int_equal(version_check(v), ADB_INVALID);
    newer->max_seq = 150;
    assert_ok(version_check(v));
    v->bytes++;
    assert_int_equal(version_check(v), ADB_INVALID);
    v->bytes--;
    v->runs[1].last_heads[0]++;
    assert_int_equal(version_check(v), ADB_INVALID);
    v->runs[1].last_heads[0]--;
    assert_ok(version_check(v));
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
