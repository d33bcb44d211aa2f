/*
 * Damage and failing reads. Every byte of a small table is flipped, every
 * frame of a larger one: what needs the damaged piece fails and names file and
 * offset, nothing wrong is ever returned, everything else stays readable, and
 * verification reports the piece.
 */
#include <errno.h>
#include <fcntl.h>

#include "env/env_fault.h"
#include "sst/format.h"
#include "sst/sst_reader_internal.h"
#include "table_fixture.h"

static void flip(struct fixture *f, uint64_t offset)
{
    char *path = sst_path(f->directory, 7);
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
    mem_free(path);
}

struct findings {
    int count;
    uint64_t progress;
    struct sst_damage damage; /* the last one; its keys in from and to */
    char last[2048], from[32], to[32];
};
static void take_report(void *context, const struct sst_damage *damage)
{
    struct findings *found = context;
    found->count++;
    found->damage = *damage;
    found->damage.text = NULL;
    snprintf(found->last, sizeof found->last, "%s", damage->text);
    snprintf(found->from, sizeof found->from, "%.*s", (int)damage->from.size,
             (const char *)damage->from.data);
    snprintf(found->to, sizeof found->to, "%.*s", (int)damage->to.size,
             (const char *)damage->to.data);
}
static void take_progress(void *context, uint64_t bytes)
{
    ((struct findings *)context)->progress += bytes;
}

static adb_status verify(struct fixture *f, struct findings *found)
{
    *found = (struct findings){0};
    return sst_reader_verify(f->reader, take_report, take_progress, found);
}

static struct fixture *make(size_t keys, enum sst_compression compression,
                            int64_t budget, bool map)
{
    struct fixture *f = fixture_new(budget);
    for (size_t i = 0; i < keys; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "key%06zu", i);
        model_add(&f->model, key, (size_t)n, i + 1, i % 10 ? KV_PUT : KV_DELETE,
                  i % 100 == 55 ? 70000 : 40);
    }
    model_sort(&f->model);
    struct sst_writer_options options = {.block_size = 1024,
                                         .compression = compression,
                                         .part_keys = 100,
                                         .filter_bits = 10};
    write_model(f, &options);
    fixture_open(f, map);
    return f;
}

/* Reads everything; returns how many keys could not be read. What can be read
   must be right. With found: only keys of its damage may fail. */
static size_t count_unreadable(struct fixture *f, unsigned flags,
                               const struct findings *found)
{
    size_t bad = 0;
    for (size_t i = 0; i < f->model.count; i++) {
        const struct model_entry *e = &f->model.entries[i];
        struct sst_hit hit = {0};
        struct epoch_slot *inside = epoch_enter(f->epoch);
        adb_status status = sst_reader_get(f->reader, model_key(e),
                                           hash_key(e->key, e->key_size),
                                           KV_MAX_SEQ, flags, &hit);
        if (status == ADB_OK && !hit.value.data) {
            uint8_t *value = malloc(e->value_size);
            assert_non_null(value);
            assert_int_equal(hit.value.size, e->value_size);
            status = sst_load_value(f->reader, hit.extent_offset,
                                    hit.value.size, 0, value, hit.value.size);
            if (status == ADB_OK)
                expect_bytes(e, value, e->value_size);
            free(value);
        } else if (status == ADB_OK) {
            assert_int_equal(hit.seq, e->seq);
            expect_bytes(e, hit.value.data, hit.value.size);
        }
        if (status != ADB_OK) {
            assert_int_equal(status, ADB_CORRUPTION);
            assert_non_null(strstr(status_message(), "000007.sst"));
            adb_slice key = model_key(e);
            if (found) {
                assert_true(
                    slice_compare(slice_of_string(found->from), key) <= 0);
                assert_true(
                    slice_compare(key, slice_of_string(found->to)) <= 0);
            }
            bad++;
        }
        cache_done(hit.frame);
        epoch_leave(inside);
    }
    return bad;
}

/* Walks over damage by seeking past it; returns how many entries it saw. */
static size_t count_walked(struct fixture *f, unsigned flags)
{
    struct kv_iter *it = sst_iter_new(f->reader, flags);
    size_t seen = 0;
    it->ops->seek_first(it);
    for (size_t i = 0; i < f->model.count; i++) {
        if (it->valid) {
            expect_entry(it, &f->model.entries[i]);
            seen++;
            kv_iter_next(it);
            continue;
        }
        assert_int_equal(kv_iter_status(it), ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), "000007.sst"));
        assert_non_null(strstr(status_message(), "offset"));
        if (i + 1 < f->model.count)
            it->ops->seek(it, model_key(&f->model.entries[i + 1]), KV_MAX_SEQ);
    }
    kv_iter_close(it);
    return seen;
}

static void intact_tables_verify(void **state)
{
    (void)state;
    struct findings found;
    for (int compression = 0; compression <= 2; compression++) {
        struct fixture *f =
            make(1000, (enum sst_compression)compression, 0, false);
        check(verify(f, &found));
        assert_int_equal(found.count, 0);
        assert_int_equal(found.progress, f->info.size);
        assert_int_equal(count_unreadable(f, 0, NULL), 0);
        fixture_free(f);
    }
    struct random random;
    random_seed(&random, 3);
    struct fixture *f = fixture_new(1 << 20);
    model_random(&f->model, &random, 5000, 100);
    struct sst_writer_options options = {
        .block_size = 4096, .part_keys = 300, .filter_bits = 10};
    write_model(f, &options);
    fixture_open(f, false);
    check(verify(f, &found));
    fixture_free(f);
}

/* Where the pieces of a table lie. */
struct piece {
    uint64_t offset;
    size_t size;
    enum sst_piece kind;
};
static size_t list_pieces(struct fixture *f, struct piece *pieces)
{
    size_t n = 0;
    for (uint32_t p = 0; p < f->reader->top.count; p++) {
        struct sst_part *part = &f->reader->top.parts[p];
        struct index_frame *index;
        check(sst_load_index(f->reader, p, &index));
        for (uint32_t b = 0; b < index->index.count; b++) {
            const struct sst_handle *h = &index->index.blocks[b].handle;
            pieces[n++] = (struct piece){h->offset, sst_handle_span(h),
                                         SST_PIECE_BLOCK};
        }
        sst_discard_frame(&index->frame);
        pieces[n++] = (struct piece){part->index.offset,
                                     sst_handle_span(&part->index),
                                     SST_PIECE_INDEX};
        pieces[n++] = (struct piece){part->filter.offset,
                                     sst_handle_span(&part->filter),
                                     SST_PIECE_FILTER};
    }
    return n;
}

static void damage_stays_where_it_is(void **state)
{
    bool map = *(bool *)*state;
    enum sst_compression compression =
        map ? SST_COMPRESSION_NONE : SST_COMPRESSION_LZ4;
    struct fixture *f = make(1000, compression, 64 << 20, map);
    static struct piece pieces[1000];
    size_t n = list_pieces(f, pieces);
    struct random random;
    random_seed(&random, 17);
    uint64_t filters = 0;
    assert_true(n > 60 && n < 1000);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = pieces[i].offset + random_below(&random, pieces[i].size);
        flip(f, at);
        /* A fresh reader: nothing cached, nothing found whole before. */
        sst_reader_unref(f->reader);
        check(sst_reader_open(&f->context, &f->info, &f->reader));
        struct findings found;
        assert_int_equal(verify(f, &found), ADB_CORRUPTION);
        assert_int_equal(found.count, 1);
        assert_int_equal(found.damage.status, ADB_CORRUPTION);
        assert_int_equal(found.damage.piece, pieces[i].kind);
        assert_int_equal(found.damage.offset, pieces[i].offset);
        assert_int_equal(found.damage.size, pieces[i].size);
        char offset[40];
        snprintf(offset, sizeof offset, "%llu",
                 (unsigned long long)pieces[i].offset);
        assert_non_null(strstr(found.last, offset));
        assert_non_null(strstr(found.last, "keys"));
        size_t bad = count_unreadable(f, 0, &found);
        static const size_t most[] = {[SST_PIECE_FILTER] = 0,
                                      [SST_PIECE_BLOCK] = 60,
                                      [SST_PIECE_INDEX] = 130};
        assert_true(bad <= most[pieces[i].kind]);
        assert_int_equal(bad == 0, pieces[i].kind == SST_PIECE_FILTER);
        struct sst_read_stats stats;
        sst_reader_stats(f->reader, &stats);
        filters += pieces[i].kind == SST_PIECE_FILTER;
        assert_int_equal(stats.filters_damaged, filters);
        size_t seen = count_walked(f, i % 2 ? SST_NO_FILL : 0);
        assert_true(seen >= f->model.count - 130);
        if (pieces[i].kind == SST_PIECE_BLOCK)
            assert_int_equal(seen, f->model.count - bad);
        flip(f, at);
        /* What was damaged was not kept. */
        assert_int_equal(count_unreadable(f, 0, NULL), 0);
    }
    fixture_free(f);
}

static void every_flipped_byte_is_noticed(void **state)
{
    (void)state;
    struct fixture *f = make(40, SST_COMPRESSION_NONE, 0, false);
    for (uint64_t at = 0; at < f->info.size; at++) {
        flip(f, at);
        struct findings found;
        assert_int_equal(verify(f, &found), ADB_CORRUPTION);
        assert_int_equal(found.count, 1);
        assert_non_null(strstr(found.last, "000007.sst"));
        flip(f, at);
    }
    fixture_free(f);
}

static void damaged_extents_fail_alone(void **state)
{
    (void)state;
    struct fixture *f = make(1000, SST_COMPRESSION_NONE, 1 << 20, false);
    adb_slice key = slice_of_string("key000555");
    struct sst_hit hit;
    struct epoch_slot *inside = epoch_enter(f->epoch);
    check(sst_reader_get(f->reader, key, hash_key(key.data, key.size),
                         KV_MAX_SEQ, 0, &hit));
    cache_done(hit.frame);
    epoch_leave(inside);
    assert_null(hit.value.data);
    uint8_t piece[100];
    flip(f, hit.extent_offset + 66000); /* in its second chunk */
    check(sst_load_value(f->reader, hit.extent_offset, 70000, 100, piece,
                         sizeof piece));
    assert_int_equal(sst_load_value(f->reader, hit.extent_offset, 70000, 69000,
                                    piece, sizeof piece),
                     ADB_CORRUPTION);
    assert_int_equal(count_unreadable(f, 0, NULL), 1);
    struct findings found;
    assert_int_equal(verify(f, &found), ADB_CORRUPTION);
    assert_int_equal(found.count, 1);
    assert_non_null(strstr(found.last, "key000555"));
    assert_int_equal(count_walked(f, 0), 1000);
    assert_int_equal(sst_load_value(f->reader, hit.extent_offset, 70000, 69990,
                                    piece, sizeof piece),
                     ADB_INVALID);
    fixture_free(f);
}

/* The n-th read fails, for every n: the status comes through, the next try
   works, nothing leaks. */
static void failing_reads_are_reported(void **state)
{
    unsigned flags = *(unsigned *)*state;
    struct fixture *f = make(300, SST_COMPRESSION_LZ4, 0, false);
    sst_reader_unref(f->reader);
    f->reader = NULL;
    file_table_free(f->files);
    struct env *fault = env_fault_new(f->env);
    assert_non_null(fault);
    fixture_context(f, fault, 2, false);
    uint64_t failures = 0;
    for (uint64_t n = 0;; n++) {
        struct env_fault_rule rule = {
            .operations = ENV_FAULT_READ | ENV_FAULT_OPEN,
            .path_part = ".sst",
            .skip = n,
            .count = 1,
            .error = EIO,
        };
        env_fault_set(fault, &rule);
        struct sst_reader *r = NULL;
        struct kv_iter *it = NULL;
        adb_status status = sst_reader_open(&f->context, &f->info, &r);
        if (status == ADB_OK) {
            it = sst_iter_new(r, flags);
            assert_non_null(it);
            for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
                ;
            status = kv_iter_status(it);
        }
        bool hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        if (status != ADB_OK) {
            assert_int_equal(status, ADB_IO);
            failures++;
        }
        if (it && status != ADB_OK) {
            size_t seen = 0;
            for (it->ops->seek_first(it); it->valid; kv_iter_next(it))
                seen++;
            check(kv_iter_status(it));
            assert_int_equal(seen, f->model.count);
        }
        kv_iter_close(it);
        if (r)
            sst_reader_unref(r);
        file_table_forget(f->files, 7);
        if (!hit)
            break;
    }
    assert_true(failures > 5);
    file_table_free(f->files);
    f->files = NULL;
    env_fault_free(fault);
    fixture_free(f);
}

int main(void)
{
    static bool no = false, yes = true;
    static unsigned fill = 0, no_fill = SST_NO_FILL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intact_tables_verify),
        cmocka_unit_test_prestate(damage_stays_where_it_is, &no),
        cmocka_unit_test_prestate(damage_stays_where_it_is, &yes),
        cmocka_unit_test(every_flipped_byte_is_noticed),
        cmocka_unit_test(damaged_extents_fail_alone),
        cmocka_unit_test_prestate(failing_reads_are_reported, &fill),
        cmocka_unit_test_prestate(failing_reads_are_reported, &no_fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
