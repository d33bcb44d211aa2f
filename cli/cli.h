/*
 * albertdb, the command line tool: what its verbs share.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "albertdb/albertdb.h"

/* Exit codes of every verb. */
enum { EXIT_OK = 0, EXIT_NOT_FOUND = 1, EXIT_USAGE = 2, EXIT_DAMAGED = 3,
       EXIT_FAILED = 4 };

enum file_format { FORMAT_GUESS, FORMAT_JSON, FORMAT_CSV, FORMAT_TSV };

/* The command line, taken apart. Strings are borrowed from argv. */
struct cli {
    const char *verb;
    const char *db_path;
    adb_options *options; /* owned */
    bool json, hex, reverse, keys_only, header, use_existing, no_latency;
    const char *from, *to, *prefix;
    uint64_t limit; /* UINT64_MAX: none */
    enum file_format format;
    char delimiter; /* of CSV */
    unsigned key_column, value_column; /* from 1 */
    uint64_t num, key_size, value_size, threads;
    const char *workloads;
    adb_durability durability;
    char **args; /* behind the verb */
    int arg_count;
};

struct verb {
    const char *name;
    const char *arguments; /* "KEY VALUE" */
    const char *summary;
    const char *help; /* more lines, with an example */
    int least_args, most_args;
    bool creates; /* may make a new database */
    bool own_open; /* opens by itself */
    int (*run)(struct cli *c, adb *db);
};
const struct verb *verb_find(const char *name);

int run_get(struct cli *c, adb *db);
int run_put(struct cli *c, adb *db);
int run_delete(struct cli *c, adb *db);
int run_scan(struct cli *c, adb *db);
int run_dump(struct cli *c, adb *db);
int run_load(struct cli *c, adb *db);
int run_stats(struct cli *c, adb *db);
int run_levels(struct cli *c, adb *db);
int run_verify(struct cli *c, adb *db);
int run_compact(struct cli *c, adb *db);
int run_bench(struct cli *c, adb *db);
int run_shell(struct cli *c, adb *db);

/* Prints "albertdb: what: message" for a failure of the library and returns
   its exit code. */
int fail_status(const char *what, adb_status status);
/* Prints "albertdb: ..." and returns EXIT_USAGE. */
int fail_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
adb *open_database(struct cli *c, bool create, int *exit_code);

/* ---- text.c: bytes as text and back ---- */

struct text {
    char *data; /* owned; not zero terminated unless text_end was called */
    size_t size, capacity;
};
void text_add(struct text *t, const void *data, size_t size);
void text_add_string(struct text *t, const char *s);
char *text_end(struct text *t); /* zero terminated */
void text_free(struct text *t);

/* For people: printable ASCII and UTF-8 as is, else \xNN, and \\. */
void text_add_escaped(struct text *t, adb_slice s);
void text_add_hex(struct text *t, adb_slice s);
/* A JSON string, or {"base64":"..."} when the bytes are not UTF-8. */
void text_add_json(struct text *t, adb_slice s);
/* As --hex, or escaped. */
void text_add_shown(struct text *t, const struct cli *c, adb_slice s);
bool is_utf8(const void *data, size_t size);

/* The inverses, appending to t; false: malformed. */
bool text_add_unescaped(struct text *t, const char *s, size_t size);
bool text_add_unhexed(struct text *t, const char *s, size_t size);
bool text_add_unbase64(struct text *t, const char *s, size_t size);

/* A key or value from the command line: escapes, or hex with --hex. Exits
   with a usage message in *why when malformed. */
bool argument_bytes(const struct cli *c, const char *argument,
                    struct text *out);

/* ---- progress.c ---- */

struct progress {
    const char *what;
    uint64_t total; /* bytes; 0: unknown */
    double began, shown;
    bool terminal;
};
double now_seconds(void);
void progress_begin(struct progress *p, const char *what, uint64_t total);
/* Redraws at most a few times a second, on a terminal only. */
void progress_show(struct progress *p, uint64_t done, uint64_t pairs);
void progress_end(struct progress *p);

#endif
