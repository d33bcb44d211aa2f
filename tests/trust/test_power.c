/*
 * Power is cut after every change of the disk: writes, stores through the map,
 * syncs, renames, removals, truncations - of creation, writing, flushing,
 * merging, manifests replaced, logs reused, closing, opening after a kill.
 *
 * Where at most 8 items are not durable, all subsets of them are images of the
 * disk "as after a power cut", else 64 random ones. Each image is opened, and
 * again while it is being cut during that recovery, twice nested. The oracle:
 *   - all that was acknowledged as durable before the cut is there,
 *   - what is there is a state that history went through, batches whole,
 *   - it takes a new write, which is there after yet another power cut.
 *
 * ADB_TEST_IMAGES says how many images to look at; where it is less than all,
 * they are drawn evenly. `make soak-power` looks at many more.
 */
#include "trust/store.h"

#include <inttypes.h>

#include "base/thread.h"

enum { WORKERS = 2, QUEUE = 16, ALL_SUBSETS = 8, RANDOM_CUTS = 64 };
enum { TABLE = 1 << 22 };

/* Images seen: the hash, and for the present run the state found in it. */
struct seen {
    uint64_t hash;
    uint64_t found;
    uint32_t run;
};

struct image {
    struct env *env; /* owned */
    uint64_t hash;
    size_t low, high; /* writes */
    bool created;
    unsigned depth;
    uint64_t seed;
    char operation[32], path[96];
};

struct world {
    /* one run */
    char name[400];
    char options[400];
    struct script script;
    uint64_t roll;
    uint32_t run;
    bool rehearsal;
    double share; /* of images looked at */
    _Atomic size_t started, durable; /* writes */
    _Atomic bool created;
    _Atomic uint64_t planned, events;

    struct mutex lock; /* guards the rest */
    struct condition changed;
    struct random random;
    struct image queue[QUEUE];
    size_t queued, busy;
    bool stop;
    struct seen *seen; /* owned */
    uint64_t distinct, looked_at, nested;
};

/* ---- one image ---- */

static const char *describe(const struct world *w, const struct image *m)
{
    static char text[1200];
    snprintf(text, sizeof text,
             "%s\n  cut after '%s %s', depth %u, writes %zu to %zu, image "
             "%016" PRIx64 "\n  options %s",
             w->name, m->operation, m->path, m->depth, m->low, m->high,
             m->hash, w->options);
    return text;
}

#define die_of(w, m, original, ...)                                            \
    do {                                                                       \
        store_dump(original, "power-failure");                                 \
        fprintf(stderr, __VA_ARGS__);                                          \
        die("%s", describe(w, m));                                             \
    } while (0)

static void expect(struct world *w, const struct image *m,
                   struct env *original, uint64_t found)
{
    size_t at = SIZE_MAX;
    for (size_t i = 0; i <= w->script.writes; i++)
        if (w->script.hashes[i] == found) {
            at = i;
            if (i >= m->low && i <= m->high)
                return;
        }
    if (at == SIZE_MAX)
        die_of(w, m, original, "what survived is no state of history");
    die_of(w, m, original, "what survived is the state after write %zu", at);
}

/* Has this image been looked at? Then what was found holds for it too. */
static bool seen_before(struct world *w, const struct image *m,
                        uint64_t *found)
{
    bool known = false;
    mutex_lock(&w->lock);
    size_t i = m->hash & (TABLE - 1);
    while (w->seen[i].hash && w->seen[i].hash != m->hash)
        i = (i + 1) & (TABLE - 1);
    if (w->seen[i].hash == m->hash && w->seen[i].run == w->run) {
        known = true;
        *found = w->seen[i].found;
    }
    mutex_unlock(&w->lock);
    return known;
}

static void remember(struct world *w, const struct image *m, uint64_t found)
{
    mutex_lock(&w->lock);
    size_t i = m->hash & (TABLE - 1);
    while (w->seen[i].hash && w->seen[i].hash != m->hash)
        i = (i + 1) & (TABLE - 1);
    w->distinct += !w->seen[i].hash;
    if (w->distinct > TABLE / 2)
        die("more images than the table holds");
    w->seen[i] = (struct seen){m->hash, found, w->run};
    w->looked_at++;
    w->nested += m->depth > 0;
    mutex_unlock(&w->lock);
}

static void look_at(struct world *w, struct image *m);

struct nested {
    struct world *world;
    const struct image *of;
    struct random random;
    struct mutex lock; /* guards random */
    _Atomic bool active;
};

static void observe_recovery(void *context, struct env *env,
                             const char *operation, const char *path)
{
    struct nested *n = context;
    if (!atomic_load(&n->active))
        return;
    struct image m = {.low = n->of->low,
                      .high = n->of->high,
                      .created = n->of->created,
                      .depth = n->of->depth + 1};
    mutex_lock(&n->lock);
    bool chosen = random_below(&n->random, n->of->depth ? 8 : 2) == 0;
    m.seed = random_next(&n->random);
    if (chosen)
        m.env = env_memory_crash(env, &n->random, ~UINT64_C(0));
    mutex_unlock(&n->lock);
    if (!chosen)
        return;
    snprintf(m.operation, sizeof m.operation, "%s", operation);
    snprintf(m.path, sizeof m.path, "%s", path);
    look_at(n->world, &m);
}

static adb *open_image(struct world *w, struct image *m, struct env *env,
                       struct env *original, bool create)
{
    struct adb_options o;
    adb *db = NULL;
    store_options(&o, w->options, env);
    o.manifest_roll_bytes = w->roll;
    o.values.create_if_missing = create;
    if (adb_open(STORE_PATH, &o, &db) != ADB_OK)
        die_of(w, m, original, "open: %s", adb_error_message());
    return db;
}

static void scan_image(struct world *w, struct image *m, struct env *original,
                       adb *db, struct random *r, struct store_state *s)
{
    if (store_scan(db, r, s) != ADB_OK)
        die_of(w, m, original, "scan: %s", adb_error_message());
}

/* A new write, then another cut or a clean close: all of it is there. */
static void go_on(struct world *w, struct image *m, struct env *original,
                  adb *db, struct random *r, struct store_state *expected)
{
    struct step put = {.kind = STEP_WRITE,
                       .durability = ADB_DURABILITY_SYNC,
                       .count = 1};
    struct store_state found;
    uint64_t dice = random_below(r, 4);
    put.edits[0].key = (uint8_t)random_below(r, STORE_KEYS);
    put.edits[0].id = UINT64_C(0x7fffffff) | (8 + random_below(r, 400)) << 32;
    if (dice < 3) {
        if (store_apply(db, &put) != ADB_OK)
            die_of(w, m, original, "write: %s", adb_error_message());
        expected->ids[put.edits[0].key] = put.edits[0].id;
    }
    /* dice 3: a database that was only read from. */
    if (dice != 2)
        db_test_abandon(db);
    else if (adb_close(db) != ADB_OK)
        die_of(w, m, original, "close: %s", adb_error_message());
    struct env *after = env_memory_crash(m->env, r, ~UINT64_C(0));
    db = open_image(w, m, after, original, false);
    scan_image(w, m, original, db, r, &found);
    if (memcmp(&found, expected, sizeof found) != 0)
        die_of(w, m, original,
               "after recovery, a write and another cut the database differs");
    db_test_abandon(db);
    env_memory_free(after);
}

static void look_at(struct world *w, struct image *m)
{
    uint64_t known;
    struct store_state found;
    struct random r;
    random_seed(&r, m->seed);
    m->hash = env_memory_hash(m->env);
    if (!m->hash)
        m->hash = 1;
    if (seen_before(w, m, &known)) {
        expect(w, m, m->env, known);
        env_memory_free(m->env);
        return;
    }
    struct env *original = env_memory_clone(m->env);
    struct nested n = {.world = w, .of = m};
    bool cut_recovery = m->depth < 2 && random_below(&r, 12) == 0;
    if (cut_recovery) {
        mutex_init(&n.lock);
        random_seed(&n.random, random_next(&r));
        atomic_store(&n.active, true);
        env_memory_set_observer(m->env, observe_recovery, &n);
    }
    adb *db = open_image(w, m, m->env, original, !m->created);
    atomic_store(&n.active, false);
    scan_image(w, m, original, db, &r, &found);
    expect(w, m, original, store_hash(&found));
    remember(w, m, store_hash(&found));
    go_on(w, m, original, db, &r, &found);
    env_memory_free(m->env);
    env_memory_free(original);
    if (cut_recovery)
        mutex_deinit(&n.lock);
}

/* ---- workers ---- */

static void *worker(void *context)
{
    struct world *w = context;
    mutex_lock(&w->lock);
    for (;;) {
        while (!w->queued && !w->stop)
            condition_wait(&w->changed, &w->lock);
        if (!w->queued)
            break;
        struct image m = w->queue[--w->queued];
        w->busy++;
        condition_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        look_at(w, &m);
        mutex_lock(&w->lock);
        w->busy--;
        condition_broadcast(&w->changed);
    }
    mutex_unlock(&w->lock);
    return NULL;
}

static void drain(struct world *w)
{
    mutex_lock(&w->lock);
    while (w->queued || w->busy)
        condition_wait(&w->changed, &w->lock);
    mutex_unlock(&w->lock);
}

/* ---- the run ---- */

static void take_image(struct world *w, struct env *env, uint64_t choice,
                       const char *operation, const char *path)
{
    struct image m = {.created = atomic_load(&w->created),
                      .low = atomic_load(&w->durable)};
    struct random r;
    mutex_lock(&w->lock);
    bool chosen =
        (double)random_below(&w->random, 1u << 30) < w->share * (1u << 30);
    m.seed = random_next(&w->random);
    mutex_unlock(&w->lock);
    if (!chosen)
        return;
    random_seed(&r, m.seed + 1);
    m.env = env_memory_crash(env, &r, choice);
    m.high = atomic_load(&w->started);
    snprintf(m.operation, sizeof m.operation, "%s", operation);
    snprintf(m.path, sizeof m.path, "%s", path);
    mutex_lock(&w->lock);
    while (w->queued == QUEUE)
        condition_wait(&w->changed, &w->lock);
    w->queue[w->queued++] = m;
    condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
}

static void observe(void *context, struct env *env, const char *operation,
                    const char *path)
{
    struct world *w = context;
    size_t pending = env_memory_pending(env);
    bool all = pending <= ALL_SUBSETS;
    uint64_t count = all ? UINT64_C(1) << pending : RANDOM_CUTS;
    atomic_fetch_add(&w->planned, count);
    atomic_fetch_add(&w->events, 1);
    for (uint64_t i = 0; i < count && !w->rehearsal; i++)
        take_image(w, env, all ? i : ~UINT64_C(0), operation, path);
}

static adb *open_store(struct world *w, struct env *env)
{
    struct adb_options o;
    adb *db;
    store_options(&o, w->options, env);
    o.manifest_roll_bytes = w->roll;
    if (adb_open(STORE_PATH, &o, &db) != ADB_OK)
        die("%s: open: %s", w->name, adb_error_message());
    return db;
}

static bool makes_durable(const struct world *w, const struct step *s)
{
    bool sync = strstr(w->options, "durability=sync") != NULL;
    return s->kind != STEP_WRITE || sync ||
           s->durability == ADB_DURABILITY_SYNC;
}

static void live(struct world *w, struct env *env)
{
    atomic_store(&w->started, 0);
    atomic_store(&w->durable, 0);
    atomic_store(&w->created, false);
    atomic_store(&w->planned, 0);
    adb *db = open_store(w, env);
    atomic_store(&w->created, true);
    for (size_t i = 0; i < w->script.count; i++) {
        const struct step *s = &w->script.steps[i];
        atomic_store(&w->started, s->writes);
        if (s->kind == STEP_CLOSE || s->kind == STEP_KILL) {
            adb_status status = ADB_OK;
            if (s->kind == STEP_CLOSE)
                status = adb_close(db);
            else
                db_test_abandon(db);
            if (status != ADB_OK)
                die("%s: close: %s", w->name, adb_error_message());
            if (s->kind == STEP_CLOSE)
                atomic_store(&w->durable, s->writes);
            db = open_store(w, env);
        } else if (store_apply(db, s) != ADB_OK) {
            die("%s: step %zu: %s", w->name, i, adb_error_message());
        }
        if (makes_durable(w, s))
            atomic_store(&w->durable, s->writes);
    }
    if (adb_close(db) != ADB_OK)
        die("%s: close: %s", w->name, adb_error_message());
    atomic_store(&w->durable, w->script.writes);
}

static const char *pick(struct random *r, const char *const *list, size_t n)
{
    return list[random_below(r, n)];
}
#define PICK(r, ...)                                                           \
    pick(r, (const char *const[]){__VA_ARGS__},                                \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void choose_options(struct world *w, struct random *r, bool map)
{
    snprintf(w->options, sizeof w->options,
             "memory_budget=1M memtable_size=32K wal_segment_min=64K "
             "wal_access=%s durability=%s max_memtables=%s "
             "wal_segment_max=%s compression=%s block_size=%s "
             "compaction=%s background_threads=%s sync_interval=%s "
             "table_size=64K",
             map ? "map" : "write",
             PICK(r, "sync", "process", "process", "none"),
             PICK(r, "2", "3", "4"), PICK(r, "64K", "64K", "256K"),
             PICK(r, "none", "lz4", "zstd"), PICK(r, "1K", "4K"),
             PICK(r, "lazy", "lazy", "leveled", "tiered"),
             PICK(r, "2", "2", "3"), PICK(r, "5ms", "1s"));
    w->roll = random_below(r, 2) ? 600 : 0;
}

static void run(struct world *w, uint64_t seed, uint64_t budget)
{
    struct random r;
    random_seed(&r, seed);
    enum env_memory_model model =
        w->run % 2 ? ENV_MEMORY_STRICT : ENV_MEMORY_ORDERED;
    choose_options(w, &r, w->run / 2 % 2 == 0);
    bool none = strstr(w->options, "durability=none") != NULL;
    struct script_shape shape = {
        .steps = 120 + random_below(&r, 200),
        .kills = !none,
        .reopens = true,
        .huge = random_below(&r, 3) == 0,
        .barrier_permille = 30 + (unsigned)random_below(&r, 120),
        .raise_percent = (unsigned)random_below(&r, none ? 5 : 40),
    };
    script_make(&w->script, &shape, &r);
    snprintf(w->name, sizeof w->name,
             "run %u, ADB_TEST_SEED=%" PRIu64 ", %s", w->run, seed,
             model == ENV_MEMORY_STRICT ? "strict" : "ordered");
    for (int pass = 0; pass < 2; pass++) {
        struct env *env = env_memory_new(model);
        w->rehearsal = pass == 0;
        env_memory_set_observer(env, observe, w);
        live(w, env);
        if (pass == 0) {
            uint64_t planned = atomic_load(&w->planned);
            w->share = (double)budget / (double)MAX_OF(planned, 1u);
        } else {
            drain(w);
        }
        env_memory_free(env);
    }
    script_free(&w->script);
}

static void test_power(void **state)
{
    (void)state;
    static struct world w;
    struct thread threads[WORKERS] = {{0}};
    const char *text = getenv("ADB_TEST_IMAGES");
    uint64_t goal = text ? strtoull(text, NULL, 0) : test_scaled(100000, 1500);
    uint64_t seed = test_seed(), began = clock_now_ns();
    uint64_t each = MAX_OF(goal / 16, (uint64_t)100);
    mutex_init(&w.lock);
    condition_init(&w.changed);
    random_seed(&w.random, seed);
    w.seen = calloc(TABLE, sizeof *w.seen);
    for (int i = 0; i < WORKERS; i++)
        assert_ok(thread_start(&threads[i], "looker", worker, &w));
    /* A run's own seed repeats it alone. */
    for (w.run = 0; w.distinct < goal; w.run++) {
        uint64_t before = w.distinct;
        run(&w, seed + w.run, MIN_OF(each, (uint64_t)20000));
        if (w.distinct == before)
            fail_msg("a run without new images");
    }
    mutex_lock(&w.lock);
    w.stop = true;
    condition_broadcast(&w.changed);
    mutex_unlock(&w.lock);
    for (int i = 0; i < WORKERS; i++)
        thread_join(&threads[i]);
    double seconds = (double)(clock_now_ns() - began) / 1e9;
    printf("%" PRIu64 " distinct images, %" PRIu64 " of them cut during "
           "recovery, in %u runs, %.1f s, %.0f a second\n",
           w.distinct, w.nested, w.run, seconds,
           (double)w.distinct / seconds);
    free(w.seen);
    condition_deinit(&w.changed);
    mutex_deinit(&w.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_power)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
