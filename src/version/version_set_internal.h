/* Between version_set.c and version_files.c. */
#ifndef VERSION_VERSION_SET_INTERNAL_H
#define VERSION_VERSION_SET_INTERNAL_H

#include "base/thread.h"
#include "version/log_state.h"
#include "version/replay.h"
#include "version/version_set.h"

enum { MAX_STALE = 16 };

struct version_set {
    /* immutable after open */
    struct version_set_options options;

    struct table_owner owner; /* has locks of its own */

    /* guarded by apply_lock, which is held over the manifest's I/O */
    struct mutex apply_lock;
    struct manifest_writer manifest;
    uint64_t snapshot_bytes;   /* what the manifest began with */
    uint64_t stale[MAX_STALE]; /* manifests to remove after the next roll */
    size_t stale_count;
    struct log_state logs;
    bool begun, closed;
    uint64_t sweep_below;       /* files from here on belong to this opening */
    uint64_t first_new_segment; /* created in this opening; 0: none yet */
    bool tables_dropped;        /* since begin: readers may hold old ones */
    uint64_t edits, rolls;

    _Atomic uint64_t next_file, next_run; /* handed out below; any thread */

    /* guarded by lock, held for moments; taken inside apply_lock */
    struct mutex lock;
    struct version *current; /* counted; written under both locks */
    struct version_set_stats stats;
};

/* Every table of the current version is there with its size. */
adb_status version_set_check_tables(struct version_set *s) ADB_MUST_CHECK;

/* No log segment holds a header that was made after the manifest's end: its
   number is made durable there before the first record goes in. */
adb_status version_set_check_segments(struct version_set *s,
                                      const char *manifest) ADB_MUST_CHECK;

/* New files get numbers above all tables and manifests in the directory, so
   that leftovers of a crash are never met. */
adb_status version_set_skip_used_numbers(struct version_set *s) ADB_MUST_CHECK;

#endif
