/* Names for addresses in the program's code, for reports. */
#ifndef TESTS_SIM_PLACES_H
#define TESTS_SIM_PLACES_H

#include <stddef.h>

/* "function file:line" as far as addr2line knows it, else the offset in the
   program. Slow: it runs a program. */
void place_name(const void *address, char *out, size_t size);

#endif
