/*
 * What the manifest knows of the log: live segments, how they end, how far
 * they are synced, and the last sequence in tables.
 */
#ifndef VERSION_LOG_STATE_H
#define VERSION_LOG_STATE_H

#include "version/version_edit.h"

struct log_state {
    uint64_t *segments;   /* owned; live, ascending */
    struct wal_end *ends; /* owned; parallel, segment 0: not known */
    size_t count;
    struct watermark synced_through;
    uint64_t last_seq;
    uint64_t segments_below; /* all that were ever made; 0: not known */
    uint64_t database;       /* whose log it is; 0: not known */
};

void log_state_deinit(struct log_state *s);
adb_status log_state_copy(const struct log_state *in,
                          struct log_state *out) ADB_MUST_CHECK;
/* ADB_INVALID: the edit does not fit; s may be half changed then. */
adb_status log_state_apply(struct log_state *s,
                           const struct version_edit *e) ADB_MUST_CHECK;

#endif
