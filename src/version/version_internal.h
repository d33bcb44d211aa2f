/* Between the files of version/ that make versions. */
#ifndef VERSION_VERSION_INTERNAL_H
#define VERSION_VERSION_INTERNAL_H

#include "version/version.h"

struct run_block {
    _Atomic uint32_t refs;
    size_t count;
    struct version_table *tables[];
    /* uint64_t last_heads[count] */
};
/* Room for count tables, none entered; refs 1. NULL: out of memory. */
struct run_block *run_block_new(size_t count);
uint64_t *run_block_heads(struct run_block *b);
struct run_block *run_block_ref(struct run_block *b);
void run_block_unref(struct run_block *b);

/* ---- quarantine.c ---- */

void quarantine_unref(struct quarantine *q); /* NULL is fine */
/* What base's becomes by the edit in v, whose tables are those of the edit
   applied; *out NULL: nothing is left. ADB_INVALID: the edit speaks of tables
   that are not there. */
adb_status quarantine_build(const struct version *base,
                            const struct version_edit *edit,
                            const struct version *v,
                            struct quarantine **out) ADB_MUST_CHECK;

/* What every version must hold whatever the compaction policy: order inside
   and of runs. */
adb_status version_check_run(const struct version_run *run) ADB_MUST_CHECK;
adb_status version_check_order(const struct version *v) ADB_MUST_CHECK;

#endif
