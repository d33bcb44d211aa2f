/*
 * Sums do not depend on the processor: whatever the hash library chooses when
 * it runs, they are those of its plain C, which is compiled in here.
 */
#define XXH_INLINE_ALL
#define XXH_VECTOR 0 /* XXH_SCALAR */
#include <xxhash.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
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

#ifdef __x86_64__
enum { UPPER_HALVES = 1 << 2 };

/* Which parts of the registers are not as they were in the beginning, as the
   processor keeps track of it; 0 when it does not tell. */
static uint32_t parts_in_use(void)
{
    uint32_t a, b, c, d, high, low;
    if (!__get_cpuid_count(0xD, 1, &a, &b, &c, &d) || !(a & 1 << 2))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return low;
}

/* Upper halves left in use slow down all that its thread does with the lower
   ones later: whole loops took twice as long. */
static void test_upper_halves_are_left_clear(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx"))
        skip();
    __asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n"
                     "vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0" ::
                         : "xmm0");
    bool told = parts_in_use() & UPPER_HALVES;
    __asm__ volatile("vzeroupper");
    if (!told || parts_in_use() & UPPER_HALVES)
        skip(); /* the processor does not keep track so closely */

    for (size_t size = 1; size <= MOST; size += size < 3000 ? 500 : 9000) {
        checksum_bytes(bytes, size);
        assert_false(parts_in_use() & UPPER_HALVES);
        checksum_bound(bytes, size, 9, size);
        assert_false(parts_in_use() & UPPER_HALVES);
        struct checksum_stream s;
        assert_int_equal(checksum_stream_init(&s), 0);
        checksum_stream_update(&s, bytes, size);
        assert_false(parts_in_use() & UPPER_HALVES);
        checksum_stream_value(&s);
        assert_false(parts_in_use() & UPPER_HALVES);
        checksum_stream_deinit(&s);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_in_pieces),
#ifdef __x86_64__
        cmocka_unit_test(test_upper_halves_are_left_clear),
#endif
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
