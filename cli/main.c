/*
 * albertdb VERB [options] ...: takes the command line apart, opens the
 * database, runs the verb.
 */
#include "cli.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_HELP                                                             \
    "--from KEY --to KEY --prefix KEY choose a range (--to is not in it).\n"

static const struct verb verbs[] = {
    {"get", "KEY", "print the value of a key",
     "Into a pipe or file the bytes go as they are; at a terminal unprintable\n"
     "ones show as \\xNN.\n"
     "example: albertdb get --db ./data 0041\n",
     1, 1, false, false, run_get},
    {"put", "KEY VALUE", "write a pair",
     "VALUE - reads standard input. \\xNN, \\n, \\t, \\r and \\\\ are escapes.\n"
     "example: albertdb put --db ./data greeting 'hello world'\n",
     2, 2, true, false, run_put},
    {"delete", "KEY...", "remove keys",
     "A key that is not there is no failure.\n"
     "example: albertdb delete --db ./data greeting\n",
     1, 1 << 20, false, false, run_delete},
    {"scan", "", "print pairs in key order",
     RANGE_HELP
     "--limit N, --reverse, --keys-only.\n"
     "example: albertdb scan --db ./data --prefix 1F6 --limit 5\n",
     0, 0, false, false, run_scan},
    {"load", "FILE", "write the pairs of a file (- for standard input)",
     "--format json: a line {\"key\":\"...\",\"value\":\"...\"}; bytes that are\n"
     "no UTF-8 as {\"base64\":\"...\"}. --format csv: --delimiter C --header\n"
     "--key-column N --value-column N (1, 2). --format tsv: key<TAB>value with\n"
     "the escapes of put. Without --format the ending of the name decides.\n"
     "example: albertdb load --db ./data pairs.csv --header\n",
     1, 1, true, false, run_load},
    {"dump", "", "print all pairs in a form that load reads back",
     RANGE_HELP "--format json|csv|tsv.\n"
     "example: albertdb dump --db ./data --format tsv > pairs.tsv\n",
     0, 0, false, false, run_dump},
    {"stats", "", "print statistics",
     "example: albertdb stats --db ./data --json\n",
     0, 0, false, false, run_stats},
    {"levels", "", "draw the runs of tables, newest first",
     "example: albertdb levels --db ./data\n",
     0, 0, false, false, run_levels},
    {"verify", "", "read and check every byte; list damage",
     "Exit code 3 and a line for each damaged piece when there is any.\n"
     "example: albertdb verify --db ./data\n",
     0, 0, false, false, run_verify},
    {"compact", "", "merge tables into one sorted run",
     RANGE_HELP
     "example: albertdb compact --db ./data\n",
     0, 0, false, false, run_compact},
    {"bench", "", "measure the main loops",
     "--workloads LIST of fillseq,fillrandom,fillbatch,overwrite,deleterandom,\n"
     "readrandom,readmissing,readseq,readreverse,seekrandom; --num N\n"
     "--key-size N --value-size N --threads N --no-latency. Works in PATH.bench,\n"
     "removed afterwards, or in PATH itself with --use-existing.\n"
     "example: albertdb bench --num 1000000 -o durability=process\n",
     0, 0, true, true, run_bench},
    {"shell", "", "an interactive shell",
     "example: albertdb shell --db ./data\n",
     0, 0, true, false, run_shell},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int exit_code_of(adb_status status)
{
    switch (status) {
    case ADB_OK:
        return EXIT_OK;
    case ADB_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case ADB_CORRUPTION:
    case ADB_UNSUPPORTED:
        return EXIT_DAMAGED;
    case ADB_INVALID:
    case ADB_TOO_LARGE:
    case ADB_NOT_A_DATABASE:
    case ADB_EXISTS:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}

int fail_status(const char *what, adb_status status)
{
    const char *message = adb_error_message();
    fprintf(stderr, "albertdb: %s: %s\n", what,
            message[0] ? message : adb_status_name(status));
    return exit_code_of(status);
}

int fail_usage(const char *format, ...)
{
    va_list args;
    fputs("albertdb: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("; `albertdb --help` tells more\n", stderr);
    return EXIT_USAGE;
}

adb *open_database(struct cli *c, bool create, int *exit_code)
{
    adb *db = NULL;
    adb_status status = adb_options_set(c->options, "create_if_missing",
                                        create ? "true" : "false");
    if (status == ADB_OK)
        status = adb_open(c->db_path, c->options, &db);
    if (status != ADB_OK)
        *exit_code = fail_status(c->verb, status);
    return db;
}

/* ---- help -------------------------------------------------------------- */

static void print_overview(void)
{
    puts("albertdb - an ordered key-value store\n\n"
         "usage: albertdb VERB [--db PATH] [options] [arguments]\n\nverbs:");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-8s %-10s %s\n", verbs[i].name, verbs[i].arguments,
               verbs[i].summary);
    puts("\noptions of all verbs:\n"
         "  --db PATH           the database (default ./data or $ALBERTDB_DB)\n"
         "  -o NAME=VALUE       an option of the database; `albertdb --help "
         "options`\n"
         "  --durability LEVEL  sync, process or none, for this write\n"
         "  --json, --hex       how keys and values are printed and read\n"
         "  --help, --version\n\n"
         "exit codes: 0 ok, 1 not found, 2 usage, 3 corruption, 4 I/O\n"
         "example: albertdb put --db ./data hello world && albertdb get --db "
         "./data hello\n"
         "`albertdb VERB --help` tells more of a verb.");
}

static void print_options(void)
{
    adb_option_info o;
    puts("options of a database, given as -o NAME=VALUE:\n");
    for (size_t i = 0; adb_options_describe(i, &o) == ADB_OK; i++)
        printf("%s (%s, default %s; %s)\n    %s\n", o.name, o.type,
               o.default_value, o.range, o.description);
    puts("\nexample: albertdb stats -o memory_budget=64M");
}

static int print_help(const struct verb *v, const char *topic)
{
    if (topic && strcmp(topic, "options") == 0)
        print_options();
    else if (topic && verb_find(topic))
        return print_help(verb_find(topic), NULL);
    else if (v)
        printf("usage: albertdb %s [options] %s\n\n%s.\n%s", v->name,
               v->arguments, v->summary, v->help);
    else
        print_overview();
    return EXIT_OK;
}

/* ---- the command line -------------------------------------------------- */

enum { DB = 256, JSON, HEX, FROM, TO, PREFIX, LIMIT, REVERSE, KEYS_ONLY,
       FORMAT, HEADER, DELIMITER, KEY_COLUMN, VALUE_COLUMN, NUM, KEY_SIZE,
       VALUE_SIZE, THREADS, WORKLOADS, DURABILITY, USE_EXISTING, NO_LATENCY,
       HELP, VERSION };

static const struct option long_options[] = {
    {"db", required_argument, NULL, DB},
    {"option", required_argument, NULL, 'o'},
    {"json", no_argument, NULL, JSON},
    {"hex", no_argument, NULL, HEX},
    {"from", required_argument, NULL, FROM},
    {"to", required_argument, NULL, TO},
    {"prefix", required_argument, NULL, PREFIX},
    {"limit", required_argument, NULL, LIMIT},
    {"reverse", no_argument, NULL, REVERSE},
    {"keys-only", no_argument, NULL, KEYS_ONLY},
    {"format", required_argument, NULL, FORMAT},
    {"header", no_argument, NULL, HEADER},
    {"delimiter", required_argument, NULL, DELIMITER},
    {"key-column", required_argument, NULL, KEY_COLUMN},
    {"value-column", required_argument, NULL, VALUE_COLUMN},
    {"num", required_argument, NULL, NUM},
    {"key-size", required_argument, NULL, KEY_SIZE},
    {"value-size", required_argument, NULL, VALUE_SIZE},
    {"threads", required_argument, NULL, THREADS},
    {"workloads", required_argument, NULL, WORKLOADS},
    {"durability", required_argument, NULL, DURABILITY},
    {"use-existing", no_argument, NULL, USE_EXISTING},
    {"no-latency", no_argument, NULL, NO_LATENCY},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0}};

static int take_number(const char *name, const char *text, uint64_t low,
                       uint64_t high, uint64_t *out)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number < low || number > high)
        return fail_usage("--%s needs a number from %llu to %llu, not '%s'",
                          name, (unsigned long long)low,
                          (unsigned long long)high, text);
    *out = number;
    return EXIT_OK;
}

static int take_format(struct cli *c, const char *text)
{
    static const struct {
        const char *name;
        enum file_format format;
    } formats[] = {{"json", FORMAT_JSON}, {"csv", FORMAT_CSV},
                   {"tsv", FORMAT_TSV}};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(text, formats[i].name) == 0) {
            c->format = formats[i].format;
            return EXIT_OK;
        }
    return fail_usage("--format is json, csv or tsv, not '%s'", text);
}

static int take_durability(struct cli *c, const char *text)
{
    static const char *const levels[] = {"", "none", "process", "sync"};
    for (int i = 1; i < 4; i++)
        if (strcmp(text, levels[i]) == 0) {
            c->durability = (adb_durability)i;
            return EXIT_OK;
        }
    return fail_usage("--durability is sync, process or none, not '%s'", text);
}

static int take_database_option(struct cli *c, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals)
        return fail_usage("-o needs NAME=VALUE, not '%s'", text);
    *equals = '\0';
    adb_status status = adb_options_set(c->options, text, equals + 1);
    *equals = '=';
    return status == ADB_OK ? EXIT_OK : fail_status(c->verb, status);
}

static int take_option(struct cli *c, int option)
{
    uint64_t n = 0;
    int code = EXIT_OK;
    switch (option) {
    case DB: c->db_path = optarg; break;
    case 'o': return take_database_option(c, optarg);
    case JSON: c->json = true; break;
    case HEX: c->hex = true; break;
    case FROM: c->from = optarg; break;
    case TO: c->to = optarg; break;
    case PREFIX: c->prefix = optarg; break;
    case LIMIT: return take_number("limit", optarg, 0, UINT64_MAX, &c->limit);
    case REVERSE: c->reverse = true; break;
    case KEYS_ONLY: c->keys_only = true; break;
    case FORMAT: return take_format(c, optarg);
    case HEADER: c->header = true; break;
    case DELIMITER:
        if (strlen(optarg) != 1)
            return fail_usage("--delimiter is one character");
        c->delimiter = optarg[0];
        break;
    case KEY_COLUMN:
        code = take_number("key-column", optarg, 1, 10000, &n);
        c->key_column = (unsigned)n;
        return code;
    case VALUE_COLUMN:
        code = take_number("value-column", optarg, 1, 10000, &n);
        c->value_column = (unsigned)n;
        return code;
    case NUM: return take_number("num", optarg, 1, UINT64_C(1) << 40, &c->num);
    case KEY_SIZE:
        return take_number("key-size", optarg, 9, 65536, &c->key_size);
    case VALUE_SIZE:
        return take_number("value-size", optarg, 0, 1 << 26, &c->value_size);
    case THREADS: return take_number("threads", optarg, 1, 256, &c->threads);
    case WORKLOADS: c->workloads = optarg; break;
    case DURABILITY: return take_durability(c, optarg);
    case USE_EXISTING: c->use_existing = true; break;
    case NO_LATENCY: c->no_latency = true; break;
    default:
        return fail_usage("%s does not take that option", c->verb);
    }
    return EXIT_OK;
}

static int run_verb(struct cli *c, const struct verb *v)
{
    int code = EXIT_OK;
    if (c->arg_count < v->least_args || c->arg_count > v->most_args)
        return fail_usage("%s takes %s", v->name,
                          v->arguments[0] ? v->arguments : "no arguments");
    if (v->own_open)
        return v->run(c, NULL);
    adb *db = open_database(c, v->creates, &code);
    if (!db)
        return code;
    code = v->run(c, db);
    adb_status status = adb_close(db);
    if (status != ADB_OK && code == EXIT_OK)
        code = fail_status(c->verb, status);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == EXIT_OK) {
        fprintf(stderr, "albertdb: %s: standard output cannot be written\n",
                c->verb);
        code = EXIT_FAILED;
    }
    return code;
}

static int main_with(struct cli *c, int argc, char **argv)
{
    const struct verb *v = NULL;
    int option, code;
    c->verb = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_overview();
        return EXIT_USAGE;
    }
    if (!strcmp(c->verb, "help") || !strcmp(c->verb, "--help") ||
        !strcmp(c->verb, "-h"))
        return print_help(NULL, argc > 2 ? argv[2] : NULL);
    if (!strcmp(c->verb, "version") || !strcmp(c->verb, "--version")) {
        printf("albertdb %s\n", adb_version());
        return EXIT_OK;
    }
    v = verb_find(c->verb);
    if (!v)
        return fail_usage("'%s' is no verb", c->verb);
    while ((option = getopt_long(argc - 1, argv + 1, "o:h", long_options,
                                 NULL)) >= 0) {
        if (option == HELP || option == 'h')
            return print_help(v, argc - 1 > optind ? argv[1 + optind] : NULL);
        if (option == VERSION) {
            printf("albertdb %s\n", adb_version());
            return EXIT_OK;
        }
        if (option == '?')
            return EXIT_USAGE; /* getopt has named it */
        code = take_option(c, option);
        if (code != EXIT_OK)
            return code;
    }
    c->args = argv + 1 + optind;
    c->arg_count = argc - 1 - optind;
    return run_verb(c, v);
}

int main(int argc, char **argv)
{
    const char *path = getenv("ALBERTDB_DB");
    struct cli c = {
        .db_path = path && path[0] ? path : "./data",
        .options = adb_options_new(),
        .limit = UINT64_MAX,
        .delimiter = ',',
        .key_column = 1,
        .value_column = 2,
        .num = 1000000,
        .key_size = 16,
        .value_size = 100,
        .threads = 1,
        .workloads = "fillseq,fillrandom,overwrite,readrandom,readmissing,"
                     "readseq,readreverse,seekrandom",
    };
    if (!c.options)
        return fail_status("start", ADB_NO_MEMORY);
    /* A closed pipe is seen as a failed write, after which the database is
       closed as it should be. */
    signal(SIGPIPE, SIG_IGN);
    int code = main_with(&c, argc, argv);
    adb_options_free(c.options);
    return code;
}
