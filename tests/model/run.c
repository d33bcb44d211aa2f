#include "model/run_internal.h"

#include "base/hash.h"
#include "db/db.h"

void run_note(struct run *t, uint64_t result)
{
    uint64_t pair[2] = {t->history, result};
    t->history = hash_key(pair, sizeof pair);
}

/* ---- places ---- */

adb_slice run_place(const struct run *t, struct place place,
                    uint8_t p[PLACE_MAX])
{
    size_t size = t->model.sizes[place.key];
    const char *key = t->model.keys[place.key];
    if (place.near == AT_KEY)
        return (adb_slice){key, size};
    memcpy(p, key, size);
    if (place.near == AFTER_KEY) {
        p[size++] = 0;
    } else if (place.near == SHORTER_KEY) {
        size -= size > 0;
    } else {
        while (size > 0 && p[size - 1] == 0xff)
            size--;
        if (size > 0)
            p[size - 1]++;
        else
            p[size++] = 0xff;
    }
    return (adb_slice){p, size};
}

uint64_t *run_copy_values(const uint64_t *values)
{
    size_t size = sizeof((struct model *)0)->values;
    uint64_t *copy = malloc(size);
    memcpy(copy, values, size);
    return copy;
}

struct run_snapshot *run_snapshot_of(struct run *t, const struct op *op)
{
    struct run_snapshot *s =
        op->snapshot ? &t->snapshots[op->snapshot - 1] : NULL;
    return s && s->snapshot ? s : NULL;
}

/* ---- writes ---- */

static void add_edit(struct run *t, size_t key, uint64_t id)
{
    const char *k = t->model.keys[key];
    size_t k_size = t->model.sizes[key];
    if (t->edit_count == RUN_BATCH_MAX)
        die("a batch of more than %d operations", RUN_BATCH_MAX);
    t->edits[t->edit_count++] = (struct run_edit){key, id};
    if (id)
        must(adb_batch_put(t->batch, k, k_size, t->value,
                           model_value(key, id, t->value)));
    else
        must(adb_batch_delete(t->batch, k, k_size));
}

static adb_write_options write_options(const struct op *op)
{
    adb_write_options o = ADB_WRITE_OPTIONS_INIT;
    o.durability = (adb_durability)op->durability;
    return o;
}

static void do_put(struct run *t, const struct op *op)
{
    adb_write_options o = write_options(op);
    size_t key = op->place.key;
    if (t->batch) {
        add_edit(t, key, op->value);
        return;
    }
    must(adb_put(t->db, op->durability ? &o : NULL, t->model.keys[key],
                 t->model.sizes[key], t->value,
                 model_value(key, op->value, t->value)));
    model_put(&t->model, key, op->value);
}

static void do_delete(struct run *t, const struct op *op)
{
    adb_write_options o = write_options(op);
    size_t key = op->place.key;
    if (t->batch) {
        add_edit(t, key, 0);
        return;
    }
    must(adb_delete(t->db, op->durability ? &o : NULL, t->model.keys[key],
                    t->model.sizes[key]));
    model_delete(&t->model, key);
}

static void do_begin(struct run *t, const struct op *op)
{
    (void)op;
    if (!t->batch)
        t->batch = adb_batch_new();
}

static void do_write(struct run *t, const struct op *op)
{
    adb_write_options o = write_options(op);
    if (!t->batch)
        return;
    if (adb_batch_count(t->batch) != t->edit_count)
        die("a batch of %zu operations counts %zu", t->edit_count,
            adb_batch_count(t->batch));
    must(adb_write(t->db, op->durability ? &o : NULL, t->batch));
    for (size_t i = 0; i < t->edit_count; i++)
        model_put(&t->model, t->edits[i].key, t->edits[i].id);
    adb_batch_free(t->batch);
    t->batch = NULL;
    t->edit_count = 0;
}

/* ---- reads ---- */

/* What a read of a place found; the place may be no key at all. */
static void check_value(struct run *t, adb_slice place, const uint64_t *values,
                        adb_status status, adb_slice value)
{
    size_t key = model_find(&t->model, place);
    uint64_t expected = key < MODEL_KEYS ? values[key] : 0, found = 0;
    if (status == ADB_OK && key == MODEL_KEYS)
        die("operation %llu: a key that was never written is found",
            (unsigned long long)t->done);
    else if (status == ADB_OK)
        found = model_identify(key, value);
    else if (status != ADB_NOT_FOUND)
        must(status);
    if (t->compare && found != expected)
        die("operation %llu: key %zu holds %llu instead of %llu (%s)",
            (unsigned long long)t->done, key, (unsigned long long)found,
            (unsigned long long)expected, t->options);
    run_note(t, found);
}

/* Fills the options of a read; returns the values it must see. */
static const uint64_t *read_options(struct run *t, const struct op *op,
                                    adb_read_options *o)
{
    struct run_snapshot *s = run_snapshot_of(t, op);
    *o = (adb_read_options)ADB_READ_OPTIONS_INIT;
    o->snapshot = s ? s->snapshot : NULL;
    o->no_fill_cache = (op->flags & OP_NO_FILL) != 0;
    return s ? s->values : t->model.values;
}

static void do_get(struct run *t, const struct op *op)
{
    uint8_t p[PLACE_MAX];
    adb_read_options o;
    adb_value v = ADB_VALUE_INIT;
    adb_slice place = run_place(t, op->place, p);
    const uint64_t *values = read_options(t, op, &o);
    adb_status status = adb_get(t->db, &o, place.data, place.size, &v);
    check_value(t, place, values, status, (adb_slice){v.data, v.size});
    adb_value_release(&v);
}

static void do_get_into(struct run *t, const struct op *op)
{
    uint8_t p[PLACE_MAX];
    adb_read_options o;
    size_t size = 0, small = 0;
    adb_slice place = run_place(t, op->place, p);
    const uint64_t *values = read_options(t, op, &o);
    adb_status status = adb_get_into(t->db, &o, place.data, place.size,
                                     t->value, sizeof t->value, &size);
    check_value(t, place, values, status, (adb_slice){t->value, size});
    if (status != ADB_OK || t->done % 8)
        return;
    status = adb_get_into(t->db, &o, place.data, place.size, t->value, size - 1,
                          &small);
    if (status != ADB_TOO_LARGE || small != size)
        die("operation %llu: a buffer too small by one: %s, size %zu of %zu",
            (unsigned long long)t->done, adb_status_name(status), small, size);
}

static void do_multi_get(struct run *t, const struct op *op)
{
    uint8_t p[OP_LIST_MAX][PLACE_MAX];
    adb_slice slices[OP_LIST_MAX];
    adb_value found[OP_LIST_MAX];
    adb_status statuses[OP_LIST_MAX];
    adb_read_options o;
    const uint64_t *values = read_options(t, op, &o);
    for (size_t i = 0; i < op->count; i++)
        slices[i] = run_place(t, op->list[i], p[i]);
    must(adb_multi_get(t->db, &o, op->count, slices, found, statuses));
    for (size_t i = 0; i < op->count; i++) {
        check_value(t, slices[i], values, statuses[i],
                    (adb_slice){found[i].data, found[i].size});
        adb_value_release(&found[i]);
    }
}

static void unpin(struct run *t, struct run_pin *pin)
{
    if (!pin->id)
        return;
    if (model_identify(
            pin->key, (adb_slice){pin->value.data, pin->value.size}) != pin->id)
        die("operation %llu: a pinned value of key %zu changed",
            (unsigned long long)t->done, pin->key);
    adb_value_release(&pin->value);
    pin->id = 0;
}

static void do_pin(struct run *t, const struct op *op)
{
    uint8_t p[PLACE_MAX];
    adb_read_options o;
    struct run_pin *pin = &t->pins[op->slot];
    adb_slice place = run_place(t, op->place, p);
    const uint64_t *values = read_options(t, op, &o);
    unpin(t, pin);
    pin->key = model_find(&t->model, place);
    pin->value = (adb_value)ADB_VALUE_INIT;
    adb_status status = adb_get(t->db, &o, place.data, place.size, &pin->value);
    check_value(t, place, values, status,
                (adb_slice){pin->value.data, pin->value.size});
    if (status == ADB_OK)
        memcpy(&pin->id, pin->value.data, sizeof pin->id);
}

static void do_unpin(struct run *t, const struct op *op)
{
    unpin(t, &t->pins[op->slot]);
}

/* ---- snapshots ---- */

static void release(struct run *t, struct run_snapshot *s)
{
    if (s->snapshot)
        adb_snapshot_release(t->db, s->snapshot);
    free(s->values);
    *s = (struct run_snapshot){0};
}

static void do_snapshot(struct run *t, const struct op *op)
{
    struct run_snapshot *s = &t->snapshots[op->slot];
    release(t, s);
    must(adb_snapshot_new(t->db, &s->snapshot));
    s->values = run_copy_values(t->model.values);
}

static void do_release(struct run *t, const struct op *op)
{
    release(t, &t->snapshots[op->slot]);
}

/* ---- maintenance ---- */

static void release_all(struct run *t)
{
    for (size_t i = 0; i < OP_SLOTS; i++) {
        release(t, &t->snapshots[i]);
        run_iter_end(t, &(struct op){.kind = OP_END, .slot = (uint8_t)i});
    }
    for (size_t i = 0; i < OP_PINS; i++)
        unpin(t, &t->pins[i]);
}

/* Key by key, for the message of a failure. */
static void print_differences(struct run *t)
{
    size_t shown = 0;
    for (size_t key = 0; key < MODEL_KEYS && shown < 20; key++) {
        adb_value v = ADB_VALUE_INIT;
        uint64_t found = 0, expected = t->model.values[key];
        if (adb_get(t->db, NULL, t->model.keys[key], t->model.sizes[key], &v) ==
            ADB_OK)
            memcpy(&found, v.data, MIN_OF(v.size, sizeof found));
        if (found != expected) {
            printf("key %zu: get finds %llu, the model has %llu\n", key,
                   (unsigned long long)found, (unsigned long long)expected);
            shown++;
        }
        adb_value_release(&v);
    }
}

static void check_everything(struct run *t)
{
    uint64_t found = model_scan(&t->model, t->db, NULL);
    run_note(t, found);
    if (t->compare && found != t->model.hash) {
        print_differences(t);
        die("operation %llu: the database differs from the model (%s)",
            (unsigned long long)t->done, t->options);
    }
}

static void reopen(struct run *t, const char *options, bool crash)
{
    release_all(t);
    check_everything(t);
    /* Without a log a crash may lose what the model has. */
    if (crash && db_durability(t->db) != ADB_DURABILITY_NONE)
        db_test_abandon(t->db);
    else
        must(adb_close(t->db));
    t->options = options;
    t->db = model_open(t->path, options);
    check_everything(t);
}

static void do_reopen(struct run *t, const struct op *op)
{
    reopen(t, op->options, op->kind == OP_CRASH);
}

static void do_flush(struct run *t, const struct op *op)
{
    (void)op;
    must(adb_flush(t->db));
}

static void do_sync(struct run *t, const struct op *op)
{
    (void)op;
    must(adb_sync(t->db));
}

static void do_verify(struct run *t, const struct op *op)
{
    (void)op;
    must(adb_verify(t->db, NULL, NULL, NULL));
}

static void do_wait(struct run *t, const struct op *op)
{
    (void)op;
    must(adb_wait_idle(t->db, 0));
}

static void do_stats(struct run *t, const struct op *op)
{
    char *json;
    (void)op;
    must(adb_stats(t->db, &json));
    if (json[0] != '{' || json[strlen(json) - 1] != '}')
        die("statistics that are no object: %s", json);
    adb_free(json);
    must(adb_health(t->db));
}

static void ends_of_range(struct run *t, const struct op *op,
                          uint8_t p[2][PLACE_MAX], adb_slice *from,
                          adb_slice *to)
{
    *from = *to = (adb_slice){0, 0};
    if (op->flags & OP_FROM)
        *from = run_place(t, op->from, p[0]);
    if (op->flags & OP_TO)
        *to = run_place(t, op->to, p[1]);
}

static void do_size(struct run *t, const struct op *op)
{
    uint8_t p[2][PLACE_MAX];
    adb_slice from, to;
    uint64_t bytes;
    ends_of_range(t, op, p, &from, &to);
    must(adb_approximate_size(t->db, from, to, &bytes));
    /* All values of all keys many times over. */
    if (bytes > (UINT64_C(1) << 30))
        die("operation %llu: a range of %llu bytes",
            (unsigned long long)t->done, (unsigned long long)bytes);
    if (from.data && to.data &&
        model_lower(&t->model, from) > model_lower(&t->model, to) && bytes)
        die("operation %llu: a range that ends before it begins has %llu "
            "bytes",
            (unsigned long long)t->done, (unsigned long long)bytes);
}

static void do_compact(struct run *t, const struct op *op)
{
    uint8_t p[2][PLACE_MAX];
    adb_slice from, to;
    ends_of_range(t, op, p, &from, &to);
    must(adb_compact(t->db, from, to));
}

/* ---- all of them ---- */

static void (*const what_to_do[OP_KINDS])(struct run *, const struct op *) = {
    [OP_PUT] = do_put,
    [OP_DELETE] = do_delete,
    [OP_BEGIN] = do_begin,
    [OP_WRITE] = do_write,
    [OP_GET] = do_get,
    [OP_GET_INTO] = do_get_into,
    [OP_MULTI_GET] = do_multi_get,
    [OP_PIN] = do_pin,
    [OP_UNPIN] = do_unpin,
    [OP_SNAPSHOT] = do_snapshot,
    [OP_RELEASE] = do_release,
    [OP_ITER] = run_iter_begin,
    [OP_FIRST] = run_iter_move,
    [OP_LAST] = run_iter_move,
    [OP_NEXT] = run_iter_move,
    [OP_PREV] = run_iter_move,
    [OP_SEEK] = run_iter_move,
    [OP_SEEK_FOR_PREV] = run_iter_move,
    [OP_END] = run_iter_end,
    [OP_SIZE] = do_size,
    [OP_COMPACT] = do_compact,
    [OP_FLUSH] = do_flush,
    [OP_SYNC] = do_sync,
    [OP_VERIFY] = do_verify,
    [OP_WAIT] = do_wait,
    [OP_STATS] = do_stats,
    [OP_REOPEN] = do_reopen,
    [OP_CRASH] = do_reopen,
};

void run_op(struct run *t, const struct op *op)
{
    t->done++;
    what_to_do[op->kind](t, op);
}

void run_begin(struct run *t, uint64_t keys, const char *path,
               const char *options, bool compare)
{
    memset(t, 0, sizeof *t);
    model_init(&t->model, keys);
    t->path = path;
    t->options = options;
    t->compare = compare;
    t->db = model_open(path, options);
}

void run_end(struct run *t)
{
    if (t->batch)
        adb_batch_free(t->batch);
    reopen(t, t->options, false);
    must(adb_health(t->db));
    must(adb_close(t->db));
    model_deinit(&t->model);
}

void run_script(void *argument)
{
    const struct run_job *job = argument;
    static struct run t;
    run_begin(&t, job->script->keys, job->path, job->script->options,
              job->compare);
    for (size_t i = 0; i < job->script->count; i++)
        run_op(&t, &job->script->ops[i]);
    run_end(&t);
}

void run_remove(const char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0)
        die("cannot remove %s", path);
}

struct child_result run_script_child(const struct run_job *job,
                                     unsigned timeout_ms, bool quiet)
{
    struct run_job copy = *job;
    struct child_job child = {.body = run_script,
                              .context = &copy,
                              .timeout_ms = timeout_ms,
                              .quiet = quiet};
    run_remove(job->path);
    struct child_result result = child_run(&child);
    run_remove(job->path);
    return result;
}
