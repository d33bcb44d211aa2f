/*
 * Replaying a manifest: all edits applied to a table of tables, from which the
 * version is made once at the end. Costs what the manifest is long, however
 * many tables there are.
 */
#ifndef VERSION_REPLAY_H
#define VERSION_REPLAY_H

#include "version/log_state.h"
#include "version/version.h"

struct replay {
    struct edit_table *tables; /* owned; live ones, in no order */
    size_t count, capacity;
    size_t *slots; /* owned; open addressing by number: index + 1, 0 empty */
    size_t slot_count; /* a power of two, at least twice capacity */
    struct version_edit quarantine; /* what it says of damaged tables */
    struct log_state logs;
    uint64_t next_file, next_run; /* above all that was seen */
    uint64_t edits;
};

void replay_deinit(struct replay *r);
/* ADB_INVALID: the edit does not fit what came before. */
adb_status replay_apply(struct replay *r,
                        const struct version_edit *e) ADB_MUST_CHECK;
/* The version of all that was applied. ADB_INVALID: what it says of itself
   does not hold (version_check). */
adb_status replay_version(struct replay *r, struct table_owner *owner,
                          struct version **out) ADB_MUST_CHECK;

#endif
