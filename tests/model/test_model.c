/*
 * Databases against the model: random operations under random options, with
 * snapshots, iterators and values that live on while the database changes,
 * flushes, compactions, reopening with other options and without closing first.
 * Each database lives in a child process; a run that fails is shortened and
 * left in the working directory as a script (script.h).
 * ADB_TEST_OPS sets how many operations.
 */
#include "model/model_env.h"
#include "model/noise.h"
#include "model/run.h"
#include "model/shrink.h"

#include <stdatomic.h>
#include <sys/mman.h>

enum { EPISODE_TIMEOUT_MS = 600000, PROGRESS = 10000000 };

/* One database's life. */
struct episode {
    uint64_t seed;
    uint64_t operations;
    const char *path;
    _Atomic uint64_t done;
};

/* Nothing here loses its power: most need not wait for the disk. */
static bool leave_out_syncs(const struct episode *e)
{
    return e->operations > 20000 || e->seed % 4 != 0;
}

static void live(void *argument)
{
    static struct run t;
    struct episode *e = argument;
    struct generator g;
    struct op op;
    char first[MODEL_OPTIONS_MAX], *present = NULL;
    generator_init(&g, e->seed, first);
    model_env_leave_out_syncs(leave_out_syncs(e));
    noise_set(e->seed, e->seed % 3 ? 0 : 200);
    run_begin(&t, 1, e->path, first, true);
    for (uint64_t i = 0; i < e->operations; i++) {
        generator_next(&g, &op);
        atomic_store_explicit(&e->done, i + 1, memory_order_relaxed);
        run_op(&t, &op);
        if (op.options) {
            free(present);
            present = op.options;
        }
    }
    run_end(&t);
    free(present);
}

/* The operations up to the one that failed. */
static void write_down(const struct episode *e, struct script *s)
{
    struct generator g;
    struct op op;
    char first[MODEL_OPTIONS_MAX];
    generator_init(&g, e->seed, first);
    script_init(s, 1, first);
    for (uint64_t i = 0; i < atomic_load(&e->done); i++) {
        generator_next(&g, &op);
        script_add(s, &op);
        free(op.options);
    }
}

static void report(const struct episode *e, const struct child_result *result)
{
    struct script s;
    char name[64];
    printf("operation %llu of the database with seed %llu: %s\n",
           (unsigned long long)atomic_load(&e->done),
           (unsigned long long)e->seed, result->text);
    snprintf(name, sizeof name, "failed-%llu.txt", (unsigned long long)e->seed);
    write_down(e, &s);
    model_env_leave_out_syncs(leave_out_syncs(e));
    noise_set(e->seed, e->seed % 3 ? 0 : 200);
    shrink_and_tell(&s, name, true, result);
    script_deinit(&s);
    fail_msg("the database with seed %llu: %s", (unsigned long long)e->seed,
             result->text);
}

/* Many short lives, some long ones. */
static uint64_t choose_length(struct random *r)
{
    return random_below(r, UINT64_C(1000) << (2 * random_below(r, 5)));
}

static void test_model(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), done = 0, databases = 0;
    const char *text = getenv("ADB_TEST_OPS");
    uint64_t operations =
        text ? strtoull(text, NULL, 0) : test_scaled(5000000, 200000);
    struct random random;
    random_seed(&random, seed);
    char *path = scratch_new();
    struct episode *e = mmap(NULL, sizeof *e, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(e != MAP_FAILED);
    for (; done < operations; done += e->operations, databases++) {
        *e = (struct episode){.seed = random_next(&random), .path = path};
        e->operations = MIN_OF(choose_length(&random), operations - done);
        run_remove(path);
        struct child_job job = {
            .body = live, .context = e, .timeout_ms = EPISODE_TIMEOUT_MS};
        struct child_result result = child_run(&job);
        if (result.end != CHILD_DONE)
            report(e, &result);
        e->operations += e->operations == 0;
        if (done / PROGRESS != (done + e->operations) / PROGRESS)
            printf("%llu operations\n",
                   (unsigned long long)(done + e->operations));
    }
    printf("%llu operations on %llu databases\n", (unsigned long long)done,
           (unsigned long long)databases);
    munmap(e, sizeof *e);
    scratch_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
