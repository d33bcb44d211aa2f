/* The layout stands in filter.h. */
#include "sst/filter.h"

enum { KIND_BLOCKED_512 = 1, AHEAD = 16 };

static uint32_t line_count(size_t keys, unsigned bits_per_key)
{
    uint64_t lines = ((uint64_t)keys * bits_per_key + 511) / 512;
    /* Far above any part; keeps the multiplication in sst_filter_line whole. */
    return (uint32_t)MIN_OF(MAX_OF(lines, 1), UINT64_C(1) << 24);
}

size_t sst_filter_size(size_t keys, unsigned bits_per_key)
{
    return (size_t)line_count(keys, bits_per_key) * SST_FILTER_LINE +
           SST_FILTER_TAIL;
}

void sst_filter_build(const uint64_t *hashes, size_t keys,
                      unsigned bits_per_key, uint8_t *raw)
{
    struct sst_filter f = {raw, line_count(keys, bits_per_key)};
    uint8_t *tail = raw + (size_t)f.count * SST_FILTER_LINE;

    memset(raw, 0, (size_t)f.count * SST_FILTER_LINE);
    for (size_t i = 0; i < keys; i++) {
        /* Lines come in random order: have them on their way. */
        if (i + AHEAD < keys)
            sst_filter_prefetch(&f, hashes[i + AHEAD]);
        uint8_t *line = raw + (sst_filter_line(&f, hashes[i]) - raw);
        uint64_t m = (hashes[i] * 0x9E3779B97F4A7C15u) >> 10;
        for (int k = 0; k < SST_FILTER_PROBES; k++, m >>= 9)
            line[(m & 511) >> 3] |= (uint8_t)(1u << (m & 7));
    }
    put_u32(tail, f.count);
    put_u16(tail + 4, KIND_BLOCKED_512);
    put_u16(tail + 6, SST_FILTER_PROBES);
    put_u64(tail + 8, keys);
}

adb_status sst_filter_decode(const uint8_t *raw, size_t size,
                             struct sst_filter *out)
{
    if (size < SST_FILTER_LINE + SST_FILTER_TAIL)
        return status_set(ADB_CORRUPTION, "filter: size out of range");
    const uint8_t *tail = raw + size - SST_FILTER_TAIL;
    if (get_u16(tail + 4) != KIND_BLOCKED_512 ||
        get_u16(tail + 6) != SST_FILTER_PROBES)
        return status_set(ADB_UNSUPPORTED,
                          "filter: kind %d is of a newer version",
                          get_u16(tail + 4));
    uint32_t lines = get_u32(tail);
    if ((uint64_t)lines * SST_FILTER_LINE != size - SST_FILTER_TAIL)
        return status_set(ADB_CORRUPTION, "filter: size differs from its "
                                          "line count");
    out->lines = raw;
    out->count = lines;
    return ADB_OK;
}
