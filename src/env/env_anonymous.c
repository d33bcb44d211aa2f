#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "env/env.h"

enum { HUGE_PAGE = 2 << 20 };

static void *map_zeros(size_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

/* A huge page needs its alignment: map more, cut both ends off. */
static void *map_aligned(size_t size)
{
    size_t rounded = round_up(size, (size_t)sysconf(_SC_PAGESIZE));
    size_t whole = rounded + HUGE_PAGE;
    uint8_t *base = map_zeros(whole);
    if (!base)
        return NULL;
    uint8_t *start = (uint8_t *)round_up((uintptr_t)base, HUGE_PAGE);
    uint8_t *end = start + rounded;
    if (start > base)
        munmap(base, (size_t)(start - base));
    if (base + whole > end)
        munmap(end, (size_t)(base + whole - end));
    /* Refused where huge pages are switched off; small ones serve too. */
    madvise(start, size, MADV_HUGEPAGE);
    return start;
}

void *env_anonymous_reserve(size_t size, bool huge)
{
    if (size == 0 || size > SIZE_MAX / 2 || mem_must_fail(size))
        return NULL;
    return huge ? map_aligned(size) : map_zeros(size);
}

void env_anonymous_release(void *base, size_t size)
{
    if (base)
        munmap(base, size);
}

void env_anonymous_discard(void *base, size_t size)
{
    madvise(base, size, MADV_DONTNEED);
}

/* Refused where huge pages are switched off, or where mappings run out; then
   the range stays as it is. */
void env_anonymous_huge(void *base, size_t size, bool huge)
{
    madvise(base, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void env_anonymous_merge(void *base, size_t size)
{
#ifdef MADV_COLLAPSE
    madvise(base, size, MADV_COLLAPSE);
#else
    (void)base;
    (void)size;
#endif
}
