#include "memtable/btree.h"

#include "memtable/btree_node.h"

/* ---- reading ----------------------------------------------------------- */

/* Which child of an inner node to follow. */
enum turn { TURN_AT, TURN_BEFORE, TURN_FIRST, TURN_LAST };

static struct node *root_enter(const struct btree *t, uint64_t *version)
{
    for (;;) {
        uint32_t offset = LOAD(t->root);
        struct node *n = node_at(t, offset);
        *version = node_version(n);
        /* If the root was split before the version was taken, the old one is
           now only the left half. */
        if (likely(LOAD(t->root) == offset))
            return n;
    }
}

static unsigned turn_child(const struct btree *t, const struct node *n,
                           uint32_t meta, const struct probe *p, enum turn turn)
{
    uint32_t equal;
    if (turn == TURN_FIRST)
        return 0;
    if (turn == TURN_LAST)
        return meta_count(meta);
    unsigned i = node_search(t, n, meta, p, &equal);
    return i + (equal && turn == TURN_AT);
}

/* The leaf for the probe and its version; p may be NULL for the outer two
   turns. Inlined for each turn. */
static inline __attribute__((always_inline)) struct node *
descend(const struct btree *t, const struct probe *p, enum turn turn,
        uint64_t *version)
{
    for (;;) {
        uint64_t v;
        struct node *n = root_enter(t, &v);
        for (;;) {
            uint32_t meta = LOAD(n->meta);
            if (meta_is_leaf(meta)) {
                *version = v;
                return n;
            }
            unsigned i = turn_child(t, n, meta, p, turn);
            struct node *child = node_at(t, LOAD(n->child[i]));
            node_prefetch(child);
            uint64_t child_version = node_version(child);
            if (unlikely(!node_unchanged(n, v)))
                break;
            n = child;
            v = child_version;
        }
    }
}

uint32_t btree_find(const struct btree *t, adb_slice key)
{
    struct probe p = probe_of(key);
    for (;;) {
        uint64_t version;
        uint32_t equal;
        struct node *leaf = descend(t, &p, TURN_AT, &version);
        node_search(t, leaf, LOAD(leaf->meta), &p, &equal);
        /* A hit needs no check: there is one record per key for ever. */
        if (equal || likely(node_unchanged(leaf, version)))
            return equal;
    }
}

static bool leaf_copy(const struct node *n, uint64_t version,
                      struct btree_leaf *out)
{
    out->count = meta_count(LOAD(n->meta));
    out->next = LOAD(n->next);
    for (unsigned i = 0; i < out->count; i++)
        out->records[i] = LOAD(n->slot[i]);
    return node_unchanged(n, version);
}

void btree_leaf_first(const struct btree *t, struct btree_leaf *out)
{
    uint64_t version;
    struct node *n;
    do {
        n = descend(t, NULL, TURN_FIRST, &version);
    } while (!leaf_copy(n, version, out));
}

void btree_leaf_last(const struct btree *t, struct btree_leaf *out)
{
    uint64_t version;
    struct node *n;
    do {
        n = descend(t, NULL, TURN_LAST, &version);
    } while (!leaf_copy(n, version, out));
}

unsigned btree_leaf_at(const struct btree *t, adb_slice key,
                       struct btree_leaf *out)
{
    struct probe p = probe_of(key);
    for (;;) {
        uint64_t version;
        uint32_t equal;
        struct node *n = descend(t, &p, TURN_AT, &version);
        unsigned below = node_search(t, n, LOAD(n->meta), &p, &equal);
        if (leaf_copy(n, version, out))
            return below;
    }
}

unsigned btree_leaf_before(const struct btree *t, adb_slice key,
                           struct btree_leaf *out)
{
    struct probe p = probe_of(key);
    for (;;) {
        uint64_t version;
        uint32_t equal;
        /* Right of the last separator below the key: that separator's own
           record stands there, so only the leftmost leaf can have none. */
        struct node *n = descend(t, &p, TURN_BEFORE, &version);
        unsigned below = node_search(t, n, LOAD(n->meta), &p, &equal);
        if (leaf_copy(n, version, out))
            return below;
    }
}

void btree_leaf_next(const struct btree *t, struct btree_leaf *leaf)
{
    const struct node *n = node_at(t, leaf->next);
    uint64_t version;
    do {
        version = node_version(n);
    } while (!leaf_copy(n, version, leaf));
    if (leaf->next)
        node_prefetch(node_at(t, leaf->next));
}

void btree_prefetch_next(const struct btree *t, const struct btree_leaf *leaf,
                         unsigned at)
{
    if (!leaf->next)
        return;
    const struct node *n = node_at(t, leaf->next);
    if (at < meta_count(LOAD(n->meta)))
        record_prefetch(record_at(t->base, LOAD(n->slot[at])));
}

double btree_rank(const struct btree *t, adb_slice key)
{
    struct probe p = probe_of(key);
    double below = 0, part = 1;
    uint64_t v;
    struct node *n = root_enter(t, &v);
    for (;;) {
        uint32_t meta = LOAD(n->meta), equal;
        unsigned i = node_search(t, n, meta, &p, &equal);
        if (meta_is_leaf(meta))
            return below + part * i / MAX_OF(meta_count(meta), 1u);
        i += equal != 0;
        part /= meta_count(meta) + 1;
        below += part * i;
        /* A split in between only makes the estimate a little worse. */
        n = node_at(t, LOAD(n->child[i]));
    }
}

/* ---- changing one locked node ------------------------------------------ */

static bool node_lock(struct node *n, uint64_t version)
{
    return atomic_compare_exchange_strong_explicit(
        &n->version, &version, version + 1, memory_order_acquire,
        memory_order_relaxed);
}

static void node_unlock(struct node *n, uint64_t version_before)
{
    STORE(n->version, version_before + 2);
}

static struct node *node_new(struct btree *t, uint32_t leaf)
{
    uint32_t offset =
        arena_alloc(t->arena, leaf ? LEAF_BYTES : sizeof(struct node));
    if (!offset)
        return NULL;
    struct node *n = node_at(t, offset);
    atomic_init(&n->version, 0);
    atomic_init(&n->meta, meta_make(0, 0, leaf));
    atomic_init(&n->next, 0);
    atomic_init(&n->prefix[0], 0);
    atomic_init(&n->prefix[1], 0);
    return n;
}

/* Recomputes heads for a prefix that all the node's keys have. */
static void node_set_prefix(struct btree *t, struct node *n, size_t prefix)
{
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    struct probe first = probe_of(slot_key(t, n, 0));
    STORE(n->prefix[0], leading_bytes(first.word[0], prefix));
    STORE(n->prefix[1],
          prefix > 8 ? leading_bytes(first.word[1], prefix - 8) : 0);
    for (unsigned i = 0; i < count; i++)
        STORE(n->head[i], slice_head(slot_key(t, n, i), prefix));
    STORE(n->meta, meta_make(count, prefix, meta));
}

/* Lengthens the prefix when that wins at least two bytes of head: heads that
   still differ in their first two tell enough, and the keys, which are cold
   memory, need not be read. */
static void node_grow_prefix(struct btree *t, struct node *n)
{
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    if (count < 2 || (LOAD(n->head[0]) ^ LOAD(n->head[count - 1])) >> 16)
        return;
    size_t common =
        slice_common_prefix(slot_key(t, n, 0), slot_key(t, n, count - 1));
    common = MIN_OF(common, (size_t)PREFIX_MAX);
    if (common >= meta_prefix(meta) + 2)
        node_set_prefix(t, n, common);
}

/* Puts a record into slot `at` of a node with room. The count is stored last:
   readers may look at any slot below it. */
static void node_insert(struct btree *t, struct node *n, unsigned at,
                        uint32_t record)
{
    struct probe p = probe_of(record_key(record_at(t->base, record)));
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    size_t prefix = meta_prefix(meta);
    if (prefix && prefix_compare(t, n, prefix, &p) != 0) {
        prefix = MIN_OF(prefix, slice_common_prefix(slot_key(t, n, 0), p.key));
        node_set_prefix(t, n, prefix);
    }
    for (unsigned i = count; i > at; i--) {
        STORE(n->head[i], LOAD(n->head[i - 1]));
        STORE(n->slot[i], LOAD(n->slot[i - 1]));
    }
    STORE(n->head[at], probe_head(&p, prefix));
    STORE(n->slot[at], record);
    STORE(n->meta, meta_make(count + 1, prefix, meta));
    if (count + 1 == 2 || count + 1 == 8)
        node_grow_prefix(t, n);
}

/* Makes `right` the right neighbour of child `at` of an inner node with
   room. */
static void node_insert_child(struct btree *t, struct node *n, unsigned at,
                              uint32_t separator, struct node *right)
{
    unsigned count = meta_count(LOAD(n->meta));
    for (unsigned i = count + 1; i > at + 1; i--)
        STORE(n->child[i], LOAD(n->child[i - 1]));
    STORE(n->child[at + 1], node_offset(t, right));
    node_insert(t, n, at, separator);
}

/* ---- inserting --------------------------------------------------------- */

enum outcome { OUTCOME_DONE, OUTCOME_RETRY, OUTCOME_FULL };

struct insertion {
    struct probe probe;
    btree_make make;
    void *context;
    uint32_t record; /* result */
    bool inserted;
};

/* A node on the way down, with the version it was read under. parent NULL: it
   is the root; at: its place among the parent's children. */
struct step {
    struct node *node, *parent;
    uint64_t version, parent_version;
    unsigned at;
};

/* Locks the node to be split and its parent; false: something changed. */
static bool step_lock(struct step *s)
{
    if (s->parent && !node_lock(s->parent, s->parent_version))
        return false;
    if (node_lock(s->node, s->version))
        return true;
    if (s->parent) /* nothing was changed: readers need not notice */
        STORE(s->parent->version, s->parent_version);
    return false;
}

static void step_unlock(struct step *s)
{
    node_unlock(s->node, s->version);
    if (s->parent)
        node_unlock(s->parent, s->parent_version);
}

/* Hangs `right` beside the node of the step: into the parent, or with the node
   under the new root. */
static void step_link(struct btree *t, struct step *s, struct node *root,
                      uint32_t separator, struct node *right)
{
    if (s->parent) {
        node_insert_child(t, s->parent, s->at, separator, right);
        return;
    }
    atomic_init(&root->child[0], node_offset(t, s->node));
    node_insert_child(t, root, 0, separator, right);
    STORE(t->root, node_offset(t, root));
    atomic_fetch_add_explicit(&t->height, 1, memory_order_relaxed);
}

/* Moves the slots from `from` on to the right node. */
static void split_slots(struct node *n, struct node *right, unsigned from)
{
    uint32_t meta = LOAD(n->meta);
    unsigned count = meta_count(meta);
    for (unsigned i = from; i < count; i++) {
        atomic_init(&right->head[i - from], LOAD(n->head[i]));
        atomic_init(&right->slot[i - from], LOAD(n->slot[i]));
    }
    atomic_init(&right->prefix[0], LOAD(n->prefix[0]));
    atomic_init(&right->prefix[1], LOAD(n->prefix[1]));
    atomic_init(&right->meta, meta_make(count - from, meta_prefix(meta), meta));
}

static enum outcome split_inner(struct btree *t, struct step *s)
{
    enum { HALF = BTREE_SLOTS / 2 };
    if (!step_lock(s))
        return OUTCOME_RETRY;
    enum outcome outcome = OUTCOME_FULL;
    struct node *n = s->node, *root = NULL;
    struct node *right = node_new(t, 0);
    if (!right || (!s->parent && !(root = node_new(t, 0))))
        goto out;
    /* The separator in the middle moves up. */
    uint32_t separator = LOAD(n->slot[HALF]);
    uint32_t meta = LOAD(n->meta);
    split_slots(n, right, HALF + 1);
    for (unsigned i = HALF + 1; i <= BTREE_SLOTS; i++)
        atomic_init(&right->child[i - HALF - 1], LOAD(n->child[i]));
    node_grow_prefix(t, right);
    STORE(n->meta, meta_make(HALF, meta_prefix(meta), meta));
    node_grow_prefix(t, n);
    step_link(t, s, root, separator, right);
    outcome = OUTCOME_RETRY;
out:
    step_unlock(s);
    return outcome;
}

static void split_leaf_middle(struct btree *t, struct node *n,
                              struct node *right)
{
    enum { HALF = BTREE_SLOTS / 2 };
    uint32_t meta = LOAD(n->meta);
    split_slots(n, right, HALF);
    node_grow_prefix(t, right);
    STORE(n->meta, meta_make(HALF, meta_prefix(meta), meta));
    node_grow_prefix(t, n);
}

/* Splits a full leaf: in the middle, then the insert starts anew; or, for an
   insert at the end of all, by opening a fresh leaf with the new record. */
static enum outcome split_leaf(struct btree *t, struct step *s, bool append,
                               struct insertion *in)
{
    if (!step_lock(s))
        return OUTCOME_RETRY;
    enum outcome outcome = OUTCOME_FULL;
    struct node *n = s->node, *root = NULL;
    struct node *right = node_new(t, META_LEAF);
    if (!right || (!s->parent && !(root = node_new(t, 0))))
        goto out;
    if (append) {
        in->record = in->make(in->context);
        if (!in->record)
            goto out;
        in->inserted = true;
        node_insert(t, right, 0, in->record);
        outcome = OUTCOME_DONE;
    } else {
        split_leaf_middle(t, n, right);
        outcome = OUTCOME_RETRY;
    }
    uint32_t next = LOAD(n->next);
    atomic_init(&right->next, next);
    STORE(n->next, node_offset(t, right));
    if (!next)
        STORE(t->rightmost, node_offset(t, right));
    step_link(t, s, root, LOAD(right->slot[0]), right);
out:
    step_unlock(s);
    return outcome;
}

/* Inserts at a place found under the leaf's version; the leaf has room. */
static enum outcome leaf_insert(struct btree *t, struct node *leaf,
                                uint64_t version, unsigned at,
                                struct insertion *in)
{
    if (!node_lock(leaf, version))
        return OUTCOME_RETRY;
    in->record = in->make(in->context);
    if (!in->record) {
        STORE(leaf->version, version);
        return OUTCOME_FULL;
    }
    in->inserted = true;
    node_insert(t, leaf, at, in->record);
    node_unlock(leaf, version);
    return OUTCOME_DONE;
}

/* An insert above all keys needs no descent. OUTCOME_RETRY: it is not one. */
static enum outcome insert_last(struct btree *t, struct insertion *in)
{
    struct node *leaf = node_at(t, LOAD(t->rightmost));
    uint64_t version = LOAD(leaf->version);
    unsigned count = meta_count(LOAD(leaf->meta));
    if (version & 1 || count == 0 || count == BTREE_SLOTS || LOAD(leaf->next))
        return OUTCOME_RETRY;
    if (slice_compare(slot_key(t, leaf, count - 1), in->probe.key) >= 0)
        return OUTCOME_RETRY;
    return leaf_insert(t, leaf, version, count, in);
}

static enum outcome insert_once(struct btree *t, struct insertion *in)
{
    struct step s = {0};
    uint32_t meta, equal;
    s.node = root_enter(t, &s.version);
    while (!meta_is_leaf(meta = LOAD(s.node->meta))) {
        if (unlikely(meta_count(meta) == BTREE_SLOTS))
            return split_inner(t, &s);
        unsigned i = node_search(t, s.node, meta, &in->probe, &equal);
        s.at = i + (equal != 0);
        struct node *child = node_at(t, LOAD(s.node->child[s.at]));
        node_prefetch(child);
        uint64_t version = node_version(child);
        if (unlikely(!node_unchanged(s.node, s.version)))
            return OUTCOME_RETRY;
        s.parent = s.node;
        s.parent_version = s.version;
        s.node = child;
        s.version = version;
    }
    unsigned at = node_search(t, s.node, meta, &in->probe, &equal);
    if (equal) {
        in->record = equal;
        in->inserted = false;
        return OUTCOME_DONE;
    }
    if (unlikely(meta_count(meta) == BTREE_SLOTS)) {
        bool append = at == BTREE_SLOTS && !LOAD(s.node->next);
        return split_leaf(t, &s, append, in);
    }
    return leaf_insert(t, s.node, s.version, at, in);
}

uint32_t btree_insert(struct btree *t, adb_slice key, btree_make make,
                      void *context, bool *inserted)
{
    struct insertion in = {
        .probe = probe_of(key), .make = make, .context = context};
    enum outcome outcome = insert_last(t, &in);
    while (outcome == OUTCOME_RETRY)
        outcome = insert_once(t, &in);
    if (outcome == OUTCOME_FULL)
        return 0;
    *inserted = in.inserted;
    return in.record;
}

bool btree_init(struct btree *t, struct arena *arena)
{
    t->arena = arena;
    t->base = arena->base;
    struct node *root = node_new(t, META_LEAF);
    if (!root)
        return false;
    atomic_init(&t->root, node_offset(t, root));
    atomic_init(&t->rightmost, node_offset(t, root));
    atomic_init(&t->height, 1);
    return true;
}
