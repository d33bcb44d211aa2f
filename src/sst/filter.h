/*
 * Filter part: a Bloom filter in blocks of 512 bits (Putze, Sanders, Singler
 * 2007), so that a probe touches one cache line; six bits a key, about 1 %
 * false positives at 10 bits per key.
 *
 *   filter := line[lines] (64 bytes each)
 *             u32 lines, u16 kind = 1, u16 bits set per key = 6, u64 keys
 *
 * The tail stands behind so that lines are aligned when the buffer is.
 *
 * For the hash h = hash_key(key):
 *   line  = (h >> 32) * lines >> 32
 *   m     = h * 0x9E3779B97F4A7C15 (mod 2^64)
 *   bit i = (m >> (10 + 9 * i)) & 511, i = 0..5; bit b of a line is bit b & 7
 *           of its byte b >> 3
 *
 * Threads: pure.
 */
#ifndef SST_FILTER_H
#define SST_FILTER_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

enum { SST_FILTER_LINE = 64, SST_FILTER_TAIL = 16, SST_FILTER_PROBES = 6 };

/* A view on the raw bytes, which it borrows. */
struct sst_filter {
    const uint8_t *lines;
    uint32_t count;
};

/* Raw size for so many keys. */
size_t sst_filter_size(size_t keys, unsigned bits_per_key);
/* Writes sst_filter_size(keys, bits_per_key) bytes to raw. */
void sst_filter_build(const uint64_t *hashes, size_t keys,
                      unsigned bits_per_key, uint8_t *raw);

/* Messages without place. */
adb_status sst_filter_decode(const uint8_t *raw, size_t size,
                             struct sst_filter *out) ADB_MUST_CHECK;

static inline const uint8_t *sst_filter_line(const struct sst_filter *f,
                                             uint64_t hash)
{
    return f->lines + ((hash >> 32) * f->count >> 32) * SST_FILTER_LINE;
}
static inline void sst_filter_prefetch(const struct sst_filter *f,
                                       uint64_t hash)
{
    __builtin_prefetch(sst_filter_line(f, hash));
}
/* False: no key with this hash was put in. */
static inline bool sst_filter_may_contain(const struct sst_filter *f,
                                          uint64_t hash)
{
    const uint8_t *line = sst_filter_line(f, hash);
    uint64_t m = (hash * 0x9E3779B97F4A7C15u) >> 10;
    unsigned all = 1;
    for (int i = 0; i < SST_FILTER_PROBES; i++, m >>= 9)
        all &= (unsigned)line[(m & 511) >> 3] >> (m & 7);
    return all;
}

#endif
