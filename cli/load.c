/*
 * load: the pairs of a file into the database, in batches. A malformed line is
 * named by its number; the pairs before it stay.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "progress.h"

enum { BATCH_BYTES = 1 << 20 };

struct loader {
    struct cli *c;
    FILE *file; /* owned, but for standard input */
    const char *name;
    uint64_t size;      /* 0: unknown */
    adb_batch *batch;   /* owned */
    struct parser parser;
    uint64_t line;      /* the one at hand, from 1 */
    uint64_t first;     /* where the record at hand began */
    uint64_t pairs, bytes;
    bool skip;          /* the next record is the header */
    struct progress progress;
};

/* ---- the file ---------------------------------------------------------- */

enum file_format file_format_of(const struct cli *c, const char *file)
{
    const char *dot = strrchr(file, '.');
    if (c->format != FORMAT_GUESS)
        return c->format;
    if (dot && strcmp(dot, ".csv") == 0)
        return FORMAT_CSV;
    if (dot && (strcmp(dot, ".tsv") == 0 || strcmp(dot, ".txt") == 0))
        return FORMAT_TSV;
    return FORMAT_JSON;
}

static int fail_file(const char *name, const char *what)
{
    fprintf(stderr, "albertdb: load: cannot %s '%s': %s\n", what, name,
            strerror(errno));
    return EXIT_FAILED;
}

static int open_file(struct loader *l)
{
    struct stat info;
    l->name = l->c->args[0];
    if (strcmp(l->name, "-") == 0) {
        if (l->c->in_shell)
            return fail_usage(l->c, "the shell reads standard input itself");
        l->name = "standard input";
        l->file = stdin;
        return EXIT_OK;
    }
    l->file = fopen(l->name, "rb");
    if (!l->file)
        return fail_file(l->name, "open");
    if (fstat(fileno(l->file), &info) != 0)
        return fail_file(l->name, "read");
    if (S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return fail_file(l->name, "read");
    }
    l->size = S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
    return EXIT_OK;
}

/* ---- pairs ------------------------------------------------------------- */

static int write_batch(struct loader *l)
{
    if (adb_batch_count(l->batch) == 0)
        return EXIT_OK;
    adb_status status = adb_write(l->c->db, NULL, l->batch);
    if (status != ADB_OK)
        return fail_status("load", status);
    l->pairs += adb_batch_count(l->batch);
    adb_batch_clear(l->batch);
    return EXIT_OK;
}

/* Names the line and what is wrong with it, after the pairs before it have
   been written. */
static int fail_line(struct loader *l, const char *why)
{
    int code = write_batch(l);
    struct text t = {0};
    text_add_count(&t, l->pairs);
    fprintf(stderr, "albertdb: load: %s, line %" PRIu64 ": %s; the %s pairs "
            "before it are loaded\n", l->name, l->first, why, text_end(&t));
    text_free(&t);
    return code == EXIT_OK ? EXIT_USAGE : code;
}

static int add_pair(struct loader *l)
{
    const struct parser *p = &l->parser;
    adb_status status = adb_batch_put(l->batch, p->key.data, p->key.size,
                                      p->value.data, p->value.size);
    if (status == ADB_TOO_LARGE) {
        struct text why = {0}; /* writing the batch may change the message */
        text_add_string(&why, adb_error_message());
        int code = fail_line(l, text_end(&why));
        text_free(&why);
        return code;
    }
    if (status != ADB_OK)
        return fail_status("load", status);
    return adb_batch_size(l->batch) >= BATCH_BYTES ? write_batch(l) : EXIT_OK;
}

static int take_line(struct loader *l, const char *line, size_t size)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some programs begin so */
    if (l->line == 1 && size >= 3 && memcmp(line, mark, 3) == 0) {
        line += 3;
        size -= 3;
    }
    enum parsed parsed = parse_line(&l->parser, line, size);
    if (parsed == PARSED_NONE || parsed == PARSED_OPEN)
        return EXIT_OK;
    if (l->skip) { /* whatever it looks like */
        l->skip = false;
        return EXIT_OK;
    }
    return parsed == PARSED_PAIR ? add_pair(l)
                                 : fail_line(l, l->parser.wrong);
}

static int load_lines(struct loader *l)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t got = 0;
    int code = EXIT_OK;
    while (code == EXIT_OK &&
           (got = getline(&line, &capacity, l->file)) >= 0) {
        l->line++;
        l->bytes += (uint64_t)got;
        if (l->parser.column == 0)
            l->first = l->line;
        code = take_line(l, line, (size_t)got);
        progress_show(&l->progress, l->bytes);
    }
    /* Also out of memory ends getline. */
    if (code == EXIT_OK && !feof(l->file)) {
        code = fail_file(l->name, "read");
        int written = write_batch(l);
        code = written == EXIT_OK ? code : written;
    } else if (code == EXIT_OK && l->parser.column != 0) {
        code = fail_line(l, "a quoted field does not end");
    } else if (code == EXIT_OK) {
        code = write_batch(l);
    }
    free(line);
    return code;
}

/* ---- */

static void report(const struct loader *l)
{
    double spent = now_seconds() - l->progress.began;
    struct text t = {0};
    if (l->c->json) {
        text_print(&t, "{\"pairs\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"seconds\":%.3f}\n", l->pairs, l->bytes, spent);
        out_text(&t);
    } else {
        text_add_string(&t, "loaded ");
        text_add_count(&t, l->pairs);
        text_add_string(&t, " pairs, ");
        text_add_size(&t, (double)l->bytes);
        text_print(&t, ", in %.2f s", spent);
        fprintf(stderr, "%s\n", text_end(&t));
    }
    text_free(&t);
}

static int load(struct loader *l)
{
    l->batch = adb_batch_new();
    if (!l->batch)
        return fail_status("load", ADB_NO_MEMORY);
    progress_begin(&l->progress, "load", NULL, l->size);
    int code = load_lines(l);
    progress_end(&l->progress);
    if (code == EXIT_OK)
        report(l);
    parser_deinit(&l->parser);
    adb_batch_free(l->batch);
    return code;
}

int run_load(struct cli *c)
{
    struct loader l = {.c = c, .skip = c->header};
    l.parser = (struct parser){.format = file_format_of(c, c->args[0]),
                               .hex = c->hex,
                               .delimiter = c->delimiter,
                               .key_column = c->key_column,
                               .value_column = c->value_column};
    if (c->header && l.parser.format == FORMAT_JSON)
        return fail_usage(c, "--header is for csv and tsv");
    if (c->key_column == c->value_column)
        return fail_usage(c, "--key-column and --value-column are the same");
    int code = open_file(&l);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK)
        code = load(&l);
    if (l.file && l.file != stdin)
        fclose(l.file);
    return code;
}
