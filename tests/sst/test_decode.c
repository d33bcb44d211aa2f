/*
 * The pieces of a table's end, each field of them wrong in turn though all
 * checksums are right: refused in words, nothing taken, nothing leaked.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "base/hash.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "support/failing.h"

static void expect(adb_status status, adb_status expected, const char *message)
{
    if (status != expected || (message && !strstr(status_message(), message)))
        fail_msg("'%s' is %s: %s", message ? message : "", status_name(status),
                 status_message());
}

/* ---- places -------------------------------------------------------------- */

static void test_handles(void **state)
{
    (void)state;
    static const struct {
        struct sst_handle h;
        bool good;
    } cases[] = {
        {{8, 100, 100}, true},        {{8, 50, 100}, true},
        {{8, 991 - 8, 991 - 8}, true}, {{7, 100, 100}, false},
        {{8, 0, 0}, false},           {{8, 100, 50}, false},
        {{8, 992 - 8, 992 - 8}, false}, {{1001, 10, 10}, false},
        {{UINT64_MAX, 10, 10}, false}, {{8, 100, SST_MAX_BLOCK + 1}, false},
        {{8, 10, SST_MAX_BLOCK}, false}, /* packs better than anything */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(sst_handle_check(&cases[i].h, 1000),
               cases[i].good ? ADB_OK : ADB_CORRUPTION,
               cases[i].good ? NULL : "does not lie in the file's 1000 bytes");
}

static void test_extents(void **state)
{
    (void)state;
    uint64_t limit = 10 * SST_EXTENT_ALIGN, step = SST_EXTENT_ALIGN;
    expect(sst_extent_check(step, 100, limit), ADB_OK, NULL);
    static const char message[] = "does not lie in the file's";
    expect(sst_extent_check(0, 100, limit), ADB_CORRUPTION, message);
    expect(sst_extent_check(step + 1, 100, limit), ADB_CORRUPTION, message);
    expect(sst_extent_check(limit + step, 1, limit), ADB_CORRUPTION, message);
    expect(sst_extent_check(step, UINT64_C(1) << 40, UINT64_MAX / 2),
           ADB_CORRUPTION, message);
    expect(sst_extent_check(step, limit - step, limit), ADB_CORRUPTION,
           message);
}

static void test_frames(void **state)
{
    (void)state;
    uint8_t frame[100 + SST_TRAILER_SIZE] = "bytes";
    struct sst_handle h = {8, 100, 100};
    enum sst_compression kind;
    sst_frame_seal(frame, 100, SST_COMPRESSION_NONE, 7, 8);
    expect(sst_frame_check(frame, &h, 7, "t", &kind), ADB_OK, NULL);
    expect(sst_frame_check(frame, &h, 8, "t", &kind), ADB_CORRUPTION,
           "checksum of the 100 bytes at offset 8");
    h.raw_size = 200;
    expect(sst_frame_check(frame, &h, 7, "t", &kind), ADB_CORRUPTION,
           "plain block at offset 8 has 100 bytes, not 200");
    sst_frame_seal(frame, 100, (enum sst_compression)9, 7, 8);
    expect(sst_frame_check(frame, &h, 7, "t", &kind), ADB_UNSUPPORTED,
           "compression 9 of a newer version");
    uint64_t sum = sst_chunk_checksum(frame, 100, 7, 4096, 0);
    expect(sst_chunk_check(frame, 100, sum, 7, 4096, 0, "t"), ADB_OK, NULL);
    expect(sst_chunk_check(frame, 100, sum, 7, 4096, 1, "t"), ADB_CORRUPTION,
           "100 value bytes at offset");
}

/* ---- footer -------------------------------------------------------------- */

enum { SIZE = 5000 };

static void seal_footer(uint8_t bytes[SST_FOOTER_SIZE])
{
    put_u64(bytes + 72, checksum_bound(bytes, 72, 7, SIZE - SST_FOOTER_SIZE));
}

static void test_footer(void **state)
{
    (void)state;
    struct sst_footer out, f = {.top = {8, 100, 100},
                                .properties = {200, 50, 50},
                                .file_number = 7,
                                .file_size = SIZE};
    uint8_t good[SST_FOOTER_SIZE], b[SST_FOOTER_SIZE];
    sst_footer_encode(&f, good);
    expect(sst_footer_decode(good, 7, SIZE, "t", &out), ADB_OK, NULL);
    expect(sst_footer_decode(good, 0, SIZE, "t", &out), ADB_OK, NULL);
    assert_int_equal(out.file_number, 7);
    expect(sst_footer_decode(good, 7, SST_FOOTER_SIZE - 1, "t", &out),
           ADB_CORRUPTION, "too few for a table");
    expect(sst_footer_decode(good, 8, SIZE, "t", &out), ADB_CORRUPTION,
           "wrong checksum (it says it belongs to file 7 of 5000 bytes)");
    memcpy(b, good, sizeof b);
    b[64] ^= 1;
    expect(sst_footer_decode(b, 7, SIZE, "t", &out), ADB_CORRUPTION,
           "no table footer at offset");
    static const struct {
        size_t at;
        uint8_t change;
        adb_status status;
        const char *message;
    } cases[] = {
        {56, 0x40, ADB_UNSUPPORTED, "this library knows version"},
        {60, 1, ADB_UNSUPPORTED, "features 0x1"},
        {40, 1, ADB_CORRUPTION, "footer is of another file"},
        {48, 1, ADB_CORRUPTION, "footer is of another file"},
        {0, 8, ADB_CORRUPTION, "footer: handle of 100 bytes"},
        {18, 1, ADB_CORRUPTION, "footer: handle of 50 bytes"},
        {12, 1, ADB_CORRUPTION, "never packed"},
        {28, 1, ADB_CORRUPTION, "never packed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(b, good, sizeof b);
        b[cases[i].at] ^= cases[i].change;
        seal_footer(b);
        expect(sst_footer_decode(b, 7, SIZE, "t", &out), cases[i].status,
               cases[i].message);
    }
}

/* ---- top index ----------------------------------------------------------- */

static const struct sst_part good_part = {.index = {100, 50, 60},
                                          .filter = {200, 70, 70},
                                          .first_offset = 8,
                                          .blocks = 3,
                                          .entries = 9,
                                          .keys = 8};

static adb_status decode_parts(const struct sst_part *parts, size_t count)
{
    struct buffer b = {0};
    struct sst_top top;
    for (size_t i = 0; i < count; i++)
        assert_ok(sst_part_encode(&b, &parts[i]));
    adb_status status = sst_top_decode(b.data, b.size, 1000, &top);
    if (status == ADB_OK) {
        assert_int_equal(top.count, count);
        sst_top_deinit(&top);
    }
    buffer_deinit(&b);
    return status;
}

static void test_top(void **state)
{
    (void)state;
    struct sst_part p[2] = {good_part, good_part};
    p[0].last_key = slice_of_string("m");
    p[1].last_key = slice_of_string("z");
    expect(decode_parts(p, 2), ADB_OK, NULL);
    p[1].last_key = slice_of_string("a");
    expect(decode_parts(p, 2), ADB_CORRUPTION, "parts out of order");
    for (int i = 0; i < 6; i++) {
        p[0] = good_part;
        if (i == 0)
            p[0].index.offset = 5000;
        else if (i == 1)
            p[0].filter.size = 5000;
        else if (i == 2)
            p[0].blocks = 0;
        else if (i == 3)
            p[0].entries = 0;
        else if (i == 4)
            p[0].first_offset = 1001;
        expect(decode_parts(p, 1), i == 5 ? ADB_OK : ADB_CORRUPTION,
               i < 2   ? "top index: handle of"
               : i < 5 ? "part with impossible numbers"
                       : NULL);
    }
    p[0].filter = (struct sst_handle){0, 0, 0};
    expect(decode_parts(p, 1), ADB_OK, NULL);
}

/* Cut anywhere, or with a count or a size that lies. */
static void test_top_sizes(void **state)
{
    (void)state;
    struct buffer b = {0};
    struct sst_top top;
    struct sst_part p = good_part;
    p.last_key = slice_of_string("key");
    assert_ok(sst_part_encode(&b, &p));
    for (size_t cut = 0; cut < b.size; cut++)
        expect(sst_top_decode(b.data, cut, 1000, &top), ADB_CORRUPTION,
               "top index: ");
    assert_ok(buffer_append_zeros(&b, 1));
    expect(sst_top_decode(b.data, b.size, 1000, &top), ADB_CORRUPTION,
           "bytes left over");
    b.size--;
    put_u32(b.data, 2);
    expect(sst_top_decode(b.data, b.size, 1000, &top), ADB_CORRUPTION,
           "part count out of range");
    put_u32(b.data, 1);
    b.data[4] = 0x7f; /* a longer key than there is */
    expect(sst_top_decode(b.data, b.size, 1000, &top), ADB_CORRUPTION,
           "part cut short or out of range");
    buffer_deinit(&b);
    /* Numbers that do not fit their fields. */
    assert_ok(buffer_append_u32(&b, 1));
    assert_ok(buffer_append_varint(&b, 0));
    assert_ok(buffer_append_varint(&b, 100));
    assert_ok(buffer_append_varint(&b, UINT64_C(1) << 40));
    assert_ok(buffer_append_zeros(&b, 20));
    expect(sst_top_decode(b.data, b.size, 1000, &top), ADB_CORRUPTION,
           "part cut short or out of range");
    buffer_deinit(&b);
}

/* ---- properties ---------------------------------------------------------- */

struct field {
    uint64_t tag;
    adb_slice bytes;
};
enum { FIELDS_MAX = 40 };

static size_t split(const struct buffer *b, struct field *fields)
{
    const uint8_t *p = b->data, *end = p + b->size;
    size_t n = 0;
    for (; p < end; n++) {
        assert_true(n < FIELDS_MAX);
        p = get_varint(p, end, &fields[n].tag);
        p = get_slice(p, end, &fields[n].bytes);
        assert_non_null(p);
    }
    return n;
}

static adb_status decode_fields(const struct field *fields, size_t count)
{
    struct buffer b = {0};
    struct sst_properties p;
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].tag)
            continue;
        assert_ok(buffer_append_varint(&b, fields[i].tag));
        assert_ok(buffer_append_slice(&b, fields[i].bytes));
    }
    adb_status status = sst_properties_decode(b.data, b.size, &p);
    if (status == ADB_OK)
        sst_properties_deinit(&p);
    buffer_deinit(&b);
    return status;
}

static void encode_good(struct buffer *b)
{
    static const uint64_t left_out[] = {3, 5};
    struct sst_properties p = {.info = {.number = 7,
                                        .smallest = slice_of_string("a"),
                                        .largest = slice_of_string("z")},
                               .histogram_width = 64,
                               .lineage = {.through = 5,
                                           .below = 6,
                                           .from = slice_of_string("b"),
                                           .before = slice_of_string("c"),
                                           .except = left_out,
                                           .except_count = 2}};
    assert_ok(sst_properties_encode(b, &p));
}

static size_t find(const struct field *fields, size_t count, uint64_t tag)
{
    size_t i = 0;
    while (i < count && fields[i].tag != tag)
        i++;
    assert_true(i < count);
    return i;
}

static void test_properties(void **state)
{
    (void)state;
    static uint8_t long_key[ADB_MAX_KEY_SIZE + 2];
    struct buffer b = {0};
    struct field good[FIELDS_MAX], f[FIELDS_MAX];
    encode_good(&b);
    size_t n = split(&b, good);
    expect(decode_fields(good, n), ADB_OK, NULL);
    static const struct {
        uint64_t tag;
        const char *bytes; /* NULL: left out */
        size_t size;
        adb_status status;
        const char *message;
    } cases[] = {
        {1, "reverse", 7, ADB_UNSUPPORTED, "an order unknown here"},
        {1, NULL, 0, ADB_CORRUPTION, "fields missing"},
        {2, NULL, 0, ADB_CORRUPTION, "fields missing"},
        {4, NULL, 0, ADB_CORRUPTION, "fields missing"},
        {4, "\x01\x02", 2, ADB_CORRUPTION, "histogram cut short"},
        {17, NULL, 0, ADB_CORRUPTION, "fields missing"},
        {17, "", 0, ADB_CORRUPTION, "number out of range"},
        {17, "\x01\x01", 2, ADB_CORRUPTION, "number out of range"},
        {33, "\xff\xff\xff\xff\xff\x01", 6, ADB_CORRUPTION,
         "number out of range"},
        {39, NULL, 0, ADB_OK, NULL},
        {40, NULL, 0, ADB_CORRUPTION, "half a lineage"},
        {5, NULL, 0, ADB_CORRUPTION, "half a lineage"},
        {6, NULL, 0, ADB_CORRUPTION, "half a lineage"},
        {7, NULL, 0, ADB_OK, NULL},
        {7, "", 0, ADB_CORRUPTION, "list of files"},
        {7, "\x01\x00", 2, ADB_CORRUPTION, "list of files"},
        {7, "\x06", 1, ADB_CORRUPTION, "a file of later on"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(f, good, sizeof f);
        struct field *x = &f[find(f, n, cases[i].tag)];
        x->bytes = slice_of(cases[i].bytes, cases[i].size);
        if (!cases[i].bytes)
            x->tag = 0;
        expect(decode_fields(f, n), cases[i].status, cases[i].message);
    }
    static const uint64_t keys[] = {2, 3, 5, 6};
    for (size_t i = 0; i < 4; i++) {
        memcpy(f, good, sizeof f);
        f[find(f, n, keys[i])].bytes = slice_of(long_key, sizeof long_key);
        expect(decode_fields(f, n), ADB_CORRUPTION, "longer than any key");
    }
    memcpy(f, good, sizeof f);
    f[n] = (struct field){99, slice_of("x", 1)};
    expect(decode_fields(f, n + 1), ADB_UNSUPPORTED,
           "field 99 is of a newer version");
    f[n] = f[0];
    expect(decode_fields(f, n + 1), ADB_CORRUPTION, "fields out of order");
    struct sst_properties p;
    for (size_t cut = 1; cut < b.size; cut++)
        expect(sst_properties_decode(b.data, cut, &p), ADB_CORRUPTION,
               "properties: ");
    buffer_deinit(&b);
}

static adb_status decode_good(void *context)
{
    struct buffer b = {0};
    struct sst_properties p;
    (void)context;
    encode_good(&b);
    failing_begin(NULL);
    adb_status status = sst_properties_decode(b.data, b.size, &p);
    failing_end(NULL);
    if (status == ADB_OK)
        sst_properties_deinit(&p);
    buffer_deinit(&b);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_int_equal(each_allocation(decode_good, NULL, false), 4);
}

/* ---- filters and packing ------------------------------------------------- */

static void test_filter(void **state)
{
    (void)state;
    uint64_t hashes[3] = {1, UINT64_C(1) << 40, UINT64_MAX};
    size_t size = sst_filter_size(3, 10);
    uint8_t *raw = calloc(1, size);
    struct sst_filter f;
    sst_filter_build(hashes, 3, 10, raw);
    expect(sst_filter_decode(raw, size, &f), ADB_OK, NULL);
    expect(sst_filter_decode(raw, SST_FILTER_LINE, &f), ADB_CORRUPTION,
           "filter: size out of range");
    uint8_t *tail = raw + size - SST_FILTER_TAIL;
    tail[0] ^= 1;
    expect(sst_filter_decode(raw, size, &f), ADB_CORRUPTION,
           "differs from its line count");
    tail[0] ^= 1;
    tail[4] ^= 0x10;
    expect(sst_filter_decode(raw, size, &f), ADB_UNSUPPORTED,
           "newer version");
    tail[4] ^= 0x10;
    tail[6] ^= 1;
    expect(sst_filter_decode(raw, size, &f), ADB_UNSUPPORTED,
           "newer version");
    free(raw);
}

static void test_packing(void **state)
{
    (void)state;
    struct sst_compressor *c;
    uint8_t raw[8] = {0}, data[8] = "abcdefg";
    struct buffer all = {0};
    expect(sst_compressor_new((enum sst_compression)7, 0, &c), ADB_INVALID,
           "unknown compression 7");
    expect(sst_decompress(SST_COMPRESSION_NONE, data, 8, raw, 8), ADB_OK, NULL);
    assert_memory_equal(raw, data, 8);
    expect(sst_decompress(SST_COMPRESSION_NONE, data, 8, raw, 7),
           ADB_CORRUPTION, "plain block has 8 bytes, not 7");
    size_t huge = (size_t)INT32_MAX + 1;
    expect(sst_decompress(SST_COMPRESSION_LZ4, data, huge, raw, 8),
           ADB_CORRUPTION, "size out of range");
    expect(sst_decompress(SST_COMPRESSION_LZ4, data, 8, raw, huge),
           ADB_CORRUPTION, "size out of range");
    expect(sst_decompress_all(SST_COMPRESSION_LZ4, data, huge, &all),
           ADB_CORRUPTION, "size out of range");
    expect(sst_decompress_all(SST_COMPRESSION_NONE, data, 8, &all), ADB_OK,
           NULL);
    assert_int_equal(all.size, 8);
    expect(sst_decompress_all(SST_COMPRESSION_LZ4, data, 8, &all),
           ADB_CORRUPTION, "lz4 block does not unpack");
    expect(sst_decompress_all(SST_COMPRESSION_ZSTD, data, 8, &all),
           ADB_CORRUPTION, "zstd block of unknown size");
    assert_int_equal(sst_zstd_span(data, 3), 0);
    assert_int_equal(sst_zstd_span(data, 8), 0);
    buffer_deinit(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handles),    cmocka_unit_test(test_extents),
        cmocka_unit_test(test_frames),     cmocka_unit_test(test_footer),
        cmocka_unit_test(test_top),        cmocka_unit_test(test_top_sizes),
        cmocka_unit_test(test_properties), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_filter),     cmocka_unit_test(test_packing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
