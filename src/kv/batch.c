#include "kv/batch.h"

adb_status kv_check_sizes(size_t key_size, size_t value_size)
{
    if (key_size > ADB_MAX_KEY_SIZE)
        return status_set(ADB_TOO_LARGE, "key of %zu bytes: at most %u are "
                          "possible", key_size, ADB_MAX_KEY_SIZE);
    if (value_size > ADB_MAX_VALUE_SIZE)
        return status_set(ADB_TOO_LARGE, "value of %zu bytes: at most %u are "
                          "possible; split it over several keys", value_size,
                          ADB_MAX_VALUE_SIZE);
    return ADB_OK;
}

size_t kv_operation_size(enum kv_kind kind, size_t key_size, size_t value_size)
{
    size_t size = 1 + varint_size(key_size) + key_size;
    if (kind == KV_PUT)
        size += varint_size(value_size) + value_size;
    return size;
}

static uint8_t *encode_slice(uint8_t *p, adb_slice s)
{
    p = put_varint(p, s.size);
    if (s.size)
        memcpy(p, s.data, s.size);
    return p + s.size;
}

uint8_t *kv_operation_encode(uint8_t *p, enum kv_kind kind, adb_slice key,
                             adb_slice value)
{
    *p++ = (uint8_t)kind;
    p = encode_slice(p, key);
    return kind == KV_PUT ? encode_slice(p, value) : p;
}

adb_status kv_batch_add(struct kv_batch *b, enum kv_kind kind, adb_slice key,
                        adb_slice value)
{
    adb_status status = kv_check_sizes(key.size, value.size);
    if (status != ADB_OK)
        return status;
    size_t size = kv_operation_size(kind, key.size, value.size);
    if (size > KV_BATCH_MAX_BYTES - b->bytes.size || b->count == UINT32_MAX)
        return status_set(ADB_TOO_LARGE, "batch of %zu bytes: at most %zu are "
                          "possible; write it in parts",
                          b->bytes.size + size, KV_BATCH_MAX_BYTES);
    status = buffer_reserve(&b->bytes, size);
    if (status != ADB_OK)
        return status;
    kv_operation_encode(b->bytes.data + b->bytes.size, kind, key, value);
    b->bytes.size += size;
    b->count++;
    b->key_bytes += key.size;
    b->value_bytes += value.size;
    b->largest_value = MAX_OF(b->largest_value, (uint64_t)value.size);
    return ADB_OK;
}

void kv_batch_clear(struct kv_batch *b)
{
    struct buffer bytes = b->bytes;
    bytes.size = 0;
    *b = (struct kv_batch){.bytes = bytes};
}

void kv_batch_deinit(struct kv_batch *b)
{
    buffer_deinit(&b->bytes);
    *b = (struct kv_batch){0};
}

adb_status kv_operation_decode(const uint8_t **cursor, const uint8_t *end,
                               enum kv_kind *kind, adb_slice *key,
                               adb_slice *value)
{
    const uint8_t *p = *cursor;
    if (p >= end)
        return status_set(ADB_CORRUPTION, "batch ends before its count");
    unsigned tag = *p++;
    if (tag > KV_KIND_MAX)
        return status_set(ADB_UNSUPPORTED,
                          "operation of unknown kind %u; a newer version may "
                          "have written it", tag);
    p = get_slice(p, end, key);
    if (p && tag == KV_PUT)
        p = get_slice(p, end, value);
    else
        *value = slice_of(NULL, 0);
    if (!p)
        return status_set(ADB_CORRUPTION, "operation runs past its batch");
    if (key->size > ADB_MAX_KEY_SIZE || value->size > ADB_MAX_VALUE_SIZE)
        return status_set(ADB_CORRUPTION,
                          "operation with a key of %zu and a value of %zu "
                          "bytes", key->size, value->size);
    *kind = (enum kv_kind)tag;
    *cursor = p;
    return ADB_OK;
}
