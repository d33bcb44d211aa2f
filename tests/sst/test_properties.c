/* Lineage in the properties: comes back as it went; half of it is refused. */
#include "support.h"

#include "base/alloc.h"
#include "sst/format.h"

static void encode(const struct table_lineage *l, struct buffer *out)
{
    struct sst_properties p = {.lineage = *l};
    p.info.smallest = p.info.largest = slice_of("k", 1);
    buffer_clear(out);
    assert_int_equal(sst_properties_encode(out, &p), ADB_OK);
}

static void expect_same(const struct table_lineage *l)
{
    struct buffer b = {0};
    struct sst_properties p;
    encode(l, &b);
    assert_int_equal(sst_properties_decode(b.data, b.size, &p), ADB_OK);
    assert_int_equal(p.lineage.through, l->through);
    assert_int_equal(p.lineage.below, l->below);
    assert_int_equal(p.lineage.except_count, l->except_count);
    assert_true(slice_equal(p.lineage.from, l->from));
    assert_true(slice_equal(p.lineage.before, l->before));
    for (size_t i = 0; i < l->except_count; i++)
        assert_int_equal(p.lineage.except[i], l->except[i]);
    sst_properties_deinit(&p);
    /* The one field that may be missing is the last one, tag 39, alone. */
    for (size_t size = 0; size < b.size && l->below; size++)
        assert_int_not_equal(sst_properties_decode(b.data, size, &p), ADB_OK);
    buffer_deinit(&b);
}

static void test_round_trip(void **state)
{
    (void)state;
    const uint64_t files[] = {1, 2, 300, UINT64_C(1) << 40};
    struct table_lineage l = {.through = 0};
    l.through = 77;
    expect_same(&l);
    l.below = (UINT64_C(1) << 40) + 1;
    l.from = slice_of("", 0);
    l.before = slice_of("", 0);
    expect_same(&l);
    l.from = slice_of("from", 4);
    l.before = slice_of("to\0", 3);
    l.except = files;
    l.except_count = 4;
    expect_same(&l);
}

/* The bytes of one field, replaced: tag 7 is the list 1, 3 below 4. */
static void test_malformed(void **state)
{
    (void)state;
    const uint64_t files[] = {1, 3};
    struct table_lineage l = {.below = 4,
                              .from = slice_of("a", 1),
                              .before = slice_of("b", 1),
                              .except = files,
                              .except_count = 2};
    static const uint8_t list[] = {7, 2, 1, 2}, bound[] = {40, 1, 4};
    struct buffer b = {0};
    struct sst_properties p;
    encode(&l, &b);
    uint8_t *at = memmem(b.data, b.size, list, sizeof list);
    uint8_t *last = b.data + b.size - sizeof bound;
    assert_true(at && memcmp(last, bound, sizeof bound) == 0);
    at[3] = 0; /* the same again */
    assert_int_equal(sst_properties_decode(b.data, b.size, &p),
                     ADB_CORRUPTION);
    at[3] = 3; /* not below */
    assert_int_equal(sst_properties_decode(b.data, b.size, &p),
                     ADB_CORRUPTION);
    at[3] = 0x80; /* cut short */
    assert_int_equal(sst_properties_decode(b.data, b.size, &p),
                     ADB_CORRUPTION);
    at[3] = 2;
    last[2] = 0; /* a range of which nothing is said */
    assert_int_equal(sst_properties_decode(b.data, b.size, &p),
                     ADB_CORRUPTION);
    last[2] = 4;
    assert_int_equal(sst_properties_decode(b.data, b.size, &p), ADB_OK);
    sst_properties_deinit(&p);
    /* Without tag 40. */
    assert_int_equal(
        sst_properties_decode(b.data, b.size - sizeof bound, &p),
        ADB_CORRUPTION);
    buffer_deinit(&b);
}

static void test_supersedes(void **state)
{
    (void)state;
    const uint64_t files[] = {2, 5, 6};
    const struct table_lineage l = {
        .below = 8, .except = files, .except_count = 3};
    const struct table_lineage nothing = {.below = 0};
    for (uint64_t n = 1; n < 10; n++) {
        bool named = n == 2 || n == 5 || n == 6;
        assert_true(table_lineage_supersedes(&l, n) == (n < 8 && !named));
        assert_false(table_lineage_supersedes(&nothing, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_supersedes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
