/*
 * albertdb VERB [options] ...: takes the command line apart, runs the verb,
 * closes the database, tells the outcome.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- failures ---------------------------------------------------------- */

int exit_code_of(adb_status status)
{
    switch (status) {
    case ADB_OK:
        return EXIT_OK;
    case ADB_CORRUPTION:
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

int fail_usage(const struct cli *c, const char *format, ...)
{
    va_list args;
    fputs("albertdb: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see `%shelp%s%s`\n",
            c && c->in_shell ? "" : "albertdb ", c && c->verb ? " " : "",
            c && c->verb ? c->verb->name : "");
    return EXIT_USAGE;
}

int fail_errno(const char *what)
{
    fprintf(stderr, "albertdb: %s: %s\n", what, strerror(errno));
    return EXIT_FAILED;
}

int finish_output(const char *what)
{
    if (out_finish())
        return EXIT_OK;
    fprintf(stderr, "albertdb: %s: the output cannot be written: %s\n", what,
            strerror(errno));
    return EXIT_FAILED;
}

/* ---- running a verb ---------------------------------------------------- */

int open_database(struct cli *c)
{
    adb_status status = ADB_OK;
    if (c->db)
        return EXIT_OK;
    if (!c->verb->creates)
        status = adb_options_set(c->options, "create_if_missing", "false");
    if (status == ADB_OK)
        status = adb_open(c->db_path, c->options, &c->db);
    return status == ADB_OK ? EXIT_OK : fail_status(c->verb->name, status);
}

int verb_run(struct cli *c)
{
    const struct verb *v = c->verb;
    int code = options_check(c);
    if (code != EXIT_OK)
        return code;
    c->args++; /* the verb itself */
    c->arg_count--;
    if (c->arg_count < v->least_args || c->arg_count > v->most_args)
        return fail_usage(c, "%s takes %s", v->name,
                          v->arguments[0] ? v->arguments : "no arguments");
    code = v->run(c);
    int written = finish_output(v->name);
    /* What keeps a database from opening says itself what to do. */
    if (code == EXIT_DAMAGED && c->db && v->run != run_verify)
        fprintf(stderr, "albertdb: %s: the verb verify lists all that is "
                "damaged; restore those files from a backup\n", v->name);
    return code == EXIT_OK ? written : code;
}

static int run_and_close(struct cli *c)
{
    int code = verb_run(c);
    if (!c->db)
        return code;
    adb_status status = adb_close(c->db);
    if (status != ADB_OK && code == EXIT_OK)
        code = fail_status(c->verb->name, status);
    return code;
}

static int run(struct cli *c, int argc, char **argv)
{
    /* Known before the options, so that their messages can name it. */
    c->verb = argc > 1 ? verb_find(argv[1]) : NULL;
    int code = options_parse(c, argc, argv);
    if (code != EXIT_OK)
        return code;
    const char *word = c->arg_count > 0 ? c->args[0] : NULL;
    bool is_help = word && strcmp(word, "help") == 0;
    c->verb = word ? verb_find(word) : NULL;
    if (c->version || (word && strcmp(word, "version") == 0)) {
        printf("albertdb %s\n", adb_version());
        return finish_output("version");
    }
    if (c->help || is_help)
        return print_help(is_help ? c->args[1] : word);
    if (!word) {
        print_help(NULL);
        return EXIT_USAGE;
    }
    if (!c->verb)
        return fail_usage(c, "'%s' is no verb", word);
    return run_and_close(c);
}

/* Where a standard file is closed, a file of the database would get its
   number, and be printed into. What takes the place fails as a closed one: it
   is opened the wrong way round. */
static void hold_standard_files(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
            exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    struct cli c;
    cli_init(&c);
    char **args = calloc((size_t)argc + 2, sizeof *args);
    c.args = args;
    c.options = adb_options_new();
    if (!args || !c.options) {
        fputs("albertdb: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    /* A closed pipe is a failed write, after which the database is closed as
       it should be. */
    signal(SIGPIPE, SIG_IGN);
    int code = run(&c, argc, argv);
    adb_options_free(c.options);
    free(args);
    return code;
}
