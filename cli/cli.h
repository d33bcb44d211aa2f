/*
 * albertdb, the command line tool: what its verbs share. It uses nothing of
 * the library but the public header.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "albertdb/albertdb.h"
#include "parse.h"
#include "text.h"

/* Exit codes of every verb. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_NOT_FOUND = 1,
    EXIT_USAGE = 2,   /* the command line, or input that it named, is wrong */
    EXIT_DAMAGED = 3, /* bytes on disk are not what was written */
    EXIT_FAILED = 4   /* all else: I/O, busy, no space, no memory */
};

/* Which options a verb takes. OPTIONS_ANY fit every verb; OPTIONS_OPEN too,
   but for the shell's commands, where the database is open already. */
enum option_group {
    OPTIONS_ANY = 1 << 0,
    OPTIONS_OPEN = 1 << 1,   /* --db -o */
    OPTIONS_JSON = 1 << 2,
    OPTIONS_HEX = 1 << 3,
    OPTIONS_BOUNDS = 1 << 4, /* --from --to */
    OPTIONS_PREFIX = 1 << 5,
    OPTIONS_WALK = 1 << 6,   /* --limit --reverse */
    OPTIONS_KEYS = 1 << 7,   /* --keys-only */
    OPTIONS_WRITE = 1 << 8,  /* --durability */
    OPTIONS_FILE = 1 << 9,   /* --format --delimiter */
    OPTIONS_LOAD = 1 << 10,  /* --header and the columns */
    OPTIONS_BENCH = 1 << 11,
    OPTIONS_REPAIR = 1 << 12 /* --dry-run --skip-unreadable */
};

/* The command line, taken apart. Strings are borrowed from argv. */
struct cli {
    const struct verb *verb; /* NULL until known */
    const char *db_path;
    adb_options *options; /* owned by main */
    adb *db;              /* owned by main; NULL until open_database */
    char **args;          /* owned by main: what is no option, with the verb */
    int arg_count;
    bool in_shell; /* a command of the shell: db is open, and stays so */
    uint64_t used; /* bit i: option i of the table was given */
    bool help, version;
    bool json, hex, reverse, keys_only, header,
         use_existing, no_latency;
    bool dry_run, skip_unreadable; /* of repair */
    bool durability_chosen; /* by --durability or -o */
    const char *from, *to, *prefix;
    uint64_t limit;
    enum file_format format;
    char delimiter;                    /* of CSV */
    uint64_t key_column, value_column; /* from 1 */
    uint64_t num, key_size, value_size, threads;
    const char *workloads;
};

struct verb {
    const char *name;
    const char *arguments; /* "KEY VALUE" */
    const char *summary;
    const char *help;      /* more lines, the last ones examples */
    int least_args, most_args;
    unsigned options;      /* enum option_group, or-ed */
    bool creates;          /* may make a new database */
    bool in_shell;         /* is a command of the shell too */
    int (*run)(struct cli *c);
};

/* ---- verbs.c: the table of verbs ---- */

const struct verb *verb_at(size_t index); /* NULL: past the last */
const struct verb *verb_find(const char *name);

/* ---- main.c: failures, the database ---- */

/* The exit code that stands for a status. ADB_NOT_FOUND of a key is not among
   them: get says that itself. */
int exit_code_of(adb_status status);
/* Prints "albertdb: what: message" for the calling thread's last failure in
   the library; returns its exit code. */
int fail_status(const char *what, adb_status status);
/* Prints "albertdb: ..." and where help is; returns EXIT_USAGE. */
int fail_usage(const struct cli *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Prints "albertdb: what: the text of errno"; returns EXIT_FAILED. */
int fail_errno(const char *what);
/* Writes all output out; what is the verb. EXIT_OK, or the exit code after a
   message. */
int finish_output(const char *what);

/* Opens c->db unless it is open; verbs call it when their arguments have
   turned out well. EXIT_OK, or the exit code after a message. */
int open_database(struct cli *c);

/* Runs c->verb, whose name is the first of c->args, when options and number
   of arguments fit it; then writes all output out. */
int verb_run(struct cli *c);

/* ---- options.c: the command line ---- */

void cli_init(struct cli *c);
/* Takes argv apart into c; argv[0] is skipped. */
int options_parse(struct cli *c, int argc, char **argv);
/* Fails when an option was given that the verb does not take. */
int options_check(const struct cli *c);
/* The groups of options that a verb takes, here or as a shell's command. */
unsigned options_of(const struct verb *v, bool in_shell);
/* Prints the options of these groups, a line each. */
void options_print(unsigned groups);

/* A key or value from the command line, appended to out: with escapes, or hex
   with --hex. */
int argument_bytes(const struct cli *c, const char *argument,
                   struct text *out);

/* ---- help.c ---- */

void print_verb(const struct verb *v, bool in_shell);
/* On a verb, on options; NULL: the overview. */
int print_help(const char *topic);

/* ---- range.c: the keys that --from, --to and --prefix choose ---- */

struct range {
    struct text from, to, prefix; /* owned */
    adb_iter_options options;     /* bounds borrowed from them */
};
int range_init(struct range *r, const struct cli *c); /* then always: */
void range_deinit(struct range *r);

/* Calls show for each pair of the range, in the order and up to the number
   the command line asks for, until one returns false. With --keys-only values
   are not read, and are empty. */
typedef bool (*show_fn)(void *context, adb_slice key, adb_slice value);
int range_walk(struct cli *c, show_fn show, void *context);

/* ---- the verbs, each in the file of its name or its group ---- */

int run_get(struct cli *c);    /* pairs.c */
int run_put(struct cli *c);
int run_delete(struct cli *c);
int run_scan(struct cli *c);   /* dump.c */
int run_dump(struct cli *c);
int run_load(struct cli *c);
/* --format, or what the ending of the file's name says: .csv, .tsv or .txt,
   else JSON. */
enum file_format file_format_of(const struct cli *c, const char *file);
int run_stats(struct cli *c);  /* tree.c */
int run_levels(struct cli *c);
int run_verify(struct cli *c); /* maintain.c */
int run_compact(struct cli *c);
int run_repair(struct cli *c);       /* repair.c */
int run_bench(struct cli *c);
int run_shell(struct cli *c);

#endif
