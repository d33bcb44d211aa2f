/*
 * Salvage of damaged tables: whatever byte is damaged, whatever is cut off or
 * zeroed, each version outside of damaged blocks and values is given, in order
 * and with its value, no other; and what is missing lies in keys that were
 * reported.
 */
#include <errno.h>
#include <fcntl.h>

#include "env/env_fault.h"
#include "sst/format.h"
#include "sst/sst_reader_internal.h"
#include "sst/sst_salvage.h"
#include "support.h"
#include "table_fixture.h"

enum { ENTRIES_MAX = 2000, REPORTS_MAX = 400 };

/* Where each version lies in the file. */
struct place {
    uint64_t block, block_end, extent, extent_end; /* extent 0: none */
};
struct report {
    enum sst_piece piece;
    adb_status status;
    char from[64], to[64];
    bool has_from, has_to;
};
struct world {
    struct fixture *f;
    struct place places[ENTRIES_MAX];
    uint8_t *bytes; /* of the whole file, sound */
    struct report reports[REPORTS_MAX];
    size_t report_count;
    uint64_t footer, top, parts; /* offsets; parts: end of data */
};

/* ---- the table ---- */

static void place_block(struct world *w, struct sst_block *b,
                        const struct sst_handle *h, size_t *next)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        struct place *p = &w->places[(*next)++];
        sst_block_entry(b, i, &e);
        *p = (struct place){h->offset, h->offset + sst_handle_span(h), 0, 0};
        if (!e.value.data) {
            p->extent = e.extent_offset;
            p->extent_end = e.extent_offset + sst_extent_span(e.value.size);
        }
    }
}

static void list_places(struct world *w)
{
    struct sst_reader *r = w->f->reader;
    size_t next = 0;
    for (uint32_t part = 0; part < r->top.count; part++) {
        struct index_frame *index;
        check(sst_load_index(r, part, &index));
        for (uint32_t i = 0; i < index->index.count; i++) {
            struct block_frame *block;
            check(sst_load_block(r, part, index, i, 0, &block));
            place_block(w, &block->block, &index->index.blocks[i].handle,
                        &next);
            mem_free(block);
        }
        mem_free(index);
    }
    assert_int_equal(next, w->f->model.count);
}

static void load_file(struct world *w)
{
    char *path = sst_path(w->f->directory, 7);
    size_t size;
    check(env_read_file(w->f->env, path, (size_t)1 << 30, &w->bytes, &size));
    assert_int_equal(size, w->f->info.size);
    mem_free(path);
}

static void make(struct world *w, enum sst_compression compression, size_t keys,
                 unsigned filter_bits)
{
    *w = (struct world){.f = fixture_new(1 << 20)};
    for (size_t i = 0; i < keys; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key%05zu", i);
        size_t versions = i % 37 == 5 ? 30 : 1;
        for (size_t v = 0; v < versions; v++)
            model_add(&w->f->model, key, (size_t)n, 100 + i * 40 + v,
                      i % 9 ? KV_PUT : KV_DELETE,
                      i % 50 == 21 ? 70000 + i : i % 23 * 3);
    }
    model_sort(&w->f->model);
    struct sst_writer_options options = {.block_size = 700,
                                         .compression = compression,
                                         .part_keys = 70,
                                         .filter_bits = filter_bits};
    write_model(w->f, &options);
    fixture_open(w->f, false);
    list_places(w);
    load_file(w);
    w->footer = w->f->reader->data_end;
}

static void free_world(struct world *w)
{
    mem_free(w->bytes);
    fixture_free(w->f);
}

/* ---- damage ---- */

static void write_at(struct world *w, uint64_t offset, const void *data,
                     size_t size)
{
    char *path = sst_path(w->f->directory, 7);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, (off_t)offset), size);
    close(fd);
    mem_free(path);
}

static void cut_at(struct world *w, uint64_t size)
{
    char *path = sst_path(w->f->directory, 7);
    assert_int_equal(truncate(path, (off_t)size), 0);
    mem_free(path);
}

static void restore(struct world *w, uint64_t from)
{
    write_at(w, from, w->bytes + from, w->f->info.size - from);
}

/* ---- the oracle ---- */

static void on_damage(void *context, const struct sst_damage *d)
{
    struct world *w = context;
    assert_true(w->report_count < REPORTS_MAX);
    struct report *r = &w->reports[w->report_count++];
    assert_non_null(strstr(d->text, "000007.sst"));
    r->piece = d->piece;
    r->status = d->status;
    r->has_from = d->from.data != NULL;
    r->has_to = d->to.data != NULL;
    snprintf(r->from, sizeof r->from, "%.*s", (int)d->from.size,
             d->from.data ? (const char *)d->from.data : "");
    snprintf(r->to, sizeof r->to, "%.*s", (int)d->to.size,
             d->to.data ? (const char *)d->to.data : "");
}

static bool is_reported(const struct world *w, adb_slice key)
{
    for (size_t i = 0; i < w->report_count; i++) {
        const struct report *r = &w->reports[i];
        if ((!r->has_from ||
             slice_compare(slice_of_string(r->from), key) <= 0) &&
            (!r->has_to || slice_compare(key, slice_of_string(r->to)) <= 0) &&
            r->piece != SST_PIECE_FILTER)
            return true;
    }
    return false;
}

static bool meets(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

/* Is version i outside of [from, to)? */
static bool is_whole(const struct world *w, size_t i, uint64_t from,
                     uint64_t to)
{
    const struct place *p = &w->places[i];
    return !meets(p->block, p->block_end, from, to) &&
           !(p->extent && meets(p->extent, p->extent_end, from, to));
}

static void expect_whole_value(struct kv_iter *it, const struct model_entry *e)
{
    if (it->kind == KV_DELETE)
        return;
    if (!it->value.data) {
        uint8_t piece[100];
        check(it->ops->read_value(it, e->value_size - 100, piece, 100));
        check(kv_iter_load(it));
        assert_memory_equal(
            (const uint8_t *)it->value.data + e->value_size - 100, piece, 100);
    }
    expect_bytes(e, it->value.data, it->value.size);
}

/* All versions outside of the damaged bytes [from, to), and only those. */
static void salvage(struct world *w, bool known, uint64_t from, uint64_t to)
{
    struct table_info bare = {.number = 7};
    struct sst_salvage_options o = {.context = &w->f->context,
                                    .info = known ? &w->f->info : &bare,
                                    .report = on_damage,
                                    .caller = w};
    struct kv_iter *it;
    struct sst_salvaged result;
    uint64_t lost = 0;
    w->report_count = 0;
    file_table_forget(w->f->files, 7);
    check(sst_salvage_new(&o, &it));
    it->ops->seek_first(it);
    for (size_t i = 0; i < w->f->model.count; i++) {
        const struct model_entry *e = &w->f->model.entries[i];
        if (!is_whole(w, i, from, to)) {
            lost++;
            continue;
        }
        expect_entry(it, e);
        expect_whole_value(it, e);
        kv_iter_next(it);
    }
    check(kv_iter_status(it));
    assert_false(it->valid);
    for (size_t i = 0; i < w->f->model.count && lost; i++)
        if (!is_whole(w, i, from, to) &&
            !is_reported(w, model_key(&w->f->model.entries[i])))
            fail_msg("version %zu is lost and not reported", i);
    sst_salvage_result(it, &result);
    assert_int_equal(result.entries, w->f->model.count - lost);
    assert_true(!known || result.lost_known);
    if (result.lost_known)
        assert_int_equal(result.lost, lost);
    assert_int_equal(result.pieces, w->report_count);
    kv_iter_close(it);
}

/* ---- tests ---- */

static void test_sound(void **state)
{
    (void)state;
    for (int compression = 0; compression <= 2; compression++) {
        static struct world w;
        make(&w, (enum sst_compression)compression, 200, 10);
        salvage(&w, true, 0, 0);
        assert_int_equal(w.report_count, 0);
        salvage(&w, false, 0, 0);
        assert_int_equal(w.report_count, 0);
        free_world(&w);
    }
}

static void test_every_byte(void **state)
{
    (void)state;
    for (int compression = 0; compression <= 2; compression++) {
        static struct world w;
        make(&w, (enum sst_compression)compression, 90, 10);
        uint64_t step = test_scaled(compression == 1 ? 1 : 3, 11);
        uint64_t in_extents = 0;
        for (uint64_t at = 0; at < w.f->info.size; at += step) {
            uint8_t byte = w.bytes[at] ^ (uint8_t)(1u << at % 8);
            /* Most of the file is large values: some of them do. */
            if (at % 4096 > 40 && w.bytes[at] && ++in_extents % 500 &&
                at < w.footer - 6000)
                continue;
            write_at(&w, at, &byte, 1);
            salvage(&w, at % 3 != 0, at, at + 1);
            write_at(&w, at, &w.bytes[at], 1);
        }
        free_world(&w);
    }
}

/* Two pieces at once: an index and, in its part, a block. */
static void test_index_and_block(void **state)
{
    (void)state;
    for (int compression = 0; compression <= 2; compression++) {
        static struct world w;
        make(&w, (enum sst_compression)compression, 300, 10);
        const struct sst_top *top = &w.f->reader->top;
        for (uint32_t part = 0; part < top->count; part++) {
            uint64_t at = top->parts[part].index.offset + 9;
            uint8_t byte = w.bytes[at] ^ 4;
            write_at(&w, at, &byte, 1);
            for (size_t i = 0; i < w.f->model.count; i += 3) {
                uint64_t block = w.places[i].block + 21;
                byte = w.bytes[block] ^ 64;
                write_at(&w, block, &byte, 1);
                salvage(&w, true, block, block + 1);
                write_at(&w, block, &w.bytes[block], 1);
            }
            write_at(&w, at, &w.bytes[at], 1);
        }
        free_world(&w);
    }
}

static void test_cut(void **state)
{
    (void)state;
    for (int compression = 0; compression <= 2; compression++) {
        static struct world w;
        make(&w, (enum sst_compression)compression, 150, 10);
        uint64_t size = w.f->info.size;
        for (uint64_t at = 0; at < size;
             at += at + 3000 < size ? 997 : test_scaled(11, 70)) {
            cut_at(&w, at);
            salvage(&w, at % 3 != 0, at, size);
            restore(&w, at);
        }
        free_world(&w);
    }
}

static void test_zeroed_sectors(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    for (int compression = 0; compression <= 2; compression++) {
        static struct world w;
        make(&w, (enum sst_compression)compression, 150, 0);
        for (uint64_t at = 0; at < w.f->info.size; at += 512) {
            size_t n = (size_t)MIN_OF(w.f->info.size - at,
                                      at % 1024 ? 512u : 4096u);
            write_at(&w, at, zeros, n);
            /* Zeros may have been there before. */
            if (memcmp(w.bytes + at, zeros, n) != 0)
                salvage(&w, true, at, at + n);
            restore(&w, at);
        }
        free_world(&w);
    }
}

/* Whole, but not the table that the manifest means. */
static void test_foreign(void **state)
{
    (void)state;
    static struct world w, other;
    make(&w, SST_COMPRESSION_LZ4, 100, 10);
    make(&other, SST_COMPRESSION_LZ4, 101, 10);
    struct sst_salvage_options o = {.context = &w.f->context,
                                    .info = &other.f->info,
                                    .report = on_damage,
                                    .caller = &w};
    struct kv_iter *it;
    check(sst_salvage_new(&o, &it));
    it->ops->seek_first(it);
    assert_false(it->valid);
    check(kv_iter_status(it));
    assert_int_equal(w.report_count, 1);
    assert_string_equal(w.reports[0].from, "key00000");
    assert_string_equal(w.reports[0].to, "key00100");
    kv_iter_close(it);
    free_world(&w);
    free_world(&other);
}

/* What cannot be read stops it, or is passed over if that is asked for. */
static void test_unreadable(void **state)
{
    (void)state;
    static struct world w;
    make(&w, SST_COMPRESSION_NONE, 120, 10);
    sst_reader_unref(w.f->reader);
    w.f->reader = NULL;
    file_table_free(w.f->files);
    struct env *fault = env_fault_new(w.f->env);
    fixture_context(w.f, fault, 2, false);
    uint64_t passed = 0, failed = 0;
    for (uint64_t n = 0;; n++) {
        bool skip = n % 2;
        struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                      .path_part = ".sst",
                                      .skip = n / 2,
                                      .count = 1,
                                      .error = EIO};
        struct sst_salvage_options o = {.context = &w.f->context,
                                        .info = &w.f->info,
                                        .skip_unreadable = skip,
                                        .report = on_damage,
                                        .caller = &w};
        struct kv_iter *it = NULL;
        size_t count = 0;
        w.report_count = 0;
        env_fault_set(fault, &rule);
        adb_status status = sst_salvage_new(&o, &it);
        if (status == ADB_OK) {
            it->ops->seek_first(it);
            for (; it->valid; kv_iter_next(it))
                count++;
            status = kv_iter_status(it);
        }
        bool hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        kv_iter_close(it);
        if (!hit)
            break;
        assert_int_equal(status, skip ? ADB_OK : ADB_IO);
        if (skip)
            assert_true(w.report_count > 0 && count <= w.f->model.count);
        passed += skip;
        failed += !skip;
    }
    assert_true(passed > 20 && failed > 20);
    file_table_free(w.f->files);
    w.f->files = NULL;
    env_fault_free(fault);
    mem_free(w.bytes);
    fixture_free(w.f);
}

static int fail_nth(void *context, size_t size)
{
    (void)size;
    int *left = context;
    return (*left)-- == 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static struct world w;
    make(&w, SST_COMPRESSION_LZ4, 100, 10);
    uint64_t at = w.f->reader->top.parts[0].index.offset + 5;
    uint8_t byte = w.bytes[at] ^ 4;
    write_at(&w, at, &byte, 1);
    write_at(&w, w.footer + 3, &byte, 1);
    for (int k = 0;; k++) {
        struct sst_salvage_options o = {.context = &w.f->context,
                                        .info = &w.f->info};
        struct kv_iter *it = NULL;
        int left = k;
        mem_set_fail_hook(fail_nth, &left);
        adb_status status = sst_salvage_new(&o, &it);
        size_t count = 0;
        if (status == ADB_OK) {
            it->ops->seek_first(it);
            for (; it->valid; count++)
                kv_iter_next(it);
            status = kv_iter_status(it);
        }
        kv_iter_close(it);
        mem_set_fail_hook(NULL, NULL);
        if (left >= 0)
            break;
        /* Opening a file is tried twice. */
        if (status == ADB_OK)
            assert_int_equal(count, w.f->model.count);
        else
            assert_int_equal(status, ADB_NO_MEMORY);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_index_and_block),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_zeroed_sectors),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
