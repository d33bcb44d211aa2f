/*
 * The formats that `albertdb load` reads: JSON lines, CSV, key<TAB>value, and
 * the escapes of text.c. The library is played by a few functions here that
 * keep the pairs; as JSON lines they must load as they were.
 *
 * Mode: 0 JSON, 1 CSV, 2 TSV (modulo 3); with a header line (4); CSV
 * delimiter ';' and columns 3 and 1 (8).
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli.h"
#include "fuzz.h"

enum { HEADER = 4, OTHER_COLUMNS = 8 };

/* ---- the library ------------------------------------------------------- */

struct adb_batch {
    struct text pairs; /* u32 key size, u32 value size, key, value */
    size_t count;
};

static struct text loaded; /* what adb_write took */

adb_batch *adb_batch_new(void)
{
    return calloc(1, sizeof(adb_batch));
}

void adb_batch_free(adb_batch *batch)
{
    text_free(&batch->pairs);
    free(batch);
}

void adb_batch_clear(adb_batch *batch)
{
    batch->pairs.size = 0;
}

size_t adb_batch_size(const adb_batch *batch)
{
    return batch->pairs.size;
}

adb_status adb_batch_put(adb_batch *batch, const void *key, size_t key_size,
                         const void *value, size_t value_size)
{
    uint32_t sizes[2] = {(uint32_t)key_size, (uint32_t)value_size};
    if (key_size > ADB_MAX_KEY_SIZE)
        return ADB_TOO_LARGE;
    text_add(&batch->pairs, sizes, sizeof sizes);
    text_add(&batch->pairs, key, key_size);
    text_add(&batch->pairs, value, value_size);
    return ADB_OK;
}

adb_status adb_write(adb *db, const adb_write_options *options,
                     const adb_batch *batch)
{
    (void)db;
    (void)options;
    text_add(&loaded, batch->pairs.data, batch->pairs.size);
    return ADB_OK;
}

const char *adb_error_message(void)
{
    return "too large";
}

int fail_status(const char *what, adb_status status)
{
    (void)what;
    (void)status;
    return EXIT_FAILED;
}

/* ---- */

static void load(enum file_format format, unsigned mode, const void *data,
                 size_t size)
{
    char path[64];
    int fd = memfd_create("load", 0);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    char *args[] = {path, NULL};
    bool other = mode & OTHER_COLUMNS;
    struct cli c = {.verb = "load",
                    .format = format,
                    .header = mode & HEADER,
                    .delimiter = other ? ';' : ',',
                    .key_column = other ? 3 : 1,
                    .value_column = other ? 1 : 2,
                    .args = args,
                    .arg_count = 1};
    text_free(&loaded);
    loaded = (struct text){0};
    run_load(&c, NULL);
    close(fd);
}

/* All loaded pairs as JSON lines. */
static void dump(struct text *lines)
{
    const char *p = loaded.data;
    for (size_t left = loaded.size; left > 0;) {
        uint32_t sizes[2];
        memcpy(sizes, p, sizeof sizes);
        left -= sizeof sizes + sizes[0] + sizes[1];
        p += sizeof sizes;
        text_add_string(lines, "{\"key\":");
        text_add_json(lines, slice_of(p, sizes[0]));
        text_add_string(lines, ",\"value\":");
        text_add_json(lines, slice_of(p + sizes[0], sizes[1]));
        text_add_string(lines, "}\n");
        p += (size_t)sizes[0] + sizes[1];
    }
}

static void check_escapes(const uint8_t *data, size_t size)
{
    struct text bytes = {0}, shown = {0}, again = {0};
    if (text_add_unescaped(&bytes, (const char *)data, size)) {
        text_add_escaped(&shown, slice_of(bytes.data, bytes.size));
        FUZZ_CHECK(text_add_unescaped(&again, shown.data, shown.size));
        FUZZ_CHECK(slice_equal(slice_of(bytes.data, bytes.size),
                               slice_of(again.data, again.size)));
    }
    bytes.size = 0;
    (void)text_add_unhexed(&bytes, (const char *)data, size);
    (void)text_add_unbase64(&bytes, (const char *)data, size);
    text_free(&bytes);
    text_free(&shown);
    text_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum file_format formats[] = {FORMAT_JSON, FORMAT_CSV,
                                               FORMAT_TSV};
    if (!size)
        return 0;
    unsigned mode = data[0];
    load(formats[(mode & 3) % 3], mode, data + 1, size - 1);
    struct text lines = {0}, first = loaded;
    dump(&lines);
    loaded = (struct text){0};
    load(FORMAT_JSON, 0, lines.data, lines.size);
    FUZZ_CHECK(slice_equal(slice_of(first.data, first.size),
                           slice_of(loaded.data, loaded.size)));
    check_escapes(data + 1, size - 1);
    text_free(&lines);
    text_free(&first);
    text_free(&loaded);
    loaded = (struct text){0};
    return 0;
}
