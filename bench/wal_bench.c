/*
 * What an append to the log costs: 116-byte payloads through the mapping and
 * through write(2), without sync and with a sync after each.
 *
 *   wal_bench DIRECTORY [RECORDS]
 *
 * A second thread calls wal_prepare as a database does. CPU time is that of
 * the appending thread, the longest append is wall time.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/thread.h"
#include "wal/wal.h"

enum { PAYLOAD = 116, PER_MEMTABLE = 400000, SYNCED = 2000 };

struct bench {
    struct wal *wal;
    _Atomic bool stop;
};

static void check(adb_status status)
{
    if (status == ADB_OK)
        return;
    fprintf(stderr, "%s: %s\n", status_name(status), status_message());
    exit(1);
}

static void *background(void *argument)
{
    struct bench *b = argument;
    while (!atomic_load_explicit(&b->stop, memory_order_relaxed)) {
        bool busy = false;
        if (wal_wants_prepare(b->wal))
            check(wal_prepare(b->wal, &busy));
        if (!busy)
            clock_sleep_ns(50000);
    }
    return NULL;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static adb_status created(void *context, uint64_t first, unsigned count,
                          const struct watermark *known)
{
    (void)context;
    (void)first;
    (void)count;
    (void)known;
    return ADB_OK;
}

static void run(const char *directory, enum wal_access access, const char *name,
                uint64_t records, bool sync)
{
    struct bench b = {.stop = false};
    struct wal_options options = {
        .env = env_posix(), .directory = directory, .access = access,
        .min_segment = 1 << 20, .max_segment = 64 << 20, .spares = 2,
        .segments_created = created};
    struct wal_end end = {0, 0, 0, 0};
    struct watermark known = {0, 0, 0};
    struct thread thread = {0};
    uint8_t payload[PAYLOAD] = {1};
    adb_slice piece = slice_of(payload, sizeof(payload));
    struct wal_position at;
    uint64_t bytes, longest = 0;

    check(wal_open(&options, 1, &end, &known, &b.wal));
    check(thread_start(&thread, "prepare", background, &b));
    uint64_t wall = clock_now_ns(), cpu = cpu_ns();
    for (uint64_t i = 0; i < records; i++) {
        bool timed = i % 8 == 0; /* the clock costs as much as an append */
        uint64_t start = timed ? clock_now_ns() : 0;
        memcpy(payload, &i, sizeof(i));
        check(wal_append(b.wal, i + 1, 1, &piece, 1, &at, &bytes));
        if (timed) {
            uint64_t took = clock_now_ns() - start;
            longest = MAX_OF(longest, took);
        }
        if (sync)
            check(wal_sync(b.wal, at));
        if (i % PER_MEMTABLE == PER_MEMTABLE - 1)
            check(wal_release(b.wal, wal_rotate(b.wal)));
    }
    cpu = cpu_ns() - cpu;
    wall = clock_now_ns() - wall;
    atomic_store(&b.stop, true);
    thread_join(&thread);
    struct wal_stats stats;
    wal_stats(b.wal, &stats);
    printf("%-6s %-5s %8.1f ns cpu %10.1f ns wall, longest %8.1f us, "
           "recycled %llu, self populated %llu\n",
           name, sync ? "sync" : "", (double)cpu / (double)records,
           (double)wall / (double)records, (double)longest / 1000,
           (unsigned long long)stats.segments_recycled,
           (unsigned long long)stats.self_populated);
    check(wal_release(b.wal, wal_rotate(b.wal)));
    check(wal_close(b.wal, &end, &known));
}

/* The same records encoded into private warm memory: the part of an append
   that no log can save, and a measure of how busy the machine is. */
static void run_memory(uint64_t records)
{
    static uint8_t ring[1 << 20];
    uint8_t payload[PAYLOAD] = {1};
    uint64_t at = 0, cpu = cpu_ns();
    struct record r = {.kind = RECORD_BATCH, .count = 1,
                       .payload = slice_of(payload, sizeof(payload))};
    for (uint64_t i = 0; i < records; i++) {
        memcpy(payload, &i, sizeof(i));
        r.seq = i + 1;
        r.previous = r.checksum;
        if (at + record_size(PAYLOAD, false) > sizeof(ring))
            at = 0;
        record_encode(ring + at, &r, 1, at);
        at += r.size;
    }
    cpu = cpu_ns() - cpu;
    printf("memory       %8.1f ns cpu\n", (double)cpu / (double)records);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: wal_bench DIRECTORY [RECORDS]\n");
        return 2;
    }
    uint64_t records = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    for (int round = 0; round < 2; round++) {
        run_memory(records);
        run(argv[1], WAL_ACCESS_MAP, "map", records, false);
        run(argv[1], WAL_ACCESS_WRITE, "write", records / 4, false);
        run(argv[1], WAL_ACCESS_MAP, "map", SYNCED, true);
        run(argv[1], WAL_ACCESS_WRITE, "write", SYNCED, true);
    }
    return 0;
}
