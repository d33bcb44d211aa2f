#include "db/inserter.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/thread.h"

enum {
    CHUNK_BYTES = 64 << 10,
    COPY_MAX = CHUNK_BYTES / 4, /* larger writes are not copied */
    ALIGNMENT = 8
};

/* A write in a chunk; its key and value follow. */
struct item {
    uint64_t hash, seq;
    uint32_t key_size, value_size;
    bool in_place;
    uint8_t kind;
};

struct chunk {
    struct memtable *memtable;
    size_t used;
    uint8_t bytes[CHUNK_BYTES];
};

struct worker {
    struct chunk *filling; /* the caller's */
    struct chunk *spare;   /* the caller's, but while it is `work` */
    struct thread thread;

    struct mutex lock;
    struct condition changed;
    /* Under lock. */
    struct chunk *work; /* handed over; NULL: nothing to do */
    bool stop;
    struct status_saved failure;
};

struct inserter {
    unsigned count;
    uint64_t writes, key_bytes, value_bytes; /* since the last drain */
    struct chunk *chunks;                    /* owned, two to a worker */
    struct worker workers[INSERTER_WORKERS];
};

/* ---- inserting --------------------------------------------------------- */

static size_t item_span(size_t key_size, size_t value_size)
{
    size_t span = sizeof(struct item) + key_size + value_size;
    return (span + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static adb_status insert_chunk(struct chunk *c)
{
    adb_status status = ADB_OK;
    for (size_t at = 0; at < c->used && status == ADB_OK;) {
        struct item item;
        memcpy(&item, c->bytes + at, sizeof item);
        const uint8_t *key = c->bytes + at + sizeof item;
        struct memtable_write w = {
            .key = slice_of(key, item.key_size),
            .hash = item.hash,
            .seq = item.seq,
            .kind = (enum kv_kind)item.kind,
            .value = slice_of(key + item.key_size, item.value_size),
            .in_place = item.in_place,
        };
        status = memtable_put(c->memtable, &w);
        at += item_span(item.key_size, item.value_size);
    }
    c->used = 0;
    return status;
}

static void *worker_run(void *argument)
{
    struct worker *w = argument;
    mutex_lock(&w->lock);
    for (;;) {
        while (!w->work && !w->stop)
            condition_wait(&w->changed, &w->lock);
        if (!w->work)
            break;
        struct chunk *c = w->work;
        mutex_unlock(&w->lock);
        adb_status status = insert_chunk(c);
        mutex_lock(&w->lock);
        if (status != ADB_OK)
            status_save(&w->failure, status);
        w->work = NULL;
        condition_broadcast(&w->changed);
    }
    mutex_unlock(&w->lock);
    return NULL;
}

/* ---- handing over ------------------------------------------------------ */

static adb_status wait_idle(struct worker *w)
{
    adb_status status = ADB_OK;
    mutex_lock(&w->lock);
    while (w->work)
        condition_wait(&w->changed, &w->lock);
    if (w->failure.code != ADB_OK)
        status = status_restore(&w->failure);
    mutex_unlock(&w->lock);
    return status;
}

/* The filling chunk goes to the worker, and its other one is there to fill. */
static adb_status hand_over(struct worker *w)
{
    if (!w->thread.started &&
        thread_start(&w->thread, "adb-recover", worker_run, w) != ADB_OK)
        return insert_chunk(w->filling);
    adb_status status = wait_idle(w);
    if (status != ADB_OK)
        return status;
    struct chunk *full = w->filling;
    w->filling = w->spare;
    w->spare = full;
    mutex_lock(&w->lock);
    w->work = full;
    condition_broadcast(&w->changed);
    mutex_unlock(&w->lock);
    return ADB_OK;
}

static void append(struct chunk *c, const struct memtable_write *w)
{
    struct item item = {
        .hash = w->hash,
        .seq = w->seq,
        .key_size = (uint32_t)w->key.size,
        .value_size = (uint32_t)w->value.size,
        .in_place = w->in_place,
        .kind = (uint8_t)w->kind,
    };
    uint8_t *to = c->bytes + c->used;
    memcpy(to, &item, sizeof item);
    to += sizeof item;
    if (w->key.size)
        memcpy(to, w->key.data, w->key.size);
    if (w->value.size)
        memcpy(to + w->key.size, w->value.data, w->value.size);
    c->used += item_span(w->key.size, w->value.size);
}

adb_status inserter_add(struct inserter *in, struct memtable *m,
                        const struct memtable_write *write)
{
    /* The memtable's filter goes by the upper half of the hash, so do we by
       another part. */
    struct worker *w = &in->workers[(write->hash >> 8) % in->count];
    adb_status status = ADB_OK;
    in->writes++;
    in->key_bytes += write->key.size;
    in->value_bytes += write->value.size;
    if (write->key.size + write->value.size > COPY_MAX) {
        status = inserter_drain(in);
        return status == ADB_OK ? memtable_put(m, write) : status;
    }
    size_t span = item_span(write->key.size, write->value.size);
    if (w->filling->used + span > CHUNK_BYTES)
        status = hand_over(w);
    if (status != ADB_OK)
        return status;
    w->filling->memtable = m;
    append(w->filling, write);
    return ADB_OK;
}

size_t inserter_pending(const struct inserter *in, uint64_t key_bytes,
                        uint64_t value_bytes)
{
    return memtable_worst_case(in->writes + 1, in->key_bytes + key_bytes,
                               in->value_bytes + value_bytes);
}

adb_status inserter_drain(struct inserter *in)
{
    adb_status status = ADB_OK;
    /* All first, so that no worker waits for another's last chunk. */
    for (unsigned i = 0; i < in->count && status == ADB_OK; i++)
        if (in->workers[i].thread.started && in->workers[i].filling->used)
            status = hand_over(&in->workers[i]);
    for (unsigned i = 0; i < in->count && status == ADB_OK; i++) {
        struct worker *w = &in->workers[i];
        status = w->thread.started ? wait_idle(w) : insert_chunk(w->filling);
    }
    in->writes = in->key_bytes = in->value_bytes = 0;
    return status;
}

/* ---- life -------------------------------------------------------------- */

struct inserter *inserter_new(unsigned workers)
{
    struct inserter *in = mem_zalloc(sizeof *in);
    if (in)
        in->chunks = mem_alloc(2 * (size_t)workers * sizeof *in->chunks);
    if (!in || !in->chunks) {
        mem_free(in);
        (void)!status_set(ADB_NO_MEMORY, "no memory to recover the log");
        return NULL;
    }
    in->count = workers;
    for (unsigned i = 0; i < workers; i++) {
        struct worker *w = &in->workers[i];
        w->filling = &in->chunks[2 * i];
        w->spare = &in->chunks[2 * i + 1];
        w->filling->used = w->spare->used = 0;
        mutex_init(&w->lock);
        condition_init(&w->changed);
    }
    return in;
}

void inserter_free(struct inserter *in)
{
    if (!in)
        return;
    for (unsigned i = 0; i < in->count; i++) {
        struct worker *w = &in->workers[i];
        mutex_lock(&w->lock);
        w->stop = true;
        condition_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        thread_join(&w->thread);
        condition_deinit(&w->changed);
        mutex_deinit(&w->lock);
    }
    mem_free(in->chunks);
    mem_free(in);
}
