#include "kv/retention.h"

#include <assert.h>

void retention_init(struct retention *r, const uint64_t *snapshots,
                    size_t count, bool bottom)
{
    for (size_t i = 1; i < count; i++)
        assert(snapshots[i - 1] <= snapshots[i]);
    r->snapshots = snapshots;
    r->snapshot_count = count;
    r->bottom = bottom;
    r->have_key = false;
    r->last_kept_seq = 0;
}

void retention_new_key(struct retention *r)
{
    r->have_key = false;
}

/* Is there a snapshot in [from, to)? */
static bool snapshot_between(const struct retention *r, uint64_t from,
                             uint64_t to)
{
    size_t low = 0, high = r->snapshot_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->snapshots[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->snapshot_count && r->snapshots[low] < to;
}

enum retention_verdict retention_check(struct retention *r, uint64_t seq,
                                       enum kv_kind kind)
{
    /* A version is seen by the snapshots from its own sequence up to the next
       newer version's. Versions dropped in between had none of their own, so
       the last one kept bounds as well as the last one seen. */
    if (r->have_key && !snapshot_between(r, seq, r->last_kept_seq))
        return RETENTION_SHADOWED;
    r->have_key = true;
    r->last_kept_seq = seq;
    if (kind == KV_DELETE && retention_settled(r, seq))
        return RETENTION_TOMBSTONE;
    return RETENTION_KEEP;
}
