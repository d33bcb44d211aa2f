#include "sst/block_reader.h"

#include "sst/block_writer.h"

/* ---- opening ---- */

static adb_status damaged(const char *what)
{
    return status_set(ADB_CORRUPTION, "data block: %s", what);
}

static adb_status check_form(uint8_t form)
{
    if (form & ~(SST_FORM_KIND | SST_FORM_EXTENT))
        return status_set(ADB_UNSUPPORTED,
                          "data block: entry form 0x%02x is of a newer version",
                          form);
    if ((form & SST_FORM_KIND) > KV_KIND_MAX)
        return status_set(ADB_UNSUPPORTED,
                          "data block: entry kind %d is of a newer version",
                          form & SST_FORM_KIND);
    return ADB_OK;
}

/* Entry at [p, end): is it whole, and does it fill that range? */
static adb_status check_entry(const struct sst_block *b, const uint8_t *p,
                              const uint8_t *end)
{
    uint8_t form = b->form;
    size_t fixed = (size_t)b->mixed + b->seq_width;

    if ((size_t)(end - p) < fixed)
        return damaged("entry cut short");
    if (b->mixed) {
        form = *p;
        adb_status status = check_form(form);
        if (status != ADB_OK)
            return status;
    }
    p += fixed;

    uint64_t suffix_size, value_size;
    p = get_varint(p, end, &suffix_size);
    if (p)
        p = get_varint(p, end, &value_size);
    if (!p)
        return damaged("entry cut short");
    if (suffix_size + b->prefix_size > ADB_MAX_KEY_SIZE ||
        suffix_size > (size_t)(end - p))
        return damaged("key longer than its entry");
    p += suffix_size;
    if (form & SST_FORM_EXTENT) {
        if (value_size > ADB_MAX_VALUE_SIZE)
            return damaged("value size out of range");
        value_size = 8;
    }
    if (value_size != (size_t)(end - p))
        return damaged("value does not fill its entry");
    return ADB_OK;
}

/* Positions as numbers: a damaged one may point anywhere. */
static size_t offset_at(const struct sst_block *b, uint32_t i)
{
    return b->wide ? get_u32(b->offsets + 4 * (size_t)i)
                   : get_u16(b->offsets + 2 * (size_t)i);
}

static adb_status check_entries(const struct sst_block *b, size_t data)
{
    size_t from = offset_at(b, 0);

    if (from != data)
        return damaged("first entry is not where it belongs");
    for (uint32_t i = 0; i < b->count; i++) {
        size_t to = i + 1 < b->count ? offset_at(b, i + 1) : b->size;
        if (to < from || to > b->size)
            return damaged("entry offsets out of order");
        adb_status status = check_entry(b, b->base + from, b->base + to);
        if (status != ADB_OK)
            return status;
        from = to;
    }
    return ADB_OK;
}

adb_status sst_block_open(struct sst_block *b, const uint8_t *raw,
                          size_t size)
{
    struct sst_block view = {.base = raw, .size = (uint32_t)size};

    if (size < SST_BLOCK_HEADER || size > SST_MAX_BLOCK)
        return damaged("size out of range");
    uint8_t flags = raw[4];
    if (flags & ~(SST_BLOCK_WIDE | SST_BLOCK_MIXED) || raw[7])
        return status_set(ADB_UNSUPPORTED,
                          "data block: flags 0x%02x are of a newer version",
                          flags);
    view.count = get_u32(raw);
    view.wide = flags & SST_BLOCK_WIDE;
    view.mixed = (flags & SST_BLOCK_MIXED) != 0;
    view.form = raw[5];
    view.seq_width = raw[6];
    view.base_seq = get_u64(raw + 8);
    view.prefix_size = get_u32(raw + 16);
    view.prefix = raw + SST_BLOCK_HEADER;
    if (view.seq_width > 7 || view.base_seq > KV_MAX_SEQ)
        return damaged("sequence field out of range");
    if (view.prefix_size > ADB_MAX_KEY_SIZE)
        return damaged("prefix longer than any key");
    if (!view.count || view.count > size)
        return damaged("entry count out of range");

    /* 64-bit sums: none of them can wrap. */
    uint64_t heads =
        SST_BLOCK_HEADER + (((uint64_t)view.prefix_size + 3) & ~UINT64_C(3));
    uint64_t offsets = heads + 4 * (uint64_t)view.count;
    uint64_t data = offsets + (view.wide ? 4 : 2) * (uint64_t)view.count;
    if (data > size)
        return damaged("arrays longer than the block");
    view.heads = raw + heads;
    view.offsets = raw + offsets;

    adb_status status = view.mixed ? ADB_OK : check_form(view.form);
    if (status == ADB_OK)
        status = check_entries(&view, (size_t)data);
    if (status == ADB_OK)
        *b = view;
    return status;
}

adb_status sst_block_check_order(const struct sst_block *b)
{
    struct sst_block_entry previous = {.seq = 0};

    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        sst_block_entry(b, i, &e);
        if (e.seq > KV_MAX_SEQ)
            return damaged("sequence number out of range");
        if (get_u32(b->heads + 4 * (size_t)i) !=
            key_head4(e.suffix.data, e.suffix.size))
            return damaged("key head differs from its key");
        if (i && kv_compare(previous.suffix, previous.seq, e.suffix, e.seq) >=
                     0)
            return damaged("entries out of order");
        previous = e;
    }
    return ADB_OK;
}

/* ---- searching ---- */

static inline uint32_t head_at(const struct sst_block *b, uint32_t i)
{
    return get_u32(b->heads + 4 * (size_t)i);
}

/* The first entry whose head is >= head. The loop's trip count depends on
   count alone and its body compiles to a conditional move. */
static uint32_t heads_lower_bound(const struct sst_block *b, uint32_t head)
{
    const uint8_t *base = b->heads;
    uint32_t left = b->count;

    while (left > 1) {
        uint32_t half = left / 2;
        base += get_u32(base + 4 * (size_t)(half - 1)) < head
                    ? 4 * (size_t)half
                    : 0;
        left -= half;
    }
    return (uint32_t)((size_t)(base - b->heads) / 4) +
           (get_u32(base) < head);
}

static inline bool entry_before(const struct sst_block *b, uint32_t i,
                                adb_slice suffix, uint64_t seq)
{
    struct sst_block_entry e;
    sst_block_entry(b, i, &e);
    return kv_compare(e.suffix, e.seq, suffix, seq) < 0;
}

/* Among the entries from `low` on that share `head`. Runs are short unless
   keys agree in four bytes behind the prefix, so gallop before halving. */
static uint32_t ties_lower_bound(const struct sst_block *b, uint32_t low,
                                 uint32_t head, adb_slice suffix, uint64_t seq)
{
    uint32_t step = 1, high = low;

    /* Everything below low is before the target; high is not, or past. */
    while (high < b->count && head_at(b, high) == head &&
           entry_before(b, high, suffix, seq)) {
        low = high + 1;
        high = b->count - low > step ? low + step : b->count;
        step *= 2;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (head_at(b, middle) == head && entry_before(b, middle, suffix, seq))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where key stands against the prefix that all keys share: negative or
   positive decides the search, zero means it has the prefix. */
static inline int compare_prefix(const struct sst_block *b, adb_slice key)
{
    size_t n = MIN_OF(key.size, b->prefix_size);
    int order = n ? memcmp(key.data, b->prefix, n) : 0;
    if (order == 0 && key.size < b->prefix_size)
        order = -1;
    return order;
}

static inline adb_slice suffix_of(const struct sst_block *b, adb_slice key)
{
    if (!b->prefix_size)
        return key;
    return slice_of((const uint8_t *)key.data + b->prefix_size,
                    key.size - b->prefix_size);
}

uint32_t sst_block_seek(const struct sst_block *b, adb_slice key, uint64_t seq)
{
    int order = compare_prefix(b, key);
    if (unlikely(order != 0))
        return order < 0 ? 0 : b->count;

    adb_slice suffix = suffix_of(b, key);
    uint32_t head = key_head4(suffix.data, suffix.size);
    uint32_t i = heads_lower_bound(b, head);
    if (i < b->count && head_at(b, i) == head)
        i = ties_lower_bound(b, i, head, suffix, seq);
    return i;
}

adb_status sst_block_get(const struct sst_block *b, adb_slice key,
                         uint64_t read_seq, struct sst_block_entry *out,
                         bool *ran_off)
{
    *ran_off = false;
    int order = compare_prefix(b, key);
    if (unlikely(order != 0)) {
        *ran_off = order > 0;
        return ADB_NOT_FOUND;
    }

    adb_slice suffix = suffix_of(b, key);
    uint32_t head = key_head4(suffix.data, suffix.size);
    uint32_t i = heads_lower_bound(b, head);
    if (i < b->count && head_at(b, i) != head)
        return ADB_NOT_FOUND;

    /* The usual case first: the one entry with this head is it. */
    if (likely(i < b->count)) {
        struct sst_block_entry e;
        sst_block_entry(b, i, &e);
        if (likely(e.seq <= read_seq && slice_equal(e.suffix, suffix))) {
            *out = e;
            return ADB_OK;
        }
        i = ties_lower_bound(b, i, head, suffix, read_seq);
    }
    if (i == b->count) {
        *ran_off = true;
        return ADB_NOT_FOUND;
    }
    sst_block_entry(b, i, out);
    return slice_equal(out->suffix, suffix) ? ADB_OK : ADB_NOT_FOUND;
}
