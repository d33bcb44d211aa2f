/*
 * Properties: fields in ascending order of their tags, each once.
 *
 *   properties := field*
 *   field := varint tag, varint size, bytes
 *
 * Tags 1 to 3 are bytes (order of keys, smallest key, largest key), 4 is the
 * histogram of tombstones (varint width, then a varint per bucket), 5 and 6 are
 * keys (of the range that lineage speaks of), 7 is a list of file numbers (a
 * varint each: the distance to the one before, the first to 0), the others are
 * numbers (one varint). Lineage (5, 6, 7, 39, 40) stands only where there is
 * some: 40 with 5 and 6, 7 only with 40. Unknown tags are refused: a newer
 * version wrote them and may mean something by them.
 */
#include <assert.h>

#include "base/alloc.h"
#include "sst/format.h"

static const char key_order[] = "memcmp";

/* Numbers are never reused. */
enum {
    TAG_ORDER = 1,
    TAG_SMALLEST = 2,
    TAG_LARGEST = 3,
    TAG_HISTOGRAM = 4,
    TAG_LINEAGE_FROM = 5,
    TAG_LINEAGE_BEFORE = 6,
    TAG_LINEAGE_EXCEPT = 7
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
    NUMBER(40, lineage.below),
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

static adb_status append_lineage(struct buffer *out,
                                 const struct table_lineage *l)
{
    struct buffer list = {0};
    uint64_t last = 0;
    if (!l->below)
        return ADB_OK;
    adb_status status = append_field(out, TAG_LINEAGE_FROM, l->from);
    if (status == ADB_OK)
        status = append_field(out, TAG_LINEAGE_BEFORE, l->before);
    for (size_t i = 0; i < l->except_count && status == ADB_OK; i++) {
        assert(l->except[i] > last && l->except[i] < l->below);
        status = buffer_append_varint(&list, l->except[i] - last);
        last = l->except[i];
    }
    if (status == ADB_OK && list.size)
        status = append_field(out, TAG_LINEAGE_EXCEPT, buffer_slice(&list));
    buffer_deinit(&list);
    return status;
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
    if (status == ADB_OK)
        status = append_lineage(out, &p->lineage);
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

static adb_status decode_list(adb_slice field, uint64_t **out, size_t *count)
{
    const uint8_t *at = field.data, *end = at + field.size;
    uint64_t *list = mem_alloc((field.size + 1) * sizeof *list), last = 0;
    size_t n = 0;
    if (!list)
        return status_set(ADB_NO_MEMORY, "no memory for a list of files");
    while (at && at < end) {
        uint64_t distance;
        at = get_varint(at, end, &distance);
        if (at && distance && distance <= UINT64_MAX - last)
            list[n++] = last += distance;
        else
            at = NULL;
    }
    if (at != end || !n) {
        mem_free(list);
        return damaged("list of files is no list");
    }
    *out = list;
    *count = n;
    return ADB_OK;
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

/* Bits of `seen` behind those of the numbers. */
#define SEEN_FROM   (UINT32_C(1) << (NUMBERS + 4))
#define SEEN_BEFORE (UINT32_C(1) << (NUMBERS + 5))
_Static_assert(NUMBERS + 6 <= 32, "a bit of `seen` per field");

static adb_status decode_field(uint64_t tag, adb_slice field,
                               struct sst_properties *p, uint32_t *seen,
                               adb_slice *except)
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
    case TAG_LINEAGE_FROM:
        *seen |= SEEN_FROM;
        p->lineage.from = field;
        return ADB_OK;
    case TAG_LINEAGE_BEFORE:
        *seen |= SEEN_BEFORE;
        p->lineage.before = field;
        return ADB_OK;
    case TAG_LINEAGE_EXCEPT:
        *except = field;
        return ADB_OK;
    default:
        return decode_number(tag, field, p, seen);
    }
}

/* What it says of lineage fits together. The list is not yet decoded. */
static adb_status check_lineage(const struct table_lineage *l, uint32_t seen,
                                adb_slice except)
{
    uint32_t range = seen & (SEEN_FROM | SEEN_BEFORE);
    if (range != (l->below ? SEEN_FROM | SEEN_BEFORE : 0) ||
        (except.data && !l->below))
        return damaged("half a lineage");
    if (l->from.size > ADB_MAX_KEY_SIZE + 1 ||
        l->before.size > ADB_MAX_KEY_SIZE + 1)
        return damaged("key longer than any key");
    return ADB_OK;
}

/* So far the keys borrow from the bytes decoded. */
static adb_status own(struct sst_properties *p, adb_slice except,
                      struct sst_properties *out)
{
    uint64_t *list = NULL;
    struct table_info info;
    struct table_lineage lineage;
    struct table_lineage *l = &p->lineage;
    adb_status status = ADB_OK;
    if (except.data)
        status = decode_list(except, &list, &l->except_count);
    l->except = list;
    if (status == ADB_OK && l->except_count &&
        list[l->except_count - 1] >= l->below)
        status = damaged("a file of later on in a list");
    if (status == ADB_OK)
        status = table_lineage_copy(l, &lineage);
    mem_free(list);
    if (status != ADB_OK)
        return status;
    status = table_info_copy(&p->info, &info);
    if (status != ADB_OK) {
        table_lineage_deinit(&lineage);
        return status;
    }
    p->info = info;
    p->lineage = lineage;
    *out = *p;
    return ADB_OK;
}

adb_status sst_properties_decode(const uint8_t *raw, size_t size,
                                 struct sst_properties *out)
{
    struct sst_properties p = {.keys = 0};
    const uint8_t *at = raw, *end = raw + size;
    adb_slice except = slice_of(NULL, 0);
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
        adb_status status = decode_field(tag, field, &p, &seen,
                                         &except);
        if (status != ADB_OK)
            return status;
    }
    const uint32_t optional = ((UINT32_C(1) << OPTIONAL) - 1)
                              << (NUMBERS - OPTIONAL);
    if ((seen | optional | SEEN_FROM | SEEN_BEFORE) !=
        (UINT32_C(1) << (NUMBERS + 6)) - 1)
        return damaged("fields missing");
    if (p.info.smallest.size > ADB_MAX_KEY_SIZE ||
        p.info.largest.size > ADB_MAX_KEY_SIZE)
        return damaged("key longer than any key");
    adb_status status = check_lineage(&p.lineage, seen, except);
    return status == ADB_OK ? own(&p, except, out) : status;
}

void sst_properties_deinit(struct sst_properties *p)
{
    table_info_deinit(&p->info);
    table_lineage_deinit(&p->lineage);
}
