#include "cache/ghosts.h"

#include "base/alloc.h"

/* One bucket for each 4 KiB of the budget, a block at its smallest. */
enum { BYTES_A_GHOST = 4096, MIN_GHOSTS = 256, MAX_GHOSTS = 1 << 18 };

adb_status ghosts_init(struct ghosts *g, uint64_t budget)
{
    uint32_t count = MIN_GHOSTS;
    while (count < MAX_GHOSTS && count < budget / BYTES_A_GHOST)
        count *= 2;
    g->table = mem_zalloc(count * sizeof *g->table);
    if (!g->table)
        return status_set(ADB_NO_MEMORY, "no memory for the cache's ghosts");
    g->mask = count - 1;
    g->now = 0;
    return ADB_OK;
}

void ghosts_deinit(struct ghosts *g)
{
    mem_free(g->table);
    g->table = NULL;
}

uint64_t ghosts_bytes(const struct ghosts *g)
{
    return ((uint64_t)g->mask + 1) * sizeof *g->table;
}

/* The low half picks the bucket, the high half tells identities apart. */
static uint32_t fingerprint_of(uint64_t identity)
{
    return (uint32_t)(identity >> 32) | 1;
}

void ghosts_add(struct ghosts *g, uint64_t identity)
{
    g->now++;
    if (!identity)
        return;
    struct ghost *ghost = &g->table[(uint32_t)identity & g->mask];
    ghost->fingerprint = fingerprint_of(identity);
    ghost->when = g->now;
}

bool ghosts_take(struct ghosts *g, uint64_t identity, uint64_t window)
{
    struct ghost *ghost = &g->table[(uint32_t)identity & g->mask];
    if (!identity || ghost->fingerprint != fingerprint_of(identity))
        return false;
    bool recent = (uint32_t)(g->now - ghost->when) <= window;
    ghost->fingerprint = 0;
    return recent;
}
