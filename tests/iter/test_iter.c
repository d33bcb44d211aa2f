/*
 * Merging and user iterators: random walks against a sorted array, failing
 * sources, failing allocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "iter/merge.h"
#include "iter/vector_iter.h"

enum { MAX_ENTRIES = 256, MAX_SOURCES = 9 };

/* Versions of random keys, spread over sources. */
struct world {
    struct version_text all[MAX_ENTRIES];
    size_t count;
    struct version_text part[MAX_SOURCES][MAX_ENTRIES];
    size_t part_count[MAX_SOURCES];
    size_t sources;
    size_t unloaded_from;
    bool lasting[MAX_SOURCES];
};

static void random_key(struct random *r, char *key)
{
    static const char *const prefixes[] = {"", "a", "user0000", "zzzzzzzzz",
                                           "\xff\xff\xff\xff\xff\xff\xff\xff"};
    static const char *const middles[] = {"", "12345678", "12345687"};
    sprintf(key, "%s%s%.*s", prefixes[random_below(r, 5)],
            middles[random_below(r, 3)], (int)random_below(r, 3),
            (const char *[]){"ab", "b", "\xff\xff"}[random_below(r, 3)]);
}

/* A piece of a key, so that keys lie before, behind and in its range. */
static const struct key_origin *random_origin(struct random *r,
                                              struct key_origin *o)
{
    char key[32];
    random_key(r, key);
    o->size = random_below(r, strlen(key) + 1);
    memcpy(o->prefix, key, o->size);
    return random_below(r, 3) ? o : NULL;
}

static void world_make(struct world *w, struct random *r, bool settled)
{
    memset(w, 0, sizeof *w);
    w->count = random_below(r, random_below(r, 2) ? 8 : MAX_ENTRIES);
    w->sources = 1 + random_below(r, MAX_SOURCES);
    w->unloaded_from = random_below(r, 2) ? SIZE_MAX : 300;
    for (size_t i = 0; i < w->sources; i++)
        w->lasting[i] = random_below(r, 2);
    for (size_t i = 0; i < w->count; i++) {
        struct version_text *v = &w->all[i];
        random_key(r, v->key);
        v->seq = i + 1;
        v->kind = random_below(r, 4) ? KV_PUT : KV_DELETE;
        if (v->kind == KV_PUT)
            v->value_size = random_below(r, 20) ? random_below(r, 400)
                                                : random_below(r, 40000);
    }
    qsort(w->all, w->count, sizeof w->all[0], version_order);
    for (size_t i = 0; i < w->count; i++) {
        /* The oldest version of a key may have been settled. */
        if (settled && (i + 1 == w->count ||
                        strcmp(w->all[i].key, w->all[i + 1].key) != 0))
            w->all[i].seq = random_below(r, 2) ? 0 : w->all[i].seq;
        size_t s = random_below(r, w->sources);
        w->part[s][w->part_count[s]++] = w->all[i];
    }
}

static struct kv_iter *world_merge(const struct world *w)
{
    struct kv_iter *sources[MAX_SOURCES];
    for (size_t i = 0; i < w->sources; i++) {
        struct vector_iter *v = vector_iter_new(w->part[i], w->part_count[i]);
        v->unloaded_from = w->unloaded_from;
        v->lasting = w->lasting[i];
        sources[i] = &v->base;
    }
    return merge_iter_new(sources, w->sources);
}

static void check_value(struct kv_iter *it, const struct version_text *v,
                        struct random *r)
{
    static uint8_t expected[40000], part[40000];
    assert_int_equal(it->value.size, v->value_size);
    version_value(v, expected);
    if (!it->value.data && it->value.size && random_below(r, 2)) {
        size_t from = random_below(r, it->value.size);
        size_t size = 1 + random_below(r, it->value.size - from);
        assert_int_equal(it->ops->read_value(it, from, part, size), ADB_OK);
        assert_memory_equal(part, expected + from, size);
    }
    if (!it->value.data && random_below(r, 3) == 0)
        return; /* passed by without loading */
    assert_int_equal(kv_iter_load(it), ADB_OK);
    assert_non_null(it->value.data);
    if (v->value_size)
        assert_memory_equal(it->value.data, expected, v->value_size);
}

/* The iterator shows entry `at`, or none when at is outside. */
static void check_entry(struct kv_iter *it, const struct version_text *entries,
                        size_t count, size_t at, struct random *r)
{
    assert_int_equal(it->status, ADB_OK);
    assert_int_equal(it->valid, at < count);
    if (at >= count)
        return;
    const struct version_text *v = &entries[at];
    assert_true(slice_equal(it->key, version_key(v)));
    assert_true(it->head ==
                key_head_from(it->origin, it->key.data, it->key.size));
    assert_int_equal(it->seq, v->seq);
    assert_int_equal(it->kind, v->kind);
    if (v->kind == KV_PUT)
        check_value(it, v, r);
    assert_true(slice_equal(it->key, version_key(v)));
}

/* A random walk over what must look like entries. keys_only: seeks go by the
   key alone. Positions: count is past the end, ~0 before the start. */
static void walk(struct kv_iter *it, const struct version_text *entries,
                 size_t count, bool keys_only, struct random *r)
{
    size_t at = count;
    for (int step = 0; step < 120; step++) {
        char key[32];
        random_key(r, key);
        adb_slice target = slice_of_string(key);
        uint64_t seq = random_below(r, 2) ? KV_MAX_SEQ : random_below(r, 300);
        uint64_t limit = keys_only ? KV_MAX_SEQ : seq;
        unsigned choice = (unsigned)random_below(r, at < count ? 24 : 4);
        if (choice == 0) {
            it->ops->seek_first(it);
            at = 0;
        } else if (choice == 1) {
            it->ops->seek_last(it);
            at = count - 1;
        } else if (choice == 2) {
            it->ops->seek(it, target, seq);
            at = vector_lower(entries, count, target, limit);
        } else if (choice == 3) {
            it->ops->seek_before(it, target, seq);
            at = vector_lower(entries, count, target, limit) - 1;
        } else if (choice == 4 && keys_only) {
            it->ops->seek(it, it->key, KV_MAX_SEQ);
        } else if (step % 40 < 14 || (step % 40 < 28 && choice & 1)) {
            kv_iter_next(it);
            at++;
        } else {
            kv_iter_prev(it);
            at--;
        }
        check_entry(it, entries, count, at, r);
    }
}

static void test_merge_walks(void **state)
{
    (void)state;
    static struct world w;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct random r;
        random_seed(&r, seed);
        world_make(&w, &r, false);
        struct key_origin origin;
        struct kv_iter *it = world_merge(&w);
        kv_iter_set_origin(it, random_origin(&r, &origin));
        walk(it, w.all, w.count, false, &r);
        kv_iter_close(it);
    }
}

static bool inside(const struct version_text *v, adb_slice lower,
                   adb_slice upper)
{
    return (!lower.data || slice_compare(version_key(v), lower) >= 0) &&
           (!upper.data || slice_compare(version_key(v), upper) < 0);
}

static size_t model_visible(const struct world *w,
                            const struct user_iter_options *o,
                            struct version_text *out)
{
    size_t count = 0;
    const char *decided = NULL;
    for (size_t i = 0; i < w->count; i++) {
        const struct version_text *v = &w->all[i];
        if (v->seq > o->read_seq ||
            (decided && strcmp(decided, v->key) == 0))
            continue;
        decided = v->key;
        if (v->kind == KV_PUT && inside(v, o->lower, o->upper))
            out[count++] = *v;
    }
    return count;
}

/* Seeks outside the bounds go to the nearest bound: in a model of what is
   visible that happens by itself. */
static void test_user_walks(void **state)
{
    (void)state;
    static struct world w;
    static struct version_text visible[MAX_ENTRIES];
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct random r;
        random_seed(&r, seed);
        world_make(&w, &r, seed & 1);
        char lower[32], upper[32];
        struct key_origin origin, another;
        random_key(&r, lower);
        random_key(&r, upper);
        struct user_iter_options o = {
            .read_seq =
                random_below(&r, 3) ? random_below(&r, 260) : KV_MAX_SEQ,
            .origin = random_origin(&r, &origin)};
        if (random_below(&r, 2))
            o.lower = slice_of_string(lower);
        if (random_below(&r, 2))
            o.upper = slice_of_string(upper);
        size_t count = model_visible(&w, &o, visible);
        struct kv_iter *it = user_iter_new(world_merge(&w), &o);
        walk(it, visible, count, true, &r);
        /* Again, as another reader. */
        random_key(&r, upper);
        o = (struct user_iter_options){.read_seq = random_below(&r, 260),
                                       .upper = slice_of_string(upper),
                                       .origin = random_origin(&r, &another)};
        count = model_visible(&w, &o, visible);
        if (random_below(&r, 2))
            kv_iter_rest(it);
        user_iter_reset(it, &o);
        walk(it, visible, count, true, &r);
        kv_iter_close(it);
    }
}

/* Whatever move of whatever source fails: the iterator says so with the
   source's words, and what it showed before was right. */
static void check_failure(const struct world *w, size_t source, size_t move,
                          bool forward, bool user)
{
    static struct version_text visible[MAX_ENTRIES];
    struct user_iter_options o = {.read_seq = KV_MAX_SEQ};
    const struct version_text *expected = w->all;
    size_t count = w->count, seen = 0;
    struct kv_iter *sources[MAX_SOURCES];
    for (size_t i = 0; i < w->sources; i++) {
        struct vector_iter *v = vector_iter_new(w->part[i], w->part_count[i]);
        v->fail_at = i == source ? move : 0;
        sources[i] = &v->base;
    }
    struct kv_iter *it = merge_iter_new(sources, w->sources);
    if (user) {
        it = user_iter_new(it, &o);
        count = model_visible(w, &o, visible);
        expected = visible;
    }
    if (forward)
        it->ops->seek_first(it);
    else
        it->ops->seek_last(it);
    for (; it->valid; seen++) {
        const struct version_text *e =
            &expected[forward ? seen : count - 1 - seen];
        assert_true(slice_equal(it->key, version_key(e)));
        assert_int_equal(it->seq, e->seq);
        if (forward)
            kv_iter_next(it);
        else
            kv_iter_prev(it);
    }
    status_clear();
    if (it->status == ADB_OK) {
        assert_int_equal(seen, count);
    } else {
        assert_int_equal(kv_iter_status(it), ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), "vector fails"));
    }
    /* moves: placing, then one for each entry and the end */
    if (move <= w->part_count[source] + 1)
        assert_int_equal(it->status, ADB_CORRUPTION);
    kv_iter_close(it);
}

static void test_failures(void **state)
{
    (void)state;
    static struct world w;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct random r;
        random_seed(&r, seed);
        world_make(&w, &r, false);
        size_t source = random_below(&r, w.sources);
        size_t moves = MIN_OF(w.part_count[source] + 2, 40);
        for (size_t move = 1; move <= moves; move++) {
            for (int kind = 0; kind < 4; kind++)
                check_failure(&w, source, move, kind & 1, kind & 2);
        }
    }
}

/* A failure is not for ever: the next seek starts over. */
static void test_seek_after_failure(void **state)
{
    (void)state;
    struct version_text a[] = {{"a", 1, KV_PUT, 3}, {"c", 3, KV_PUT, 3}};
    struct version_text b[] = {{"b", 2, KV_PUT, 3}};
    struct vector_iter *x = vector_iter_new(a, 2);
    struct kv_iter *sources[] = {&x->base, &vector_iter_new(b, 1)->base};
    x->fail_at = 2;
    struct user_iter_options o = {.read_seq = KV_MAX_SEQ};
    struct kv_iter *it = user_iter_new(merge_iter_new(sources, 2), &o);
    it->ops->seek_first(it);
    assert_true(it->valid);
    kv_iter_next(it);
    assert_false(it->valid);
    assert_int_equal(it->status, ADB_CORRUPTION);
    x->fail_at = 0;
    it->ops->seek_last(it);
    assert_int_equal(it->status, ADB_OK);
    assert_true(it->valid);
    assert_true(slice_equal(it->key, slice_of_string("c")));
    kv_iter_close(it);
}

static void test_few_sources(void **state)
{
    (void)state;
    struct kv_iter *none = merge_iter_new(NULL, 0);
    none->ops->seek_first(none);
    assert_false(none->valid);
    none->ops->seek_before(none, slice_of_string("a"), 1);
    assert_false(none->valid);
    assert_int_equal(kv_iter_status(none), ADB_OK);
    kv_iter_close(none);
    struct version_text a[] = {{"a", 1, KV_PUT, 3}};
    struct kv_iter *one = &vector_iter_new(a, 1)->base;
    assert_ptr_equal(merge_iter_new(&one, 1), one);
    kv_iter_close(one);
}

/* Entries that compare equal come from the earlier source first, and are not
   lost on turns. */
static void test_equal_entries(void **state)
{
    (void)state;
    struct version_text a[] = {{"a", 5, KV_PUT, 1}, {"b", 1, KV_PUT, 1}};
    struct version_text b[] = {{"a", 5, KV_PUT, 2}};
    struct version_text c[] = {{"a", 5, KV_PUT, 3}};
    struct kv_iter *sources[] = {&vector_iter_new(a, 2)->base,
                                 &vector_iter_new(b, 1)->base,
                                 &vector_iter_new(c, 1)->base};
    struct kv_iter *it = merge_iter_new(sources, 3);
    static const size_t up[] = {1, 2, 3, 1};
    for (size_t turn_at = 0; turn_at < 4; turn_at++) {
        it->ops->seek_first(it);
        for (size_t i = 0; i < turn_at; i++)
            kv_iter_next(it);
        for (size_t i = turn_at; i > 0; i--) {
            assert_int_equal(it->value.size, up[i]);
            kv_iter_prev(it);
        }
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(it->value.size, up[i]);
            kv_iter_next(it);
        }
        assert_false(it->valid);
    }
    kv_iter_close(it);
}

/* From the n-th allocation on all fail: a single failure may be survived. */
static int fail_rest(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- <= 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct version_text a[] = {
        {"a", 1, KV_PUT, 3000}, {"b", 3, KV_DELETE, 0}, {"d", 4, KV_PUT, 30}};
    struct version_text b[] = {{"c", 2, KV_PUT, 9000}};
    for (int nth = 0; nth < 8; nth++) {
        struct kv_iter *sources[] = {&vector_iter_new(a, 3)->base,
                                     &vector_iter_new(b, 1)->base};
        struct user_iter_options o = {.read_seq = KV_MAX_SEQ};
        int left = nth;
        mem_set_fail_hook(fail_rest, &left);
        struct kv_iter *it = merge_iter_new(sources, 2);
        if (it)
            it = user_iter_new(it, &o);
        if (it) {
            size_t seen = 0;
            for (it->ops->seek_last(it); it->valid; kv_iter_prev(it))
                seen++;
            if (left < 0)
                assert_int_equal(it->status, ADB_NO_MEMORY);
            else
                assert_int_equal(seen, 3);
        }
        mem_set_fail_hook(NULL, NULL);
        assert_true(it || left < 0);
        kv_iter_close(it);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_walks),
        cmocka_unit_test(test_user_walks),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_seek_after_failure),
        cmocka_unit_test(test_few_sources),
        cmocka_unit_test(test_equal_entries),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
