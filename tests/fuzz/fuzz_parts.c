/*
 * The pieces of a table around its blocks, as decoded from a frame whose
 * checksum was right. Mode: which piece.
 */
#include "base/hash.h"
#include "fuzz.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "sst/index.h"

enum { FILE_BYTES = 1 << 20 }; /* of the file that handles point into */

static void fuzz_index(const uint8_t *raw, size_t size)
{
    struct sst_index index;
    size_t need = sst_index_memory(raw, size);
    if (!need)
        return;
    void *memory = mem_alloc(need);
    FUZZ_CHECK(memory);
    if (fuzz_expect_words(sst_index_decode(raw, size, FILE_BYTES, memory,
                                           &index)) == ADB_OK) {
        FUZZ_CHECK(index.count > 0);
        struct buffer key = {0};
        for (uint32_t i = 0; i < index.count; i++) {
            adb_slice suffix = sst_index_suffix(&index, i);
            buffer_clear(&key);
            FUZZ_CHECK(buffer_append(&key, index.prefix.data,
                                     index.prefix.size) == ADB_OK);
            FUZZ_CHECK(buffer_append(&key, suffix.data, suffix.size) ==
                       ADB_OK);
            uint32_t found = sst_index_find(&index, buffer_slice(&key));
            FUZZ_CHECK(found <= i);
            FUZZ_CHECK(slice_equal(sst_index_suffix(&index, found), suffix));
        }
        buffer_deinit(&key);
        sst_index_find(&index, slice_of(raw, MIN_OF(size, (size_t)20)));
        sst_index_find(&index, slice_of("", 0));
    }
    mem_free(memory);
}

static void fuzz_filter(const uint8_t *raw, size_t size)
{
    struct sst_filter filter;
    if (fuzz_expect_words(sst_filter_decode(raw, size, &filter)) != ADB_OK)
        return;
    for (uint64_t i = 0; i < 64; i++)
        (void)sst_filter_may_contain(&filter, hash_key(&i, sizeof i));
    (void)sst_filter_may_contain(&filter, 0);
    (void)sst_filter_may_contain(&filter, UINT64_MAX);
}

static void fuzz_top(const uint8_t *raw, size_t size)
{
    struct sst_top top;
    if (fuzz_expect_words(sst_top_decode(raw, size, FILE_BYTES, &top)) !=
        ADB_OK)
        return;
    struct buffer again = {0};
    for (uint32_t i = 0; i < top.count; i++) {
        FUZZ_CHECK(sst_top_find(&top, top.parts[i].last_key) <= i);
        FUZZ_CHECK(sst_part_encode(&again, &top.parts[i]) == ADB_OK);
    }
    struct sst_top copy;
    if (top.count) {
        FUZZ_CHECK(sst_top_decode(again.data, again.size, FILE_BYTES,
                                  &copy) == ADB_OK);
        FUZZ_CHECK(copy.count == top.count);
        sst_top_deinit(&copy);
    }
    buffer_deinit(&again);
    sst_top_deinit(&top);
}

static void fuzz_properties(const uint8_t *raw, size_t size)
{
    struct sst_properties properties, copy;
    if (fuzz_expect_words(sst_properties_decode(raw, size, &properties)) !=
        ADB_OK)
        return;
    struct buffer first = {0}, second = {0};
    FUZZ_CHECK(sst_properties_encode(&first, &properties) == ADB_OK);
    FUZZ_CHECK(sst_properties_decode(first.data, first.size, &copy) ==
               ADB_OK);
    FUZZ_CHECK(sst_properties_encode(&second, &copy) == ADB_OK);
    FUZZ_CHECK(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    buffer_deinit(&first);
    buffer_deinit(&second);
    sst_properties_deinit(&properties);
    sst_properties_deinit(&copy);
}

static void fuzz_footer(const uint8_t *raw, size_t size)
{
    uint8_t bytes[SST_FOOTER_SIZE], again[SST_FOOTER_SIZE];
    struct sst_footer footer;
    if (size < SST_FOOTER_SIZE)
        return;
    memcpy(bytes, raw, sizeof bytes);
    put_u64(bytes + 72, checksum_bound(bytes, 72, 7,
                                       FILE_BYTES - SST_FOOTER_SIZE));
    if (fuzz_expect_words(sst_footer_decode(bytes, 7, FILE_BYTES, "t",
                                            &footer)) != ADB_OK)
        return;
    sst_footer_encode(&footer, again);
    FUZZ_CHECK(memcmp(bytes, again, sizeof bytes) == 0);
}

static void fuzz_unpack(const uint8_t *raw, size_t size)
{
    if (size < 3)
        return;
    size_t unpacked = get_u16(raw + 1);
    uint8_t *room = malloc(unpacked);
    if (fuzz_expect_words(sst_decompress((enum sst_compression)(raw[0] & 3),
                                         raw + 3, size - 3, room,
                                         unpacked)) == ADB_OK)
        fuzz_touch(slice_of(room, unpacked));
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const pieces[])(const uint8_t *, size_t) = {
        fuzz_index,      fuzz_filter, fuzz_top,
        fuzz_properties, fuzz_footer, fuzz_unpack};
    fuzz_watch_allocations();
    if (size && data[0] < sizeof pieces / sizeof *pieces) {
        /* Aligned as in memory of its own, and exactly as large. */
        uint8_t *raw = malloc(size - 1);
        memcpy(raw, data + 1, size - 1);
        pieces[data[0]](raw, size - 1);
        free(raw);
    }
    return 0;
}
