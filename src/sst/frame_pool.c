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
    FILLS = 12,        /* of slabs: by doublings of free slots */
    LISTS = 2 * FILLS, /* of a class: those with ready slots, the others */
    FEW_PART = 16,     /* of a slab's slots */
    SPARE_PART = 64,   /* of the budget: free memory that is kept */
    HUGE_AFTER = 4,    /* slabs of a class: then one more may begin as huge */
    SMALL_MAX = 4096   /* slabs apart from the huge ones: the system's mappings
                          are limited, usually to 65530 */
};
#define HUGE_FROM    (UINT64_C(128) << 20)
#define SPARE_LEAST  (UINT64_C(512) << 10)
#define REGION_EXTRA (UINT64_C(64) << 20)

struct slab {
    uint32_t next, previous; /* in a list of its class or the empty ones */
    uint16_t used, slots;
    uint16_t ready; /* free slots that still have their pages */
    uint8_t class;
    uint8_t list;             /* which of its class; LISTS: none, it is full */
    bool huge;                /* as the system was told */
    bool torn;                /* pages went back since it began */
    uint64_t free[WORDS];     /* bit: the slot is free */
    uint64_t returned[WORDS]; /* bit: it is free and has no pages */
};

enum { NO_SLAB = UINT32_MAX };

struct frame_pool {
    /* immutable */
    uint8_t *region; /* NULL: none could be had */
    size_t region_bytes, slab_bytes;
    size_t large; /* frames above it are mapped one by one */
    bool huge;    /* slabs may be huge pages */
    uint32_t slab_limit;
    uint64_t spare;     /* free bytes kept */
    struct slab *slabs; /* owned [slab_limit] */

    struct mutex lock; /* guards all below and the slabs */
    uint32_t begun;    /* slabs ever used; those behind were never touched */
    uint32_t empty;    /* list of empty slabs */
    uint32_t open[CLASSES][LISTS]; /* lists of slabs with free slots */
    uint32_t few[CLASSES]; /* frames of a class without slabs, in the heap */
    uint32_t slabs_of[CLASSES]; /* that are not empty */
    uint32_t ready_of[CLASSES]; /* their ready slots */
    uint32_t small; /* slabs begun that are not huge, where they may be */
    uint64_t used, resident_free, returned;
    uint64_t unseen; /* of the returned, in huge slabs: they may be there */
    uint64_t taken;  /* bytes of slots since pages last went back */
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
        p->region = env_anonymous_reserve(p->region_bytes, p->huge);
    if (!p->region) {
        p->slab_limit = 0;
        return;
    }
    if (p->huge)
        env_anonymous_huge(p->region, p->region_bytes, false);
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
    p->huge = budget >= HUGE_FROM;
    if (p->huge)
        p->slab_bytes = SLAB_HUGE;
    p->large = MAX_OF(p->slab_bytes / LARGE_PART, (size_t)LARGE_LEAST);
    p->large = MIN_OF(p->large, (size_t)FRAME_POOL_LARGE);
    p->spare = MAX_OF(budget / SPARE_PART, SPARE_LEAST);
    p->empty = NO_SLAB;
    for (int i = 0; i < CLASSES; i++)
        for (int list = 0; list < LISTS; list++)
            p->open[i][list] = NO_SLAB;
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
    unsigned now = LISTS;
    if (left)
        now = 31u - (unsigned)__builtin_clz(left) + (s->ready ? 0 : FILLS);
    if (now == before)
        return;
    if (before < LISTS)
        list_remove(p, &p->open[s->class][before], at);
    if (now < LISTS)
        list_push(p, &p->open[s->class][now], at);
    s->list = (uint8_t)now;
}

/* What fills goes where pages are ready: else those that come free pile up and
   go back one by one while others come in. And where it is fullest, so that
   the other slabs empty in time. */
static uint32_t best_open(const struct frame_pool *p, unsigned class)
{
    for (unsigned list = 0; list < LISTS; list++)
        if (p->open[class][list] != NO_SLAB)
            return p->open[class][list];
    return NO_SLAB;
}

static uint8_t *slab_memory(const struct frame_pool *p, uint32_t at)
{
    return p->region + at * p->slab_bytes;
}

/* ---- huge pages -------------------------------------------------------- */

static uint64_t returned_bytes(const struct slab *s)
{
    uint64_t slots = 0;
    for (unsigned w = 0; w < WORDS; w++)
        slots += (uint64_t)__builtin_popcountll(s->returned[w]);
    return slots * class_bytes(s->class);
}

static bool slot_is(const uint64_t *bits, unsigned slot)
{
    return bits[slot / 64] >> slot % 64 & 1;
}

/* The whole pages in a range of slots, which alone can go back; 0: none. */
static size_t whole_pages(uint8_t *memory, size_t bytes, uint8_t **from)
{
    uint8_t *to = (uint8_t *)((uintptr_t)(memory + bytes) / PAGE * PAGE);
    *from = (uint8_t *)round_to((uintptr_t)memory, PAGE);
    return to > *from ? (size_t)(to - *from) : 0;
}

static void discard_pages(uint8_t *memory, size_t bytes)
{
    uint8_t *from;
    size_t pages = whole_pages(memory, bytes, &from);
    if (pages)
        env_anonymous_discard(from, pages);
}

/* What came with a huge page and was never touched. */
static void discard_returned(struct frame_pool *p, uint32_t at)
{
    const struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    for (unsigned slot = 0, end; slot < s->slots; slot = end + 1) {
        for (end = slot; end < s->slots && slot_is(s->returned, end);)
            end++;
        discard_pages(slab_memory(p, at) + slot * bytes, (end - slot) * bytes);
    }
}

static void set_huge(struct frame_pool *p, uint32_t at, bool huge)
{
    struct slab *s = &p->slabs[at];
    if (!p->huge || s->huge == huge || (!huge && p->small >= SMALL_MAX))
        return;
    env_anonymous_huge(slab_memory(p, at), p->slab_bytes, huge);
    s->huge = huge;
    if (huge) {
        p->small--;
        p->unseen += returned_bytes(s);
    } else {
        p->small++;
        p->unseen -= returned_bytes(s);
        discard_returned(p, at);
    }
}

/* The first slot of a huge slab takes the memory of all. That is a fifth of
   what its class holds at most, or within what may lie free. */
static void begin_huge(struct frame_pool *p, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    bool fits = p->unseen + p->slab_bytes <= p->spare;
    s->torn = false;
    if (s->huge)
        p->unseen += returned_bytes(s);
    set_huge(p, at, fits || p->slabs_of[s->class] > HUGE_AFTER);
}

static void tear(struct frame_pool *p, uint32_t at)
{
    set_huge(p, at, false);
    p->slabs[at].torn = true;
    p->taken = 0;
}

/* A slab that is full wastes nothing, however its pages are put together. Not
   while pages go back: what fills now would lose them again. True: its pages
   are worth to be put together at once; where they come and go, the system may
   do it in its time. */
static bool huge_when_full(struct frame_pool *p, uint32_t at)
{
    const struct slab *s = &p->slabs[at];
    if (s->used < s->slots || s->huge || p->taken <= p->spare / 2)
        return false;
    set_huge(p, at, true);
    return s->huge && !s->torn;
}

/* ---- slabs begin ------------------------------------------------------- */

/* An empty slab, or one that was never used; NO_SLAB: there is none. */
static uint32_t unused_slab(struct frame_pool *p)
{
    uint32_t at = p->empty;
    if (at != NO_SLAB) {
        list_remove(p, &p->empty, at);
        return at;
    }
    if (p->begun == p->slab_limit)
        return NO_SLAB;
    p->small++; /* as the region was reserved */
    return p->begun++;
}

/* A slab for a class; false: the region is used up. Its pages count as
   returned until its slots are taken: they were never touched, or went back
   when it emptied. */
static bool begin_slab(struct frame_pool *p, unsigned class)
{
    uint32_t at = unused_slab(p);
    if (at == NO_SLAB)
        return false;
    struct slab *s = &p->slabs[at];
    size_t slots = p->slab_bytes / class_bytes(class);
    s->class = (uint8_t) class;
    s->slots = (uint16_t)slots;
    s->used = s->ready = 0;
    for (size_t w = 0; w < WORDS; w++) {
        size_t first = w * 64;
        uint64_t bits = slots >= first + 64 ? ~UINT64_C(0)
                        : slots > first ? (UINT64_C(1) << (slots - first)) - 1
                                        : 0;
        s->free[w] = s->returned[w] = bits;
    }
    p->returned += slots * class_bytes(class);
    p->slabs_of[class]++;
    begin_huge(p, at);
    list_by_fill(p, at, LISTS);
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

/* The slab has a free slot. */
static uint8_t *take_slot_of(struct frame_pool *p, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    unsigned slot = choose_slot(s);
    uint64_t bit = UINT64_C(1) << slot % 64;
    if (s->returned[slot / 64] & bit) {
        p->returned -= bytes;
        p->unseen -= s->huge ? bytes : 0;
    } else {
        p->resident_free -= bytes;
        p->ready_of[s->class]--;
        s->ready--;
    }
    s->free[slot / 64] &= ~bit;
    s->returned[slot / 64] &= ~bit;
    s->used++;
    list_by_fill(p, at, s->list);
    p->used += bytes;
    return slab_memory(p, at) + slot * bytes;
}

/* NULL: it is for the heap, where it counts among the few of its class.
 *full: a slab whose pages are to be put together, or NO_SLAB. */
static void *take_slot_locked(struct frame_pool *p, unsigned class,
                              uint32_t *full)
{
    uint32_t at = best_open(p, class);
    if (at == NO_SLAB) {
        if (is_rare(p, class) || !begin_slab(p, class)) {
            p->few[class]++;
            return NULL;
        }
        at = best_open(p, class);
    }
    uint8_t *memory = take_slot_of(p, at);
    p->taken += class_bytes(class);
    *full = huge_when_full(p, at) ? at : NO_SLAB;
    return memory;
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
    uint32_t full = NO_SLAB;
    mutex_lock(&p->lock);
    void *memory = take_slot_locked(p, class, &full);
    mutex_unlock(&p->lock);
    if (full != NO_SLAB)
        env_anonymous_merge(slab_memory(p, full), p->slab_bytes);
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

static void slab_emptied_locked(struct frame_pool *p, uint32_t at)
{
    struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    /* Even where all slots went back: not so the pages that two of them share,
       nor the rest of a huge page. */
    env_anonymous_discard(slab_memory(p, at), p->slab_bytes);
    p->unseen -= s->huge ? returned_bytes(s) : 0;
    p->slabs_of[s->class]--;
    p->resident_free -= s->ready * bytes;
    p->ready_of[s->class] -= s->ready;
    p->returned -= (size_t)(s->slots - s->ready) * bytes;
    list_remove(p, &p->open[s->class][s->list], at);
    list_push(p, &p->empty, at);
}

static uint32_t slab_of(const struct frame_pool *p, const uint8_t *memory)
{
    return (uint32_t)((size_t)(memory - p->region) / p->slab_bytes);
}

static void give_slot_locked(struct frame_pool *p, uint8_t *memory,
                             bool returned)
{
    uint32_t at = slab_of(p, memory);
    struct slab *s = &p->slabs[at];
    size_t bytes = class_bytes(s->class);
    size_t slot = (size_t)(memory - slab_memory(p, at)) / bytes;
    uint64_t bit = UINT64_C(1) << slot % 64;
    assert(!(s->free[slot / 64] & bit) && s->used > 0);
    s->free[slot / 64] |= bit;
    if (returned) {
        s->returned[slot / 64] |= bit;
        p->returned += bytes;
        p->unseen += s->huge ? bytes : 0;
    } else {
        p->resident_free += bytes;
        p->ready_of[s->class]++;
        s->ready++;
    }
    s->used--;
    list_by_fill(p, at, s->list);
    p->used -= bytes;
    /* One may stay, for the next of its size. */
    if (s->used == 0 && (p->resident_free > p->spare / 2 ||
                         best_open(p, s->class) != at || s->next != NO_SLAB))
        slab_emptied_locked(p, at);
}

/* Does every slot of a class have whole pages? */
static bool has_pages(unsigned class)
{
    size_t bytes = class_bytes(class);
    return bytes % PAGE == 0 || bytes >= (size_t)2 * PAGE;
}

/* A ready slot of the class of which most lies idle, if that is a larger one
   and more of it than of this; taken, so that nobody else has it. NULL: there
   is none. */
static uint8_t *take_idle_slot(struct frame_pool *p, unsigned class)
{
    uint64_t most = (p->ready_of[class] + UINT64_C(1)) * class_bytes(class);
    unsigned found = CLASSES;
    for (unsigned other = class + 1; other < CLASSES; other++) {
        uint64_t ready = p->ready_of[other] * class_bytes(other);
        if (ready <= most || !has_pages(other))
            continue;
        most = ready;
        found = other;
    }
    /* Where most is free: it may empty. */
    for (unsigned fill = FILLS; found < CLASSES && fill-- > 0;)
        if (p->open[found][fill] != NO_SLAB)
            return take_slot_of(p, p->open[found][fill]);
    return NULL;
}

/* The slot whose pages go back, when more would lie free than may: what is
   given, or one that lies idle; NULL: none. */
static uint8_t *slot_to_empty(struct frame_pool *p, uint8_t *memory)
{
    const struct slab *s = &p->slabs[slab_of(p, memory)];
    size_t bytes = class_bytes(s->class);
    uint8_t *from;
    if (p->resident_free + bytes <= p->spare)
        return NULL;
    uint8_t *slot = take_idle_slot(p, s->class);
    if (!slot && whole_pages(memory, bytes, &from))
        slot = memory;
    if (slot)
        tear(p, slab_of(p, slot));
    return slot;
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
    uint8_t *emptied = slot_to_empty(p, memory);
    mutex_unlock(&p->lock);
    /* The slot is ours: the call to the system needs no lock. */
    if (emptied)
        discard_pages(emptied,
                      class_bytes(p->slabs[slab_of(p, emptied)].class));
    POISON(memory, charge);
    mutex_lock(&p->lock);
    if (emptied && emptied != memory)
        give_slot_locked(p, emptied, true);
    give_slot_locked(p, memory, emptied == memory);
    mutex_unlock(&p->lock);
}

void frame_pool_stats(struct frame_pool *p, struct frame_pool_stats *out)
{
    mutex_lock(&p->lock);
    *out = (struct frame_pool_stats){
        .used = p->used, .free = p->resident_free, .returned = p->returned};
    mutex_unlock(&p->lock);
}
