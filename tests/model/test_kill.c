/*
 * A real process, killed with SIGKILL: at random moments, and at the n-th
 * operation on the file system, before it, half way through or after it, a
 * store into the mapped log included. The child works through operations that
 * follow from a seed and reports, in shared memory, how many were acknowledged;
 * then some more openings are killed in recovery, and the parent opens what is
 * left. What survives must be a prefix of history: all that was acknowledged,
 * at most the one operation in flight beyond it (with durability=none any
 * prefix that reaches the last acknowledged flush). Then the same database is
 * used on. What the last opening of a failing round found stays in the scratch
 * directory, as scratch-XXXXXX/found.
 * ADB_TEST_KILLS sets how many; `make soak-kill` runs many more.
 */
#include <sys/mman.h>

#include "base/alloc.h"
#include "db/db.h"
#include "model/killing.h"

struct shared {
    _Atomic uint64_t acknowledged;
    _Atomic uint64_t durable; /* acknowledged when the last flush or sync was */
    _Atomic int failed;
};

enum { BATCH_MAX = 30 };

struct round {
    uint64_t seed;
    uint64_t first_value;
    const char *path, *options;
    uint64_t operations;
    unsigned maintain_one_in; /* operations: flushes, openings and such */
    struct killing end;
};

/* The child's database; NULL in the parent, which runs the model alone. */
struct worker {
    const struct round *round;
    adb *db;
    bool barrier; /* the operation made all before it durable */
};

static adb_status reopen(struct worker *w)
{
    if (!w->db)
        return ADB_OK;
    adb_status status = adb_close(w->db);
    if (status == ADB_OK)
        w->db = model_open(w->round->path, w->round->options);
    return status;
}

static adb_status maintain(struct worker *w, uint64_t dice)
{
    adb_slice all = {0, 0};
    w->barrier = true;
    switch (dice) {
    case 0:
        return w->db ? adb_flush(w->db) : ADB_OK;
    case 1:
        return reopen(w);
    case 2:
        w->barrier = false;
        return w->db ? adb_compact(w->db, all, all) : ADB_OK;
    default:
        return w->db ? adb_sync(w->db) : ADB_OK;
    }
}

static adb_status put_batch(struct worker *w, struct model *m, struct random *r)
{
    static uint8_t bytes[MODEL_VALUE_MAX];
    adb_status status = ADB_OK;
    adb_batch *batch = w->db ? adb_batch_new() : NULL;
    for (uint64_t n = 1 + random_below(r, BATCH_MAX); n > 0; n--) {
        size_t key = random_below(r, MODEL_KEYS);
        uint64_t id = m->next_value++;
        model_put(m, key, id);
        if (w->db && status == ADB_OK)
            status = adb_batch_put(batch, m->keys[key], m->sizes[key], bytes,
                                   model_value(key, id, bytes));
    }
    if (w->db && status == ADB_OK)
        status = adb_write(w->db, NULL, batch);
    adb_batch_free(batch);
    return status;
}

static adb_status put_one(struct worker *w, struct model *m, struct random *r)
{
    static uint8_t bytes[MODEL_VALUE_MAX];
    adb_write_options o = ADB_WRITE_OPTIONS_INIT;
    size_t key = random_below(r, MODEL_KEYS);
    uint64_t id = m->next_value++;
    w->barrier = random_below(r, 500) == 0;
    if (w->barrier)
        o.durability = ADB_DURABILITY_SYNC;
    model_put(m, key, id);
    return w->db ? adb_put(w->db, &o, m->keys[key], m->sizes[key], bytes,
                           model_value(key, id, bytes))
                 : ADB_OK;
}

/* One operation, the same in parent and child. */
static adb_status operate(struct worker *w, struct model *m, struct random *r)
{
    w->barrier = false;
    if (random_below(r, w->round->maintain_one_in) == 0)
        return maintain(w, random_below(r, 5));
    uint64_t dice = random_below(r, 100);
    if (dice < 6)
        return put_batch(w, m, r);
    if (dice >= 25)
        return put_one(w, m, r);
    size_t key = random_below(r, MODEL_KEYS);
    model_delete(m, key);
    return w->db ? adb_delete(w->db, NULL, m->keys[key], m->sizes[key])
                 : ADB_OK;
}

/* ---- the process that is killed ---- */

static _Noreturn void child(const struct round *round, struct model *m,
                            struct shared *s)
{
    struct random r;
    struct worker w = {.round = round};
    random_seed(&r, round->seed);
    m->next_value = round->first_value;
    model_env_set_strike(&round->end.strike);
    w.db = model_open(round->path, round->options);
    for (uint64_t i = 0; i < round->operations; i++) {
        if (operate(&w, m, &r) != ADB_OK) {
            fprintf(stderr, "child: %s\n", adb_error_message());
            atomic_store(&s->failed, 1);
            _exit(1);
        }
        atomic_store(&s->acknowledged, i + 1);
        if (w.barrier)
            atomic_store(&s->durable, i + 1);
    }
    if (adb_close(w.db) != ADB_OK)
        atomic_store(&s->failed, 1);
    _exit(0);
}

/* ---- what is left ---- */

/* Replays the round in the model until its state is what the database holds;
   fails when no state in [low, high] is. */
static void check_prefix(const struct round *round, struct model *m,
                         uint64_t found, uint64_t low, uint64_t high)
{
    struct random r;
    struct worker w = {.round = round};
    random_seed(&r, round->seed);
    m->next_value = round->first_value;
    uint64_t earlier = UINT64_MAX;
    for (uint64_t i = 0;; i++) {
        if (i >= low && m->hash == found)
            return;
        if (m->hash == found)
            earlier = i;
        if (i >= high || operate(&w, m, &r) != ADB_OK)
            break;
    }
    if (earlier != UINT64_MAX)
        printf("it is the state after %llu operations\n",
               (unsigned long long)earlier);
    die("what survived is no state of operations %llu to %llu; round seed "
        "%llu, options %s",
        (unsigned long long)low, (unsigned long long)high,
        (unsigned long long)round->seed, round->options);
}

/* Alive: one more write, and an end of this kind or that. */
static void use_on(adb *db, struct model *m, struct random *random)
{
    static uint8_t bytes[MODEL_VALUE_MAX];
    uint64_t id = m->next_value++;
    model_check_keys(m, db, random, 20);
    if (random_below(random, 8) == 0)
        must(adb_verify(db, NULL, NULL, NULL));
    must(adb_put(db, NULL, m->keys[7], m->sizes[7], bytes,
                 model_value(7, id, bytes)));
    model_put(m, 7, id);
    if (random_below(random, 4) == 0 &&
        db_durability(db) != ADB_DURABILITY_NONE)
        db_test_abandon(db);
    else
        must(adb_close(db));
}

struct place {
    struct random random;
    struct model model;
    struct shared *shared;
    char *scratch, *path;
};

/* Runs and ends a child, opens what it left, checks that and goes on. True: the
   child was killed. */
static bool run_round(struct place *p, struct round *round, char *options,
                      const char *durability)
{
    struct shared *s = p->shared;
    struct model *m = &p->model;
    round->path = p->path;
    round->options = options;
    round->seed = random_next(&p->random);
    round->first_value = m->next_value;
    atomic_store(&s->acknowledged, 0);
    atomic_store(&s->durable, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(round, m, s);
    bool killed =
        killing_wait(pid, &round->end, &s->acknowledged, &s->failed, options);
    killing_openers(&p->random, p->path, options);
    killing_keep(p->scratch);

    uint64_t acknowledged = atomic_load(&s->acknowledged);
    bool none = strcmp(durability, "none") == 0;
    adb *db = model_open(p->path, options);
    uint64_t found = model_scan(m, db, NULL);
    check_prefix(round, m, found,
                 none ? atomic_load(&s->durable) : acknowledged,
                 acknowledged + 1);
    /* Identities of what was lost do not come again. */
    m->next_value = round->first_value + (acknowledged + 1) * BATCH_MAX + 1;
    use_on(db, m, &p->random);
    return killed;
}

static void begin(struct place *p)
{
    uint64_t seed = test_seed();
    random_seed(&p->random, seed);
    model_init(&p->model, seed);
    p->shared = killing_share(sizeof *p->shared);
    p->scratch = scratch_new();
    p->path = env_join(p->scratch, "db");
}

static void end(struct place *p)
{
    scratch_remove(p->scratch);
    mem_free(p->path);
    munmap(p->shared, sizeof *p->shared);
    model_deinit(&p->model);
}

static void test_kill(void **state)
{
    (void)state;
    static struct place p;
    const char *text = getenv("ADB_TEST_KILLS");
    uint64_t kills = text ? strtoull(text, NULL, 0) : test_scaled(500, 40);
    begin(&p);
    for (uint64_t i = 0; i < kills; i++) {
        char options[MODEL_OPTIONS_MAX + 32];
        const char *durability;
        struct round round = {.operations = 200000, .maintain_one_in = 400};
        killing_options(&p.random, options, &durability);
        round.end = killing_choose(&p.random, 16,
                                   random_below(&p.random, 4) ? 30000 : 4000);
        round.end.started =
            !round.end.strike.number && random_below(&p.random, 4) != 0;
        run_round(&p, &round, options, durability);
        if (i % 1000 == 999)
            printf("%llu kills\n", (unsigned long long)i + 1);
    }
    printf("%llu kills\n", (unsigned long long)kills);
    end(&p);
}

/* A short life, killed at each of its operations in turn: first those of
   opening, then of writes, a flush, a merge and a close. */
static void test_each_operation(void **state)
{
    (void)state;
    static struct place p;
    unsigned kills = 0;
    begin(&p);
    for (uint64_t number = 1; number <= test_scaled(100, 20); number++) {
        for (enum strike_phase phase = STRIKE_BEFORE; phase <= STRIKE_AFTER;
             phase++) {
            char options[MODEL_OPTIONS_MAX + 32];
            const char *durability;
            struct round round = {.operations = 20, .maintain_one_in = 4};
            killing_options(&p.random, options, &durability);
            round.end = (struct killing){
                .after_us = 20000000,
                .strike = {STRIKE_ANY, number, phase},
            };
            kills += run_round(&p, &round, options, durability);
        }
    }
    printf("%u kills\n", kills);
    assert_true(kills > test_scaled(200, 40));
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation),
        cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
