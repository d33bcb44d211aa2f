#include "sst/frame_pool.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/thread.h"
#include "env/env.h"

/* What is free is poisoned, as a heap would: a frame used after its end is
   seen. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(memory, size)   ASAN_POISON_MEMORY_REGION(memory, size)
#define UNPOISON(memory, size) ASAN_UNPOISON_MEMORY_REGION(memory, size)
#else
#define POISON(memory, size)   ((void)0)
#define UNPOISON(memory, size) ((void)0)
#endif

enum {
    STEPS = 16,    /* sizes to each doubling */
    CLASSES = 113, /* from FRAME_POOL_SMALL up to FRAME_POOL_LARGE */
    PAGE = 4096,
    SLAB_MIN = 64 << 10,
    SLAB_MAX = 512 << 10,
    SLAB_HUGE = 2 << 20, /* a huge page: it comes and goes as a whole */
    SLAB_PART = 128,     /* of the budget */
    LARGE_PART = 6,      /* of a slab: larger slots would not pack */
    LARGE_LEAST = 32 << 10,
    SLOTS_MAX = SLAB_HUGE / FRAME_POOL_SMALL,
    WORDS = SLOTS_MAX / 64,
    FILLS = 12,     /* lists of a class: by doublings of free slots */
    FEW_PART = 16,  /* of a slab's slots */
    SPARE_PART = 64 /* of the budget: free memory that is kept */
};
#define HUGE_FROM    (UINT64_C(128) << 20)
#define SPARE_LEAST  (UINT64_C(512) << 10)
#define REGION_EXTRA (UINT64_C(64) << 20)

struct slab {
    uint32_t next, previous; /* in a list of its class or the empty ones */
    uint16_t used, slots;
    uint8_t class;
    uint8_t fill;         /* which list of the class; FILLS: none, it is full */
    uint64_t free[WORDS]; /* bit: the slot is free */
    uint64_t returned[WORDS]; /* bit: it is free and has no pages */
};

enum { NO_SLAB = UINT32_MAX };

struct frame_pool {
    /* immutable */
    uint8_t *region; /* NULL: none could be had */
    size_t region_bytes, slab_bytes;
    size_t large; /* frames above it are mapped one by one */
    uint32_t slab_limit;
    uint64_t spare;     /* free bytes kept */
    struct slab *slabs; /* owned [slab_limit] */

    struct mutex lock; /* guards all below and the slabs */
    uint32_t begun;    /* slabs ever used; those behind were never touched */
    uint32_t empty;    /* list of empty slabs */
    uint32_t open[CLASSES][FILLS]; /* lists of slabs with free slots */
    uint32_t few[CLASSES]; /* frames of a class without slabs, in the heap */
    uint64_t used, resident_free, returned;
};

/* ---- sizes ------------------------------------------------------------- */

static size_t round_to(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* The class of a size in [SMALL, LARGE]; classes are numbered upward. What
   nearly fills whole pages gets them: only they can go back one by one. */
static unsigned class_of(size_t size)
{
    size_t pages = round_to(size, PAGE);
    if (pages - size <= size / 8)
        size = pages;
    size_t over = (size - 1) / FRAME_POOL_SMALL;
    unsigned doubling = over ? 63u - (unsigned)__builtin_clzll(over) : 0;
    size_t low = (size_t)FRAME_POOL_SMALL << doubling;
    size_t step = low / STEPS;
    if (size <= FRAME_POOL_SMALL)
        return 0;
    return doubling * STEPS + (unsigned)((size - low + step - 1) / step);
}

static size_t class_bytes(unsigned class)
{
    size_t low = (size_t)FRAME_POOL_SMALL << class / STEPS;
    return low + low / STEPS * (class % STEPS);
}

/* ---- life -------------------------------------------------------------- */

static void reserve_region(struct frame_pool *p, uint64_t budget)
{
    /* Pinned frames come on top of the budget, and sizes do not pack; address
       space costs nothing. */
    uint64_t bytes = budget + budget / 2 + REGION_EXTRA;
    if (bytes > SIZE_MAX / 4 || bytes / p->slab_bytes > NO_SLAB - 1)
        return;
    p->slab_limit = (uint32_t)(bytes / p->slab_bytes);
    p->region_bytes = p->slab_limit * p->slab_bytes;
    p->slabs = mem_zalloc(p->slab_limit * sizeof *p->slabs);
    if (p->slabs)
        p->region = env_anonymous_reserve(p->region_bytes, budget >= HUGE_FROM);
    if (!p->region)
        p->slab_limit = 0;
    else
        POISON(p->region, p->region_bytes);
}

struct frame_pool *frame_pool_new(uint64_t budget)
{
    struct frame_pool *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->slab_bytes = SLAB_MIN;
    while (p->slab_bytes < SLAB_MAX && p->slab_bytes < budget / SLAB_PART)
        p->slab_bytes *= 2;
    if (budget >= HUGE_FROM)
        p->slab_bytes = SLAB_HUGE;
    p->large = MAX_OF(p->slab_bytes / LARGE_PART, (size_t)LARGE_LEAST);
    p->large = MIN_OF(p->large, (size_t)FRAME_POOL_LARGE);
    p->spare = MAX_OF(budget / SPARE_PART, SPARE_LEAST);
    p->empty = NO_SLAB;
    for (int i = 0; i < CLASSES; i++)
        for (int fill = 0; fill < FILLS; fill++)
            p->open[i][fill] = NO_SLAB;
    mutex_init(&p->lock);
    reserve_region(p, budget);
    return p;
}

void frame_pool_free(struct frame_pool *p)
{
    if (!p)
        return;
    assert(p->used == 0);
    if (p->region) {
        UNPOISON(p->region, p->region_bytes);
        env_anonymous_release(p->region, p->region_bytes);
    }
    mem_free(p->slabs);
    mutex_deinit(&p->lock);
    mem_free(p);
}

size_t frame_pool_large(const struct frame_pool *p)
{
    return p->large;
}

/* ---- slabs in lists ---------------------------------------------------- */

static void list_push(struct frame_pool *p, uint32_t *head, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    s->next = *head;
    s->previous = NO_SLAB;
    if (*head != NO_SLAB)
        p->slabs[*head].previous = at;
    *head = at;
}

static void list_remove(struct frame_pool *p, uint32_t *head, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    if (s->next != NO_SLAB)
        p->slabs[s->next].previous = s->previous;
    if (s->previous != NO_SLAB)
        p->slabs[s->previous].next = s->next;
    else
        *head = s->next;
}

/* A slab begins, or one of its slots was taken or given back. */
static void list_by_fill(struct frame_pool *p, uint32_t at, unsigned before)
{
    struct slab *s = &p->slabs[at];
    unsigned left = (unsigned)s->slots - s->used;
    unsigned now = left ? 31u - (unsigned)__builtin_clz(left) : FILLS;
    if (now == before)
        return;
    if (before < FILLS)
        list_remove(p, &p->open[s->class][before], at);
    if (now < FILLS)
        list_push(p, &p->open[s->class][now], at);
    s->fill = (uint8_t)now;
}

/* What fills goes where it is fullest, so that the others empty in time. */
static uint32_t fullest_open(const struct frame_pool *p, unsigned class)
{
    for (unsigned fill = 0; fill < FILLS; fill++)
        if (p->open[class][fill] != NO_SLAB)
            return p->open[class][fill];
    return NO_SLAB;
}

static uint8_t *slab_memory(const struct frame_pool *p, uint32_t at)
{
    return p->region + at * p->slab_bytes;
}

/* A slab for a class; false: the region is used up. Its pages count as
   returned until its slots are taken: they were never touched, or went back
   when it emptied. */
static bool begin_slab(struct frame_pool *p, unsigned class)
{
    uint32_t at = p->empty;
    if (at != NO_SLAB)
        list_remove(p, &p->empty, at);
    else if (p->begun < p->slab_limit)
        at = p->begun++;
    else
        return false;
    struct slab *s = &p->slabs[at];
    size_t slots = p->slab_bytes / class_bytes(class);
    s->class = (uint8_t) class;
    s->slots = (uint16_t)slots;
    s->used = 0;
    for (size_t w = 0; w < WORDS; w++) {
        size_t first = w * 64;
        uint64_t bits = slots >= first + 64 ? ~UINT64_C(0)
                        : slots > first ? (UINT64_C(1) << (slots - first)) - 1
                                        : 0;
        s->free[w] = s->returned[w] = bits;
    }
    p->returned += slots * class_bytes(class);
    list_by_fill(p, at, FILLS);
    return true;
}

/* ---- taking ------------------------------------------------------------ */

/* A free slot, one that still has its pages first. */
static unsigned choose_slot(const struct slab *s)
{
    for (unsigned w = 0; w < WORDS; w++)
        if (s->free[w] & ~s->returned[w])
            return w * 64 +
                   (unsigned)__builtin_ctzll(s->free[w] & ~s->returned[w]);
    for (unsigned w = 0; w < WORDS; w++)
        if (s->free[w])
            return w * 64 + (unsigned)__builtin_ctzll(s->free[w]);
    return 0;
}

/* Odd sizes, of which there are but a few, do not get a slab each. */
static bool is_rare(const struct frame_pool *p, unsigned class)
{
    return p->few[class] * class_bytes(class) * FEW_PART < p->slab_bytes;
}

/* NULL: it is for the heap, where it counts among the few of its class. */
static void *take_slot_locked(struct frame_pool *p, unsigned class)
{
    size_t bytes = class_bytes(class);
    uint32_t at = fullest_open(p, class);
    if (at == NO_SLAB) {
        if (is_rare(p, class) || !begin_slab(p, class)) {
            p->few[class]++;
            return NULL;
        }
        at = fullest_open(p, class);
    }
    struct slab *s = &p->slabs[at];
    unsigned slot = choose_slot(s);
    uint64_t bit = UINT64_C(1) << slot % 64;
    if (s->returned[slot / 64] & bit)
        p->returned -= bytes;
    else
        p->resident_free -= bytes;
    s->free[slot / 64] &= ~bit;
    s->returned[slot / 64] &= ~bit;
    s->used++;
    list_by_fill(p, at, s->fill);
    p->used += bytes;
    return slab_memory(p, at) + slot * bytes;
}

static void *take_mapped(size_t size, size_t *charge)
{
    *charge = round_to(size, PAGE);
    return env_anonymous_reserve(*charge, false);
}

static void *take_heap(size_t size, size_t *charge)
{
    *charge = size;
    return mem_aligned_alloc(FRAME_POOL_ALIGNMENT, size);
}

/* A charge tells its class again. */
static void forget_few(struct frame_pool *p, size_t charge)
{
    mutex_lock(&p->lock);
    p->few[class_of(charge)]--;
    mutex_unlock(&p->lock);
}

void *frame_pool_take(struct frame_pool *p, size_t size, size_t *charge)
{
    /* First of all, so that a charge decides as the size did. */
    size = round_to(size, FRAME_POOL_ALIGNMENT);
    if (!p || !p->region || size < FRAME_POOL_SMALL)
        return take_heap(size, charge);
    if (size > p->large)
        return take_mapped(size, charge);
    if (mem_must_fail(size))
        return NULL;
    unsigned class = class_of(size);
    mutex_lock(&p->lock);
    void *memory = take_slot_locked(p, class);
    mutex_unlock(&p->lock);
    if (memory) {
        *charge = class_bytes(class);
        UNPOISON(memory, *charge);
        return memory;
    }
    memory = take_heap(size, charge);
    if (!memory)
        forget_few(p, *charge);
    return memory;
}

/* ---- giving back ------------------------------------------------------- */

/* The whole pages inside a slot that is nobody's; false: there is none. */
static bool return_pages(uint8_t *memory, size_t bytes)
{
    uint8_t *from = (uint8_t *)round_to((uintptr_t)memory, PAGE);
    uint8_t *to = (uint8_t *)((uintptr_t)(memory + bytes) / PAGE * PAGE);
    if (from >= to)
        return false;
    env_anonymous_discard(from, (size_t)(to - from));
    return true;
}

static void slab_emptied_locked(struct frame_pool *p, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    uint64_t resident = 0;
    for (unsigned w = 0; w < WORDS; w++)
        resident +=
            (uint64_t)__builtin_popcountll(s->free[w] & ~s->returned[w]);
    if (resident)
        env_anonymous_discard(slab_memory(p, at), p->slab_bytes);
    p->resident_free -= resident * bytes;
    p->returned -= (s->slots - resident) * bytes;
    list_remove(p, &p->open[s->class][s->fill], at);
    list_push(p, &p->empty, at);
}

static void give_slot_locked(struct frame_pool *p, uint8_t *memory,
                             bool returned)
{
    uint32_t at = (uint32_t)((size_t)(memory - p->region) / p->slab_bytes);
    struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    size_t slot = (size_t)(memory - slab_memory(p, at)) / bytes;
    uint64_t bit = UINT64_C(1) << slot % 64;
    assert(!(s->free[slot / 64] & bit) && s->used > 0);
    s->free[slot / 64] |= bit;
    if (returned) {
        s->returned[slot / 64] |= bit;
        p->returned += bytes;
    } else {
        p->resident_free += bytes;
    }
    s->used--;
    list_by_fill(p, at, s->fill);
    p->used -= bytes;
    /* One may stay, for the next of its size. */
    if (s->used == 0 && (p->resident_free > p->spare / 2 ||
                         fullest_open(p, s->class) != at || s->next != NO_SLAB))
        slab_emptied_locked(p, at);
}

static bool in_region(const struct frame_pool *p, const uint8_t *memory)
{
    return p->region && memory >= p->region &&
           memory < p->region + p->region_bytes;
}

void frame_pool_give(struct frame_pool *p, void *memory, size_t charge)
{
    if (!p || !in_region(p, memory)) {
        bool pooled = p && p->region && charge >= FRAME_POOL_SMALL;
        if (pooled && charge > p->large) {
            env_anonymous_release(memory, charge);
            return;
        }
        if (pooled)
            forget_few(p, charge);
        mem_free(memory);
        return;
    }
    mutex_lock(&p->lock);
    bool much = p->resident_free + charge > p->spare;
    mutex_unlock(&p->lock);
    /* The slot is still ours: the call to the system needs no lock. */
    bool returned = much && return_pages(memory, charge);
    POISON(memory, charge);
    mutex_lock(&p->lock);
    give_slot_locked(p, memory, returned);
    mutex_unlock(&p->lock);
}

void frame_pool_stats(struct frame_pool *p, struct frame_pool_stats *out)
{
    mutex_lock(&p->lock);
    *out = (struct frame_pool_stats){
        .used = p->used, .free = p->resident_free, .returned = p->returned};
    mutex_unlock(&p->lock);
}
