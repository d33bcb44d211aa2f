/*
 * What the tables of a merge say of where they come from (struct
 * table_lineage): in a range of keys no older file counts any more but those
 * that are named.
 *
 *   files numbered below the plan's moment
 *     in the version, input        what counts of it is in the output
 *     in the version, no input     named, if it has keys of the range
 *     being made by another job    named: it may become part of the database
 *     all others                   history, or never part of the database
 *
 * That is true of any range. Needed is the range of which the inputs say it
 * themselves, so that what was merged away below them stays superseded from
 * merge to merge; and the keys of the inputs where the merge drops tombstones
 * and sets sequences to 0, so that nothing older could be told by its sequence
 * any more. A merge with something older below says nothing of its own.
 */
#ifndef COMPACTION_LINEAGE_H
#define COMPACTION_LINEAGE_H

#include "base/buffer.h"
#include "compaction/compaction.h"
#include "sst/run_builder.h"

struct compaction_lineage {
    struct table_lineage told; /* without `except`: see struct run_job */
    struct run_other *others;  /* owned; keys are the version's */
    size_t other_count;
    struct buffer before; /* a key that told may end at */
};

/* Opens the inputs. *out needs lineage_deinit whatever the status. */
adb_status lineage_gather(const struct compaction_job *job,
                          struct compaction_lineage *out) ADB_MUST_CHECK;
void lineage_deinit(struct compaction_lineage *l);

#endif
