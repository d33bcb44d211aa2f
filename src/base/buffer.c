#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

void buffer_deinit(struct buffer *b)
{
    mem_free(b->data);
    *b = (struct buffer){0};
}

adb_status buffer_reserve(struct buffer *b, size_t more)
{
    if (more <= b->capacity - b->size)
        return ADB_OK;
    if (more > SIZE_MAX / 2 - b->size)
        return status_set(ADB_TOO_LARGE, "buffer of %zu + %zu bytes", b->size,
                          more);
    size_t capacity = MAX_OF(b->capacity * 2, b->size + more);
    capacity = MAX_OF(capacity, (size_t)64);
    uint8_t *data = mem_realloc(b->data, capacity);
    if (!data && capacity > b->size + more) {
        capacity = b->size + more;
        data = mem_realloc(b->data, capacity);
    }
    if (!data)
        return status_set(ADB_NO_MEMORY, "no memory for a buffer of %zu bytes",
                          capacity);
    b->data = data;
    b->capacity = capacity;
    return ADB_OK;
}

adb_status buffer_append(struct buffer *b, const void *data, size_t size)
{
    adb_status status = buffer_reserve(b, size);
    if (status == ADB_OK && size) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
    return status;
}

adb_status buffer_append_zeros(struct buffer *b, size_t size)
{
    adb_status status = buffer_reserve(b, size);
    if (status == ADB_OK && size) {
        memset(b->data + b->size, 0, size);
        b->size += size;
    }
    return status;
}

adb_status buffer_append_varint(struct buffer *b, uint64_t v)
{
    adb_status status = buffer_reserve(b, VARINT_MAX);
    if (status == ADB_OK)
        b->size = (size_t)(put_varint(b->data + b->size, v) - b->data);
    return status;
}

adb_status buffer_append_slice(struct buffer *b, adb_slice s)
{
    adb_status status = buffer_reserve(b, VARINT_MAX + s.size);
    if (status == ADB_OK) {
        b->size = (size_t)(put_varint(b->data + b->size, s.size) - b->data);
        if (s.size)
            memcpy(b->data + b->size, s.data, s.size);
        b->size += s.size;
    }
    return status;
}

adb_status buffer_append_u32(struct buffer *b, uint32_t v)
{
    uint8_t bytes[4];
    put_u32(bytes, v);
    return buffer_append(b, bytes, sizeof bytes);
}

adb_status buffer_append_u64(struct buffer *b, uint64_t v)
{
    uint8_t bytes[8];
    put_u64(bytes, v);
    return buffer_append(b, bytes, sizeof bytes);
}

adb_status buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (needed < 0)
        return status_set(ADB_INVALID, "text cannot be formatted");
    adb_status status = buffer_reserve(b, (size_t)needed + 1);
    if (status != ADB_OK)
        return status;
    va_start(args, format);
    vsnprintf((char *)b->data + b->size, (size_t)needed + 1, format, args);
    va_end(args);
    b->size += (size_t)needed;
    return ADB_OK;
}

const uint8_t *get_slice(const uint8_t *p, const uint8_t *end, adb_slice *s)
{
    uint64_t size;
    p = get_varint(p, end, &size);
    if (!p || size > (uint64_t)(end - p))
        return NULL;
    *s = slice_of(p, (size_t)size);
    return p + size;
}
