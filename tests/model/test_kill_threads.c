/*
 * A process with several writing threads, killed with SIGKILL. Each thread has
 * keys of its own and says in shared memory how many of its operations were
 * acknowledged, and before each operation, how many of everybody's it saw
 * acknowledged. What survives must be, of each thread, a prefix of its history
 * that holds what was acknowledged (with durability=none: before the last flush
 * began), and all together a prefix of one history: an operation survives only
 * with all that were acknowledged before it began.
 * ADB_TEST_KILLS sets how many.
 */
#include <pthread.h>

#include "base/alloc.h"
#include "db/db.h"
#include "model/killing.h"

enum { WRITERS = 3, OPERATIONS = 20000, BATCH_MAX = 12 };

struct shared {
    _Atomic uint64_t acknowledged; /* by anyone: the work has begun */
    _Atomic uint64_t done[WRITERS];
    _Atomic uint64_t durable[WRITERS]; /* done when a flush or sync began */
    _Atomic int failed;
    /* Before operation i of a writer: what was done by each. */
    uint32_t seen[WRITERS][OPERATIONS][WRITERS];
};

struct writer {
    const struct model *keys;
    struct shared *shared;
    adb *db; /* NULL: the model alone */
    unsigned number;
    struct random random;
    uint64_t next_value;
    uint64_t *values; /* of all keys; the writer's own are used */
    uint64_t hash;    /* over its own keys */
    pthread_t thread;
    uint8_t bytes[MODEL_VALUE_MAX];
};

static struct writer writers[WRITERS];

static size_t own_key(struct writer *w)
{
    return random_below(&w->random, MODEL_KEYS / WRITERS) * WRITERS + w->number;
}

static void set(struct writer *w, size_t key, uint64_t value)
{
    w->hash ^= model_hash_of(key, w->values[key]) ^ model_hash_of(key, value);
    w->values[key] = value;
}

/* ---- operations, the same in parent and child ---- */

/* What is done when a flush begins is durable when it ends. */
static void flush(struct writer *w)
{
    uint64_t before[WRITERS];
    bool sync = random_below(&w->random, 2);
    if (!w->db)
        return;
    for (size_t i = 0; i < WRITERS; i++)
        before[i] = atomic_load(&w->shared->done[i]);
    must(sync ? adb_sync(w->db) : adb_flush(w->db));
    for (size_t i = 0; i < WRITERS; i++) {
        uint64_t known = atomic_load(&w->shared->durable[i]);
        while (known < before[i] &&
               !atomic_compare_exchange_weak(&w->shared->durable[i], &known,
                                             before[i]))
            ;
    }
}

static void put_batch(struct writer *w)
{
    adb_batch *batch = w->db ? adb_batch_new() : NULL;
    for (uint64_t n = 1 + random_below(&w->random, BATCH_MAX); n > 0; n--) {
        size_t key = own_key(w);
        uint64_t id = w->next_value++;
        set(w, key, id);
        if (w->db)
            must(adb_batch_put(batch, w->keys->keys[key], w->keys->sizes[key],
                               w->bytes, model_value(key, id, w->bytes)));
    }
    if (w->db)
        must(adb_write(w->db, NULL, batch));
    adb_batch_free(batch);
}

static void put_one(struct writer *w)
{
    size_t key = own_key(w);
    uint64_t id = random_below(&w->random, 5) ? w->next_value++ : 0;
    set(w, key, id);
    if (!w->db)
        return;
    if (id)
        must(adb_put(w->db, NULL, w->keys->keys[key], w->keys->sizes[key],
                     w->bytes, model_value(key, id, w->bytes)));
    else
        must(adb_delete(w->db, NULL, w->keys->keys[key], w->keys->sizes[key]));
}

static void operate(struct writer *w)
{
    uint64_t dice = random_below(&w->random, 600);
    if (dice == 0)
        flush(w);
    else if (dice < 60)
        put_batch(w);
    else
        put_one(w);
}

/* ---- the process that is killed ---- */

static void *write_on(void *argument)
{
    struct writer *w = argument;
    struct shared *s = w->shared;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        for (size_t other = 0; other < WRITERS; other++)
            s->seen[w->number][i][other] =
                (uint32_t)atomic_load(&s->done[other]);
        operate(w);
        atomic_store(&s->done[w->number], i + 1);
        atomic_store(&s->acknowledged, 1);
    }
    return NULL;
}

static _Noreturn void child(const char *path, const char *options,
                            const struct strike *strike)
{
    model_env_set_strike(strike);
    adb *db = model_open(path, options);
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i].db = db;
        if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]))
            die("no thread");
    }
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    must(adb_close(db));
    _exit(0);
}

/* ---- what is left ---- */

/* After how many operations the writer's keys are as found: from least to
   most. */
struct place {
    uint64_t least, most;
};

static struct place find_place(struct writer *w, uint64_t found, uint64_t low,
                               uint64_t high, const char *options)
{
    struct place p = {UINT64_MAX, 0};
    for (uint64_t i = 0; i <= high; i++) {
        if (i >= low && w->hash == found) {
            p.least = p.least == UINT64_MAX ? i : p.least;
            p.most = i;
        } else if (p.least != UINT64_MAX) {
            break;
        }
        if (i < high)
            operate(w);
    }
    if (p.least == UINT64_MAX)
        die("what survived of writer %u is no state of its operations %llu to "
            "%llu; options %s",
            w->number, (unsigned long long)low, (unsigned long long)high,
            options);
    return p;
}

static void check_order(const struct shared *s, const struct place *places,
                        const char *options)
{
    for (size_t i = 0; i < WRITERS; i++) {
        if (places[i].least == 0)
            continue;
        const uint32_t *seen = s->seen[i][places[i].least - 1];
        for (size_t other = 0; other < WRITERS; other++)
            if (places[other].most < seen[other])
                die("operation %llu of writer %zu survived, operation %u of "
                    "writer %zu, acknowledged before, did not; options %s",
                    (unsigned long long)places[i].least, i, seen[other], other,
                    options);
    }
}

static void check_all(const struct shared *s, const uint64_t *found, bool none,
                      const char *options)
{
    struct place places[WRITERS];
    for (size_t i = 0; i < WRITERS; i++) {
        uint64_t hash = 0, done = atomic_load(&s->done[i]);
        uint64_t low = none ? atomic_load(&s->durable[i]) : done;
        for (size_t key = i; key < MODEL_KEYS; key += WRITERS)
            hash ^= model_hash_of(key, found[key]);
        places[i] = find_place(&writers[i], hash, low,
                               done < OPERATIONS ? done + 1 : done, options);
    }
    check_order(s, places, options);
}

static void begin_round(struct random *r, struct shared *s,
                        const struct model *m, uint64_t *values)
{
    memset(s, 0, offsetof(struct shared, seen));
    for (size_t i = 0; i < WRITERS; i++) {
        struct writer *w = &writers[i];
        w->keys = m;
        w->shared = s;
        w->number = (unsigned)i;
        w->values = values;
        w->hash = 0;
        for (size_t key = i; key < MODEL_KEYS; key += WRITERS)
            w->hash ^= model_hash_of(key, values[key]);
        random_seed(&w->random, random_next(r));
    }
}

static void run_round(struct random *random, const struct model *m,
                      uint64_t *values, const char *scratch, const char *path,
                      struct shared *s)
{
    static uint64_t found[MODEL_KEYS];
    char options[MODEL_OPTIONS_MAX + 32];
    const char *durability;
    killing_options(random, options, &durability);
    begin_round(random, s, m, values);
    struct killing end = killing_choose(random, 15, 30000);
    end.started = !end.strike.number;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(path, options, &end.strike);
    killing_wait(pid, &end, &s->acknowledged, &s->failed, options);
    killing_openers(random, path, options);
    killing_keep(scratch);
    adb *db = model_open(path, options);
    model_scan(m, db, found);
    check_all(s, found, strcmp(durability, "none") == 0, options);
    for (size_t i = 0; i < WRITERS; i++)
        writers[i].next_value += OPERATIONS * BATCH_MAX;
    memcpy(values, found, sizeof found);
    must(adb_close(db));
}

static void test_kill_threads(void **state)
{
    (void)state;
    struct random random;
    static struct model m;
    static uint64_t values[MODEL_KEYS];
    const char *text = getenv("ADB_TEST_KILLS");
    uint64_t kills = text ? strtoull(text, NULL, 0) : test_scaled(100, 15);
    struct shared *s = killing_share(sizeof *s);
    random_seed(&random, test_seed());
    model_init(&m, 1);
    for (size_t i = 0; i < WRITERS; i++)
        writers[i].next_value = 1 + (i << 48);
    char *scratch = scratch_new(), *path = env_join(scratch, "db");
    for (uint64_t i = 0; i < kills; i++) {
        run_round(&random, &m, values, scratch, path, s);
        if (i % 1000 == 999)
            printf("%llu kills\n", (unsigned long long)i + 1);
    }
    printf("%llu kills of %d writers\n", (unsigned long long)kills, WRITERS);
    scratch_remove(scratch);
    mem_free(path);
    model_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
