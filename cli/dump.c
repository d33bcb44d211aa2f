/* scan and dump: pairs in order, for people and for load. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"

struct dumper {
    const struct cli *c;
    enum file_format format;
    struct text line; /* owned */
    uint64_t pairs;
    struct progress *progress; /* borrowed; NULL: none */
};

/* ---- scan -------------------------------------------------------------- */

static bool show_scanned(void *context, adb_slice key, adb_slice value)
{
    struct dumper *d = context;
    const struct cli *c = d->c;
    void (*add)(struct text *, adb_slice) =
        c->hex ? text_add_hex : text_add_escaped;
    d->line.size = 0;
    if (c->json) {
        text_add_json_pair(&d->line, c->hex, key,
                           c->keys_only ? NULL : &value);
    } else {
        add(&d->line, key);
        if (!c->keys_only) {
            text_add(&d->line, "\t", 1);
            add(&d->line, value);
        }
        text_add(&d->line, "\n", 1);
    }
    out_text(&d->line);
    return !out_failed();
}

int run_scan(struct cli *c)
{
    struct dumper d = {.c = c};
    int code = range_walk(c, show_scanned, &d);
    text_free(&d.line);
    return code;
}

/* ---- dump -------------------------------------------------------------- */

/* In quotes, as the delimiter may be a digit. */
static void add_quoted_hex(struct text *t, adb_slice s)
{
    text_add(t, "\"", 1);
    text_add_hex(t, s);
    text_add(t, "\"", 1);
}

static void add_columns(struct dumper *d, adb_slice key, adb_slice value)
{
    bool csv = d->format == FORMAT_CSV;
    void (*add)(struct text *, adb_slice) = csv ? text_add_csv : text_add_tsv;
    if (d->c->hex)
        add = csv ? add_quoted_hex : text_add_hex;
    add(&d->line, key);
    text_add(&d->line, csv ? &d->c->delimiter : "\t", 1);
    add(&d->line, value);
    text_add(&d->line, "\n", 1);
}

static bool show_dumped(void *context, adb_slice key, adb_slice value)
{
    struct dumper *d = context;
    d->line.size = 0;
    if (d->format == FORMAT_JSON)
        text_add_json_pair(&d->line, d->c->hex, key, &value);
    else
        add_columns(d, key, value);
    out_text(&d->line);
    d->pairs++;
    if (d->progress)
        progress_show(d->progress, d->pairs);
    return !out_failed();
}

static int dump_to_file(struct dumper *d, struct cli *c, const char *file)
{
    struct progress progress;
    if (!out_open(file)) {
        fprintf(stderr, "albertdb: dump: cannot write '%s': %s\n", file,
                strerror(errno));
        return EXIT_FAILED;
    }
    progress_begin(&progress, "dump", "pairs", 0);
    d->progress = &progress;
    int code = range_walk(c, show_dumped, d);
    progress_end(&progress);
    return code;
}

int run_dump(struct cli *c)
{
    const char *file = c->arg_count > 0 ? c->args[0] : "-";
    struct dumper d = {.c = c, .format = file_format_of(c, file)};
    /* The database first: where it cannot be opened no file is emptied. */
    int code = open_database(c);
    if (code == EXIT_OK)
        code = strcmp(file, "-") == 0 ? range_walk(c, show_dumped, &d)
                                      : dump_to_file(&d, c, file);
    text_free(&d.line);
    return code;
}
