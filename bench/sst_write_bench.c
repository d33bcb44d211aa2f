/*
 * Building tables, and the searches inside them, without an engine around:
 *
 *   sst_write_bench [directory] [entries]
 *
 * 16-byte keys (a counter, spread), 100-byte values that halve under
 * compression. Prints megabytes of user data a second of the thread's CPU time
 * and of wall time, and nanoseconds of the pieces of a point read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/random.h"
#include "sst/block_reader.h"
#include "sst/block_writer.h"
#include "sst/filter.h"
#include "sst/index.h"
#include "sst/sst_writer.h"

enum { KEY_SIZE = 16, VALUE_SIZE = 100 };

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_key(uint64_t i, uint8_t key[KEY_SIZE])
{
    /* Sorted and sparse: eight bytes that rise by a step, eight that look
       random. */
    uint64_t high = __builtin_bswap64(i * 0x123456789ABu);
    uint64_t low = i * 0x9E3779B97F4A7C15u;
    memcpy(key, &high, 8);
    memcpy(key + 8, &low, 8);
}

static uint8_t noise[1 << 20];

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, status_message());
    exit(1);
}

static void write_table(const char *directory, uint64_t entries,
                        size_t block_size, enum sst_compression compression,
                        const char *name)
{
    struct sst_writer_options o = {.env = env_posix(),
                                   .directory = directory,
                                   .number = 999999,
                                   .block_size = block_size,
                                   .compression = compression,
                                   .compression_level = 1,
                                   .filter_bits = 10};
    static const struct kv_iter_ops ops;
    struct kv_iter it = {.ops = &ops, .valid = true, .kind = KV_PUT};
    struct sst_writer *w;
    struct table_info info;
    uint8_t key[KEY_SIZE];

    if (sst_writer_open(&o, &w) != ADB_OK)
        die("open");
    double cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
    double wall = seconds(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < entries; i++) {
        make_key(i, key);
        it.key = slice_of(key, KEY_SIZE);
        it.head = key_head8(key, KEY_SIZE);
        it.seq = 1 + (i * 2654435761u) % (entries * 4);
        it.value = slice_of(noise + (i * 100) % (sizeof noise - 200),
                            VALUE_SIZE);
        if (sst_writer_add(w, &it) != ADB_OK)
            die("add");
    }
    double filled = seconds(CLOCK_MONOTONIC) - wall;
    if (sst_writer_finish(w, &info) != ADB_OK)
        die("finish");
    cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    double user = (double)entries * (KEY_SIZE + VALUE_SIZE) / 1e6;
    printf("%-5s %3zu KiB  %6.0f MB/s cpu  %6.0f MB/s before sync  "
           "%6.0f MB/s with it  %.1f bytes/entry\n",
           name, block_size >> 10, user / cpu, user / filled, user / wall,
           (double)info.size / (double)entries);
    char *path = sst_path(directory, o.number);
    (void)!env_unlink(o.env, path);
    mem_free(path);
    table_info_deinit(&info);
}

/* ---- the pieces of a read ---- */

enum { COLD_BYTES = 128 << 20, LOOKUPS = 2000000 };

static void search_blocks(size_t block_size)
{
    const uint32_t total = (uint32_t)(COLD_BYTES / block_size);
    struct sst_block_writer w = {.count = 0};
    struct sst_block *blocks = malloc(total * sizeof *blocks);
    uint64_t *first = malloc((total + 1) * sizeof *first);
    uint64_t i = 0;

    for (uint32_t b = 0; b < total; b++) {
        uint8_t key[KEY_SIZE];
        first[b] = i;
        sst_block_writer_clear(&w);
        while (!sst_block_writer_full(&w, KEY_SIZE + VALUE_SIZE, block_size)) {
            make_key(i, key);
            struct kv_entry e = {slice_of(key, KEY_SIZE),
                                 slice_of(noise, VALUE_SIZE),
                                 1 + (i * 2654435761u) % 100000000, KV_PUT};
            if (sst_block_writer_add(&w, &e, 0) != ADB_OK)
                die("block");
            i++;
        }
        uint8_t *raw = malloc(sst_block_writer_bound(&w));
        size_t size = sst_block_writer_finish(&w, raw);
        if (sst_block_open(&blocks[b], raw, size) != ADB_OK)
            die("block");
    }
    first[total] = i;

    /* 16 blocks stay in the first cache, all of them are in memory. */
    for (uint32_t hot = 16; hot <= total; hot *= total / 16) {
        struct random r;
        random_seed(&r, 1);
        uint64_t sum = 0;
        double t = seconds(CLOCK_THREAD_CPUTIME_ID);
        for (int k = 0; k < LOOKUPS; k++) {
            uint32_t b = (uint32_t)random_below(&r, hot);
            uint8_t key[KEY_SIZE];
            struct sst_block_entry e;
            bool ran_off;
            make_key(first[b] + random_below(&r, first[b + 1] - first[b]), key);
            if (sst_block_get(&blocks[b], slice_of(key, KEY_SIZE), KV_MAX_SEQ,
                              &e, &ran_off) != ADB_OK)
                die("get");
            sum += *(const uint8_t *)e.value.data;
        }
        t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
        printf("get in a %zu KiB block, %u blocks: %.0f ns (%" PRIu64 ")\n",
               block_size >> 10, hot, t * 1e9 / LOOKUPS, sum & 1);
    }

    uint64_t sum = 0;
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t b = 0; b < total; b++)
        for (uint32_t k = 0; k < blocks[b].count; k++) {
            struct sst_block_entry e;
            sst_block_entry(&blocks[b], k, &e);
            sum += e.seq + *(const uint8_t *)e.suffix.data;
        }
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    printf("step: %.1f ns", t * 1e9 / (double)i);
    t = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t b = 0; b < total; b++) {
        struct sst_block again;
        if (sst_block_open(&again, blocks[b].base, blocks[b].size) != ADB_OK)
            die("open");
    }
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    printf(", open: %.0f ns a block of %.0f entries (%" PRIu64 ")\n",
           t * 1e9 / total, (double)i / total, sum & 1);
    for (uint32_t b = 0; b < total; b++)
        free((void *)blocks[b].base);
    free(blocks);
    free(first);
    sst_block_writer_deinit(&w);
}

static void search_index(uint32_t count, unsigned parts)
{
    struct sst_index_builder b = {.count = 0};
    struct buffer raw = {0};
    struct sst_index *index = malloc(parts * sizeof *index);
    void **memory = malloc(parts * sizeof *memory);

    for (uint32_t i = 0; i < count; i++) {
        struct sst_handle h = {8 + (uint64_t)i * 4105, 4096, 4096};
        uint8_t key[KEY_SIZE];
        make_key(i * 35, key);
        if (sst_index_builder_add(&b, &h, false, slice_of(key, 7), false) !=
            ADB_OK)
            die("index");
    }
    if (sst_index_builder_finish(&b, &raw) != ADB_OK)
        die("index");
    for (unsigned p = 0; p < parts; p++) {
        uint8_t *copy = malloc(raw.size);
        memcpy(copy, raw.data, raw.size);
        memory[p] = malloc(sst_index_memory(copy, raw.size));
        if (sst_index_decode(copy, raw.size, UINT64_MAX / 2,
                             memory[p], &index[p]) != ADB_OK)
            die("index");
    }
    struct random r;
    random_seed(&r, 2);
    uint64_t sum = 0;
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int k = 0; k < LOOKUPS; k++) {
        uint8_t key[KEY_SIZE];
        make_key(random_below(&r, (uint64_t)count * 35 - 34), key);
        sum += sst_index_find(&index[random_below(&r, parts)],
                              slice_of(key, KEY_SIZE));
    }
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    printf("find in an index of %u, %u parts: %.0f ns (%" PRIu64 ")\n", count,
           parts, t * 1e9 / LOOKUPS, sum & 1);
    for (unsigned p = 0; p < parts; p++) {
        free((void *)index[p].raw);
        free(memory[p]);
    }
    free(index);
    free(memory);
    buffer_deinit(&raw);
    sst_index_builder_deinit(&b);
}

static void probe_filter(void)
{
    enum { KEYS = 65536 };
    uint64_t *hashes = malloc(KEYS * sizeof *hashes);
    uint8_t *bytes = malloc(sst_filter_size(KEYS, 10));
    struct sst_filter f;
    struct random r;

    random_seed(&r, 3);
    for (int i = 0; i < KEYS; i++)
        hashes[i] = random_next(&r);
    double t = seconds(CLOCK_THREAD_CPUTIME_ID);
    sst_filter_build(hashes, KEYS, 10, bytes);
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    printf("filter: build %.1f ns a key", t * 1e9 / KEYS);
    if (sst_filter_decode(bytes, sst_filter_size(KEYS, 10), &f) != ADB_OK)
        die("filter");
    uint64_t sum = 0;
    t = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int k = 0; k < LOOKUPS; k++)
        sum += sst_filter_may_contain(&f, random_next(&r));
    t = seconds(CLOCK_THREAD_CPUTIME_ID) - t;
    printf(", probe %.1f ns (%" PRIu64 ")\n", t * 1e9 / LOOKUPS, sum & 1);
    free(bytes);
    free(hashes);
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : ".";
    uint64_t entries = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    struct random r;

    random_seed(&r, 5);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = i % 100 < 50 ? (uint8_t)random_next(&r)
                                : (uint8_t)('a' + i % 5);
    for (size_t size = 4096; size <= 16384; size *= 2) {
        write_table(directory, entries, size, SST_COMPRESSION_NONE, "none");
        write_table(directory, entries, size, SST_COMPRESSION_LZ4, "lz4");
        write_table(directory, entries, size, SST_COMPRESSION_ZSTD, "zstd");
    }
    for (size_t size = 4096; size <= 16384; size *= 2)
        search_blocks(size);
    search_index(500, 1);
    search_index(500, 2000);
    search_index(2000, 1);
    search_index(2000, 500);
    probe_filter();
    return 0;
}
