/* Iterators of a run, which live on while the database changes. */
#include "model/run_internal.h"

#include "base/bytes.h"

static bool begins_with(const struct model *m, size_t key, adb_slice prefix)
{
    return key < MODEL_KEYS && m->sizes[key] >= prefix.size &&
           memcmp(m->keys[key], prefix.data, prefix.size) == 0;
}

void run_iter_end(struct run *t, const struct op *op)
{
    struct run_iterator *h = &t->iterators[op->slot];
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

void run_iter_begin(struct run *t, const struct op *op)
{
    uint8_t p[3][PLACE_MAX];
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    struct run_iterator *h = &t->iterators[op->slot];
    struct run_snapshot *s = run_snapshot_of(t, op);
    if (h->it)
        return;
    o.snapshot = s ? s->snapshot : NULL;
    if (op->flags & OP_FROM)
        o.lower = run_place(t, op->from, p[0]);
    if (op->flags & OP_TO)
        o.upper = run_place(t, op->to, p[1]);
    if (op->flags & OP_PREFIX)
        o.prefix = run_place(t, op->prefix, p[2]);
    o.no_fill_cache = (op->flags & OP_NO_FILL) != 0;
    confine(t, h, &o);
    h->values = run_copy_values(s ? s->values : t->model.values);
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
    run_note(t, found);
    run_note(t, id);
    if (t->compare && found != h->at)
        die("operation %llu: iterator on key %zu instead of %zu (%s)",
            (unsigned long long)t->done, found, h->at, t->options);
    if (t->compare && valid && id != h->values[found])
        die("operation %llu: iterator on key %zu shows %llu instead of %llu "
            "(%s)",
            (unsigned long long)t->done, found, (unsigned long long)id,
            (unsigned long long)h->values[found], t->options);
}

void run_iter_move(struct run *t, const struct op *op)
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
        place = run_place(t, op->place, p);
        valid = adb_iter_seek(h->it, place.data, place.size);
        h->at = forward_from(h, model_lower(&t->model, place));
        break;
    case OP_SEEK_FOR_PREV: {
        place = run_place(t, op->place, p);
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
