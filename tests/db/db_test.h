/* Tests against the engine, with a disk of the test's own beneath. */
#ifndef TESTS_DB_TEST_H
#define TESTS_DB_TEST_H

#include "base/thread.h"
#include "db/db.h"
#include "support.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

/* Options as "name=value name=value"; env NULL: the real disk. */
static inline struct adb_options db_test_options(struct env *env,
                                                 const char *text)
{
    struct adb_options o;
    char copy[1024], *rest = copy;
    db_options_init(&o);
    o.env = env;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word; (word = strsep(&rest, " "));) {
        char *equals = strchr(word, '=');
        if (!equals)
            continue;
        *equals = '\0';
        assert_ok(db_options_set(&o, word, equals + 1));
    }
    return o;
}

static inline adb *db_test_open(struct env *env, const char *path,
                                const char *options)
{
    struct adb_options o = db_test_options(env, options);
    adb *db = NULL;
    assert_ok(db_open(path, &o, &db));
    return db;
}

static inline adb_status db_test_put_as(adb *db, const char *key,
                                        const char *value,
                                        adb_durability durability)
{
    struct db_write w = {
        .kind = KV_PUT,
        .key = slice_of_string(key),
        .value = slice_of_string(value),
        .durability = durability ? durability : db_durability(db),
    };
    return db_write(db, &w);
}

static inline void db_test_put(adb *db, const char *key, const char *value)
{
    assert_ok(db_test_put_as(db, key, value, ADB_DURABILITY_DEFAULT));
}

/* Keys PREFIX00000000 and so on, values of so many letters. */
static inline void db_test_put_many(adb *db, const char *prefix, unsigned count,
                                    size_t value_size)
{
    static char value[8001];
    char key[32];
    assert_true(value_size < sizeof value);
    memset(value, 'v', value_size);
    value[value_size] = '\0';
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%s%08u", prefix, i);
        db_test_put(db, key, value);
    }
}

static inline void db_test_delete(adb *db, const char *key)
{
    struct db_write w = {.kind = KV_DELETE,
                         .key = slice_of_string(key),
                         .durability = db_durability(db)};
    assert_ok(db_write(db, &w));
}

/* NULL: expects that the key is not there. */
static inline void db_test_expect_at(adb *db, const adb_snapshot *snapshot,
                                     const char *key, const char *value)
{
    adb_value v = ADB_VALUE_INIT;
    struct db_read r = {.snapshot = snapshot, .pinned = &v};
    adb_status status = db_get(db, slice_of_string(key), &r);
    if (!value) {
        if (status != ADB_NOT_FOUND)
            fail_msg("'%s' should not be there: %s", key,
                     status_name(status));
        return;
    }
    if (status != ADB_OK)
        fail_msg("'%s': %s: %s", key, status_name(status), status_message());
    if (v.size != strlen(value) || memcmp(v.data, value, v.size) != 0)
        fail_msg("'%s' holds '%.*s', not '%s'", key, (int)v.size,
                 (const char *)v.data, value);
    db_value_release(&v);
}

static inline void db_test_expect(adb *db, const char *key, const char *value)
{
    db_test_expect_at(db, NULL, key, value);
}

static inline void db_test_compact(adb *db)
{
    assert_ok(db_compact(db, slice_of(NULL, 0), slice_of(NULL, 0)));
}

/* Freezes the writable memtable without waiting for its flush, which the
   caller holds. */
static inline void db_test_fill_memtable(adb *db, size_t waiting)
{
    static char filler[8001];
    memset(filler, 'f', sizeof filler - 1);
    for (int i = 0; db_test_frozen_count(db) < waiting; i++) {
        char key[32];
        snprintf(key, sizeof key, "~filler%04d", i);
        db_test_put(db, key, filler);
    }
}

/* The number behind "key": in the statistics; ~0 when it is not there. */
static inline uint64_t db_test_stat(adb *db, const char *key)
{
    char *json, pattern[128];
    uint64_t number = ~UINT64_C(0);
    assert_ok(db_stats(db, &json));
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    char *at = strstr(json, pattern);
    if (at)
        number = strtoull(at + strlen(pattern), NULL, 10);
    free(json);
    return number;
}

#endif
