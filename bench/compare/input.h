/*
 * Keys and values of the comparator, the same for all engines, and the
 * generators that choose among them. All is made from a seed.
 *
 * Key of number n: 16 decimal digits of n. The n-th key that exists is number
 * 2n, so that each odd number is a key that is missing inside the range.
 *
 * Value of number n, at least 48 bytes, half of it compressible. The stamp is
 * drawn anew for each write of the key, and names the piece of random bytes:
 *
 *   | n | stamp | random bytes ... | 'a' ... | stamp | mix(n ^ stamp) |
 *     8     8     size / 2 - 32                  8           8
 *
 * Either end checks the other, and whoever knows the last stamp written knows
 * the whole value.
 */
#ifndef BENCH_COMPARE_INPUT_H
#define BENCH_COMPARE_INPUT_H

#include "engine.h"

enum { KEY_SIZE = 16, VALUE_SIZE_MIN = 64 };

struct bytes key_make(char buffer[KEY_SIZE], uint64_t number);
/* The number; of bytes that are no key of ours, any. */
uint64_t key_number(struct bytes key);
/* Fatal if it is no key of ours. */
void key_check(struct bytes key);

uint64_t mix(uint64_t n);

struct random {
    uint64_t state;
};
uint64_t random_next(struct random *random);
/* In [0, bound), bound < 2^32. */
uint64_t random_below(struct random *random, uint64_t bound);

/* The stamp of a key written for the first time. */
uint64_t first_stamp(uint64_t number);

struct values {
    char *pool;  /* owned; random bytes to cut pieces from */
    size_t size; /* of one value */
};
void values_init(struct values *values, size_t size);
void values_deinit(struct values *values);
/* buffer has values->size bytes. */
struct bytes value_make(const struct values *values, char *buffer,
                        uint64_t number, uint64_t stamp);
/* Checks the size, and that both ends are of one write of this number; fatal
   if not. Returns the stamp. */
uint64_t value_check(const struct values *values, struct bytes value,
                     uint64_t number);
/* Checks every byte. */
uint64_t value_check_all(const struct values *values, struct bytes value,
                         uint64_t number);

/* A permutation of [0, count). */
uint64_t permute(uint64_t n, uint64_t count);

/* Zipf over [0, n), most frequent first (Gray et al., "Quickly generating
   billion-record synthetic databases", 1994). */
struct zipf {
    uint64_t n;
    double alpha, zeta, eta, second;
};
void zipf_init(struct zipf *zipf, uint64_t n, double theta);
uint64_t zipf_next(const struct zipf *zipf, struct random *random);

#endif
