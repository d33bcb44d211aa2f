/* What edits do to what the manifest knows of the log. */
#include "version/log_state.h"

#include "support.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

/* Room for one of each. */
struct change {
    struct version_edit edit;
    uint64_t created[3], removed[3];
    struct wal_end ends[3];
};

static void create(struct change *c, uint64_t number)
{
    c->edit.segments_created = c->created;
    c->created[c->edit.segments_created_count++] = number;
}

static void drop(struct change *c, uint64_t number)
{
    c->edit.segments_removed = c->removed;
    c->removed[c->edit.segments_removed_count++] = number;
}

static void end_at(struct change *c, uint64_t number, uint64_t length)
{
    c->edit.segment_ends = c->ends;
    c->ends[c->edit.segment_ends_count++] =
        (struct wal_end){.segment = number, .length = length};
}

static void test_segments(void **state)
{
    struct log_state s = {0}, copy;
    struct change a = {.created = {0}}, b = {.created = {0}};
    (void)state;
    create(&a, 3);
    create(&a, 5);
    create(&a, 9);
    end_at(&a, 5, 500);
    assert_ok(log_state_apply(&s, &a.edit));
    drop(&b, 3);
    end_at(&b, 9, 900);
    assert_ok(log_state_apply(&s, &b.edit));
    assert_ok(log_state_copy(&s, &copy));
    assert_int_equal(copy.count, 2);
    assert_int_equal(copy.segments[0], 5);
    assert_int_equal(copy.ends[0].length, 500);
    assert_int_equal(copy.segments[1], 9);
    assert_int_equal(copy.ends[1].length, 900);
    log_state_deinit(&copy);
    log_state_deinit(&s);
}

static void test_misfits(void **state)
{
    static const uint64_t wrong[] = {0, 3, 5};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct log_state s = {0};
        struct change first = {.created = {0}}, c = {.created = {0}};
        create(&first, 5);
        assert_ok(log_state_apply(&s, &first.edit));
        if (i < 3)
            create(&c, wrong[i]);
        else if (i == 3)
            drop(&c, 6);
        else
            end_at(&c, 4, 1);
        assert_int_equal(log_state_apply(&s, &c.edit), ADB_INVALID);
        log_state_deinit(&s);
    }
}

/* Edits of several threads come in any order; what is known only grows. */
static void test_what_is_known_grows(void **state)
{
    struct log_state s = {0};
    struct version_edit far = {.last_seq = 70,
                               .segments_below = 12,
                               .synced_through = {9, 640, 60}};
    struct version_edit near = {.last_seq = 50,
                                .segments_below = 10,
                                .synced_through = {9, 320, 40}};
    struct version_edit before = {.synced_through = {8, 9000, 30}};
    (void)state;
    assert_ok(log_state_apply(&s, &far));
    assert_ok(log_state_apply(&s, &near));
    assert_ok(log_state_apply(&s, &before));
    assert_int_equal(s.last_seq, 70);
    assert_int_equal(s.segments_below, 12);
    assert_int_equal(s.synced_through.segment, 9);
    assert_int_equal(s.synced_through.offset, 640);
    assert_int_equal(s.synced_through.seq, 60);
    log_state_deinit(&s);
}

static void test_another_database(void **state)
{
    struct log_state s = {0};
    struct version_edit ours = {.database = 7}, theirs = {.database = 8};
    (void)state;
    assert_ok(log_state_apply(&s, &ours));
    assert_ok(log_state_apply(&s, &ours));
    assert_int_equal(log_state_apply(&s, &theirs), ADB_INVALID);
    assert_int_equal(s.database, 7);
    log_state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_what_is_known_grows),
        cmocka_unit_test(test_another_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
