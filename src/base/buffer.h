/*
 * A growable run of bytes. Zero-initialised is empty; owned memory is released
 * by buffer_deinit, which leaves it empty again.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/bytes.h"
#include "base/status.h"

struct buffer {
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
};

void buffer_deinit(struct buffer *b);
static inline void buffer_clear(struct buffer *b)
{
    b->size = 0;
}

/* Room for `more` bytes beyond size. ADB_NO_MEMORY leaves b unchanged. */
adb_status buffer_reserve(struct buffer *b, size_t more) ADB_MUST_CHECK;
adb_status buffer_append(struct buffer *b, const void *data, size_t size)
    ADB_MUST_CHECK;
adb_status buffer_append_zeros(struct buffer *b, size_t size) ADB_MUST_CHECK;
adb_status buffer_append_varint(struct buffer *b, uint64_t v) ADB_MUST_CHECK;
/* varint length, then the bytes. */
adb_status buffer_append_slice(struct buffer *b, adb_slice s) ADB_MUST_CHECK;
adb_status buffer_append_u32(struct buffer *b, uint32_t v) ADB_MUST_CHECK;
adb_status buffer_append_u64(struct buffer *b, uint64_t v) ADB_MUST_CHECK;
adb_status buffer_printf(struct buffer *b, const char *format, ...)
    ADB_PRINTF(2, 3) ADB_MUST_CHECK;

static inline adb_slice buffer_slice(const struct buffer *b)
{
    return slice_of(b->data, b->size);
}

/* The inverse of buffer_append_slice: a slice borrowed from [p, end), or NULL
   when it is not whole. */
const uint8_t *get_slice(const uint8_t *p, const uint8_t *end, adb_slice *s);

#endif
