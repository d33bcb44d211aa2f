#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

const char *json_skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

/* ---- strings ----------------------------------------------------------- */

static void add_code_point(struct text *t, unsigned code)
{
    unsigned char b[4];
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1;) {
        b[i] = (unsigned char)(0x80 | (code & 63));
        code >>= 6;
    }
    b[0] = (unsigned char)(marks[n] | code);
    text_add(t, b, n);
}

/* The four hexadecimal digits of \uNNNN. */
static bool read_unit(const char *p, const char *end, unsigned *unit)
{
    struct text two = {0};
    bool good = end - p >= 4 && text_add_unhexed(&two, p, 4);
    if (good)
        *unit = (unsigned)(unsigned char)two.data[0] << 8 |
                (unsigned char)two.data[1];
    text_free(&two);
    return good;
}

/* p stands behind "\u". Two halves of a pair make one code point; a half
   alone is malformed. */
static const char *read_code(const char *p, const char *end, struct text *out)
{
    unsigned code, low;
    if (!read_unit(p, end, &code))
        return NULL;
    p += 4;
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u' ||
            !read_unit(p + 2, end, &low) || low < 0xdc00 || low >= 0xe000)
            return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    add_code_point(out, code);
    return p;
}

static const char *read_escape(const char *p, const char *end,
                               struct text *out)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (p >= end || !*p)
        return NULL;
    if (*p == 'u')
        return read_code(p + 1, end, out);
    const char *at = strchr(names, *p);
    if (!at)
        return NULL;
    text_add(out, &bytes[at - names], 1);
    return p + 1;
}

const char *json_read_string(const char *p, const char *end, struct text *out)
{
    if (p >= end || *p++ != '"')
        return NULL;
    for (;;) {
        const char *plain = p;
        while (p < end && *p != '"' && *p != '\\' &&
               (unsigned char)*p >= 0x20)
            p++;
        if (!is_utf8(plain, (size_t)(p - plain)))
            return NULL;
        text_add(out, plain, (size_t)(p - plain));
        if (p >= end || (unsigned char)*p < 0x20)
            return NULL;
        if (*p == '"')
            return p + 1;
        p = read_escape(p + 1, end, out);
        if (!p)
            return NULL;
    }
}

/* ---- trees ------------------------------------------------------------- */

static const char *read_value(const char *p, const char *end, struct json *j,
                              int depth);

/* The members of an object or the elements of an array, up to close. */
static const char *read_members(const char *p, const char *end,
                                struct json *j, int depth)
{
    char close = j->kind == JSON_OBJECT ? '}' : ']';
    struct json **last = &j->first;
    p = json_skip_space(p, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        struct json *member = calloc(1, sizeof *member);
        if (!member)
            return NULL;
        *last = member;
        last = &member->next;
        if (j->kind == JSON_OBJECT) {
            p = json_read_string(json_skip_space(p, end), end, &member->name);
            p = p ? json_skip_space(p, end) : NULL;
            if (!p || p >= end || *p++ != ':')
                return NULL;
        }
        p = read_value(json_skip_space(p, end), end, member, depth + 1);
        p = p ? json_skip_space(p, end) : NULL;
        if (!p || p >= end || (*p != ',' && *p != close))
            return NULL;
        if (*p++ == close)
            return p;
    }
}

/* A number, true, false or null: told apart by the first byte only, as they
   come from the library. */
static const char *read_plain(const char *p, const char *end, struct json *j)
{
    const char *began = p;
    while (p < end && (strchr("+-.", *p) || (*p >= '0' && *p <= '9') ||
                       (*p >= 'a' && *p <= 'z') || *p == 'E') && *p)
        p++;
    j->kind = *began == '-' || (*began >= '0' && *began <= '9') ? JSON_NUMBER
                                                                : JSON_WORD;
    return p > began ? p : NULL;
}

static const char *read_value(const char *p, const char *end, struct json *j,
                              int depth)
{
    const char *began = p;
    if (p >= end || depth > MAX_DEPTH)
        return NULL;
    if (*p == '{' || *p == '[') {
        j->kind = *p == '{' ? JSON_OBJECT : JSON_ARRAY;
        p = read_members(p + 1, end, j, depth);
    } else if (*p == '"') {
        j->kind = JSON_STRING;
        p = json_read_string(p, end, &j->string);
    } else {
        p = read_plain(p, end, j);
    }
    if (p)
        j->raw = (adb_slice){began, (size_t)(p - began)};
    return p;
}

struct json *json_parse(const char *text, size_t size)
{
    struct json *j = calloc(1, sizeof *j);
    const char *end = text + size;
    const char *p =
        j ? read_value(json_skip_space(text, end), end, j, 0) : NULL;
    if (p && json_skip_space(p, end) == end)
        return j;
    json_free(j);
    return NULL;
}

void json_free(struct json *j)
{
    while (j) {
        struct json *next = j->next;
        json_free(j->first);
        text_free(&j->name);
        text_free(&j->string);
        free(j);
        j = next;
    }
}

const struct json *json_find(const struct json *j, const char *path)
{
    while (j && *path) {
        size_t size = strcspn(path, ".");
        const struct json *member = j->first;
        while (member && (member->name.size != size ||
                          memcmp(member->name.data, path, size) != 0))
            member = member->next;
        j = member;
        path += size + (path[size] == '.');
    }
    return j;
}

uint64_t json_number(const struct json *j, const char *path)
{
    const struct json *n = json_find(j, path);
    return n && n->kind == JSON_NUMBER ? strtoull(n->raw.data, NULL, 10) : 0;
}
