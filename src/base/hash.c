#include "base/hash.h"

#include <stdbool.h>

#include <xxhash.h>

#include "base/alloc.h"

/* The hash library's own choice among SSE2, AVX2 and AVX-512 at run time: the
   same sums in a third of the time. The shared library has it on x86, the
   static one has not; then the names are null. It may come back with the upper
   halves of registers in use, which slows down whatever its thread does with
   the lower ones from then on: they are cleared behind each call. Keys and
   other short pieces are better off without. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#define XXH_DISPATCH_DISABLE_REPLACE
#include <xxh_x86dispatch.h>
#pragma weak XXH3_64bits_dispatch
#pragma weak XXH3_64bits_withSeed_dispatch
#pragma weak XXH3_64bits_update_dispatch

enum { LONG = 1024 };

static inline bool dispatches(size_t size)
{
    return size >= LONG && XXH3_64bits_dispatch &&
           XXH3_64bits_withSeed_dispatch && XXH3_64bits_update_dispatch &&
           __builtin_cpu_supports("avx");
}

static inline void clear_upper_halves(void)
{
    __asm__ volatile("vzeroupper" ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                     "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
}
#else
static inline bool dispatches(size_t size)
{
    (void)size;
    return false;
}

static inline void clear_upper_halves(void)
{
}

#define XXH3_64bits_dispatch XXH3_64bits
#define XXH3_64bits_withSeed_dispatch XXH3_64bits_withSeed
#define XXH3_64bits_update_dispatch XXH3_64bits_update
#endif

uint64_t hash_key(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t checksum_bytes(const void *data, size_t size)
{
    if (!dispatches(size))
        return XXH3_64bits(data, size);
    uint64_t sum = XXH3_64bits_dispatch(data, size);
    clear_upper_halves();
    return sum;
}

/* Mixed so that neighbouring files and offsets give unrelated seeds. */
static uint64_t place_seed(uint64_t file_number, uint64_t offset)
{
    return file_number * 0x9E3779B97F4A7C15u ^
           (offset + 0x165667B19E3779F9u) * 0xC2B2AE3D27D4EB4Fu;
}

uint64_t checksum_bound(const void *data, size_t size, uint64_t file_number,
                        uint64_t offset)
{
    uint64_t sum, seed = place_seed(file_number, offset);
    if (dispatches(size)) {
        sum = XXH3_64bits_withSeed_dispatch(data, size, seed);
        clear_upper_halves();
    } else {
        sum = XXH3_64bits_withSeed(data, size, seed);
    }
    /* Zero is kept to mean "nothing here". */
    return sum ? sum : 1;
}

int checksum_stream_init(struct checksum_stream *s)
{
    /* Only the hash library knows the size and alignment of its state. */
    s->state = mem_must_fail(sizeof *s) ? NULL : XXH3_createState();
    if (!s->state)
        return -1;
    XXH3_64bits_reset(s->state);
    return 0;
}

void checksum_stream_update(struct checksum_stream *s, const void *data,
                            size_t size)
{
    if (!dispatches(size)) {
        XXH3_64bits_update(s->state, data, size);
        return;
    }
    XXH3_64bits_update_dispatch(s->state, data, size);
    clear_upper_halves();
}

uint64_t checksum_stream_value(const struct checksum_stream *s)
{
    return XXH3_64bits_digest(s->state);
}

int checksum_stream_init_bound(struct checksum_stream *s, uint64_t file_number,
                               uint64_t offset)
{
    /* Only the hash library knows the size and alignment of its state. */
    s->state = mem_must_fail(sizeof *s) ? NULL : XXH3_createState();
    if (!s->state)
        return -1;
    XXH3_64bits_reset_withSeed(s->state, place_seed(file_number, offset));
    return 0;
}

uint64_t checksum_stream_bound_value(const struct checksum_stream *s)
{
    uint64_t sum = XXH3_64bits_digest(s->state);
    return sum ? sum : 1;
}

void checksum_stream_deinit(struct checksum_stream *s)
{
    XXH3_freeState(s->state);
    s->state = NULL;
}
