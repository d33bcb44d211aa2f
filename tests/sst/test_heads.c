/* Counting heads below one: both ways, against the plain meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "sst/heads.h"

static int order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void check(const uint64_t *group, uint64_t head)
{
    size_t below = 0;
    while (below < HEADS_GROUP && group[below] < head)
        below++;
    assert_int_equal(heads_below_plain(group, head), below);
#ifdef HEADS_AVX2
    if (heads_can_avx2())
        assert_int_equal(heads_below_avx2(group, head), below);
#endif
}

static void test_both_count_alike(void **state)
{
    (void)state;
    struct random r = {42};
    uint64_t heads[HEADS_GROUP];

    for (int round = 0; round < 20000; round++) {
        /* Few values, so that many are equal; the top bit set and not. */
        unsigned shift = (unsigned)random_below(&r, 61);
        for (int i = 0; i < HEADS_GROUP; i++)
            heads[i] = random_next(&r) >> shift << (shift / 2);
        qsort(heads, HEADS_GROUP, sizeof heads[0], order);
        for (int i = 0; i < HEADS_GROUP; i++) {
            check(heads, heads[i]);
            check(heads, heads[i] + 1);
            check(heads, heads[i] - 1);
        }
        check(heads, 0);
        check(heads, UINT64_MAX);
        check(heads, UINT64_C(1) << 63);
        check(heads, (UINT64_C(1) << 63) - 1);
    }
}

static void test_filled_up(void **state)
{
    (void)state;
    uint64_t heads[HEADS_GROUP];
    for (int filled = 0; filled <= HEADS_GROUP; filled++) {
        for (int i = 0; i < HEADS_GROUP; i++)
            heads[i] = i < filled ? (uint64_t)i * 7 : UINT64_MAX;
        for (uint64_t head = 0; head < 60; head++)
            check(heads, head);
        check(heads, UINT64_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_count_alike),
        cmocka_unit_test(test_filled_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
