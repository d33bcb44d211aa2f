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
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "db/db.h"
#include "model/model.h"
#include "model/model_env.h"

struct shared {
    _Atomic uint64_t acknowledged;
    _Atomic uint64_t durable; /* acknowledged when the last flush or sync was */
    _Atomic int failed;
};

enum { ROUND_OPERATIONS = 200000 };
static const uint64_t strike_limit_us = 100000; /* it may never strike */

struct round {
    uint64_t seed;
    uint64_t first_value;
    const char *path, *options;
    bool started;           /* first wait for an acknowledgement */
    uint64_t kill_after_us; /* if nothing strikes it before */
    struct strike strike;
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

static adb_status put_batch(struct worker *w, struct model *m,
                            struct random *r)
{
    static uint8_t bytes[MODEL_VALUE_MAX];
    adb_status status = ADB_OK;
    adb_batch *batch = w->db ? adb_batch_new() : NULL;
    for (uint64_t n = 1 + random_below(r, 30); n > 0; n--) {
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
    uint64_t dice = random_below(r, 2000);
    w->barrier = false;
    if (dice < 5)
        return maintain(w, dice);
    if (dice < 120)
        return put_batch(w, m, r);
    if (dice >= 500)
        return put_one(w, m, r);
    size_t key = random_below(r, MODEL_KEYS);
    model_delete(m, key);
    return w->db ? adb_delete(w->db, NULL, m->keys[key], m->sizes[key])
                 : ADB_OK;
}

/* ---- the processes that are killed ---- */

static _Noreturn void child(const struct round *round, struct model *m,
                            struct shared *s)
{
    struct random r;
    struct worker w = {.round = round};
    random_seed(&r, round->seed);
    m->next_value = round->first_value;
    model_env_set_strike(&round->strike);
    w.db = model_open(round->path, round->options);
    for (uint64_t i = 0; i < ROUND_OPERATIONS; i++) {
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

/* Only opens and closes: recovery that is cut short. */
static _Noreturn void opener(const struct round *round, struct shared *s)
{
    model_env_set_strike(&round->strike);
    adb *db = model_open(round->path, round->options);
    if (round->seed % 2 && adb_close(db) != ADB_OK) {
        fprintf(stderr, "opener: %s\n", adb_error_message());
        atomic_store(&s->failed, 1);
    }
    _exit(0);
}

/* A busy machine may take long to get the child to work. */
static void wait_for_start(const struct shared *s)
{
    for (int i = 0; i < 20000 && atomic_load(&s->acknowledged) == 0; i++)
        usleep(100);
}

static void end_child(pid_t pid, const struct round *round, struct shared *s)
{
    int status = 0;
    uint64_t waited_us = 0;
    if (pid < 0)
        die("fork failed");
    if (round->started)
        wait_for_start(s);
    if (!round->strike.number) {
        usleep((useconds_t)round->kill_after_us);
        waited_us = round->kill_after_us;
    }
    for (; waitpid(pid, &status, WNOHANG) == 0; waited_us += 200) {
        if (waited_us >= round->kill_after_us)
            kill(pid, SIGKILL);
        usleep(200);
    }
    if (atomic_load(&s->failed) ||
        (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL
                             : WEXITSTATUS(status) != 0))
        die("the child ended with status %#x; options %s", (unsigned)status,
            round->options);
}

/* When, or at which operation. Small numbers too, so that opening is hit. */
static void choose_end(struct round *round, struct random *r,
                       unsigned largest_bits, uint64_t longest_us)
{
    round->strike = (struct strike){0};
    round->kill_after_us = 1 + random_below(r, longest_us);
    if (random_below(r, 2))
        return;
    round->kill_after_us = strike_limit_us;
    uint64_t bits = 1 + random_below(r, largest_bits);
    static const unsigned kinds[] = {STRIKE_ANY, STRIKE_FILES, STRIKE_DATA};
    round->strike = (struct strike){
        .kinds = kinds[random_below(r, 3)],
        .number = 1 + random_below(r, UINT64_C(1) << bits),
        .phase = (enum strike_phase)random_below(r, 3),
    };
    if (round->strike.kinds == STRIKE_FILES)
        round->strike.number = 1 + random_below(r, 400);
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

/* A copy of what the last opening finds, for whoever looks into a failure. */
static void copy_found(const char *path)
{
    char command[5000];
    snprintf(command, sizeof command,
             "cd '%s/..' && rm -rf found && cp -r db found", path);
    if (system(command) != 0)
        die("cannot copy %s", path);
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

static const char *const durabilities[] = {"process", "process", "none",
                                           "sync"};

static void kill_openers(struct round *round, struct random *random,
                         struct shared *s)
{
    struct round again = *round;
    again.started = false;
    while (random_below(random, 3) == 0) {
        again.seed = random_next(random);
        choose_end(&again, random, 7, 6000);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            opener(&again, s);
        end_child(pid, &again, s);
    }
}

static void run_round(struct random *random, struct model *m,
                      const char *path, struct shared *s)
{
    char options[MODEL_OPTIONS_MAX + 32];
    struct round round = {.path = path, .options = options};
    model_options(random, options);
    const char *durability = durabilities[random_below(random, 4)];
    strcat(options, " durability=");
    strcat(options, durability);
    round.seed = random_next(random);
    round.first_value = m->next_value;
    choose_end(&round, random, 16, random_below(random, 4) ? 30000 : 4000);
    round.started = !round.strike.number && random_below(random, 4) != 0;
    atomic_store(&s->acknowledged, 0);
    atomic_store(&s->durable, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(&round, m, s);
    end_child(pid, &round, s);
    kill_openers(&round, random, s);

    uint64_t acknowledged = atomic_load(&s->acknowledged);
    bool none = strcmp(durability, "none") == 0;
    copy_found(path);
    adb *db = model_open(path, options);
    uint64_t found = model_scan(m, db);
    check_prefix(&round, m, found, none ? atomic_load(&s->durable)
                                        : acknowledged,
                 acknowledged + 1);
    use_on(db, m, random);
}

static void test_kill(void **state)
{
    (void)state;
    struct random random;
    static struct model m;
    uint64_t seed = test_seed();
    const char *text = getenv("ADB_TEST_KILLS");
    uint64_t kills = text ? strtoull(text, NULL, 0) : test_scaled(500, 40);
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s != MAP_FAILED);
    random_seed(&random, seed);
    model_init(&m, seed);
    char *scratch = scratch_new(), *path = env_join(scratch, "db");
    for (uint64_t i = 0; i < kills; i++)
        run_round(&random, &m, path, s);
    printf("%llu kills\n", (unsigned long long)kills);
    scratch_remove(scratch);
    mem_free(path);
    munmap(s, sizeof *s);
    model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
