/*
 * The input of a compaction from one run: a contiguous range of its tables,
 * one after the other, each opened when reached and read past the cache.
 */
#ifndef COMPACTION_INPUT_ITER_H
#define COMPACTION_INPUT_ITER_H

#include "version/version.h"

/* Forward only: seek_first and next, load and read_value; the other operations
   are NULL. tables are borrowed and must stay referenced. NULL: out of memory.
   */
struct kv_iter *input_iter_new(struct version_table *const *tables,
                               size_t count);

#endif
