#include "sim/history.h"

#include <stdarg.h>

#include "base/hash.h"

struct change {
    size_t n; /* since which state */
    uint64_t id;
};

struct changes {
    struct change *list; /* owned; ascending n */
    size_t count, capacity;
};

struct history {
    struct changes keys[STORE_KEYS];
    uint64_t *hashes; /* owned; of each state */
    uint64_t *times;  /* owned; when it was published */
    size_t capacity;
    size_t now;     /* the newest state */
    size_t durable; /* the newest state acknowledged as durable */
    uint64_t seq;   /* published */
    struct history_write *early; /* shown, to be published next */
    char words[600];
};

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof *h);
    h->capacity = 256;
    h->hashes = calloc(h->capacity, sizeof *h->hashes);
    h->times = calloc(h->capacity, sizeof *h->times);
    return h;
}

void history_free(struct history *h)
{
    for (size_t i = 0; i < STORE_KEYS; i++)
        free(h->keys[i].list);
    free(h->hashes);
    free(h->times);
    free(h);
}

static bool wrong(struct history *h, const char *format, ...)
    ADB_PRINTF(2, 3);
static bool wrong(struct history *h, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(h->words, sizeof h->words, format, args);
    va_end(args);
    return false;
}

const char *history_words(const struct history *h)
{
    return h->words;
}

size_t history_now(const struct history *h)
{
    return h->now;
}

void history_durable(struct history *h, size_t n)
{
    h->durable = n > h->durable ? n : h->durable;
}

size_t history_durable_state(const struct history *h)
{
    return h->durable;
}

size_t history_state_before(const struct history *h, uint64_t ns)
{
    size_t n = h->now;
    while (n > 0 && h->times[n] >= ns)
        n--;
    return n;
}

/* ---- states ---- */

/* Hashes of states are sums over keys: one change is two additions. */
static uint64_t part_hash(size_t key, uint64_t id)
{
    uint64_t pair[2] = {key, id};
    return id ? hash_key(pair, sizeof pair) : 0;
}

uint64_t history_value(const struct history *h, size_t key, size_t n)
{
    const struct changes *v = &h->keys[key];
    size_t low = 0, high = v->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (v->list[middle].n <= n)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? v->list[low - 1].id : 0;
}

static void set_value(struct history *h, size_t key, uint64_t id)
{
    struct changes *v = &h->keys[key];
    h->hashes[h->now] += part_hash(key, id) -
                         part_hash(key, history_value(h, key, h->now));
    if (v->count && v->list[v->count - 1].n == h->now) {
        v->list[v->count - 1].id = id; /* later in the same batch */
        return;
    }
    if (v->count == v->capacity) {
        v->capacity = v->capacity ? 2 * v->capacity : 8;
        v->list = realloc(v->list, v->capacity * sizeof *v->list);
    }
    v->list[v->count++] = (struct change){h->now, id};
}

static void add_state(struct history *h, const struct step *step, uint64_t ns)
{
    if (++h->now == h->capacity) {
        h->capacity *= 2;
        h->hashes = realloc(h->hashes, h->capacity * sizeof *h->hashes);
        h->times = realloc(h->times, h->capacity * sizeof *h->times);
    }
    h->times[h->now] = ns;
    h->hashes[h->now] = h->hashes[h->now - 1];
    for (unsigned i = 0; i < step->count; i++)
        set_value(h, step->edits[i].key, step->edits[i].id);
}

static void forget_after(struct history *h, size_t n)
{
    for (size_t i = 0; i < STORE_KEYS; i++) {
        struct changes *v = &h->keys[i];
        while (v->count && v->list[v->count - 1].n > n)
            v->count--;
    }
    h->now = n;
}

/* ---- writes ---- */

void history_begin(struct history *h, uint64_t seq)
{
    h->seq = seq;
    h->early = NULL;
}

bool history_show_early(struct history *h, struct history_write *write,
                        uint64_t now_ns)
{
    if (h->early)
        return wrong(h, "two writes are shown before they are published");
    h->early = write;
    add_state(h, write->step, now_ns);
    write->at = h->now;
    return true;
}

bool history_observe(struct history *h, uint64_t seq,
                     struct history_write *running, uint64_t now_ns)
{
    if (seq == h->seq)
        return true;
    uint64_t count = seq - h->seq;
    if (seq < h->seq)
        return wrong(h, "the published sequence fell from %llu to %llu",
                     (unsigned long long)h->seq, (unsigned long long)seq);
    if (!running || !running->step)
        return wrong(h, "sequences %llu to %llu were published by a thread "
                     "that writes nothing", (unsigned long long)h->seq + 1,
                     (unsigned long long)seq);
    if (h->early && h->early != running)
        return wrong(h, "state %zu was shown, and another one published",
                     h->early->at);
    if (running->at && !h->early)
        return wrong(h, "a write was published twice, as states %zu and %zu",
                     running->at, h->now + 1);
    if (count != running->step->count)
        return wrong(h, "a write of %u operations was published as %llu",
                     running->step->count, (unsigned long long)count);
    h->seq = seq;
    if (!h->early) {
        add_state(h, running->step, now_ns);
        running->at = h->now;
    }
    h->early = NULL;
    return true;
}

/* ---- what was seen ---- */

void sight_init(struct sight *s, size_t low, size_t high)
{
    s->count = high - low + 1;
    s->states = malloc(s->count * sizeof *s->states);
    for (size_t i = 0; i < s->count; i++)
        s->states[i] = low + i;
}

void sight_deinit(struct sight *s)
{
    free(s->states);
    *s = (struct sight){0};
}

bool sight_see(struct sight *s, const struct history *h, size_t key,
               uint64_t id)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++)
        if (history_value(h, key, s->states[i]) == id)
            s->states[kept++] = s->states[i];
    s->count = kept;
    return kept > 0;
}

bool history_shows(const struct history *h, size_t key, uint64_t id,
                   size_t low, size_t high)
{
    const struct changes *v = &h->keys[key];
    if (history_value(h, key, low) == id)
        return true;
    for (size_t i = v->count; i-- > 0 && v->list[i].n > low;)
        if (v->list[i].n <= high && v->list[i].id == id)
            return true;
    return false;
}

/* ---- crashes ---- */

void history_cut(const struct history *h, size_t low, struct history_cut *cut)
{
    cut->low = low;
    cut->high = h->now;
    cut->durable = h->durable;
    cut->pending_count = 0;
}

void history_cut_pending(struct history_cut *cut, const struct step *step)
{
    if (cut->pending_count == CUT_PENDING_MAX)
        die("more writes under way than a cut can hold");
    cut->pending[cut->pending_count++] = *step;
}

static uint64_t state_hash(const struct store_state *s)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < STORE_KEYS; i++)
        hash += part_hash(i, s->ids[i]);
    return hash;
}

/* Names a state that history went through and should not be back at. */
static bool not_possible(struct history *h, const struct history_cut *cut,
                         const struct store_state *found, uint64_t hash)
{
    size_t differ = 0, example = 0;
    for (size_t n = h->now + 1; n-- > 0;)
        if (h->hashes[n] == hash)
            return wrong(h, "what survived is state %zu, not one of %zu to "
                         "%zu", n, cut->low, cut->high);
    for (size_t i = 0; i < STORE_KEYS; i++)
        if (history_value(h, i, cut->high) != found->ids[i]) {
            differ++;
            example = i;
        }
    return wrong(h, "what survived is no state of history (allowed: %zu to "
                 "%zu and %zu pending); %zu keys differ from the newest, such "
                 "as %zu: %llx, not %llx", cut->low, cut->high,
                 cut->pending_count, differ, example,
                 (unsigned long long)found->ids[example],
                 (unsigned long long)history_value(h, example, cut->high));
}

/* The state after `high` and one write that was under way. */
static uint64_t pending_hash(const struct history *h,
                             const struct history_cut *cut,
                             const struct step *step)
{
    struct store_state after;
    for (size_t i = 0; i < STORE_KEYS; i++)
        after.ids[i] = history_value(h, i, cut->high);
    for (unsigned i = 0; i < step->count; i++)
        after.ids[step->edits[i].key] = step->edits[i].id;
    return state_hash(&after);
}

/* Which state it is; *pending: with that write on top, or NULL. */
static bool find_state(struct history *h, const struct history_cut *cut,
                       const struct store_state *found, size_t *n,
                       const struct step **pending)
{
    uint64_t hash = state_hash(found);
    *pending = NULL;
    for (*n = cut->high; *n + 1 > cut->low; (*n)--) {
        if (h->hashes[*n] == hash)
            return true;
        if (*n == 0)
            break;
    }
    *n = cut->high;
    for (size_t i = 0; i < cut->pending_count; i++)
        if (pending_hash(h, cut, &cut->pending[i]) == hash) {
            *pending = &cut->pending[i];
            return true;
        }
    return not_possible(h, cut, found, hash);
}

bool history_allows(struct history *h, const struct history_cut *cut,
                    const struct store_state *found)
{
    size_t n;
    const struct step *pending;
    return find_state(h, cut, found, &n, &pending);
}

bool history_survive(struct history *h, const struct history_cut *cut,
                     const struct store_state *found)
{
    size_t n;
    const struct step *pending;
    if (!find_state(h, cut, found, &n, &pending))
        return false;
    forget_after(h, n);
    h->durable = cut->durable;
    if (pending)
        add_state(h, pending, 0);
    return true;
}
