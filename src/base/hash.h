/*
 * Hashes: XXH3 (Yann Collet), 64 bit. checksum_bound is what every block and
 * record on disk carries: bound to where it lies, so that bytes found in
 * another file or at another offset never pass.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* For filters and hash tables; part of the table format, never change it. */
uint64_t hash_key(const void *data, size_t size);

uint64_t checksum_bytes(const void *data, size_t size);
uint64_t checksum_bound(const void *data, size_t size, uint64_t file_number,
                        uint64_t offset);

/* The same over bytes that come in pieces. */
struct checksum_stream {
    void *state; /* owned */
};
/* Returns 0, or -1 when out of memory. */
int checksum_stream_init(struct checksum_stream *s);
void checksum_stream_update(struct checksum_stream *s, const void *data,
                            size_t size);
uint64_t checksum_stream_value(const struct checksum_stream *s);
/* For checksum_bound in pieces: init with the place, value never zero. */
int checksum_stream_init_bound(struct checksum_stream *s, uint64_t file_number,
                               uint64_t offset);
uint64_t checksum_stream_bound_value(const struct checksum_stream *s);
void checksum_stream_deinit(struct checksum_stream *s);

#endif
