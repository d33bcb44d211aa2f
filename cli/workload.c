#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BATCH = 100,        /* writes of a batch */
    SEEK_STEPS = 10,    /* entries read behind a seek */
    SAMPLE_EVERY = 128, /* of the steps of a walk one is timed */
    NUMBER_BYTES = 8
};

/* ---- keys and values --------------------------------------------------- */

static uint64_t next_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static uint64_t random_key(struct worker *w)
{
    return next_random(w) % w->sizes->keys;
}

/* The bytes of a key that hold its number. */
static uint64_t number_bytes(uint64_t key_size)
{
    if (key_size == 0)
        return 0; /* somebody else's */
    return key_size - 1 < NUMBER_BYTES ? key_size - 1 : NUMBER_BYTES;
}

uint64_t dimensions_most_keys(uint64_t key_size)
{
    uint64_t bytes = number_bytes(key_size);
    return bytes == NUMBER_BYTES ? UINT64_MAX : UINT64_C(1) << 8 * bytes;
}

static void make_key(struct worker *w, uint64_t n)
{
    for (uint64_t i = number_bytes(w->sizes->key_size); i-- > 0; n >>= 8)
        w->key[i] = (unsigned char)n;
}

/* Begins with the number; half of the rest repeats, so that packing finds
   what it would in practice. */
static void make_value(struct worker *w, uint64_t n)
{
    uint64_t x = n * UINT64_C(0x9E3779B97F4A7C15) + 1;
    size_t size = w->sizes->value_size;
    for (size_t i = 0; i < size; i += 8) {
        if (i < size / 2) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        memcpy(w->value + i, &x, 8); /* it is 8 bytes longer */
    }
    memcpy(w->value, &n, 8);
}

static adb_status check_value(struct worker *w, uint64_t n, const void *data,
                              size_t size)
{
    w->found++;
    if (!w->sizes->own || (size == w->sizes->value_size &&
                           (!size || !memcmp(data, &n, size < 8 ? size : 8))))
        return ADB_OK;
    snprintf(w->error, sizeof w->error,
             "the value of key %llu is not what was written",
             (unsigned long long)n);
    return ADB_CORRUPTION;
}

/* The entry under the iterator, whose key says what its value has to be. */
static adb_status check_entry(struct worker *w, adb_iter *it)
{
    adb_slice key = adb_iter_key(it), value = adb_iter_value(it);
    const unsigned char *bytes = key.data;
    uint64_t n = 0;
    adb_status status = value.data ? ADB_OK : adb_iter_status(it);
    if (status != ADB_OK)
        return status;
    for (uint64_t i = 0; i < number_bytes(key.size); i++)
        n = n << 8 | bytes[i];
    return check_value(w, n, value.data, value.size);
}

/* ---- steps ------------------------------------------------------------- */

static adb_status put(struct worker *w, uint64_t n)
{
    make_key(w, n);
    make_value(w, n);
    return adb_put(w->db, NULL, w->key, w->sizes->key_size, w->value,
                   w->sizes->value_size);
}

static adb_status put_next(struct worker *w, uint64_t i)
{
    return put(w, w->first + i);
}

static adb_status put_random(struct worker *w, uint64_t i)
{
    (void)i;
    return put(w, random_key(w));
}

static adb_status put_batch(struct worker *w, uint64_t i)
{
    adb_status status = ADB_OK;
    (void)i;
    adb_batch_clear(w->batch);
    for (int j = 0; j < BATCH && status == ADB_OK; j++) {
        uint64_t n = random_key(w);
        make_key(w, n);
        make_value(w, n);
        status = adb_batch_put(w->batch, w->key, w->sizes->key_size, w->value,
                               w->sizes->value_size);
    }
    return status == ADB_OK ? adb_write(w->db, NULL, w->batch) : status;
}

static adb_status delete_random(struct worker *w, uint64_t i)
{
    (void)i;
    make_key(w, random_key(w));
    return adb_delete(w->db, NULL, w->key, w->sizes->key_size);
}

static adb_status get_random(struct worker *w, uint64_t i)
{
    adb_value v = ADB_VALUE_INIT;
    uint64_t n = random_key(w);
    (void)i;
    make_key(w, n);
    adb_status status =
        adb_get(w->db, NULL, w->key, w->sizes->key_size, &v);
    if (status == ADB_OK)
        status = check_value(w, n, v.data, v.size);
    adb_value_release(&v);
    return status == ADB_NOT_FOUND ? ADB_OK : status;
}

static adb_status get_missing(struct worker *w, uint64_t i)
{
    adb_value v = ADB_VALUE_INIT;
    size_t size = w->sizes->key_size;
    (void)i;
    make_key(w, random_key(w));
    w->key[size - 1] = 1;
    adb_status status = adb_get(w->db, NULL, w->key, size, &v);
    w->key[size - 1] = 0;
    if (status != ADB_OK)
        return status == ADB_NOT_FOUND ? ADB_OK : status;
    adb_value_release(&v);
    snprintf(w->error, sizeof w->error, "a key was found that was never "
             "written");
    return ADB_CORRUPTION;
}

static adb_status seek_random(struct worker *w, uint64_t i)
{
    adb_iter *it;
    (void)i;
    adb_status status = adb_iter_new(w->db, NULL, &it);
    if (status != ADB_OK)
        return status;
    make_key(w, random_key(w));
    int more = adb_iter_seek(it, w->key, w->sizes->key_size);
    for (int j = 0; j < SEEK_STEPS && more && status == ADB_OK; j++) {
        status = check_entry(w, it);
        more = adb_iter_next(it);
    }
    if (status == ADB_OK)
        status = adb_iter_status(it);
    adb_iter_free(it);
    return status;
}

/* ---- the workloads ----------------------------------------------------- */

static const struct workload workloads[] = {
    {"fillseq", true, true, 1, put_next, false},
    {"fillrandom", true, true, 1, put_random, false},
    {"fillbatch", true, true, BATCH, put_batch, false},
    {"overwrite", false, true, 1, put_random, false},
    {"deleterandom", false, true, 1, delete_random, false},
    {"readrandom", false, false, 1, get_random, false},
    {"readmissing", false, false, 1, get_missing, false},
    {"readseq", false, false, 1, NULL, false},
    {"readreverse", false, false, 1, NULL, true},
    {"seekrandom", false, false, 1, seek_random, false},
};

const struct workload *workload_find(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
        if (strlen(workloads[i].name) == size &&
            memcmp(workloads[i].name, name, size) == 0)
            return &workloads[i];
    return NULL;
}

/* ---- a worker ---------------------------------------------------------- */

static atomic_bool stopped;

void workers_stop(void)
{
    stopped = 1;
}

bool workers_stopped(void)
{
    return stopped;
}

adb_status worker_init(struct worker *w, bool with_times)
{
    w->times = with_times ? calloc(1, sizeof *w->times) : NULL;
    w->key = calloc(1, w->sizes->key_size);
    w->value = calloc(1, w->sizes->value_size + 8);
    w->batch = adb_batch_new();
    return (w->times || !with_times) && w->key && w->value && w->batch
               ? ADB_OK
               : ADB_NO_MEMORY;
}

void worker_deinit(struct worker *w)
{
    adb_batch_free(w->batch);
    free(w->value);
    free(w->key);
    free(w->times);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count_step(struct worker *w, uint64_t done)
{
    atomic_store_explicit(&w->done, done, memory_order_relaxed);
}

static adb_status run_steps(struct worker *w)
{
    adb_status status = ADB_OK;
    uint64_t last = w->times ? now_ns() : 0;
    for (uint64_t i = 0; i < w->steps && status == ADB_OK && !stopped; i++) {
        status = w->what->step(w, i);
        if (w->times) {
            uint64_t now = now_ns();
            histogram_add(w->times, now - last);
            last = now;
        }
        w->keys += w->what->per_step;
        count_step(w, i + 1);
    }
    return status;
}

/* From end to end. A step takes no longer than looking at the clock, so only
   samples of them are timed. */
static adb_status walk(struct worker *w)
{
    adb_iter *it;
    adb_status status = adb_iter_new(w->db, NULL, &it);
    if (status != ADB_OK)
        return status;
    bool reverse = w->what->reverse;
    int more = reverse ? adb_iter_seek_last(it) : adb_iter_seek_first(it);
    while (more && status == ADB_OK && !stopped) {
        bool sample = w->times && w->keys % SAMPLE_EVERY == 0;
        uint64_t began = sample ? now_ns() : 0;
        status = check_entry(w, it);
        more = reverse ? adb_iter_prev(it) : adb_iter_next(it);
        if (sample)
            histogram_add(w->times, now_ns() - began);
        count_step(w, ++w->keys);
    }
    if (status == ADB_OK)
        status = adb_iter_status(it);
    adb_iter_free(it);
    return status;
}

void *worker_run(void *worker)
{
    struct worker *w = worker;
    w->status = w->what->step ? run_steps(w) : walk(w);
    if (w->status != ADB_OK && !w->error[0])
        snprintf(w->error, sizeof w->error, "%s", adb_error_message());
    return NULL;
}
