/* Packing of blocks: round trips, and refusal of what does not unpack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "sst/compress.h"

static void test_compression(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, 7);
    static uint8_t text[20000], noise[20000], raw[20000], packed[40000];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "some text that repeats "[i % 23];
        noise[i] = (uint8_t)random_next(&r);
    }
    for (int kind = SST_COMPRESSION_NONE; kind <= SST_COMPRESSION_ZSTD;
         kind++) {
        struct sst_compressor *c;
        assert_int_equal(sst_compressor_new((enum sst_compression)kind, 0, &c),
                         ADB_OK);
        assert_true(sst_compress_bound(c, sizeof text) <= sizeof packed);
        assert_int_equal(sst_compress(c, noise, sizeof noise, packed), 0);
        size_t n = sst_compress(c, text, sizeof text, packed);
        sst_compressor_free(c);
        if (kind == SST_COMPRESSION_NONE) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_in_range(n, 1, sizeof text / 2);
        enum sst_compression k = (enum sst_compression)kind;
        assert_int_equal(sst_decompress(k, packed, n, raw, sizeof raw),
                         ADB_OK);
        assert_memory_equal(raw, text, sizeof text);
        assert_int_equal(sst_decompress(k, packed, n, raw, sizeof raw - 1),
                         ADB_CORRUPTION);
        assert_int_equal(sst_decompress(k, packed, n - 1, raw, sizeof raw),
                         ADB_CORRUPTION);
        /* Noise may unpack to something, but never outside. */
        for (int i = 0; i < 1000; i++) {
            packed[random_below(&r, n)] = (uint8_t)random_next(&r);
            (void)!sst_decompress(k, packed, n, raw, sizeof raw);
        }
    }
    assert_int_equal(sst_decompress((enum sst_compression)9, packed, 1, raw, 1),
                     ADB_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
