/*
 * The options of the command line: one table says how each is written, where
 * its value goes and which verbs take it.
 */
#include "cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_FLAG,     /* bool */
    KIND_STRING,   /* const char * */
    KIND_NUMBER,   /* uint64_t, low to high */
    KIND_DATABASE, /* NAME=VALUE for adb_options_set */
    KIND_DURABILITY,
    KIND_FORMAT,
    KIND_DELIMITER
};

struct option_spec {
    const char *name;
    char letter; /* '\0': none */
    const char *argument; /* NULL: a flag */
    const char *help;
    unsigned groups;
    enum kind kind;
    size_t offset; /* in struct cli */
    uint64_t low, high;
};

#define FLAG(name, letter, groups, field, help)                                \
    {name, letter, NULL, help, groups, KIND_FLAG, offsetof(struct cli, field), \
     0, 0}
#define STRING(name, argument, groups, field, help)                            \
    {name, 0, argument, help, groups, KIND_STRING,                             \
     offsetof(struct cli, field), 0, 0}
#define NUMBER(name, groups, field, low, high, help)                           \
    {name, 0, "N", help, groups, KIND_NUMBER, offsetof(struct cli, field),     \
     low, high}
#define SPECIAL(name, letter, argument, groups, kind, help)                    \
    {name, letter, argument, help, groups, kind, 0, 0, 0}

static const struct option_spec specs[] = {
    STRING("db", "PATH", OPTIONS_OPEN, db_path,
           "the database (./data, or $ALBERTDB_DB)"),
    SPECIAL("option", 'o', "NAME=VALUE", OPTIONS_OPEN, KIND_DATABASE,
            "an option of the database (help options)"),
    FLAG("json", 0, OPTIONS_JSON, json, "print JSON"),
    FLAG("hex", 0, OPTIONS_HEX, hex,
         "keys and values as hexadecimal, in and out"),
    STRING("from", "KEY", OPTIONS_BOUNDS, from, "the first key"),
    STRING("to", "KEY", OPTIONS_BOUNDS, to, "the key to stop at"),
    STRING("prefix", "KEY", OPTIONS_PREFIX, prefix,
           "only keys that begin so"),
    NUMBER("limit", OPTIONS_WALK, limit, 0, UINT64_MAX, "N pairs at most"),
    FLAG("reverse", 0, OPTIONS_WALK, reverse,
         "from the last key to the first"),
    FLAG("keys-only", 0, OPTIONS_KEYS, keys_only, "no values"),
    SPECIAL("durability", 0, "LEVEL", OPTIONS_WRITE, KIND_DURABILITY,
            "sync, process or none: -o durability=LEVEL"),
    SPECIAL("format", 0, "FORMAT", OPTIONS_FILE, KIND_FORMAT,
            "json, csv or tsv"),
    SPECIAL("delimiter", 0, "C", OPTIONS_FILE, KIND_DELIMITER,
            "between columns of CSV (,)"),
    FLAG("header", 0, OPTIONS_LOAD, header,
         "skip the first line of CSV or TSV"),
    NUMBER("key-column", OPTIONS_LOAD, key_column, 1, 10000,
           "column of CSV with the key (1)"),
    NUMBER("value-column", OPTIONS_LOAD, value_column, 1, 10000,
           "column of CSV with the value (2)"),
    STRING("workloads", "LIST", OPTIONS_BENCH, workloads,
           "what to run, with commas between"),
    NUMBER("num", OPTIONS_BENCH, num, 1, UINT64_C(1) << 40,
           "number of keys (1000000)"),
    NUMBER("key-size", OPTIONS_BENCH, key_size, 4, ADB_MAX_KEY_SIZE,
           "bytes of a key (16)"),
    NUMBER("value-size", OPTIONS_BENCH, value_size, 0, ADB_MAX_VALUE_SIZE,
           "bytes of a value (100)"),
    NUMBER("threads", OPTIONS_BENCH, threads, 1, 256, "threads at work (1)"),
    FLAG("use-existing", 0, OPTIONS_BENCH, use_existing,
         "work in PATH itself, and leave it"),
    FLAG("no-latency", 0, OPTIONS_BENCH, no_latency,
         "do not look at the clock at each operation"),
    FLAG("dry-run", 0, OPTIONS_REPAIR, dry_run, "look and list, no more"),
    FLAG("skip-unreadable", 0, OPTIONS_REPAIR, skip_unreadable,
         "take what cannot be read for damaged"),
    FLAG("help", 'h', OPTIONS_ANY, help, "this text"),
    FLAG("version", 'V', OPTIONS_ANY, version, "the version"),
};
enum { SPECS = sizeof specs / sizeof specs[0], LONG_BASE = 256 };

void cli_init(struct cli *c)
{
    const char *path = getenv("ALBERTDB_DB");
    *c = (struct cli){
        .db_path = path && path[0] ? path : "./data",
        .limit = UINT64_MAX,
        .delimiter = ',',
        .key_column = 1,
        .value_column = 2,
        .num = 1000000,
        .key_size = 16,
        .value_size = 100,
        .threads = 1,
    };
}

/* ---- values ------------------------------------------------------------ */

static int take_number(struct cli *c, const struct option_spec *o,
                       const char *text, uint64_t *out)
{
    uint64_t n = 0;
    bool good = *text != '\0';
    for (const char *p = text; good && *p; p++) {
        good = *p >= '0' && *p <= '9' &&
               !__builtin_mul_overflow(n, 10u, &n) &&
               !__builtin_add_overflow(n, (uint64_t)(*p - '0'), &n);
    }
    if (!good || n < o->low || n > o->high)
        return fail_usage(c, "--%s needs a number from %" PRIu64
                          " to %" PRIu64 ", not '%s'", o->name, o->low,
                          o->high, text);
    *out = n;
    return EXIT_OK;
}

static int set_database_option(const char *name, const char *value,
                               struct cli *c)
{
    char what[80];
    adb_status status = adb_options_set(c->options, name, value);
    if (strcmp(name, "durability") == 0)
        c->durability_chosen = true;
    if (status == ADB_OK)
        return EXIT_OK;
    snprintf(what, sizeof what, "-o %.60s", name);
    return fail_status(what, status);
}

static int take_database(struct cli *c, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals)
        return fail_usage(c, "-o needs NAME=VALUE, not '%s'", text);
    char *name = strndup(text, (size_t)(equals - text));
    if (!name)
        return fail_errno("start");
    int code = set_database_option(name, equals + 1, c);
    free(name);
    return code;
}

static int take_format(struct cli *c, const char *text)
{
    static const char *const names[] = {"", "json", "csv", "tsv"};
    for (int i = FORMAT_JSON; i <= FORMAT_TSV; i++) {
        if (strcmp(text, names[i]) == 0) {
            c->format = (enum file_format)i;
            return EXIT_OK;
        }
    }
    return fail_usage(c, "--format is json, csv or tsv, not '%s'", text);
}

static int take_delimiter(struct cli *c, const char *text)
{
    struct text t = {0};
    bool good = text_add_unescaped(&t, text, strlen(text)) && t.size == 1 &&
                !strchr("\"\r\n", t.data[0]) && t.data[0] != '\0';
    if (good)
        c->delimiter = t.data[0];
    text_free(&t);
    return good ? EXIT_OK
                : fail_usage(c, "--delimiter is one byte, and no quote or "
                             "line end, not '%s'", text);
}

static int take(struct cli *c, const struct option_spec *o, const char *text)
{
    void *field = (char *)c + o->offset;
    switch (o->kind) {
    case KIND_FLAG:
        *(bool *)field = true;
        return EXIT_OK;
    case KIND_STRING:
        *(const char **)field = text;
        return EXIT_OK;
    case KIND_NUMBER:
        return take_number(c, o, text, field);
    case KIND_DATABASE:
        return take_database(c, text);
    case KIND_DURABILITY:
        return set_database_option("durability", text, c);
    case KIND_FORMAT:
        return take_format(c, text);
    case KIND_DELIMITER:
        return take_delimiter(c, text);
    }
    return EXIT_USAGE;
}

/* ---- the command line -------------------------------------------------- */

static void fill_long_options(struct option *out)
{
    for (int i = 0; i < SPECS; i++)
        out[i] = (struct option){
            specs[i].name, specs[i].argument ? required_argument : no_argument,
            NULL, LONG_BASE + i};
    out[SPECS] = (struct option){0};
}

/* What getopt returns, as an index into specs; -1: none. */
static int spec_of(int option)
{
    if (option >= LONG_BASE)
        return option - LONG_BASE;
    for (int i = 0; i < SPECS; i++)
        if (specs[i].letter == option)
            return i;
    return -1;
}

/* word is the one that getopt looked at last, but behind a letter it may be
   the one before. */
static int fail_option(const struct cli *c, int option, const char *word)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    if (optopt > 0 && optopt < LONG_BASE)
        word = letter;
    if (option == ':')
        return fail_usage(c, "%s needs a value", word);
    if (optopt >= LONG_BASE)
        return fail_usage(c, "%s: this option takes no value", word);
    return fail_usage(c, "%s is no option", word);
}

int options_parse(struct cli *c, int argc, char **argv)
{
    struct option longs[SPECS + 1];
    int option;
    fill_long_options(longs);
    optind = 0; /* start anew: the shell parses many lines */
    /* "-": words come in their order, wherever options stand; ":": messages
       are ours. */
    while ((option = getopt_long(argc, argv, "-:o:hV", longs, NULL)) >= 0) {
        if (option == 1) {
            c->args[c->arg_count++] = optarg;
            continue;
        }
        int i = spec_of(option);
        if (i < 0)
            return fail_option(c, option, argv[optind - 1]);
        c->used |= UINT64_C(1) << i;
        int code = take(c, &specs[i], optarg);
        if (code != EXIT_OK)
            return code;
    }
    while (optind < argc)
        c->args[c->arg_count++] = argv[optind++];
    return EXIT_OK;
}

int options_check(const struct cli *c)
{
    unsigned groups = options_of(c->verb, c->in_shell);
    for (int i = 0; i < SPECS; i++) {
        if (!(c->used >> i & 1) || (specs[i].groups & groups))
            continue;
        if (specs[i].groups & (OPTIONS_OPEN | OPTIONS_WRITE) && c->in_shell)
            return fail_usage(c, "--%s is chosen when the shell begins",
                              specs[i].name);
        return fail_usage(c, "%s does not take --%s", c->verb->name,
                          specs[i].name);
    }
    return EXIT_OK;
}

unsigned options_of(const struct verb *v, bool in_shell)
{
    /* All that is settled when the database is opened. */
    unsigned opening = OPTIONS_OPEN | OPTIONS_WRITE;
    return in_shell ? (v->options | OPTIONS_ANY) & ~opening
                    : v->options | OPTIONS_ANY | OPTIONS_OPEN;
}

void options_print(unsigned groups)
{
    for (int i = 0; i < SPECS; i++) {
        char left[40], letter[5] = "";
        if (!(specs[i].groups & groups))
            continue;
        if (specs[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", specs[i].letter);
        snprintf(left, sizeof left, "%s--%s %s", letter, specs[i].name,
                 specs[i].argument ? specs[i].argument : "");
        printf("  %-24s %s\n", left, specs[i].help);
    }
}

int argument_bytes(const struct cli *c, const char *argument,
                   struct text *out)
{
    size_t size = strlen(argument);
    if (c->hex)
        return text_add_unhexed(out, argument, size)
                   ? EXIT_OK
                   : fail_usage(c, "'%s' is not hexadecimal", argument);
    return text_add_unescaped(out, argument, size)
               ? EXIT_OK
               : fail_usage(c, "'%s' has a malformed escape; there are \\xNN, "
                            "\\n, \\t, \\r, \\\" and \\\\", argument);
}
