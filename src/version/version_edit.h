/*
 * A version edit: one atomic step in the life of the database - tables that
 * come and go, logs that begin and are done with, counters. The manifest is a
 * log of edits; a version is all edits applied.
 *
 * Format: a sequence of fields, each
 *   tag (varint) length (varint) bytes
 * Unknown tags are ADB_UNSUPPORTED: nothing unknown is ignored. The tags stand
 * in version_edit.c, how records hold edits in manifest.h.
 *
 * The parts of one edit apply in this order: tables removed, moved, added, put
 * into quarantine, released from it; segments created, ended, removed.
 */
#ifndef VERSION_VERSION_EDIT_H
#define VERSION_VERSION_EDIT_H

#include "base/buffer.h"
#include "sst/table_info.h"
#include "wal/record_format.h"
#include "wal/wal.h"

/* Where a table stands: runs are ordered by age across all levels; inside a
   run tables are disjoint. A larger run number is newer. Every version of a
   key in a newer run is newer than every version of it in an older run. */
struct table_place {
    uint32_t level; /* 0: flushed; grows toward the bottom */
    uint64_t run;   /* run number, unique over all levels, ordered by age */
};

/* Deeper levels are never written. */
enum { TABLE_MAX_LEVEL = 63 };

/* Where runs of a new database begin to be numbered: smaller numbers are left
   for what is set aside below all of them (compaction/picker.h). */
#define TABLE_FIRST_RUN (UINT64_C(1) << 40)

struct edit_table {
    struct table_place place;
    struct table_info info; /* owned */
};

struct edit_move {
    uint64_t number;
    struct table_place to;
};

/* A damaged table that compaction must leave alone. */
struct quarantined {
    uint64_t number;    /* of the table */
    uint64_t offset;    /* of the first damaged piece in its file */
    adb_slice from, to; /* keys that piece may touch; owned */
};

struct version_edit {
    struct edit_table *added; /* owned */
    size_t added_count;
    uint64_t *removed; /* owned: table numbers */
    size_t removed_count;
    /* Tables that change place without being rewritten. */
    struct edit_move *moved; /* owned */
    size_t moved_count;

    struct quarantined *quarantined; /* owned */
    size_t quarantined_count;
    uint64_t *released; /* owned: tables that leave the quarantine */
    size_t released_count;

    uint64_t *segments_created; /* owned */
    size_t segments_created_count;
    uint64_t *segments_removed; /* owned */
    size_t segments_removed_count;
    struct wal_end *segment_ends; /* owned: how segments are known to end */
    size_t segment_ends_count;

    /* Counters: 0 leaves them as they are. */
    uint64_t next_file; /* numbers below are taken */
    uint64_t next_run;
    uint64_t last_seq; /* every version in tables is at or below */
    struct watermark synced_through;
    uint64_t segments_below; /* of snapshots, see version_edit.c */
    uint64_t database;       /* likewise */
};

void version_edit_deinit(struct version_edit *e);
/* info is taken over on ADB_OK (and zeroed). */
adb_status version_edit_add_table(struct version_edit *e,
                                  struct table_place place,
                                  struct table_info *info) ADB_MUST_CHECK;
adb_status version_edit_remove_table(struct version_edit *e,
                                     uint64_t number) ADB_MUST_CHECK;
adb_status version_edit_move_table(struct version_edit *e, uint64_t number,
                                   struct table_place to) ADB_MUST_CHECK;
/* q's keys are copied. A table in quarantine may be put there again. */
adb_status version_edit_quarantine(struct version_edit *e,
                                   const struct quarantined *q) ADB_MUST_CHECK;
adb_status version_edit_release(struct version_edit *e,
                                uint64_t number) ADB_MUST_CHECK;
adb_status version_edit_create_segment(struct version_edit *e,
                                       uint64_t number) ADB_MUST_CHECK;
adb_status version_edit_remove_segment(struct version_edit *e,
                                       uint64_t number) ADB_MUST_CHECK;
adb_status version_edit_end_segment(struct version_edit *e,
                                    const struct wal_end *end) ADB_MUST_CHECK;

/* Does the edit change which tables there are, where, or how they count? */
bool version_edit_changes_tables(const struct version_edit *e);

void quarantined_deinit(struct quarantined *q);
/* out is written on ADB_OK only. */
adb_status quarantined_copy(const struct quarantined *in,
                            struct quarantined *out) ADB_MUST_CHECK;

/* Appends to out, which stays as it was on failure. */
adb_status version_edit_encode(const struct version_edit *e,
                               struct buffer *out) ADB_MUST_CHECK;
/* Into a zeroed edit; deinit it also after a failure. The message does not
   name the place: the caller knows it. */
adb_status version_edit_decode(adb_slice payload,
                               struct version_edit *e) ADB_MUST_CHECK;

#endif
