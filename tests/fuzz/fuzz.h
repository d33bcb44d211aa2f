/*
 * What the fuzz targets share. Each fuzz_<name>.c defines one target; the
 * program is either run by libFuzzer or by replay.c over the kept corpus.
 *
 * A target's input begins with a mode byte. Bit 0 (FUZZ_REPAIR) has the
 * checksums of what follows put right, so that the bytes behind them are
 * reached; the other bits are the target's own. The meaning of an input never
 * depends on anything else.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

enum { FUZZ_REPAIR = 1 };

/* No single allocation of the library may be larger, whatever a file claims:
   inputs are a few KiB. */
enum { FUZZ_MAX_ALLOCATION = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input; a failure is a finding. */
#define FUZZ_CHECK(condition)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__,       \
                    __LINE__, #condition, status_message());                   \
            abort();                                                           \
        }                                                                      \
    } while (0)

static inline int fuzz_allocation(void *context, size_t size)
{
    (void)context;
    if (size <= FUZZ_MAX_ALLOCATION)
        return 0;
    fprintf(stderr, "allocation of %zu bytes\n", size);
    abort();
}

static inline void fuzz_watch_allocations(void)
{
    mem_set_fail_hook(fuzz_allocation, NULL);
}

/* A statement about damage is no use without words. */
static inline adb_status fuzz_expect_words(adb_status status)
{
    FUZZ_CHECK(status == ADB_OK || status == ADB_NOT_FOUND ||
               status_message()[0]);
    return status;
}

/* Touches every byte, so that the sanitizers see the range. */
static inline uint64_t fuzz_touch(adb_slice s)
{
    const volatile uint8_t *p = s.data;
    uint64_t sum = 0;
    for (size_t i = 0; i < s.size; i++)
        sum = sum * 31 + p[i];
    return sum;
}

#endif
