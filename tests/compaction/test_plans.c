/*
 * The picker, plan by plan: a tree as text, and the plan it must lead to.
 *
 * A tree has its runs newest first, separated by `;`: the level, then tables as
 * first key, last key, bytes, `!` if it is busy:
 *
 *     0 a-z/8; 2 a-k/20 m-z/20!; 16< a-z/640
 *
 * Behind a level `<`: a running compaction adds to that run; `>`: one gives it
 * another level.
 *
 * A plan names its sources as run:first table+count, then the output level:
 *
 *     merge 0:0+1 1:0+2 -> 16 bottom
 */
#include "compaction/picker.h"
#include "support.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

enum { RUNS_MAX = 24, TABLES_MAX = 64 };

struct tree {
    struct picker_input input;
    struct picker_run runs[RUNS_MAX];
    struct picker_table tables[TABLES_MAX];
    char keys[2 * TABLES_MAX];
    size_t table_count;
};

static adb_slice keep_key(struct tree *t, size_t slot, char key)
{
    t->keys[slot] = key;
    return slice_of(&t->keys[slot], 1);
}

static void add_table(struct tree *t, const char *text)
{
    char first, last, busy = 0;
    unsigned bytes;
    size_t i = t->table_count++;
    assert_true(i < TABLES_MAX);
    assert_true(sscanf(text, "%c-%c/%u%c", &first, &last, &bytes, &busy) >= 3);
    t->tables[i] = (struct picker_table){
        .number = i + 1,
        .size = bytes,
        .entries = bytes,
        .smallest = keep_key(t, 2 * i, first),
        .largest = keep_key(t, 2 * i + 1, last),
        .busy = busy == '!',
    };
}

static void add_run(struct tree *t, char *text)
{
    struct picker_run *run = &t->runs[t->input.run_count++];
    char *rest, *word = strtok_r(text, " ", &rest);
    assert_true(t->input.run_count < RUNS_MAX);
    *run = (struct picker_run){.level = (uint32_t)atoi(word),
                               .run = 1000 - t->input.run_count,
                               .joined = strchr(word, '<') != NULL,
                               .leaving = strchr(word, '>') != NULL,
                               .tables = &t->tables[t->table_count]};
    while ((word = strtok_r(NULL, " ", &rest))) {
        add_table(t, word);
        run->count++;
    }
}

static void read_tree(struct tree *t, enum picker_policy policy,
                      const char *text)
{
    char copy[500], *rest;
    memset(t, 0, sizeof *t);
    t->input = (struct picker_input){
        .options = {.policy = policy,
                    .memtable_bytes = 8,
                    .table_bytes = 16,
                    .max_merge_bytes = 128,
                    .flush_trigger = 4},
        .runs = t->runs,
        .next_run = 2000,
    };
    snprintf(copy, sizeof copy, "%s", text);
    for (char *run = strtok_r(copy, ";", &rest); run;
         run = strtok_r(NULL, ";", &rest))
        add_run(t, run);
}

static void print_plan(const struct picker_plan *plan, char *out, size_t size)
{
    int n = snprintf(out, size, "%s",
                     plan->kind == PICKER_MERGE  ? "merge"
                     : plan->kind == PICKER_MOVE ? "move"
                     : plan->blocked             ? "blocked"
                                                 : "none");
    if (plan->kind == PICKER_NONE)
        return;
    for (size_t i = 0; i < plan->source_count; i++) {
        const struct picker_source *s = &plan->sources[i];
        n += snprintf(out + n, size - (size_t)n, " %zu:%zu+%zu", s->run_index,
                      s->first, s->count);
    }
    snprintf(out + n, size - (size_t)n, " -> %u%s", plan->output_level,
             plan->output_bottom ? " bottom" : "");
}

struct row {
    const char *tree, *plan;
};

static void check_rows(enum picker_policy policy, const struct row *rows,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tree t;
        struct picker_plan plan;
        char text[300];
        read_tree(&t, policy, rows[i].tree);
        assert_ok(picker_pick(&t.input, &plan));
        print_plan(&plan, text, sizeof text);
        picker_plan_deinit(&plan);
        if (strcmp(text, rows[i].plan) != 0)
            fail_msg("%s: %s where it should be %s", rows[i].tree, text,
                     rows[i].plan);
    }
}

static void test_lazy(void **state)
{
    static const struct row rows[] = {
        /* Level 0: due with four runs; into the bottom if all is small. */
        {"", "none"},
        {"0 a-z/8; 0 a-z/8; 0 a-z/8", "none"},
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 0 a-z/8",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 -> 16 bottom"},
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 0 a-z/8; 16 a-m/40 n-z/40",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+2 -> 16 bottom"},
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 0 a-z/8; 16 a-m/64 n-z/64",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 -> 2"},
        {"0 a-z/8; 0 a-z/8!; 0 a-z/8; 0 a-z/8; 16 a-z/640", "blocked"},
        /* The middle goes to the bottom when it has 0.4 of its bytes. */
        {"2 a-z/39; 16 a-z/100", "none"},
        {"2 a-z/40; 16 a-z/100", "move 0:0+1 -> 15"},
        {"2 a-z/40!; 16 a-z/100", "blocked"},
        {"15 a-m/10; 16 b-f/10 n-z/10", "merge 0:0+1 1:0+1 -> 16 bottom"},
        /* A key may have versions in both tables that it bounds. */
        {"15 a-m/10; 16 b-f/10 m-z/10", "merge 0:0+1 1:0+2 -> 16 bottom"},
        {"15 a-m/10; 16 a-a/10 m-z/10", "merge 0:0+1 1:0+2 -> 16 bottom"},
        /* A merge under way; it is the bottom if nothing older overlaps. */
        {"3 a-c/10; 3 a-c/10; 4 x-z/10; 16 x-z/1000",
         "merge 0:0+1 1:0+1 -> 3 bottom"},
        {"3 a-c/10; 3 a-c/10; 4 a-b/10; 16 x-z/1000",
         "merge 0:0+1 1:0+1 -> 3"},
        {"3 a-c/10; 3 a-c/10; 4 x-z/10; 16 c-z/1000",
         "merge 0:0+1 1:0+1 -> 3"},
        {"3 a-c/10; 16 a-z/1000", "move 0:0+1 -> 4"},
        {"3 a-c/10!; 16 a-z/1000", "blocked"},
        /* Levels must not fall with age. */
        {"4 a-c/10; 2 a-c/10; 16 a-z/1000", "move 1:0+1 -> 4"},
        {"4 a-c/10; 2< a-c/10; 16 a-z/1000", "blocked"},
        {"2< a-z/40; 16 a-z/100", "blocked"},
        {"3< a-z/20; 16 a-z/100", "blocked"},
    };
    (void)state;
    check_rows(PICKER_LAZY, rows, sizeof rows / sizeof rows[0]);
}

static void test_leveled(void **state)
{
    static const struct row rows[] = {
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 14 a-b/20; 16 a-z/2000", "none"},
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 0 a-z/8; 16 a-z/2000",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 -> 14"},
        /* A level may have a tenth of the one below; then the piece goes down
           where it meets least. */
        {"14 a-b/20 c-d/180; 16 a-b/100 c-z/1900", "none"},
        {"14 a-b/20 c-d/181; 16 a-b/100 c-z/1900",
         "merge 0:0+1 1:0+1 -> 16 bottom"},
        {"14 a-b/20 c-d/181; 16 a-a/100 c-z/1900",
         "merge 0:0+1 1:0+1 -> 16 bottom"},
        /* No run below, so all of it moves; not while something joins it, which
           would find no such level. What joins the bottom is in no way. */
        {"12 a-z/100; 16 a-z/640", "move 0:0+1 -> 14"},
        {"12< a-z/100; 16 a-z/640", "blocked"},
        {"14 a-b/20 c-d/181; 16< a-b/100 c-z/1900",
         "merge 0:0+1 1:0+1 -> 16 bottom"},
        {"2 a-b/9 x-z/30; 4 m-n/20; 16 a-z/2000", "move 0:0+2 -> 4"},
        {"2 a-b/9 x-z/30; 4> m-n/20!; 16 a-z/2000", "blocked"},
        /* Another policy left two runs on a level. */
        {"4 a-c/10; 4 b-d/10; 16 x-z/1000", "merge 0:0+1 1:0+1 -> 4 bottom"},
    };
    (void)state;
    check_rows(PICKER_LEVELED, rows, sizeof rows / sizeof rows[0]);
}

static void test_tiered(void **state)
{
    static const struct row rows[] = {
        {"0 a-z/8; 0 a-z/8; 0 a-z/8; 16 a-z/1000", "none"},
        {"2 a-z/9; 2 a-z/9; 2 a-z/9; 16 a-z/1000", "none"},
        {"2 a-z/9; 2 a-z/9; 2 a-z/9; 2 a-z/9; 16 a-z/1000",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 -> 4"},
        {"2 a-z/90; 16 a-z/100", "none"},
        {"2 a-z/100; 16 a-z/100", "move 0:0+1 -> 15"},
    };
    (void)state;
    check_rows(PICKER_TIERED, rows, sizeof rows / sizeof rows[0]);
}

static void test_debt(void **state)
{
    /* 640 bytes at the bottom: 32 memtables until the middle is due, so tiers
       of 4, 3 and 4 runs. */
    static const struct {
        const char *tree;
        uint64_t bytes;
        unsigned runs;
        double score;
    } rows[] = {
        {"", 0, 0, 0},
        {"16 a-z/640", 0, 1, 0},
        {"0 a-z/1; 0 a-z/1; 0 a-z/1; 0 a-z/1; 16 a-z/640", 4, 5, 0.5},
        {"0 a-z/1; 0 a-z/1; 0 a-z/1; 0 a-z/1; 0 a-z/1; 0 a-z/1; 0 a-z/1; "
         "0 a-z/1; 16 a-z/640", 8, 9, 1},
        {"2 a-z/1; 2 a-z/1; 16 a-z/640", 0, 3, 2.0 / 6},
        {"2 a-z/1; 2 a-z/1; 2 a-z/1; 2 a-z/1; 2 a-z/1; 2 a-z/1; 16 a-z/640",
         6, 7, 1},
        {"4 a-z/1; 4 a-z/1; 4 a-z/1; 4 a-z/1; 16 a-z/640", 4, 5, 0.5},
        /* half as much again as makes the middle due, and two flush groups */
        {"2 a-z/448; 16 a-z/640", 0, 2, 1},
        /* what stands before the bottom is due with what it will meet */
        {"15 a-c/10; 16 a-b/100 c-c/40 d-z/500", 10 + 100 + 40, 2, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tree t;
        struct picker_debt debt;
        read_tree(&t, PICKER_LAZY, rows[i].tree);
        picker_debt(&t.input, &debt);
        if (debt.bytes != rows[i].bytes || debt.runs != rows[i].runs ||
            debt.score < rows[i].score - 0.03 ||
            debt.score > rows[i].score + 0.03)
            fail_msg("%s: %llu bytes, %u runs, score %f", rows[i].tree,
                     (unsigned long long)debt.bytes, debt.runs, debt.score);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lazy),
        cmocka_unit_test(test_leveled),
        cmocka_unit_test(test_tiered),
        cmocka_unit_test(test_debt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
