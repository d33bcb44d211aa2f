/*
 * A kv_iter over an array of entries, for tests. Strict about the contract:
 * the slices of each entry are fresh memory that dies at the next move (a
 * lasting value at the one after), large values are not loaded by moves, and
 * the iterator can be told to fail.
 */
#ifndef TEST_VECTOR_ITER_H
#define TEST_VECTOR_ITER_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/random.h"
#include "kv/iterator.h"

/* One version; the value is made of key and seq. */
struct version_text {
    char key[32];
    uint64_t seq;
    enum kv_kind kind;
    size_t value_size;
};

static inline adb_slice version_key(const struct version_text *v)
{
    return slice_of_string(v->key);
}

static inline void version_value(const struct version_text *v, uint8_t *to)
{
    uint64_t x = v->seq * 131 + strlen(v->key);
    for (size_t i = 0; i < v->value_size; i++)
        to[i] = (uint8_t)(x + i * 7);
}

static inline int version_order(const void *a, const void *b)
{
    const struct version_text *x = a, *y = b;
    return kv_compare(version_key(x), x->seq, version_key(y), y->seq);
}

struct vector_iter {
    struct kv_iter base;
    const struct version_text *entries; /* borrowed, in kv order */
    size_t count, at;
    size_t unloaded_from;  /* values of this size and more come unloaded */
    size_t moves, fail_at; /* the fail_at-th move fails; 0: none */
    bool lasting;
    uint8_t *key, *value, *left; /* left: the value before, when lasting */
};

static inline void vector_place(struct vector_iter *v, size_t at)
{
    free(v->key);
    free(v->left);
    v->left = v->lasting ? v->value : NULL;
    if (!v->lasting)
        free(v->value);
    v->key = v->value = NULL;
    v->base.lasting = v->lasting;
    v->at = at;
    v->base.valid = false;
    v->base.status = ADB_OK;
    if (v->fail_at && ++v->moves >= v->fail_at) {
        status_set(ADB_CORRUPTION, "vector fails at move %zu", v->moves);
        kv_iter_fail(&v->base, ADB_CORRUPTION);
        return;
    }
    if (at >= v->count)
        return;
    const struct version_text *e = &v->entries[at];
    size_t size = strlen(e->key);
    v->key = malloc(size + 1);
    memcpy(v->key, e->key, size);
    v->base.valid = true;
    v->base.kind = e->kind;
    v->base.seq = e->seq;
    v->base.key = slice_of(v->key, size);
    v->base.head = key_head_from(v->base.origin, v->key, size);
    v->base.value = slice_of(NULL, e->value_size);
    if (e->kind == KV_PUT && e->value_size < v->unloaded_from) {
        v->value = malloc(e->value_size + 1);
        version_value(e, v->value);
        v->base.value.data = v->value;
    }
}

static inline void vector_first(struct kv_iter *it)
{
    vector_place(CONTAINER_OF(it, struct vector_iter, base), 0);
}

static inline void vector_last(struct kv_iter *it)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    vector_place(v, v->count - 1); /* wraps past the end when empty */
}

static inline size_t vector_lower(const struct version_text *entries,
                                  size_t count, adb_slice key, uint64_t seq)
{
    size_t i = 0;
    while (i < count &&
           kv_compare(version_key(&entries[i]), entries[i].seq, key, seq) < 0)
        i++;
    return i;
}

static inline void vector_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    vector_place(v, vector_lower(v->entries, v->count, key, seq));
}

static inline void vector_seek_before(struct kv_iter *it, adb_slice key,
                                      uint64_t seq)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    vector_place(v, vector_lower(v->entries, v->count, key, seq) - 1);
}

static inline void vector_next(struct kv_iter *it)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    if (!it->valid)
        abort();
    vector_place(v, v->at + 1);
}

static inline void vector_prev(struct kv_iter *it)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    if (!it->valid)
        abort();
    vector_place(v, v->at - 1);
}

static inline adb_status vector_load(struct kv_iter *it)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    v->value = malloc(it->value.size + 1);
    version_value(&v->entries[v->at], v->value);
    it->value.data = v->value;
    return ADB_OK;
}

static inline adb_status vector_read_value(struct kv_iter *it, uint64_t offset,
                                           void *data, size_t size)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    uint8_t *whole = malloc(it->value.size + 1);
    version_value(&v->entries[v->at], whole);
    memcpy(data, whole + offset, size);
    free(whole);
    return ADB_OK;
}

static inline void vector_close(struct kv_iter *it)
{
    struct vector_iter *v = CONTAINER_OF(it, struct vector_iter, base);
    free(v->key);
    free(v->value);
    free(v->left);
    mem_free(it->error);
    free(v);
}

static inline struct vector_iter *
vector_iter_new(const struct version_text *entries, size_t count)
{
    static const struct kv_iter_ops ops = {
        .seek_first = vector_first,
        .seek_last = vector_last,
        .seek = vector_seek,
        .seek_before = vector_seek_before,
        .next = vector_next,
        .prev = vector_prev,
        .load = vector_load,
        .read_value = vector_read_value,
        .close = vector_close,
    };
    struct vector_iter *v = calloc(1, sizeof *v);
    v->base.ops = &ops;
    v->entries = entries;
    v->count = count;
    v->unloaded_from = SIZE_MAX;
    return v;
}

#endif
