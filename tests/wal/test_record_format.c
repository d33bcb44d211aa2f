/* Records: golden bytes, every flipped bit, every cut, wrong places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "wal/record_format.h"

static struct record sample(bool watermark)
{
    struct record r = {
        .previous = 0x1122334455667788,
        .kind = RECORD_BATCH,
        .seq = 0x00a1b2c3d4e5f6,
        .count = 3,
        .has_watermark = watermark,
        .watermark = {6, 4096, 77},
        .payload = slice_of_string("hello, albert"),
    };
    return r;
}

static void test_golden(void **state)
{
    (void)state;
    static const uint8_t expected[48] = {
        /* checksum, previous */
        0x5c, 0x38, 0x87, 0xf8, 0xb1, 0x6a, 0x86, 0x9f,
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
        /* sequence and kind, length, count */
        0xf6, 0xe5, 0xd4, 0xc3, 0xb2, 0xa1, 0x00, 0x02,
        0x0d, 0, 0, 0, 0x03, 0, 0, 0,
        'h', 'e', 'l', 'l', 'o', ',', ' ', 'a',
        'l', 'b', 'e', 'r', 't', 0, 0, 0,
    };
    uint8_t bytes[48];
    struct record r = sample(false);
    memset(bytes, 0xee, sizeof(bytes));
    record_encode(bytes, &r, 7, 1024);
    assert_int_equal(r.size, sizeof(bytes));
    assert_memory_equal(bytes, expected, sizeof(bytes));
}

static void check_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->checksum, b->checksum);
    assert_int_equal(a->previous, b->previous);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->has_watermark, b->has_watermark);
    if (a->has_watermark) {
        assert_true(watermark_equal(&a->watermark, &b->watermark));
        assert_int_equal(a->watermark.seq, b->watermark.seq);
    }
    assert_true(slice_equal(a->payload, b->payload));
}

static void test_round_trip(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 20);
    static uint8_t bytes[600], payload[512];
    for (int i = 0; i < 20000; i++) {
        struct record r = {
            .previous = random_next(&random),
            .kind = (enum record_kind)(1 + random_below(&random, 5)),
            .seq = random_next(&random) >> 8,
            .count = (uint32_t)random_below(&random, RECORD_MAX_COUNT + 1ull),
            .has_watermark = random_below(&random, 2),
            .watermark = {random_next(&random), random_next(&random),
                          random_next(&random)},
            .payload = slice_of(payload, random_below(&random, 513)),
        };
        for (size_t j = 0; j < r.payload.size; j++)
            payload[j] = (uint8_t)random_next(&random);
        uint64_t file = random_next(&random), at = random_next(&random) & ~7ull;
        record_encode(bytes, &r, file, at);
        assert_int_equal(r.size,
                         record_size(r.payload.size, r.has_watermark));
        struct record got;
        assert_int_equal(record_decode(bytes, r.size, file, at, &got),
                         RECORD_VALID);
        check_same(&got, &r);
        assert_int_equal(record_decode(bytes, r.size, file + 1, at, &got),
                         RECORD_BAD);
        assert_int_equal(record_decode(bytes, r.size, file, at + 8, &got),
                         RECORD_BAD);
        assert_int_equal(record_decode(bytes, r.size - 1, file, at, &got),
                         RECORD_BAD);
    }
}

static void test_payload_in_place(void **state)
{
    (void)state;
    uint8_t a[128], b[128];
    struct record r = sample(true);
    record_encode(a, &r, 1, 64);
    uint8_t *place = b + record_payload_offset(true);
    memcpy(place, r.payload.data, r.payload.size);
    struct record in_place = r;
    in_place.payload.data = place;
    record_encode(b, &in_place, 1, 64);
    assert_int_equal(r.checksum, in_place.checksum);
    assert_memory_equal(a, b, r.size);
}

/* The head alone plus a streamed checksum make the same record. */
static void test_in_pieces(void **state)
{
    (void)state;
    uint8_t whole[128], head[56];
    for (int watermark = 0; watermark < 2; watermark++) {
        struct record r = sample(watermark);
        record_encode(whole, &r, 3, 8);
        record_encode_head(head, &r);
        size_t at = record_payload_offset(watermark);
        assert_memory_equal(whole + 8, head + 8, at - 8);
        struct checksum_stream sum;
        assert_int_equal(checksum_stream_init_bound(&sum, 3, 8), 0);
        checksum_stream_update(&sum, head + 8, at - 8);
        const uint8_t *payload = r.payload.data;
        for (size_t i = 0; i < r.payload.size; i++)
            checksum_stream_update(&sum, payload + i, 1);
        assert_int_equal(checksum_stream_bound_value(&sum), r.checksum);
        checksum_stream_deinit(&sum);
    }
}

static void test_every_bit(void **state)
{
    (void)state;
    for (int watermark = 0; watermark < 2; watermark++) {
        uint8_t bytes[128];
        struct record r = sample(watermark), got;
        record_encode(bytes, &r, 7, 1024);
        for (size_t bit = 0; bit < r.size * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(record_decode(bytes, r.size, 7, 1024, &got),
                             RECORD_BAD);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(record_decode(bytes, r.size, 7, 1024, &got),
                         RECORD_VALID);
        for (size_t cut = 1; cut < r.size; cut++)
            assert_int_equal(record_decode(bytes, cut, 7, 1024, &got),
                             RECORD_BAD);
    }
}

static void test_nothing_there(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    struct record got;
    for (size_t n = 0; n <= sizeof(zeros); n++)
        assert_int_equal(record_decode(zeros, n, 7, 0, &got), RECORD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_payload_in_place),
        cmocka_unit_test(test_in_pieces),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
