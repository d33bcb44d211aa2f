/*
 * Logs as nobody writes them, with all checksums right: headers that make no
 * sense are damage, records that do not continue history are none of it, and
 * what was promised behind them is missed.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "kv/types.h"
#include "wal/wal_internal.h"
#include "wal/wal_reader.h"
#include "wal/wal_salvage.h"
#include "wal_support.h"

/* ---- headers ------------------------------------------------------------- */

struct header {
    uint64_t version, number, capacity;
    struct wal_end before;
    uint64_t database;
};

static const struct header good_header = {.version = 1,
                                          .number = 9,
                                          .capacity = 65536,
                                          .before = {7, 100, 5, 40},
                                          .database = 77};

static size_t encode(const struct header *h, uint8_t *payload)
{
    uint8_t *p = payload;
    p = put_varint(p, h->version);
    p = put_varint(p, h->number);
    p = put_varint(p, h->capacity);
    p = put_varint(p, h->before.segment);
    p = put_varint(p, h->before.length);
    put_u64(p, h->before.checksum);
    p = put_varint(p + 8, h->before.next_seq);
    if (h->database)
        p = put_varint(p, h->database);
    return (size_t)(p - payload);
}

static void expect_header(const struct header *h, size_t cut,
                          adb_status expected, const char *message)
{
    uint8_t payload[128] = {0};
    struct wal_end before;
    size_t size = encode(h, payload);
    adb_status status = wal_decode_header(
        "x.log", slice_of(payload, cut == SIZE_MAX ? size + 1 : size - cut), 9,
        77, &before);
    if (status != expected || (message && !strstr(status_message(), message)))
        fail_msg("%s, cut by %zu: %s: %s", message, cut, status_name(status),
                 status_message());
    if (status == ADB_OK)
        assert_true(before.segment == 7 && before.length == 100 &&
                    before.checksum == 5 && before.next_seq == 40);
}

static void test_headers(void **state)
{
    (void)state;
    static const char malformed[] = "malformed segment header";
    struct header h = good_header;
    uint8_t payload[128];
    expect_header(&h, 0, ADB_OK, NULL);
    expect_header(&h, 1, ADB_CORRUPTION, "belongs to another database");
    for (size_t cut = 2; cut < encode(&h, payload); cut++)
        expect_header(&h, cut, ADB_CORRUPTION, malformed);
    expect_header(&h, SIZE_MAX, ADB_CORRUPTION, malformed);
    h.version = 2;
    expect_header(&h, 0, ADB_UNSUPPORTED, "log format version 2");
    h = good_header;
    h.number = 8;
    expect_header(&h, 0, ADB_CORRUPTION, malformed);
    h = good_header;
    h.before.segment = 9;
    expect_header(&h, 0, ADB_CORRUPTION, malformed);
    h = good_header;
    h.before.next_seq = KV_MAX_SEQ + 2;
    expect_header(&h, 0, ADB_CORRUPTION, malformed);
    h = good_header;
    h.database = 78;
    expect_header(&h, 0, ADB_CORRUPTION, "belongs to another database");
}

/* ---- records ------------------------------------------------------------- */

/* One segment in the making, and what recovery gives of it. */
struct forgery {
    struct env *disk;
    uint8_t bytes[65536];
    size_t size;
    uint64_t number, previous;
    uint64_t records, last_seq;
};

static void add(struct forgery *f, struct record r, const void *payload,
                size_t size)
{
    r.previous += f->previous; /* 0: as it must be */
    r.payload = slice_of(payload, size);
    record_encode(f->bytes + f->size, &r, f->number, f->size);
    f->previous = r.checksum;
    f->size += r.size;
}

static void begin(struct forgery *f)
{
    uint8_t payload[128];
    struct header h = {.version = 1, .number = 9, .capacity = sizeof f->bytes,
                       .before = {.next_seq = 10}};
    const struct record r = {.kind = RECORD_SEGMENT_HEADER, .seq = 10};
    *f = (struct forgery){.disk = env_memory_new(ENV_MEMORY_STRICT),
                          .number = 9};
    CHECK_OK(env_make_dir(f->disk, "/log"));
    add(f, r, payload, encode(&h, payload));
    f->previous = get_u64(f->bytes);
}

static struct record batch(uint64_t seq)
{
    return (struct record){.kind = RECORD_BATCH, .seq = seq, .count = 2};
}

static adb_status count_record(void *context, uint64_t segment, uint64_t offset,
                               uint64_t seq, uint32_t count, adb_slice payload)
{
    struct forgery *f = context;
    (void)segment, (void)offset, (void)payload;
    f->records++;
    f->last_seq = seq + count - 1;
    return ADB_OK;
}

static void write_out(struct forgery *f)
{
    struct env_file *file;
    CHECK_OK(env_open(f->disk, "/log/000009.log",
                      ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &file));
    CHECK_OK(env_file_write(file, 0, f->bytes, f->size));
    CHECK_OK(env_file_close(file));
    f->records = f->last_seq = 0;
}

static adb_status recover(struct forgery *f, const struct wal_end *end,
                          bool closed, struct watermark synced, uint64_t next)
{
    const uint64_t segments[1] = {9};
    struct wal_position at = {0, 0};
    struct wal_recovered out;
    write_out(f);
    struct wal_recovery in = {.env = f->disk,
                              .directory = "/log",
                              .segments = segments,
                              .segment_count = 1,
                              .ends = end,
                              .synced_through = synced,
                              .closed_cleanly = closed,
                              .next_seq = next,
                              .replay = count_record,
                              .context = f,
                              .failed_at = &at};
    adb_status status = wal_recover(&in, &out);
    if (status == ADB_OK)
        wal_recovered_deinit(&out);
    else
        assert_int_equal(at.segment, 9);
    return status;
}

/* Two good records, then one that is not: history ends before it. */
static void test_records(void **state)
{
    (void)state;
    struct record bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = batch(14);
    bad[0].count = 0;
    bad[1].previous = 1;
    bad[2].seq = 13; /* was there */
    bad[3].seq = KV_MAX_SEQ;
    bad[4].kind = RECORD_SEGMENT_HEADER;
    bad[5].kind = RECORD_EDIT;
    for (int i = 0; i < 6; i++) {
        struct forgery f;
        begin(&f);
        add(&f, batch(10), "one", 3);
        add(&f, batch(12), "two", 3);
        size_t good = f.size;
        uint64_t last = f.previous;
        add(&f, bad[i], "bad", 3);
        CHECK_OK(recover(&f, NULL, false, unknown(), 0));
        assert_int_equal(f.records, 2);
        assert_int_equal(f.last_seq, 13);
        /* Not where something there had been synced. */
        struct watermark synced = {9, f.size, 14};
        assert_int_equal(recover(&f, NULL, false, synced, 0), ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), "had been synced"));
        /* A known end is met exactly. */
        struct wal_end end = {9, good, last, 14};
        CHECK_OK(recover(&f, &end, false, unknown(), 0));
        assert_int_equal(f.records, 2);
        end.next_seq++;
        assert_int_equal(recover(&f, &end, true, unknown(), 0),
                         ADB_CORRUPTION);
        /* But where what follows is told first. */
        if (i == 1)
            assert_non_null(
                strstr(status_message(), "otherwise than recorded"));
        env_memory_free(f.disk);
    }
}

static void test_closed(void **state)
{
    (void)state;
    struct forgery f;
    begin(&f);
    add(&f, batch(10), "one", 3);
    struct wal_end end = {9, f.size, f.previous, 12};
    CHECK_OK(recover(&f, &end, true, unknown(), 10));
    add(&f, batch(12), "two", 3);
    assert_int_equal(recover(&f, &end, true, unknown(), 10), ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "follow the recorded end"));
    /* It begins later than it should. */
    assert_int_equal(recover(&f, NULL, false, unknown(), 9), ADB_CORRUPTION);
    assert_non_null(strstr(status_message(),
                           "begins with sequence 10, 9 was expected"));
    CHECK_OK(recover(&f, NULL, false, unknown(), 11));
    assert_int_equal(f.records, 2);
    env_memory_free(f.disk);
}

/* A watermark of a record behind the hole proves that it is damage. */
static void test_hole(void **state)
{
    (void)state;
    for (int proof = 0; proof < 2; proof++) {
        struct forgery f;
        begin(&f);
        add(&f, batch(10), "one", 3);
        size_t hole = f.size;
        add(&f, batch(12), "two", 3);
        struct record third = batch(14);
        third.has_watermark = proof;
        third.watermark = (struct watermark){9, f.size, 13};
        add(&f, third, "three", 5);
        memset(f.bytes + hole, 0, 8);
        adb_status status = recover(&f, NULL, false, unknown(), 0);
        assert_int_equal(status, proof ? ADB_CORRUPTION : ADB_OK);
        assert_int_equal(f.records, 1);
        env_memory_free(f.disk);
    }
}

/* ---- salvage ------------------------------------------------------------- */

static void note_hole(void *context, const struct wal_hole *hole)
{
    (void)hole;
    ((struct forgery *)context)->previous++; /* holes */
}

static adb_status refuse_second(void *context, uint64_t segment,
                                uint64_t offset, uint64_t seq, uint32_t count,
                                adb_slice payload)
{
    if (seq == 12)
        return status_set(ADB_CORRUPTION, "an operation makes no sense");
    return count_record(context, segment, offset, seq, count, payload);
}

static void test_salvage(void **state)
{
    (void)state;
    const uint64_t segments[2] = {9, 11};
    struct wal_salvaged out;
    struct forgery f;
    begin(&f);
    add(&f, batch(10), "one", 3);
    add(&f, batch(12), "two", 3);
    struct record odd = batch(14);
    odd.count = 0;
    add(&f, odd, "odd", 3);
    odd = batch(KV_MAX_SEQ);
    add(&f, odd, "odd", 3);
    struct record marked = batch(14);
    marked.has_watermark = true;
    marked.watermark = (struct watermark){9, 500, 13};
    add(&f, marked, "three", 5);
    struct wal_salvage in = {.env = f.disk,
                             .directory = "/log",
                             .segments = segments,
                             .segment_count = 1,
                             .replay = refuse_second,
                             .report = note_hole,
                             .context = &f};
    write_out(&f);
    f.previous = 0;
    CHECK_OK(wal_salvage(&in, &out));
    assert_int_equal(out.records, 2); /* the first and the last */
    assert_int_equal(f.last_seq, 15);
    /* The payload of one, the two between, and what was synced behind. */
    assert_int_equal(out.holes, 3);
    assert_int_equal(f.previous, 3);
    /* The file as that of another segment: none of its records is taken. */
    CHECK_OK(env_rename(f.disk, "/log/000009.log", "/log/000011.log"));
    in.segment_count = 2;
    f.records = 0;
    CHECK_OK(wal_salvage(&in, &out));
    assert_int_equal(f.records, 0);
    assert_true(out.holes >= 2); /* one is missing, one is another's */
    env_memory_free(f.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers), cmocka_unit_test(test_records),
        cmocka_unit_test(test_closed),  cmocka_unit_test(test_hole),
        cmocka_unit_test(test_salvage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
