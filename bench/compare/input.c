#include "input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 8, END_SIZE = 2 * WORD, POOL_SIZE = 1 << 16 };

#define EACH(byte) (0x0101010101010101u * (byte))

/* Eight digits at once, the first in the lowest byte: quarters, then pairs,
   then single digits are split off by multiplications with inverses. */
static uint64_t digits_of(uint32_t number)
{
    uint64_t x = number / 10000 | (uint64_t)(number % 10000) << 32;
    uint64_t hundreds = (x * 10486 >> 20) & 0x0000007f0000007fu;
    x = hundreds | (x - 100 * hundreds) << 16;
    uint64_t tens = (x * 103 >> 10) & 0x000f000f000f000fu;
    x = tens | (x - 10 * tens) << 8;
    return x + EACH('0');
}

static uint32_t number_of(uint64_t digits)
{
    digits = (digits & EACH(0x0f)) * (10 * 256 + 1) >> 8;
    digits = (digits & 0x00ff00ff00ff00ffu) * (100 * 65536 + 1) >> 16;
    return (uint32_t)((digits & 0x0000ffff0000ffffu) *
                          (10000 * 4294967296 + 1) >>
                      32);
}

struct bytes key_make(char buffer[KEY_SIZE], uint64_t number)
{
    uint64_t digits[2] = {digits_of((uint32_t)(number / 100000000)),
                          digits_of((uint32_t)(number % 100000000))};
    memcpy(buffer, digits, KEY_SIZE);
    return (struct bytes){buffer, KEY_SIZE};
}

uint64_t key_number(struct bytes key)
{
    uint64_t digits[2];
    if (key.size != KEY_SIZE)
        fatal("a key of %zu bytes", key.size);
    memcpy(digits, key.data, KEY_SIZE);
    return (uint64_t)number_of(digits[0]) * 100000000 + number_of(digits[1]);
}

void key_check(struct bytes key)
{
    char made[KEY_SIZE];
    key_make(made, key_number(key));
    if (memcmp(made, key.data, KEY_SIZE) != 0)
        fatal("a key that was never written");
}

uint64_t mix(uint64_t n)
{
    n = (n ^ n >> 32) * 0xd6e8feb86659fd93u;
    n = (n ^ n >> 32) * 0xd6e8feb86659fd93u;
    return n ^ n >> 32;
}

uint64_t random_next(struct random *random)
{
    return mix(random->state += 0x9e3779b97f4a7c15u);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    return (random_next(random) >> 32) * bound >> 32;
}

uint64_t first_stamp(uint64_t number)
{
    return mix(~number);
}

void values_init(struct values *values, size_t size)
{
    struct random random = {1};
    if (size < VALUE_SIZE_MIN)
        fatal("values have at least %d bytes", VALUE_SIZE_MIN);
    size_t pool_size = POOL_SIZE + size;
    values->size = size;
    values->pool = need(pool_size);
    for (size_t i = 0; i < pool_size; i++)
        values->pool[i] = (char)random_next(&random);
}

void values_deinit(struct values *values)
{
    free(values->pool);
    values->pool = NULL;
}

static const char *piece_of(const struct values *values, uint64_t stamp)
{
    return values->pool + stamp % POOL_SIZE;
}

static size_t noise_of(const struct values *values)
{
    return values->size / 2 - 2 * END_SIZE;
}

struct bytes value_make(const struct values *values, char *buffer,
                        uint64_t number, uint64_t stamp)
{
    size_t size = values->size, noise = noise_of(values);
    uint64_t head[2] = {number, stamp}, tail[2] = {stamp, mix(number ^ stamp)};
    memcpy(buffer, head, END_SIZE);
    memcpy(buffer + END_SIZE, piece_of(values, stamp), noise);
    memset(buffer + END_SIZE + noise, 'a', size - 2 * END_SIZE - noise);
    memcpy(buffer + size - END_SIZE, tail, END_SIZE);
    return (struct bytes){buffer, size};
}

uint64_t value_check(const struct values *values, struct bytes value,
                     uint64_t number)
{
    uint64_t head[2], tail[2];
    if (value.size != values->size)
        fatal("key %llu has a value of %zu bytes, %zu were written",
              (unsigned long long)number, value.size, values->size);
    memcpy(head, value.data, END_SIZE);
    memcpy(tail, (const char *)value.data + value.size - END_SIZE, END_SIZE);
    if (head[0] != number || tail[0] != head[1] ||
        tail[1] != mix(number ^ head[1]))
        fatal("the value of key %llu is not what was written",
              (unsigned long long)number);
    return head[1];
}

uint64_t value_check_all(const struct values *values, struct bytes value,
                         uint64_t number)
{
    uint64_t stamp = value_check(values, value, number);
    const char *data = (const char *)value.data + END_SIZE;
    size_t noise = noise_of(values);
    size_t rest = values->size - 2 * END_SIZE - noise;
    /* A run of one byte: the first is 'a', and each is like its neighbour. */
    if (memcmp(data, piece_of(values, stamp), noise) != 0 ||
        data[noise] != 'a' ||
        memcmp(data + noise, data + noise + 1, rest - 1) != 0)
        fatal("the inside of the value of key %llu is not what was written",
              (unsigned long long)number);
    return stamp;
}

/* Two rounds of bijections on the next power of two; numbers that fall outside
   go through again until they are inside. */
uint64_t permute(uint64_t n, uint64_t count)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll((count - 1) | 1);
    uint64_t mask = UINT64_MAX >> (64 - bits);
    unsigned half = (bits + 1) / 2;
    do {
        n = (n * 0xd6e8feb86659fd93u + 0x2545f4914f6cdd1du) & mask;
        n ^= n >> half;
        n = (n * 0x9e3779b97f4a7c15u) & mask;
        n ^= n >> half;
    } while (n >= count);
    return n;
}

void zipf_init(struct zipf *zipf, uint64_t n, double theta)
{
    double zeta = 0;
    for (uint64_t i = 1; i <= n; i++)
        zeta += pow((double)i, -theta);
    zipf->n = n;
    zipf->alpha = 1 / (1 - theta);
    zipf->zeta = zeta;
    zipf->second = 1 + pow(2, -theta);
    zipf->eta = (1 - pow(2 / (double)n, 1 - theta)) / (1 - zipf->second / zeta);
}

uint64_t zipf_next(const struct zipf *zipf, struct random *random)
{
    double u = (double)(random_next(random) >> 11) / 9007199254740992.0;
    double uz = u * zipf->zeta;
    if (uz < 1)
        return 0;
    if (uz < zipf->second)
        return 1;
    uint64_t rank = (uint64_t)((double)zipf->n *
                               pow(zipf->eta * u - zipf->eta + 1, zipf->alpha));
    return rank < zipf->n ? rank : zipf->n - 1;
}
