/*
 * The log in which one thing fails: each allocation and each file operation of
 * its life, of its recovery, of its salvage. It says so; what was appended
 * before is recovered; nothing leaks.
 */
#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include "support/failing.h"
#include "wal/wal_reader.h"
#include "wal/wal_salvage.h"
#include "wal_support.h"

#define TRY(call)                                                              \
    do {                                                                       \
        adb_status try_ = (call);                                              \
        if (try_ != ADB_OK)                                                    \
            return try_;                                                       \
    } while (0)

struct world {
    struct env *disk, *env; /* env: faults over disk */
    struct log log;
    enum wal_access access;
    struct wal_end end;
    struct watermark synced;
    bool closed;
    bool damaged, skip; /* salvage: of a damaged log; past what is unreadable */
    uint64_t holes;
};

static void new_world(struct world *w)
{
    w->disk = env_memory_new(ENV_MEMORY_STRICT);
    w->env = env_fault_new(w->disk);
    CHECK_OK(env_make_dir(w->disk, "/log"));
    log_init(&w->log, w->env, "/log", w->access);
    w->log.options.max_segment = 128 << 10;
    w->log.options.database = 77;
    w->closed = false;
}

static void free_world(struct world *w)
{
    env_fault_free(w->env);
    env_memory_free(w->disk);
}

/* ---- its life ------------------------------------------------------------ */

static adb_status append(struct world *w, size_t size)
{
    struct wal_position at;
    return log_append(&w->log, size, 1 + (uint32_t)(size % 3), &at);
}

/* The manifest lists them no more. */
static void forget_below(struct log *log, uint64_t number)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->created_count; i++)
        if (log->created[i] >= number)
            log->created[kept++] = log->created[i];
    log->created_count = kept;
}

static adb_status live(struct world *w)
{
    struct wal *wal = w->log.wal;
    struct wal_stats stats;
    bool busy;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 6; i++)
            TRY(append(w, 900));
        TRY(append(w, 9000)); /* larger than the stage */
        TRY(wal_sync(wal, wal_end_position(wal)));
        TRY(append(w, 40000));
        TRY(wal_prepare(wal, &busy));
        wal_pin(wal, w->log.created[0]);
        if (round == 1)
            TRY(append(w, 200000)); /* needs a segment of its own */
        uint64_t number = wal_rotate(wal);
        TRY(append(w, 10));
        wal_stats(wal, &stats);
        assert_true(stats.live_bytes > 0);
        wal_unpin(wal, w->log.created[0]);
        if (round < 2)
            continue;
        forget_below(&w->log, number - 1);
        TRY(wal_release(wal, number - 1));
    }
    return ADB_OK;
}

/* What was appended is recovered, unless it was released. */
static void expect_recovered(struct world *w)
{
    struct replayed replayed;
    struct wal_recovered out;
    w->log.env = w->disk;
    adb_status status =
        log_recover(&w->log, NULL, false, unknown(), &replayed, &out);
    if (status != ADB_OK)
        fail_msg("%s", status_message());
    if (replayed.records)
        assert_true(replayed.next_seq == w->log.next_seq);
    wal_recovered_deinit(&out);
}

static adb_status life(void *context)
{
    struct world *w = context;
    struct wal_end none = {0, 0, 0, 0};
    struct watermark nothing = {0, 0, 0};
    struct wal *wal = NULL;
    new_world(w);
    failing_begin(w->env);
    adb_status status =
        wal_open(&w->log.options, 1, &none, &nothing, &wal);
    w->log.wal = wal;
    if (status == ADB_OK)
        status = live(w);
    failing_end(w->env);
    struct status_saved saved;
    status_save(&saved, status);
    if (wal && status == ADB_OK)
        status = wal_close(wal, &w->end, &w->synced);
    else if (wal)
        wal_abandon(wal);
    if (w->log.created_count && saved.code != ADB_UNKNOWN_OUTCOME)
        expect_recovered(w);
    free_world(w);
    return saved.code == ADB_OK ? status : status_restore(&saved);
}

static adb_status close_only(void *context)
{
    struct world *w = context;
    bool busy;
    new_world(w);
    log_open(&w->log);
    for (int i = 0; i < 5; i++)
        CHECK_OK(append(w, 20000));
    wal_rotate(w->log.wal);
    CHECK_OK(append(w, 60000));
    CHECK_OK(wal_prepare(w->log.wal, &busy));
    CHECK_OK(wal_release(w->log.wal, w->log.created[1]));
    failing_begin(w->env);
    adb_status status = wal_close(w->log.wal, &w->end, &w->synced);
    failing_end(w->env);
    struct status_saved saved;
    status_save(&saved, status);
    free_world(w);
    return status_restore(&saved);
}

static void test_life(void **state)
{
    struct world w = {.access = *(enum wal_access *)*state};
    assert_true(each_allocation(life, &w, true) > 10);
    /* What fails in wal_prepare or in what is only tidiness stops nobody. */
    static const unsigned kinds = ENV_FAULT_ANY & ~ENV_FAULT_CLOSE;
    assert_true(each_call(life, &w, kinds, EIO, true) > 10);
    assert_true(each_call(life, &w, kinds, ENOSPC, true) > 10);
    assert_true(each_call(close_only, &w, ENV_FAULT_ANY, EIO, true) > 1);
}

/* Where the file system cannot reserve blocks, or map, the log is written. */
static void test_unsupported(void **state)
{
    static const unsigned kinds[] = {ENV_FAULT_ALLOCATE, ENV_FAULT_MAP,
                                     ENV_FAULT_ALLOCATE | ENV_FAULT_MAP};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct world w = {.access = WAL_ACCESS_MAP};
        struct wal_stats stats;
        new_world(&w);
        const struct env_fault_rule rule = {.operations = kinds[i],
                                            .count = ~UINT64_C(0),
                                            .error = EOPNOTSUPP};
        env_fault_set(w.env, &rule);
        log_open(&w.log);
        CHECK_OK(append(&w, 5000));
        /* A prepared segment that must grow. */
        CHECK_OK(append(&w, 40000));
        bool busy;
        CHECK_OK(wal_prepare(w.log.wal, &busy));
        CHECK_OK(append(&w, 200000));
        wal_stats(w.log.wal, &stats);
        assert_false(stats.mapped);
        CHECK_OK(wal_close(w.log.wal, &w.end, &w.synced));
        expect_recovered(&w);
        free_world(&w);
    }
}

/* ---- recovery and salvage ------------------------------------------------ */

static void make_log(struct world *w)
{
    struct wal_position at;
    new_world(w);
    log_open(&w->log);
    for (int i = 0; i < 40; i++) {
        CHECK_OK(log_append(&w->log, i % 13 ? 700 : 30000, 1, &at));
        if (i == 20)
            CHECK_OK(wal_sync(w->log.wal, at));
    }
    CHECK_OK(wal_close(w->log.wal, &w->end, &w->synced));
    while (w->log.created[w->log.created_count - 1] > w->end.segment)
        w->log.created_count--;
    if (!w->damaged)
        return;
    char *path = wal_segment_path("/log", w->log.created[0]);
    CHECK_OK(env_memory_damage(w->disk, path, 5000, "damage", 6));
    mem_free(path);
}

static adb_status recover(void *context)
{
    struct world *w = context;
    struct replayed replayed;
    struct wal_recovered out;
    make_log(w);
    failing_begin(w->env);
    adb_status status =
        log_recover(&w->log, NULL, false, unknown(), &replayed, &out);
    failing_end(w->env);
    if (status == ADB_OK) {
        assert_int_equal(replayed.records, 40);
        wal_recovered_deinit(&out);
    }
    struct status_saved saved;
    status_save(&saved, status);
    free_world(w);
    return status_restore(&saved);
}

/* After a clean close nothing may follow: each segment is looked at again. */
static adb_status recover_closed(void *context)
{
    struct world *w = context;
    struct replayed replayed = {0, 0, 0};
    struct wal_recovered out;
    struct wal_end ends[LOG_SEGMENTS_MAX] = {{0, 0, 0, 0}};
    make_log(w);
    ends[w->log.created_count - 1] = w->end;
    struct wal_position failed_at = {0, 0};
    struct wal_recovery in = {.env = w->log.env,
                              .directory = w->log.directory,
                              .segments = w->log.created,
                              .segment_count = w->log.created_count,
                              .ends = ends,
                              .synced_through = w->synced,
                              .database = 77,
                              .next_seq = 1,
                              .replay = replay_one,
                              .context = &replayed,
                              .failed_at = &failed_at};
    failing_begin(w->env);
    adb_status status = wal_recover(&in, &out);
    failing_end(w->env);
    if (status == ADB_OK)
        wal_recovered_deinit(&out);
    struct status_saved saved;
    status_save(&saved, status);
    free_world(w);
    return status_restore(&saved);
}

static void note_hole(void *context, const struct wal_hole *hole)
{
    struct world *w = context;
    assert_true(strlen(hole->text) > 10);
    w->holes++;
}

static adb_status count_record(void *context, uint64_t segment, uint64_t offset,
                               uint64_t seq, uint32_t count, adb_slice payload)
{
    (void)context, (void)segment, (void)offset, (void)seq, (void)count;
    return payload.size ? ADB_OK : status_set(ADB_INVALID, "no payload");
}

static adb_status salvage(void *context)
{
    struct world *w = context;
    struct wal_salvaged out;
    make_log(w);
    w->holes = 0;
    struct wal_salvage in = {.env = w->env,
                             .directory = "/log",
                             .segments = w->log.created,
                             .segment_count = w->log.created_count,
                             .synced_through = w->synced,
                             .database = 77,
                             .skip_unreadable = w->skip,
                             .replay = count_record,
                             .report = note_hole,
                             .context = w};
    failing_begin(w->env);
    adb_status status = wal_salvage(&in, &out);
    failing_end(w->env);
    if (status == ADB_OK) {
        assert_int_equal(out.holes, w->holes);
        if (w->damaged)
            assert_true(w->holes > 0);
        assert_true(out.records > 10);
    }
    struct status_saved saved;
    status_save(&saved, status);
    free_world(w);
    return status_restore(&saved);
}

static void test_reading(void **state)
{
    struct world w = {.access = *(enum wal_access *)*state};
    static const unsigned kinds = ENV_FAULT_ANY & ~ENV_FAULT_CLOSE;
    assert_true(each_allocation(recover, &w, false) > 3);
    assert_true(each_call(recover, &w, kinds, EIO, false) > 5);
    assert_true(each_call(recover, &w, ENV_FAULT_CLOSE, EIO, true) > 0);
    assert_true(each_allocation(recover_closed, &w, false) > 3);
    assert_true(each_call(recover_closed, &w, kinds, EIO, false) > 5);
    for (int damaged = 0; damaged < 2; damaged++) {
        w.damaged = damaged;
        w.skip = false;
        assert_true(each_allocation(salvage, &w, true) > 3);
        assert_true(each_call(salvage, &w, kinds, EIO, false) > 5);
        w.skip = true;
        assert_true(each_call(salvage, &w, kinds, EIO, true) > 3);
    }
}

/* ---- what the system cannot read ----------------------------------------- */

/* One page of the log is unreadable: salvage passes over what touches it. */
static void test_unreadable_page(void **state)
{
    (void)state;
    struct world w = {.access = WAL_ACCESS_WRITE, .skip = true};
    struct wal_salvaged out;
    make_log(&w);
    struct wal_salvage in = {.env = w.env,
                             .directory = "/log",
                             .segments = w.log.created,
                             .segment_count = w.log.created_count,
                             .synced_through = w.synced,
                             .skip_unreadable = true,
                             .replay = count_record,
                             .report = note_hole,
                             .context = &w};
    /* The read of the window fails, then one page of those read alone. */
    for (uint64_t skip = 1; skip < 6; skip++) {
        const struct env_fault_rule rule = {.operations = ENV_FAULT_READ,
                                            .path_part = "000001.log",
                                            .count = skip,
                                            .error = EIO};
        env_fault_set(w.env, &rule);
        CHECK_OK(wal_salvage(&in, &out));
        assert_true(out.records > 10);
    }
    env_fault_set(w.env, NULL);
    free_world(&w);
}

int main(void)
{
    static enum wal_access map = WAL_ACCESS_MAP, write = WAL_ACCESS_WRITE;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_life, &map),
        cmocka_unit_test_prestate(test_life, &write),
        cmocka_unit_test(test_unsupported),
        cmocka_unit_test_prestate(test_reading, &map),
        cmocka_unit_test_prestate(test_reading, &write),
        cmocka_unit_test(test_unreadable_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
