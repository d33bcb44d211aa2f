/*
 * The same operations under many sets of options give the same history: what
 * every read returned, hashed in order, is compared between the runs. No model
 * has a say here; only that options change speed and size, nothing else.
 * ADB_TEST_OPS sets how many operations there are for each set of options.
 */
#include "model/model_env.h"
#include "model/run.h"
#include "model/shrink.h"

#include <sys/mman.h>

enum { SETS = 24, FIXED_SETS = 4, OPERATIONS = 6000, TIMEOUT_MS = 600000 };

/* The rest of the sets are random. */
static const char *const fixed_sets[FIXED_SETS] = {
    "", /* the defaults */
    "durability=none memory_budget=1M memtable_size=32K max_memtables=2 "
    "block_size=1K table_size=64K filter_bits=0 compression=none",
    "durability=sync wal_access=write wal_segment_min=64K "
    "wal_segment_max=64K memtable_size=64K compaction=tiered",
    "durability=process wal_access=map wal_segment_min=64K memtable_size=32K "
    "compaction=leveled table_access=map compression=none max_open_files=8",
};

struct runs {
    const struct script *script;
    const char *path;
    char options[SETS][MODEL_OPTIONS_MAX + 32];
    uint64_t *histories; /* after each operation of each set; shared */
};

static uint64_t *history_of(const struct runs *r, size_t set)
{
    return r->histories + set * (r->script->count + 1);
}

struct one_run {
    const struct runs *runs;
    size_t set;
};

static void run_set(void *argument)
{
    static struct run t;
    const struct one_run *one = argument;
    const struct script *s = one->runs->script;
    const char *options = one->runs->options[one->set];
    uint64_t *history = history_of(one->runs, one->set);
    run_begin(&t, s->keys, one->runs->path, options, false);
    for (size_t i = 0; i < s->count; i++) {
        struct op op = s->ops[i];
        if (op.options)
            op.options = (char *)(uintptr_t)options;
        run_op(&t, &op);
        history[i] = t.history;
    }
    run_end(&t);
    history[s->count] = t.history;
}

static struct child_result run_one(const struct runs *r, size_t set, bool quiet)
{
    struct one_run one = {r, set};
    struct child_job job = {.body = run_set,
                            .context = &one,
                            .timeout_ms = TIMEOUT_MS,
                            .quiet = quiet};
    run_remove(r->path);
    return child_run(&job);
}

static size_t first_difference(const struct runs *r, size_t a, size_t b)
{
    size_t i = 0, end = r->script->count + 1;
    while (i < end && history_of(r, a)[i] == history_of(r, b)[i])
        i++;
    return i < end ? i : SIZE_MAX;
}

static void init_runs(struct runs *r, struct script *s, uint64_t seed,
                      size_t operations)
{
    struct generator g;
    struct op op;
    generator_init(&g, seed, r->options[0]);
    script_init(s, 1, "");
    for (size_t i = 0; i < operations; i++) {
        generator_next(&g, &op);
        script_add(s, &op);
        free(op.options);
    }
    static const char *const levels[] = {"none", "process", "sync"};
    for (size_t i = 0; i < SETS; i++) {
        if (i < FIXED_SETS) {
            snprintf(r->options[i], sizeof r->options[i], "%s", fixed_sets[i]);
            continue;
        }
        model_options(&g.random, r->options[i]);
        strcat(r->options[i], " durability=");
        strcat(r->options[i], levels[i % 3]);
    }
    r->script = s;
    r->histories =
        mmap(NULL, SETS * (operations + 1) * sizeof(uint64_t),
             PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r->histories != MAP_FAILED);
}

static void deinit_runs(struct runs *r, struct script *s)
{
    munmap(r->histories, SETS * (s->count + 1) * sizeof(uint64_t));
    script_deinit(s);
}

/* ---- a difference, made smaller ---- */

struct pair {
    const struct runs *runs;
    size_t a, b;
};

static bool differ(void *context, const struct script *candidate)
{
    const struct pair *p = context;
    struct runs again = *p->runs;
    again.script = candidate;
    return run_one(&again, p->a, true).end != CHILD_DONE ||
           run_one(&again, p->b, true).end != CHILD_DONE ||
           first_difference(&again, p->a, p->b) != SIZE_MAX;
}

static void report(struct runs *r, struct script *s, size_t set, size_t at,
                   uint64_t seed)
{
    char name[64];
    struct pair pair = {r, 0, set};
    struct shrink sh = {.fails = differ, .context = &pair, .seconds = 300};
    if (differ(&pair, s))
        script_shrink(&sh, s);
    snprintf(name, sizeof name, "differs-%llu.txt", (unsigned long long)seed);
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    fprintf(out, "# other results under: %s\n", r->options[set]);
    script_print(out, s);
    fclose(out);
    fail_msg("seed %llu: after operation %zu options '%s' give another "
             "history; %zu operations in %s",
             (unsigned long long)seed, at, r->options[set], s->count, name);
}

static void run_sets(uint64_t seed, size_t operations, const char *path)
{
    static struct runs r;
    struct script s;
    r.path = path;
    init_runs(&r, &s, seed, operations);
    for (size_t set = 0; set < SETS; set++) {
        model_env_leave_out_syncs(set % 8 != 7);
        struct child_result result = run_one(&r, set, false);
        size_t at = first_difference(&r, 0, set);
        if (result.end != CHILD_DONE)
            fail_msg("seed %llu, options '%s': %s", (unsigned long long)seed,
                     r.options[set], result.text);
        if (at != SIZE_MAX)
            report(&r, &s, set, at, seed);
    }
    deinit_runs(&r, &s);
}

static void test_metamorphic(void **state)
{
    (void)state;
    struct random random;
    const char *text = getenv("ADB_TEST_OPS");
    uint64_t left = text ? strtoull(text, NULL, 0)
                         : test_scaled(8 * OPERATIONS, OPERATIONS / 4);
    random_seed(&random, test_seed());
    char *path = scratch_new();
    for (uint64_t done = 0; done < left; done += OPERATIONS)
        run_sets(random_next(&random),
                 (size_t)MIN_OF(left - done, (uint64_t)OPERATIONS), path);
    printf("%d sets of options, %llu operations each\n", SETS,
           (unsigned long long)left);
    scratch_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_metamorphic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
