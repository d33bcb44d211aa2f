#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/random.h"

static void test_fixed(void **state)
{
    (void)state;
    uint8_t p[8];
    put_u16(p, 0x0102);
    assert_memory_equal(p, "\x02\x01", 2);
    assert_int_equal(get_u16(p), 0x0102);
    put_u32(p, 0x01020304);
    assert_memory_equal(p, "\x04\x03\x02\x01", 4);
    assert_int_equal(get_u32(p), 0x01020304);
    put_u64(p, UINT64_C(0x0102030405060708));
    assert_memory_equal(p, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(get_u64(p) == UINT64_C(0x0102030405060708));
}

static void check_varint(uint64_t v)
{
    uint8_t p[VARINT_MAX];
    uint64_t back = 0;
    size_t size = (size_t)(put_varint(p, v) - p);
    assert_int_equal(size, varint_size(v));
    assert_ptr_equal(get_varint(p, p + size, &back), p + size);
    assert_true(back == v);
    for (size_t cut = 0; cut < size; cut++)
        assert_null(get_varint(p, p + cut, &back));
}

static void test_varint(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 1);
    for (int bits = 0; bits < 64; bits++) {
        check_varint((UINT64_C(1) << bits) - 1);
        check_varint(UINT64_C(1) << bits);
        for (int i = 0; i < 100; i++)
            check_varint(random_next(&random) >> bits);
    }
    check_varint(UINT64_MAX);
    uint64_t v;
    const uint8_t *bad = (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff"
                                          "\xff\x02";
    assert_null(get_varint(bad, bad + 10, &v));
    const uint8_t *endless = (const uint8_t *)"\x80\x80\x80\x80\x80\x80\x80"
                                              "\x80\x80\x80\x80\x01";
    assert_null(get_varint(endless, endless + 12, &v));
}

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void test_slices(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int order;
        size_t common;
    } rows[] = {
        {"", "", 0, 0},           {"", "a", -1, 0},
        {"a", "b", -1, 0},        {"ab", "a", 1, 1},
        {"a\xff", "a\x01", 1, 1}, {"12345678", "12345678", 0, 8},
        {"1234567890x", "1234567890y", -1, 10},
        {"12345678x", "12345678", 1, 8}, {"1234x678", "1234y678", -1, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        adb_slice a = slice_of_string(rows[i].a);
        adb_slice b = slice_of_string(rows[i].b);
        assert_int_equal(sign(slice_compare(a, b)), rows[i].order);
        assert_int_equal(sign(slice_compare(b, a)), -rows[i].order);
        assert_int_equal(slice_equal(a, b), rows[i].order == 0);
        assert_int_equal(slice_common_prefix(a, b), rows[i].common);
        assert_int_equal(slice_has_prefix(a, b), rows[i].common == b.size);
    }
    assert_true(slice_equal(slice_of(NULL, 0), slice_of("x", 0)));
    assert_int_equal(slice_compare(slice_of(NULL, 0), slice_of("x", 0)), 0);
    assert_true(slice_has_prefix(slice_of(NULL, 0), slice_of(NULL, 0)));
}

/* Heads never contradict the order of the keys. */
static void test_heads(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 2);
    for (int i = 0; i < 20000; i++) {
        uint8_t a[12], b[12];
        size_t a_size = random_below(&random, 13);
        size_t b_size = random_below(&random, 13);
        for (int j = 0; j < 12; j++) {
            a[j] = (uint8_t)(random_below(&random, 3) * 127);
            b[j] = (uint8_t)(random_below(&random, 3) * 127);
        }
        int order = slice_compare(slice_of(a, a_size), slice_of(b, b_size));
        uint64_t a8 = key_head8(a, a_size), b8 = key_head8(b, b_size);
        uint32_t a4 = key_head4(a, a_size), b4 = key_head4(b, b_size);
        if (a8 != b8)
            assert_int_equal(a8 < b8 ? -1 : 1, sign(order));
        if (a4 != b4)
            assert_int_equal(a4 < b4 ? -1 : 1, sign(order));
        assert_int_equal(a4, a8 >> 32);
    }
    assert_true(key_head8(NULL, 0) == 0);
}

static void test_print(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(slice_print(slice_of("a\0\\z", 4), text, sizeof text),
                        "a\\x00\\x5cz");
    assert_string_equal(slice_print(slice_of("0123456789abcdef", 16), text,
                                    sizeof text),
                        "0123456789ab...");
    assert_string_equal(slice_print(slice_of(NULL, 0), text, sizeof text), "");
    for (size_t size = 0; size <= sizeof text; size++) {
        memset(text, '!', sizeof text);
        slice_print(slice_of("\x01\x02\x03\x04\x05", 5), text, size);
        assert_true(size == 0 || strlen(text) < size);
        for (size_t i = size; i < sizeof text; i++)
            assert_int_equal(text[i], '!');
    }
}

static int fail_all(void *context, size_t size)
{
    (void)context;
    (void)size;
    return 1;
}

static void test_buffer(void **state)
{
    (void)state;
    struct buffer b = {0};
    adb_slice s;
    assert_int_equal(buffer_append(&b, NULL, 0), ADB_OK);
    assert_int_equal(buffer_append_slice(&b, slice_of("key", 3)), ADB_OK);
    assert_int_equal(buffer_append_varint(&b, 300), ADB_OK);
    assert_int_equal(buffer_append_u32(&b, 1), ADB_OK);
    assert_int_equal(buffer_append_u64(&b, 2), ADB_OK);
    assert_int_equal(buffer_append_zeros(&b, 2), ADB_OK);
    assert_int_equal(buffer_printf(&b, "%d-%s", 7, "x"), ADB_OK);
    assert_int_equal(b.size, 23);
    assert_memory_equal(b.data,
                        "\3key\xac\2\1\0\0\0\2\0\0\0\0\0\0\0\0\0" "7-x", 23);
    const uint8_t *p = get_slice(b.data, b.data + b.size, &s);
    assert_ptr_equal(p, b.data + 4);
    assert_true(slice_equal(s, slice_of("key", 3)));
    assert_null(get_slice(b.data, b.data + 3, &s));
    assert_null(get_slice(b.data, b.data, &s));
    /* A length that would wrap around. */
    uint8_t huge[VARINT_MAX];
    uint8_t *end = put_varint(huge, UINT64_MAX);
    assert_null(get_slice(huge, end, &s));

    mem_set_fail_hook(fail_all, NULL);
    adb_status status = buffer_reserve(&b, 1 << 20);
    mem_set_fail_hook(NULL, NULL);
    assert_int_equal(status, ADB_NO_MEMORY);
    assert_int_equal(b.size, 23);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX - 10), ADB_TOO_LARGE);
    buffer_clear(&b);
    assert_int_equal(b.size, 0);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buffer_append(&b, "0123456", 7), ADB_OK);
    assert_int_equal(b.size, 700000);
    buffer_deinit(&b);
    assert_null(b.data);
}

static void test_checksum_is_bound(void **state)
{
    (void)state;
    static const uint8_t block[4096];
    uint64_t sum = checksum_bound(block, sizeof block, 5, 4096);
    assert_true(sum == checksum_bound(block, sizeof block, 5, 4096));
    for (uint64_t file = 0; file < 40; file++)
        for (uint64_t offset = 0; offset < 40 * 512; offset += 512)
            if (file != 5 || offset != 4096)
                assert_true(sum != checksum_bound(block, sizeof block, file,
                                                  offset));
    assert_true(sum != checksum_bound(block, sizeof block - 1, 5, 4096));

    struct checksum_stream stream;
    assert_int_equal(checksum_stream_init(&stream), 0);
    for (size_t i = 0; i < sizeof block; i += 64)
        checksum_stream_update(&stream, block + i, 64);
    assert_true(checksum_stream_value(&stream) ==
                checksum_bytes(block, sizeof block));
    checksum_stream_deinit(&stream);
    mem_set_fail_hook(fail_all, NULL);
    assert_int_equal(checksum_stream_init(&stream), -1);
    mem_set_fail_hook(NULL, NULL);
    /* Part of the table format: must never change. */
    assert_true(hash_key("", 0) == UINT64_C(0x2D06800538D394C2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed),   cmocka_unit_test(test_varint),
        cmocka_unit_test(test_slices),  cmocka_unit_test(test_heads),
        cmocka_unit_test(test_print),   cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_checksum_is_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
