/*
 * Threads on one database, and what they saw: the history of each key must be
 * linearizable, and the keys that are written only together, by batches, must
 * be seen together, by multi-gets, snapshots and iterators, and be linearizable
 * as one. Flushes, merges and syncs go on underneath.
 * ADB_TEST_HISTORIES sets how many histories.
 */
#include "model/history.h"
#include "model/model.h"
#include "model/model_env.h"
#include "model/noise.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/thread.h"

enum {
    WORKERS = 4,
    STEPS = 150, /* of each worker */
    SINGLES = 3, /* keys with a history of their own */
    GROUP = 12,  /* keys that are written together */
    REGISTERS = SINGLES + 1,
    EVENTS_EACH = 3 * STEPS, /* of one worker and register, at most */
};

struct worker;

struct shared {
    const struct model *model; /* its keys only */
    adb *db;
    size_t singles[SINGLES], group[GROUP];
    uint64_t initial[REGISTERS]; /* of the group the last one */
    pthread_barrier_t start;
    _Atomic bool stop;
    struct worker *workers;
};

struct worker {
    struct shared *shared;
    struct random random;
    uint64_t number, values; /* identities are both: unique */
    struct event events[REGISTERS][EVENTS_EACH];
    size_t counts[REGISTERS];
    uint64_t called;
    uint8_t value[MODEL_VALUE_MAX];
};

static uint64_t new_value(struct worker *w)
{
    return w->number << 32 | ++w->values;
}

static void record(struct worker *w, size_t reg, bool write, uint64_t value,
                   uint64_t returned)
{
    w->events[reg][w->counts[reg]++] = (struct event){
        .called = w->called,
        .returned = returned,
        .value = value,
        .write = write,
    };
}

/* ---- writes ---- */

static void put_single(struct worker *w, size_t i)
{
    const struct model *m = w->shared->model;
    size_t key = w->shared->singles[i];
    uint64_t id = random_below(&w->random, 4) ? new_value(w) : 0;
    adb_write_options o = ADB_WRITE_OPTIONS_INIT;
    if (random_below(&w->random, 50) == 0)
        o.durability = ADB_DURABILITY_SYNC;
    size_t size = id ? model_value(key, id, w->value) : 0;
    w->called = clock_now_ns();
    if (id)
        must(adb_put(w->shared->db, &o, m->keys[key], m->sizes[key], w->value,
                     size));
    else
        must(adb_delete(w->shared->db, &o, m->keys[key], m->sizes[key]));
    record(w, i, true, id, clock_now_ns());
}

static void add(struct worker *w, adb_batch *batch, size_t key, uint64_t id)
{
    const struct model *m = w->shared->model;
    if (id)
        must(adb_batch_put(batch, m->keys[key], m->sizes[key], w->value,
                           model_value(key, id, w->value)));
    else
        must(adb_batch_delete(batch, m->keys[key], m->sizes[key]));
}

/* All keys of the group get one identity, and now and then a single one too. */
static void put_group(struct worker *w)
{
    struct shared *s = w->shared;
    adb_batch *batch = adb_batch_new();
    uint64_t id = random_below(&w->random, 6) ? new_value(w) : 0;
    size_t single = random_below(&w->random, 2 * SINGLES);
    for (size_t i = 0; i < GROUP; i++)
        add(w, batch, s->group[i], id);
    if (single < SINGLES)
        add(w, batch, s->singles[single], id);
    w->called = clock_now_ns();
    must(adb_write(s->db, NULL, batch));
    uint64_t returned = clock_now_ns();
    record(w, SINGLES, true, id, returned);
    if (single < SINGLES)
        record(w, single, true, id, returned);
    adb_batch_free(batch);
}

/* ---- reads ---- */

static uint64_t identity(size_t key, adb_status status, adb_value *v)
{
    uint64_t id = 0;
    if (status == ADB_OK)
        id = model_identify(key, (adb_slice){v->data, v->size});
    else if (status != ADB_NOT_FOUND)
        must(status);
    adb_value_release(v);
    return id;
}

static uint64_t get(struct shared *s, size_t key, adb_snapshot *snapshot)
{
    adb_read_options o = ADB_READ_OPTIONS_INIT;
    adb_value v = ADB_VALUE_INIT;
    o.snapshot = snapshot;
    adb_status status =
        adb_get(s->db, &o, s->model->keys[key], s->model->sizes[key], &v);
    return identity(key, status, &v);
}

static uint64_t get_into(struct worker *w, size_t key)
{
    struct shared *s = w->shared;
    size_t size;
    adb_status status =
        adb_get_into(s->db, NULL, s->model->keys[key], s->model->sizes[key],
                     w->value, sizeof w->value, &size);
    if (status == ADB_NOT_FOUND)
        return 0;
    must(status);
    return model_identify(key, (adb_slice){w->value, size});
}

static void get_single(struct worker *w, size_t i)
{
    size_t key = w->shared->singles[i];
    bool pinned = random_below(&w->random, 2);
    w->called = clock_now_ns();
    uint64_t id = pinned ? get(w->shared, key, NULL) : get_into(w, key);
    record(w, i, false, id, clock_now_ns());
}

/* Any key of the group has the group's history: two reads of different keys,
   one after the other, see batches in one order. */
static void get_members(struct worker *w)
{
    struct shared *s = w->shared;
    for (size_t i = random_below(&w->random, GROUP); i < GROUP; i += 4) {
        w->called = clock_now_ns();
        uint64_t id = get(s, s->group[i], NULL);
        record(w, SINGLES, false, id, clock_now_ns());
    }
}

static void same(uint64_t a, uint64_t b, const char *how)
{
    if (a != b)
        die("%s shows half of a batch: %#llx beside %#llx", how,
            (unsigned long long)a, (unsigned long long)b);
}

static void multi_get_group(struct worker *w)
{
    struct shared *s = w->shared;
    adb_slice keys[GROUP];
    adb_value values[GROUP];
    adb_status statuses[GROUP];
    uint64_t ids[GROUP];
    for (size_t i = 0; i < GROUP; i++)
        keys[i] = (adb_slice){s->model->keys[s->group[i]],
                              s->model->sizes[s->group[i]]};
    w->called = clock_now_ns();
    must(adb_multi_get(s->db, NULL, GROUP, keys, values, statuses));
    uint64_t returned = clock_now_ns();
    for (size_t i = 0; i < GROUP; i++) {
        ids[i] = identity(s->group[i], statuses[i], &values[i]);
        same(ids[0], ids[i], "a multi-get");
    }
    record(w, SINGLES, false, ids[0], returned);
}

static void pause_a_little(struct worker *w)
{
    if (random_below(&w->random, 4) == 0)
        clock_sleep_ns(1000 * random_below(&w->random, 50));
    else
        sched_yield();
}

/* A snapshot has its moment when it is made, whenever it is read. */
static void snapshot_group(struct worker *w)
{
    struct shared *s = w->shared;
    adb_snapshot *snapshot;
    w->called = clock_now_ns();
    must(adb_snapshot_new(s->db, &snapshot));
    uint64_t returned = clock_now_ns();
    pause_a_little(w);
    uint64_t id = get(s, s->group[0], snapshot);
    size_t single = random_below(&w->random, SINGLES);
    uint64_t other = get(s, s->singles[single], snapshot);
    for (size_t i = 1; i < GROUP; i++)
        same(id, get(s, s->group[i], snapshot), "a snapshot");
    adb_snapshot_release(s->db, snapshot);
    record(w, SINGLES, false, id, returned);
    record(w, single, false, other, returned);
}

static uint64_t seek(adb_iter *it, const struct shared *s, size_t key)
{
    const struct model *m = s->model;
    if (!adb_iter_seek(it, m->keys[key], m->sizes[key])) {
        must(adb_iter_status(it));
        return 0;
    }
    if (model_find(m, adb_iter_key(it)) != key)
        return 0;
    return model_identify(key, adb_iter_value(it));
}

static void iterate_group(struct worker *w)
{
    struct shared *s = w->shared;
    adb_iter *it;
    w->called = clock_now_ns();
    must(adb_iter_new(s->db, NULL, &it));
    uint64_t returned = clock_now_ns();
    uint64_t id = seek(it, s, s->group[GROUP - 1]);
    for (size_t i = GROUP - 1; i-- > 0;) {
        pause_a_little(w);
        same(id, seek(it, s, s->group[i]), "an iterator");
    }
    adb_iter_free(it);
    record(w, SINGLES, false, id, returned);
}

/* ---- threads ---- */

static void step(struct worker *w)
{
    size_t single = random_below(&w->random, SINGLES);
    uint64_t dice = random_below(&w->random, 100);
    if (dice < 25)
        put_single(w, single);
    else if (dice < 50)
        get_single(w, single);
    else if (dice < 60)
        get_members(w);
    else if (dice < 75)
        put_group(w);
    else if (dice < 85)
        multi_get_group(w);
    else if (dice < 93)
        snapshot_group(w);
    else
        iterate_group(w);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    pthread_barrier_wait(&w->shared->start);
    for (size_t i = 0; i < STEPS; i++) {
        step(w);
        if (random_below(&w->random, 10) == 0)
            pause_a_little(w);
    }
    return NULL;
}

/* What else goes on. */
static void *disturb(void *argument)
{
    struct shared *s = argument;
    struct random r;
    adb_slice all = {0, 0};
    random_seed(&r, s->singles[0]);
    pthread_barrier_wait(&s->start);
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        uint64_t dice = random_below(&r, 10);
        if (dice < 4)
            must(adb_flush(s->db));
        else if (dice < 6)
            must(adb_sync(s->db));
        else if (dice < 7)
            must(adb_compact(s->db, all, all));
        clock_sleep_ns(1000 * random_below(&r, 1000));
    }
    return NULL;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    if (pthread_create(thread, NULL, run, argument) != 0)
        die("no thread");
}

static void run_threads(struct shared *s)
{
    pthread_t threads[WORKERS], other;
    pthread_barrier_init(&s->start, NULL, WORKERS + 1);
    atomic_store(&s->stop, false);
    start(&other, disturb, s);
    for (size_t i = 0; i < WORKERS; i++)
        start(&threads[i], work, &s->workers[i]);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&s->stop, true);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&s->start);
}

/* ---- histories ---- */

static void print_history(const struct event *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%llu-%llu %s %#llx\n",
               (unsigned long long)(events[i].called - events[0].called),
               (unsigned long long)(events[i].returned - events[0].called),
               events[i].write ? "write" : "read",
               (unsigned long long)events[i].value);
}

static void check_register(struct shared *s, size_t reg)
{
    static struct event events[WORKERS * EVENTS_EACH];
    size_t count = 0;
    for (size_t i = 0; i < WORKERS; i++) {
        const struct worker *w = &s->workers[i];
        memcpy(events + count, w->events[reg],
               w->counts[reg] * sizeof events[0]);
        count += w->counts[reg];
    }
    if (history_is_linearizable(events, count, s->initial[reg]))
        return;
    printf("before: %#llx\n", (unsigned long long)s->initial[reg]);
    print_history(events, count);
    die("%s has a history that is not linearizable",
        reg < SINGLES ? "a key" : "the group");
}

/* Different keys, so that a history begins with what an older one left only by
   chance; the group's start equal. */
static void choose_keys(struct shared *s, struct random *r)
{
    size_t used[SINGLES + GROUP];
    for (size_t i = 0; i < SINGLES + GROUP; i++) {
        used[i] = random_below(r, MODEL_KEYS);
        for (size_t j = 0; j < i; j++)
            if (used[j] == used[i])
                i--, j = i;
    }
    memcpy(s->singles, used, sizeof s->singles);
    memcpy(s->group, used + SINGLES, sizeof s->group);
    for (size_t i = 0; i < GROUP; i++)
        must(adb_delete(s->db, NULL, s->model->keys[s->group[i]],
                        s->model->sizes[s->group[i]]));
    for (size_t i = 0; i < SINGLES; i++)
        s->initial[i] = get(s, s->singles[i], NULL);
    s->initial[SINGLES] = 0;
}

static void run_history(struct shared *s, struct random *r, uint64_t number)
{
    choose_keys(s, r);
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &s->workers[i];
        memset(w, 0, offsetof(struct worker, value));
        w->shared = s;
        random_seed(&w->random, random_next(r));
        w->number = number * WORKERS + i + 1;
    }
    run_threads(s);
    for (size_t reg = 0; reg < REGISTERS; reg++)
        check_register(s, reg);
}

static void test_histories(void **state)
{
    (void)state;
    static struct model m;
    struct random r;
    struct shared s = {.model = &m};
    char options[MODEL_OPTIONS_MAX];
    const char *text = getenv("ADB_TEST_HISTORIES");
    uint64_t histories = text ? strtoull(text, NULL, 0) : test_scaled(400, 60);
    random_seed(&r, test_seed());
    model_init(&m, 1);
    s.workers = calloc(WORKERS, sizeof *s.workers);
    char *path = scratch_new();
    for (uint64_t i = 0; i < histories; i++) {
        if (i % 8 == 0) {
            model_options(&r, options);
            model_env_leave_out_syncs(i % 64 != 0);
            noise_set(i, i / 8 % 2 ? 20 : 0);
            s.db = model_open(path, options);
        }
        run_history(&s, &r, i);
        if (i % 8 == 7 || i + 1 == histories)
            must(adb_close(s.db));
    }
    printf("%llu histories of %d keys and a group, %d operations each\n",
           (unsigned long long)histories, SINGLES, WORKERS * STEPS);
    noise_set(0, 0);
    scratch_remove(path);
    free(s.workers);
    model_deinit(&m);
}

/* ---- the checker itself ---- */

struct known {
    const char *what;
    bool linearizable;
    size_t count;
    struct event events[6];
};
/*       called, returned, value, write */
static const struct known known[] = {
    {"a read of what was written", true, 2, {{1, 2, 7, 1}, {3, 4, 7, 0}}},
    {"a read before the write began", false, 2, {{3, 4, 7, 1}, {1, 2, 7, 0}}},
    {"a read beside the write: old", true, 2, {{1, 5, 7, 1}, {2, 3, 0, 0}}},
    {"a read beside the write: new", true, 2, {{1, 5, 7, 1}, {2, 3, 7, 0}}},
    {"new, then old", false, 3, {{1, 9, 7, 1}, {2, 3, 7, 0}, {4, 5, 0, 0}}},
    {"old, then new", true, 3, {{1, 9, 7, 1}, {2, 3, 0, 0}, {4, 5, 7, 0}}},
    {"a stale read", false, 3, {{1, 2, 7, 1}, {3, 4, 8, 1}, {5, 6, 7, 0}}},
    {"two orders of two writes",
     false,
     6,
     {{1, 9, 7, 1}, {1, 9, 8, 1}, {10, 11, 7, 0}, {12, 13, 8, 0}}},
    {"deleted twice",
     true,
     5,
     {{1, 2, 7, 1}, {3, 9, 0, 1}, {3, 9, 0, 1}, {4, 5, 7, 0}, {6, 7, 0, 0}}},
};

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct known k = known[i];
        while (k.count > 0 && !k.events[k.count - 1].called)
            k.count--;
        if (history_is_linearizable(k.events, k.count, 0) != k.linearizable)
            fail_msg("%s", k.what);
    }
}

/* Every order that keeps what returned before what was called after. */
static bool some_order(const struct event *e, size_t count, unsigned left,
                       uint64_t value)
{
    if (!left)
        return true;
    for (size_t i = 0; i < count; i++) {
        bool next = left >> i & 1 && (e[i].write || e[i].value == value);
        for (size_t j = 0; j < count && next; j++)
            next = !(left >> j & 1) || e[j].returned >= e[i].called;
        if (next && some_order(e, count, left & ~(1u << i),
                               e[i].write ? e[i].value : value))
            return true;
    }
    return false;
}

static void test_against_all_orders(void **state)
{
    (void)state;
    struct random r;
    unsigned yes = 0, no = 0;
    random_seed(&r, test_seed());
    for (uint64_t round = 0; round < test_scaled(100000, 20000); round++) {
        struct event e[7];
        size_t count = 1 + random_below(&r, 7);
        for (size_t i = 0; i < count; i++) {
            uint64_t called = random_below(&r, 20);
            e[i] = (struct event){
                .called = called,
                .returned = called + random_below(&r, 8),
                .value = random_below(&r, 4),
                .write = random_below(&r, 2),
            };
        }
        bool expected = some_order(e, count, (1u << count) - 1, 0);
        assert_int_equal(history_is_linearizable(e, count, 0), expected);
        yes += expected;
        no += !expected;
    }
    assert_true(yes > 1000 && no > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_against_all_orders),
        cmocka_unit_test(test_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
