/*
 * The oracle of the simulation: it takes what can be and refuses what cannot.
 */
#include "sim/history.h"

/* A write of one key. */
static struct step put(uint8_t key, uint64_t id)
{
    return (struct step){.kind = STEP_WRITE,
                         .count = 1,
                         .edits = {{.key = key, .id = id}}};
}

/* Publishes it as the next state; its sequences follow. */
static void publish(struct history *h, uint64_t *seq, const struct step *step)
{
    struct history_write w = {.step = step};
    *seq += step->count;
    if (!history_observe(h, *seq, &w, *seq))
        fail_msg("%s", history_words(h));
    assert_int_equal(w.at, history_now(h));
}

/* States 1 to 4: key 1 is 10, key 2 is 20, both in a batch 11 and 21, key 1
   is gone. */
static struct history *example(uint64_t *seq)
{
    struct history *h = history_new();
    struct step first = put(1, 10), second = put(2, 20), last = put(1, 0);
    struct step batch = {.kind = STEP_WRITE,
                         .batch = true,
                         .count = 3,
                         .edits = {{1, 99}, {2, 21}, {1, 11}}};
    *seq = 100;
    history_begin(h, *seq);
    publish(h, seq, &first);
    publish(h, seq, &second);
    publish(h, seq, &batch);
    publish(h, seq, &last);
    return h;
}

static struct store_state state_of(uint64_t one, uint64_t two)
{
    struct store_state s = {{0}};
    s.ids[1] = one;
    s.ids[2] = two;
    return s;
}

/* ---- publishing ---- */

static void test_states(void **state)
{
    uint64_t seq;
    (void)state;
    struct history *h = example(&seq);
    static const uint64_t ones[] = {0, 10, 10, 11, 0};
    static const uint64_t twos[] = {0, 0, 20, 21, 21};
    assert_int_equal(history_now(h), 4);
    /* Published at the times 101, 102, 105, 106. */
    assert_int_equal(history_state_before(h, 101), 0);
    assert_int_equal(history_state_before(h, 105), 2);
    assert_int_equal(history_state_before(h, 106), 3);
    assert_int_equal(history_state_before(h, 1000), 4);
    for (size_t n = 0; n <= 4; n++) {
        assert_int_equal(history_value(h, 1, n), ones[n]);
        assert_int_equal(history_value(h, 2, n), twos[n]);
        assert_int_equal(history_value(h, 3, n), 0);
    }
    history_free(h);
}

static void test_wrong_publications(void **state)
{
    uint64_t seq;
    (void)state;
    struct history *h = example(&seq);
    struct step step = put(5, 50);
    struct history_write w = {.step = &step}, nothing = {.step = NULL};
    assert_true(history_observe(h, seq, NULL, 7));
    assert_false(history_observe(h, seq - 1, &w, 7));
    assert_false(history_observe(h, seq + 1, NULL, 7));
    assert_false(history_observe(h, seq + 1, &nothing, 7));
    assert_false(history_observe(h, seq + 2, &w, 7)); /* two for one */
    assert_true(history_observe(h, seq + 1, &w, 7));
    assert_false(history_observe(h, seq + 2, &w, 7)); /* a second time */
    history_free(h);
}

static void test_shown_early(void **state)
{
    uint64_t seq;
    (void)state;
    struct history *h = example(&seq);
    struct step step = put(5, 50), other = put(6, 60);
    struct history_write w = {.step = &step}, late = {.step = &other};
    assert_true(history_show_early(h, &w, 7));
    assert_int_equal(w.at, 5);
    assert_true(history_shows(h, 5, 50, 5, 5));
    /* It is the next to be published, and then it was once. */
    assert_false(history_observe(h, seq + 1, &late, 7));
    assert_true(history_observe(h, seq + 1, &w, 7));
    assert_int_equal(history_now(h), 5);
    assert_false(history_observe(h, seq + 2, &w, 7));
    assert_true(history_observe(h, seq + 2, &late, 7));
    assert_int_equal(late.at, 6);
    history_free(h);
}

/* ---- reading ---- */

static void test_single_reads(void **state)
{
    uint64_t seq;
    (void)state;
    struct history *h = example(&seq);
    assert_true(history_shows(h, 1, 10, 1, 2));
    assert_true(history_shows(h, 1, 10, 2, 4));
    assert_true(history_shows(h, 1, 11, 2, 3));
    assert_true(history_shows(h, 1, 0, 2, 4));
    assert_false(history_shows(h, 1, 10, 3, 4)); /* too old */
    assert_false(history_shows(h, 1, 11, 1, 2)); /* not yet */
    assert_false(history_shows(h, 1, 0, 1, 3));
    assert_false(history_shows(h, 1, 99, 0, 4)); /* hidden in a batch */
    history_free(h);
}

static void test_views(void **state)
{
    uint64_t seq;
    struct sight s;
    (void)state;
    struct history *h = example(&seq);
    sight_init(&s, 1, 4);
    assert_true(sight_see(&s, h, 1, 10));
    assert_true(sight_see(&s, h, 2, 20));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.states[0], 2);
    assert_false(sight_see(&s, h, 2, 21)); /* half a batch */
    sight_deinit(&s);

    sight_init(&s, 0, 4);
    assert_true(sight_see(&s, h, 1, 0));
    assert_int_equal(s.count, 2); /* 0 and 4 */
    assert_false(sight_see(&s, h, 2, 20));
    sight_deinit(&s);
    history_free(h);
}

/* ---- crashes ---- */

static bool allows(struct history *h, struct history_cut *cut, uint64_t one,
                   uint64_t two)
{
    struct store_state found = state_of(one, two);
    return history_allows(h, cut, &found);
}

static void test_prefixes(void **state)
{
    uint64_t seq;
    struct history_cut cut;
    (void)state;
    struct history *h = example(&seq);
    history_durable(h, 2);
    history_durable(h, 1);
    assert_int_equal(history_durable_state(h), 2);
    history_cut(h, history_durable_state(h), &cut);
    assert_true(allows(h, &cut, 0, 21));
    assert_true(allows(h, &cut, 11, 21));
    assert_true(allows(h, &cut, 10, 20));
    assert_false(allows(h, &cut, 10, 0));  /* lost what was durable */
    assert_false(allows(h, &cut, 10, 21)); /* half a batch */
    assert_false(allows(h, &cut, 11, 20));
    assert_false(allows(h, &cut, 99, 21));
    history_free(h);
}

static void test_writes_under_way(void **state)
{
    uint64_t seq;
    struct history_cut cut;
    struct step pending = put(2, 22);
    struct store_state found = state_of(0, 22);
    (void)state;
    struct history *h = example(&seq);
    history_cut(h, 2, &cut);
    assert_false(allows(h, &cut, 0, 22));
    history_cut_pending(&cut, &pending);
    assert_true(allows(h, &cut, 0, 22));
    assert_true(allows(h, &cut, 0, 21));
    assert_false(allows(h, &cut, 11, 22)); /* without state 4 */
    assert_true(history_survive(h, &cut, &found));
    assert_int_equal(history_now(h), 5);
    assert_int_equal(history_value(h, 2, 5), 22);
    history_free(h);
}

static void test_history_goes_on_from_what_survived(void **state)
{
    uint64_t seq;
    struct history_cut cut;
    struct store_state found = state_of(10, 20);
    struct step later = put(1, 12), lost = put(2, 23);
    (void)state;
    struct history *h = example(&seq);
    history_durable(h, 1);
    history_cut(h, 1, &cut);
    /* The world that ended goes on for a while. */
    publish(h, &seq, &lost);
    history_durable(h, 5);
    assert_true(history_survive(h, &cut, &found));
    assert_int_equal(history_now(h), 2);
    assert_int_equal(history_durable_state(h), 1);
    seq = 102;
    history_begin(h, seq);
    publish(h, &seq, &later);
    assert_int_equal(history_now(h), 3);
    assert_true(history_shows(h, 1, 12, 3, 3));
    assert_false(history_shows(h, 2, 23, 0, 3));
    assert_false(history_shows(h, 2, 21, 0, 3));
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_wrong_publications),
        cmocka_unit_test(test_shown_early),
        cmocka_unit_test(test_single_reads),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_writes_under_way),
        cmocka_unit_test(test_history_goes_on_from_what_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
