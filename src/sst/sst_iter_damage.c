/*
 * An iterator at a block, or a part, that cannot be read: it stands at a key
 * between the neighbours' and says KV_DAMAGED, so that whoever merges knows
 * what may be missing, and can go on behind it.
 */
#include "sst/sst_iter_internal.h"

void sst_iter_stand_at(struct sst_iter *it, adb_slice key, uint64_t seq,
                       int inside)
{
    it->inside = inside;
    if (key.size > it->key_capacity && !sst_iter_grow_key(it, key.size))
        return;
    if (key.size)
        memmove(it->key, key.data, key.size);
    it->base.key = slice_of(it->key, key.size);
    it->base.head = key_head_from(it->base.origin, it->key, key.size);
    it->base.seq = seq;
    it->base.kind = KV_DAMAGED;
    it->base.value = slice_of(NULL, 0);
    it->base.valid = true;
}

/* The last key that may stand in front of block it->block of `part` (of the
   part, when its index is not at hand); none before the first. *more: its
   versions may go on in the block. */
static bool key_before(const struct sst_iter *it, uint32_t part,
                       adb_slice *prefix, adb_slice *suffix, bool *more)
{
    *suffix = slice_of(NULL, 0);
    if (it->index && it->block > 0) {
        const struct sst_index *index = &it->index->index;
        *prefix = index->prefix;
        *suffix = sst_index_suffix(index, it->block - 1);
        *more = index->blocks[it->block - 1].continues;
        return true;
    }
    if (part == 0)
        return false;
    *prefix = it->reader->top.parts[part - 1].last_key;
    *more = sst_part_continues(it->reader, part - 1);
    return true;
}

/* The first key that the block may hold (backward: the last), into `key`. */
static adb_status damage_bound(const struct sst_iter *it, uint32_t part,
                               bool backward, struct buffer *key)
{
    const struct sst_reader *r = it->reader;
    adb_slice prefix, suffix = slice_of(NULL, 0);
    bool more = true;
    if (backward && it->index) {
        prefix = it->index->index.prefix;
        suffix = sst_index_suffix(&it->index->index, it->block);
    } else if (backward) {
        prefix = r->top.parts[part].last_key;
    } else if (!key_before(it, part, &prefix, &suffix, &more)) {
        prefix = r->properties.info.smallest;
    }
    adb_status status = buffer_append(key, prefix.data, prefix.size);
    if (status == ADB_OK)
        status = buffer_append(key, suffix.data, suffix.size);
    if (status == ADB_OK && !more)
        status = buffer_append(key, "", 1); /* the next key there can be */
    return status;
}

/* What is newer than the table may come before its versions of a key. */
void sst_iter_fail_at(struct sst_iter *it, adb_status status, uint32_t part,
                      bool backward)
{
    struct buffer key = {0};
    kv_iter_fail(&it->base, status);
    if (status != ADB_CORRUPTION || !(it->flags & SST_STAND_AT_DAMAGE))
        return;
    it->part = part;
    it->entry = 0;
    it->view.count = 0;
    status = damage_bound(it, part, backward, &key);
    if (status == ADB_OK)
        sst_iter_stand_at(it, buffer_slice(&key),
                          backward ? 0 : it->reader->properties.info.max_seq,
                          0);
    else
        kv_iter_fail(&it->base, status);
    buffer_deinit(&key);
}

bool sst_iter_at_damage(const struct sst_iter *it)
{
    return it->base.valid && it->base.kind == KV_DAMAGED;
}

bool sst_iter_turn_inside(struct sst_iter *it, bool backward)
{
    if (!sst_iter_at_damage(it) || it->inside != (backward ? 1 : -1))
        return false;
    sst_iter_stand_at(it, it->base.key,
                      backward ? 0 : it->reader->properties.info.max_seq,
                      -it->inside);
    return true;
}
