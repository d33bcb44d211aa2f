/*
 * bench: the main loops, one after the other, with rates and latencies. A
 * rate is that of the calls; how long flushes and compaction went on after
 * them stands beside it.
 */
#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"
#include "workload.h"

static const char default_workloads[] =
    "fillseq,fillbatch,fillrandom,overwrite,readrandom,readmissing,readseq,"
    "readreverse,seekrandom,deleterandom";

/* One workload, run. */
struct result {
    const struct workload *what;
    double seconds, settled_seconds; /* of the calls; of what they left */
    uint64_t keys, found;
    struct histogram times;
};

struct bench {
    struct cli *c;
    struct dimensions sizes;
    uint64_t begun;         /* workloads */
    struct worker *workers; /* owned, one a thread */
    pthread_t *threads;     /* owned */
};

/* ---- what came out ----------------------------------------------------- */

static const struct {
    const char *name;
    double part;
} percentiles[] = {{"p50", .5}, {"p95", .95}, {"p99", .99}, {"p99.9", .999}};
enum { PERCENTILES = sizeof percentiles / sizeof percentiles[0] };

static void add_json(struct text *t, const struct result *r, double rate)
{
    text_print(t, "{\"workload\":\"%s\",\"operations\":%" PRIu64
               ",\"seconds\":%.6f,\"settled_seconds\":%.6f"
               ",\"ops_per_second\":%.0f,\"found\":%" PRIu64, r->what->name,
               r->keys, r->seconds, r->settled_seconds, rate, r->found);
    if (r->times.total) {
        text_print(t, ",\"timed\":%" PRIu64 ",\"us\":{", r->times.total);
        for (int i = 0; i < PERCENTILES; i++)
            text_print(t, "\"%s\":%.3f,", percentiles[i].name,
                       (double)histogram_at(&r->times, percentiles[i].part) /
                           1e3);
        text_print(t, "\"max\":%.3f}", (double)r->times.max / 1e3);
    }
    text_add_string(t, "}\n");
}

static void add_line(struct text *t, const struct result *r, double rate,
                     double bytes_per_second)
{
    struct text ops = {0};
    text_add_count(&ops, (uint64_t)rate);
    text_print(t, "%-12s %11s/s %7.1f MB/s", r->what->name, text_end(&ops),
               bytes_per_second / 1e6);
    text_free(&ops);
    for (int i = 0; r->times.total && i < PERCENTILES; i++) {
        text_print(t, "  %s ", percentiles[i].name);
        text_add_duration(
            t, (double)histogram_at(&r->times, percentiles[i].part));
    }
    if (r->times.total) {
        text_add_string(t, "  max ");
        text_add_duration(t, (double)r->times.max);
    }
    if (!r->what->writes)
        text_print(t, "  %" PRIu64 " found", r->found);
    else if (r->settled_seconds >= 0.1)
        text_print(t, "  settled in %.1f s", r->settled_seconds);
    text_add_string(t, "\n");
}

static int report(const struct bench *b, const struct result *r)
{
    struct text t = {0};
    double rate = (double)r->keys / r->seconds;
    if (b->c->json)
        add_json(&t, r, rate);
    else
        add_line(&t, r, rate,
                 rate * (double)(b->sizes.key_size + b->sizes.value_size));
    out_text(&t);
    text_free(&t);
    return finish_output("bench"); /* seen as they come */
}

/* ---- running a workload ------------------------------------------------ */

/* No two threads or workloads draw the same numbers: a read that followed a
   fill key by key would find them in the order of writing. */
static uint64_t seed_of(const struct bench *b, uint64_t index)
{
    uint64_t x = (b->begun << 32 | index) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 31) * UINT64_C(0xBF58476D1CE4E5B9);
    return (x ^ x >> 29) | 1;
}

static void init_worker(struct bench *b, uint64_t index,
                        const struct workload *what)
{
    uint64_t threads = b->c->threads, keys = b->sizes.keys;
    uint64_t first = keys / threads * index;
    uint64_t share = index + 1 == threads ? keys - first : keys / threads;
    uint64_t per_step = what->per_step;
    b->workers[index] = (struct worker){
        .db = b->c->db,
        .what = what,
        .sizes = &b->sizes,
        .first = first,
        .steps = (share + per_step - 1) / per_step,
        .random = seed_of(b, index),
    };
}

/* Waits for a thread to end, showing how far all are. */
static void wait_for(struct bench *b, pthread_t thread, struct progress *p)
{
    for (;;) {
        struct timespec until;
        uint64_t done = 0;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
            return;
        for (uint64_t i = 0; i < b->c->threads; i++)
            done += atomic_load_explicit(&b->workers[i].done,
                                         memory_order_relaxed);
        progress_show(p, done);
    }
}

/* All threads from start to end. */
static int run_workers(struct bench *b, const struct workload *what,
                       struct result *r)
{
    uint64_t threads = b->c->threads, started = 0, total = 0;
    struct progress progress;
    int code = EXIT_OK;
    for (uint64_t i = 0; i < threads && code == EXIT_OK; i++) {
        init_worker(b, i, what);
        adb_status status = worker_init(&b->workers[i], !b->c->no_latency);
        if (status != ADB_OK)
            code = fail_status("bench", status);
        total += what->step ? b->workers[i].steps : b->sizes.keys;
    }
    progress_begin(&progress, what->name, what->per_step > 1 ? "batches"
                                                             : "operations",
                   total);
    double began = now_seconds();
    while (started < threads && code == EXIT_OK) {
        int failed = pthread_create(&b->threads[started], NULL, worker_run,
                                    &b->workers[started]);
        if (failed) {
            fprintf(stderr, "albertdb: bench: cannot start a thread: %s\n",
                    strerror(failed));
            workers_stop();
            code = EXIT_FAILED;
        } else {
            started++;
        }
    }
    for (uint64_t i = 0; i < started; i++)
        wait_for(b, b->threads[i], &progress);
    r->seconds = now_seconds() - began;
    progress_end(&progress);
    return code;
}

/* What the threads found goes into the result; they are taken down. */
static int collect(struct bench *b, struct result *r)
{
    int code = EXIT_OK;
    for (uint64_t i = 0; i < b->c->threads; i++) {
        struct worker *w = &b->workers[i];
        r->keys += w->keys;
        r->found += w->found;
        if (w->times)
            histogram_merge(&r->times, w->times);
        if (w->status != ADB_OK && code == EXIT_OK) {
            fprintf(stderr, "albertdb: bench: %s: %s\n", r->what->name,
                    w->error);
            code = exit_code_of(w->status);
        }
        worker_deinit(w);
    }
    return code;
}

static int run_workload(struct bench *b, const struct workload *what)
{
    struct result *r = calloc(1, sizeof *r);
    if (!r)
        return fail_errno("bench");
    r->what = what;
    b->begun++;
    memset(b->workers, 0, b->c->threads * sizeof *b->workers);
    int code = run_workers(b, what, r);
    int collected = collect(b, r);
    code = code == EXIT_OK ? collected : code;
    if (code == EXIT_OK && what->writes && !workers_stopped()) {
        double began = now_seconds();
        adb_status status = adb_wait_idle(b->c->db, 0);
        r->settled_seconds = now_seconds() - began;
        if (status != ADB_OK)
            code = fail_status("bench", status);
    }
    if (code == EXIT_OK && !workers_stopped())
        code = report(b, r);
    free(r);
    return code;
}

/* ---- the database ------------------------------------------------------ */

static int close_database(struct cli *c)
{
    adb *db = c->db;
    c->db = NULL;
    adb_status status = db ? adb_close(db) : ADB_OK;
    return status == ADB_OK ? EXIT_OK : fail_status("bench", status);
}

static int remove_database(struct cli *c)
{
    int code = close_database(c);
    adb_status status = adb_destroy(c->db_path);
    if (status == ADB_OK || status == ADB_NOT_A_DATABASE || code != EXIT_OK)
        return code;
    return fail_status("bench", status);
}

/* The workload's database: as it is, or an empty one. */
static int prepare(struct cli *c, const struct workload *what)
{
    int code = EXIT_OK;
    if (what->fills && c->db && !c->use_existing)
        code = remove_database(c);
    return code == EXIT_OK ? open_database(c) : code;
}

/* ---- the verb ---------------------------------------------------------- */

static const struct workload *next_workload(const char **list)
{
    size_t size = strcspn(*list, ",");
    const struct workload *what = workload_find(*list, size);
    *list += size + ((*list)[size] == ',');
    return what;
}

static int check_arguments(struct cli *c)
{
    uint64_t most = dimensions_most_keys(c->key_size);
    if (!c->workloads)
        c->workloads = default_workloads;
    if (!c->durability_chosen &&
        adb_options_set(c->options, "durability", "process") != ADB_OK)
        return fail_status("bench", ADB_INVALID);
    if (c->num > most)
        return fail_usage(c, "keys of %" PRIu64 " bytes make for %" PRIu64
                          " at most", c->key_size, most);
    for (const char *list = c->workloads; *list;) {
        const char *word = list;
        if (!next_workload(&list))
            return fail_usage(c, "'%.*s' is no workload",
                              (int)strcspn(word, ","), word);
    }
    return EXIT_OK;
}

static int run_all(struct bench *b)
{
    int code = EXIT_OK;
    b->workers = calloc(b->c->threads, sizeof *b->workers);
    b->threads = calloc(b->c->threads, sizeof *b->threads);
    if (!b->workers || !b->threads)
        code = fail_errno("bench");
    for (const char *list = b->c->workloads;
         *list && code == EXIT_OK && !workers_stopped() && !out_failed();) {
        const struct workload *what = next_workload(&list);
        code = prepare(b->c, what);
        if (code == EXIT_OK)
            code = run_workload(b, what);
    }
    free(b->workers);
    free(b->threads);
    return code;
}

static void on_signal(int number)
{
    (void)number;
    workers_stop();
}

/* In a directory that is new, so that nothing of anybody's is in it. */
static int run_apart(struct bench *b)
{
    struct cli *c = b->c;
    struct text path = {0};
    text_print(&path, "%s.bench-XXXXXX", c->db_path);
    c->db_path = text_end(&path);
    if (!mkdtemp(path.data)) {
        int code = fail_errno(path.data);
        text_free(&path);
        return code;
    }
    int code = run_all(b);
    int removed = remove_database(c);
    (void)rmdir(path.data); /* where no database was made */
    text_free(&path);
    return code == EXIT_OK ? removed : code;
}

int run_bench(struct cli *c)
{
    struct bench b = {.c = c,
                      .sizes = {c->num, c->key_size, c->value_size,
                                !c->use_existing}};
    int code = check_arguments(c);
    if (code != EXIT_OK)
        return code;
    /* Also an interrupted bench removes what it made. */
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    code = c->use_existing ? run_all(&b) : run_apart(&b);
    if (!workers_stopped() || code != EXIT_OK)
        return code;
    fputs("albertdb: bench: interrupted\n", stderr);
    return EXIT_FAILED;
}
