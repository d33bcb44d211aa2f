/* The iterator over a run of real tables against the sorted model. */
#include "sst/table_fixture.h"

#include "base/thread.h"
#include "version/version.h"

enum { TABLES = 5 };

struct run_fixture {
    struct fixture *f;
    struct table_owner owner;
    struct version *version; /* one run */
};

/* The model, cut between user keys into TABLES tables. */
static void write_tables(struct fixture *f, struct version_edit *e,
                         const struct sst_writer_options *options)
{
    struct model whole = f->model;
    size_t first = 0;
    for (uint64_t i = 0; i < TABLES && first < whole.count; i++) {
        size_t end =
            i + 1 == TABLES ? whole.count : whole.count * (i + 1) / TABLES;
        end = end > first ? end : first + 1;
        while (end < whole.count &&
               slice_equal(model_key(&whole.entries[end - 1]),
                           model_key(&whole.entries[end])))
            end++;
        struct sst_writer_options o = *options;
        o.number = i + 1;
        f->model.entries = whole.entries + first;
        f->model.count = end - first;
        write_model(f, &o);
        check(version_edit_add_table(e, (struct table_place){0, 1}, &f->info));
        first = end;
    }
    f->model = whole;
}

static void run_fixture_init(struct run_fixture *r, size_t keys,
                             size_t value_size, struct random *random)
{
    struct version_edit e = {0};
    struct version_step step;
    struct version *empty = version_new_empty();
    const struct sst_writer_options options = {.block_size = 4096,
                                               .filter_bits = 10};
    r->f = fixture_new(256 << 20);
    model_random(&r->f->model, random, keys, value_size);
    write_tables(r->f, &e, &options);
    fixture_context(r->f, r->f->env, 2, false);
    table_owner_init(&r->owner, &r->f->context);
    check(version_build(empty, &e, &r->owner, &step));
    r->version = version_ref(step.next);
    version_step_deinit(&step);
    version_unref(empty);
    version_edit_deinit(&e);
    assert_int_equal(r->version->run_count, 1);
    check(version_check(r->version));
}

static void run_fixture_deinit(struct run_fixture *r)
{
    version_unref(r->version);
    epoch_barrier(r->f->epoch);
    table_owner_deinit(&r->owner);
    for (uint64_t i = 1; i <= TABLES; i++) {
        char *path = sst_path(r->f->directory, i);
        unlink(path); /* a test may have removed it */
        mem_free(path);
    }
    fixture_free(r->f);
}

/* at: the model's index, or its count: none. */
static void expect_at(const struct run_fixture *r, struct kv_iter *it,
                      size_t at)
{
    check(kv_iter_status(it));
    assert_int_equal(it->valid, at < r->f->model.count);
    if (it->valid)
        expect_entry(it, &r->f->model.entries[at]);
}

static void test_walk(void **state)
{
    (void)state;
    struct random random;
    struct run_fixture r;
    uint64_t seed = 20260101;
    printf("seed: %llu\n", (unsigned long long)seed);
    random_seed(&random, seed);
    run_fixture_init(&r, 3000, 60, &random);
    const struct model *m = &r.f->model;
    struct kv_iter *it = version_run_iter(r.version, 0, 0);
    assert_non_null(it);
    size_t at = 0;
    it->ops->seek_first(it);
    for (; at < m->count; at++, kv_iter_next(it))
        expect_at(&r, it, at);
    expect_at(&r, it, m->count);
    it->ops->seek_last(it);
    for (at = m->count; at-- > 0; kv_iter_prev(it))
        expect_at(&r, it, at);
    expect_at(&r, it, m->count);

    for (int i = 0; i < 4000; i++) {
        const struct model_entry *e =
            &m->entries[random_below(&random, m->count)];
        char near[200];
        memcpy(near, e->key, e->key_size);
        near[e->key_size] = 0;
        adb_slice key = slice_of(near, e->key_size + random_below(&random, 2));
        uint64_t seq = random_below(&random, 3) ? KV_MAX_SEQ : e->seq;
        size_t lower = model_seek(m, key, seq);
        if (random_below(&random, 2)) {
            it->ops->seek(it, key, seq);
            at = lower;
        } else {
            it->ops->seek_before(it, key, seq);
            at = lower ? lower - 1 : m->count;
        }
        expect_at(&r, it, at);
        for (int j = 0; j < 6 && at < m->count; j++) {
            if (random_below(&random, 2)) {
                kv_iter_next(it);
                at++;
            } else {
                kv_iter_prev(it);
                at = at ? at - 1 : m->count;
            }
            expect_at(&r, it, at);
        }
    }
    kv_iter_close(it);
    run_fixture_deinit(&r);
}

/* Between the last version of a table's last key and the next table, from both
   sides. */
static void test_seek_between_tables(void **state)
{
    (void)state;
    struct random random;
    struct run_fixture r;
    random_seed(&random, 7);
    run_fixture_init(&r, 500, 60, &random);
    const struct version_run *run = &r.version->runs[0];
    const struct model *m = &r.f->model;
    struct kv_iter *it = version_run_iter(r.version, 0, 0);
    assert_non_null(it);
    for (size_t i = 0; i < run->count; i++) {
        adb_slice largest = run->tables[i]->info.largest;
        adb_slice smallest = run->tables[i]->info.smallest;
        it->ops->seek(it, largest, 0);
        expect_at(&r, it, model_seek(m, largest, 0));
        it->ops->seek_before(it, largest, 0);
        expect_at(&r, it, model_seek(m, largest, 0) - 1);
        size_t first = model_seek(m, smallest, KV_MAX_SEQ);
        it->ops->seek_before(it, smallest, KV_MAX_SEQ);
        expect_at(&r, it, first ? first - 1 : m->count);
    }
    kv_iter_close(it);
    run_fixture_deinit(&r);
}

/* A table that cannot be opened fails the walk that reaches it, no other. */
static void test_missing_table(void **state)
{
    (void)state;
    struct random random;
    struct run_fixture r;
    random_seed(&random, 5);
    run_fixture_init(&r, 500, 20, &random);
    const struct version_run *run = &r.version->runs[0];
    char *path = sst_path(r.f->directory, 3);
    check(env_unlink(r.f->env, path));
    mem_free(path);
    struct kv_iter *it = version_run_iter(r.version, 0, 0);
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
        ;
    assert_int_not_equal(kv_iter_status(it), ADB_OK);
    for (it->ops->seek_last(it); it->valid; kv_iter_prev(it))
        ;
    assert_int_not_equal(kv_iter_status(it), ADB_OK);
    it->ops->seek(it, run->tables[3]->info.smallest, KV_MAX_SEQ);
    assert_true(it->valid);
    check(kv_iter_status(it));
    kv_iter_close(it);
    run_fixture_deinit(&r);
}

static uint64_t scan(struct kv_iter *it, uint64_t *entries)
{
    uint64_t start = clock_now_ns(), sum = 0;
    *entries = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it)) {
        sum += it->head + it->value.size;
        ++*entries;
    }
    check(kv_iter_status(it));
    assert_true(sum != 1);
    return clock_now_ns() - start;
}

/* What the run adds to its tables' own iterators: printed, not judged. */
static void test_cost(void **state)
{
    (void)state;
    struct random random;
    struct run_fixture r;
    random_seed(&random, 9);
    run_fixture_init(&r, 40000, 100, &random);
    uint64_t alone = 0, entries = 0, whole = UINT64_MAX, n;
    for (int round = 0; round < 5; round++) {
        struct kv_iter *it = version_run_iter(r.version, 0, 0);
        whole = MIN_OF(whole, scan(it, &entries));
        kv_iter_close(it);
    }
    assert_int_equal(entries, r.f->model.count);
    for (size_t i = 0; i < r.version->runs[0].count; i++) {
        uint64_t best = UINT64_MAX;
        struct sst_reader *reader;
        check(version_table_reader(r.version->runs[0].tables[i], &reader));
        for (int round = 0; round < 5; round++) {
            struct kv_iter *it = sst_iter_new(reader, 0);
            best = MIN_OF(best, scan(it, &n));
            kv_iter_close(it);
        }
        alone += best;
    }
    printf("ns per entry: run %.1f, its tables alone %.1f\n",
           (double)whole / (double)entries, (double)alone / (double)entries);
    run_fixture_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_seek_between_tables),
        cmocka_unit_test(test_missing_table),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
