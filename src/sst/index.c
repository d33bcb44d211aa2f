/* The layout stands in index.h. */
#include "sst/index.h"

#include <assert.h>

#include "sst/heads.h"

enum {
    HEADER = 16,
    RECORD_MIN = 3, /* three one-byte varints */
    GROUP = HEADS_GROUP,
    LINE = 64 /* bytes, of a group of heads */
};

/* ---- decoding ---- */

static adb_status damaged(const char *what)
{
    return status_set(ADB_CORRUPTION, "index: %s", what);
}

/* Sane count and prefix size, or false. */
static bool read_header(const uint8_t *raw, size_t size, uint32_t *count,
                        uint32_t *prefix_size)
{
    if (size < HEADER)
        return false;
    *count = get_u32(raw);
    *prefix_size = get_u32(raw + 4);
    if (!*count || *prefix_size > ADB_MAX_KEY_SIZE ||
        *prefix_size > size - HEADER)
        return false;
    return *count <= (size - HEADER - *prefix_size) / RECORD_MIN;
}

/* Heads of a level, filled up to whole groups. */
static size_t padded(size_t heads)
{
    return (heads + GROUP - 1) & ~(size_t)(GROUP - 1);
}

size_t sst_index_memory(const uint8_t *raw, size_t size)
{
    uint32_t count, prefix_size;
    if (!read_header(raw, size, &count, &prefix_size))
        return 0;
    size_t heads = 0, level = count;
    for (; level > GROUP; level = padded(level) / GROUP)
        heads += padded(level);
    heads += GROUP;
    /* A line's less one word, since memory may begin between lines. */
    return count * sizeof(struct sst_index_block) +
           (heads + GROUP - 1) * sizeof(uint64_t);
}

/* Lays out where levels lie in memory; returns the place behind them. */
static void *place_levels(void *memory, struct sst_index *index,
                          uint64_t *levels[SST_INDEX_LEVELS])
{
    uint64_t *at =
        (uint64_t *)(((uintptr_t)memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
    size_t heads = index->count;

    for (index->top_level = 0;; index->top_level++) {
        levels[index->top_level] = at;
        index->levels[index->top_level] = at;
        at += padded(heads);
        if (heads <= GROUP)
            return at;
        heads = padded(heads) / GROUP;
    }
}

/* Level 0 has its heads; fill it up and make the others. */
static void fill_levels(struct sst_index *index,
                        uint64_t *levels[SST_INDEX_LEVELS])
{
    size_t heads = index->count;

    index->last_head = levels[0][heads - 1];
    for (uint32_t k = 0;; k++) {
        for (size_t i = heads; i < padded(heads); i++)
            levels[k][i] = UINT64_MAX;
        if (k == index->top_level)
            return;
        heads = padded(heads) / GROUP;
        for (size_t i = 0; i < heads; i++)
            levels[k + 1][i] = levels[k][i * GROUP + GROUP - 1];
    }
}

/* Decodes one record; returns the byte after, or NULL. *offset comes as the
   end of the frame before. */
static const uint8_t *read_record(const uint8_t *p, const uint8_t *end,
                                  uint64_t *offset,
                                  struct sst_index_block *block)
{
    uint64_t gap, size, raw_size, suffix;

    if (!(p = get_varint(p, end, &gap)) || !(p = get_varint(p, end, &size)))
        return NULL;
    raw_size = size >> 1;
    if (size & 1 && !(p = get_varint(p, end, &raw_size)))
        return NULL;
    size >>= 1;
    if (!(p = get_varint(p, end, &suffix)) || suffix >> 1 > (size_t)(end - p) ||
        suffix >> 1 > ADB_MAX_KEY_SIZE || size > SST_MAX_BLOCK ||
        raw_size > SST_MAX_BLOCK || gap > UINT64_MAX / 2 ||
        *offset > UINT64_MAX / 2)
        return NULL;
    block->handle =
        (struct sst_handle){*offset + gap, (uint32_t)size, (uint32_t)raw_size};
    block->suffix_size = (uint32_t)(suffix >> 1) & 0x7FFFFFFF;
    block->continues = suffix & 1;
    *offset = block->handle.offset + size + SST_TRAILER_SIZE;
    return p;
}

adb_status sst_index_decode(const uint8_t *raw, size_t size, uint64_t limit,
                            void *memory, struct sst_index *out)
{
    uint32_t count, prefix_size;
    if (!read_header(raw, size, &count, &prefix_size))
        return damaged("header out of range");

    struct sst_index index = {
        .raw = raw,
        .prefix = slice_of(raw + HEADER, prefix_size),
        .count = count,
    };
    uint64_t *levels[SST_INDEX_LEVELS];
    struct sst_index_block *blocks = place_levels(memory, &index, levels);
    const uint8_t *end = raw + size;
    const uint8_t *p = raw + HEADER + prefix_size;
    uint64_t offset = get_u64(raw + 8);
    adb_slice previous = slice_of(NULL, 0);

    for (uint32_t i = 0; i < count; i++) {
        p = read_record(p, end, &offset, &blocks[i]);
        if (!p)
            return damaged("record cut short or out of range");
        adb_status status = sst_handle_check(&blocks[i].handle, limit);
        if (status != ADB_OK)
            return status_context(status, "index");
        adb_slice suffix = slice_of(p, blocks[i].suffix_size);
        /* Equal neighbours: one key's versions over several blocks. */
        if (i && slice_compare(previous, suffix) > 0)
            return damaged("separators out of order");
        blocks[i].suffix = (uint32_t)(p - raw);
        levels[0][i] = key_head8(suffix.data, suffix.size);
        previous = suffix;
        p += suffix.size;
    }
    if (p != end)
        return damaged("bytes left over");
    index.blocks = blocks;
    fill_levels(&index, levels);
    *out = index;
    return ADB_OK;
}

/* ---- searching ---- */

typedef size_t heads_below(const uint64_t *group, uint64_t head);

/* Inlined into each of its callers, and below into it. */
__attribute__((always_inline)) static inline uint32_t
descend(const struct sst_index *index, uint64_t head, heads_below *below)
{
    size_t group = 0;

    for (uint32_t k = index->top_level + 1; k-- > 0;) {
        const uint64_t *line = index->levels[k] + group * GROUP;
        /* Whatever the heads say, it is of this group. */
        if (k == 0 && index->fetch)
            __builtin_prefetch(index->fetch + group * GROUP);
        group = group * GROUP + below(line, head);
    }
    return (uint32_t)group;
}

#ifdef HEADS_AVX2
HEADS_WITH_AVX2 static uint32_t descend_avx2(const struct sst_index *index,
                                             uint64_t head)
{
    return descend(index, head, heads_below_avx2);
}
#endif

/* The first head that is >= head; count if none. */
static uint32_t heads_lower_bound(const struct sst_index *index, uint64_t head)
{
    /* Then every level has such a head too. */
    if (unlikely(head > index->last_head))
        return index->count;
#ifdef HEADS_AVX2
    if (likely(heads_can_avx2()))
        return descend_avx2(index, head);
#endif
    return descend(index, head, heads_below_plain);
}

/* A separator of this head, which is the suffix's, cannot be below the suffix:
   the head has all of it, and its last byte is none that pads. */
static bool told_by_head(adb_slice suffix)
{
    const uint8_t *p = suffix.data;
    return suffix.size == 0 || (suffix.size <= 8 && p[suffix.size - 1] != 0);
}

/* Among separators from low on that share head: the first that is >= suffix. */
static uint32_t ties_lower_bound(const struct sst_index *index, uint32_t low,
                                 uint64_t head, adb_slice suffix)
{
    uint32_t high = low;

    for (uint32_t step = 1;
         high < index->count && index->levels[0][high] == head &&
         slice_compare(sst_index_suffix(index, high), suffix) < 0;
         step *= 2) {
        low = high + 1;
        high = index->count - low > step ? low + step : index->count;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->levels[0][middle] == head &&
            slice_compare(sst_index_suffix(index, middle), suffix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t sst_index_find(const struct sst_index *index, adb_slice key)
{
    size_t n = MIN_OF(key.size, index->prefix.size);
    int order = n ? memcmp(key.data, index->prefix.data, n) : 0;
    if (order != 0)
        return order < 0 ? 0 : index->count;
    if (key.size < index->prefix.size)
        return 0;

    adb_slice suffix = key;
    if (n) /* data may be NULL otherwise */
        suffix = slice_of((const uint8_t *)key.data + n, key.size - n);
    uint64_t head = key_head8(suffix.data, suffix.size);
    uint32_t i = heads_lower_bound(index, head);
    if (i < index->count && index->levels[0][i] == head &&
        !told_by_head(suffix))
        i = ties_lower_bound(index, i, head, suffix);
    return i;
}

/* ---- building ---- */

struct record {
    struct sst_handle handle;
    size_t key; /* position in keys */
    uint32_t key_size;
    bool compressed, continues;
};

void sst_index_builder_deinit(struct sst_index_builder *b)
{
    buffer_deinit(&b->keys);
    buffer_deinit(&b->blocks);
    *b = (struct sst_index_builder){.count = 0};
}

void sst_index_builder_clear(struct sst_index_builder *b)
{
    buffer_clear(&b->keys);
    buffer_clear(&b->blocks);
    b->count = 0;
    b->prefix_size = 0;
}

adb_status sst_index_builder_add(struct sst_index_builder *b,
                                 const struct sst_handle *handle,
                                 bool compressed, adb_slice separator,
                                 bool continues)
{
    struct record record = {
        .handle = *handle,
        .key = b->keys.size,
        .key_size = (uint32_t)separator.size,
        .compressed = compressed,
        .continues = continues,
    };
    adb_status status = buffer_append(&b->keys, separator.data, separator.size);
    if (status == ADB_OK)
        status = buffer_append(&b->blocks, &record, sizeof record);
    if (status != ADB_OK)
        return status;
    /* In sorted keys, what the first shares with the newest is what all do. */
    struct record first;
    memcpy(&first, b->blocks.data, sizeof first);
    b->prefix_size = slice_common_prefix(
        slice_of(b->keys.data, first.key_size),
        slice_of(b->keys.data + record.key, record.key_size));
    b->count++;
    return ADB_OK;
}

static adb_status write_record(const struct sst_index_builder *b,
                               const struct record *r, uint64_t gap,
                               struct buffer *out)
{
    size_t suffix_size = r->key_size - b->prefix_size;
    adb_status status = buffer_reserve(out, 4 * VARINT_MAX + suffix_size);
    if (status != ADB_OK)
        return status;
    uint8_t *p = out->data + out->size;
    p = put_varint(p, gap);
    p = put_varint(p, (uint64_t)r->handle.size * 2 + r->compressed);
    if (r->compressed)
        p = put_varint(p, r->handle.raw_size);
    p = put_varint(p, (uint64_t)suffix_size * 2 + r->continues);
    if (suffix_size)
        memcpy(p, b->keys.data + r->key + b->prefix_size, suffix_size);
    out->size = (size_t)(p + suffix_size - out->data);
    return ADB_OK;
}

adb_status sst_index_builder_finish(const struct sst_index_builder *b,
                                    struct buffer *out)
{
    assert(b->count > 0);
    struct record r;
    memcpy(&r, b->blocks.data, sizeof r);
    uint64_t end = r.handle.offset;

    adb_status status = buffer_append_u32(out, b->count);
    if (status == ADB_OK)
        status = buffer_append_u32(out, (uint32_t)b->prefix_size);
    if (status == ADB_OK)
        status = buffer_append_u64(out, end);
    if (status == ADB_OK)
        status = buffer_append(out, b->keys.data, b->prefix_size);
    for (uint32_t i = 0; i < b->count && status == ADB_OK; i++) {
        memcpy(&r, b->blocks.data + i * sizeof r, sizeof r);
        status = write_record(b, &r, r.handle.offset - end, out);
        end = r.handle.offset + sst_handle_span(&r.handle);
    }
    return status;
}

adb_status sst_separator(adb_slice before, adb_slice after, struct buffer *out)
{
    size_t common = slice_common_prefix(before, after);
    size_t n = before.size;
    const uint8_t *b = before.data, *a = after.data;
    bool raise = false;

    /* They part at byte `common`: a prefix of `before` with its last byte
       raised by one is enough if that stays below `after`. */
    if (common < before.size && common < after.size) {
        if (b[common] + 1 < a[common] ||
            (b[common] + 1 == a[common] && common + 1 < after.size)) {
            n = common + 1;
            raise = n < before.size;
        } else {
            /* Only the next byte gives room: raise the first one behind that
               is not 0xFF. */
            size_t i = common + 1;
            while (i < before.size && b[i] == 0xFF)
                i++;
            if (i + 1 < before.size) {
                n = i + 1;
                raise = true;
            }
        }
    }
    adb_status status = buffer_append(out, before.data, n);
    if (status == ADB_OK && raise)
        out->data[out->size - 1]++;
    return status;
}
