/*
 * Encoding into a buffer that cannot grow, of every size from nothing on: too
 * little is ADB_NO_MEMORY and leaves the buffer as it was; enough is the same
 * bytes.
 */
#include "version_support.h"

#include "sst/format.h"
#include "sst/index.h"

static int fail_all(void *context, size_t size)
{
    (void)context, (void)size;
    return 1;
}

typedef adb_status (*encode_fn)(struct buffer *out);

static void expect_each_room(encode_fn encode)
{
    struct buffer whole = {0};
    assert_ok(encode(&whole));
    bool enough = false;
    for (size_t room = 1; !enough; room++) {
        struct buffer b = {.data = mem_alloc(room), .capacity = room};
        assert_true(room < whole.size + 200);
        mem_set_fail_hook(fail_all, NULL);
        adb_status status = encode(&b);
        mem_set_fail_hook(NULL, NULL);
        enough = status == ADB_OK;
        if (enough) {
            assert_int_equal(b.size, whole.size);
            assert_memory_equal(b.data, whole.data, whole.size);
        } else {
            assert_int_equal(status, ADB_NO_MEMORY);
            assert_true(b.capacity == room && b.size <= room);
        }
        buffer_deinit(&b);
    }
    buffer_deinit(&whole);
}

/* ---- what is encoded ----------------------------------------------------- */

static struct version_edit edit;

static adb_status encode_edit(struct buffer *out)
{
    adb_status status = version_edit_encode(&edit, out);
    if (status != ADB_OK)
        assert_int_equal(out->size, 0);
    return status;
}

static void test_edit(void **state)
{
    (void)state;
    edit = (struct version_edit){.next_file = 1,
                                 .next_run = 2,
                                 .last_seq = 3,
                                 .synced_through = {4, 5, 6},
                                 .segments_below = 7,
                                 .database = 8};
    add_invented(&edit, 10, 0, 5, "smallest", "the largest");
    add_invented(&edit, 11, 0, 5, "u", "v");
    assert_ok(version_edit_remove_table(&edit, 12));
    assert_ok(version_edit_remove_table(&edit, 13));
    assert_ok(version_edit_move_table(&edit, 14, (struct table_place){2, 9}));
    assert_ok(version_edit_move_table(&edit, 15, (struct table_place){2, 9}));
    add_quarantined(&edit, 16, 17, "from", "to");
    add_quarantined(&edit, 18, 19, "from", "to");
    assert_ok(version_edit_release(&edit, 20));
    assert_ok(version_edit_release(&edit, 21));
    for (uint64_t i = 0; i < 2; i++) {
        struct wal_end end = {23 + i, 1000, 7, 9};
        assert_ok(version_edit_create_segment(&edit, 23 + i));
        assert_ok(version_edit_end_segment(&edit, &end));
        assert_ok(version_edit_remove_segment(&edit, 25 + i));
    }
    expect_each_room(encode_edit);
    version_edit_deinit(&edit);
}

static adb_status encode_properties(struct buffer *out)
{
    static const struct sst_properties p = {
        .info = {.number = 7, .smallest = {"a", 1}, .largest = {"zz", 2}},
        .histogram_width = 64,
        .lineage = {.through = 5,
                    .below = 60,
                    .from = {"b", 1},
                    .before = {"c", 1}}};
    return sst_properties_encode(out, &p);
}

static adb_status encode_part(struct buffer *out)
{
    static const struct sst_part part = {.last_key = {"key", 3},
                                         .index = {100, 50, 60},
                                         .blocks = 3,
                                         .entries = 9};
    adb_status status = sst_part_encode(out, &part);
    return status == ADB_OK ? sst_part_encode(out, &part) : status;
}

static adb_status encode_index(struct buffer *out)
{
    struct sst_index_builder b = {0};
    adb_status status = ADB_OK;
    /* Building has all the memory there is. */
    mem_set_fail_hook(NULL, NULL);
    for (uint64_t i = 0; i < 9; i++) {
        char key[16];
        struct sst_handle h = {8 + 200 * i, 100, 100 + (uint32_t)i};
        int n = snprintf(key, sizeof key, "key%06llu", (unsigned long long)i);
        assert_ok(sst_index_builder_add(&b, &h, i % 2,
                                        slice_of(key, (size_t)n), i % 3 == 0));
    }
    if (out->capacity && out->size == 0 && out->data)
        mem_set_fail_hook(fail_all, NULL);
    status = sst_index_builder_finish(&b, out);
    mem_set_fail_hook(NULL, NULL);
    sst_index_builder_deinit(&b);
    return status;
}

static void test_tables(void **state)
{
    (void)state;
    expect_each_room(encode_properties);
    expect_each_room(encode_part);
    expect_each_room(encode_index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
