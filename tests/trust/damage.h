/*
 * Small databases and what can happen to their files: shared by the tests of
 * damage and of repair.
 */
#ifndef TESTS_TRUST_DAMAGE_H
#define TESTS_TRUST_DAMAGE_H

#include "trust/store.h"

enum { FILES_MAX = 40, WRITES = 170, DAMAGE_SECTOR = 512 };

struct store_file {
    char path[200];
    uint8_t *data; /* owned */
    size_t size;
};
struct store {
    struct env *disk;
    char options[300];
    struct script script;
    struct store_state *states; /* owned; [n] after n writes */
    size_t low, high;           /* which of them may be found */
    bool closed;
    struct store_file files[FILES_MAX];
    size_t file_count;
    uint64_t bytes; /* of all files */
};

enum damage_kind { FLIP, ZERO, NOISE, SWAP, CUT, REMOVE, EXCHANGE, KINDS };

struct damage {
    enum damage_kind kind;
    size_t file, other_file;
    uint64_t offset, other_offset; /* CUT: the size */
    unsigned bit;
    char text[400];
};

const char *damage_name(enum damage_kind kind);

enum store_flags {
    STORE_CLOSED = 1, /* else killed */
    STORE_MAPPED = 2, /* how the log is written */
    STORE_LARGE = 4,  /* with a value that stands in an extent */
    STORE_LEFTOVERS = 8 /* files that nobody needs are not removed */
};
/* About 40 KB in tables of two levels, and a log. Stores of two seeds have
   files of the same names. */
void make_store(struct store *s, uint64_t seed, unsigned flags);
void free_store(struct store *s);
/* create: make a new database where there is none. */
adb_status open_store(const struct store *s, struct env *env, bool create,
                      adb **db);

/* Some damage, drawn from r; other is where foreign files come from. */
void choose_damage(struct damage *d, const struct store *s,
                   const struct store *other, struct random *r);
void describe_damage(struct damage *d, const struct store *s,
                     const struct store *other);
/* Returns false where nothing would change. */
bool inflict_damage(const struct damage *d, const struct store *s,
                    const struct store *other, struct env *env,
                    struct random *r);

#endif
