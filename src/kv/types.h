/*
 * What the engine stores: versions of keys. A version is (user key, sequence
 * number, kind, value). Order: user key ascending (memcmp), then sequence
 * descending, so that the newest version of a key comes first.
 */
#ifndef KV_TYPES_H
#define KV_TYPES_H

#include "base/bytes.h"

/* Sequence numbers: 56 bits, from 1. */
#define KV_MAX_SEQ ((UINT64_C(1) << 56) - 1)

/* On disk; numbers are never reused. Those not yet written by this version
   are refused as ADB_UNSUPPORTED when read. */
enum kv_kind {
    KV_DELETE = 0,
    KV_PUT = 1,
    /* 2 merge operand, 3 range delete, 4 put with expiry, 5 put by value
       reference: reserved */
    KV_KIND_MAX = 1,
    /* Never on disk: an iterator's entry that stands for versions it cannot
       read, see kv/iterator.h. */
    KV_DAMAGED = 256
};

/* One version; slices borrow from whoever made the entry. */
struct kv_entry {
    adb_slice key;
    adb_slice value;
    uint64_t seq;
    enum kv_kind kind;
};

/* Keys ascending, then sequences descending. */
static inline int kv_compare(adb_slice a_key, uint64_t a_seq, adb_slice b_key,
                             uint64_t b_seq)
{
    int order = slice_compare(a_key, b_key);
    if (order != 0)
        return order;
    return a_seq > b_seq ? -1 : a_seq < b_seq;
}

#endif
