/*
 * Random writes, snapshots, reads and walks against a model that remembers
 * every version ever written.
 */
#include "memtable_test.h"

enum {
    KEYS = 700,
    OPERATIONS = 12000,
    SNAPSHOTS = 4,
    KEY_MAX = 256,
};

struct written {
    uint64_t seq;
    uint32_t size;
    enum kv_kind kind;
};
struct model_key {
    uint8_t bytes[KEY_MAX];
    size_t size;
    struct written *history; /* sequences rise */
    unsigned count;
    bool replaceable; /* some write was allowed to replace */
};
struct model {
    struct memtable_pool *pool;
    struct memtable *m;
    struct random rng;
    struct model_key keys[KEYS];   /* in key order */
    uint64_t snapshots[SNAPSHOTS]; /* 0: free */
    uint64_t seq;
};

/* How the keys of a round look. */
struct shape {
    const char *name;
    size_t prefix;    /* shared bytes */
    size_t tail;      /* random bytes at most */
    unsigned letters; /* the alphabet of the tail */
};

static int by_key(const void *a, const void *b)
{
    const struct model_key *x = a, *y = b;
    return slice_compare(slice_of(x->bytes, x->size),
                         slice_of(y->bytes, y->size));
}

static adb_slice key_of(const struct model *o, unsigned i)
{
    return slice_of(o->keys[i].bytes, o->keys[i].size);
}

static void make_keys(struct model *o, struct shape s)
{
    for (unsigned i = 0; i < KEYS; i++) {
        struct model_key *k = &o->keys[i];
        size_t tail = random_below(&o->rng, s.tail + 1);
        memset(k, 0, sizeof *k);
        memset(k->bytes, 'p', s.prefix);
        for (size_t j = 0; j < tail; j++)
            k->bytes[s.prefix + j] = (uint8_t)random_below(&o->rng, s.letters);
        k->size = s.prefix + tail;
        if (i == 0)
            k->size = 0; /* the empty key */
        else if (i == 1)
            k->size = s.prefix / 2; /* does not have the prefix */
    }
    qsort(o->keys, KEYS, sizeof o->keys[0], by_key);
}

/* Keys drawn twice count as their first. */
static unsigned pick(struct model *o)
{
    unsigned i = (unsigned)random_below(&o->rng, KEYS);
    while (i > 0 && slice_equal(key_of(o, i), key_of(o, i - 1)))
        i--;
    return i;
}

static uint64_t newest_snapshot(const struct model *o)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        newest = MAX_OF(newest, o->snapshots[i]);
    return newest;
}

/* What is true of the key at seq; NULL: nothing. */
static const struct written *truth(const struct model_key *k, uint64_t seq)
{
    for (unsigned i = k->count; i-- > 0;)
        if (k->history[i].seq <= seq)
            return &k->history[i];
    return NULL;
}

static uint32_t random_size(struct random *r)
{
    switch (random_below(r, 8)) {
    case 0:
        return 0;
    case 1:
        return (uint32_t)random_below(r, 1200);
    case 2:
        return 3000;
    default:
        return (uint32_t)random_below(r, 40);
    }
}

static void put(struct model *o)
{
    static uint8_t bytes[4096];
    struct model_key *k = &o->keys[pick(o)];
    struct written v = {.seq = ++o->seq, .kind = KV_PUT};
    if (random_below(&o->rng, 5) == 0)
        v.kind = KV_DELETE;
    else
        v.size = random_size(&o->rng);
    value_fill(bytes, v.size, v.seq);
    struct memtable_write w = write_of(slice_of(k->bytes, k->size), v.seq,
                                       v.kind, slice_of(bytes, v.size));
    w.keep_seq = newest_snapshot(o);
    w.in_place = random_below(&o->rng, 3) != 0;
    assert_int_equal(memtable_put(o->m, &w), ADB_OK);
    k->history = realloc(k->history, (k->count + 1) * sizeof v);
    k->history[k->count++] = v;
    k->replaceable |= w.in_place;
}

static void expect_version(const struct written *v, uint64_t seq,
                           enum kv_kind kind, adb_slice value)
{
    assert_non_null(v);
    assert_int_equal(v->seq, seq);
    assert_int_equal(v->kind, kind);
    assert_true(value_is(value, v->size, v->seq));
}

/* A reader without a snapshot may see something newer than the truth where
   the truth was replaced, never something older. */
static void read_unregistered(struct model *o)
{
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    struct model_key *k = &o->keys[pick(o)];
    uint64_t back = random_below(&o->rng, 2) ? 0 : random_below(&o->rng, 500);
    uint64_t seq = o->seq - MIN_OF(back, o->seq);
    const struct written *v = truth(k, seq);
    bool found =
        get(o->m, slice_of(k->bytes, k->size), seq, false, scratch, &hit);
    if (!v && (!found || !k->replaceable)) {
        assert_false(found);
        return;
    }
    assert_true(found);
    expect_version(truth(k, hit.seq), hit.seq, hit.kind, hit.value);
    if (back == 0 || !k->replaceable)
        assert_int_equal(hit.seq, v->seq);
    else
        assert_true(!v || hit.seq >= v->seq);
}

static void read_snapshot(struct model *o)
{
    uint8_t scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    struct model_key *k = &o->keys[pick(o)];
    uint64_t seq = o->snapshots[random_below(&o->rng, SNAPSHOTS)];
    if (!seq)
        return;
    const struct written *v = truth(k, seq);
    bool found =
        get(o->m, slice_of(k->bytes, k->size), seq, true, scratch, &hit);
    assert_int_equal(found, v != NULL);
    if (found)
        expect_version(v, hit.seq, hit.kind, hit.value);
}

/* ---- walks ------------------------------------------------------------- */

/* What an iterator must yield, in order. */
struct view {
    struct view_entry {
        unsigned key;
        struct written v;
    } * entries;
    unsigned count;
};

static void view_add(struct view *w, unsigned key, const struct written *v)
{
    w->entries = realloc(w->entries, (w->count + 1) * sizeof *w->entries);
    w->entries[w->count++] = (struct view_entry){key, *v};
}

static struct view view_of_snapshot(const struct model *o, uint64_t seq)
{
    struct view w = {0};
    for (unsigned i = 0; i < KEYS; i++) {
        const struct written *v = truth(&o->keys[i], seq);
        if (v)
            view_add(&w, i, v);
    }
    return w;
}

/* Which versions are kept is the memtable's choice, within bounds: all that a
   snapshot sees and the newest. */
static struct view view_of_all(const struct model *o)
{
    struct view w = {0};
    struct kv_iter *it = memtable_iter_new(o->m, 0, true);
    unsigned key = 0;
    uint64_t required = 0, met = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it)) {
        while (key < KEYS &&
               (!o->keys[key].count || !slice_equal(key_of(o, key), it->key)))
            key++;
        assert_true(key < KEYS);
        const struct model_key *k = &o->keys[key];
        const struct written *v = truth(k, it->seq);
        expect_version(v, it->seq, it->kind, it->value);
        bool needed = v == truth(k, KV_MAX_SEQ);
        for (unsigned i = 0; i < SNAPSHOTS; i++)
            needed |= o->snapshots[i] && v == truth(k, o->snapshots[i]);
        met += needed;
        view_add(&w, key, v);
    }
    kv_iter_close(it);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct written *seen[SNAPSHOTS + 1] = {
            truth(&o->keys[i], KV_MAX_SEQ)};
        unsigned n = seen[0] != NULL;
        for (unsigned j = 0; j < SNAPSHOTS; j++) {
            const struct written *v =
                o->snapshots[j] ? truth(&o->keys[i], o->snapshots[j]) : NULL;
            bool fresh = v != NULL;
            for (unsigned x = 0; x < n; x++)
                fresh &= seen[x] != v;
            if (fresh)
                seen[n++] = v;
        }
        required += n;
    }
    assert_int_equal(met, required);
    return w;
}

static void expect_place(const struct model *o, const struct view *w,
                         const struct kv_iter *it, int place)
{
    assert_int_equal(it->status, ADB_OK);
    if (place < 0 || place >= (int)w->count) {
        assert_false(it->valid);
        return;
    }
    assert_true(it->valid);
    const struct view_entry *e = &w->entries[place];
    assert_true(slice_equal(key_of(o, e->key), it->key));
    assert_int_equal(it->head, key_head8(it->key.data, it->key.size));
    expect_version(&e->v, it->seq, it->kind, it->value);
}

static int view_seek(const struct model *o, const struct view *w, adb_slice key,
                     uint64_t seq)
{
    int place = 0;
    while (place < (int)w->count &&
           kv_compare(key_of(o, w->entries[place].key), w->entries[place].v.seq,
                      key, seq) < 0)
        place++;
    return place;
}

static void walk(struct model *o, struct view *w, struct kv_iter *it)
{
    int place = -1;
    for (int step = 0; step < 300; step++) {
        uint64_t choice = random_below(&o->rng, 40);
        adb_slice key = key_of(o, pick(o));
        if (random_below(&o->rng, 4) == 0 && key.size)
            key.size--;
        uint64_t seq = random_below(&o->rng, 2)
                           ? KV_MAX_SEQ
                           : random_below(&o->rng, o->seq + 2);
        if (choice == 0) {
            it->ops->seek_first(it);
            place = 0;
        } else if (choice == 1) {
            it->ops->seek_last(it);
            place = (int)w->count - 1;
        } else if (choice < 5) {
            it->ops->seek(it, key, seq);
            place = view_seek(o, w, key, seq);
        } else if (choice < 8) {
            it->ops->seek_before(it, key, seq);
            place = view_seek(o, w, key, seq) - 1;
        } else if (!it->valid) {
            continue;
        } else if (choice < 24) {
            kv_iter_next(it);
            place++;
        } else {
            kv_iter_prev(it);
            place--;
        }
        expect_place(o, w, it, place);
    }
    int count = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
        expect_place(o, w, it, count++);
    assert_int_equal(count, w->count);
    for (it->ops->seek_last(it); it->valid; kv_iter_prev(it))
        expect_place(o, w, it, --count);
    assert_int_equal(count, 0);
}

static void check_walks(struct model *o)
{
    for (unsigned i = 0; i <= SNAPSHOTS; i++) {
        if (i < SNAPSHOTS && !o->snapshots[i])
            continue;
        struct view w = i < SNAPSHOTS ? view_of_snapshot(o, o->snapshots[i])
                                      : view_of_all(o);
        struct kv_iter *it = memtable_iter_new(
            o->m, i < SNAPSHOTS ? o->snapshots[i] : 0, i == SNAPSHOTS);
        walk(o, &w, it);
        kv_iter_close(it);
        free(w.entries);
    }
}

/* ---- rounds ------------------------------------------------------------ */

static void step(struct model *o)
{
    uint64_t choice = random_below(&o->rng, 100);
    if (choice < 60) {
        put(o);
    } else if (choice < 80) {
        read_unregistered(o);
    } else if (choice < 98) {
        read_snapshot(o);
    } else {
        uint64_t *s = &o->snapshots[random_below(&o->rng, SNAPSHOTS)];
        *s = random_below(&o->rng, 3) ? o->seq : 0;
    }
}

static void run(struct model *o, struct shape shape)
{
    print_message("keys: %s\n", shape.name);
    assert_int_equal(memtable_new(o->pool, 0, &o->m), ADB_OK);
    make_keys(o, shape);
    memset(o->snapshots, 0, sizeof o->snapshots);
    o->seq = 0;
    for (int i = 0; i < OPERATIONS; i++) {
        step(o);
        if (i % (OPERATIONS / 8) == 0)
            check(o->m);
    }
    check(o->m);
    check_walks(o);
    memtable_unref(o->m);
    for (unsigned i = 0; i < KEYS; i++)
        free(o->keys[i].history);
}

static void test_model(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {"spread", 0, 16, 256},       {"short, tied", 0, 4, 3},
        {"prefix of 8", 8, 8, 256},   {"prefix of 40", 40, 6, 4},
        {"prefix of 200", 200, 8, 5}, {"binary", 0, 40, 2},
        {"zeros", 3, 250, 1},
    };
    struct model *o = calloc(1, sizeof *o);
    random_seed(&o->rng, test_seed());
    o->pool = memtable_pool_new(32 << 20, 1, NULL);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(o, shapes[i]);
    memtable_pool_free(o->pool);
    free(o);
}

/* Many keys, few versions: several levels, ascending, descending, spread. */
static void insert_many(struct memtable_pool *pool, int order)
{
    enum { MANY = 200000 };
    struct memtable *m;
    struct memtable_stats stats;
    uint8_t scratch[MEMTABLE_INLINE_MAX], name[32];
    struct memtable_hit hit;
    assert_int_equal(memtable_new(pool, 0, &m), ADB_OK);
    for (unsigned i = 0; i < MANY; i++) {
        unsigned k = order == 0   ? i
                     : order == 1 ? MANY - 1 - i
                                  : (unsigned)((uint64_t)i * 7919 % MANY);
        snprintf((char *)name, sizeof name, "user%012u", k);
        struct memtable_write w =
            write_of(slice_of(name, 16), i + 1, KV_PUT, slice_of(name, 8));
        assert_int_equal(memtable_put(m, &w), ADB_OK);
    }
    check(m);
    memtable_stats(m, &stats);
    assert_int_equal(stats.keys, MANY);
    assert_true(stats.height >= 3);
    for (unsigned k = 0; k < MANY; k++) {
        snprintf((char *)name, sizeof name, "user%012u", k);
        assert_true(get(m, slice_of(name, 16), MANY, false, scratch, &hit));
        assert_false(get(m, slice_of(name, 15), MANY, false, scratch, &hit));
    }
    struct kv_iter *it = memtable_iter_new(m, MANY, false);
    unsigned count = 0;
    for (it->ops->seek_last(it); it->valid; kv_iter_prev(it))
        count++;
    assert_int_equal(count, MANY);
    kv_iter_close(it);
    memtable_unref(m);
}

static void test_many_keys(void **state)
{
    (void)state;
    struct memtable_pool *pool = memtable_pool_new(64 << 20, 1, NULL);
    for (int order = 0; order < 3; order++)
        insert_many(pool, order);
    memtable_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
