/*
 * Several memtables at once: reads and iterators see the newest first while
 * flushes are held, and when they go on tables take over in the same order;
 * snapshots see through all of it what they saw at first.
 */
#include "db_test.h"

static int setup(void **state)
{
    *state = scratch_new();
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(*state);
    return 0;
}

static const char options[] = "durability=process memtable_size=64K "
                              "max_memtables=4 memory_budget=8M";

/* The iterator shows "key=value " for all keys below '~'. */
static void expect_entries(adb_iter *it, const char *expected)
{
    char seen[1024] = "", back[1024] = "";
    struct kv_iter *user = it->user;
    for (user->ops->seek_first(user); user->valid; kv_iter_next(user)) {
        if (*(const char *)user->key.data == '~')
            break;
        assert_ok(kv_iter_load(user));
        size_t n = strlen(seen);
        snprintf(seen + n, sizeof seen - n, "%.*s=%.*s ",
                 (int)user->key.size, (const char *)user->key.data,
                 (int)user->value.size, (const char *)user->value.data);
    }
    assert_ok(kv_iter_status(user));
    assert_string_equal(seen, expected);
    size_t end = strlen(seen);
    for (user->ops->seek_last(user); user->valid; kv_iter_prev(user)) {
        if (*(const char *)user->key.data == '~')
            continue;
        assert_ok(kv_iter_load(user));
        char entry[128];
        int n = snprintf(entry, sizeof entry, "%.*s=%.*s ",
                         (int)user->key.size, (const char *)user->key.data,
                         (int)user->value.size,
                         (const char *)user->value.data);
        end -= (size_t)n;
        memcpy(back + end, entry, (size_t)n);
    }
    assert_ok(kv_iter_status(user));
    assert_string_equal(back, expected);
}

static adb_iter *iterate(adb *db, const adb_snapshot *snapshot)
{
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    o.snapshot = snapshot;
    assert_ok(db_iter_new(db, &o, &it));
    return it;
}

enum { ROUNDS = 4 };
static const char *const seen_in_round[ROUNDS] = {
    "all=0 gone=0 only0=0 ",
    "all=1 only0=0 only1=1 ",
    "all=2 back=2 gone=again only0=0 only1=1 only2=2 ",
    "all=3 back=2 only0=0 only1=1 only2=2 only3=3 ",
};

static void write_round(adb *db, int round)
{
    char digit[2] = {(char)('0' + round), 0}, only[16];
    snprintf(only, sizeof only, "only%d", round);
    db_test_put(db, "all", digit);
    db_test_put(db, only, digit);
    if (round == 0)
        db_test_put(db, "gone", digit);
    if (round == 1 || round == 3)
        db_test_delete(db, "gone");
    if (round == 2) {
        db_test_put(db, "gone", "again");
        db_test_put(db, "back", digit);
    }
}

static void expect_round(adb *db, const adb_snapshot *snapshot, int round)
{
    char digit[2] = {(char)('0' + round), 0};
    db_test_expect_at(db, snapshot, "all", digit);
    for (int i = 0; i < ROUNDS; i++) {
        char only[16], its[2] = {(char)('0' + i), 0};
        snprintf(only, sizeof only, "only%d", i);
        db_test_expect_at(db, snapshot, only, i <= round ? its : NULL);
    }
    db_test_expect_at(db, snapshot, "gone",
                      round == 0 ? "0" : round == 2 ? "again" : NULL);
    adb_iter *it = iterate(db, snapshot);
    expect_entries(it, seen_in_round[round]);
    db_iter_free(it);
}

static void test_three_waiting(void **state)
{
    adb *db = db_test_open(NULL, *state, options);
    adb_snapshot *snapshots[ROUNDS];
    adb_iter *iterators[ROUNDS];
    db_test_hold_flush(db, true);
    for (int round = 0; round < ROUNDS; round++) {
        write_round(db, round);
        assert_ok(db_snapshot_new(db, &snapshots[round]));
        iterators[round] = iterate(db, NULL);
        if (round < ROUNDS - 1)
            db_test_fill_memtable(db, (size_t)round + 1);
        expect_round(db, NULL, round);
    }
    assert_int_equal(db_test_frozen_count(db), 3);
    for (int round = 0; round < ROUNDS; round++) {
        expect_round(db, snapshots[round], round);
        expect_entries(iterators[round], seen_in_round[round]);
    }
    /* A fifth memtable is one too many: the write's deadline passes. */
    char *filler = malloc(30000);
    memset(filler, 'f', 30000);
    adb_status status = ADB_OK;
    for (int i = 0; status == ADB_OK && i < 20; i++) {
        struct db_write w = {.kind = KV_PUT,
                             .key = slice_of("~", 1),
                             .value = slice_of(filler, 30000),
                             .durability = ADB_DURABILITY_PROCESS,
                             .deadline_ns = clock_now_ns() + 100000000};
        status = db_write(db, &w);
    }
    assert_int_equal(status, ADB_TIMEOUT);
    assert_non_null(strstr(status_message(), "flush"));
    free(filler);

    db_test_hold_flush(db, false);
    assert_ok(db_flush(db));
    assert_int_equal(db_test_frozen_count(db), 0);
    for (int merged = 0; merged < 2; merged++) {
        for (int round = 0; round < ROUNDS; round++) {
            expect_round(db, snapshots[round], round);
            expect_entries(iterators[round], seen_in_round[round]);
        }
        expect_round(db, NULL, ROUNDS - 1);
        db_test_compact(db);
    }
    for (int round = 0; round < ROUNDS; round++) {
        db_iter_free(iterators[round]);
        db_snapshot_release(db, snapshots[round]);
    }
    db_test_compact(db);
    expect_round(db, NULL, ROUNDS - 1);
    assert_ok(db_close(db));
    db = db_test_open(NULL, *state, options);
    expect_round(db, NULL, ROUNDS - 1);
    assert_ok(db_close(db));
}

/* Dies at each number of waiting memtables: the log has them all. */
static void test_abandoned_while_waiting(void **state)
{
    for (size_t waiting = 0; waiting <= 3; waiting++) {
        adb *db = db_test_open(NULL, *state, options);
        char key[32];
        db_test_hold_flush(db, true);
        for (size_t i = 0; i <= waiting; i++) {
            snprintf(key, sizeof key, "%zu of %zu", i, waiting);
            db_test_put(db, key, "v");
            db_test_put(db, "last", key);
            if (i < waiting)
                db_test_fill_memtable(db, i + 1);
        }
        db_test_abandon(db);
        db = db_test_open(NULL, *state, options);
        for (size_t i = 0; i <= waiting; i++) {
            snprintf(key, sizeof key, "%zu of %zu", i, waiting);
            db_test_expect(db, key, "v");
        }
        db_test_expect(db, "last", key);
        assert_ok(db_close(db));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_three_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abandoned_while_waiting, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
