/*
 * bench: the main loops, one after the other, with rates and latencies. Reads
 * check the size and first bytes of every value.
 */
#include "cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Log-linear: 32 steps to each doubling, so 3 % precise. */
enum { STEPS = 32, BUCKETS = 60 * STEPS };
struct histogram {
    uint64_t count[BUCKETS], total, max;
};

static void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned shift = ns < STEPS ? 0 : 59u - (unsigned)__builtin_clzll(ns);
    uint64_t bucket =
        ns < STEPS ? ns : (uint64_t)(shift + 1) * STEPS + (ns >> shift) % STEPS;
    h->count[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    h->total++;
    h->max = ns > h->max ? ns : h->max;
}

static double histogram_at(const struct histogram *h, double part)
{
    uint64_t want = (uint64_t)((double)h->total * part), seen = 0;
    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += h->count[b];
        if (seen > want) {
            unsigned shift = b / STEPS ? b / STEPS - 1 : 0;
            uint64_t low = b < STEPS ? b
                                     : (uint64_t)(STEPS + b % STEPS) << shift;
            return (double)low / 1000;
        }
    }
    return (double)h->max / 1000;
}

struct bench {
    struct cli *c;
    adb *db;
    const char *workload;
    uint64_t found;
};

struct worker {
    struct bench *b;
    uint64_t index, operations, random;
    struct histogram *h; /* owned; NULL: no latencies */
    char *key, *value;   /* owned */
    uint64_t found;
    adb_status status;
    char error[512];
};

static uint64_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The n-th key: big-endian number first, so that order is that of n. */
static void make_key(struct worker *w, uint64_t n)
{
    for (size_t i = 0; i < 8; i++)
        w->key[i] = (char)(n >> (56 - 8 * i));
}

/* Half of the bytes repeat, so that packing finds what it would in practice. */
static void make_value(struct worker *w, uint64_t n)
{
    uint64_t x = n * 0x9E3779B97F4A7C15u + 1;
    size_t size = w->b->c->value_size;
    for (size_t i = 0; i < size; i += 8) {
        if (i < size / 2) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        memcpy(w->value + i, &x, size - i < 8 ? size - i : 8);
    }
    memcpy(w->value, &n, size < 8 ? size : 8);
}

static adb_status check_value(struct worker *w, uint64_t n, const void *data,
                              size_t size)
{
    size_t least = size < 8 ? size : 8;
    w->found++;
    if (size == w->b->c->value_size && memcmp(data, &n, least) == 0)
        return ADB_OK;
    snprintf(w->error, sizeof w->error, "a value is not what was written");
    return ADB_CORRUPTION;
}

static adb_status do_put(struct worker *w, uint64_t n)
{
    make_key(w, n);
    make_value(w, n);
    return adb_put(w->b->db, NULL, w->key, w->b->c->key_size, w->value,
                   w->b->c->value_size);
}

static adb_status do_get(struct worker *w, uint64_t n, bool missing)
{
    adb_value v;
    make_key(w, n);
    size_t size = w->b->c->key_size;
    if (missing)
        w->key[size - 1] = 1; /* between two keys that exist */
    adb_status status = adb_get(w->b->db, NULL, w->key, size, &v);
    w->key[size - 1] = 0;
    if (status == ADB_NOT_FOUND)
        return ADB_OK;
    if (status == ADB_OK) {
        status = missing ? ADB_CORRUPTION
                         : check_value(w, n, v.data, v.size);
        adb_value_release(&v);
    }
    return status;
}

static adb_status do_seek(struct worker *w, uint64_t n, unsigned steps)
{
    adb_iter *it;
    adb_status status = adb_iter_new(w->b->db, NULL, &it);
    if (status != ADB_OK)
        return status;
    make_key(w, n);
    int more = adb_iter_seek(it, w->key, w->b->c->key_size);
    for (unsigned i = 0; i < steps && more; i++) {
        w->found += adb_iter_value(it).size > 0;
        more = adb_iter_next(it);
    }
    status = adb_iter_status(it);
    adb_iter_free(it);
    return status;
}

static adb_status do_batch(struct worker *w, adb_batch *batch)
{
    adb_status status = ADB_OK;
    adb_batch_clear(batch);
    for (int i = 0; i < 100 && status == ADB_OK; i++) {
        uint64_t n = next_random(w) % w->b->c->num;
        make_key(w, n);
        make_value(w, n);
        status = adb_batch_put(batch, w->key, w->b->c->key_size, w->value,
                               w->b->c->value_size);
    }
    return status == ADB_OK ? adb_write(w->b->db, NULL, batch) : status;
}

static adb_status do_scan(struct worker *w, bool reverse)
{
    adb_iter *it;
    adb_status status = adb_iter_new(w->b->db, NULL, &it);
    if (status != ADB_OK)
        return status;
    uint64_t n = 0;
    int more = reverse ? adb_iter_seek_last(it) : adb_iter_seek_first(it);
    for (; more; more = reverse ? adb_iter_prev(it) : adb_iter_next(it)) {
        w->found += adb_iter_value(it).size == w->b->c->value_size;
        n++;
    }
    w->operations = n;
    status = adb_iter_status(it);
    adb_iter_free(it);
    return status;
}

static adb_status do_delete(struct worker *w, uint64_t n)
{
    make_key(w, n);
    return adb_delete(w->b->db, NULL, w->key, w->b->c->key_size);
}

static adb_status one(struct worker *w, const char *name, uint64_t i,
                      adb_batch *batch)
{
    uint64_t num = w->b->c->num;
    if (!strcmp(name, "fillseq"))
        return do_put(w, w->index * w->operations + i);
    if (!strcmp(name, "fillrandom") || !strcmp(name, "overwrite"))
        return do_put(w, next_random(w) % num);
    if (!strcmp(name, "fillbatch"))
        return do_batch(w, batch);
    if (!strcmp(name, "deleterandom"))
        return do_delete(w, next_random(w) % num);
    if (!strcmp(name, "readrandom"))
        return do_get(w, next_random(w) % num, false);
    if (!strcmp(name, "readmissing"))
        return do_get(w, next_random(w) % num, true);
    return do_seek(w, next_random(w) % num, 10);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    const char *name = w->b->workload;
    if (!strcmp(name, "readseq") || !strcmp(name, "readreverse")) {
        w->status = do_scan(w, !strcmp(name, "readreverse"));
    } else {
        adb_batch *batch = adb_batch_new();
        uint64_t last = w->h ? now_ns() : 0;
        for (uint64_t i = 0; i < w->operations && w->status == ADB_OK; i++) {
            w->status = one(w, name, i, batch);
            if (w->h) {
                uint64_t now = now_ns();
                histogram_add(w->h, now - last);
                last = now;
            }
        }
        adb_batch_free(batch);
    }
    if (w->status != ADB_OK && !w->error[0])
        snprintf(w->error, sizeof w->error, "%s", adb_error_message());
    return NULL;
}

static void report(struct bench *b, uint64_t operations, double seconds,
                   const struct histogram *h)
{
    double rate = (double)operations / seconds;
    double bytes = (double)(b->c->key_size + b->c->value_size);
    if (b->c->json) {
        printf("{\"workload\":\"%s\",\"operations\":%" PRIu64
               ",\"seconds\":%.6f,\"ops_per_second\":%.0f,\"found\":%" PRIu64,
               b->workload, operations, seconds, rate, b->found);
        if (h->total)
            printf(",\"us\":{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,"
                   "\"p99.9\":%.3f,\"max\":%.3f}",
                   histogram_at(h, .5), histogram_at(h, .95),
                   histogram_at(h, .99), histogram_at(h, .999),
                   (double)h->max / 1000);
        puts("}");
    } else {
        printf("%-13s %11.0f ops/s %8.1f MB/s", b->workload, rate,
               rate * bytes / 1e6);
        if (h->total)
            printf("  us: p50 %.2f p95 %.2f p99 %.2f p99.9 %.1f max %.0f",
                   histogram_at(h, .5), histogram_at(h, .95),
                   histogram_at(h, .99), histogram_at(h, .999),
                   (double)h->max / 1000);
        putchar('\n');
    }
    fflush(stdout);
}

static void merge_worker(struct bench *b, struct histogram *all,
                         struct worker *w, uint64_t *operations, int *code)
{
    *operations += w->operations;
    b->found += w->found;
    for (unsigned i = 0; w->h && i < BUCKETS; i++)
        all->count[i] += w->h->count[i];
    if (w->h) {
        all->total += w->h->total;
        all->max = w->h->max > all->max ? w->h->max : all->max;
    }
    if (w->status != ADB_OK) {
        fprintf(stderr, "albertdb: bench: %s: %s\n", b->workload, w->error);
        *code = w->status == ADB_CORRUPTION ? EXIT_DAMAGED : EXIT_FAILED;
    }
    free(w->h);
    free(w->key);
    free(w->value);
}

static int run_workload(struct bench *b)
{
    uint64_t threads = b->c->threads, operations = 0;
    struct worker *workers = calloc(threads, sizeof *workers);
    pthread_t *ids = calloc(threads, sizeof *ids);
    struct histogram *all = calloc(1, sizeof *all);
    int code = EXIT_OK;
    if (!workers || !ids || !all)
        return fail_status("bench", ADB_NO_MEMORY);
    b->found = 0;
    uint64_t share = b->c->num / threads;
    if (!strcmp(b->workload, "fillbatch"))
        share /= 100;
    double began = now_seconds();
    for (uint64_t i = 0; i < threads; i++) {
        workers[i] = (struct worker){
            .b = b, .index = i, .operations = share,
            .random = 88172645463325252u + i * 7919,
            .h = b->c->no_latency ? NULL : calloc(1, sizeof *all),
            .key = calloc(1, b->c->key_size),
            .value = calloc(1, b->c->value_size + 8)};
        if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0)
            return fail_status("bench", ADB_NO_MEMORY);
    }
    for (uint64_t i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        merge_worker(b, all, &workers[i], &operations, &code);
    }
    double seconds = now_seconds() - began;
    if (code == EXIT_OK)
        report(b, operations, seconds, all);
    free(all);
    free(ids);
    free(workers);
    return code;
}

static bool known(const char *name)
{
    static const char *const names[] = {
        "fillseq", "fillrandom", "fillbatch", "overwrite", "deleterandom",
        "readrandom", "readmissing", "readseq", "readreverse", "seekrandom"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

int run_bench(struct cli *c, adb *unused)
{
    char list[1024], *rest = list;
    int code = EXIT_OK;
    (void)unused;
    if (c->key_size < 9 || c->num == 0 || c->threads == 0)
        return fail_usage("bench needs --key-size 9 or more, --num and "
                          "--threads 1 or more");
    if (!c->use_existing) {
        /* Never somebody's data: only what an earlier bench left. */
        char path[4096];
        snprintf(path, sizeof path, "%s.bench", c->db_path);
        c->db_path = path;
        adb_status status = adb_destroy(path);
        if (status != ADB_OK && status != ADB_NOT_A_DATABASE)
            return fail_status("bench", status);
        snprintf(list, sizeof list, "%s", c->workloads);
        struct bench b = {.c = c, .db = open_database(c, true, &code)};
        for (char *word; b.db && code == EXIT_OK &&
                         (word = strsep(&rest, ","));) {
            b.workload = word;
            code = known(word) ? run_workload(&b)
                               : fail_usage("'%s' is no workload", word);
            if (code == EXIT_OK && adb_wait_idle(b.db, 600000) != ADB_OK)
                code = fail_status("bench", ADB_IO);
        }
        if (b.db && adb_close(b.db) != ADB_OK && code == EXIT_OK)
            code = fail_status("bench", ADB_IO);
        if (adb_destroy(path) != ADB_OK && code == EXIT_OK)
            code = fail_status("bench", ADB_IO);
        return code;
    }
    snprintf(list, sizeof list, "%s", c->workloads);
    struct bench b = {.c = c, .db = open_database(c, false, &code)};
    for (char *word;
         b.db && code == EXIT_OK && (word = strsep(&rest, ","));) {
        b.workload = word;
        code = known(word) ? run_workload(&b)
                           : fail_usage("'%s' is no workload", word);
    }
    if (b.db && adb_close(b.db) != ADB_OK && code == EXIT_OK)
        code = fail_status("bench", ADB_IO);
    return code;
}
