/*
 * Tables in which one thing fails, at each place in turn: an allocation, a
 * file operation. Writing, opening, reading in every way, verifying and
 * salvaging say so and give everything back; what they showed before was right.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "env/env_memory.h"
#include "sst/sst_reader_internal.h"
#include "sst/sst_salvage.h"
#include "support/failing.h"
#include "table_fixture.h"

#define TRY(call)                                                              \
    do {                                                                       \
        adb_status try_ = (call);                                              \
        if (try_ != ADB_OK)                                                    \
            return try_;                                                       \
    } while (0)

struct world {
    struct fixture *f;
    struct env *disk, *fault; /* fault: over disk */
    enum sst_compression compression;
    unsigned flags; /* of reads */
    bool map, pool;
    bool damaged;
    uint64_t reported;
};

static void add_keys(struct model *m)
{
    for (size_t i = 0; i < 70; i++) {
        char key[300];
        int n = snprintf(key, sizeof key, "key%04zu", i);
        size_t versions = i % 40 == 7 ? 20 : 1;
        /* Some too long for the room that an iterator begins with. */
        if (i % 40 == 11)
            n += snprintf(key + n, sizeof key - (size_t)n, "%0280d", 5);
        for (size_t v = 0; v < versions; v++)
            model_add(m, key, (size_t)n, 1 + i * 50 + v,
                      i % 9 ? KV_PUT : KV_DELETE,
                      i % 40 == 21 ? 70000 + i : i % 23 * 9);
    }
    model_sort(m);
}

static struct sst_writer_options options_of(const struct world *w)
{
    return (struct sst_writer_options){.block_size = 700,
                                       .compression = w->compression,
                                       .part_keys = 25,
                                       .filter_bits = 10};
}

static void new_world(struct world *w)
{
    struct sst_writer_options options = options_of(w);
    w->f = fixture_new(1 << 20);
    w->disk = env_memory_new(ENV_MEMORY_STRICT);
    w->f->env = w->disk;
    check(env_make_dir(w->disk, w->f->directory));
    add_keys(&w->f->model);
    write_model(w->f, &options);
    w->fault = env_fault_new(w->f->env);
    fixture_context(w->f, w->fault, 4, w->map);
    if (w->pool)
        w->f->context.frames = frame_pool_new(1 << 20);
}

static void free_world(struct world *w)
{
    struct frame_pool *pool = w->f->context.frames;
    if (w->f->reader)
        sst_reader_unref(w->f->reader);
    w->f->reader = NULL;
    epoch_barrier(w->f->epoch);
    fixture_free(w->f);
    frame_pool_free(pool);
    env_fault_free(w->fault);
    env_memory_free(w->disk);
}

static adb_status end_world(struct world *w, adb_status status)
{
    struct status_saved saved;
    failing_end(w->fault);
    status_save(&saved, status);
    free_world(w);
    return status_restore(&saved);
}

/* ---- reading ------------------------------------------------------------- */

static adb_status get_one(struct fixture *f, const struct model_entry *e,
                          unsigned flags)
{
    struct sst_hit hit;
    bool maybe;
    uint8_t *value = NULL;
    uint64_t hash = hash_key(e->key, e->key_size);
    struct epoch_slot *inside = epoch_enter(f->epoch);
    adb_status status =
        sst_reader_may_contain(f->reader, model_key(e), hash, &maybe);
    if (status == ADB_OK) {
        assert_true(maybe);
        status = sst_reader_get(f->reader, model_key(e), hash, e->seq, flags,
                                &hit);
    }
    if (status == ADB_OK && !hit.value.data) {
        value = malloc(e->value_size);
        status = sst_load_value(f->reader, hit.extent_offset, e->value_size, 0,
                                value, e->value_size);
        hit.value.data = value;
        cache_done(hit.frame);
        hit.frame = NULL;
        if (status == ADB_OK)
            expect_bytes(e, value, hit.value.size);
    } else if (status == ADB_OK) {
        assert_int_equal(hit.seq, e->seq);
        expect_bytes(e, hit.value.data, hit.value.size);
        cache_done(hit.frame);
    }
    free(value);
    epoch_leave(inside);
    assert_int_not_equal(status, ADB_NOT_FOUND);
    return status;
}

static adb_status expect_content(struct kv_iter *it,
                                 const struct model_entry *e)
{
    uint8_t piece[7];
    expect_entry(it, e);
    if (e->value_size > 1000)
        TRY(it->ops->read_value(it, 100, piece, sizeof piece));
    if (e->value_size > 60000)
        TRY(it->ops->read_value(it, e->value_size - 7, piece, sizeof piece));
    TRY(kv_iter_load(it));
    expect_bytes(e, it->value.data, it->value.size);
    return ADB_OK;
}

static adb_status walk(struct fixture *f, struct kv_iter *it)
{
    const struct model *m = &f->model;
    size_t n = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it)) {
        TRY(expect_content(it, &m->entries[n]));
        n++;
    }
    TRY(kv_iter_status(it));
    assert_int_equal(n, m->count);
    for (it->ops->seek_last(it); it->valid; kv_iter_prev(it))
        expect_entry(it, &m->entries[--n]);
    TRY(kv_iter_status(it));
    assert_int_equal(n, 0);
    for (size_t i = 3; i < m->count; i += 13) {
        const struct model_entry *e = &m->entries[i];
        if (it->ops->prepare)
            it->ops->prepare(it, model_key(e), false);
        it->ops->seek(it, model_key(e), e->seq);
        TRY(kv_iter_status(it));
        expect_entry(it, e);
        it->ops->seek_before(it, model_key(e), e->seq);
        TRY(kv_iter_status(it));
        expect_entry(it, e - 1);
        kv_iter_rest(it);
    }
    return ADB_OK;
}

static adb_status read_all(struct world *w)
{
    struct fixture *f = w->f;
    adb_slice keys[8];
    size_t count;
    TRY(sst_reader_open(&f->context, &f->info, &f->reader));
    for (size_t i = 0; i < f->model.count; i += 3)
        TRY(get_one(f, &f->model.entries[i], w->flags));
    struct kv_iter *it = sst_iter_new(f->reader, w->flags);
    if (!it)
        return ADB_NO_MEMORY;
    adb_status status = walk(f, it);
    kv_iter_close(it);
    TRY(status);
    TRY(sst_reader_split_keys(f->reader, 8, keys, &count));
    assert_in_range(count, 4, 7);
    while (count-- > 0)
        mem_free((void *)(uintptr_t)keys[count].data);
    return sst_reader_verify(f->reader, NULL, NULL, NULL);
}

static adb_status reading(void *context)
{
    struct world *w = context;
    new_world(w);
    failing_begin(w->fault);
    return end_world(w, read_all(w));
}

static void test_reading(void **state)
{
    static const enum sst_compression kinds[] = {
        SST_COMPRESSION_NONE, SST_COMPRESSION_LZ4, SST_COMPRESSION_ZSTD};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct world w = {.compression = kinds[i], .pool = i == 1};
        /* A mapping that cannot be had is done without. */
        for (int map = 0; map < 2; map++) {
            w.map = map;
            w.flags = map ? 0 : SST_NO_FILL;
            assert_true(each_allocation(reading, &w, true) > 20);
            assert_true(each_shortage(reading, &w, true) > 20);
            assert_true(each_call(reading, &w,
                                  ENV_FAULT_ANY & ~ENV_FAULT_CLOSE, EIO,
                                  true) > 10);
        }
    }
}

/* ---- writing ------------------------------------------------------------- */

static adb_status write_all(struct world *w, struct fixture *f)
{
    struct sst_writer_options o = options_of(w);
    struct sst_writer *writer;
    struct table_info info;
    uint8_t *value = malloc(1 << 20);
    struct kv_iter_ops ops = {0};
    o.env = w->fault;
    o.directory = f->directory;
    o.number = 8;
    o.ledger = &f->ledger;
    adb_status status = sst_writer_open(&o, &writer);
    for (size_t i = 0; i < f->model.count && status == ADB_OK; i++) {
        const struct model_entry *e = &f->model.entries[i];
        fill_value(e, value);
        struct kv_iter entry = {.ops = &ops,
                                .valid = true,
                                .kind = e->kind,
                                .seq = e->seq,
                                .head = key_head8(e->key, e->key_size),
                                .key = model_key(e),
                                .value = slice_of(value, e->value_size)};
        status = sst_writer_add(writer, &entry);
        if (status != ADB_OK)
            sst_writer_abandon(writer);
    }
    free(value);
    TRY(status);
    static const uint64_t left_out[] = {3, 5};
    struct table_lineage lineage = {.through = 9,
                                    .below = 7,
                                    .from = slice_of_string("a"),
                                    .before = slice_of_string("z"),
                                    .except = left_out,
                                    .except_count = 2};
    sst_writer_set_lineage(writer, &lineage);
    TRY(sst_writer_finish(writer, &info));
    assert_int_equal(info.entries, f->model.count);
    struct sst_reader *r;
    struct table_info known = info;
    status = sst_reader_open(&f->context, &known, &r);
    if (status == ADB_OK) {
        const struct table_lineage *l = sst_reader_lineage(r);
        assert_true(l->below == 7 && l->except_count == 2);
        assert_true(slice_equal(l->before, slice_of_string("z")));
        sst_reader_unref(r);
    }
    table_info_deinit(&info);
    return status;
}

static adb_status writing(void *context)
{
    struct world *w = context;
    new_world(w);
    failing_begin(w->fault);
    adb_status status = write_all(w, w->f);
    failing_end(w->fault);
    struct status_saved saved;
    status_save(&saved, status);
    /* Gone where it failed while it was written. */
    char *path = sst_path(w->f->directory, 8);
    file_table_forget(w->f->files, 8);
    if (env_unlink(w->f->env, path) != ADB_OK)
        status_clear();
    mem_free(path);
    return end_world(w, status_restore(&saved));
}

static void test_writing(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct world w = {.compression = (enum sst_compression)i};
        /* A buffer that may not double is content with less. */
        assert_true(each_allocation(writing, &w, true) > 8);
        assert_true(each_shortage(writing, &w, false) > 20);
    }
}

/* ---- salvage ------------------------------------------------------------- */

static void count_damage(void *context, const struct sst_damage *damage)
{
    struct world *w = context;
    assert_true(strlen(damage->text) > 10);
    w->reported++;
}

static void flip(struct world *w, uint64_t offset)
{
    struct env_file *file;
    uint8_t byte;
    char *path = sst_path(w->f->directory, 7);
    check(env_open(w->f->env, path, ENV_WRITE, &file));
    check(env_file_read_full(file, offset, &byte, 1));
    byte ^= 0x55;
    check(env_file_write(file, offset, &byte, 1));
    check(env_file_close(file));
    mem_free(path);
}

static adb_status salvage_all(struct world *w)
{
    struct sst_salvage_options o = {.context = &w->f->context,
                                    .info = &w->f->info,
                                    .report = count_damage,
                                    .caller = w};
    struct sst_salvaged result;
    struct kv_iter *it;
    uint8_t piece[5];
    TRY(sst_salvage_new(&o, &it));
    adb_status status = ADB_OK;
    for (it->ops->seek_first(it); it->valid && status == ADB_OK;
         it->ops->next(it)) {
        if (it->value.size > 60000)
            status = it->ops->read_value(it, 3, piece, sizeof piece);
        if (status == ADB_OK && !it->value.data)
            status = kv_iter_load(it);
    }
    if (status == ADB_OK)
        status = kv_iter_status(it);
    sst_salvage_result(it, &result);
    kv_iter_close(it);
    if (status == ADB_OK)
        assert_true(result.entries > 50 &&
                    (result.entries < w->f->model.count) == w->damaged);
    return status;
}

/* Where the table's first index, or its footer, lies. */
static uint64_t place_to_flip(struct world *w, bool footer)
{
    struct sst_reader *r;
    check(sst_reader_open(&w->f->context, &w->f->info, &r));
    uint64_t at = footer ? r->data_end + 3 : r->top.parts[1].index.offset + 2;
    if (!footer)
        flip(w, r->top.parts[0].first_offset + 700); /* and a block */
    sst_reader_unref(r);
    return at;
}

static adb_status salvaging(void *context)
{
    struct world *w = context;
    new_world(w);
    if (w->damaged)
        flip(w, place_to_flip(w, w->flags));
    w->reported = 0;
    failing_begin(w->fault);
    adb_status status = salvage_all(w);
    failing_end(w->fault);
    if (status == ADB_OK)
        assert_true((w->reported > 0) == w->damaged);
    return end_world(w, status);
}

static void test_salvaging(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct world w = {.compression = (enum sst_compression)i,
                          .pool = i == 2};
        assert_true(each_allocation(salvaging, &w, true) > 10);
        assert_true(each_shortage(salvaging, &w, false) > 10);
        assert_true(each_call(salvaging, &w, ENV_FAULT_READ | ENV_FAULT_OPEN,
                              EIO, true) > 5);
        w.damaged = true;
        assert_true(each_allocation(salvaging, &w, true) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_writing),
        cmocka_unit_test(test_salvaging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
