/*
 * Writer and preparing thread at once, whatever either is doing at a moment.
 *
 * A memtable's log begins where wal_rotate says: everything below is released
 * with the memtable before it. So no record that is appended after a rotation
 * may land in a lower segment. And who prepares writes over pages that lie
 * ahead of the writer: never over a record.
 */
#include "sim/scheduler.h"

#include "base/random.h"
#include "base/thread.h"
#include "env/env_memory.h"
#include "support.h"
#include "wal/wal.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

enum { APPENDS = 120, RECORD_BYTES = 5000, SEGMENTS_MAX = 4 * APPENDS };

struct log {
    struct wal *wal;
    struct env *env;
    struct random random;
    uint64_t segment_bytes, record_bytes; /* records: up to that many */
    uint64_t created[SEGMENTS_MAX];
    size_t created_count;
    _Atomic bool stop;
    uint64_t below; /* records that landed below the rotation */
    bool failed;
};

static adb_status created(void *context, uint64_t first, unsigned count,
                          const struct watermark *synced)
{
    struct log *log = context;
    (void)synced;
    for (unsigned i = 0; i < count && log->created_count < SEGMENTS_MAX; i++)
        log->created[log->created_count++] = first + i;
    scheduler_point();
    return ADB_OK;
}

static void *prepare(void *argument)
{
    struct log *log = argument;
    while (!atomic_load(&log->stop)) {
        bool busy = false;
        if (wal_prepare(log->wal, &busy) != ADB_OK)
            log->failed = true;
        clock_sleep_ns(1 + random_below(&log->random, 50000));
    }
    return NULL;
}

static void append_all(struct log *log)
{
    static uint8_t payload[64 << 10];
    uint64_t first = 0;
    memset(payload, 0xa5, sizeof payload);
    for (uint64_t seq = 1; seq <= APPENDS; seq++) {
        struct wal_position at;
        uint64_t bytes;
        adb_slice piece = slice_of(
            payload, 1 + random_below(&log->random, log->record_bytes));
        if (random_below(&log->random, 12) == 0)
            first = wal_rotate(log->wal);
        if (wal_append(log->wal, seq, 1, &piece, 1, &at, &bytes) != ADB_OK)
            log->failed = true;
        log->below += at.segment < first;
    }
}

static void run(void *argument)
{
    struct log *log = argument;
    struct thread thread = {.started = false};
    struct wal_end none = {0};
    struct watermark nothing = {0};
    struct wal_options options = {
        .env = log->env,
        .directory = "/",
        .access = WAL_ACCESS_MAP,
        .min_segment = log->segment_bytes,
        .max_segment = log->segment_bytes,
        .spares = 2,
        .segments_created = created,
        .context = log,
    };
    log->failed =
        wal_open(&options, 1, &none, &nothing, &log->wal) != ADB_OK ||
        thread_start(&thread, "prepare", prepare, log) != ADB_OK;
    if (!log->failed)
        append_all(log);
    atomic_store(&log->stop, true);
    thread_join(&thread);
    wal_abandon(log->wal);
}

static void run_seed(struct log *log, uint64_t seed)
{
    static struct scheduler_result result;
    struct scheduler_options options = {.seed = seed};
    random_seed(&log->random, seed);
    scheduler_run(&options, run, log, &result);
    if (result.verdict != SCHEDULER_ENDED || log->failed)
        fail_msg("seed %llu: %s", (unsigned long long)seed, result.report);
    if (log->below)
        fail_msg("ADB_TEST_SEED=%llu: %llu records below the segment that "
                 "wal_rotate promised",
                 (unsigned long long)seed, (unsigned long long)log->below);
}

static void test_nothing_lands_below_a_rotation(void **state)
{
    uint64_t first = test_seed();
    (void)state;
    for (uint64_t i = 0; i < test_scaled(2000, 300); i++) {
        struct log log = {.env = env_memory_new(ENV_MEMORY_STRICT),
                          .segment_bytes = 64 << 10,
                          .record_bytes = RECORD_BYTES};
        run_seed(&log, first + i);
        env_memory_free(log.env);
    }
}

static adb_status count_record(void *context, uint64_t segment, uint64_t offset,
                               uint64_t seq, uint32_t count, adb_slice payload)
{
    (void)segment, (void)offset, (void)count, (void)payload;
    *(uint64_t *)context = seq;
    return ADB_OK;
}

static void check_all_there(struct log *log, uint64_t seed)
{
    uint64_t last = 0;
    struct wal_recovered got;
    struct wal_recovery in = {
        .env = log->env,
        .directory = "/",
        .segments = log->created,
        .segment_count = log->created_count,
        .replay = count_record,
        .context = &last,
    };
    assert_true(log->created_count < SEGMENTS_MAX);
    assert_int_equal(wal_recover(&in, &got), ADB_OK);
    wal_recovered_deinit(&got);
    if (last != APPENDS)
        fail_msg("ADB_TEST_SEED=%llu: the log ends with record %llu",
                 (unsigned long long)seed, (unsigned long long)last);
}

static void test_nothing_is_written_over(void **state)
{
    uint64_t first = test_seed();
    (void)state;
    for (uint64_t i = 0; i < test_scaled(1000, 100); i++) {
        struct log log = {.env = env_memory_new(ENV_MEMORY_STRICT),
                          .segment_bytes = 512 << 10,
                          .record_bytes = 60 << 10};
        run_seed(&log, first + i);
        check_all_there(&log, first + i);
        env_memory_free(log.env);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_lands_below_a_rotation),
        cmocka_unit_test(test_nothing_is_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
