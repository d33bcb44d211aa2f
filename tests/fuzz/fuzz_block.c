/* sst/block_reader.h over arbitrary bytes: they carry no checksum of their
   own. Mode: unused. */
#include "fuzz.h"
#include "sst/block_reader.h"

/* The block's prefix and a suffix (free). */
static adb_slice join(const struct sst_block *b, adb_slice suffix)
{
    adb_slice prefix = sst_block_prefix(b);
    uint8_t *key = malloc(prefix.size + suffix.size + 1);
    FUZZ_CHECK(key);
    if (prefix.size)
        memcpy(key, prefix.data, prefix.size);
    if (suffix.size)
        memcpy(key + prefix.size, suffix.data, suffix.size);
    return slice_of(key, prefix.size + suffix.size);
}

static void search(const struct sst_block *b, adb_slice key, uint64_t seq)
{
    struct sst_block_entry e;
    bool ran_off;
    FUZZ_CHECK(sst_block_seek(b, key, seq) <= b->count);
    adb_status status = sst_block_get(b, key, seq, &e, &ran_off);
    FUZZ_CHECK(status == ADB_OK || status == ADB_NOT_FOUND);
    if (status == ADB_OK && e.value.data)
        fuzz_touch(e.value);
}

/* In a block whose order is right every entry is found. */
static void check_found(const struct sst_block *b, uint32_t i, adb_slice key,
                        const struct sst_block_entry *e)
{
    struct sst_block_entry found;
    bool ran_off;
    FUZZ_CHECK(sst_block_seek(b, key, e->seq) == i);
    FUZZ_CHECK(sst_block_get(b, key, e->seq, &found, &ran_off) == ADB_OK);
    FUZZ_CHECK(found.seq == e->seq && found.kind == e->kind &&
               found.value.data == e->value.data &&
               found.extent_offset == e->extent_offset);
}

static void walk(const struct sst_block *b)
{
    bool ordered =
        fuzz_expect_words(sst_block_check_order(b)) == ADB_OK;
    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        sst_block_entry(b, i, &e);
        adb_slice key = join(b, e.suffix);
        if (e.value.data)
            fuzz_touch(e.value);
        if (ordered)
            check_found(b, i, key, &e);
        else if (i < 64)
            search(b, key, e.seq);
        free((void *)key.data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sst_block block;
    fuzz_watch_allocations();
    if (!size ||
        fuzz_expect_words(sst_block_open(&block, data + 1, size - 1)) !=
            ADB_OK)
        return 0;
    FUZZ_CHECK(block.count > 0);
    walk(&block);
    search(&block, slice_of("", 0), KV_MAX_SEQ);
    search(&block, slice_of("user0003", 8), 0);
    search(&block, slice_of(data, MIN_OF(size, (size_t)16)), KV_MAX_SEQ);
    return 0;
}
