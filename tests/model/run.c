#include "model/run.h"

#include "base/hash.h"
#include "db/db.h"

static void note(struct run *t, uint64_t result)
{
    uint64_t pair[2] = {t->history, result};
    t->history = hash_key(pair, sizeof pair);
}

/* ---- places ---- */

enum { PLACE_MAX = 700 };

/* The bytes of a key or of its neighbour; those are made in p. */
static adb_slice bytes_of(const struct run *t, struct place place,
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

static bool begins_with(const struct model *m, size_t key, adb_slice prefix)
{
    return key < MODEL_KEYS && m->sizes[key] >= prefix.size &&
           memcmp(m->keys[key], prefix.data, prefix.size) == 0;
}

static uint64_t *copy_values(const uint64_t *values)
{
    size_t size = sizeof ((struct model *)0)->values;
    uint64_t *copy = malloc(size);
    memcpy(copy, values, size);
    return copy;
}

static struct run_snapshot *snapshot_of(struct run *t, const struct op *op)
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

static void do_begin(struct run *t)
{
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
    note(t, found);
}

/* Fills the options of a read; returns the values it must see. */
static const uint64_t *read_options(struct run *t, const struct op *op,
                                    adb_read_options *o)
{
    struct run_snapshot *s = snapshot_of(t, op);
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
    adb_slice place = bytes_of(t, op->place, p);
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
    adb_slice place = bytes_of(t, op->place, p);
    const uint64_t *values = read_options(t, op, &o);
    adb_status status = adb_get_into(t->db, &o, place.data, place.size,
                                     t->value, sizeof t->value, &size);
    check_value(t, place, values, status, (adb_slice){t->value, size});
    if (status != ADB_OK || t->done % 8)
        return;
    status = adb_get_into(t->db, &o, place.data, place.size, t->value,
                          size - 1, &small);
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
        slices[i] = bytes_of(t, op->list[i], p[i]);
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
    if (model_identify(pin->key, (adb_slice){pin->value.data,
                                             pin->value.size}) != pin->id)
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
    adb_slice place = bytes_of(t, op->place, p);
    const uint64_t *values = read_options(t, op, &o);
    unpin(t, pin);
    pin->key = model_find(&t->model, place);
    pin->value = (adb_value)ADB_VALUE_INIT;
    adb_status status =
        adb_get(t->db, &o, place.data, place.size, &pin->value);
    check_value(t, place, values, status,
                (adb_slice){pin->value.data, pin->value.size});
    if (status == ADB_OK)
        memcpy(&pin->id, pin->value.data, sizeof pin->id);
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
    s->values = copy_values(t->model.values);
}

/* ---- iterators ---- */

static void end_iterator(struct run_iterator *h)
{
    adb_iter_free(h->it);
    free(h->values);
    *h = (struct run_iterator){0};
}

static size_t forward_from(const struct run_iterator *h, size_t key)
{
    for (size_t i = key < h->low ? h->low : key; i < h->high; i++)
        if (h->values[i])
            return i;
    return MODEL_KEYS;
}

static size_t backward_from(const struct run_iterator *h, size_t below)
{
    for (size_t i = below > h->high ? h->high : below; i > h->low; i--)
        if (h->values[i - 1])
            return i - 1;
    return MODEL_KEYS;
}

static void confine(struct run *t, struct run_iterator *h,
                    const adb_iter_options *o)
{
    h->low = 0;
    h->high = MODEL_KEYS;
    if (o->lower.data)
        h->low = model_lower(&t->model, o->lower);
    if (o->upper.data)
        h->high = model_lower(&t->model, o->upper);
    if (!o->prefix.data)
        return;
    size_t i = model_lower(&t->model, o->prefix);
    h->low = MAX_OF(h->low, i);
    while (begins_with(&t->model, i, o->prefix))
        i++;
    h->high = MIN_OF(h->high, i);
}

static void do_iter(struct run *t, const struct op *op)
{
    uint8_t p[3][PLACE_MAX];
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    struct run_iterator *h = &t->iterators[op->slot];
    struct run_snapshot *s = snapshot_of(t, op);
    if (h->it)
        return;
    o.snapshot = s ? s->snapshot : NULL;
    if (op->flags & OP_FROM)
        o.lower = bytes_of(t, op->from, p[0]);
    if (op->flags & OP_TO)
        o.upper = bytes_of(t, op->to, p[1]);
    if (op->flags & OP_PREFIX)
        o.prefix = bytes_of(t, op->prefix, p[2]);
    o.no_fill_cache = (op->flags & OP_NO_FILL) != 0;
    confine(t, h, &o);
    h->values = copy_values(s ? s->values : t->model.values);
    h->at = MODEL_KEYS;
    must(adb_iter_new(t->db, &o, &h->it));
}

static void check_iterator(struct run *t, struct run_iterator *h, int valid)
{
    must(adb_iter_status(h->it));
    if (valid != adb_iter_valid(h->it))
        die("operation %llu: a move returned %d, the iterator is %svalid",
            (unsigned long long)t->done, valid, valid ? "not " : "");
    size_t found = MODEL_KEYS;
    uint64_t id = 0;
    if (valid) {
        found = model_find(&t->model, adb_iter_key(h->it));
        if (found == MODEL_KEYS)
            die("operation %llu: an iterator on a key that was never written",
                (unsigned long long)t->done);
        id = model_identify(found, adb_iter_value(h->it));
        must(adb_iter_status(h->it));
    }
    note(t, found);
    note(t, id);
    if (t->compare && found != h->at)
        die("operation %llu: iterator on key %zu instead of %zu (%s)",
            (unsigned long long)t->done, found, h->at, t->options);
    if (t->compare && valid && id != h->values[found])
        die("operation %llu: iterator on key %zu shows %llu instead of %llu "
            "(%s)",
            (unsigned long long)t->done, found, (unsigned long long)id,
            (unsigned long long)h->values[found], t->options);
}

static void do_move(struct run *t, const struct op *op)
{
    uint8_t p[PLACE_MAX];
    struct run_iterator *h = &t->iterators[op->slot];
    adb_slice place;
    int valid = 0;
    if (!h->it)
        return;
    switch (op->kind) {
    case OP_FIRST:
        valid = adb_iter_seek_first(h->it);
        h->at = forward_from(h, 0);
        break;
    case OP_LAST:
        valid = adb_iter_seek_last(h->it);
        h->at = backward_from(h, MODEL_KEYS);
        break;
    case OP_SEEK:
        place = bytes_of(t, op->place, p);
        valid = adb_iter_seek(h->it, place.data, place.size);
        h->at = forward_from(h, model_lower(&t->model, place));
        break;
    case OP_SEEK_FOR_PREV: {
        place = bytes_of(t, op->place, p);
        valid = adb_iter_seek_for_prev(h->it, place.data, place.size);
        size_t at = model_lower(&t->model, place);
        h->at = backward_from(h, at + (model_find(&t->model, place) == at));
        break;
    }
    case OP_NEXT:
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

/* ---- maintenance ---- */

static void release_all(struct run *t)
{
    for (size_t i = 0; i < OP_SLOTS; i++) {
        release(t, &t->snapshots[i]);
        if (t->iterators[i].it)
            end_iterator(&t->iterators[i]);
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
        if (adb_get(t->db, NULL, t->model.keys[key], t->model.sizes[key],
                    &v) == ADB_OK)
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
    uint64_t found = model_scan(&t->model, t->db);
    note(t, found);
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

static void ends_of_range(struct run *t, const struct op *op,
                          uint8_t p[2][PLACE_MAX], adb_slice *from,
                          adb_slice *to)
{
    *from = *to = (adb_slice){0, 0};
    if (op->flags & OP_FROM)
        *from = bytes_of(t, op->from, p[0]);
    if (op->flags & OP_TO)
        *to = bytes_of(t, op->to, p[1]);
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

void run_op(struct run *t, const struct op *op)
{
    t->done++;
    switch ((enum op_kind)op->kind) {
    case OP_PUT:
        do_put(t, op);
        break;
    case OP_DELETE:
        do_delete(t, op);
        break;
    case OP_BEGIN:
        do_begin(t);
        break;
    case OP_WRITE:
        do_write(t, op);
        break;
    case OP_GET:
        do_get(t, op);
        break;
    case OP_GET_INTO:
        do_get_into(t, op);
        break;
    case OP_MULTI_GET:
        do_multi_get(t, op);
        break;
    case OP_PIN:
        do_pin(t, op);
        break;
    case OP_UNPIN:
        unpin(t, &t->pins[op->slot]);
        break;
    case OP_SNAPSHOT:
        do_snapshot(t, op);
        break;
    case OP_RELEASE:
        release(t, &t->snapshots[op->slot]);
        break;
    case OP_ITER:
        do_iter(t, op);
        break;
    case OP_FIRST:
    case OP_LAST:
    case OP_NEXT:
    case OP_PREV:
    case OP_SEEK:
    case OP_SEEK_FOR_PREV:
        do_move(t, op);
        break;
    case OP_END:
        if (t->iterators[op->slot].it)
            end_iterator(&t->iterators[op->slot]);
        break;
    case OP_SIZE:
        do_size(t, op);
        break;
    case OP_COMPACT:
        do_compact(t, op);
        break;
    case OP_FLUSH:
        must(adb_flush(t->db));
        break;
    case OP_SYNC:
        must(adb_sync(t->db));
        break;
    case OP_VERIFY:
        must(adb_verify(t->db, NULL, NULL, NULL));
        break;
    case OP_WAIT:
        must(adb_wait_idle(t->db, 0));
        break;
    case OP_REOPEN:
    case OP_CRASH:
        reopen(t, op->options, op->kind == OP_CRASH);
        break;
    case OP_KINDS:
        die("no operation");
    }
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
