/*
 * A script under way: a database, the model it is compared with, and what lives
 * over several operations. Anything that is not as it must be ends the process
 * (child.h); run in a child.
 */
#ifndef TESTS_MODEL_RUN_H
#define TESTS_MODEL_RUN_H

#include "model/script.h"

struct run_snapshot {
    adb_snapshot *snapshot; /* NULL: free */
    uint64_t *values;       /* owned; what it must show */
};

struct run_iterator {
    adb_iter *it; /* NULL: free */
    uint64_t *values;
    size_t low, high; /* keys inside its bounds */
    size_t at;        /* MODEL_KEYS: on no entry */
};

struct run_pin {
    adb_value value;
    size_t key;
    uint64_t id; /* 0: free */
};

struct run_edit {
    size_t key;
    uint64_t id; /* 0: deletes */
};
enum { RUN_BATCH_MAX = 4096 };

struct run {
    struct model model;
    adb *db;
    const char *path;    /* borrowed */
    const char *options; /* of the present opening, borrowed */
    bool compare;        /* with the model; else results only go into history */
    struct run_snapshot snapshots[OP_SLOTS];
    struct run_iterator iterators[OP_SLOTS];
    struct run_pin pins[OP_PINS];
    adb_batch *batch; /* NULL: none begun */
    struct run_edit edits[RUN_BATCH_MAX];
    size_t edit_count;
    uint64_t done;    /* operations */
    uint64_t history; /* hash over every result */
    uint8_t value[MODEL_VALUE_MAX];
};

/* path does not exist. Large: not on the stack. */
void run_begin(struct run *t, uint64_t keys, const char *path,
               const char *options, bool compare);
/* op->options, if any, are read until the next opening or run_end. */
void run_op(struct run *t, const struct op *op);
/* Compares all, reopens, compares again, closes. */
void run_end(struct run *t);

/* A script from begin to end, as body of a child. */
struct run_job {
    const struct script *script;
    const char *path; /* made anew by run_script_child */
    bool compare;
};
void run_script(void *job);
/* The same in a child, the directory removed before and after. */
struct child_result run_script_child(const struct run_job *job,
                                     unsigned timeout_ms, bool quiet);
void run_remove(const char *path);

#endif
