/*
 * Reading JSON (RFC 8259), strictly: a string at a time for input lines, or a
 * whole text as a tree for what the library reports.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "text.h"

const char *json_skip_space(const char *p, const char *end);

/* The string that begins at p, appended to out. Returns the byte behind it;
   NULL: malformed, or its bytes are not UTF-8. */
const char *json_read_string(const char *p, const char *end,
                             struct text *out);

enum json_kind { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_WORD };

struct json {
    enum json_kind kind;
    struct text name;   /* owned; of a member of an object */
    struct text string; /* owned; of a string */
    adb_slice raw;      /* the value as it stands in the text, borrowed */
    struct json *first, *next; /* owned: the first inside; the next beside */
};

struct json *json_parse(const char *text, size_t size); /* NULL: malformed */
void json_free(struct json *j);

/* "tables.runs" below j; NULL when there is none, or j is NULL. */
const struct json *json_find(const struct json *j, const char *path);
/* The number there; 0 when there is none. */
uint64_t json_number(const struct json *j, const char *path);

#endif
