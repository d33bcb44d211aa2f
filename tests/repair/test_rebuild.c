/*
 * A store of many tables on several levels, merges in progress, killed: without
 * its manifest - and with files still there that were history already - repair
 * gives every key its value.
 */
#include "db/db_test.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/random.h"
#include "db/db_internal.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "repair/repair.h"
#include "version/names.h"

enum { KEYS = 4000, KEY_MAX = 16, VALUE_MAX = 400 };
#define PATH "/db"

static const char options[] =
    "memory_budget=2M memtable_size=64K wal_segment_min=64K "
    "wal_segment_max=64K durability=process table_size=64K block_size=1K "
    "idle_compaction=false";

struct world {
    struct env *disk, *env; /* env: with faults */
    adb *db;
    struct random random;
    uint64_t ids[KEYS]; /* 0: absent */
    uint64_t writes;
};

static void key_of(uint64_t i, char *key)
{
    snprintf(key, KEY_MAX, "k%06" PRIu64, i);
}

static void value_of(uint64_t id, char *value)
{
    size_t size = 20 + id * 37 % 300;
    struct random r;
    random_seed(&r, id);
    for (size_t i = 0; i < size; i++)
        value[i] = (char)('a' + random_below(&r, 26));
    snprintf(value + size, VALUE_MAX - size, "%" PRIu64, id);
}

/* Phases of random keys, of a narrow range, and of deletions of a range. */
static void write_some(struct world *w, uint64_t count)
{
    uint64_t width = random_below(&w->random, 3) ? KEYS : KEYS / 20;
    uint64_t base = random_below(&w->random, KEYS - width + 1);
    bool deleting = random_below(&w->random, 5) == 0;
    for (uint64_t i = 0; i < count; i++) {
        char key[KEY_MAX], value[VALUE_MAX];
        uint64_t n = base + random_below(&w->random, width);
        key_of(n, key);
        if (random_below(&w->random, 10) < (deleting ? 9u : 2u)) {
            w->ids[n] = 0;
            db_test_delete(w->db, key);
        } else {
            w->ids[n] = ++w->writes;
            value_of(w->ids[n], value);
            db_test_put(w->db, key, value);
        }
    }
}

static adb_status remove_manifest(void *context, const char *name)
{
    struct env *env = context;
    uint64_t number;
    if (name_parse(name, &number) != NAME_MANIFEST)
        return ADB_OK;
    char *path = env_join(PATH, name);
    adb_status status = env_unlink(env, path);
    mem_free(path);
    return status;
}

static void on_report(void *context, const adb_damage *d)
{
    (void)context;
    if (getenv("ADB_TEST_TRACE"))
        printf("%s\n", d->text);
}

static bool is_right(const struct world *w, adb *db, uint64_t i)
{
    char key[KEY_MAX], value[VALUE_MAX];
    adb_value v = ADB_VALUE_INIT;
    struct db_read r = {.pinned = &v};
    key_of(i, key);
    adb_status status = db_get(db, slice_of_string(key), &r);
    bool right = status == ADB_NOT_FOUND ? !w->ids[i] : w->ids[i] != 0;
    if (status == ADB_OK && right) {
        value_of(w->ids[i], value);
        right = slice_equal(slice_of(v.data, v.size), slice_of_string(value));
    }
    db_value_release(&v);
    return right;
}

/* Merges go on meanwhile; of the disk the moment counts. */
static void check(struct world *w, uint64_t seed, uint64_t *tables)
{
    struct env *env = env_memory_clone(w->disk);
    struct adb_options o = db_test_options(env, options);
    struct repair_request request = {
        .path = PATH, .options = &o, .report = on_report};
    adb_repair_summary s;
    adb *db;
    unsigned wrong = 0;
    assert_ok(env_list_dir(env, PATH, remove_manifest, env));
    assert_ok(repair_database(&request, &s));
    assert_true(s.rebuilt); /* tables being written count as damaged */
    *tables += s.tables;
    assert_ok(db_open(PATH, &o, &db));
    for (uint64_t i = 0; i < KEYS; i++)
        wrong += !is_right(w, db, i);
    if (wrong)
        printf("seed %" PRIu64 ": %u keys of %d are wrong\n", seed, wrong,
               KEYS);
    assert_int_equal(wrong, 0);
    assert_ok(db_close(db));
    env_memory_free(env);
}

static void run(uint64_t seed, bool leftovers, uint64_t *tables)
{
    static const struct env_fault_rule stays = {
        .operations = ENV_FAULT_UNLINK,
        .path_part = ".sst",
        .count = UINT64_MAX,
        .error = 5};
    struct world w = {.writes = 0};
    random_seed(&w.random, seed);
    w.disk = env_memory_new(ENV_MEMORY_STRICT);
    w.env = env_fault_new(w.disk);
    w.db = db_test_open(w.env, PATH, options);
    for (int i = 0; i < 60; i++) {
        bool stay = leftovers && random_below(&w.random, 2);
        env_fault_set(w.env, stay ? &stays : NULL);
        write_some(&w, 200 + random_below(&w.random, 1500));
        if (i % 10 == 9)
            check(&w, seed, tables);
    }
    env_fault_set(w.env, NULL);
    db_test_abandon(w.db);
    env_fault_free(w.env);
    env_memory_free(w.disk);
}

static void run_all(bool leftovers)
{
    uint64_t seed = test_seed(), tables = 0;
    for (uint64_t i = 0; i < test_scaled(10, 2); i++)
        run(seed + i, leftovers, &tables);
    printf("%" PRIu64 " tables\n", tables);
}

static void test_killed(void **state)
{
    (void)state;
    run_all(false);
}

static void test_leftovers(void **state)
{
    (void)state;
    run_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_leftovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
