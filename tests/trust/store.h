/*
 * What the whole-database trust tests share: keys and values made of numbers,
 * so that a state is an array of numbers; scripts of operations with all the
 * states they go through; and the oracle that tells whether what a database
 * holds is one of them.
 *
 * Checks run on many threads, so a failure here prints and aborts; cmocka's
 * assertions belong to the main thread.
 */
#ifndef TESTS_TRUST_STORE_H
#define TESTS_TRUST_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "albertdb/albertdb.h"
#include "db/db.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "support.h"

#define adb_status_name_of(status) adb_status_name(status)
#define adb_message_of()           adb_error_message()

enum { STORE_KEYS = 120, STORE_KEY_MAX = 64, STORE_VALUE_MAX = 1 << 17 };
#define STORE_PATH "/db"

#define die(...)                                                               \
    do {                                                                       \
        fprintf(stderr, "\n%s:%d: ", __FILE__, __LINE__);                      \
        fprintf(stderr, __VA_ARGS__);                                          \
        fprintf(stderr, "\n");                                                 \
        fflush(NULL);                                                          \
        abort();                                                               \
    } while (0)

/* Which value each key has; an identity is a count | size << 32, 0: absent. */
struct store_state {
    uint64_t ids[STORE_KEYS];
};
uint64_t store_hash(const struct store_state *s);

/* Keys ascend with their number. */
size_t store_key(size_t key, char *p);
/* The bytes of a value: p has STORE_VALUE_MAX of them. */
size_t store_value(size_t key, uint64_t id, uint8_t *p);
/* Which key and which value these bytes are; false: none that was ever made. */
bool store_identify(adb_slice key, adb_slice value, size_t *number,
                    uint64_t *id);

/* Text of "name=value" words to options on env. */
void store_options(struct adb_options *o, const char *text, struct env *env);

/* All that the database holds, by a scan and some reads of single keys; dies
   of anything that was never written. A failure of the database is returned. */
adb_status store_scan(adb *db, struct random *r, struct store_state *out);

/* ---- scripts ------------------------------------------------------------ */

enum step_kind { STEP_WRITE, STEP_SYNC, STEP_FLUSH, STEP_COMPACT, STEP_CLOSE,
                 STEP_KILL };
enum { EDITS_MAX = 24 };

struct edit {
    uint8_t key;
    uint64_t id; /* 0: delete */
};
struct step {
    enum step_kind kind;
    enum adb_durability durability; /* of a write */
    bool batch;
    unsigned count;
    struct edit edits[EDITS_MAX];
    size_t writes; /* writes up to and including this step */
};
struct script {
    struct step *steps; /* owned */
    size_t count;
    uint64_t *hashes;   /* owned; [n]: the state after n writes */
    size_t writes;
};

struct script_shape {
    size_t steps;
    bool kills;   /* the process dies and opens again */
    bool reopens;
    bool huge;    /* values above a segment */
    unsigned barrier_permille; /* sync, flush, compact */
    unsigned raise_percent;    /* of writes that ask for durability sync */
};
void script_make(struct script *s, const struct script_shape *shape,
                 struct random *r);
void script_free(struct script *s);

adb_status store_apply(adb *db, const struct step *step);

/* Is what was found a state after low..high writes? Which, or SIZE_MAX. */
size_t script_match(const struct script *s, const struct store_state *found,
                    size_t low, size_t high);

/* Writes the files of a directory of env below a real path, to look at. */
void store_dump(struct env *env, const char *to);

#endif
