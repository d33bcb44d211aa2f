/*
 * Many threads on one database: batches are seen whole or not at all, a key
 * that only grows never goes back, and memtable switches, flushes, merges and
 * cache eviction go on underneath. Meant to run under ThreadSanitizer too.
 */
#include "api_test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PAIRS = 50, HOT = 4 };

struct shared {
    adb *db;
    _Atomic int stop;
    _Atomic uint64_t writes, reads;
};

static uint64_t number_of(const adb_value *v)
{
    uint64_t n;
    assert_true(v->size >= sizeof n);
    memcpy(&n, v->data, sizeof n);
    /* The rest follows from the number: a torn value shows. */
    const unsigned char *p = v->data;
    for (size_t i = sizeof n; i < v->size; i++)
        assert_int_equal(p[i], (unsigned char)(n * 31 + i));
    return n;
}

static size_t make_value(uint64_t n, unsigned char *p)
{
    size_t size = 8 + n * 7 % 300;
    if (n % 97 == 0)
        size = 3000;
    memcpy(p, &n, sizeof n);
    for (size_t i = sizeof n; i < size; i++)
        p[i] = (unsigned char)(n * 31 + i);
    return size;
}

static void *write_pairs(void *argument)
{
    struct shared *s = argument;
    unsigned char value[4096];
    adb_batch *batch = adb_batch_new();
    for (uint64_t n = 1; !atomic_load(&s->stop); n++) {
        char a[16], b[16];
        snprintf(a, sizeof a, "a%04llu", (unsigned long long)(n % PAIRS));
        snprintf(b, sizeof b, "z%04llu", (unsigned long long)(n % PAIRS));
        size_t size = make_value(n, value);
        adb_batch_clear(batch);
        assert_ok(adb_batch_put(batch, a, 5, value, size));
        assert_ok(adb_batch_put(batch, b, 5, value, size));
        assert_ok(adb_write(s->db, NULL, batch));
        atomic_fetch_add(&s->writes, 1);
    }
    adb_batch_free(batch);
    return NULL;
}

static void *write_hot(void *argument)
{
    struct shared *s = argument;
    unsigned char value[4096];
    for (uint64_t n = 1; !atomic_load(&s->stop); n++) {
        char key[16];
        snprintf(key, sizeof key, "hot%llu", (unsigned long long)(n % HOT));
        assert_ok(adb_put(s->db, NULL, key, 4, value, make_value(n, value)));
        snprintf(key, sizeof key, "m%08llu",
                 (unsigned long long)(n * 2654435761u % 100000));
        assert_ok(adb_put(s->db, NULL, key, 9, value, make_value(n, value)));
        atomic_fetch_add(&s->writes, 2);
    }
    return NULL;
}

static void *read_hot(void *argument)
{
    struct shared *s = argument;
    uint64_t last[HOT] = {0};
    for (uint64_t n = 0; !atomic_load(&s->stop); n++) {
        char key[16];
        size_t which = n % HOT;
        adb_value v;
        snprintf(key, sizeof key, "hot%zu", which);
        adb_status status = adb_get(s->db, NULL, key, 4, &v);
        if (status == ADB_NOT_FOUND) {
            assert_int_equal(last[which], 0);
            continue;
        }
        assert_ok(status);
        uint64_t now = number_of(&v);
        assert_true(now >= last[which]);
        last[which] = now;
        adb_value_release(&v);
        atomic_fetch_add(&s->reads, 1);
    }
    return NULL;
}

static uint64_t read_at(adb *db, adb_snapshot *snapshot, const char *key)
{
    adb_value v;
    adb_read_options o = ADB_READ_OPTIONS_INIT;
    o.snapshot = snapshot;
    adb_status status = adb_get(db, &o, key, 5, &v);
    if (status == ADB_NOT_FOUND)
        return 0;
    assert_ok(status);
    uint64_t n = number_of(&v);
    adb_value_release(&v);
    return n;
}

static void check_pair_by_snapshot(struct shared *s, const char *a,
                                   const char *z)
{
    adb_snapshot *snapshot;
    assert_ok(adb_snapshot_new(s->db, &snapshot));
    uint64_t first = read_at(s->db, snapshot, a);
    assert_int_equal(first, read_at(s->db, snapshot, z));
    assert_int_equal(first, read_at(s->db, snapshot, a));
    adb_snapshot_release(s->db, snapshot);
}

static void check_pair_by_multi_get(struct shared *s, const char *a,
                                    const char *z)
{
    adb_slice keys[2] = {{z, 5}, {a, 5}};
    adb_value values[2];
    adb_status statuses[2];
    assert_ok(adb_multi_get(s->db, NULL, 2, keys, values, statuses));
    assert_int_equal(statuses[0], statuses[1]);
    if (statuses[0] == ADB_OK)
        assert_int_equal(number_of(&values[0]), number_of(&values[1]));
    adb_value_release(&values[0]);
    adb_value_release(&values[1]);
}

static void check_pairs_by_scan(struct shared *s)
{
    uint64_t seen[PAIRS] = {0};
    adb_iter *it;
    assert_ok(adb_iter_new(s->db, NULL, &it));
    for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it)) {
        adb_slice k = adb_iter_key(it), v = adb_iter_value(it);
        char text[16] = "";
        memcpy(text, k.data, k.size < 15 ? k.size : 15);
        adb_value value = {.data = v.data, .size = v.size};
        uint64_t n = number_of(&value);
        if (text[0] == 'a')
            seen[atoi(text + 1)] = n;
        else if (text[0] == 'z')
            assert_int_equal(seen[atoi(text + 1)], n);
    }
    assert_ok(adb_iter_status(it));
    adb_iter_free(it);
}

static void *read_pairs(void *argument)
{
    struct shared *s = argument;
    for (uint64_t n = 0; !atomic_load(&s->stop); n++) {
        char a[16], z[16];
        snprintf(a, sizeof a, "a%04llu", (unsigned long long)(n % PAIRS));
        snprintf(z, sizeof z, "z%04llu", (unsigned long long)(n % PAIRS));
        check_pair_by_snapshot(s, a, z);
        check_pair_by_multi_get(s, a, z);
        if (n % 64 == 0)
            check_pairs_by_scan(s);
        atomic_fetch_add(&s->reads, 4);
    }
    return NULL;
}

static void *maintain(void *argument)
{
    struct shared *s = argument;
    adb_slice all = {0, 0};
    for (int n = 0; !atomic_load(&s->stop); n++) {
        char *json;
        usleep(30000);
        if (n % 4 == 1)
            assert_ok(adb_flush(s->db));
        if (n % 16 == 7)
            assert_ok(adb_compact(s->db, all, all));
        if (n % 8 == 3)
            assert_ok(adb_verify(s->db, NULL, NULL, NULL));
        assert_ok(adb_stats(s->db, &json));
        adb_free(json);
    }
    return NULL;
}

static void run_threads(const char *options)
{
    static void *(*const roles[])(void *) = {
        write_pairs, write_hot, read_hot, read_pairs, maintain, read_hot,
    };
    enum { THREADS = sizeof roles / sizeof roles[0] };
    pthread_t threads[THREADS];
    char *path = scratch_new();
    struct shared s = {.db = open_with(path, options)};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &s), 0);
    usleep((useconds_t)test_scaled(4000000, 6000000));
    atomic_store(&s.stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%llu writes, %llu reads\n", (unsigned long long)s.writes,
           (unsigned long long)s.reads);
    check_pairs_by_scan(&s);
    assert_ok(adb_close(s.db));
    scratch_remove(path);
}

static void test_small_memtables(void **state)
{
    (void)state;
    run_threads("durability=process memtable_size=64K memory_budget=1M "
                "table_size=64K wal_segment_min=64K wal_segment_max=256K "
                "block_size=1K");
}

static void test_write_calls(void **state)
{
    (void)state;
    run_threads("durability=process memtable_size=256K memory_budget=4M "
                "wal_access=write compression=none background_threads=3 "
                "sync_interval=5ms");
}

static void test_synced(void **state)
{
    (void)state;
    run_threads("durability=sync memtable_size=128K memory_budget=2M");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_memtables),
        cmocka_unit_test(test_write_calls),
        cmocka_unit_test(test_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
