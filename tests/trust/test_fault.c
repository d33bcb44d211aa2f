/*
 * Calls to the system and allocations that fail: every k-th of a run that
 * writes, flushes, merges, closes and opens again, once and for ever. Whatever
 * fails,
 *   - a call tells of it, or it did not matter: a write that fails did not
 *     happen, unless its outcome is said to be unknown;
 *   - nothing acknowledged is lost, now and after a power cut;
 *   - when the cause is gone writes work again, without opening anew;
 *   - nothing crashes, hangs or (under the sanitizer) leaks.
 *
 * Runs are spread over processes, which also bounds what a crash takes along.
 * ADB_TEST_FAULTS says how many runs; where it is less than all, k is drawn
 * evenly from all calls.
 */
#include "trust/store.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/thread.h"

enum { STEPS = 300, PROCESSES = 8, PATIENCE_S = 10, HANG_S = 60 };
enum { FAILURES_BORNE = 30 }; /* steps that fail before the cause goes */

struct mode {
    const char *name;
    struct env_fault_rule rule; /* skip and count are filled in */
    bool allocations;
};

static const unsigned writing = ENV_FAULT_WRITE | ENV_FAULT_ALLOCATE |
                                ENV_FAULT_MAKE_DIR | ENV_FAULT_POPULATE |
                                ENV_FAULT_TRUNCATE;
static struct mode modes[] = {
    {"any call, EIO", {.operations = ENV_FAULT_ANY, .error = EIO}, false},
    {"a full disk", {.error = ENOSPC}, false},
    {"a full disk after some bytes", {.error = ENOSPC, .partial = 50}, false},
    {"short writes",
     {.operations = ENV_FAULT_WRITE, .error = EIO, .partial = 600},
     false},
    {"failed syncs that drop pages",
     {.operations = ENV_FAULT_SYNC | ENV_FAULT_SYNC_DIR,
      .error = EIO,
      .drop_on_sync_failure = true},
     false},
    {"no descriptors",
     {.operations = ENV_FAULT_OPEN | ENV_FAULT_LOCK | ENV_FAULT_LIST,
      .error = EMFILE},
     false},
    {"allocations", {.error = ENOMEM}, true},
};
enum { MODES = sizeof modes / sizeof modes[0] };

struct run {
    char name[300];
    char options[300];
    const struct mode *mode;
    uint64_t k;
    bool forever, strict;
    struct script script;
    struct random random;
    struct env *disk, *env;
    adb *db; /* NULL: not open */
    bool cleared;
    unsigned failures;
    size_t at; /* step */
    uint64_t seed;
    /* history: states[i] after i writes that happened (or may have) */
    struct store_state states[STEPS + 64];
    size_t count, durable;
    bool ghost; /* the next state of it may turn up after a crash */
    bool known_open; /* an open has returned: the database exists */
};

static char watched[400];

static void on_alarm(int number)
{
    (void)number;
    static const char text[] = "\nhangs: ";
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, watched, strlen(watched));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- failing allocations ---- */

static _Atomic uint64_t allocations;
static uint64_t allocation_first, allocation_count;
static _Atomic bool paused; /* while the test itself looks at images */

static int fail_allocation(void *context, size_t size)
{
    (void)context, (void)size;
    if (atomic_load(&paused))
        return 0;
    uint64_t i = atomic_fetch_add(&allocations, 1);
    return i >= allocation_first && i - allocation_first < allocation_count;
}

/* ---- faults on and off ---- */

static void arm(struct run *t)
{
    uint64_t count = t->forever ? UINT64_MAX : 1;
    atomic_store(&allocations, 0);
    if (t->mode->allocations) {
        allocation_first = t->k;
        allocation_count = t->k == UINT64_MAX ? 0 : count;
        mem_set_fail_hook(fail_allocation, NULL);
        return;
    }
    struct env_fault_rule rule = t->mode->rule;
    if (!rule.operations)
        rule.operations = writing;
    rule.skip = t->k;
    rule.count = count;
    env_fault_set(t->env, &rule);
}

static uint64_t calls(struct run *t)
{
    unsigned operations = t->mode->rule.operations;
    return t->mode->allocations
               ? atomic_load(&allocations)
               : env_fault_calls(t->env, operations ? operations : writing);
}

/* The hook stays: it may only be taken away while nobody allocates. */
static void disarm(struct run *t)
{
    if (t->mode->allocations)
        atomic_store(&allocations, UINT64_MAX / 2);
    allocation_count = 0;
    env_fault_set(t->env, NULL);
    t->cleared = true;
}

/* ---- the oracle ---- */

static bool matches(struct run *t, const struct store_state *found,
                    size_t low, size_t *at)
{
    for (size_t i = t->count + 1 + t->ghost; i-- > low;)
        if (memcmp(found, &t->states[i], sizeof *found) == 0) {
            *at = i;
            return true;
        }
    return false;
}

static adb_status open_on(struct run *t, struct env *env, bool create,
                          adb **db)
{
    struct adb_options o;
    store_options(&o, t->options, env);
    o.manifest_roll_bytes = 700;
    o.values.create_if_missing = create;
    return adb_open(STORE_PATH, &o, db);
}

static void fail_with(struct run *t, struct env *image, const char *what)
{
    fprintf(stderr, "\n%s: %s\n", what, adb_error_message());
    fprintf(stderr,
            "history has %zu writes, %zu durable, step %zu, %u failures%s\n"
            "options %s\n"
            "ADB_TEST_FAULT=\"%zu %" PRIu64 " %" PRIu64 " %d\"\n",
            t->count, t->durable, t->at, t->failures,
            t->cleared ? ", cause gone" : "", t->options,
            (size_t)(t->mode - modes), t->seed, t->k, t->forever);
    if (image)
        store_dump(image, "fault-failure");
    die("%s", t->name);
}

/* After a power cut now, all that was promised is there. */
static void check_cut(struct run *t)
{
    struct store_state found;
    size_t at;
    adb *db;
    atomic_store(&paused, true);
    for (unsigned i = 0; i < 2; i++) {
        struct env *image =
            env_memory_crash(t->disk, &t->random, ~UINT64_C(0));
        struct env *original = env_memory_clone(image);
        if (open_on(t, image, !t->known_open, &db) != ADB_OK)
            fail_with(t, original, "a power cut, then open");
        if (store_scan(db, &t->random, &found) != ADB_OK)
            fail_with(t, original, "a power cut, then a scan");
        if (!matches(t, &found, t->durable, &at)) {
            if (matches(t, &found, 0, &at))
                fprintf(stderr, "\nit is the state after %zu writes", at);
            fail_with(t, original, "a power cut leaves no such state");
        }
        db_test_abandon(db);
        env_memory_free(image);
        env_memory_free(original);
    }
    atomic_store(&paused, false);
}

static void expect_live(struct run *t, bool may_fail)
{
    struct store_state found;
    adb_status status = store_scan(t->db, &t->random, &found);
    if (status != ADB_OK && !may_fail)
        fail_with(t, NULL, "scan");
    if (status == ADB_OK &&
        memcmp(&found, &t->states[t->count], sizeof found) != 0)
        fail_with(t, NULL, "the live database differs from history");
}

/* ---- steps ---- */

static bool sync_database(const struct run *t)
{
    return strstr(t->options, "durability=sync") != NULL;
}

static void note_write(struct run *t, const struct step *s, adb_status status)
{
    if (status != ADB_OK && status != ADB_UNKNOWN_OUTCOME)
        return;
    struct store_state *next = &t->states[t->count + 1];
    *next = t->states[t->count];
    for (unsigned e = 0; e < s->count; e++)
        next->ids[s->edits[e].key] = s->edits[e].id;
    /* A record that could not be taken back; else the write can be read. */
    if (status == ADB_UNKNOWN_OUTCOME &&
        strstr(adb_error_message(), "did not happen")) {
        t->ghost = true;
        return;
    }
    t->ghost = false;
    t->count++;
    if (status == ADB_OK &&
        (sync_database(t) || s->durability == ADB_DURABILITY_SYNC))
        t->durable = t->count;
}

static void open_store(struct run *t)
{
    for (unsigned tries = 0; !t->db; tries++) {
        adb_status status = open_on(t, t->env, !t->known_open, &t->db);
        if (status == ADB_OK)
            break;
        if (t->cleared)
            fail_with(t, t->disk, "open, though the cause is gone");
        if (tries == 2 || !t->forever) {
            check_cut(t);
            if (tries == 2)
                disarm(t);
            else
                tries++;
        }
    }
    t->known_open = true;
    /* What was found may be less than history only by what was unknown. */
    struct store_state found;
    size_t at;
    while (store_scan(t->db, &t->random, &found) != ADB_OK) {
        if (t->cleared)
            fail_with(t, t->disk, "scan after open");
        if (t->forever)
            disarm(t);
    }
    if (!matches(t, &found, t->durable, &at)) {
        if (matches(t, &found, 0, &at))
            fprintf(stderr, "\nit is the state after %zu writes", at);
        fail_with(t, t->disk, "what was opened is no state of history");
    }
    t->count = t->durable = at;
    t->ghost = false;
}

static const char *const step_names[] = {"write",   "sync",  "flush",
                                         "compact", "close", "kill"};

static void one_step(struct run *t, const struct step *s)
{
    if (!t->db)
        open_store(t);
    adb_status status;
    if (s->kind == STEP_KILL) {
        if (getenv("ADB_TEST_TRACE"))
            printf("step %zu: kill\n", t->at);
        db_test_abandon(t->db);
        t->db = NULL;
        return;
    }
    if (s->kind == STEP_CLOSE) {
        status = adb_close(t->db);
        t->db = NULL;
    } else {
        status = store_apply(t->db, s);
    }
    if (getenv("ADB_TEST_TRACE"))
        printf("step %zu: %s%s: %s %s\n", t->at, step_names[s->kind],
               s->durability == ADB_DURABILITY_SYNC ? " (sync)" : "",
               adb_status_name(status),
               status == ADB_OK ? "" : adb_error_message());
    if (s->kind == STEP_WRITE)
        note_write(t, s, status);
    else if (status == ADB_OK && s->kind != STEP_COMPACT)
        t->durable = t->count;
    if (status == ADB_OK)
        return;
    if (t->cleared && t->failures > FAILURES_BORNE)
        return; /* judged by recover_writes */
    if (t->failures++ == 0 || t->failures == FAILURES_BORNE)
        check_cut(t);
    if (t->failures == FAILURES_BORNE && t->forever)
        disarm(t);
}

static void wait_for_health(struct run *t)
{
    uint64_t until = clock_now_ns() + PATIENCE_S * UINT64_C(1000000000);
    while (adb_health(t->db) != ADB_OK) {
        if (clock_now_ns() > until)
            fail_with(t, NULL, "health");
        clock_sleep_ns(2000000);
    }
}

/* With the cause gone, each of these works again by itself. */
static void recover_writes(struct run *t)
{
    static const struct step ends[] = {
        {.kind = STEP_WRITE, .count = 1, .durability = ADB_DURABILITY_SYNC},
        {.kind = STEP_FLUSH},
        {.kind = STEP_SYNC}};
    if (!t->db)
        open_store(t);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct step s = ends[i];
        uint64_t until = clock_now_ns() + PATIENCE_S * UINT64_C(1000000000);
        s.edits[0].key = 7;
        s.edits[0].id = UINT64_C(0x70000000) | UINT64_C(40) << 32;
        for (;;) {
            adb_status status = store_apply(t->db, &s);
            if (s.kind == STEP_WRITE && t->count < STEPS + 60)
                note_write(t, &s, status);
            if (status == ADB_OK)
                break;
            if (clock_now_ns() > until)
                fail_with(t, NULL, "fails though the cause is gone");
            clock_sleep_ns(2000000);
        }
        if (s.kind == STEP_FLUSH || s.kind == STEP_SYNC)
            t->durable = t->count;
    }
    wait_for_health(t);
    if (random_below(&t->random, 2) &&
        adb_compact(t->db, slice_of(NULL, 0), slice_of(NULL, 0)) != ADB_OK)
        fail_with(t, NULL, "compaction");
}

static void close_and_check(struct run *t)
{
    adb *db;
    struct store_state found;
    expect_live(t, false);
    check_cut(t);
    if (adb_close(t->db) != ADB_OK)
        fail_with(t, t->disk, "close");
    t->durable = t->count;
    struct env *image = env_memory_crash(t->disk, &t->random, ~UINT64_C(0));
    if (open_on(t, image, false, &db) != ADB_OK)
        fail_with(t, t->disk, "open after close");
    if (store_scan(db, &t->random, &found) != ADB_OK ||
        memcmp(&found, &t->states[t->count], sizeof found) != 0)
        fail_with(t, t->disk, "after close the database differs");
    if (adb_verify(db, NULL, NULL, NULL) != ADB_OK)
        fail_with(t, t->disk, "verify");
    if (adb_close(db) != ADB_OK)
        fail_with(t, t->disk, "last close");
    env_memory_free(image);
}

/* Returns how many calls of the mode's kind the run made. */
static uint64_t run_once(const struct mode *mode, uint64_t seed, uint64_t k,
                         bool forever)
{
    static struct run t;
    memset(&t, 0, sizeof t);
    t.mode = mode;
    t.k = k;
    t.seed = seed;
    t.forever = forever;
    random_seed(&t.random, seed);
    bool strict = random_below(&t.random, 2);
    bool process = random_below(&t.random, 2);
    snprintf(t.options, sizeof t.options,
             "memory_budget=1M memtable_size=32K wal_segment_min=64K "
             "wal_segment_max=64K wal_access=%s durability=%s "
             "compression=%s block_size=1K table_size=64K max_memtables=%d "
             "sync_interval=1s max_open_files=8",
             random_below(&t.random, 2) ? "map" : "write",
             process ? "process" : "sync",
             random_below(&t.random, 2) ? "none" : "lz4",
             2 + (int)random_below(&t.random, 3));
    snprintf(t.name, sizeof t.name,
             "%s, call %" PRIu64 " fails %s, seed %" PRIu64 ", %s", mode->name,
             k, forever ? "for ever" : "once", seed,
             strict ? "strict" : "ordered");
    snprintf(watched, sizeof watched, "%s", t.name);
    alarm(HANG_S);
    struct script_shape shape = {.steps = STEPS,
                                 .kills = true,
                                 .reopens = true,
                                 .huge = random_below(&t.random, 4) == 0,
                                 .barrier_permille = 60,
                                 .raise_percent = process ? 20 : 0};
    script_make(&t.script, &shape, &t.random);
    t.disk = env_memory_new(strict ? ENV_MEMORY_STRICT : ENV_MEMORY_ORDERED);
    t.env = env_fault_new(t.disk);
    arm(&t);
    open_store(&t);
    for (t.at = 0; t.at < t.script.count; t.at++)
        one_step(&t, &t.script.steps[t.at]);
    uint64_t made = calls(&t);
    if (k != UINT64_MAX) {
        disarm(&t);
        recover_writes(&t);
    } else if (!t.db) {
        open_store(&t);
    }
    close_and_check(&t);
    mem_set_fail_hook(NULL, NULL);
    env_fault_free(t.env);
    env_memory_free(t.disk);
    script_free(&t.script);
    alarm(0);
    return made;
}

/* ---- spreading ---- */

static void child(uint64_t seed, unsigned index, uint64_t runs)
{
    struct random r;
    random_seed(&r, seed + index);
    signal(SIGALRM, on_alarm);
    for (uint64_t done = 0; done < runs;) {
        /* A script, all modes over it. */
        uint64_t script_seed = random_next(&r);
        for (size_t m = 0; m < MODES; m++) {
            uint64_t total =
                run_once(&modes[m], script_seed, UINT64_MAX, false);
            for (unsigned i = 0; i < 6; i++, done++)
                run_once(&modes[m], script_seed, random_below(&r, total + 1),
                         i % 2);
        }
    }
    exit(0);
}

/* ADB_TEST_FAULT="mode seed k forever" repeats one. */
static bool repeat_one(void)
{
    const char *text = getenv("ADB_TEST_FAULT");
    unsigned mode, forever;
    uint64_t seed, k;
    if (!text || sscanf(text, "%u %" SCNu64 " %" SCNu64 " %u", &mode, &seed,
                        &k, &forever) != 4)
        return false;
    signal(SIGALRM, on_alarm);
    run_once(&modes[mode % MODES], seed, k, forever);
    return true;
}

static void test_fault(void **state)
{
    (void)state;
    const char *text = getenv("ADB_TEST_FAULTS");
    uint64_t goal = text ? strtoull(text, NULL, 0) : test_scaled(1400, 90);
    if (repeat_one())
        return;
    uint64_t seed = test_seed(), began = clock_now_ns();
    pid_t pids[PROCESSES];
    unsigned failed = 0;
    fflush(NULL);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            child(seed, i, goal / PROCESSES);
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int how;
        assert_int_equal(waitpid(pids[i], &how, 0), pids[i]);
        failed += !WIFEXITED(how) || WEXITSTATUS(how) != 0;
    }
    printf("about %" PRIu64 " faults, %.1f s\n", goal,
           (double)(clock_now_ns() - began) / 1e9);
    assert_int_equal(failed, 0);
}

/* The system forgets pages whose sync failed, but reads show them and a later
   sync of theirs succeeds. The process dies before it can act on the failure;
   what the next opening finds in such pages and shows must last. */
static void test_forgotten_pages(void **state)
{
    (void)state;
    static const struct env_fault_rule failing = {.operations = ENV_FAULT_SYNC,
                                                  .path_part = ".log",
                                                  .count = 1,
                                                  .error = EIO,
                                                  .drop_on_sync_failure = true};
    for (int map = 0; map < 2; map++) {
        struct adb_options o;
        struct random r;
        struct step put = {.kind = STEP_WRITE, .count = 1};
        struct store_state shown, found;
        adb *db;
        struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
        struct env *env = env_fault_new(disk);
        random_seed(&r, 1);
        store_options(&o,
                      map ? "durability=process sync_interval=3600s "
                            "wal_segment_min=64K wal_access=map"
                          : "durability=process sync_interval=3600s "
                            "wal_segment_min=64K wal_access=write",
                      env);
        assert_ok(adb_open(STORE_PATH, &o, &db));
        for (unsigned i = 0; i < 8; i++) {
            put.edits[0] = (struct edit){(uint8_t)i,
                                         (1 + i) | UINT64_C(300) << 32};
            assert_ok(store_apply(db, &put));
        }
        env_fault_set(env, &failing);
        assert_int_not_equal(adb_sync(db), ADB_OK);
        db_test_abandon(db);
        assert_ok(adb_open(STORE_PATH, &o, &db));
        assert_ok(store_scan(db, &r, &shown));
        put.edits[0].id = 77 | UINT64_C(30) << 32;
        put.durability = ADB_DURABILITY_SYNC;
        assert_ok(store_apply(db, &put));
        shown.ids[put.edits[0].key] = put.edits[0].id;
        db_test_abandon(db);
        struct env *image = env_memory_crash(disk, &r, 0);
        o.env = image;
        assert_ok(adb_open(STORE_PATH, &o, &db));
        assert_ok(store_scan(db, &r, &found));
        assert_memory_equal(&found, &shown, sizeof found);
        assert_ok(adb_close(db));
        env_memory_free(image);
        env_fault_free(env);
        env_memory_free(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forgotten_pages),
                                       cmocka_unit_test(test_fault)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
