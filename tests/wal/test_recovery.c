/*
 * Recovery against an oracle. The oracle knows where each record of a log lies
 * and which watermark it carries; from a damaged place it derives what must
 * come back: a prefix, or ADB_CORRUPTION when a surviving watermark covers the
 * place.
 */
#include "wal/wal_support.h"

#include <errno.h>

enum { PLACES_MAX = 4096, FILES_MAX = 16 };

/* A record of the intact log, header records included. */
struct place {
    uint64_t segment, start, end;
    bool header;
    struct watermark mark; /* segment 0: none */
};
struct image {
    struct env *env;
    struct log log;
    uint8_t *files[FILES_MAX]; /* by index in log.created */
    size_t sizes[FILES_MAX];
    struct place places[PLACES_MAX];
    size_t place_count;
};

/* Reads the log with nothing but record_decode. */
static void take_image(struct image *image)
{
    for (size_t i = 0; i < image->log.created_count; i++) {
        uint64_t number = image->log.created[i], offset = 0;
        image->files[i] =
            read_segment(&image->log, number, &image->sizes[i]);
        struct record r;
        while (record_decode(image->files[i] + offset,
                             image->sizes[i] - offset, number, offset,
                             &r) == RECORD_VALID) {
            assert_true(image->place_count < PLACES_MAX);
            image->places[image->place_count++] = (struct place){
                .segment = number, .start = offset, .end = offset + r.size,
                .header = r.kind == RECORD_SEGMENT_HEADER,
                .mark = r.has_watermark ? r.watermark : unknown()};
            offset += r.size;
        }
    }
}

/* sync_every 0: never. */
static void image_init(struct image *image, unsigned records, size_t max_size,
                       unsigned sync_every, unsigned sync_until)
{
    struct wal_position at;
    struct random random;
    memset(image, 0, sizeof(*image));
    random_seed(&random, records + sync_every);
    image->env = env_memory_new(ENV_MEMORY_STRICT);
    CHECK_OK(env_make_dir(image->env, "/log"));
    log_init(&image->log, image->env, "/log", WAL_ACCESS_WRITE);
    image->log.options.min_segment = 4096;
    image->log.options.max_segment = 4096;
    log_open(&image->log);
    for (unsigned i = 0; i < records; i++) {
        CHECK_OK(log_append(&image->log, random_below(&random, max_size),
                            1 + (uint32_t)random_below(&random, 3), &at));
        if (sync_every && i % sync_every == 1 && i < sync_until)
            CHECK_OK(wal_sync(image->log.wal, at));
    }
    wal_abandon(image->log.wal);
    take_image(image);
    assert_true(image->log.created_count <= FILES_MAX);
}

static void image_deinit(struct image *image)
{
    for (size_t i = 0; i < image->log.created_count; i++)
        mem_free(image->files[i]);
    env_memory_free(image->env);
}

static void restore(struct image *image, size_t i)
{
    write_segment(&image->log, image->log.created[i], image->files[i],
                  image->sizes[i]);
}

/* What must happen when exactly the records with broken[i] are gone. */
static void expect(struct image *image, const bool *broken, const char *what,
                   uint64_t segment, uint64_t offset)
{
    struct watermark known = unknown();
    size_t first = image->place_count, records = 0;
    for (size_t i = 0; i < image->place_count; i++) {
        const struct place *p = &image->places[i];
        if (broken[i]) {
            if (first == image->place_count)
                first = i;
        } else if (watermark_after(&p->mark, &known)) {
            known = p->mark;
        }
        if (first == image->place_count && !p->header)
            records++;
    }
    bool damage = false;
    if (first < image->place_count) {
        struct watermark hole = {image->places[first].segment,
                                 image->places[first].start, 0};
        damage = watermark_after(&known, &hole);
    }
    struct replayed replayed;
    struct wal_recovered got;
    adb_status status = log_recover(&image->log, NULL, false, unknown(),
                                    &replayed, &got);
    if (status != (damage ? ADB_CORRUPTION : ADB_OK))
        fail_msg("%s at %llu:%llu: %s %s", what, (unsigned long long)segment,
                 (unsigned long long)offset, status_name(status),
                 status == ADB_OK ? "" : status_message());
    if (status != ADB_OK) {
        assert_non_null(strstr(status_message(), ".log"));
        return;
    }
    if (replayed.records != records)
        fail_msg("%s at %llu:%llu: %llu records, not %zu", what,
                 (unsigned long long)segment, (unsigned long long)offset,
                 (unsigned long long)replayed.records, records);
    if (records)
        assert_int_equal(replayed.first_seq, 1);
    wal_recovered_deinit(&got);
}

static void break_byte(struct image *image, size_t file, uint64_t at,
                       uint8_t value, const char *what)
{
    static bool broken[PLACES_MAX];
    uint64_t number = image->log.created[file];
    uint8_t was = image->files[file][at];
    char *path = wal_segment_path("/log", number);
    for (size_t i = 0; i < image->place_count; i++) {
        const struct place *p = &image->places[i];
        broken[i] = was != value && p->segment == number && at >= p->start &&
                    at < p->end;
    }
    CHECK_OK(env_memory_damage(image->env, path, at, &value, 1));
    expect(image, broken, what, number, at);
    CHECK_OK(env_memory_damage(image->env, path, at, &was, 1));
    mem_free(path);
}

static void break_every_byte(struct image *image)
{
    for (size_t file = 0; file < image->log.created_count; file++)
        for (uint64_t at = 0; at < image->sizes[file]; at++) {
            uint8_t was = image->files[file][at];
            break_byte(image, file, at, 0, "zeroed");
            break_byte(image, file, at, was ^ (uint8_t)(1u << at % 8),
                       "flipped");
        }
}

static void cut_everywhere(struct image *image, bool and_later)
{
    static bool broken[PLACES_MAX];
    for (size_t file = image->log.created_count; file-- > 0;) {
        uint64_t number = image->log.created[file];
        for (size_t size = 0; size <= image->sizes[file]; size += 4) {
            for (size_t i = 0; i < image->place_count; i++) {
                const struct place *p = &image->places[i];
                broken[i] = (p->segment == number && p->end > size) ||
                            (and_later && p->segment > number);
            }
            write_segment(&image->log, number, image->files[file], size);
            expect(image, broken, "cut", number, size);
        }
        if (and_later)
            remove_segment(&image->log, number);
        else
            restore(image, file);
    }
}

static void on_images(void (*run)(struct image *image))
{
    static const struct {
        unsigned records, sync_every, sync_until;
        size_t max_size;
    } shapes[] = {
        {60, 0, 0, 300},    /* nothing synced */
        {60, 4, 100, 300},  /* often */
        {60, 7, 40, 300},   /* an unsynced tail of some segments */
        {14, 5, 8, 1500},   /* few records in each */
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct image *image = malloc(sizeof(*image));
        image_init(image, shapes[i].records, shapes[i].max_size,
                   shapes[i].sync_every, shapes[i].sync_until);
        assert_true(image->log.created_count > 2);
        run(image);
        image_deinit(image);
        free(image);
    }
}

static void test_every_byte(void **state)
{
    (void)state;
    on_images(break_every_byte);
}

static void cut_one(struct image *image)
{
    cut_everywhere(image, false);
}
static void cut_all(struct image *image)
{
    cut_everywhere(image, true);
}
static void test_every_cut(void **state)
{
    (void)state;
    on_images(cut_one);
    on_images(cut_all);
}

/* Whole segments missing, in every combination. */
static void drop_segments(struct image *image)
{
    static bool broken[PLACES_MAX];
    size_t n = image->log.created_count;
    for (unsigned set = 0; set < 1u << n; set++) {
        for (size_t file = 0; file < n; file++)
            if (set >> file & 1)
                remove_segment(&image->log, image->log.created[file]);
        for (size_t i = 0; i < image->place_count; i++) {
            broken[i] = false;
            for (size_t file = 0; file < n; file++)
                broken[i] |= image->log.created[file] ==
                                 image->places[i].segment &&
                             (set >> file & 1);
        }
        expect(image, broken, "missing set", set, 0);
        for (size_t file = 0; file < n; file++)
            restore(image, file);
    }
}
static void test_missing_segments(void **state)
{
    (void)state;
    on_images(drop_segments);
}

/* Several random sectors as old as zeros: what a crash leaves. */
static void lose_sectors(struct image *image)
{
    static bool broken[PLACES_MAX];
    struct random random;
    random_seed(&random, 5);
    for (int round = 0; round < 3000; round++) {
        size_t file = (size_t)random_below(&random, image->log.created_count);
        uint64_t number = image->log.created[file];
        uint8_t copy[4096];
        memset(broken, 0, sizeof(broken));
        memcpy(copy, image->files[file], sizeof(copy));
        for (uint64_t n = 1 + random_below(&random, 3); n > 0; n--)
            memset(copy + 512 * random_below(&random, 8), 0, 512);
        for (size_t i = 0; i < image->place_count; i++) {
            const struct place *p = &image->places[i];
            if (p->segment == number)
                broken[i] = memcmp(copy + p->start,
                                   image->files[file] + p->start,
                                   p->end - p->start) != 0;
        }
        write_segment(&image->log, number, copy, sizeof(copy));
        expect(image, broken, "sectors lost", number, (uint64_t)round);
        restore(image, file);
    }
}
static void test_lost_sectors(void **state)
{
    (void)state;
    on_images(lose_sectors);
}

/* The manifest's own watermark counts like any other. */
static void test_outer_watermark(void **state)
{
    (void)state;
    struct image *image = malloc(sizeof(*image));
    struct replayed replayed;
    struct wal_recovered got;
    image_init(image, 60, 300, 0, 0);
    size_t middle = image->place_count / 2;
    const struct place *p = &image->places[middle];
    char *path = wal_segment_path("/log", p->segment);
    CHECK_OK(env_memory_damage(image->env, path, p->start + 20, "\xff", 1));
    struct watermark known = {p->segment, p->start, 0};
    CHECK_OK(log_recover(&image->log, NULL, false, known, &replayed, &got));
    assert_true(got.cut);
    assert_true(got.discarded_bytes > 0);
    assert_int_equal(got.last.segment, p->segment);
    assert_int_equal(got.last.length, p->start);
    wal_recovered_deinit(&got);
    known.offset += 8;
    assert_int_equal(
        log_recover(&image->log, NULL, false, known, &replayed, &got),
        ADB_CORRUPTION);
    mem_free(path);
    image_deinit(image);
    free(image);
}

/* After a clean close every changed byte of a record, and every missing one,
   is damage; so is a record too many. */
static void test_clean_close(void **state)
{
    (void)state;
    struct image *image = malloc(sizeof(*image));
    struct replayed replayed;
    struct wal_recovered got;
    image_init(image, 40, 300, 0, 0);
    struct log *log = &image->log;
    CHECK_OK(log_recover(log, NULL, false, unknown(), &replayed, &got));
    struct wal_end *ends = got.ends;
    struct wal_recovered again;
    CHECK_OK(log_recover(log, ends, true, unknown(), &replayed, &again));
    assert_int_equal(replayed.next_seq, log->next_seq);
    wal_recovered_deinit(&again);
    for (size_t i = 0; i < image->place_count; i++) {
        const struct place *p = &image->places[i];
        char *path = wal_segment_path("/log", p->segment);
        for (uint64_t at = p->start; at < p->end; at++) {
            uint8_t *was = NULL;
            for (size_t f = 0; f < log->created_count; f++)
                if (log->created[f] == p->segment)
                    was = &image->files[f][at];
            assert_non_null(was);
            uint8_t bad = *was ^ 0x10;
            CHECK_OK(env_memory_damage(image->env, path, at, &bad, 1));
            assert_int_equal(log_recover(log, ends, true, unknown(), &replayed,
                                         &again),
                             ADB_CORRUPTION);
            CHECK_OK(env_memory_damage(image->env, path, at, was, 1));
        }
        mem_free(path);
    }
    struct wal_end *last = &ends[log->created_count - 1], whole = *last;
    const struct place *p = &image->places[image->place_count - 1];
    last->length = p->start;
    last->checksum = 1;
    assert_int_equal(log_recover(log, ends, true, unknown(), &replayed, &again),
                     ADB_CORRUPTION);
    *last = whole;
    last->next_seq++;
    assert_int_equal(log_recover(log, ends, true, unknown(), &replayed, &again),
                     ADB_CORRUPTION);
    mem_free(ends);
    image_deinit(image);
    free(image);
}

static void append_n(struct log *log, unsigned n, size_t size)
{
    struct wal_position at;
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(log_append(log, size, 1, &at));
}

/* Recovers log and goes on writing behind what survived. */
static void recover_and_reopen(struct log *log, uint64_t expected_seq,
                               bool expected_cut)
{
    struct replayed replayed;
    struct wal_recovered got;
    CHECK_OK(log_recover(log, NULL, false, unknown(), &replayed, &got));
    assert_int_equal(got.cut, expected_cut);
    assert_int_equal(got.last.next_seq, expected_seq);
    log->next_seq = expected_seq;
    CHECK_OK(wal_open(&log->options,
                      log->created[log->created_count - 1] + 1, &got.last,
                      &got.synced_through, &log->wal));
    wal_recovered_deinit(&got);
}

/* Two kills in a row with a cut in between; what was cut off stays listed. */
static void test_cut_between_kills(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    struct log log;
    CHECK_OK(env_make_dir(env, "/log"));
    log_init(&log, env, "/log", WAL_ACCESS_MAP);
    log.options.min_segment = log.options.max_segment = 4096;
    log_open(&log);
    append_n(&log, 60, 200); /* four segments */
    wal_abandon(log.wal);
    assert_true(log.created_count >= 4);
    /* The 6th record of segment 2 is lost, nothing was synced. */
    size_t size;
    uint8_t *bytes = read_segment(&log, 2, &size);
    struct record r;
    uint64_t at = 0, seq = 0;
    for (int i = 0; i < 7; i++, at += r.size) {
        assert_int_equal(record_decode(bytes + at, size - at, 2, at, &r),
                         RECORD_VALID);
        seq = r.seq;
        if (i == 6)
            break;
    }
    mem_free(bytes);
    CHECK_OK(env_memory_damage(env, "/log/000002.log", at + 40, "x", 1));

    recover_and_reopen(&log, seq, true);
    append_n(&log, 10, 200);
    wal_abandon(log.wal);
    recover_and_reopen(&log, seq + 10, false);
    append_n(&log, 30, 200);
    struct wal_position end = wal_end_position(log.wal);
    CHECK_OK(wal_sync(log.wal, end));
    wal_abandon(log.wal);
    /* Damage in what survived the first cut: promised by now. */
    CHECK_OK(env_memory_damage(env, "/log/000001.log", 900, "x", 1));
    struct replayed replayed;
    struct wal_recovered got;
    assert_int_equal(log_recover(&log, NULL, false, unknown(), &replayed,
                                 &got),
                     ADB_CORRUPTION);
    env_memory_free(env);
}

/* A kill, recovery, a synced record, then power loss: the records that were
   in the page cache alone at the kill must have become durable. */
static void test_survivors_become_durable(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 11);
    for (int round = 0; round < 50; round++) {
        struct env *env = env_memory_new(ENV_MEMORY_STRICT);
        struct log log;
        CHECK_OK(env_make_dir(env, "/log"));
        CHECK_OK(env_sync_dir(env, "/"));
        log_init(&log, env, "/log", round % 2 ? WAL_ACCESS_MAP
                                              : WAL_ACCESS_WRITE);
        log.options.min_segment = log.options.max_segment = 4096;
        log_open(&log);
        append_n(&log, 40, 200);
        wal_abandon(log.wal);
        recover_and_reopen(&log, log.next_seq, false);
        append_n(&log, 1, 100);
        struct wal_position end = wal_end_position(log.wal);
        CHECK_OK(wal_sync(log.wal, end));
        uint64_t promised = log.next_seq;
        append_n(&log, 30, 200);
        struct env *after = env_memory_crash(env, &random, ~0ull);
        wal_abandon(log.wal);
        env_memory_free(env);

        log.env = log.options.env = after;
        struct replayed replayed;
        struct wal_recovered got;
        CHECK_OK(log_recover(&log, NULL, false, unknown(), &replayed, &got));
        assert_true(got.last.next_seq >= promised);
        wal_recovered_deinit(&got);
        env_memory_free(after);
    }
}

/* Power loss at random moments of a random run: a prefix with all that was
   synced comes back, again and again. */
static void power_loss_run(uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    struct log log;
    CHECK_OK(env_make_dir(env, "/log"));
    CHECK_OK(env_sync_dir(env, "/"));
    log_init(&log, env, "/log", random_below(&random, 2) ? WAL_ACCESS_MAP
                                                         : WAL_ACCESS_WRITE);
    log.options.min_segment = 4096;
    log.options.max_segment = 16384;
    log_open(&log);
    uint64_t durable = log.next_seq, released = 0;
    for (int life = 0; life < 4; life++) {
        for (uint64_t n = random_below(&random, 120); n > 0; n--) {
            struct wal_position at;
            bool busy;
            uint64_t size = random_below(&random, 20) ? 300 : 9000;
            CHECK_OK(log_append(&log, random_below(&random, size), 1, &at));
            switch (random_below(&random, 30)) {
            case 0:
                CHECK_OK(wal_sync(log.wal, at));
                durable = log.next_seq;
                break;
            case 1:
                CHECK_OK(wal_prepare(log.wal, &busy));
                break;
            case 2: /* flushed: the owner drops what came before */
                released = wal_rotate(log.wal);
                CHECK_OK(wal_release(log.wal, released));
                durable = log.next_seq;
                break;
            }
        }
        struct env *after = env_memory_crash(env, &random, ~0ull);
        wal_abandon(log.wal);
        env_memory_free(env);
        env = log.env = log.options.env = after;
        size_t kept = 0;
        for (size_t i = 0; i < log.created_count; i++)
            if (log.created[i] >= released)
                log.created[kept++] = log.created[i];
        uint64_t next = (log.created_count
                             ? log.created[log.created_count - 1]
                             : 0) + 1;
        log.created_count = kept;
        struct replayed replayed;
        struct wal_recovered got;
        CHECK_OK(log_recover(&log, NULL, false, unknown(), &replayed, &got));
        uint64_t end = replayed.records ? replayed.next_seq : durable;
        if (end < durable || end > log.next_seq)
            fail_msg("seed %llu life %d: history ends at %llu, durable %llu",
                     (unsigned long long)seed, life, (unsigned long long)end,
                     (unsigned long long)durable);
        log.next_seq = durable = end;
        if (!got.last.segment)
            got.last.next_seq = end;
        CHECK_OK(wal_open(&log.options, MAX_OF(next, released + 1), &got.last,
                          &got.synced_through, &log.wal));
        wal_recovered_deinit(&got);
    }
    wal_abandon(log.wal);
    env_memory_free(env);
}
static void test_power_loss(void **state)
{
    (void)state;
    const char *given = getenv("ADB_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    for (int i = 0; i < 300; i++)
        power_loss_run(seed + (uint64_t)i);
}

/* A record that is valid by itself but follows another predecessor, goes back
   in sequence or is of another kind is not history. */
static void test_foreign_records(void **state)
{
    (void)state;
    struct image *image = malloc(sizeof(*image));
    image_init(image, 10, 100, 0, 0);
    const struct place *p = &image->places[6], *before = p - 1;
    struct record right, r;
    assert_int_equal(record_decode(image->files[0] + p->start,
                                   p->end - p->start, 1, p->start, &right),
                     RECORD_VALID);
    for (int kind = 0; kind < 4; kind++) {
        uint8_t bytes[256];
        r = right;
        if (kind == 1)
            r.previous++;
        else if (kind == 2)
            r.seq = 2;
        else if (kind == 3)
            r.kind = RECORD_EDIT;
        record_encode(bytes, &r, 1, p->start);
        CHECK_OK(env_memory_damage(image->env, "/log/000001.log", p->start,
                                   bytes, r.size));
        struct replayed replayed;
        struct wal_recovered got;
        CHECK_OK(log_recover(&image->log, NULL, false, unknown(), &replayed,
                             &got));
        assert_int_equal(got.records, kind == 0 ? 10 : 5);
        assert_int_equal(got.last.length,
                         kind == 0 ? image->places[10].end : before->end);
        wal_recovered_deinit(&got);
    }
    image_deinit(image);
    free(image);
}

/* What the system cannot read is neither the end of the log nor damage. */
static void test_unreadable(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    struct env *env = env_fault_new(disk);
    struct log log;
    uint64_t failures = 0;
    bool hit = true;
    CHECK_OK(env_make_dir(env, "/log"));
    log_init(&log, env, "/log", WAL_ACCESS_WRITE);
    log_open(&log);
    append_n(&log, 300, 900);
    wal_abandon(log.wal);
    for (uint64_t skip = 0; hit; skip++) {
        struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                      .skip = skip, .count = UINT64_MAX,
                                      .error = EIO};
        struct replayed replayed;
        struct wal_recovered got;
        env_fault_set(env, &rule);
        adb_status status = log_recover(&log, NULL, false, unknown(),
                                        &replayed, &got);
        hit = env_fault_hits(env) > 0;
        assert_int_equal(status, hit ? ADB_IO : ADB_OK);
        if (status == ADB_OK)
            wal_recovered_deinit(&got);
        failures += hit;
    }
    assert_true(failures > 3);
    env_fault_free(env);
    env_memory_free(disk);
}

/* A newer format is refused, not taken for damage. */
static void test_newer_version(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    struct log log;
    CHECK_OK(env_make_dir(env, "/log"));
    log_init(&log, env, "/log", WAL_ACCESS_WRITE);
    uint8_t bytes[256] = {0};
    struct record r = {.kind = RECORD_SEGMENT_HEADER,
                       .payload = slice_of("\x02whatever", 9)};
    record_encode(bytes, &r, 1, 0);
    write_segment(&log, 1, bytes, sizeof(bytes));
    log.created[log.created_count++] = 1;
    struct replayed replayed;
    struct wal_recovered got;
    assert_int_equal(log_recover(&log, NULL, false, unknown(), &replayed, &got),
                     ADB_UNSUPPORTED);
    env_memory_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_missing_segments),
        cmocka_unit_test(test_lost_sectors),
        cmocka_unit_test(test_outer_watermark),
        cmocka_unit_test(test_clean_close),
        cmocka_unit_test(test_cut_between_kills),
        cmocka_unit_test(test_survivors_become_durable),
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_foreign_records),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_newer_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
