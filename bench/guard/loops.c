/*
 * loops DIRECTORY base        makes the database that the reading rows use
 * loops DIRECTORY ROW COUNT   does COUNT operations of a row in counted()
 *
 * The loops whose instructions guard.py counts, under valgrind. They are bare
 * (keys and values are made before), and what they run on is the same at each
 * run: the shape of the tree is made by explicit flushes and one compaction,
 * one log segment takes all writes, and no memtable fills up.
 */
#include "albertdb/albertdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEYS = 50000,
    UPDATES = 2500, /* in each of the two runs above the bottom */
    KEY_SIZE = 16,
    VALUE_SIZE = 100,
    STEPS = 10,
};

struct loop {
    adb *db;
    unsigned count;
    char *keys; /* owned; count times KEY_SIZE */
    char value[VALUE_SIZE];
};

static void check(adb_status status, const char *what)
{
    if (status == ADB_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, adb_error_message());
    exit(1);
}

/* A permutation of [0, KEYS): both numbers have no common divisor. */
static unsigned scattered(unsigned i)
{
    return (unsigned)((uint64_t)i * 30011 % KEYS);
}

static void make_key(char *key, unsigned number)
{
    char text[KEY_SIZE + 1];
    snprintf(text, sizeof text, "%0*u", KEY_SIZE, number);
    memcpy(key, text, KEY_SIZE);
}

static adb *open_database(const char *path)
{
    static const char *const settings[][2] = {
        {"durability", "process"},   {"memory_budget", "256M"},
        {"memtable_size", "32M"},    {"wal_segment_min", "32M"},
        {"compression", "none"},     {"idle_compaction", "false"},
        {"background_threads", "2"},
    };
    adb *db;
    adb_options *options = adb_options_new();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        check(adb_options_set(options, settings[i][0], settings[i][1]),
              settings[i][0]);
    check(adb_open(path, options, &db), "adb_open");
    adb_options_free(options);
    return db;
}

static void put(struct loop *l, unsigned number)
{
    char key[KEY_SIZE];
    make_key(key, number);
    memset(l->value, 'a' + number % 26, sizeof l->value);
    check(adb_put(l->db, NULL, key, sizeof key, l->value, sizeof l->value),
          "adb_put");
}

/* All keys in one run, and two small runs of newer versions above it. Keys are
   even, so that odd ones are missing. */
static void make_base(struct loop *l)
{
    for (unsigned i = 0; i < KEYS; i++)
        put(l, 2 * scattered(i));
    check(adb_flush(l->db), "adb_flush");
    check(adb_compact(l->db, (adb_slice){NULL, 0}, (adb_slice){NULL, 0}),
          "adb_compact");
    for (unsigned run = 0; run < 2; run++) {
        for (unsigned i = 0; i < UPDATES; i++)
            put(l, 2 * scattered(run * UPDATES + i));
        check(adb_flush(l->db), "adb_flush");
    }
    check(adb_wait_idle(l->db, 0), "adb_wait_idle");
}

/* ---- the rows ---------------------------------------------------------- */

static void puts_(struct loop *l)
{
    for (unsigned i = 0; i < l->count; i++)
        check(adb_put(l->db, NULL, l->keys + (size_t)i * KEY_SIZE, KEY_SIZE,
                      l->value, sizeof l->value),
              "adb_put");
}

static void gets(struct loop *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        adb_value value;
        check(adb_get(l->db, NULL, l->keys + (size_t)i * KEY_SIZE, KEY_SIZE,
                      &value),
              "adb_get");
        adb_value_release(&value);
    }
}

static void misses(struct loop *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        adb_value value;
        if (adb_get(l->db, NULL, l->keys + (size_t)i * KEY_SIZE, KEY_SIZE,
                    &value) != ADB_NOT_FOUND)
            check(ADB_CORRUPTION, "a key that was never written");
    }
}

static adb_iter *open_iterator(struct loop *l)
{
    adb_iter *iter;
    check(adb_iter_new(l->db, NULL, &iter), "adb_iter_new");
    return iter;
}

static void scan(struct loop *l)
{
    adb_iter *iter = open_iterator(l);
    unsigned steps = 0;
    for (int more = adb_iter_seek_first(iter); more && steps < l->count;
         more = adb_iter_next(iter)) {
        l->value[0] ^= *(const char *)adb_iter_key(iter).data;
        l->value[1] ^= *(const char *)adb_iter_value(iter).data;
        steps++;
    }
    check(adb_iter_status(iter), "adb_iter_next");
    adb_iter_free(iter);
}

static void scan_back(struct loop *l)
{
    adb_iter *iter = open_iterator(l);
    unsigned steps = 0;
    for (int more = adb_iter_seek_last(iter); more && steps < l->count;
         more = adb_iter_prev(iter)) {
        l->value[0] ^= *(const char *)adb_iter_key(iter).data;
        l->value[1] ^= *(const char *)adb_iter_value(iter).data;
        steps++;
    }
    check(adb_iter_status(iter), "adb_iter_prev");
    adb_iter_free(iter);
}

static void seeks(struct loop *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        adb_iter *iter = open_iterator(l);
        int more =
            adb_iter_seek(iter, l->keys + (size_t)i * KEY_SIZE, KEY_SIZE);
        for (unsigned step = 0; more && step < STEPS; step++) {
            l->value[0] ^= *(const char *)adb_iter_value(iter).data;
            more = adb_iter_next(iter);
        }
        adb_iter_free(iter);
    }
}

/* Not inlined, and not static: guard.py names it to valgrind. */
__attribute__((noinline)) void counted(void (*row)(struct loop *),
                                       struct loop *l);
__attribute__((noinline)) void counted(void (*row)(struct loop *),
                                       struct loop *l)
{
    row(l);
}

struct row {
    const char *name;
    void (*function)(struct loop *);
    unsigned (*number)(unsigned i); /* of the i-th key */
    void (*before)(struct loop *);  /* not counted; may be NULL */
};

static unsigned ascending(unsigned i)
{
    return i;
}

/* Every tenth, so that few of them are in the runs above the bottom. */
static unsigned existing(unsigned i)
{
    return 2 * scattered(10 * i % KEYS);
}

static unsigned missing(unsigned i)
{
    return existing(i) + 1;
}

/* Afterwards all blocks, filters and indexes are in the cache. */
static void warm_up(struct loop *l)
{
    struct loop all = *l;
    all.count = KEYS;
    scan(&all);
    misses(l);
}

static void warm_up_existing(struct loop *l)
{
    struct loop all = *l;
    all.count = KEYS;
    scan(&all);
    gets(l);
}

static const struct row rows[] = {
    {"fillseq", puts_, ascending, NULL},
    {"fillrandom", puts_, scattered, NULL},
    {"overwrite", puts_, scattered, puts_},
    {"readrandom", gets, existing, warm_up_existing},
    {"readmissing", misses, missing, warm_up},
    {"readseq", scan, existing, warm_up_existing},
    {"readreverse", scan_back, existing, warm_up_existing},
    {"seekrandom", seeks, existing, warm_up_existing},
};

static void run_row(struct loop *l, const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        l->keys = malloc((size_t)l->count * KEY_SIZE);
        if (!l->keys)
            check(ADB_NO_MEMORY, "keys");
        for (unsigned k = 0; k < l->count; k++)
            make_key(l->keys + (size_t)k * KEY_SIZE, rows[i].number(k));
        if (rows[i].before)
            rows[i].before(l);
        counted(rows[i].function, l);
        free(l->keys);
        return;
    }
    fprintf(stderr, "no row %s\n", name);
    exit(2);
}

int main(int count, char **words)
{
    if (count < 3) {
        fprintf(stderr, "loops DIRECTORY base|ROW [COUNT]\n");
        return 2;
    }
    struct loop l = {.db = open_database(words[1])};
    memset(l.value, 'v', sizeof l.value);
    if (strcmp(words[2], "base") == 0) {
        make_base(&l);
    } else {
        l.count = count > 3 ? (unsigned)strtoul(words[3], NULL, 10) : 1000;
        if (l.count > KEYS)
            l.count = KEYS;
        run_row(&l, words[2]);
    }
    check(adb_close(l.db), "adb_close");
    return 0;
}
