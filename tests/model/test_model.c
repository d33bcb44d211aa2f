/*
 * A database against the model: random operations under random options, with
 * snapshots, iterators that live on while the database changes, flushes,
 * compactions and reopening. ADB_TEST_OPS sets how many operations.
 */
#include "model/model.h"

enum { SNAPSHOTS = 4, ITERATORS = 4 };

struct held_snapshot {
    adb_snapshot *snapshot; /* NULL: free */
    uint64_t *values;
};

struct held_iterator {
    adb_iter *it; /* NULL: free */
    uint64_t *values;
    size_t low, high; /* keys inside its bounds */
    size_t at;        /* MODEL_KEYS: on no entry */
};

struct run {
    struct model model;
    struct random random;
    adb *db;
    char *path;
    char options[1024];
    struct held_snapshot snapshots[SNAPSHOTS];
    struct held_iterator iterators[ITERATORS];
    uint8_t value[MODEL_VALUE_MAX];
    uint64_t done;
};

static size_t random_key(struct run *t)
{
    /* Half of the traffic on few keys. */
    return random_below(&t->random, 2)
               ? random_below(&t->random, MODEL_KEYS)
               : random_below(&t->random, 40) * 70;
}

static uint64_t *copy_values(struct run *t)
{
    uint64_t *copy = malloc(sizeof t->model.values);
    memcpy(copy, t->model.values, sizeof t->model.values);
    return copy;
}

static void check_value(struct run *t, size_t key, uint64_t expected,
                        adb_status status, const adb_value *v)
{
    if (status != ADB_OK && status != ADB_NOT_FOUND)
        fail_msg("get: %s", adb_error_message());
    uint64_t found =
        status == ADB_OK
            ? model_identify(key, (adb_slice){v->data, v->size})
            : 0;
    if (found != expected)
        fail_msg("operation %llu: key %zu holds %llu instead of %llu (%s)",
                 (unsigned long long)t->done, key, (unsigned long long)found,
                 (unsigned long long)expected, t->options);
}

static void do_put(struct run *t)
{
    size_t key = random_key(t);
    uint64_t id = t->model.next_value++;
    size_t size = model_value(key, id, t->value);
    assert_ok(adb_put(t->db, NULL, t->model.keys[key], t->model.sizes[key],
                      t->value, size));
    model_put(&t->model, key, id);
}

static void do_delete(struct run *t)
{
    size_t key = random_key(t);
    assert_ok(adb_delete(t->db, NULL, t->model.keys[key],
                         t->model.sizes[key]));
    model_delete(&t->model, key);
}

static void do_batch(struct run *t)
{
    adb_batch *batch = adb_batch_new();
    size_t count = 1 + random_below(&t->random, 40);
    for (size_t i = 0; i < count; i++) {
        size_t key = random_key(t);
        const char *k = t->model.keys[key];
        size_t k_size = t->model.sizes[key];
        if (random_below(&t->random, 4) == 0) {
            assert_ok(adb_batch_delete(batch, k, k_size));
            model_delete(&t->model, key);
        } else {
            uint64_t id = t->model.next_value++;
            size_t size = model_value(key, id, t->value);
            assert_ok(adb_batch_put(batch, k, k_size, t->value, size));
            model_put(&t->model, key, id);
        }
    }
    assert_ok(adb_write(t->db, NULL, batch));
    adb_batch_free(batch);
}

static void do_get(struct run *t)
{
    size_t key = random_key(t);
    adb_value v = ADB_VALUE_INIT;
    adb_read_options o = ADB_READ_OPTIONS_INIT;
    const uint64_t *values = t->model.values;
    struct held_snapshot *s =
        &t->snapshots[random_below(&t->random, SNAPSHOTS)];
    if (s->snapshot && random_below(&t->random, 2)) {
        o.snapshot = s->snapshot;
        values = s->values;
    }
    o.no_fill_cache = random_below(&t->random, 8) == 0;
    adb_status status = adb_get(t->db, &o, t->model.keys[key],
                                t->model.sizes[key], &v);
    check_value(t, key, values[key], status, &v);
    adb_value_release(&v);
}

static void do_get_into(struct run *t)
{
    static uint8_t buffer[MODEL_VALUE_MAX];
    size_t key = random_key(t), size = 0;
    adb_status status =
        adb_get_into(t->db, NULL, t->model.keys[key], t->model.sizes[key],
                     buffer, sizeof buffer, &size);
    adb_value v = {.data = buffer, .size = size};
    check_value(t, key, t->model.values[key], status, &v);
}

static void do_multi_get(struct run *t)
{
    enum { COUNT = 12 };
    size_t keys[COUNT];
    adb_slice slices[COUNT];
    adb_value values[COUNT];
    adb_status statuses[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        keys[i] = random_key(t);
        slices[i] = (adb_slice){t->model.keys[keys[i]],
                                t->model.sizes[keys[i]]};
    }
    assert_ok(adb_multi_get(t->db, NULL, COUNT, slices, values, statuses));
    for (size_t i = 0; i < COUNT; i++) {
        check_value(t, keys[i], t->model.values[keys[i]], statuses[i],
                    &values[i]);
        adb_value_release(&values[i]);
    }
}

static void release_snapshot(struct run *t, struct held_snapshot *s)
{
    if (s->snapshot)
        adb_snapshot_release(t->db, s->snapshot);
    free(s->values);
    *s = (struct held_snapshot){0};
}

static void do_snapshot(struct run *t)
{
    struct held_snapshot *s =
        &t->snapshots[random_below(&t->random, SNAPSHOTS)];
    release_snapshot(t, s);
    if (random_below(&t->random, 3)) {
        assert_ok(adb_snapshot_new(t->db, &s->snapshot));
        s->values = copy_values(t);
    }
}

/* ---- iterators ---- */

static void close_iterator(struct held_iterator *h)
{
    adb_iter_free(h->it);
    free(h->values);
    *h = (struct held_iterator){0};
}

static size_t forward_from(const struct held_iterator *h, size_t key)
{
    for (size_t i = key < h->low ? h->low : key; i < h->high; i++)
        if (h->values[i])
            return i;
    return MODEL_KEYS;
}

static size_t backward_from(const struct held_iterator *h, size_t below)
{
    for (size_t i = below > h->high ? h->high : below; i > h->low; i--)
        if (h->values[i - 1])
            return i - 1;
    return MODEL_KEYS;
}

static void open_iterator(struct run *t, struct held_iterator *h)
{
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    struct held_snapshot *s =
        &t->snapshots[random_below(&t->random, SNAPSHOTS)];
    h->low = 0;
    h->high = MODEL_KEYS;
    if (s->snapshot && random_below(&t->random, 2)) {
        o.snapshot = s->snapshot;
        h->values = malloc(sizeof t->model.values);
        memcpy(h->values, s->values, sizeof t->model.values);
    } else {
        h->values = copy_values(t);
    }
    if (random_below(&t->random, 3) == 0) {
        h->low = random_below(&t->random, MODEL_KEYS);
        o.lower = (adb_slice){t->model.keys[h->low], t->model.sizes[h->low]};
    }
    if (random_below(&t->random, 3) == 0) {
        h->high = random_below(&t->random, MODEL_KEYS);
        o.upper =
            (adb_slice){t->model.keys[h->high], t->model.sizes[h->high]};
    }
    o.no_fill_cache = random_below(&t->random, 8) == 0;
    assert_ok(adb_iter_new(t->db, &o, &h->it));
    h->at = MODEL_KEYS;
}

static void check_iterator(struct run *t, struct held_iterator *h, int valid)
{
    assert_ok(adb_iter_status(h->it));
    size_t found = MODEL_KEYS;
    if (valid) {
        found = model_find(&t->model, adb_iter_key(h->it));
        uint64_t id = model_identify(found, adb_iter_value(h->it));
        if (found == h->at && id != h->values[found])
            fail_msg("iterator: key %zu holds %llu instead of %llu", found,
                     (unsigned long long)id,
                     (unsigned long long)h->values[found]);
    }
    if (found != h->at)
        fail_msg("operation %llu: iterator on key %zu instead of %zu (%s)",
                 (unsigned long long)t->done, found, h->at, t->options);
}

static void move_iterator(struct run *t, struct held_iterator *h)
{
    size_t key = random_below(&t->random, MODEL_KEYS);
    const char *k = t->model.keys[key];
    size_t k_size = t->model.sizes[key];
    int valid = 0;
    switch (random_below(&t->random, 8)) {
    case 0:
        valid = adb_iter_seek_first(h->it);
        h->at = forward_from(h, 0);
        break;
    case 1:
        valid = adb_iter_seek_last(h->it);
        h->at = backward_from(h, MODEL_KEYS);
        break;
    case 2:
        valid = adb_iter_seek(h->it, k, k_size);
        h->at = forward_from(h, key);
        break;
    case 3:
        valid = adb_iter_seek_for_prev(h->it, k, k_size);
        h->at = backward_from(h, key + 1);
        break;
    case 4:
    case 5:
        valid = adb_iter_next(h->it);
        h->at = h->at == MODEL_KEYS ? MODEL_KEYS : forward_from(h, h->at + 1);
        break;
    default:
        valid = adb_iter_prev(h->it);
        h->at = h->at == MODEL_KEYS ? MODEL_KEYS : backward_from(h, h->at);
        break;
    }
    check_iterator(t, h, valid);
}

static void do_iterate(struct run *t)
{
    struct held_iterator *h =
        &t->iterators[random_below(&t->random, ITERATORS)];
    if (h->it && random_below(&t->random, 10) == 0)
        close_iterator(h);
    if (!h->it)
        open_iterator(t, h);
    for (uint64_t i = random_below(&t->random, 30); i > 0; i--)
        move_iterator(t, h);
}

/* ---- maintenance ---- */

static void release_all(struct run *t)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        release_snapshot(t, &t->snapshots[i]);
    for (size_t i = 0; i < ITERATORS; i++)
        if (t->iterators[i].it)
            close_iterator(&t->iterators[i]);
}

/* Key by key, for the message of a failure. */
static void print_differences(struct run *t)
{
    size_t shown = 0;
    for (size_t key = 0; key < MODEL_KEYS && shown < 20; key++) {
        adb_value v = ADB_VALUE_INIT;
        uint64_t found = 0, expected = t->model.values[key];
        if (adb_get(t->db, NULL, t->model.keys[key], t->model.sizes[key],
                    &v) == ADB_OK)
            memcpy(&found, v.data, v.size < 8 ? v.size : 8);
        if (found != expected) {
            printf("key %zu: get finds %llu, the model has %llu\n", key,
                   (unsigned long long)found, (unsigned long long)expected);
            shown++;
        }
        adb_value_release(&v);
    }
    char *json;
    if (adb_stats(t->db, &json) == ADB_OK) {
        puts(json);
        adb_free(json);
    }
}

static void check_everything(struct run *t)
{
    if (model_scan(&t->model, t->db) != t->model.hash) {
        print_differences(t);
        fail_msg("operation %llu: the database differs from the model (%s)",
                 (unsigned long long)t->done, t->options);
    }
}

static void do_reopen(struct run *t)
{
    release_all(t);
    check_everything(t);
    assert_ok(adb_close(t->db));
    model_options(&t->random, t->options, sizeof t->options);
    t->db = model_open(t->path, t->options);
    check_everything(t);
}

static void do_maintenance(struct run *t)
{
    size_t a = random_below(&t->random, MODEL_KEYS);
    size_t b = random_below(&t->random, MODEL_KEYS);
    adb_slice from = {t->model.keys[a < b ? a : b],
                      t->model.sizes[a < b ? a : b]};
    adb_slice to = {t->model.keys[a < b ? b : a],
                    t->model.sizes[a < b ? b : a]};
    adb_slice open_end = {0, 0};
    uint64_t bytes;
    switch (random_below(&t->random, 12)) {
    case 0:
        assert_ok(adb_compact(t->db, from, to));
        break;
    case 1:
        assert_ok(adb_compact(t->db, open_end, open_end));
        break;
    case 2:
        assert_ok(adb_verify(t->db, NULL, NULL, NULL));
        break;
    case 3:
        assert_ok(adb_sync(t->db));
        break;
    case 4:
        do_reopen(t);
        break;
    case 5:
        assert_ok(adb_approximate_size(t->db, from, to, &bytes));
        break;
    default:
        assert_ok(adb_flush(t->db));
        break;
    }
}

static void step(struct run *t)
{
    uint64_t dice = random_below(&t->random, 10000);
    t->done++;
    if (dice < 4500)
        do_put(t);
    else if (dice < 5600)
        do_delete(t);
    else if (dice < 5800)
        do_batch(t);
    else if (dice < 7800)
        do_get(t);
    else if (dice < 9000)
        do_get_into(t);
    else if (dice < 9200)
        do_multi_get(t);
    else if (dice < 9300)
        do_snapshot(t);
    else if (dice < 9990)
        do_iterate(t);
    else
        do_maintenance(t);
}

static void test_model(void **state)
{
    static struct run t;
    (void)state;
    uint64_t seed = test_seed();
    const char *text = getenv("ADB_TEST_OPS");
    uint64_t operations = text ? strtoull(text, NULL, 0)
                               : test_scaled(1000000, 60000);
    memset(&t, 0, sizeof t);
    random_seed(&t.random, seed);
    model_init(&t.model, seed);
    t.path = scratch_new();
    model_options(&t.random, t.options, sizeof t.options);
    t.db = model_open(t.path, t.options);
    while (t.done < operations)
        step(&t);
    do_reopen(&t);
    printf("%llu operations\n", (unsigned long long)t.done);
    assert_ok(adb_close(t.db));
    scratch_remove(t.path);
    model_deinit(&t.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
