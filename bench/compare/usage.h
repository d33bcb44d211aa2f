/*
 * What this process has used, as the kernel counts it.
 */
#ifndef BENCH_COMPARE_USAGE_H
#define BENCH_COMPARE_USAGE_H

#include <stdint.h>

struct usage {
    double user_seconds, system_seconds; /* CPU, all threads */
    uint64_t written_bytes;              /* made dirty on the way to a disk */
    uint64_t read_bytes;                 /* fetched from a disk */
};

struct usage usage_now(void);
struct usage usage_since(const struct usage *start);

/* Peak of resident memory since the last reset, and what of the present is
   not file pages. */
uint64_t usage_peak_bytes(void);
uint64_t usage_anonymous_bytes(void);
void usage_reset_peak(void);

/* Nanoseconds that the calling thread was ready to run and had no processor:
   the rest of the machine's doing, not the engine's. Opened and asked by that
   thread; where the kernel does not say, fd is -1 and the answer 0. */
int usage_waits_open(void);
uint64_t usage_waited_ns(int fd);

/* Bytes that the files of a directory take up on the disk. */
uint64_t usage_disk_bytes(const char *dir);

/* Asks the kernel to forget the pages of a directory's files, so that the next
   reads come from the disk. */
void usage_drop_pages(const char *dir);

#endif
