/*
 * One number bounds memory. With ten million keys and the default budget the
 * process must hold what the ledger says and hardly more; with twenty million
 * a database must open and work in a sixteenth of that and with few
 * descriptors.
 */
#include "api_test.h"

#include <sys/resource.h>

#include "base/random.h"

enum { VALUE = 100, KEY = 16, MILLION = 1000000 };

static uint64_t million(void)
{
    return test_scaled(MILLION, MILLION / 50);
}

/* A field of /proc/self/status, in bytes. */
static uint64_t memory_of(const char *field)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, field, strlen(field)) == 0)
            sscanf(line + strlen(field), ": %llu kB", &kib);
    fclose(f);
    return kib * 1024;
}

/* Keys in an order that looks random: an odd multiplier permutes numbers. */
static void make_key(char key[KEY + 1], uint64_t i)
{
    snprintf(key, KEY + 1, "%016llx",
             (unsigned long long)(i * UINT64_C(0x9e3779b97f4a7c15)));
}

static void make_value(unsigned char value[VALUE], uint64_t i, uint64_t round)
{
    uint64_t x = i * 31 + round;
    for (size_t at = 0; at + 8 <= VALUE; at += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = at < VALUE / 2 ? x : x >> 56;
        memcpy(value + at, &word, 8);
    }
    memcpy(value + VALUE - 4, &x, 4);
}

static void put_range(adb *db, uint64_t from, uint64_t to, uint64_t round)
{
    char key[KEY + 1];
    unsigned char value[VALUE];
    for (uint64_t i = from; i < to; i++) {
        make_key(key, i);
        make_value(value, i, round);
        assert_ok(adb_put(db, NULL, key, KEY, value, VALUE));
    }
}

static void expect_key(adb *db, uint64_t i, uint64_t round)
{
    char key[KEY + 1];
    unsigned char value[VALUE];
    adb_value v;
    make_key(key, i);
    make_value(value, i, round);
    assert_ok(adb_get(db, NULL, key, KEY, &v));
    assert_int_equal(v.size, VALUE);
    assert_memory_equal(v.data, value, VALUE);
    adb_value_release(&v);
}

static void read_random(adb *db, struct random *r, uint64_t keys, uint64_t n)
{
    while (n-- > 0)
        expect_key(db, random_below(r, keys), 0);
}

static uint64_t scan(adb *db, uint64_t most)
{
    adb_iter *it;
    uint64_t n = 0;
    assert_ok(adb_iter_new(db, NULL, &it));
    for (int more = adb_iter_seek_first(it); more && n < most;
         more = adb_iter_next(it))
        n++;
    assert_ok(adb_iter_status(it));
    adb_iter_free(it);
    return n;
}

/* A budget this small is less than what the C library's heap keeps for the
   threads: the process held 20 to 25 MiB. */
static const uint64_t small_budget = 16 << 20;

/* At most 15 % over the ledger (and `slack`), and the ledger within the budget.
   `before` is what the process held without the database. */
static void check_memory(adb *db, const char *when, uint64_t before,
                         uint64_t budget, uint64_t slack)
{
    uint64_t anonymous = memory_of("RssAnon");
    uint64_t held = anonymous > before ? anonymous - before : 0;
    uint64_t ledger = stat_number(db, "total");
    printf("%s: %.1f MiB anonymous, ledger %.1f MiB, mapped %.1f MiB\n", when,
           (double)held / (1 << 20), (double)ledger / (1 << 20),
           (double)stat_number(db, "mapped") / (1 << 20));
    fflush(stdout);
    if (test_scaled(0, 1))
        return; /* a sanitizer's own memory is larger than all of this */
    assert_true(ledger <= budget + budget / 20);
    assert_true(held <= ledger + ledger * 15 / 100 + slack);
}

static void test_ten_million(void **state)
{
    struct random r;
    uint64_t keys = 10 * million(), budget = 256 << 20;
    uint64_t before = memory_of("RssAnon");
    random_seed(&r, test_seed());
    adb *db = open_with(*state, "durability=process");
    put_range(db, 0, keys, 0);
    check_memory(db, "filled", before, budget, 0);
    read_random(db, &r, keys, 2 * million());
    check_memory(db, "warm", before, budget, 0);
    assert_int_equal(scan(db, UINT64_MAX), keys);
    check_memory(db, "scanned", before, budget, 0);
    /* Reads and writes by turns: the memtables push the cache down. */
    for (uint64_t i = 0; i < 10; i++) {
        put_range(db, i * keys / 10, i * keys / 10 + million() / 10, 0);
        read_random(db, &r, keys, million() / 5);
    }
    check_memory(db, "mixed", before, budget, 0);
    put_range(db, keys, 2 * keys, 0);
    assert_ok(adb_close(db));
}

/* On the database that the first test left. */
static void test_twenty_million(void **state)
{
    struct random r;
    struct rlimit limit;
    uint64_t keys = 20 * million(), some = million() / 5;
    uint64_t before = memory_of("RssAnon");
    random_seed(&r, test_seed());
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t usual = limit.rlim_cur;
    limit.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    adb *db = open_with(*state, "durability=process memory_budget=16M");
    read_random(db, &r, keys, some);
    assert_int_equal(scan(db, keys / 4), keys / 4);
    for (uint64_t i = 0; i < some; i++) {
        char key[KEY + 1];
        make_key(key, i);
        assert_ok(adb_delete(db, NULL, key, KEY));
    }
    put_range(db, some, 2 * some, 1);
    assert_ok(adb_flush(db));
    for (uint64_t i = 0; i < some; i += 17) {
        char key[KEY + 1];
        adb_value v;
        make_key(key, i);
        assert_int_equal(adb_get(db, NULL, key, KEY, &v), ADB_NOT_FOUND);
        expect_key(db, some + i, 1);
        expect_key(db, 2 * some + random_below(&r, keys - 2 * some), 0);
    }
    check_memory(db, "small", before, small_budget, small_budget);
    assert_ok(adb_close(db));
    limit.rlim_cur = usual;
    setrlimit(RLIMIT_NOFILE, &limit);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_million),
        cmocka_unit_test(test_twenty_million),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
