/*
 * memtable_check finds what it says it finds: each invariant is broken by hand,
 * one at a time, named, and mended.
 */
#include "memtable/btree_node.h"
#include "memtable/memtable_internal.h"
#include "memtable_test.h"

enum { KEYS = 12000 };

struct scene {
    struct ledger ledger;
    struct memtable_pool *pool;
    struct memtable *m;
    struct node *root, *inner, *first, *second, *last;
    struct record *record; /* with an inline version and a block above it */
    struct version *block;
};

static void expect(struct scene *s, const char *message)
{
    adb_status status = memtable_check(s->m);
    if (status != ADB_CORRUPTION || !strstr(status_message(), message))
        fail_msg("'%s' is told as: %s: %s", message, status_name(status),
                 status_message());
}

static void expect_32(struct scene *s, _Atomic uint32_t *place, uint32_t value,
                      const char *message)
{
    uint32_t before = LOAD(*place);
    STORE(*place, value);
    expect(s, message);
    STORE(*place, before);
    check(s->m);
}

static void expect_64(struct scene *s, _Atomic uint64_t *place, uint64_t value,
                      const char *message)
{
    uint64_t before = LOAD(*place);
    STORE(*place, value);
    expect(s, message);
    STORE(*place, before);
    check(s->m);
}

static void put(struct scene *s, unsigned i, uint64_t seq)
{
    char key[16];
    int n = snprintf(key, sizeof key, "key%06u", i);
    struct memtable_write w = write_of(slice_of(key, (size_t)n), seq, KV_PUT,
                                       slice_of("some value", 10));
    assert_int_equal(memtable_put(s->m, &w), ADB_OK);
}

static void find_nodes(struct scene *s)
{
    const struct btree *t = &s->m->tree;
    s->root = node_at(t, LOAD(t->root));
    s->inner = node_at(t, LOAD(s->root->child[0]));
    assert_true(LOAD(t->height) == 3);
    s->first = node_at(t, LOAD(s->inner->child[0]));
    s->second = node_at(t, LOAD(s->first->next));
    s->last = node_at(t, LOAD(t->rightmost));
    s->record = record_at(t->base, LOAD(s->first->slot[2]));
    s->block = version_at(t->base, record_newest(s->record));
    assert_true(s->block != &s->record->first);
}

static void scene_init(struct scene *s)
{
    *s = (struct scene){.ledger = {.budget = 64 << 20}};
    s->pool = memtable_pool_new(8 << 20, 1, &s->ledger);
    assert_non_null(s->pool);
    assert_int_equal(memtable_new(s->pool, 0, &s->m), ADB_OK);
    for (unsigned i = 0; i < KEYS; i++)
        put(s, i * 7919u % KEYS, i + 1);
    put(s, 2, KEYS + 1); /* a second version of the third key */
    check(s->m);
    find_nodes(s);
}

static void scene_deinit(struct scene *s)
{
    memtable_unref(s->m);
    memtable_pool_free(s->pool);
}

static void swap(struct node *n, unsigned i, struct node *m, unsigned j)
{
    uint32_t slot = LOAD(n->slot[i]), head = LOAD(n->head[i]);
    STORE(n->slot[i], LOAD(m->slot[j]));
    STORE(n->head[i], LOAD(m->head[j]));
    STORE(m->slot[j], slot);
    STORE(m->head[j], head);
}

static void test_nodes(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    uint32_t meta = LOAD(s.first->meta);
    unsigned last = meta_count(meta) - 1;
    expect_64(&s, &s.first->version, LOAD(s.first->version) | 1,
              "node left locked");
    expect_32(&s, &s.first->meta, meta | 0xff, "count out of range");
    expect_32(&s, &s.first->meta, meta ^ META_LEAF, "leaf at the wrong depth");
    expect_32(&s, &s.root->meta, LOAD(s.root->meta) | META_LEAF,
              "leaf at the wrong depth");
    expect_32(&s, &s.first->meta, meta_make(3, meta_prefix(meta), meta),
              "leaf less than half full");
    expect_32(&s, &s.inner->meta,
              meta_make(3, meta_prefix(LOAD(s.inner->meta)), 0),
              "inner node less than half full");
    swap(s.first, 0, s.first, 1);
    expect(&s, "keys out of order");
    swap(s.first, 0, s.first, 1);
    /* The neighbour's first key at this leaf's end, and the reverse. */
    uint32_t slot = LOAD(s.first->slot[last]);
    expect_32(&s, &s.first->slot[last], LOAD(s.second->slot[0]),
              "key above its subtree");
    expect_32(&s, &s.second->slot[0], slot, "key below its subtree");
    assert_true(meta_prefix(meta) > 0);
    expect_64(&s, &s.first->prefix[0],
              LOAD(s.first->prefix[0]) ^ UINT64_C(1) << 60,
              "key without the node's prefix");
    expect_32(&s, &s.first->head[3], LOAD(s.first->head[3]) ^ 1, "wrong head");
    expect_32(&s, &s.first->next, LOAD(s.second->next),
              "leaf not linked to the next");
    expect_32(&s, &s.last->next, node_offset(&s.m->tree, s.first),
              "last leaf has a neighbour");
    expect_32(&s, &s.m->tree.rightmost, node_offset(&s.m->tree, s.first),
              "rightmost hint astray");
    scene_deinit(&s);
}

static void test_records(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    _Atomic uint64_t *word = &s.record->first.trailer, *top = &s.block->trailer;
    uint64_t trailer = LOAD(*word);
    expect_64(&s, word, trailer | TRAILER_LOCK, "record left locked");
    expect_64(&s, top, LOAD(*top) | TRAILER_LOCK, "version left locked");
    expect_64(&s, word, trailer_make(KEYS + 1, KV_PUT),
              "sequences do not fall");
    expect_64(&s, word, trailer_make(0, KV_PUT), "sequences do not fall");
    expect_64(&s, top, LOAD(*top) | TRAILER_KIND, "unknown kind");
    expect_64(&s, top, trailer_make(KEYS + 2, KV_PUT),
              "sequence outside the memtable's");
    expect_64(&s, &s.m->min_seq, 2, "sequence outside the memtable's");
    expect_32(&s, &s.record->first.length, 1 << 20,
              "value longer than its place");
    expect_32(&s, &s.record->newest, 0, "record without a version");
    uint64_t *filter = malloc(s.m->filter.count * sizeof *filter);
    memcpy(filter, (void *)s.m->filter.words,
           s.m->filter.count * sizeof *filter);
    memset((void *)s.m->filter.words, 0, s.m->filter.count * sizeof *filter);
    expect(&s, "key missing in the filter");
    memcpy((void *)s.m->filter.words, filter,
           s.m->filter.count * sizeof *filter);
    free(filter);
    scene_deinit(&s);
}

static void test_sums(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    expect_64(&s, &s.m->keys, LOAD(s.m->keys) + 1, "number of keys");
    expect_64(&s, &s.m->chained, LOAD(s.m->chained) + 1, "number of versions");
    expect_64(&s, &s.m->data_bytes, LOAD(s.m->data_bytes) - 1,
              "sum of data bytes");
    scene_deinit(&s);
}

/* An arena that is too small is an error, not a crash: without asking for
   room first, puts fail at each place where memory is taken, and what is there
   stays whole. */
static void test_full(void **state)
{
    (void)state;
    static uint8_t value[2000];
    for (unsigned order = 0; order < 3; order++) {
        struct ledger ledger = {.budget = 64 << 20};
        struct memtable_pool *pool = memtable_pool_new(16 << 10, 1, &ledger);
        struct memtable *m;
        unsigned full = 0;
        assert_int_equal(memtable_new(pool, 0, &m), ADB_OK);
        for (unsigned i = 0; i < 20000 && full < 300; i++) {
            char key[16];
            unsigned k = order == 0   ? i
                         : order == 1 ? i * 7919u % 20011
                                      : i % 50;
            int n = snprintf(key, sizeof key, "%05u", k);
            size_t size = order == 2 && i % 3 == 0 ? sizeof value : i % 40;
            struct memtable_write w =
                write_of(slice_of(key, (size_t)n), i + 1, KV_PUT,
                         slice_of(value, size));
            adb_status status = memtable_put(m, &w);
            if (status == ADB_OK)
                continue;
            assert_int_equal(status, ADB_NO_MEMORY);
            assert_non_null(strstr(status_message(), "the memtable is full"));
            full++;
        }
        assert_true(full > 100);
        check(m);
        memtable_unref(m);
        memtable_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
