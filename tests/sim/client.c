/*
 * What clients do, and what they check of it: see history.h for what holds.
 */
#include "sim/world.h"

#include <inttypes.h>

#include "base/thread.h"

#define SECONDS UINT64_C(1000000000)

/* The states that an operation may show: those published while it ran. */
static size_t call(struct client *c, const char *what, uint64_t seconds)
{
    scheduler_watch(what, seconds * SECONDS);
    world_observe(c->world);
    return history_now(c->world->history);
}

static size_t returned(struct client *c, const char *what, adb_status status)
{
    world_observe(c->world);
    scheduler_unwatch();
    scheduler_trace("%s: %s", what, adb_status_name(status));
    c->world->operations++;
    return history_now(c->world->history);
}

/* With faults about, these may come of any call. */
static void expect(struct client *c, const char *what, adb_status status,
                   bool timeout)
{
    bool borne = c->world->faulty &&
                 (status == ADB_IO || status == ADB_NO_SPACE ||
                  status == ADB_NO_MEMORY || status == ADB_UNKNOWN_OUTCOME);
    if (status == ADB_OK || borne || (timeout && status == ADB_TIMEOUT))
        return;
    world_die(c->world, "%s: %s: %s", what, adb_status_name(status),
              adb_error_message());
}

static bool chance(struct client *c, unsigned percent)
{
    return random_below(&c->random, 100) < percent;
}

static size_t any_key(struct client *c)
{
    return random_below(&c->random, c->world->plan.keys);
}

/* ---- writing ---- */

static void make_step(struct client *c)
{
    struct world *w = c->world;
    struct step *s = &c->step;
    *s = (struct step){.kind = STEP_WRITE, .count = 1};
    s->batch = chance(c, 20);
    if (s->batch)
        s->count = 1 + (unsigned)random_below(&c->random, EDITS_MAX);
    if (chance(c, w->plan.raise_percent))
        s->durability = ADB_DURABILITY_SYNC;
    for (unsigned i = 0; i < s->count; i++) {
        uint64_t size = 8 + random_below(&c->random, w->plan.value_max);
        if (w->plan.huge && random_below(&c->random, 100) == 0)
            size = 66000 + random_below(&c->random, 30000);
        s->edits[i].key = (uint8_t)any_key(c);
        s->edits[i].id = chance(c, 15) ? 0 : ++w->next_id | size << 32;
    }
}

static adb_status add_edit(adb_batch *batch, const struct edit *e)
{
    char key[STORE_KEY_MAX];
    size_t size = store_key(e->key, key);
    if (!e->id)
        return adb_batch_delete(batch, key, size);
    uint8_t *bytes = malloc(e->id >> 32);
    adb_status status = adb_batch_put(batch, key, size, bytes,
                                      store_value(e->key, e->id, bytes));
    free(bytes);
    return status;
}

static adb_status write_batch(adb *db, const struct step *s,
                              const adb_write_options *o)
{
    adb_batch *batch = adb_batch_new();
    adb_status status = batch ? ADB_OK : ADB_NO_MEMORY;
    for (unsigned i = 0; i < s->count && status == ADB_OK; i++)
        status = add_edit(batch, &s->edits[i]);
    if (status == ADB_OK)
        status = adb_write(db, o, batch);
    adb_batch_free(batch);
    return status;
}

static adb_status write_one(adb *db, const struct edit *e,
                            const adb_write_options *o)
{
    char key[STORE_KEY_MAX];
    size_t size = store_key(e->key, key);
    if (!e->id)
        return adb_delete(db, o, key, size);
    uint8_t *bytes = malloc(e->id >> 32);
    adb_status status = adb_put(db, o, key, size, bytes,
                                store_value(e->key, e->id, bytes));
    free(bytes);
    return status;
}

/* A write that is not there, but may be after a crash before the next one. */
static void remember_ghost(struct client *c)
{
    struct world *w = c->world;
    if (w->ghosts_at != history_now(w->history))
        w->ghost_count = 0;
    if (w->ghost_count == GHOSTS_MAX)
        world_die(w, "too many writes of unknown outcome");
    w->ghosts_at = history_now(w->history);
    w->ghosts[w->ghost_count++] = c->step;
}

static void check_write(struct client *c, adb_status status)
{
    struct world *w = c->world;
    size_t at = c->write.at;
    bool sync = c->step.durability == ADB_DURABILITY_SYNC ||
                strstr(w->plan.options, "durability=sync");
    if (status == ADB_OK && !at)
        world_die(w, "a write returned ok and was not published");
    if (status != ADB_OK && status != ADB_UNKNOWN_OUTCOME && at)
        world_die(w, "a write returned %s (%s) and was published",
                  adb_status_name(status), adb_error_message());
    if (status == ADB_UNKNOWN_OUTCOME && !at)
        remember_ghost(c);
    if (status == ADB_OK && sync)
        history_durable(w->history, at);
}

static adb_status do_write(struct client *c, uint64_t timeout_ms)
{
    struct step *s = &c->step;
    adb *db = c->world->db;
    adb_write_options o = ADB_WRITE_OPTIONS_INIT;
    o.durability = s->durability;
    o.timeout_ms = timeout_ms;
    call(c, "a write", 30);
    scheduler_trace("write of %u, key %u, %" PRIx64 "%s", s->count,
                    s->edits[0].key, s->edits[0].id,
                    s->durability ? ", sync" : "");
    c->write = (struct history_write){.step = s};
    adb_status status = s->batch ? write_batch(db, s, &o)
                                 : write_one(db, &s->edits[0], &o);
    returned(c, "write", status);
    check_write(c, status);
    c->write.step = NULL;
    return status;
}

static void write_something(struct client *c)
{
    uint64_t timeout_ms = chance(c, c->world->plan.timeout_percent)
                              ? 1 + random_below(&c->random, 50)
                              : 0;
    make_step(c);
    expect(c, "a write", do_write(c, timeout_ms), timeout_ms);
}

void client_write_until_ok(struct client *c)
{
    for (;;) {
        make_step(c);
        c->step.durability = ADB_DURABILITY_SYNC;
        if (do_write(c, 0) == ADB_OK)
            return;
        clock_sleep_ns(SECONDS / 20);
    }
}

/* ---- reading keys ---- */

/* Which value this is; dies of any that never was one of this key's. */
static uint64_t identify(struct client *c, size_t key, adb_slice value)
{
    char text[STORE_KEY_MAX];
    size_t number = 0, size = store_key(key, text);
    uint64_t id = 0;
    if (!store_identify(slice_of(text, size), value, &number, &id))
        world_die(c->world, "key %zu holds %zu bytes that were never written",
                  key, value.size);
    return id;
}

/* The single write under way that makes this of the key, or NULL. */
static struct history_write *under_way(struct world *w, size_t key,
                                       uint64_t id)
{
    for (unsigned i = 0; i < w->plan.clients; i++) {
        struct history_write *write = &w->clients[i].write;
        const struct step *s = write->step;
        if (s && !write->at && !s->batch && s->edits[0].key == key &&
            s->edits[0].id == id)
            return write;
    }
    return NULL;
}

static void check_shown(struct client *c, size_t key, uint64_t id, size_t low,
                        size_t high)
{
    struct world *w = c->world;
    if (history_shows(w->history, key, id, low, high))
        return;
    struct history_write *write = under_way(w, key, id);
    if (!write)
        world_die(w, "key %zu showed %" PRIx64 ", which it was in no state "
                  "from %zu to %zu", key, id, low, high);
    if (!history_show_early(w->history, write, clock_now_ns()))
        world_die(w, "%s", history_words(w->history));
}

static void let_go(struct client *c)
{
    if (!c->held.data)
        return;
    adb_slice value = slice_of(c->held.data, c->held.size);
    if (identify(c, c->held_key, value) != c->held_id)
        world_die(c->world, "a pinned value changed");
    adb_value_release(&c->held);
}

static void get_key(struct client *c)
{
    char text[STORE_KEY_MAX];
    size_t key = any_key(c), size = store_key(key, text);
    adb_value value = ADB_VALUE_INIT;
    let_go(c);
    size_t low = call(c, "a get", 30);
    adb_status status = adb_get(c->world->db, NULL, text, size, &value);
    size_t high = returned(c, "get", status);
    if (status != ADB_OK && status != ADB_NOT_FOUND) {
        expect(c, "a get", status, false);
        return;
    }
    uint64_t id = status == ADB_OK
                      ? identify(c, key, slice_of(value.data, value.size))
                      : 0;
    check_shown(c, key, id, low, high);
    c->held = value;
    c->held_key = key;
    c->held_id = id;
    if (status == ADB_OK && chance(c, 80))
        let_go(c);
}

static void get_key_into(struct client *c)
{
    char text[STORE_KEY_MAX];
    static const size_t room = STORE_VALUE_MAX;
    size_t key = any_key(c), size = store_key(key, text), value_size = 0;
    uint8_t *buffer = malloc(room);
    size_t low = call(c, "a get", 30);
    adb_status status = adb_get_into(c->world->db, NULL, text, size, buffer,
                                     room, &value_size);
    size_t high = returned(c, "get_into", status);
    if (status == ADB_OK || status == ADB_NOT_FOUND)
        check_shown(c, key,
                    status == ADB_OK
                        ? identify(c, key, slice_of(buffer, value_size))
                        : 0,
                    low, high);
    else
        expect(c, "a get", status, false);
    free(buffer);
}

static void see(struct client *c, struct sight *s, size_t key, uint64_t id,
                const char *what)
{
    size_t low = s->count ? s->states[0] : 0;
    size_t high = s->count ? s->states[s->count - 1] : 0;
    if (!sight_see(s, c->world->history, key, id))
        world_die(c->world,
                  "%s: key %zu shows %" PRIx64 ", which fits no state from "
                  "%zu to %zu that fits what was seen before",
                  what, key, id, low, high);
}

enum { KEYS_AT_ONCE = 8 };

static void see_values(struct client *c, struct sight *s, size_t count,
                       const size_t *keys, adb_value *values,
                       const adb_status *statuses)
{
    for (size_t i = 0; i < count; i++) {
        if (statuses[i] == ADB_OK)
            see(c, s, keys[i],
                identify(c, keys[i], slice_of(values[i].data, values[i].size)),
                "a multi-get");
        else if (statuses[i] == ADB_NOT_FOUND)
            see(c, s, keys[i], 0, "a multi-get");
        else
            expect(c, "a multi-get's key", statuses[i], false);
        adb_value_release(&values[i]);
    }
}

/* snapshot NULL: of the newest state. */
static void get_keys(struct client *c, adb_snapshot *snapshot)
{
    char texts[KEYS_AT_ONCE][STORE_KEY_MAX];
    size_t keys[KEYS_AT_ONCE], count = 1 + random_below(&c->random,
                                                        KEYS_AT_ONCE);
    adb_slice slices[KEYS_AT_ONCE];
    adb_value values[KEYS_AT_ONCE] = {ADB_VALUE_INIT};
    adb_status statuses[KEYS_AT_ONCE] = {ADB_OK};
    adb_read_options o = ADB_READ_OPTIONS_INIT;
    struct sight fresh;
    o.snapshot = snapshot;
    for (size_t i = 0; i < count; i++) {
        keys[i] = any_key(c);
        slices[i] = slice_of(texts[i], store_key(keys[i], texts[i]));
    }
    size_t low = call(c, "a multi-get", 30);
    adb_status status = adb_multi_get(c->world->db, &o, count, slices, values,
                                      statuses);
    size_t high = returned(c, "multi_get", status);
    expect(c, "a multi-get", status, false);
    sight_init(&fresh, low, high);
    see_values(c, snapshot ? &c->snapshot_sight : &fresh, count, keys, values,
               statuses);
    sight_deinit(&fresh);
}

/* ---- snapshots ---- */

static void drop_snapshot(struct client *c)
{
    if (!c->snapshot)
        return;
    call(c, "releasing a snapshot", 30);
    adb_snapshot_release(c->world->db, c->snapshot);
    returned(c, "snapshot_release", ADB_OK);
    sight_deinit(&c->snapshot_sight);
    c->snapshot = NULL;
}

static void take_snapshot(struct client *c)
{
    drop_snapshot(c);
    size_t low = call(c, "a snapshot", 30);
    adb_status status = adb_snapshot_new(c->world->db, &c->snapshot);
    size_t high = returned(c, "snapshot_new", status);
    expect(c, "a snapshot", status, false);
    if (status == ADB_OK)
        sight_init(&c->snapshot_sight, low, high);
}

/* ---- iterating ---- */

/* Keys ascend with their number: an iterator walks over numbers. */
struct walk {
    struct client *client;
    adb_iter *it;
    struct sight *sight;
    size_t from, to; /* bounds */
    size_t at;       /* present key */
};

static void see_absent(struct walk *k, size_t from, size_t to)
{
    for (size_t key = from; key < to; key++)
        see(k->client, k->sight, key, 0, "an iterator that passed by");
}

/* The iterator has come to an entry; which key it is. */
static bool arrive(struct walk *k, bool more, size_t *key)
{
    struct client *c = k->client;
    uint64_t id;
    adb_status status = adb_iter_status(k->it);
    if (!more && status != ADB_OK)
        expect(c, "an iterator", status, false);
    if (!more)
        return false;
    adb_slice value = adb_iter_value(k->it);
    if (!value.data) {
        expect(c, "an iterator's value", adb_iter_status(k->it), false);
        return false;
    }
    if (!store_identify(adb_iter_key(k->it), value, key, &id))
        world_die(c->world, "an iterator shows what was never written");
    if (*key < k->from || *key >= k->to)
        world_die(c->world, "an iterator over keys %zu to %zu shows %zu",
                  k->from, k->to, *key);
    see(c, k->sight, *key, id, "an iterator");
    return true;
}

/* Forward: keys in [start, key) are absent; backward: those in (key, start). */
static bool move(struct walk *k, bool forward, bool more, size_t start)
{
    struct client *c = k->client;
    size_t key;
    bool ended = !more && adb_iter_status(k->it) == ADB_OK;
    if (ended && forward)
        see_absent(k, start, k->to);
    else if (ended)
        see_absent(k, k->from, start);
    if (!arrive(k, more, &key))
        return false;
    if (forward ? key < start : key >= start)
        world_die(c->world, "an iterator went the wrong way, to key %zu", key);
    see_absent(k, forward ? start : key + 1, forward ? key : start);
    k->at = key;
    return true;
}

static bool start_walk(struct walk *k, bool *forward)
{
    struct client *c = k->client;
    char text[STORE_KEY_MAX];
    size_t key, size;
    *forward = chance(c, 50);
    if (chance(c, 40))
        return move(k, *forward,
                    *forward ? adb_iter_seek_first(k->it)
                             : adb_iter_seek_last(k->it),
                    *forward ? k->from : k->to);
    key = any_key(c);
    size = store_key(key, text);
    if (*forward)
        return move(k, true, adb_iter_seek(k->it, text, size),
                    key < k->from ? k->from : key > k->to ? k->to : key);
    key++;
    return move(k, false, adb_iter_seek_for_prev(k->it, text, size),
                key > k->to ? k->to : key < k->from ? k->from : key);
}

static void walk(struct walk *k)
{
    struct client *c = k->client;
    size_t steps = random_below(&c->random, 2 * STORE_KEYS);
    bool forward, more = start_walk(k, &forward);
    for (size_t i = 0; more && i < steps; i++) {
        if (chance(c, 5))
            forward = !forward;
        more = move(k, forward,
                    forward ? adb_iter_next(k->it) : adb_iter_prev(k->it),
                    forward ? k->at + 1 : k->at);
        if (chance(c, 3))
            scheduler_point();
    }
}

static void bound(struct client *c, struct walk *k, adb_iter_options *o,
                  char *lower, char *upper)
{
    k->from = 0;
    k->to = STORE_KEYS;
    if (chance(c, 30)) {
        k->from = any_key(c);
        o->lower = slice_of(lower, store_key(k->from, lower));
    }
    if (chance(c, 30)) {
        k->to = any_key(c);
        o->upper = slice_of(upper, store_key(k->to, upper));
    }
    if (k->to < k->from)
        k->to = k->from;
}

static void iterate(struct client *c)
{
    char lower[STORE_KEY_MAX], upper[STORE_KEY_MAX];
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    struct walk k = {.client = c};
    struct sight fresh;
    bool through = c->snapshot && chance(c, 60);
    bound(c, &k, &o, lower, upper);
    o.snapshot = through ? c->snapshot : NULL;
    size_t low = call(c, "an iterator", 60);
    adb_status status = adb_iter_new(c->world->db, &o, &k.it);
    world_observe(c->world);
    size_t high = history_now(c->world->history);
    expect(c, "an iterator", status, false);
    if (status == ADB_OK) {
        sight_init(&fresh, low, high);
        k.sight = through ? &c->snapshot_sight : &fresh;
        walk(&k);
        sight_deinit(&fresh);
        adb_iter_free(k.it);
    }
    returned(c, "iterate", status);
}

/* ---- barriers and the rest ---- */

static void wait_idle(struct client *c)
{
    uint64_t timeout_ms = 1 + random_below(&c->random, 3000);
    call(c, "adb_wait_idle", 60);
    adb_status status = adb_wait_idle(c->world->db, timeout_ms);
    returned(c, "wait_idle", status);
    expect(c, "adb_wait_idle", status, true);
}

static void barrier(struct client *c)
{
    adb *db = c->world->db;
    uint64_t dice = random_below(&c->random, 11);
    if (dice == 10) {
        wait_idle(c);
        return;
    }
    const char *what = dice < 5 ? "adb_sync" : dice < 8 ? "adb_flush"
                                                        : "adb_compact";
    char from[STORE_KEY_MAX], to[STORE_KEY_MAX];
    adb_slice first = slice_of(NULL, 0), last = slice_of(NULL, 0);
    if (chance(c, 50)) {
        first = slice_of(from, store_key(any_key(c), from));
        last = slice_of(to, store_key(any_key(c), to));
    }
    size_t before = call(c, what, 120);
    adb_status status = dice < 5   ? adb_sync(db)
                        : dice < 8 ? adb_flush(db)
                                   : adb_compact(db, first, last);
    returned(c, what, status);
    expect(c, what, status, false);
    if (status == ADB_OK)
        history_durable(c->world->history, before);
}

static void tell_damage(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "adb_verify: %s\n", text);
}

static void look_around(struct client *c)
{
    adb *db = c->world->db;
    uint64_t dice = random_below(&c->random, 4), bytes;
    char *json = NULL;
    adb_status status = ADB_OK;
    call(c, "looking around", 60);
    if (dice == 0)
        status = adb_stats(db, &json);
    else if (dice == 1)
        status = adb_approximate_size(db, slice_of(NULL, 0), slice_of(NULL, 0),
                                      &bytes);
    else if (dice == 2 && !c->world->faulty)
        status = adb_verify(db, tell_damage, NULL, NULL);
    else
        (void)!adb_health(db);
    returned(c, "look around", status);
    expect(c, "looking around", status, false);
    adb_free(json);
}

static void read_something(struct client *c)
{
    uint64_t dice = random_below(&c->random, 100);
    if (dice < 35)
        get_key(c);
    else if (dice < 45)
        get_key_into(c);
    else if (dice < 60)
        get_keys(c, NULL);
    else if (dice < 70 && c->snapshot)
        get_keys(c, c->snapshot);
    else if (dice < 80)
        take_snapshot(c);
    else if (dice < 83)
        drop_snapshot(c);
    else if (dice < 97)
        iterate(c);
    else
        look_around(c);
}

void *client_run(void *context)
{
    struct client *c = context;
    const struct plan *p = &c->world->plan;
    scheduler_set_local(c);
    for (unsigned i = 0; i < p->operations && !c->world->stop; i++) {
        if (random_below(&c->random, 1000) < p->barrier_permille)
            barrier(c);
        else if (random_below(&c->random, 1000) < p->pause_permille)
            clock_sleep_ns(random_below(&c->random, 15 * SECONDS));
        else if (chance(c, p->read_percent))
            read_something(c);
        else
            write_something(c);
    }
    let_go(c);
    drop_snapshot(c);
    return NULL;
}
