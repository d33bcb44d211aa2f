#include "engine.h"

#include <wiredtiger.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const engine_name = "wiredtiger";

static const char table_name[] = "table:bench";

struct engine {
    WT_CONNECTION *connection;
};

/* Values are borrowed from the cursor, which one call at a time positions; a
   multi-get copies. */
struct session {
    WT_SESSION *session;
    WT_CURSOR *cursor;
    char *copies; /* owned */
    size_t copies_size;
};

static void check(int code, const char *what)
{
    if (code != 0)
        fatal("%s: %s", what, wiredtiger_strerror(code));
}

struct engine *engine_open(struct engine_config *config)
{
    struct engine *e = need(sizeof *e);
    char text[512];
    WT_SESSION *session;
    /* Method none hands the log to the kernel at each commit, which is what
       durability "process" means; fsync waits for the disk. */
    snprintf(text, sizeof text,
             "create,cache_size=%llu,log=(enabled=true),"
             "transaction_sync=(enabled=true,method=%s),"
             "eviction=(threads_min=1,threads_max=%u)",
             (unsigned long long)config->cache_bytes,
             config->sync ? "fsync" : "none", config->background_threads);
    check(wiredtiger_open(config->dir, NULL, text, &e->connection),
          "wiredtiger_open");
    check(e->connection->open_session(e->connection, NULL, NULL, &session),
          "open_session");
    check(session->create(session, table_name, "key_format=u,value_format=u"),
          "create");
    check(session->close(session, NULL), "close");
    tell(config,
         "%s: \"%s\", btree, key_format=u,value_format=u; no filter, "
         "no block compression",
         wiredtiger_version(NULL, NULL, NULL), text);
    return e;
}

void engine_close(struct engine *e)
{
    check(e->connection->close(e->connection, NULL), "close");
    free(e);
}

uint64_t engine_debt(struct engine *e)
{
    (void)e;
    return 0;
}

void engine_settle(struct engine *e)
{
    WT_SESSION *session;
    check(e->connection->open_session(e->connection, NULL, NULL, &session),
          "open_session");
    check(session->checkpoint(session, NULL), "checkpoint");
    check(session->close(session, NULL), "close");
}

struct session *session_open(struct engine *e)
{
    struct session *s = need(sizeof *s);
    check(e->connection->open_session(e->connection, NULL, NULL, &s->session),
          "open_session");
    check(
        s->session->open_cursor(s->session, table_name, NULL, NULL, &s->cursor),
        "open_cursor");
    return s;
}

void session_close(struct session *s)
{
    check(s->session->close(s->session, NULL), "close");
    free(s->copies);
    free(s);
}

static void set_key(struct session *s, struct bytes key)
{
    WT_ITEM item = {.data = key.data, .size = key.size};
    s->cursor->set_key(s->cursor, &item);
}

void session_put(struct session *s, struct bytes key, struct bytes value)
{
    WT_ITEM item = {.data = value.data, .size = value.size};
    set_key(s, key);
    s->cursor->set_value(s->cursor, &item);
    check(s->cursor->insert(s->cursor), "insert");
}

void session_delete(struct session *s, struct bytes key)
{
    set_key(s, key);
    int code = s->cursor->remove(s->cursor);
    if (code != WT_NOTFOUND)
        check(code, "remove");
}

void session_write(struct session *s, const struct entry *e, size_t count)
{
    check(s->session->begin_transaction(s->session, NULL), "begin");
    for (size_t i = 0; i < count; i++)
        session_put(s, e[i].key, e[i].value);
    check(s->session->commit_transaction(s->session, NULL), "commit");
}

bool session_get(struct session *s, struct bytes key, struct bytes *value)
{
    WT_ITEM item;
    set_key(s, key);
    int code = s->cursor->search(s->cursor);
    if (code == WT_NOTFOUND)
        return false;
    check(code, "search");
    check(s->cursor->get_value(s->cursor, &item), "get_value");
    *value = (struct bytes){item.data, item.size};
    return true;
}

void session_multi_get(struct session *s, const struct bytes *keys,
                       size_t count, struct bytes *values)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        struct bytes found;
        if (!session_get(s, keys[i], &found)) {
            values[i] = (struct bytes){NULL, 0};
            continue;
        }
        /* Sized once for all values of this size, so it never moves. */
        if (!s->copies)
            s->copies = need(s->copies_size = count * found.size);
        if (used + found.size > s->copies_size)
            fatal("multi_get: values of different sizes");
        memcpy(s->copies + used, found.data, found.size);
        values[i] = (struct bytes){s->copies + used, found.size};
        used += found.size;
    }
}

void session_release(struct session *s)
{
    check(s->cursor->reset(s->cursor), "reset");
}

void session_iter_open(struct session *s)
{
    check(s->cursor->reset(s->cursor), "reset");
}

void session_iter_close(struct session *s)
{
    check(s->cursor->reset(s->cursor), "reset");
}

static bool entry_of(struct session *s, int code, struct entry *out)
{
    WT_ITEM key, value;
    if (code == WT_NOTFOUND)
        return false;
    check(code, "cursor");
    check(s->cursor->get_key(s->cursor, &key), "get_key");
    check(s->cursor->get_value(s->cursor, &value), "get_value");
    out->key = (struct bytes){key.data, key.size};
    out->value = (struct bytes){value.data, value.size};
    return true;
}

bool session_first(struct session *s, struct entry *out)
{
    check(s->cursor->reset(s->cursor), "reset");
    return session_next(s, out);
}

bool session_last(struct session *s, struct entry *out)
{
    check(s->cursor->reset(s->cursor), "reset");
    return session_prev(s, out);
}

bool session_seek(struct session *s, struct bytes key, struct entry *out)
{
    int exact;
    set_key(s, key);
    int code = s->cursor->search_near(s->cursor, &exact);
    if (code == 0 && exact < 0)
        code = s->cursor->next(s->cursor);
    return entry_of(s, code, out);
}

bool session_next(struct session *s, struct entry *out)
{
    return entry_of(s, s->cursor->next(s->cursor), out);
}

bool session_prev(struct session *s, struct entry *out)
{
    return entry_of(s, s->cursor->prev(s->cursor), out);
}
