/*
 * CURRENT: the one file with a fixed name. It says which manifest holds, and
 * how far that manifest was surely on stable storage when CURRENT was written:
 *
 *   albertdb 1 open MANIFEST-000007 length 1304 last 8c2f..16 hex.. sum 90ab..
 *
 *   1        the format version of the database
 *   open     the manifest may have grown since, or have a torn end, but not
 *            below `length`; `last` is the checksum of the record that ends
 *            there
 *   closed   the manifest ends at `length`; any difference is damage
 *   sum      checksum of the line up to and including the space before its
 *            hex digits; in every version the last 16 characters of the line
 *
 * One line of text, ended by a newline. Always replaced as a whole: CURRENT.tmp
 * written and synced, renamed, directory synced.
 */
#ifndef VERSION_CURRENT_H
#define VERSION_CURRENT_H

#include "env/env.h"

enum { DATABASE_FORMAT_VERSION = 1 };

struct current {
    bool closed;
    uint64_t manifest; /* its number */
    uint64_t length;   /* bytes of it that are surely durable */
    uint64_t checksum; /* of the record that ends there */
};

/* ADB_NOT_FOUND: there is none. */
adb_status current_read(struct env *env, const char *directory,
                        struct current *out) ADB_MUST_CHECK;

/* On failure *maybe tells whether the new line may have taken effect, now or
   after a crash; if false the old one certainly holds. */
adb_status current_write(struct env *env, const char *directory,
                         const struct current *c, bool *maybe) ADB_MUST_CHECK;

#endif
