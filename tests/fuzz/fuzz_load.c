/*
 * The formats that `albertdb load` reads: JSON lines, CSV, key<TAB>value, and
 * the escapes. What was read is written in each of the formats, as `dump` does
 * it, and must read back as it was.
 *
 * Mode: 0 JSON, 1 CSV, 2 TSV (modulo 3); in hexadecimal (4); CSV delimiter ';'
 * and columns 3 and 1 (8).
 */
#include "fuzz.h"
#include "json.h"
#include "parse.h"

enum { HEX = 4, OTHER_COLUMNS = 8 };

/* Pairs one behind the other: u32 key size, u32 value size, key, value. */
static void add_pair(struct text *pairs, const struct parser *p)
{
    uint32_t sizes[2] = {(uint32_t)p->key.size, (uint32_t)p->value.size};
    text_add(pairs, sizes, sizeof sizes);
    text_add(pairs, p->key.data, p->key.size);
    text_add(pairs, p->value.data, p->value.size);
}

/* Line by line, as load does, each in memory of its own, so that the address
   sanitizer sees a parser that reads past its end. */
static enum parsed read_line(struct parser *p, const char *data, size_t size)
{
    char *line = malloc(size);
    FUZZ_CHECK(line);
    memcpy(line, data, size);
    enum parsed parsed = parse_line(p, line, size);
    free(line);
    return parsed;
}

/* The pairs before the first malformed line. False: there is one, or the last
   record is not complete. */
static bool read_pairs(struct parser *p, const char *data, size_t size,
                       struct text *pairs)
{
    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t length = end ? (size_t)(end + 1 - data) : size;
        enum parsed parsed = read_line(p, data, length);
        FUZZ_CHECK((parsed == PARSED_OPEN) == (p->column != 0));
        if (parsed == PARSED_WRONG) {
            FUZZ_CHECK(p->wrong && p->wrong[0]);
            return false;
        }
        if (parsed == PARSED_PAIR)
            add_pair(pairs, p);
        data += length;
        size -= length;
    }
    return p->column == 0;
}

static void write_pair(enum file_format format, bool hex, adb_slice key,
                       adb_slice value, struct text *out)
{
    bool csv = format == FORMAT_CSV;
    void (*add)(struct text *, adb_slice) = csv ? text_add_csv : text_add_tsv;
    if (format == FORMAT_JSON) {
        text_add_json_pair(out, hex, key, &value);
        return;
    }
    add = hex ? text_add_hex : add;
    add(out, key);
    text_add(out, csv ? "," : "\t", 1);
    add(out, value);
    text_add(out, "\n", 1);
}

static void write_pairs(enum file_format format, bool hex,
                        const struct text *pairs, struct text *out)
{
    const char *p = pairs->data;
    for (size_t left = pairs->size; left > 0;) {
        uint32_t sizes[2];
        memcpy(sizes, p, sizeof sizes);
        p += sizeof sizes;
        write_pair(format, hex, slice_of(p, sizes[0]),
                   slice_of(p + sizes[0], sizes[1]), out);
        left -= sizeof sizes + sizes[0] + sizes[1];
        p += (size_t)sizes[0] + sizes[1];
    }
}

static void check_round_trip(enum file_format format, bool hex,
                             const struct text *pairs)
{
    struct text written = {0}, again = {0};
    struct parser p = {.format = format,
                       .hex = hex,
                       .delimiter = ',',
                       .key_column = 1,
                       .value_column = 2};
    write_pairs(format, hex, pairs, &written);
    FUZZ_CHECK(read_pairs(&p, written.data, written.size, &again));
    FUZZ_CHECK(slice_equal(slice_of(pairs->data, pairs->size),
                           slice_of(again.data, again.size)));
    parser_deinit(&p);
    text_free(&written);
    text_free(&again);
}

static void check_escapes(const char *data, size_t size)
{
    struct text bytes = {0}, shown = {0}, again = {0};
    if (text_add_unescaped(&bytes, data, size)) {
        text_add_escaped(&shown, slice_of(bytes.data, bytes.size));
        FUZZ_CHECK(is_utf8(shown.data, shown.size));
        FUZZ_CHECK(text_add_unescaped(&again, shown.data, shown.size));
        FUZZ_CHECK(slice_equal(slice_of(bytes.data, bytes.size),
                               slice_of(again.data, again.size)));
    }
    bytes.size = 0;
    (void)text_add_unhexed(&bytes, data, size);
    (void)text_add_unbase64(&bytes, data, size);
    text_free(&bytes);
    text_free(&shown);
    text_free(&again);
    json_free(json_parse(data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum file_format formats[] = {FORMAT_JSON, FORMAT_CSV,
                                               FORMAT_TSV};
    if (!size)
        return 0;
    unsigned mode = data[0];
    bool other = mode & OTHER_COLUMNS;
    struct parser p = {.format = formats[(mode & 3) % 3],
                       .hex = mode & HEX,
                       .delimiter = other ? ';' : ',',
                       .key_column = other ? 3 : 1,
                       .value_column = other ? 1 : 2};
    struct text pairs = {0};
    const char *input = (const char *)data + 1;
    (void)read_pairs(&p, input, size - 1, &pairs);
    for (int i = 0; i < 6; i++)
        check_round_trip(formats[i % 3], i >= 3, &pairs);
    check_escapes(input, size - 1);
    parser_deinit(&p);
    text_free(&pairs);
    return 0;
}
