#include "base/bytes.h"

#include <stdio.h>

uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

size_t varint_size(uint64_t v)
{
    size_t size = 1;
    while (v >= 0x80) {
        v >>= 7;
        size++;
    }
    return size;
}

const uint8_t *get_varint_slow(const uint8_t *p, const uint8_t *end,
                               uint64_t *v)
{
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return NULL;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *v = result;
            return p;
        }
    }
    return NULL;
}

size_t slice_common_prefix(adb_slice a, adb_slice b)
{
    const uint8_t *x = a.data, *y = b.data;
    size_t n = MIN_OF(a.size, b.size), i = 0;
    while (i + 8 <= n) {
        uint64_t difference = get_u64(x + i) ^ get_u64(y + i);
        if (difference)
            return i + (size_t)__builtin_ctzll(difference) / 8;
        i += 8;
    }
    while (i < n && x[i] == y[i])
        i++;
    return i;
}

char *slice_print(adb_slice s, char *buffer, size_t buffer_size)
{
    const uint8_t *p = s.data;
    size_t used = 0;
    if (buffer_size == 0)
        return buffer;
    for (size_t i = 0; i < s.size; i++) {
        bool plain = p[i] >= ' ' && p[i] <= '~' && p[i] != '\\';
        size_t needed = plain ? 1 : 4;
        if (used + needed + 4 > buffer_size) {
            if (used + 4 <= buffer_size) {
                memcpy(buffer + used, "...", 3);
                used += 3;
            }
            break;
        }
        if (plain)
            buffer[used] = (char)p[i];
        else
            snprintf(buffer + used, 5, "\\x%02x", p[i]);
        used += needed;
    }
    buffer[used] = '\0';
    return buffer;
}
