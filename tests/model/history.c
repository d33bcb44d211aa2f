#include "model/history.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A state of the search: which events have had their moment, and the value
   after the last of them. Only its hash is remembered: two states of one hash
   among a million would take a history of astronomical bad luck. */
struct search {
    struct event *events; /* by call */
    size_t count, placed;
    bool *done;
    uint64_t done_hash; /* xor over done events */
    uint64_t value;
    uint64_t *visited; /* open addressing; 0: free */
    size_t visited_count, visited_capacity;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t pair[2] = {a, b};
    return hash_key(pair, sizeof pair);
}

/* ---- visited states ---- */

static bool insert(uint64_t *table, size_t capacity, uint64_t hash)
{
    size_t i = hash & (capacity - 1);
    for (; table[i]; i = (i + 1) & (capacity - 1))
        if (table[i] == hash)
            return false;
    table[i] = hash;
    return true;
}

static void grow(struct search *s)
{
    size_t capacity = s->visited_capacity ? 2 * s->visited_capacity : 1024;
    uint64_t *table = calloc(capacity, sizeof *table);
    for (size_t i = 0; i < s->visited_capacity; i++)
        if (s->visited[i])
            insert(table, capacity, s->visited[i]);
    free(s->visited);
    s->visited = table;
    s->visited_capacity = capacity;
}

/* True when the present state is new. */
static bool visit(struct search *s)
{
    if (2 * s->visited_count >= s->visited_capacity)
        grow(s);
    uint64_t hash = mix(s->done_hash, s->value) | 1;
    bool new = insert(s->visited, s->visited_capacity, hash);
    s->visited_count += new;
    return new;
}

/* ---- moments ---- */

static void place(struct search *s, size_t i, bool done)
{
    s->done[i] = done;
    s->done_hash ^= mix(i + 1, 0);
    s->placed += done ? 1 : -(size_t)1;
}

/* Events called no later than this may be next: whatever returned before
   another one's call goes first. */
static uint64_t horizon(const struct search *s)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < s->count && s->events[i].called <= first; i++)
        if (!s->done[i] && s->events[i].returned < first)
            first = s->events[i].returned;
    return first;
}

/* Reads of the present value change nothing: each is placed as soon as it can
   be. Appends them to trail; false when there was none. */
static bool place_reads(struct search *s, size_t *trail, size_t *length)
{
    uint64_t until = horizon(s);
    bool any = false;
    for (size_t i = 0; i < s->count && s->events[i].called <= until; i++) {
        const struct event *e = &s->events[i];
        if (s->done[i] || e->write || e->value != s->value)
            continue;
        place(s, i, true);
        trail[(*length)++] = i;
        any = true;
    }
    return any;
}

static bool search(struct search *s);

static bool try_writes(struct search *s)
{
    uint64_t until = horizon(s), value = s->value;
    for (size_t i = 0; i < s->count && s->events[i].called <= until; i++) {
        if (s->done[i] || !s->events[i].write)
            continue;
        place(s, i, true);
        s->value = s->events[i].value;
        if (search(s))
            return true;
        s->value = value;
        place(s, i, false);
    }
    return false;
}

static bool search(struct search *s)
{
    size_t *trail = malloc((s->count + 1) * sizeof *trail), length = 0;
    while (place_reads(s, trail, &length))
        ;
    bool found = s->placed == s->count || (visit(s) && try_writes(s));
    while (!found && length > 0)
        place(s, trail[--length], false);
    free(trail);
    return found;
}

static int by_call(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    return (x->called > y->called) - (x->called < y->called);
}

bool history_is_linearizable(struct event *events, size_t count,
                             uint64_t initial)
{
    struct search s = {.events = events, .count = count, .value = initial};
    if (count == 0)
        return true;
    qsort(events, count, sizeof *events, by_call);
    s.done = calloc(count, sizeof *s.done);
    bool found = search(&s);
    free(s.done);
    free(s.visited);
    return found;
}
