/*
 * A memtable's log begins where wal_rotate says: everything below is released
 * with the memtable before it. So no record that is appended after a rotation
 * may land in a lower segment, whatever the preparing thread is doing at that
 * moment.
 */
#include "sim/scheduler.h"

#include "base/random.h"
#include "base/thread.h"
#include "env/env_memory.h"
#include "support.h"
#include "wal/wal.h"

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()

enum { APPENDS = 120, RECORD_BYTES = 5000 };

struct log {
    struct wal *wal;
    struct env *env;
    struct random random;
    _Atomic bool stop;
    uint64_t below; /* records that landed below the rotation */
    bool failed;
};

static adb_status created(void *context, uint64_t number,
                          const struct watermark *synced)
{
    (void)context, (void)number, (void)synced;
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
    static const uint8_t payload[RECORD_BYTES];
    adb_slice piece = slice_of(payload, sizeof payload);
    uint64_t first = 0;
    for (uint64_t seq = 1; seq <= APPENDS; seq++) {
        struct wal_position at;
        uint64_t bytes;
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
        .min_segment = 64 << 10,
        .max_segment = 64 << 10,
        .spares = 2,
        .segment_created = created,
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

static void test_nothing_lands_below_a_rotation(void **state)
{
    static struct scheduler_result result;
    uint64_t first = test_seed();
    (void)state;
    for (uint64_t i = 0; i < test_scaled(2000, 300); i++) {
        struct scheduler_options options = {.seed = first + i};
        struct log log = {.env = env_memory_new(ENV_MEMORY_STRICT)};
        random_seed(&log.random, first + i);
        scheduler_run(&options, run, &log, &result);
        env_memory_free(log.env);
        if (result.verdict != SCHEDULER_ENDED || log.failed)
            fail_msg("seed %llu: %s", (unsigned long long)(first + i),
                     result.report);
        if (log.below)
            fail_msg("ADB_TEST_SEED=%llu: %llu records below the segment that "
                     "wal_rotate promised",
                     (unsigned long long)(first + i),
                     (unsigned long long)log.below);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_lands_below_a_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
