/*
 * bench_ENGINE name=value...: one workload against one engine, in a process of
 * its own; the result is one line of JSON. compare.py calls it.
 *
 *   dir=PATH workload=NAME     where, what; fills start from nothing, all
 *                              other workloads from a filled database
 *   keys=N value_size=BYTES    what the database holds
 *   operations=N seconds=S     when to end, whichever is first
 *   threads=N batch=N steps=N write_rate=N
 *   cache=BYTES memtable=BYTES filter_bits=N background_threads=N
 *   sync=0|1 compression=none|lz4
 *   series=SECONDS             also what happens over time, at this interval
 *   limited=0|1                the database is larger than memory, page cache
 *                              included
 *   drop_pages=0|1             nothing of it is in the page cache at first
 *   verify=0|1                 look at all of the database before (reads: that
 *                              also warms up) or after (writes)
 *   outside=FILE               a control group's cgroup.procs: what comes after
 *                              the timing is done there, and nothing looked at
 *                              before
 *
 * Two workloads are not loops: `die` fills and then kills itself with what it
 * wrote still in the log; `open` times the opening of what is there, and a get.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "series.h"
#include "usage.h"
#include "verify.h"

struct settings {
    const char *dir, *workload, *outside;
    struct engine_config engine;
    uint64_t keys, value_size, operations, threads, batch, steps, write_rate;
    uint64_t filter_bits, background_threads, sync, verify, drop_pages,
        limited;
    double seconds, series;
};

void fatal(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s: ", engine_name);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

void tell(struct engine_config *config, const char *format, ...)
{
    va_list list;
    size_t used = strlen(config->told);
    va_start(list, format);
    vsnprintf(config->told + used, sizeof config->told - used, format, list);
    va_end(list);
}

void *need(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory)
        fatal("no memory for %zu bytes", bytes);
    return memory;
}

static double cpu_seconds(void)
{
    struct usage usage = usage_now();
    return usage.user_seconds + usage.system_seconds;
}

void wait_for_quiet(unsigned milliseconds)
{
    double last = cpu_seconds(), quiet = 0;
    while (quiet * 1000 < milliseconds) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        double now = cpu_seconds();
        quiet = now - last < 0.001 ? quiet + 0.01 : 0;
        last = now;
    }
}

/* ---- settings ---------------------------------------------------------- */

static bool set_text(struct settings *s, const char *name, const char *value)
{
    if (strcmp(name, "dir") == 0)
        s->dir = s->engine.dir = value;
    else if (strcmp(name, "workload") == 0)
        s->workload = value;
    else if (strcmp(name, "outside") == 0)
        s->outside = value;
    else if (strcmp(name, "compression") == 0)
        s->engine.compression = value;
    else
        return false;
    return true;
}

static bool set_number(struct settings *s, const char *name, const char *value)
{
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {
        {"keys", &s->keys},
        {"value_size", &s->value_size},
        {"operations", &s->operations},
        {"threads", &s->threads},
        {"batch", &s->batch},
        {"steps", &s->steps},
        {"write_rate", &s->write_rate},
        {"cache", &s->engine.cache_bytes},
        {"memtable", &s->engine.memtable_bytes},
        {"filter_bits", &s->filter_bits},
        {"background_threads", &s->background_threads},
        {"sync", &s->sync},
        {"verify", &s->verify},
        {"drop_pages", &s->drop_pages},
        {"limited", &s->limited},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        char *end;
        *numbers[i].to = strtoull(value, &end, 10);
        return *value && !*end;
    }
    return false;
}

static void set(struct settings *s, char *word)
{
    char *value = strchr(word, '=');
    if (!value)
        fatal("%s: name=value is expected", word);
    *value++ = 0;
    if (strcmp(word, "seconds") == 0)
        s->seconds = strtod(value, NULL);
    else if (strcmp(word, "series") == 0)
        s->series = strtod(value, NULL);
    else if (!set_text(s, word, value) && !set_number(s, word, value))
        fatal("%s=%s is not understood", word, value);
}

static void check_settings(struct settings *s)
{
    if (!s->dir || !s->workload)
        fatal("dir= and workload= are needed");
    if (s->keys < 1 || s->keys > UINT32_MAX / 4)
        fatal("keys=1..%u", UINT32_MAX / 4);
    if (s->threads < 1 || s->threads > WORKERS_MAX)
        fatal("threads=1..%d", WORKERS_MAX);
    if (s->batch < 1 || s->batch > BATCH_MAX)
        fatal("batch=1..%d", BATCH_MAX);
    if (s->series > 0 && s->threads > 1)
        fatal("series= is for one thread");
    s->engine.data_bytes = s->keys * (KEY_SIZE + s->value_size);
    s->engine.filter_bits = (unsigned)s->filter_bits;
    s->engine.background_threads = (unsigned)s->background_threads;
    s->engine.sync = s->sync;
    s->engine.limited = s->limited;
}

/* ---- the result -------------------------------------------------------- */

static void print_text(const char *name, const char *text)
{
    printf("\"%s\":\"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    printf("\",");
}

static void print_latency(const struct histogram *h)
{
    static const struct {
        const char *name;
        double part;
    } points[] = {{"p50", .5}, {"p95", .95}, {"p99", .99}, {"p99.9", .999}};
    printf("\"latency_ns\":{");
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        printf("\"%s\":%" PRIu64 ",", points[i].name,
               histogram_at(h, points[i].part));
    printf("\"max\":%" PRIu64 "},", h->max);
}

static void print_usage(const char *name, const struct usage *u)
{
    printf("\"%s\":{\"user_seconds\":%.4f,\"system_seconds\":%.4f,"
           "\"written_bytes\":%" PRIu64 ",\"read_bytes\":%" PRIu64 "},",
           name, u->user_seconds, u->system_seconds, u->written_bytes,
           u->read_bytes);
}

/* ---- the loops --------------------------------------------------------- */

struct measured {
    struct usage running, settled;
    double settle_seconds;
    uint64_t peak_bytes, anonymous_bytes, disk_bytes;
};

static void measure(struct run *run, const char *dir, struct measured *m)
{
    usage_reset_peak();
    struct usage before = usage_now();
    run_workload(run);
    m->running = usage_since(&before);
    uint64_t ended = now_ns();
    if (run->puts + run->deletes > 0)
        engine_settle(run->engine);
    m->settle_seconds = (double)(now_ns() - ended) * 1e-9;
    m->settled = usage_since(&before);
    m->peak_bytes = usage_peak_bytes();
    m->anonymous_bytes = usage_anonymous_bytes();
    m->disk_bytes = usage_disk_bytes(dir);
}

/* Looking at everything would take an engine hours in a group whose memory its
   data does not fit in. */
static void leave_group(const struct settings *s)
{
    if (!s->outside)
        return;
    FILE *f = fopen(s->outside, "w");
    if (!f || fprintf(f, "%d\n", getpid()) < 0 || fflush(f) != 0)
        fatal("%s: %s", s->outside, strerror(errno));
    fclose(f);
}

static void print_run(const struct settings *s, const struct run *run,
                      const struct measured *m)
{
    printf("{\"engine\":\"%s\",", engine_name);
    print_text("workload", s->workload);
    print_text("told", s->engine.told);
    printf("\"keys\":%" PRIu64 ",\"value_size\":%" PRIu64 ",\"threads\":%u,"
           "\"operations\":%" PRIu64 ",\"seconds\":%.6f,"
           "\"settle_seconds\":%.6f,\"puts\":%" PRIu64 ",\"deletes\":%" PRIu64
           ",\"background_writes\":%" PRIu64 ",",
           s->keys, s->value_size, run->threads, run->done, run->took,
           m->settle_seconds, run->puts, run->deletes, run->writes_done);
    print_latency(&run->latency);
    printf("\"awake_max_ns\":%" PRIu64 ",", run->awake_max_ns);
    print_usage("running", &m->running);
    print_usage("settled", &m->settled);
    if (run->series) {
        printf("\"series\":");
        series_print(run->series, stdout);
        putchar(',');
    }
    printf("\"user_bytes\":%" PRIu64 ",\"peak_bytes\":%" PRIu64
           ",\"anonymous_bytes\":%" PRIu64 ",\"disk_bytes\":%" PRIu64 "}\n",
           run->puts * (KEY_SIZE + s->value_size) + run->deletes * KEY_SIZE,
           m->peak_bytes, m->anonymous_bytes, m->disk_bytes);
}

static bool needs_zipf(const struct workload *w)
{
    return w->pick == PICK_ZIPF || w->pick == PICK_LATEST;
}

static void run_loop(struct settings *s, const struct workload *workload,
                     const struct values *values)
{
    struct zipf zipf = {0};
    struct series series;
    bool filled = !workload_fills(workload);
    if (needs_zipf(workload))
        zipf_init(&zipf, s->keys, 0.99);
    if (s->drop_pages)
        usage_drop_pages(s->dir);
    struct run *run = need(sizeof *run);
    *run = (struct run){.engine = engine_open(&s->engine),
                        .workload = workload,
                        .values = values,
                        .zipf = &zipf,
                        .keys = s->keys,
                        .operations = s->operations,
                        .seconds = s->seconds,
                        .threads = (unsigned)s->threads,
                        .steps = (unsigned)s->steps,
                        .batch = (unsigned)s->batch,
                        .write_rate = s->write_rate};
    struct measured m;
    if (filled) {
        engine_settle(run->engine);
        if (s->verify && !s->outside)
            verify_filled(run->engine, values, s->keys);
    }
    if (s->series > 0) {
        series_init(&series, run->engine, s->series, s->seconds);
        run->series = &series;
    }
    measure(run, s->dir, &m);
    leave_group(s);
    if (s->verify && run->puts + run->deletes > 0)
        verify_run(run, filled);
    print_run(s, run, &m);
    if (s->series > 0)
        series_deinit(&series);
    engine_close(run->engine);
    free(run);
}

/* ---- what is not a loop ------------------------------------------------ */

static void fill_and_die(struct settings *s, const struct values *values)
{
    struct engine *engine = engine_open(&s->engine);
    struct session *session = session_open(engine);
    char key[KEY_SIZE], *value = need(values->size);
    for (uint64_t i = 0; i < s->keys; i++) {
        uint64_t number = 2 * permute(i, s->keys);
        session_put(session, key_make(key, number),
                    value_make(values, value, number, first_stamp(number)));
    }
    kill(getpid(), SIGKILL);
}

static void time_open(struct settings *s, const struct values *values)
{
    char key[KEY_SIZE];
    struct bytes value;
    if (s->drop_pages)
        usage_drop_pages(s->dir);
    usage_reset_peak();
    struct usage before = usage_now();
    uint64_t start = now_ns();
    struct engine *engine = engine_open(&s->engine);
    uint64_t opened = now_ns();
    struct session *session = session_open(engine);
    if (!session_get(session, key_make(key, s->keys / 2 * 2), &value))
        fatal("a key is missing after opening");
    value_check(values, value, s->keys / 2 * 2);
    session_release(session);
    uint64_t read = now_ns();
    session_close(session);
    struct usage usage = usage_since(&before);
    uint64_t peak = usage_peak_bytes();
    leave_group(s);
    if (s->verify)
        verify_filled(engine, values, s->keys);
    printf("{\"engine\":\"%s\",\"workload\":\"open\",", engine_name);
    print_text("told", s->engine.told);
    print_usage("running", &usage);
    printf("\"keys\":%" PRIu64 ",\"value_size\":%" PRIu64
           ",\"operations\":1,\"seconds\":%.6f,\"first_get_seconds\":%.6f,"
           "\"peak_bytes\":%" PRIu64 ",\"disk_bytes\":%" PRIu64 "}\n",
           s->keys, s->value_size, (double)(read - start) * 1e-9,
           (double)(read - opened) * 1e-9, peak, usage_disk_bytes(s->dir));
    engine_close(engine);
}

int main(int count, char **words)
{
    struct settings s = {
        .engine = {.compression = "none",
                   .cache_bytes = (uint64_t)1 << 30,
                   .memtable_bytes = (uint64_t)64 << 20},
        .keys = 500000,
        .value_size = 100,
        .operations = UINT64_MAX,
        .threads = 1,
        .batch = 100,
        .steps = 10,
        .filter_bits = 10,
        .background_threads = 2,
        .verify = 1,
        .seconds = 3600,
    };
    struct values values;
    for (int i = 1; i < count; i++)
        set(&s, words[i]);
    check_settings(&s);
    values_init(&values, s.value_size);
    const struct workload *workload = workload_find(s.workload);
    if (workload)
        run_loop(&s, workload, &values);
    else if (strcmp(s.workload, "die") == 0)
        fill_and_die(&s, &values);
    else if (strcmp(s.workload, "open") == 0)
        time_open(&s, &values);
    else
        fatal("no workload %s", s.workload);
    values_deinit(&values);
    return 0;
}
