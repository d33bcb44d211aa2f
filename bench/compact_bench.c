/* Merging runs into one, in CPU time of one thread, on real files in the
   directory given (default: the current one):
   compact_bench [none|lz4|zstd] [runs] [entries per run] [directory]. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/random.h"
#include "compaction/compaction.h"

enum { KEY = 16, VALUE = 100, MAX_RUNS = 32 };

struct bench {
    char directory[256];
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files;
    struct sst_context context;
    struct table_owner owner;
    struct sst_writer_options table;
    struct version *version;
    uint64_t next_file;
};

static void check(adb_status status)
{
    if (status == ADB_OK)
        return;
    fprintf(stderr, "compact_bench: %s\n", status_message());
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t new_file(void *context)
{
    return ((struct bench *)context)->next_file++;
}

static void bench_init(struct bench *b, const char *parent,
                       enum sst_compression compression)
{
    snprintf(b->directory, sizeof b->directory, "%s/compact-XXXXXX", parent);
    if (!mkdtemp(b->directory)) {
        perror(b->directory);
        exit(1);
    }
    b->ledger.budget = 64 << 20;
    b->epoch = mem_aligned_alloc(64, sizeof *b->epoch);
    epoch_init(b->epoch);
    struct cache_options cache = {&b->ledger, b->epoch};
    check(cache_new(&cache, &b->cache));
    check(file_table_new(env_posix(), b->directory, 64, &b->files));
    b->context = (struct sst_context){.env = env_posix(),
                                      .directory = b->directory,
                                      .cache = b->cache,
                                      .epoch = b->epoch,
                                      .ledger = &b->ledger,
                                      .files = b->files};
    table_owner_init(&b->owner, &b->context);
    b->table = (struct sst_writer_options){.env = env_posix(),
                                           .directory = b->directory,
                                           .compression = compression,
                                           .filter_bits = 10,
                                           .ledger = &b->ledger};
    b->version = version_new_empty();
    b->next_file = 1;
}

static void remove_file(struct bench *b, uint64_t number)
{
    char *path = sst_path(b->directory, number);
    (void)env_unlink(env_posix(), path);
    mem_free(path);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, KEY);
}

/* Random keys in order; half of a value is compressible. */
static void write_run(struct bench *b, struct random *r, size_t entries,
                      struct table_place place, uint64_t seq,
                      struct version_edit *edit)
{
    uint8_t(*keys)[KEY] = mem_alloc(entries * KEY);
    uint8_t value[VALUE] = {0};
    struct kv_iter_ops ops = {0};
    struct kv_iter entry = {.ops = &ops, .valid = true, .kind = KV_PUT};
    struct sst_writer_options options = b->table;
    struct sst_writer *writer;
    struct table_info info = {0};
    for (size_t i = 0; i < entries; i++) {
        char text[32];
        snprintf(text, sizeof text, "%016llu",
                 (unsigned long long)random_below(r, 10000000000000000u));
        memcpy(keys[i], text, KEY);
    }
    qsort(keys, entries, KEY, compare_keys);
    options.number = new_file(b);
    check(sst_writer_open(&options, &writer));
    for (size_t i = 0; i < entries; i++) {
        if (i && memcmp(keys[i], keys[i - 1], KEY) == 0)
            continue;
        for (size_t p = 0; p < VALUE / 2; p += 8)
            put_u64(value + p, random_next(r));
        entry.key = slice_of(keys[i], KEY);
        entry.head = key_head8(keys[i], KEY);
        entry.value = slice_of(value, VALUE);
        entry.seq = seq + i;
        check(sst_writer_add(writer, &entry));
    }
    check(sst_writer_finish(writer, &info));
    check(version_edit_add_table(edit, place, &info));
    mem_free(keys);
}

static void make_runs(struct bench *b, size_t runs, size_t entries)
{
    struct version_edit edit = {0};
    struct version_step step;
    struct random r;
    random_seed(&r, 1);
    for (size_t i = 0; i < runs; i++)
        write_run(b, &r, entries, (struct table_place){0, i + 1},
                  1 + i * entries, &edit);
    check(version_build(b->version, &edit, &b->owner, &step));
    version_unref(b->version);
    b->version = step.next;
    step.next = NULL;
    version_step_deinit(&step);
    version_edit_deinit(&edit);
}

static void merge(struct bench *b, size_t runs)
{
    struct picker_source sources[MAX_RUNS];
    for (size_t i = 0; i < runs; i++)
        sources[i] = (struct picker_source){i, 0, b->version->runs[i].count};
    struct picker_plan plan = {.kind = PICKER_MERGE,
                               .sources = sources,
                               .source_count = runs,
                               .output_level = 1,
                               .output_run = 1,
                               .output_bottom = true,
                               .table_bytes = 32 << 20};
    struct compaction_job job = {.env = env_posix(),
                                 .directory = b->directory,
                                 .table = b->table,
                                 .version = b->version,
                                 .plan = &plan,
                                 .new_file = new_file,
                                 .context = b};
    struct version_edit edit = {0};
    struct compaction_result result;
    double start = cpu_seconds();
    check(compaction_run(&job, &edit, &result));
    double seconds = cpu_seconds() - start;
    double user_bytes = (double)result.entries_in * (KEY + VALUE);
    printf("%zu runs, %llu entries: %.0f MB/s of user data, %.0f ns an entry, "
           "%.2f output / input bytes\n",
           runs, (unsigned long long)result.entries_in,
           user_bytes / seconds / 1e6,
           seconds * 1e9 / (double)result.entries_in,
           (double)result.bytes_out / (double)result.bytes_in);
    for (size_t i = 0; i < edit.added_count; i++)
        remove_file(b, edit.added[i].info.number);
    version_edit_deinit(&edit);
}

static void bench_deinit(struct bench *b)
{
    version_unref(b->version);
    table_owner_deinit(&b->owner);
    cache_free(b->cache);
    epoch_deinit(b->epoch);
    mem_free(b->epoch);
    file_table_free(b->files);
    for (uint64_t n = 1; n < b->next_file; n++)
        remove_file(b, n);
    rmdir(b->directory);
}

static enum sst_compression compression_of(const char *name)
{
    if (strcmp(name, "lz4") == 0)
        return SST_COMPRESSION_LZ4;
    return strcmp(name, "zstd") == 0 ? SST_COMPRESSION_ZSTD
                                     : SST_COMPRESSION_NONE;
}

int main(int argc, char **argv)
{
    static struct bench b;
    size_t runs = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    size_t entries = argc > 3 ? strtoul(argv[3], NULL, 10) : 250000;
    if (runs < 1 || runs > MAX_RUNS || entries < 1) {
        fprintf(stderr, "compact_bench [none|lz4|zstd] [1..%d runs] "
                        "[entries per run] [directory]\n",
                MAX_RUNS);
        return 2;
    }
    bench_init(&b, argc > 4 ? argv[4] : ".",
               compression_of(argc > 1 ? argv[1] : "none"));
    make_runs(&b, runs, entries);
    for (int round = 0; round < 5; round++)
        merge(&b, runs);
    bench_deinit(&b);
    return 0;
}
