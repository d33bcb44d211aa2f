/* What the tool says about itself. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static void print_overview(void)
{
    puts("albertdb - an ordered key-value store\n\n"
         "usage: albertdb VERB [--db PATH] [options] [arguments]\n\nverbs:");
    for (size_t i = 0; verb_at(i); i++)
        printf("  %-8s %-10s %s\n", verb_at(i)->name, verb_at(i)->arguments,
               verb_at(i)->summary);
    puts("  help     [VERB]     more about a verb; help options: the options "
         "of a database\n"
         "  version             the version\n\noptions of every verb:");
    options_print(OPTIONS_OPEN | OPTIONS_ANY);
    puts("\nKeys and values: \\xNN is any byte, \\n \\t \\r a control "
         "character, \\\\ a backslash.\n"
         "Exit codes: 0 ok, 1 not found, 2 usage, 3 corruption, 4 I/O and "
         "all else.\n\n"
         "example: albertdb put --db ./data hello world\n"
         "         albertdb get --db ./data hello");
}

static void print_database_options(void)
{
    adb_option_info o;
    puts("options of a database, given as -o NAME=VALUE:\n");
    for (size_t i = 0; adb_options_describe(i, &o) == ADB_OK; i++)
        printf("%s (%s, default %s; %s)\n    %s\n", o.name, o.type,
               o.default_value, o.range, o.description);
    puts("\nexample: albertdb stats -o memory_budget=64M");
}

/* The lines of a help text; in the shell without examples that call the
   tool. */
static void print_lines(const char *help, bool in_shell)
{
    static const char example[] = "example: albertdb ";
    while (*help) {
        int size = (int)strcspn(help, "\n") + 1;
        if (!in_shell || strncmp(help, example, sizeof example - 1) != 0)
            printf("%.*s", size, help);
        help += size;
    }
}

void print_verb(const struct verb *v, bool in_shell)
{
    printf("usage: %s%s [options]%s%s\n\n%s.\n", in_shell ? "" : "albertdb ",
           v->name, v->arguments[0] ? " " : "", v->arguments, v->summary);
    print_lines(v->help, in_shell);
    puts("\noptions:");
    options_print(options_of(v, in_shell));
}

int print_help(const char *topic)
{
    if (!topic || !strcmp(topic, "help") || !strcmp(topic, "version"))
        print_overview();
    else if (strcmp(topic, "options") == 0)
        print_database_options();
    else if (verb_find(topic))
        print_verb(verb_find(topic), false);
    else
        return fail_usage(NULL, "there is no help on '%s'", topic);
    return finish_output("help");
}
