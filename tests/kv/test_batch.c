/* Batches: what is put in comes out; what is malformed is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "kv/batch.h"

static void test_format(void **state)
{
    (void)state;
    struct kv_batch b = {0};
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of("k", 1),
                                  slice_of("val", 3)), ADB_OK);
    assert_int_equal(kv_batch_add(&b, KV_DELETE, slice_of("gone", 4),
                                  slice_of(NULL, 0)), ADB_OK);
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of(NULL, 0),
                                  slice_of(NULL, 0)), ADB_OK);
    assert_int_equal(b.bytes.size, 16);
    assert_memory_equal(b.bytes.data, "\1\1k\3val\0\4gone\1\0\0", 16);
    assert_int_equal(b.count, 3);
    assert_int_equal(b.key_bytes, 5);
    assert_int_equal(b.value_bytes, 3);
    assert_int_equal(b.largest_value, 3);
    kv_batch_clear(&b);
    assert_int_equal(b.count | b.key_bytes | b.largest_value, 0);
    assert_int_equal(b.bytes.size, 0);
    kv_batch_deinit(&b);
}

static void test_limits(void **state)
{
    (void)state;
    struct kv_batch b = {0};
    static char key[ADB_MAX_KEY_SIZE + 1];
    assert_int_equal(kv_check_sizes(ADB_MAX_KEY_SIZE, ADB_MAX_VALUE_SIZE),
                     ADB_OK);
    assert_int_equal(kv_check_sizes(0, ADB_MAX_VALUE_SIZE + (size_t)1),
                     ADB_TOO_LARGE);
    assert_non_null(strstr(status_message(), "value of 1073741825 bytes"));
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of(key, sizeof key),
                                  slice_of("", 0)), ADB_TOO_LARGE);
    assert_non_null(strstr(status_message(), "key of 65537 bytes"));
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of(key, sizeof key - 1),
                                  slice_of("", 0)), ADB_OK);
    /* Never past what a record can carry. */
    size_t size = b.bytes.size;
    b.bytes.size = KV_BATCH_MAX_BYTES - 3;
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of("k", 1),
                                  slice_of("", 0)), ADB_TOO_LARGE);
    b.bytes.size = size;
    b.count = UINT32_MAX;
    assert_int_equal(kv_batch_add(&b, KV_PUT, slice_of("k", 1),
                                  slice_of("", 0)), ADB_TOO_LARGE);
    kv_batch_deinit(&b);
}

static adb_status decode_one(const uint8_t *data, size_t size)
{
    /* On the heap without slack, so that a sanitizer sees each step beyond. */
    uint8_t *copy = mem_alloc(size);
    const uint8_t *cursor = copy;
    enum kv_kind kind;
    adb_slice key, value;
    if (size)
        memcpy(copy, data, size);
    adb_status status =
        kv_operation_decode(&cursor, copy + size, &kind, &key, &value);
    assert_ptr_equal(status == ADB_OK ? copy + size : copy, cursor);
    mem_free(copy);
    return status;
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        adb_status status;
    } rows[] = {
        {"", 0, ADB_CORRUPTION},
        {"\0\1k", 3, ADB_OK},
        {"\1\1k\1v", 5, ADB_OK},
        {"\1\0\0", 3, ADB_OK},
        {"\1", 1, ADB_CORRUPTION},
        {"\1\1", 2, ADB_CORRUPTION},
        {"\1\1k", 3, ADB_CORRUPTION},
        {"\1\1k\2v", 5, ADB_CORRUPTION},
        {"\1\x80", 2, ADB_CORRUPTION},
        {"\2\1k", 3, ADB_UNSUPPORTED},
        {"\xff", 1, ADB_UNSUPPORTED},
        /* Sizes that would wrap around. */
        {"\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1k", 12, ADB_CORRUPTION},
        {"\1\1k\xff\xff\xff\xff\xff\xff\xff\xff\xff\1v", 14, ADB_CORRUPTION},
        {"\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11, ADB_CORRUPTION},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(decode_one((const uint8_t *)rows[i].bytes,
                                    rows[i].size), rows[i].status);
    /* A key that no write accepts. */
    struct buffer b = {0};
    assert_int_equal(buffer_append_varint(&b, KV_DELETE), ADB_OK);
    assert_int_equal(buffer_append_varint(&b, ADB_MAX_KEY_SIZE + 1), ADB_OK);
    assert_int_equal(buffer_append_zeros(&b, ADB_MAX_KEY_SIZE + 1), ADB_OK);
    const uint8_t *cursor = b.data;
    enum kv_kind kind;
    adb_slice key, value;
    assert_int_equal(kv_operation_decode(&cursor, b.data + b.size, &kind, &key,
                                         &value), ADB_CORRUPTION);
    buffer_deinit(&b);
}

struct operation {
    enum kv_kind kind;
    adb_slice key, value;
};

static void test_random(void **state)
{
    (void)state;
    enum { COUNT = 200, ROUNDS = 50 };
    static uint8_t source[1000];
    struct random random;
    struct kv_batch b = {0};
    print_message("seed 11\n");
    random_seed(&random, 11);
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)random_next(&random);
    for (int round = 0; round < ROUNDS; round++) {
        struct operation model[COUNT];
        for (int i = 0; i < COUNT; i++) {
            struct operation *o = &model[i];
            o->kind = random_below(&random, 3) ? KV_PUT : KV_DELETE;
            o->key = slice_of(source + random_below(&random, 500),
                              random_below(&random, 300));
            o->value = slice_of(source + random_below(&random, 500),
                                o->kind == KV_PUT
                                    ? random_below(&random, 300) : 0);
            size_t before = b.bytes.size;
            assert_int_equal(kv_batch_add(&b, o->kind, o->key, o->value),
                             ADB_OK);
            assert_int_equal(b.bytes.size - before,
                             kv_operation_size(o->kind, o->key.size,
                                               o->value.size));
        }
        const uint8_t *cursor = b.bytes.data, *end = cursor + b.bytes.size;
        for (int i = 0; i < COUNT; i++) {
            struct operation got;
            assert_int_equal(kv_operation_decode(&cursor, end, &got.kind,
                                                 &got.key, &got.value),
                             ADB_OK);
            assert_int_equal(got.kind, model[i].kind);
            assert_true(slice_equal(got.key, model[i].key));
            assert_true(slice_equal(got.value, model[i].value));
        }
        assert_ptr_equal(cursor, end);
        kv_batch_clear(&b);
    }
    kv_batch_deinit(&b);
}

/* Whatever the bytes, decoding ends and stays inside them. */
static void test_noise(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 12);
    for (int round = 0; round < 20000; round++) {
        size_t size = random_below(&random, 40);
        uint8_t *bytes = mem_alloc(size);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_below(&random,
                                             random_below(&random, 2) ? 4
                                                                      : 256);
        const uint8_t *cursor = bytes, *end = bytes + size;
        enum kv_kind kind;
        adb_slice key, value;
        while (kv_operation_decode(&cursor, end, &kind, &key, &value) ==
               ADB_OK) {
            const uint8_t *k = key.data;
            assert_true(k >= bytes && k + key.size <= end);
            assert_true(cursor <= end);
        }
        mem_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_random),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
