/*
 * The life of a database in which one thing fails: each allocation of the
 * calling thread in turn, each allocation of its background threads, each file
 * operation of opening. Whatever fails, it says so, what was acknowledged is
 * there, now and after the next opening, and nothing leaks.
 */
#include "db_test.h"

#include "db/db_internal.h"
#include "env/env_memory.h"
#include "support/failing.h"

enum { KEYS = 40 };

#define TRY(call)                                                              \
    do {                                                                       \
        adb_status try_ = (call);                                              \
        if (try_ != ADB_OK)                                                    \
            return try_;                                                       \
    } while (0)

struct life {
    struct env *disk, *env; /* env: faults over disk */
    adb *db;
    unsigned written[KEYS]; /* which value was acknowledged last; 0: none */
    bool unknown[KEYS];     /* whether a later one was is not */
    const char *options;
};

/* Small ones, some that lie outside of their node, of their memtable, and of
   data blocks. */
static size_t value_size(unsigned which)
{
    static const size_t sizes[] = {0, 9, 300, 4000, 70000, 100000};
    return sizes[which % 6];
}

static void fill(uint8_t *value, int key, unsigned which)
{
    for (size_t i = 0; i < value_size(which); i++)
        value[i] = (uint8_t)(i * 31 + (unsigned)key + which);
}

static size_t name_of(int key, char *name)
{
    return (size_t)snprintf(name, 16, "key%03d", key);
}

static adb_status put(struct life *l, int key, unsigned which)
{
    char name[16];
    uint8_t *value = malloc(value_size(which) + 1);
    fill(value, key, which);
    struct db_write w = {.kind = KV_PUT,
                         .key = slice_of(name, name_of(key, name)),
                         .value = slice_of(value, value_size(which)),
                         .durability = db_durability(l->db)};
    adb_status status = db_write(l->db, &w);
    if (status == ADB_OK)
        l->written[key] = which;
    else if (status == ADB_UNKNOWN_OUTCOME)
        l->unknown[key] = true;
    free(value);
    return status;
}

static adb_status expect(struct life *l, int key)
{
    char name[16];
    adb_value v = ADB_VALUE_INIT;
    struct db_read r = {.pinned = &v};
    unsigned which = l->written[key];
    adb_status status =
        db_get(l->db, slice_of(name, name_of(key, name)), &r);
    if (status == ADB_NOT_FOUND && !which)
        return ADB_OK;
    if (status == ADB_NOT_FOUND)
        fail_msg("'%s' was acknowledged and is lost", name);
    if (status != ADB_OK)
        return status;
    uint8_t *value = malloc(value_size(which) + 1);
    fill(value, key, which);
    if (v.size != value_size(which) || memcmp(v.data, value, v.size) != 0)
        fail_msg("'%s' has %zu bytes, not %zu", name, v.size,
                 value_size(which));
    free(value);
    db_value_release(&v);
    return ADB_OK;
}

static void expect_all(struct life *l)
{
    for (int key = 0; key < KEYS; key++)
        if (!l->unknown[key])
            assert_ok(expect(l, key));
}

static adb_status open_life(struct life *l)
{
    struct adb_options o = db_test_options(l->env, l->options);
    return db_open("/db", &o, &l->db);
}

static void new_life(struct life *l, const char *options)
{
    *l = (struct life){.disk = env_memory_new(ENV_MEMORY_STRICT),
                       .options = options};
    l->env = env_fault_new(l->disk);
}

/* Opens it again, as after a kill, and looks. lost: it promised nothing. */
static void end_life(struct life *l, bool lost)
{
    failing_end(l->env);
    if (l->db) {
        expect_all(l);
        db_test_abandon(l->db);
    }
    if (lost)
        memset(l->unknown, true, sizeof l->unknown);
    assert_ok(open_life(l));
    expect_all(l);
    assert_ok(db_verify(l->db, NULL, NULL, NULL));
    assert_ok(db_close(l->db));
    env_fault_free(l->env);
    env_memory_free(l->disk);
}

/* ---- what a caller does -------------------------------------------------- */

static adb_status walk(adb *db, const adb_iter_options *o, size_t *count)
{
    adb_iter *it;
    *count = 0;
    TRY(db_iter_new(db, o, &it));
    struct kv_iter *u = it->user;
    for (u->ops->seek_first(u); u->valid; kv_iter_next(u)) {
        ++*count;
        adb_status status = kv_iter_load(u);
        if (status != ADB_OK) {
            db_iter_free(it);
            return status;
        }
    }
    adb_status status = kv_iter_status(u);
    size_t back = 0;
    if (status == ADB_OK) {
        for (u->ops->seek_last(u); u->valid; kv_iter_prev(u))
            back++;
        status = kv_iter_status(u);
    }
    if (status == ADB_OK)
        assert_int_equal(back, *count);
    db_iter_free(it);
    return status;
}

static adb_status iterate(adb *db, const adb_snapshot *snapshot)
{
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    size_t all, some;
    o.snapshot = snapshot;
    TRY(walk(db, &o, &all));
    assert_true(all > 10);
    TRY(walk(db, &o, &some)); /* the one at rest, perhaps */
    assert_int_equal(some, all);
    o.no_fill_cache = 1;
    TRY(walk(db, &o, &some));
    assert_int_equal(some, all);
    o.prefix = slice_of_string("key01");
    TRY(walk(db, &o, &some));
    assert_true(some > 0 && some <= 10);
    o.lower = slice_of_string("key015");
    o.upper = slice_of_string("key017");
    TRY(walk(db, &o, &some));
    assert_true(some <= 2);
    o.prefix = slice_of_string("\xff");
    o.lower = o.upper = slice_of(NULL, 0);
    TRY(walk(db, &o, &some));
    assert_int_equal(some, 0);
    return ADB_OK;
}

static adb_status look_around(struct life *l)
{
    adb_slice keys[3] = {slice_of_string("key000"), slice_of_string("key001"),
                         slice_of_string("none")};
    adb_value values[3];
    adb_status statuses[3];
    char *json;
    uint64_t bytes;
    struct db_read r = {.snapshot = NULL};
    adb_status status = db_multi_get(l->db, &r, 3, keys, values, statuses);
    for (size_t i = 0; i < 3; i++)
        db_value_release(&values[i]);
    TRY(status);
    assert_int_equal(statuses[2], ADB_NOT_FOUND);
    for (int key = 0; key < KEYS; key++)
        TRY(expect(l, key));
    TRY(db_stats(l->db, &json));
    assert_int_equal(json[0], '{');
    mem_free(json);
    TRY(db_approximate_size(l->db, keys[0], slice_of(NULL, 0), &bytes));
    return ADB_OK;
}

static adb_status batch(struct life *l, unsigned which)
{
    struct kv_batch b = {.count = 0};
    uint8_t value[300];
    adb_status status = ADB_OK;
    for (int key = 0; key < 6 && status == ADB_OK; key++) {
        char name[16];
        fill(value, key, which);
        adb_slice k = slice_of(name, name_of(key, name));
        status = key == 5 ? kv_batch_add(&b, KV_DELETE, k, slice_of(NULL, 0))
                          : kv_batch_add(&b, KV_PUT, k,
                                         slice_of(value, value_size(which)));
    }
    struct db_write w = {.batch = &b, .durability = db_durability(l->db)};
    if (status == ADB_OK)
        status = db_write(l->db, &w);
    for (int key = 0; key < 6 && status == ADB_OK; key++)
        l->written[key] = key == 5 ? 0 : which;
    kv_batch_deinit(&b);
    return status;
}

static adb_status live(struct life *l)
{
    adb_snapshot *snapshot;
    for (int key = 0; key < KEYS / 2; key++)
        TRY(put(l, key, 1 + (unsigned)key % 3));
    TRY(batch(l, 2));
    TRY(db_snapshot_new(l->db, &snapshot));
    adb_status status = put(l, 3, 3);
    if (status == ADB_OK)
        status = db_flush(l->db);
    if (status == ADB_OK)
        status = put(l, 4, 4);
    if (status == ADB_OK)
        status = put(l, KEYS - 1, 5);
    if (status == ADB_OK)
        status = look_around(l);
    if (status == ADB_OK)
        status = iterate(l->db, snapshot);
    db_snapshot_release(l->db, snapshot);
    TRY(status);
    TRY(db_sync(l->db));
    TRY(iterate(l->db, NULL));
    TRY(db_compact(l->db, slice_of(NULL, 0), slice_of(NULL, 0)));
    TRY(put(l, 7, 3));
    TRY(db_compact(l->db, slice_of_string("key000"),
                   slice_of_string("key030")));
    TRY(look_around(l));
    return db_verify(l->db, NULL, NULL, NULL);
}

static adb_status whole_life(void *context)
{
    struct life *l = context;
    new_life(l, l->options);
    failing_begin(l->env);
    adb_status status = open_life(l);
    if (status != ADB_OK)
        l->db = NULL;
    else
        status = live(l);
    if (status == ADB_OK) {
        status = db_close(l->db);
        l->db = NULL;
    }
    failing_end(l->env);
    struct status_saved saved;
    status_save(&saved, status);
    end_life(l, status != ADB_OK && strstr(l->options, "durability=none"));
    return status_restore(&saved);
}

#define COMMON "memory_budget=4M memtable_size=64K "
static const char *const lives[] = {
    COMMON "wal_segment_min=64K wal_segment_max=128K durability=process "
           "sync_interval=3600s idle_compaction=false",
    COMMON "wal_segment_min=64K wal_segment_max=64K durability=sync "
           "wal_access=write compression=none table_access=map filter_bits=0 "
           "compaction=leveled",
    COMMON "durability=none compression=zstd max_open_files=8 "
           "compaction=tiered",
};

static void test_allocations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct life l = {.options = lives[i]};
        unsigned failed = each_allocation(whole_life, &l, true);
        printf("%u allocations failed\n", failed);
        assert_true(failed > 30);
    }
}

/* ---- opening what is there ----------------------------------------------- */

static void leave_behind(struct life *l, bool crash)
{
    assert_ok(open_life(l));
    for (int key = 0; key < KEYS; key++)
        assert_ok(put(l, key, 1 + (unsigned)key % 3));
    assert_ok(db_flush(l->db));
    for (int key = 0; key < 10; key++)
        assert_ok(put(l, key, 2 + (unsigned)key % 4));
    if (crash)
        db_test_abandon(l->db);
    else
        assert_ok(db_close(l->db));
    l->db = NULL;
}

static adb_status open_once(void *context)
{
    struct life *l = context;
    const char *options = l->options;
    new_life(l, options);
    leave_behind(l, strstr(options, "process") != NULL);
    failing_begin(l->env);
    adb_status status = open_life(l);
    failing_end(l->env);
    if (status != ADB_OK)
        l->db = NULL;
    struct status_saved saved;
    status_save(&saved, status);
    end_life(l, false);
    return status_restore(&saved);
}

static void test_opening(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct life l = {.options = lives[i]};
        unsigned failed = each_allocation(open_once, &l, true);
        failed += each_shortage(open_once, &l, true);
        assert_true(failed > 30);
        printf("%u allocations failed\n", failed);
        /* A file that cannot be removed, or made ahead, stops nobody. */
        failed = each_call(open_once, &l, ENV_FAULT_ANY, EIO, true);
        assert_true(failed > 10);
        printf("%u calls failed\n", failed);
    }
}

/* ---- background ---------------------------------------------------------- */

static _Atomic int64_t others_left;
static _Thread_local bool is_main;

static int fail_others(void *context, size_t size)
{
    (void)context, (void)size;
    return !is_main && atomic_load(&others_left) > 0 &&
           atomic_fetch_sub(&others_left, 1) == 1;
}

/* A flush or merge that finds no memory is told and tried again; all is there
   meanwhile. */
static void test_background(void **state)
{
    (void)state;
    struct life l;
    unsigned failed = 0;
    is_main = true;
    new_life(&l, "memory_budget=4M memtable_size=64K wal_segment_min=64K "
                 "wal_segment_max=64K durability=process sync_interval=3600s");
    assert_ok(open_life(&l));
    mem_set_fail_hook(fail_others, NULL);
    for (int64_t n = 1; n <= (int64_t)test_scaled(90, 60); n++) {
        for (int key = 0; key < KEYS; key++)
            assert_ok(put(&l, key, 1 + (unsigned)(key + n) % 3));
        atomic_store(&others_left, n);
        adb_status status = db_flush(l.db);
        if (status != ADB_OK) {
            assert_int_equal(status, ADB_NO_MEMORY);
            failed++;
        }
        atomic_store(&others_left, 0);
        expect_all(&l);
        while (db_flush(l.db) != ADB_OK)
            ;
    }
    mem_set_fail_hook(NULL, NULL);
    assert_true(failed > 3); /* other threads take some */
    printf("%u flushes failed\n", failed);
    /* A merge that failed is tried again within two seconds. */
    uint64_t until = clock_now_ns() + UINT64_C(30) * 1000000000;
    while (db_wait_idle(l.db, 60000) != ADB_OK) {
        assert_true(clock_now_ns() < until);
        usleep(10000);
    }
    assert_ok(db_health(l.db));
    end_life(&l, false);
}

/* ---- verifying ----------------------------------------------------------- */

static int fail_rest(void *context, size_t size)
{
    (void)context, (void)size;
    if (!is_main || failing_left < 0 || --failing_left > 0)
        return 0;
    failing_left = 1;
    failing.met = true;
    return 1;
}

/* From some moment on there is no memory: a piece that was not looked at for
   want of it does not pass for sound. */
static void test_verifying(void **state)
{
    (void)state;
    struct life l;
    is_main = true;
    new_life(&l, "memory_budget=16M memtable_size=2M wal_segment_min=64K "
                 "wal_segment_max=64K durability=process sync_interval=3600s");
    assert_ok(open_life(&l));
    for (int key = 0; key < KEYS; key++)
        assert_ok(put(&l, key, 3)); /* some segments of the log */
    mem_set_fail_hook(fail_rest, NULL);
    for (int64_t n = 1;; n++) {
        failing_left = n;
        failing.met = false;
        adb_status status = db_verify(l.db, NULL, NULL, NULL);
        failing_left = -1;
        if (failing.met && status == ADB_OK)
            fail_msg("without memory from allocation %lld on all is sound",
                     (long long)n);
        if (status == ADB_OK)
            break;
        assert_int_equal(status, ADB_NO_MEMORY);
    }
    mem_set_fail_hook(NULL, NULL);
    end_life(&l, false);
}

/* ---- removing it --------------------------------------------------------- */

static adb_status destroy_once(void *context)
{
    struct life *l = context;
    struct env_stat st;
    new_life(l, lives[0]);
    leave_behind(l, true);
    failing_begin(l->env);
    adb_status status = db_destroy(l->env, "/db");
    failing_end(l->env);
    struct status_saved saved;
    status_save(&saved, status);
    /* What is left of it: at last the lock, then the directory, which counts as
       no failure. */
    if (status != ADB_OK && db_destroy(l->env, "/db") != ADB_OK) {
        assert_non_null(strstr(status_message(), "holds no database"));
        assert_ok(env_unlink(l->disk, "/db/LOCK"));
    }
    assert_ok(env_stat(l->disk, "/db", &st));
    if (st.kind != ENV_KIND_NONE)
        assert_ok(env_remove_dir(l->disk, "/db"));
    assert_int_equal(db_destroy(l->env, "/db"), ADB_NOT_A_DATABASE);
    env_fault_free(l->env);
    env_memory_free(l->disk);
    return status_restore(&saved);
}

static void test_destroying(void **state)
{
    (void)state;
    struct life l = {.options = NULL};
    assert_true(each_allocation(destroy_once, &l, false) > 5);
    assert_true(each_call(destroy_once, &l, ENV_FAULT_ANY, EIO, true) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_background),
        cmocka_unit_test(test_verifying),
        cmocka_unit_test(test_destroying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
