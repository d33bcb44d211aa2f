/* Version edits: round trips, golden bytes, malformed bytes. */
#include "version_support.h"

static void random_edit(struct random *r, struct version_edit *e)
{
    char low[64], high[80];
    for (uint64_t i = random_below(r, 6); i > 0; i--) {
        snprintf(low, sizeof low, "%0*" PRIu64, (int)random_below(r, 40) + 1,
                 random_below(r, 10));
        snprintf(high, sizeof high, "x%s", low);
        add_invented(e, 1 + random_below(r, UINT64_C(1) << 50),
                     (uint32_t)random_below(r, TABLE_MAX_LEVEL + 1),
                     random_below(r, UINT64_C(1) << 40), low, high);
    }
    for (uint64_t i = random_below(r, 20); i > 0; i--)
        assert_ok(version_edit_remove_table(e, random_next(r)));
    for (uint64_t i = random_below(r, 6); i > 0; i--)
        assert_ok(version_edit_move_table(
            e, random_next(r),
            (struct table_place){(uint32_t)random_below(r, 10),
                                 random_below(r, 1000)}));
    for (uint64_t i = random_below(r, 6); i > 0; i--) {
        snprintf(low, sizeof low, "%0*" PRIu64, (int)random_below(r, 40) + 1,
                 random_below(r, 10));
        snprintf(high, sizeof high, "%s", random_below(r, 4) ? low : "");
        add_quarantined(e, random_next(r), random_next(r), high, low);
    }
    for (uint64_t i = random_below(r, 6); i > 0; i--)
        assert_ok(version_edit_release(e, random_next(r)));
    for (uint64_t i = random_below(r, 6); i > 0; i--)
        assert_ok(version_edit_create_segment(e, random_next(r)));
    for (uint64_t i = random_below(r, 6); i > 0; i--)
        assert_ok(version_edit_remove_segment(e, random_next(r)));
    for (uint64_t i = random_below(r, 6); i > 0; i--) {
        struct wal_end end = {random_next(r), random_next(r), random_next(r),
                              random_next(r)};
        assert_ok(version_edit_end_segment(e, &end));
    }
    e->next_file = random_below(r, 1000);
    e->next_run = random_below(r, 3);
    e->last_seq = random_below(r, 2) ? random_below(r, KV_MAX_SEQ) : 0;
    if (random_below(r, 2))
        e->synced_through = (struct watermark){1 + random_below(r, 99),
                                               random_next(r), random_next(r)};
}

static void expect_same_table(const struct edit_table *a,
                              const struct edit_table *b)
{
    assert_int_equal(a->place.level, b->place.level);
    assert_int_equal(a->place.run, b->place.run);
    assert_int_equal(a->info.number, b->info.number);
    assert_int_equal(a->info.size, b->info.size);
    assert_int_equal(a->info.checksum, b->info.checksum);
    assert_int_equal(a->info.entries, b->info.entries);
    assert_int_equal(a->info.tombstones, b->info.tombstones);
    assert_int_equal(a->info.key_bytes, b->info.key_bytes);
    assert_int_equal(a->info.value_bytes, b->info.value_bytes);
    assert_int_equal(a->info.min_seq, b->info.min_seq);
    assert_int_equal(a->info.max_seq, b->info.max_seq);
    assert_int_equal(a->info.created_ns, b->info.created_ns);
    assert_true(slice_equal(a->info.smallest, b->info.smallest));
    assert_true(slice_equal(a->info.largest, b->info.largest));
}

static void expect_numbers(const uint64_t *a, size_t a_count, const uint64_t *b,
                           size_t b_count)
{
    assert_int_equal(a_count, b_count);
    for (size_t i = 0; i < a_count; i++)
        assert_int_equal(a[i], b[i]);
}

static void expect_same(const struct version_edit *a,
                        const struct version_edit *b)
{
    assert_int_equal(a->added_count, b->added_count);
    for (size_t i = 0; i < a->added_count; i++)
        expect_same_table(&a->added[i], &b->added[i]);
    expect_numbers(a->removed, a->removed_count, b->removed, b->removed_count);
    assert_int_equal(a->moved_count, b->moved_count);
    for (size_t i = 0; i < a->moved_count; i++) {
        assert_int_equal(a->moved[i].number, b->moved[i].number);
        assert_int_equal(a->moved[i].to.level, b->moved[i].to.level);
        assert_int_equal(a->moved[i].to.run, b->moved[i].to.run);
    }
    assert_int_equal(a->quarantined_count, b->quarantined_count);
    for (size_t i = 0; i < a->quarantined_count; i++) {
        const struct quarantined *x = &a->quarantined[i];
        const struct quarantined *y = &b->quarantined[i];
        assert_int_equal(x->number, y->number);
        assert_int_equal(x->offset, y->offset);
        assert_true(slice_equal(x->from, y->from));
        assert_true(slice_equal(x->to, y->to));
    }
    expect_numbers(a->released, a->released_count, b->released,
                   b->released_count);
    expect_numbers(a->segments_created, a->segments_created_count,
                   b->segments_created, b->segments_created_count);
    expect_numbers(a->segments_removed, a->segments_removed_count,
                   b->segments_removed, b->segments_removed_count);
    assert_int_equal(a->segment_ends_count, b->segment_ends_count);
    for (size_t i = 0; i < a->segment_ends_count; i++) {
        assert_int_equal(a->segment_ends[i].segment,
                         b->segment_ends[i].segment);
        assert_int_equal(a->segment_ends[i].length, b->segment_ends[i].length);
        assert_int_equal(a->segment_ends[i].checksum,
                         b->segment_ends[i].checksum);
        assert_int_equal(a->segment_ends[i].next_seq,
                         b->segment_ends[i].next_seq);
    }
    assert_int_equal(a->next_file, b->next_file);
    assert_int_equal(a->next_run, b->next_run);
    assert_int_equal(a->last_seq, b->last_seq);
    assert_int_equal(a->synced_through.segment, b->synced_through.segment);
    assert_int_equal(a->synced_through.offset, b->synced_through.offset);
    assert_int_equal(a->synced_through.seq, b->synced_through.seq);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, test_seed());
    for (int i = 0; i < 2000; i++) {
        struct version_edit e = {0}, back = {0};
        struct buffer bytes = {0};
        random_edit(&r, &e);
        assert_ok(version_edit_encode(&e, &bytes));
        assert_ok(version_edit_decode(buffer_slice(&bytes), &back));
        expect_same(&e, &back);
        buffer_deinit(&bytes);
        version_edit_deinit(&e);
        version_edit_deinit(&back);
    }
}

/* The format on disk: a change of these bytes is a change of the format. */
static void test_golden(void **state)
{
    (void)state;
    static const char golden[] =
        "\x02\x01\x05"             /* removed 5 */
        "\x03\x04\x06\x01\x80\x02" /* moved 6 to level 1 run 256 */
        "\x01\x1e\x02\x09\x07\x2f\x03\x01\x0a\xe8\x07\x84\x07\xe7\x07"
        "\x95\x9a\xef\x3a\x1b\x02\x00\x00\x00\x00\x00\x00\x01"
        "a\x02"
        "bc" /* added 7, level 2 run 9 */
        "\x14\x09\x07\xac\x02\x01"
        "b\x03"
        "bbb"          /* 7 is damaged at 300, keys b to bbb */
        "\x15\x01\x08" /* 8 is released */
        "\x04\x01\x0b" /* segment 11 created */
        "\x06\x0c\x0a\xac\x02\x4d\x88\x77\x66\x55\x44\x33\x22\x11"
        "\x05\x01\x09"                         /* segment 9 removed */
        "\x07\x01\x40\x08\x01\x0a\x09\x01\x4c" /* counters */
        "\x0a\x03\x0a\x08\x07";                /* synced through 10:8, seq 7 */
    struct version_edit e = {0};
    struct buffer bytes = {0};
    add_invented(&e, 7, 2, 9, "a", "bc");
    assert_ok(version_edit_remove_table(&e, 5));
    assert_ok(version_edit_move_table(&e, 6, (struct table_place){1, 256}));
    add_quarantined(&e, 7, 300, "b", "bbb");
    assert_ok(version_edit_release(&e, 8));
    assert_ok(version_edit_create_segment(&e, 11));
    assert_ok(version_edit_remove_segment(&e, 9));
    struct wal_end end = {10, 300, UINT64_C(0x1122334455667788), 77};
    assert_ok(version_edit_end_segment(&e, &end));
    e.next_file = 64;
    e.next_run = 10;
    e.last_seq = 76;
    e.synced_through = (struct watermark){10, 8, 7};
    assert_ok(version_edit_encode(&e, &bytes));
    if (bytes.size != sizeof golden - 1 ||
        memcmp(bytes.data, golden, bytes.size) != 0) {
        for (size_t i = 0; i < bytes.size; i++)
            printf("\\x%02x", bytes.data[i]);
        printf("\n");
        fail_msg("the encoding changed");
    }
    buffer_deinit(&bytes);
    version_edit_deinit(&e);
}

static adb_status decode(const void *bytes, size_t size)
{
    struct version_edit e = {0};
    /* Exactly as large as stated, so that a read beyond shows. */
    void *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, bytes, size);
    adb_status status = version_edit_decode(slice_of(copy, size), &e);
    version_edit_deinit(&e);
    free(copy);
    return status;
}
#define DECODE(text) decode(text, sizeof(text) - 1)

static void test_malformed(void **state)
{
    (void)state;
    assert_int_equal(DECODE(""), ADB_OK);
    assert_int_equal(DECODE("\x02"), ADB_CORRUPTION);
    assert_int_equal(DECODE("\x02\x05\x01"), ADB_CORRUPTION);
    assert_int_equal(DECODE("\x02\x02\x01\x01"), ADB_CORRUPTION); /* rest */
    assert_int_equal(DECODE("\x02\x00"), ADB_CORRUPTION);
    assert_int_equal(DECODE("\x03\x03\x01\x40\x01"),
                     ADB_CORRUPTION); /* level */
    assert_int_equal(DECODE("\x03\x03\x01\x3f\x01"), ADB_OK);
    assert_int_equal(DECODE("\x07\x01\x05\x07\x01\x06"), ADB_CORRUPTION);
    assert_int_equal(DECODE("\x07\x01\x00"), ADB_CORRUPTION);
    assert_int_equal(DECODE("\x14\x02\x01\x00"), ADB_CORRUPTION); /* keys */
    assert_int_equal(DECODE("\x14\x04\x01\x00\x00\x00"), ADB_OK);
    assert_int_equal(DECODE("\x0d\x01\x00"), ADB_UNSUPPORTED);
    assert_int_equal(DECODE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"),
                     ADB_UNSUPPORTED);
}

static void test_random_damage(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, test_seed());
    for (int i = 0; i < 300; i++) {
        struct version_edit e = {0};
        struct buffer bytes = {0};
        random_edit(&r, &e);
        assert_ok(version_edit_encode(&e, &bytes));
        for (size_t cut = 0; cut < bytes.size; cut += 1 + bytes.size / 50)
            (void)!decode(bytes.data, cut);
        for (int j = 0; j < 100 && bytes.size; j++) {
            size_t at = random_below(&r, bytes.size);
            uint8_t old = bytes.data[at];
            bytes.data[at] ^= (uint8_t)(1u << random_below(&r, 8));
            (void)!decode(bytes.data, bytes.size);
            bytes.data[at] = old;
        }
        buffer_deinit(&bytes);
        version_edit_deinit(&e);
    }
}

static int fail_nth(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- == 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct random r;
    random_seed(&r, 7);
    struct version_edit e = {0};
    struct buffer bytes = {0};
    while (!e.added_count || !e.moved_count || !e.quarantined_count)
        random_edit(&r, &e);
    assert_ok(version_edit_encode(&e, &bytes));
    for (int k = 0;; k++) {
        int left = k;
        struct version_edit back = {0};
        mem_set_fail_hook(fail_nth, &left);
        adb_status status = version_edit_decode(buffer_slice(&bytes), &back);
        mem_set_fail_hook(NULL, NULL);
        version_edit_deinit(&back);
        if (status == ADB_OK)
            break;
        assert_int_equal(status, ADB_NO_MEMORY);
    }
    buffer_deinit(&bytes);
    version_edit_deinit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
