/*
 * Manifests and CURRENT as nobody writes them, with all checksums right: what
 * makes no sense is damage (or of a newer version), named by file and offset,
 * and never taken for state.
 */
#include "version_support.h"

#include "base/hash.h"
#include "wal/record_format.h"

#define MANIFEST DIRECTORY "/MANIFEST-000001"

/* ---- records ------------------------------------------------------------- */

/* A manifest in the making. */
struct forgery {
    uint8_t bytes[4096];
    size_t size;
    uint64_t previous;
};

static void add_record(struct forgery *f, struct record *r,
                       const void *payload, size_t size)
{
    uint8_t room[1024];
    assert_true(size + 64 < sizeof room);
    r->previous += f->previous; /* 0: as it must be */
    memcpy(room, payload, size);
    r->payload = slice_of(room, size);
    record_encode(f->bytes + f->size, r, 1, f->size);
    f->previous = r->checksum;
    f->size += r->size;
}

static void add_header(struct forgery *f, uint64_t version, uint64_t number)
{
    uint8_t payload[2 * VARINT_MAX], *p = payload;
    struct record r = {.kind = RECORD_MANIFEST_HEADER};
    p = put_varint(p, version);
    p = put_varint(p, number);
    add_record(f, &r, payload, (size_t)(p - payload));
}

/* One edit: the tags and values given, each a field of its own. */
static void add_edit(struct forgery *f, struct record r,
                     const struct version_edit *e)
{
    uint8_t payload[512];
    struct buffer b = {0};
    assert_ok(version_edit_encode(e, &b));
    uint8_t *p = put_varint(payload, b.size);
    assert_true(b.size + 10 < sizeof payload);
    memcpy(p, b.data, b.size);
    add_record(f, &r, payload, (size_t)(p - payload) + b.size);
    buffer_deinit(&b);
}

static adb_status visit_nothing(void *context, uint64_t offset,
                                const struct record *r,
                                const struct version_edit *edit)
{
    (void)context, (void)offset, (void)r, (void)edit;
    return ADB_OK;
}

static void write_file(struct env *env, const char *path, const void *data,
                       size_t size)
{
    struct env_file *f;
    assert_ok(env_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f));
    assert_ok(env_file_write(f, 0, data, size));
    assert_ok(env_file_close(f));
}

/* Reading, walking and verifying agree; salvage goes on past damage. */
static void expect(const struct forgery *f, adb_status expected,
                   const char *message)
{
    static const struct current nothing;
    struct env *env = new_disk(ENV_MEMORY_STRICT);
    struct manifest_end end;
    uint64_t failed_at = 0;
    bool damaged;
    write_file(env, MANIFEST, f->bytes, f->size);
    adb_status status = manifest_read(env, MANIFEST, 1, &nothing,
                                      visit_nothing, NULL, &end);
    if (status != expected || (message && !strstr(status_message(), message)))
        fail_msg("%s: %s: %s", message, status_name(status), status_message());
    assert_int_equal(manifest_verify(env, MANIFEST, 1, &failed_at), expected);
    status = manifest_salvage(env, MANIFEST, 1, visit_nothing, NULL, &damaged);
    if (expected == ADB_UNSUPPORTED)
        assert_int_equal(status, ADB_UNSUPPORTED);
    else
        assert_ok(status);
    env_memory_free(env);
}

static void test_records(void **state)
{
    (void)state;
    const struct version_edit none = {.next_file = 5};
    const struct record edit = {.kind = RECORD_EDIT, .count = 1};
    struct forgery f = {.size = 0};
    add_header(&f, 1, 1);
    add_edit(&f, edit, &none);
    expect(&f, ADB_OK, NULL);

    struct forgery g = f;
    struct record r = edit;
    r.previous = 1;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "does not follow the one before it");

    g = f;
    r = edit;
    r.kind = RECORD_CLOSE;
    add_edit(&g, r, &none);
    expect(&g, ADB_OK, NULL);
    add_edit(&g, edit, &none);
    expect(&g, ADB_CORRUPTION, "stands behind the closing one");

    r = edit;
    r.has_watermark = true;
    r.watermark = (struct watermark){2, 10, 0};
    g = f;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "impossible watermark");
    r.watermark = (struct watermark){1, 1000, 0};
    g = f;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "impossible watermark");
    r.watermark = (struct watermark){1, f.size, 0};
    g = f;
    add_edit(&g, r, &none);
    expect(&g, ADB_OK, NULL);

    g = f;
    add_header(&g, 1, 1);
    expect(&g, ADB_CORRUPTION, "out of place");
    g = (struct forgery){.size = 0};
    add_edit(&g, edit, &none);
    expect(&g, ADB_CORRUPTION, "out of place");

    g = f;
    r = edit;
    r.kind = RECORD_BATCH;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "does not belong in a manifest");

    /* More edits, or fewer, than it says. */
    g = f;
    r = edit;
    r.count = 2;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "the record is malformed");
    g = f;
    r.count = 0;
    add_edit(&g, r, &none);
    expect(&g, ADB_CORRUPTION, "the record is malformed");
}

static void test_headers(void **state)
{
    (void)state;
    struct forgery f = {.size = 0};
    add_header(&f, 2, 1);
    expect(&f, ADB_UNSUPPORTED, "newer albertdb");
    f = (struct forgery){.size = 0};
    add_header(&f, 1, 7);
    expect(&f, ADB_CORRUPTION, "belongs to another manifest");
    struct record r = {.kind = RECORD_MANIFEST_HEADER};
    f = (struct forgery){.size = 0};
    add_record(&f, &r, "", 0);
    expect(&f, ADB_CORRUPTION, "the header is malformed");
    f = (struct forgery){.size = 0};
    expect(&f, ADB_CORRUPTION, "the header is damaged or missing");
}

/* Fields that no edit has. */
static void test_edits(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        adb_status status;
        const char *message;
    } cases[] = {
        {"\x63\x01\x05", 3, ADB_UNSUPPORTED, "unknown field 99"},
        {"\x02", 1, ADB_CORRUPTION, "ends inside a field"},
        {"\x02\x05\x01", 3, ADB_CORRUPTION, "ends inside a field"},
        {"\x02\x02\x01\x01", 4, ADB_CORRUPTION, "length it states"},
        {"\x07\x01\x05\x07\x01\x06", 6, ADB_CORRUPTION, "stands twice"},
        {"\x07\x01\x00", 3, ADB_CORRUPTION, "impossible value"},
        {"\x0a\x01\x05", 3, ADB_CORRUPTION, "length it states"},
        {"\x03\x03\x01\x63\x01", 5, ADB_CORRUPTION, "impossible level"},
        {"\x06\x03\x01\x01\x01", 5, ADB_CORRUPTION, "length it states"},
        {"\x14\x02\x01\x01", 4, ADB_CORRUPTION, "length it states"},
        {"\x01\x03\x01\x01\x01", 5, ADB_CORRUPTION, "length it states"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct version_edit e = {0};
        adb_status status = version_edit_decode(
            slice_of(cases[i].bytes, cases[i].size), &e);
        if (status != cases[i].status ||
            !strstr(status_message(), cases[i].message))
            fail_msg("%s: %s: %s", cases[i].message, status_name(status),
                     status_message());
        version_edit_deinit(&e);
    }
}

/* Tables that cannot be: encoded as they are, refused when read. */
static void test_tables(void **state)
{
    (void)state;
    static char long_key[ADB_MAX_KEY_SIZE + 2];
    memset(long_key, 'k', sizeof long_key - 1);
    struct edit_table good = {
        {3, 5},
        {.number = 7,
         .entries = 5,
         .min_seq = 1,
         .max_seq = 9,
         .smallest = slice_of_string("a"),
         .largest = slice_of_string("b")}};
    struct edit_table cases[9];
    for (int i = 0; i < 9; i++)
        cases[i] = good;
    cases[1].info.number = 0;
    cases[2].info.number = UINT64_MAX;
    cases[3].place.run = UINT64_MAX;
    cases[4].info.tombstones = 6;
    cases[5].info.min_seq = 10;
    cases[6].info.max_seq = UINT64_MAX;
    cases[7].info.smallest = slice_of_string("c");
    cases[8].place.level = 1000;
    for (int i = 0; i < 9; i++) {
        struct buffer b = {0};
        struct version_edit in = {.added = &cases[i], .added_count = 1};
        struct version_edit out = {0};
        assert_ok(version_edit_encode(&in, &b));
        assert_int_equal(version_edit_decode(buffer_slice(&b), &out),
                         i ? ADB_CORRUPTION : ADB_OK);
        version_edit_deinit(&out);
        buffer_deinit(&b);
    }
    for (int i = 0; i < 4; i++) {
        struct buffer b = {0};
        struct edit_table t = good;
        struct quarantined q = {.number = 7};
        adb_slice key = slice_of(long_key, sizeof long_key - 1);
        if (i < 2)
            *(i ? &t.info.largest : &t.info.smallest) = key;
        else
            *(i > 2 ? &q.to : &q.from) = key;
        struct version_edit in = {.added = &t,
                                  .added_count = 1,
                                  .quarantined = &q,
                                  .quarantined_count = 1};
        struct version_edit out = {0};
        assert_ok(version_edit_encode(&in, &b));
        assert_int_equal(version_edit_decode(buffer_slice(&b), &out),
                         ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), "impossible key range"));
        version_edit_deinit(&out);
        buffer_deinit(&b);
    }
}

/* ---- CURRENT ------------------------------------------------------------- */

static adb_status read_line(const char *text)
{
    struct env *env = new_disk(ENV_MEMORY_STRICT);
    struct current c;
    char line[600];
    int n = snprintf(line, sizeof line, "%s", text);
    n += snprintf(line + n, sizeof line - (size_t)n, "%016" PRIx64 "\n",
                  checksum_bytes(line, (size_t)n));
    write_file(env, DIRECTORY "/CURRENT", line, (size_t)n);
    adb_status status = current_read(env, DIRECTORY, &c);
    env_memory_free(env);
    return status;
}

static void test_current(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        adb_status status;
        const char *message;
    } cases[] = {
        {"albertdb 1 open MANIFEST-000007 length 13 last 8c2f sum ", ADB_OK,
         ""},
        {"albertdb 1 closed MANIFEST-000007 length 13 last 8c2f sum ", ADB_OK,
         ""},
        {"sqlite 1 open MANIFEST-000007 length 13 last 8c2f sum ",
         ADB_CORRUPTION, "does not begin as it must"},
        {"albertdb one open", ADB_CORRUPTION, "does not begin as it must"},
        {"albertdb 7 anything ", ADB_UNSUPPORTED, "newer albertdb"},
        {"albertdb 1 open MANIFEST-000007 length sum ", ADB_CORRUPTION,
         "does not name a manifest"},
        {"albertdb 1 open 000007.sst length 13 last 8c2f sum ",
         ADB_CORRUPTION, "does not name a manifest"},
        {"albertdb 1 ajar MANIFEST-000007 length 13 last 8c2f sum ",
         ADB_CORRUPTION, "neither open nor closed"},
        {"", ADB_CORRUPTION, "does not begin as it must"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        adb_status status = read_line(cases[i].line);
        if (status != cases[i].status ||
            !strstr(status_message(), cases[i].message))
            fail_msg("%s: %s: %s", cases[i].line, status_name(status),
                     status_message());
        if (status == ADB_CORRUPTION)
            assert_non_null(strstr(status_message(), "CURRENT' at offset 0"));
    }
    char line[560];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    assert_int_equal(read_line(line), ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), "it is too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_edits),   cmocka_unit_test(test_tables),
        cmocka_unit_test(test_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
