/* Back-pressure: what slows writers down, by how much, and why. */
#include "db/pressure.h"

#include "base/status.h"
#include "support.h"

#define MIB (1024.0 * 1024)

/* Nothing waits, and all marks are far. */
static struct pressure_input calm(void)
{
    return (struct pressure_input){.max_frozen = 4,
                                   .debt_soft = 100,
                                   .debt_hard = 1100,
                                   .runs_soft = 10,
                                   .runs_hard = 30};
}

static struct pressure measured(double flush_mib, double compaction_mib)
{
    return (struct pressure){.flush_rate = flush_mib * MIB,
                             .compaction_rate = compaction_mib * MIB};
}

static double rate_at(const struct pressure_input *in)
{
    struct pressure p = measured(100, 100);
    pressure_pace(&p, in);
    return p.allowed_rate / MIB;
}

static void assert_near(double found, double expected)
{
    if (found < expected * 0.999 || found > expected * 1.001)
        fail_msg("%f where %f was expected", found, expected);
}

static void test_nothing_waits(void **state)
{
    struct pressure p = measured(100, 100);
    struct pressure_input in = calm();
    (void)state;
    in.debt_bytes = in.debt_soft;
    in.runs = in.runs_soft;
    assert_int_equal(pressure_pace(&p, &in), 0);
    assert_string_equal(p.cause, "");
    /* The one memtable that is being flushed is no backlog. */
    in.frozen = 1;
    assert_int_equal(pressure_pace(&p, &in), 0);
}

/* From far above what flushing gets done down to three quarters of it. */
static void test_memtables(void **state)
{
    struct pressure_input in = calm();
    double before = 1e9;
    (void)state;
    for (in.frozen = 1; in.frozen <= 4; in.frozen++)
        for (in.writable_fill = 0.25; in.writable_fill <= 1;
             in.writable_fill += 0.25) {
            double rate = rate_at(&in);
            assert_true(rate < before);
            before = rate;
        }
    in.frozen = 3;
    in.writable_fill = 0; /* half way: 2 of 4 */
    assert_near(rate_at(&in), 100 * (0.75 + 6.0 / 8));
    in.frozen = 5;
    assert_near(rate_at(&in), 75);
}

static void test_compaction(void **state)
{
    struct pressure_input in = calm();
    (void)state;
    in.debt_bytes = 600;
    assert_near(rate_at(&in), 100 * (0.75 + 6.0 / 8));
    in.debt_bytes = 1100;
    assert_near(rate_at(&in), 75);
    in.debt_bytes = 100000;
    assert_near(rate_at(&in), 75);
    in.debt_bytes = 0;
    in.runs = 20;
    assert_near(rate_at(&in), 100 * (0.75 + 6.0 / 8));
    in.debt_bytes = 1100; /* the worse of the two */
    assert_near(rate_at(&in), 75);
}

/* Of two causes the one that allows less decides, and is told. */
static void test_two_causes(void **state)
{
    struct pressure slow_flush = measured(10, 100);
    struct pressure slow_merge = measured(100, 10);
    struct pressure_input in = calm();
    (void)state;
    in.frozen = 5;
    in.runs = 30;
    assert_int_equal(pressure_pace(&slow_flush, &in),
                     (uint64_t)(1e9 * 1024 / (7.5 * MIB)));
    assert_string_equal(slow_flush.cause, "memtables wait for their flush");
    assert_int_equal(pressure_pace(&slow_merge, &in),
                     (uint64_t)(1e9 * 1024 / (7.5 * MIB)));
    assert_string_equal(slow_merge.cause, "compaction is behind");
}

/* However slow the disk, writers are not stopped. */
static void test_slowest(void **state)
{
    struct pressure p = measured(0.001, 0.001);
    struct pressure_input in = calm();
    (void)state;
    in.frozen = 5;
    assert_int_equal(pressure_pace(&p, &in), 3906250); /* 256 KiB/s */
}

/* What room there is lasts until the flush under way is expected to end: as
   others did, or, if it takes longer, in as long again. */
static void test_slow_flush(void **state)
{
    struct pressure_input in = calm();
    (void)state;
    in.frozen = 3;
    in.room_bytes = 10 << 20;
    in.flush_ns = 1;
    assert_near(rate_at(&in), 100 * (0.75 + 6.0 / 8));
    in.flush_ns = 100000000;
    assert_near(rate_at(&in), 100);
    in.flush_ns = 1000000000;
    assert_near(rate_at(&in), 10);
    in.room_bytes = 0; /* no stop */
    assert_near(rate_at(&in), 16.0 / 1024);
    in.room_bytes = 10 << 20;
    in.flush_bytes = 20 << 20; /* 200 ms, by what was measured */
    in.flush_ns = 1;
    assert_near(rate_at(&in), 50);
    in.flush_ns = 250000000;
    assert_near(rate_at(&in), 40);
    in.frozen = 0; /* of an empty memtable: not in anybody's way */
    assert_near(rate_at(&in) + 1, 1);
}

static void test_rates(void **state)
{
    struct pressure p = measured(0, 0);
    (void)state;
    pressure_flushed(&p, 64 << 20, 1000000000);
    assert_near(p.flush_rate, 64 * MIB);
    pressure_flushed(&p, 164 << 20, 1000000000);
    assert_near(p.flush_rate, 0.7 * 64 * MIB + 0.3 * 164 * MIB);
    pressure_flushed(&p, 1000, 1000000000); /* says nothing */
    assert_near(p.flush_rate, 94 * MIB);
    pressure_compacted(&p, 300 << 20, 1000000000, 3);
    assert_near(p.compaction_rate, 100 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_waits),
        cmocka_unit_test(test_memtables),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_two_causes),
        cmocka_unit_test(test_slowest),
        cmocka_unit_test(test_slow_flush),
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
