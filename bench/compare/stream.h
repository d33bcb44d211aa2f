/*
 * What each thread of a workload does, operation by operation: a pure function
 * of the workload, the number of keys, the thread and the seed. The loop that
 * is timed runs it against the engine; the check afterwards runs it again to
 * know what must have become of each key.
 */
#ifndef BENCH_COMPARE_STREAM_H
#define BENCH_COMPARE_STREAM_H

#include "input.h"

enum op_kind {
    OP_PUT,
    OP_DELETE,
    OP_GET,
    OP_UPDATE, /* get, then put */
    OP_SCAN,   /* an iterator of its own, a seek, some steps */
    OP_KINDS,
};

/* How an operation finds its key. */
enum pick {
    PICK_ASCENDING, /* each once, in key order */
    PICK_PERMUTED,  /* each once, in random order */
    PICK_UNIFORM,
    PICK_MISSING, /* uniform, none exists */
    PICK_ZIPF,
    PICK_HOT,    /* uniform over a hundredth of the range */
    PICK_LATEST, /* zipf, this thread's newest most often */
};

enum call {
    CALL_SINGLE,
    CALL_BATCH,   /* puts or gets, many to a call */
    CALL_FORWARD, /* from the first key to the last, again and again */
    CALL_BACKWARD,
};

struct workload {
    const char *name;
    enum pick pick;
    enum call call;
    unsigned percent[OP_KINDS]; /* of 100; the rest insert new keys */
    bool random_steps;          /* scans of 1 to steps entries */
};

/* NULL: no such workload. */
const struct workload *workload_find(const char *name);
/* Whether it is made of first writes only: starts from nothing. */
bool workload_fills(const struct workload *workload);

struct op {
    enum op_kind kind;
    unsigned steps; /* of a scan */
    uint64_t key;   /* its number; of the n-th that exists 2n */
    uint64_t stamp; /* of the value to write */
};

struct stream {
    const struct workload *workload;
    const struct zipf *zipf; /* borrowed; for the picks that need it */
    struct random random;
    uint64_t keys;
    unsigned thread, threads, steps;
    uint64_t made, inserted;
};

void stream_init(struct stream *stream, const struct workload *workload,
                 const struct zipf *zipf, uint64_t keys, unsigned thread,
                 unsigned threads, unsigned steps);
/* False when this thread's share of keys is used up. */
bool stream_next(struct stream *stream, struct op *op);

#endif
