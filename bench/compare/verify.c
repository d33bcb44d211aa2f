#include "verify.h"

#include <stdlib.h>

/* What is known of a key: absent, some value, or a stamp (its low bits; the
   two smallest are taken). */
enum { ABSENT = 0, ANY = 1 };

struct expected {
    uint32_t *state; /* owned; by the key's index */
    uint64_t count;
};

static uint32_t known(uint64_t stamp)
{
    uint32_t low = (uint32_t)stamp;
    return low > ANY ? low : ANY + 1;
}

static void check_entry(const struct expected *expected,
                        const struct values *values, const struct entry *entry)
{
    key_check(entry->key);
    uint64_t number = key_number(entry->key);
    uint64_t stamp = value_check_all(values, entry->value, number);
    if (number & 1 || number / 2 >= expected->count ||
        expected->state[number / 2] == ABSENT)
        fatal("key %llu should not be there", (unsigned long long)number);
    uint32_t state = expected->state[number / 2];
    if (state != ANY && state != known(stamp))
        fatal("key %llu has a value that was overwritten",
              (unsigned long long)number);
}

static void check_all(struct engine *engine, const struct values *values,
                      const struct expected *expected)
{
    struct session *session = session_open(engine);
    struct entry entry;
    uint64_t due = 0, seen = 0, last = 0;
    for (uint64_t i = 0; i < expected->count; i++)
        due += expected->state[i] != ABSENT;
    session_iter_open(session);
    for (bool more = session_first(session, &entry); more;
         more = session_next(session, &entry)) {
        uint64_t number = key_number(entry.key);
        if (seen++ && number <= last)
            fatal("key %llu is out of order", (unsigned long long)number);
        last = number;
        check_entry(expected, values, &entry);
    }
    session_iter_close(session);
    session_close(session);
    if (seen != due)
        fatal("%llu keys are there, %llu should be", (unsigned long long)seen,
              (unsigned long long)due);
}

static struct expected expected_new(uint64_t count, uint64_t filled)
{
    struct expected e = {need((count + 1) * sizeof *e.state), count};
    for (uint64_t i = 0; i < filled; i++)
        e.state[i] = known(first_stamp(2 * i));
    return e;
}

void verify_filled(struct engine *engine, const struct values *values,
                   uint64_t keys)
{
    struct expected e = expected_new(keys, keys);
    check_all(engine, values, &e);
    free(e.state);
}

static void replay(struct expected *e, const struct run *run, unsigned thread)
{
    struct stream stream;
    struct op op;
    bool alone = (run->threads == 1 && !run->write_rate) ||
                 workload_fills(run->workload);
    stream_init(&stream, run->workload, run->zipf, run->keys, thread,
                run->threads, run->steps);
    for (uint64_t i = 0; i < run->made[thread]; i++) {
        stream_next(&stream, &op);
        if (op.kind == OP_DELETE)
            e->state[op.key / 2] = alone ? ABSENT : ANY;
        else if (op.kind == OP_PUT || op.kind == OP_UPDATE)
            e->state[op.key / 2] =
                alone || op.key / 2 >= run->keys ? known(op.stamp) : ANY;
    }
}

void verify_run(const struct run *run, bool filled)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < run->threads; i++)
        if (run->made[i] > most)
            most = run->made[i];
    /* Inserts lie beyond the keys, interleaved by thread. */
    bool inserts =
        filled && run->workload->call == CALL_SINGLE && run->puts > 0;
    uint64_t count = run->keys + (inserts ? most * run->threads : 0);
    struct expected e = expected_new(count, filled ? run->keys : 0);
    if (run->write_rate)
        for (uint64_t i = 0; i < run->keys; i++)
            e.state[i] = ANY;
    if (run->workload->call == CALL_SINGLE || !filled)
        for (unsigned thread = 0; thread < run->threads; thread++)
            replay(&e, run, thread);
    check_all(run->engine, run->values, &e);
    free(e.state);
}
