#include "base/ledger.h"

const char *const ledger_row_names[LEDGER_ROWS] = {
    [LEDGER_MEMTABLE] = "memtables", [LEDGER_BLOCK] = "blocks",
    [LEDGER_INDEX] = "indexes",      [LEDGER_FILTER] = "filters",
    [LEDGER_TABLE] = "tables",       [LEDGER_ITERATOR] = "iterators",
    [LEDGER_VALUE] = "values",       [LEDGER_BUILD] = "build",
    [LEDGER_WAL] = "wal",            [LEDGER_OVERSIZE] = "oversize",
};

int64_t ledger_total(const struct ledger *l)
{
    int64_t total = 0;
    for (int row = 0; row < LEDGER_ROWS; row++)
        total += ledger_row(l, row);
    return total;
}
