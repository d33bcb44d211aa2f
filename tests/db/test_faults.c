/*
 * A disk that is full or fails, at each kind of file operation: the failure is
 * reported, nothing acknowledged is lost, reads go on, and when the cause is
 * gone writes work again without reopening.
 */
#include "db_test.h"

#include "base/alloc.h"
#include "env/env_fault.h"
#include "env/env_memory.h"

enum { BEFORE = 60, DURING = 60, MORE = 400, AFTER = 60 };
enum { WRITES = BEFORE + DURING + MORE + AFTER, VALUE = 3000 };
enum fate { NOT_WRITTEN, ACKNOWLEDGED, UNKNOWN, REFUSED };

struct faulty {
    struct env *disk, *env;
    adb *db;
    enum fate fates[WRITES];
    adb_status worst; /* first failure seen */
};

static const struct fault_case {
    const char *name, *options;
    unsigned operations;
    const char *path_part;
    int error;
    uint64_t skip;
    bool background; /* writers may not notice; a flush must */
} cases[] = {
    {"log write EIO", "wal_access=write", ENV_FAULT_WRITE, ".log", 5, 0, 0},
    {"log write ENOSPC", "wal_access=write", ENV_FAULT_WRITE, ".log", 28, 0,
     0},
    {"log write later", "wal_access=write", ENV_FAULT_WRITE, ".log", 5, 17,
     0},
    {"log sync", "wal_access=write", ENV_FAULT_SYNC, ".log", 5, 0, 0},
    {"log sync mapped", "wal_access=map", ENV_FAULT_SYNC, ".log", 5, 0, 0},
    {"log sync later", "wal_access=map", ENV_FAULT_SYNC, ".log", 5, 13, 0},
    {"segment allocation", "wal_access=map", ENV_FAULT_ALLOCATE, ".log", 28,
     0, 1},
    {"segment allocation, write", "wal_access=write", ENV_FAULT_ALLOCATE,
     ".log", 28, 0, 1},
    {"segment open", "wal_access=map", ENV_FAULT_OPEN, ".log", 24, 0, 1},
    {"segment map", "wal_access=map", ENV_FAULT_MAP, ".log", 12, 0, 1},
    {"segment populate", "wal_access=map", ENV_FAULT_POPULATE, ".log", 5, 0,
     1},
    {"table write EIO", "", ENV_FAULT_WRITE, ".sst", 5, 0, 1},
    {"table write ENOSPC", "", ENV_FAULT_WRITE, ".sst", 28, 2, 1},
    {"table sync", "", ENV_FAULT_SYNC, ".sst", 5, 0, 1},
    {"manifest write", "", ENV_FAULT_WRITE, "MANIFEST", 28, 0, 1},
    {"manifest sync", "", ENV_FAULT_SYNC, "MANIFEST", 5, 0, 1},
    {"directory sync", "", ENV_FAULT_SYNC_DIR, NULL, 5, 0, 1},
    {"all writes ENOSPC", "wal_access=write",
     ENV_FAULT_WRITE | ENV_FAULT_ALLOCATE, NULL, 28, 0, 0},
    {"all writes and syncs EIO", "wal_access=map",
     ENV_FAULT_WRITE | ENV_FAULT_SYNC | ENV_FAULT_SYNC_DIR, NULL, 5, 3, 0},
};

static void key_of(int i, char *key)
{
    snprintf(key, 16, "key%04d", i);
}

static void value_of(int i, char *value)
{
    memset(value, 'a' + i % 26, VALUE);
    snprintf(value, 16, "%d", i);
}

static adb_status put_timed(struct faulty *f, int i, uint64_t ms)
{
    char key[16], value[VALUE];
    key_of(i, key);
    value_of(i, value);
    struct db_write w = {.kind = KV_PUT,
                         .key = slice_of_string(key),
                         .value = slice_of(value, VALUE),
                         .durability = db_durability(f->db),
                         .deadline_ns = clock_now_ns() + ms * 1000000};
    adb_status status = db_write(f->db, &w);
    f->fates[i] = status == ADB_OK                ? ACKNOWLEDGED
                  : status == ADB_UNKNOWN_OUTCOME ? UNKNOWN
                                                  : REFUSED;
    if (status != ADB_OK) {
        /* Said in words that name a file or the cause. */
        assert_true(strlen(status_message()) > 10);
        if (f->worst == ADB_OK)
            f->worst = status;
    }
    return status;
}

static void check_reads(struct faulty *f, const char *when)
{
    for (int i = 0; i < WRITES; i++) {
        char key[16], value[VALUE];
        adb_value v = ADB_VALUE_INIT;
        struct db_read r = {.pinned = &v};
        key_of(i, key);
        value_of(i, value);
        adb_status status = db_get(f->db, slice_of_string(key), &r);
        bool there = status == ADB_OK;
        if (!there && status != ADB_NOT_FOUND)
            fail_msg("%s: '%s': %s", when, key, status_message());
        if (!there && f->fates[i] == ACKNOWLEDGED)
            fail_msg("%s: '%s' was acknowledged and is lost", when, key);
        if (there && (f->fates[i] == REFUSED || f->fates[i] == NOT_WRITTEN))
            fail_msg("%s: '%s' was refused and is there", when, key);
        if (there && (v.size != VALUE || memcmp(v.data, value, VALUE) != 0))
            fail_msg("%s: '%s' is not what was written", when, key);
        db_value_release(&v);
    }
}

/* The cause is gone: the next writes must find their way back. */
static void recover(struct faulty *f, const char *name)
{
    uint64_t until = clock_now_ns() + UINT64_C(20) * 1000000000;
    int first = BEFORE + DURING + MORE;
    while (put_timed(f, first, 5000) != ADB_OK) {
        if (clock_now_ns() > until)
            fail_msg("%s: writes do not recover: %s", name, status_message());
        usleep(10000);
    }
    for (int i = first + 1; i < WRITES; i++)
        if (put_timed(f, i, 5000) != ADB_OK)
            fail_msg("%s: write %d after recovery: %s", name, i,
                     status_message());
    adb_status status;
    while ((status = db_flush(f->db)) != ADB_OK) {
        if (clock_now_ns() > until)
            fail_msg("%s: flushes do not recover: %s", name, status_message());
        usleep(10000);
    }
    /* A merge that failed is tried again within two seconds. */
    while (db_health(f->db) != ADB_OK) {
        if (clock_now_ns() > until)
            fail_msg("%s: health after recovery: %s", name, status_message());
        usleep(10000);
    }
}

static void run_case(const struct fault_case *c, const char *durability)
{
    struct faulty f = {.disk = env_memory_new(ENV_MEMORY_STRICT)};
    char options[256];
    f.env = env_fault_new(f.disk);
    snprintf(options, sizeof options,
             "durability=%s memtable_size=64K max_memtables=3 "
             "memory_budget=4M wal_segment_min=64K wal_segment_max=128K %s",
             durability, c->options);
    f.db = db_test_open(f.env, "/db", options);
    for (int i = 0; i < BEFORE; i++)
        assert_ok(put_timed(&f, i, 5000));
    const struct env_fault_rule rule = {.operations = c->operations,
                                        .path_part = c->path_part,
                                        .skip = c->skip,
                                        .count = ~UINT64_C(0),
                                        .error = c->error};
    env_fault_set(f.env, &rule);
    for (int i = BEFORE; i < BEFORE + DURING; i++)
        (void)!put_timed(&f, i, 10);
    /* Several log segments may lie ready. */
    for (int i = 0; i < MORE && f.worst == ADB_OK; i++)
        (void)!put_timed(&f, BEFORE + DURING + i, 10);
    check_reads(&f, c->name);
    adb_status flushed = db_flush(f.db);
    if (env_fault_hits(f.env) == 0)
        fail_msg("%s: nothing failed", c->name);
    if (f.worst == ADB_OK && flushed == ADB_OK)
        fail_msg("%s: no failure was reported", c->name);
    if (c->background && flushed != ADB_OK &&
        db_health(f.db) == ADB_OK && f.worst == ADB_OK)
        fail_msg("%s: health says nothing", c->name);
    check_reads(&f, c->name);
    env_fault_set(f.env, NULL);
    recover(&f, c->name);
    check_reads(&f, c->name);
    db_test_abandon(f.db);
    f.db = db_test_open(f.env, "/db", options);
    check_reads(&f, c->name);
    if (db_verify(f.db, NULL, NULL, NULL) != ADB_OK)
        fail_msg("%s: %s", c->name, status_message());
    assert_ok(db_close(f.db));
    env_fault_free(f.env);
    env_memory_free(f.disk);
}

static void run_all(const char *durability)
{
    const char *only = getenv("ADB_TEST_CASE");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool syncs_log = cases[i].operations == ENV_FAULT_SYNC &&
                         cases[i].path_part &&
                         strcmp(cases[i].path_part, ".log") == 0;
        /* Without a sync a write the log's does not fail. */
        if (syncs_log && strcmp(durability, "sync") != 0)
            continue;
        if (only && strcmp(only, cases[i].name) != 0)
            continue;
        uint64_t began = clock_now_ns();
        run_case(&cases[i], durability);
        if (only)
            printf("%s: %llu ms\n", cases[i].name,
                   (unsigned long long)((clock_now_ns() - began) / 1000000));
    }
}

static void test_sync(void **state)
{
    (void)state;
    run_all("sync");
}

static void test_process(void **state)
{
    (void)state;
    run_all("process sync_interval=3600s");
}

/* The disk itself is full, then is made larger. */
static void test_disk_full(void **state)
{
    (void)state;
    static const char *const accesses[] = {"map", "write"};
    for (int a = 0; a < 2; a++) {
        struct faulty f = {.disk = env_memory_new(ENV_MEMORY_STRICT)};
        char options[128];
        snprintf(options, sizeof options,
                 "durability=sync memtable_size=64K memory_budget=4M "
                 "wal_segment_min=64K wal_segment_max=128K wal_access=%s",
                 accesses[a]);
        env_memory_set_capacity(f.disk, 1 << 20);
        f.env = f.disk;
        f.db = db_test_open(f.env, "/db", options);
        int refused = 0;
        /* Each value once more, under other keys, until nothing fits. */
        for (int i = 0; i < BEFORE; i++)
            assert_ok(put_timed(&f, i, 5000));
        char value[VALUE];
        memset(value, 'x', VALUE);
        for (int i = 0; i < 2000 && refused < 20; i++) {
            char key[32];
            uint32_t noise = (uint32_t)i * 2654435761u;
            for (size_t at = 0; at + 4 <= VALUE; at += 4) {
                noise = noise * 1664525u + 1013904223u;
                memcpy(value + at, &noise, 4);
            }
            snprintf(key, sizeof key, "more%06d", i);
            struct db_write w = {.kind = KV_PUT,
                                 .key = slice_of_string(key),
                                 .value = slice_of(value, VALUE),
                                 .durability = ADB_DURABILITY_SYNC,
                                 .deadline_ns = clock_now_ns() + 100000000};
            adb_status status = db_write(f.db, &w);
            if (status != ADB_OK) {
                refused++;
                assert_true(status == ADB_NO_SPACE || status == ADB_TIMEOUT ||
                            status == ADB_UNKNOWN_OUTCOME);
            }
        }
        assert_true(refused > 0);
        check_reads(&f, "full disk");
        env_memory_set_capacity(f.disk, 64 << 20);
        recover(&f, "full disk");
        check_reads(&f, "larger disk");
        assert_ok(db_close(f.db));
        env_memory_free(f.disk);
    }
}

/* ---- creation ---- */

static adb_status count_manifest(void *context, const char *name)
{
    *(unsigned *)context += strncmp(name, "MANIFEST", 8) == 0;
    return ADB_OK;
}

/* Whether CURRENT came to be is not known: the manifest must stay, until a
   later opening knows. */
static void test_interrupted_creation(void **state)
{
    static const struct env_fault_rule rule = {
        .operations = ENV_FAULT_RENAME, .count = 1, .error = 5};
    unsigned manifests = 0;
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    struct adb_options o = db_test_options(env, "memtable_size=32K");
    adb *db;
    env_fault_set(env, &rule);
    assert_int_equal(db_open("/db", &o, &db), ADB_IO);
    assert_ok(env_list_dir(disk, "/db", count_manifest, &manifests));
    assert_int_equal(manifests, 1);
    db = db_test_open(env, "/db", "memtable_size=32K");
    assert_ok(db_close(db));
    manifests = 0;
    assert_ok(env_list_dir(disk, "/db", count_manifest, &manifests));
    assert_int_equal(manifests, 1);
    env_fault_free(env);
    env_memory_free(disk);
}

/* ---- an edit of unknown outcome ---- */

/* A flush whose edit was written and not synced has failed; yet the edit is
   there after the process died, and so must be its table. */
static void test_tables_of_an_unknown_edit_stay(void **state)
{
    static const struct env_fault_rule rule = {
        .operations = ENV_FAULT_SYNC, .path_part = "MANIFEST",
        .count = UINT64_MAX, .error = 5};
    static const char options[] = "durability=process memory_budget=4M";
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    adb *db = db_test_open(env, "/db", options);
    db_test_put(db, "key", "value");
    env_fault_set(env, &rule);
    assert_int_equal(db_flush(db), ADB_IO);
    struct env *after = env_memory_clone(disk);
    adb *again = db_test_open(after, "/db", options);
    db_test_expect(again, "key", "value");
    assert_ok(db_close(again));
    env_memory_free(after);
    env_fault_set(env, NULL);
    assert_ok(db_flush(db));
    db_test_expect(db, "key", "value");
    assert_ok(db_close(db));
    env_fault_free(env);
    env_memory_free(disk);
}

/* ---- the log after a failed sync ---- */

/* Until what it held is in tables nothing more is logged: a write waits for
   that, as long as it may, and has not happened when it may no longer. */
static void test_log_waits_for_its_flush(void **state)
{
    static const struct env_fault_rule rule = {
        .operations = ENV_FAULT_SYNC, .path_part = ".log", .count = 1,
        .error = 5};
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    adb *db = db_test_open(env, "/db", "durability=sync memory_budget=4M");
    db_test_put(db, "before", "1");
    db_test_hold_flush(db, true);
    env_fault_set(env, &rule);
    assert_int_equal(
        db_test_put_as(db, "failed", "2", ADB_DURABILITY_DEFAULT),
        ADB_UNKNOWN_OUTCOME);
    struct db_write w = {.kind = KV_PUT,
                         .key = slice_of_string("waiting"),
                         .value = slice_of_string("3"),
                         .durability = ADB_DURABILITY_SYNC};
    for (int i = 0; i < 2; i++) {
        w.deadline_ns = clock_now_ns() + 20000000;
        assert_int_equal(db_write(db, &w), ADB_TIMEOUT);
        db_test_expect(db, "waiting", NULL);
    }
    db_test_hold_flush(db, false);
    db_test_put(db, "after", "4");
    db_test_expect(db, "failed", "2");
    db_test_expect(db, "waiting", NULL);
    assert_ok(db_close(db));
    env_fault_free(env);
    env_memory_free(disk);
}

static const char log_options[] = "durability=process memory_budget=4M "
                                  "wal_access=write wal_segment_min=64K";

/* Takes the disk. */
static void expect_on(struct env *disk, const char *after)
{
    adb *db = db_test_open(disk, "/db", log_options);
    db_test_expect(db, "before", "1");
    db_test_expect(db, "after", after);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

static void lose_power(struct env *disk, const char *after)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random r;
        random_seed(&r, seed);
        expect_on(env_memory_crash(disk, &r, ~UINT64_C(0)), after);
    }
}

/* A database whose log fails, on a disk that does not. */
struct failing_log {
    struct env *disk, *env;
    adb *db;
};

static void fail_log(struct env *env, uint64_t skip)
{
    struct env_fault_rule rule = {.operations = ENV_FAULT_WRITE,
                                  .path_part = ".log",
                                  .skip = skip,
                                  .count = 2,
                                  .error = 5};
    env_fault_set(env, &rule);
}

/* It holds "before", in a table; returns what became of "first". */
static adb_status fail_first_write(struct failing_log *f, uint64_t skip)
{
    f->disk = env_memory_new(ENV_MEMORY_STRICT);
    f->env = env_fault_new(f->disk);
    f->db = db_test_open(f->env, "/db", log_options);
    db_test_put(f->db, "before", "1");
    assert_ok(db_flush(f->db));
    fail_log(f->env, skip);
    return db_test_put_as(f->db, "first", "2", ADB_DURABILITY_DEFAULT);
}

/* Both failures find an empty memtable, so that nothing is flushed: even so the
   manifest must hear of segments that go. */
static void fail_twice(uint64_t skip_first, uint64_t skip_second)
{
    struct failing_log f;
    (void)!fail_first_write(&f, skip_first);
    fail_log(f.env, skip_second);
    (void)!db_test_put_as(f.db, "second", "3", ADB_DURABILITY_DEFAULT);
    env_fault_set(f.env, NULL);
    assert_ok(db_test_put_as(f.db, "after", "4", ADB_DURABILITY_SYNC));
    expect_on(env_memory_clone(f.disk), "4");
    assert_ok(db_close(f.db));
    expect_on(env_memory_clone(f.disk), "4");
    env_fault_free(f.env);
    env_memory_free(f.disk);
}

static void test_log_fails_twice(void **state)
{
    (void)state;
    for (uint64_t first = 0; first < 4; first++)
        for (uint64_t second = 0; second < 4; second++)
            fail_twice(first, second);
}

/* The manifest cannot be told that the failed segment goes: it stays, and the
   write that waits for it does not happen, whatever was on its way when power
   is lost. Returns what became of the first write. */
static adb_status fail_manifest_too(uint64_t skip, unsigned operation)
{
    struct failing_log f;
    struct env_fault_rule rule = {.operations = operation,
                                  .path_part = "MANIFEST",
                                  .count = ~UINT64_C(0),
                                  .error = 5};
    adb_status first = fail_first_write(&f, skip);
    env_fault_set(f.env, &rule);
    if (first != ADB_OK) {
        assert_int_equal(
            db_test_put_as(f.db, "after", "3", ADB_DURABILITY_DEFAULT),
            ADB_IO);
        assert_non_null(strstr(status_message(), "MANIFEST"));
        lose_power(f.disk, NULL);
    }
    env_fault_set(f.env, NULL);
    assert_ok(db_test_put_as(f.db, "after", "4", ADB_DURABILITY_SYNC));
    lose_power(f.disk, "4");
    assert_ok(db_close(f.db));
    lose_power(f.disk, "4");
    env_fault_free(f.env);
    env_memory_free(f.disk);
    return first;
}

static void test_manifest_fails_behind_the_log(void **state)
{
    unsigned unknown = 0;
    (void)state;
    /* Which of the log's writes the failures meet, the writer's or those of the
       thread that works ahead of it, is the scheduler's choice. */
    for (unsigned round = 0; round == 0 || (round < 30 && !unknown); round++)
        for (uint64_t skip = 0; skip < 4; skip++) {
            unknown += fail_manifest_too(skip, ENV_FAULT_WRITE) ==
                       ADB_UNKNOWN_OUTCOME;
            unknown += fail_manifest_too(skip, ENV_FAULT_SYNC) ==
                       ADB_UNKNOWN_OUTCOME;
        }
    assert_true(unknown > 0);
}

/* ---- a merge that cannot be made ---- */

static adb_status find_table(void *context, const char *name)
{
    if (strstr(name, ".sst")) {
        snprintf(context, 32, "%s", name);
    }
    return ADB_OK;
}

static unsigned count_runs(adb *db)
{
    unsigned count = 0;
    char *json;
    assert_ok(db_stats(db, &json));
    for (char *at = json; (at = strstr(at, "\"run\":")); at++)
        count++;
    free(json);
    return count;
}

static void overwrite_all(struct faulty *f, int times)
{
    for (int i = 0; i < times * WRITES; i++)
        assert_ok(put_timed(f, i % WRITES, 10000));
}

/* The table at the bottom cannot be read where it is merged: what lies above
   it is merged as before, so that writers go on, and reads stay cheap. */
static void test_a_bottom_that_cannot_be_merged(void **state)
{
    char table[32] = "";
    (void)state;
    struct faulty f = {.disk = env_memory_new(ENV_MEMORY_STRICT)};
    f.env = env_fault_new(f.disk);
    f.db = db_test_open(f.env, "/db",
                        "durability=process memtable_size=64K "
                        "memory_budget=4M table_size=64M");
    overwrite_all(&f, 1);
    db_test_compact(f.db);
    assert_ok(env_list_dir(f.disk, "/db", find_table, table));
    struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                  .path_part = table,
                                  .count = ~UINT64_C(0),
                                  .error = 5};
    env_fault_set(f.env, &rule);
    overwrite_all(&f, 20);
    assert_ok(db_flush(f.db));
    assert_true(env_fault_hits(f.env) > 0);
    uint64_t until = clock_now_ns() + UINT64_C(20) * 1000000000;
    /* The read failed; the merge will in a moment. */
    while (db_health(f.db) != ADB_IO && clock_now_ns() < until)
        usleep(1000);
    while (count_runs(f.db) > 12) {
        if (clock_now_ns() > until)
            fail_msg("%u runs have gathered", count_runs(f.db));
        usleep(10000);
    }
    /* Merges of others that end well do not hide it. */
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(db_health(f.db), ADB_IO);
        if (i % 30 == 0)
            overwrite_all(&f, 1);
        usleep(1000);
    }
    env_fault_set(f.env, NULL);
    recover(&f, "a bottom that cannot be merged");
    check_reads(&f, "a bottom that could not be merged");
    assert_ok(db_close(f.db));
    env_fault_free(f.env);
    env_memory_free(f.disk);
}

/* ---- memory ---- */

static int fail_all(void *context, size_t size)
{
    (void)context, (void)size;
    return 1;
}

/* Who looks at the keys' statuses alone is told as well. */
static void test_multi_get_without_memory(void **state)
{
    enum { KEYS = 3 };
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", "memtable_size=32K");
    adb_slice keys[KEYS];
    adb_value values[KEYS];
    adb_status statuses[KEYS];
    struct db_read read = {.snapshot = NULL};
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = slice_of_string("key");
    db_test_put(db, "key", "value");
    memset(values, 0x5a, sizeof values);
    memset(statuses, 0, sizeof statuses);
    mem_set_fail_hook(fail_all, NULL);
    adb_status status = db_multi_get(db, &read, KEYS, keys, values, statuses);
    mem_set_fail_hook(NULL, NULL);
    assert_int_equal(status, ADB_NO_MEMORY);
    for (size_t i = 0; i < KEYS; i++) {
        assert_int_equal(statuses[i], ADB_NO_MEMORY);
        assert_int_equal(values[i].size, 0);
        db_value_release(&values[i]);
    }
    assert_ok(db_multi_get(db, &read, KEYS, keys, values, statuses));
    for (size_t i = 0; i < KEYS; i++)
        db_value_release(&values[i]);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_interrupted_creation),
        cmocka_unit_test(test_tables_of_an_unknown_edit_stay),
        cmocka_unit_test(test_log_waits_for_its_flush),
        cmocka_unit_test(test_log_fails_twice),
        cmocka_unit_test(test_manifest_fails_behind_the_log),
        cmocka_unit_test(test_a_bottom_that_cannot_be_merged),
        cmocka_unit_test(test_multi_get_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
