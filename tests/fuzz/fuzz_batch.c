/* kv/batch.h: operations as they stand in log records. Anything that decodes
   encodes to what decodes alike. Mode: unused. */
#include "fuzz.h"
#include "kv/batch.h"

static void check_round_trip(enum kv_kind kind, adb_slice key,
                             adb_slice value)
{
    enum kv_kind kind_again;
    adb_slice key_again, value_again;
    size_t size = kv_operation_size(kind, key.size, value.size);
    uint8_t *bytes = malloc(size);
    FUZZ_CHECK(bytes);
    FUZZ_CHECK(kv_operation_encode(bytes, kind, key, value) == bytes + size);
    const uint8_t *p = bytes;
    FUZZ_CHECK(kv_operation_decode(&p, bytes + size, &kind_again, &key_again,
                                   &value_again) == ADB_OK);
    FUZZ_CHECK(p == bytes + size && kind_again == kind &&
               slice_equal(key, key_again) && slice_equal(value, value_again));
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *p = data, *end = data + size;
    struct kv_batch batch = {0};
    fuzz_watch_allocations();
    if (size)
        p++;
    for (;;) {
        enum kv_kind kind;
        adb_slice key, value;
        const uint8_t *before = p;
        adb_status status =
            kv_operation_decode(&p, end, &kind, &key, &value);
        if (fuzz_expect_words(status) != ADB_OK) {
            FUZZ_CHECK(p == before);
            break;
        }
        FUZZ_CHECK(p > before && p <= end);
        check_round_trip(kind, key, value);
        FUZZ_CHECK(kv_batch_add(&batch, kind, key, value) == ADB_OK);
    }
    FUZZ_CHECK(batch.bytes.size <= size);
    kv_batch_deinit(&batch);
    return 0;
}
