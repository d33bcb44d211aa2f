#include "parse.h"

#include <string.h>

#include "json.h"

static enum parsed wrong(struct parser *p, const char *why)
{
    p->wrong = why;
    p->column = 0;
    return PARSED_WRONG;
}

static size_t without_line_end(const char *line, size_t size)
{
    if (size && line[size - 1] == '\n') {
        size--;
        if (size && line[size - 1] == '\r')
            size--;
    }
    return size;
}

/* Hexadecimal digits in t become the bytes they stand for. */
static bool unhex(struct text *t)
{
    struct text bytes = {0};
    bool good = text_add_unhexed(&bytes, t->data, t->size);
    text_free(t);
    *t = bytes;
    return good;
}

/* ---- JSON -------------------------------------------------------------- */

/* The name of a member at s and the colon behind it. */
static const char *read_name(const char *s, const char *end, struct text *name)
{
    name->size = 0;
    s = json_read_string(json_skip_space(s, end), end, name);
    s = s ? json_skip_space(s, end) : NULL;
    return s && s < end && *s == ':' ? json_skip_space(s + 1, end) : NULL;
}

static bool is_named(struct text *name, const char *expected)
{
    return name->size == strlen(expected) &&
           strcmp(text_end(name), expected) == 0;
}

/* {"base64":"..."}; returns the byte behind it. */
static const char *read_base64(const char *s, const char *end,
                               struct text *out)
{
    struct text name = {0}, packed = {0};
    s = read_name(s + 1, end, &name);
    if (s && is_named(&name, "base64"))
        s = json_read_string(s, end, &packed);
    else
        s = NULL;
    s = s ? json_skip_space(s, end) : NULL;
    if (s && (s >= end || *s != '}' ||
              !text_add_unbase64(out, packed.data, packed.size)))
        s = NULL;
    text_free(&name);
    text_free(&packed);
    return s ? s + 1 : NULL;
}

static const char *read_bytes(const struct parser *p, const char *s,
                              const char *end, struct text *out)
{
    if (s < end && *s == '{' && !p->hex)
        return read_base64(s, end, out);
    s = json_read_string(s, end, out);
    return s && p->hex && !unhex(out) ? NULL : s;
}

static enum parsed parse_members(struct parser *p, const char *s,
                                 const char *end, struct text *name)
{
    bool have_key = false, have_value = false;
    do {
        s = read_name(s + 1, end, name);
        if (!s)
            return wrong(p, "the name of a member is malformed");
        bool is_key = is_named(name, "key");
        bool *have = is_key ? &have_key : &have_value;
        if (!is_key && !is_named(name, "value"))
            return wrong(p, "it has a member beside \"key\" and \"value\"");
        if (*have)
            return wrong(p, "\"key\" or \"value\" stands twice");
        *have = true;
        s = read_bytes(p, s, end, is_key ? &p->key : &p->value);
        if (!s)
            return wrong(p, is_key ? "the key is malformed"
                                   : "the value is malformed");
        s = json_skip_space(s, end);
    } while (s < end && *s == ',');
    if (s >= end || *s != '}' || json_skip_space(s + 1, end) != end)
        return wrong(p, "the JSON object does not end with the line");
    if (!have_key || !have_value)
        return wrong(p, "\"key\" or \"value\" is missing");
    return PARSED_PAIR;
}

static enum parsed parse_json(struct parser *p, const char *s,
                              const char *end)
{
    struct text name = {0};
    s = json_skip_space(s, end);
    if (s >= end)
        return PARSED_NONE;
    if (*s != '{')
        return wrong(p, "this is no JSON object");
    enum parsed result = parse_members(p, s, end, &name);
    text_free(&name);
    return result;
}

/* ---- CSV --------------------------------------------------------------- */

/* The text that the field at hand goes to; NULL: the column is not wanted. */
static struct text *field_text(struct parser *p)
{
    if (p->column == p->key_column)
        return &p->key;
    return p->column == p->value_column ? &p->value : NULL;
}

static void add_to_field(struct parser *p, const char *s, const char *end)
{
    struct text *t = field_text(p);
    if (t)
        text_add(t, s, (size_t)(end - s));
}

/* Inside of quotes: up to the one that ends the field, or the line. */
static const char *read_quoted(struct parser *p, const char *s,
                               const char *end)
{
    while (s < end) {
        const char *quote = memchr(s, '"', (size_t)(end - s));
        add_to_field(p, s, quote ? quote : end);
        if (!quote)
            return end;
        s = quote + 1;
        if (s >= end || *s != '"') {
            p->field = FIELD_CLOSED;
            return s;
        }
        add_to_field(p, s, s + 1);
        s++;
    }
    return s;
}

/* To the delimiter that ends it, or the end of the line. */
static const char *read_plain(struct parser *p, const char *s,
                              const char *end)
{
    const char *stop = memchr(s, p->delimiter, (size_t)(end - s));
    stop = stop ? stop : end;
    p->field = FIELD_PLAIN;
    add_to_field(p, s, stop);
    return stop;
}

static enum parsed end_record(struct parser *p)
{
    uint64_t columns = p->column;
    p->column = 0;
    if (columns < p->key_column || columns < p->value_column)
        return wrong(p, "it has too few columns");
    if (p->hex && (!unhex(&p->key) || !unhex(&p->value)))
        return wrong(p, "its key or value is not hexadecimal");
    return PARSED_PAIR;
}

static enum parsed parse_csv(struct parser *p, const char *s, const char *end,
                             const char *with_line_end)
{
    if (p->column == 0) {
        if (s == end)
            return PARSED_NONE;
        p->column = 1;
        p->field = FIELD_BEGINS;
    }
    for (;;) {
        if (p->field == FIELD_BEGINS && s < end && *s == '"') {
            p->field = FIELD_QUOTED;
            s++;
        }
        if (p->field == FIELD_QUOTED)
            s = read_quoted(p, s, with_line_end);
        else
            s = read_plain(p, s, end);
        if (p->field == FIELD_QUOTED)
            return PARSED_OPEN;
        if (s >= end)
            return end_record(p);
        if (*s != p->delimiter)
            return wrong(p, "text follows the end of a quoted field");
        s++;
        p->column++;
        p->field = FIELD_BEGINS;
    }
}

/* ---- TSV --------------------------------------------------------------- */

static enum parsed parse_tsv(struct parser *p, const char *s, const char *end)
{
    if (s == end)
        return PARSED_NONE;
    const char *tab = memchr(s, '\t', (size_t)(end - s));
    if (!tab)
        return wrong(p, "there is no tab between key and value");
    bool (*add)(struct text *, const char *, size_t) =
        p->hex ? text_add_unhexed : text_add_unescaped;
    if (add(&p->key, s, (size_t)(tab - s)) &&
        add(&p->value, tab + 1, (size_t)(end - tab - 1)))
        return PARSED_PAIR;
    return wrong(p, p->hex ? "its key or value is not hexadecimal"
                           : "it has a malformed escape (there are \\t \\n "
                             "\\r \\\\ \\\" \\xNN)");
}

/* ---- */

enum parsed parse_line(struct parser *p, const char *line, size_t size)
{
    const char *end = line + without_line_end(line, size);
    if (p->column == 0)
        p->key.size = p->value.size = 0;
    switch (p->format) {
    case FORMAT_CSV:
        return parse_csv(p, line, end, line + size);
    case FORMAT_TSV:
        return parse_tsv(p, line, end);
    case FORMAT_JSON:
    case FORMAT_GUESS:
        break;
    }
    return parse_json(p, line, end);
}

void parser_deinit(struct parser *p)
{
    text_free(&p->key);
    text_free(&p->value);
}
