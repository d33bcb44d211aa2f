/*
 * A disk in memory that knows what is durable.
 *
 * Files are bytes plus, per 512-byte sector, every content the sector had since
 * its last sync; directories know which names (links, renames, unlinks) are
 * synced. Mapped stores go through env_map_store, so the disk sees each one.
 * env_memory_crash makes a new disk "as after a power cut": every unsynced
 * sector surfaces as the synced content or any later one, every unsynced name
 * operation is kept or lost, chosen by the generator.
 *
 * Models: strict POSIX (nothing is durable before its fsync; names need the
 * directory's) and ordered, as ext4 data=ordered behaves (name operations
 * reach the disk in order; fsync of a file makes its own name durable).
 *
 * A write to a full disk stores what fits before it fails. Wall time and random
 * bytes follow from the history of the disk, so that a run can be repeated. The
 * disk's own memory does not come from base/alloc.h (only handles do): a test
 * that fails the n-th allocation means the library's.
 *
 * Threads: all calls from any thread, one lock per disk.
 */
#ifndef ENV_ENV_MEMORY_H
#define ENV_ENV_MEMORY_H

#include "base/random.h"
#include "env/env.h"

enum env_memory_model { ENV_MEMORY_STRICT, ENV_MEMORY_ORDERED };

/* NULL: out of memory. The root directory "/" exists and is durable. */
struct env *env_memory_new(enum env_memory_model model);
void env_memory_free(struct env *e); /* no file may be open */

/* Called after every operation that changes the disk or makes something
   durable (write, store, sync, rename, ...), with the disk unlocked for
   env_memory_crash. NULL removes it. Set it while no other thread uses the
   disk. */
void env_memory_set_observer(struct env *e,
                             void (*observe)(void *context, struct env *e,
                                             const char *operation,
                                             const char *path),
                             void *context);

/* How many items (sectors, names) are not durable now. */
size_t env_memory_pending(struct env *e);

/* A new disk as after a power cut now. Which pending items survive comes from
   random; with choice != ~0 and at most 64 pending items, bit i of choice says
   whether the i-th survives instead (its newest content): first the files in
   order of creation, each its size, then its sectors in order of their first
   change; then the name operations. A rename survives in any case when a later
   change of one of its names does; in the ordered model operations survive up
   to the first clear bit. */
struct env *env_memory_crash(struct env *e, struct random *random,
                             uint64_t choice);

/* A new disk with everything that was handed to this one, as after kill -9:
   what was not synced still is not, and a power cut may yet take it. */
struct env *env_memory_clone(struct env *e);

/* A hash over all names and contents, to tell images apart. */
uint64_t env_memory_hash(struct env *e);

/* A sync of the file has failed and the system forgot what it should have
   written: reads still show it, no crash image and no later sync does. Nothing
   happens to a file of another env. */
void env_memory_lose_unsynced(struct env_file *f);

/* Bytes the disk can hold; further writes and allocations are ENOSPC. */
void env_memory_set_capacity(struct env *e, uint64_t bytes);

/* Changes bytes behind everybody's back, for damage tests. */
adb_status env_memory_damage(struct env *e, const char *path, uint64_t offset,
                             const void *data, size_t size);

#endif
