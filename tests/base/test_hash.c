/*
 * Sums do not depend on the processor: whatever the hash library chooses when
 * it runs, they are those of its plain C, which is compiled in here.
 */
#define XXH_INLINE_ALL
#define XXH_VECTOR 0 /* XXH_SCALAR */
#include <xxhash.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"

enum { MOST = 70000 };
static uint8_t bytes[MOST + 64];

static uint64_t place_seed(uint64_t file, uint64_t offset)
{
    return file * 0x9E3779B97F4A7C15u ^
           (offset + 0x165667B19E3779F9u) * 0xC2B2AE3D27D4EB4Fu;
}

static int fill(void **state)
{
    (void)state;
    struct random r = {7};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&r);
    return 0;
}

static void test_whole(void **state)
{
    (void)state;
    for (size_t size = 0; size <= MOST; size += size < 1100 ? 1 : 997) {
        const uint8_t *p = bytes + size % 64; /* aligned or not */
        assert_true(hash_key(p, size) == XXH3_64bits(p, size));
        assert_true(checksum_bytes(p, size) == XXH3_64bits(p, size));
        assert_true(checksum_bound(p, size, 9, 4096 * size) ==
                    XXH3_64bits_withSeed(p, size, place_seed(9, 4096 * size)));
    }
}

static void test_in_pieces(void **state)
{
    (void)state;
    struct random r = {11};
    for (int round = 0; round < 200; round++) {
        size_t size = random_below(&r, MOST);
        size_t piece = 1 + random_below(&r, round % 2 ? 300 : 9000);
        struct checksum_stream plain, bound;
        assert_int_equal(checksum_stream_init(&plain), 0);
        assert_int_equal(checksum_stream_init_bound(&bound, 3, size), 0);
        for (size_t at = 0; at < size;) {
            size_t now = 1 + random_below(&r, piece);
            if (now > size - at)
                now = size - at;
            checksum_stream_update(&plain, bytes + at, now);
            checksum_stream_update(&bound, bytes + at, now);
            at += now;
        }
        assert_true(checksum_stream_value(&plain) == XXH3_64bits(bytes, size));
        assert_true(checksum_stream_bound_value(&bound) ==
                    XXH3_64bits_withSeed(bytes, size, place_seed(3, size)));
        checksum_stream_deinit(&plain);
        checksum_stream_deinit(&bound);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_in_pieces),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
