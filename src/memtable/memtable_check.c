/* The invariants of btree.h and record.h, checked on a memtable at rest. */
#include "memtable/memtable.h"

#include "base/hash.h"
#include "memtable/btree_node.h"
#include "memtable/memtable_internal.h"

static adb_status broken(const char *what, uint32_t at)
{
    return status_set(ADB_CORRUPTION, "memtable, offset %u: %s", at, what);
}

/* ---- the tree ---------------------------------------------------------- */

struct tree_check {
    const struct btree *tree;
    uint64_t records, nodes;
    unsigned height;
    uint32_t last_leaf; /* met last; 0: none */
};

/* Keys of a subtree lie in [low, high); a slice without data is no bound. */
struct bounds {
    adb_slice low, high;
};

static const char *node_keys_fault(const struct btree *t, const struct node *n,
                                   struct bounds b)
{
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    size_t prefix = meta_prefix(meta);
    adb_slice before = {0};
    for (unsigned i = 0; i < count; i++) {
        adb_slice key = slot_key(t, n, i);
        struct probe p = probe_of(key);
        if (i && slice_compare(before, key) >= 0)
            return "keys out of order";
        if (b.low.data && slice_compare(key, b.low) < 0)
            return "key below its subtree";
        if (b.high.data && slice_compare(key, b.high) >= 0)
            return "key above its subtree";
        if (prefix && prefix_compare(t, n, prefix, &p) != 0)
            return "key without the node's prefix";
        if (LOAD(n->head[i]) != slice_head(key, prefix))
            return "wrong head";
        before = key;
    }
    return NULL;
}

static const char *node_shape_fault(const struct tree_check *c,
                                    const struct node *n, unsigned depth)
{
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    if (LOAD(n->version) & 1)
        return "node left locked";
    if (count > BTREE_SLOTS)
        return "count out of range";
    if (meta_is_leaf(meta) != (depth == c->height))
        return "leaf at the wrong depth";
    if (depth == 1)
        return NULL;
    if (meta_is_leaf(meta) && LOAD(n->next) && count < BTREE_SLOTS / 2)
        return "leaf less than half full";
    if (!meta_is_leaf(meta) && count < BTREE_SLOTS / 2 - 1)
        return "inner node less than half full";
    return NULL;
}

static adb_status leaf_check(struct tree_check *c, uint32_t offset)
{
    const struct node *n = node_at(c->tree, offset);
    if (c->last_leaf && LOAD(node_at(c->tree, c->last_leaf)->next) != offset)
        return broken("leaf not linked to the next", c->last_leaf);
    c->last_leaf = offset;
    c->records += meta_count(LOAD(n->meta));
    return ADB_OK;
}

static adb_status node_check(struct tree_check *c, uint32_t offset,
                             unsigned depth, struct bounds b)
{
    const struct node *n = node_at(c->tree, offset);
    const char *fault = node_shape_fault(c, n, depth);
    if (!fault)
        fault = node_keys_fault(c->tree, n, b);
    if (fault)
        return broken(fault, offset);
    c->nodes++;
    if (meta_is_leaf(LOAD(n->meta)))
        return leaf_check(c, offset);
    unsigned count = meta_count(LOAD(n->meta));
    for (unsigned i = 0; i <= count; i++) {
        struct bounds inner = b;
        if (i > 0)
            inner.low = slot_key(c->tree, n, i - 1);
        if (i < count)
            inner.high = slot_key(c->tree, n, i);
        adb_status status = node_check(c, LOAD(n->child[i]), depth + 1, inner);
        if (status != ADB_OK)
            return status;
    }
    return ADB_OK;
}

adb_status btree_check(const struct btree *t, uint64_t *records,
                       uint64_t *nodes)
{
    struct tree_check c = {.tree = t, .height = LOAD(t->height)};
    adb_status status = node_check(&c, LOAD(t->root), 1, (struct bounds){0});
    if (status != ADB_OK)
        return status;
    if (LOAD(node_at(t, c.last_leaf)->next))
        return broken("last leaf has a neighbour", c.last_leaf);
    if (LOAD(t->rightmost) != c.last_leaf)
        return broken("rightmost hint astray", LOAD(t->rightmost));
    *records = c.records;
    *nodes = c.nodes;
    return ADB_OK;
}

/* ---- the records ------------------------------------------------------- */

struct record_sums {
    uint64_t records, versions, data_bytes;
};

static adb_status chain_check(const struct memtable *m, uint32_t offset,
                              struct record_sums *sums)
{
    const uint8_t *base = m->tree.base;
    const struct record *r = record_at(base, offset);
    uint64_t above = KV_MAX_SEQ + 1;
    uint32_t at = record_newest(r);
    if (version_trailer(&r->first) & TRAILER_LOCK)
        return broken("record left locked", offset);
    if (!at)
        return broken("record without a version", offset);
    if (!filter_may_contain(&m->filter, hash_key(r + 1, record_key_size(r))))
        return broken("key missing in the filter", offset);
    sums->data_bytes +=
        record_key_size(r) + version_length(version_at(base, at));
    for (; at; at = version_older(version_at(base, at))) {
        const struct version *v = version_at(base, at);
        uint64_t trailer = version_trailer(v);
        uint32_t capacity = version_capacity(r, v);
        if (trailer & TRAILER_LOCK)
            return broken("version left locked", at);
        if (trailer_seq(trailer) == 0 || trailer_seq(trailer) >= above)
            return broken("sequences do not fall", at);
        if (capacity != VERSION_IMMUTABLE && version_length(v) > capacity)
            return broken("value longer than its place", at);
        if (trailer_kind(trailer) > KV_KIND_MAX)
            return broken("unknown kind", at);
        if (trailer_seq(trailer) <
                atomic_load_explicit(&m->min_seq, memory_order_relaxed) ||
            trailer_seq(trailer) >
                atomic_load_explicit(&m->max_seq, memory_order_relaxed))
            return broken("sequence outside the memtable's", at);
        above = trailer_seq(trailer);
        sums->versions++;
    }
    return ADB_OK;
}

static adb_status records_check(const struct memtable *m,
                                struct record_sums *sums)
{
    struct btree_leaf leaf;
    btree_leaf_first(&m->tree, &leaf);
    for (;;) {
        for (unsigned i = 0; i < leaf.count; i++) {
            adb_status status = chain_check(m, leaf.records[i], sums);
            if (status != ADB_OK)
                return status;
        }
        sums->records += leaf.count;
        if (!leaf.next)
            return ADB_OK;
        btree_leaf_next(&m->tree, &leaf);
    }
}

adb_status memtable_check(const struct memtable *m)
{
    uint64_t records, nodes;
    struct record_sums sums = {0};
    struct memtable_stats stats;
    adb_status status = btree_check(&m->tree, &records, &nodes);
    if (status == ADB_OK)
        status = records_check(m, &sums);
    if (status != ADB_OK)
        return status;
    memtable_stats(m, &stats);
    if (records != sums.records || records != stats.keys)
        return broken("number of keys", 0);
    if (sums.versions != stats.versions)
        return broken("number of versions", 0);
    if (sums.data_bytes != stats.data_bytes)
        return broken("sum of data bytes", 0);
    if (nodes * BTREE_SLOTS < records)
        return broken("fewer nodes than the records need", 0);
    return ADB_OK;
}
