/* Point lookups, estimates and opening, against a model. */
#include "table_fixture.h"

struct shape {
    const char *name;
    enum sst_compression compression;
    uint32_t part_keys;
    size_t block_size;
    unsigned filter_bits;
    int64_t budget;
    bool map;
    size_t keys, value_size;
};

static const struct shape shapes[] = {
    {"plain", SST_COMPRESSION_NONE, 0, 4096, 10, 64 << 20, false, 20000, 100},
    {"small parts", SST_COMPRESSION_NONE, 64, 4096, 10, 64 << 20, false, 9000,
     60},
    {"tiny cache", SST_COMPRESSION_LZ4, 128, 4096, 10, 0, false, 3000, 60},
    {"lz4", SST_COMPRESSION_LZ4, 1000, 16384, 10, 64 << 20, false, 9000, 300},
    {"zstd", SST_COMPRESSION_ZSTD, 1000, 16384, 10, 1 << 20, false, 9000, 300},
    {"no filter", SST_COMPRESSION_NONE, 500, 4096, 0, 1 << 20, false, 5000, 40},
    {"mapped", SST_COMPRESSION_NONE, 500, 4096, 10, 64 << 20, true, 9000, 100},
    {"mapped, tiny cache", SST_COMPRESSION_NONE, 100, 4096, 10, 0, true, 3000,
     100},
    {"mapped, packed", SST_COMPRESSION_LZ4, 500, 4096, 10, 1 << 20, true, 3000,
     100},
};

static uint64_t seed;

static struct fixture *make(const struct shape *s, struct random *random)
{
    random_seed(random, ++seed);
    struct fixture *f = fixture_new(s->budget);
    model_random(&f->model, random, s->keys, s->value_size);
    struct sst_writer_options options = {
        .block_size = s->block_size,
        .compression = s->compression,
        .part_keys = s->part_keys,
        .filter_bits = s->filter_bits,
    };
    write_model(f, &options);
    fixture_open(f, s->map);
    return f;
}

static void gets_agree_with_model(void **state)
{
    const struct shape *s = *state;
    struct random random;
    struct fixture *f = make(s, &random);
    print_message("%s: seed %llu, %zu versions\n", s->name,
                  (unsigned long long)seed, f->model.count);
    for (int i = 0; i < 30000; i++) {
        struct model_entry *e =
            &f->model.entries[random_below(&random, f->model.count)];
        unsigned flags = random_below(&random, 4) ? 0 : SST_NO_FILL;
        flags |= random_below(&random, 4) ? 0 : SST_SKIP_FILTER;
        uint64_t seq = KV_MAX_SEQ;
        if (random_below(&random, 2))
            seq = e->seq + random_below(&random, 3) - 1;
        char key[80];
        size_t size = e->key_size;
        memcpy(key, e->key, size);
        if (random_below(&random, 4) == 0)
            key[size++] = (char)random_below(&random, 256);
        expect_get(f, slice_of(key, size), seq, flags);
    }
    expect_get(f, slice_of("", 0), KV_MAX_SEQ, 0);
    expect_get(f, slice_of("\xff\xff\xff\xff", 4), KV_MAX_SEQ, 0);
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    if (s->budget == 0)
        assert_true(stats.frames <= 8);
    fixture_free(f);
}

static void every_version_is_found(void **state)
{
    struct shape s = shapes[1];
    struct random random;
    (void)state;
    struct fixture *f = make(&s, &random);
    for (size_t i = 0; i < f->model.count; i++) {
        struct model_entry *e = &f->model.entries[i];
        expect_get(f, model_key(e), e->seq, 0);
        expect_get(f, model_key(e), e->seq - 1, 0);
        bool maybe = false;
        struct epoch_slot *inside = epoch_enter(f->epoch);
        check(sst_reader_may_contain(f->reader, model_key(e),
                                     hash_key(e->key, e->key_size), &maybe));
        epoch_leave(inside);
        assert_true(maybe);
    }
    fixture_free(f);
}

static void filter_keeps_absent_keys_out(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 << 20);
    char key[32];
    for (int i = 0; i < 20000; i++) {
        int n = snprintf(key, sizeof key, "key%08d", i * 2);
        model_add(&f->model, key, (size_t)n, 5, KV_PUT, 20);
    }
    model_sort(&f->model);
    struct sst_writer_options options = {
        .block_size = 4096, .filter_bits = 10, .part_keys = 3000};
    write_model(f, &options);
    fixture_open(f, false);
    for (int i = 0; i < 20000; i++) {
        int n = snprintf(key, sizeof key, "key%08d", i * 2 + 1);
        expect_get(f, slice_of(key, (size_t)n), KV_MAX_SEQ, 0);
    }
    struct sst_read_stats stats;
    sst_reader_stats(f->reader, &stats);
    assert_true(stats.filter_positives < 20000 * 3 / 100);
    assert_int_equal(stats.filter_false, stats.filter_positives);
    assert_true(stats.filter_negatives + stats.filter_positives >= 19999);
    assert_int_equal(stats.filter_loads, 7);
    fixture_free(f);
}

static void estimates_and_splits(void **state)
{
    (void)state;
    struct random random;
    struct fixture *f = make(&shapes[1], &random);
    uint64_t previous = 0;
    for (size_t i = 0; i < f->model.count; i += 50) {
        uint64_t offset =
            sst_reader_offset_of(f->reader, model_key(&f->model.entries[i]));
        assert_true(offset >= previous && offset < f->info.size);
        previous = offset;
    }
    assert_true(previous > f->info.size / 2);
    for (size_t pieces = 0; pieces < 40; pieces++) {
        adb_slice keys[40];
        size_t count;
        check(sst_reader_split_keys(f->reader, pieces, keys, &count));
        assert_true(pieces < 2 ? count == 0 : count < pieces);
        if (pieces > 4)
            assert_true(count >= pieces / 2);
        for (size_t i = 0; i < count; i++) {
            if (i)
                assert_true(slice_compare(keys[i - 1], keys[i]) < 0);
        }
        for (size_t i = 0; i < count; i++)
            mem_free((void *)(uintptr_t)keys[i].data);
    }
    fixture_free(f);
}

static void refuses_what_the_manifest_does_not_mean(void **state)
{
    (void)state;
    struct random random;
    struct fixture *f = make(&shapes[2], &random);
    struct sst_reader *other;
    struct table_info wrong = f->info;
    wrong.size++;
    assert_int_equal(sst_reader_open(&f->context, &wrong, &other),
                     ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "000007.sst"));
    wrong = f->info;
    wrong.entries++;
    assert_int_equal(sst_reader_open(&f->context, &wrong, &other),
                     ADB_CORRUPTION);
    wrong = f->info;
    wrong.checksum ^= 1;
    assert_int_equal(sst_reader_open(&f->context, &wrong, &other),
                     ADB_CORRUPTION);
    wrong = f->info;
    wrong.number = 8;
    assert_int_equal(sst_reader_open(&f->context, &wrong, &other),
                     ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "missing"));
    /* A table under another's name is noticed. */
    char *from = sst_path(f->directory, 7), *to = sst_path(f->directory, 8);
    assert_int_equal(link(from, to), 0);
    assert_int_equal(sst_reader_open(&f->context, &wrong, &other),
                     ADB_CORRUPTION);
    unlink(to);
    mem_free(from);
    mem_free(to);
    file_table_forget(f->files, 8);
    fixture_free(f);
}

static int64_t allocations_left;
static int fail_later(void *context, size_t size)
{
    (void)context;
    (void)size;
    return allocations_left-- <= 0;
}

/* Every allocation of open, get and iteration fails once; nothing leaks, and
   the next try works. */
static void out_of_memory_is_survived(void **state)
{
    struct shape s = {"memory", SST_COMPRESSION_LZ4, 50,  4096, 10,
                      0,        *(bool *)*state,     300, 60};
    struct random random;
    struct fixture *f = make(&s, &random);
    sst_reader_unref(f->reader);
    f->reader = NULL;
    adb_status status = ADB_NO_MEMORY;
    int64_t n;
    for (n = 0; status == ADB_NO_MEMORY; n++) {
        struct sst_reader *r = NULL;
        allocations_left = n;
        mem_set_fail_hook(fail_later, NULL);
        status = sst_reader_open(&f->context, &f->info, &r);
        struct kv_iter *it = NULL;
        if (status == ADB_OK) {
            it = sst_iter_new(r, n & 1 ? SST_NO_FILL : 0);
            status = it ? ADB_OK : ADB_NO_MEMORY;
        }
        if (status == ADB_OK) {
            for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
                ;
            status = it->status;
        }
        kv_iter_close(it);
        if (r)
            sst_reader_unref(r);
        mem_set_fail_hook(NULL, NULL);
    }
    check(status);
    assert_true(n > 20);
    fixture_free(f);
}

int main(void)
{
    seed = (uint64_t)getpid() * 1000;
    static bool no = false, yes = true;
    struct CMUnitTest tests[32];
    size_t n = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        tests[n++] =
            (struct CMUnitTest){shapes[i].name, gets_agree_with_model, NULL,
                                NULL, (void *)(uintptr_t)&shapes[i]};
    const struct CMUnitTest others[] = {
        cmocka_unit_test(every_version_is_found),
        cmocka_unit_test(filter_keeps_absent_keys_out),
        cmocka_unit_test(estimates_and_splits),
        cmocka_unit_test(refuses_what_the_manifest_does_not_mean),
        cmocka_unit_test_prestate(out_of_memory_is_survived, &no),
        cmocka_unit_test_prestate(out_of_memory_is_survived, &yes),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        tests[n++] = others[i];
    return _cmocka_run_group_tests("reader", tests, n, NULL, NULL);
}
