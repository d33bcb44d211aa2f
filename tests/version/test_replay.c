/*
 * Edits read back one after another: those that do not fit what came before are
 * refused in words, whichever of the pieces they speak of; tables come and go
 * in any number; and names of files are what we write, nothing else.
 */
#include "version_support.h"

#include "version/replay.h"

static void refused(struct replay *r, struct version_edit *e,
                    const char *message)
{
    adb_status status = replay_apply(r, e);
    if (status != ADB_INVALID || !strstr(status_message(), message))
        fail_msg("'%s' is %s: %s", message, status_name(status),
                 status_message());
    version_edit_deinit(e);
}

static void apply(struct replay *r, struct version_edit *e)
{
    assert_ok(replay_apply(r, e));
    version_edit_deinit(e);
}

static void test_tables_that_do_not_fit(void **state)
{
    (void)state;
    static const char not_there[] = "which is not there";
    struct replay r = {0};
    struct version_edit e = {0};
    assert_ok(version_edit_remove_table(&e, 1)); /* of none at all */
    refused(&r, &e, not_there);
    add_invented(&e, 1, 0, 5, "a", "b");
    apply(&r, &e);
    assert_int_equal(r.next_file, 2);
    assert_int_equal(r.next_run, 6);
    add_invented(&e, 1, 0, 6, "a", "b");
    refused(&r, &e, "which is there already");
    assert_ok(version_edit_remove_table(&e, 2));
    refused(&r, &e, not_there);
    assert_ok(version_edit_move_table(&e, 2, (struct table_place){3, 7}));
    refused(&r, &e, not_there);
    add_quarantined(&e, 2, 10, "a", "b");
    refused(&r, &e, not_there);
    assert_ok(version_edit_release(&e, 1)); /* is not damaged */
    refused(&r, &e, "quarantine");
    /* Damaged, and once more; then whole again, or gone. */
    for (int round = 0; round < 2; round++) {
        add_quarantined(&e, 1, 10 + (uint64_t)round, "a", "b");
        apply(&r, &e);
    }
    assert_int_equal(r.quarantine.quarantined_count, 1);
    assert_int_equal(r.quarantine.quarantined[0].offset, 11);
    assert_ok(version_edit_release(&e, 1));
    apply(&r, &e);
    assert_int_equal(r.quarantine.quarantined_count, 0);
    add_quarantined(&e, 1, 10, "a", "b");
    apply(&r, &e);
    assert_ok(version_edit_move_table(&e, 1, (struct table_place){3, 70}));
    apply(&r, &e);
    assert_int_equal(r.next_run, 71);
    assert_ok(version_edit_remove_table(&e, 1));
    apply(&r, &e);
    assert_int_equal(r.count, 0);
    assert_int_equal(r.quarantine.quarantined_count, 0);
    replay_deinit(&r);
}

static void test_logs_that_do_not_fit(void **state)
{
    (void)state;
    struct replay r = {0};
    struct version_edit e = {0};
    assert_ok(version_edit_create_segment(&e, 0));
    refused(&r, &e, "out of order");
    assert_ok(version_edit_create_segment(&e, 5));
    apply(&r, &e);
    assert_int_equal(r.next_file, 6);
    assert_ok(version_edit_create_segment(&e, 5));
    refused(&r, &e, "out of order");
    assert_ok(version_edit_remove_segment(&e, 6));
    refused(&r, &e, "which is not there");
    assert_ok(version_edit_end_segment(&e, &(struct wal_end){.segment = 4}));
    refused(&r, &e, "which is not there");
    e.database = 77;
    apply(&r, &e);
    e.database = 77;
    apply(&r, &e);
    e.database = 78;
    refused(&r, &e, "belongs to another database");
    e.segments_below = 9;
    apply(&r, &e);
    assert_ok(version_edit_create_segment(&e, 20));
    apply(&r, &e);
    assert_int_equal(r.logs.segments_below, 21);
    replay_deinit(&r);
}

/* Against an array: in any order, with names that share places. */
static void test_many_tables(void **state)
{
    (void)state;
    enum { NUMBERS = 400 };
    static bool there[NUMBERS + 1];
    struct replay r = {0};
    struct random random;
    size_t count = 0;
    random_seed(&random, 11);
    for (int i = 0; i < 6000; i++) {
        struct version_edit e = {0};
        uint64_t number = 1 + random_below(&random, NUMBERS);
        if (there[number])
            assert_ok(version_edit_remove_table(&e, number));
        else
            add_invented(&e, number, 0, number, "a", "b");
        count = there[number] ? count - 1 : count + 1;
        there[number] = !there[number];
        apply(&r, &e);
        assert_int_equal(r.count, count);
    }
    for (size_t i = 0; i < r.count; i++) {
        assert_true(there[r.tables[i].info.number]);
        there[r.tables[i].info.number] = false;
    }
    replay_deinit(&r);
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum name_kind kind;
        uint64_t number;
    } names[] = {
        {"CURRENT", NAME_CURRENT, 0},
        {"LOCK", NAME_LOCK, 0},
        {"CURRENT.tmp", NAME_TEMPORARY, 0},
        {"000007.sst", NAME_TABLE, 7},
        {"1234567.sst", NAME_TABLE, 1234567},
        {"000007.log", NAME_LOG, 7},
        {"MANIFEST-000012", NAME_MANIFEST, 12},
        {"000007.sst.tmp", NAME_TEMPORARY, 0},
        {"", NAME_FOREIGN, 0},
        {".tmp", NAME_FOREIGN, 0},
        {"lock", NAME_FOREIGN, 0},
        {"CURRENT2", NAME_FOREIGN, 0},
        {"7.sst", NAME_FOREIGN, 0},
        {".sst", NAME_FOREIGN, 0},
        {"0000007.sst", NAME_FOREIGN, 0}, /* a needless zero */
        {"00000a.sst", NAME_FOREIGN, 0},
        {"00000:.log", NAME_FOREIGN, 0},
        {"12345678901234567890.sst", NAME_FOREIGN, 0},
        {"x.log", NAME_FOREIGN, 0},
        {"MANIFEST-", NAME_FOREIGN, 0},
        {"MANIFEST-12", NAME_FOREIGN, 0},
        {"MANIFESTO-000012", NAME_FOREIGN, 0},
        {"MANIFEST-000012.tmp", NAME_TEMPORARY, 0},
        {"notes.tmp", NAME_FOREIGN, 0},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint64_t number = 0;
        enum name_kind kind = name_parse(names[i].name, &number);
        if (kind != names[i].kind)
            fail_msg("'%s' is of kind %d", names[i].name, (int)kind);
        if (names[i].number)
            assert_int_equal(number, names[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_that_do_not_fit),
        cmocka_unit_test(test_logs_that_do_not_fit),
        cmocka_unit_test(test_many_tables),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
