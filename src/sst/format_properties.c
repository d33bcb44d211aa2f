/*
 * Properties: fields in ascending order of their tags, each once.
 *
 *   properties := field*
 *   field := varint tag, varint size, bytes
 *
 * Tags 1 to 3 are bytes (order of keys, smallest key, largest key), 4 is the
 * histogram of tombstones (varint width, then a varint per bucket), 5 and 6 are
 * keys (between which the table is settled), the others are numbers (one
 * varint). Lineage (5, 6, 39, 40) stands only where there is some. Unknown tags
 * are refused: a newer version wrote them and may mean something by them.
 */
#include "base/alloc.h"
#include "sst/format.h"

static const char key_order[] = "memcmp";

/* Numbers are never reused. */
enum {
    TAG_ORDER = 1,
    TAG_SMALLEST = 2,
    TAG_LARGEST = 3,
    TAG_HISTOGRAM = 4,
    TAG_SETTLED_FROM = 5,
    TAG_SETTLED_TO = 6
};

#define NUMBER(tag, field)                                                     \
    {                                                                          \
        tag, sizeof(((struct sst_properties *)0)->field),                      \
            offsetof(struct sst_properties, field)                             \
    }
static const struct number {
    uint8_t tag;
    uint8_t width;
    uint16_t offset;
} numbers[] = {
    NUMBER(16, info.number),
    NUMBER(17, info.entries),
    NUMBER(18, info.tombstones),
    NUMBER(19, info.key_bytes),
    NUMBER(20, info.value_bytes),
    NUMBER(21, info.min_seq),
    NUMBER(22, info.max_seq),
    NUMBER(23, info.created_ns),
    NUMBER(24, keys),
    NUMBER(25, blocks),
    NUMBER(26, parts),
    NUMBER(27, extents),
    NUMBER(28, data_bytes),
    NUMBER(29, index_bytes),
    NUMBER(30, filter_bytes),
    NUMBER(31, extent_bytes),
    NUMBER(32, raw_data_bytes),
    NUMBER(33, block_size),
    NUMBER(34, part_keys),
    NUMBER(35, extent_threshold),
    NUMBER(36, filter_bits),
    NUMBER(37, compression),
    NUMBER(38, compression_level), /* as the 32 bits of an int */
    NUMBER(39, lineage.through),
    NUMBER(40, lineage.newest),
};
enum {
    NUMBERS = sizeof numbers / sizeof numbers[0],
    OPTIONAL = 2 /* the last ones: left out when 0 */
};

static uint64_t load_number(const struct sst_properties *p,
                            const struct number *n)
{
    const uint8_t *at = (const uint8_t *)p + n->offset;
    uint64_t wide;
    uint32_t narrow;

    if (n->width == 8) {
        memcpy(&wide, at, 8);
        return wide;
    }
    memcpy(&narrow, at, 4);
    return narrow;
}

static bool store_number(struct sst_properties *p, const struct number *n,
                         uint64_t v)
{
    uint8_t *at = (uint8_t *)p + n->offset;
    uint32_t narrow = (uint32_t)v;

    if (n->width == 8)
        memcpy(at, &v, 8);
    else if (v == narrow)
        memcpy(at, &narrow, 4);
    else
        return false;
    return true;
}

/* ---- encoding ---- */

static adb_status append_field(struct buffer *out, uint64_t tag, adb_slice s)
{
    adb_status status = buffer_append_varint(out, tag);
    if (status == ADB_OK)
        status = buffer_append_slice(out, s);
    return status;
}

static adb_status append_histogram(struct buffer *out,
                                   const struct sst_properties *p)
{
    uint8_t bytes[(SST_HISTOGRAM_BUCKETS + 1) * VARINT_MAX];
    uint8_t *end = put_varint(bytes, p->histogram_width);
    for (int i = 0; i < SST_HISTOGRAM_BUCKETS; i++)
        end = put_varint(end, p->histogram[i]);
    return append_field(out, TAG_HISTOGRAM,
                        slice_of(bytes, (size_t)(end - bytes)));
}

adb_status sst_properties_encode(struct buffer *out,
                                 const struct sst_properties *p)
{
    adb_status status =
        append_field(out, TAG_ORDER, slice_of_string(key_order));
    if (status == ADB_OK)
        status = append_field(out, TAG_SMALLEST, p->info.smallest);
    if (status == ADB_OK)
        status = append_field(out, TAG_LARGEST, p->info.largest);
    if (status == ADB_OK)
        status = append_histogram(out, p);
    if (status == ADB_OK && p->lineage.settled)
        status = append_field(out, TAG_SETTLED_FROM, p->lineage.from);
    if (status == ADB_OK && p->lineage.settled)
        status = append_field(out, TAG_SETTLED_TO, p->lineage.to);
    for (int i = 0; i < NUMBERS && status == ADB_OK; i++) {
        uint8_t bytes[VARINT_MAX];
        uint64_t value = load_number(p, &numbers[i]);
        if (i >= NUMBERS - OPTIONAL && !value)
            continue;
        uint8_t *end = put_varint(bytes, value);
        status = append_field(out, numbers[i].tag,
                              slice_of(bytes, (size_t)(end - bytes)));
    }
    return status;
}

/* ---- decoding ---- */

static adb_status damaged(const char *what)
{
    return status_set(ADB_CORRUPTION, "properties: %s", what);
}

static adb_status decode_histogram(adb_slice field, struct sst_properties *p)
{
    const uint8_t *at = field.data, *end = at + field.size;

    at = get_varint(at, end, &p->histogram_width);
    for (int i = 0; i < SST_HISTOGRAM_BUCKETS && at; i++)
        at = get_varint(at, end, &p->histogram[i]);
    return at == end ? ADB_OK : damaged("histogram cut short");
}

static adb_status decode_number(uint64_t tag, adb_slice field,
                                struct sst_properties *p, uint32_t *seen)
{
    for (int i = 0; i < NUMBERS; i++) {
        uint64_t v;
        if (numbers[i].tag != tag)
            continue;
        const uint8_t *end = (const uint8_t *)field.data + field.size;
        if (get_varint(field.data, end, &v) != end ||
            !store_number(p, &numbers[i], v))
            return damaged("number out of range");
        *seen |= UINT32_C(1) << i;
        return ADB_OK;
    }
    return status_set(ADB_UNSUPPORTED,
                      "properties: field %llu is of a newer version",
                      (unsigned long long)tag);
}

static adb_status decode_field(uint64_t tag, adb_slice field,
                               struct sst_properties *p, uint32_t *seen)
{
    switch (tag) {
    case TAG_ORDER:
        if (!slice_equal(field, slice_of_string(key_order)))
            return status_set(ADB_UNSUPPORTED,
                              "properties: keys are in an order unknown here");
        *seen |= UINT32_C(1) << (NUMBERS + 0);
        return ADB_OK;
    case TAG_SMALLEST:
        *seen |= UINT32_C(1) << (NUMBERS + 1);
        p->info.smallest = field;
        return ADB_OK;
    case TAG_LARGEST:
        *seen |= UINT32_C(1) << (NUMBERS + 2);
        p->info.largest = field;
        return ADB_OK;
    case TAG_HISTOGRAM:
        *seen |= UINT32_C(1) << (NUMBERS + 3);
        return decode_histogram(field, p);
    case TAG_SETTLED_FROM:
        p->lineage.from = field;
        return ADB_OK;
    case TAG_SETTLED_TO:
        p->lineage.settled = true;
        p->lineage.to = field;
        return ADB_OK;
    default:
        return decode_number(tag, field, p, seen);
    }
}

_Static_assert(NUMBERS + 4 < 32, "a bit of `seen` per field");

/* So far the keys borrow from the bytes decoded. */
static adb_status own_keys(struct sst_properties *p,
                           struct sst_properties *out)
{
    struct table_lineage *l = &p->lineage;
    struct table_info own;
    uint8_t *keys = NULL;
    adb_status status = table_info_copy(&p->info, &own);
    if (status != ADB_OK)
        return status;
    if (l->settled) {
        keys = mem_alloc(l->from.size + l->to.size + 1);
        if (!keys) {
            table_info_deinit(&own);
            return status_set(ADB_NO_MEMORY, "no memory for two keys");
        }
        if (l->from.size)
            memcpy(keys, l->from.data, l->from.size);
        if (l->to.size)
            memcpy(keys + l->from.size, l->to.data, l->to.size);
        l->to = slice_of(keys + l->from.size, l->to.size);
    }
    l->from = slice_of(keys, l->settled ? l->from.size : 0);
    p->info = own;
    *out = *p;
    return ADB_OK;
}

adb_status sst_properties_decode(const uint8_t *raw, size_t size,
                                 struct sst_properties *out)
{
    struct sst_properties p = {.keys = 0};
    const uint8_t *at = raw, *end = raw + size;
    uint64_t previous = 0;
    uint32_t seen = 0;

    while (at < end) {
        uint64_t tag;
        adb_slice field;
        if (!(at = get_varint(at, end, &tag)) ||
            !(at = get_slice(at, end, &field)))
            return damaged("cut short");
        if (tag <= previous)
            return damaged("fields out of order");
        previous = tag;
        adb_status status = decode_field(tag, field, &p, &seen);
        if (status != ADB_OK)
            return status;
    }
    const uint32_t optional = ((UINT32_C(1) << OPTIONAL) - 1)
                              << (NUMBERS - OPTIONAL);
    if ((seen | optional) != (UINT32_C(1) << (NUMBERS + 4)) - 1)
        return damaged("fields missing");
    if (p.info.smallest.size > ADB_MAX_KEY_SIZE ||
        p.info.largest.size > ADB_MAX_KEY_SIZE ||
        p.lineage.from.size > ADB_MAX_KEY_SIZE ||
        p.lineage.to.size > ADB_MAX_KEY_SIZE)
        return damaged("key longer than any key");
    return own_keys(&p, out);
}

void sst_properties_deinit(struct sst_properties *p)
{
    table_info_deinit(&p->info);
    mem_free((void *)(uintptr_t)p->lineage.from.data); /* and to behind it */
    p->lineage = (struct table_lineage){0};
}
