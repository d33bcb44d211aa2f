/* Costs of the memtable alone, in CPU time of one thread:
   memtable_bench [arena MiB]. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/random.h"
#include "memtable/memtable.h"

enum { KEY = 16, VALUE = 100, ROUNDS = 3 };

struct bench {
    struct memtable_pool *pool;
    struct memtable *m;
    uint64_t seq, entries;
};

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(const char *name, double start, uint64_t operations)
{
    printf("%-22s %8.1f ns\n", name, (cpu_ns() - start) / (double)operations);
}

static void fail(const char *what)
{
    fprintf(stderr, "memtable_bench: %s\n", what);
    exit(1);
}

static void random_key(uint8_t *key, struct random *r)
{
    put_u64(key, random_next(r));
    put_u64(key + 8, random_next(r));
}

static void ascending_key(uint8_t *key, uint64_t i)
{
    char text[32];
    snprintf(text, sizeof text, "%016llu", (unsigned long long)i);
    memcpy(key, text, KEY);
}

static void insert(struct bench *b, const uint8_t *key)
{
    static const uint8_t value[VALUE] = "value";
    struct memtable_write w = {.key = slice_of(key, KEY),
                               .hash = hash_key(key, KEY),
                               .seq = ++b->seq,
                               .kind = KV_PUT,
                               .value = slice_of(value, VALUE),
                               .in_place = true};
    if (memtable_put(b->m, &w) != ADB_OK)
        fail("put");
}

static void fresh(struct bench *b)
{
    memtable_unref(b->m);
    if (memtable_new(b->pool, 0, &b->m) != ADB_OK)
        fail("no memory");
    b->seq = 0;
}

static bool has_room(const struct bench *b)
{
    return memtable_has_room(b->m, memtable_worst_case(1, KEY, VALUE));
}

static void bench_random(struct bench *b)
{
    struct random r;
    uint8_t key[KEY];
    fresh(b);
    random_seed(&r, 1);
    double start = cpu_ns();
    while (has_room(b)) {
        random_key(key, &r);
        insert(b, key);
    }
    b->entries = b->seq;
    report("random insert", start, b->entries);
    printf("%-22s %8.1f\n", "bytes per entry",
           (double)memtable_used(b->m) / (double)b->entries);
}

/* seed 1: the keys that are there, in another order than inserted. */
static void bench_get(struct bench *b, const char *name, uint64_t seed)
{
    uint8_t(*keys)[KEY] = malloc(b->entries * KEY);
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    struct random r, order;
    uint64_t hits = 0;
    if (!keys)
        fail("no memory");
    random_seed(&r, seed);
    random_seed(&order, 99);
    for (uint64_t i = 0; i < b->entries; i++) {
        uint64_t other = random_below(&order, i + 1);
        memcpy(keys[i], keys[other], KEY);
        random_key(keys[other], &r);
    }
    double start = cpu_ns();
    for (uint64_t i = 0; i < b->entries; i++)
        hits +=
            memtable_get(b->m, slice_of(keys[i], KEY), hash_key(keys[i], KEY),
                         b->seq, false, scratch, &hit);
    report(name, start, b->entries);
    if (hits != (seed == 1 ? b->entries : 0))
        fail("wrong hits");
    free(keys);
}

static void bench_overwrite(struct bench *b)
{
    struct random keys;
    uint8_t key[KEY];
    uint64_t operations = b->entries;
    double start = cpu_ns();
    random_seed(&keys, 1);
    for (uint64_t i = 0; i < operations; i++) {
        if (i % 1024 == 0) /* a hot thousand */
            random_seed(&keys, 1);
        random_key(key, &keys);
        insert(b, key);
    }
    report("overwrite, hot keys", start, operations);
}

static void bench_scan(struct bench *b, bool backward)
{
    struct kv_iter *it = memtable_iter_new(b->m, KV_MAX_SEQ, false);
    uint64_t count = 0, sum = 0;
    if (!it)
        fail("no memory");
    double start = cpu_ns();
    if (backward)
        it->ops->seek_last(it);
    else
        it->ops->seek_first(it);
    while (it->valid) {
        count++;
        sum += it->head + it->value.size;
        if (backward)
            kv_iter_prev(it);
        else
            kv_iter_next(it);
    }
    report(backward ? "scan backward" : "scan", start, count);
    if (sum == 0)
        fail("wrong scan");
    kv_iter_close(it);
}

static void bench_sequential(struct bench *b)
{
    uint64_t limit = b->entries;
    uint8_t(*keys)[KEY] = malloc(limit * KEY);
    if (!keys)
        fail("no memory");
    fresh(b);
    for (uint64_t i = 0; i < limit; i++)
        ascending_key(keys[i], i);
    double start = cpu_ns();
    uint64_t n = 0;
    while (n < limit && has_room(b))
        insert(b, keys[n++]);
    report("sequential insert", start, n);
    printf("%-22s %8.1f\n", "bytes per entry",
           (double)memtable_used(b->m) / (double)n);
    free(keys);
}

int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    struct bench b = {.pool = memtable_pool_new(mib << 20, 1, NULL)};
    if (!b.pool)
        fail("no memory");
    for (int round = 0; round < ROUNDS; round++) {
        printf("-- round %d (the first touches fresh memory)\n", round + 1);
        bench_random(&b);
        bench_get(&b, "get", 1);
        bench_get(&b, "get, missing", 2);
        bench_scan(&b, false);
        bench_scan(&b, true);
        bench_overwrite(&b);
        bench_sequential(&b);
    }
    memtable_unref(b.m);
    memtable_pool_free(b.pool);
    return 0;
}
