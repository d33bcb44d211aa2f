/* The verbs that read and write single pairs, ranges, and the tree. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int bad_argument(const struct cli *c, const char *argument)
{
    return fail_usage(c->hex ? "'%s' is no hexadecimal text"
                             : "'%s' has a malformed escape; \\xNN, \\n, \\t, "
                               "\\r and \\\\ are possible",
                      argument);
}

static void read_stdin(struct text *t)
{
    char chunk[65536];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        text_add(t, chunk, got);
}

static void print_pair(const struct cli *c, adb_slice key, adb_slice value,
                       bool with_value)
{
    struct text t = {0};
    if (c->json) {
        text_add_string(&t, "{\"key\":");
        text_add_json(&t, key);
        if (with_value) {
            text_add_string(&t, ",\"value\":");
            text_add_json(&t, value);
        }
        text_add_string(&t, "}");
    } else {
        text_add_shown(&t, c, key);
        if (with_value) {
            text_add_string(&t, "\t");
            text_add_shown(&t, c, value);
        }
    }
    text_add_string(&t, "\n");
    fwrite(t.data, 1, t.size, stdout);
    text_free(&t);
}

int run_get(struct cli *c, adb *db)
{
    struct text key = {0}, out = {0};
    adb_value v = ADB_VALUE_INIT;
    if (!argument_bytes(c, c->args[0], &key))
        return bad_argument(c, c->args[0]);
    adb_status status = adb_get(db, NULL, key.data, key.size, &v);
    if (status == ADB_OK) {
        adb_slice value = {v.data, v.size};
        if (c->json) {
            print_pair(c, (adb_slice){key.data, key.size}, value, true);
        } else if (c->hex || isatty(STDOUT_FILENO)) {
            text_add_shown(&out, c, value);
            printf("%s\n", text_end(&out));
        } else {
            /* Into a pipe or file: the bytes as they are. */
            fwrite(v.data, 1, v.size, stdout);
        }
        adb_value_release(&v);
    }
    text_free(&out);
    text_free(&key);
    if (status == ADB_NOT_FOUND) {
        fprintf(stderr, "albertdb: get: no such key '%s'\n", c->args[0]);
        return EXIT_NOT_FOUND;
    }
    return status == ADB_OK ? EXIT_OK : fail_status("get", status);
}

static adb_write_options write_options(const struct cli *c)
{
    adb_write_options w = ADB_WRITE_OPTIONS_INIT;
    w.durability = c->durability;
    return w;
}

int run_put(struct cli *c, adb *db)
{
    struct text key = {0}, value = {0};
    adb_write_options w = write_options(c);
    int code = EXIT_OK;
    if (!argument_bytes(c, c->args[0], &key))
        code = bad_argument(c, c->args[0]);
    else if (strcmp(c->args[1], "-") == 0)
        read_stdin(&value);
    else if (!argument_bytes(c, c->args[1], &value))
        code = bad_argument(c, c->args[1]);
    if (code == EXIT_OK) {
        adb_status status =
            adb_put(db, &w, key.data, key.size, value.data, value.size);
        if (status != ADB_OK)
            code = fail_status("put", status);
    }
    text_free(&key);
    text_free(&value);
    return code;
}

int run_delete(struct cli *c, adb *db)
{
    adb_write_options w = write_options(c);
    for (int i = 0; i < c->arg_count; i++) {
        struct text key = {0};
        if (!argument_bytes(c, c->args[i], &key))
            return bad_argument(c, c->args[i]);
        adb_status status = adb_delete(db, &w, key.data, key.size);
        text_free(&key);
        if (status != ADB_OK)
            return fail_status("delete", status);
    }
    return EXIT_OK;
}

/* ---- ranges ------------------------------------------------------------ */

struct range {
    struct text from, to, prefix;
    adb_iter_options options;
};

static bool range_bound(struct cli *c, const char *argument, struct text *t,
                        adb_slice *out, int *code)
{
    if (!argument)
        return true;
    if (!argument_bytes(c, argument, t)) {
        *code = bad_argument(c, argument);
        return false;
    }
    *out = (adb_slice){text_end(t), t->size};
    return true;
}

static bool range_begin(struct cli *c, struct range *r, int *code)
{
    *r = (struct range){.options = ADB_ITER_OPTIONS_INIT};
    return range_bound(c, c->from, &r->from, &r->options.lower, code) &&
           range_bound(c, c->to, &r->to, &r->options.upper, code) &&
           range_bound(c, c->prefix, &r->prefix, &r->options.prefix, code);
}

static void range_end(struct range *r)
{
    text_free(&r->from);
    text_free(&r->to);
    text_free(&r->prefix);
}

static int walk(struct cli *c, adb *db, const char *what,
                void (*show)(struct cli *c, adb_slice key, adb_slice value))
{
    struct range r;
    adb_iter *it = NULL;
    int code = EXIT_OK;
    uint64_t left = c->limit;
    if (!range_begin(c, &r, &code)) {
        range_end(&r);
        return code;
    }
    r.options.no_fill_cache = 1;
    adb_status status = adb_iter_new(db, &r.options, &it);
    int more = status == ADB_OK && (c->reverse ? adb_iter_seek_last(it)
                                               : adb_iter_seek_first(it));
    while (more && left-- > 0 && status == ADB_OK && !ferror(stdout)) {
        adb_slice value = {"", 0};
        if (!c->keys_only)
            value = adb_iter_value(it);
        status = adb_iter_status(it);
        if (status != ADB_OK)
            break;
        show(c, adb_iter_key(it), value);
        more = c->reverse ? adb_iter_prev(it) : adb_iter_next(it);
    }
    if (status == ADB_OK)
        status = adb_iter_status(it);
    adb_iter_free(it);
    range_end(&r);
    return status == ADB_OK ? EXIT_OK : fail_status(what, status);
}

static void show_scanned(struct cli *c, adb_slice key, adb_slice value)
{
    print_pair(c, key, value, !c->keys_only);
}

int run_scan(struct cli *c, adb *db)
{
    return walk(c, db, "scan", show_scanned);
}

static void add_csv(struct text *t, adb_slice s)
{
    const char *p = s.data;
    text_add_string(t, "\"");
    for (size_t i = 0; i < s.size; i++) {
        if (p[i] == '"')
            text_add_string(t, "\"");
        text_add(t, p + i, 1);
    }
    text_add_string(t, "\"");
}

static void show_dumped(struct cli *c, adb_slice key, adb_slice value)
{
    struct text t = {0};
    if (c->format == FORMAT_TSV) {
        text_add_escaped(&t, key);
        text_add_string(&t, "\t");
        text_add_escaped(&t, value);
    } else if (c->format == FORMAT_CSV) {
        add_csv(&t, key);
        text_add(&t, &c->delimiter, 1);
        add_csv(&t, value);
    } else {
        text_add_string(&t, "{\"key\":");
        text_add_json(&t, key);
        text_add_string(&t, ",\"value\":");
        text_add_json(&t, value);
        text_add_string(&t, "}");
    }
    text_add_string(&t, "\n");
    fwrite(t.data, 1, t.size, stdout);
    text_free(&t);
}

int run_dump(struct cli *c, adb *db)
{
    c->keys_only = false;
    return walk(c, db, "dump", show_dumped);
}

/* ---- the tree ---------------------------------------------------------- */

int run_stats(struct cli *c, adb *db)
{
    char *json;
    adb_status status = adb_stats(db, &json);
    if (status != ADB_OK)
        return fail_status("stats", status);
    if (c->json) {
        puts(json);
    } else {
        /* One line a section: the JSON is flat but for one level. */
        int depth = 0;
        bool quoted = false;
        for (const char *p = json; *p; p++) {
            if (*p == '"' && (p == json || p[-1] != '\\'))
                quoted = !quoted;
            if (!quoted && (*p == '{' || *p == '['))
                depth++;
            if (!quoted && (*p == '}' || *p == ']'))
                depth--;
            if (*p == '"')
                continue;
            if (!quoted && *p == ',' && depth <= 1)
                putchar('\n');
            else if (!quoted && *p == ',')
                fputs("  ", stdout);
            else if (!quoted && *p == ':')
                fputs(" ", stdout);
            else if (quoted || !strchr("{}[]", *p))
                putchar(*p);
        }
        putchar('\n');
    }
    adb_free(json);
    return EXIT_OK;
}

static uint64_t field(const char *object, const char *name)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(object, pattern);
    return at ? strtoull(at + strlen(pattern), NULL, 10) : 0;
}

static void print_run(const char *run, uint64_t total)
{
    enum { WIDTH = 32 };
    uint64_t bytes = field(run, "bytes");
    uint64_t filled = total ? bytes * WIDTH / total : 0;
    printf("%5" PRIu64 "  %6" PRIu64 "  %6" PRIu64 "  %10" PRIu64
           "  %9.1f  ",
           field(run, "level"), field(run, "run"), field(run, "tables"),
           field(run, "entries"), (double)bytes / 1e6);
    for (uint64_t i = 0; i < (filled ? filled : 1); i++)
        putchar('#');
    putchar('\n');
}

int run_levels(struct cli *c, adb *db)
{
    char *json;
    adb_status status = adb_stats(db, &json);
    if (status != ADB_OK)
        return fail_status("levels", status);
    char *memtable = strstr(json, "\"memtable\":{");
    char *tables = strstr(json, "\"tables\":{");
    char *runs = tables ? strstr(tables, "\"runs\":[") : NULL;
    if (c->json) {
        char *end = runs ? strchr(runs, ']') : NULL;
        printf("{\"runs\":%.*s]}\n", end ? (int)(end - runs - 7) : 1,
               end ? runs + 7 : "[");
    } else if (memtable && runs) {
        uint64_t total = field(tables, "bytes");
        printf("memtable: %" PRIu64 " keys, %.1f MB of data\n",
               field(memtable, "keys"),
               (double)field(memtable, "data_bytes") / 1e6);
        puts("level     run  tables     entries         MB");
        for (char *run = strchr(runs, '{'); run; run = strchr(run + 1, '{'))
            print_run(run, total);
        puts("newest first; the highest level is the bottom");
    }
    adb_free(json);
    return EXIT_OK;
}

static void on_damage(void *context, const char *text)
{
    (void)context;
    printf("damaged: %s\n", text);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *p = context;
    p->total = total;
    progress_show(p, done, 0);
}

int run_verify(struct cli *c, adb *db)
{
    struct progress p;
    progress_begin(&p, "verify", 0);
    adb_status status = adb_verify(db, on_damage, on_progress, &p);
    progress_end(&p);
    if (status != ADB_OK)
        return fail_status("verify", status);
    printf("%s: no damage found\n", c->db_path);
    return EXIT_OK;
}

int run_compact(struct cli *c, adb *db)
{
    struct range r;
    int code = EXIT_OK;
    if (range_begin(c, &r, &code)) {
        adb_status status =
            adb_compact(db, r.options.lower, r.options.upper);
        if (status != ADB_OK)
            code = fail_status("compact", status);
    }
    range_end(&r);
    return code == EXIT_OK ? run_levels(c, db) : code;
}
