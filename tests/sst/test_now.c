/*
 * Reads of a table that do not wait for the disk: what is not in memory is
 * asked for, and nothing else; a seek that was prepared has its neighbour
 * block asked for too.
 */
#include "sst/table_fixture.h"

#include "watched_files.h"
#include "sst/sst_reader_internal.h"

static struct fixture *table_of(size_t keys, size_t value_size,
                                size_t block_size)
{
    struct fixture *f = fixture_new(64 << 20);
    model_ascending(&f->model, keys, value_size);
    struct sst_writer_options options = {.block_size = block_size,
                                         .part_keys = 10000,
                                         .filter_bits = 10,
                                         .extent_threshold = 32 << 10};
    write_model(f, &options);
    watch_begin(f->env);
    fixture_open(f, false);
    watched.count = 0;
    return f;
}

static void drop(struct fixture *f)
{
    watch_end(f->env);
    fixture_free(f);
}

/* The index of the key's part, in the cache from now on, and its block. */
static const struct sst_index *find(struct fixture *f, adb_slice key,
                                    uint32_t *block)
{
    struct index_frame *index;
    struct epoch_slot *inside = epoch_enter(f->epoch);
    check(sst_get_index(f->reader, sst_part_find(f->reader, key), 0, &index));
    epoch_leave(inside);
    *block = sst_index_find(&index->index, key);
    watched.count = 0;
    return &index->index;
}

static uint64_t end_of(const struct sst_handle *h)
{
    return h->offset + sst_handle_span(h);
}

static adb_status get_now(struct fixture *f, adb_slice key)
{
    struct sst_hit hit;
    struct epoch_slot *inside = epoch_enter(f->epoch);
    adb_status status =
        sst_reader_get(f->reader, key, hash_key(key.data, key.size), KV_MAX_SEQ,
                       SST_NO_WAIT, &hit);
    if (status == ADB_OK)
        cache_done(hit.frame);
    epoch_leave(inside);
    return status;
}

static void expect_event(size_t i, enum watch_kind kind,
                         const struct sst_handle *h)
{
    assert_true(i < watched.count);
    assert_int_equal(watched.events[i].kind, kind);
    assert_int_equal(watched.events[i].offset, h->offset);
    assert_int_equal(watched.events[i].size, sst_handle_span(h));
}

/* Filter, index, block: each is asked for in its turn, and never read. */
static void test_get(void **state)
{
    (void)state;
    struct fixture *f = table_of(30000, 100, 4096);
    const struct sst_part *p = &f->reader->top.parts[1];
    adb_slice key = model_key(&f->model.entries[15000]);
    struct sst_read_stats stats;
    bool maybe;
    uint32_t block;
    assert_int_equal(get_now(f, key), ADB_BUSY);
    assert_int_equal(watched.count, 1);
    expect_event(0, WATCH_ASK, &p->filter);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    check(sst_reader_may_contain(f->reader, key, hash_key(key.data, key.size),
                                 &maybe));
    epoch_leave(inside);
    watched.count = 0;
    assert_int_equal(get_now(f, key), ADB_BUSY);
    assert_int_equal(watched.count, 1);
    expect_event(0, WATCH_ASK, &p->index);
    const struct sst_index *index = find(f, key, &block);
    sst_reader_stats(f->reader, &stats);
    uint64_t loaded = stats.loaded_bytes;
    assert_int_equal(get_now(f, key), ADB_BUSY);
    assert_int_equal(watched.count, 1);
    expect_event(0, WATCH_NOW, &index->blocks[block].handle);
    sst_reader_stats(f->reader, &stats);
    assert_int_equal(stats.loaded_bytes, loaded);
    watched.warm = true;
    assert_int_equal(get_now(f, key), ADB_OK);
    watched.count = 0;
    assert_int_equal(get_now(f, key), ADB_OK);
    expect_get(f, key, KV_MAX_SEQ, 0);
    assert_int_equal(watched.count, 0);
    drop(f);
}

/* A prepared seek that must wait: the block and the next were asked for in one
   piece, or the one before, or, at the part's end, the block alone. */
static void expect_pair(struct fixture *f, const struct model_entry *e,
                        bool backward, int neighbour)
{
    uint32_t block;
    adb_slice key = model_key(e);
    struct kv_iter *it = sst_iter_new(f->reader, 0);
    const struct sst_index *index = find(f, key, &block);
    const struct sst_index_block *b = &index->blocks[block];
    it->ops->prepare(it, key, backward);
    assert_int_equal(watched.count, 2);
    expect_event(0, WATCH_NOW, &b->handle);
    assert_int_equal(watched.events[1].kind, WATCH_ASK);
    assert_int_equal(watched.events[1].offset,
                     b[MIN_OF(neighbour, 0)].handle.offset);
    assert_int_equal(watched.events[1].offset + watched.events[1].size,
                     end_of(&b[MAX_OF(neighbour, 0)].handle));
    if (backward)
        it->ops->seek_before(it, key, KV_MAX_SEQ);
    else
        it->ops->seek(it, key, KV_MAX_SEQ);
    expect_entry(it, backward ? e - 1 : e);
    expect_event(2, WATCH_READ, &b->handle);
    assert_int_equal(watched.count, 3);
    kv_iter_close(it);
}

/* An entry in the middle of a block; part 2's last key. */
enum { MIDDLE = 15010, LAST = 29999 };

static void test_seek(void **state)
{
    (void)state;
    struct fixture *f = table_of(30000, 100, 4096);
    expect_pair(f, &f->model.entries[MIDDLE], false, 1);
    expect_pair(f, &f->model.entries[MIDDLE - 1000], true, -1);
    expect_pair(f, &f->model.entries[LAST], false, 0);
    expect_pair(f, &f->model.entries[1], true, 0);
    drop(f);
}

/* What is in memory is read once, and stays while the cache gives it away. */
static void test_seek_in_memory(void **state)
{
    (void)state;
    struct fixture *f = table_of(30000, 100, 4096);
    const struct model_entry *e = &f->model.entries[MIDDLE];
    uint32_t block;
    const struct sst_index *index = find(f, model_key(e), &block);
    struct kv_iter *it = sst_iter_new(f->reader, 0);
    watched.warm = true;
    it->ops->prepare(it, model_key(e), false);
    assert_int_equal(watched.count, 1);
    struct sst_handle h = index->blocks[block].handle;
    expect_event(0, WATCH_NOW, &h);
    f->ledger.budget = 1;
    for (size_t i = 0; i < f->model.count; i += 50)
        if (i + 50 < MIDDLE || i > MIDDLE + 50)
            expect_get(f, model_key(&f->model.entries[i]), KV_MAX_SEQ, 0);
    it->ops->prepare(it, model_key(e), false);
    it->ops->seek(it, model_key(e), KV_MAX_SEQ);
    expect_entry(it, e);
    size_t reads = 0;
    for (size_t i = 0; i < watched.count; i++)
        reads += watched.events[i].offset == h.offset;
    assert_int_equal(reads, 1);
    kv_iter_close(it);
    drop(f);
}

/* Neighbours of large blocks cost too much; merges read on anyway. */
static void test_no_pair(void **state)
{
    (void)state;
    struct fixture *f = table_of(3000, 1000, 32 << 10);
    const struct model_entry *e = &f->model.entries[1000];
    uint32_t block;
    const struct sst_index *index = find(f, model_key(e), &block);
    struct kv_iter *it = sst_iter_new(f->reader, 0);
    it->ops->prepare(it, model_key(e), false);
    assert_int_equal(watched.count, 1);
    expect_event(0, WATCH_NOW, &index->blocks[block].handle);
    kv_iter_close(it);
    watched.count = 0;
    it = sst_iter_new(f->reader, SST_NO_FILL);
    it->ops->prepare(it, model_key(e), false);
    assert_int_equal(watched.count, 0);
    it->ops->seek(it, model_key(e), KV_MAX_SEQ);
    expect_entry(it, e);
    kv_iter_close(it);
    drop(f);
}

static int no_memory(void *context, size_t size)
{
    (void)context, (void)size;
    return 1;
}

/* The block was there but no memory for its key: not the block is to be used
   again, without the key's prefix, but the whole to be done again. */
static void test_no_memory_for_a_key(void **state)
{
    (void)state;
    struct fixture *f = table_of(30000, 100, 4096);
    const struct model_entry *e = &f->model.entries[MIDDLE];
    expect_get(f, model_key(e), KV_MAX_SEQ, 0);
    for (int prepared = 0; prepared < 2; prepared++) {
        struct kv_iter *it = sst_iter_new(f->reader, 0);
        mem_set_fail_hook(no_memory, NULL);
        if (prepared)
            it->ops->prepare(it, model_key(e), false);
        it->ops->seek(it, model_key(e), KV_MAX_SEQ);
        mem_set_fail_hook(NULL, NULL);
        assert_false(it->valid);
        assert_int_equal(kv_iter_status(it), ADB_NO_MEMORY);
        it->ops->seek(it, model_key(e), KV_MAX_SEQ);
        expect_entry(it, e);
        kv_iter_close(it);
    }
    drop(f);
}

/* The beginning of a large value. */
static void test_value(void **state)
{
    (void)state;
    struct fixture *f = table_of(3, 1 << 20, 4096);
    sst_ask_value(f->reader, 4096, 40000);
    sst_ask_value(f->reader, 4096, UINT64_C(1) << 30);
    assert_int_equal(watched.count, 2);
    assert_int_equal(watched.events[0].size, sst_extent_span(40000));
    assert_int_equal(watched.events[1].size, 1 << 20);
    drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_seek_in_memory),
        cmocka_unit_test(test_no_pair),
        cmocka_unit_test(test_no_memory_for_a_key),
        cmocka_unit_test(test_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
