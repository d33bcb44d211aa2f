/* Between the files of a run. */
#ifndef TESTS_MODEL_RUN_INTERNAL_H
#define TESTS_MODEL_RUN_INTERNAL_H

#include "model/run.h"

enum { PLACE_MAX = 700 };

/* The bytes of a key or of its neighbour; those are made in p. */
adb_slice run_place(const struct run *t, struct place place,
                    uint8_t p[PLACE_MAX]);
uint64_t *run_copy_values(const uint64_t *values);
/* NULL: none asked for, or its slot is free. */
struct run_snapshot *run_snapshot_of(struct run *t, const struct op *op);
/* A result goes into the history. */
void run_note(struct run *t, uint64_t result);

/* run_iter.c */
void run_iter_begin(struct run *t, const struct op *op);
void run_iter_move(struct run *t, const struct op *op);
void run_iter_end(struct run *t, const struct op *op);

#endif
