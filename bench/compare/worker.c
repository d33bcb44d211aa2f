#include "worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "series.h"
#include "usage.h"

struct worker {
    struct run *run;
    struct session *session;
    struct stream stream;
    struct histogram latency;
    uint64_t allowed, done, puts, deletes, until_ns, last_ns;
    int waits_fd;
    uint64_t waited_ns, awake_max_ns;
    char key[KEY_SIZE];
    char *value; /* owned; room for one */

    /* for batches, owned: */
    struct entry *entries;
    struct bytes *keys, *found;
    struct op *ops;
    char *key_room, *value_room;
};

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What of a call was not spent waiting for a processor. Short waits in fast
   calls before it may be taken for waits in this one; a scheduler's turns are
   longer than SLOW_CALL_NS. */
static uint64_t awake(struct worker *w, uint64_t took)
{
    if (took < SLOW_CALL_NS)
        return took;
    uint64_t waited = usage_waited_ns(w->waits_fd),
             here = waited - w->waited_ns;
    w->waited_ns = waited;
    return here < took ? took - here : 0;
}

/* Ends a timed call; false when the time is up. */
static bool tick(struct worker *w)
{
    uint64_t now = now_ns(), took = now - w->last_ns;
    uint64_t took_awake = awake(w, took);
    histogram_add(&w->latency, took);
    if (took_awake > w->awake_max_ns)
        w->awake_max_ns = took_awake;
    bool slow = took >= SLOW_CALL_NS;
    if (w->run->series)
        slow |= series_add(w->run->series, now, took, took_awake);
    if (slow)
        now = now_ns();
    w->last_ns = now;
    return now < w->until_ns;
}

static void get(struct worker *w, const struct op *op)
{
    struct bytes value;
    bool found = session_get(w->session, key_make(w->key, op->key), &value);
    if (found != !(op->key & 1))
        fatal("key %llu %s", (unsigned long long)op->key,
              found ? "was never written" : "is missing");
    if (found)
        value_check(w->run->values, value, op->key);
    session_release(w->session);
}

static void put(struct worker *w, const struct op *op)
{
    struct bytes value =
        value_make(w->run->values, w->value, op->key, op->stamp);
    session_put(w->session, key_make(w->key, op->key), value);
    w->puts++;
}

static void scan(struct worker *w, const struct op *op)
{
    struct entry entry;
    session_iter_open(w->session);
    bool more = session_seek(w->session, key_make(w->key, op->key), &entry);
    if (!more || key_number(entry.key) != op->key)
        fatal("a seek to key %llu did not find it",
              (unsigned long long)op->key);
    for (unsigned i = 0; more; i++) {
        value_check(w->run->values, entry.value, key_number(entry.key));
        if (i == op->steps)
            break;
        more = session_next(w->session, &entry);
    }
    session_iter_close(w->session);
}

static void run_single(struct worker *w)
{
    struct op op;
    bool more = true;
    while (more && w->done < w->allowed && stream_next(&w->stream, &op)) {
        switch (op.kind) {
        case OP_PUT:
            put(w, &op);
            break;
        case OP_DELETE:
            session_delete(w->session, key_make(w->key, op.key));
            w->deletes++;
            break;
        case OP_UPDATE:
            get(w, &op);
            put(w, &op);
            break;
        case OP_SCAN:
            scan(w, &op);
            break;
        case OP_GET:
        case OP_KINDS:
            get(w, &op);
            break;
        }
        w->done++;
        more = tick(w);
    }
}

static size_t collect(struct worker *w)
{
    const struct values *values = w->run->values;
    size_t n = 0;
    while (n < w->run->batch && w->done + n < w->allowed &&
           stream_next(&w->stream, &w->ops[n])) {
        const struct op *op = &w->ops[n];
        w->keys[n] = key_make(w->key_room + n * KEY_SIZE, op->key);
        if (op->kind == OP_PUT)
            w->entries[n] = (struct entry){
                w->keys[n], value_make(values, w->value_room + n * values->size,
                                       op->key, op->stamp)};
        n++;
    }
    return n;
}

static void run_batches(struct worker *w)
{
    bool more = true;
    size_t n;
    while (more && (n = collect(w)) > 0) {
        if (w->ops[0].kind == OP_PUT) {
            session_write(w->session, w->entries, n);
            w->puts += n;
        } else {
            session_multi_get(w->session, w->keys, n, w->found);
            for (size_t i = 0; i < n; i++) {
                if (!w->found[i].data)
                    fatal("key %llu is missing",
                          (unsigned long long)w->ops[i].key);
                value_check(w->run->values, w->found[i], w->ops[i].key);
            }
            session_release(w->session);
        }
        w->done += n;
        more = tick(w);
    }
}

/* Whole passes. The clock is read once in SCAN_CHUNK entries: reading it at
   each would cost more than the step. */
static void run_passes(struct worker *w)
{
    bool backward = w->run->workload->call == CALL_BACKWARD, more = true;
    while (more && w->done < w->allowed) {
        struct entry entry;
        session_iter_open(w->session);
        bool valid = backward ? session_last(w->session, &entry)
                              : session_first(w->session, &entry);
        if (!valid)
            fatal("nothing to scan");
        while (valid && more && w->done < w->allowed) {
            value_check(w->run->values, entry.value, key_number(entry.key));
            if (++w->done % SCAN_CHUNK == 0)
                more = tick(w);
            valid = backward ? session_prev(w->session, &entry)
                             : session_next(w->session, &entry);
        }
        session_iter_close(w->session);
    }
}

static void worker_init(struct worker *w, struct run *run, unsigned thread)
{
    size_t size = run->values->size;
    w->run = run;
    w->session = session_open(run->engine);
    stream_init(&w->stream, run->workload, run->zipf, run->keys, thread,
                run->threads, run->steps);
    w->allowed = run->operations / run->threads +
                 (thread < run->operations % run->threads);
    w->value = need(size);
    if (run->workload->call != CALL_BATCH)
        return;
    w->entries = need(run->batch * sizeof *w->entries);
    w->keys = need(run->batch * sizeof *w->keys);
    w->found = need(run->batch * sizeof *w->found);
    w->ops = need(run->batch * sizeof *w->ops);
    w->key_room = need((size_t)run->batch * KEY_SIZE);
    w->value_room = need(run->batch * size);
}

static void worker_deinit(struct worker *w)
{
    session_close(w->session);
    free(w->value);
    free(w->entries);
    free(w->keys);
    free(w->found);
    free(w->ops);
    free(w->key_room);
    free(w->value_room);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    w->waits_fd = usage_waits_open();
    w->waited_ns = usage_waited_ns(w->waits_fd);
    if (w->run->workload->call == CALL_SINGLE)
        run_single(w);
    else if (w->run->workload->call == CALL_BATCH)
        run_batches(w);
    else
        run_passes(w);
    if (w->waits_fd >= 0)
        close(w->waits_fd);
    return NULL;
}

/* The thread that writes while others read: overwrites at a fixed rate, in
   small groups, so that sleeping costs little. */
struct writer {
    struct run *run;
    struct session *session;
    pthread_t thread;
    atomic_bool stop; /* set by the main thread, once; relaxed suffices */
    uint64_t done;
};

static void *write_steadily(void *argument)
{
    struct writer *writer = argument;
    struct run *run = writer->run;
    char key[KEY_SIZE], *value = need(run->values->size);
    struct random random = {mix(WORKERS_MAX)};
    uint64_t start = now_ns();
    while (!atomic_load_explicit(&writer->stop, memory_order_relaxed)) {
        uint64_t elapsed = now_ns() - start;
        uint64_t due =
            (uint64_t)((double)elapsed * 1e-9 * (double)run->write_rate);
        for (; writer->done < due; writer->done++) {
            uint64_t number = 2 * random_below(&random, run->keys);
            session_put(
                writer->session, key_make(key, number),
                value_make(run->values, value, number, random_next(&random)));
        }
        nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    free(value);
    return NULL;
}

static pthread_t start_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, function, argument) != 0)
        fatal("no thread could be made");
    return thread;
}

static void writer_start(struct writer *writer)
{
    if (writer->run->write_rate)
        writer->thread = start_thread(write_steadily, writer);
}

static void writer_stop(struct writer *writer)
{
    if (!writer->run->write_rate)
        return;
    atomic_store_explicit(&writer->stop, true, memory_order_relaxed);
    pthread_join(writer->thread, NULL);
    session_close(writer->session);
    writer->run->writes_done = writer->done;
    writer->run->puts += writer->done;
}

static void gather(struct run *run, struct worker *workers)
{
    for (unsigned i = 0; i < run->threads; i++) {
        struct worker *w = &workers[i];
        histogram_merge(&run->latency, &w->latency);
        run->done += w->done;
        run->puts += w->puts;
        run->deletes += w->deletes;
        run->made[i] = w->stream.made;
        if (w->awake_max_ns > run->awake_max_ns)
            run->awake_max_ns = w->awake_max_ns;
        worker_deinit(w);
    }
}

void run_workload(struct run *run)
{
    struct worker *workers = need(run->threads * sizeof *workers);
    struct writer writer = {.run = run};
    pthread_t threads[WORKERS_MAX];
    for (unsigned i = 0; i < run->threads; i++)
        worker_init(&workers[i], run, i);
    if (run->write_rate)
        writer.session = session_open(run->engine);
    uint64_t start = now_ns();
    writer_start(&writer);
    for (unsigned i = 0; i < run->threads; i++) {
        workers[i].last_ns = start;
        workers[i].until_ns = start + (uint64_t)(run->seconds * 1e9);
        threads[i] = start_thread(work, &workers[i]);
    }
    for (unsigned i = 0; i < run->threads; i++)
        pthread_join(threads[i], NULL);
    run->took = (double)(now_ns() - start) / 1e9;
    writer_stop(&writer);
    gather(run, workers);
    free(workers);
}
