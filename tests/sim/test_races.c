/*
 * Pairs of calls that once got in each other's way, each under many
 * interleavings.
 */
#include "sim/scheduler.h"

#include <errno.h>

#include "base/thread.h"
#include "db/registry.h"
#include "trust/store.h"

struct race {
    struct env *disk;
    adb *db;
    const char *options; /* more of them; NULL: none */
    uint64_t roll_bytes;
    uint64_t hits;
    uint64_t blocks; /* after which a thread is held up */
    unsigned quiet;  /* puts since the last iterator, this one included */
    bool held, reading;
    const char *failed; /* NULL: nothing */
    char words[600];
};

static void failed_at(struct race *race, const char *what)
{
    if (race->failed)
        return;
    snprintf(race->words, sizeof race->words, "%s", adb_error_message());
    race->failed = what;
}

static void open_race(struct race *race)
{
    struct adb_options o;
    char options[300];
    snprintf(options, sizeof options,
             "memory_budget=1M memtable_size=32K wal_segment_min=64K "
             "wal_segment_max=64K durability=process %s",
             race->options ? race->options : "");
    store_options(&o, options, race->disk);
    o.manifest_roll_bytes = race->roll_bytes;
    if (adb_open(STORE_PATH, &o, &race->db) != ADB_OK)
        failed_at(race, "adb_open");
}

static void simulate_once(void (*run)(void *), struct race *race,
                          uint64_t seed)
{
    static struct scheduler_result result;
    struct scheduler_options options = {.seed = seed};
    race->disk = env_memory_new(ENV_MEMORY_STRICT);
    scheduler_run(&options, run, race, &result);
    env_memory_free(race->disk);
    if (result.verdict != SCHEDULER_ENDED)
        fail_msg("ADB_TEST_SEED=%llu: %s", (unsigned long long)seed,
                 result.report);
    if (race->failed)
        fail_msg("ADB_TEST_SEED=%llu: %s: %s", (unsigned long long)seed,
                 race->failed, race->words);
}

static void simulate(void (*run)(void *), struct race *race)
{
    uint64_t first = test_seed();
    for (uint64_t i = 0; i < test_scaled(400, 60); i++)
        simulate_once(run, race, first + i);
}

/* ---- adb_verify while the manifest is replaced ---- */

static void tell(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "adb_verify: %s\n", text);
}

static void *flush_often(void *argument)
{
    struct race *race = argument;
    for (int i = 0; i < 12; i++)
        if (adb_put(race->db, NULL, "key", 3, &i, sizeof i) != ADB_OK ||
            adb_flush(race->db) != ADB_OK)
            failed_at(race, "adb_flush");
    return NULL;
}

static void verify_while_rolling(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    open_race(race);
    if (thread_start(&thread, "flush", flush_often, race) != ADB_OK)
        failed_at(race, "thread_start");
    for (int i = 0; i < 12; i++)
        if (adb_verify(race->db, tell, NULL, NULL) != ADB_OK)
            failed_at(race, "adb_verify");
    thread_join(&thread);
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
}

static void test_verify_while_the_manifest_is_replaced(void **state)
{
    struct race race = {.roll_bytes = 300};
    (void)state;
    simulate(verify_while_rolling, &race);
}

/* ---- manual compactions beside each other ---- */

static void *compact_often(void *argument)
{
    struct race *race = argument;
    for (int i = 0; i < 8; i++)
        if (adb_put(race->db, NULL, &i, sizeof i, &i, sizeof i) != ADB_OK ||
            adb_compact(race->db, slice_of(NULL, 0), slice_of(NULL, 0)) !=
                ADB_OK)
            failed_at(race, "adb_compact");
    return NULL;
}

static void compact_twice(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    open_race(race);
    if (thread_start(&thread, "compact", compact_often, race) != ADB_OK)
        failed_at(race, "thread_start");
    compact_often(race);
    thread_join(&thread);
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
}

static void test_manual_compactions_beside_each_other(void **state)
{
    struct race race = {.roll_bytes = 0};
    (void)state;
    simulate(compact_twice, &race);
}

/* ---- tables replaced just before the close ---- */

static void *scan_often(void *argument)
{
    struct race *race = argument;
    struct store_state found;
    struct random r;
    random_seed(&r, 1);
    for (int i = 0; i < 4; i++)
        if (store_scan(race->db, &r, &found) != ADB_OK)
            failed_at(race, "a scan");
    return NULL;
}

static adb_status count_table(void *context, const char *name)
{
    *(unsigned *)context += strstr(name, ".sst") != NULL;
    return ADB_OK;
}

static void close_after_merge(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    struct step put = {.kind = STEP_WRITE, .count = 1};
    unsigned tables = 0;
    open_race(race);
    for (uint64_t i = 0; i < 3; i++) {
        put.edits[0] = (struct edit){(uint8_t)i, (i + 1) | UINT64_C(30) << 32};
        if (store_apply(race->db, &put) != ADB_OK ||
            adb_flush(race->db) != ADB_OK)
            failed_at(race, "adb_flush");
    }
    if (thread_start(&thread, "scan", scan_often, race) != ADB_OK)
        failed_at(race, "thread_start");
    if (adb_compact(race->db, slice_of(NULL, 0), slice_of(NULL, 0)) != ADB_OK)
        failed_at(race, "adb_compact");
    thread_join(&thread);
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
    if (env_list_dir(race->disk, STORE_PATH, count_table, &tables) != ADB_OK ||
        tables != 1)
        failed_at(race, "tables that a merge replaced are left behind");
}

static void test_close_leaves_no_replaced_tables(void **state)
{
    struct race race = {.roll_bytes = 0};
    (void)state;
    simulate(close_after_merge, &race);
}

/* ---- merges that fail ---- */

/* Reading tables fails, so merges do and flushes do not. */
static void fail_merges(void *argument)
{
    struct race *race = argument;
    static const struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                               .path_part = ".sst",
                                               .count = UINT64_MAX,
                                               .error = EIO};
    struct env *disk = race->disk;
    race->disk = env_fault_new(disk);
    open_race(race);
    env_fault_set(race->disk, &rule);
    for (int i = 0; i < 6; i++)
        if (adb_put(race->db, NULL, "key", 3, &i, sizeof i) != ADB_OK ||
            adb_flush(race->db) != ADB_OK)
            failed_at(race, "adb_flush");
    clock_sleep_ns(UINT64_C(10000000000));
    race->hits = env_fault_hits(race->disk);
    env_fault_set(race->disk, NULL);
    if (adb_wait_idle(race->db, 0) == ADB_OK)
        failed_at(race, "adb_wait_idle forgot a failure");
    clock_sleep_ns(UINT64_C(5000000000));
    if (adb_wait_idle(race->db, 0) != ADB_OK)
        failed_at(race, "adb_wait_idle");
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
    env_fault_free(race->disk);
    race->disk = disk;
    /* Each of three threads tries about ten times, on up to six tables. */
    if (race->hits < 3 || race->hits > 600)
        failed_at(race, "a failing merge is not tried at intervals");
}

static void test_failing_merges_pause(void **state)
{
    struct race race = {.options = "background_threads=4"};
    (void)state;
    simulate(fail_merges, &race);
}

/* ---- durability=process ---- */

/* Within sync_interval a write reaches the disk, though nobody asks for it. */
static void sync_at_intervals(void *argument)
{
    struct race *race = argument;
    struct env *disk = race->disk;
    race->disk = env_fault_new(disk);
    open_race(race);
    for (int i = 0; i < 4; i++) {
        uint64_t before = env_fault_calls(race->disk, ENV_FAULT_SYNC);
        if (adb_put(race->db, NULL, "key", 3, &i, sizeof i) != ADB_OK)
            failed_at(race, "adb_put");
        clock_sleep_ns(UINT64_C(1000000000));
        if (env_fault_calls(race->disk, ENV_FAULT_SYNC) == before)
            failed_at(race, "nothing was synced");
    }
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
    env_fault_free(race->disk);
    race->disk = disk;
}

static void test_syncs_at_intervals(void **state)
{
    struct race race = {.options = "sync_interval=500ms"};
    (void)state;
    simulate(sync_at_intervals, &race);
}

/* ---- the log after a failed sync ---- */

/* The write after it waits for the flush of what the log held, and then has
   nothing of it in its way. */
static void write_after_a_failed_sync(void *argument)
{
    struct race *race = argument;
    static const struct env_fault_rule rule = {.operations = ENV_FAULT_SYNC,
                                               .path_part = ".log",
                                               .count = 1,
                                               .error = EIO};
    struct env *disk = race->disk;
    race->disk = env_fault_new(disk);
    open_race(race);
    for (int i = 0; i < 8; i++) {
        env_fault_set(race->disk, i % 2 ? &rule : NULL);
        adb_status status = adb_put(race->db, NULL, "key", 3, &i, sizeof i);
        if (status != (i % 2 ? ADB_UNKNOWN_OUTCOME : ADB_OK))
            failed_at(race, "adb_put");
    }
    env_fault_set(race->disk, NULL);
    if (adb_flush(race->db) != ADB_OK || adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
    env_fault_free(race->disk);
    race->disk = disk;
}

static void test_writes_after_failed_syncs(void **state)
{
    struct race race = {.options = "durability=sync"};
    (void)state;
    simulate(write_after_a_failed_sync, &race);
}

/* ---- a get held up beside a flush ---- */

/* A newer number takes the place of the one that is being read, and goes to a
   table. */
static void *replace_and_flush(void *argument)
{
    struct race *race = argument;
    int number = 2;
    while (!race->reading)
        clock_sleep_ns(1000);
    if (adb_put(race->db, NULL, "key", 3, &number, sizeof number) != ADB_OK ||
        adb_flush(race->db) != ADB_OK)
        failed_at(race, "adb_flush");
    return NULL;
}

/* A get takes no lock. What it has seen of the view and of the sequence must
   fit together, wherever it is held up meanwhile. */
static void get_held_up(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    int found = 1;
    size_t size = 0;
    race->reading = false;
    open_race(race);
    if (adb_put(race->db, NULL, "key", 3, &found, sizeof found) != ADB_OK ||
        thread_start(&thread, "replace", replace_and_flush, race) != ADB_OK)
        failed_at(race, "thread_start");
    race->reading = true;
    scheduler_hold(race->blocks, UINT64_C(10000000000));
    if (adb_get_into(race->db, NULL, "key", 3, &found, sizeof found, &size) !=
            ADB_OK || size != sizeof found || (found != 1 && found != 2))
        failed_at(race, "adb_get_into");
    race->held = scheduler_let_go();
    thread_join(&thread);
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
}

static void test_get_held_up_beside_a_flush(void **state)
{
    struct race race = {.blocks = 1, .held = true};
    (void)state;
    for (; race.held; race.blocks++)
        simulate_once(get_held_up, &race, race.blocks);
    assert_true(race.blocks > 20);
}

/* ---- iterators registered beside a put ---- */

/* With the last of REGISTRY_QUIET puts since the last iterator the registry
   closes. */
static const unsigned quiet[] = {1, REGISTRY_QUIET, REGISTRY_QUIET + 1};

static void put_number(struct race *race, const char *key, int number)
{
    if (adb_put(race->db, NULL, key, 3, &number, sizeof number) != ADB_OK)
        failed_at(race, "adb_put");
}

/* The key is there all the time: whatever replaces what an iterator could see
   keeps it for that iterator. */
static void find_key_and_close(struct race *race, adb_iter *it)
{
    if (!adb_iter_seek(it, "key", 3) ||
        slice_compare(adb_iter_key(it), slice_of("key", 3)) != 0)
        failed_at(race, "an iterator lost a key");
    adb_iter_free(it);
    if (adb_close(race->db) != ADB_OK)
        failed_at(race, "adb_close");
}

static adb_iter *iterate(struct race *race)
{
    adb_iter *it = NULL;
    if (adb_iter_new(race->db, NULL, &it) != ADB_OK)
        failed_at(race, "adb_iter_new");
    return it;
}

/* The first iterator opens the registry. */
static void open_registry(struct race *race)
{
    open_race(race);
    put_number(race, "key", 1);
    adb_iter_free(iterate(race));
    for (unsigned i = 1; i < race->quiet; i++)
        put_number(race, "not", 1);
}

static void *put_held_up(void *argument)
{
    struct race *race = argument;
    scheduler_hold(race->blocks, UINT64_C(10000000));
    put_number(race, "key", 2);
    race->held = scheduler_let_go();
    return NULL;
}

/* The iterator comes while the put is held up, and reads when another one has
   followed. */
static void iterate_beside_a_put(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    open_registry(race);
    if (thread_start(&thread, "put", put_held_up, race) != ADB_OK)
        failed_at(race, "thread_start");
    clock_sleep_ns(1000000);
    adb_iter *it = iterate(race);
    thread_join(&thread);
    put_number(race, "key", 3);
    find_key_and_close(race, it);
}

static void *put_around(void *argument)
{
    struct race *race = argument;
    put_number(race, "key", 2);
    while (!race->reading)
        clock_sleep_ns(1000);
    put_number(race, "key", 3);
    return NULL;
}

/* One put while it is held up, one before it reads. */
static void iterator_held_up(void *argument)
{
    struct race *race = argument;
    struct thread thread = {.started = false};
    race->reading = false;
    open_registry(race);
    if (thread_start(&thread, "put", put_around, race) != ADB_OK)
        failed_at(race, "thread_start");
    scheduler_hold(race->blocks, UINT64_C(10000000));
    adb_iter *it = iterate(race);
    race->held = scheduler_let_go();
    race->reading = true;
    thread_join(&thread);
    find_key_and_close(race, it);
}

static void hold_at_each_block(void (*run)(void *))
{
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) {
        struct race race = {.blocks = 1, .held = true, .quiet = quiet[i]};
        for (; race.held; race.blocks++)
            simulate_once(run, &race, race.blocks);
        assert_true(race.blocks > 50);
    }
}

static void test_put_held_up_beside_an_iterator(void **state)
{
    (void)state;
    hold_at_each_block(iterate_beside_a_put);
}

static void test_iterator_held_up_beside_puts(void **state)
{
    (void)state;
    hold_at_each_block(iterator_held_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_leaves_no_replaced_tables),
        cmocka_unit_test(test_failing_merges_pause),
        cmocka_unit_test(test_verify_while_the_manifest_is_replaced),
        cmocka_unit_test(test_manual_compactions_beside_each_other),
        cmocka_unit_test(test_get_held_up_beside_a_flush),
        cmocka_unit_test(test_put_held_up_beside_an_iterator),
        cmocka_unit_test(test_iterator_held_up_beside_puts),
        cmocka_unit_test(test_syncs_at_intervals),
        cmocka_unit_test(test_writes_after_failed_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
