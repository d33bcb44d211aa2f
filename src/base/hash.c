#include "base/hash.h"

#include <xxhash.h>

#include "base/alloc.h"

uint64_t hash_key(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t checksum_bytes(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
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
    uint64_t sum =
        XXH3_64bits_withSeed(data, size, place_seed(file_number, offset));
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
    XXH3_64bits_update(s->state, data, size);
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
