#include "engine.h"

#include <leveldb/c.h>

#include <stdlib.h>
#include <string.h>

const char *const engine_name = "leveldb";

struct engine {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
};

enum { MULTI_MAX = 256 };

struct session {
    struct engine *engine;
    leveldb_writebatch_t *batch;
    leveldb_iterator_t *iter;
    size_t held;
    char *values[MULTI_MAX]; /* owned until release */
};

static void check(char *error, const char *what)
{
    if (error)
        fatal("%s: %s", what, error);
}

struct engine *engine_open(struct engine_config *config)
{
    struct engine *e = need(sizeof *e);
    char *error = NULL;
    /* Its only compression is snappy; asked for lz4, that is its like. */
    bool snappy = strcmp(config->compression, "none") != 0;
    e->options = leveldb_options_create();
    e->cache = leveldb_cache_create_lru(config->cache_bytes);
    e->filter = leveldb_filterpolicy_create_bloom((int)config->filter_bits);
    e->read = leveldb_readoptions_create();
    e->write = leveldb_writeoptions_create();
    leveldb_options_set_create_if_missing(e->options, 1);
    leveldb_options_set_write_buffer_size(e->options, config->memtable_bytes);
    leveldb_options_set_cache(e->options, e->cache);
    leveldb_options_set_filter_policy(e->options, e->filter);
    leveldb_options_set_compression(e->options, snappy
                                                    ? leveldb_snappy_compression
                                                    : leveldb_no_compression);
    leveldb_readoptions_set_verify_checksums(e->read, 1);
    leveldb_writeoptions_set_sync(e->write, config->sync);
    tell(config,
         "leveldb %d.%d: write_buffer_size=%llu cache=lru(%llu) bloom(%u) "
         "compression=%s verify_checksums=1 sync=%d; one background thread, "
         "the rest as by default",
         leveldb_major_version(), leveldb_minor_version(),
         (unsigned long long)config->memtable_bytes,
         (unsigned long long)config->cache_bytes, config->filter_bits,
         snappy ? "snappy" : "none", config->sync);
    e->db = leveldb_open(e->options, config->dir, &error);
    check(error, "leveldb_open");
    return e;
}

void engine_close(struct engine *e)
{
    leveldb_close(e->db);
    leveldb_writeoptions_destroy(e->write);
    leveldb_readoptions_destroy(e->read);
    leveldb_options_destroy(e->options);
    leveldb_filterpolicy_destroy(e->filter);
    leveldb_cache_destroy(e->cache);
    free(e);
}

uint64_t engine_debt(struct engine *e)
{
    (void)e;
    return 0;
}

/* It offers neither a flush nor a word on pending work; its last memtable
   stays in memory. */
void engine_settle(struct engine *e)
{
    (void)e;
    wait_for_quiet(200);
}

struct session *session_open(struct engine *e)
{
    struct session *s = need(sizeof *s);
    s->engine = e;
    s->batch = leveldb_writebatch_create();
    return s;
}

void session_close(struct session *s)
{
    leveldb_writebatch_destroy(s->batch);
    free(s);
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    char *error = NULL;
    leveldb_put(s->engine->db, s->engine->write, key.data, key.size, value.data,
                value.size, &error);
    check(error, "leveldb_put");
}

void session_delete(struct session *s, struct bytes key)
{
    char *error = NULL;
    leveldb_delete(s->engine->db, s->engine->write, key.data, key.size, &error);
    check(error, "leveldb_delete");
}

void session_write(struct session *s, const struct entry *e, size_t count)
{
    char *error = NULL;
    leveldb_writebatch_clear(s->batch);
    for (size_t i = 0; i < count; i++)
        leveldb_writebatch_put(s->batch, e[i].key.data, e[i].key.size,
                               e[i].value.data, e[i].value.size);
    leveldb_write(s->engine->db, s->engine->write, s->batch, &error);
    check(error, "leveldb_write");
}

static bool get_at(struct session *s, size_t slot, struct bytes key,
                   struct bytes *value)
{
    char *error = NULL;
    value->size = 0;
    s->values[slot] = leveldb_get(s->engine->db, s->engine->read, key.data,
                                  key.size, &value->size, &error);
    check(error, "leveldb_get");
    value->data = s->values[slot];
    return value->data != NULL;
}

bool session_get(struct session *s, struct bytes key, struct bytes *value)
{
    s->held = 1;
    return get_at(s, 0, key, value);
}

void session_multi_get(struct session *s, const struct bytes *keys,
                       size_t count, struct bytes *values)
{
    if (count > MULTI_MAX)
        fatal("multi_get of more than %d keys", MULTI_MAX);
    for (size_t i = 0; i < count; i++)
        get_at(s, i, keys[i], &values[i]);
    s->held = count;
}

void session_release(struct session *s)
{
    for (size_t i = 0; i < s->held; i++)
        leveldb_free(s->values[i]);
    s->held = 0;
}

void session_iter_open(struct session *s)
{
    s->iter = leveldb_create_iterator(s->engine->db, s->engine->read);
}

void session_iter_close(struct session *s)
{
    leveldb_iter_destroy(s->iter);
}

static bool entry_of(struct session *s, struct entry *out)
{
    if (!leveldb_iter_valid(s->iter)) {
        char *error = NULL;
        leveldb_iter_get_error(s->iter, &error);
        check(error, "iterator");
        return false;
    }
    out->key.data = leveldb_iter_key(s->iter, &out->key.size);
    out->value.data = leveldb_iter_value(s->iter, &out->value.size);
    return true;
}

bool session_first(struct session *s, struct entry *out)
{
    leveldb_iter_seek_to_first(s->iter);
    return entry_of(s, out);
}

bool session_last(struct session *s, struct entry *out)
{
    leveldb_iter_seek_to_last(s->iter);
    return entry_of(s, out);
}

bool session_seek(struct session *s, struct bytes key, struct entry *out)
{
    leveldb_iter_seek(s->iter, key.data, key.size);
    return entry_of(s, out);
}

bool session_next(struct session *s, struct entry *out)
{
    leveldb_iter_next(s->iter);
    return entry_of(s, out);
}

bool session_prev(struct session *s, struct entry *out)
{
    leveldb_iter_prev(s->iter);
    return entry_of(s, out);
}
