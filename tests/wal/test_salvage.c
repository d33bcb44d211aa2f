/*
 * Salvage of a damaged log: every record that the damage does not touch is
 * given, once and in order, with its bytes; what is missing lies in holes that
 * are told.
 */
#include "support.h"
#include "wal/wal_salvage.h"
#include "wal_support.h"

enum { RECORDS_MAX = 400, HOLES_MAX = 64 };

struct found {
    uint64_t segment, offset, size, seq, count;
};
struct world {
    struct log log;
    struct found records[RECORDS_MAX]; /* of the sound log */
    size_t count;
    struct wal_end end;
    struct watermark synced;
    /* of the last salvage */
    struct found got[RECORDS_MAX];
    size_t got_count;
    struct wal_hole holes[HOLES_MAX];
    size_t hole_count;
};

static adb_status on_record(void *context, uint64_t segment, uint64_t offset,
                            uint64_t seq, uint32_t count, adb_slice payload)
{
    struct world *w = context;
    uint8_t *expected = malloc(payload.size + 1);
    fill_payload(expected, payload.size, seq);
    assert_memory_equal(expected, payload.data, payload.size);
    free(expected);
    assert_true(w->got_count < RECORDS_MAX);
    w->got[w->got_count++] = (struct found){segment, offset, 0, seq, count};
    return ADB_OK;
}

static void on_hole(void *context, const struct wal_hole *hole)
{
    struct world *w = context;
    assert_true(w->hole_count < HOLES_MAX);
    assert_non_null(strstr(hole->text, ".log"));
    w->holes[w->hole_count++] = *hole;
}

static void salvage(struct world *w, bool know_ends)
{
    struct wal_end ends[LOG_SEGMENTS_MAX] = {{0, 0, 0, 0}};
    struct wal_salvaged out;
    if (know_ends)
        ends[w->log.created_count - 1] = w->end;
    struct wal_salvage in = {.env = w->log.env,
                             .directory = w->log.directory,
                             .segments = w->log.created,
                             .segment_count = w->log.created_count,
                             .ends = ends,
                             .synced_through = w->synced,
                             .replay = on_record,
                             .report = on_hole,
                             .context = w};
    w->got_count = w->hole_count = 0;
    CHECK_OK(wal_salvage(&in, &out));
    assert_int_equal(out.records, w->got_count);
    assert_int_equal(out.holes, w->hole_count);
}

static void make(struct world *w, enum wal_access access, uint64_t seed)
{
    struct random r;
    struct wal_position at;
    *w = (struct world){.count = 0};
    random_seed(&r, seed);
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    CHECK_OK(env_make_dir(disk, "/log"));
    log_init(&w->log, disk, "/log", access);
    w->log.options.max_segment = 64 << 10;
    log_open(&w->log);
    for (int i = 0; i < 260; i++) {
        size_t size = random_below(&r, 20) ? random_below(&r, 900)
                                           : random_below(&r, 20000);
        CHECK_OK(log_append(&w->log, size, 1 + (uint32_t)random_below(&r, 4),
                            &at));
        if (i % 50 == 9)
            CHECK_OK(wal_sync(w->log.wal, at));
        if (i % 90 == 50)
            wal_rotate(w->log.wal);
    }
    CHECK_OK(wal_close(w->log.wal, &w->end, &w->synced));
    while (w->log.created[w->log.created_count - 1] > w->end.segment)
        w->log.created_count--; /* made ahead */
    assert_true(w->log.created_count >= 4);
    salvage(w, true);
    assert_int_equal(w->hole_count, 0);
    memcpy(w->records, w->got, sizeof w->got);
    w->count = w->got_count;
    assert_int_equal(w->count, 260);
    for (size_t i = 0; i < w->count; i++) {
        bool last = i + 1 == w->count ||
                    w->records[i + 1].segment != w->records[i].segment;
        size_t size;
        uint8_t *bytes = read_segment(&w->log, w->records[i].segment, &size);
        struct record head;
        assert_true(record_peek(bytes + w->records[i].offset,
                                size - w->records[i].offset, &head));
        w->records[i].size = head.size;
        mem_free(bytes);
        if (!last)
            assert_int_equal(w->records[i].offset + head.size,
                             w->records[i + 1].offset);
    }
}

static void free_world(struct world *w)
{
    env_memory_free(w->log.env);
}

/* Is there a hole that the record lies in? */
static bool is_told(const struct world *w, const struct found *f)
{
    for (size_t i = 0; i < w->hole_count; i++) {
        const struct wal_hole *h = &w->holes[i];
        if (h->segment == f->segment && h->offset <= f->offset &&
            (!h->size || f->offset + f->size <= h->offset + h->size))
            return true;
    }
    return false;
}

/* Everything but what lies in [from, to) of the segment. */
static void expect(struct world *w, uint64_t segment, uint64_t from,
                   uint64_t to)
{
    size_t at = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct found *f = &w->records[i];
        if (f->segment == segment && f->offset < to &&
            f->offset + f->size > from) {
            if (at < w->got_count && w->got[at].seq == f->seq)
                at++; /* its padding, or bytes that were zero before */
            else
                assert_true(is_told(w, f));
            continue;
        }
        assert_true(at < w->got_count);
        assert_int_equal(w->got[at].segment, f->segment);
        assert_int_equal(w->got[at].offset, f->offset);
        assert_int_equal(w->got[at].seq, f->seq);
        assert_int_equal(w->got[at].count, f->count);
        at++;
    }
    assert_int_equal(at, w->got_count);
}

static void test_damage(void **state)
{
    bool map = *(bool *)*state;
    static struct world w;
    static const uint8_t zeros[512];
    struct random r;
    random_seed(&r, test_seed());
    make(&w, map ? WAL_ACCESS_MAP : WAL_ACCESS_WRITE, random_next(&r));
    for (uint64_t i = 0; i < test_scaled(1000, 100); i++) {
        uint64_t segment =
            w.log.created[random_below(&r, w.log.created_count)];
        size_t size;
        uint8_t *before = read_segment(&w.log, segment, &size);
        uint64_t at = random_below(&r, size), kind = random_below(&r, 5);
        char *path = wal_segment_path(w.log.directory, segment);
        uint8_t byte = before[at] ^ (uint8_t)(1u << random_below(&r, 8));
        if (kind < 3) {
            CHECK_OK(env_memory_damage(w.log.env, path, at, &byte, 1));
            salvage(&w, i % 2);
            expect(&w, segment, at, at + 1);
        } else if (kind == 3) {
            at = at / 512 * 512;
            CHECK_OK(env_memory_damage(w.log.env, path, at, zeros, 512));
            salvage(&w, i % 2);
            expect(&w, segment, at, at + 512);
        } else {
            write_segment(&w.log, segment, before, at);
            salvage(&w, i % 2);
            expect(&w, segment, at, size);
        }
        write_segment(&w.log, segment, before, size);
        mem_free(path);
        mem_free(before);
    }
    salvage(&w, true);
    assert_int_equal(w.hole_count, 0);
    free_world(&w);
}

static void test_missing_segment(void **state)
{
    (void)state;
    static struct world w;
    make(&w, WAL_ACCESS_WRITE, 7);
    for (size_t i = 0; i < w.log.created_count; i++) {
        size_t size;
        uint8_t *before = read_segment(&w.log, w.log.created[i], &size);
        remove_segment(&w.log, w.log.created[i]);
        salvage(&w, true);
        assert_int_equal(w.hole_count, 1);
        assert_int_equal(w.holes[0].segment, w.log.created[i]);
        expect(&w, w.log.created[i], 0, UINT64_MAX);
        /* How much is missing is known between two others. */
        if (i > 0 && i + 1 < w.log.created_count)
            assert_true(w.holes[0].operations > 0);
        write_segment(&w.log, w.log.created[i], before, size);
        mem_free(before);
    }
    free_world(&w);
}

/* A segment of another database, and one that was cut off by a recovery. */
static void test_not_ours(void **state)
{
    (void)state;
    static struct world w;
    make(&w, WAL_ACCESS_WRITE, 9);
    uint64_t last = w.log.created[w.log.created_count - 1];
    /* A log that goes on behind the first segment's end: what came after is
       no history. */
    struct wal_end first = {0};
    for (size_t i = 0; i < w.count; i++)
        if (w.records[i].segment == w.log.created[0]) {
            size_t size;
            uint8_t *bytes = read_segment(&w.log, w.log.created[0], &size);
            first = (struct wal_end){
                w.log.created[0], w.records[i].offset + w.records[i].size,
                get_u64(bytes + w.records[i].offset),
                w.records[i].seq + w.records[i].count};
            mem_free(bytes);
        }
    struct watermark nothing = {0, 0, 0};
    struct wal_position at;
    CHECK_OK(
        wal_open(&w.log.options, last + 5, &first, &nothing, &w.log.wal));
    w.log.next_seq = first.next_seq;
    for (int i = 0; i < 5; i++)
        CHECK_OK(log_append(&w.log, 100, 1, &at));
    CHECK_OK(wal_close(w.log.wal, &w.end, &w.synced));
    while (w.log.created[w.log.created_count - 1] > w.end.segment)
        w.log.created_count--;
    salvage(&w, true);
    assert_int_equal(w.hole_count, 0);
    size_t kept = 0;
    for (; kept < w.count && w.records[kept].segment == w.log.created[0];)
        kept++;
    assert_int_equal(w.got_count, kept + 5);
    assert_int_equal(w.got[kept].segment, w.end.segment);

    struct wal_salvaged out;
    struct wal_salvage in = {.env = w.log.env,
                             .directory = w.log.directory,
                             .segments = w.log.created,
                             .segment_count = w.log.created_count,
                             .database = 4711,
                             .replay = on_record,
                             .report = on_hole,
                             .context = &w};
    w.got_count = w.hole_count = 0;
    CHECK_OK(wal_salvage(&in, &out));
    assert_int_equal(w.got_count, 0);
    assert_int_equal(w.hole_count, w.log.created_count);
    free_world(&w);
}

int main(void)
{
    static bool yes = true, no = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_damage, &yes),
        cmocka_unit_test_prestate(test_damage, &no),
        cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
