/*
 * The picker around damaged tables: a tree of tables with known keys is loaded,
 * merged as the plans say, damaged and released at random. Damaged tables are
 * no input of a merge; ages stay true and what a reader would see stays right
 * at every step; everything else goes on being merged.
 */
#include "base/alloc.h"
#include "base/random.h"
#include "compaction/picker.h"
#include "support.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

enum { KEYS = 400, TABLES_MAX = 4000, RUNS_MAX = 400, ENTRY_BYTES = 100 };
enum { FLUSH_KEYS = 60, TABLE_KEYS = 80 };
#define FIRST_RUN (UINT64_C(1) << 40)

struct entry {
    unsigned key;
    uint64_t seq;
    bool deleted;
};
struct table {
    uint64_t number;
    uint32_t level;
    uint64_t run;
    struct entry *entries; /* owned; ascending */
    size_t count;
    bool busy, quarantined;
};
struct tree {
    struct table tables[TABLES_MAX];
    size_t count;
    uint64_t next_number, next_run, seq;
    uint64_t newest[KEYS]; /* sequence of the newest version; 0: deleted */
    struct random random;
    uint64_t merges, moves, asides, returns;
};

/* The picker's view, newest run first. */
struct view {
    struct picker_input input;
    struct picker_run runs[RUNS_MAX];
    struct picker_table tables[TABLES_MAX];
    size_t index[TABLES_MAX]; /* into the tree */
    char keys[2 * TABLES_MAX][8];
};

/* ---- the tree ---- */

static int table_order(const void *a, const void *b)
{
    const struct table *x = a, *y = b;
    if (x->run != y->run)
        return x->run > y->run ? -1 : 1;
    return x->entries[0].key < y->entries[0].key ? -1 : 1;
}

static adb_slice key_text(struct view *v, size_t slot, unsigned key)
{
    snprintf(v->keys[slot], sizeof v->keys[slot], "%06u", key);
    return slice_of(v->keys[slot], 6);
}

static void look(struct tree *t, struct view *v)
{
    *v = (struct view){.input = {.runs = v->runs}};
    qsort(t->tables, t->count, sizeof t->tables[0], table_order);
    for (size_t i = 0; i < t->count; i++) {
        const struct table *from = &t->tables[i];
        if (i == 0 || from[-1].run != from->run) {
            assert_true(v->input.run_count < RUNS_MAX);
            v->runs[v->input.run_count++] =
                (struct picker_run){.level = from->level,
                                    .run = from->run,
                                    .tables = &v->tables[i]};
        }
        v->runs[v->input.run_count - 1].count++;
        v->tables[i] = (struct picker_table){
            .number = from->number,
            .size = from->count * ENTRY_BYTES,
            .entries = from->count,
            .smallest = key_text(v, 2 * i, from->entries[0].key),
            .largest =
                key_text(v, 2 * i + 1, from->entries[from->count - 1].key),
            .busy = from->busy,
            .quarantined = from->quarantined,
        };
        for (size_t e = 0; e < from->count; e++)
            v->tables[i].tombstones += from->entries[e].deleted;
    }
}

static struct table *add_table(struct tree *t, uint32_t level, uint64_t run)
{
    assert_true(t->count < TABLES_MAX);
    struct table *made = &t->tables[t->count++];
    *made = (struct table){.number = t->next_number++,
                           .level = level,
                           .run = run,
                           .entries = calloc(KEYS, sizeof *made->entries)};
    return made;
}

static void flush(struct tree *t)
{
    bool used[KEYS] = {false};
    struct table *made = add_table(t, 0, t->next_run++);
    unsigned low = (unsigned)random_below(&t->random, 2) * KEYS / 2;
    for (int i = 0; i < FLUSH_KEYS; i++)
        used[low + random_below(&t->random, KEYS / 2)] = true;
    for (unsigned key = 0; key < KEYS; key++) {
        if (!used[key])
            continue;
        bool deleted = random_below(&t->random, 4) == 0;
        made->entries[made->count++] = (struct entry){key, ++t->seq, deleted};
        t->newest[key] = deleted ? 0 : t->seq;
    }
}

/* ---- the oracle ---- */

static void check_order(const struct tree *t, const struct view *v)
{
    for (size_t i = 1; i < v->input.run_count; i++)
        assert_true(v->runs[i - 1].level <= v->runs[i].level);
    for (size_t i = 1; i < t->count; i++) {
        const struct table *a = &t->tables[i - 1], *b = a + 1;
        if (a->run != b->run)
            continue;
        assert_int_equal(a->level, b->level);
        assert_true(a->entries[a->count - 1].key < b->entries[0].key);
    }
}

/* Newest run first: sequences of a key fall, and the first one met is right. */
static void check_keys(const struct tree *t)
{
    uint64_t last[KEYS];
    bool met[KEYS] = {false};
    memset(last, 0xff, sizeof last);
    for (size_t i = 0; i < t->count; i++) {
        for (size_t e = 0; e < t->tables[i].count; e++) {
            const struct entry *x = &t->tables[i].entries[e];
            if (x->seq >= last[x->key])
                fail_msg("key %u: %llu below %llu", x->key,
                         (unsigned long long)x->seq,
                         (unsigned long long)last[x->key]);
            last[x->key] = x->seq;
            if (!met[x->key])
                assert_int_equal(x->deleted ? 0 : x->seq, t->newest[x->key]);
            met[x->key] = true;
        }
    }
    for (unsigned key = 0; key < KEYS; key++)
        assert_true(met[key] || t->newest[key] == 0);
}

static void check_tree(struct tree *t, struct view *v)
{
    look(t, v);
    check_order(t, v);
    check_keys(t);
}

/* ---- carrying out plans ---- */

static void gather(struct tree *t, const struct view *v,
                   const struct picker_plan *plan, struct entry *newest)
{
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct picker_source *source = &plan->sources[s];
        const struct picker_run *run = &v->runs[source->run_index];
        for (size_t j = 0; j < source->count; j++) {
            size_t at = (size_t)(run->tables - v->tables) + source->first + j;
            struct table *table = &t->tables[at];
            assert_false(table->busy || table->quarantined);
            for (size_t e = 0; e < table->count; e++) {
                const struct entry *x = &table->entries[e];
                if (x->seq > newest[x->key].seq)
                    newest[x->key] = *x;
            }
            free(table->entries);
            table->entries = NULL;
        }
    }
}

static void drop_gone(struct tree *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++)
        if (t->tables[i].entries)
            t->tables[kept++] = t->tables[i];
    t->count = kept;
}

static void merge(struct tree *t, const struct view *v,
                  const struct picker_plan *plan)
{
    struct entry newest[KEYS] = {{0}};
    struct table *made = NULL;
    size_t cut = 0;
    gather(t, v, plan, newest);
    drop_gone(t);
    for (unsigned key = 0; key < KEYS; key++) {
        char text[8];
        snprintf(text, sizeof text, "%06u", key);
        bool ends = false;
        while (cut < plan->cut_count &&
               slice_compare(slice_of(text, 6), plan->cuts[cut]) >= 0) {
            cut++;
            ends = true;
        }
        if (!newest[key].seq || (newest[key].deleted && plan->output_bottom))
            continue;
        if (!made || ends || made->count * ENTRY_BYTES >= plan->table_bytes)
            made = add_table(t, plan->output_level, plan->output_run);
        made->entries[made->count++] = newest[key];
    }
    t->merges++;
}

static void move(struct tree *t, const struct view *v,
                 const struct picker_plan *plan)
{
    uint64_t older = 0;
    for (size_t s = plan->source_count; s-- > 0;) {
        const struct picker_source *source = &plan->sources[s];
        const struct picker_run *run = &v->runs[source->run_index];
        uint64_t to = plan->keep_runs ? run->run : plan->output_run;
        if (plan->new_runs) {
            if (s + 1 < plan->source_count &&
                plan->sources[s + 1].run_index != source->run_index)
                older++;
            to += older;
        }
        for (size_t j = 0; j < source->count; j++) {
            size_t at = (size_t)(run->tables - v->tables) + source->first + j;
            assert_false(t->tables[at].busy);
            t->tables[at].level = plan->output_level;
            t->tables[at].run = to;
        }
    }
    t->moves++;
    t->asides += plan->output_level == PICKER_ASIDE_LEVEL;
    t->returns += strcmp(plan->reason, "what was set aside returns") == 0;
}

static void set_options(struct picker_input *input, enum picker_policy policy)
{
    input->options = (struct picker_options){
        .policy = policy,
        .memtable_bytes = FLUSH_KEYS * ENTRY_BYTES,
        .table_bytes = TABLE_KEYS * ENTRY_BYTES,
        .max_merge_bytes = 4 * FLUSH_KEYS * ENTRY_BYTES,
        .flush_trigger = 4,
    };
}

/* One plan. False: nothing is due. */
static bool step(struct tree *t, struct view *v, enum picker_policy policy,
                 bool all)
{
    struct picker_plan plan;
    look(t, v);
    set_options(&v->input, policy);
    v->input.next_run = t->next_run;
    adb_slice none = slice_of(NULL, 0);
    assert_ok(all ? picker_pick_range(&v->input, none, none, &plan)
                  : picker_pick(&v->input, &plan));
    bool due = plan.kind != PICKER_NONE;
    if (plan.kind == PICKER_MERGE)
        merge(t, v, &plan);
    else if (due)
        move(t, v, &plan);
    picker_plan_deinit(&plan);
    check_tree(t, v);
    return due;
}

static void settle(struct tree *t, struct view *v, enum picker_policy policy,
                   bool all)
{
    for (int i = 0; step(t, v, policy, all); i++)
        assert_true(i < 3000);
}

/* ---- random runs ---- */

static size_t count_quarantined(const struct tree *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->count; i++)
        n += t->tables[i].quarantined;
    return n;
}

static void damage_one(struct tree *t)
{
    if (t->count && count_quarantined(t) < 4)
        t->tables[random_below(&t->random, t->count)].quarantined = true;
}

static void release_all(struct tree *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->tables[i].quarantined = false;
}

static size_t count_runs(const struct view *v, bool aside)
{
    size_t n = 0;
    for (size_t i = 0; i < v->input.run_count; i++)
        n += (v->runs[i].level >= PICKER_ASIDE_LEVEL) == aside;
    return n;
}

static struct tree *new_tree(uint64_t seed)
{
    struct tree *t = calloc(1, sizeof *t);
    t->next_number = 1;
    t->next_run = FIRST_RUN;
    random_seed(&t->random, seed);
    return t;
}

static void free_tree(struct tree *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->tables[i].entries);
    free(t);
}

static void run(enum picker_policy policy, uint64_t seed, uint64_t sum[4])
{
    struct tree *t = new_tree(seed);
    struct view *v = calloc(1, sizeof *v);
    size_t most_runs = 0;
    for (int i = 0; i < 300; i++) {
        flush(t);
        if (random_below(&t->random, 40) == 0)
            damage_one(t);
        if (random_below(&t->random, 90) == 0)
            release_all(t);
        settle(t, v, policy, false);
        look(t, v);
        most_runs = MAX_OF(most_runs, count_runs(v, false));
        struct picker_debt debt;
        set_options(&v->input, policy);
        picker_debt(&v->input, &debt);
        assert_int_equal(debt.runs, count_runs(v, false));
    }
    /* Damage never makes runs pile up: the same bound as without it. */
    assert_true(most_runs <= 8);
    for (size_t i = 0; i < t->count; i++)
        if (t->tables[i].quarantined)
            assert_int_equal(t->tables[i].level, PICKER_ASIDE_LEVEL);
    /* Released, all of it comes back to one run. */
    release_all(t);
    settle(t, v, policy, true);
    look(t, v);
    assert_int_equal(count_runs(v, true), 0);
    assert_true(count_runs(v, false) <= 1);
    sum[0] += t->merges;
    sum[1] += t->moves;
    sum[2] += t->asides;
    sum[3] += t->returns;
    free(v);
    free_tree(t);
}

static void test_random(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), sum[4] = {0};
    for (uint64_t i = 0; i < test_scaled(60, 12); i++)
        run((enum picker_policy)(i % 3), seed + i, sum);
    printf("%llu merges, %llu moves, %llu times set aside, %llu returns\n",
           (unsigned long long)sum[0], (unsigned long long)sum[1],
           (unsigned long long)sum[2], (unsigned long long)sum[3]);
    assert_true(sum[2] > 20 && sum[3] > 10);
}

/* ---- by hand ---- */

static void put_table(struct tree *t, uint32_t level, uint64_t run,
                      unsigned from, unsigned to, bool busy, bool quarantined)
{
    struct table *made = add_table(t, level, run);
    /* An older run's sequences are smaller. */
    made->entries[made->count++] = (struct entry){from, run * 1000 + from, 0};
    made->entries[made->count++] = (struct entry){to, run * 1000 + to, 0};
    made->busy = busy;
    made->quarantined = quarantined;
}

static void plan_of(struct tree *t, struct view *v, struct picker_plan *plan)
{
    look(t, v);
    set_options(&v->input, PICKER_LAZY);
    assert_ok(picker_pick(&v->input, plan));
}

/* The picture in picker.h. */
static void test_older_tables_go_along(void **state)
{
    (void)state;
    struct tree *t = new_tree(1);
    struct view *v = calloc(1, sizeof *v);
    struct picker_plan plan;
    put_table(t, 2, 1005, 0, 9, false, false);
    put_table(t, 2, 1005, 15, 25, false, true);
    put_table(t, 2, 1005, 35, 39, false, false);
    for (unsigned i = 0; i < 4; i++)
        put_table(t, 16, 1001, 10 * i, 10 * i + 9, false, false);
    plan_of(t, v, &plan);
    assert_int_equal(plan.kind, PICKER_MOVE);
    assert_true(plan.new_runs);
    assert_int_equal(plan.output_level, PICKER_ASIDE_LEVEL);
    assert_int_equal(plan.output_run, 500); /* between 0 and 1001 */
    assert_int_equal(plan.source_count, 2);
    assert_int_equal(plan.sources[0].run_index, 0);
    assert_int_equal(plan.sources[0].first, 1);
    assert_int_equal(plan.sources[0].count, 1);
    assert_int_equal(plan.sources[1].run_index, 1);
    assert_int_equal(plan.sources[1].first, 1);
    assert_int_equal(plan.sources[1].count, 2);
    move(t, v, &plan);
    picker_plan_deinit(&plan);
    look(t, v);
    assert_int_equal(v->input.run_count, 4);
    assert_int_equal(v->runs[2].run, 501); /* Q above what it overlaps */
    assert_int_equal(v->runs[3].run, 500);
    free(v);
    free_tree(t);
}

/* While one of them is an input, everything waits, so that it comes to pass. */
static void test_waits_for_running_merges(void **state)
{
    (void)state;
    struct tree *t = new_tree(1);
    struct view *v = calloc(1, sizeof *v);
    struct picker_plan plan;
    for (unsigned i = 0; i < 5; i++)
        put_table(t, 0, 1010 + i, 100, 199, false, false);
    put_table(t, 16, 1001, 0, 9, false, true);
    put_table(t, 16, 1001, 100, 199, true, false);
    plan_of(t, v, &plan); /* the busy table does not overlap */
    assert_true(plan.new_runs);
    picker_plan_deinit(&plan);
    t->tables[0].quarantined = true;
    plan_of(t, v, &plan);
    assert_int_equal(plan.kind, PICKER_NONE);
    assert_true(plan.blocked);
    picker_plan_deinit(&plan);
    free(v);
    free_tree(t);
}

/* A database that was made before numbers were left over. */
static void test_no_numbers_left(void **state)
{
    (void)state;
    struct tree *t = new_tree(1);
    struct view *v = calloc(1, sizeof *v);
    struct picker_plan plan;
    for (unsigned i = 0; i < 5; i++)
        put_table(t, 0, 10 + i, 100, 199, false, false);
    put_table(t, 16, 1, 0, 9, false, true);
    put_table(t, 16, 1, 20, 29, false, false);
    plan_of(t, v, &plan);
    assert_int_equal(plan.kind, PICKER_MERGE); /* of level 0 */
    assert_int_equal(plan.source_count, 5);
    picker_plan_deinit(&plan);
    free(v);
    free_tree(t);
}

/* Tombstones above what is set aside stay: it may hold what they hide. */
static void test_tombstones_stay(void **state)
{
    (void)state;
    struct tree *t = new_tree(1);
    struct view *v = calloc(1, sizeof *v);
    struct picker_plan plan;
    for (unsigned i = 0; i < 4; i++)
        put_table(t, 0, 1010 + i, 0, 99, false, false);
    put_table(t, PICKER_ASIDE_LEVEL, 1, 50, 59, false, true);
    plan_of(t, v, &plan);
    assert_int_equal(plan.kind, PICKER_MERGE);
    assert_int_equal(plan.output_level, PICKER_BOTTOM_LEVEL);
    assert_false(plan.output_bottom);
    picker_plan_deinit(&plan);
    free(v);
    free_tree(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_older_tables_go_along),
        cmocka_unit_test(test_waits_for_running_merges),
        cmocka_unit_test(test_no_numbers_left),
        cmocka_unit_test(test_tombstones_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
