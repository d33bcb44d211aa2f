/* The table writer: what goes in comes out, at every size and setting; every
   flipped bit is noticed; failures leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "sst/table_bytes.h"

static char directory[64];

/* ---- a model table ---- */

struct row {
    uint8_t *key, *value;
    size_t key_size, value_size;
    uint64_t seq;
    enum kv_kind kind;
};
struct rows {
    struct row *rows;
    size_t count;
};

static adb_slice row_key(const struct row *r)
{
    return slice_of(r->key, r->key_size);
}
static int row_order(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return kv_compare(row_key(x), x->seq, row_key(y), y->seq);
}

struct shape {
    size_t count;
    size_t keys;        /* distinct, about */
    size_t key_max;
    size_t value_max;
    unsigned large_one_in; /* 0: none above value_max */
    uint64_t seqs;
};

static void rows_fill(struct rows *t, const struct shape *shape,
                      struct random *r)
{
    t->rows = malloc(shape->count * sizeof *t->rows);
    for (size_t i = 0; i < shape->count; i++) {
        struct row *row = &t->rows[i];
        struct random of_key;
        random_seed(&of_key, random_below(r, shape->keys));
        random_next(&of_key);
        row->key_size = random_below(&of_key, shape->key_max + 1);
        row->key = malloc(row->key_size + 1);
        for (size_t k = 0; k < row->key_size; k++)
            row->key[k] = (uint8_t)('a' + random_below(&of_key, 4));
        row->seq = 1 + random_below(r, shape->seqs);
        row->kind = random_below(r, 5) ? KV_PUT : KV_DELETE;
        row->value_size = random_below(r, shape->value_max + 1);
        if (shape->large_one_in && random_below(r, shape->large_one_in) == 0)
            row->value_size = 4096 + random_below(r, 200000);
        if (row->kind == KV_DELETE)
            row->value_size = 0;
        row->value = malloc(row->value_size + 1);
        uint8_t noise = (uint8_t)random_next(r);
        for (size_t k = 0; k < row->value_size; k++)
            row->value[k] = (uint8_t)(noise + k / 7);
    }
    qsort(t->rows, shape->count, sizeof *t->rows, row_order);
    t->count = 0;
    for (size_t i = 0; i < shape->count; i++) {
        if (t->count && row_order(&t->rows[t->count - 1], &t->rows[i]) == 0) {
            free(t->rows[i].key);
            free(t->rows[i].value);
        } else {
            t->rows[t->count++] = t->rows[i];
        }
    }
}

static void rows_free(struct rows *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->rows[i].key);
        free(t->rows[i].value);
    }
    free(t->rows);
}

static adb_status add_row(struct sst_writer *w, const struct row *row,
                          bool stream)
{
    struct source s =
        source_of(row_key(row), row->seq, row->kind,
                  slice_of(row->value, row->value_size), stream);
    return sst_writer_add(w, &s.it);
}

static adb_status write_rows(const struct rows *t,
                             const struct sst_writer_options *options,
                             struct table_info *info)
{
    struct sst_writer *w;
    adb_status status = sst_writer_open(options, &w);
    if (status != ADB_OK)
        return status;
    for (size_t i = 0; i < t->count && status == ADB_OK; i++)
        status = add_row(w, &t->rows[i], t->rows[i].value_size && i % 2);
    if (status == ADB_OK)
        return sst_writer_finish(w, info);
    sst_writer_abandon(w);
    return status;
}

static struct sst_writer_options small_options(void)
{
    return (struct sst_writer_options){.env = env_posix(),
                                       .directory = directory,
                                       .number = 42,
                                       .block_size = 512,
                                       .filter_bits = 10,
                                       .part_keys = 50,
                                       .extent_threshold = 4096};
}

static void remove_table(uint64_t number)
{
    char *path = sst_path(directory, number);
    assert_int_equal(env_unlink(env_posix(), path), ADB_OK);
    mem_free(path);
}

/* ---- reading back ---- */

struct walk {
    const struct rows *rows;
    size_t at;
};

static void compare_row(void *context, const struct table_entry *e)
{
    struct walk *walk = context;
    assert_true(walk->at < walk->rows->count);
    const struct row *row = &walk->rows->rows[walk->at++];
    assert_int_equal(e->key_size, row->key_size);
    assert_memory_equal(e->key, row->key, e->key_size);
    assert_int_equal(e->entry.seq, row->seq);
    assert_int_equal(e->entry.kind, row->kind);
    assert_int_equal(e->entry.value.size, row->value_size);
    assert_memory_equal(e->entry.value.data, row->value, row->value_size);
}

static void check_get(const struct table_bytes *t, const struct rows *rows,
                      adb_slice key, uint64_t read_seq)
{
    struct row probe = {.key = (uint8_t *)key.data, .key_size = key.size,
                        .seq = read_seq};
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (row_order(&rows->rows[middle], &probe) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct row *want =
        low < rows->count && slice_equal(row_key(&rows->rows[low]), key)
            ? &rows->rows[low]
            : NULL;
    struct table_hit hit;
    bool filtered;
    bool found = table_get(t, key, read_seq, &hit, &filtered);
    assert_int_equal(found, want != NULL);
    if (!found)
        return;
    assert_false(filtered);
    assert_int_equal(hit.seq, want->seq);
    assert_int_equal(hit.kind, want->kind);
    assert_int_equal(hit.value_size, want->value_size);
    assert_memory_equal(hit.value, want->value, hit.value_size);
    free(hit.value);
}

static void check_info(const struct table_bytes *t, const struct rows *rows,
                       const struct table_info *info)
{
    const struct sst_properties *p = &t->properties;
    uint64_t tombstones = 0, in_buckets = 0, keys = 0, key_bytes = 0;
    for (size_t i = 0; i < rows->count; i++) {
        tombstones += rows->rows[i].kind == KV_DELETE;
        key_bytes += rows->rows[i].key_size;
        keys += !i || !slice_equal(row_key(&rows->rows[i]),
                                   row_key(&rows->rows[i - 1]));
    }
    for (int i = 0; i < SST_HISTOGRAM_BUCKETS; i++)
        in_buckets += p->histogram[i];
    assert_int_equal(p->info.entries, rows->count);
    assert_int_equal(p->info.tombstones, tombstones);
    assert_int_equal(in_buckets, tombstones);
    assert_int_equal(p->info.key_bytes, key_bytes);
    assert_int_equal(p->keys, keys);
    assert_true(p->histogram_width * SST_HISTOGRAM_BUCKETS >= 1);
    assert_int_equal(info->size, t->size);
    assert_int_equal(info->checksum, t->footer.file_checksum);
    assert_int_equal(info->checksum,
                     checksum_bytes(t->data, t->size - SST_FOOTER_SIZE));
    assert_int_equal(info->entries, rows->count);
    assert_true(slice_equal(info->smallest, row_key(&rows->rows[0])));
    assert_true(
        slice_equal(info->largest, row_key(&rows->rows[rows->count - 1])));
    assert_true(slice_equal(info->smallest, p->info.smallest));
    assert_true(slice_equal(info->largest, p->info.largest));
}

static void round_trip(const struct shape *shape,
                       const struct sst_writer_options *options,
                       struct random *r)
{
    struct rows rows;
    rows_fill(&rows, shape, r);
    struct table_info info;
    assert_int_equal(write_rows(&rows, options, &info), ADB_OK);
    struct table_bytes t;
    table_read_file(env_posix(), directory, options->number, &t);
    assert_true(table_open(&t));
    check_info(&t, &rows, &info);

    struct walk walk = {&rows, 0};
    assert_true(table_walk(&t, compare_row, &walk));
    assert_int_equal(walk.at, rows.count);
    for (int i = 0; i < 200; i++) {
        const struct row *row = &rows.rows[random_below(r, rows.count)];
        check_get(&t, &rows, row_key(row), row->seq);
        check_get(&t, &rows, row_key(row), row->seq - 1);
        check_get(&t, &rows, row_key(row), KV_MAX_SEQ);
        uint8_t other[40];
        size_t n = random_below(r, sizeof other + 1);
        for (size_t k = 0; k < n; k++)
            other[k] = (uint8_t)('a' + random_below(r, 4));
        check_get(&t, &rows, slice_of(other, n), KV_MAX_SEQ);
    }
    table_close(&t);
    table_info_deinit(&info);
    mem_free(t.data);
    remove_table(options->number);
    rows_free(&rows);
}

static uint64_t seed(void)
{
    const char *given = getenv("ADB_TEST_SEED");
    uint64_t s = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("ADB_TEST_SEED=%llu\n", (unsigned long long)s);
    return s;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {1, 1, 10, 100, 0, 1},          /* one entry */
        {2000, 1u << 30, 40, 60, 0, 1u << 20}, /* mostly distinct keys */
        {2000, 5, 12, 60, 0, 1u << 20}, /* versions over blocks and parts */
        {2000, 300, 20, 60, 50, 1000},  /* large values between */
        {300, 1u << 30, 3000, 3000, 0, 5}, /* entries larger than blocks */
        {3, 3, 5, 10, 1, 9},            /* begins with a large value */
    };
    struct random r;
    random_seed(&r, seed());
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int kind = SST_COMPRESSION_NONE; kind <= SST_COMPRESSION_ZSTD;
             kind++) {
            struct sst_writer_options o = small_options();
            o.compression = (enum sst_compression)kind;
            o.filter_bits = kind == SST_COMPRESSION_LZ4 ? 0 : 10;
            round_trip(&shapes[i], &o, &r);
            o.block_size = 0;
            o.part_keys = 0;
            round_trip(&shapes[i], &o, &r);
        }
}

static void test_long_keys_end_parts(void **state)
{
    (void)state;
    /* 100 keys of 60 KB: separators that differ only at their ends would make
       an index of 6 MB, were parts not bounded in bytes. */
    struct rows rows = {.rows = calloc(100, sizeof *rows.rows), .count = 100};
    for (size_t i = 0; i < rows.count; i++) {
        struct row *row = &rows.rows[i];
        row->key_size = 60000;
        row->key = calloc(1, row->key_size);
        row->key[row->key_size - 2] = (uint8_t)(2 * i);
        row->key[0] = (uint8_t)(i / 20);
        row->value = calloc(1, 1);
        row->seq = 9;
        row->kind = KV_PUT;
    }
    struct sst_writer_options o = small_options();
    o.part_keys = 0;
    struct table_info info;
    assert_int_equal(write_rows(&rows, &o, &info), ADB_OK);
    struct table_bytes t;
    table_read_file(env_posix(), directory, o.number, &t);
    assert_true(table_open(&t));
    assert_in_range(t.top.count, 4, 20);
    struct walk walk = {&rows, 0};
    assert_true(table_walk(&t, compare_row, &walk));
    for (size_t i = 0; i < rows.count; i++)
        check_get(&t, &rows, row_key(&rows.rows[i]), 9);
    table_close(&t);
    table_info_deinit(&info);
    mem_free(t.data);
    remove_table(o.number);
    rows_free(&rows);
}

static void test_empty(void **state)
{
    (void)state;
    struct rows none = {.count = 0};
    struct sst_writer_options o = small_options();
    struct table_info info;
    assert_int_equal(write_rows(&none, &o, &info), ADB_OK);
    struct table_bytes t;
    table_read_file(env_posix(), directory, o.number, &t);
    assert_true(table_open(&t));
    assert_int_equal(t.top.count, 0);
    assert_int_equal(t.properties.info.entries, 0);
    table_close(&t);
    table_info_deinit(&info);
    mem_free(t.data);
    remove_table(o.number);
}

/* ---- damage ---- */

static void ignore(void *context, const struct table_entry *e)
{
    (void)context;
    (void)e;
}

static bool all_good(struct table_bytes *t)
{
    if (!table_open(t))
        return false;
    bool good = table_walk(t, ignore, NULL) &&
                checksum_bytes(t->data, t->size - SST_FOOTER_SIZE) ==
                    t->footer.file_checksum;
    for (uint32_t p = 0; p < t->top.count && good; p++) {
        uint8_t *filter = table_frame(t, &t->top.parts[p].filter);
        good = filter != NULL;
        free(filter);
    }
    table_close(t);
    return good;
}

/* Damage that a reader of the table meets, without the file checksum: all but
   the magic word in front and padding. */
static bool reader_good(struct table_bytes *t)
{
    if (!table_open(t))
        return false;
    bool good = table_walk(t, ignore, NULL);
    for (uint32_t p = 0; p < t->top.count && good; p++) {
        uint8_t *filter = table_frame(t, &t->top.parts[p].filter);
        good = filter != NULL;
        free(filter);
    }
    table_close(t);
    return good;
}

static void small_table(struct table_bytes *t, unsigned large_one_in)
{
    struct random r;
    random_seed(&r, 1);
    struct shape shape = {60, 40, 12, 20, large_one_in, 100};
    struct rows rows;
    rows_fill(&rows, &shape, &r);
    struct sst_writer_options o = small_options();
    o.part_keys = 20;
    struct table_info info;
    assert_int_equal(write_rows(&rows, &o, &info), ADB_OK);
    table_read_file(env_posix(), directory, o.number, t);
    table_info_deinit(&info);
    remove_table(o.number);
    rows_free(&rows);
}

static void test_every_bit(void **state)
{
    (void)state;
    struct table_bytes t;
    small_table(&t, 0);
    assert_true(t.size < 8192);
    assert_true(all_good(&t));
    for (size_t bit = 0; bit < t.size * 8; bit++) {
        t.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(all_good(&t));
        if (bit / 8 >= SST_HEADER_SIZE)
            assert_false(reader_good(&t));
        t.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* Another number, another length: not this table. */
    t.number++;
    assert_false(reader_good(&t));
    t.number--;
    t.size--;
    assert_false(reader_good(&t));
    mem_free(t.data);
}

static void test_extent_bytes(void **state)
{
    (void)state;
    struct table_bytes t;
    small_table(&t, 15);
    assert_true(all_good(&t));
    assert_true(t.size > 70000);
    struct random r;
    random_seed(&r, seed());
    for (int i = 0; i < 300; i++) {
        size_t bit = random_below(&r, t.size * 8);
        t.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(all_good(&t));
        t.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    mem_free(t.data);
}

/* Random bytes under good checksums: refused or harmless, never a wild read. */
static void reseal(struct table_bytes *t, const struct sst_handle *h)
{
    if (sst_handle_check(h, t->size - SST_FOOTER_SIZE) != ADB_OK)
        return;
    sst_frame_seal(t->data + h->offset, h->size,
                   (enum sst_compression)t->data[h->offset + h->size],
                   t->number, h->offset);
}

static void reseal_all(struct table_bytes *t, const struct sst_handle *frames,
                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        reseal(t, &frames[i]);
}

static size_t list_frames(struct table_bytes *t, struct sst_handle *frames,
                          size_t room)
{
    size_t n = 0;
    frames[n++] = t->footer.top;
    frames[n++] = t->footer.properties;
    for (uint32_t p = 0; p < t->top.count; p++) {
        struct table_index x;
        frames[n++] = t->top.parts[p].index;
        frames[n++] = t->top.parts[p].filter;
        assert_true(table_index_open(t, p, &x));
        for (uint32_t i = 0; i < x.index.count && n < room - 2; i++)
            frames[n++] = x.index.blocks[i].handle;
        table_index_close(&x);
    }
    return n;
}

static void test_malicious(void **state)
{
    (void)state;
    struct table_bytes t;
    struct random r;
    small_table(&t, 0);
    random_seed(&r, seed());
    assert_true(table_open(&t));
    struct sst_handle frames[256];
    size_t count = list_frames(&t, frames, 256);
    table_close(&t);
    uint8_t *good = malloc(t.size);
    memcpy(good, t.data, t.size);

    for (int i = 0; i < 20000; i++) {
        int wrong = 1 + (int)random_below(&r, 3);
        for (int k = 0; k < wrong; k++) {
            const struct sst_handle *h = &frames[random_below(&r, count)];
            t.data[h->offset + random_below(&r, h->size)] =
                (uint8_t)random_next(&r);
        }
        reseal_all(&t, frames, count);
        if (table_open(&t)) {
            struct table_hit hit;
            bool filtered;
            (void)table_walk(&t, ignore, NULL);
            if (table_get(&t, slice_of("bcab", random_below(&r, 5)), 50, &hit,
                          &filtered))
                free(hit.value);
            table_close(&t);
        }
        memcpy(t.data, good, t.size);
    }
    free(good);
    mem_free(t.data);
}

/* ---- failures ---- */

struct countdown {
    long left;
    bool failed;
};
static int fail_when_down(void *context, size_t size)
{
    struct countdown *c = context;
    (void)size;
    if (c->left-- != 0)
        return 0;
    c->failed = true;
    return 1;
}

static void test_no_memory(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, 3);
    struct shape shape = {400, 300, 12, 20, 40, 100};
    struct rows rows;
    rows_fill(&rows, &shape, &r);
    struct ledger ledger = {.budget = 1 << 20};

    for (long n = 0;; n++) {
        struct countdown c = {.left = n};
        struct sst_writer_options o = small_options();
        struct table_info info;
        struct env_stat stat;
        o.compression = SST_COMPRESSION_LZ4;
        o.ledger = &ledger;
        mem_set_fail_hook(fail_when_down, &c);
        adb_status status = write_rows(&rows, &o, &info);
        mem_set_fail_hook(NULL, NULL);
        assert_int_equal(ledger_total(&ledger), 0);
        if (status == ADB_OK) {
            table_info_deinit(&info);
            remove_table(o.number);
            if (!c.failed)
                break;
            continue;
        }
        assert_true(c.failed);
        assert_int_equal(status, ADB_NO_MEMORY);
        char *path = sst_path(directory, o.number);
        assert_int_equal(env_stat(env_posix(), path, &stat), ADB_OK);
        assert_int_equal(stat.kind, ENV_KIND_NONE);
        mem_free(path);
    }
    rows_free(&rows);
}

static void test_failing_source(void **state)
{
    (void)state;
    static uint8_t value[300000];
    struct sst_writer_options o = small_options();
    struct sst_writer *w;
    struct env_stat stat;
    assert_int_equal(sst_writer_open(&o, &w), ADB_OK);
    struct source s = source_of(slice_of("k", 1), 1, KV_PUT,
                                slice_of(value, sizeof value), true);
    s.fail = ADB_CORRUPTION;
    assert_int_equal(sst_writer_add(w, &s.it), ADB_CORRUPTION);
    sst_writer_abandon(w);
    assert_string_equal(status_message(), "the source fails");
    char *path = sst_path(directory, o.number);
    assert_int_equal(env_stat(env_posix(), path, &stat), ADB_OK);
    assert_int_equal(stat.kind, ENV_KIND_NONE);
    mem_free(path);
}

static void test_exclusive(void **state)
{
    (void)state;
    struct sst_writer_options o = small_options();
    struct sst_writer *w, *second;
    assert_int_equal(sst_writer_open(&o, &w), ADB_OK);
    assert_int_not_equal(sst_writer_open(&o, &second), ADB_OK);
    sst_writer_abandon(w);
    o.number = 0;
    assert_int_equal(sst_writer_open(&o, &w), ADB_INVALID);
    sst_writer_abandon(NULL);
}

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "sst-writer-%ld", (long)getpid());
    return env_make_dir(env_posix(), directory) != ADB_OK;
}
static int remove_directory(void **state)
{
    (void)state;
    return env_remove_dir(env_posix(), directory) != ADB_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_long_keys_end_parts),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_extent_bytes),
        cmocka_unit_test(test_malicious),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_failing_source),
        cmocka_unit_test(test_exclusive),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
