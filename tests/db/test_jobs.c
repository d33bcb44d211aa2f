/*
 * What the picker hears of jobs under way: of their tables that they are busy,
 * of runs that they add to or give another level, that too.
 */
#include "db/db_test.h"

#include "db/db_internal.h"
#include "env/env_memory.h"

/* A database of two runs, the older one at the bottom, and a job that its plan
   makes of them. */
struct planned {
    struct env *disk;
    adb *db;
    struct picker_source source;
    struct picker_plan plan;
    struct db_job job;
};

static void begin(struct planned *p)
{
    *p = (struct planned){.disk = env_memory_new(ENV_MEMORY_STRICT)};
    p->db = db_test_open(p->disk, "/d", "idle_compaction=false");
    db_test_put_many(p->db, "key", 100, 100);
    db_test_compact(p->db);
    db_test_put_many(p->db, "key", 10, 100);
    assert_ok(db_flush(p->db));
    mutex_lock(&p->db->lock);
    struct version *v = p->db->version;
    assert_int_equal(v->run_count, 2);
    assert_int_equal(v->runs[0].level, 0);
    assert_int_equal(v->runs[1].level, PICKER_BOTTOM_LEVEL);
    p->source.count = 1;
    p->plan.sources = &p->source;
    p->plan.source_count = 1;
    db_job_begin_locked(p->db, &p->job);
    p->job.plan = &p->plan;
    p->job.version = v;
}

/* Of each run, newest first: + joined, > leaving, 0 neither. */
static void expect(struct planned *p, const char *first, const char *second)
{
    const char *all[] = {first, second};
    struct db_picker_input in;
    assert_ok(db_picker_input_locked(p->db, &in));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(in.runs[i].joined, strchr(all[i], '+') != NULL);
        assert_int_equal(in.runs[i].leaving, strchr(all[i], '>') != NULL);
    }
    mutex_unlock(&p->db->lock);
    db_picker_input_deinit(&in);
    mutex_lock(&p->db->lock);
}

static void end(struct planned *p)
{
    db_job_end_locked(&p->job, ADB_OK);
    expect(p, "0", "0");
    mutex_unlock(&p->db->lock);
    assert_ok(db_close(p->db));
    env_memory_free(p->disk);
}

static void test_merge(void **state)
{
    (void)state;
    struct planned p;
    begin(&p);
    p.plan.kind = PICKER_MERGE;
    p.plan.output_level = PICKER_BOTTOM_LEVEL;
    p.plan.output_run = p.db->version->runs[1].run;
    expect(&p, "0", "+");
    /* A whole run becomes one of another level. */
    p.plan.output_run = p.db->version->runs[0].run;
    p.plan.output_level = 2;
    expect(&p, "+>", "0");
    end(&p);
}

static void test_change_of_level(void **state)
{
    (void)state;
    struct planned p;
    begin(&p);
    p.plan.kind = PICKER_MOVE;
    p.plan.keep_runs = true;
    p.plan.output_level = 4;
    expect(&p, ">", "0");
    p.source.run_index = 1;
    expect(&p, "0", ">");
    end(&p);
}

static void test_flush(void **state)
{
    (void)state;
    struct planned p;
    begin(&p);
    p.job.plan = NULL;
    expect(&p, "0", "0");
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_change_of_level),
        cmocka_unit_test(test_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
