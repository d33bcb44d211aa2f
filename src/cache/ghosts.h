/*
 * The cache's memory of what it gave up lately: a fixed table of fingerprints,
 * one per bucket, each with the number of the eviction that wrote it. A
 * fingerprint counts while fewer evictions have passed since than the caller
 * asks for; a newer one in the same bucket overwrites it, which costs a little
 * memory of the past and no correctness.
 *
 * Threads: none of its own; the cache's mutex guards it.
 */
#ifndef CACHE_GHOSTS_H
#define CACHE_GHOSTS_H

#include <stdbool.h>

#include "base/status.h"

struct ghost {
    uint32_t fingerprint;
    uint32_t when;
};
struct ghosts {
    struct ghost *table; /* owned */
    uint32_t mask;
    uint32_t now; /* counts evictions, wraps */
};

adb_status ghosts_init(struct ghosts *g, uint64_t budget) ADB_MUST_CHECK;
void ghosts_deinit(struct ghosts *g);
uint64_t ghosts_bytes(const struct ghosts *g);

/* identity: any hash; 0 is nobody's and never remembered. */
void ghosts_add(struct ghosts *g, uint64_t identity);
/* Was it given up within the last `window` evictions? Forgets it. */
bool ghosts_take(struct ghosts *g, uint64_t identity, uint64_t window);

#endif
