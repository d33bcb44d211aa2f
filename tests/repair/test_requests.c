/*
 * Repairs that are refused, that find nothing, that only look; and what a
 * repair means for the rest of the database: a quarantine ends, what was put
 * away earlier stays, an interrupted swap keeps others out.
 */
#include "db/db_test.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "db/db_internal.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "repair/repair.h"
#include "sst/sst_reader_internal.h"
#include "version/current.h"
#include "version/names.h"

enum { KEYS = 1500 };
#define PATH "/db"

static const char options[] =
    "memory_budget=2M memtable_size=64K wal_segment_min=64K compression=none "
    "wal_segment_max=64K durability=process table_size=64K block_size=1K "
    "idle_compaction=false";

struct told {
    unsigned damages, remarks;
    uint64_t done, total;
    char last[1200];
};

static void on_report(void *context, const adb_damage *d)
{
    struct told *t = context;
    assert_int_equal(d->struct_size, sizeof *d);
    assert_true(d->file && d->file[0] && d->text && d->text[0]);
    t->damages += d->status != ADB_OK;
    t->remarks += d->status == ADB_OK;
    snprintf(t->last, sizeof t->last, "%s", d->text);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct told *t = context;
    assert_true(done >= t->done && done <= total);
    t->done = done;
    t->total = total;
}

static adb_status repair(struct env *env, bool dry, struct told *t,
                         adb_repair_summary *s)
{
    struct adb_options o = db_test_options(env, options);
    struct repair_request request = {.path = PATH,
                                     .options = &o,
                                     .dry_run = dry,
                                     .report = on_report,
                                     .progress = on_progress,
                                     .context = t};
    *t = (struct told){.damages = 0};
    return repair_database(&request, s);
}

static void key_of(int i, char *key)
{
    snprintf(key, 16, "key%06d", i);
}

static void put_all(adb *db, const char *word)
{
    char key[16], value[200];
    for (int i = 0; i < KEYS; i++) {
        key_of(i, key);
        snprintf(value, sizeof value, "%s %d %0120d", word, i, i);
        db_test_put(db, key, value);
    }
}

static unsigned count_keys(adb *db, const char *word)
{
    unsigned count = 0;
    for (int i = 0; i < KEYS; i++) {
        char key[16], value[200];
        adb_value v = ADB_VALUE_INIT;
        struct db_read r = {.pinned = &v};
        key_of(i, key);
        snprintf(value, sizeof value, "%s %d %0120d", word, i, i);
        adb_status status = db_get(db, slice_of_string(key), &r);
        if (status == ADB_OK)
            count += slice_equal(slice_of(v.data, v.size),
                                 slice_of_string(value));
        else
            assert_true(status == ADB_NOT_FOUND || status == ADB_CORRUPTION);
        db_value_release(&v);
    }
    return count;
}

static struct env *make(void)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(env, PATH, options);
    put_all(db, "one");
    db_test_compact(db);
    assert_ok(db_close(db));
    return env;
}

/* ---- damage ------------------------------------------------------------- */

static void flip(struct env *env, const char *path, uint64_t offset)
{
    struct env_file *f;
    uint8_t byte;
    assert_ok(env_open(env, path, ENV_READ, &f));
    assert_ok(env_file_read_full(f, offset, &byte, 1));
    assert_ok(env_file_close(f));
    byte ^= 1;
    assert_ok(env_memory_damage(env, path, offset, &byte, 1));
}

struct search {
    struct env *env;
    const char *directory;
    enum name_kind kind;
    uint64_t size;
    char *path;
};

static adb_status look_at_name(void *context, const char *name)
{
    struct search *s = context;
    uint64_t number;
    struct env_stat st;
    char *path;
    if (name_parse(name, &number) != s->kind)
        return ADB_OK;
    path = env_join(s->directory, name);
    assert_ok(env_stat(s->env, path, &st));
    if (st.size >= s->size) {
        mem_free(s->path);
        s->path = path;
        s->size = st.size;
    } else {
        mem_free(path);
    }
    return ADB_OK;
}

/* The largest file of the kind in the directory; NULL: there is none. */
static char *find(struct env *env, const char *directory, enum name_kind kind)
{
    struct search s = {.env = env, .directory = directory, .kind = kind};
    assert_ok(env_list_dir(env, directory, look_at_name, &s));
    return s.path;
}

static void damage_table(struct env *env)
{
    char *path = find(env, PATH, NAME_TABLE);
    flip(env, path, 20000);
    mem_free(path);
}

/* ---- tests -------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    adb_repair_summary s;
    struct told t;
    assert_int_equal(repair(env, false, &t, &s), ADB_NOT_A_DATABASE);
    assert_ok(env_make_dir(env, PATH));
    assert_int_equal(repair(env, false, &t, &s), ADB_NOT_A_DATABASE);
    adb *db = db_test_open(env, PATH, options);
    assert_int_equal(repair(env, false, &t, &s), ADB_BUSY);
    assert_ok(db_close(db));
    assert_ok(repair(env, false, &t, &s));
    assert_false(s.changed);
    env_memory_free(env);
}

/* A newer version's database is left alone. */
static void test_newer_version(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary s;
    struct told t;
    struct env_file *f;
    char line[200], sum[40];
    int n = snprintf(line, sizeof line,
                     "albertdb 2 closed MANIFEST-000001 and more sum ");
    snprintf(sum, sizeof sum, "%016llx\n",
             (unsigned long long)checksum_bytes(line, (size_t)n));
    strcat(line, sum);
    assert_ok(env_open(env, PATH "/CURRENT", ENV_WRITE | ENV_TRUNCATE, &f));
    assert_ok(env_file_write(f, 0, line, strlen(line)));
    assert_ok(env_file_close(f));
    assert_int_equal(repair(env, false, &t, &s), ADB_UNSUPPORTED);
    assert_null(find(env, PATH, NAME_REPAIR));
    env_memory_free(env);
}

static void test_sound_stays(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary s;
    struct told t;
    struct env_stat st;
    assert_ok(repair(env, false, &t, &s));
    assert_int_equal(t.damages + t.remarks, 0);
    assert_false(s.changed);
    assert_true(s.tables > 1 && t.done == t.total && t.total > 50000);
    assert_ok(env_stat(env, PATH "/lost", &st));
    assert_int_equal(st.kind, ENV_KIND_NONE);
    assert_ok(env_stat(env, PATH "/repair.tmp", &st));
    assert_int_equal(st.kind, ENV_KIND_NONE);
    adb *db = db_test_open(env, PATH, options);
    assert_int_equal(count_keys(db, "one"), KEYS);
    assert_ok(db_close(db));
    env_memory_free(env);
}

/* Only the damaged table is written anew, and only its block is lost. */
static void test_one_block(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary looked, s;
    struct told t;
    damage_table(env);
    uint64_t before = env_memory_hash(env);
    assert_ok(repair(env, true, &t, &looked));
    assert_true(env_memory_hash(env) == before);
    assert_int_equal(t.damages, 1);
    assert_ok(repair(env, false, &t, &s));
    assert_int_equal(t.damages, 1);
    assert_true(s.changed && !s.rebuilt && s.stale_possible);
    assert_int_equal(s.tables_damaged, 1);
    assert_int_equal(s.versions_lost, looked.versions_lost);
    assert_true(s.versions_lost > 2 && s.versions_lost < 30);
    adb *db = db_test_open(env, PATH, options);
    assert_int_equal(count_keys(db, "one"), KEYS - s.versions_lost);
    assert_ok(db_verify(db, NULL, NULL, NULL));
    assert_ok(db_close(db));
    env_memory_free(env);
}

/* What is put away by one repair is not touched by the next. */
static void test_twice(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary s;
    struct told t;
    char *first, *second;
    damage_table(env);
    assert_ok(repair(env, false, &t, &s));
    assert_non_null(strstr(t.last, PATH "/lost/"));
    first = env_join("/", strstr(t.last, "db/lost/"));
    *strchr(first, '\'') = '\0';
    adb *db = db_test_open(env, PATH, options);
    put_all(db, "two");
    db_test_compact(db);
    assert_ok(db_close(db));
    char *manifest = find(env, PATH, NAME_MANIFEST);
    assert_ok(env_unlink(env, manifest));
    assert_ok(repair(env, false, &t, &s));
    assert_true(s.rebuilt);
    second = env_join("/", strstr(t.last, "db/lost/"));
    *strchr(second, '\'') = '\0';
    assert_string_not_equal(first, second);
    char *table = find(env, first, NAME_TABLE);
    assert_non_null(table);
    mem_free(table);
    table = find(env, second, NAME_TABLE);
    assert_non_null(table);
    db = db_test_open(env, PATH, options);
    assert_int_equal(count_keys(db, "two"), KEYS);
    assert_ok(db_close(db));
    mem_free(table);
    mem_free(manifest);
    mem_free(first);
    mem_free(second);
    env_memory_free(env);
}

/* Damage that a merge has set aside: repair ends it. */
static void test_quarantine_ends(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary s;
    struct told t;
    damage_table(env);
    adb *db = db_test_open(env, PATH, options);
    for (int i = 0; i < 6; i++) {
        char key[16];
        for (int k = 0; k < KEYS; k += 2) {
            key_of(k, key);
            db_test_put(db, key, "newer");
        }
        assert_ok(db_flush(db));
    }
    (void)!db_compact(db, slice_of(NULL, 0), slice_of(NULL, 0));
    assert_int_equal(db_test_stat(db, "quarantined"), 1);
    assert_int_equal(db_health(db), ADB_CORRUPTION);
    unsigned before = count_keys(db, "one");
    assert_ok(db_close(db));

    assert_ok(repair(env, false, &t, &s));
    assert_true(s.changed && !s.rebuilt);
    db = db_test_open(env, PATH, options);
    assert_ok(db_health(db));
    assert_int_equal(db_test_stat(db, "quarantined"), 0);
    assert_int_equal(count_keys(db, "one"), before);
    db_test_compact(db); /* all of it, to one run */
    assert_int_equal(db_test_stat(db, "sorted_runs"), 1);
    assert_int_equal(count_keys(db, "one"), before);
    db_test_expect(db, "key000400", "newer");
    assert_ok(db_verify(db, NULL, NULL, NULL));
    assert_ok(db_close(db));
    env_memory_free(env);
}

/* A quarantined table that is whole again is used again, without rewriting. */
static void test_released_by_repair(void **state)
{
    (void)state;
    struct env *env = make();
    adb_repair_summary s;
    struct told t;
    char *path = find(env, PATH, NAME_TABLE);
    flip(env, path, 20000);
    adb *db = db_test_open(env, PATH, options);
    put_all(db, "two");
    (void)!db_compact(db, slice_of(NULL, 0), slice_of(NULL, 0));
    assert_int_equal(db_test_stat(db, "quarantined"), 1);
    assert_ok(db_close(db));
    flip(env, path, 20000);
    assert_ok(repair(env, false, &t, &s));
    assert_int_equal(s.tables_damaged, 0);
    assert_true(s.changed);
    db = db_test_open(env, PATH, options);
    assert_ok(db_health(db));
    assert_int_equal(count_keys(db, "two"), KEYS);
    assert_ok(db_close(db));
    mem_free(path);
    env_memory_free(env);
}

/* While files are being swapped nobody opens the database. */
static void test_swap_interrupted(void **state)
{
    (void)state;
    unsigned interrupted = 0;
    for (uint64_t k = 0;; k++) {
        struct env *env = make();
        struct env *fault = env_fault_new(env);
        struct env_fault_rule rule = {.operations = ENV_FAULT_RENAME,
                                      .skip = k,
                                      .count = UINT64_MAX,
                                      .error = EIO};
        adb_repair_summary s;
        struct told t;
        struct env_stat st;
        damage_table(env);
        env_fault_set(fault, &rule);
        adb_status status = repair(fault, false, &t, &s);
        bool hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        assert_int_equal(status, hit ? ADB_IO : ADB_OK);
        assert_ok(env_stat(env, PATH "/REPAIR", &st));
        if (st.kind == ENV_KIND_FILE) {
            struct adb_options o = db_test_options(env, options);
            adb *db;
            assert_int_equal(db_open(PATH, &o, &db), ADB_CORRUPTION);
            assert_non_null(strstr(status_message(), "interrupted"));
            interrupted++;
        }
        assert_ok(repair(env, false, &t, &s));
        assert_ok(env_stat(env, PATH "/REPAIR", &st));
        assert_int_equal(st.kind, ENV_KIND_NONE);
        adb *db = db_test_open(env, PATH, options);
        assert_true(count_keys(db, "one") > KEYS - 30);
        assert_ok(db_close(db));
        env_fault_free(fault);
        env_memory_free(env);
        if (!hit)
            break;
    }
    assert_true(interrupted > 0);
}

/* What the system cannot read ends it; or is passed over, if asked for. */
static void test_unreadable(void **state)
{
    (void)state;
    struct env *env = make();
    struct env *fault = env_fault_new(env);
    char *path = find(env, PATH, NAME_TABLE);
    struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                  .path_part = strrchr(path, '/') + 1,
                                  .skip = 20,
                                  .count = UINT64_MAX,
                                  .error = EIO};
    struct adb_options o = db_test_options(fault, options);
    struct told t = {.damages = 0};
    struct repair_request request = {
        .path = PATH, .options = &o, .report = on_report, .context = &t};
    adb_repair_summary s;
    env_fault_set(fault, &rule);
    assert_int_equal(repair_database(&request, &s), ADB_IO);
    request.skip_unreadable = true;
    assert_ok(repair_database(&request, &s));
    env_fault_set(fault, NULL);
    assert_true(s.changed && s.tables_damaged == 1 && t.damages > 0);
    adb *db = db_test_open(env, PATH, options);
    assert_int_equal(count_keys(db, "one"), KEYS - s.versions_lost);
    assert_ok(db_verify(db, NULL, NULL, NULL));
    assert_ok(db_close(db));
    mem_free(path);
    env_fault_free(fault);
    env_memory_free(env);
}

/* ---- without the manifest, or its end ----------------------------------- */

/* A store with writes in its log, as its process died. */
static struct env *make_killed(void)
{
    struct env *env = make();
    adb *db = db_test_open(env, PATH, options);
    put_all(db, "two");
    assert_ok(db_wait_idle(db, 0)); /* no table is just being written */
    struct env *image = env_memory_clone(env);
    db_test_abandon(db);
    env_memory_free(env);
    return image;
}

static void expect_all(struct env *env, const char *word)
{
    adb *db = db_test_open(env, PATH, options);
    assert_int_equal(count_keys(db, word), KEYS);
    assert_ok(db_verify(db, NULL, NULL, NULL));
    assert_ok(db_close(db));
}

static void cut_to(struct env *env, const char *path, uint64_t size)
{
    struct env_file *f;
    assert_ok(env_open(env, path, ENV_WRITE, &f));
    assert_ok(env_file_truncate(f, size));
    assert_ok(env_file_close(f));
}

/* A segment kept to be used again, with a number below the live ones, is not
   where the log begins. */
static void test_spare_segment(void **state)
{
    (void)state;
    struct env *env = make_killed();
    struct env_file *f;
    struct told t;
    adb_repair_summary s;
    static const uint8_t zeros[65536];
    char *path = find(env, PATH, NAME_MANIFEST);
    assert_ok(env_unlink(env, path));
    assert_ok(env_open(env, PATH "/000001.log",
                       ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, &f));
    assert_ok(env_file_write(f, 0, zeros, sizeof zeros));
    assert_ok(env_file_close(f));
    assert_ok(repair(env, false, &t, &s));
    assert_true(s.rebuilt);
    assert_int_equal(t.damages, 1);
    expect_all(env, "two");
    mem_free(path);
    env_memory_free(env);
}

/* The last flush is not in the manifest any more, and its log is used up. */
static void test_manifest_cut(void **state)
{
    (void)state;
    struct env *env = make();
    adb *db = db_test_open(env, PATH, options);
    struct env_stat st;
    struct told t;
    adb_repair_summary s;
    db_test_put(db, "one", "more");
    char *path = find(env, PATH, NAME_MANIFEST);
    assert_ok(env_stat(env, path, &st));
    put_all(db, "two");
    assert_ok(db_flush(db));
    struct env *image = env_memory_clone(env);
    db_test_abandon(db);
    cut_to(image, path, st.size);
    assert_ok(repair(image, false, &t, &s));
    assert_true(s.rebuilt && t.damages > 0);
    expect_all(image, "two");
    mem_free(path);
    env_memory_free(image);
    env_memory_free(env);
}

/* A log that closes badly after it was read takes no message away. */
static void test_closes_badly(void **state)
{
    (void)state;
    struct env *env = make_killed();
    struct env *fault = env_fault_new(env);
    struct current c;
    bool hit = true;
    char *path = find(env, PATH, NAME_MANIFEST);
    assert_ok(current_read(env, PATH, &c));
    cut_to(env, path, c.length); /* as it was when the log was begun */
    for (uint64_t k = 0; hit; k++) {
        struct env_fault_rule rule = {.operations = ENV_FAULT_CLOSE,
                                      .path_part = ".log",
                                      .skip = k,
                                      .count = 1,
                                      .error = EIO};
        struct told t;
        adb_repair_summary s;
        env_fault_set(fault, &rule);
        adb_status status = repair(fault, true, &t, &s);
        hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        assert_true(status == ADB_OK || (hit && status == ADB_IO));
        assert_true(status != ADB_OK || t.damages > 0);
    }
    mem_free(path);
    env_fault_free(fault);
    env_memory_free(env);
}

/* A read that fails once ends the repair, wherever it is: nothing is decided
   without it. */
static void test_read_fails_once(void **state)
{
    (void)state;
    struct env *killed = make_killed();
    bool hit = true;
    for (uint64_t k = 0; hit; k += 1 + k / 8) {
        struct env *env = env_memory_clone(killed);
        struct env *fault = env_fault_new(env);
        struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                      .skip = k,
                                      .count = 1,
                                      .error = EIO};
        struct told t;
        adb_repair_summary s;
        char *path = find(env, PATH, NAME_MANIFEST);
        cut_to(env, path, 300 + 7 * (k % 20));
        env_fault_set(fault, &rule);
        adb_status status = repair(fault, false, &t, &s);
        hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        assert_int_equal(status, hit ? ADB_IO : ADB_OK);
        if (hit)
            assert_ok(repair(env, false, &t, &s));
        expect_all(env, "two");
        mem_free(path);
        env_fault_free(fault);
        env_memory_free(env);
    }
    env_memory_free(killed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_sound_stays),
        cmocka_unit_test(test_one_block),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_quarantine_ends),
        cmocka_unit_test(test_released_by_repair),
        cmocka_unit_test(test_swap_interrupted),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_spare_segment),
        cmocka_unit_test(test_manifest_cut),
        cmocka_unit_test(test_closes_badly),
        cmocka_unit_test(test_read_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
