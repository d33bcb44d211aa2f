/* Messages of failures; the ledger; threads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/ledger.h"
#include "base/status.h"
#include "base/thread.h"

static void test_messages(void **state)
{
    (void)state;
    status_clear();
    assert_string_equal(status_message(), "");
    errno = EDOM;
    assert_int_equal(status_set(ADB_INVALID, "number %d", 7), ADB_INVALID);
    assert_int_equal(errno, EDOM);
    assert_string_equal(status_message(), "number 7");
    assert_int_equal(status_context(ADB_INVALID, "option '%s'", "x"),
                     ADB_INVALID);
    assert_string_equal(status_message(), "option 'x': number 7");
    /* Arguments may be the old message. */
    status_set(ADB_IO, "<%s>", status_message());
    assert_string_equal(status_message(), "<option 'x': number 7>");

    assert_int_equal(status_set_errno(ENOSPC, "f"), ADB_NO_SPACE);
    assert_int_equal(status_set_errno(EDQUOT, "f"), ADB_NO_SPACE);
    assert_int_equal(status_set_errno(ENOMEM, "f"), ADB_NO_MEMORY);
    assert_int_equal(status_set_errno(EIO, "cannot read '%s'", "f"), ADB_IO);
    assert_string_equal(status_message(),
                        "cannot read 'f': Input/output error (errno 5)");

    char text[2 * STATUS_MESSAGE_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    status_set(ADB_IO, "%s", text);
    assert_int_equal(strlen(status_message()), STATUS_MESSAGE_MAX - 1);
    status_context(ADB_IO, "%s", text);
    assert_int_equal(strlen(status_message()), STATUS_MESSAGE_MAX - 1);
    for (int code = 0; code <= ADB_UNKNOWN_OUTCOME; code++)
        assert_string_not_equal(status_name((adb_status)code),
                                "unknown status");
    assert_string_equal(status_name((adb_status)99), "unknown status");
}

static void *fail_elsewhere(void *context)
{
    struct status_saved *saved = context;
    assert_string_equal(status_message(), "");
    status_save(saved, status_set(ADB_CORRUPTION, "block 3"));
    return NULL;
}

static void test_saved(void **state)
{
    (void)state;
    struct status_saved saved;
    struct thread t;
    status_set(ADB_IO, "mine");
    assert_int_equal(thread_start(&t, "a-name-longer-than-linux-takes",
                                  fail_elsewhere, &saved), ADB_OK);
    thread_join(&t);
    thread_join(&t); /* joined or never started: nothing to do */
    assert_string_equal(status_message(), "mine");
    assert_int_equal(status_restore(&saved), ADB_CORRUPTION);
    assert_string_equal(status_message(), "block 3");
}

static void test_ledger(void **state)
{
    (void)state;
    struct ledger l = {.budget = 100};
    int64_t sum = 0;
    for (int row = 0; row < LEDGER_ROWS; row++) {
        assert_non_null(ledger_row_names[row]);
        ledger_add(&l, (enum ledger_row)row, row + 1);
        sum += row + 1;
    }
    assert_int_equal(ledger_total(&l), sum);
    ledger_add(&l, LEDGER_WAL, -(LEDGER_WAL + 1));
    assert_int_equal(ledger_row(&l, LEDGER_WAL), 0);
    assert_int_equal(ledger_total(&l), sum - (LEDGER_WAL + 1));
    ledger_add(NULL, LEDGER_WAL, 1);
}

/* ---- threads ---- */

struct meeting {
    struct mutex lock;
    struct condition changed;
    int turn; /* guarded by lock */
    int rounds;
};

static void *take_turns(void *context)
{
    struct meeting *m = context;
    mutex_lock(&m->lock);
    for (int i = 0; i < 1000; i++) {
        while (m->turn != 1)
            condition_wait(&m->changed, &m->lock);
        m->turn = 0;
        m->rounds++;
        condition_broadcast(&m->changed);
    }
    mutex_unlock(&m->lock);
    return NULL;
}

static void test_condition(void **state)
{
    (void)state;
    struct meeting m = {.turn = 0};
    struct thread t;
    mutex_init(&m.lock);
    condition_init(&m.changed);
    assert_int_equal(thread_start(&t, "meeting", take_turns, &m), ADB_OK);
    mutex_lock(&m.lock);
    for (int i = 0; i < 1000; i++) {
        while (m.turn != 0)
            assert_true(condition_wait_until(&m.changed, &m.lock,
                                             clock_now_ns() +
                                                 UINT64_C(60000000000)));
        m.turn = 1;
        condition_signal(&m.changed);
    }
    mutex_unlock(&m.lock);
    thread_join(&t);
    assert_int_equal(m.rounds, 1000);

    mutex_lock(&m.lock);
    uint64_t start = clock_now_ns();
    while (condition_wait_until(&m.changed, &m.lock, start + 3000000))
        ;
    assert_true(clock_now_ns() >= start + 3000000);
    mutex_unlock(&m.lock);
    start = clock_now_ns();
    clock_sleep_ns(1000000);
    assert_true(clock_now_ns() >= start + 1000000);
    assert_true(mutex_try_lock(&m.lock));
    mutex_unlock(&m.lock);
    condition_deinit(&m.changed);
    mutex_deinit(&m.lock);
}

static int fail_second(void *context, size_t size)
{
    assert_true(size > 0);
    return ++*(int *)context == 2;
}

static void test_alloc(void **state)
{
    (void)state;
    int calls = 0;
    mem_set_fail_hook(fail_second, &calls);
    char *a = mem_strdup("text");
    void *b = mem_alloc(8);
    char *c = mem_zalloc(8);
    mem_set_fail_hook(NULL, NULL);
    assert_non_null(a);
    assert_null(b);
    assert_int_equal(c[7], 0);
    void *d = mem_aligned_alloc(4096, 100);
    assert_int_equal((uintptr_t)d % 4096, 0);
    assert_non_null(a = mem_realloc(a, 100));
    assert_string_equal(a, "text");
    mem_free(a);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
    void *nothing = mem_alloc(0); /* not NULL: that means out of memory */
    assert_non_null(nothing);
    mem_free(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),  cmocka_unit_test(test_saved),
        cmocka_unit_test(test_ledger),    cmocka_unit_test(test_condition),
        cmocka_unit_test(test_alloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
