/* Tests against the public interface. */
#ifndef TESTS_API_TEST_H
#define TESTS_API_TEST_H

#include "albertdb/albertdb.h"
#include "support.h"

#define adb_status_name_of(status) adb_status_name(status)
#define adb_message_of()           adb_error_message()

/* Options as "name=value name=value". */
static inline adb_options *options_of(const char *text)
{
    adb_options *o = adb_options_new();
    char copy[1024], *rest = copy;
    assert_non_null(o);
    snprintf(copy, sizeof copy, "%s", text ? text : "");
    for (char *word; (word = strsep(&rest, " "));) {
        char *equals = strchr(word, '=');
        if (!equals)
            continue;
        *equals = '\0';
        assert_ok(adb_options_set(o, word, equals + 1));
    }
    return o;
}

static inline adb *open_with(const char *path, const char *options)
{
    adb *db = NULL;
    adb_options *o = options_of(options);
    assert_ok(adb_open(path, o, &db));
    adb_options_free(o);
    return db;
}

static inline void put_text(adb *db, const char *key, const char *value)
{
    assert_ok(adb_put(db, NULL, key, strlen(key), value, strlen(value)));
}

/* Expects the value; NULL: expects that the key is not there. */
static inline void expect_text(adb *db, const char *key, const char *value)
{
    adb_value v = ADB_VALUE_INIT;
    adb_status status = adb_get(db, NULL, key, strlen(key), &v);
    if (!value) {
        assert_int_equal(status, ADB_NOT_FOUND);
        return;
    }
    assert_ok(status);
    assert_int_equal(v.size, strlen(value));
    assert_memory_equal(v.data, value, v.size);
    adb_value_release(&v);
}

/* The number behind "key": in the statistics; ~0 when it is not there. */
static inline uint64_t stat_number(adb *db, const char *key)
{
    char *json, pattern[128];
    uint64_t number = ~UINT64_C(0);
    assert_ok(adb_stats(db, &json));
    snprintf(pattern, sizeof pattern, "\"%s\":", key);
    char *at = strstr(json, pattern);
    if (at)
        number = strtoull(at + strlen(pattern), NULL, 10);
    adb_free(json);
    return number;
}

#endif
