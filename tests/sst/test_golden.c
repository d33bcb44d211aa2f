/*
 * The format, pinned: tests/golden/table-v1.sst must come out of the writer
 * byte for byte, and must stay readable. When this fails the format has
 * changed: give it a new version, keep this file and its reader.
 *
 * ADB_UPDATE_GOLDEN=1 writes the file anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sst/table_bytes.h"

#define GOLDEN ADB_TEST_DIR "/golden/table-v1.sst"

/* The real environment with a clock that stands. */
static struct env_ops still_ops;
static struct env still = {&still_ops};

static adb_status open_real(struct env *e, const char *path, unsigned flags,
                            struct env_file **out)
{
    (void)e;
    return env_open(env_posix(), path, flags, out);
}
static uint64_t wall_still(struct env *e)
{
    (void)e;
    return UINT64_C(1700000000000000000);
}

enum { KEYS = 30, LARGE = 70000 };
static uint8_t large[LARGE];

static void make_key(int i, char key[16])
{
    snprintf(key, 16, "user%04d", i * 7);
}

static adb_status add(struct sst_writer *w, const char *key, uint64_t seq,
                      enum kv_kind kind, adb_slice value)
{
    struct source s =
        source_of(slice_of_string(key), seq, kind, value, false);
    return sst_writer_add(w, &s.it);
}

/* Puts, two versions of every fifth key, a tombstone at every seventh, one
   value in an extent; small blocks and parts, so that there are several. */
static void build(struct table_info *info)
{
    struct sst_writer_options o = {.env = &still,
                                   .directory = "golden-table",
                                   .number = 7,
                                   .block_size = 200,
                                   .filter_bits = 10,
                                   .part_keys = 12};
    struct sst_writer *w;
    assert_int_equal(sst_writer_open(&o, &w), ADB_OK);
    for (int i = 0; i < KEYS; i++) {
        char key[16], value[32];
        make_key(i, key);
        snprintf(value, sizeof value, "value %d", i);
        enum kv_kind kind = i % 7 == 6 ? KV_DELETE : KV_PUT;
        adb_slice v = slice_of_string(kind == KV_PUT ? value : "");
        if (i == 10)
            v = slice_of(large, LARGE);
        assert_int_equal(add(w, key, 1000 + (uint64_t)i, kind, v), ADB_OK);
        if (i % 5 == 0)
            assert_int_equal(add(w, key, 100, KV_PUT, slice_of("old", 3)),
                             ADB_OK);
    }
    assert_int_equal(sst_writer_finish(w, info), ADB_OK);
}

static void test_bytes(void **state)
{
    (void)state;
    struct table_info info;
    struct table_bytes now, golden = {.number = 7};
    assert_int_equal(env_make_dir(env_posix(), "golden-table"), ADB_OK);
    build(&info);
    table_read_file(env_posix(), "golden-table", 7, &now);
    if (getenv("ADB_UPDATE_GOLDEN"))
        assert_int_equal(env_replace_file(env_posix(),
                                          ADB_TEST_DIR "/golden",
                                          "table-v1.sst", now.data, now.size),
                         ADB_OK);
    assert_int_equal(env_read_file(env_posix(), GOLDEN, 1 << 20, &golden.data,
                                   &golden.size),
                     ADB_OK);
    assert_int_equal(now.size, golden.size);
    assert_memory_equal(now.data, golden.data, now.size);
    assert_int_equal(env_unlink(env_posix(), "golden-table/000007.sst"),
                     ADB_OK);
    assert_int_equal(env_remove_dir(env_posix(), "golden-table"), ADB_OK);
    mem_free(now.data);
    mem_free(golden.data);
    table_info_deinit(&info);
}

static void test_read(void **state)
{
    (void)state;
    struct table_bytes t = {.number = 7};
    assert_int_equal(
        env_read_file(env_posix(), GOLDEN, 1 << 20, &t.data, &t.size), ADB_OK);
    assert_true(table_open(&t));
    assert_int_equal(t.properties.info.entries, KEYS + 6);
    assert_int_equal(t.properties.info.tombstones, 4);
    assert_int_equal(t.properties.extents, 1);
    for (int i = 0; i < KEYS; i++) {
        char key[16], value[32];
        struct table_hit hit;
        bool filtered;
        make_key(i, key);
        snprintf(value, sizeof value, "value %d", i);
        assert_true(
            table_get(&t, slice_of_string(key), KV_MAX_SEQ, &hit, &filtered));
        assert_int_equal(hit.seq, 1000 + i);
        assert_int_equal(hit.kind, i % 7 == 6 ? KV_DELETE : KV_PUT);
        if (i == 10)
            assert_memory_equal(hit.value, large, LARGE);
        else if (hit.kind == KV_PUT)
            assert_memory_equal(hit.value, value, strlen(value));
        free(hit.value);
        assert_int_equal(
            table_get(&t, slice_of_string(key), 999, &hit, &filtered),
            i % 5 == 0);
        if (i % 5 == 0)
            free(hit.value);
    }
    table_close(&t);
    mem_free(t.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_read),
    };
    still_ops = *env_posix()->ops;
    still_ops.open = open_real;
    still_ops.wall_ns = wall_still;
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (uint8_t)(i / 251);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
