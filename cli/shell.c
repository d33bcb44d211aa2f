/*
 * The shell: a verb a line, with its options, on a database that stays open.
 * At a terminal lines are edited with libedit; from anything else they are
 * read as they are.
 */
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <editline/readline.h>

enum { MAX_HISTORY = 1000, QUIT = -1 /* no exit code */ };

/* ---- commands that are no verbs ---------------------------------------- */

static bool count_one(void *context, adb_slice key, adb_slice value)
{
    uint64_t *count = context;
    (void)key;
    (void)value;
    ++*count;
    return !out_failed();
}

static int run_count(struct cli *c)
{
    uint64_t count = 0;
    struct text t = {0};
    c->keys_only = true;
    int code = range_walk(c, count_one, &count);
    if (code == EXIT_OK && !out_failed()) {
        text_add_count(&t, count);
        text_add_string(&t, "\n");
        out_text(&t);
        text_free(&t);
    }
    return code;
}

static int run_flush(struct cli *c)
{
    adb_status status = adb_flush(c->db);
    return status == ADB_OK ? EXIT_OK : fail_status("flush", status);
}

static int run_help(struct cli *c);
static int run_quit(struct cli *c);

static const struct verb commands[] = {
    {"count", "", "count keys", "example: count --prefix 1F6\n", 0, 0,
     OPTIONS_HEX | OPTIONS_BOUNDS | OPTIONS_PREFIX, false, true, run_count},
    {"flush", "", "write the memtable to a table", "example: flush\n", 0, 0, 0,
     false, true, run_flush},
    {"help", "[COMMAND]", "more about a command", "example: help scan\n", 0, 1,
     0, false, true, run_help},
    {"quit", "", "end the shell; exit and the end of the input do so too",
     "example: quit\n", 0, 0, 0, false, true, run_quit},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* The verbs that are commands too, then those that are nothing else. */
static const struct verb *command_at(size_t index)
{
    for (size_t i = 0; verb_at(i); i++)
        if (verb_at(i)->in_shell && index-- == 0)
            return verb_at(i);
    return index < COMMANDS ? &commands[index] : NULL;
}

static const struct verb *command_find(const char *name)
{
    if (strcmp(name, "exit") == 0)
        name = "quit";
    if (strcmp(name, "del") == 0)
        name = "delete";
    for (size_t i = 0; command_at(i); i++)
        if (strcmp(command_at(i)->name, name) == 0)
            return command_at(i);
    return NULL;
}

static int run_help(struct cli *c)
{
    const struct verb *v = c->arg_count > 0 ? command_find(c->args[0]) : NULL;
    if (c->arg_count > 0 && !v)
        return fail_usage(c, "'%s' is no command", c->args[0]);
    if (v) {
        print_verb(v, true);
        return EXIT_OK;
    }
    for (size_t i = 0; command_at(i); i++)
        printf("  %-8s %-10s %s\n", command_at(i)->name,
               command_at(i)->arguments, command_at(i)->summary);
    puts("\nOptions are those of the command line. \"...\" and '...' keep "
         "spaces together;\n\\xNN is any byte. Ctrl-C ends a long command.");
    return EXIT_OK;
}

static int run_quit(struct cli *c)
{
    (void)c;
    return EXIT_OK;
}

/* ---- a line ------------------------------------------------------------ */

/* Splits the line into words, in place: quotes are taken off; a backslash and
   what follows it stay, for argument_bytes. -1: a quote is not closed. */
static int split(char *line, char **words)
{
    int count = 0;
    for (char *p = line;;) {
        p += strspn(p, " \t");
        if (!*p)
            return count;
        char *out = words[count++] = p, quote = '\0';
        for (; *p && (quote || !strchr(" \t", *p)); p++) {
            if (*p == '\\' && p[1]) {
                *out++ = *p++;
                *out++ = *p;
            } else if (quote ? *p == quote : *p == '"' || *p == '\'') {
                quote = quote ? '\0' : *p;
            } else {
                *out++ = *p;
            }
        }
        if (quote)
            return -1;
        p += *p != '\0';
        *out = '\0';
    }
}

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    out_interrupt();
}

/* Runs the command in words[1], behind a name for the program. */
static int run_words(struct cli *shell, int count, char **words, char **args)
{
    struct cli c;
    cli_init(&c);
    c.db_path = shell->db_path;
    c.options = shell->options;
    c.db = shell->db;
    c.in_shell = true;
    c.args = args;
    c.verb = command_find(words[1]);
    if (!c.verb)
        return fail_usage(&c, "'%s' is no command", words[1]);
    words[0] = (char *)c.verb->name;
    int code = options_parse(&c, count + 1, words);
    if (code != EXIT_OK)
        return code;
    if (c.help) {
        print_verb(c.verb, true);
        return EXIT_OK;
    }
    code = verb_run(&c);
    return code == EXIT_OK && c.verb->run == run_quit ? QUIT : code;
}

/* Changes line. EXIT_OK, the exit code of what failed, or QUIT. */
static int run_line(struct cli *c, char *line, bool terminal)
{
    size_t most = strlen(line) / 2 + 3; /* a word and a space, or the end */
    char **words = calloc(2 * most, sizeof *words);
    int code = EXIT_OK;
    if (!words)
        return fail_errno("shell");
    int count = split(line, words + 1);
    if (terminal)
        signal(SIGINT, on_interrupt);
    if (count < 0)
        code = fail_usage(c, "a quote is not closed");
    else if (count > 0)
        code = run_words(c, count, words, words + most);
    if (terminal)
        signal(SIGINT, SIG_DFL);
    free(words);
    return code;
}

/* ---- from a terminal --------------------------------------------------- */

/* Words to complete the first word of a line with. */
static char *next_command(const char *text, int state)
{
    static size_t next;
    const struct verb *v;
    if (state == 0)
        next = 0;
    while ((v = command_at(next))) {
        next++;
        if (strncmp(v->name, text, strlen(text)) == 0)
            return strdup(v->name);
    }
    return NULL;
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* no names of files */
    return start == 0 ? rl_completion_matches(text, next_command) : NULL;
}

/* Where the history is kept; NULL: nowhere. */
static char *history_path(void)
{
    const char *chosen = getenv("ALBERTDB_HISTORY"), *home = getenv("HOME");
    struct text t = {0};
    if (chosen && !chosen[0])
        return NULL;
    if (chosen)
        text_add_string(&t, chosen);
    else if (home && home[0])
        text_print(&t, "%s/.albertdb_history", home);
    else
        return NULL;
    return text_end(&t);
}

static void edit_lines(struct cli *c)
{
    struct text prompt = {0};
    char *line, *path = history_path();
    int code = EXIT_OK;
    rl_readline_name = (char *)"albertdb";
    rl_attempted_completion_function = complete;
    using_history();
    stifle_history(MAX_HISTORY);
    if (path)
        (void)read_history(path); /* the first time there is none */
    puts("albertdb shell; help lists the commands, quit ends it");
    text_print(&prompt, "%s> ", c->db_path);
    while (code != QUIT && (line = readline(text_end(&prompt)))) {
        if (line[strspn(line, " \t")])
            add_history(line);
        code = run_line(c, line, true);
        free(line);
    }
    if (code != QUIT)
        putchar('\n');
    if (path && write_history(path) != 0)
        fprintf(stderr, "albertdb: shell: the history cannot be kept in "
                "'%s'\n", path);
    free(path);
    text_free(&prompt);
}

/* ---- from anything else ------------------------------------------------ */

static int read_lines(struct cli *c)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t got = 0;
    int first = EXIT_OK, code = EXIT_OK;
    while (code != QUIT && !out_failed() &&
           (got = getline(&line, &capacity, stdin)) >= 0) {
        while (got > 0 && (line[got - 1] == '\n' || line[got - 1] == '\r'))
            line[--got] = '\0';
        if (memchr(line, '\0', (size_t)got))
            code = fail_usage(c, "a line has a zero byte (write \\x00)");
        else
            code = run_line(c, line, false);
        first = first == EXIT_OK && code != QUIT ? code : first;
    }
    if (got < 0 && !feof(stdin))
        first = fail_errno("shell: standard input");
    free(line);
    return first;
}

int run_shell(struct cli *c)
{
    int code = open_database(c);
    if (code == EXIT_OK && isatty(STDIN_FILENO))
        edit_lines(c);
    else if (code == EXIT_OK)
        code = read_lines(c);
    return code;
}
