/*
 * The reference that a database is compared with: a fixed universe of keys in
 * order, and of each key the identity of its present value (0: absent). Values
 * are derived from (key, identity), so a whole state is an array of numbers.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "albertdb/albertdb.h"
#include "base/random.h"
#include "model/child.h"
#include "support.h"

enum { MODEL_KEYS = 3000, MODEL_VALUE_MAX = 80000 };

struct model {
    char *keys[MODEL_KEYS]; /* owned; ascending */
    size_t sizes[MODEL_KEYS];
    uint64_t values[MODEL_KEYS]; /* identity; 0: absent */
    uint64_t hash;               /* of the state: xor over present keys */
    uint64_t next_value;
};

void model_init(struct model *m, uint64_t seed);
void model_deinit(struct model *m);

void model_put(struct model *m, size_t key, uint64_t value);
void model_delete(struct model *m, size_t key);

/* The bytes of a value; returns its size. p has MODEL_VALUE_MAX bytes. */
size_t model_value(size_t key, uint64_t value, uint8_t *p);
/* The identity of a value's bytes, after checking every byte of it. */
uint64_t model_identify(size_t key, adb_slice value);
/* Index of a key, or MODEL_KEYS. */
size_t model_find(const struct model *m, adb_slice key);
/* First index whose key is >= key. */
size_t model_lower(const struct model *m, adb_slice key);

/* The hash of what a database holds, by a full scan that checks order and
   every value. values (NULL: not wanted) are the identities of all keys. */
uint64_t model_scan(const struct model *m, adb *db, uint64_t *values);
/* What a key adds to a state's hash. */
uint64_t model_hash_of(size_t key, uint64_t value);
/* Single keys, chosen by r, have the model's values. */
void model_check_keys(const struct model *m, adb *db, struct random *r,
                      unsigned count);

/* A random set of options, words "name=value", in every one of which nothing
   but speed and size may differ. durability is process; a later word for the
   same option wins. */
enum { MODEL_OPTIONS_MAX = 1024 };
void model_options(struct random *r, char buffer[MODEL_OPTIONS_MAX]);
/* On model_env. Beside the options proper, manifest_roll=BYTES. */
adb *model_open(const char *path, const char *options);

#endif
