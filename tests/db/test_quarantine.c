/*
 * A damaged block, and life with it: what it does not hold can be read and
 * written, merges set its table aside and go on, writers are not held up, all
 * of it is told and outlasts reopening, and ends when the table is whole again.
 */
#include "db_test.h"

#include <errno.h>

#include "db/db_internal.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "sst/sst_reader_internal.h"

enum { KEYS = 3000, KEY_MAX = 32, VALUE_MAX = 256 };
#define PATH "/db"

static const char options[] =
    "memory_budget=2M memtable_size=64K wal_segment_min=64K compression=none "
    "wal_segment_max=64K durability=process table_size=64K block_size=1K "
    "background_threads=2 idle_compaction=false";

struct world {
    struct env *disk, *env;
    adb *db;
    unsigned round[KEYS]; /* of the value of each key; 0: deleted */
    unsigned next_round;
    struct random random;
    /* the damaged block */
    char file[64];
    uint64_t offset;
    char from[KEY_MAX], to[KEY_MAX];
    uint64_t warnings;
};

static void key_of(unsigned i, char *key)
{
    snprintf(key, KEY_MAX, "key%06u", i);
}

static void value_of(unsigned i, unsigned round, char *value)
{
    int n = snprintf(value, VALUE_MAX, "value %u of %u ", round, i);
    memset(value + n, 'v', 100);
    value[n + 100] = '\0';
}

static void put(struct world *w, unsigned i)
{
    char key[KEY_MAX], value[VALUE_MAX];
    key_of(i, key);
    value_of(i, w->round[i] = ++w->next_round, value);
    db_test_put(w->db, key, value);
}

static void drop(struct world *w, unsigned i)
{
    char key[KEY_MAX];
    key_of(i, key);
    db_test_delete(w->db, key);
    w->round[i] = 0;
}

static void on_log(void *context, int level, const char *text)
{
    struct world *w = context;
    if (level <= 1 && strstr(text, "set aside"))
        w->warnings++;
}

static void open_world(struct world *w)
{
    struct adb_options o = db_test_options(w->env, options);
    o.log = on_log;
    o.log_context = w;
    o.manifest_roll_bytes = 2000; /* its record is carried along */
    assert_ok(db_open(PATH, &o, &w->db));
}

static void reopen(struct world *w, bool kill)
{
    if (kill)
        db_test_abandon(w->db);
    else
        assert_ok(db_close(w->db));
    open_world(w);
}

/* All keys in a few tables of the bottom. */
static void make_world(struct world *w)
{
    *w = (struct world){.disk = env_memory_new(ENV_MEMORY_STRICT)};
    w->env = env_fault_new(w->disk);
    random_seed(&w->random, test_seed());
    open_world(w);
    for (unsigned i = 0; i < KEYS; i++)
        put(w, i);
    db_test_compact(w->db);
    assert_true(db_test_stat(w->db, "count") >= 4);
}

static void free_world(struct world *w)
{
    assert_ok(db_close(w->db));
    env_fault_free(w->env);
    env_memory_free(w->disk);
}

/* ---- damage ---- */

static void flip(struct world *w, uint64_t at)
{
    struct env_file *f;
    uint8_t byte;
    assert_ok(env_open(w->disk, w->file, ENV_READ, &f));
    assert_ok(env_file_read_full(f, at, &byte, 1));
    assert_ok(env_file_close(f));
    byte ^= 1;
    assert_ok(env_memory_damage(w->disk, w->file, at, &byte, 1));
}

static void on_damage(void *context, const adb_damage *d)
{
    struct world *w = context;
    assert_int_equal(d->struct_size, sizeof *d);
    assert_int_equal(d->status, ADB_CORRUPTION);
    assert_string_equal(d->file, w->file);
    assert_int_equal(d->offset, w->offset);
    assert_non_null(strstr(d->text, d->file));
    snprintf(w->from, KEY_MAX, "%.*s", (int)d->from.size,
             (const char *)d->from.data);
    snprintf(w->to, KEY_MAX, "%.*s", (int)d->to.size,
             (const char *)d->to.data);
}

/* Damages a block in the middle of the version's table, and drops caches. */
static void damage_block(struct world *w, size_t run, size_t table)
{
    struct version *v = version_set_current(w->db->versions);
    struct version_table *t = v->runs[run].tables[table];
    struct sst_reader *r;
    struct index_frame *index;
    assert_ok(version_table_reader(t, &r));
    assert_ok(sst_load_index(r, 0, &index));
    w->offset = index->index.blocks[index->index.count / 2].handle.offset;
    snprintf(w->file, sizeof w->file, PATH "/%06llu.sst",
             (unsigned long long)t->info.number);
    sst_discard_frame(&index->frame);
    version_unref(v);
    flip(w, w->offset + 40);
    reopen(w, false);
    assert_int_equal(db_verify(w->db, on_damage, NULL, w), ADB_CORRUPTION);
    assert_true(w->from[0] && w->to[0] && strcmp(w->from, w->to) <= 0);
}

static bool in_block(const struct world *w, const char *key)
{
    return strcmp(w->from, key) <= 0 && strcmp(key, w->to) <= 0;
}

/* ---- the oracle ---- */

/* Every key outside of the block reads right; returns how many inside do
   not. */
static unsigned check_keys(struct world *w)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        char key[KEY_MAX], value[VALUE_MAX];
        adb_value found = ADB_VALUE_INIT;
        struct db_read r = {.pinned = &found};
        key_of(i, key);
        adb_status status = db_get(w->db, slice_of_string(key), &r);
        if (status == ADB_CORRUPTION && in_block(w, key)) {
            assert_non_null(strstr(status_message(), w->file));
            failed++;
            continue;
        }
        if (w->round[i] == 0) {
            assert_int_equal(status, ADB_NOT_FOUND);
            continue;
        }
        if (status != ADB_OK)
            fail_msg("%s: %s", key, status_message());
        value_of(i, w->round[i], value);
        assert_true(slice_equal(slice_of(found.data, found.size),
                                slice_of_string(value)));
        db_value_release(&found);
    }
    return failed;
}

/* A scan from one end to the other: over the damage by a seek behind it. */
static void check_scan(struct world *w, bool damaged)
{
    struct adb_iter *it;
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    unsigned expected = 0, stops = 0;
    char key[KEY_MAX];
    assert_ok(db_iter_new(w->db, &o, &it));
    it->user->ops->seek_first(it->user);
    for (;;) {
        while (expected < KEYS && w->round[expected] == 0)
            expected++;
        if (it->user->valid) {
            key_of(expected++, key);
            assert_true(slice_equal(it->user->key, slice_of_string(key)));
            kv_iter_next(it->user);
            continue;
        }
        if (kv_iter_status(it->user) == ADB_OK)
            break;
        assert_int_equal(kv_iter_status(it->user), ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), w->file));
        stops++;
        /* As the header says: behind the last key of the damage. */
        while (expected < KEYS && (key_of(expected, key), in_block(w, key)))
            expected++;
        memcpy(key, w->to, KEY_MAX);
        it->user->ops->seek(it->user, slice_of(key, strlen(key) + 1),
                            KV_MAX_SEQ);
    }
    assert_int_equal(expected, KEYS);
    assert_true(stops <= 1 && (stops == 1 || !damaged));
    db_iter_free(it);
}

/* Writes that touch no key of the block. */
static void overwrite(struct world *w, unsigned count)
{
    char key[KEY_MAX];
    for (unsigned n = 0; n < count;) {
        unsigned i = (unsigned)random_below(&w->random, KEYS);
        key_of(i, key);
        if (in_block(w, key))
            continue;
        if (random_below(&w->random, 5))
            put(w, i);
        else
            drop(w, i);
        n++;
    }
}

static void wait_idle(struct world *w)
{
    assert_ok(db_flush(w->db));
    assert_ok(db_wait_idle(w->db, 60000));
}

static void wait_for_quarantine(struct world *w, uint64_t count)
{
    uint64_t until = clock_now_ns() + UINT64_C(60000000000);
    while (db_test_stat(w->db, "quarantined") != count) {
        assert_true(clock_now_ns() < until);
        clock_sleep_ns(1000000);
    }
}

static void expect_told(struct world *w)
{
    char *json, number[64];
    const char *name = strrchr(w->file, '/') + 1;
    assert_int_equal(db_health(w->db), ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), name));
    assert_non_null(strstr(status_message(), "repair"));
    assert_ok(db_stats(w->db, &json));
    const char *list = strstr(json, "\"quarantine\":[{");
    assert_non_null(list);
    assert_non_null(strstr(list, name));
    snprintf(number, sizeof number, "\"offset\":%llu",
             (unsigned long long)w->offset);
    assert_non_null(strstr(list, number));
    assert_non_null(strstr(list, w->from));
    assert_non_null(strstr(list, w->to));
    free(json);
}

/* ---- tests ---- */

static void test_one_bad_block(void **state)
{
    (void)state;
    static struct world w;
    make_world(&w);
    damage_block(&w, 0, 1);
    unsigned failed = check_keys(&w);
    assert_true(failed > 3 && failed < 20);
    check_scan(&w, true);
    /* An older version is never given for one that may lie in the block, and
       a newer one needs no block. */
    unsigned i = 0;
    char key[KEY_MAX];
    while (key_of(i, key), strcmp(key, w.from) <= 0)
        i++;
    assert_true(in_block(&w, key));
    put(&w, i);
    assert_int_equal(check_keys(&w), failed - 1);
    assert_ok(db_flush(w.db));
    assert_int_equal(check_keys(&w), failed - 1);
    free_world(&w);
}

/* Overwrite load beside the block: the life of a quarantine. */
static void test_load_beside(void **state)
{
    (void)state;
    static struct world w;
    make_world(&w);
    damage_block(&w, 0, 1);
    unsigned failed = check_keys(&w);
    overwrite(&w, 4000);
    wait_for_quarantine(&w, 1);
    wait_idle(&w);
    expect_told(&w);
    assert_int_equal(w.warnings, 1);
    assert_int_equal(check_keys(&w), failed);

    /* Merges go on, and nothing piles up. */
    uint64_t merges = db_test_stat(w.db, "compactions");
    uint64_t bytes = db_test_stat(w.db, "compaction_bytes_in");
    for (int i = 0; i < 6; i++) {
        overwrite(&w, 4000);
        wait_idle(&w);
        assert_true(db_test_stat(w.db, "sorted_runs") <= 8);
        assert_int_equal(db_test_stat(w.db, "pace_ns_per_kib"), 0);
        assert_int_equal(check_keys(&w), failed);
    }
    assert_true(db_test_stat(w.db, "compactions") > merges + 6);
    assert_true(db_test_stat(w.db, "compaction_bytes_in") >
                bytes + 6 * 4000 * 100);
    assert_int_equal(db_test_stat(w.db, "quarantined"), 1);
    check_scan(&w, true);

    for (int kill = 0; kill < 2; kill++) {
        w.warnings = 0;
        reopen(&w, kill);
        assert_int_equal(w.warnings, 1);
        expect_told(&w);
        assert_int_equal(check_keys(&w), failed);
        overwrite(&w, 2000);
        wait_idle(&w);
    }
    /* All but the damaged table becomes one run. */
    assert_int_equal(db_compact(w.db, slice_of(NULL, 0), slice_of(NULL, 0)),
                     ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), strrchr(w.file, '/') + 1));
    assert_int_equal(db_test_stat(w.db, "sorted_runs"), 1);
    assert_ok(db_compact(w.db, slice_of_string("key000000"),
                         slice_of_string("key000001")));
    assert_int_equal(check_keys(&w), failed);

    /* Overwritten altogether, no key needs the block any more. */
    for (unsigned i = 0; i < KEYS; i++)
        put(&w, i);
    wait_idle(&w);
    assert_int_equal(check_keys(&w), 0);

    /* Whole again: verification says so, and it returns. */
    assert_int_equal(db_verify(w.db, on_damage, NULL, &w), ADB_CORRUPTION);
    flip(&w, w.offset + 40);
    struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                  .path_part = strrchr(w.file, '/') + 1,
                                  .count = UINT64_MAX,
                                  .error = EIO};
    env_fault_set(w.env, &rule); /* what cannot be read is not found whole */
    assert_int_equal(db_verify(w.db, NULL, NULL, NULL), ADB_IO);
    env_fault_set(w.env, NULL);
    assert_int_equal(db_test_stat(w.db, "quarantined"), 1);
    assert_ok(db_verify(w.db, NULL, NULL, NULL));
    assert_int_equal(db_test_stat(w.db, "quarantined"), 0);
    assert_ok(db_health(w.db));
    overwrite(&w, 100);
    db_test_compact(w.db);
    assert_int_equal(check_keys(&w), 0);
    w.warnings = 0;
    reopen(&w, false);
    assert_int_equal(w.warnings, 0);
    assert_int_equal(check_keys(&w), 0);
    assert_ok(db_verify(w.db, NULL, NULL, NULL));
    free_world(&w);
}

/* A flush that is damaged: older tables go along, newer writes make a tree of
   their own. */
static void test_newest_run(void **state)
{
    (void)state;
    static struct world w;
    make_world(&w);
    overwrite(&w, 400);
    assert_ok(db_flush(w.db));
    damage_block(&w, 0, 0);
    unsigned failed = check_keys(&w);
    for (int i = 0; i < 5; i++) {
        overwrite(&w, 4000);
        wait_idle(&w);
        check_keys(&w);
        assert_true(db_test_stat(w.db, "sorted_runs") <= 8);
    }
    assert_int_equal(db_test_stat(w.db, "quarantined"), 1);
    assert_true(failed > 0 && check_keys(&w) <= failed);
    flip(&w, w.offset + 40);
    assert_ok(db_verify(w.db, NULL, NULL, NULL));
    db_test_compact(w.db);
    assert_int_equal(check_keys(&w), 0);
    check_scan(&w, false);
    free_world(&w);
}

/* What cannot be read is no damage: it is tried again, and told meanwhile. */
static void test_unreadable(void **state)
{
    (void)state;
    static struct world w;
    make_world(&w);
    damage_block(&w, 0, 1);
    flip(&w, w.offset + 40);
    reopen(&w, false);
    struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                  .path_part = strrchr(w.file, '/') + 1,
                                  .count = UINT64_MAX,
                                  .error = EIO};
    env_fault_set(w.env, &rule);
    overwrite(&w, 4000);
    uint64_t until = clock_now_ns() + UINT64_C(60000000000);
    while (db_health(w.db) == ADB_OK)
        assert_true(clock_now_ns() < until);
    assert_int_equal(db_health(w.db), ADB_IO);
    assert_int_equal(db_verify(w.db, NULL, NULL, NULL), ADB_IO);
    env_fault_set(w.env, NULL);
    while (db_health(w.db) != ADB_OK)
        assert_true(clock_now_ns() < until);
    wait_idle(&w);
    assert_int_equal(db_test_stat(w.db, "quarantined"), 0);
    assert_int_equal(check_keys(&w), 0);
    assert_ok(db_verify(w.db, NULL, NULL, NULL));
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_bad_block),
        cmocka_unit_test(test_load_beside),
        cmocka_unit_test(test_newest_run),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
