/* Data blocks: what the writer lays out, the reader finds again; and no bytes
   whatever make the reader look outside the block. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "sst/block_reader.h"
#include "sst/block_writer.h"

enum { ENTRIES_MAX = 400, KEY_MAX = 24 };

struct model_entry {
    uint8_t key[KEY_MAX];
    size_t key_size;
    uint64_t seq;
    enum kv_kind kind;
    uint64_t extent; /* 0: inline */
    uint8_t value[40];
    size_t value_size;
};
struct model {
    struct model_entry entries[ENTRIES_MAX];
    uint32_t count;
};

static adb_slice model_key(const struct model_entry *e)
{
    return slice_of(e->key, e->key_size);
}

static int model_order(const void *a, const void *b)
{
    const struct model_entry *x = a, *y = b;
    return kv_compare(model_key(x), x->seq, model_key(y), y->seq);
}

/* Few distinct bytes and short keys: many ties of heads, many versions. */
static size_t random_key(struct random *r, unsigned alphabet, size_t shared,
                         uint8_t *key)
{
    size_t n = shared + random_below(r, KEY_MAX - shared + 1);
    for (size_t i = 0; i < n; i++)
        key[i] = (uint8_t)(i < shared ? 'p'
                                      : random_below(r, alphabet) *
                                            (255 / alphabet));
    return n;
}

static void model_fill(struct model *m, struct random *r)
{
    unsigned alphabet = 2 + (unsigned)random_below(r, 3);
    size_t shared = random_below(r, 3) ? random_below(r, 12) : 0;
    bool one_seq = random_below(r, 4) == 0, puts_only = random_below(r, 2);
    uint64_t base = random_below(r, KV_MAX_SEQ - 1000);
    uint32_t want = 1 + (uint32_t)random_below(r, ENTRIES_MAX);

    m->count = 0;
    while (m->count < want) {
        struct model_entry *e = &m->entries[m->count++];
        e->key_size = random_key(r, alphabet, shared, e->key);
        e->seq = one_seq ? base : base + random_below(r, 1000);
        e->kind = puts_only || random_below(r, 4) ? KV_PUT : KV_DELETE;
        e->value_size = e->kind == KV_PUT ? random_below(r, 41) : 0;
        e->extent = 0;
        if (!puts_only && e->kind == KV_PUT && random_below(r, 8) == 0)
            e->extent = 4096 * (1 + random_below(r, 1u << 30));
        for (size_t i = 0; i < e->value_size; i++)
            e->value[i] = (uint8_t)random_next(r);
    }
    qsort(m->entries, m->count, sizeof m->entries[0], model_order);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (!kept ||
            model_order(&m->entries[kept - 1], &m->entries[i]) != 0)
            m->entries[kept++] = m->entries[i];
    m->count = kept;
}

/* An exact-size copy, so that a read past the end is caught. */
static uint8_t *build(const struct model *m, size_t *size)
{
    struct sst_block_writer w = {.count = 0};
    for (uint32_t i = 0; i < m->count; i++) {
        const struct model_entry *e = &m->entries[i];
        struct kv_entry entry = {
            .key = model_key(e),
            .value = slice_of(e->extent ? NULL : e->value, e->value_size),
            .seq = e->seq,
            .kind = e->kind};
        assert_int_equal(sst_block_writer_add(&w, &entry, e->extent), ADB_OK);
    }
    uint8_t *room = malloc(sst_block_writer_bound(&w));
    *size = sst_block_writer_finish(&w, room);
    uint8_t *exact = malloc(*size);
    memcpy(exact, room, *size);
    free(room);
    sst_block_writer_deinit(&w);
    return exact;
}

static void check_entry(const struct sst_block *b, uint32_t i,
                        const struct model_entry *want)
{
    struct sst_block_entry e;
    uint8_t key[KEY_MAX];

    sst_block_entry(b, i, &e);
    size_t size = b->prefix_size + e.suffix.size;
    assert_int_equal(size, want->key_size);
    if (b->prefix_size)
        memcpy(key, b->prefix, b->prefix_size);
    if (e.suffix.size)
        memcpy(key + b->prefix_size, e.suffix.data, e.suffix.size);
    assert_memory_equal(key, want->key, size);
    assert_int_equal(e.seq, want->seq);
    assert_int_equal(e.kind, want->kind);
    assert_int_equal(e.value.size, want->value_size);
    assert_int_equal(e.extent_offset, want->extent);
    if (want->extent)
        assert_null(e.value.data);
    else
        assert_memory_equal(e.value.data, want->value, e.value.size);
}

static uint32_t model_seek(const struct model *m, adb_slice key, uint64_t seq)
{
    uint32_t i = 0;
    while (i < m->count && kv_compare(model_key(&m->entries[i]),
                                      m->entries[i].seq, key, seq) < 0)
        i++;
    return i;
}

static void check_search(const struct sst_block *b, const struct model *m,
                         adb_slice key, uint64_t seq)
{
    uint32_t want = model_seek(m, key, seq);
    assert_int_equal(sst_block_seek(b, key, seq), want);

    struct sst_block_entry e;
    bool ran_off;
    adb_status got = sst_block_get(b, key, seq, &e, &ran_off);
    if (want < m->count &&
        slice_equal(model_key(&m->entries[want]), key)) {
        assert_int_equal(got, ADB_OK);
        assert_int_equal(e.seq, m->entries[want].seq);
        assert_int_equal(e.value.size, m->entries[want].value_size);
    } else {
        assert_int_equal(got, ADB_NOT_FOUND);
        assert_int_equal(ran_off, want == m->count);
    }
}

static uint64_t seed(void)
{
    const char *given = getenv("ADB_TEST_SEED");
    uint64_t s = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("ADB_TEST_SEED=%llu\n", (unsigned long long)s);
    return s;
}

static void test_model(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, seed());
    struct model *m = malloc(sizeof *m);

    for (int round = 0; round < 300; round++) {
        model_fill(m, &r);
        size_t size;
        uint8_t *raw = build(m, &size);
        struct sst_block b;
        assert_int_equal(sst_block_open(&b, raw, size), ADB_OK);
        assert_int_equal(sst_block_check_order(&b), ADB_OK);
        assert_int_equal(b.count, m->count);
        for (uint32_t i = 0; i < m->count; i++) {
            const struct model_entry *e = &m->entries[i];
            check_entry(&b, i, e);
            check_search(&b, m, model_key(e), e->seq);
            check_search(&b, m, model_key(e), KV_MAX_SEQ);
            check_search(&b, m, model_key(e), e->seq ? e->seq - 1 : 0);
        }
        for (int i = 0; i < 100; i++) {
            uint8_t key[KEY_MAX];
            size_t n = random_key(&r, 4, random_below(&r, 12), key);
            check_search(&b, m, slice_of(key, n), random_next(&r) >> 8);
        }
        free(raw);
    }
    free(m);
}

/* The sequence field vanishes where all sequences are equal. */
static void test_no_sequences(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof *m);
    for (uint32_t i = 0; i < 10; i++) {
        m->entries[i].key[0] = (uint8_t)('a' + i);
        m->entries[i].key_size = 1;
        m->entries[i].kind = KV_PUT;
        m->entries[i].value_size = 3;
    }
    m->count = 10;
    size_t size;
    uint8_t *raw = build(m, &size);
    /* Header 20, ten heads and short offsets, then two sizes, key, value. */
    assert_int_equal(size, 20 + 10 * 4 + 10 * 2 + 10 * (2 + 1 + 3));
    free(raw);
    free(m);
}

static void test_gigantic(void **state)
{
    (void)state;
    static uint8_t key[ADB_MAX_KEY_SIZE], value[65536];
    struct sst_block_writer w = {.count = 0};
    memset(key, 'k', sizeof key);
    struct kv_entry entry = {slice_of(key, sizeof key),
                             slice_of(value, sizeof value), 7, KV_PUT};
    assert_int_equal(sst_block_writer_add(&w, &entry, 0), ADB_OK);
    uint8_t *raw = malloc(sst_block_writer_bound(&w));
    size_t size = sst_block_writer_finish(&w, raw);
    struct sst_block b;
    assert_int_equal(sst_block_open(&b, raw, size), ADB_OK);
    struct sst_block_entry e;
    bool ran_off;
    assert_int_equal(sst_block_get(&b, entry.key, 7, &e, &ran_off), ADB_OK);
    assert_int_equal(e.value.size, sizeof value);
    assert_int_equal(sst_block_get(&b, entry.key, 6, &e, &ran_off),
                     ADB_NOT_FOUND);
    assert_true(ran_off);
    free(raw);
    sst_block_writer_deinit(&w);
}

/* Whatever opens must be safe to walk and search. */
static void exercise(const uint8_t *raw, size_t size, struct random *r)
{
    struct sst_block b;
    struct sst_block_entry e;
    volatile uint8_t sink = 0;
    (void)sink;

    if (sst_block_open(&b, raw, size) != ADB_OK)
        return;
    for (uint32_t i = 0; i < b.count; i++) {
        sst_block_entry(&b, i, &e);
        if (e.suffix.size)
            sink ^= ((const uint8_t *)e.suffix.data)[e.suffix.size - 1];
        if (e.value.data && e.value.size)
            sink ^= ((const uint8_t *)e.value.data)[e.value.size - 1];
    }
    (void)!sst_block_check_order(&b);
    for (int i = 0; i < 8; i++) {
        uint8_t key[KEY_MAX];
        bool ran_off;
        size_t n = random_key(r, 3, random_below(r, 12), key);
        (void)sst_block_seek(&b, slice_of(key, n), random_next(r) >> 8);
        (void)!sst_block_get(&b, slice_of(key, n), KV_MAX_SEQ, &e, &ran_off);
    }
}

static void test_malicious(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, seed());
    struct model *m = malloc(sizeof *m);

    for (int round = 0; round < 200; round++) {
        model_fill(m, &r);
        size_t size;
        uint8_t *raw = build(m, &size);
        for (int i = 0; i < 200; i++) {
            /* A few bytes wrong, mostly in front where the structure is. */
            uint8_t old[3];
            size_t at[3];
            for (int k = 0; k < 3; k++) {
                size_t range = random_below(&r, 2) ? MIN_OF(size, 200) : size;
                at[k] = random_below(&r, range);
                old[k] = raw[at[k]];
                raw[at[k]] = (uint8_t)random_next(&r);
            }
            exercise(raw, size, &r);
            for (int k = 2; k >= 0; k--)
                raw[at[k]] = old[k];
        }
        /* Cut short, in memory that ends there. */
        for (int i = 0; i < 20; i++) {
            size_t less = random_below(&r, size);
            uint8_t *cut = malloc(less + !less);
            memcpy(cut, raw, less);
            exercise(cut, less, &r);
            free(cut);
        }
        free(raw);
    }
    free(m);
}

static void test_newer(void **state)
{
    (void)state;
    struct model *m = calloc(1, sizeof *m);
    m->count = 1;
    m->entries[0].kind = KV_PUT;
    size_t size;
    struct sst_block b;
    uint8_t *raw = build(m, &size);
    assert_int_equal(sst_block_open(&b, raw, size), ADB_OK);
    raw[5] = 4; /* an entry with expiry */
    assert_int_equal(sst_block_open(&b, raw, size), ADB_UNSUPPORTED);
    raw[5] = KV_PUT;
    raw[4] = 0x80; /* a flag of tomorrow */
    assert_int_equal(sst_block_open(&b, raw, size), ADB_UNSUPPORTED);
    free(raw);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),     cmocka_unit_test(test_no_sequences),
        cmocka_unit_test(test_gigantic),  cmocka_unit_test(test_malicious),
        cmocka_unit_test(test_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
