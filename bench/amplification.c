/*
 * What uniform updates cost beside themselves: table bytes written for each of
 * the user's, idle merges included; bytes of tables for each that is live;
 * memory against the budget.
 *
 *   amplification DIR [keys] [updates] [options]
 *
 * DIR is made, and must not hold a database. Keys have 16 bytes, values 100,
 * half of them compressible; nothing is compressed. Without numbers 20 million
 * keys and 60 million updates, which take some minutes and 6 GB of disk. Every
 * second a line, while updates run; at the end, when background work has been
 * idle for a while, the sums. Exit code 1 when they are above what is promised:
 * 4.5 bytes written to one, 1.6 bytes of tables to one live, memory within the
 * budget.
 */
#include <albertdb/albertdb.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY = 16, VALUE = 100, ENTRY = KEY + VALUE };

struct sample {
    double table_bytes, written, logged, user, memory, held;
};

static void check(adb_status status)
{
    if (status == ADB_OK)
        return;
    fprintf(stderr, "%s\n", adb_error_message());
    exit(2);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The number behind "name": after `section`. */
static double number(const char *json, const char *section, const char *name)
{
    char quoted[64];
    const char *at = strstr(json, section);
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    at = at ? strstr(at, quoted) : NULL;
    if (!at) {
        fprintf(stderr, "the statistics have no %s\n", name);
        exit(2);
    }
    return strtod(at + strlen(quoted), NULL);
}

/* Anonymous memory of the process, in bytes. */
static double anonymous(void)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "RssAnon: %lf", &kib);
    if (f)
        fclose(f);
    return kib * 1024;
}

static struct sample look(adb *db)
{
    char *json;
    check(adb_stats(db, &json));
    struct sample s = {
        .table_bytes = number(json, "\"tables\":{\"count\"", "bytes"),
        .written = number(json, "\"background\"", "flush_bytes") +
                   number(json, "\"background\"", "compaction_bytes_out"),
        .logged = number(json, "\"log\"", "appended_bytes"),
        .user = number(json, "\"writes\"", "bytes"),
        .memory = number(json, "\"memory\"", "total"),
        .held = anonymous(),
    };
    adb_free(json);
    return s;
}

static void put(adb *db, uint64_t i, uint64_t *random)
{
    char key[KEY + 1];
    uint64_t value[(VALUE + 7) / 8] = {0};
    snprintf(key, sizeof key, "%016" PRIu64, i % 10000000000000000);
    for (int w = 0; w < VALUE / 16 + 1; w++) {
        *random = *random * 6364136223846793005u + 1442695040888963407u;
        value[w] = *random;
    }
    check(adb_put(db, NULL, key, KEY, value, VALUE));
}

/* Until no byte has been written to tables for longer than it takes idle merges
   to begin. */
static void settle(adb *db)
{
    enum { QUIET = 15 };
    double before = -1;
    for (int quiet = 0; quiet < QUIET; quiet++) {
        double now = look(db).written;
        if (now != before)
            quiet = 0;
        before = now;
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
}

/* "name=value name=value" */
static void set_options(adb_options *o, const char *words)
{
    char *copy = strdup(words), *rest;
    for (char *word = strtok_r(copy, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        if (!value) {
            fprintf(stderr, "%s: options are name=value\n", word);
            exit(2);
        }
        *value = '\0';
        check(adb_options_set(o, word, value + 1));
    }
    free(copy);
}

static adb *open_at(const char *path, const char *more)
{
    adb *db;
    adb_options *o = adb_options_new();
    if (!o)
        exit(2);
    set_options(o, "memory_budget=512M memtable_size=64M compression=none "
                   "durability=process "
                   "error_if_exists=true");
    set_options(o, more);
    check(adb_open(path, o, &db));
    adb_options_free(o);
    return db;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr,
                "usage: amplification DIR [keys] [updates] [options]\n");
        return 2;
    }
    uint64_t keys = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000000;
    uint64_t updates = argc > 3 ? strtoull(argv[3], NULL, 10) : 60000000;
    adb *db = open_at(argv[1], argc > 4 ? argv[4] : "");
    double live = (double)keys * ENTRY, budget = 512.0 * (1 << 20);
    uint64_t random = 1;

    double began = seconds();
    /* A large prime as the stride meets every key. */
    for (uint64_t i = 0; i < keys; i++)
        put(db, i * 15485863 % keys, &random);
    settle(db);
    struct sample first = look(db);
    printf("loaded in %.0f s, %.0f MB of tables\n", seconds() - began,
           first.table_bytes / 1e6);
    printf("%8s %10s %8s %8s %8s %8s\n", "seconds", "updates", "written",
           "space", "ledger", "held MB");

    double sum = 0, peak = 0, most = 0, next = 0, samples = 0;
    began = seconds();
    for (uint64_t i = 0; i < updates; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        put(db, (random >> 20) % keys, &random);
        if (i % 4096 || seconds() - began < next)
            continue;
        struct sample s = look(db);
        double space = s.table_bytes / live;
        next += 1;
        samples++;
        sum += space;
        peak = space > peak ? space : peak;
        most = s.memory > most ? s.memory : most;
        printf("%8.0f %10" PRIu64 " %8.2f %8.3f %8.0f %8.0f\n",
               seconds() - began, i,
               (s.written - first.written) /
                   (s.user > first.user ? s.user - first.user : 1),
               space, s.memory / 1e6, s.held / 1e6);
        fflush(stdout);
    }
    double took = seconds() - began;
    settle(db);
    struct sample s = look(db);
    double user = s.user - first.user;
    double written = (s.written - first.written) / user;
    double average = sum / samples;
    printf("%" PRIu64 " updates in %.0f s, %.0f a second\n", updates, took,
           (double)updates / took);
    printf("tables written: %.2f bytes for each of the user's\n", written);
    printf("log written:    %.2f\n", (s.logged - first.logged) / user);
    printf("space:          %.3f on average, %.3f at most, %.3f at the end\n",
           average, peak, s.table_bytes / live);
    printf("memory:         %.0f MB by the ledger at most, of %.0f\n",
           most / 1e6, budget / 1e6);
    check(adb_close(db));
    return written > 4.5 || peak > 1.6 || most > budget * 1.05;
}
