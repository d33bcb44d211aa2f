/*
 * How many of eight heads are below one: a search's step in a level of an
 * index (index.h). Eight comparisons without a branch; with AVX2, where the
 * processor has it, two comparisons of four. The build asks for no more than
 * x86-64, so the choice is made when the program runs.
 *
 * Threads: pure.
 */
#ifndef SST_HEADS_H
#define SST_HEADS_H

#include "base/bytes.h"

enum { HEADS_GROUP = 8 };

/* group: HEADS_GROUP heads, in order. */
static inline size_t heads_below_plain(const uint64_t *group, uint64_t head)
{
    size_t below = 0;
    for (int i = 0; i < HEADS_GROUP; i++)
        below += group[i] < head;
    return below;
}

#if defined(__x86_64__) && defined(__GNUC__)
#define HEADS_AVX2 1
#define HEADS_WITH_AVX2 __attribute__((target("avx2,popcnt")))
#include <immintrin.h>

static inline bool heads_can_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
}

HEADS_WITH_AVX2 static inline size_t heads_below_avx2(const uint64_t *group,
                                                      uint64_t head)
{
    /* There are signed comparisons alone: the top bit is turned round. */
    const __m256i top = _mm256_set1_epi64x(INT64_MIN);
    const __m256i than =
        _mm256_xor_si256(_mm256_set1_epi64x((long long)head), top);
    const __m256i *four = (const __m256i *)(const void *)group;
    __m256i a = _mm256_xor_si256(_mm256_loadu_si256(four), top);
    __m256i b = _mm256_xor_si256(_mm256_loadu_si256(four + 1), top);
    /* Those below come first, so that one count tells both halves. */
    __m256i below = _mm256_packs_epi32(_mm256_cmpgt_epi64(than, a),
                                       _mm256_cmpgt_epi64(than, b));
    return (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(below)) / 4;
}
#endif

#endif
