/*
 * What is asked of the system ahead of reads: nothing by gets and short scans;
 * by walks in either direction nearly all they come to, once, and before it is
 * read.
 */
#include "table_fixture.h"

#include "watched_files.h"

/* Keys in the order of their numbers. */
static struct fixture *table_of(size_t keys, size_t value_size, bool map,
                                enum sst_compression compression)
{
    struct fixture *f = fixture_new(64 << 20);
    model_ascending(&f->model, keys, value_size);
    struct sst_writer_options options = {.block_size = 4096,
                                         .compression = compression,
                                         .part_keys = 65536,
                                         .filter_bits = 10,
                                         .extent_threshold = 32 << 10};
    write_model(f, &options);
    watch_begin(f->env);
    fixture_open(f, map);
    assert_true(watched.flags & ENV_RANDOM);
    watched.count = 0;
    return f;
}

static struct fixture *plain_table(size_t keys, size_t value_size)
{
    return table_of(keys, value_size, false, SST_COMPRESSION_NONE);
}

static void drop(struct fixture *f)
{
    watch_end(f->env);
    fixture_free(f);
}

static uint64_t asked(void)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < watched.count; i++)
        if (watched.events[i].kind == WATCH_ASK)
            bytes += watched.events[i].size;
    return bytes;
}

/* Bytes read without having been asked for before. */
static uint64_t surprises(void)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < watched.count; i++) {
        const struct watch_event *r = &watched.events[i];
        if (r->kind == WATCH_ASK)
            continue;
        uint64_t left = r->size;
        for (size_t j = 0; j < i; j++) {
            const struct watch_event *a = &watched.events[j];
            uint64_t from = MAX_OF(a->offset, r->offset);
            uint64_t to = MIN_OF(a->offset + a->size, r->offset + r->size);
            if (a->kind == WATCH_ASK && from < to)
                left -= MIN_OF(left, to - from);
        }
        bytes += left;
    }
    return bytes;
}

static void expect_foreseen(const struct fixture *f, uint64_t first)
{
    assert_true(asked() <= f->info.size);
    assert_true(asked() + first >= f->info.size / 10 * 9);
    assert_true(surprises() <= first);
}

static void walk(struct fixture *f, unsigned flags, bool backward)
{
    struct kv_iter *it = sst_iter_new(f->reader, flags);
    size_t seen = 0;
    watched.count = 0;
    for (backward ? it->ops->seek_last(it) : it->ops->seek_first(it); it->valid;
         backward ? it->ops->prev(it) : it->ops->next(it)) {
        assert_int_equal(kv_iter_load(it), ADB_OK);
        seen++;
    }
    assert_int_equal(kv_iter_status(it), ADB_OK);
    assert_int_equal(seen, f->model.count);
    kv_iter_close(it);
}

static void test_gets_and_short_scans_ask_for_nothing(void **state)
{
    (void)state;
    struct fixture *f = plain_table(60000, 100);
    struct random random = {3};
    for (int i = 0; i < 500; i++) {
        const struct model_entry *e =
            &f->model.entries[random_below(&random, f->model.count)];
        expect_get(f, model_key(e), KV_MAX_SEQ, 0);
        struct kv_iter *it = sst_iter_new(f->reader, 0);
        it->ops->seek(it, model_key(e), KV_MAX_SEQ);
        for (int step = 0; step < 10 && it->valid; step++)
            it->ops->next(it);
        kv_iter_close(it);
    }
    assert_true(watched.count > 500);
    assert_int_equal(asked(), 0);
    drop(f);
}

static void test_walks(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        bool backward;
        uint64_t first; /* bytes before it counts as a walk */
    } ways[] = {
        {0, false, 64 << 10},
        {0, true, 64 << 10},
        {SST_NO_FILL, false, 640 << 10},
        {SST_NO_FILL, true, 640 << 10},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct fixture *f = plain_table(150000, 100);
        walk(f, ways[i].flags, ways[i].backward);
        expect_foreseen(f, ways[i].first);
        drop(f);
    }
}

/* The file cannot be opened for the request, but for the read behind it. */
static void test_a_failed_request_is_none(void **state)
{
    (void)state;
    struct fixture *f = plain_table(60000, 100);
    struct kv_iter *it = sst_iter_new(f->reader, 0);
    size_t seen = 1;
    it->ops->seek_first(it); /* into the first block, and into the second: */
    for (size_t before = watched.count; watched.count == before; seen++)
        it->ops->next(it);
    file_table_forget(f->files, f->info.number);
    watched.failing_opens = 1;
    status_set(ADB_INVALID, "an older message");
    for (; it->valid && watched.failing_opens; seen++)
        it->ops->next(it);
    assert_true(it->valid);
    assert_int_equal(watched.failing_opens, 0);
    assert_int_equal(asked(), 0);
    assert_string_equal(status_message(), "an older message");
    for (it->ops->next(it); it->valid; it->ops->next(it))
        seen++;
    assert_int_equal(kv_iter_status(it), ADB_OK);
    assert_int_equal(seen, f->model.count);
    assert_true(asked() > 0);
    kv_iter_close(it);
    drop(f);
}

/* Packed blocks are not used where the map has them. */
static void test_mapped_and_packed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture *f = table_of(60000, 100, true, SST_COMPRESSION_LZ4);
        walk(f, i & 1 ? SST_NO_FILL : 0, i & 2);
        expect_foreseen(f, 64 << 10);
        drop(f);
    }
}

static void test_values_in_pieces(void **state)
{
    (void)state;
    struct fixture *f = plain_table(20, 1 << 20);
    struct kv_iter *it = sst_iter_new(f->reader, SST_NO_FILL);
    uint8_t *piece = malloc(64 << 10);
    for (it->ops->seek_first(it); it->valid; it->ops->next(it))
        for (size_t at = 0; at < 1 << 20; at += 64 << 10)
            assert_int_equal(it->ops->read_value(it, at, piece, 64 << 10),
                             ADB_OK);
    free(piece);
    kv_iter_close(it);
    expect_foreseen(f, 256 << 10);
    drop(f);
}

static void test_large_values(void **state)
{
    (void)state;
    for (int backward = 0; backward < 2; backward++) {
        struct fixture *f = plain_table(150, 60000);
        walk(f, 0, backward);
        expect_foreseen(f, 256 << 10);
        drop(f);
    }
}

static void test_verification(void **state)
{
    (void)state;
    struct fixture *f = plain_table(60000, 100);
    assert_int_equal(sst_reader_verify(f->reader, NULL, NULL, NULL), ADB_OK);
    /* Two passes; of the second, in pieces of 1 MiB, three come before it
       counts as one. */
    assert_true(asked() + (3 << 20) >= f->info.size / 10 * 18);
    assert_true(surprises() <= (3 << 20) + (64 << 10));
    drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gets_and_short_scans_ask_for_nothing),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_a_failed_request_is_none),
        cmocka_unit_test(test_mapped_and_packed),
        cmocka_unit_test(test_large_values),
        cmocka_unit_test(test_values_in_pieces),
        cmocka_unit_test(test_verification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
