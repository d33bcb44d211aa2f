/*
 * Readers and iterators of several kinds over shared tables whose blocks are
 * evicted all the time, while tables are opened and given up: nothing wrong is
 * ever seen, and every byte comes back. Meant for ThreadSanitizer.
 */
#include "table_fixture.h"

enum { THREADS = 5 };
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 600 };
#else
enum { ROUNDS = 2500 };
#endif

static struct fixture *f;
/* The shared reader: replaced now and then, as a version change does. A
   counted reference under a mutex stands for the version. */
static struct mutex lock;
static _Atomic int wrong;

static struct sst_reader *take_reader(void)
{
    mutex_lock(&lock);
    struct sst_reader *r = sst_reader_ref(f->reader);
    mutex_unlock(&lock);
    return r;
}

static void replace_reader(void)
{
    struct sst_reader *fresh, *old;
    if (sst_reader_open(&f->context, &f->info, &fresh) != ADB_OK) {
        atomic_fetch_add(&wrong, 1);
        return;
    }
    mutex_lock(&lock);
    old = f->reader;
    f->reader = fresh;
    mutex_unlock(&lock);
    sst_reader_unref(old);
}

static bool same(const struct model_entry *e, adb_slice value)
{
    uint8_t expected[4096];
    if (value.size != e->value_size || value.size > sizeof expected)
        return false;
    fill_value(e, expected);
    return memcmp(value.data, expected, value.size) == 0;
}

static void get_one(struct sst_reader *r, struct random *random,
                    struct cache_frame **kept)
{
    struct sst_hit hit;
    const struct model_entry *e =
        &f->model.entries[random_below(random, f->model.count)];
    unsigned flags = random_below(random, 4) ? 0 : SST_NO_FILL;
    struct epoch_slot *inside = epoch_enter(f->epoch);
    adb_status status = sst_reader_get(
        r, model_key(e), hash_key(e->key, e->key_size), e->seq, flags, &hit);
    bool ok = status == ADB_OK && hit.seq == e->seq && same(e, hit.value);
    if (status == ADB_OK && hit.frame)
        cache_keep(hit.frame);
    epoch_leave(inside);
    if (!ok || !same(e, hit.value))
        atomic_fetch_add(&wrong, 1);
    /* One pinned value is kept until the next. */
    if (status == ADB_OK) {
        cache_unpin(*kept);
        *kept = hit.frame;
    }
}

static void walk(struct sst_reader *r, struct random *random)
{
    unsigned flags = random_below(random, 3) ? 0 : SST_NO_FILL;
    struct kv_iter *it = sst_iter_new(r, flags);
    size_t i = random_below(random, f->model.count);
    const struct model_entry *e = &f->model.entries[i];
    bool backward = random_below(random, 2);
    it->ops->seek(it, model_key(e), e->seq);
    for (int step = 0; step < 150 && i < f->model.count; step++) {
        e = &f->model.entries[i];
        if (!it->valid || it->seq != e->seq ||
            !slice_equal(it->key, model_key(e)) || !same(e, it->value)) {
            atomic_fetch_add(&wrong, 1);
            break;
        }
        if (backward)
            kv_iter_prev(it), i--;
        else
            kv_iter_next(it), i++;
    }
    kv_iter_close(it);
}

static void *work(void *argument)
{
    struct random random;
    struct cache_frame *kept = NULL;
    random_seed(&random, (uint64_t)(uintptr_t)argument);
    for (int round = 0; round < ROUNDS; round++) {
        struct sst_reader *r = take_reader();
        for (int i = 0; i < 8; i++)
            get_one(r, &random, &kept);
        if (round % 8 == 0)
            walk(r, &random);
        sst_reader_unref(r);
        if (random_below(&random, 100) == 0)
            replace_reader();
    }
    cache_unpin(kept);
    return NULL;
}

struct shape {
    int64_t budget;
    enum sst_compression compression;
};

static void stress(void **state)
{
    const struct shape *s = *state;
    struct random random;
    uint64_t seed = clock_now_ns();
    random_seed(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    f = fixture_new(s->budget);
    for (uint64_t i = 0; i < 6000; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key%07llu",
                         (unsigned long long)random_below(&random, 30000));
        model_add(&f->model, key, (size_t)n, i + 1, KV_PUT,
                  random_below(&random, 200));
    }
    model_sort(&f->model);
    struct sst_writer_options options = {.block_size = 1024,
                                         .compression = s->compression,
                                         .part_keys = 200,
                                         .filter_bits = 10};
    write_model(f, &options);
    fixture_open(f, false);
    mutex_init(&lock);
    struct thread threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        check(thread_start(&threads[i], "reader", work,
                           (void *)(uintptr_t)(seed + i)));
    for (int i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    mutex_deinit(&lock);
    assert_int_equal(atomic_load(&wrong), 0);
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    print_message("inserts %llu evictions %llu races %llu\n",
                  (unsigned long long)stats.inserts,
                  (unsigned long long)stats.evictions,
                  (unsigned long long)stats.races_lost);
    assert_int_equal(stats.pinned_bytes, 0);
    fixture_free(f);
}

int main(void)
{
    static const struct shape tiny = {0, SST_COMPRESSION_LZ4},
                              small = {300000, SST_COMPRESSION_NONE},
                              ample = {64 << 20, SST_COMPRESSION_NONE};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(stress, (void *)(uintptr_t)&tiny),
        cmocka_unit_test_prestate(stress, (void *)(uintptr_t)&small),
        cmocka_unit_test_prestate(stress, (void *)(uintptr_t)&ample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
