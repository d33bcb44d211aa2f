/* Index parts: searches against a plain scan, separators, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/random.h"
#include "sst/index.h"

enum { KEYS_MAX = 700, KEY_MAX = 20 };

struct key {
    uint8_t bytes[KEY_MAX];
    size_t size;
};

static adb_slice key_slice(const struct key *k)
{
    return slice_of(k->bytes, k->size);
}
static int key_order(const void *a, const void *b)
{
    return slice_compare(key_slice(a), key_slice(b));
}

static void random_key(struct random *r, size_t shared, unsigned alphabet,
                       struct key *k)
{
    k->size = shared + random_below(r, KEY_MAX - shared + 1);
    for (size_t i = 0; i < k->size; i++)
        k->bytes[i] = (uint8_t)(i < shared ? 'p'
                                           : random_below(r, alphabet) * 255 /
                                                 (alphabet - 1));
}

static uint64_t seed(void)
{
    const char *given = getenv("ADB_TEST_SEED");
    uint64_t s = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("ADB_TEST_SEED=%llu\n", (unsigned long long)s);
    return s;
}

static size_t fill(struct random *r, struct key *keys, size_t *shared,
                   unsigned *alphabet)
{
    size_t n = 1 + random_below(r, KEYS_MAX);
    *shared = random_below(r, 12);
    *alphabet = 2 + (unsigned)random_below(r, 200);
    for (size_t i = 0; i < n; i++)
        random_key(r, *shared, *alphabet, &keys[i]);
    qsort(keys, n, sizeof keys[0], key_order); /* equal neighbours stay */
    return n;
}

struct place {
    struct sst_handle handle;
    bool compressed;
};

static void build(struct random *r, const struct key *keys, size_t n,
                  struct place *places, struct buffer *raw)
{
    struct sst_index_builder b = {.count = 0};
    uint64_t offset = SST_HEADER_SIZE;

    for (size_t i = 0; i < n; i++) {
        if (random_below(r, 10) == 0)
            offset += random_below(r, 1u << 30);
        struct sst_handle h = {offset, 1 + (uint32_t)random_below(r, 9000), 0};
        bool compressed = random_below(r, 2);
        h.raw_size = compressed ? h.size * 2 : h.size;
        places[i] = (struct place){h, compressed};
        offset += sst_handle_span(&h);
        bool continues = i + 1 < n && key_order(&keys[i], &keys[i + 1]) == 0;
        assert_int_equal(sst_index_builder_add(&b, &h, compressed,
                                               key_slice(&keys[i]), continues),
                         ADB_OK);
    }
    buffer_clear(raw);
    assert_int_equal(sst_index_builder_finish(&b, raw), ADB_OK);
    sst_index_builder_deinit(&b);
}

static void check_block(const struct sst_index *index, uint32_t i,
                        const struct key *key, const struct place *place)
{
    const struct sst_index_block *b = &index->blocks[i];
    assert_int_equal(b->handle.offset, place->handle.offset);
    assert_int_equal(b->handle.size, place->handle.size);
    assert_int_equal(b->handle.raw_size, place->handle.raw_size);
    adb_slice suffix = sst_index_suffix(index, i);
    assert_int_equal(index->prefix.size + suffix.size, key->size);
    assert_true(slice_has_prefix(key_slice(key), index->prefix));
    if (suffix.size)
        assert_memory_equal(suffix.data, key->bytes + index->prefix.size,
                            suffix.size);
}

static uint32_t scan(const struct key *keys, size_t n, adb_slice key)
{
    uint32_t i = 0;
    while (i < n && slice_compare(key_slice(&keys[i]), key) < 0)
        i++;
    return i;
}

static void test_model(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, seed());
    static struct key keys[KEYS_MAX];
    static struct place places[KEYS_MAX];
    struct buffer raw = {0};

    for (int round = 0; round < 200; round++) {
        size_t shared;
        unsigned alphabet;
        size_t n = fill(&r, keys, &shared, &alphabet);
        build(&r, keys, n, places, &raw);
        void *memory = malloc(sst_index_memory(raw.data, raw.size));
        struct sst_index index;
        assert_int_equal(sst_index_decode(raw.data, raw.size, UINT64_MAX / 2,
                                          memory, &index),
                         ADB_OK);
        assert_int_equal(index.count, n);
        for (uint32_t i = 0; i < n; i++) {
            check_block(&index, i, &keys[i], &places[i]);
            assert_int_equal(sst_index_find(&index, key_slice(&keys[i])),
                             scan(keys, n, key_slice(&keys[i])));
        }
        for (int i = 0; i < 300; i++) {
            struct key k;
            random_key(&r, random_below(&r, 3) ? shared : 0, alphabet, &k);
            assert_int_equal(sst_index_find(&index, key_slice(&k)),
                             scan(keys, n, key_slice(&k)));
        }
        free(memory);
    }
    buffer_deinit(&raw);
}

static void exercise(const uint8_t *bytes, size_t size, struct random *r)
{
    uint8_t *raw = malloc(size + !size); /* ends where it ends */
    memcpy(raw, bytes, size);
    size_t need = sst_index_memory(raw, size);
    void *memory = malloc(need + !need);
    struct sst_index index;

    if (need && sst_index_decode(raw, size, 1 << 20, memory, &index) ==
                    ADB_OK) {
        volatile uint8_t sink = 0;
        (void)sink;
        for (uint32_t i = 0; i < index.count; i++) {
            adb_slice s = sst_index_suffix(&index, i);
            if (s.size)
                sink ^= ((const uint8_t *)s.data)[s.size - 1];
            assert_true(index.blocks[i].handle.offset +
                            sst_handle_span(&index.blocks[i].handle) <=
                        1 << 20);
        }
        for (int i = 0; i < 10; i++) {
            struct key k;
            random_key(r, random_below(r, 12), 2, &k);
            assert_true(sst_index_find(&index, key_slice(&k)) <= index.count);
        }
    }
    free(memory);
    free(raw);
}

static void test_malicious(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, seed());
    static struct key keys[KEYS_MAX];
    static struct place places[KEYS_MAX];
    struct buffer raw = {0};

    for (int round = 0; round < 30; round++) {
        size_t shared;
        unsigned alphabet;
        size_t n = fill(&r, keys, &shared, &alphabet);
        build(&r, keys, MIN_OF(n, 20), places, &raw);
        for (int i = 0; i < 300; i++) {
            size_t at = random_below(&r, raw.size);
            uint8_t old = raw.data[at];
            raw.data[at] = (uint8_t)random_next(&r);
            exercise(raw.data, raw.size, &r);
            raw.data[at] = old;
            exercise(raw.data, random_below(&r, raw.size), &r);
        }
    }
    buffer_deinit(&raw);
}

static void test_separator_table(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"abcdef", "abz", "abd"},   {"abc", "abz", "abc"},
        {"abcdef", "abdz", "abd"},  {"abcdef", "abd", "abce"},
        {"abc", "abc", "abc"},      {"ab", "abc", "ab"},
        {"", "b", ""},              {"ab\xff\xff" "de", "ac", "ab\xff\xff" "e"},
        {"azzz", "b", "a{"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer s = {0};
        assert_int_equal(sst_separator(slice_of_string(rows[i][0]),
                                       slice_of_string(rows[i][1]), &s),
                         ADB_OK);
        assert_int_equal(s.size, strlen(rows[i][2]));
        if (s.size)
            assert_memory_equal(s.data, rows[i][2], s.size);
        buffer_deinit(&s);
    }
}

static void test_separator_rule(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, seed());
    struct buffer s = {0};

    for (int i = 0; i < 100000; i++) {
        struct key pair[2];
        for (int k = 0; k < 2; k++)
            random_key(&r, random_below(&r, 3), 2, &pair[k]);
        qsort(pair, 2, sizeof pair[0], key_order);
        buffer_clear(&s);
        assert_int_equal(
            sst_separator(key_slice(&pair[0]), key_slice(&pair[1]), &s),
            ADB_OK);
        assert_true(slice_compare(key_slice(&pair[0]), buffer_slice(&s)) <= 0);
        if (key_order(&pair[0], &pair[1]) != 0)
            assert_true(slice_compare(buffer_slice(&s),
                                      key_slice(&pair[1])) < 0);
        assert_true(s.size <= pair[0].size);
    }
    buffer_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_malicious),
        cmocka_unit_test(test_separator_table),
        cmocka_unit_test(test_separator_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
