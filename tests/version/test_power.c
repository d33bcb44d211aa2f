/*
 * Power cuts at every operation of a life: create, apply, roll, open, clean
 * close. What is found afterwards is the last acknowledged state or the one in
 * flight, and the database goes on from there.
 */
#include "version_support.h"

enum { STEPS = 34, MAX_STATES = STEPS + 8 };

struct life {
    struct env *env;
    struct random random; /* chooses crash images */
    struct version_set *set;
    uint64_t seq, segment, oldest_segment;

    char *states[MAX_STATES]; /* owned; after each acknowledged step */
    size_t state_count;       /* of the rehearsal */
    size_t acknowledged;      /* states[acknowledged] is the last certain one */
    bool created;             /* create has returned */
    bool rehearsal;
    uint64_t images, opened;
    unsigned cuts; /* images per operation */
    bool nested;
};

/* ---- the script: the same in rehearsal and in earnest -------------------- */

static void acknowledge(struct life *l)
{
    if (!l->rehearsal) {
        l->acknowledged++;
        return;
    }
    bool closed;
    assert_ok(recovered_state(l->env, &l->states[l->state_count], &closed));
    l->state_count++;
}

static void make_file(struct life *l, uint64_t number)
{
    assert_ok(make_table_file(l->env, number));
}

static void flush_step(struct life *l, struct version_edit *e)
{
    uint64_t run = version_set_new_run(l->set);
    uint64_t a = version_set_new_file(l->set), b = version_set_new_file(l->set);
    make_file(l, a);
    make_file(l, b);
    add_invented(e, a, 0, run, "a", "m");
    add_invented(e, b, 0, run, "n", "z");
    e->last_seq = l->seq += 100;
    if (l->segment > l->oldest_segment)
        assert_ok(version_edit_remove_segment(e, l->oldest_segment++));
}

static void segment_step(struct life *l, struct version_edit *e)
{
    assert_ok(version_edit_create_segment(e, ++l->segment));
    if (!l->oldest_segment)
        l->oldest_segment = l->segment;
    e->synced_through = (struct watermark){l->segment, 64, l->seq};
}

/* Merges the two oldest runs into one at level 1. */
static void merge_step(struct life *l, struct version_edit *e)
{
    struct version *v = version_set_current(l->set);
    if (v->run_count >= 2) {
        uint64_t number = version_set_new_file(l->set);
        make_file(l, number);
        for (size_t i = v->run_count - 2; i < v->run_count; i++)
            for (size_t j = 0; j < v->runs[i].count; j++)
                assert_ok(version_edit_remove_table(
                    e, v->runs[i].tables[j]->info.number));
        add_invented(e, number, 1, v->runs[v->run_count - 1].run, "a", "z");
    }
    version_unref(v);
}

static void move_step(struct life *l, struct version_edit *e)
{
    struct version *v = version_set_current(l->set);
    if (v->run_count) {
        const struct version_run *oldest = &v->runs[v->run_count - 1];
        for (size_t j = 0; j < oldest->count; j++)
            assert_ok(
                version_edit_move_table(e, oldest->tables[j]->info.number,
                                        (struct table_place){2, oldest->run}));
    }
    version_unref(v);
}

/* The oldest table is damaged, or is not any more. */
static void quarantine_step(struct life *l, struct version_edit *e)
{
    struct version *v = version_set_current(l->set);
    if (v->run_count) {
        const struct version_run *oldest = &v->runs[v->run_count - 1];
        uint64_t number = oldest->tables[0]->info.number;
        if (version_quarantined(v, number))
            assert_ok(version_edit_release(e, number));
        else
            add_quarantined(e, number, l->seq, "b", "c");
    }
    version_unref(v);
}

static void remove_obsolete(struct life *l)
{
    uint64_t numbers[8];
    size_t count;
    while ((count = version_set_take_obsolete(l->set, numbers, 8)))
        for (size_t i = 0; i < count; i++) {
            char *path = sst_path(DIRECTORY, numbers[i]);
            assert_ok(env_unlink(l->env, path));
            mem_free(path);
        }
}

static void step(struct life *l, unsigned i)
{
    struct version_edit first = {0}, second = {0};
    struct version_edit *edits[2] = {&first, &second};
    if (i % 5 == 0)
        segment_step(l, &first);
    else if (i % 5 == 3)
        merge_step(l, &first);
    else if (i % 5 == 4)
        move_step(l, &first);
    else
        flush_step(l, &first);
    if (i % 5 == 0 || i % 5 == 1)
        quarantine_step(l, &first);
    if (i % 7 == 2)
        flush_step(l, &second);
    assert_ok(version_set_apply(l->set, edits, i % 7 == 2 ? 2 : 1));
    version_edit_deinit(&first);
    version_edit_deinit(&second);
    acknowledge(l);
    remove_obsolete(l);
}

static void reopen(struct life *l)
{
    struct version_set_options options = options_on(l->env);
    struct version_set_state state;
    struct version_edit e = {0};
    version_set_free(l->set);
    assert_ok(version_set_recover(&options, &l->set, &state));
    e.last_seq = ++l->seq;
    assert_ok(version_set_begin(l->set, &e));
    acknowledge(l);
}

static void close_set(struct life *l)
{
    struct wal_end end = {l->segment, 1234, 99, l->seq + 1};
    struct watermark synced = {l->segment, 1234, l->seq};
    assert_ok(version_set_close_cleanly(l->set, &end, 1, &synced, l->seq));
    acknowledge(l);
    version_set_free(l->set);
    l->set = NULL;
}

static void live(struct life *l)
{
    struct version_set_options options = options_on(l->env);
    assert_ok(version_set_create(&options, &l->set));
    if (l->rehearsal)
        acknowledge(l); /* states[0]: empty */
    l->created = true;
    for (unsigned i = 0; i < STEPS; i++) {
        step(l, i);
        if (i != STEPS / 2)
            continue;
        struct version_set_stats stats;
        version_set_stats(l->set, &stats);
        assert_true(stats.rolls >= 1);
        reopen(l);
    }
    close_set(l);
}

/* ---- looking at crash images --------------------------------------------- */

static adb_status sweep_one(void *context, const char *name)
{
    char *path = env_join(DIRECTORY, name);
    adb_status status = env_unlink(context, path);
    mem_free(path);
    return status;
}

static void expect_state(const struct life *l, const char *text)
{
    size_t next = l->acknowledged + 1;
    if (strcmp(text, l->states[l->acknowledged]) == 0 ||
        (next < l->state_count && strcmp(text, l->states[next]) == 0))
        return;
    fail_msg("after step %zu a crash left:\n%s\n--- instead of:\n%s",
             l->acknowledged, text, l->states[l->acknowledged]);
}

static void observe_nested(void *context, struct env *env,
                           const char *operation, const char *path)
{
    (void)operation, (void)path;
    struct life *l = context;
    struct env *image = env_memory_crash(env, &l->random, ~UINT64_C(0));
    char *text;
    bool closed;
    assert_non_null(image);
    assert_ok(recovered_state(image, &text, &closed));
    expect_state(l, text);
    mem_free(text);
    env_memory_free(image);
    l->images++;
}

/* Opens the image for good, goes on and sweeps. */
static void go_on(struct life *l, struct env *image)
{
    struct version_set_options options = options_on(image);
    struct version_set_state state;
    struct version_set *s;
    if (l->nested && random_below(&l->random, 8) == 0)
        env_memory_set_observer(image, observe_nested, l);
    assert_ok(version_set_recover(&options, &s, &state));
    assert_ok(version_set_begin(s, NULL));
    assert_ok(version_set_sweep(s, sweep_one, image));
    version_set_free(s);
    env_memory_set_observer(image, NULL, NULL);
    char *text;
    bool closed;
    assert_ok(recovered_state(image, &text, &closed));
    expect_state(l, text);
    mem_free(text);
}

static void examine(struct life *l, struct env *image)
{
    adb_status status = version_set_probe(image, DIRECTORY);
    l->images++;
    if (status == ADB_NOT_FOUND && !l->created) {
        struct version_set_options options = options_on(image);
        struct version_set *s;
        assert_ok(version_set_create(&options, &s));
        version_set_free(s);
        return;
    }
    assert_ok(status);
    char *text;
    bool closed;
    assert_ok(recovered_state(image, &text, &closed));
    expect_state(l, text);
    mem_free(text);
    go_on(l, image);
    l->opened++;
}

static void observe(void *context, struct env *env, const char *operation,
                    const char *path)
{
    (void)operation, (void)path;
    struct life *l = context;
    for (unsigned i = 0; i < l->cuts; i++) {
        struct env *image = env_memory_crash(env, &l->random, ~UINT64_C(0));
        assert_non_null(image);
        examine(l, image);
        env_memory_free(image);
    }
}

static void run_life(enum env_memory_model model)
{
    struct life l = {.rehearsal = true};
    random_seed(&l.random, test_seed());
    l.env = new_disk(model);
    live(&l);
    env_memory_free(l.env);

    l.rehearsal = l.created = false;
    l.seq = l.segment = l.oldest_segment = 0;
    l.cuts = (unsigned)test_scaled(6, 2);
    l.nested = true;
    l.env = new_disk(model);
    env_memory_set_observer(l.env, observe, &l);
    live(&l);
    assert_int_equal(l.acknowledged + 1, l.state_count);
    env_memory_set_observer(l.env, NULL, NULL);
    env_memory_free(l.env);
    printf("%" PRIu64 " images, %" PRIu64 " opened\n", l.images, l.opened);
    for (size_t i = 0; i < l.state_count; i++)
        mem_free(l.states[i]);
}

static void test_strict(void **state)
{
    (void)state;
    run_life(ENV_MEMORY_STRICT);
}

static void test_ordered(void **state)
{
    (void)state;
    run_life(ENV_MEMORY_ORDERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
