/*
 * Every file operation fails, once or for ever: a failed apply changes nothing
 * in memory; what recovery then finds is the state acknowledged last, or the
 * one whose outcome was reported as unknown; once the cause is gone the set
 * works again.
 */
#include <errno.h>

#include "version_support.h"

enum { STEPS = 12 };

struct trial {
    struct env *disk, *env; /* env: faults over disk */
    struct version_set *set;
    char *acknowledged; /* state as text */
    char *unknown;      /* the state that may surface; NULL: none */
    bool hit;           /* the fault was met */
};

static void add_step(struct version_edit *e, struct trial *t, uint64_t i)
{
    uint64_t number = 1000 + i;
    assert_ok(make_table_file(t->disk, number));
    add_invented(e, number, 0, i + 1, "a", "b");
    assert_ok(version_edit_create_segment(e, i + 1));
    e->last_seq = (i + 1) * 100 + 99;
}

/* The text of the set's own state; log state is known by the step. */
static char *text_of(struct trial *t, uint64_t steps)
{
    uint64_t segments[STEPS + 1];
    struct wal_end ends[STEPS + 1] = {{0}};
    for (uint64_t i = 0; i < steps; i++)
        segments[i] = i + 1;
    struct version_set_state logs = {.segments = segments,
                                     .segment_count = steps,
                                     .segment_ends = ends,
                                     .last_seq = steps ? steps * 100 + 99 : 0};
    struct version *v = version_set_current(t->set);
    char *text = describe(v, &logs);
    version_unref(v);
    return text;
}

static void acknowledge(struct trial *t, char *text)
{
    mem_free(t->acknowledged);
    mem_free(t->unknown);
    t->acknowledged = text;
    t->unknown = NULL;
}

static void expect_recovery(struct trial *t, struct env *disk)
{
    char *text;
    bool closed;
    assert_ok(recovered_state(disk, &text, &closed));
    if (strcmp(text, t->acknowledged) != 0 &&
        !(t->unknown && strcmp(text, t->unknown) == 0))
        fail_msg("found:\n%s\n--- instead of:\n%s", text, t->acknowledged);
    mem_free(text);
}

static void expect_crashes(struct trial *t, struct random *r)
{
    expect_recovery(t, t->disk);
    for (int i = 0; i < 2; i++) {
        struct env *image = env_memory_crash(t->disk, r, ~UINT64_C(0));
        expect_recovery(t, image);
        env_memory_free(image);
    }
}

static char *with_line(const char *text, uint64_t i)
{
    /* A newer run stands in front; segment and counters behind. */
    struct buffer b = {0};
    const char *tail = strstr(text, "seq ");
    assert_ok(buffer_printf(&b, "L0 R%" PRIu64 ": %" PRIu64 "[a-b]\n", i + 1,
                            1000 + i));
    assert_ok(buffer_append(&b, text, (size_t)(tail - text)));
    assert_ok(buffer_printf(&b, "segment %" PRIu64 " end 0\n", i + 1));
    assert_ok(
        buffer_printf(&b, "seq %" PRIu64 " synced 0:0", (i + 1) * 100 + 99));
    assert_ok(buffer_append(&b, "", 1));
    return (char *)b.data;
}

static void apply_step(struct trial *t, uint64_t i, struct random *r)
{
    struct version_edit e = {0};
    struct version_edit *edit = &e;
    add_step(&e, t, i);
    char *next = with_line(t->acknowledged, i);
    adb_status status = version_set_apply(t->set, &edit, 1);
    if (status != ADB_OK) {
        assert_true(status == ADB_IO || status == ADB_NO_SPACE ||
                    status == ADB_UNKNOWN_OUTCOME);
        char *now = text_of(t, i);
        assert_string_equal(now, t->acknowledged);
        mem_free(now);
        if (status == ADB_UNKNOWN_OUTCOME)
            t->unknown = mem_strdup(next);
        expect_crashes(t, r);
        /* The cause goes away: the same edit works. */
        t->hit = true;
        env_fault_set(t->env, NULL);
        assert_ok(version_set_apply(t->set, &edit, 1));
    }
    acknowledge(t, next);
    version_edit_deinit(&e);
}

/* Returns whether the fault was met. */
static bool trial(const struct env_fault_rule *rule, struct random *r)
{
    struct trial t = {.disk = new_disk(ENV_MEMORY_STRICT)};
    t.env = env_fault_new(t.disk);
    struct version_set_options options = options_on(t.env);
    env_fault_set(t.env, rule);
    adb_status status = version_set_create(&options, &t.set);
    bool hit = env_fault_hits(t.env) > 0;
    if (status != ADB_OK) {
        env_fault_set(t.env, NULL);
        status = version_set_probe(t.env, DIRECTORY);
        if (status == ADB_NOT_FOUND) {
            assert_ok(version_set_create(&options, &t.set));
        } else {
            struct version_set_state state;
            assert_ok(status);
            assert_ok(version_set_recover(&options, &t.set, &state));
            assert_ok(version_set_begin(t.set, NULL));
        }
    }
    t.acknowledged = text_of(&t, 0);
    for (uint64_t i = 0; i < STEPS; i++)
        apply_step(&t, i, r);
    hit = hit || t.hit || env_fault_hits(t.env) > 0;
    env_fault_set(t.env, NULL);
    expect_crashes(&t, r);
    version_set_free(t.set);
    expect_crashes(&t, r);
    mem_free(t.acknowledged);
    env_fault_free(t.env);
    env_memory_free(t.disk);
    return hit;
}

static void run(int error, uint64_t count, uint64_t partial, bool drop)
{
    struct random r;
    random_seed(&r, test_seed());
    uint64_t step = test_scaled(1, 3);
    for (uint64_t skip = 0;; skip += step) {
        struct env_fault_rule rule = {.operations =
                                          ENV_FAULT_ANY & ~ENV_FAULT_CLOSE,
                                      .skip = skip,
                                      .count = count,
                                      .error = error,
                                      .partial = partial,
                                      .drop_on_sync_failure = drop};
        if (!trial(&rule, &r)) {
            printf("%" PRIu64 " operations failed\n", skip);
            assert_true(skip > 30);
            return;
        }
    }
}

static void test_once(void **state)
{
    (void)state;
    run(EIO, 1, 0, false);
    run(EIO, 1, 40, true);
}

static void test_for_ever(void **state)
{
    (void)state;
    run(EIO, UINT64_MAX, 20, true);
    run(ENOSPC, UINT64_MAX, 24, false);
}

static int fail_nth(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- == 0;
}

/* Without memory an apply changes nothing, in memory or on disk. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct trial t = {.disk = new_disk(ENV_MEMORY_STRICT)};
    struct random r;
    random_seed(&r, 3);
    t.env = t.disk;
    struct version_set_options options = options_on(t.disk);
    assert_ok(version_set_create(&options, &t.set));
    t.acknowledged = text_of(&t, 0);
    for (uint64_t i = 0; i < 6; i++) {
        struct version_edit e = {0};
        struct version_edit *edit = &e;
        add_step(&e, &t, i);
        char *next = with_line(t.acknowledged, i);
        for (int k = 0;; k++) {
            int left = k;
            mem_set_fail_hook(fail_nth, &left);
            adb_status status = version_set_apply(t.set, &edit, 1);
            mem_set_fail_hook(NULL, NULL);
            if (status == ADB_OK)
                break;
            if (status == ADB_UNKNOWN_OUTCOME && !t.unknown)
                t.unknown = mem_strdup(next);
            expect_recovery(&t, t.disk);
        }
        acknowledge(&t, next);
        expect_recovery(&t, t.disk);
        version_edit_deinit(&e);
    }
    version_set_free(t.set);
    mem_free(t.acknowledged);
    env_memory_free(t.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_for_ever),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
