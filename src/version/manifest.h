/*
 * The manifest file: version edits framed as records (wal/record_format.h)
 * whose checksums are bound to the manifest's number and their offset.
 *
 *   MANIFEST-NNNNNN:  header | edits ... | edits ... | [close]
 *
 *   header  RECORD_MANIFEST_HEADER, count 0, payload in varints:
 *           format version (1), this manifest's number
 *   edits   RECORD_EDIT, count = number of edits, payload: that many times
 *           size (varint), version edit (version_edit.c)
 *           All edits of a record take effect as one step.
 *   close   RECORD_CLOSE: as RECORD_EDIT, and nothing follows
 *
 * Watermarks speak of the manifest itself: segment = the manifest's number,
 * offset = the bytes of it that were on stable storage when the record was
 * written, seq = 0. Records of the opening snapshot are written before the
 * first sync and carry none; each later record is written after the sync of
 * all before it, so that
 *   - a torn or missing record at the end is a legal crash;
 *   - a bad byte below a watermark, below the length in CURRENT, or with any
 *     valid record behind it is damage.
 *
 * Threads: one at a time.
 */
#ifndef VERSION_MANIFEST_H
#define VERSION_MANIFEST_H

#include "env/env.h"
#include "version/current.h"
#include "version/version_edit.h"

/* ---- writing ----------------------------------------------------------- */

struct manifest_writer {
    struct env_file *file; /* owned; NULL: none open */
    uint64_t number;
    uint64_t length;   /* bytes written */
    uint64_t synced;   /* of them on stable storage */
    uint64_t checksum; /* of the last record */
    uint64_t marked;   /* the watermark last written */
    bool poisoned;     /* a write or sync failed: never written again */
    struct buffer scratch;
};

/* Creates the file (exclusively) and writes the header; w is zeroed before.
   Deinit also after a failure. */
adb_status manifest_writer_create(struct manifest_writer *w, struct env *env,
                                  const char *directory,
                                  uint64_t number) ADB_MUST_CHECK;
/* Writes one record, not yet durable. kind: RECORD_EDIT or RECORD_CLOSE. A
   record that would be too large is ADB_TOO_LARGE and harms nothing; any other
   failure of the file poisons the writer, which then fails for good. */
adb_status manifest_writer_append(struct manifest_writer *w,
                                  enum record_kind kind,
                                  const struct version_edit *const *edits,
                                  size_t count) ADB_MUST_CHECK;
adb_status manifest_writer_sync(struct manifest_writer *w) ADB_MUST_CHECK;
/* Closes the file. */
void manifest_writer_deinit(struct manifest_writer *w);

/* ---- reading ----------------------------------------------------------- */

/* edit is NULL for the header; a record of several edits is visited once for
   each. */
typedef adb_status (*manifest_visit)(void *context, uint64_t offset,
                                     const struct record *r,
                                     const struct version_edit *edit);

struct manifest_end {
    uint64_t length;   /* offset behind the last record that counts */
    uint64_t checksum; /* of that record */
    uint64_t torn;     /* bytes behind it: what a crash left */
    uint64_t synced;   /* everything below was proved to be synced */
    bool closed;       /* it ends with RECORD_CLOSE */
};

/* Visits all records that count, in order. known says what CURRENT knows of
   this manifest (manifest 0: nothing). A failure of visit stops; it and all
   damage are reported with file and offset. */
adb_status manifest_read(struct env *env, const char *path, uint64_t number,
                         const struct current *known, manifest_visit visit,
                         void *context,
                         struct manifest_end *end) ADB_MUST_CHECK;

/* Walks a manifest for the dump tool and verification: calls visit for each
   edit and for the header. */
adb_status manifest_walk(struct env *env, const char *path, uint64_t number,
                         manifest_visit visit, void *context) ADB_MUST_CHECK;

/* Visits the edits of every valid record, wherever it stands and whatever else
   is damaged; *damaged tells whether anything is. ADB_NOT_FOUND: no such file;
   edits of a newer version are ADB_UNSUPPORTED. */
adb_status manifest_salvage(struct env *env, const char *path, uint64_t number,
                            manifest_visit visit, void *context,
                            bool *damaged) ADB_MUST_CHECK;

/* Checks every byte. On failure *failed_at tells where it lies. */
adb_status manifest_verify(struct env *env, const char *path, uint64_t number,
                           uint64_t *failed_at) ADB_MUST_CHECK;

#endif
