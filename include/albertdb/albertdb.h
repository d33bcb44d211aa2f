/*
 * albertdb - an embedded, ordered key-value store.
 *
 * Keys and values are arbitrary bytes; keys are ordered as by memcmp, a prefix
 * before what it is a prefix of. Keys have 0 to ADB_MAX_KEY_SIZE bytes, values
 * 0 to ADB_MAX_VALUE_SIZE.
 *
 * Conventions of every function here
 *   - What can fail returns adb_status. Outputs are written only on ADB_OK,
 *     except where a comment says otherwise.
 *   - After a failure adb_error_message() tells the calling thread what went
 *     wrong, naming the file and offset where there is one, and the remedy.
 *     ADB_NOT_FOUND, ADB_BUSY and ADB_TIMEOUT are results; they may carry no
 *     message.
 *   - Option structs start with struct_size; initialise them with the _INIT
 *     macro beside them. A NULL pointer to an option struct means defaults.
 *   - Nothing here aborts, prints or exits.
 *
 * Threads: an `adb *` may be used from any number of threads. Iterators,
 * batches and option objects belong to one thread at a time. A snapshot may
 * be read from many threads. An adb_value may be released on any thread.
 *
 * Fork: after fork() the child may not use a handle that the parent opened:
 * every call on it returns ADB_FORKED (adb_close then only frees memory).
 * Opening another database, or the same one after the parent closed it, works.
 */
#ifndef ALBERTDB_ALBERTDB_H
#define ALBERTDB_ALBERTDB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ADB_EXPORT __attribute__((visibility("default")))
#define ADB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ADB_EXPORT
#define ADB_MUST_CHECK
#endif

#define ADB_MAX_KEY_SIZE   65536u
#define ADB_MAX_VALUE_SIZE 1073741824u

/* Numbers are stable and never reused. */
typedef enum adb_status {
    ADB_OK = 0,
    ADB_NOT_FOUND = 1,   /* no such key, or iterator past its end */
    ADB_BUSY = 2,        /* handles still open, or another opener has it */
    ADB_INVALID = 3,     /* an argument or option is out of range */
    ADB_CORRUPTION = 4,  /* bytes on disk are not what was written */
    ADB_IO = 5,          /* the operating system reported an error */
    ADB_NO_SPACE = 6,    /* disk or disk budget full; later writes may work */
    ADB_NO_MEMORY = 7,   /* allocation failed; nothing was changed */
    ADB_TIMEOUT = 8,     /* the deadline of the call passed; not applied */
    ADB_TOO_LARGE = 9,   /* key, value or batch above its limit */
    ADB_UNSUPPORTED = 10, /* written by a newer version, or not in this build */
    ADB_NOT_A_DATABASE = 11, /* the path holds something else, or nothing */
    ADB_EXISTS = 12,     /* error_if_exists and it does */
    ADB_READ_ONLY = 13,  /* the database is open, or the failure left it so */
    ADB_FORKED = 14,     /* handle belongs to the parent process */
    ADB_CLOSED = 15,     /* the database is being closed */
    ADB_UNKNOWN_OUTCOME = 16 /* sync failed: the write may or may not survive */
} adb_status;

/* Bytes borrowed from someone; never zero terminated. */
typedef struct adb_slice {
    const void *data;
    size_t size;
} adb_slice;

typedef struct adb adb;
typedef struct adb_options adb_options;
typedef struct adb_batch adb_batch;
typedef struct adb_iter adb_iter;
typedef struct adb_snapshot adb_snapshot;

/* A value read from the database. data and size stay valid and unchanged until
   adb_value_release, whatever happens to the key meanwhile. Zero-initialise
   with ADB_VALUE_INIT; releasing such a value does nothing. */
typedef struct adb_value {
    const void *data;
    size_t size;
    void *pin_[2]; /* private */
} adb_value;
#define ADB_VALUE_INIT {0, 0, {0, 0}}

/* How sure a write is when its call returns. */
typedef enum adb_durability {
    ADB_DURABILITY_DEFAULT = 0, /* what the database was opened with */
    ADB_DURABILITY_NONE = 1,    /* in memory until flushed */
    ADB_DURABILITY_PROCESS = 2, /* survives the death of the process */
    ADB_DURABILITY_SYNC = 3     /* on stable storage; survives power loss */
} adb_durability;

/* ---- version and errors ------------------------------------------------ */

ADB_EXPORT const char *adb_version(void); /* "0.1.0" */

/* The calling thread's last failure, in words. Valid until this thread's next
   call into the library. Never NULL. */
ADB_EXPORT const char *adb_error_message(void);

/* A short name such as "corruption". Never NULL. */
ADB_EXPORT const char *adb_status_name(adb_status status);

/* ---- options ----------------------------------------------------------- */

ADB_EXPORT adb_options *adb_options_new(void); /* NULL: out of memory */
ADB_EXPORT void adb_options_free(adb_options *options);

/* Sets one option by name. Sizes accept K, M, G suffixes (powers of 1024),
   durations ms, s, m; booleans true/false/1/0. Unknown names and values out
   of range are ADB_INVALID with a message that names what is allowed. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_options_set(adb_options *options,
                                                     const char *name,
                                                     const char *value);

/* What an option is now, in the form adb_options_set takes. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_options_get(const adb_options *options,
                                                     const char *name,
                                                     char *buffer, size_t size);

/* The option table, for help texts: index from 0 until ADB_NOT_FOUND. All
   strings are static. */
typedef struct adb_option_info {
    const char *name;
    const char *type;          /* "size", "duration", "bool", "choice", "int" */
    const char *default_value;
    const char *range;         /* "1M..1T", "sync|process|none" */
    const char *description;   /* one sentence */
} adb_option_info;
ADB_EXPORT ADB_MUST_CHECK adb_status adb_options_describe(size_t index,
                                                          adb_option_info *out);

/* Called with one line of text per event (level 0 error, 1 warning, 2 info).
   May come from any thread; must not call back into the library. */
typedef void (*adb_log_fn)(void *context, int level, const char *text);
ADB_EXPORT void adb_options_set_log(adb_options *options, adb_log_fn fn,
                                    void *context);

/* ---- life of a database ------------------------------------------------ */

/* Opens the database in the directory path, creating it if the option
   create_if_missing says so (the default). Recovers what a crash left.
   options may be NULL and may be freed after the call. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_open(const char *path,
                                              const adb_options *options,
                                              adb **out);

/* Makes everything durable and closes. ADB_BUSY, with the count in the
   message and the handle still usable, while iterators, snapshots or values
   of this database are still held. Any other status: the handle is gone, and
   the status tells whether all data reached the disk. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_close(adb *db);

/* Removes a closed database's files; other files in the directory stay, and
   then so does the directory. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_destroy(const char *path);

/* Everything written before this call is on stable storage when it returns
   ADB_OK. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_sync(adb *db);

/* ADB_OK, or why writes or background work do not go on at present (with
   the cause as error message). ADB_CORRUPTION: damaged tables were found and
   set aside; all else goes on. It lasts over reopening until adb_verify finds
   them whole or adb_repair has mended them. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_health(adb *db);

/* ---- writing ----------------------------------------------------------- */

typedef struct adb_write_options {
    size_t struct_size;
    adb_durability durability; /* can raise the database's level, not lower */
    uint64_t timeout_ms;       /* 0: wait as long as back-pressure asks */
} adb_write_options;
#define ADB_WRITE_OPTIONS_INIT                                                 \
    {sizeof(adb_write_options), ADB_DURABILITY_DEFAULT, 0}

ADB_EXPORT ADB_MUST_CHECK adb_status adb_put(adb *db,
                                             const adb_write_options *options,
                                             const void *key, size_t key_size,
                                             const void *value,
                                             size_t value_size);

/* Deleting a key that is not there is ADB_OK. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_delete(adb *db,
                                                const adb_write_options *options,
                                                const void *key,
                                                size_t key_size);

/* A batch becomes visible and durable whole or not at all; of two operations
   on one key the later one in the batch wins. */
ADB_EXPORT adb_batch *adb_batch_new(void); /* NULL: out of memory */
ADB_EXPORT void adb_batch_free(adb_batch *batch);
ADB_EXPORT void adb_batch_clear(adb_batch *batch);
ADB_EXPORT size_t adb_batch_count(const adb_batch *batch);
ADB_EXPORT size_t adb_batch_size(const adb_batch *batch); /* bytes */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_batch_put(adb_batch *batch,
                                                   const void *key,
                                                   size_t key_size,
                                                   const void *value,
                                                   size_t value_size);
ADB_EXPORT ADB_MUST_CHECK adb_status adb_batch_delete(adb_batch *batch,
                                                      const void *key,
                                                      size_t key_size);
ADB_EXPORT ADB_MUST_CHECK adb_status adb_write(adb *db,
                                               const adb_write_options *options,
                                               const adb_batch *batch);

/* ---- reading ----------------------------------------------------------- */

typedef struct adb_read_options {
    size_t struct_size;
    const adb_snapshot *snapshot; /* NULL: the newest state */
    int no_fill_cache;            /* 1: blocks read are not kept */
} adb_read_options;
#define ADB_READ_OPTIONS_INIT {sizeof(adb_read_options), 0, 0}

/* The value, pinned: release it with adb_value_release. out is set to an
   empty value when the status is not ADB_OK. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_get(adb *db,
                                             const adb_read_options *options,
                                             const void *key, size_t key_size,
                                             adb_value *out);
ADB_EXPORT void adb_value_release(adb_value *value);

/* Copies the value into buffer. *value_size becomes its full size, also when
   the buffer was too small for it (ADB_TOO_LARGE, buffer unchanged). */
ADB_EXPORT ADB_MUST_CHECK adb_status
adb_get_into(adb *db, const adb_read_options *options, const void *key,
             size_t key_size, void *buffer, size_t buffer_size,
             size_t *value_size);

/* count keys from one consistent state; those on the disk are fetched side by
   side, so it waits far less than as many adb_get. statuses[i] is ADB_OK,
   ADB_NOT_FOUND or that key's failure; values[i] is pinned where ADB_OK.
   Returns the failure of the first key that failed otherwise than with
   ADB_NOT_FOUND, and its message. */
ADB_EXPORT ADB_MUST_CHECK adb_status
adb_multi_get(adb *db, const adb_read_options *options, size_t count,
              const adb_slice *keys, adb_value *values, adb_status *statuses);

/* A snapshot is the state at this moment; reads through it never change.
   Old versions are kept for it, so release it soon. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_snapshot_new(adb *db,
                                                      adb_snapshot **out);
ADB_EXPORT void adb_snapshot_release(adb *db, adb_snapshot *snapshot);

/* ---- iterating --------------------------------------------------------- */

typedef struct adb_iter_options {
    size_t struct_size;
    const adb_snapshot *snapshot; /* NULL: the state when it is created */
    adb_slice lower;  /* first key to see; data NULL: from the start */
    adb_slice upper;  /* first key not to see; data NULL: to the end */
    adb_slice prefix; /* only keys that start so; data NULL: all */
    int no_fill_cache;
} adb_iter_options;
#define ADB_ITER_OPTIONS_INIT                                                  \
    {sizeof(adb_iter_options), 0, {0, 0}, {0, 0}, {0, 0}, 0}

/* An iterator over one consistent state, not yet on an entry. Bounds are
   copied. */
ADB_EXPORT ADB_MUST_CHECK adb_status
adb_iter_new(adb *db, const adb_iter_options *options, adb_iter **out);
ADB_EXPORT void adb_iter_free(adb_iter *iter);

/* Each returns 1 when the iterator now stands on an entry, else 0: then
   adb_iter_status tells end (ADB_OK) from failure. seek goes to the first key
   at or after, seek_for_prev to the last key at or before. next and prev need
   an entry to start from.

   Damage (ADB_CORRUPTION, file and offset in the message) ends a scan where a
   damaged block may hold the next key, not before; nothing is passed over. To
   go on behind it, seek to the key that follows adb_damage.to of that block
   (adb_verify_damage): its bytes and a zero byte. */
ADB_EXPORT int adb_iter_seek_first(adb_iter *iter);
ADB_EXPORT int adb_iter_seek_last(adb_iter *iter);
ADB_EXPORT int adb_iter_seek(adb_iter *iter, const void *key, size_t key_size);
ADB_EXPORT int adb_iter_seek_for_prev(adb_iter *iter, const void *key,
                                      size_t key_size);
ADB_EXPORT int adb_iter_next(adb_iter *iter);
ADB_EXPORT int adb_iter_prev(adb_iter *iter);
ADB_EXPORT int adb_iter_valid(const adb_iter *iter);
ADB_EXPORT adb_status adb_iter_status(const adb_iter *iter);

/* The entry under the iterator; the bytes live until its next move. The value
   of an entry that cannot be read has data NULL and size 0, and makes
   adb_iter_status say why. */
ADB_EXPORT adb_slice adb_iter_key(const adb_iter *iter);
ADB_EXPORT adb_slice adb_iter_value(adb_iter *iter);

/* ---- maintenance ------------------------------------------------------- */

/* Writes the memtable to a table and returns when it is durable. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_flush(adb *db);

/* Merges all that lies in [from, to] (NULL data: unbounded) into one run and
   returns when done. ADB_CORRUPTION: done, but for damaged tables there that
   are set aside. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_compact(adb *db, adb_slice from,
                                                 adb_slice to);

/* Waits until no flush or compaction is due (timeout_ms 0: without limit). */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_wait_idle(adb *db,
                                                   uint64_t timeout_ms);

/* Bytes on disk and in memory for keys in [from, to), roughly. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_approximate_size(adb *db,
                                                          adb_slice from,
                                                          adb_slice to,
                                                          uint64_t *bytes);

/* Statistics as one JSON object. Free the text with adb_free. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_stats(adb *db, char **json);
ADB_EXPORT void adb_free(void *pointer);

/* Reads every byte of every file and checks it. report (may be NULL) is called
   for each piece of damage with a line of text that names file, offset and,
   for tables, the keys it may touch. ADB_OK: none found; ADB_CORRUPTION: some
   was; another status: something could not be read. A table that was set aside
   as damaged (see adb_health) and is found whole is used again. progress (may
   be NULL) is told bytes done and to do. */
typedef void (*adb_report_fn)(void *context, const char *text);
typedef void (*adb_progress_fn)(void *context, uint64_t done, uint64_t total);
ADB_EXPORT ADB_MUST_CHECK adb_status adb_verify(adb *db, adb_report_fn report,
                                                adb_progress_fn progress,
                                                void *context);

/* A piece of damage. All of it is lent for the call that is told of it. */
typedef struct adb_damage {
    size_t struct_size;
    adb_status status;  /* ADB_CORRUPTION; else why it could not be read;
                           ADB_OK: a remark of adb_repair, no damage */
    const char *file;   /* its path */
    uint64_t offset;    /* of the damaged piece in the file */
    uint64_t size;      /* bytes of the piece; 0: not known */
    adb_slice from, to; /* first and last key that it may touch; data NULL: not
                           known */
    const char *text;   /* all of that in one line */
} adb_damage;
typedef void (*adb_damage_fn)(void *context, const adb_damage *damage);

/* As adb_verify, with the parts of what it finds. */
ADB_EXPORT ADB_MUST_CHECK adb_status
adb_verify_damage(adb *db, adb_damage_fn report, adb_progress_fn progress,
                  void *context);

/* Repairs a closed database that has damage, or does not open at all, so that
   it opens and adb_verify finds nothing.

   Everything that can be read is kept. Where CURRENT and the manifest are
   whole, damaged tables are written anew without what is damaged, and so is a
   damaged log; where they are not, all tables and logs that may belong to the
   database are merged, of each key the newest version stays. report is told of
   each loss: file, offset, keys. Keys in such a range may show older values or,
   once deleted, be back: the newest version, or the deletion, may have been
   what was lost. Where a report names no keys that goes for any key. Nothing
   else changes.

   Nothing is destroyed: files that are replaced are moved to a directory in
   `lost` inside of the database. Until all new files are written and durable
   nothing changes at all, so space for them is needed; then all are swapped. An
   interrupted repair is run again; meanwhile the database may refuse to open.

   ADB_OK: the database is whole now, or was. ADB_BUSY: it is open.
   ADB_NOT_A_DATABASE: there is none. ADB_UNSUPPORTED: a newer version wrote it.
   Otherwise nothing changed, or the swap goes on with the next repair. */
typedef struct adb_repair_options {
    size_t struct_size;
    int dry_run;         /* 1: only look, and report what would be lost */
    int skip_unreadable; /* 1: what the system cannot read (ADB_IO) counts as
                            damaged; 0: it ends the repair with that status */
    adb_damage_fn report;
    adb_progress_fn progress;
    void *context;
} adb_repair_options;
#define ADB_REPAIR_OPTIONS_INIT {sizeof(adb_repair_options), 0, 0, 0, 0, 0}

typedef struct adb_repair_summary {
    size_t struct_size;
    int changed;        /* 0: all was whole, and is as it was */
    int rebuilt;        /* CURRENT or the manifest was damaged: all is merged */
    int stale_possible; /* older values may show, deleted keys may be back */
    uint64_t tables, tables_damaged; /* looked at; damaged or missing */
    uint64_t versions_lost; /* of keys in tables, as far as it is known */
    uint64_t log_records;   /* that were kept, of a log that was rewritten */
    uint64_t log_holes, log_operations_lost; /* at most so many writes */
} adb_repair_summary;
#define ADB_REPAIR_SUMMARY_INIT                                                \
    {sizeof(adb_repair_summary), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* options: those the database is opened with (how new tables are written).
   All three may be NULL. */
ADB_EXPORT ADB_MUST_CHECK adb_status adb_repair(const char *path,
                                                const adb_options *options,
                                                const adb_repair_options *how,
                                                adb_repair_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
