/*
 * Flush: random memtables become one run that shows every snapshot what it
 * saw; every call to the disk fails once; jobs are cancelled.
 */
#include "support/table_store.h"

#include <errno.h>

#include "base/hash.h"
#include "flush/flush.h"

enum { MEMTABLES = 3, MAX_SNAPSHOTS = 4 };

struct world {
    struct store *store;
    struct random random;
    struct memtable_pool *pool;
    struct memtable *memtables[MEMTABLES]; /* newest first */
    uint64_t snapshots[MAX_SNAPSHOTS];
    size_t snapshot_count;
    int cancel_after;
};

static uint64_t new_file(void *context)
{
    return store_new_file(((struct world *)context)->store);
}

static int cancelled(void *context)
{
    struct world *w = context;
    return w->cancel_after >= 0 && w->cancel_after-- == 0;
}

static uint64_t newest_snapshot_below(const struct world *w, uint64_t seq)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < w->snapshot_count; i++)
        newest = w->snapshots[i] < seq ? w->snapshots[i] : newest;
    return newest;
}

static void put(struct world *w, struct memtable *m,
                const struct version_text *v)
{
    static uint8_t value[20000];
    version_value(v, value);
    struct memtable_write write = {
        .key = version_key(v),
        .hash = hash_key(v->key, strlen(v->key)),
        .seq = v->seq,
        .kind = v->kind,
        .value = slice_of(value, v->value_size),
        .keep_seq = newest_snapshot_below(w, v->seq),
        .in_place = random_below(&w->random, 2),
    };
    check(memtable_put(m, &write));
}

static struct world *world_new(uint64_t seed, size_t entries, size_t keys)
{
    struct world *w = calloc(1, sizeof *w);
    uint64_t seq = 1, at = 0;
    random_seed(&w->random, seed);
    w->cancel_after = -1;
    w->store = store_new();
    w->pool = memtable_pool_new(4 << 20, 1, &w->store->ledger);
    w->snapshot_count = random_below(&w->random, MAX_SNAPSHOTS + 1);
    for (size_t i = 0; i < w->snapshot_count; i++)
        w->snapshots[i] = at += random_below(&w->random, entries);
    for (size_t m = MEMTABLES; m-- > 0;) {
        check(memtable_new(w->pool, 0, &w->memtables[m]));
        struct version_text *v = store_random_versions(
            w->store, &w->random, entries, keys, seq);
        for (size_t i = 0; i < entries; i++)
            put(w, w->memtables[m], &v[i]);
        seq += entries;
    }
    store_sort_model(w->store);
    return w;
}

static void world_free(struct world *w)
{
    for (size_t m = 0; m < MEMTABLES; m++)
        memtable_unref(w->memtables[m]);
    memtable_pool_free(w->pool);
    store_free(w->store);
    free(w);
}

static struct flush_job make_job(struct world *w)
{
    struct flush_job job = {
        .env = w->store->env,
        .directory = store_directory,
        .table = store_table_options(w->store),
        .max_table_bytes = 8000 + random_below(&w->random, 100000),
        .memtables = w->memtables,
        .memtable_count = MEMTABLES,
        .snapshots = w->snapshots,
        .snapshot_count = w->snapshot_count,
        .place = {0, 7},
        .new_file = new_file,
        .cancelled = cancelled,
        .context = w,
    };
    return job;
}

static void test_model(void **state)
{
    (void)state;
    size_t cut = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(seed, 20 * seed, 2 + 10 * seed);
        struct flush_job job = make_job(w);
        struct version_edit edit = {0};
        struct flush_result result;
        check(flush_run(&job, &edit, &result));
        assert_int_equal(result.tables, edit.added_count);
        assert_true(result.entries_in >= result.entries_out);
        assert_true(result.bytes_out > 0);
        cut += edit.added_count > 1;
        /* Tables and their names are durable. */
        assert_int_equal(env_memory_pending(w->store->disk), 0);
        store_apply(w->store, &edit);
        store_check_files(w->store);
        assert_int_equal(store_check_order(w->store), result.entries_out);
        assert_int_equal(w->store->version->run_count, 1);
        store_check(w->store, w->snapshots, w->snapshot_count);
        world_free(w);
    }
    assert_true(cut > 10);
}

static void test_nothing_to_flush(void **state)
{
    (void)state;
    struct world *w = world_new(1, 0, 1);
    struct flush_job job = make_job(w);
    struct version_edit edit = {0};
    struct flush_result result;
    check(flush_run(&job, &edit, &result));
    assert_int_equal(edit.added_count, 0);
    assert_int_equal(result.tables, 0);
    job.memtable_count = 0;
    check(flush_run(&job, &edit, &result));
    assert_int_equal(result.entries_in, 0);
    store_check_files(w->store);
    world_free(w);
}

static void test_cancel(void **state)
{
    (void)state;
    struct world *w = world_new(5, 800, 300);
    struct flush_job job = make_job(w);
    for (int n = 0;; n++) {
        struct version_edit edit = {0};
        struct flush_result result;
        w->cancel_after = n;
        adb_status status = flush_run(&job, &edit, &result);
        if (status == ADB_OK) {
            assert_true(n >= 3);
            store_apply(w->store, &edit);
            break;
        }
        assert_int_equal(status, ADB_CLOSED);
        assert_true(edit_is_empty(&edit));
        store_check_files(w->store);
    }
    store_check(w->store, w->snapshots, w->snapshot_count);
    world_free(w);
}

static void test_disk_faults(void **state)
{
    (void)state;
    struct world *w = world_new(9, 150, 60);
    struct flush_job job = make_job(w);
    job.max_table_bytes = 20000;
    size_t failures = 0;
    for (uint64_t nth = 0;; nth++) {
        struct env_fault_rule rule = {
            .operations = ENV_FAULT_ANY & ~(unsigned)ENV_FAULT_UNLINK,
            .skip = nth,
            .count = 1,
            .error = nth % 2 ? EIO : ENOSPC,
            .partial = nth * 37};
        struct version_edit edit = {0};
        struct flush_result result;
        env_fault_set(w->store->env, &rule);
        adb_status status = flush_run(&job, &edit, &result);
        bool hit = env_fault_hits(w->store->env) > 0;
        env_fault_set(w->store->env, NULL);
        if (status == ADB_OK) {
            assert_false(hit);
            store_apply(w->store, &edit);
            break;
        }
        assert_true(hit);
        assert_int_equal(status, nth % 2 ? ADB_IO : ADB_NO_SPACE);
        assert_non_null(strstr(status_message(), store_directory));
        assert_true(edit_is_empty(&edit));
        store_check_files(w->store);
        failures++;
    }
    assert_true(failures > 10);
    store_check(w->store, w->snapshots, w->snapshot_count);
    world_free(w);
}

static int fail_rest(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- <= 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct world *w = world_new(13, 60, 30);
    struct flush_job job = make_job(w);
    adb_status status;
    for (int nth = 0;; nth++) {
        struct version_edit edit = {0};
        struct flush_result result;
        int left = nth;
        mem_set_fail_hook(fail_rest, &left);
        status = flush_run(&job, &edit, &result);
        mem_set_fail_hook(NULL, NULL);
        if (status == ADB_OK) {
            store_apply(w->store, &edit);
            break;
        }
        assert_int_equal(status, ADB_NO_MEMORY);
        assert_true(edit_is_empty(&edit));
        version_edit_deinit(&edit);
    }
    store_check(w->store, w->snapshots, w->snapshot_count);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_nothing_to_flush),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_disk_faults),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
