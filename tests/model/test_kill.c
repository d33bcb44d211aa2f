/*
 * A real process, killed with SIGKILL at random moments. The child works
 * through operations that follow from a seed and reports, in shared memory,
 * how many were acknowledged; the parent opens what is left. What survives
 * must be a prefix of history: all that was acknowledged, at most the one
 * operation in flight beyond it (with durability=none any prefix that reaches
 * the last acknowledged flush). Then the same database is used on.
 * ADB_TEST_KILLS sets how many; `make soak-kill` runs many more.
 */
#include "model/model.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

struct shared {
    _Atomic uint64_t acknowledged;
    _Atomic uint64_t durable; /* acknowledged when the last flush or sync was */
    _Atomic int failed;
};

enum { ROUND_OPERATIONS = 200000, HISTORY = ROUND_OPERATIONS + 2 };

struct round {
    uint64_t seed;
    uint64_t first_value;
    const char *path, *options;
};

/* One operation, the same in parent and child; db NULL: the model alone. */
static adb_status operate(struct model *m, struct random *r, adb *db,
                          bool *barrier)
{
    static uint8_t bytes[MODEL_VALUE_MAX];
    adb_status status = ADB_OK;
    uint64_t dice = random_below(r, 1000);
    *barrier = false;
    if (dice < 2) {
        *barrier = true;
        return db ? (dice ? adb_sync(db) : adb_flush(db)) : ADB_OK;
    }
    if (dice < 60) {
        adb_batch *batch = db ? adb_batch_new() : NULL;
        for (uint64_t n = 1 + random_below(r, 30); n > 0; n--) {
            size_t key = random_below(r, MODEL_KEYS);
            uint64_t id = m->next_value++;
            model_put(m, key, id);
            if (db && status == ADB_OK)
                status = adb_batch_put(batch, m->keys[key], m->sizes[key],
                                       bytes, model_value(key, id, bytes));
        }
        if (db && status == ADB_OK)
            status = adb_write(db, NULL, batch);
        adb_batch_free(batch);
        return status;
    }
    size_t key = random_below(r, MODEL_KEYS);
    if (dice < 250) {
        model_delete(m, key);
        return db ? adb_delete(db, NULL, m->keys[key], m->sizes[key])
                  : ADB_OK;
    }
    uint64_t id = m->next_value++;
    model_put(m, key, id);
    return db ? adb_put(db, NULL, m->keys[key], m->sizes[key], bytes,
                        model_value(key, id, bytes))
              : ADB_OK;
}

static void child(const struct round *round, struct model *m,
                  struct shared *s)
{
    struct random r;
    bool barrier;
    random_seed(&r, round->seed);
    m->next_value = round->first_value;
    adb *db = model_open(round->path, round->options);
    for (uint64_t i = 0; i < ROUND_OPERATIONS; i++) {
        if (operate(m, &r, db, &barrier) != ADB_OK) {
            fprintf(stderr, "child: %s\n", adb_error_message());
            atomic_store(&s->failed, 1);
            _exit(1);
        }
        atomic_store(&s->acknowledged, i + 1);
        if (barrier)
            atomic_store(&s->durable, i + 1);
    }
    _exit(0);
}

static void kill_after(pid_t pid, struct random *r)
{
    /* Short lives too, so that opening and recovery are hit. */
    uint64_t us = random_below(r, 4) ? random_below(r, 60000)
                                     : random_below(r, 4000);
    usleep((useconds_t)us);
    kill(pid, SIGKILL);
    int ignored;
    waitpid(pid, &ignored, 0);
}

/* Replays the round in the model until its state is what the database holds;
   fails when no state in [low, high] is. */
static void check_prefix(const struct round *round, struct model *m,
                         uint64_t found, uint64_t low, uint64_t high)
{
    struct random r;
    bool barrier;
    random_seed(&r, round->seed);
    m->next_value = round->first_value;
    uint64_t earlier = UINT64_MAX;
    for (uint64_t i = 0;; i++) {
        if (i >= low && m->hash == found)
            return;
        if (m->hash == found)
            earlier = i;
        if (i >= high)
            break;
        if (operate(m, &r, NULL, &barrier) != ADB_OK)
            break;
    }
    if (earlier != UINT64_MAX)
        printf("it is the state after %llu operations\n",
               (unsigned long long)earlier);
    fail_msg("what survived is no state of operations %llu to %llu; round "
             "seed %llu, options %s",
             (unsigned long long)low, (unsigned long long)high,
             (unsigned long long)round->seed, round->options);
}

static const char *const durabilities[] = {"process", "process", "none",
                                           "sync"};

static void run_round(struct random *random, struct model *m,
                      const char *path, struct shared *s)
{
    char options[1100];
    struct round round = {.path = path, .options = options};
    model_options(random, options, sizeof options - 32);
    const char *durability = durabilities[random_below(random, 4)];
    strcat(options, " durability=");
    strcat(options, durability);
    round.seed = random_next(random);
    round.first_value = m->next_value;
    atomic_store(&s->acknowledged, 0);
    atomic_store(&s->durable, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(&round, m, s);
    assert_true(pid > 0);
    kill_after(pid, random);
    assert_false(atomic_load(&s->failed));

    uint64_t acknowledged = atomic_load(&s->acknowledged);
    bool none = strcmp(durability, "none") == 0;
    adb *db = model_open(path, options);
    uint64_t found = model_scan(m, db);
    check_prefix(&round, m, found, none ? atomic_load(&s->durable)
                                        : acknowledged,
                 acknowledged + 1);
    /* Alive: one more write, sometimes a clean close before the next. */
    uint64_t id = m->next_value++;
    static uint8_t bytes[MODEL_VALUE_MAX];
    assert_ok(adb_put(db, NULL, m->keys[7], m->sizes[7], bytes,
                      model_value(7, id, bytes)));
    model_put(m, 7, id);
    assert_ok(adb_close(db));
}

static void test_kill(void **state)
{
    (void)state;
    struct random random;
    static struct model m;
    uint64_t seed = test_seed();
    const char *text = getenv("ADB_TEST_KILLS");
    uint64_t kills = text ? strtoull(text, NULL, 0) : test_scaled(60, 40);
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s != MAP_FAILED);
    random_seed(&random, seed);
    model_init(&m, seed);
    char *path = scratch_new();
    for (uint64_t i = 0; i < kills; i++)
        run_round(&random, &m, path, s);
    printf("%llu kills\n", (unsigned long long)kills);
    scratch_remove(path);
    munmap(s, sizeof *s);
    model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
