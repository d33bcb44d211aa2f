/*
 * What the comparator asks of an engine. Each engine is a file engine_NAME.c
 * with these functions, linked with the same loops into a program of its own
 * (bench_NAME), so that no two engines share a process or an allocator's heap.
 *
 * Adapters call fatal() on any failure: a figure from a run in which an
 * operation failed is worth nothing.
 */
#ifndef BENCH_COMPARE_ENGINE_H
#define BENCH_COMPARE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const void *data; /* borrowed */
    size_t size;
};

struct entry {
    struct bytes key, value;
};

/* What the engines are told alike. */
struct engine_config {
    const char *dir;         /* exists */
    const char *compression; /* "none" or "lz4" */
    uint64_t cache_bytes;
    uint64_t memtable_bytes;
    uint64_t data_bytes; /* user bytes expected at most */
    unsigned filter_bits;
    unsigned background_threads;
    bool sync;       /* each write durable; else handed to the kernel */
    bool limited;    /* memory, page cache included, is less than the data */
    char told[2048]; /* out: version and options, in the engine's words */
};

struct engine;
struct session; /* one thread's way in */

extern const char *const engine_name;

struct engine *engine_open(struct engine_config *config);
void engine_close(struct engine *engine);

/* Bytes that background work has yet to rewrite, as the engine itself reckons
   them; 0 where it does not say. */
uint64_t engine_debt(struct engine *engine);

/* Returns when the background work that the writes so far caused is done, and
   what it was to write is on the disk. */
void engine_settle(struct engine *engine);

struct session *session_open(struct engine *engine);
void session_close(struct session *session);

void session_put(struct session *session, struct bytes key, struct bytes value);
void session_delete(struct session *session, struct bytes key);
/* All entries at once, as one atomic batch. */
void session_write(struct session *session, const struct entry *entries,
                   size_t count);

/* Values found stay until session_release, which follows each call. */
bool session_get(struct session *session, struct bytes key,
                 struct bytes *value);
/* data is NULL where a key is missing. */
void session_multi_get(struct session *session, const struct bytes *keys,
                       size_t count, struct bytes *values);
void session_release(struct session *session);

/* One iterator per session; it sees the state of its opening. Moves return
   false past the end; key and value stay until the next move. */
void session_iter_open(struct session *session);
void session_iter_close(struct session *session);
bool session_first(struct session *session, struct entry *out);
bool session_last(struct session *session, struct entry *out);
bool session_seek(struct session *session, struct bytes key, struct entry *out);
bool session_next(struct session *session, struct entry *out);
bool session_prev(struct session *session, struct entry *out);

/* For adapters: says what went wrong and exits with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void fatal(const char *format,
                                                           ...);
/* Appends to config->told. */
__attribute__((format(printf, 2, 3))) void tell(struct engine_config *config,
                                                const char *format, ...);
/* Zeroed memory, or fatal. */
void *need(size_t bytes);

/* For engines that do not say when they are idle: returns when this process
   has used next to no CPU for the given time. */
void wait_for_quiet(unsigned milliseconds);

#endif
