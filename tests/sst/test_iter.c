/* Iteration both ways against a model: full walks, random seeks, with and
   without the cache, over all ways of storing blocks. */
#include "table_fixture.h"

struct shape {
    const char *name;
    enum sst_compression compression;
    uint32_t part_keys;
    size_t block_size;
    int64_t budget;
    bool map;
    unsigned flags;
};

static const struct shape shapes[] = {
    {"plain", SST_COMPRESSION_NONE, 0, 4096, 64 << 20, false, 0},
    {"small parts, tiny cache", SST_COMPRESSION_NONE, 64, 4096, 0, false, 0},
    {"lz4", SST_COMPRESSION_LZ4, 300, 16384, 1 << 20, false, 0},
    {"zstd", SST_COMPRESSION_ZSTD, 300, 4096, 1 << 20, false, 0},
    {"mapped", SST_COMPRESSION_NONE, 300, 4096, 1 << 20, true, 0},
    {"no fill", SST_COMPRESSION_NONE, 0, 4096, 1 << 20, false, SST_NO_FILL},
    {"no fill, small parts", SST_COMPRESSION_LZ4, 64, 4096, 0, false,
     SST_NO_FILL},
    {"no fill, zstd", SST_COMPRESSION_ZSTD, 2000, 8192, 64 << 20, false,
     SST_NO_FILL},
    {"no fill, mapped", SST_COMPRESSION_NONE, 300, 4096, 1 << 20, true,
     SST_NO_FILL},
};

static uint64_t seed;

static struct fixture *make(const struct shape *s, struct random *random,
                            size_t keys)
{
    random_seed(random, ++seed);
    struct fixture *f = fixture_new(s->budget);
    model_random(&f->model, random, keys, 80);
    struct sst_writer_options options = {
        .block_size = s->block_size,
        .compression = s->compression,
        .part_keys = s->part_keys,
        .filter_bits = 10,
    };
    write_model(f, &options);
    fixture_open(f, s->map);
    return f;
}

static void expect_loaded(struct kv_iter *it, const struct model_entry *e)
{
    expect_entry(it, e);
    if (!it->value.data) {
        uint8_t piece[100];
        size_t n = MIN_OF(e->value_size, sizeof piece);
        uint8_t *all = malloc(e->value_size);
        assert_non_null(all);
        fill_value(e, all);
        check(it->ops->read_value(it, e->value_size - n, piece, n));
        assert_memory_equal(piece, all + e->value_size - n, n);
        free(all);
        check(kv_iter_load(it));
    }
    expect_bytes(e, it->value.data, it->value.size);
}

static void walks_agree_with_model(void **state)
{
    const struct shape *s = *state;
    struct random random;
    struct fixture *f = make(s, &random, 8000);
    print_message("%s: seed %llu, %zu versions\n", s->name,
                  (unsigned long long)seed, f->model.count);
    struct kv_iter *it = sst_iter_new(f->reader, s->flags);
    size_t n = f->model.count;
    it->ops->seek_first(it);
    for (size_t i = 0; i < n; i++, kv_iter_next(it))
        expect_loaded(it, &f->model.entries[i]);
    assert_false(it->valid);
    check(it->status);
    it->ops->seek_last(it);
    for (size_t i = n; i-- > 0; kv_iter_prev(it))
        expect_loaded(it, &f->model.entries[i]);
    assert_false(it->valid);
    check(it->status);
    kv_iter_close(it);
    struct cache_stats stats;
    cache_stats(f->cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    if (s->flags & SST_NO_FILL)
        assert_int_equal(stats.frames, 0);
    fixture_free(f);
}

/* A random walk from (key, seq) on, i the place in the model. */
static void stroll(struct kv_iter *it, struct fixture *f, size_t i,
                   struct random *random)
{
    for (int step = 0; step < 12; step++) {
        if (i >= f->model.count) {
            assert_false(it->valid);
            check(it->status);
            return;
        }
        expect_entry(it, &f->model.entries[i]);
        if (random_below(random, 3)) {
            i++;
            kv_iter_next(it);
        } else {
            i--; /* wraps to "none" */
            kv_iter_prev(it);
        }
    }
}

static void seeks_agree_with_model(void **state)
{
    const struct shape *s = *state;
    struct random random;
    struct fixture *f = make(s, &random, 5000);
    print_message("%s: seed %llu\n", s->name, (unsigned long long)seed);
    struct kv_iter *it = sst_iter_new(f->reader, s->flags);
    struct key_origin origin = {.size = 0};
    int rounds = s->budget == 0 ? 4000 : 8000;
    for (int round = 0; round < rounds; round++) {
        const struct model_entry *e =
            &f->model.entries[random_below(&random, f->model.count)];
        char key[80];
        size_t size = e->key_size;
        memcpy(key, e->key, size);
        if (round % 50 == 0) {
            origin.size = random_below(&random, size + 1);
            memcpy(origin.prefix, key, origin.size);
            kv_iter_set_origin(it, random_below(&random, 4) ? &origin : NULL);
        }
        switch (random_below(&random, 6)) {
        case 0:
            key[size++] = (char)random_below(&random, 256);
            break;
        case 1:
            size = random_below(&random, size + 1);
            break;
        case 2:
            memset(key, 0xff, size);
            break;
        }
        uint64_t seq = random_below(&random, 2)
                           ? KV_MAX_SEQ
                           : e->seq + random_below(&random, 3) - 1;
        size_t i = model_seek(&f->model, slice_of(key, size), seq);
        if (random_below(&random, 2)) {
            it->ops->seek(it, slice_of(key, size), seq);
            stroll(it, f, i, &random);
        } else {
            it->ops->seek_before(it, slice_of(key, size), seq);
            stroll(it, f, i - 1, &random);
        }
    }
    kv_iter_close(it);
    fixture_free(f);
}

/* One key whose versions fill many blocks and several parts' worth. */
static void versions_span_blocks(void **state)
{
    const struct shape *s = *state;
    seed++;
    struct fixture *f = fixture_new(s->budget);
    model_add(&f->model, "a", 1, 1, KV_PUT, 10);
    for (uint64_t seq = 1; seq <= 3000; seq++)
        model_add(&f->model, "hot", 3, seq * 2, KV_PUT, 50);
    model_add(&f->model, "hots", 4, 3, KV_PUT, 10);
    model_sort(&f->model);
    struct sst_writer_options options = {
        .block_size = s->block_size,
        .compression = s->compression,
        .part_keys = 1,
        .filter_bits = 10,
    };
    write_model(f, &options);
    fixture_open(f, s->map);
    struct kv_iter *it = sst_iter_new(f->reader, s->flags);
    adb_slice hot = slice_of("hot", 3);
    for (uint64_t seq = 0; seq <= 6002; seq++) {
        expect_get(f, hot, seq, 0);
        size_t i = model_seek(&f->model, hot, seq);
        it->ops->seek(it, hot, seq);
        expect_entry(it, &f->model.entries[i]);
        it->ops->seek_before(it, hot, seq);
        expect_entry(it, &f->model.entries[i - 1]);
    }
    it->ops->seek_before(it, slice_of("hot\0", 4), KV_MAX_SEQ);
    expect_entry(it, &f->model.entries[f->model.count - 2]);
    it->ops->seek_before(it, slice_of("a", 1), KV_MAX_SEQ);
    assert_false(it->valid);
    it->ops->seek(it, slice_of("i", 1), KV_MAX_SEQ);
    assert_false(it->valid);
    check(it->status);
    kv_iter_close(it);
    fixture_free(f);
}

/* A parked iterator keeps its entry while everything else leaves the cache,
   and goes on afterwards; also when the table is given up meanwhile. */
static void parked_iterators_survive(void **state)
{
    (void)state;
    struct random random;
    struct fixture *f = make(&shapes[1], &random, 3000);
    struct kv_iter *parked[20], *mover = sst_iter_new(f->reader, 0);
    size_t places[20];
    for (int i = 0; i < 20; i++) {
        places[i] = random_below(&random, f->model.count - 100);
        const struct model_entry *e = &f->model.entries[places[i]];
        parked[i] = sst_iter_new(f->reader, 0);
        parked[i]->ops->seek(parked[i], model_key(e), e->seq);
    }
    for (mover->ops->seek_first(mover); mover->valid; kv_iter_next(mover))
        ;
    kv_iter_close(mover);
    sst_reader_unref(f->reader);
    f->reader = NULL;
    for (int round = 0; round < 100; round++)
        for (int i = 0; i < 20; i++) {
            expect_entry(parked[i], &f->model.entries[places[i] + round]);
            if (parked[i]->value.data)
                expect_bytes(&f->model.entries[places[i] + round],
                             parked[i]->value.data, parked[i]->value.size);
            kv_iter_next(parked[i]);
        }
    for (int i = 0; i < 20; i++)
        kv_iter_close(parked[i]);
    fixture_free(f);
}

static void long_keys(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1 << 20);
    uint8_t *key = calloc(1, 65536);
    assert_non_null(key);
    for (int i = 0; i < 200; i++) {
        key[65000] = (uint8_t)i;
        size_t size = i % 3 ? 65001 : ADB_MAX_KEY_SIZE;
        model_add(&f->model, key, MIN_OF(size, (size_t)65536), (uint64_t)i + 1,
                  KV_PUT, 10);
    }
    model_add(&f->model, "", 0, 1000, KV_PUT, 10);
    model_sort(&f->model);
    free(key);
    struct sst_writer_options options = {.block_size = 4096, .filter_bits = 10};
    write_model(f, &options);
    fixture_open(f, false);
    struct kv_iter *it = sst_iter_new(f->reader, 0);
    it->ops->seek_first(it);
    for (size_t i = 0; i < f->model.count; i++, kv_iter_next(it))
        expect_loaded(it, &f->model.entries[i]);
    assert_false(it->valid);
    kv_iter_close(it);
    fixture_free(f);
}

int main(void)
{
    seed = (uint64_t)getpid() * 1000;
    struct CMUnitTest tests[64];
    size_t n = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        void *shape = (void *)(uintptr_t)&shapes[i];
        tests[n++] = (struct CMUnitTest){"walks", walks_agree_with_model, NULL,
                                         NULL, shape};
        tests[n++] = (struct CMUnitTest){"seeks", seeks_agree_with_model, NULL,
                                         NULL, shape};
        tests[n++] = (struct CMUnitTest){"versions", versions_span_blocks, NULL,
                                         NULL, shape};
    }
    const struct CMUnitTest others[] = {
        cmocka_unit_test(parked_iterators_survive),
        cmocka_unit_test(long_keys),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        tests[n++] = others[i];
    return _cmocka_run_group_tests("iter", tests, n, NULL, NULL);
}
