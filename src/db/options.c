#include "db/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum option_type { SIZE, DURATION, BOOL, CHOICE, INT };

struct option {
    const char *name;
    enum option_type type;
    const char *default_value;
    const char *range;
    const char *description;
    size_t field;       /* offset in struct db_options */
    uint64_t low, high; /* sizes, durations, numbers */
    const char *const *choices; /* CHOICE: names by number, NULL ends */
    bool zero_is_auto;
};

/* Index is the number stored; "" is a number without a name. */
static const char *const durabilities[] = {"", "none", "process", "sync",
                                           NULL};
static const char *const wal_accesses[] = {"auto", "map", "write", NULL};
static const char *const compressions[] = {"none", "lz4", "zstd", NULL};
static const char *const table_accesses[] = {"cache", "map", NULL};
static const char *const compactions[] = {"lazy", "leveled", "tiered", NULL};

#define KIB          UINT64_C(1024)
#define MIB          (1024 * KIB)
#define GIB          (1024 * MIB)
#define TIB          (1024 * GIB)
#define MILLISECONDS UINT64_C(1000000)
#define FIELD(name)  offsetof(struct db_options, name)

static const struct option options[] = {
    {"memory_budget", SIZE, "256M", "1M..1T",
     "memory for memtables, block cache, filters and indexes together",
     FIELD(memory_budget), MIB, TIB, NULL, false},
    {"memtable_size", SIZE, "0", "0 (an eighth of the budget) or 32K..8G",
     "memory of one memtable; a full one is flushed to a table",
     FIELD(memtable_size), 32 * KIB, 8 * GIB, NULL, true},
    {"max_memtables", INT, "4", "2..16",
     "memtables in memory at most, the writable one included",
     FIELD(max_memtables), 2, 16, NULL, false},
    {"durability", CHOICE, "sync", "sync|process|none",
     "what a write has reached when it returns: the disk, the operating "
     "system, or memory",
     FIELD(durability), 0, 0, durabilities, false},
    {"sync_interval", DURATION, "1s", "1ms..3600s",
     "with durability=process, how often the log goes to the disk",
     FIELD(sync_interval), MILLISECONDS, 3600000 * MILLISECONDS, NULL, false},
    {"wal_access", CHOICE, "auto", "auto|map|write",
     "how log records are written: through a mapping or with write calls",
     FIELD(wal_access), 0, 0, wal_accesses, false},
    {"wal_segment_min", SIZE, "1M", "64K..1G",
     "size of the first log segment; when one is filled they grow",
     FIELD(wal_segment_min), 64 * KIB, GIB, NULL, false},
    {"wal_segment_max", SIZE, "64M", "64K..1G",
     "size up to which log segments grow", FIELD(wal_segment_max), 64 * KIB,
     GIB, NULL, false},
    {"compression", CHOICE, "lz4", "none|lz4|zstd",
     "how blocks of new tables are packed", FIELD(compression), 0, 0,
     compressions, false},
    {"compression_level", INT, "0", "0..19",
     "zstd level; 0 is zstd's own default", FIELD(compression_level), 0, 19,
     NULL, false},
    {"block_size", SIZE, "4K", "1K..64K",
     "aim for what a data block takes in the cache; new tables only",
     FIELD(block_size), KIB, 64 * KIB, NULL, false},
    {"filter_bits", INT, "10", "0..32",
     "Bloom filter bits per key of new tables; 0 is no filter",
     FIELD(filter_bits), 0, 32, NULL, false},
    {"table_access", CHOICE, "cache", "cache|map",
     "tables through the verified block cache, or mapped (see the README "
     "for what that gives up)",
     FIELD(table_access), 0, 0, table_accesses, false},
    {"table_size", SIZE, "0", "0 (from the memtable size) or 64K..4G",
     "aim for the size of one table file written by compaction",
     FIELD(table_size), 64 * KIB, 4 * GIB, NULL, true},
    {"compaction", CHOICE, "lazy", "lazy|leveled|tiered",
     "the shape compaction keeps the tables in", FIELD(compaction), 0, 0,
     compactions, false},
    {"idle_compaction", BOOL, "true", "true|false",
     "tidy toward a single sorted run when nothing is written, or when reads "
     "have paid for it",
     FIELD(idle_compaction), 0, 1, NULL, false},
    {"background_threads", INT, "2", "2..64",
     "threads for flushing and compaction; one is kept for flushing",
     FIELD(background_threads), 2, 64, NULL, false},
    {"max_open_files", INT, "0", "0 (from the process limit) or 8..1048576",
     "table files open at a time", FIELD(max_open_files), 8, 1048576, NULL,
     true},
    {"create_if_missing", BOOL, "true", "true|false",
     "make a new database where there is none", FIELD(create_if_missing), 0,
     1, NULL, false},
    {"error_if_exists", BOOL, "false", "true|false",
     "fail where a database exists already", FIELD(error_if_exists), 0, 1,
     NULL, false},
};
enum { OPTION_COUNT = sizeof options / sizeof options[0] };

static uint64_t *field_of(struct db_options *o, const struct option *option)
{
    return (uint64_t *)(void *)((char *)o + option->field);
}

static const struct option *find(const char *name)
{
    for (size_t i = 0; name && i < OPTION_COUNT; i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

static adb_status unknown(const char *name)
{
    return status_set(ADB_INVALID,
                      "unknown option '%s'; `albertdb --help options` lists "
                      "them all",
                      name ? name : "(null)");
}

static adb_status refuse(const struct option *option, const char *value)
{
    return status_set(ADB_INVALID, "option %s cannot be '%s': allowed is %s",
                      option->name, value, option->range);
}

struct suffix {
    const char *text;
    uint64_t factor;
};
static const struct suffix size_suffixes[] = {
    {"", 1},     {"K", KIB}, {"M", MIB}, {"G", GIB},
    {"T", TIB},  {"k", KIB}, {"m", MIB}, {"g", GIB},
    {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}, {NULL, 0}};
static const struct suffix duration_suffixes[] = {
    {"ms", MILLISECONDS}, {"s", 1000 * MILLISECONDS},
    {"m", 60000 * MILLISECONDS}, {NULL, 0}};
static const struct suffix no_suffixes[] = {{"", 1}, {NULL, 0}};

static bool parse_number(const char *value, const struct suffix *suffixes,
                         uint64_t *out)
{
    if (value[0] < '0' || value[0] > '9')
        return false;
    char *end;
    uint64_t number = strtoull(value, &end, 10);
    for (const struct suffix *s = suffixes; s->text; s++)
        if (strcmp(end, s->text) == 0 && number <= UINT64_MAX / s->factor) {
            *out = number * s->factor;
            return true;
        }
    return false;
}

static bool parse_choice(const char *value, const char *const *choices,
                         uint64_t *out)
{
    for (uint64_t i = 0; choices[i]; i++)
        if (choices[i][0] && strcmp(value, choices[i]) == 0) {
            *out = i;
            return true;
        }
    return false;
}

static bool parse_bool(const char *value, uint64_t *out)
{
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    bool no = strcmp(value, "false") == 0 || strcmp(value, "0") == 0;
    *out = yes;
    return yes || no;
}

static bool parse(const struct option *option, const char *value,
                  uint64_t *out)
{
    switch (option->type) {
    case BOOL:
        return parse_bool(value, out);
    case CHOICE:
        return parse_choice(value, option->choices, out);
    case SIZE:
    case DURATION:
    case INT:
        break;
    }
    const struct suffix *suffixes = option->type == SIZE ? size_suffixes
                                    : option->type == DURATION
                                        ? duration_suffixes
                                        : no_suffixes;
    if (!parse_number(value, suffixes, out))
        return false;
    if (option->zero_is_auto && *out == 0)
        return true;
    return *out >= option->low && *out <= option->high;
}

adb_status db_options_set(struct adb_options *o, const char *name,
                          const char *value)
{
    const struct option *option = find(name);
    if (!option)
        return unknown(name);
    uint64_t parsed;
    if (!value || !parse(option, value, &parsed))
        return refuse(option, value ? value : "(null)");
    *field_of(&o->values, option) = parsed;
    return ADB_OK;
}

static int print_size(uint64_t v, char *buffer, size_t size)
{
    if (v && v % GIB == 0)
        return snprintf(buffer, size, "%" PRIu64 "G", v / GIB);
    if (v && v % MIB == 0)
        return snprintf(buffer, size, "%" PRIu64 "M", v / MIB);
    if (v && v % KIB == 0)
        return snprintf(buffer, size, "%" PRIu64 "K", v / KIB);
    return snprintf(buffer, size, "%" PRIu64, v);
}

adb_status db_options_get(const struct adb_options *o, const char *name,
                          char *buffer, size_t size)
{
    const struct option *option = find(name);
    if (!option)
        return unknown(name);
    uint64_t v = *field_of((struct db_options *)(uintptr_t)&o->values, option);
    int length = 0;
    switch (option->type) {
    case BOOL:
        length = snprintf(buffer, size, "%s", v ? "true" : "false");
        break;
    case CHOICE:
        length = snprintf(buffer, size, "%s", option->choices[v]);
        break;
    case SIZE:
        length = print_size(v, buffer, size);
        break;
    case DURATION:
        length = snprintf(buffer, size, "%" PRIu64 "ms", v / MILLISECONDS);
        break;
    case INT:
        length = snprintf(buffer, size, "%" PRIu64, v);
        break;
    }
    if (length < 0 || (size_t)length >= size)
        return status_set(ADB_INVALID, "option %s needs a buffer of %d bytes",
                          name, length + 1);
    return ADB_OK;
}

adb_status db_options_describe(size_t index, adb_option_info *out)
{
    static const char *const types[] = {
        [SIZE] = "size",     [DURATION] = "duration", [BOOL] = "bool",
        [CHOICE] = "choice", [INT] = "int",
    };
    if (index >= OPTION_COUNT)
        return ADB_NOT_FOUND;
    const struct option *option = &options[index];
    *out = (adb_option_info){
        .name = option->name,
        .type = types[option->type],
        .default_value = option->default_value,
        .range = option->range,
        .description = option->description,
    };
    return ADB_OK;
}

void db_options_init(struct adb_options *o)
{
    *o = (struct adb_options){0};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        uint64_t v = 0;
        parse(&options[i], options[i].default_value, &v);
        *field_of(&o->values, &options[i]) = v;
    }
}

adb_status db_options_resolve(struct db_options *o)
{
    if (o->memtable_size == 0) {
        uint64_t share = o->memory_budget / 8;
        o->memtable_size = MAX_OF(MIN_OF(share, 64 * MIB), 128 * KIB);
    }
    if (o->table_size == 0)
        o->table_size = MAX_OF(o->memtable_size, 64 * KIB);
    if (o->wal_segment_max < o->wal_segment_min)
        return status_set(ADB_INVALID,
                          "option wal_segment_max is below wal_segment_min; "
                          "raise the one or lower the other");
    return ADB_OK;
}
