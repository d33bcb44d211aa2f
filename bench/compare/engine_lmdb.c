#include "engine.h"

#include <lmdb.h>

#include <stdlib.h>

const char *const engine_name = "lmdb";

struct engine {
    MDB_env *env;
    MDB_dbi dbi;
};

/* The read transaction is made once and renewed for each get, which is the
   cheapest way LMDB has; so is the cursor. */
struct session {
    struct engine *engine;
    MDB_txn *reader;
    MDB_cursor *cursor;
    bool reading;
};

static void check(int code, const char *what)
{
    if (code != MDB_SUCCESS)
        fatal("%s: %s", what, mdb_strerror(code));
}

struct engine *engine_open(struct engine_config *config)
{
    struct engine *e = need(sizeof *e);
    MDB_txn *txn;
    uint64_t map = (uint64_t)4 << 30;
    while (map < 8 * config->data_bytes)
        map *= 2;
    unsigned flags = MDB_WRITEMAP | MDB_NOTLS;
    if (!config->sync)
        flags |= MDB_NOSYNC;
    /* As its documentation advises: else each fault reads around itself as far
       as the device is set to. */
    if (config->limited)
        flags |= MDB_NORDAHEAD;
    check(mdb_env_create(&e->env), "mdb_env_create");
    check(mdb_env_set_mapsize(e->env, map), "mdb_env_set_mapsize");
    check(mdb_env_open(e->env, config->dir, flags, 0644), "mdb_env_open");
    check(mdb_txn_begin(e->env, NULL, 0, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, NULL, 0, &e->dbi), "mdb_dbi_open");
    check(mdb_txn_commit(txn), "mdb_txn_commit");
    tell(config,
         "%s mapsize=%llu MDB_WRITEMAP MDB_NOTLS%s%s; no cache, filter, "
         "compression or checksums of its own",
         mdb_version(NULL, NULL, NULL), (unsigned long long)map,
         config->sync ? "" : " MDB_NOSYNC",
         config->limited ? " MDB_NORDAHEAD" : "");
    return e;
}

void engine_close(struct engine *e)
{
    mdb_env_close(e->env);
    free(e);
}

uint64_t engine_debt(struct engine *e)
{
    (void)e;
    return 0;
}

/* It has no background work but the kernel's: the others' tables are on the
   disk when they are idle, and so is this then. */
void engine_settle(struct engine *e)
{
    check(mdb_env_sync(e->env, 1), "mdb_env_sync");
}

struct session *session_open(struct engine *e)
{
    struct session *s = need(sizeof *s);
    s->engine = e;
    check(mdb_txn_begin(e->env, NULL, MDB_RDONLY, &s->reader), "reader");
    check(mdb_cursor_open(s->reader, e->dbi, &s->cursor), "mdb_cursor_open");
    mdb_txn_reset(s->reader);
    return s;
}

void session_close(struct session *s)
{
    mdb_cursor_close(s->cursor);
    mdb_txn_abort(s->reader);
    free(s);
}

static MDB_val value_of(struct bytes bytes)
{
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.data};
}

void session_write(struct session *s, const struct entry *e, size_t count)
{
    MDB_txn *txn;
    check(mdb_txn_begin(s->engine->env, NULL, 0, &txn), "mdb_txn_begin");
    for (size_t i = 0; i < count; i++) {
        MDB_val key = value_of(e[i].key), value = value_of(e[i].value);
        check(mdb_put(txn, s->engine->dbi, &key, &value, 0), "mdb_put");
    }
    check(mdb_txn_commit(txn), "mdb_txn_commit");
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    session_write(s, &(struct entry){key, value}, 1);
}

void session_delete(struct session *s, struct bytes bytes)
{
    MDB_txn *txn;
    MDB_val key = value_of(bytes);
    check(mdb_txn_begin(s->engine->env, NULL, 0, &txn), "mdb_txn_begin");
    int code = mdb_del(txn, s->engine->dbi, &key, NULL);
    if (code != MDB_NOTFOUND)
        check(code, "mdb_del");
    check(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void start_reading(struct session *s)
{
    check(mdb_txn_renew(s->reader), "mdb_txn_renew");
    s->reading = true;
}

static bool get_one(struct session *s, struct bytes bytes, struct bytes *out)
{
    MDB_val key = value_of(bytes), value;
    int code = mdb_get(s->reader, s->engine->dbi, &key, &value);
    if (code == MDB_NOTFOUND)
        return false;
    check(code, "mdb_get");
    *out = (struct bytes){value.mv_data, value.mv_size};
    return true;
}

bool session_get(struct session *s, struct bytes key, struct bytes *value)
{
    start_reading(s);
    return get_one(s, key, value);
}

void session_multi_get(struct session *s, const struct bytes *keys,
                       size_t count, struct bytes *values)
{
    start_reading(s);
    for (size_t i = 0; i < count; i++)
        if (!get_one(s, keys[i], &values[i]))
            values[i] = (struct bytes){NULL, 0};
}

void session_release(struct session *s)
{
    if (s->reading)
        mdb_txn_reset(s->reader);
    s->reading = false;
}

void session_iter_open(struct session *s)
{
    start_reading(s);
    check(mdb_cursor_renew(s->reader, s->cursor), "mdb_cursor_renew");
}

void session_iter_close(struct session *s)
{
    session_release(s);
}

static bool move(struct session *s, MDB_val key, MDB_cursor_op op,
                 struct entry *out)
{
    MDB_val value;
    int code = mdb_cursor_get(s->cursor, &key, &value, op);
    if (code == MDB_NOTFOUND)
        return false;
    check(code, "mdb_cursor_get");
    out->key = (struct bytes){key.mv_data, key.mv_size};
    out->value = (struct bytes){value.mv_data, value.mv_size};
    return true;
}

bool session_first(struct session *s, struct entry *out)
{
    return move(s, (MDB_val){0, NULL}, MDB_FIRST, out);
}

bool session_last(struct session *s, struct entry *out)
{
    return move(s, (MDB_val){0, NULL}, MDB_LAST, out);
}

bool session_seek(struct session *s, struct bytes key, struct entry *out)
{
    return move(s, value_of(key), MDB_SET_RANGE, out);
}

bool session_next(struct session *s, struct entry *out)
{
    return move(s, (MDB_val){0, NULL}, MDB_NEXT, out);
}

bool session_prev(struct session *s, struct entry *out)
{
    return move(s, (MDB_val){0, NULL}, MDB_PREV, out);
}
