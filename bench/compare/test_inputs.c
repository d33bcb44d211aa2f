/*
 * What the comparator's figures rest on: keys and values are what they claim
 * to be, wrong ones are noticed, latencies are filed where they belong, and a
 * stream is the same each time.
 */
#include "support.h"

#include "histogram.h"
#include "stream.h"

static jmp_buf on_fatal;

void fatal(const char *format, ...)
{
    (void)format;
    longjmp(on_fatal, 1);
}

void *need(size_t bytes)
{
    return calloc(1, bytes ? bytes : 1);
}

static bool key_is_wrong(struct bytes key)
{
    if (setjmp(on_fatal) != 0)
        return true;
    key_check(key);
    return false;
}

static bool value_is_wrong(const struct values *values, struct bytes value,
                           uint64_t number)
{
    if (setjmp(on_fatal) != 0)
        return true;
    value_check_all(values, value, number);
    return false;
}

static void test_keys(void **state)
{
    static const uint64_t numbers[] = {
        0, 1, 9, 10, 9999, 10000, 99999999, 100000000, 8589934591};
    char key[KEY_SIZE], text[KEY_SIZE + 1];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct bytes made = key_make(key, numbers[i]);
        snprintf(text, sizeof text, "%016llu", (unsigned long long)numbers[i]);
        assert_int_equal(made.size, KEY_SIZE);
        assert_memory_equal(made.data, text, KEY_SIZE);
        assert_int_equal(key_number(made), numbers[i]);
        assert_false(key_is_wrong(made));
    }
    key[3] = ':';
    assert_true(key_is_wrong((struct bytes){key, KEY_SIZE}));
    assert_true(key_is_wrong((struct bytes){key, KEY_SIZE - 1}));
}

static void test_values(void **state)
{
    static const size_t sizes[] = {VALUE_SIZE_MIN, 100, 4096, 65536};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct values values;
        values_init(&values, sizes[i]);
        char *buffer = need(sizes[i]);
        struct bytes v = value_make(&values, buffer, 7, 12345);
        assert_int_equal(value_check_all(&values, v, 7), 12345);
        assert_true(value_is_wrong(&values, v, 8));
        for (size_t at = 0; at < sizes[i]; at += 1 + sizes[i] / 300) {
            buffer[at] ^= 1;
            assert_true(value_is_wrong(&values, v, 7));
            buffer[at] ^= 1;
        }
        v.size--;
        assert_true(value_is_wrong(&values, v, 7));
        free(buffer);
        values_deinit(&values);
    }
}

static void test_permutation(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 300; count++) {
        bool seen[300] = {false};
        for (uint64_t i = 0; i < count; i++) {
            uint64_t to = permute(i, count);
            assert_true(to < count);
            assert_false(seen[to]);
            seen[to] = true;
        }
    }
}

static void test_zipf(void **state)
{
    enum { KEYS = 1000, DRAWS = 100000 };
    static unsigned hits[KEYS];
    struct zipf zipf;
    struct random random = {1};
    (void)state;
    zipf_init(&zipf, KEYS, 0.99);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t rank = zipf_next(&zipf, &random);
        assert_true(rank < KEYS);
        hits[rank]++;
    }
    /* The first gets 1 / zeta of all, the second half as many and so on. */
    assert_in_range(hits[0], 0.95 * DRAWS / zipf.zeta,
                    1.05 * DRAWS / zipf.zeta);
    assert_in_range(hits[1], 0.45 * hits[0], 0.56 * hits[0]);
    assert_in_range(hits[9], 0.07 * hits[0], 0.13 * hits[0]);
}

static void test_histogram(void **state)
{
    static const double parts[] = {.5, .999};
    (void)state;
    for (uint64_t ns = 1; ns < (uint64_t)1 << 40; ns += ns / 7 + 1) {
        struct histogram *h = need(sizeof *h);
        for (unsigned i = 0; i < 10; i++)
            histogram_add(h, ns);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            assert_true(histogram_at(h, parts[i]) <= ns);
            assert_true(histogram_at(h, parts[i]) >= ns - ns / 32);
        }
        assert_int_equal(h->max, ns);
        free(h);
    }
}

/* Percentiles of 1 to 1000, and of two threads' halves together. */
static void test_percentiles(void **state)
{
    struct histogram *low = need(sizeof *low), *high = need(sizeof *high);
    (void)state;
    for (uint64_t ns = 1; ns <= 1000; ns++)
        histogram_add(ns <= 500 ? low : high, ns);
    histogram_merge(low, high);
    assert_in_range(histogram_at(low, .5), 485, 501);
    assert_in_range(histogram_at(low, .95), 920, 951);
    assert_in_range(histogram_at(low, .999), 960, 1000);
    assert_int_equal(low->max, 1000);
    free(low);
    free(high);
}

static void test_streams_repeat(void **state)
{
    static const char *const names[] = {"overwrite", "ycsba", "ycsbd", "ycsbe",
                                        "deleterandom"};
    struct zipf zipf;
    (void)state;
    zipf_init(&zipf, 1000, 0.99);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stream a, b;
        stream_init(&a, workload_find(names[i]), &zipf, 1000, 1, 2, 10);
        stream_init(&b, workload_find(names[i]), &zipf, 1000, 1, 2, 10);
        for (unsigned n = 0; n < 5000; n++) {
            struct op x = {0}, y = {0};
            assert_true(stream_next(&a, &x) && stream_next(&b, &y));
            assert_int_equal(x.kind, y.kind);
            assert_int_equal(x.key, y.key);
            assert_int_equal(x.stamp, y.stamp);
            assert_int_equal(x.key & 1, 0);
        }
    }
}

/* Whatever the threads, a fill writes each key once. */
static void test_fills_are_whole(void **state)
{
    enum { KEYS = 1001 };
    (void)state;
    for (unsigned threads = 1; threads <= 8; threads++) {
        bool seen[KEYS] = {false};
        unsigned total = 0;
        for (unsigned t = 0; t < threads; t++) {
            struct stream s;
            struct op op;
            stream_init(&s, workload_find("fillrandom"), NULL, KEYS, t, threads,
                        0);
            for (; stream_next(&s, &op); total++) {
                assert_false(seen[op.key / 2]);
                seen[op.key / 2] = true;
            }
        }
        assert_int_equal(total, KEYS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_zipf),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_streams_repeat),
        cmocka_unit_test(test_fills_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
