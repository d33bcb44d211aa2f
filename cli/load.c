/*
 * load: JSON lines, CSV and key<TAB>value into the database, in batches. A
 * malformed line is named by its number; the good ones before it stay.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BATCH_BYTES = 1 << 20 };

struct loader {
    struct cli *c;
    adb *db;
    FILE *file;
    const char *name;
    adb_batch *batch;
    uint64_t line, pairs, bytes;
    struct text key, value;
};

/* ---- one line of each format: NULL, or what is wrong with it ------------ */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n", *p))
        p++;
    return p;
}

static void add_code_point(struct text *t, unsigned code)
{
    char bytes[4];
    size_t n = 0;
    if (code < 0x80) {
        bytes[n++] = (char)code;
    } else if (code < 0x800) {
        bytes[n++] = (char)(0xc0 | code >> 6);
        bytes[n++] = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        bytes[n++] = (char)(0xe0 | code >> 12);
        bytes[n++] = (char)(0x80 | (code >> 6 & 63));
        bytes[n++] = (char)(0x80 | (code & 63));
    } else {
        bytes[n++] = (char)(0xf0 | code >> 18);
        bytes[n++] = (char)(0x80 | (code >> 12 & 63));
        bytes[n++] = (char)(0x80 | (code >> 6 & 63));
        bytes[n++] = (char)(0x80 | (code & 63));
    }
    text_add(t, bytes, n);
}

static bool parse_u(const char *p, const char *end, unsigned *code)
{
    *code = 0;
    if (end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* A JSON string at p; returns the byte after it, NULL: malformed. */
static const char *json_string(const char *p, const char *end,
                               struct text *out)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (p >= end || *p++ != '"')
        return NULL;
    while (p < end && *p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p != '\\') {
            text_add(out, p++, 1);
            continue;
        }
        if (++p >= end)
            return NULL;
        const char *at = *p ? strchr(names, *p) : NULL;
        unsigned code, low;
        if (at) {
            text_add(out, &bytes[at - names], 1);
            p++;
        } else if (*p == 'u' && parse_u(p + 1, end, &code)) {
            p += 5;
            if (code >= 0xd800 && code < 0xdc00 && end - p > 6 &&
                p[0] == '\\' && p[1] == 'u' && parse_u(p + 2, end, &low) &&
                low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            } else if (code >= 0xd800 && code < 0xe000) {
                return NULL; /* half of a pair */
            }
            add_code_point(out, code);
        } else {
            return NULL;
        }
    }
    return p < end ? p + 1 : NULL;
}

/* A string, or {"base64":"..."}. */
static const char *json_bytes(const char *p, const char *end,
                              struct text *out)
{
    if (p < end && *p == '"')
        return json_string(p, end, out);
    struct text name = {0}, packed = {0};
    const char *result = NULL;
    if (p < end && *p == '{' &&
        (p = json_string(skip_space(p + 1, end), end, &name)) &&
        strcmp(text_end(&name), "base64") == 0 &&
        (p = skip_space(p, end)) < end && *p == ':' &&
        (p = json_string(skip_space(p + 1, end), end, &packed)) &&
        (p = skip_space(p, end)) < end && *p == '}' &&
        text_add_unbase64(out, text_end(&packed), packed.size))
        result = p + 1;
    text_free(&name);
    text_free(&packed);
    return result;
}

static const char *parse_json(struct loader *l, const char *p,
                              const char *end)
{
    bool have_key = false, have_value = false;
    p = skip_space(p, end);
    if (p >= end || *p != '{')
        return "no JSON object";
    do {
        struct text name = {0};
        p = json_string(skip_space(p + 1, end), end, &name);
        bool is_key = p && strcmp(text_end(&name), "key") == 0;
        bool is_value = p && strcmp(text_end(&name), "value") == 0;
        text_free(&name);
        if (!p || (!is_key && !is_value))
            return "only \"key\" and \"value\" are expected";
        p = skip_space(p, end);
        if (p >= end || *p != ':')
            return "':' is missing";
        if ((is_key && have_key) || (is_value && have_value))
            return "a name stands twice";
        p = json_bytes(skip_space(p + 1, end), end,
                       is_key ? &l->key : &l->value);
        if (!p)
            return "malformed string";
        have_key |= is_key;
        have_value |= is_value;
        p = skip_space(p, end);
    } while (p < end && *p == ',');
    if (p >= end || *p != '}' || skip_space(p + 1, end) != end)
        return "the object does not end";
    return have_key && have_value ? NULL : "\"key\" or \"value\" is missing";
}

static const char *parse_tsv(struct loader *l, const char *p, const char *end)
{
    const char *tab = memchr(p, '\t', (size_t)(end - p));
    if (!tab)
        return "no tab between key and value";
    if (!text_add_unescaped(&l->key, p, (size_t)(tab - p)) ||
        !text_add_unescaped(&l->value, tab + 1, (size_t)(end - tab - 1)))
        return "malformed escape (a backslash itself is \\\\)";
    return NULL;
}

/* Quoted fields may hold line ends: *open tells that the record goes on. */
static const char *parse_csv(struct loader *l, const char *p, const char *end,
                             bool *open)
{
    unsigned column = 1;
    bool have_key = false, have_value = false;
    *open = false;
    for (;;) {
        struct text *out = column == l->c->key_column     ? &l->key
                           : column == l->c->value_column ? &l->value
                                                          : NULL;
        have_key |= column == l->c->key_column;
        have_value |= column == l->c->value_column;
        if (p < end && *p == '"') {
            for (p++;; p++) {
                if (p >= end) {
                    *open = true;
                    return "a quoted field does not end";
                }
                if (*p == '"' && (p + 1 >= end || p[1] != '"'))
                    break;
                p += *p == '"';
                if (out)
                    text_add(out, p, 1);
            }
            p++;
            if (p < end && *p != l->c->delimiter)
                return "text follows a quoted field";
        } else {
            for (; p < end && *p != l->c->delimiter; p++)
                if (out)
                    text_add(out, p, 1);
        }
        if (p >= end)
            break;
        p++;
        column++;
    }
    return have_key && have_value ? NULL : "too few columns";
}

/* ---- the file ---------------------------------------------------------- */

static int flush_batch(struct loader *l)
{
    adb_write_options w = ADB_WRITE_OPTIONS_INIT;
    w.durability = l->c->durability;
    adb_status status = adb_write(l->db, &w, l->batch);
    adb_batch_clear(l->batch);
    return status == ADB_OK ? EXIT_OK : fail_status("load", status);
}

static int add_pair(struct loader *l)
{
    adb_status status = adb_batch_put(l->batch, l->key.data, l->key.size,
                                      l->value.data, l->value.size);
    if (status != ADB_OK) {
        fprintf(stderr, "albertdb: load: %s, line %" PRIu64 ": %s\n", l->name,
                l->line, adb_error_message());
        return EXIT_USAGE;
    }
    l->pairs++;
    return adb_batch_size(l->batch) >= BATCH_BYTES ? flush_batch(l) : EXIT_OK;
}

static const char *parse_line(struct loader *l, const char *line, size_t size,
                              bool *open)
{
    const char *end = line + size;
    l->key.size = l->value.size = 0;
    *open = false;
    switch (l->c->format) {
    case FORMAT_CSV:
        return parse_csv(l, line, end, open);
    case FORMAT_TSV:
        return parse_tsv(l, line, end);
    case FORMAT_JSON:
    case FORMAT_GUESS:
        break;
    }
    return parse_json(l, line, end);
}

static size_t without_line_end(const char *line, size_t size)
{
    if (size && line[size - 1] == '\n')
        size--;
    if (size && line[size - 1] == '\r')
        size--;
    return size;
}

static int load_lines(struct loader *l, struct progress *p)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t got;
    struct text record = {0};
    int code = EXIT_OK;
    uint64_t first = 1;
    while (code == EXIT_OK &&
           (got = getline(&line, &capacity, l->file)) >= 0) {
        bool open;
        l->line++;
        l->bytes += (uint64_t)got;
        if (record.size == 0)
            first = l->line;
        text_add(&record, line, (size_t)got);
        size_t size = without_line_end(record.data, record.size);
        if (size == 0 || (l->c->header && first == 1)) {
            record.size = 0;
            continue;
        }
        const char *wrong = parse_line(l, record.data, size, &open);
        if (wrong && open && !feof(l->file))
            continue; /* a quoted field with a line end in it */
        if (wrong) {
            fprintf(stderr, "albertdb: load: %s, line %" PRIu64
                    ": %s; the %" PRIu64 " pairs before it are loaded\n",
                    l->name, first, wrong, l->pairs);
            code = EXIT_USAGE;
            break;
        }
        record.size = 0;
        code = add_pair(l);
        progress_show(p, l->bytes, l->pairs);
    }
    if (code == EXIT_OK && record.size) {
        fprintf(stderr, "albertdb: load: %s, line %" PRIu64
                ": a quoted field does not end; the %" PRIu64
                " pairs before it are loaded\n", l->name, first, l->pairs);
        code = EXIT_USAGE;
    }
    if (code == EXIT_OK && ferror(l->file)) {
        fprintf(stderr, "albertdb: load: %s: %s\n", l->name, strerror(errno));
        code = EXIT_FAILED;
    }
    int flushed = flush_batch(l);
    free(line);
    text_free(&record);
    return code == EXIT_OK ? flushed : code;
}

static enum file_format guess_format(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (dot && strcmp(dot, ".csv") == 0)
        return FORMAT_CSV;
    if (dot && (strcmp(dot, ".tsv") == 0 || strcmp(dot, ".txt") == 0))
        return FORMAT_TSV;
    return FORMAT_JSON;
}

int run_load(struct cli *c, adb *db)
{
    struct loader l = {.c = c, .db = db, .name = c->args[0]};
    struct progress p;
    struct stat info;
    bool from_stdin = strcmp(l.name, "-") == 0;
    l.file = from_stdin ? stdin : fopen(l.name, "rb");
    if (!l.file) {
        fprintf(stderr, "albertdb: load: cannot open '%s': %s\n", l.name,
                strerror(errno));
        return EXIT_FAILED;
    }
    if (c->format == FORMAT_GUESS)
        c->format = guess_format(l.name);
    l.batch = adb_batch_new();
    uint64_t total = fstat(fileno(l.file), &info) == 0 &&
                             S_ISREG(info.st_mode)
                         ? (uint64_t)info.st_size
                         : 0;
    progress_begin(&p, "load", total);
    int code = l.batch ? load_lines(&l, &p)
                       : fail_status("load", ADB_NO_MEMORY);
    progress_end(&p);
    double spent = now_seconds() - p.began;
    fprintf(stderr, "loaded %" PRIu64 " pairs, %" PRIu64
            " bytes in %.2f s\n", l.pairs, l.bytes, spent);
    adb_batch_free(l.batch);
    text_free(&l.key);
    text_free(&l.value);
    if (!from_stdin)
        fclose(l.file);
    return code;
}
