/*
 * Recovered writes go into the memtable by several threads. An insert waits
 * for memory most of its time; here several wait at once, while whoever replays
 * the log reads, verifies and decodes.
 *
 *      replay --copy--> [ chunk | chunk ] --> worker --> memtable
 *             \-------> [ chunk | chunk ] --> worker --/
 *
 * All writes of a key are one worker's, in their order: what the memtable then
 * holds does not depend on the number of workers. A worker's thread starts
 * when its first chunk is full, so that a small log needs none; without a
 * thread (none could be started) the caller inserts.
 *
 * Threads: one caller. Between inserter_drain and the next inserter_add nobody
 * but the caller touches the memtable.
 */
#ifndef DB_INSERTER_H
#define DB_INSERTER_H

#include "memtable/memtable.h"

enum { INSERTER_WORKERS = 8 };

struct inserter;

/* NULL: no memory, and the message is set. */
struct inserter *inserter_new(unsigned workers); /* 1..INSERTER_WORKERS */
/* What was not drained is dropped. NULL is fine. */
void inserter_free(struct inserter *in);

/* Room in the memtable was made for the sum of what was added since the last
   drain (inserter_pending) and this. Key and value are copied. Failures, also
   those of writes added before, are the memtable's; nothing can be added
   after one. */
adb_status inserter_add(struct inserter *in, struct memtable *m,
                        const struct memtable_write *w) ADB_MUST_CHECK;

/* Bytes that memtable_worst_case says of what was added since the last drain,
   and one write more. */
size_t inserter_pending(const struct inserter *in, uint64_t key_bytes,
                        uint64_t value_bytes);

/* Until all that was added is in the memtable. */
adb_status inserter_drain(struct inserter *in) ADB_MUST_CHECK;

#endif
