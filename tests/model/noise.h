/*
 * Noise in the order of threads: at locks, conditions and starts the library's
 * threads now and then yield or sleep for some microseconds, before taking a
 * lock or while holding it, so that orders of events come about that are rare
 * otherwise. Everything else is as in production.
 */
#ifndef TESTS_MODEL_NOISE_H
#define TESTS_MODEL_NOISE_H

#include <stdint.h>

/* one_in: how many passes through a lock to one pause, on the average; 0: no
   noise. While no database is open. */
void noise_set(uint64_t seed, unsigned one_in);

#endif
