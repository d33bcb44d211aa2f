/* What the base does at its edges: no memory, sizes that cannot be, threads
   that cannot start, sleeps that are interrupted, more readers than slots. */
#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <wchar.h>

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/epoch.h"
#include "base/hash.h"
#include "base/thread.h"
#include "support/failing.h"

/* ---- buffers ------------------------------------------------------------- */

static size_t most; /* bytes that one allocation may have */

static int fail_large(void *context, size_t size)
{
    (void)context;
    return size > most;
}

/* Twice as much is asked for first; what is needed will do. */
static void test_buffer_second_choice(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_ok(buffer_append_zeros(&b, 1000));
    size_t capacity = b.capacity;
    most = capacity + 100;
    mem_set_fail_hook(fail_large, NULL);
    assert_ok(buffer_append_zeros(&b, capacity + 50 - b.size));
    assert_int_equal(b.capacity, capacity + 50);
    assert_int_equal(buffer_append_zeros(&b, 1000), ADB_NO_MEMORY);
    assert_non_null(strstr(status_message(), "no memory for a buffer of"));
    assert_int_equal(b.size, capacity + 50);
    mem_set_fail_hook(NULL, NULL);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX / 2), ADB_TOO_LARGE);
    assert_int_equal(b.size, capacity + 50);
    buffer_deinit(&b);
}

static adb_status append_all(void *context)
{
    struct buffer b = {0};
    adb_status status = ADB_OK;
    (void)context;
    failing_begin(NULL);
    for (int i = 0; i < 30 && status == ADB_OK; i++) {
        status = buffer_append_varint(&b, (uint64_t)i << 50);
        if (status == ADB_OK)
            status = buffer_append_slice(&b, slice_of_string("a slice"));
        if (status == ADB_OK)
            status = buffer_append_u32(&b, 7);
        if (status == ADB_OK)
            status = buffer_append_u64(&b, 8);
        if (status == ADB_OK)
            status = buffer_append_zeros(&b, 40);
        if (status == ADB_OK)
            status = buffer_printf(&b, "%d and more", i);
        if (status == ADB_OK)
            status = buffer_append(&b, NULL, 0);
        if (status == ADB_OK)
            status = buffer_append_slice(&b, slice_of(NULL, 0));
        if (status == ADB_OK)
            status = buffer_append_zeros(&b, 0);
    }
    failing_end(NULL);
    if (status == ADB_OK)
        assert_true(b.size > 30 * 60);
    buffer_deinit(&b);
    return status;
}

static void test_buffer_out_of_memory(void **state)
{
    (void)state;
    /* Where twice as much was refused, less was granted. */
    assert_int_equal(each_allocation(append_all, NULL, true), 0);
    struct buffer b = {0};
    most = 0;
    mem_set_fail_hook(fail_large, NULL);
    assert_int_equal(buffer_append_varint(&b, 1), ADB_NO_MEMORY);
    assert_int_equal(buffer_append_slice(&b, slice_of_string("a")),
                     ADB_NO_MEMORY);
    assert_int_equal(buffer_append_zeros(&b, 1), ADB_NO_MEMORY);
    assert_int_equal(buffer_append(&b, "a", 1), ADB_NO_MEMORY);
    assert_int_equal(buffer_printf(&b, "text"), ADB_NO_MEMORY);
    assert_null(mem_zalloc(1));
    assert_null(mem_realloc(NULL, 1));
    assert_null(mem_aligned_alloc(64, 1));
    assert_null(mem_strdup("text"));
    struct checksum_stream s;
    assert_int_not_equal(checksum_stream_init(&s), 0);
    assert_int_not_equal(checksum_stream_init_bound(&s, 1, 2), 0);
    mem_set_fail_hook(NULL, NULL);
    assert_int_equal(b.size, 0);
}

static void test_text_that_cannot_be(void **state)
{
    (void)state;
    static const wchar_t beyond[] = {0x20ac, 0}; /* not in the C locale */
    struct buffer b = {0};
    assert_int_equal(buffer_printf(&b, "%ls", beyond), ADB_INVALID);
    assert_int_equal(b.size, 0);
    buffer_deinit(&b);
    char one = 'x';
    slice_print(slice_of_string("text"), &one, 0);
    assert_int_equal(one, 'x');
}

/* ---- statuses ------------------------------------------------------------ */

static void test_names_and_errnos(void **state)
{
    (void)state;
    const char *last = "";
    for (int code = 0; code < 64; code++) {
        const char *name = status_name((adb_status)code);
        if (strcmp(name, "unknown status") == 0)
            break;
        assert_string_not_equal(name, last);
        last = name;
    }
    assert_string_equal(status_name((adb_status)-1), "unknown status");
    assert_int_equal(status_set_errno(ENOSPC, "x"), ADB_NO_SPACE);
    assert_int_equal(status_set_errno(EDQUOT, "x"), ADB_NO_SPACE);
    assert_int_equal(status_set_errno(ENOMEM, "x"), ADB_NO_MEMORY);
    assert_int_equal(status_set_errno(EPIPE, "x"), ADB_IO);
    assert_non_null(strstr(status_message(), "Broken pipe (errno 32)"));
}

/* ---- threads ------------------------------------------------------------- */

static int refuse(void *context, struct thread *t, const char *name,
                  void *(*run)(void *), void *argument)
{
    (void)context, (void)t, (void)name, (void)run, (void)argument;
    return EAGAIN;
}

static void test_thread_that_cannot_start(void **state)
{
    (void)state;
    static const struct thread_hooks hooks = {.start = refuse};
    struct thread t;
    thread_hooks = &hooks;
    adb_status status = thread_start(&t, "poor", NULL, NULL);
    thread_hooks = NULL;
    assert_int_equal(status, ADB_IO);
    assert_non_null(strstr(status_message(), "cannot start the thread 'poor'"));
    thread_join(&t); /* nothing to wait for */
}

static void on_alarm(int number)
{
    (void)number;
}

/* Signals do not shorten a sleep. */
static void test_interrupted_sleep(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    uint64_t began = clock_now_ns();
    clock_sleep_ns(30000000);
    assert_true(clock_now_ns() - began >= 30000000);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

/* ---- epochs -------------------------------------------------------------- */

static struct epoch shared;

static void *enter_once(void *context)
{
    (void)context;
    epoch_leave(epoch_enter(&shared));
    return NULL;
}

/* One more reader than there are slots waits for one. */
static void test_all_slots_taken(void **state)
{
    (void)state;
    static struct epoch_slot *slots[EPOCH_SLOTS];
    struct thread t;
    epoch_init(&shared);
    for (int i = 0; i < EPOCH_SLOTS; i++)
        slots[i] = epoch_enter(&shared);
    assert_int_equal(thread_start(&t, "reader", enter_once, NULL), ADB_OK);
    clock_sleep_ns(5000000);
    for (int i = 0; i < EPOCH_SLOTS; i++)
        epoch_leave(slots[i]);
    thread_join(&t);
    epoch_deinit(&shared);
}

/* ---- ordinals ------------------------------------------------------------ */

static void *ask_ordinal(void *argument)
{
    unsigned *out = argument;
    out[0] = thread_ordinal();
    out[1] = thread_ordinal();
    return NULL;
}

static void test_ordinals(void **state)
{
    enum { THREADS = 5 };
    struct thread threads[THREADS];
    unsigned seen[THREADS + 1][2];
    (void)state;
    ask_ordinal(seen[THREADS]);
    for (int i = 0; i < THREADS; i++)
        assert_ok(thread_start(&threads[i], "ordinal", ask_ordinal, seen[i]));
    for (int i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(seen[i][0], seen[i][1]);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(seen[i][0], seen[j][0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_second_choice),
        cmocka_unit_test(test_buffer_out_of_memory),
        cmocka_unit_test(test_text_that_cannot_be),
        cmocka_unit_test(test_names_and_errnos),
        cmocka_unit_test(test_thread_that_cannot_start),
        cmocka_unit_test(test_interrupted_sleep),
        cmocka_unit_test(test_all_slots_taken),
        cmocka_unit_test(test_ordinals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
