/*
 * What the files of a repair share.
 *
 *   survey.c    what is there, and what the manifest says of it
 *   mend.c      the manifest is whole: table by table
 *   rebuild.c   it is not: everything into one run
 *   log.c       the log, checked or written to tables
 *   stage.c     new files in a directory of their own, and their manifest
 *   journal.c   the swap
 */
#ifndef REPAIR_REPAIR_INTERNAL_H
#define REPAIR_REPAIR_INTERNAL_H

#include "base/buffer.h"
#include "base/epoch.h"
#include "flush/flush.h"
#include "repair/repair.h"
#include "sst/sst_salvage.h"
#include "version/manifest.h"
#include "version/replay.h"

/* Subdirectories of the database. */
#define REPAIR_STAGE_NAME "repair.tmp"
#define REPAIR_LOST_NAME  "lost"

struct numbers {
    uint64_t *items; /* owned */
    size_t count, capacity;
};
adb_status numbers_add(struct numbers *n, uint64_t number) ADB_MUST_CHECK;
bool numbers_have(const struct numbers *n, uint64_t number);
void numbers_sort(struct numbers *n);
void numbers_deinit(struct numbers *n);

/* What the manifests' valid records say, whatever of them is missing. */
struct facts {
    struct edit_table *tables; /* owned: all that were ever added */
    size_t table_count;
    struct numbers removed; /* tables */
    struct numbers segments, segments_removed;
    struct wal_end *ends; /* owned */
    size_t end_count;
    struct watermark synced_through;
    uint64_t next_file, last_seq, database;
};

struct repair {
    const struct repair_request *request;
    struct env *env;
    const char *path;
    char *stage; /* owned: path of REPAIR_STAGE_NAME */
    struct db_options options;
    adb_repair_summary summary;

    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files, *staged_files;
    struct sst_context here, staged; /* tables of the two directories */

    /* the survey */
    struct numbers tables, logs, manifests; /* files in the directory */
    bool has_current, manifest_whole, manifest_closed;
    uint64_t manifest;     /* whole: its number */
    struct replay replay;  /* whole: what it adds up to */
    struct facts facts;    /* not whole */
    uint64_t total, done;  /* bytes, for progress */

    /* what the repaired database will be */
    struct version_edit edit; /* its tables; log state if log_stays */
    bool log_stays;
    bool swapping; /* a journal may be there: what is staged must stay */
    uint64_t next_file, next_run, last_seq;

    /* the swap: names, zero terminated one after another */
    struct buffer away, bring;
};

/* ---- repair.c ---- */

/* Tells of damage: the thread's message, and what else is known of it. */
void repair_tell(struct repair *r, adb_status status, const char *file,
                 uint64_t offset, uint64_t size, adb_slice from, adb_slice to);
/* A remark: nothing is lost by it. */
void repair_note(struct repair *r, const char *file, const char *format, ...)
    ADB_PRINTF(3, 4);
void repair_tell_table(struct repair *r, uint64_t number,
                       const struct sst_damage *damage);
void repair_advance(struct repair *r, uint64_t bytes);
/* May damage with this status be passed over? */
static inline bool repair_can_pass(const struct repair *r, adb_status status)
{
    return status == ADB_CORRUPTION || status == ADB_NOT_FOUND ||
           (status == ADB_IO && r->request->skip_unreadable);
}
uint64_t repair_new_file(void *repair);

/* ---- survey.c ---- */

adb_status repair_survey(struct repair *r) ADB_MUST_CHECK;
void facts_deinit(struct facts *f);
/* What is known of a table; NULL: nothing. */
const struct table_info *facts_table(const struct facts *f, uint64_t number);

/* ---- log.c ---- */

/* The segments that may hold history, ascending, and what is known of their
   ends. */
struct log_source {
    struct numbers segments;
    struct wal_end *ends; /* owned; parallel */
    struct watermark synced_through;
    bool closed_cleanly;
    uint64_t database;
    /* Where the manifest is not whole */
    bool unsure;      /* nobody knows how far it reached: what would be cut as
                         never promised may have been */
    uint64_t covered; /* writes up to this are in tables, unless a flush was
                         under way whose segments are all there */
};
void log_source_deinit(struct log_source *s);
/* Is the log whole, as recovery would have it? Changes nothing. */
adb_status repair_check_log(struct repair *r, const struct log_source *s,
                            bool *whole) ADB_MUST_CHECK;
/* The same where the manifest does not say which segments are live: then they
   are trimmed to those that are. */
adb_status repair_find_log(struct repair *r, struct log_source *s,
                           bool *whole) ADB_MUST_CHECK;
/* Its writes as tables of the staging directory, at level 0 from run
   r->next_run on, into edit. whole: as recovery would have it, else whatever
   is valid, with a report. Sequences up to `through` are left out. */
adb_status repair_log_to_tables(struct repair *r, const struct log_source *s,
                                bool whole, uint64_t through,
                                struct version_edit *edit) ADB_MUST_CHECK;

/* ---- mend.c, rebuild.c: fill r->edit and what goes away ---- */

/* *needed: something has to be done. */
adb_status repair_mend(struct repair *r, bool *needed) ADB_MUST_CHECK;
adb_status repair_rebuild(struct repair *r) ADB_MUST_CHECK;

/* ---- stage.c ---- */

/* An empty staging directory. */
adb_status repair_stage_begin(struct repair *r) ADB_MUST_CHECK;
adb_status repair_stage_remove(struct repair *r) ADB_MUST_CHECK;
/* Table options for the staging directory; number is set per table. */
void repair_table_options(struct repair *r, struct sst_writer_options *o);
/* Reads what was staged once more, writes manifest and CURRENT beside it, and
   makes all of it durable. */
adb_status repair_stage_finish(struct repair *r) ADB_MUST_CHECK;
adb_status repair_add_name(struct buffer *names, const char *name)
    ADB_MUST_CHECK;
adb_status repair_add_table_name(struct buffer *names,
                                 uint64_t number) ADB_MUST_CHECK;
adb_status repair_add_log_name(struct buffer *names,
                               uint64_t number) ADB_MUST_CHECK;
adb_status repair_add_manifest_name(struct buffer *names,
                                    uint64_t number) ADB_MUST_CHECK;

/* ---- journal.c ---- */

/* Swaps the files: r->away from the database into lost/<n>, r->bring from the
   staging directory into the database. */
adb_status repair_swap(struct repair *r, uint64_t n) ADB_MUST_CHECK;
/* Finishes a swap that was interrupted, if there is one. */
adb_status repair_resume(struct repair *r, bool *resumed) ADB_MUST_CHECK;

#endif
