/*
 * Repair of a closed database that has damage, or does not open at all: what
 * can be read is kept, the rest is told, nothing is destroyed.
 * docs/damage.md has the whole story, docs/decisions/013-repair.md the choices.
 *
 *   CURRENT and manifest whole    damaged tables are written anew without what
 *                                 is damaged, a damaged log is written to
 *                                 tables, everything else stays as it is
 *   not whole                     every table and log in the directory that
 *                                 may belong to it is merged into one run, of
 *                                 each key the version of the largest sequence
 *
 * Until the moment at which the new files are complete and durable nothing of
 * the old ones changes; then they are swapped (journal.c), the old ones into
 * the subdirectory lost/. Interrupted anywhere, it can be run again.
 *
 * Threads: one; the database's lock file keeps others out.
 */
#ifndef REPAIR_REPAIR_H
#define REPAIR_REPAIR_H

#include "db/options.h"

struct repair_request {
    const char *path;
    const struct adb_options *options; /* NULL: defaults */
    bool dry_run;         /* only look, and report */
    bool skip_unreadable; /* what the system cannot read counts as damaged;
                             else it ends the repair */
    adb_damage_fn report; /* may be NULL, like progress */
    adb_progress_fn progress;
    void *context;
};

/* The contract is adb_repair's. */
adb_status repair_database(const struct repair_request *request,
                           adb_repair_summary *summary) ADB_MUST_CHECK;

#endif
