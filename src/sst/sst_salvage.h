/*
 * What can still be read of a damaged table, as an iterator over versions in kv
 * order, forward only: every data block that is whole, whatever else is not.
 *
 *   footer, top index, properties whole   blocks by the indexes of the parts;
 *                                         a part whose index is damaged is
 *                                         searched for its blocks
 *   not whole                             all of the file is searched
 *
 * What is passed over is reported with the keys it may have held. A version
 * whose large value is damaged is passed over too. Entries that would not
 * ascend, or lie outside of what is known of the table, are not believed.
 *
 * A file that is whole but not the one that is known by that number (another
 * checksum) is somebody else's: nothing of it is taken.
 *
 * Threads: one at a time.
 */
#ifndef SST_SST_SALVAGE_H
#define SST_SST_SALVAGE_H

#include "sst/sst_reader.h"

struct sst_salvage_options {
    const struct sst_context *context;
    /* number; smallest and largest key, sequences, entries and checksum where
       known (data NULL, 0); borrowed while the iterator lives. */
    const struct table_info *info;
    bool skip_unreadable; /* what the system cannot read is damaged; else the
                             iterator fails with that */
    sst_damage_fn report; /* may be NULL */
    void *caller;
};

/* What became of it; complete once the iterator has reached its end. */
struct sst_salvaged {
    uint64_t blocks, entries; /* given */
    uint64_t lost;   /* versions, as far as it is known how many there were */
    bool lost_known; /* it is */
    uint64_t pieces; /* damaged ones that were reported */
};

/* ADB_NOT_FOUND: there is no such file. */
adb_status sst_salvage_new(const struct sst_salvage_options *options,
                           struct kv_iter **out) ADB_MUST_CHECK;
void sst_salvage_result(const struct kv_iter *it, struct sst_salvaged *out);

#endif
