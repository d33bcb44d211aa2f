/* What the tests of the memtable share. */
#ifndef TESTS_MEMTABLE_TEST_H
#define TESTS_MEMTABLE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "memtable/memtable.h"

/* A seed from the environment or the clock, printed. */
static inline uint64_t test_seed(void)
{
    const char *given = getenv("ADB_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed =
        given ? strtoull(given, NULL, 0)
              : (uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec;
    printf("ADB_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* The bytes of the value written with a sequence: every word names it. */
static inline void value_fill(uint8_t *p, size_t size, uint64_t seq)
{
    for (size_t i = 0; i < size; i++)
        p[i] =
            (uint8_t)(seq * 0x9E3779B97F4A7C15u >> (8 * (i % 8))) ^ (uint8_t)i;
}
static inline bool value_is(adb_slice v, size_t size, uint64_t seq)
{
    const uint8_t *p = v.data;
    if (v.size != size)
        return false;
    for (size_t i = 0; i < size; i++)
        if (p[i] !=
            (uint8_t)((uint8_t)(seq * 0x9E3779B97F4A7C15u >> (8 * (i % 8))) ^
                      (uint8_t)i))
            return false;
    return true;
}

static inline struct memtable_write write_of(adb_slice key, uint64_t seq,
                                             enum kv_kind kind, adb_slice value)
{
    return (struct memtable_write){.key = key,
                                   .hash = hash_key(key.data, key.size),
                                   .seq = seq,
                                   .kind = kind,
                                   .value = value};
}

static inline bool get(struct memtable *m, adb_slice key, uint64_t read_seq,
                       bool registered, uint8_t *scratch,
                       struct memtable_hit *hit)
{
    return memtable_get(m, key, hash_key(key.data, key.size), read_seq,
                        registered, scratch, hit);
}

static inline void check(struct memtable *m)
{
    adb_status status = memtable_check(m);
    if (status != ADB_OK)
        fail_msg("%s", status_message());
}

#endif
