/*
 * Histories of one register, as threads saw it, and whether they are
 * linearizable: whether each operation can be given a moment between its call
 * and its return such that every read returns what the last write before it
 * wrote.
 */
#ifndef TESTS_MODEL_HISTORY_H
#define TESTS_MODEL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event {
    uint64_t called, returned; /* any clock that all threads share */
    uint64_t value;            /* written, or found; 0: absent */
    bool write;
};

/* The search of Wing and Gong (1993) with Lowe's memory of what was visited:
   exact, and fast while few writes overlap. Sorts events by call. Before the
   first of them the register holds `initial`. */
bool history_is_linearizable(struct event *events, size_t count,
                             uint64_t initial);

#endif
