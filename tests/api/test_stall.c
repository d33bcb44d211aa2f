/*
 * Writers at full speed against small memtables: back-pressure may slow them
 * down, but no single put may stand still, and the statistics must tell who
 * waited, how long, and for what. ADB_TEST_STALL_SECONDS sets how long each
 * part takes.
 */
#include "api_test.h"

#include <fcntl.h>

#include "base/random.h"
#include "base/thread.h"

enum { KEYS = 2000000, VALUE = 100 };

struct latencies {
    uint64_t puts, longest_ns, over_10ms;
    char cause[64]; /* of back-pressure, the last one seen */
};

static void look_at_cause(adb *db, struct latencies *l)
{
    char *json;
    assert_ok(adb_stats(db, &json));
    const char *at = strstr(json, "\"cause\":\"");
    assert_non_null(at);
    at += strlen("\"cause\":\"");
    if (*at != '"')
        snprintf(l->cause, sizeof l->cause, "%.*s", (int)strcspn(at, "\""),
                 at);
    adb_free(json);
}

static void overwrite(adb *db, uint64_t seconds, uint64_t seed,
                      struct latencies *l)
{
    struct random r;
    unsigned char value[VALUE];
    uint64_t now = clock_now_ns(), until = now + seconds * 1000000000;
    random_seed(&r, seed);
    while (now < until) {
        char key[24];
        int size = snprintf(key, sizeof key, "key%012llu",
                            (unsigned long long)random_below(&r, KEYS));
        for (size_t i = 0; i < sizeof value; i += 4) {
            /* Half of it can be packed. */
            uint32_t word = i % 8 ? 0 : (uint32_t)random_next(&r);
            memcpy(value + i, &word, 4);
        }
        uint64_t began = clock_now_ns();
        assert_ok(adb_put(db, NULL, key, (size_t)size, value, sizeof value));
        now = clock_now_ns();
        if (now - began > l->longest_ns)
            l->longest_ns = now - began;
        l->over_10ms += now - began > 10000000;
        if (++l->puts % 20000 == 0)
            look_at_cause(db, l);
    }
}

static void run(void **state, const char *options, uint64_t seconds,
                uint64_t longest_ms)
{
    const char *text = getenv("ADB_TEST_STALL_SECONDS");
    seconds = text ? strtoull(text, NULL, 0) : test_scaled(seconds, 1);
    struct latencies l = {0};
    adb *db = open_with(*state, options);
    overwrite(db, seconds, test_seed(), &l);
    uint64_t waits = stat_number(db, "waits");
    printf("%s: %llu puts in %llu s, longest %.1f ms, %llu above 10 ms, "
           "%llu waits of %.1f ms at most, cause '%s'\n",
           options, (unsigned long long)l.puts, (unsigned long long)seconds,
           (double)l.longest_ns / 1e6, (unsigned long long)l.over_10ms,
           (unsigned long long)waits,
           (double)stat_number(db, "wait_max_ns") / 1e6, l.cause);
    fflush(stdout);
    /* Sanitizers and their scheduling say nothing about latency, and too
       few puts are made under them to see each cause. */
    if (test_scaled(1, 0)) {
        assert_true(l.longest_ns < longest_ms * 1000000);
        if (waits > 100)
            assert_string_not_equal(l.cause, "");
    }
    assert_ok(adb_close(db));
}

static void test_small_memtables(void **state)
{
    run(state, "durability=process memtable_size=1M", 10, 100);
}

static void test_two_memtables(void **state)
{
    run(state, "durability=process memtable_size=4M max_memtables=2", 10,
        100);
}

static void test_default_memtables(void **state)
{
    run(state, "durability=process", 60, 100);
}

/* The tests before this one remove gigabytes, which the disk goes on discarding
   for a while; no bound on a put holds then. A minute at most, until twenty
   small syncs in a row are quick. */
static void wait_for_the_disk(const char *directory)
{
    uint64_t until = clock_now_ns() + UINT64_C(60) * 1000000000;
    for (int quick = 0; quick < 20 && clock_now_ns() < until;) {
        char path[4200];
        snprintf(path, sizeof path, "%s/synced", directory);
        uint64_t began = clock_now_ns();
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, path, 100), 100);
        assert_int_equal(fsync(fd), 0);
        close(fd);
        unlink(path);
        quick = clock_now_ns() - began < 20000000 ? quick + 1 : 0;
        clock_sleep_ns(50000000);
    }
}

static int setup(void **state)
{
    *state = scratch_new();
    if (test_scaled(1, 0))
        wait_for_the_disk(*state);
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_memtables, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_two_memtables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_default_memtables, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
