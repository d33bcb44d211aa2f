/* The log while it is written: order, rotation, reuse, sizes, failures. */
#include "wal/wal_support.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/thread.h"

/* Every test runs on real files and on the disk in memory, mapped and
   written. */
struct variant {
    bool memory;
    enum wal_access access;
};
static const struct variant variants[] = {
    {false, WAL_ACCESS_MAP},
    {false, WAL_ACCESS_WRITE},
    {true, WAL_ACCESS_MAP},
    {true, WAL_ACCESS_WRITE},
};

struct fixture {
    struct env *base, *env; /* env: base behind faults */
    struct log log;
    bool memory;
};

static void fixture_init(struct fixture *f, const struct variant *v)
{
    char directory[128] = "/log";
    f->memory = v->memory;
    if (v->memory) {
        f->base = env_memory_new(ENV_MEMORY_STRICT);
        CHECK_OK(env_make_dir(f->base, directory));
    } else {
        f->base = env_posix();
        temporary_directory(directory, sizeof(directory));
    }
    f->env = env_fault_new(f->base);
    log_init(&f->log, f->env, directory, v->access);
}

static void fixture_deinit(struct fixture *f)
{
    env_fault_free(f->env);
    if (f->memory)
        env_memory_free(f->base);
    else
        remove_directory(f->log.directory);
}

static void on_all(void (*run)(struct fixture *f))
{
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        struct fixture f;
        fixture_init(&f, &variants[i]);
        run(&f);
        fixture_deinit(&f);
    }
}

static void append_many(struct log *log, unsigned n, size_t max_size)
{
    struct random random;
    struct wal_position at, last = {0, 0};
    random_seed(&random, log->next_seq);
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(log_append(log, random_below(&random, max_size),
                            1 + (uint32_t)random_below(&random, 3), &at));
        assert_true(at.segment > last.segment ||
                    (at.segment == last.segment && at.offset > last.offset));
        last = at;
        bool busy;
        if (i % 3 == 0 && wal_wants_prepare(log->wal))
            CHECK_OK(wal_prepare(log->wal, &busy));
    }
    struct wal_position end = wal_end_position(log->wal);
    assert_int_equal(end.segment, last.segment);
    assert_int_equal(end.offset, last.offset);
}

static void check_recovers(struct log *log, const struct wal_end *ends,
                           bool clean)
{
    struct replayed replayed;
    struct wal_recovered got;
    CHECK_OK(log_recover(log, ends, clean, unknown(), &replayed, &got));
    assert_int_equal(replayed.next_seq, log->next_seq);
    assert_int_equal(got.last.next_seq, log->next_seq);
    assert_false(got.cut);
    assert_int_equal(got.records, replayed.records);
    wal_recovered_deinit(&got);
}

static void run_append(struct fixture *f)
{
    log_open(&f->log);
    assert_int_equal(wal_end_position(f->log.wal).segment, 0);
    append_many(&f->log, 2000, 900);
    struct wal_stats stats;
    wal_stats(f->log.wal, &stats);
    assert_int_equal(stats.records, 2000);
    assert_true(stats.segments_created > 3);
    if (!f->memory)
        assert_int_equal(stats.mapped,
                         f->log.options.access == WAL_ACCESS_MAP);
    check_recovers(&f->log, NULL, false);
    struct wal_end end;
    struct watermark known;
    CHECK_OK(wal_close(f->log.wal, &end, &known));
    assert_int_equal(end.next_seq, f->log.next_seq);
    assert_int_equal(known.segment, end.segment);
    assert_int_equal(known.offset, end.length);
    assert_int_equal(known.seq, end.next_seq - 1);
    check_recovers(&f->log, NULL, false);
}
static void test_append(void **state)
{
    (void)state;
    on_all(run_append);
}

/* Sizes around every limit: stage, segment, several chunks. */
static void run_sizes(struct fixture *f)
{
    static const size_t sizes[] = {
        0, 1, 7, 8, 9, 65472, 65500, 65504, 65512, 65536, 65537, 262000,
        262144, 300001, 5 << 20, 10, 20000, 0};
    struct wal_position at;
    log_open(&f->log);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        CHECK_OK(log_append(&f->log, sizes[i], 1, &at));
        if (i % 4 == 1)
            CHECK_OK(wal_sync(f->log.wal, at));
    }
    struct wal_stats stats;
    wal_stats(f->log.wal, &stats);
    assert_int_equal(stats.records, sizeof(sizes) / sizeof(sizes[0]));
    wal_abandon(f->log.wal);
    check_recovers(&f->log, NULL, false);
}
static void test_sizes(void **state)
{
    (void)state;
    on_all(run_sizes);
}

static void run_recycle(struct fixture *f)
{
    struct log *log = &f->log;
    struct wal_stats stats;
    log->options.max_segment = log->options.min_segment;
    log_open(log);
    for (unsigned round = 0; round < 8; round++) {
        append_many(log, 300, 600);
        struct wal_position at = wal_end_position(log->wal);
        if (round % 2)
            CHECK_OK(wal_sync(log->wal, at));
        uint64_t next = wal_rotate(log->wal);
        assert_true(next > at.segment);
        CHECK_OK(wal_release(log->wal, next));
        size_t kept = 0;
        for (size_t i = 0; i < log->created_count; i++)
            if (log->created[i] >= next)
                log->created[kept++] = log->created[i];
        log->created_count = kept;
        assert_true(count_files(log) <= 2 + kept);
    }
    wal_stats(log->wal, &stats);
    assert_true(stats.segments_recycled > 5);
    uint64_t first = log->next_seq;
    append_many(log, 50, 600);
    struct wal_end end;
    struct watermark known;
    struct replayed replayed;
    struct wal_recovered got;
    CHECK_OK(log_recover(log, NULL, false, unknown(), &replayed, &got));
    assert_int_equal(replayed.first_seq, first);
    assert_int_equal(replayed.next_seq, log->next_seq);
    assert_false(got.cut);
    wal_recovered_deinit(&got);
    CHECK_OK(wal_close(log->wal, &end, &known));
    assert_int_equal(count_files(log), 1);
}
static void test_recycle(void **state)
{
    (void)state;
    on_all(run_recycle);
}

static void run_pins(struct fixture *f)
{
    struct log *log = &f->log;
    struct wal_position at;
    log->options.spares = 0;
    log_open(log);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(log_append(log, 10, 1, &at));
        wal_rotate(log->wal);
    }
    assert_int_equal(count_files(log), 4);
    CHECK_OK(wal_release(log->wal, 2)); /* what is below */
    assert_int_equal(count_files(log), 3);
    wal_pin(log->wal, 3);
    wal_pin(log->wal, 4);
    CHECK_OK(wal_release(log->wal, 5));
    assert_int_equal(count_files(log), 2);
    wal_unpin(log->wal, 3);
    assert_int_equal(count_files(log), 1);
    wal_unpin(log->wal, 4);
    assert_int_equal(count_files(log), 0);
    for (int i = 0; i < 40; i++) /* more than there are places */
        wal_pin(log->wal, 1);
    CHECK_OK(log_append(log, 10, 1, &at));
    CHECK_OK(wal_release(log->wal, wal_rotate(log->wal)));
    for (int i = 0; i < 40; i++) {
        assert_int_equal(count_files(log), 1);
        wal_unpin(log->wal, 1);
    }
    assert_int_equal(count_files(log), 0);
    wal_abandon(log->wal);
}
static void test_pins(void **state)
{
    (void)state;
    on_all(run_pins);
}

/* A file that somebody linked to is not written again. */
static void test_linked_segment_is_no_spare(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, &variants[0]);
    struct wal_position at;
    char other[160];
    log_open(&f.log);
    CHECK_OK(log_append(&f.log, 100, 1, &at));
    char *path = wal_segment_path(f.log.directory, 1);
    snprintf(other, sizeof(other), "%s/copy", f.log.directory);
    assert_int_equal(link(path, other), 0);
    mem_free(path);
    CHECK_OK(wal_release(f.log.wal, wal_rotate(f.log.wal)));
    assert_int_equal(count_files(&f.log), 1);
    CHECK_OK(log_append(&f.log, 100, 1, &at));
    struct wal_stats stats;
    wal_stats(f.log.wal, &stats);
    assert_int_equal(stats.segments_recycled, 0);
    wal_abandon(f.log.wal);
    fixture_deinit(&f);
}

/* Nor is a spare that somebody linked to since it was kept. */
static void test_linked_spare_is_not_used(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, &variants[0]);
    struct wal_position at;
    struct wal_stats stats;
    char other[160];
    log_open(&f.log);
    CHECK_OK(log_append(&f.log, 100, 1, &at));
    CHECK_OK(wal_release(f.log.wal, wal_rotate(f.log.wal)));
    assert_int_equal(count_files(&f.log), 1);
    char *path = wal_segment_path(f.log.directory, 1);
    snprintf(other, sizeof(other), "%s/copy", f.log.directory);
    assert_int_equal(link(path, other), 0);
    mem_free(path);
    CHECK_OK(log_append(&f.log, 100, 1, &at));
    wal_stats(f.log.wal, &stats);
    assert_int_equal(stats.segments_recycled, 0);
    assert_int_equal(count_files(&f.log), 2);
    wal_abandon(f.log.wal);
    fixture_deinit(&f);
}

/* Names are durable and announced before the first record; no truncation and
   no allocation happens while records are synced. */
static void run_calls(struct fixture *f)
{
    struct log *log = &f->log;
    struct wal_position at;
    log_open(log);
    env_fault_set(f->env, NULL);
    CHECK_OK(log_append(log, 10, 1, &at));
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_SYNC_DIR), 1);
    assert_int_equal(log->created_count, 1);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(log_append(log, 10, 1, &at));
        CHECK_OK(wal_sync(log->wal, at));
        CHECK_OK(wal_sync(log->wal, at));
    }
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_SYNC), 10);
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_ALLOCATE), 1);
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_TRUNCATE), 0);
    /* Sealed segments are synced before the present one. */
    CHECK_OK(log_append(log, 10, 1, &at));
    wal_rotate(log->wal);
    CHECK_OK(log_append(log, 10, 1, &at));
    wal_rotate(log->wal);
    CHECK_OK(log_append(log, 10, 1, &at));
    CHECK_OK(wal_sync(log->wal, at));
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_SYNC), 13);
    wal_abandon(log->wal);
}
static void test_calls(void **state)
{
    (void)state;
    on_all(run_calls);
}

static void run_failed_sync(struct fixture *f)
{
    struct log *log = &f->log;
    struct wal_position first, at;
    log_open(log);
    CHECK_OK(log_append(log, 100, 1, &first));
    CHECK_OK(wal_sync(log->wal, first));
    CHECK_OK(log_append(log, 100, 1, &at));
    struct env_fault_rule rule = {
        .operations = ENV_FAULT_SYNC, .count = 1, .error = EIO};
    env_fault_set(f->env, &rule);
    assert_int_equal(wal_sync(log->wal, at), ADB_IO);
    assert_int_equal(wal_sync(log->wal, at), ADB_IO);
    CHECK_OK(wal_sync(log->wal, first)); /* was durable before */
    assert_int_equal(wal_failure(log->wal), ADB_IO);
    uint64_t seq = log->next_seq;
    assert_int_equal(log_append(log, 100, 1, &at), ADB_IO);
    assert_int_equal(env_fault_calls(f->env, ENV_FAULT_SYNC), 1);

    uint64_t next = wal_rotate(log->wal);
    CHECK_OK(wal_failure(log->wal));
    CHECK_OK(log_append(log, 100, 1, &at));
    assert_int_equal(at.segment, next);
    assert_int_equal(log->next_seq, seq + 1);
    assert_int_equal(wal_sync(log->wal, at), ADB_IO); /* no prefix yet */
    CHECK_OK(wal_failure(log->wal));
    CHECK_OK(wal_release(log->wal, next));
    CHECK_OK(wal_sync(log->wal, at));
    wal_abandon(log->wal);
}
static void test_failed_sync(void **state)
{
    (void)state;
    on_all(run_failed_sync);
}

/* A record that is appended while a sync runs. */
struct late {
    struct log *log;
    struct wal_position at;
};

static void append_once(void *context, struct env *env, const char *operation,
                        const char *path)
{
    struct late *late = context;
    (void)env;
    if (!late->at.segment && strcmp(operation, "sync") == 0 &&
        strstr(path, ".log"))
        CHECK_OK(log_append(late->log, 100, 1, &late->at));
}

/* Such a record is not what that sync was for: it has one of its own. */
static void test_appended_during_a_sync(void **state)
{
    (void)state;
    for (size_t v = 2; v < 4; v++) {
        struct fixture f;
        struct wal_position at;
        fixture_init(&f, &variants[v]);
        struct late late = {.log = &f.log};
        log_open(&f.log);
        CHECK_OK(log_append(&f.log, 100, 1, &at));
        env_memory_set_observer(f.base, append_once, &late);
        CHECK_OK(wal_sync(f.log.wal, at));
        env_memory_set_observer(f.base, NULL, NULL);
        assert_true(late.at.offset > at.offset);
        uint64_t before = env_fault_calls(f.env, ENV_FAULT_SYNC);
        CHECK_OK(wal_sync(f.log.wal, late.at));
        assert_int_equal(env_fault_calls(f.env, ENV_FAULT_SYNC), before + 1);
        wal_abandon(f.log.wal);
        fixture_deinit(&f);
    }
}

static void run_no_space(struct fixture *f)
{
    struct log *log = &f->log;
    struct wal_position at;
    struct env_fault_rule rule = {
        .operations = ENV_FAULT_ALLOCATE, .count = ~0ull, .error = ENOSPC};
    log_open(log);
    env_fault_set(f->env, &rule);
    assert_int_equal(log_append(log, 10, 1, &at), ADB_NO_SPACE);
    assert_int_equal(log_append(log, 10, 1, &at), ADB_NO_SPACE);
    assert_int_equal(count_files(log), 0);
    env_fault_set(f->env, NULL);
    CHECK_OK(log_append(log, 10, 1, &at));

    env_fault_set(f->env, &rule);
    assert_int_equal(log_append(log, 1 << 20, 1, &at), ADB_NO_SPACE);
    CHECK_OK(wal_failure(log->wal));
    CHECK_OK(log_append(log, 100, 1, &at)); /* still fits where it was */
    assert_int_equal(at.segment, 1);
    while (log_append(log, 1000, 1, &at) == ADB_OK)
        ;
    bool busy;
    assert_int_equal(wal_prepare(log->wal, &busy), ADB_NO_SPACE);
    CHECK_OK(wal_sync(log->wal, at));
    env_fault_set(f->env, NULL);
    CHECK_OK(log_append(log, 1 << 20, 1, &at));
    CHECK_OK(log_append(log, 100, 1, &at));
    wal_abandon(log->wal);
    check_recovers(log, NULL, false);
}
static void test_no_space(void **state)
{
    (void)state;
    on_all(run_no_space);
}

/* The n-th call of any kind fails: what was acknowledged is recovered, and
   after a rotation the log works again. */
static void run_any_fault(struct fixture *f, unsigned operations, int error,
                          uint64_t skip, bool *hit)
{
    struct log *log = &f->log;
    struct wal_position at;
    bool busy;
    struct env_fault_rule rule = {.operations = operations, .skip = skip,
                                  .count = 1, .error = error, .partial = 20};
    struct wal_end none = {0, 0, 0, 0};
    struct watermark nothing = {0, 0, 0};
    log->created_count = 0;
    log->next_seq = 1;
    log->options.max_segment = log->options.min_segment;
    env_fault_set(f->env, &rule);
    if (wal_open(&log->options, 1, &none, &nothing, &log->wal) != ADB_OK) {
        *hit = true;
        return;
    }
    for (int i = 0; i < 40; i++) {
        if (log_append(log, i % 10 == 9 ? 70000 : 5000, 1, &at) != ADB_OK &&
            wal_failure(log->wal) != ADB_OK)
            wal_rotate(log->wal);
        if (i % 3 == 0)
            (void)!wal_prepare(log->wal, &busy);
        if (i % 7 == 0 && wal_sync(log->wal, at) != ADB_OK)
            wal_rotate(log->wal);
    }
    *hit = env_fault_hits(f->env) > 0;
    env_fault_set(f->env, NULL);
    uint64_t before = log->next_seq;
    if (wal_failure(log->wal) != ADB_OK)
        wal_rotate(log->wal);
    CHECK_OK(log_append(log, 10, 1, &at));
    assert_int_equal(log->next_seq, before + 1);
    wal_abandon(log->wal);
    check_recovers(log, NULL, false);
}
static void test_any_fault(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, ENOMEM};
    for (size_t v = 0; v < 4; v++)
        for (size_t e = 0; e < 3; e++) {
            bool hit = true;
            /* Every call in memory; on real disks, which take their time for
               a sync, every eleventh. */
            for (uint64_t skip = 0; hit && skip < 400;
                 skip += variants[v].memory ? 1 : 11) {
                struct fixture f;
                fixture_init(&f, &variants[v]);
                run_any_fault(&f, ENV_FAULT_ANY & ~ENV_FAULT_UNLINK, errors[e],
                              skip, &hit);
                fixture_deinit(&f);
            }
            assert_false(hit);
        }
}

/* A write that fails behind all of a record but its padding has written a whole
   record. It did not happen, so it must not surface: not even when the power
   goes and the system had written those bytes out. */
static void test_failed_write_never_surfaces(void **state)
{
    (void)state;
    for (size_t size = 5000; size < 5016; size++) {
        struct fixture f;
        struct wal_position at;
        struct random random;
        struct env_fault_rule rule = {.operations = ENV_FAULT_WRITE,
                                      .count = 1, .error = EIO,
                                      .partial = UINT64_MAX};
        fixture_init(&f, &variants[3]);
        CHECK_OK(env_sync_dir(f.base, "/"));
        log_open(&f.log);
        CHECK_OK(log_append(&f.log, 3000, 1, &at));
        CHECK_OK(wal_sync(f.log.wal, at));
        env_fault_set(f.env, &rule);
        assert_int_equal(log_append(&f.log, size, 1, &at), ADB_IO);
        random_seed(&random, size);
        for (int i = 0; i < 24; i++) {
            struct log after = f.log;
            after.env = env_memory_crash(f.base, &random, ~UINT64_C(0));
            check_recovers(&after, NULL, false);
            env_memory_free(after.env);
        }
        wal_abandon(f.log.wal);
        check_recovers(&f.log, NULL, false);
        fixture_deinit(&f);
    }
}

/* Where blocks or maps are refused the segment is written. */
static void run_refused(struct fixture *f)
{
    static const unsigned refused[] = {ENV_FAULT_ALLOCATE, ENV_FAULT_MAP};
    for (size_t i = 0; i < 2; i++) {
        struct env_fault_rule rule = {.operations = refused[i],
                                      .count = ~0ull, .error = EOPNOTSUPP};
        struct wal_stats stats;
        f->log.created_count = 0;
        f->log.next_seq = 1;
        env_fault_set(f->env, &rule);
        log_open(&f->log);
        append_many(&f->log, 300, 900);
        wal_stats(f->log.wal, &stats);
        assert_false(stats.mapped);
        wal_abandon(f->log.wal);
        env_fault_set(f->env, NULL);
        check_recovers(&f->log, NULL, false);
    }
}
static void test_refused(void **state)
{
    (void)state;
    on_all(run_refused);
}

/* ---- threads ---- */

struct shared {
    struct log *log;
    struct mutex write_lock;
    _Atomic bool stop;
    unsigned rounds;
};

static void *sync_writer(void *argument)
{
    struct shared *shared = argument;
    for (unsigned i = 0; i < shared->rounds; i++) {
        struct wal_position at;
        mutex_lock(&shared->write_lock);
        adb_status status = log_append(shared->log, 200, 1, &at);
        if (i % 50 == 49)
            CHECK_OK(wal_release(shared->log->wal,
                                 wal_rotate(shared->log->wal)));
        mutex_unlock(&shared->write_lock);
        CHECK_OK(status);
        CHECK_OK(wal_sync(shared->log->wal, at));
    }
    return NULL;
}

static void *preparer(void *argument)
{
    struct shared *shared = argument;
    while (!atomic_load(&shared->stop)) {
        bool busy;
        if (wal_wants_prepare(shared->log->wal))
            CHECK_OK(wal_prepare(shared->log->wal, &busy));
        thread_yield();
    }
    return NULL;
}

static void run_group_commit(struct fixture *f)
{
    enum { WRITERS = 8 };
    struct shared shared = {.log = &f->log, .rounds = 200};
    struct thread writers[WRITERS] = {{0}}, background = {0};
    struct env_fault_rule slow = {.operations = ENV_FAULT_SYNC,
                                  .count = ~0ull, .delay_ns = 200000};
    mutex_init(&shared.write_lock);
    log_open(&f->log);
    env_fault_set(f->env, &slow);
    CHECK_OK(thread_start(&background, "prepare", preparer, &shared));
    for (int i = 0; i < WRITERS; i++)
        CHECK_OK(thread_start(&writers[i], "writer", sync_writer, &shared));
    for (int i = 0; i < WRITERS; i++)
        thread_join(&writers[i]);
    atomic_store(&shared.stop, true);
    thread_join(&background);

    struct wal_stats stats;
    wal_stats(f->log.wal, &stats);
    assert_int_equal(stats.records, WRITERS * 200);
    assert_int_equal(stats.syncs, env_fault_calls(f->env, ENV_FAULT_SYNC));
    assert_true(stats.syncs < WRITERS * 200 / 2);
    assert_true(stats.largest_group > 2);
    wal_abandon(f->log.wal);
    mutex_deinit(&shared.write_lock);
}
static void test_group_commit(void **state)
{
    (void)state;
    on_all(run_group_commit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_recycle),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_linked_segment_is_no_spare),
        cmocka_unit_test(test_linked_spare_is_not_used),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_appended_during_a_sync),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_any_fault),
        cmocka_unit_test(test_failed_write_never_surfaces),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_group_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
