/*
 * Writes the seeds: small real files, each behind its mode byte.
 *
 *   make_corpus DIRECTORY     into DIRECTORY/<target>/seed-<name>
 *
 * The output is the same every time; run it again when a format changes.
 */
#include <stdarg.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "disk.h"
#include "kv/batch.h"
#include "sst/block_writer.h"
#include "sst/compress.h"
#include "sst/filter.h"
#include "sst/index.h"
#include "sst/sst_writer.h"
#include "version/current.h"
#include "version/manifest.h"
#include "wal/wal.h"

static const char *root;

static void seed(const char *target, const char *name, unsigned mode,
                 adb_slice bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/seed-%s", root, target, name);
    FILE *f = fopen(path, "wb");
    if (!f || fputc((int)mode, f) < 0 ||
        fwrite(bytes.data, 1, bytes.size, f) != bytes.size || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static uint8_t *read_whole(struct env *env, const char *path, size_t *size)
{
    uint8_t *data;
    FUZZ_CHECK(env_read_file(env, path, 1 << 24, &data, size) == ADB_OK);
    return data;
}

/* ---- batches and the log ----------------------------------------------- */

static void make_batch(struct kv_batch *b, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        char key[16], value[32];
        snprintf(key, sizeof key, "user%04d", i * 7);
        snprintf(value, sizeof value, "value %d", i);
        bool put = i % 4 != 3;
        FUZZ_CHECK(kv_batch_add(b, put ? KV_PUT : KV_DELETE,
                                slice_of_string(key),
                                slice_of_string(put ? value : "")) == ADB_OK);
    }
}

static void seed_batch(void)
{
    struct kv_batch b = {0};
    make_batch(&b, 0, 1);
    seed("batch", "one", 0, buffer_slice(&b.bytes));
    make_batch(&b, 1, 6);
    seed("batch", "many", 0, buffer_slice(&b.bytes));
    kv_batch_deinit(&b);
}

static adb_status created(void *context, uint64_t first, unsigned count,
                          const struct watermark *known)
{
    (void)context;
    (void)first;
    (void)count;
    (void)known;
    return ADB_OK;
}

static uint64_t append(struct wal *w, uint64_t seq, struct wal_position *at)
{
    struct kv_batch b = {0};
    uint64_t bytes;
    make_batch(&b, (int)seq, 3);
    adb_slice piece = buffer_slice(&b.bytes);
    FUZZ_CHECK(wal_append(w, seq, 3, &piece, 1, at, &bytes) == ADB_OK);
    kv_batch_deinit(&b);
    return seq + 3;
}

/* The records of segment `number` and a few of the zeros behind them. */
static void add_segment(struct env *env, const char *path, size_t used,
                        struct buffer *out)
{
    size_t size;
    uint8_t *data = read_whole(env, path, &size);
    FUZZ_CHECK(buffer_append(out, data, MIN_OF(used + 40, size)) == ADB_OK);
    mem_free(data);
}

static void seed_wal(void)
{
    struct env *env = fuzz_disk_new();
    struct wal_options options = {.env = env,
                                  .directory = FUZZ_DIRECTORY,
                                  .access = WAL_ACCESS_WRITE,
                                  .min_segment = 4096,
                                  .max_segment = 4096,
                                  .segments_created = created};
    struct wal_end none = {0};
    struct watermark nothing = {0};
    struct wal_position first, second;
    struct wal *w;
    FUZZ_CHECK(wal_open(&options, 1, &none, &nothing, &w) == ADB_OK);
    uint64_t seq = append(w, 1, &first);
    seq = append(w, seq, &first);
    FUZZ_CHECK(wal_sync(w, first) == ADB_OK);
    seq = append(w, seq, &first);
    wal_rotate(w);
    seq = append(w, seq, &second);
    FUZZ_CHECK(wal_sync(w, second) == ADB_OK);
    append(w, seq, &second);
    wal_abandon(w);

    struct buffer both = {0};
    uint8_t split[2] = {0, 0};
    FUZZ_CHECK(buffer_append(&both, split, 2) == ADB_OK);
    add_segment(env, FUZZ_DIRECTORY "/000001.log", first.offset, &both);
    seed("wal", "one", 0, buffer_slice(&both));
    seed("wal", "one-repair", 1, buffer_slice(&both));
    seed("wal", "one-closed", 1 + 8, buffer_slice(&both));
    seed("wal", "one-synced", 1 + 2 + 32, buffer_slice(&both));
    put_u16(both.data, (uint16_t)(both.size - 2));
    add_segment(env, FUZZ_DIRECTORY "/000002.log", second.offset, &both);
    seed("wal", "two", 4, buffer_slice(&both));
    seed("wal", "two-repair", 1 + 4, buffer_slice(&both));
    seed("wal", "two-looked-at", 1 + 4 + 16, buffer_slice(&both));
    buffer_deinit(&both);
    env_memory_free(env);
}

/* ---- edits and manifests ----------------------------------------------- */

static void add_table(struct version_edit *e, uint64_t number, uint32_t level,
                      uint64_t run, const char *smallest, const char *largest)
{
    struct table_info info, borrowed = {.number = number,
                                        .size = 5000,
                                        .checksum = number * 77,
                                        .entries = 3,
                                        .tombstones = 1,
                                        .key_bytes = 10,
                                        .value_bytes = 1000,
                                        .min_seq = run * 100,
                                        .max_seq = run * 100 + 9,
                                        .created_ns = 123456789,
                                        .smallest = slice_of_string(smallest),
                                        .largest = slice_of_string(largest)};
    FUZZ_CHECK(table_info_copy(&borrowed, &info) == ADB_OK);
    FUZZ_CHECK(version_edit_add_table(e, (struct table_place){level, run},
                                      &info) == ADB_OK);
}

enum { EDITS = 4 };

static void make_edits(struct version_edit *e)
{
    struct wal_end end = {1, 512, UINT64_C(0x1122334455667788), 205};
    for (uint64_t i = 1; i <= 2; i++)
        FUZZ_CHECK(version_edit_create_segment(&e[0], i) == ADB_OK);
    e[0].next_file = 3;
    e[0].next_run = 1;
    add_table(&e[1], 11, 0, 1, "a", "m");
    add_table(&e[1], 12, 0, 1, "n", "z");
    FUZZ_CHECK(version_edit_end_segment(&e[1], &end) == ADB_OK);
    e[1].next_file = 13;
    e[1].next_run = 2;
    e[1].last_seq = 109;
    add_table(&e[2], 13, 0, 2, "c", "d");
    FUZZ_CHECK(version_edit_remove_segment(&e[2], 1) == ADB_OK);
    e[2].synced_through = (struct watermark){2, 96, 210};
    e[2].last_seq = 209;
    FUZZ_CHECK(version_edit_remove_table(&e[3], 12) == ADB_OK);
    FUZZ_CHECK(version_edit_move_table(
                   &e[3], 11, (struct table_place){5, 1}) == ADB_OK);
}

static void seed_edits(const struct version_edit *e)
{
    for (size_t i = 0; i < EDITS; i++) {
        struct buffer bytes = {0};
        char name[16];
        snprintf(name, sizeof name, "%zu", i);
        FUZZ_CHECK(version_edit_encode(&e[i], &bytes) == ADB_OK);
        seed("edit", name, 0, buffer_slice(&bytes));
        buffer_deinit(&bytes);
    }
}

static void seed_current(struct env *env, const struct manifest_writer *w,
                         bool closed)
{
    struct current c = {closed, 1, w->length, w->checksum};
    bool maybe;
    size_t size;
    FUZZ_CHECK(current_write(env, FUZZ_DIRECTORY, &c, &maybe) == ADB_OK);
    uint8_t *line = read_whole(env, FUZZ_DIRECTORY "/CURRENT", &size);
    seed("manifest", closed ? "current-closed" : "current", 2 + closed,
         slice_of(line, size));
    mem_free(line);
}

static void seed_manifest(void)
{
    struct env *env = fuzz_disk_new();
    struct version_edit edits[EDITS] = {0};
    const struct version_edit *all[EDITS];
    struct manifest_writer w = {0};
    size_t size;
    make_edits(edits);
    seed_edits(edits);
    for (size_t i = 0; i < EDITS; i++)
        all[i] = &edits[i];
    FUZZ_CHECK(manifest_writer_create(&w, env, FUZZ_DIRECTORY, 1) == ADB_OK);
    FUZZ_CHECK(manifest_writer_append(&w, RECORD_EDIT, all, 2) == ADB_OK);
    FUZZ_CHECK(manifest_writer_sync(&w) == ADB_OK);
    seed_current(env, &w, false);
    FUZZ_CHECK(manifest_writer_append(&w, RECORD_EDIT, all + 2, 1) == ADB_OK);
    uint8_t *data =
        read_whole(env, FUZZ_DIRECTORY "/MANIFEST-000001", &size);
    seed("manifest", "open", 0, slice_of(data, size));
    seed("manifest", "open-repair", 1, slice_of(data, size));
    mem_free(data);
    FUZZ_CHECK(manifest_writer_sync(&w) == ADB_OK);
    FUZZ_CHECK(manifest_writer_append(&w, RECORD_CLOSE, all + 3, 1) ==
               ADB_OK);
    seed_current(env, &w, true);
    data = read_whole(env, FUZZ_DIRECTORY "/MANIFEST-000001", &size);
    seed("manifest", "closed-repair", 1, slice_of(data, size));
    seed("manifest", "closed-previous", 1 + 4, slice_of(data, size));
    mem_free(data);
    manifest_writer_deinit(&w);
    for (size_t i = 0; i < EDITS; i++)
        version_edit_deinit(&edits[i]);
    env_memory_free(env);
}

/* ---- tables ------------------------------------------------------------ */

enum { NUMBER = 7, LARGE = 300 };

struct shape {
    const char *name;
    int keys;
    enum sst_compression compression;
    unsigned filter_bits;
    bool extents;
};

static adb_status no_read(struct kv_iter *it, uint64_t offset, void *data,
                          size_t size)
{
    memcpy(data, (const uint8_t *)it->value.data + offset, size);
    return ADB_OK;
}

static void add_entry(struct sst_writer *w, const char *key, uint64_t seq,
                      enum kv_kind kind, adb_slice value)
{
    static const struct kv_iter_ops ops = {.read_value = no_read};
    struct kv_iter it = {.ops = &ops,
                         .valid = true,
                         .kind = kind,
                         .seq = seq,
                         .head = key_head8(key, strlen(key)),
                         .key = slice_of_string(key),
                         .value = value};
    FUZZ_CHECK(sst_writer_add(w, &it) == ADB_OK);
}

static uint8_t *build_table(const struct shape *s, size_t *size)
{
    static uint8_t large[LARGE];
    struct env *env = fuzz_disk_new();
    struct table_info info;
    struct sst_writer *w;
    struct sst_writer_options o = {.env = env,
                                   .directory = FUZZ_DIRECTORY,
                                   .number = NUMBER,
                                   .block_size = 200,
                                   .compression = s->compression,
                                   .filter_bits = s->filter_bits,
                                   .part_keys = 8,
                                   .extent_threshold = LARGE - 1};
    FUZZ_CHECK(sst_writer_open(&o, &w) == ADB_OK);
    for (int i = 0; i < s->keys; i++) {
        char key[16], value[64];
        snprintf(key, sizeof key, "user%04d", i * 7);
        snprintf(value, sizeof value, "a value like others %d %d %d", i, i, i);
        enum kv_kind kind = i % 7 == 6 ? KV_DELETE : KV_PUT;
        adb_slice v = slice_of_string(kind == KV_PUT ? value : "");
        if (s->extents && i == s->keys / 2)
            v = slice_of(large, LARGE);
        add_entry(w, key, 1000 + (uint64_t)i, kind, v);
        for (uint64_t old = i % 5 == 0 ? 12 : 0; old > 0; old--)
            add_entry(w, key, old * 10, KV_PUT, slice_of("old", 3));
    }
    FUZZ_CHECK(sst_writer_finish(w, &info) == ADB_OK);
    table_info_deinit(&info);
    uint8_t *data = read_whole(env, FUZZ_DIRECTORY "/000007.sst", size);
    env_memory_free(env);
    return data;
}

static void seed_piece(const char *name, unsigned mode, const uint8_t *data,
                       const struct sst_handle *h)
{
    uint8_t *raw = malloc(h->raw_size);
    FUZZ_CHECK(sst_decompress((enum sst_compression)data[h->offset + h->size],
                              data + h->offset, h->size, raw,
                              h->raw_size) == ADB_OK);
    seed("parts", name, mode, slice_of(raw, h->raw_size));
    free(raw);
}

static void seed_parts(const uint8_t *data, size_t size)
{
    const uint8_t *bytes = data + size - SST_FOOTER_SIZE;
    struct sst_footer footer;
    struct sst_top top;
    FUZZ_CHECK(sst_footer_decode(bytes, NUMBER, size, "t", &footer) ==
               ADB_OK);
    const struct sst_handle *h = &footer.top;
    FUZZ_CHECK(sst_top_decode(data + h->offset, h->raw_size, size, &top) ==
               ADB_OK);
    seed_piece("index", 0, data, &top.parts[0].index);
    seed_piece("filter", 1, data, &top.parts[0].filter);
    seed_piece("top", 2, data, h);
    seed_piece("properties", 3, data, &footer.properties);
    seed("parts", "footer", 4, slice_of(bytes, SST_FOOTER_SIZE));
    sst_top_deinit(&top);
}

static void seed_packed(const char *name, enum sst_compression kind)
{
    static const char text[] = "words, words, words and words; words again, "
                               "as words come, words upon words of words";
    struct sst_compressor *c;
    uint8_t out[1024] = {(uint8_t)kind};
    FUZZ_CHECK(sst_compressor_new(kind, 0, &c) == ADB_OK);
    put_u16(out + 1, sizeof text);
    size_t size = sst_compress(c, text, sizeof text, out + 3);
    seed("parts", name, 5, slice_of(out, 3 + size));
    sst_compressor_free(c);
}

static void seed_tables(void)
{
    static const struct shape shapes[] = {
        {"plain", 12, SST_COMPRESSION_NONE, 10, false},
        {"lz4", 20, SST_COMPRESSION_LZ4, 0, false},
        {"zstd", 20, SST_COMPRESSION_ZSTD, 10, true},
        {"extent", 9, SST_COMPRESSION_NONE, 0, true},
        {"one", 1, SST_COMPRESSION_NONE, 10, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char name[32];
        size_t size;
        uint8_t *data = build_table(&shapes[i], &size);
        seed("table", shapes[i].name, i & 6, slice_of(data, size));
        snprintf(name, sizeof name, "%s-repair", shapes[i].name);
        seed("table", name, 1 + ((i << 1) & 6), slice_of(data, size));
        if (i == 0)
            seed_parts(data, size);
        mem_free(data);
    }
    seed_packed("lz4", SST_COMPRESSION_LZ4);
    seed_packed("zstd", SST_COMPRESSION_ZSTD);
}

static void seed_block(const char *name, bool mixed, bool same_seq)
{
    struct sst_block_writer w = {0};
    for (int i = 0; i < 12; i++) {
        char key[16];
        snprintf(key, sizeof key, "user%04d", i * 7);
        bool put = !mixed || i % 3;
        struct kv_entry e = {.key = slice_of_string(key),
                             .value = slice_of_string(put ? "value" : ""),
                             .seq = same_seq ? 50 : 1000 - (uint64_t)i * 60,
                             .kind = put ? KV_PUT : KV_DELETE};
        uint64_t extent = mixed && i == 4 ? 4096 : 0;
        if (extent)
            e.value = slice_of(NULL, 5000);
        FUZZ_CHECK(sst_block_writer_add(&w, &e, extent) == ADB_OK);
    }
    uint8_t *out = malloc(sst_block_writer_bound(&w));
    FUZZ_CHECK(out);
    size_t size = sst_block_writer_finish(&w, out);
    seed("block", name, 0, slice_of(out, size));
    free(out);
    sst_block_writer_deinit(&w);
}

/* ---- texts ------------------------------------------------------------- */

static void seed_load(void)
{
    seed("load", "json", 0,
         slice_of_string("{\"key\":\"a\\u00e9\\ud83d\\ude00\",\"value\":\"x "
                         "\\\"y\\\" \\n\"}\n"
                         "{\"value\":{\"base64\":\"AP8=\"},\"key\":\"b\"}\r\n"
                         "\n{ \"key\" : \"\" , \"value\" : \"\" }"));
    seed("load", "csv", 1,
         slice_of_string("name,text\na,1\n\"b \"\"c\"\"\",\"two\nlines\",x\n"));
    seed("load", "csv-columns", 1 + 8,
         slice_of_string("1;x;a\r\n\"2;\";;\"b\"\n"));
    seed("load", "csv-hex", 1 + 4,
         slice_of_string("\"61\",00ff\n,\nC3A9,\"\"\r\n"));
    seed("load", "json-hex", 4,
         slice_of_string("{\"key\":\"00fF\",\"value\":\"\"}\n"));
    seed("load", "tsv", 2,
         slice_of_string("a\t1\nb\\x00\\\\\tc\\td\\n\xc3\xa9\n\t\n"));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus DIRECTORY\n");
        return 2;
    }
    root = argv[1];
    mkdir(root, 0777);
    seed_batch();
    seed_wal();
    seed_manifest();
    seed_tables();
    seed_block("plain", false, true);
    seed_block("sequences", false, false);
    seed_block("mixed", true, false);
    seed_load();
    return 0;
}
