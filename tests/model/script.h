/*
 * Operations on a database as data: what the random tests run, what a failing
 * run is written down as, and what stays in tests/model/scripts.
 *
 * As text, one operation a line; # begins a comment. Keys are indexes into the
 * universe of keys that follows from a seed (model.h), values their identities;
 * slots 0 to 3 (pins: to 7) name what lives over several operations.
 *
 *   keys SEED                      first of all
 *   open NAME=VALUE...             then: the options, others have defaults
 *   put KEY VALUE [DURABILITY]     DURABILITY: process, sync
 *   delete KEY [DURABILITY]
 *   begin                          puts and deletes from here on are
 *   write [DURABILITY]             one batch, written here
 *   get KEY [@SLOT] [nofill]       @SLOT: in that snapshot
 *   get-into KEY [@SLOT] [nofill]
 *   multi-get [@SLOT] [nofill] KEY...
 *   pin SLOT KEY [@SLOT] [nofill]  a get whose value is held
 *   unpin SLOT
 *   snapshot SLOT
 *   release SLOT
 *   iter SLOT [@SLOT] [nofill] [from KEY] [to KEY] [prefix KEY]
 *   first SLOT | last SLOT | next SLOT | prev SLOT
 *   seek SLOT KEY | seek-for-prev SLOT KEY
 *   end SLOT                       frees the iterator
 *   size [from KEY] [to KEY]
 *   compact [from KEY] [to KEY]
 *   flush | sync | verify | wait | stats
 *   reopen NAME=VALUE...           closes, opens
 *   crash NAME=VALUE...            as kill -9 would end it, opens
 *
 * A key that is read, sought or a bound may be a neighbour of one: 17+ has a
 * zero byte appended, 17- lacks the last byte, 17^ is behind all that begins
 * like 17. An operation whose slot is not in use (taken) does nothing, so that
 * a script with lines left out is a script.
 */
#ifndef TESTS_MODEL_SCRIPT_H
#define TESTS_MODEL_SCRIPT_H

#include <stdio.h>

#include "model/model.h"

enum op_kind {
    OP_PUT, OP_DELETE, OP_BEGIN, OP_WRITE, OP_GET, OP_GET_INTO, OP_MULTI_GET,
    OP_PIN, OP_UNPIN, OP_SNAPSHOT, OP_RELEASE, OP_ITER, OP_FIRST, OP_LAST,
    OP_NEXT, OP_PREV, OP_SEEK, OP_SEEK_FOR_PREV, OP_END, OP_SIZE, OP_COMPACT,
    OP_FLUSH, OP_SYNC, OP_VERIFY, OP_WAIT, OP_STATS, OP_REOPEN, OP_CRASH,
    OP_KINDS
};

enum place_near { AT_KEY, AFTER_KEY, SHORTER_KEY, BEHIND_KEY };
struct place {
    uint16_t key;
    uint8_t near; /* enum place_near */
};

enum op_flags { OP_NO_FILL = 1, OP_FROM = 2, OP_TO = 4, OP_PREFIX = 8 };
enum { OP_SLOTS = 4, OP_PINS = 8, OP_LIST_MAX = 12 };

struct op {
    uint8_t kind; /* enum op_kind */
    uint8_t slot;
    uint8_t snapshot; /* slot + 1; 0: none */
    uint8_t flags;
    uint8_t durability; /* enum adb_durability; 0: the database's */
    uint8_t count;      /* of a list */
    struct place place, from, to, prefix;
    struct place list[OP_LIST_MAX];
    uint64_t value;
    char *options; /* owned; of OP_REOPEN and OP_CRASH */
};

struct script {
    uint64_t keys; /* seed of the universe */
    char *options; /* owned */
    struct op *ops; /* owned */
    size_t count, capacity;
};

void script_init(struct script *s, uint64_t keys, const char *options);
void script_deinit(struct script *s);
/* A copy, the options' text too. */
void script_add(struct script *s, const struct op *op);
void script_copy(struct script *s, const struct script *from);

void op_print(FILE *out, const struct op *op);
void script_print(FILE *out, const struct script *s);
/* Dies of a line that is no operation, naming it. */
void script_read(struct script *s, const char *path);

/* ---- random ones, script_random.c ---- */

struct generator {
    struct random random;
    unsigned keys, hot;      /* how many keys are used; how many often */
    unsigned delete_percent; /* of writes */
    unsigned weights[OP_KINDS], weight_sum;
    unsigned in_batch;       /* operations until it is written */
    unsigned moves;          /* of the iterator */
    unsigned run;            /* keys to delete one after the other */
    uint8_t iterator;
    uint16_t run_key;
    bool open[OP_SLOTS], held[OP_SLOTS]; /* iterators; snapshots */
    uint64_t next_value;
};

/* What follows from seed is always the same. options receives those of the
   first opening. */
void generator_init(struct generator *g, uint64_t seed,
                    char options[MODEL_OPTIONS_MAX]);
/* op->options, where there are some, is fresh memory for the caller. */
void generator_next(struct generator *g, struct op *op);

#endif
