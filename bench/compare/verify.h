/*
 * Looks at a whole database, outside of all timing: every key in order, every
 * byte of every value, and that each is the last write of that key.
 */
#ifndef BENCH_COMPARE_VERIFY_H
#define BENCH_COMPARE_VERIFY_H

#include "worker.h"

/* The state that first writes of all keys leave. */
void verify_filled(struct engine *engine, const struct values *values,
                   uint64_t keys);

/* The state that this run left; filled: it started with all keys there. With
   several writers the last write of a key is not known: then any of them will
   do. */
void verify_run(const struct run *run, bool filled);

#endif
