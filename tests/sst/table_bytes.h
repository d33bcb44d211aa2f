/*
 * For tests of the writer: a table read whole into memory and decoded by the
 * plainest means, independent of sst_reader; and a source of entries.
 */
#ifndef TEST_TABLE_BYTES_H
#define TEST_TABLE_BYTES_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "env/env.h"
#include "sst/block_reader.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "sst/index.h"
#include "sst/sst_writer.h"

/* ---- one entry at a time ---- */

struct source {
    struct kv_iter it;
    const uint8_t *streamed; /* the value, when it is not loaded */
    adb_status fail;         /* what read_value answers */
};

static inline adb_status source_read(struct kv_iter *it, uint64_t offset,
                                     void *data, size_t size)
{
    struct source *s = (struct source *)it;
    memcpy(data, s->streamed + offset, size);
    return s->fail ? status_set(s->fail, "the source fails") : ADB_OK;
}
static inline adb_status source_load(struct kv_iter *it)
{
    struct source *s = (struct source *)it;
    it->value.data = s->streamed;
    return s->fail ? status_set(s->fail, "the source fails") : ADB_OK;
}
static const struct kv_iter_ops source_ops = {.load = source_load,
                                              .read_value = source_read};

static inline struct source source_of(adb_slice key, uint64_t seq,
                                      enum kv_kind kind, adb_slice value,
                                      bool stream)
{
    struct source s = {.it = {.ops = &source_ops,
                              .valid = true,
                              .kind = kind,
                              .seq = seq,
                              .head = key_head8(key.data, key.size),
                              .key = key,
                              .value = value},
                       .streamed = value.data};
    if (stream)
        s.it.value.data = NULL;
    return s;
}

/* ---- a table in memory ---- */

struct table_bytes {
    uint8_t *data;
    size_t size;
    uint64_t number;
    struct sst_footer footer;
    struct sst_top top;
    struct sst_properties properties;
};

/* The raw bytes of a frame (free), NULL when damaged. */
static inline uint8_t *table_frame(const struct table_bytes *t,
                                   const struct sst_handle *h)
{
    enum sst_compression kind;
    if (sst_handle_check(h, t->size) != ADB_OK ||
        sst_frame_check(t->data + h->offset, h, t->number, "table", &kind) !=
            ADB_OK)
        return NULL;
    uint8_t *raw = malloc(h->raw_size);
    if (sst_decompress(kind, t->data + h->offset, h->size, raw, h->raw_size) !=
        ADB_OK) {
        free(raw);
        return NULL;
    }
    return raw;
}

static inline void table_close(struct table_bytes *t)
{
    sst_top_deinit(&t->top);
    sst_properties_deinit(&t->properties);
}

/* Decodes t->data; false when damaged. */
static inline bool table_open(struct table_bytes *t)
{
    if (t->size < SST_FOOTER_SIZE ||
        sst_footer_decode(t->data + t->size - SST_FOOTER_SIZE, t->number,
                          t->size, "table", &t->footer) != ADB_OK)
        return false;
    uint64_t limit = t->size - SST_FOOTER_SIZE;
    uint8_t *raw = table_frame(t, &t->footer.top);
    bool good = raw && sst_top_decode(raw, t->footer.top.raw_size, limit,
                                      &t->top) == ADB_OK;
    free(raw);
    if (!good)
        return false;
    raw = table_frame(t, &t->footer.properties);
    good = raw && sst_properties_decode(raw, t->footer.properties.raw_size,
                                        &t->properties) == ADB_OK;
    free(raw);
    if (!good)
        sst_top_deinit(&t->top);
    return good;
}

struct table_index {
    uint8_t *raw;
    void *memory;
    struct sst_index index;
};
static inline bool table_index_open(const struct table_bytes *t, uint32_t part,
                                    struct table_index *x)
{
    const struct sst_handle *h = &t->top.parts[part].index;
    *x = (struct table_index){.raw = table_frame(t, h)};
    if (!x->raw)
        return false;
    x->memory = malloc(sst_index_memory(x->raw, h->raw_size) + 1);
    if (sst_index_decode(x->raw, h->raw_size, t->size, x->memory, &x->index) ==
        ADB_OK)
        return true;
    free(x->memory);
    free(x->raw);
    return false;
}
static inline void table_index_close(struct table_index *x)
{
    free(x->memory);
    free(x->raw);
}

/* The value of an extent, verified (free); NULL when damaged. */
static inline uint8_t *table_extent(const struct table_bytes *t,
                                    uint64_t offset, uint64_t size)
{
    if (sst_extent_check(offset, size, t->size) != ADB_OK)
        return NULL;
    for (uint64_t i = 0; i < sst_extent_chunks(size); i++) {
        uint64_t from = i * SST_EXTENT_CHUNK;
        if (sst_chunk_check(
                t->data + offset + from,
                (size_t)MIN_OF(size - from, SST_EXTENT_CHUNK),
                get_u64(t->data + sst_extent_checksum_offset(offset, size, i)),
                t->number, offset, i, "table") != ADB_OK)
            return NULL;
    }
    uint8_t *value = malloc(size);
    memcpy(value, t->data + offset, size);
    return value;
}

/* Calls visit for every entry in file order; false at damage. */
struct table_entry {
    uint8_t *key;
    size_t key_size;
    struct sst_block_entry entry;
};
static inline bool table_block_walk(const struct table_bytes *t,
                                    const struct sst_handle *h,
                                    void (*visit)(void *context,
                                                  const struct table_entry *),
                                    void *context)
{
    uint8_t *raw = table_frame(t, h);
    struct sst_block b;
    bool good = raw && sst_block_open(&b, raw, h->raw_size) == ADB_OK &&
                sst_block_check_order(&b) == ADB_OK;
    for (uint32_t i = 0; good && i < b.count; i++) {
        struct table_entry e;
        sst_block_entry(&b, i, &e.entry);
        e.key_size = b.prefix_size + e.entry.suffix.size;
        e.key = malloc(e.key_size + 1);
        if (b.prefix_size)
            memcpy(e.key, b.prefix, b.prefix_size);
        if (e.entry.suffix.size)
            memcpy(e.key + b.prefix_size, e.entry.suffix.data,
                   e.entry.suffix.size);
        uint8_t *extent = NULL;
        if (!e.entry.value.data) {
            extent = table_extent(t, e.entry.extent_offset,
                                  e.entry.value.size);
            good = extent != NULL;
            e.entry.value.data = extent;
        }
        if (good)
            visit(context, &e);
        free(extent);
        free(e.key);
    }
    free(raw);
    return good;
}
static inline bool table_walk(const struct table_bytes *t,
                              void (*visit)(void *context,
                                            const struct table_entry *),
                              void *context)
{
    for (uint32_t p = 0; p < t->top.count; p++) {
        struct table_index x;
        if (!table_index_open(t, p, &x))
            return false;
        bool good = x.index.count == t->top.parts[p].blocks;
        for (uint32_t i = 0; i < x.index.count && good; i++)
            good = table_block_walk(t, &x.index.blocks[i].handle, visit,
                                    context);
        table_index_close(&x);
        if (!good)
            return false;
    }
    return true;
}

/* The newest version of key with seq <= read_seq: its value (free) and seq;
   false when there is none. The search that sst_reader does, spelled out. */
struct table_hit {
    enum kv_kind kind;
    uint64_t seq;
    uint8_t *value;
    size_t value_size;
};
static inline bool table_get_block(const struct table_bytes *t,
                                   const struct sst_handle *h, adb_slice key,
                                   uint64_t read_seq, struct table_hit *hit,
                                   bool *ran_off)
{
    uint8_t *raw = table_frame(t, h);
    struct sst_block b;
    struct sst_block_entry e;
    bool found = false;
    if (raw && sst_block_open(&b, raw, h->raw_size) == ADB_OK &&
        sst_block_get(&b, key, read_seq, &e, ran_off) == ADB_OK) {
        found = true;
        *hit = (struct table_hit){e.kind, e.seq, NULL, e.value.size};
        if (e.value.data) {
            hit->value = malloc(e.value.size + 1);
            memcpy(hit->value, e.value.data, e.value.size);
        } else {
            hit->value = table_extent(t, e.extent_offset, e.value.size);
        }
    }
    free(raw);
    return found;
}
static inline bool table_get(const struct table_bytes *t, adb_slice key,
                             uint64_t read_seq, struct table_hit *hit,
                             bool *filtered)
{
    uint32_t p = sst_top_find(&t->top, key);
    bool found = false, go_on = p < t->top.count;

    *filtered = false;
    if (go_on && t->top.parts[p].filter.size) {
        const struct sst_handle *h = &t->top.parts[p].filter;
        uint8_t *raw = table_frame(t, h);
        struct sst_filter f;
        *filtered = raw && sst_filter_decode(raw, h->raw_size, &f) == ADB_OK &&
                    !sst_filter_may_contain(&f, hash_key(key.data, key.size));
        free(raw);
    }
    for (; go_on && !found && p < t->top.count; p++) {
        struct table_index x;
        if (!table_index_open(t, p, &x))
            return false;
        for (uint32_t i = sst_index_find(&x.index, key);
             i < x.index.count && go_on && !found; i++) {
            bool ran_off = false;
            found = table_get_block(t, &x.index.blocks[i].handle, key,
                                    read_seq, hit, &ran_off);
            go_on = ran_off && x.index.blocks[i].continues;
        }
        table_index_close(&x);
    }
    return found;
}

/* ---- files ---- */

static inline void table_read_file(struct env *env, const char *directory,
                                   uint64_t number, struct table_bytes *t)
{
    char *path = sst_path(directory, number);
    *t = (struct table_bytes){.number = number};
    assert_int_equal(
        env_read_file(env, path, (size_t)1 << 30, &t->data, &t->size), ADB_OK);
    free(path);
}

#endif
