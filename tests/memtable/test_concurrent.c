/*
 * Writers, readers and scanners at once. Values carry their sequence in every
 * byte, so a torn one shows; sequences a reader sees of one key never fall;
 * scans are in order and hold every key that was there before they began. To
 * be run under ThreadSanitizer as well.
 */
#include "memtable_test.h"

#include <stdatomic.h>

#include "base/thread.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { OPERATIONS = 30000 };
#else
enum { OPERATIONS = 300000 };
#endif
enum { KEYS = 5000, WRITERS = 2, READERS = 2, BASE_KEYS = 500 };

struct shared {
    struct memtable *m;
    _Atomic uint64_t next_seq;
    _Atomic bool stop;
    uint64_t keep_seq; /* a snapshot of the first BASE_KEYS */
    uint64_t hot;      /* of 16 writes so many go to one key */
    _Atomic uint64_t failures, reads, scanned;
};

struct worker {
    struct shared *s;
    struct thread thread;
    uint64_t seed;
};

static adb_slice key_of(uint8_t *buffer, uint64_t number)
{
    /* Shared prefixes of different lengths, and ties in the heads. */
    int size = snprintf((char *)buffer, 64, "%s%08u",
                        number % 3 ? "key/with/a/long/prefix/0000" : "k",
                        (unsigned)(number * 2654435761u % 1000003));
    return slice_of(buffer, (size_t)size);
}

static size_t size_of(uint64_t seq)
{
    return seq % 97 == 0 ? 1500 + seq % 500 : 8 + seq * 7 % 120;
}

static void failed(struct shared *s)
{
    atomic_fetch_add(&s->failures, 1);
}

static void write_one(struct shared *s, uint64_t number, uint64_t random)
{
    uint8_t name[64], value[2048];
    uint64_t seq = atomic_fetch_add(&s->next_seq, 1);
    size_t size = size_of(seq);
    value_fill(value, size, seq);
    struct memtable_write w =
        write_of(key_of(name, number), seq, KV_PUT, slice_of(value, size));
    w.keep_seq = s->keep_seq;
    w.in_place = random % 16 != 0;
    if (random % 64 == 1) {
        w.kind = KV_DELETE;
        w.value.size = 0;
    }
    if (memtable_put(s->m, &w) != ADB_OK)
        failed(s);
}

static void *run_writer(void *argument)
{
    struct worker *w = argument;
    struct random r;
    random_seed(&r, w->seed);
    for (int i = 0; i < OPERATIONS; i++) {
        uint64_t x = random_next(&r);
        bool hot = x % 16 < w->s->hot;
        write_one(w->s, hot ? 0 : random_below(&r, KEYS), x >> 32);
    }
    return NULL;
}

static bool hit_sound(const struct memtable_hit *hit)
{
    return hit->kind == KV_DELETE
               ? hit->value.size == 0
               : value_is(hit->value, size_of(hit->seq), hit->seq);
}

static void *run_reader(void *argument)
{
    struct worker *w = argument;
    struct shared *s = w->s;
    struct random r;
    uint8_t name[64], scratch[MEMTABLE_INLINE_MAX];
    struct memtable_hit hit;
    uint64_t *seen = calloc(KEYS, sizeof *seen);
    random_seed(&r, w->seed);
    while (!atomic_load(&s->stop)) {
        uint64_t n = random_next(&r) % 16 < s->hot ? 0 : random_below(&r, KEYS);
        adb_slice key = key_of(name, n);
        bool found = get(s->m, key, KV_MAX_SEQ, false, scratch, &hit);
        if (found ? hit.seq < seen[n] || !hit_sound(&hit) : seen[n] != 0)
            failed(s);
        if (found)
            seen[n] = hit.seq;
        /* The snapshot never changes. */
        n = random_below(&r, BASE_KEYS);
        if (!get(s->m, key_of(name, n), s->keep_seq, true, scratch, &hit) ||
            hit.seq != n + 1 || !hit_sound(&hit))
            failed(s);
        atomic_fetch_add(&s->reads, 1);
    }
    free(seen);
    return NULL;
}

/* A scan of the snapshot sees its keys, all, in order, either way. */
static void scan_once(struct shared *s, bool backward)
{
    struct kv_iter *it = memtable_iter_new(s->m, s->keep_seq, false);
    uint8_t last[64];
    size_t last_size = 0;
    uint64_t count = 0;
    if (!it) {
        failed(s);
        return;
    }
    if (backward)
        it->ops->seek_last(it);
    else
        it->ops->seek_first(it);
    while (it->valid) {
        int order = slice_compare(slice_of(last, last_size), it->key);
        if (count && (backward ? order <= 0 : order >= 0))
            failed(s);
        if (it->seq > s->keep_seq ||
            !value_is(it->value, size_of(it->seq), it->seq))
            failed(s);
        last_size = it->key.size;
        memcpy(last, it->key.data, last_size);
        count++;
        if (backward)
            kv_iter_prev(it);
        else
            kv_iter_next(it);
    }
    if (count != BASE_KEYS)
        failed(s);
    kv_iter_close(it);
}

static void *run_scanner(void *argument)
{
    struct worker *w = argument;
    for (unsigned i = 0; !atomic_load(&w->s->stop); i++) {
        scan_once(w->s, i & 1);
        atomic_fetch_add(&w->s->scanned, 1);
    }
    return NULL;
}

static void start(struct worker *w, struct shared *s, uint64_t seed,
                  void *(*run)(void *))
{
    *w = (struct worker){.s = s, .seed = seed};
    assert_int_equal(thread_start(&w->thread, "worker", run, w), ADB_OK);
}

static void stress(uint64_t hot)
{
    struct memtable_pool *pool = memtable_pool_new(256 << 20, 1, NULL);
    struct worker writers[WRITERS], readers[READERS + 1];
    struct shared s = {.hot = hot};
    uint64_t seed = test_seed();
    atomic_init(&s.next_seq, 1);
    assert_int_equal(memtable_new(pool, 0, &s.m), ADB_OK);
    for (uint64_t i = 0; i < BASE_KEYS; i++)
        write_one(&s, i, 0);
    s.keep_seq = BASE_KEYS;
    for (unsigned i = 0; i < READERS; i++)
        start(&readers[i], &s, seed + i, run_reader);
    start(&readers[READERS], &s, 0, run_scanner);
    for (unsigned i = 0; i < WRITERS; i++)
        start(&writers[i], &s, seed + 10 + i, run_writer);
    for (unsigned i = 0; i < WRITERS; i++)
        thread_join(&writers[i].thread);
    atomic_store(&s.stop, true);
    for (unsigned i = 0; i <= READERS; i++)
        thread_join(&readers[i].thread);
    print_message("%llu reads, %llu scans\n", (unsigned long long)s.reads,
                  (unsigned long long)s.scanned);
    assert_int_equal(s.failures, 0);
    assert_true(s.reads > 0 && s.scanned > 0);
    check(s.m);
    memtable_unref(s.m);
    memtable_pool_free(pool);
}

static void test_spread(void **state)
{
    (void)state;
    stress(0);
}

static void test_hot_key(void **state)
{
    (void)state;
    stress(15);
}

/* Many threads insert the same ascending keys: every key once, the highest
   sequence on top. */
struct racing {
    struct memtable *m;
    struct thread thread;
    uint64_t first_seq;
    bool ascending;
};

enum { RACE_KEYS = 4000, RACERS = 4 };

static void *run_racer(void *argument)
{
    struct racing *r = argument;
    uint8_t name[64];
    for (uint64_t i = 0; i < RACE_KEYS; i++) {
        uint64_t k = r->ascending ? i : i * 2654435761u % RACE_KEYS;
        int size = snprintf((char *)name, sizeof name, "%06u", (unsigned)k);
        uint64_t seq = r->first_seq + k * RACERS;
        struct memtable_write w = write_of(slice_of(name, (size_t)size), seq,
                                           KV_PUT, slice_of(&seq, 8));
        w.in_place = r->first_seq % 2;
        if (memtable_put(r->m, &w) != ADB_OK)
            abort();
    }
    return NULL;
}

static void race(bool ascending)
{
    struct memtable_pool *pool = memtable_pool_new(16 << 20, 1, NULL);
    struct racing racers[RACERS];
    struct memtable *m;
    struct memtable_stats stats;
    assert_int_equal(memtable_new(pool, 0, &m), ADB_OK);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] =
            (struct racing){.m = m, .first_seq = i + 1, .ascending = ascending};
        assert_int_equal(
            thread_start(&racers[i].thread, "racer", run_racer, &racers[i]),
            ADB_OK);
    }
    for (unsigned i = 0; i < RACERS; i++)
        thread_join(&racers[i].thread);
    check(m);
    memtable_stats(m, &stats);
    assert_int_equal(stats.keys, RACE_KEYS);
    assert_int_equal(stats.max_seq, RACE_KEYS * RACERS);
    struct kv_iter *it = memtable_iter_new(m, KV_MAX_SEQ, false);
    uint64_t k = 0;
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it), k++)
        assert_int_equal(it->seq, (k + 1) * RACERS);
    assert_int_equal(k, RACE_KEYS);
    kv_iter_close(it);
    memtable_unref(m);
    memtable_pool_free(pool);
}

static void test_race_on_inserts(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        race(i % 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_hot_key),
        cmocka_unit_test(test_race_on_inserts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
