/*
 * A failing script made shorter: delta debugging (Zeller and Hildebrandt, TSE
 * 2002) over its operations and over the words of its options. What remains
 * cannot lose a line, or a word, without passing.
 */
#ifndef TESTS_MODEL_SHRINK_H
#define TESTS_MODEL_SHRINK_H

#include "model/script.h"

struct shrink {
    /* Does the script still fail in the same way? Borrows candidate. */
    bool (*fails)(void *context, const struct script *candidate);
    void *context;
    unsigned seconds; /* then it stops with what it has */
    unsigned tried;   /* out: candidates run */
};

/* s fails, and is replaced by a smaller one that does. */
void script_shrink(struct shrink *sh, struct script *s);

/* A script failed with `failure` when run with `compare`: is shortened in
   children, told on standard output and written to a file `name` in the working
   directory. Where it does not fail again (a race), it is written as it is. */
void shrink_and_tell(struct script *s, const char *name, bool compare,
                     const struct child_result *failure);

#endif
