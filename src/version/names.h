/*
 * The names of a database's files, and which file a name speaks of.
 *
 *   CURRENT  LOCK  MANIFEST-NNNNNN  NNNNNN.sst  NNNNNN.log
 *   REPAIR: a repair is swapping files, see src/repair/journal.c
 *   and each of them with ".tmp" behind it while it is being made
 *
 * Numbers have at least six digits.
 */
#ifndef VERSION_NAMES_H
#define VERSION_NAMES_H

#include <stdint.h>

enum name_kind {
    NAME_FOREIGN,
    NAME_CURRENT,
    NAME_LOCK,
    NAME_REPAIR,
    NAME_MANIFEST,
    NAME_TABLE,
    NAME_LOG,
    NAME_TEMPORARY
};

/* *number is set for manifests, tables and logs. */
enum name_kind name_parse(const char *name, uint64_t *number);

#define NAME_CURRENT_TEXT "CURRENT"
#define NAME_REPAIR_TEXT "REPAIR"
enum { NAME_MAX_TEXT = 32 };
/* "MANIFEST-NNNNNN" into text of NAME_MAX_TEXT bytes; returns text. */
char *name_manifest(uint64_t number, char *text);
/* directory/MANIFEST-NNNNNN, fresh memory; NULL: out of memory. */
char *manifest_path(const char *directory, uint64_t number);

#endif
