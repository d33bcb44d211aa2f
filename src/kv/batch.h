/*
 * A batch: operations in order, as one run of bytes that is also the payload
 * of a log record, so that a write is encoded once.
 *
 *   batch     := operation*
 *   operation := kind (1 byte, kv_kind)
 *                key size (varint) key
 *                [kind = put: value size (varint) value]
 *
 * The i-th operation (from 0) has sequence first_seq + i. The count travels in
 * the record header.
 */
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "base/buffer.h"
#include "kv/types.h"

/* One batch's encoded bytes: log records carry a 32-bit length. */
#define KV_BATCH_MAX_BYTES ((size_t)0xE0000000u)

struct kv_batch {
    struct buffer bytes; /* owned */
    uint32_t count;
    uint64_t key_bytes;
    uint64_t value_bytes;
    uint64_t largest_value;
};

/* Check sizes of one key and value against the public limits; ADB_TOO_LARGE
   names what is too large. */
adb_status kv_check_sizes(size_t key_size, size_t value_size) ADB_MUST_CHECK;

adb_status kv_batch_add(struct kv_batch *b, enum kv_kind kind, adb_slice key,
                        adb_slice value) ADB_MUST_CHECK;
void kv_batch_clear(struct kv_batch *b);
void kv_batch_deinit(struct kv_batch *b);

/* The encoded size of one operation, and its encoding; p needs that room.
   Returns the byte after. */
size_t kv_operation_size(enum kv_kind kind, size_t key_size,
                         size_t value_size);
uint8_t *kv_operation_encode(uint8_t *p, enum kv_kind kind, adb_slice key,
                             adb_slice value);

/* Decodes the operation at *cursor (moved behind it). ADB_CORRUPTION or
   ADB_UNSUPPORTED (unknown kind) with a message; the caller adds the place. */
adb_status kv_operation_decode(const uint8_t **cursor, const uint8_t *end,
                               enum kv_kind *kind, adb_slice *key,
                               adb_slice *value) ADB_MUST_CHECK;

#endif
