/*
 * Where the heads of keys begin. Keys of a range mostly share their first
 * bytes ("user:000017", "user:000042"): there a head that is the first eight
 * bytes of the key decides nothing. Counted from an origin, a prefix that the
 * keys at hand are expected to have, it is the eight bytes behind it:
 *
 *   origin "user:"   zebra   -> all ones     sorts after what has the prefix
 *                    user:17 -> "17"
 *                    apple   -> 0            sorts before
 *
 * Any origin is right for any keys: head(a) < head(b) still implies a < b, and
 * equal heads decide nothing. Heads compare only if they have one origin.
 */
#ifndef KV_ORIGIN_H
#define KV_ORIGIN_H

#include "kv/types.h"

enum { KEY_ORIGIN_MAX = 255 };

struct key_origin {
    size_t size; /* 0: heads are of whole keys */
    uint8_t prefix[KEY_ORIGIN_MAX];
};

/* How key stands to the prefix: 0 it has it, else before (-1) or after it. */
static inline int key_origin_side(const struct key_origin *o, const void *key,
                                  size_t size)
{
    size_t n = MIN_OF(size, o->size);
    int order;
    if (likely(n >= 8 && n <= 16)) { /* two words that overlap: no call */
        uint64_t first = key_head8(key, 8), own = key_head8(o->prefix, 8);
        if (likely(first == own)) {
            first = key_head8((const uint8_t *)key + n - 8, 8);
            own = key_head8(o->prefix + n - 8, 8);
        }
        order = first < own ? -1 : first > own;
    } else {
        order = n ? memcmp(key, o->prefix, n) : 0;
    }
    return order == 0 && size < o->size ? -1 : order;
}

/* NULL: no origin. */
static inline uint64_t key_head_from(const struct key_origin *o,
                                     const void *key, size_t size)
{
    if (!o || !o->size)
        return key_head8(key, size);
    int side = key_origin_side(o, key, size);
    if (likely(side == 0))
        return key_head8((const uint8_t *)key + o->size, size - o->size);
    return side < 0 ? 0 : UINT64_MAX;
}

/* The longest prefix that all keys from first to last have. */
static inline void key_origin_of(struct key_origin *o, adb_slice first,
                                 adb_slice last)
{
    o->size = MIN_OF(slice_common_prefix(first, last), (size_t)KEY_ORIGIN_MAX);
    if (o->size)
        memcpy(o->prefix, first.data, o->size);
}

#endif
