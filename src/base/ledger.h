/*
 * The ledger of the memory budget: every large piece of memory is entered in
 * one row, and the rows sum to what the database holds. The cache shrinks
 * when the total passes the budget. Counters are relaxed atomics; any thread.
 */
#ifndef BASE_LEDGER_H
#define BASE_LEDGER_H

#include <stdatomic.h>
#include <stdint.h>

enum ledger_row {
    LEDGER_MEMTABLE,   /* arenas of memtables, first touch to release */
    LEDGER_BLOCK,      /* data blocks in the cache */
    LEDGER_INDEX,      /* index parts in the cache */
    LEDGER_FILTER,     /* filter parts in the cache */
    LEDGER_TABLE,      /* what each open table keeps resident */
    LEDGER_ITERATOR,   /* iterators' own buffers and pinned frames no longer
                          in the cache */
    LEDGER_VALUE,      /* copies handed out as pinned values */
    LEDGER_BUILD,      /* flush and compaction work space */
    LEDGER_WAL,        /* log buffers of the write(2) path */
    LEDGER_OVERSIZE,   /* memory for values above the memtable's size */
    LEDGER_ROWS
};
extern const char *const ledger_row_names[LEDGER_ROWS];

struct ledger {
    _Atomic int64_t rows[LEDGER_ROWS];
    int64_t budget; /* bytes; immutable after open */
};

static inline void ledger_add(struct ledger *l, enum ledger_row row,
                              int64_t bytes)
{
    if (l)
        atomic_fetch_add_explicit(&l->rows[row], bytes, memory_order_relaxed);
}
static inline int64_t ledger_row(const struct ledger *l, enum ledger_row row)
{
    return atomic_load_explicit(&l->rows[row], memory_order_relaxed);
}
int64_t ledger_total(const struct ledger *l);

#endif
