/* Filter parts: no key is missed, few others pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "sst/filter.h"

static uint64_t hash_of(uint64_t i)
{
    uint8_t key[16] = "key-";
    put_u64(key + 8, i);
    return hash_key(key, sizeof key);
}

static double false_positives(size_t keys, unsigned bits)
{
    uint64_t *hashes = malloc(keys * sizeof *hashes);
    size_t size = sst_filter_size(keys, bits);
    uint8_t *raw = malloc(size);
    struct sst_filter f;

    for (size_t i = 0; i < keys; i++)
        hashes[i] = hash_of(i);
    sst_filter_build(hashes, keys, bits, raw);
    assert_int_equal(sst_filter_decode(raw, size, &f), ADB_OK);
    for (size_t i = 0; i < keys; i++)
        assert_true(sst_filter_may_contain(&f, hashes[i]));
    size_t passed = 0, asked = 200000;
    for (size_t i = 0; i < asked; i++)
        passed += sst_filter_may_contain(&f, hash_of(keys + i));
    free(raw);
    free(hashes);
    return (double)passed / (double)asked;
}

static void test_rate(void **state)
{
    (void)state;
    double at_10 = false_positives(65536, 10), at_16 = false_positives(65536, 16);
    print_message("false positives: 10 bits %.2f %%, 16 bits %.2f %%\n",
                  100 * at_10, 100 * at_16);
    assert_true(at_10 < 0.012);
    assert_true(at_16 < 0.002);
    false_positives(1, 10);
    false_positives(1, 1);
    false_positives(3000, 64);
}

static void test_fixed_bits(void **state)
{
    (void)state;
    /* The format: one key, one line, six bits where filter.h says. */
    uint64_t hash = 0x0123456789ABCDEF;
    uint8_t raw[SST_FILTER_LINE + SST_FILTER_TAIL];
    uint8_t expected[SST_FILTER_LINE] = {0};
    assert_int_equal(sst_filter_size(1, 10), sizeof raw);
    sst_filter_build(&hash, 1, 10, raw);
    uint64_t m = hash * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 6; i++) {
        unsigned bit = (m >> (10 + 9 * i)) & 511;
        expected[bit >> 3] |= (uint8_t)(1u << (bit & 7));
    }
    assert_memory_equal(raw, expected, sizeof expected);
    static const uint8_t tail[16] = {1, 0, 0, 0, 1, 0, 6, 0, 1};
    assert_memory_equal(raw + SST_FILTER_LINE, tail, sizeof tail);
}

static void test_damage(void **state)
{
    (void)state;
    uint64_t hash = 1;
    uint8_t raw[SST_FILTER_LINE + SST_FILTER_TAIL];
    struct sst_filter f;
    sst_filter_build(&hash, 1, 10, raw);
    for (size_t size = 0; size < sizeof raw; size++)
        assert_int_not_equal(sst_filter_decode(raw, size, &f), ADB_OK);
    raw[SST_FILTER_LINE] = 2;
    assert_int_equal(sst_filter_decode(raw, sizeof raw, &f), ADB_CORRUPTION);
    raw[SST_FILTER_LINE] = 1;
    raw[SST_FILTER_LINE + 4] = 2;
    assert_int_equal(sst_filter_decode(raw, sizeof raw, &f), ADB_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_fixed_bits),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
