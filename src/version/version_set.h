/*
 * The version set: the current version and the manifest that makes it
 * durable.
 *
 *   CURRENT          one line of text naming the manifest; how it ended when
 *                    the database was closed cleanly; a checksum
 *   MANIFEST-NNNNNN  records (wal/record_format.h): header, edits, close
 *
 * Every open starts a new manifest holding a snapshot of all state, makes its
 * name durable, then switches CURRENT to it. An append that failed ends that
 * manifest for good: the next edit starts a new one the same way. A clean
 * close appends RECORD_CLOSE and writes the manifest's final length and
 * checksum into CURRENT, so that later damage cannot pass for a crash.
 *
 * Threads: version_set_apply from any thread, serialised by a mutex of its own
 * that is held over the manifest's I/O; the database mutex must not be held.
 */
#ifndef VERSION_VERSION_SET_H
#define VERSION_VERSION_SET_H

#include "version/manifest.h"
#include "version/version.h"

struct version_set;

struct version_set_options {
    struct env *env;
    const char *directory; /* borrowed */
    const struct sst_context *tables;
    uint64_t first_run; /* of a new database; 0: 1 */
    uint64_t manifest_roll_bytes; /* a larger manifest is replaced by a new
                                     one when most of it is history */
    /* Called under the set's mutex after an edit is durable, with the new
       current version: the database installs it. May take the database mutex.
       */
    void (*installed)(void *context, struct version *current);
    void *context;
};

/* State that recovery hands to the database. Valid until the set changes. */
struct version_set_state {
    uint64_t *segments; /* live log segments, ascending; owned by the set */
    size_t segment_count;
    struct wal_end *segment_ends; /* parallel; segment 0 where not known */
    struct watermark synced_through;
    uint64_t last_seq;
    uint64_t database;
    bool closed_cleanly;
};

/* Is there a database in the directory? ADB_OK yes; ADB_NOT_FOUND: nothing of
   ours there; ADB_CORRUPTION: tables, logs or manifests without CURRENT, or a
   repair that was interrupted;
   ADB_NOT_A_DATABASE: path is no directory, or holds foreign files only and
   is not empty. Changes nothing. What an interrupted version_set_create left
   (a manifest that names nothing, nobody's writes) counts as nothing. */
adb_status version_set_probe(struct env *env,
                             const char *directory) ADB_MUST_CHECK;

/* Makes the files of a new, empty database in an existing directory. */
adb_status version_set_create(const struct version_set_options *options,
                              struct version_set **out) ADB_MUST_CHECK;

/* Reads CURRENT and the manifest. Checks that every table file is there with
   its size, and that no log segment is in use that the manifest does not know:
   then the end of the manifest is missing. Nothing on disk is changed before
   version_set_begin. */
adb_status version_set_recover(const struct version_set_options *options,
                               struct version_set **out,
                               struct version_set_state *state) ADB_MUST_CHECK;

/* Starts this opening's manifest with all state plus edit, and switches
   CURRENT. From here on version_set_apply works. (version_set_create has done
   it already.) */
adb_status version_set_begin(struct version_set *s,
                             struct version_edit *edit) ADB_MUST_CHECK;

/* Makes the edits durable as one step, in order, and installs the result. An
   append that fails is tried once more in a new manifest. On failure nothing
   changed in memory, and the call may be repeated:
     ADB_IO, ADB_NO_SPACE, ADB_NO_MEMORY   nor on disk
     ADB_UNKNOWN_OUTCOME  the edits may surface if the process or the power
                          fails before a later call succeeds: files they name
                          must stay (the sweep at the next open finds them)
     ADB_INVALID          the edits do not fit the present state, or would
                          break an invariant (version_check) */
adb_status version_set_apply(struct version_set *s,
                             struct version_edit *const *edits,
                             size_t count) ADB_MUST_CHECK;

/* A counted reference on the current version. Waits for no I/O. */
struct version *version_set_current(struct version_set *s);

/* The random number that all files of this database share; not while it is
   being created or recovered. */
uint64_t version_set_database(struct version_set *s);

uint64_t version_set_new_file(struct version_set *s); /* never reused */
uint64_t version_set_next_file(struct version_set *s); /* all before: below */
uint64_t version_set_new_run(struct version_set *s);
/* The largest numbers handed out so far are saved with each edit. */

/* Numbers of obsolete table files that nobody holds any more, for removal by
   the caller (each returned once), who also tells the file table to forget
   them. Returns how many, at most max. */
size_t version_set_take_obsolete(struct version_set *s, uint64_t *numbers,
                                 size_t max);

/* Files of ours in the directory that no live state names (left by a crash):
   tables, manifests, logs, *.tmp. For the sweep at open: after
   version_set_begin or version_set_create and before the first append to the
   log. Later calls spare whatever may be in use, at worst everything. Calls
   remove for each name. */
adb_status version_set_sweep(struct version_set *s,
                             adb_status (*remove)(void *context,
                                                  const char *name),
                             void *context) ADB_MUST_CHECK;

/* manifest_verify of the manifest that holds, whose number is told; no edit is
   applied meanwhile. Any thread. */
adb_status version_set_verify_manifest(struct version_set *s, uint64_t *number,
                                       uint64_t *offset) ADB_MUST_CHECK;

/* Clean close with what is known of the log. ends: of live segments (those
   with segment 0 are skipped). After ADB_OK or a failure the set takes no
   further edits. */
adb_status version_set_close_cleanly(struct version_set *s,
                                     const struct wal_end *ends, size_t count,
                                     const struct watermark *synced_through,
                                     uint64_t last_seq) ADB_MUST_CHECK;
/* Releases memory and files; no version may be held. */
void version_set_free(struct version_set *s);

struct version_set_stats {
    uint64_t manifest_number, manifest_bytes, edits, rolls;
};
void version_set_stats(struct version_set *s, struct version_set_stats *out);

#endif
