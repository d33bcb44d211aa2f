/* A small seeded generator (xorshift64*, Vigna 2016) for choices that need no
   secrecy. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};
static inline void random_seed(struct random *r, uint64_t seed)
{
    r->state = seed * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u;
    if (!r->state)
        r->state = 1;
}
static inline uint64_t random_next(struct random *r)
{
    uint64_t x = r->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * 0x2545F4914F6CDD1Du;
}
/* Uniform in [0, below); below > 0. */
static inline uint64_t random_below(struct random *r, uint64_t below)
{
    return (uint64_t)(((unsigned __int128)random_next(r) * below) >> 64);
}

#endif
