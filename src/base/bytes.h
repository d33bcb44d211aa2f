/*
 * Bytes: little-endian fixed integers, varints, slices and key heads. Pure;
 * decoders never read past `end` and never assert on what they read.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "albertdb/albertdb.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(pointer, type, member)                                    \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static inline void put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_u32(uint8_t *p, uint32_t v)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, 4);
}
static inline void put_u64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, 8);
}
static inline uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}
static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}
static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

enum { VARINT_MAX = 10 };

/* LEB128. Writes at most VARINT_MAX bytes; returns the byte after. */
uint8_t *put_varint(uint8_t *p, uint64_t v);
size_t varint_size(uint64_t v);

/* Returns the byte after, or NULL when [p, end) holds no whole varint that
   fits 64 bits. */
const uint8_t *get_varint_slow(const uint8_t *p, const uint8_t *end,
                               uint64_t *v);
static inline const uint8_t *get_varint(const uint8_t *p, const uint8_t *end,
                                        uint64_t *v)
{
    if (likely(p < end && *p < 0x80)) {
        *v = *p;
        return p + 1;
    }
    return get_varint_slow(p, end, v);
}

static inline adb_slice slice_of(const void *data, size_t size)
{
    adb_slice s = {data, size};
    return s;
}
static inline adb_slice slice_of_string(const char *text)
{
    return slice_of(text, strlen(text));
}

/* memcmp order; a prefix sorts before what it is a prefix of. */
static inline int slice_compare(adb_slice a, adb_slice b)
{
    size_t n = MIN_OF(a.size, b.size);
    int order = n ? memcmp(a.data, b.data, n) : 0;
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}
static inline bool slice_equal(adb_slice a, adb_slice b)
{
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}
static inline bool slice_has_prefix(adb_slice s, adb_slice prefix)
{
    return s.size >= prefix.size &&
           (!prefix.size || memcmp(s.data, prefix.data, prefix.size) == 0);
}
size_t slice_common_prefix(adb_slice a, adb_slice b);

/* The first 4 or 8 bytes as a big-endian number, zero padded: if head(a) <
   head(b) then a < b; equal heads decide nothing. */
static inline uint64_t key_head8(const void *data, size_t size)
{
    uint64_t v = 0;
    if (likely(size >= 8)) {
        memcpy(&v, data, 8);
        return __builtin_bswap64(v);
    }
    const uint8_t *p = data;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)p[i] << (56 - 8 * i);
    return v;
}
static inline uint32_t key_head4(const void *data, size_t size)
{
    if (likely(size >= 4)) {
        uint32_t v;
        memcpy(&v, data, 4);
        return __builtin_bswap32(v);
    }
    return (uint32_t)(key_head8(data, size) >> 32);
}

/* The key as printable text for messages: bytes outside ' '..'~' as \xNN,
   cut with "..." to fit. Returns buffer. */
char *slice_print(adb_slice s, char *buffer, size_t buffer_size);

#endif
