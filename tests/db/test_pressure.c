/*
 * Back-pressure as a function: no pace where nothing waits, tighter with each
 * memtable and each byte of debt, never a stop; the tighter of two causes is
 * the one that is told.
 */
#include "db_test.h"

#include "db/pressure.h"

#define MIB (1024.0 * 1024)

static struct pressure_input calm(void)
{
    return (struct pressure_input){.max_frozen = 3,
                                   .writable_fill = 0.5,
                                   .debt_soft = 1000,
                                   .debt_hard = 9000,
                                   .runs_soft = 14,
                                   .runs_hard = 40};
}

static void test_calm(void **state)
{
    (void)state;
    struct pressure p = {.cause = "old"};
    struct pressure_input in = calm();
    in.debt_bytes = 1000;
    in.runs = 14;
    assert_int_equal(pressure_pace(&p, &in), 0);
    assert_string_equal(p.cause, "");
    /* Nothing may wait: the bound is none of pace. */
    in.frozen = 1;
    in.max_frozen = 0;
    assert_int_equal(pressure_pace(&p, &in), 0);
    /* Bounds the wrong way round bound nothing. */
    in = calm();
    in.debt_hard = in.debt_soft;
    in.debt_bytes = 5000;
    assert_int_equal(pressure_pace(&p, &in), 0);
}

static void test_flushes(void **state)
{
    (void)state;
    struct pressure p = {.flush_rate = 100 * MIB};
    struct pressure_input in = calm();
    uint64_t last = 0;
    for (in.frozen = 1; in.frozen <= 4; in.frozen++) {
        uint64_t pace = pressure_pace(&p, &in);
        assert_true(pace > last);
        assert_string_equal(p.cause, "memtables wait for their flush");
        last = pace;
    }
    assert_int_equal((uint64_t)p.allowed_rate, (uint64_t)(75 * MIB));
    /* Not measured yet: as a poor disk would have it. */
    p.flush_rate = 0;
    pressure_pace(&p, &in);
    assert_int_equal((uint64_t)p.allowed_rate, (uint64_t)(48 * MIB));
    /* However slow, writers are not stopped. */
    p.flush_rate = 1;
    pressure_pace(&p, &in);
    assert_int_equal((uint64_t)p.allowed_rate, 256 * 1024);
}

static void test_debt(void **state)
{
    (void)state;
    struct pressure p = {.compaction_rate = 40 * MIB};
    struct pressure_input in = calm();
    uint64_t last = 0;
    for (in.debt_bytes = 2000; in.debt_bytes <= 9000; in.debt_bytes += 1000) {
        uint64_t pace = pressure_pace(&p, &in);
        assert_true(pace > last);
        assert_string_equal(p.cause, "compaction is behind");
        last = pace;
    }
    in.debt_bytes = 90000; /* no tighter than at the hard bound */
    assert_true(pressure_pace(&p, &in) <= last);
    /* The runs to search count as well. */
    in = calm();
    in.runs = 27;
    uint64_t half = pressure_pace(&p, &in);
    in.runs = 40;
    assert_true(pressure_pace(&p, &in) > half && half > 0);
    p.compaction_rate = 0;
    pressure_pace(&p, &in);
    assert_int_equal((uint64_t)p.allowed_rate, (uint64_t)(48 * MIB));
}

/* What is wasted counts as far as merges find something to drop. */
static void test_garbage(void **state)
{
    (void)state;
    struct pressure p = {.compaction_rate = 40 * MIB};
    struct pressure_input in = calm();
    in.garbage_soft = 0.5;
    in.garbage_hard = 1.1;
    in.garbage = 0.5;
    assert_int_equal(pressure_pace(&p, &in), 0);
    uint64_t last = 0;
    for (in.garbage = 0.6; in.garbage < 1.15; in.garbage += 0.1) {
        uint64_t pace = pressure_pace(&p, &in);
        assert_true(pace > last);
        assert_string_equal(p.cause, "compaction is behind");
        last = pace;
    }
    assert_int_equal((uint64_t)p.allowed_rate, 30 << 20);
}

static void test_shadowing(void **state)
{
    (void)state;
    struct pressure p = {.cause = ""};
    pressure_merged(&p, 0, 0); /* says nothing */
    assert_float_equal(pressure_garbage(&p, 2), 2, 1e-6);
    pressure_merged(&p, 100, 0);
    assert_float_equal(pressure_garbage(&p, 2), 0, 1e-6);
    /* Up at once, down in steps. */
    pressure_merged(&p, 100, 50);
    assert_float_equal(pressure_garbage(&p, 2), 1, 1e-6);
    pressure_merged(&p, 100, 0);
    assert_float_equal(pressure_garbage(&p, 2), 0.7, 1e-6);
    pressure_merged(&p, 100, 300); /* versions of the same run */
    assert_float_equal(pressure_garbage(&p, 2), 2, 1e-6);
}

static void test_both(void **state)
{
    (void)state;
    struct pressure p = {.flush_rate = 100 * MIB, .compaction_rate = 1 * MIB};
    struct pressure_input in = calm();
    in.frozen = 2;
    in.runs = 30;
    pressure_pace(&p, &in);
    assert_string_equal(p.cause, "compaction is behind");
    p.compaction_rate = 9000 * MIB;
    pressure_pace(&p, &in);
    assert_string_equal(p.cause, "memtables wait for their flush");
}

static void test_rates(void **state)
{
    (void)state;
    struct pressure p = {.cause = ""};
    /* Small pieces of work, and such without a duration, say nothing. */
    pressure_flushed(&p, 1000, 1000);
    pressure_flushed(&p, 1 << 20, 0);
    pressure_compacted(&p, 1000, 1000, 3);
    pressure_compacted(&p, 1 << 20, 0, 3);
    assert_true(p.flush_rate <= 0 && p.compaction_rate <= 0);
    pressure_flushed(&p, 100 << 20, 1000000000);
    assert_int_equal((uint64_t)p.flush_rate, 100 << 20);
    pressure_flushed(&p, 200 << 20, 1000000000); /* smoothed */
    assert_true(p.flush_rate > 125 * MIB && p.flush_rate < 135 * MIB);
    pressure_compacted(&p, 30 << 20, 1000000000, 3);
    assert_int_equal((uint64_t)p.compaction_rate, 10 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calm),      cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_debt),      cmocka_unit_test(test_both),
        cmocka_unit_test(test_rates),     cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_shadowing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
