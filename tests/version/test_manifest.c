/*
 * The manifest's bytes: golden file, every truncation, every damaged byte;
 * CURRENT; what a directory without CURRENT is.
 */
#include "base/hash.h"
#include "version/current.h"
#include "version_support.h"

enum { EDITS = 4 };

/* A change of these is a change of the format. */
#define GOLDEN_MANIFEST UINT64_C(0x30b44e06241e662b)
#define GOLDEN_CURRENT                                                         \
    "albertdb 1 closed MANIFEST-000001 length 600 last adfa179327441eea sum "  \
    "5c7a2c9e8fceeaee\n"

struct scene {
    struct env *env;
    char *manifest;           /* path; owned */
    uint64_t snapshot_end;    /* the length in CURRENT */
    uint64_t ends[EDITS + 1]; /* where the i-th edit's record ends */
    char *states[EDITS + 1];
    bool closed;
};

static void apply_one(struct version_set *s, struct version_edit *e)
{
    assert_ok(version_set_apply(s, &e, 1));
    version_edit_deinit(e);
}

static struct version_set *make_set(struct env *env, uint64_t roll_bytes)
{
    struct version_set_options options = options_on(env);
    struct version_set *s;
    options.manifest_roll_bytes = roll_bytes;
    assert_ok(version_set_create(&options, &s));
    return s;
}

static uint64_t manifest_bytes(struct version_set *s)
{
    struct version_set_stats stats;
    version_set_stats(s, &stats);
    return stats.manifest_bytes;
}

static void remember(struct scene *c, struct version_set *s, size_t i)
{
    bool closed;
    c->ends[i] = manifest_bytes(s);
    assert_ok(recovered_state(c->env, &c->states[i], &closed));
}

static void scene_init(struct scene *c, bool closed)
{
    *c = (struct scene){.env = new_disk(ENV_MEMORY_STRICT), .closed = closed};
    c->manifest = manifest_path(DIRECTORY, 1);
    struct version_set *s = make_set(c->env, 1 << 20);
    c->snapshot_end = manifest_bytes(s);
    remember(c, s, 0);
    for (uint64_t i = 1; i <= EDITS; i++) {
        struct version_edit e = {0};
        assert_ok(make_table_file(c->env, 10 + i));
        add_invented(&e, 10 + i, 0, i, "a", "b");
        assert_ok(version_edit_create_segment(&e, i));
        e.last_seq = i * 100 + 99;
        apply_one(s, &e);
        remember(c, s, i);
    }
    if (closed) {
        struct wal_end end = {EDITS, 512, 7, 500};
        assert_ok(version_set_close_cleanly(s, &end, 1, NULL, 499));
    }
    version_set_free(s);
}

static void scene_deinit(struct scene *c)
{
    for (size_t i = 0; i <= EDITS; i++)
        mem_free(c->states[i]);
    mem_free(c->manifest);
    env_memory_free(c->env);
}

static void read_bytes(struct scene *c, const char *path, uint8_t **data,
                       size_t *size)
{
    assert_ok(env_read_file(c->env, path, 1 << 20, data, size));
}

static void write_bytes(struct scene *c, const char *path, const void *data,
                        size_t size)
{
    struct env_file *f;
    assert_ok(
        env_open(c->env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f));
    assert_ok(env_file_write(f, 0, data, size));
    assert_ok(env_file_close(f));
}

static void expect_damage(struct scene *c)
{
    char *text;
    bool closed;
    adb_status status = recovered_state(c->env, &text, &closed);
    if (status == ADB_OK)
        fail_msg("damage passed as:\n%s", text);
    assert_int_equal(status, ADB_CORRUPTION);
    assert_non_null(strstr(status_message(), DIRECTORY "/"));
    assert_non_null(strstr(status_message(), "repair"));
}

static void expect_state(struct scene *c, const char *expected)
{
    char *text;
    bool closed;
    assert_ok(recovered_state(c->env, &text, &closed));
    assert_string_equal(text, expected);
    mem_free(text);
}

/* An open manifest that is cut: below the snapshot damage, above it the edits
   that are whole. A watermark then reaches to the last whole record at most. */
static void test_truncations(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data;
    size_t size;
    scene_init(&c, false);
    read_bytes(&c, c.manifest, &data, &size);
    for (size_t cut = 0; cut <= size; cut++) {
        write_bytes(&c, c.manifest, data, cut);
        if (cut < c.snapshot_end) {
            expect_damage(&c);
            continue;
        }
        size_t i = 0;
        while (i < EDITS && c.ends[i + 1] <= cut)
            i++;
        expect_state(&c, c.states[i]);
    }
    mem_free(data);
    scene_deinit(&c);
}

/* Zeros behind the end are what a crash may leave too. */
static void test_zero_tail(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data, zeros[1000] = {0};
    size_t size;
    struct env_file *f;
    scene_init(&c, false);
    read_bytes(&c, c.manifest, &data, &size);
    assert_ok(env_open(c.env, c.manifest, ENV_WRITE, &f));
    assert_ok(env_file_write(f, size, zeros, sizeof zeros));
    expect_state(&c, c.states[EDITS]);
    assert_ok(
        env_file_write(f, c.ends[EDITS - 1], zeros, size - c.ends[EDITS - 1]));
    expect_state(&c, c.states[EDITS - 1]);
    assert_ok(env_file_write(f, c.ends[EDITS - 2], zeros,
                             c.ends[EDITS - 1] - c.ends[EDITS - 2]));
    expect_state(&c, c.states[EDITS - 2]);
    assert_ok(env_file_close(f));
    mem_free(data);
    scene_deinit(&c);
}

/* A changed byte in the last record may be a torn write; anywhere else valid
   records or CURRENT prove that it is damage. */
static void test_flips(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data;
    size_t size;
    scene_init(&c, false);
    read_bytes(&c, c.manifest, &data, &size);
    for (size_t at = 0; at < size; at++) {
        for (size_t bit = 0; bit < 8; bit += at % 3 + 1) {
            uint8_t byte = (uint8_t)(data[at] ^ 1u << bit);
            assert_ok(env_memory_damage(c.env, c.manifest, at, &byte, 1));
            if (at < c.ends[EDITS - 1])
                expect_damage(&c);
            else
                expect_state(&c, c.states[EDITS - 1]);
        }
        assert_ok(env_memory_damage(c.env, c.manifest, at, &data[at], 1));
    }
    expect_state(&c, c.states[EDITS]);
    mem_free(data);
    scene_deinit(&c);
}

/* After a clean close nothing may differ. */
static void test_closed(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data;
    size_t size;
    scene_init(&c, true);
    read_bytes(&c, c.manifest, &data, &size);
    for (size_t at = 0; at < size; at++) {
        uint8_t byte = (uint8_t)(data[at] ^ 1u << at % 8);
        assert_ok(env_memory_damage(c.env, c.manifest, at, &byte, 1));
        expect_damage(&c);
        assert_ok(env_memory_damage(c.env, c.manifest, at, &data[at], 1));
    }
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(&c, c.manifest, data, cut);
        expect_damage(&c);
    }
    uint8_t longer[4096] = {0};
    memcpy(longer, data, size);
    write_bytes(&c, c.manifest, longer, size + 8);
    expect_damage(&c);
    write_bytes(&c, c.manifest, data, size);
    char *text;
    bool closed;
    assert_ok(recovered_state(c.env, &text, &closed));
    assert_true(closed);
    mem_free(text);
    mem_free(data);
    scene_deinit(&c);
}

static void test_current(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data;
    size_t size;
    scene_init(&c, false);
    read_bytes(&c, DIRECTORY "/CURRENT", &data, &size);
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t byte = (uint8_t)(data[at] ^ 1u << bit);
            assert_ok(
                env_memory_damage(c.env, DIRECTORY "/CURRENT", at, &byte, 1));
            expect_damage(&c);
            assert_ok(env_memory_damage(c.env, DIRECTORY "/CURRENT", at,
                                        &data[at], 1));
        }
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(&c, DIRECTORY "/CURRENT", data, cut);
        expect_damage(&c);
    }
    mem_free(data);
    scene_deinit(&c);
}

/* A log segment that was begun, and of which the manifest has never heard: its
   end was lost. An empty file of that name is left over. */
static void test_log_beyond_the_manifest(void **state)
{
    (void)state;
    struct scene c;
    uint8_t bytes[256] = {0};
    char *path = wal_segment_path(DIRECTORY, 900);
    struct record header = {.kind = RECORD_SEGMENT_HEADER,
                            .payload = slice_of("whatever", 8)};
    scene_init(&c, false);
    write_bytes(&c, path, bytes, sizeof bytes);
    expect_state(&c, c.states[EDITS]);
    record_encode(bytes, &header, 900, 0);
    write_bytes(&c, path, bytes, sizeof bytes);
    expect_damage(&c);
    mem_free(path);
    scene_deinit(&c);
}

/* CURRENT says where its manifest surely came to, and by which record. */
static void test_current_of_another_manifest(void **state)
{
    (void)state;
    struct scene c;
    struct current now, wrong;
    bool maybe;
    scene_init(&c, false);
    assert_ok(current_read(c.env, DIRECTORY, &now));
    wrong = now;
    wrong.checksum ^= 1;
    assert_ok(current_write(c.env, DIRECTORY, &wrong, &maybe));
    expect_damage(&c);
    wrong = now;
    wrong.length -= 8;
    assert_ok(current_write(c.env, DIRECTORY, &wrong, &maybe));
    expect_damage(&c);
    assert_ok(current_write(c.env, DIRECTORY, &now, &maybe));
    expect_state(&c, c.states[EDITS]);
    scene_deinit(&c);
}

static void test_future_current(void **state)
{
    (void)state;
    struct scene c;
    char line[128];
    bool closed;
    char *text;
    scene_init(&c, false);
    int n = snprintf(line, sizeof line, "albertdb 2 other things sum ");
    snprintf(line + n, sizeof line - (size_t)n, "%016" PRIx64 "\n",
             checksum_bytes(line, (size_t)n));
    write_bytes(&c, DIRECTORY "/CURRENT", line, strlen(line));
    assert_int_equal(recovered_state(c.env, &text, &closed), ADB_UNSUPPORTED);
    assert_non_null(strstr(status_message(), "newer albertdb"));
    scene_deinit(&c);
}

static void test_missing_files(void **state)
{
    (void)state;
    struct scene c;
    scene_init(&c, false);
    char *table = sst_path(DIRECTORY, 12);
    uint8_t bytes[60] = {0};
    write_bytes(&c, table, bytes, sizeof bytes);
    expect_damage(&c);
    assert_non_null(strstr(status_message(), "000012.sst"));
    assert_ok(env_unlink(c.env, table));
    expect_damage(&c);
    assert_non_null(strstr(status_message(), "000012.sst"));
    mem_free(table);

    assert_ok(env_rename(c.env, c.manifest, DIRECTORY "/MANIFEST-000099"));
    expect_damage(&c);
    assert_non_null(strstr(status_message(), "MANIFEST-000001"));
    assert_ok(env_rename(c.env, DIRECTORY "/MANIFEST-000099", c.manifest));
    assert_ok(version_set_probe(c.env, DIRECTORY));

    assert_ok(env_unlink(c.env, DIRECTORY "/CURRENT"));
    assert_int_equal(version_set_probe(c.env, DIRECTORY), ADB_CORRUPTION);
    expect_damage(&c);
    scene_deinit(&c);
}

static void touch(struct env *env, const char *path)
{
    struct env_file *f;
    assert_ok(env_open(env, path, ENV_WRITE | ENV_CREATE, &f));
    assert_ok(env_file_close(f));
}

static void test_probe(void **state)
{
    (void)state;
    struct env *env = new_disk(ENV_MEMORY_STRICT);
    assert_int_equal(version_set_probe(env, "/none"), ADB_NOT_FOUND);
    assert_int_equal(version_set_probe(env, DIRECTORY), ADB_NOT_FOUND);
    touch(env, DIRECTORY "/LOCK");
    touch(env, DIRECTORY "/CURRENT.tmp");
    assert_int_equal(version_set_probe(env, DIRECTORY), ADB_NOT_FOUND);
    touch(env, DIRECTORY "/MANIFEST-000001"); /* an interrupted creation */
    assert_int_equal(version_set_probe(env, DIRECTORY), ADB_NOT_FOUND);
    touch(env, DIRECTORY "/000004.log");
    assert_int_equal(version_set_probe(env, DIRECTORY), ADB_CORRUPTION);
    assert_ok(env_unlink(env, DIRECTORY "/000004.log"));
    assert_ok(env_unlink(env, DIRECTORY "/MANIFEST-000001"));
    touch(env, DIRECTORY "/thesis.txt");
    assert_int_equal(version_set_probe(env, DIRECTORY), ADB_NOT_A_DATABASE);
    assert_int_equal(version_set_probe(env, DIRECTORY "/thesis.txt"),
                     ADB_NOT_A_DATABASE);
    env_memory_free(env);
}

static adb_status collect(void *context, const char *name)
{
    return buffer_printf(context, "%s ", name);
}

static void test_sweep(void **state)
{
    (void)state;
    struct scene c;
    struct buffer names = {0};
    scene_init(&c, false);
    const char *const leftovers[] = {
        "000099.sst",     "000050.log", "MANIFEST-000077", "CURRENT.tmp",
        "000099.sst.tmp", "notes.tmp",  "1.sst",           "x.log"};
    char path[100];
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) {
        snprintf(path, sizeof path, DIRECTORY "/%s", leftovers[i]);
        touch(c.env, path);
    }
    touch(c.env, DIRECTORY "/000003.log");
    struct version_set_options options = options_on(c.env);
    struct version_set *s;
    struct version_set_state found;
    assert_ok(version_set_recover(&options, &s, &found));
    assert_ok(version_set_begin(s, NULL));
    touch(c.env, DIRECTORY "/000200.sst"); /* being written */
    assert_true(version_set_new_file(s) > 99);
    assert_ok(version_set_sweep(s, collect, &names));
    assert_ok(buffer_append(&names, "", 1));
    const char *text = (const char *)names.data;
    const char *const gone[] = {"000099.sst ", "000050.log ",
                                "MANIFEST-000077 ", "000099.sst.tmp ",
                                "MANIFEST-000001 "};
    size_t length = 0;
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        assert_non_null(strstr(text, gone[i]));
        length += strlen(gone[i]);
    }
    assert_int_equal(strlen(text), length);
    buffer_deinit(&names);
    version_set_free(s);
    scene_deinit(&c);
}

/* The bytes of a small manifest, by their hash: they are the format. */
static void test_golden(void **state)
{
    (void)state;
    struct scene c;
    uint8_t *data;
    size_t size;
    scene_init(&c, true);
    read_bytes(&c, c.manifest, &data, &size);
    uint64_t hash = checksum_bytes(data, size);
    mem_free(data);
    if (hash != GOLDEN_MANIFEST)
        fail_msg("the manifest's bytes changed: 0x%" PRIx64, hash);
    read_bytes(&c, DIRECTORY "/CURRENT", &data, &size);
    assert_string_equal((const char *)data, GOLDEN_CURRENT);
    mem_free(data);
    scene_deinit(&c);
}

static adb_status count_visit(void *context, uint64_t offset,
                              const struct record *r,
                              const struct version_edit *edit)
{
    (void)r;
    size_t *counts = context;
    counts[edit != NULL]++;
    assert_true(edit || offset == 0);
    return ADB_OK;
}

static void test_walk(void **state)
{
    (void)state;
    struct scene c;
    size_t counts[2] = {0};
    scene_init(&c, true);
    assert_ok(manifest_walk(c.env, c.manifest, 1, count_visit, counts));
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 1 + EDITS + 1);
    assert_int_equal(manifest_walk(c.env, c.manifest, 2, count_visit, counts),
                     ADB_CORRUPTION); /* no record of manifest 2 */
    assert_int_equal(counts[0], 1);
    scene_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_zero_tail),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_current),
        cmocka_unit_test(test_current_of_another_manifest),
        cmocka_unit_test(test_log_beyond_the_manifest),
        cmocka_unit_test(test_future_current),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
