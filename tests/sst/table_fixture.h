/*
 * What tests of tables share: a directory with one table in it, made from a
 * sorted model of versions, and a reader on it with all that a reader needs.
 */
#ifndef TESTS_SST_TABLE_FIXTURE_H
#define TESTS_SST_TABLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/random.h"
#include "env/env.h"
#include "sst/sst_reader.h"
#include "sst/sst_writer.h"

struct model_entry {
    uint8_t *key;
    size_t key_size;
    uint64_t seq;
    enum kv_kind kind;
    uint64_t value_seed;
    size_t value_size;
};

struct model {
    struct model_entry *entries;
    size_t count, capacity;
};

struct model_iter {
    struct kv_iter base;
    uint8_t *value;
};

struct fixture {
    char directory[64];
    struct env *env;
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files;
    struct sst_counters *counters;
    struct sst_context context;
    struct table_info info;
    struct sst_reader *reader;
    struct model model;
};

/* ---- the model ---- */

static inline adb_slice model_key(const struct model_entry *e)
{
    return slice_of(e->key, e->key_size);
}

static inline void fill_value(const struct model_entry *e, uint8_t *value)
{
    struct random random;
    random_seed(&random, e->value_seed);
    /* Half of it compressible. */
    uint8_t byte = (uint8_t)random_next(&random);
    for (size_t i = 0; i < e->value_size; i++) {
        if (i % 8 == 0)
            byte = (uint8_t)random_next(&random);
        value[i] = byte;
    }
}

static inline void model_add(struct model *m, const void *key, size_t key_size,
                             uint64_t seq, enum kv_kind kind, size_t value_size)
{
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? m->capacity * 2 : 1024;
        m->entries = realloc(m->entries, m->capacity * sizeof *m->entries);
        assert_non_null(m->entries);
    }
    struct model_entry *e = &m->entries[m->count++];
    e->key = malloc(key_size + 1);
    assert_non_null(e->key);
    if (key_size)
        memcpy(e->key, key, key_size);
    e->key_size = key_size;
    e->seq = seq;
    e->kind = kind;
    e->value_seed = seq * 7919 + key_size;
    e->value_size = kind == KV_DELETE ? 0 : value_size;
}

static inline int compare_entries(const void *a, const void *b)
{
    const struct model_entry *x = a, *y = b;
    return kv_compare(model_key(x), x->seq, model_key(y), y->seq);
}

/* Sorts, and drops equal (key, seq). */
static inline void model_sort(struct model *m)
{
    qsort(m->entries, m->count, sizeof *m->entries, compare_entries);
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (n && compare_entries(&m->entries[n - 1], &m->entries[i]) == 0)
            free(m->entries[i].key);
        else
            m->entries[n++] = m->entries[i];
    }
    m->count = n;
}

/* "key00000000" and so on, in the order of their numbers, sequences too. */
static inline void model_ascending(struct model *m, size_t keys,
                                   size_t value_size)
{
    char key[32];
    for (size_t i = 0; i < keys; i++) {
        snprintf(key, sizeof key, "key%08zu", i);
        model_add(m, key, 11, i + 1, KV_PUT, value_size);
    }
}

static inline void model_clear(struct model *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->entries[i].key);
    free(m->entries);
    *m = (struct model){0};
}

/* The first entry at or after (key, seq). */
static inline size_t model_seek(const struct model *m, adb_slice key,
                                uint64_t seq)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct model_entry *e = &m->entries[middle];
        if (kv_compare(model_key(e), e->seq, key, seq) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline const struct model_entry *model_get(const struct model *m,
                                                  adb_slice key, uint64_t seq)
{
    size_t i = model_seek(m, key, seq);
    return i < m->count && slice_equal(model_key(&m->entries[i]), key)
               ? &m->entries[i]
               : NULL;
}

/* Random keys with shared prefixes, several versions, tombstones; every
   thousandth value is large. */
static inline void model_random(struct model *m, struct random *random,
                                size_t keys, size_t value_size)
{
    static const char *const prefixes[] = {
        "", "user:", "user:profile:", "\xff\xff", "zebra/long/common/"};
    uint64_t seq = 1;
    for (size_t i = 0; i < keys; i++) {
        char key[64];
        int size = snprintf(key, sizeof key, "%s%llx",
                            prefixes[random_below(random, 5)],
                            (unsigned long long)random_below(random, keys * 8));
        size_t cut = random_below(random, 50) ? 0 : (size_t)size / 2;
        size_t versions = random_below(random, 20) ? 1 : 4;
        if (random_below(random, 2000) == 0)
            versions = 600;
        for (size_t v = 0; v < versions; v++) {
            size_t big = random_below(random, 1000) ? 0 : 90000;
            model_add(m, key, (size_t)size - cut, seq++,
                      random_below(random, 8) ? KV_PUT : KV_DELETE,
                      big + random_below(random, value_size + 1));
        }
    }
    model_sort(m);
}

/* ---- the table ---- */

static inline void check(adb_status status)
{
    if (status != ADB_OK)
        fail_msg("%s: %s", status_name(status), status_message());
}

static inline void write_model(struct fixture *f,
                               const struct sst_writer_options *options)
{
    struct sst_writer_options o = *options;
    o.env = f->env;
    o.directory = f->directory;
    o.number = o.number ? o.number : 7;
    o.ledger = &f->ledger;
    struct sst_writer *w;
    check(sst_writer_open(&o, &w));
    uint8_t *value = malloc(1 << 20);
    assert_non_null(value);
    struct kv_iter_ops ops = {0};
    for (size_t i = 0; i < f->model.count; i++) {
        const struct model_entry *e = &f->model.entries[i];
        fill_value(e, value);
        struct kv_iter entry = {
            .ops = &ops,
            .valid = true,
            .kind = e->kind,
            .seq = e->seq,
            .head = key_head8(e->key, e->key_size),
            .key = model_key(e),
            .value = slice_of(value, e->value_size),
        };
        check(sst_writer_add(w, &entry));
    }
    free(value);
    check(sst_writer_finish(w, &f->info));
}

static inline struct fixture *fixture_new(int64_t budget)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->directory, "sst-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->env = env_posix();
    f->ledger.budget = budget;
    f->epoch = mem_aligned_alloc(64, sizeof *f->epoch);
    f->counters = mem_aligned_alloc(64, sizeof *f->counters);
    assert_true(f->epoch && f->counters);
    memset(f->counters, 0, sizeof *f->counters);
    epoch_init(f->epoch);
    struct cache_options options = {&f->ledger, f->epoch};
    check(cache_new(&options, &f->cache));
    return f;
}

/* `max_open` descriptors; the model has been written. */
static inline void fixture_context(struct fixture *f, struct env *env,
                                   unsigned max_open, bool map)
{
    check(file_table_new(env, f->directory, max_open, &f->files));
    f->context = (struct sst_context){
        .env = env,
        .directory = f->directory,
        .cache = f->cache,
        .epoch = f->epoch,
        .ledger = &f->ledger,
        .files = f->files,
        .counters = f->counters,
        .map_tables = map,
    };
}

static inline void fixture_open(struct fixture *f, bool map)
{
    fixture_context(f, f->env, 4, map);
    check(sst_reader_open(&f->context, &f->info, &f->reader));
}

static inline void fixture_free(struct fixture *f)
{
    if (f->reader)
        sst_reader_unref(f->reader);
    cache_free(f->cache);
    epoch_deinit(f->epoch);
    file_table_free(f->files);
    for (int row = 0; row < LEDGER_ROWS; row++)
        assert_int_equal(ledger_row(&f->ledger, row), 0);
    char *path = sst_path(f->directory, f->info.number);
    unlink(path);
    mem_free(path);
    assert_int_equal(rmdir(f->directory), 0);
    mem_free(f->epoch);
    mem_free(f->counters);
    table_info_deinit(&f->info);
    model_clear(&f->model);
    free(f);
}

/* ---- comparing ---- */

static inline void expect_bytes(const struct model_entry *e, const void *data,
                                size_t size)
{
    assert_int_equal(size, e->value_size);
    uint8_t *expected = malloc(size + 1);
    assert_non_null(expected);
    fill_value(e, expected);
    if (size)
        assert_memory_equal(data, expected, size);
    free(expected);
}

static inline void expect_entry(struct kv_iter *it, const struct model_entry *e)
{
    if (!it->valid)
        fail_msg("not valid: %s %s", status_name(kv_iter_status(it)),
                 status_message());
    assert_int_equal(it->key.size, e->key_size);
    assert_memory_equal(it->key.data, e->key, e->key_size);
    assert_int_equal(it->seq, e->seq);
    assert_int_equal(it->kind, e->kind);
    assert_int_equal(it->head,
                     key_head_from(it->origin, e->key, e->key_size));
    assert_int_equal(it->value.size, e->value_size);
}

/* get of (key, seq) against the model. */
static inline void expect_get(struct fixture *f, adb_slice key, uint64_t seq,
                              unsigned flags)
{
    const struct model_entry *e = model_get(&f->model, key, seq);
    struct sst_hit hit;
    struct epoch_slot *inside = epoch_enter(f->epoch);
    adb_status status = sst_reader_get(
        f->reader, key, hash_key(key.data, key.size), seq, flags, &hit);
    if (!e) {
        assert_int_equal(status, ADB_NOT_FOUND);
    } else {
        check(status);
        assert_int_equal(hit.seq, e->seq);
        assert_int_equal(hit.kind, e->kind);
        assert_int_equal(hit.value.size, e->value_size);
        if (hit.value.data) {
            expect_bytes(e, hit.value.data, hit.value.size);
        } else {
            uint8_t *value = malloc(hit.value.size);
            assert_non_null(value);
            check(sst_load_value(f->reader, hit.extent_offset, hit.value.size,
                                 0, value, hit.value.size));
            expect_bytes(e, value, hit.value.size);
            free(value);
        }
        cache_done(hit.frame);
    }
    epoch_leave(inside);
}

#endif
