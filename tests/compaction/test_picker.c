/*
 * The picker by tables of text: a tree and options in, the plan out.
 *
 *   tree   runs, newest first, as "level/run: tables"; a table is its first and
 *          last key and its size, "a-f*10", then "!" when a job has it, "?"
 *          when it is damaged, "-n" for n tombstones (it has as many entries as
 *          bytes)
 *   plan   "merge" or "move", its sources as run:first+count (indices), where
 *          the output goes; "old": nothing older lies outside; cuts
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "base/buffer.h"
#include "compaction/picker.h"
#include "support/failing.h"

enum { TABLES_MAX = 200, RUNS_MAX = 40 };

struct tree {
    struct picker_input input;
    struct picker_run runs[RUNS_MAX];
    struct picker_table tables[TABLES_MAX];
    char text[4000];
};

/* ---- reading ------------------------------------------------------------- */

static void parse_table(char *word, struct picker_table *t)
{
    char *dash = strchr(word, '-'), *star = strchr(word, '*');
    assert_true(dash && star && dash < star);
    *dash = *star = '\0';
    t->smallest = slice_of(word, strlen(word));
    t->largest = slice_of(dash + 1, strlen(dash + 1));
    char *rest;
    t->size = t->entries = strtoull(star + 1, &rest, 10);
    for (; *rest; rest++) {
        if (*rest == '!')
            t->busy = true;
        else if (*rest == '?')
            t->quarantined = true;
        else if (*rest == '-')
            t->tombstones = strtoull(rest + 1, &rest, 10);
        if (!*rest)
            break;
    }
}

static void parse_tree(struct tree *t, const char *text)
{
    size_t tables = 0;
    char *rest = t->text;
    assert_true(strlen(text) < sizeof t->text);
    strcpy(t->text, text);
    t->input.runs = t->runs;
    for (char *word; (word = strsep(&rest, " \n"));) {
        char *slash = strchr(word, '/');
        if (!*word)
            continue;
        if (slash) {
            assert_true(t->input.run_count < RUNS_MAX);
            t->runs[t->input.run_count++] =
                (struct picker_run){.level = (uint32_t)strtoul(word, NULL, 10),
                                    .run = strtoull(slash + 1, NULL, 10),
                                    .tables = &t->tables[tables]};
            continue;
        }
        assert_true(tables < TABLES_MAX && t->input.run_count > 0);
        t->tables[tables].number = tables + 1;
        parse_table(word, &t->tables[tables++]);
        t->runs[t->input.run_count - 1].count++;
    }
}

static uint64_t option_of(const char *options, const char *name,
                          uint64_t otherwise)
{
    const char *at = options ? strstr(options, name) : NULL;
    return at ? strtoull(at + strlen(name), NULL, 10) : otherwise;
}

static void parse_options(struct tree *t, const char *o)
{
    bool leveled = o && strstr(o, "leveled"), tiered = o && strstr(o, "tiered");
    t->input.options = (struct picker_options){
        .policy = leveled  ? PICKER_LEVELED
                  : tiered ? PICKER_TIERED
                           : PICKER_LAZY,
        .memtable_bytes = option_of(o, "memtable=", 100),
        .table_bytes = option_of(o, "table_size=", 100),
        .max_merge_bytes = option_of(o, "merge=", 1000),
        .flush_trigger = (unsigned)option_of(o, "trigger=", 4),
    };
    t->input.idle = o && strstr(o, "idle=");
    t->input.idle_budget = option_of(o, "idle=", 0);
    t->input.bottom_failed = o && strstr(o, "failed");
    t->input.since_bottom = option_of(o, "since=", 0);
    t->input.garbage_bytes = option_of(o, "garbage=", 0);
    t->input.next_run = 1000;
}

/* ---- writing ------------------------------------------------------------- */

static void print_plan(const struct picker_plan *p, char *out, size_t size)
{
    struct buffer b = {0};
    static const char *const kinds[] = {"none", "merge", "move"};
    assert_ok(buffer_printf(&b, "%s", kinds[p->kind]));
    for (size_t i = 0; i < p->source_count; i++)
        assert_ok(buffer_printf(&b, " %zu:%zu+%zu", p->sources[i].run_index,
                                p->sources[i].first, p->sources[i].count));
    if (p->kind != PICKER_NONE)
        assert_ok(buffer_printf(&b, " > %u/%llu", p->output_level,
                                (unsigned long long)p->output_run));
    assert_ok(buffer_printf(
        &b, "%s%s%s%s", p->keep_runs ? " keep" : "", p->new_runs ? " new" : "",
        p->output_bottom ? " old" : "", p->blocked ? " blocked" : ""));
    for (size_t i = 0; i < p->cut_count; i++)
        assert_ok(buffer_printf(&b, "%s%.*s", i ? "," : " cuts ",
                                (int)p->cuts[i].size,
                                (const char *)p->cuts[i].data));
    snprintf(out, size, "%.*s", (int)b.size, (const char *)b.data);
    buffer_deinit(&b);
}

struct picker_case {
    const char *name, *options, *tree, *plan;
};

static adb_status pick(const struct picker_case *c, bool range,
                       struct picker_plan *plan)
{
    static struct tree t;
    adb_slice from = slice_of(NULL, 0), to = from;
    t = (struct tree){.input = {.run_count = 0}};
    parse_tree(&t, c->tree);
    parse_options(&t, c->options);
    if (!range)
        return picker_pick(&t.input, plan);
    const char *at = c->options ? strstr(c->options, "from=") : NULL;
    if (at)
        from = slice_of(at + 5, 1);
    at = c->options ? strstr(c->options, "to=") : NULL;
    if (at)
        to = slice_of(at + 3, 1);
    return picker_pick_range(&t.input, from, to, plan);
}

static void run_cases(const struct picker_case *cases, size_t count, bool range)
{
    unsigned bad = 0;
    for (size_t i = 0; i < count; i++) {
        struct picker_plan plan;
        char text[1000];
        assert_ok(pick(&cases[i], range, &plan));
        print_plan(&plan, text, sizeof text);
        if (strcmp(text, cases[i].plan) != 0) {
            printf("%s:\n  is     %s (%s)\n  not    %s\n", cases[i].name, text,
                   plan.reason, cases[i].plan);
            bad++;
        }
        assert_non_null(plan.reason);
        assert_true((plan.kind == PICKER_NONE) == (plan.score <= 0));
        picker_plan_deinit(&plan);
    }
    assert_int_equal(bad, 0);
}

#define RUN(cases, range)                                                      \
    run_cases(cases, sizeof(cases) / sizeof((cases)[0]), range)

/* ---- lazy leveling ------------------------------------------------------- */

static void test_flushes(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"nothing there", NULL, "", "none"},
        {"too few", NULL, "0/3: a-f*10 0/2: a-f*10 0/1: a-f*10", "none"},
        {"the first merge makes the bottom", NULL,
         "0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"nothing to be merged is moved", NULL,
         "0/4: a-b*50 0/3: c-d*50 0/2: e-f*50 0/1: g-h*50",
         "move 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"unless it is crumbs", NULL,
         "0/4: a-b*9 0/3: c-d*50 0/2: e-f*50 0/1: g-h*50",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"or a tombstone could go", NULL,
         "0/4: a-b*50-1 0/3: c-d*50 0/2: e-f*50 0/1: g-h*50",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"a job has one of them", NULL,
         "0/4: a-f*10 0/3: a-f*10! 0/2: a-f*10 0/1: a-f*10", "none blocked"},
        {"small beside the bottom: to rest above it", NULL,
         "0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 0/5: a-f*10 "
         "16/1: a-b*900 c-d*900 e-f*900",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/5 cuts c,e"},
        {"all at once, if it is not much", NULL,
         "0/8: a-f*60 0/7: a-f*60 0/6: a-f*60 0/5: a-f*60 16/1: a-f*100",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 > 16/1 old"},
        {"unless the bottom cannot be merged", "failed",
         "0/8: a-f*60 0/7: a-f*60 0/6: a-f*60 0/5: a-f*60 16/1: a-f*100",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/5"},
        {"not while a job works below", NULL,
         "0/8: a-f*60 0/7: a-f*60 0/6: a-f*60 0/5: a-f*60 16/1: a-f*100!",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/5"},
        {"the oldest ones first, as many as one job may have", "merge=50",
         "0/6: a-f*20 0/5: a-f*20 0/4: a-f*20 0/3: a-f*20 0/2: a-f*20 "
         "0/1: a-f*20",
         "merge 2:0+1 3:0+1 4:0+1 5:0+1 > 16/1 old"},
    };
    RUN(cases, false);
}

static void test_into_the_bottom(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"too little above it", NULL,
         "2/5: a-c*100 d-f*100 16/1: a-c*500 d-f*500", "none"},
        {"enough: it is marked", NULL,
         "2/5: a-c*200 d-f*200 16/1: a-c*500 d-f*500",
         "move 0:0+2 > 15/0 keep"},
        {"tombstones count with what they erase", NULL,
         "2/5: a-c*100-100 d-f*100-100 16/1: a-c*500 d-f*500",
         "move 0:0+2 > 15/0 keep"},
        {"a job has part of it", NULL,
         "2/5: a-c*200! d-f*200 16/1: a-c*500 d-f*500", "none blocked"},
        {"what is marked goes down, slice by slice", NULL,
         "15/5: a-c*200 d-f*200 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 > 16/1 old"},
        {"a slice past the one that a job has", NULL,
         "15/5: a-c*200! d-f*200 16/1: a-c*500 d-f*500",
         "merge 0:1+1 1:1+1 > 16/1 old"},
        {"all slices are taken", NULL,
         "15/5: a-c*200! d-f*200! 16/1: a-c*500 d-f*500", "none blocked"},
        {"a piece that overlaps nothing moves", NULL,
         "15/5: a-b*200 e-f*200 16/1: c-d*500 g-h*500",
         "move 0:0+2 > 16/1 old"},
        {"boundaries of the bottom stay, but for crumbs", NULL,
         "15/5: a-p*200 16/1: a-c*100 d-f*20 g-i*100 j-p*10",
         "merge 0:0+1 1:0+4 > 16/1 old cuts d"},
        {"flushes first", NULL,
         "0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*200 d-f*200 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/6 cuts d"},
        {"unless too much has gathered", NULL,
         "0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "merge 4:0+1 5:0+1 > 16/1 old"},
        {"or is there and not marked yet", NULL,
         "0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "2/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "move 4:0+2 > 15/0 keep"},
        {"but then flushes, where they are further behind", "since=400",
         "0/10: a-f*10 0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 > 2/6 cuts d"},
        {"or a middle level", NULL,
         "2/21: a-f*2 2/20: a-f*2 2/19: a-f*2 2/18: a-f*2 2/17: a-f*2 "
         "2/16: a-f*2 2/15: a-f*2 2/14: a-f*2 2/13: a-f*2 2/12: a-f*2 "
         "2/11: a-f*2 2/10: a-f*2 2/9: a-f*2 2/8: a-f*2 "
         "15/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 5:0+1 6:0+1 7:0+1 8:0+1 "
         "9:0+1 10:0+1 11:0+1 12:0+1 13:0+1 > 4/8 cuts d"},
        {"which does not count for ever", "since=401",
         "0/10: a-f*10 0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "merge 5:0+1 6:0+1 > 16/1 old"},
        {"unless the merge into the bottom fails", "since=401 failed",
         "0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*240 d-f*240 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/6 cuts d"},
        {"or all that gathered has a job", NULL,
         "0/9: a-f*10 0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 "
         "15/5: a-c*300! d-f*300! 16/1: a-c*500! d-f*500!",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 2/6 cuts d"},
        {"runs that stand at the bottom are one in the end", NULL,
         "16/5: a-c*200 16/1: a-c*500 d-f*500", "merge 0:0+1 1:0+1 > 16/1 old"},
        {"a run without a bottom becomes it", NULL, "2/5: a-c*200 d-f*200",
         "move 0:0+2 > 16/0 keep"},
        {"the oldest of several", NULL, "2/6: a-c*200 2/5: a-c*200 d-f*200",
         "move 1:0+2 > 16/0 keep"},
        {"a job has it", NULL, "2/5: a-c*200! d-f*200", "none blocked"},
    };
    RUN(cases, false);
}

static void test_middle(void **state)
{
    (void)state;
    static const char below[] =
        " 16/1: a-b*90000 c-d*90000 e-f*90000 g-h*90000";
    static const struct picker_case cases[] = {
        {"a merge under way goes on", "merge=100",
         "3/6: a-d*90 e-h*90 3/5: a-d*90 e-h*90 16/1: a-d*9000 e-h*9000",
         "merge 0:0+1 1:0+1 > 3/5"},
        {"it is complete: on to where it rests", "merge=100",
         "3/5: a-d*90 e-h*90 16/1: a-d*9000 e-h*9000", "move 0:0+2 > 4/0 keep"},
        {"not while a job has a part of it", "merge=100",
         "3/5: a-d*90 e-h*90! 16/1: a-d*9000 e-h*9000", "none blocked"},
    };
    RUN(cases, false);
    /* Enough runs rest at level 2: for a job at once, or marked. */
    char tree[1000];
    static const struct {
        const char *options, *runs, *plan;
    } resting[] = {
        {"merge=9000",
         "2/9: a-d*90 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 > 4/5 cuts c"},
        {"merge=200",
         "2/9: a-d*90 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90",
         "move 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 > 3/0 keep"},
        {"merge=200",
         "2/9: a-d*90! 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90",
         "none blocked"},
        {"merge=200",
         "2/9: a-d*90 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90 "
         "3/4: a-d*90!",
         "none blocked"},
        /* With those below that would be due then. */
        {"merge=9000",
         "2/9: a-d*90 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90 "
         "4/4: a-d*90 4/3: a-d*90 4/2: a-d*90",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 5:0+1 6:0+1 7:0+1 > 6/2 cuts c"},
        {"merge=9000",
         "2/9: a-d*90 2/8: a-d*90 2/7: a-d*90 2/6: a-d*90 2/5: a-d*90 "
         "4/4: a-d*90 4/3: a-d*90! 4/2: a-d*90",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+1 > 4/5 cuts c"},
    };
    for (size_t i = 0; i < sizeof resting / sizeof resting[0]; i++) {
        snprintf(tree, sizeof tree, "%s%s", resting[i].runs, below);
        struct picker_case c = {resting[i].runs, resting[i].options, tree,
                                resting[i].plan};
        run_cases(&c, 1, false);
    }
}

/* An import, or a picker of an older version. */
static void test_misplaced(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"a run above a newer one", NULL, "4/5: a-c*10 2/4: a-c*10",
         "move 1:0+1 > 4/0 keep"},
        {"a job has it", NULL, "4/5: a-c*10 2/4: a-c*10!", "none blocked"},
        {"the newer ones' deepest level counts", NULL,
         "4/6: a-c*10 6/5: a-c*10 2/4: a-c*10", "move 2:0+1 > 6/0 keep"},
    };
    RUN(cases, false);
}

static void test_idle(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"tidy already", "idle=9999", "0/5: a-f*10 16/1: a-f*900", "none"},
        {"garbage makes it worth while", "idle=9999 garbage=200",
         "0/5: a-f*10 16/1: a-f*900", "merge 0:0+1 > 2/5"},
        {"flushes first", "idle=9999",
         "0/6: a-f*100 0/5: a-f*100 16/1: a-f*900", "merge 0:0+1 1:0+1 > 2/5"},
        {"as far as the budget goes", "idle=150",
         "0/6: a-f*100 0/5: a-f*100 16/1: a-f*900", "none"},
        {"a job has them", "idle=9999",
         "0/6: a-f*100! 0/5: a-f*100 16/1: a-f*900", "none"},
        {"where newer bytes are densest", "idle=9999",
         "2/5: a-c*10 d-f*100 16/1: a-c*290 d-f*290",
         "merge 0:1+1 1:1+1 > 16/1 old"},
        {"what the budget cannot pay stays", "idle=100",
         "2/5: a-c*10 d-f*100 16/1: a-c*290 d-f*290", "none"},
        {"no bottom: the oldest run becomes it", "idle=9999 trigger=9",
         "0/5: a-f*100", "move 0:0+1 > 16/5 old"},
        {"nothing there", "idle=9999 garbage=5", "", "none"},
    };
    RUN(cases, false);
}

/* ---- the other policies -------------------------------------------------- */

static void test_leveled(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"too few", "leveled", "0/2: a-f*10 0/1: a-f*10", "none"},
        {"the first merge makes the bottom", "leveled",
         "0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"a job has one of them", "leveled",
         "0/4: a-f*10! 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10", "none blocked"},
        {"into a small bottom", "leveled merge=5000",
         "0/5: a-f*10 0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 "
         "16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 4:0+2 > 16/1 old cuts d"},
        {"above a large one", "leveled merge=5000",
         "0/5: a-f*10 0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 "
         "16/1: a-c*50000 d-f*50000",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 12/2 cuts d"},
        {"a level with more than its share: the cheapest piece goes down",
         "leveled merge=90000",
         "14/5: a-c*9000 d-f*9000 16/1: a-c*50000 d-f*9000",
         "merge 0:1+1 1:1+1 > 16/1 old"},
        {"no run below: all of it goes", "leveled", "14/5: a-c*900 d-f*900",
         "move 0:0+2 > 16/0 keep"},
        {"not while a job has a part of it", "leveled",
         "14/5: a-c*900! d-f*900", "none blocked"},
        {"no run on the level below", "leveled",
         "10/5: a-c*900 d-f*900 16/1: a-f*100", "move 0:0+2 > 12/0 keep"},
        {"what another policy left on an odd level", "leveled",
         "11/5: a-c*900 d-f*900 16/1: a-f*10000000", "move 0:0+2 > 12/0 keep"},
        {"several runs on a level", "leveled",
         "14/6: a-c*90 14/5: a-c*90 16/1: a-f*900000",
         "merge 0:0+1 1:0+1 > 14/5"},
        {"all in order", "leveled", "14/5: a-c*90 16/1: a-f*900000", "none"},
        {"its own trigger", "leveled trigger=0",
         "0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
    };
    RUN(cases, false);
}

static void test_tiered(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"too few for its own trigger", "tiered trigger=0",
         "0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10", "none"},
        {"enough for one that was set", "tiered trigger=2",
         "0/4: a-f*10 0/3: a-f*10", "merge 0:0+1 1:0+1 > 16/3 old"},
        {"a share as large as the bottom is due", "tiered",
         "2/5: a-c*200 d-f*200 16/1: a-c*500 d-f*500", "none"},
    };
    RUN(cases, false);
}

/* Without a trigger lazy leveling finds its own, from the ratio of data to
   memtable: more data, more tiers, and no fan-out below four at the top. */
static void test_own_fanouts(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"no data", "trigger=0", "0/3: a-f*10 0/2: a-f*10 0/1: a-f*10", "none"},
        {"no data", "trigger=0",
         "0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10",
         "merge 0:0+1 1:0+1 2:0+1 3:0+1 > 16/1 old"},
        {"much", "trigger=0 memtable=1",
         "0/4: a-f*1 0/3: a-f*1 0/2: a-f*1 16/1: a-f*900000", "none"},
        {"no memtable", "trigger=0 memtable=0",
         "0/4: a-f*1 0/3: a-f*1 0/2: a-f*1 16/1: a-f*900000", "none"},
    };
    RUN(cases, false);
}

/* ---- asked for ----------------------------------------------------------- */

static void test_range(void **state)
{
    (void)state;
    static const struct picker_case cases[] = {
        {"nothing there", NULL, "", "none"},
        {"flushes first", NULL, "0/5: a-f*10 16/1: a-f*9000",
         "merge 0:0+1 > 2/5"},
        {"not while a job has them", NULL, "0/5: a-f*10! 16/1: a-f*9000",
         "none blocked"},
        {"none that overlaps", "from=x", "0/5: a-f*10 16/1: a-f*9000", "none"},
        {"none that overlaps", "from=a to=b", "0/5: c-f*10 16/1: a-f*9000",
         "none"},
        {"flushes alone, elsewhere", "from=x", "0/5: a-f*10", "none"},
        {"no bottom: the oldest run becomes it", "from=x",
         "0/6: a-f*10 2/5: a-f*10", "move 1:0+1 > 16/0 keep"},
        {"a job has it", NULL, "2/5: a-f*10!", "none blocked"},
        {"what overlaps, nothing else", "from=e to=e",
         "2/5: a-c*100 d-f*100 16/1: a-c*500 d-f*500",
         "merge 0:1+1 1:1+1 > 16/1 old"},
        {"behind the last", "from=g",
         "2/5: a-c*100 d-f*100 16/1: a-c*500 d-f*500", "none"},
        {"it stops at the end of the range", "to=b",
         "2/5: a-c*100 d-f*100 16/1: a-c*500 d-f*500",
         "merge 0:0+1 1:0+1 > 16/1 old"},
        {"misplaced ones too", NULL, "4/5: a-c*10 2/4: a-c*10",
         "move 1:0+1 > 4/0 keep"},
        {"one run: done", NULL, "16/1: a-c*500 d-f*500", "none"},
    };
    RUN(cases, true);
}

/* ---- debt ---------------------------------------------------------------- */

static void test_debt(void **state)
{
    (void)state;
    static const struct {
        const char *tree;
        uint64_t bytes;
        unsigned runs;
        double above;
    } cases[] = {
        {"", 0, 0, 0},
        {"0/2: a-f*10 0/1: a-f*10", 0, 2, 0},
        {"0/4: a-f*10 0/3: a-f*10 0/2: a-f*10 0/1: a-f*10", 40, 4, 0},
        {"3/4: a-f*10 3/3: a-f*20 16/1: a-f*900", 30, 3, 0},
        {"3/4: a-f*10 16/1: a-f*900", 0, 2, 0},
        /* With the tables of the bottom that it spans. */
        {"15/4: c-e*50 16/1: a-b*100 c-c*200 e-g*400 h-i*800", 650, 2, 0},
        {"15/4: 16/1: a-b*100", 0, 1, 0},
        {"15/4: a-b*50", 50, 1, 0},
        /* Above four memtables of 100, against 0.4 of the bottom. */
        {"0/6: a-f*100 2/5: a-f*200 15/4: a-f*500 16/1: a-f*1000", 1500, 4, 1},
        {"2/5: a-f*1000 16/1: a-f*1000", 0, 2, 1.5},
        {"2/5: a-f*400 16/1: a-f*1000", 0, 2, 0},
        {"2/5: a-f*1000", 0, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct tree t;
        struct picker_debt debt;
        t = (struct tree){.input = {.run_count = 0}};
        parse_tree(&t, cases[i].tree);
        parse_options(&t, NULL);
        picker_debt(&t.input, &debt);
        assert_int_equal(debt.bytes, cases[i].bytes);
        assert_int_equal(debt.runs, cases[i].runs);
        assert_float_equal(debt.above, cases[i].above, 1e-6);
    }
}

/* ---- memory -------------------------------------------------------------- */

static adb_status pick_failing(void *context)
{
    const struct picker_case *c = context;
    struct picker_plan plan;
    failing_begin(NULL);
    adb_status status = pick(c, c->name[0] == 'r', &plan);
    failing_end(NULL);
    if (status == ADB_OK)
        assert_int_not_equal(plan.kind, PICKER_NONE);
    else
        assert_true(plan.kind == PICKER_NONE && !plan.sources && !plan.cuts);
    picker_plan_deinit(&plan);
    return status;
}

/* No plan, or a whole one. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static struct picker_case cases[] = {
        {"whole", NULL,
         "0/8: a-f*10 0/7: a-f*10 0/6: a-f*10 0/5: a-f*10 "
         "16/1: a-b*900 c-d*900 e-f*900",
         NULL},
        {"relabel", NULL, "2/5: a-c*200 d-f*200 16/1: a-c*500 d-f*500", NULL},
        {"slice", NULL, "15/5: a-p*200 16/1: a-c*100 d-f*20 g-i*100 j-p*10",
         NULL},
        {"aside", NULL, "16/100: a-c*10 d-f*10? 16/90: a-f*10", NULL},
        {"back", NULL, "16/100: a-c*10 d-f*10 17/9: a-f*10", NULL},
        {"range", NULL, "2/5: a-c*100 d-f*100 16/1: a-c*500 d-f*500", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(each_allocation(pick_failing, &cases[i], false) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_into_the_bottom),
        cmocka_unit_test(test_middle),
        cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_leveled),
        cmocka_unit_test(test_tiered),
        cmocka_unit_test(test_own_fanouts),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_debt),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
