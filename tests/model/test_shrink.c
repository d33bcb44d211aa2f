/*
 * The shrinker on faults that are none of the database's: a random script of
 * thousands of operations, and a run of it that is made to fail, crash or hang
 * under a condition that takes few operations to bring about. A handful of
 * lines must be left.
 */
#include "model/run.h"
#include "model/shrink.h"

enum { OPERATIONS = 3000, KEY = 0 };

/* The artificial fault: with compression=zstd, once KEY was put and flushed
   after that, a get of it is wrong. */
struct fault {
    bool put, flushed;
};

static bool misreports(struct fault *f, const struct run *t,
                       const struct op *op)
{
    bool zstd = strstr(t->options, "compression=zstd") != NULL;
    if (op->kind == OP_PUT && op->place.key == KEY && !t->batch)
        f->put = true;
    else if (op->kind == OP_FLUSH)
        f->flushed = f->put;
    return op->kind == OP_GET && op->place.key == KEY &&
           op->place.near == AT_KEY && f->flushed && zstd;
}

static void fail_here(void)
{
    die("operation: key %d is misreported", KEY);
}

static void crash_here(void)
{
    abort();
}

static void hang_here(void)
{
    for (;;)
        pause();
}

static void (*const ways[])(void) = {fail_here, crash_here, hang_here};
static const enum child_end ends[] = {CHILD_FAILED, CHILD_CRASHED, CHILD_HUNG};
enum { FAILS, CRASHES, HANGS };
/* Each candidate that hangs costs this. */
static const unsigned timeouts_ms[] = {60000, 60000, 1500};

struct case_of {
    const struct script *script;
    const char *path;
    unsigned way;
};

static void run_with_fault(void *argument)
{
    static struct run t;
    const struct case_of *c = argument;
    struct fault fault = {false, false};
    run_begin(&t, c->script->keys, c->path, c->script->options, true);
    for (size_t i = 0; i < c->script->count; i++) {
        run_op(&t, &c->script->ops[i]);
        if (misreports(&fault, &t, &c->script->ops[i]))
            ways[c->way]();
    }
    run_end(&t);
}

static bool fails(void *context, const struct script *candidate)
{
    struct case_of c = *(struct case_of *)context;
    c.script = candidate;
    struct child_job job = {.body = run_with_fault,
                            .context = &c,
                            .timeout_ms = timeouts_ms[c.way],
                            .quiet = true};
    run_remove(c.path);
    struct child_result result = child_run(&job);
    return result.end == ends[c.way];
}

/* A script that fails, by the same key put, flushed and read in the midst of
   random operations. */
static void make_script(struct script *s, uint64_t seed, size_t operations,
                        bool few_options)
{
    struct generator g;
    struct op op;
    char options[MODEL_OPTIONS_MAX + 32];
    generator_init(&g, seed, options);
    if (few_options)
        strcpy(options, "compression=zstd");
    else
        strcat(options, " compression=zstd");
    script_init(s, 1, options);
    for (size_t i = 0; i < operations; i++) {
        if (i == operations / 2) {
            op = (struct op){.kind = OP_WRITE}; /* not in a batch */
            script_add(s, &op);
            op = (struct op){.kind = OP_PUT, .value = 1};
            script_add(s, &op);
            op = (struct op){.kind = OP_FLUSH};
            script_add(s, &op);
        }
        do { /* other options at other openings would hide the fault */
            generator_next(&g, &op);
            free(op.options);
        } while (op.options);
        script_add(s, &op);
    }
    op = (struct op){.kind = OP_GET};
    script_add(s, &op);
}

static void shrink_one(uint64_t seed, unsigned way, size_t operations,
                       const char *path)
{
    struct script s;
    struct case_of c = {.path = path, .way = way};
    struct shrink sh = {.fails = fails, .context = &c, .seconds = 300};
    make_script(&s, seed, operations, way == HANGS);
    assert_true(fails(&c, &s));
    script_shrink(&sh, &s);
    printf("%u candidates of %zu operations, then this is left:\n", sh.tried,
           operations);
    script_print(stdout, &s);
    assert_true(fails(&c, &s));
    assert_int_equal(s.count, 3);
    assert_int_equal(s.ops[0].kind, OP_PUT);
    assert_int_equal(s.ops[1].kind, OP_FLUSH);
    assert_int_equal(s.ops[2].kind, OP_GET);
    assert_string_equal(s.options, "compression=zstd");
    script_deinit(&s);
}

static void test_shrink(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    char *path = scratch_new();
    size_t operations = (size_t)test_scaled(OPERATIONS, OPERATIONS / 6);
    shrink_one(seed, FAILS, operations, path);
    shrink_one(seed, CRASHES, operations, path);
    shrink_one(seed, HANGS, 12, path);
    scratch_remove(path);
}

/* A script is the same after it was written and read. */
static void test_text(void **state)
{
    (void)state;
    struct script s, again;
    char *path = scratch_new(), file[4200], *first = NULL, *second = NULL;
    size_t first_size, second_size;
    snprintf(file, sizeof file, "%s/script.txt", path);
    struct generator g;
    struct op op;
    char options[MODEL_OPTIONS_MAX];
    generator_init(&g, test_seed(), options);
    script_init(&s, 7, options);
    for (size_t i = 0; i < 20000; i++) {
        generator_next(&g, &op);
        script_add(&s, &op);
        free(op.options);
    }
    FILE *out = fopen(file, "w");
    script_print(out, &s);
    fclose(out);
    script_read(&again, file);
    FILE *texts[] = {open_memstream(&first, &first_size),
                     open_memstream(&second, &second_size)};
    script_print(texts[0], &s);
    script_print(texts[1], &again);
    fclose(texts[0]);
    fclose(texts[1]);
    assert_int_equal(again.count, s.count);
    assert_string_equal(first, second);
    for (size_t i = 0; i < s.count; i++) {
        struct op a = s.ops[i], b = again.ops[i];
        a.options = b.options = NULL; /* compared as text */
        a.slot = b.slot;              /* a get has one that is not written */
        assert_memory_equal(&a, &b, sizeof a);
    }
    free(first);
    free(second);
    script_deinit(&s);
    script_deinit(&again);
    scratch_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_shrink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
