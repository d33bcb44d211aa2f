/* stats and levels: what the library says of itself, for people. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

enum { NAME_WIDTH = 30, BAR_WIDTH = 32 };

/* The statistics as text and as a tree of it. */
struct statistics {
    char *text; /* owned: adb_free */
    struct json *tree; /* owned */
};

static void statistics_deinit(struct statistics *s)
{
    json_free(s->tree);
    adb_free(s->text);
}

static int statistics_init(struct statistics *s, struct cli *c)
{
    *s = (struct statistics){0};
    int code = open_database(c);
    if (code != EXIT_OK)
        return code;
    adb_status status = adb_stats(c->db, &s->text);
    if (status != ADB_OK)
        return fail_status(c->verb->name, status);
    s->tree = json_parse(s->text, strlen(s->text));
    if (s->tree)
        return EXIT_OK;
    fprintf(stderr, "albertdb: %s: the statistics cannot be read\n",
            c->verb->name);
    return EXIT_FAILED;
}

/* ---- stats ------------------------------------------------------------- */

static bool ends_in(const struct text *name, const char *ending)
{
    size_t size = strlen(ending);
    return name->size >= size &&
           memcmp(name->data + name->size - size, ending, size) == 0;
}

/* Numbers that are bytes by their name, or by the section they stand in. */
static bool is_size(const struct json *j, bool in_memory)
{
    return in_memory || ends_in(&j->name, "bytes") ||
           ends_in(&j->name, "arena_used") || ends_in(&j->name, "arena_size");
}

static void add_number(struct text *t, const struct json *j, bool in_memory)
{
    bool whole = !memchr(j->raw.data, '.', j->raw.size);
    uint64_t n = json_number(j, "");
    if (ends_in(&j->name, "_ns"))
        text_add_duration(t, (double)n);
    else if (ends_in(&j->name, "bytes_per_second"))
        text_add_size(t, (double)n);
    else if (whole && is_size(j, in_memory))
        text_add_size(t, (double)n);
    else if (whole)
        text_add_count(t, n);
    else
        text_add(t, j->raw.data, j->raw.size);
}

static uint64_t length_of(const struct json *array)
{
    uint64_t length = 0;
    for (const struct json *e = array->first; e; e = e->next)
        length++;
    return length;
}

/* A line a number or word, the sections indented. Of arrays only the length:
   levels draws them. */
static void add_members(struct text *t, const struct json *object, int depth,
                        bool in_memory)
{
    for (const struct json *j = object->first; j; j = j->next) {
        int width = j->kind == JSON_OBJECT ? 0 : NAME_WIDTH - 2 * depth;
        text_print(t, "%*s%-*.*s", 2 * depth, "", width, (int)j->name.size,
                   j->name.data);
        if (j->kind == JSON_OBJECT) {
            text_add(t, "\n", 1);
            add_members(t, j, depth + 1,
                        in_memory || ends_in(&j->name, "memory"));
            continue;
        }
        if (j->kind == JSON_ARRAY)
            text_add_count(t, length_of(j));
        else if (j->kind == JSON_NUMBER)
            add_number(t, j, in_memory);
        else if (j->kind == JSON_STRING && j->string.size == 0)
            text_add_string(t, "-");
        else if (j->kind == JSON_STRING)
            text_add_escaped(t, (adb_slice){j->string.data, j->string.size});
        else
            text_add(t, j->raw.data, j->raw.size);
        text_add(t, "\n", 1);
    }
}

int run_stats(struct cli *c)
{
    struct statistics s;
    struct text t = {0};
    int code = statistics_init(&s, c);
    if (code == EXIT_OK) {
        if (c->json)
            text_print(&t, "%s\n", s.text);
        else
            add_members(&t, s.tree, 0, false);
        out_text(&t);
    }
    text_free(&t);
    statistics_deinit(&s);
    return code;
}

/* ---- levels ------------------------------------------------------------ */

static void add_count_column(struct text *t, uint64_t n, int width)
{
    struct text digits = {0};
    text_add_count(&digits, n);
    text_print(t, "%*s", width, text_end(&digits));
    text_free(&digits);
}

static void add_run(struct text *t, const struct json *run, uint64_t total)
{
    struct text size = {0};
    uint64_t bytes = json_number(run, "bytes");
    add_count_column(t, json_number(run, "level"), 5);
    add_count_column(t, json_number(run, "tables"), 8);
    add_count_column(t, json_number(run, "entries"), 15);
    add_count_column(t, json_number(run, "tombstones"), 15);
    text_add_size(&size, (double)bytes);
    text_print(t, "%12s  #", text_end(&size));
    double part = total ? (double)bytes / (double)total : 0;
    for (int i = 1; i < (int)(part * BAR_WIDTH); i++)
        text_add(t, "#", 1);
    text_add(t, "\n", 1);
    text_free(&size);
}

static void draw_levels(struct text *t, const struct json *tree)
{
    const struct json *runs = json_find(tree, "tables.runs");
    text_add_string(t, "memtable: ");
    text_add_count(t, json_number(tree, "memtable.keys"));
    text_add_string(t, " keys, ");
    text_add_size(t, (double)json_number(tree, "memtable.data_bytes"));
    if (!runs || !runs->first) {
        text_add_string(t, "\nno tables yet\n");
        return;
    }
    text_print(t, "\n%5s%8s%15s%15s%12s\n", "level", "tables", "entries",
               "deletions", "size");
    for (const struct json *run = runs->first; run; run = run->next)
        add_run(t, run, json_number(tree, "tables.bytes"));
    text_add_string(t, "A line is a sorted run, the newest first; the highest "
                       "level is the bottom.\n");
}

static void add_raw(struct text *t, const struct json *tree, const char *path)
{
    const struct json *j = json_find(tree, path);
    if (j)
        text_add(t, j->raw.data, j->raw.size);
    else
        text_add_string(t, "null");
}

int run_levels(struct cli *c)
{
    struct statistics s;
    struct text t = {0};
    int code = statistics_init(&s, c);
    if (code == EXIT_OK && c->json) {
        text_add_string(&t, "{\"memtable\":");
        add_raw(&t, s.tree, "memtable");
        text_add_string(&t, ",\"tables\":");
        add_raw(&t, s.tree, "tables");
        text_add_string(&t, "}\n");
    } else if (code == EXIT_OK) {
        draw_levels(&t, s.tree);
    }
    out_text(&t);
    text_free(&t);
    statistics_deinit(&s);
    return code;
}
