/*
 * Reads of one table with everything cached: get of present and of absent
 * keys, full scans both ways, seeks.
 *
 *   sst_read_bench [keys] [block size] [compression 0..2] [map 0|1]
 *
 * 16-byte keys, 100-byte values. Prints ns of thread time per operation, the
 * best of three rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/random.h"
#include "sst/sst_reader.h"
#include "sst/sst_writer.h"

enum { PROBES = 1000000, TABLE = 1 };

static struct sst_context context;
static struct sst_reader *reader;
static uint64_t keys;

static void must(adb_status status)
{
    if (status != ADB_OK) {
        fprintf(stderr, "%s: %s\n", status_name(status), status_message());
        exit(1);
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Key i: spread over the whole range, in order of i. */
static void make_key(uint64_t i, uint8_t key[16])
{
    uint64_t spread = i * (UINT64_MAX / (2 * keys + 2));
    uint64_t low = __builtin_bswap64(i * 0x9E3779B97F4A7C15u);
    spread = __builtin_bswap64(spread);
    memcpy(key, &spread, 8);
    memcpy(key + 8, &low, 8);
}

static void build(size_t block_size, int compression)
{
    struct sst_writer_options options = {
        .env = context.env,
        .directory = context.directory,
        .number = TABLE,
        .block_size = block_size,
        .compression = (enum sst_compression)compression,
        .filter_bits = 10,
        .ledger = context.ledger,
    };
    struct sst_writer *w;
    struct table_info info;
    must(sst_writer_open(&options, &w));
    struct kv_iter_ops ops = {0};
    uint8_t key[16], value[100];
    struct random random;
    random_seed(&random, 1);
    double start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        make_key(2 * i, key);
        for (size_t b = 0; b < sizeof value; b += 4)
            put_u32(value + b, b < 48 ? (uint32_t)random_next(&random) : 7);
        struct kv_iter entry = {.ops = &ops,
                                .valid = true,
                                .kind = KV_PUT,
                                .seq = i + 1,
                                .head = key_head8(key, 16),
                                .key = slice_of(key, 16),
                                .value = slice_of(value, sizeof value)};
        must(sst_writer_add(w, &entry));
    }
    must(sst_writer_finish(w, &info));
    printf("build        %8.1f ns/key, %.1f bytes/key\n",
           (now_ns() - start) / (double)keys, (double)info.size / (double)keys);
    must(sst_reader_open(&context, &info, &reader));
    table_info_deinit(&info);
}

static double gets(uint64_t odd, unsigned flags)
{
    struct random random;
    random_seed(&random, 99);
    uint64_t found = 0, sum = 0;
    double start = now_ns();
    for (int n = 0; n < PROBES; n++) {
        uint8_t key[16];
        struct sst_hit hit;
        make_key(2 * random_below(&random, keys) + odd, key);
        struct epoch_slot *inside = epoch_enter(context.epoch);
        adb_status status =
            sst_reader_get(reader, slice_of(key, 16), hash_key(key, 16),
                           KV_MAX_SEQ, flags, &hit);
        if (status == ADB_OK) {
            found++;
            sum += *(const uint8_t *)hit.value.data;
            cache_done(hit.frame);
        } else if (status != ADB_NOT_FOUND) {
            must(status);
        }
        epoch_leave(inside);
    }
    double ns = (now_ns() - start) / PROBES;
    if (found != (odd ? 0 : PROBES) || sum == 1)
        abort();
    return ns;
}

static double scan(bool backward, unsigned flags)
{
    struct kv_iter *it = sst_iter_new(reader, flags);
    uint64_t n = 0, sum = 0;
    double start = now_ns();
    if (backward)
        for (it->ops->seek_last(it); it->valid; kv_iter_prev(it), n++)
            sum += it->head;
    else
        for (it->ops->seek_first(it); it->valid; kv_iter_next(it), n++)
            sum += it->head;
    double ns = (now_ns() - start) / (double)keys;
    must(kv_iter_status(it));
    kv_iter_close(it);
    if (n != keys || sum == 1)
        abort();
    return ns;
}

static double seeks(void)
{
    struct random random;
    random_seed(&random, 5);
    struct kv_iter *it = sst_iter_new(reader, 0);
    double start = now_ns();
    for (int n = 0; n < PROBES / 4; n++) {
        uint8_t key[16];
        make_key(random_below(&random, 2 * keys - 2), key);
        it->ops->seek(it, slice_of(key, 16), KV_MAX_SEQ);
        if (!it->valid)
            abort();
    }
    double ns = (now_ns() - start) / (PROBES / 4);
    kv_iter_close(it);
    return ns;
}

static double best(double a, double b)
{
    return a == 0 || b < a ? b : a;
}

static void measure(void)
{
    scan(false, 0); /* fills the cache */
    double hit = 0, plain = 0, miss = 0, forward = 0, backward = 0, seek = 0,
           no_fill = 0;
    for (int round = 0; round < 3; round++) {
        hit = best(hit, gets(0, 0));
        plain = best(plain, gets(0, SST_SKIP_FILTER));
        miss = best(miss, gets(1, 0));
        forward = best(forward, scan(false, 0));
        backward = best(backward, scan(true, 0));
        no_fill = best(no_fill, scan(false, SST_NO_FILL));
        seek = best(seek, seeks());
    }
    printf("get hit      %8.1f ns (%.1f without the filter)\n", hit, plain);
    printf("get miss     %8.1f ns\n", miss);
    printf("seek         %8.1f ns\n", seek);
    printf("next         %8.1f ns/entry\n", forward);
    printf("prev         %8.1f ns/entry\n", backward);
    printf("next no fill %8.1f ns/entry\n", no_fill);
}

int main(int argc, char **argv)
{
    char directory[] = "sst-bench-XXXXXX";
    struct ledger ledger = {.budget = INT64_C(4) << 30};
    struct epoch *epoch = mem_aligned_alloc(64, sizeof *epoch);
    struct sst_counters *counters = mem_aligned_alloc(64, sizeof *counters);
    if (!mkdtemp(directory) || !epoch || !counters)
        return 1;
    memset(counters, 0, sizeof *counters);
    epoch_init(epoch);
    keys = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
    struct cache_options cache_options = {&ledger, epoch};
    context = (struct sst_context){
        .env = env_posix(),
        .directory = directory,
        .epoch = epoch,
        .ledger = &ledger,
        .counters = counters,
        .map_tables = argc > 4 && atoi(argv[4]),
    };
    must(cache_new(&cache_options, &context.cache));
    must(file_table_new(context.env, directory, 16, &context.files));
    build(argc > 2 ? strtoul(argv[2], NULL, 0) : 8192,
          argc > 3 ? atoi(argv[3]) : 0);
    measure();
    sst_reader_unref(reader);
    cache_free(context.cache);
    file_table_free(context.files);
    char *path = sst_path(directory, TABLE);
    unlink(path);
    rmdir(directory);
    mem_free(path);
    epoch_deinit(epoch);
    mem_free(epoch);
    mem_free(counters);
    return 0;
}
