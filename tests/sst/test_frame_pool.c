/*
 * The frame pool against a plain list of what was taken: no overlaps, what is
 * written stays, what is free beyond the spare goes back, and threads may do
 * all of it at once.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "base/thread.h"
#include "sst/frame_pool.h"
#include "support.h"

enum {
    HELD = 4000,
    BUDGET = 16 << 20,
    LARGE_BUDGET = 128 << 20, /* has slots for all up to FRAME_POOL_LARGE */
    SPARE = 512 << 10,        /* the least; else a 64th of the budget */
    SLAB = 2 << 20            /* of LARGE_BUDGET */
};

struct piece {
    unsigned char *memory;
    size_t size, charge;
    unsigned char mark;
};

static void take(struct frame_pool *p, struct piece *piece, size_t size,
                 unsigned char mark)
{
    piece->size = size;
    piece->mark = mark;
    piece->memory = frame_pool_take(p, size, &piece->charge);
    assert_non_null(piece->memory);
    assert_int_equal((uintptr_t)piece->memory % FRAME_POOL_ALIGNMENT, 0);
    assert_true(piece->charge >= size);
    /* A 16th above the size at most, in pages or lines; or what fills whole
       pages to an eighth. */
    size_t pages = (size + 4095) / 4096 * 4096;
    size_t unit = size > frame_pool_large(p) ? 4096 : FRAME_POOL_ALIGNMENT;
    assert_true(piece->charge <= size + size / 16 + unit ||
                (piece->charge == pages && pages <= size + size / 8 + unit));
    memset(piece->memory, mark, size);
}

/* Whoever wrote over a piece of ours would have changed some of it. */
static void check_and_give(struct frame_pool *p, struct piece *piece)
{
    for (size_t i = 0; i < piece->size; i += 61)
        assert_int_equal(piece->memory[i], piece->mark);
    assert_int_equal(piece->memory[piece->size - 1], piece->mark);
    frame_pool_give(p, piece->memory, piece->charge);
    piece->memory = NULL;
}

static size_t random_size(struct random *r)
{
    switch (random_below(r, 8)) {
    case 0:
        return 1 + random_below(r, FRAME_POOL_SMALL);
    case 1:
        return 1 + random_below(r, 3 * FRAME_POOL_LARGE);
    case 2:
        return FRAME_POOL_SMALL + random_below(r, FRAME_POOL_LARGE);
    default:
        return 8200 + random_below(r, 300); /* blocks */
    }
}

static void run_model(uint64_t budget)
{
    static struct piece pieces[HELD];
    struct random r;
    random_seed(&r, test_seed());
    struct frame_pool *p = frame_pool_new(budget);
    assert_non_null(p);
    uint64_t rounds = test_scaled(400000, 40000), bytes = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        struct piece *piece = &pieces[random_below(&r, HELD)];
        if (piece->memory) {
            bytes -= piece->size;
            check_and_give(p, piece);
        } else if (bytes < BUDGET) {
            take(p, piece, random_size(&r), (unsigned char)i);
            bytes += piece->size;
        }
    }
    for (size_t i = 0; i < HELD; i++)
        if (pieces[i].memory)
            check_and_give(p, &pieces[i]);
    struct frame_pool_stats s;
    frame_pool_stats(p, &s);
    assert_int_equal(s.used, 0);
    assert_true(s.free <= (budget > BUDGET ? budget / 64 : SPARE));
    frame_pool_free(p);
}

static void test_model(void **state)
{
    (void)state;
    run_model(BUDGET);
    run_model(LARGE_BUDGET);
}

static void check_borders(uint64_t budget, size_t large)
{
    struct frame_pool *p = frame_pool_new(budget);
    assert_int_equal(frame_pool_large(p), large);
    for (size_t size = 1; size <= 2 * FRAME_POOL_LARGE;
         size += size < 2048 ? 1 : 31) {
        struct piece piece;
        take(p, &piece, size, 7);
        check_and_give(p, &piece);
    }
    frame_pool_free(p);
}

/* Sizes at the borders of classes. */
static void test_borders(void **state)
{
    (void)state;
    check_borders(BUDGET, 32 << 10);
    check_borders(64 << 20, (512 << 10) / 6);
    check_borders(LARGE_BUDGET, FRAME_POOL_LARGE);
}

/* A cache that shrinks: every other frame goes, and so do its pages. */
static void test_shrinking(void **state)
{
    (void)state;
    enum { FRAMES = BUDGET / 9000 };
    struct piece *pieces = calloc(FRAMES, sizeof *pieces);
    struct frame_pool_stats s;
    struct frame_pool *p = frame_pool_new(BUDGET);
    for (size_t i = 0; i < FRAMES; i++)
        take(p, &pieces[i], 8300, (unsigned char)i);
    for (size_t i = 0; i < FRAMES; i += 2)
        check_and_give(p, &pieces[i]);
    frame_pool_stats(p, &s);
    assert_true(s.free <= SPARE);
    assert_true(s.returned >= (uint64_t)FRAMES / 2 * 8300 - SPARE - 9000);
    /* The other half moves into another size: empty slabs serve it. */
    for (size_t i = 1; i < FRAMES; i += 2)
        check_and_give(p, &pieces[i]);
    for (size_t i = 0; i < FRAMES; i++)
        take(p, &pieces[i], 4100, (unsigned char)i);
    for (size_t i = 0; i < FRAMES; i++)
        check_and_give(p, &pieces[i]);
    frame_pool_free(p);
    free(pieces);
}

/* ---- huge pages -------------------------------------------------------- */

/* What the process holds; a sanitizer holds more than all of this: 0. */
static uint64_t held_memory(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            break;
    fclose(f);
    return test_scaled(kib * 1024, 0);
}

/* Whether the system is to make huge pages of what lies there. */
static bool may_be_huge(const void *memory)
{
    char line[512];
    unsigned long long from, to;
    bool inside = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (!found && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
            inside = from <= (uintptr_t)memory && (uintptr_t)memory < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " hg") != NULL;
    }
    fclose(f);
    return found;
}

static bool system_has_huge_pages(void)
{
    return access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0;
}

/* Thirty sizes with a few frames each do not hold a huge page each. */
static void test_rare_sizes(void **state)
{
    enum { SIZES = 30, PART = 300 << 10 };
    static struct piece pieces[SIZES * 20];
    size_t n = 0, bytes = 0;
    (void)state;
    uint64_t before = held_memory();
    struct frame_pool *p = frame_pool_new(LARGE_BUDGET);
    for (size_t i = 0; i < SIZES; i++)
        for (size_t size = 16384 + i * 3000, sum = 0; sum < PART; sum += size) {
            take(p, &pieces[n], size, (unsigned char)n);
            bytes += pieces[n++].charge;
        }
    assert_true(held_memory() <= before + bytes + bytes / 8 + (1 << 20));
    while (n > 0)
        check_and_give(p, &pieces[--n]);
    frame_pool_free(p);
}

/* A size that fills many slabs has huge pages: when they begin, until pages of
   them go back, and again when they are full. */
static void test_huge_pages(void **state)
{
    enum { FIRST = 100, FRAMES = 32 * SLAB / 4096 };
    struct piece others[FIRST];
    struct frame_pool_stats s;
    (void)state;
    if (!system_has_huge_pages())
        skip();
    struct piece *pieces = calloc(FRAMES, sizeof *pieces);
    uint64_t before = held_memory();
    struct frame_pool *p = frame_pool_new(LARGE_BUDGET);
    /* The first of a size come from the heap; and one slab, which a 64th of
       the budget allows, is huge at once. */
    for (size_t i = 0; i < FIRST; i++)
        take(p, &others[i], 5120, (unsigned char)i);
    assert_true(may_be_huge(others[FIRST - 1].memory));
    for (size_t i = 0; i < FIRST; i++)
        take(p, &pieces[i], 4096, (unsigned char)i);
    assert_false(may_be_huge(pieces[FIRST - 1].memory));
    for (size_t i = FIRST; i < FRAMES; i++)
        take(p, &pieces[i], 4096, (unsigned char)i);
    assert_true(may_be_huge(pieces[FIRST - 1].memory)); /* it is full */
    assert_true(may_be_huge(pieces[FRAMES / 2].memory));

    for (size_t i = 0; i < FRAMES; i++)
        if (i % 8)
            check_and_give(p, &pieces[i]);
    frame_pool_stats(p, &s);
    assert_true(s.free <= LARGE_BUDGET / 64);
    assert_false(may_be_huge(pieces[FRAMES / 2].memory));
    assert_true(held_memory() <=
                before + s.used + s.free + FRAMES * sizeof *pieces + (4 << 20));

    for (size_t i = 0; i < FRAMES; i++)
        if (i % 8)
            take(p, &pieces[i], 4096, (unsigned char)i);
    assert_true(may_be_huge(pieces[FRAMES / 2].memory));
    for (size_t i = 0; i < FIRST; i++)
        check_and_give(p, &others[i]);
    for (size_t i = 0; i < FRAMES; i++)
        check_and_give(p, &pieces[i]);
    frame_pool_free(p);
    free(pieces);
}

/* A slab that empties goes back as a whole, though frame by frame it went back
   but for the pages that two of them share. */
static void test_shared_pages(void **state)
{
    enum { FRAMES = 8 * SLAB / 4096, SIZE = 8704, ODD = 16 * SLAB / SIZE };
    (void)state;
    struct piece *pieces = calloc(FRAMES, sizeof *pieces);
    struct piece *odd = calloc(ODD, sizeof *odd);
    struct frame_pool *p = frame_pool_new(LARGE_BUDGET);
    for (size_t i = 0; i < FRAMES; i++)
        take(p, &pieces[i], 4096, (unsigned char)i);
    for (size_t i = 0; i < FRAMES; i += 2) /* as much lies free as may */
        check_and_give(p, &pieces[i]);
    uint64_t before = held_memory();
    for (size_t i = 0; i < ODD; i++)
        take(p, &odd[i], SIZE, (unsigned char)i);
    for (size_t i = 0; i < ODD; i++)
        check_and_give(p, &odd[i]);
    assert_true(held_memory() <= before + (1 << 20));
    for (size_t i = 1; i < FRAMES; i += 2)
        check_and_give(p, &pieces[i]);
    frame_pool_free(p);
    free(pieces);
    free(odd);
}

/* ---- a cache that is full ---------------------------------------------- */

static uint64_t page_faults(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_minflt;
}

/* After a cache shrank blocks come and go, batch by batch, as many as are left:
   their pages stay, though others went back, and though slots of a size that
   is not asked for lie idle, as many as may. */
static void test_turnover(void **state)
{
    enum { FRAMES = 12000, BATCH = 32, ROUNDS = 4000, IDLE = 40 };
    struct piece idle[IDLE];
    struct random r;
    (void)state;
    random_seed(&r, test_seed());
    struct piece *pieces = calloc(FRAMES, sizeof *pieces);
    struct frame_pool *p = frame_pool_new(LARGE_BUDGET);
    for (size_t i = 0; i < IDLE; i++)
        take(p, &idle[i], 108 << 10, (unsigned char)i);
    for (size_t i = 0; i < FRAMES; i++)
        take(p, &pieces[i], 4000, (unsigned char)i);
    for (size_t i = 0; i < IDLE; i++)
        if (i % 2 == 0)
            check_and_give(p, &idle[i]);
    for (size_t i = 0; i < FRAMES; i += 3)
        check_and_give(p, &pieces[i]);
    uint64_t before = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        struct piece *batch[BATCH];
        if (round == ROUNDS / 4)
            before = page_faults();
        for (size_t i = 0; i < BATCH; i++) {
            do
                batch[i] = &pieces[random_below(&r, FRAMES)];
            while (!batch[i]->memory);
            check_and_give(p, batch[i]);
        }
        for (size_t i = 0; i < BATCH; i++)
            take(p, batch[i], 4000, (unsigned char)i);
    }
    uint64_t faults = page_faults() - before;
    assert_true(faults < (uint64_t)ROUNDS * BATCH / 50);
    struct frame_pool_stats s;
    frame_pool_stats(p, &s);
    assert_true(s.free <= LARGE_BUDGET / 64);
    for (size_t i = 0; i < FRAMES; i++)
        if (pieces[i].memory)
            check_and_give(p, &pieces[i]);
    for (size_t i = 1; i < IDLE; i += 2)
        check_and_give(p, &idle[i]);
    frame_pool_free(p);
    free(pieces);
}

/* More than the region: the heap takes over, and nothing fails. */
static void test_overflow(void **state)
{
    (void)state;
    enum { SMALL_BUDGET = 1 << 20, FRAMES = 12000 };
    struct piece *pieces = calloc(FRAMES, sizeof *pieces);
    struct frame_pool *p = frame_pool_new(SMALL_BUDGET);
    for (size_t i = 0; i < FRAMES; i++)
        take(p, &pieces[i], 8300, (unsigned char)i);
    for (size_t i = 0; i < FRAMES; i++)
        check_and_give(p, &pieces[i]);
    frame_pool_free(p);
    free(pieces);
}

static int refuse(void *context, size_t size)
{
    (void)context;
    (void)size;
    return 1;
}

static int refuse_large(void *context, size_t size)
{
    (void)context;
    return size > 1 << 20;
}

static void test_no_memory(void **state)
{
    size_t charge;
    (void)state;
    struct frame_pool *p = frame_pool_new(BUDGET);
    mem_set_fail_hook(refuse, NULL);
    assert_null(frame_pool_new(BUDGET));
    assert_null(frame_pool_take(p, 100, &charge));
    assert_null(frame_pool_take(p, 8300, &charge));
    assert_null(frame_pool_take(p, 100000, &charge));
    mem_set_fail_hook(NULL, NULL);
    frame_pool_free(p);

    /* Without a region everything is the heap's. */
    mem_set_fail_hook(refuse_large, NULL);
    p = frame_pool_new(BUDGET);
    mem_set_fail_hook(NULL, NULL);
    assert_non_null(p);
    for (size_t size = 100; size < 200000; size *= 3) {
        struct piece piece;
        take(p, &piece, size, 3);
        check_and_give(p, &piece);
    }
    frame_pool_free(p);
}

static void *hammer(void *context)
{
    struct piece pieces[64] = {{0}};
    struct random r;
    random_seed(&r, (uint64_t)(uintptr_t)&r);
    for (uint64_t i = test_scaled(60000, 5000); i > 0; i--) {
        struct piece *piece = &pieces[random_below(&r, 64)];
        if (piece->memory)
            check_and_give(context, piece);
        else
            take(context, piece, random_size(&r), (unsigned char)i);
    }
    for (size_t i = 0; i < 64; i++)
        if (pieces[i].memory)
            check_and_give(context, &pieces[i]);
    return NULL;
}

static void test_threads(void **state)
{
    struct thread threads[4] = {{0}};
    (void)state;
    struct frame_pool *p = frame_pool_new(1 << 20);
    for (int i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "hammer", hammer, p),
                         ADB_OK);
    for (int i = 0; i < 4; i++)
        thread_join(&threads[i]);
    frame_pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),      cmocka_unit_test(test_borders),
        cmocka_unit_test(test_shrinking),  cmocka_unit_test(test_rare_sizes),
        cmocka_unit_test(test_huge_pages), cmocka_unit_test(test_shared_pages),
        cmocka_unit_test(test_turnover),   cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_no_memory),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
