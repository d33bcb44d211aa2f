/* Heads counted from an origin: they never contradict the order of keys. */
#include "support.h"

#include "base/random.h"
#include "kv/origin.h"

enum { KEY_MAX = 40 };

/* Long common beginnings, with bytes that differ in all places. */
static adb_slice random_key(struct random *r, uint8_t *p)
{
    size_t size = random_below(r, KEY_MAX);
    for (size_t i = 0; i < size; i++)
        p[i] = random_below(r, 12) ? 'k' : (uint8_t)random_below(r, 256);
    return slice_of(p, size);
}

static void heads_agree_with_order(void **state)
{
    (void)state;
    struct random r;
    struct key_origin o;
    uint8_t a_room[KEY_MAX], b_room[KEY_MAX], c_room[KEY_MAX];
    uint64_t decided = 0;
    random_seed(&r, test_seed());
    for (int i = 0; i < 300000; i++) {
        adb_slice a = random_key(&r, a_room), b = random_key(&r, b_room),
                  c = random_key(&r, c_room);
        if (random_below(&r, 2))
            key_origin_of(&o, c, b);
        else
            key_origin_of(&o, c, c);
        uint64_t x = key_head_from(&o, a.data, a.size),
                 y = key_head_from(&o, b.data, b.size);
        if (x < y)
            assert_true(slice_compare(a, b) < 0);
        else if (x > y)
            assert_true(slice_compare(a, b) > 0);
        decided += x != y;
        int side = key_origin_side(&o, a.data, a.size);
        adb_slice prefix = slice_of(o.prefix, o.size);
        assert_int_equal(side == 0, slice_has_prefix(a, prefix));
        if (side != 0)
            assert_int_equal(side < 0, slice_compare(a, prefix) < 0);
    }
    assert_true(decided > 100000);
}

static void without_prefix(void **state)
{
    (void)state;
    struct key_origin none = {.size = 0};
    assert_int_equal(key_head_from(NULL, "abcdefghi", 9),
                     key_head8("abcdefghi", 9));
    assert_int_equal(key_head_from(&none, "abc", 3), key_head8("abc", 3));
    assert_int_equal(key_head_from(&none, NULL, 0), 0);
}

/* A prefix as long as keys may be is cut to what fits. */
static void long_prefix(void **state)
{
    (void)state;
    struct key_origin o;
    uint8_t key[1000];
    memset(key, 'x', sizeof key);
    key_origin_of(&o, slice_of(key, sizeof key), slice_of(key, sizeof key));
    assert_int_equal(o.size, KEY_ORIGIN_MAX);
    assert_int_equal(key_head_from(&o, key, sizeof key),
                     key_head8(key, sizeof key));
    key_origin_of(&o, slice_of(NULL, 0), slice_of(key, sizeof key));
    assert_int_equal(o.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_agree_with_order),
        cmocka_unit_test(without_prefix),
        cmocka_unit_test(long_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
