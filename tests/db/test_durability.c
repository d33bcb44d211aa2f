/*
 * What each word of durability promises when the process dies, and when the
 * power goes (env_memory decides what was on the disk then).
 */
#include "db_test.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "env/env_fault.h"
#include "env/env_memory.h"

enum { WRITES = 200 };

static void put_number(adb *db, int i)
{
    char key[16], value[32];
    snprintf(key, sizeof key, "%04d", i);
    snprintf(value, sizeof value, "value %d", i);
    db_test_put(db, key, value);
}

/* How many of the writes are there: they must be the first ones. */
static int prefix_of(adb *db)
{
    int first_missing = -1;
    for (int i = 0; i < WRITES; i++) {
        char key[16];
        adb_value v = ADB_VALUE_INIT;
        struct db_read r = {.pinned = &v};
        snprintf(key, sizeof key, "%04d", i);
        adb_status status = db_get(db, slice_of_string(key), &r);
        if (status == ADB_OK && first_missing >= 0)
            fail_msg("write %d survived, write %d did not", i, first_missing);
        if (status != ADB_OK)
            assert_int_equal(status, ADB_NOT_FOUND);
        if (status == ADB_NOT_FOUND && first_missing < 0)
            first_missing = i;
        db_value_release(&v);
    }
    return first_missing < 0 ? WRITES : first_missing;
}

/* WRITES puts, then the process dies. What is there afterwards? */
static int survive_death(const char *options, int synced_write, int flush_at)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, "/db", options);
    for (int i = 0; i < WRITES; i++) {
        if (i == synced_write) {
            char key[16];
            snprintf(key, sizeof key, "%04d", i);
            assert_ok(db_test_put_as(db, key, "synced", ADB_DURABILITY_SYNC));
        } else {
            put_number(db, i);
        }
        if (i == flush_at)
            assert_ok(db_flush(db));
    }
    db_test_abandon(db);
    db = db_test_open(env, "/db", options);
    int survived = prefix_of(db);
    assert_ok(db_close(db));
    env_memory_free(env);
    return survived;
}

static void test_none_loses_a_tail(void **state)
{
    (void)state;
    assert_int_equal(survive_death("durability=none", -1, -1), 0);
    assert_int_equal(survive_death("durability=none", -1, 49), 50);
    /* A write that asks for more takes all before it along. */
    assert_int_equal(survive_death("durability=none", 120, -1), 121);
    assert_int_equal(survive_death("durability=none", 120, 49), 121);
}

static void test_none_closed_keeps_all(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, "/db", "durability=none");
    for (int i = 0; i < WRITES; i++)
        put_number(db, i);
    assert_ok(db_close(db));
    db = db_test_open(env, "/db", "durability=none");
    assert_int_equal(prefix_of(db), WRITES);
    assert_ok(db_close(db));
    /* Written without a log, opened with one, and the other way round. */
    db = db_test_open(env, "/db", "durability=process");
    db_test_put(db, "logged", "1");
    db_test_abandon(db);
    db = db_test_open(env, "/db", "durability=none");
    db_test_expect(db, "logged", "1");
    db_test_put(db, "unlogged", "1");
    db_test_abandon(db);
    db = db_test_open(env, "/db", "durability=sync");
    db_test_expect(db, "logged", "1");
    db_test_expect(db, "unlogged", NULL);
    assert_int_equal(prefix_of(db), WRITES);
    assert_ok(db_close(db));
    env_memory_free(env);
}

static void test_process_survives_death(void **state)
{
    (void)state;
    assert_int_equal(survive_death("durability=process", -1, -1), WRITES);
    assert_int_equal(survive_death("durability=process wal_access=write", -1,
                                   -1), WRITES);
    assert_int_equal(survive_death("durability=process wal_access=map", -1,
                                   77), WRITES);
    assert_int_equal(survive_death("durability=process memtable_size=32K "
                                   "wal_segment_min=64K wal_segment_max=64K",
                                   -1, 77), WRITES);
}

/* Power cuts after acknowledged writes: what was promised is there, and
   what is there is a prefix. */
static void power_cut(const char *options, int promised, int sync_at)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    struct random r;
    random_seed(&r, 7);
    adb *db = db_test_open(env, "/db", options);
    for (int i = 0; i < WRITES; i++) {
        put_number(db, i);
        if (i == sync_at)
            assert_ok(db_sync(db));
    }
    for (int cut = 0; cut < 20; cut++) {
        struct env *after = env_memory_crash(env, &r, ~UINT64_C(0));
        adb *again = db_test_open(after, "/db", options);
        int survived = prefix_of(again);
        if (survived < promised)
            fail_msg("%s: %d of %d promised writes survived", options,
                     survived, promised);
        assert_ok(db_close(again));
        env_memory_free(after);
    }
    db_test_abandon(db);
    env_memory_free(env);
}

static void test_power_cuts(void **state)
{
    (void)state;
    power_cut("durability=sync", WRITES, -1);
    power_cut("durability=sync wal_access=write", WRITES, -1);
    power_cut("durability=process sync_interval=3600s", 91, 90);
    power_cut("durability=process sync_interval=3600s wal_access=write", 91,
              90);
    power_cut("durability=none", 91, 90);
}

/* One sync serves all writers that wait for it. */
struct syncing {
    adb *db;
    int number;
};

static void *write_synced(void *argument)
{
    struct syncing *s = argument;
    for (int i = 0; i < 50; i++) {
        char key[32];
        snprintf(key, sizeof key, "%d-%d", s->number, i);
        db_test_put(s->db, key, "v");
    }
    return NULL;
}

static void test_syncs_are_shared(void **state)
{
    /* However fast the disk is: others come while a sync takes its time. */
    static const struct env_fault_rule slow = {.operations = ENV_FAULT_SYNC,
                                               .path_part = ".log",
                                               .count = UINT64_MAX,
                                               .delay_ns = 1000000};
    char *path = scratch_new();
    struct env *env = env_fault_new(env_posix());
    (void)state;
    env_fault_set(env, &slow);
    adb *db = db_test_open(env, path, "durability=sync");
    for (int i = 0; i < 20; i++)
        put_number(db, i);
    /* Alone, each write has its own. */
    uint64_t alone = db_test_stat(db, "syncs");
    assert_true(alone >= 20 && alone <= 30);
    enum { WRITERS = 8 };
    pthread_t threads[WRITERS];
    struct syncing s[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        s[i] = (struct syncing){.db = db, .number = i};
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_synced, &s[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t together = db_test_stat(db, "syncs") - alone;
    printf("%d synced writes took %llu syncs, largest group %llu\n",
           WRITERS * 50, (unsigned long long)together,
           (unsigned long long)db_test_stat(db, "largest_group"));
    assert_true(together < WRITERS * 50 * 3 / 4);
    assert_true(db_test_stat(db, "largest_group") >= 2);
    assert_ok(db_close(db));
    /* Without it no write syncs. */
    db = db_test_open(env, path, "durability=process sync_interval=3600s");
    uint64_t before = db_test_stat(db, "syncs");
    for (int i = 0; i < 100; i++)
        put_number(db, i);
    assert_true(db_test_stat(db, "syncs") - before <= 1);
    assert_ok(db_test_put_as(db, "k", "v", ADB_DURABILITY_SYNC));
    assert_true(db_test_stat(db, "syncs") > before);
    assert_ok(db_close(db));
    env_fault_free(env);
    scratch_remove(path);
}

/* ---- a small database is small ----------------------------------------- */

static uint64_t disk_usage(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    uint64_t bytes = 0;
    assert_non_null(d);
    while ((entry = readdir(d))) {
        char name[4400];
        struct stat st;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (stat(name, &st) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    }
    closedir(d);
    return bytes;
}

static void test_ten_keys_take_little(void **state)
{
    static const char *const all[] = {
        "wal_access=map", "wal_access=write", "wal_access=map durability=none",
        "wal_access=map durability=process", NULL};
    (void)state;
    for (size_t i = 0; all[i]; i++) {
        char *path = scratch_new();
        uint64_t most = 0;
        for (int round = 0; round < 5; round++) {
            adb *db = db_test_open(NULL, path, all[i]);
            for (int k = 0; k < 10; k++)
                put_number(db, k);
            if (round == 3)
                db_test_compact(db);
            usleep(20000); /* the log is prepared ahead */
            most = MAX_OF(most, disk_usage(path));
            assert_ok(db_close(db));
            most = MAX_OF(most, disk_usage(path));
        }
        printf("%s: ten keys take %llu KiB at most\n", all[i],
               (unsigned long long)(most / 1024));
        assert_true(most < 4 << 20);
        scratch_remove(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_loses_a_tail),
        cmocka_unit_test(test_none_closed_keeps_all),
        cmocka_unit_test(test_process_survives_death),
        cmocka_unit_test(test_power_cuts),
        cmocka_unit_test(test_syncs_are_shared),
        cmocka_unit_test(test_ten_keys_take_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
