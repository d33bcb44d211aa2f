/* What tables say of where they come from (struct table_lineage). */
#include "db_test.h"

#include "db/db_internal.h"
#include "env/env_memory.h"

static const char options[] =
    "memory_budget=2M memtable_size=64K wal_segment_min=64K table_size=64K "
    "wal_segment_max=64K durability=process idle_compaction=false "
    "compression=none";

struct table {
    struct table_info info;
    struct table_lineage lineage;
};

/* The tables of run `index`; what they borrow lives as the version does. */
static size_t list(struct version *v, size_t index, struct table *out)
{
    const struct version_run *run = &v->runs[index];
    for (size_t i = 0; i < run->count; i++) {
        struct sst_reader *r;
        assert_ok(version_table_reader(run->tables[i], &r));
        sst_reader_describe(r, &out[i].info);
        out[i].lineage = *sst_reader_lineage(r);
    }
    return run->count;
}

static void put(adb *db, const char *key, size_t size)
{
    static char value[4000];
    memset(value, 'v', sizeof value);
    value[size] = '\0';
    db_test_put(db, key, value);
    value[size] = 'v';
}

static void test_flush(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, "/db", options);
    struct table t[8];
    for (int i = 0; i < 3; i++) {
        uint64_t before = db_test_stat(db, "sequence");
        db_test_put(db, "b", "1");
        db_test_put(db, "b", "2");
        db_test_delete(db, "a");
        assert_ok(db_flush(db));
        struct version *v = version_set_current(db->versions);
        assert_int_equal(list(v, 0, t), 1);
        assert_int_equal(t[0].lineage.through, before);
        assert_int_equal(t[0].lineage.below, 0);
        version_unref(v);
    }
    assert_ok(db_close(db));
    env_memory_free(env);
}

/* The key behind the last one of the range. */
static bool ends_behind(const struct table_lineage *l, const char *key)
{
    return slice_equal(l->before, slice_of(key, strlen(key) + 1));
}

/* The tables of a merge share out the keys that came to it, those that it
   dropped too. */
static void test_merge(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, "/db", options);
    struct table t[16];
    char key[16];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 60; i++) {
            snprintf(key, sizeof key, "k%02d", i);
            put(db, key, 3000);
        }
        db_test_put(db, "a", "goes");
        db_test_delete(db, "a");
        db_test_delete(db, "z");
        assert_ok(db_flush(db));
        uint64_t newest = db_test_stat(db, "sequence");
        db_test_compact(db);
        struct version *v = version_set_current(db->versions);
        assert_int_equal(v->run_count, 1);
        size_t count = list(v, 0, t);
        assert_true(count >= 2 && count < 16);
        for (size_t i = 0; i < count; i++) {
            const struct table_lineage *l = &t[i].lineage;
            assert_int_equal(l->through, newest);
            assert_true(l->below > 0 && l->below <= t[i].info.number);
            assert_int_equal(l->except_count, 0);
            assert_true(table_lineage_overlaps(l, t[i].info.smallest,
                                               t[i].info.smallest));
            assert_true(table_lineage_overlaps(l, t[i].info.largest,
                                               t[i].info.largest));
            if (i > 0) /* without gaps */
                assert_true(slice_equal(t[i - 1].lineage.before, l->from));
        }
        /* Nothing is left of these. */
        assert_true(slice_equal(t[0].lineage.from, slice_of_string("a")));
        assert_true(ends_behind(&t[count - 1].lineage, "z"));
        version_unref(v);
    }
    assert_ok(db_close(db));
    env_memory_free(env);
}

/* What stands above something older says nothing of others. */
static void test_middle(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, "/db", options);
    struct table t[16];
    char key[16];
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "k%02d", i);
        put(db, key, 3000);
    }
    db_test_compact(db);
    for (int i = 0; i < 5; i++) {
        db_test_put(db, "k07", "7");
        db_test_put(db, "k08", "8");
        assert_ok(db_flush(db));
    }
    assert_ok(db_wait_idle(db, 0));
    struct version *v = version_set_current(db->versions);
    assert_true(v->run_count >= 2);
    for (size_t i = 0; i + 1 < v->run_count; i++) {
        size_t count = list(v, i, t);
        for (size_t j = 0; j < count; j++)
            assert_int_equal(t[j].lineage.below, 0);
    }
    version_unref(v);
    assert_ok(db_close(db));
    env_memory_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
