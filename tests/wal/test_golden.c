/*
 * The format, pinned: tests/golden/wal-v1-{1,2}.log must come out of the
 * writer byte for byte and be recovered. They are the used parts of two
 * segments; docs/format/wal.md walks through the second.
 *
 * ADB_UPDATE_GOLDEN=1 writes them anew, for a new format version only.
 */
#include "wal/wal_support.h"

#include "base/buffer.h"

static void append(struct wal *w, uint64_t seq, uint32_t count,
                   const char *payload, struct wal_position *at)
{
    uint64_t bytes;
    adb_slice piece = slice_of_string(payload);
    CHECK_OK(wal_append(w, seq, count, &piece, 1, at, &bytes));
}

/* Segment 1 with two records, the second synced; segment 2 with three, of
   which the second carries a watermark. */
static void write_log(struct log *log)
{
    struct wal_position at;
    append(log->wal, 1, 1, "first", &at);
    append(log->wal, 2, 2, "second", &at);
    CHECK_OK(wal_sync(log->wal, at));
    wal_rotate(log->wal);
    append(log->wal, 4, 1, "third", &at);
    CHECK_OK(wal_sync(log->wal, at));
    append(log->wal, 5, 1, "fourth", &at);
    append(log->wal, 6, 1, "", &at);
}

static adb_status replay_text(void *context, uint64_t segment, uint64_t offset,
                              uint64_t seq, uint32_t count, adb_slice payload)
{
    struct buffer *text = context;
    return buffer_printf(text, "%llu+%llu %llu x%u '%.*s'\n",
                         (unsigned long long)segment,
                         (unsigned long long)offset, (unsigned long long)seq,
                         count, (int)payload.size, (const char *)payload.data);
}

static void check_recovered(struct log *log)
{
    struct buffer text = {0};
    struct wal_recovered got;
    struct wal_recovery in = {.env = log->env,
                              .directory = log->directory,
                              .segments = log->created,
                              .segment_count = log->created_count,
                              .next_seq = 1,
                              .replay = replay_text,
                              .context = &text};
    CHECK_OK(wal_recover(&in, &got));
    CHECK_OK(buffer_append(&text, "", 1));
    assert_string_equal((const char *)text.data, "1+48 1 x1 'first'\n"
                                                 "1+88 2 x2 'second'\n"
                                                 "2+72 4 x1 'third'\n"
                                                 "2+112 5 x1 'fourth'\n"
                                                 "2+176 6 x1 ''\n");
    buffer_deinit(&text);
    assert_int_equal(got.last.length, 208);
    assert_int_equal(got.last.next_seq, 7);
    wal_recovered_deinit(&got);
}

static void compare(struct log *log, uint64_t number, size_t used)
{
    char path[512];
    size_t size, kept_size;
    uint8_t *now = read_segment(log, number, &size), *kept;
    struct env_file *file;
    snprintf(path, sizeof(path), "%s/golden/wal-v1-%d.log", ADB_TEST_DIR,
             (int)number);
    if (getenv("ADB_UPDATE_GOLDEN")) {
        CHECK_OK(env_open(env_posix(), path,
                          ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &file));
        CHECK_OK(env_file_write(file, 0, now, used));
        CHECK_OK(env_file_close(file));
    }
    CHECK_OK(env_read_file(env_posix(), path, 1 << 20, &kept, &kept_size));
    assert_int_equal(kept_size, used);
    assert_memory_equal(now, kept, used);
    for (size_t i = used; i < size; i++)
        assert_int_equal(now[i], 0);
    write_segment(log, number, kept, kept_size);
    mem_free(now);
    mem_free(kept);
}

static void test_golden(void **state)
{
    (void)state;
    for (int access = WAL_ACCESS_MAP; access <= WAL_ACCESS_WRITE; access++) {
        struct env *env = env_memory_new(ENV_MEMORY_STRICT);
        struct log log;
        CHECK_OK(env_make_dir(env, "/log"));
        log_init(&log, env, "/log", (enum wal_access)access);
        log.options.min_segment = log.options.max_segment = 4096;
        log_open(&log);
        write_log(&log);
        wal_abandon(log.wal);
        check_recovered(&log);
        compare(&log, 1, 128);
        compare(&log, 2, 208);
        check_recovered(&log); /* now from the kept bytes */
        env_memory_free(env);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
