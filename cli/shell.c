/*
 * The shell: one command a line, edited with libedit at a terminal, read as
 * they are from anything else.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <editline/readline.h>

enum { MAX_WORDS = 16 };

/* Splits the line into words; "..." keeps spaces together. Changes line. */
static int split(char *line, char **words)
{
    int count = 0;
    char *p = line;
    while (count < MAX_WORDS) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (!*p)
            break;
        bool quoted = *p == '"';
        char *word = quoted ? ++p : p;
        while (*p && (quoted ? *p != '"' : *p != ' ' && *p != '\t'))
            p += *p == '\\' && p[1] ? 2 : 1;
        if (*p)
            *p++ = '\0';
        words[count++] = word;
    }
    return count;
}

static void print_help(void)
{
    puts("get KEY               the value of a key\n"
         "put KEY VALUE         write a pair\n"
         "del KEY               remove a key\n"
         "scan [FROM [TO [N]]]  pairs in order, N at most (20)\n"
         "count [PREFIX]        how many keys\n"
         "stats, levels         what the database looks like inside\n"
         "flush, compact        write the memtable to a table; merge all\n"
         "help, quit\n"
         "\"...\" keeps spaces together; \\xNN is any byte");
}

static void count_keys(adb *db, const char *prefix)
{
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    struct text t = {0};
    adb_iter *it;
    uint64_t n = 0;
    if (prefix && text_add_unescaped(&t, prefix, strlen(prefix)))
        o.prefix = (adb_slice){text_end(&t), t.size};
    adb_status status = adb_iter_new(db, &o, &it);
    if (status == ADB_OK) {
        for (int more = adb_iter_seek_first(it); more;
             more = adb_iter_next(it))
            n++;
        status = adb_iter_status(it);
        adb_iter_free(it);
    }
    text_free(&t);
    if (status == ADB_OK)
        printf("%" PRIu64 "\n", n);
    else
        fail_status("count", status);
}

/* Runs one command; false: quit. */
static bool command(struct cli *c, adb *db, char *line)
{
    char *words[MAX_WORDS];
    int count = split(line, words);
    struct cli one = *c;
    adb_slice all = {0, 0};
    adb_status status = ADB_OK;
    if (count == 0)
        return true;
    const char *verb = words[0];
    one.args = words + 1;
    one.arg_count = count - 1;
    one.limit = 20;
    if (!strcmp(verb, "quit") || !strcmp(verb, "exit"))
        return false;
    if (!strcmp(verb, "get") && count == 2) {
        run_get(&one, db);
        if (!isatty(STDOUT_FILENO))
            putchar('\n');
    } else if (!strcmp(verb, "put") && count == 3) {
        run_put(&one, db);
    } else if (!strcmp(verb, "del") && count == 2) {
        run_delete(&one, db);
    } else if (!strcmp(verb, "scan") && count <= 4) {
        one.from = count > 1 ? words[1] : NULL;
        one.to = count > 2 ? words[2] : NULL;
        one.limit = count > 3 ? strtoull(words[3], NULL, 10) : 20;
        run_scan(&one, db);
    } else if (!strcmp(verb, "count") && count <= 2) {
        count_keys(db, count > 1 ? words[1] : NULL);
    } else if (!strcmp(verb, "stats")) {
        run_stats(&one, db);
    } else if (!strcmp(verb, "levels")) {
        run_levels(&one, db);
    } else if (!strcmp(verb, "flush")) {
        status = adb_flush(db);
    } else if (!strcmp(verb, "compact")) {
        status = adb_compact(db, all, all);
    } else if (!strcmp(verb, "help")) {
        print_help();
    } else {
        fprintf(stderr, "'%s' is no command, or misses a word; try help\n",
                verb);
    }
    if (status != ADB_OK)
        fail_status(verb, status);
    fflush(stdout);
    return true;
}

int run_shell(struct cli *c, adb *db)
{
    char prompt[256];
    bool terminal = isatty(STDIN_FILENO) != 0, more = true;
    char *line = NULL;
    size_t capacity = 0;
    snprintf(prompt, sizeof prompt, "%s> ", c->db_path);
    if (terminal)
        puts("albertdb shell; help lists the commands, quit ends it");
    while (more) {
        if (terminal) {
            char *typed = readline(prompt);
            if (!typed)
                break;
            if (*typed)
                add_history(typed);
            more = command(c, db, typed);
            free(typed);
            continue;
        }
        ssize_t got = getline(&line, &capacity, stdin);
        if (got < 0)
            break;
        while (got > 0 && strchr("\r\n", line[got - 1]))
            line[--got] = '\0';
        more = command(c, db, line);
    }
    free(line);
    return EXIT_OK;
}
