#include "engine.h"

#include <rocksdb/c.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const engine_name = "rocksdb";

struct engine {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_column_family_handle_t *family;
};

enum { MULTI_MAX = 256 };

struct session {
    struct engine *engine;
    rocksdb_writebatch_t *batch;
    rocksdb_iterator_t *iter;
    size_t pinned;
    rocksdb_pinnableslice_t *values[MULTI_MAX];
    const char *keys[MULTI_MAX];
    size_t sizes[MULTI_MAX];
    char *errors[MULTI_MAX];
};

static void check(char *error, const char *what)
{
    if (error)
        fatal("%s: %s", what, error);
}

static void set_table_options(struct engine *e, struct engine_config *config)
{
    e->table = rocksdb_block_based_options_create();
    e->cache = rocksdb_cache_create_lru(config->cache_bytes);
    rocksdb_block_based_options_set_block_cache(e->table, e->cache);
    rocksdb_block_based_options_set_filter_policy(
        e->table, rocksdb_filterpolicy_create_bloom_full(config->filter_bits));
    rocksdb_options_set_block_based_table_factory(e->options, e->table);
    tell(config, " block_cache=lru(%llu) filter_policy=bloom_full(%u)",
         (unsigned long long)config->cache_bytes, config->filter_bits);
}

/* With its only column family named, since the batched get asks for one. */
static void open_database(struct engine *e, const char *dir)
{
    char *error = NULL;
    const char *name = "default";
    const rocksdb_options_t *options = e->options;
    e->db = rocksdb_open_column_families(e->options, dir, 1, &name, &options,
                                         &e->family, &error);
    check(error, "rocksdb_open_column_families");
}

struct engine *engine_open(struct engine_config *config)
{
    struct engine *e = need(sizeof *e);
    bool lz4 = strcmp(config->compression, "lz4") == 0;
    e->options = rocksdb_options_create();
    tell(config,
         "rocksdb %s (C interface, shared library):", BENCH_ROCKSDB_VERSION);
    rocksdb_options_set_create_if_missing(e->options, 1);
    rocksdb_options_set_write_buffer_size(e->options, config->memtable_bytes);
    rocksdb_options_set_compression(e->options, lz4 ? rocksdb_lz4_compression
                                                    : rocksdb_no_compression);
    rocksdb_options_set_max_background_jobs(e->options,
                                            (int)config->background_threads);
    tell(config,
         " write_buffer_size=%llu compression=%s "
         "max_background_jobs=%u",
         (unsigned long long)config->memtable_bytes, config->compression,
         config->background_threads);
    set_table_options(e, config);
    e->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(e->read, 1);
    e->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(e->write, config->sync);
    tell(config, " verify_checksums=1 sync=%d, log on; the rest as by default",
         config->sync);
    open_database(e, config->dir);
    return e;
}

void engine_close(struct engine *e)
{
    rocksdb_column_family_handle_destroy(e->family);
    rocksdb_close(e->db);
    rocksdb_writeoptions_destroy(e->write);
    rocksdb_readoptions_destroy(e->read);
    rocksdb_options_destroy(e->options);
    rocksdb_block_based_options_destroy(e->table);
    rocksdb_cache_destroy(e->cache);
    free(e);
}

uint64_t engine_debt(struct engine *e)
{
    uint64_t bytes = 0;
    rocksdb_property_int(e->db, "rocksdb.estimate-pending-compaction-bytes",
                         &bytes);
    return bytes;
}

static bool is_busy(struct engine *e)
{
    static const char *const counters[] = {
        "rocksdb.num-running-flushes", "rocksdb.mem-table-flush-pending",
        "rocksdb.num-running-compactions", "rocksdb.compaction-pending"};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int(e->db, counters[i], &value) != 0)
            fatal("no property %s", counters[i]);
        if (value != 0)
            return true;
    }
    return false;
}

void engine_settle(struct engine *e)
{
    char *error = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flush, 1);
    rocksdb_flush(e->db, flush, &error);
    check(error, "rocksdb_flush");
    rocksdb_flushoptions_destroy(flush);
    /* A job that ends may schedule the next: idle must be seen repeatedly. */
    for (int idle = 0; idle < 5; idle = is_busy(e) ? 0 : idle + 1)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
}

struct session *session_open(struct engine *e)
{
    struct session *s = need(sizeof *s);
    s->engine = e;
    s->batch = rocksdb_writebatch_create();
    return s;
}

void session_close(struct session *s)
{
    rocksdb_writebatch_destroy(s->batch);
    free(s);
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    char *error = NULL;
    rocksdb_put(s->engine->db, s->engine->write, key.data, key.size, value.data,
                value.size, &error);
    check(error, "rocksdb_put");
}

void session_delete(struct session *s, struct bytes key)
{
    char *error = NULL;
    rocksdb_delete(s->engine->db, s->engine->write, key.data, key.size, &error);
    check(error, "rocksdb_delete");
}

void session_write(struct session *s, const struct entry *e, size_t count)
{
    char *error = NULL;
    rocksdb_writebatch_clear(s->batch);
    for (size_t i = 0; i < count; i++)
        rocksdb_writebatch_put(s->batch, e[i].key.data, e[i].key.size,
                               e[i].value.data, e[i].value.size);
    rocksdb_write(s->engine->db, s->engine->write, s->batch, &error);
    check(error, "rocksdb_write");
}

static bool take(rocksdb_pinnableslice_t *pinned, struct bytes *value)
{
    *value = (struct bytes){NULL, 0};
    if (pinned)
        value->data = rocksdb_pinnableslice_value(pinned, &value->size);
    return pinned != NULL;
}

bool session_get(struct session *s, struct bytes key, struct bytes *value)
{
    char *error = NULL;
    s->values[0] = rocksdb_get_pinned(s->engine->db, s->engine->read, key.data,
                                      key.size, &error);
    check(error, "rocksdb_get_pinned");
    s->pinned = 1;
    return take(s->values[0], value);
}

void session_multi_get(struct session *s, const struct bytes *keys,
                       size_t count, struct bytes *values)
{
    if (count > MULTI_MAX)
        fatal("multi_get of more than %d keys", MULTI_MAX);
    for (size_t i = 0; i < count; i++) {
        s->keys[i] = keys[i].data;
        s->sizes[i] = keys[i].size;
    }
    rocksdb_batched_multi_get_cf(s->engine->db, s->engine->read,
                                 s->engine->family, count, s->keys, s->sizes,
                                 s->values, s->errors, false);
    s->pinned = count;
    for (size_t i = 0; i < count; i++) {
        check(s->errors[i], "rocksdb_batched_multi_get_cf");
        take(s->values[i], &values[i]);
    }
}

void session_release(struct session *s)
{
    for (size_t i = 0; i < s->pinned; i++)
        rocksdb_pinnableslice_destroy(s->values[i]);
    s->pinned = 0;
}

void session_iter_open(struct session *s)
{
    s->iter = rocksdb_create_iterator(s->engine->db, s->engine->read);
}

void session_iter_close(struct session *s)
{
    rocksdb_iter_destroy(s->iter);
}

static bool entry_of(struct session *s, struct entry *out)
{
    if (!rocksdb_iter_valid(s->iter)) {
        char *error = NULL;
        rocksdb_iter_get_error(s->iter, &error);
        check(error, "iterator");
        return false;
    }
    out->key.data = rocksdb_iter_key(s->iter, &out->key.size);
    out->value.data = rocksdb_iter_value(s->iter, &out->value.size);
    return true;
}

bool session_first(struct session *s, struct entry *out)
{
    rocksdb_iter_seek_to_first(s->iter);
    return entry_of(s, out);
}

bool session_last(struct session *s, struct entry *out)
{
    rocksdb_iter_seek_to_last(s->iter);
    return entry_of(s, out);
}

bool session_seek(struct session *s, struct bytes key, struct entry *out)
{
    rocksdb_iter_seek(s->iter, key.data, key.size);
    return entry_of(s, out);
}

bool session_next(struct session *s, struct entry *out)
{
    rocksdb_iter_next(s->iter);
    return entry_of(s, out);
}

bool session_prev(struct session *s, struct entry *out)
{
    rocksdb_iter_prev(s->iter);
    return entry_of(s, out);
}
