#include "stream.h"

#include <string.h>

static const struct workload workloads[] = {
    {"fillseq", PICK_ASCENDING, CALL_SINGLE, {[OP_PUT] = 100}, false},
    {"fillrandom", PICK_PERMUTED, CALL_SINGLE, {[OP_PUT] = 100}, false},
    {"fillbatch", PICK_PERMUTED, CALL_BATCH, {[OP_PUT] = 100}, false},
    {"overwrite", PICK_UNIFORM, CALL_SINGLE, {[OP_PUT] = 100}, false},
    {"overwritezipf", PICK_ZIPF, CALL_SINGLE, {[OP_PUT] = 100}, false},
    {"deleterandom", PICK_UNIFORM, CALL_SINGLE, {[OP_DELETE] = 100}, false},
    {"readrandom", PICK_UNIFORM, CALL_SINGLE, {[OP_GET] = 100}, false},
    {"multireadrandom", PICK_UNIFORM, CALL_BATCH, {[OP_GET] = 100}, false},
    {"readmissing", PICK_MISSING, CALL_SINGLE, {[OP_GET] = 100}, false},
    {"readhot", PICK_HOT, CALL_SINGLE, {[OP_GET] = 100}, false},
    {"readseq", PICK_ASCENDING, CALL_FORWARD, {[OP_SCAN] = 100}, false},
    {"readreverse", PICK_ASCENDING, CALL_BACKWARD, {[OP_SCAN] = 100}, false},
    {"seekrandom", PICK_UNIFORM, CALL_SINGLE, {[OP_SCAN] = 100}, false},
    {"ycsba", PICK_ZIPF, CALL_SINGLE, {[OP_GET] = 50, [OP_PUT] = 50}, false},
    {"ycsbb", PICK_ZIPF, CALL_SINGLE, {[OP_GET] = 95, [OP_PUT] = 5}, false},
    {"ycsbc", PICK_ZIPF, CALL_SINGLE, {[OP_GET] = 100}, false},
    {"ycsbd", PICK_LATEST, CALL_SINGLE, {[OP_GET] = 95}, false},
    {"ycsbe", PICK_ZIPF, CALL_SINGLE, {[OP_SCAN] = 95}, true},
    {"ycsbf", PICK_ZIPF, CALL_SINGLE, {[OP_GET] = 50, [OP_UPDATE] = 50}, false},
};

const struct workload *workload_find(const char *name)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    return NULL;
}

bool workload_fills(const struct workload *w)
{
    return w->percent[OP_PUT] == 100 &&
           (w->pick == PICK_ASCENDING || w->pick == PICK_PERMUTED);
}

void stream_init(struct stream *s, const struct workload *workload,
                 const struct zipf *zipf, uint64_t keys, unsigned thread,
                 unsigned threads, unsigned steps)
{
    *s = (struct stream){.workload = workload,
                         .zipf = zipf,
                         .random = {mix(thread + 1)},
                         .keys = keys,
                         .thread = thread,
                         .threads = threads,
                         .steps = steps};
}

/* The n-th key that this thread inserts beyond those that exist. */
static uint64_t inserted_index(const struct stream *s, uint64_t n)
{
    return s->keys + n * s->threads + s->thread;
}

static uint64_t pick_latest(struct stream *s)
{
    uint64_t back = zipf_next(s->zipf, &s->random);
    if (back < s->inserted)
        return inserted_index(s, s->inserted - 1 - back);
    return s->keys - 1 - (back - s->inserted) % s->keys;
}

static bool pick(struct stream *s, uint64_t *key)
{
    uint64_t turn = s->made * s->threads + s->thread;
    switch (s->workload->pick) {
    case PICK_ASCENDING:
        *key = 2 * turn;
        return turn < s->keys;
    case PICK_PERMUTED:
        *key = turn < s->keys ? 2 * permute(turn, s->keys) : 0;
        return turn < s->keys;
    case PICK_UNIFORM:
        *key = 2 * random_below(&s->random, s->keys);
        return true;
    case PICK_MISSING:
        *key = 2 * random_below(&s->random, s->keys) + 1;
        return true;
    case PICK_ZIPF:
        *key = 2 * permute(zipf_next(s->zipf, &s->random), s->keys);
        return true;
    case PICK_HOT:
        *key = 2 * random_below(&s->random, s->keys / 100 + 1);
        return true;
    case PICK_LATEST:
        *key = 2 * pick_latest(s);
        return true;
    }
    return false;
}

static enum op_kind choose_kind(struct stream *s)
{
    unsigned point = (unsigned)random_below(&s->random, 100), sum = 0;
    for (unsigned kind = 0; kind < OP_KINDS; kind++) {
        sum += s->workload->percent[kind];
        if (point < sum)
            return (enum op_kind)kind;
    }
    return OP_KINDS; /* a new key */
}

static bool next_fill(struct stream *s, struct op *op)
{
    op->kind = OP_PUT;
    if (!pick(s, &op->key))
        return false;
    op->stamp = first_stamp(op->key);
    s->made++;
    return true;
}

bool stream_next(struct stream *s, struct op *op)
{
    if (workload_fills(s->workload))
        return next_fill(s, op);
    op->kind = choose_kind(s);
    s->made++;
    if (op->kind == OP_KINDS) {
        op->kind = OP_PUT;
        op->key = 2 * inserted_index(s, s->inserted++);
        op->stamp = first_stamp(op->key);
        return true;
    }
    pick(s, &op->key);
    op->stamp = random_next(&s->random);
    op->steps = s->steps;
    if (s->workload->random_steps)
        op->steps = 1 + (unsigned)random_below(&s->random, s->steps);
    return true;
}
