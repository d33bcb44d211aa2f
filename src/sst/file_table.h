/*
 * Open table files, bounded in number: descriptors are opened when needed and
 * the least recently used are closed, so that a database of any size works
 * with a small descriptor limit.
 *
 * Threads: any; one mutex, taken on block loads only, never on cache hits. The
 * file is opened outside the mutex.
 */
#ifndef SST_FILE_TABLE_H
#define SST_FILE_TABLE_H

#include "env/env.h"

struct file_table;
struct file_handle;

adb_status file_table_new(struct env *env, const char *directory,
                          unsigned max_open,
                          struct file_table **out) ADB_MUST_CHECK;
void file_table_free(struct file_table *t); /* no handle may be in use */

/* The open file of table `number`, to be given back soon. More than max_open
   may be open while more are in use at once. When the system refuses another
   descriptor, all idle ones are closed and the opening is tried once more. */
adb_status file_table_acquire(struct file_table *t, uint64_t number,
                              struct file_handle **handle,
                              struct env_file **file) ADB_MUST_CHECK;
void file_table_release(struct file_table *t, struct file_handle *handle);

/* The table is about to be removed: its descriptor is closed (at its release
   when in use). */
void file_table_forget(struct file_table *t, uint64_t number);
unsigned file_table_open_count(struct file_table *t);

/* May a handle be held for long (a mapping needs its file)? True for at most
   half of max_open; paired with file_table_end_hold. */
bool file_table_begin_hold(struct file_table *t);
void file_table_end_hold(struct file_table *t);

#endif
