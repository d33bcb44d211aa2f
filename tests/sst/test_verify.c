/*
 * Verification finds what checksums cannot: tables that were written wrongly.
 * Frames are changed and sealed again; counts are changed where they are
 * compared. Each is told, in words, once.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "sst/sst_reader_internal.h"
#include "table_fixture.h"

enum { KEYS = 200 };

struct scene {
    struct fixture *f;
    unsigned count;
    char first[1024]; /* what was told first */
    enum sst_piece piece;
};

static void take_report(void *context, const struct sst_damage *damage)
{
    struct scene *s = context;
    if (s->count++ == 0) {
        snprintf(s->first, sizeof s->first, "%s", damage->text);
        s->piece = damage->piece;
    }
}

static void scene_init(struct scene *s)
{
    struct sst_writer_options options = {.block_size = 1024,
                                         .part_keys = 100,
                                         .filter_bits = 10};
    *s = (struct scene){.f = fixture_new(1 << 20)};
    for (size_t i = 0; i < KEYS; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key%06zu", i);
        model_add(&s->f->model, key, (size_t)n, i + 5,
                  i % 10 ? KV_PUT : KV_DELETE, i == 77 ? 70000 : 40);
    }
    model_sort(&s->f->model);
    write_model(s->f, &options);
    fixture_open(s->f, false);
}

static void scene_deinit(struct scene *s)
{
    fixture_free(s->f);
}

static void expect(struct scene *s, const char *message, enum sst_piece piece)
{
    s->count = 0;
    s->first[0] = '\0';
    adb_status status =
        sst_reader_verify(s->f->reader, take_report, NULL, s);
    if (status != ADB_CORRUPTION || !strstr(s->first, message) ||
        s->piece != piece)
        fail_msg("'%s' is told as: %s: %s", message, status_name(status),
                 s->first);
}

static void expect_sound(struct scene *s)
{
    check(sst_reader_verify(s->f->reader, take_report, NULL, s));
}

/* ---- counts -------------------------------------------------------------- */

static void expect_count(struct scene *s, uint64_t *place, const char *what)
{
    uint64_t before = *place;
    *place = before + 1;
    expect(s, what, SST_PIECE_TABLE);
    assert_int_equal(s->count, 1);
    *place = before;
    expect_sound(s);
}

static void test_counts(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct sst_properties *p = &s.f->reader->properties;
    expect_sound(&s);
    expect_count(&s, &p->info.entries, "number of entries is 200");
    expect_count(&s, &p->keys, "number of keys is 200");
    expect_count(&s, &p->info.tombstones, "number of tombstones is 20");
    expect_count(&s, &p->info.key_bytes, "size of all keys is");
    expect_count(&s, &p->info.value_bytes, "size of all values is");
    expect_count(&s, &p->extents, "number of extents is 1");
    expect_count(&s, &p->info.min_seq, "least sequence is 5");
    expect_count(&s, &p->info.max_seq, "greatest sequence is 204");
    expect_count(&s, &s.f->reader->info.checksum, "damage lies between blocks");
    scene_deinit(&s);
}

/* ---- frames -------------------------------------------------------------- */

typedef void (*change_fn)(uint8_t *raw, size_t size);

/* Changes a plain frame and seals it again, with the checksum of the whole
   file, so that nothing but its meaning is wrong. */
static void change_frame(struct scene *s, const struct sst_handle *h,
                         change_fn change)
{
    struct env_file *file;
    size_t span = sst_handle_span(h);
    uint8_t *frame = malloc(span);
    char *path = sst_path(s->f->directory, 7);
    check(env_open(s->f->env, path, ENV_WRITE, &file));
    check(env_file_read_full(file, h->offset, frame, span));
    change(frame, h->size);
    sst_frame_seal(frame, h->size, SST_COMPRESSION_NONE, 7, h->offset);
    check(env_file_write(file, h->offset, frame, span));
    check(env_file_close(file));
    mem_free(path);
    free(frame);
}

static void clear_filter(uint8_t *raw, size_t size)
{
    memset(raw, 0, size - SST_FILTER_TAIL);
}

static void test_filter(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    change_frame(&s, &s.f->reader->top.parts[1].filter, clear_filter);
    expect(&s, "a key is missing in the filter", SST_PIECE_BLOCK);
    scene_deinit(&s);
}

/* The prefix that all keys of a block share stands behind its header. */
static void raise_prefix(uint8_t *raw, size_t size)
{
    (void)size;
    assert_memory_equal(raw + 20, "key", 3);
    raw[20] = 'z';
}

static void lower_prefix(uint8_t *raw, size_t size)
{
    (void)size;
    raw[20] = 'a';
}

static void change_block(struct scene *s, uint32_t part, uint32_t block,
                         change_fn change)
{
    struct index_frame *index;
    check(sst_load_index(s->f->reader, part, &index));
    struct sst_handle h = index->index.blocks[block].handle;
    sst_discard_frame(&index->frame);
    change_frame(s, &h, change);
}

static void test_keys_out_of_place(void **state)
{
    (void)state;
    struct scene s;
    /* Filters would tell first. */
    for (int i = 0; i < 3; i++) {
        scene_init(&s);
        for (uint32_t p = 0; p < s.f->reader->top.count; p++)
            s.f->reader->top.parts[p].filter.size = 0;
        change_block(&s, 0, i ? 1 : 0, i == 1 ? lower_prefix : raise_prefix);
        expect(&s, i == 1 ? "entries out of order" : "above their separator",
               SST_PIECE_BLOCK);
        scene_deinit(&s);
    }
}

/* The block before is damaged, so that order alone does not show it. */
static void test_below_their_separator(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    for (uint32_t p = 0; p < s.f->reader->top.count; p++)
        s.f->reader->top.parts[p].filter.size = 0;
    change_block(&s, 0, 0, raise_prefix);
    change_block(&s, 0, 1, lower_prefix);
    expect(&s, "above their separator", SST_PIECE_BLOCK);
    assert_true(s.count >= 2);
    scene_deinit(&s);
}

static void test_part_bounds(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct sst_part *p = &s.f->reader->top.parts[0];
    adb_slice before = p->last_key;
    p->last_key = slice_of_string("key000000");
    expect(&s, "keys above the last of their part", SST_PIECE_INDEX);
    p->last_key = before;
    expect_sound(&s);
    /* A table that says it has more blocks than its index. */
    p->blocks++;
    expect(&s, "blocks where the top index says", SST_PIECE_INDEX);
    p->blocks--;
    scene_deinit(&s);
}

static void break_count(uint8_t *raw, size_t size)
{
    (void)size;
    put_u32(raw, 0);
}

static void lower_separator(uint8_t *raw, size_t size)
{
    raw[size - 1] = 0; /* of the last one */
}

static void test_index(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct sst_handle h = s.f->reader->top.parts[0].index;
    assert_int_equal(h.size, h.raw_size);
    change_frame(&s, &h, lower_separator);
    expect(&s, "keys above their separator", SST_PIECE_BLOCK);
    change_frame(&s, &h, break_count);
    expect(&s, "not an index", SST_PIECE_INDEX);
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_keys_out_of_place),
        cmocka_unit_test(test_below_their_separator),
        cmocka_unit_test(test_part_bounds),
        cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
