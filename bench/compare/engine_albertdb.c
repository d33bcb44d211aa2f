#include "engine.h"

#include "albertdb/albertdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const engine_name = "albertdb";

struct engine {
    adb *db;
};

enum { MULTI_MAX = 256 };

struct session {
    adb *db;
    adb_batch *batch;
    adb_iter *iter;
    size_t pinned;
    adb_slice keys[MULTI_MAX];
    adb_value values[MULTI_MAX];
    adb_status statuses[MULTI_MAX];
};

static void check(adb_status status, const char *what)
{
    if (status != ADB_OK)
        fatal("%s: %s: %s", what, adb_status_name(status), adb_error_message());
}

static void set(adb_options *options, const char *name, const char *value)
{
    check(adb_options_set(options, name, value), name);
}

static void set_number(adb_options *options, const char *name, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    set(options, name, text);
}

/* For trials of single options: "name=value,name=value"; may be NULL. */
static void set_more(adb_options *options, const char *text)
{
    char copy[512], *rest = copy, *item;
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    while ((item = strsep(&rest, ",")) != NULL) {
        char *value = strchr(item, '=');
        if (!value)
            continue;
        *value++ = 0;
        set(options, item, value);
    }
}

/* Every option there is, set here or left as it was. */
static void tell_all(struct engine_config *config, const adb_options *options)
{
    adb_option_info info;
    char value[64];
    tell(config, "albertdb %s:", adb_version());
    for (size_t i = 0; adb_options_describe(i, &info) == ADB_OK; i++) {
        check(adb_options_get(options, info.name, value, sizeof value),
              info.name);
        tell(config, " %s=%s", info.name, value);
    }
    tell(config, "; checksums of blocks verified when loaded");
}

struct engine *engine_open(struct engine_config *config)
{
    struct engine *e = need(sizeof *e);
    adb_options *o = adb_options_new();
    /* One number covers cache and memtables; peers have them apart and up to
       two memtables. */
    set_number(o, "memory_budget",
               config->cache_bytes + 2 * config->memtable_bytes);
    set_number(o, "memtable_size", config->memtable_bytes);
    set(o, "durability", config->sync ? "sync" : "process");
    set(o, "compression", config->compression);
    set_number(o, "filter_bits", config->filter_bits);
    set_number(o, "background_threads", config->background_threads);
    set_more(o, getenv("BENCH_ALBERTDB_OPTIONS"));
    tell_all(config, o);
    check(adb_open(config->dir, o, &e->db), "adb_open");
    adb_options_free(o);
    return e;
}

void engine_close(struct engine *e)
{
    check(adb_close(e->db), "adb_close");
    free(e);
}

/* The number after this name in the statistics. */
static uint64_t statistic(adb *db, const char *name)
{
    char *json;
    check(adb_stats(db, &json), "adb_stats");
    const char *at = strstr(json, name);
    if (!at)
        fatal("adb_stats has no %s", name);
    uint64_t value = strtoull(at + strlen(name), NULL, 10);
    adb_free(json);
    return value;
}

uint64_t engine_debt(struct engine *e)
{
    return statistic(e->db, "\"debt_bytes\":");
}

void engine_settle(struct engine *e)
{
    check(adb_flush(e->db), "adb_flush");
    check(adb_wait_idle(e->db, 0), "adb_wait_idle");
}

struct session *session_open(struct engine *e)
{
    struct session *s = need(sizeof *s);
    s->db = e->db;
    s->batch = adb_batch_new();
    return s;
}

void session_close(struct session *s)
{
    adb_batch_free(s->batch);
    free(s);
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    check(adb_put(s->db, NULL, key.data, key.size, value.data, value.size),
          "adb_put");
}

void session_delete(struct session *s, struct bytes key)
{
    check(adb_delete(s->db, NULL, key.data, key.size), "adb_delete");
}

void session_write(struct session *s, const struct entry *e, size_t count)
{
    adb_batch_clear(s->batch);
    for (size_t i = 0; i < count; i++)
        check(adb_batch_put(s->batch, e[i].key.data, e[i].key.size,
                            e[i].value.data, e[i].value.size),
              "adb_batch_put");
    check(adb_write(s->db, NULL, s->batch), "adb_write");
}

bool session_get(struct session *s, struct bytes key, struct bytes *value)
{
    adb_value *v = &s->values[0];
    adb_status status = adb_get(s->db, NULL, key.data, key.size, v);
    if (status == ADB_NOT_FOUND)
        return false;
    check(status, "adb_get");
    s->pinned = 1;
    *value = (struct bytes){v->data, v->size};
    return true;
}

void session_multi_get(struct session *s, const struct bytes *keys,
                       size_t count, struct bytes *values)
{
    if (count > MULTI_MAX)
        fatal("multi_get of more than %d keys", MULTI_MAX);
    for (size_t i = 0; i < count; i++)
        s->keys[i] = (adb_slice){keys[i].data, keys[i].size};
    check(adb_multi_get(s->db, NULL, count, s->keys, s->values, s->statuses),
          "adb_multi_get");
    s->pinned = count;
    for (size_t i = 0; i < count; i++)
        values[i] = s->statuses[i] == ADB_OK
                        ? (struct bytes){s->values[i].data, s->values[i].size}
                        : (struct bytes){NULL, 0};
}

void session_release(struct session *s)
{
    for (size_t i = 0; i < s->pinned; i++)
        adb_value_release(&s->values[i]);
    s->pinned = 0;
}

void session_iter_open(struct session *s)
{
    check(adb_iter_new(s->db, NULL, &s->iter), "adb_iter_new");
}

void session_iter_close(struct session *s)
{
    adb_iter_free(s->iter);
    s->iter = NULL;
}

static bool entry_of(struct session *s, int valid, struct entry *out)
{
    if (!valid) {
        check(adb_iter_status(s->iter), "iterator");
        return false;
    }
    adb_slice key = adb_iter_key(s->iter), value = adb_iter_value(s->iter);
    out->key = (struct bytes){key.data, key.size};
    out->value = (struct bytes){value.data, value.size};
    return true;
}

bool session_first(struct session *s, struct entry *out)
{
    return entry_of(s, adb_iter_seek_first(s->iter), out);
}

bool session_last(struct session *s, struct entry *out)
{
    return entry_of(s, adb_iter_seek_last(s->iter), out);
}

bool session_seek(struct session *s, struct bytes key, struct entry *out)
{
    return entry_of(s, adb_iter_seek(s->iter, key.data, key.size), out);
}

bool session_next(struct session *s, struct entry *out)
{
    return entry_of(s, adb_iter_next(s->iter), out);
}

bool session_prev(struct session *s, struct entry *out)
{
    return entry_of(s, adb_iter_prev(s->iter), out);
}
