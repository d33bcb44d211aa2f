/*
 * Eviction order (S3-FIFO; Yang, Zhang, Qiu, Yue, Rashmi, SOSP 2023)
 *
 *      insert ---> [ small: a tenth ] --not hit--> out, remembered as ghost
 *        |               | hit
 *        |               v
 *      ghost ----> [ main ] --not hit since the last look--> out
 *        ^           ^     | hit
 *        |           +-----+
 *      offered to a full cache: not taken in, only remembered
 *
 * A scan passes by, or through the small queue, and never reaches main. What is
 * passed costs its reader the read and no more: its memory is the one last
 * given back, which the processor's caches still hold. To take it in would cost
 * lines of frames that lie anywhere, for a block no better than what goes.
 *
 * Two kinds of frames are looked at again though nobody hit them: those that
 * are pinned (giving them up frees nothing) and those with children (whose
 * children would be lost with them). Both are spared a bounded number of times.
 */
#include "cache/cache.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/thread.h"
#include "cache/ghosts.h"

enum queue_name { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN };

enum {
    FLOOR_FRAMES = 8,    /* kept whatever the budget says */
    MAX_LOOKS = 32,      /* frames spared in a row before one must go */
    MAX_SPARED = 8,      /* times children or a pin protect a frame */
    HOLD_VICTIMS = 8,    /* frames taken under one hold of the mutex, */
    HOLD_LOOKS = 64,     /* and frames looked at for them, about */
    YIELDS = 256,        /* between two holds, while others wait */
    HELP_PER_VICTIM = 2, /* frames freed for one retired: more than come */
    SLACK_LEAST = 65536, /* bytes, */
    SLACK_PART = 64      /* or this part of the budget */
};

struct queue {
    struct cache_frame *oldest, *newest;
    uint64_t bytes;
};

struct cache {
    /* immutable */
    struct ledger *ledger;
    struct epoch *epoch;
    int64_t slack; /* bytes that may wait for their epoch, or be held by readers
                      outside, before anything is done about it */

    /* atomic, relaxed: sums of bytes, no order needed */
    _Atomic int64_t pending;
    _Atomic int64_t pinned;
    _Atomic uint32_t inserting; /* threads that insert, or wait to */

    struct mutex lock; /* guards all below, queue links and slots' frames */
    struct queue small, main;
    uint64_t frames;
    struct ghosts ghosts;
    uint64_t inserts, passed, evictions, races_lost, ghost_hits;
};

adb_status cache_new(const struct cache_options *options, struct cache **out)
{
    struct cache *c = mem_zalloc(sizeof *c);
    if (!c)
        return status_set(ADB_NO_MEMORY, "no memory for the cache");
    int64_t budget = MAX_OF(options->ledger->budget, 0);
    adb_status status = ghosts_init(&c->ghosts, (uint64_t)budget);
    if (status != ADB_OK) {
        mem_free(c);
        return status;
    }
    c->ledger = options->ledger;
    c->epoch = options->epoch;
    c->slack = MAX_OF(budget / SLACK_PART, (int64_t)SLACK_LEAST);
    atomic_init(&c->inserting, 0);
    mutex_init(&c->lock);
    ledger_add(c->ledger, LEDGER_BLOCK, (int64_t)ghosts_bytes(&c->ghosts));
    *out = c;
    return ADB_OK;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    /* Freeing a frame may retire the frames in its slots. */
    while (atomic_load(&c->pending))
        epoch_barrier(c->epoch);
    assert(c->frames == 0 && atomic_load(&c->pinned) == 0);
    ledger_add(c->ledger, LEDGER_BLOCK, -(int64_t)ghosts_bytes(&c->ghosts));
    ghosts_deinit(&c->ghosts);
    mutex_deinit(&c->lock);
    mem_free(c);
}

/* ---- queues ---- */

static struct queue *queue_of(struct cache *c, const struct cache_frame *frame)
{
    assert(frame->queue != QUEUE_NONE);
    return frame->queue == QUEUE_SMALL ? &c->small : &c->main;
}

static void push_newest(struct cache *c, struct cache_frame *frame,
                        enum queue_name name)
{
    frame->queue = (uint8_t)name;
    struct queue *q = queue_of(c, frame);
    frame->newer = NULL;
    frame->older = q->newest;
    if (q->newest)
        q->newest->newer = frame;
    else
        q->oldest = frame;
    q->newest = frame;
    q->bytes += frame->charge;
}

static void unlink_frame(struct cache *c, struct cache_frame *frame)
{
    struct queue *q = queue_of(c, frame);
    if (frame->older)
        frame->older->newer = frame->newer;
    else
        q->oldest = frame->newer;
    if (frame->newer)
        frame->newer->older = frame->older;
    else
        q->newest = frame->older;
    q->bytes -= frame->charge;
    frame->queue = QUEUE_NONE;
    frame->older = frame->newer = NULL;
}

/* ---- giving frames up ---- */

static void free_frame(struct cache_frame *frame)
{
    struct cache *c = frame->cache;
    atomic_fetch_sub_explicit(&c->pinned, (int64_t)frame->charge,
                              memory_order_relaxed);
    ledger_add(c->ledger, LEDGER_ITERATOR, -(int64_t)frame->charge);
    frame->free(frame);
}

static void unref_frame(struct cache_frame *frame)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free_frame(frame);
}

/* The epoch of an evicted frame is over. Its charge passes through the
   iterators' row, so that whoever drops the last reference, this call or a
   later unpin, finds it there. */
static void release_frame(struct epoch_node *node)
{
    struct cache_frame *frame = CONTAINER_OF(node, struct cache_frame, node);
    struct cache *c = frame->cache;
    int64_t charge = (int64_t)frame->charge;
    atomic_fetch_add_explicit(&c->pinned, charge, memory_order_relaxed);
    ledger_add(c->ledger, LEDGER_ITERATOR, charge);
    ledger_add(c->ledger, frame->row, -charge);
    unref_frame(frame);
    /* Last: cache_free looks at it, and a parent's free has retired its
       children by now. */
    atomic_fetch_sub_explicit(&c->pending, charge, memory_order_release);
}

/* Unreachable from now on; the caller retires it after unlocking. The store to
   the slot is the last touch of the slot's memory. */
static void detach_locked(struct cache *c, struct cache_frame *frame)
{
    unlink_frame(c, frame);
    c->frames--;
    if (frame->parent) {
        assert(frame->parent->children > 0);
        frame->parent->children--;
        frame->parent = NULL;
    }
    atomic_fetch_add_explicit(&c->pending, (int64_t)frame->charge,
                              memory_order_relaxed);
    cache_slot *slot = frame->slot;
    frame->slot = NULL;
    atomic_store_explicit(slot, NULL, memory_order_release);
}

/* Returns how many. */
static size_t retire_list(struct cache *c, struct cache_frame *list)
{
    size_t n = 0;
    for (; list; n++) {
        struct cache_frame *next = list->older;
        list->older = NULL;
        epoch_retire(c->epoch, &list->node, release_frame);
        list = next;
    }
    return n;
}

static void retire_victims(struct cache *c, struct cache_frame *list)
{
    if (!list)
        return;
    size_t n = retire_list(c, list);
    if (atomic_load_explicit(&c->pending, memory_order_relaxed) > c->slack)
        epoch_advance(c->epoch);
    epoch_help(c->epoch, HELP_PER_VICTIM * n);
}

/* Bytes above the budget; negative: room. What readers hold for a moment is
   left out, or its coming and going would give away block after block. */
static int64_t excess(const struct cache *c)
{
    int64_t held = atomic_load_explicit(&c->pinned, memory_order_relaxed);
    return ledger_total(c->ledger) - MIN_OF(held, c->slack) -
           atomic_load_explicit(&c->pending, memory_order_relaxed) -
           c->ledger->budget;
}

static bool over_budget(const struct cache *c)
{
    return excess(c) > 0;
}

/* A queue's next candidate, or NULL when it has none but `keep`. */
static struct cache_frame *candidate(const struct queue *q,
                                     const struct cache_frame *keep)
{
    struct cache_frame *frame = q->oldest;
    return frame == keep && frame ? frame->newer : frame;
}

/* Was the frame hit, or is it worth more than its own bytes? */
static bool spare(struct cache_frame *frame)
{
    if (atomic_load_explicit(&frame->used, memory_order_relaxed)) {
        atomic_store_explicit(&frame->used, 0, memory_order_relaxed);
        frame->spared = 0;
        return true;
    }
    bool pinned = atomic_load_explicit(&frame->refs, memory_order_relaxed) > 1;
    if ((frame->children || pinned) && frame->spared < MAX_SPARED) {
        frame->spared++;
        return true;
    }
    return false;
}

/* What one hold of the mutex did. */
struct harvest {
    struct cache_frame *list; /* the victims, by `older` */
    size_t looks, bytes;
    bool more; /* there may be more to take */
};

/* The next frame to go, still linked; NULL: none but `keep` is left. Every
   frame spared has been hit since its last look (or is spared for one of
   MAX_SPARED times), so the work is constant on average; MAX_LOOKS bounds the
   single call when readers hit everything all the time. */
static struct cache_frame *choose_victim_locked(struct cache *c,
                                                const struct cache_frame *keep,
                                                struct harvest *harvest)
{
    struct cache_frame *frame = NULL;
    for (int looks = 0; looks <= MAX_LOOKS; looks++) {
        harvest->looks++;
        struct cache_frame *small = candidate(&c->small, keep);
        struct cache_frame *main = candidate(&c->main, keep);
        bool small_full = c->small.bytes * 10 > c->small.bytes + c->main.bytes;
        frame = small && (small_full || !main) ? small : main;
        if (!frame || !spare(frame))
            break;
        unlink_frame(c, frame);
        push_newest(c, frame, QUEUE_MAIN);
    }
    return frame;
}

/* Takes victims while the budget asks. A frame is looked at for microseconds
   where its page is cold, and whoever waits for the mutex waits for all. */
static struct harvest evict_locked(struct cache *c,
                                   const struct cache_frame *keep)
{
    struct harvest harvest = {0};
    for (int i = 0; c->frames > FLOOR_FRAMES && over_budget(c); i++) {
        if (i == HOLD_VICTIMS || harvest.looks >= HOLD_LOOKS) {
            harvest.more = true;
            break;
        }
        struct cache_frame *victim = choose_victim_locked(c, keep, &harvest);
        if (!victim)
            break;
        if (victim->queue == QUEUE_SMALL)
            ghosts_add(&c->ghosts, victim->ghost);
        detach_locked(c, victim);
        c->evictions++;
        harvest.bytes += victim->charge;
        victim->older = harvest.list;
        harvest.list = victim;
    }
    return harvest;
}

static struct harvest evict(struct cache *c, const struct cache_frame *keep)
{
    mutex_lock(&c->lock);
    struct harvest harvest = evict_locked(c, keep);
    mutex_unlock(&c->lock);
    retire_victims(c, harvest.list);
    return harvest;
}

/* The mutex is not fair: who takes it again at once keeps out a reader that
   sleeps on it for hundreds of holds. */
static void let_inserters_in(struct cache *c)
{
    for (int i = 0; i < YIELDS; i++) {
        if (!atomic_load_explicit(&c->inserting, memory_order_relaxed))
            return;
        thread_yield();
    }
}

bool cache_trim_some(struct cache *c, size_t looks)
{
    struct harvest harvest = {.more = true};
    for (size_t n = 0; n < looks && harvest.more; n += harvest.looks) {
        if (!over_budget(c))
            return false;
        let_inserters_in(c);
        harvest = evict(c, NULL);
    }
    return harvest.more;
}

void cache_trim(struct cache *c)
{
    while (cache_trim_some(c, HOLD_LOOKS))
        continue;
}

void cache_drop(struct cache *c, cache_slot *slots, size_t count)
{
    struct cache_frame *list = NULL;
    bool locked = false;
    for (size_t i = 0; i < count; i++) {
        /* An empty slot needs no lock: nobody inserts any more, and the store
           that emptied it was the evictor's last touch. */
        if (!atomic_load_explicit(&slots[i], memory_order_acquire))
            continue;
        if (!locked)
            mutex_lock(&c->lock);
        locked = true;
        struct cache_frame *frame =
            atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (!frame)
            continue;
        assert(frame->slot == &slots[i]);
        detach_locked(c, frame);
        frame->older = list;
        list = frame;
    }
    if (locked)
        mutex_unlock(&c->lock);
    retire_list(c, list); /* often called by a free: no help */
}

/* ---- taking frames in ---- */

/* Nothing tells yet that it is worth more than what would make room for it. */
static bool is_new_to_full(const struct cache *c,
                           const struct cache_frame *frame)
{
    return frame->ghost && c->frames >= FLOOR_FRAMES &&
           excess(c) + (int64_t)frame->charge > 0;
}

/* Into the slot and a queue; false: only remembered. */
static bool take_in_locked(struct cache *c, cache_slot *slot,
                           struct cache_frame *frame, bool optional)
{
    bool known = ghosts_take(&c->ghosts, frame->ghost, c->frames);
    if (optional && !known && is_new_to_full(c, frame)) {
        ghosts_add(&c->ghosts, frame->ghost);
        c->passed++;
        return false;
    }
    c->ghost_hits += known;
    frame->slot = slot;
    push_newest(c, frame, known ? QUEUE_MAIN : QUEUE_SMALL);
    c->frames++;
    c->inserts++;
    if (frame->parent)
        frame->parent->children++;
    ledger_add(c->ledger, frame->row, (int64_t)frame->charge);
    atomic_store_explicit(slot, frame, memory_order_release);
    return true;
}

static struct cache_frame *insert(struct cache *c, cache_slot *slot,
                                  struct cache_frame *frame, bool optional)
{
    assert(frame->free && frame->charge > 0 && !frame->private_frame);
    frame->cache = c;
    atomic_store_explicit(&frame->refs, 1, memory_order_relaxed);

    struct harvest harvest = {0};
    bool taken = false;
    atomic_fetch_add_explicit(&c->inserting, 1, memory_order_relaxed);
    mutex_lock(&c->lock);
    struct cache_frame *present =
        atomic_load_explicit(slot, memory_order_acquire);
    if (present) {
        c->races_lost++;
    } else {
        taken = take_in_locked(c, slot, frame, optional);
        harvest = evict_locked(c, frame);
    }
    mutex_unlock(&c->lock);
    atomic_fetch_sub_explicit(&c->inserting, 1, memory_order_relaxed);

    if (present) {
        frame->free(frame);
        return present;
    }
    if (!taken)
        cache_make_private(c, frame);
    retire_victims(c, harvest.list);
    /* Ours has its room, or needs none. Where others made the cache too large,
       the next who insert help, and whoever trims: no single reader pays for
       it. Our epoch keeps the frame's memory, so that its address still means
       this frame even when another thread has evicted it. */
    for (size_t bytes = harvest.bytes; harvest.more && bytes < frame->charge;
         bytes += harvest.bytes)
        harvest = evict(c, frame);
    return frame;
}

struct cache_frame *cache_insert(struct cache *c, cache_slot *slot,
                                 struct cache_frame *frame)
{
    return insert(c, slot, frame, false);
}

struct cache_frame *cache_offer(struct cache *c, cache_slot *slot,
                                struct cache_frame *frame)
{
    return insert(c, slot, frame, true);
}

void cache_make_private(struct cache *c, struct cache_frame *frame)
{
    assert(frame->free && !frame->slot);
    frame->cache = c;
    frame->private_frame = 1;
    atomic_store_explicit(&frame->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->pinned, (int64_t)frame->charge,
                              memory_order_relaxed);
    ledger_add(c->ledger, LEDGER_ITERATOR, (int64_t)frame->charge);
}

void cache_pin(struct cache_frame *frame)
{
    /* The epoch, or a pin of the caller's, holds a reference already. */
    atomic_fetch_add_explicit(&frame->refs, 1, memory_order_relaxed);
}

void cache_unpin(struct cache_frame *frame)
{
    if (frame)
        unref_frame(frame);
}

void cache_stats(struct cache *c, struct cache_stats *out)
{
    mutex_lock(&c->lock);
    *out = (struct cache_stats){
        .inserts = c->inserts,
        .passed = c->passed,
        .evictions = c->evictions,
        .races_lost = c->races_lost,
        .ghost_hits = c->ghost_hits,
        .frames = c->frames,
        .bytes = c->small.bytes + c->main.bytes,
    };
    mutex_unlock(&c->lock);
    out->pending_bytes = (uint64_t)atomic_load(&c->pending);
    out->pinned_bytes = (uint64_t)MAX_OF(atomic_load(&c->pinned), 0);
}
