/*
 * One database, one process: a second opener is told so, and a forked child
 * may not touch what its parent opened.
 */
#include "api_test.h"

#include <fcntl.h>
#include <sys/wait.h>

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

/* Checks in a child: cmocka's own would go on as a second test run. */
#define child_expect(condition)                                                \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "child, line %d: %s (%s)\n", __LINE__, #condition, \
                    adb_error_message());                                      \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

static void wait_for(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_second_opener(void **state)
{
    adb *db = open_with(*state, ""), *second = NULL;
    assert_int_equal(adb_open(*state, NULL, &second), ADB_BUSY);
    assert_null(second);
    assert_non_null(strstr(adb_error_message(), *state));
    assert_non_null(strstr(adb_error_message(), "open"));
    assert_int_equal(adb_destroy(*state), ADB_BUSY);
    /* By another name it is the same. */
    char other[4096];
    snprintf(other, sizeof other, "%s/../%s/", (char *)*state,
             strrchr(*state, '/') + 1);
    assert_int_equal(adb_open(other, NULL, &second), ADB_BUSY);
    pid_t child = fork();
    if (child == 0) {
        child_expect(adb_open(*state, NULL, &second) == ADB_BUSY);
        child_expect(strstr(adb_error_message(), *state) != NULL);
        _exit(0);
    }
    wait_for(child);
    put_text(db, "k", "v");
    expect_text(db, "k", "v");
    assert_ok(adb_close(db));
    db = open_with(*state, "");
    expect_text(db, "k", "v");
    assert_ok(adb_close(db));
}

struct handles {
    adb *db;
    adb_iter *iter;
    adb_snapshot *snapshot;
    adb_value value;
    adb_batch *batch;
};

static void use_parents_handles(struct handles *h, const char *path)
{
    adb_value v = ADB_VALUE_INIT;
    adb_slice all = {0, 0}, key = {"k", 1};
    adb_snapshot *s;
    adb_iter *it;
    adb_status one;
    uint64_t bytes;
    size_t size;
    char buffer[8], *json;
    adb *other = NULL;
    child_expect(adb_put(h->db, NULL, "k", 1, "x", 1) == ADB_FORKED);
    child_expect(strstr(adb_error_message(), "fork") != NULL);
    child_expect(adb_delete(h->db, NULL, "k", 1) == ADB_FORKED);
    child_expect(adb_write(h->db, NULL, h->batch) == ADB_FORKED);
    child_expect(adb_get(h->db, NULL, "k", 1, &v) == ADB_FORKED);
    child_expect(adb_get_into(h->db, NULL, "k", 1, buffer, 8, &size) ==
                 ADB_FORKED);
    child_expect(adb_multi_get(h->db, NULL, 1, &key, &v, &one) == ADB_FORKED);
    child_expect(adb_snapshot_new(h->db, &s) == ADB_FORKED);
    child_expect(adb_iter_new(h->db, NULL, &it) == ADB_FORKED);
    child_expect(adb_flush(h->db) == ADB_FORKED);
    child_expect(adb_compact(h->db, all, all) == ADB_FORKED);
    child_expect(adb_wait_idle(h->db, 0) == ADB_FORKED);
    child_expect(adb_approximate_size(h->db, all, all, &bytes) == ADB_FORKED);
    child_expect(adb_stats(h->db, &json) == ADB_FORKED);
    child_expect(adb_verify(h->db, NULL, NULL, NULL) == ADB_FORKED);
    child_expect(adb_sync(h->db) == ADB_FORKED);
    child_expect(adb_health(h->db) == ADB_FORKED);
    child_expect(!adb_iter_next(h->iter));
    child_expect(adb_iter_status(h->iter) == ADB_FORKED);
    child_expect(!adb_iter_seek_first(h->iter));
    child_expect(adb_iter_status(h->iter) == ADB_FORKED);
    adb_iter_free(h->iter);
    adb_snapshot_release(h->db, h->snapshot);
    adb_value_release(&h->value);
    child_expect(adb_open(path, NULL, &other) == ADB_BUSY);
    (void)!adb_close(h->db);
}

static void use_another_database(const char *path)
{
    char other[4096];
    adb *db = NULL;
    adb_value v = ADB_VALUE_INIT;
    snprintf(other, sizeof other, "%s-child", path);
    child_expect(adb_open(other, NULL, &db) == ADB_OK);
    child_expect(adb_put(db, NULL, "c", 1, "child", 5) == ADB_OK);
    child_expect(adb_flush(db) == ADB_OK);
    child_expect(adb_get(db, NULL, "c", 1, &v) == ADB_OK);
    child_expect(v.size == 5 && memcmp(v.data, "child", 5) == 0);
    adb_value_release(&v);
    child_expect(adb_close(db) == ADB_OK);
    child_expect(adb_destroy(other) == ADB_OK);
}

static void test_fork(void **state)
{
    struct handles h = {.value = ADB_VALUE_INIT};
    h.db = open_with(*state, "durability=process");
    put_text(h.db, "k", "v");
    assert_ok(adb_iter_new(h.db, NULL, &h.iter));
    assert_true(adb_iter_seek_first(h.iter));
    assert_ok(adb_snapshot_new(h.db, &h.snapshot));
    assert_ok(adb_get(h.db, NULL, "k", 1, &h.value));
    h.batch = adb_batch_new();
    assert_ok(adb_batch_put(h.batch, "b", 1, "batch", 5));
    pid_t child = fork();
    if (child == 0) {
        use_parents_handles(&h, *state);
        use_another_database(*state);
        _exit(0);
    }
    /* The parent goes on meanwhile. */
    for (int i = 0; i < 1000; i++)
        put_text(h.db, "k", "parent");
    wait_for(child);
    assert_ok(adb_write(h.db, NULL, h.batch));
    expect_text(h.db, "b", "batch");
    expect_text(h.db, "k", "parent");
    assert_memory_equal(h.value.data, "v", 1);
    assert_false(adb_iter_next(h.iter));
    assert_ok(adb_iter_status(h.iter));
    adb_iter_free(h.iter);
    adb_snapshot_release(h.db, h.snapshot);
    adb_value_release(&h.value);
    adb_batch_free(h.batch);
    assert_ok(adb_flush(h.db));
    assert_ok(adb_close(h.db));
    adb *db = open_with(*state, "");
    expect_text(db, "k", "parent");
    assert_ok(adb_close(db));
}

/* A child that lives on does not keep the database locked, and may open it
   itself once the parent closed it. */
static void test_child_after_close(void **state)
{
    int go[2], done[2];
    char byte = 0;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    adb *db = open_with(*state, "");
    put_text(db, "k", "v");
    pid_t child = fork();
    if (child == 0) {
        adb *mine = NULL;
        adb_value v = ADB_VALUE_INIT;
        child_expect(read(go[0], &byte, 1) == 1);
        child_expect(adb_open(*state, NULL, &mine) == ADB_OK);
        child_expect(adb_get(mine, NULL, "k", 1, &v) == ADB_OK);
        adb_value_release(&v);
        child_expect(adb_put(mine, NULL, "c", 1, "child", 5) == ADB_OK);
        child_expect(adb_close(mine) == ADB_OK);
        child_expect(write(done[1], &byte, 1) == 1);
        child_expect(read(go[0], &byte, 1) == 1);
        _exit(0);
    }
    assert_ok(adb_close(db));
    db = open_with(*state, ""); /* while the child lives */
    assert_ok(adb_close(db));
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(read(done[0], &byte, 1), 1);
    db = open_with(*state, "");
    expect_text(db, "c", "child");
    assert_ok(adb_close(db));
    assert_int_equal(write(go[1], &byte, 1), 1);
    wait_for(child);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(done[i]);
    }
}

/* The owner dies without closing, its child survives it. */
static void test_owner_killed(void **state)
{
    int hold[2], ready[2];
    char byte = 0;
    assert_int_equal(pipe(hold), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t owner = fork();
    if (owner == 0) {
        adb *db = open_with(*state, "durability=process");
        child_expect(adb_put(db, NULL, "k", 1, "v", 1) == ADB_OK);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            close(hold[1]);
            child_expect(write(ready[1], &byte, 1) == 1);
            child_expect(read(hold[0], &byte, 1) <= 0);
            _exit(0);
        }
        child_expect(read(ready[0], &byte, 1) == 1);
        _exit(0); /* as good as a kill: nothing is closed */
    }
    wait_for(owner);
    adb *db = open_with(*state, "");
    expect_text(db, "k", "v");
    assert_ok(adb_close(db));
    for (int i = 0; i < 2; i++) {
        close(hold[i]);
        close(ready[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_second_opener, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
        cmocka_unit_test_setup_teardown(test_child_after_close, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_owner_killed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
