/*
 * Retention: which versions of a key must survive a merge. Pure.
 *
 * For one user key, versions come newest first. Given the registered snapshots
 * s1 < s2 < ... < sn, a version is visible to somebody if it is the newest, or
 * the newest at or below some si. All others go. A tombstone that would
 * survive goes too when the merge is at the bottom (no older version of the
 * key lies outside the merge) and every older version of its key inside the
 * merge is dropped as well: that is when no snapshot is below its sequence.
 *
 *   seq     90   70   55   40   12        snapshots 60, 41
 *   keep     x         x    x             90 newest, 55 for 60, 40 for 41
 *
 * A version that is kept is settled when the merge is at the bottom and every
 * snapshot is at or above its sequence. Nothing older of its key is left then,
 * and every reader sees it or something newer, so its sequence may be set to
 * 0: the entry packs better, tells an iterator that no older version follows,
 * and stays below every newer version that comes to it later. Nowhere else may
 * a sequence change.
 */
#ifndef KV_RETENTION_H
#define KV_RETENTION_H

#include <stdbool.h>

#include "kv/types.h"

struct retention {
    const uint64_t *snapshots; /* ascending; borrowed */
    size_t snapshot_count;
    bool bottom;
    /* state for the key at hand */
    bool have_key;
    uint64_t last_kept_seq; /* of the last version not shadowed */
};

/* snapshots are borrowed as long as r is used. */
void retention_init(struct retention *r, const uint64_t *snapshots,
                    size_t count, bool bottom);
/* The next entries belong to another key. */
void retention_new_key(struct retention *r);

enum retention_verdict { RETENTION_KEEP, RETENTION_SHADOWED,
                         RETENTION_TOMBSTONE };
/* Must this version survive? Called newest first for each version of a key.
   RETENTION_TOMBSTONE: dropped because nothing is left for it to hide. */
enum retention_verdict retention_check(struct retention *r, uint64_t seq,
                                       enum kv_kind kind);

/* May the sequence of a version that was kept be set to 0? */
static inline bool retention_settled(const struct retention *r, uint64_t seq)
{
    return r->bottom && (r->snapshot_count == 0 || r->snapshots[0] >= seq);
}

#endif
