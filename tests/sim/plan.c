#include "sim/world.h"

#include <inttypes.h>

static const char *pick(struct random *r, const char *const *list, size_t n)
{
    return list[random_below(r, n)];
}
#define PICK(r, ...)                                                           \
    pick(r, (const char *const[]){__VA_ARGS__},                                \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool chance(struct random *r, unsigned percent)
{
    return random_below(r, 100) < percent;
}

/* Nothing may depend on the machine: no option is left to the process. */
static void choose_options(struct plan *p, struct random *r)
{
    static const uint64_t intervals[] = {1, 20, 1000};
    p->sync_interval_ms = intervals[random_below(r, 3)];
    snprintf(p->options, sizeof p->options,
             "memory_budget=%s memtable_size=%s max_memtables=%s "
             "durability=%s sync_interval=%" PRIu64 "ms wal_access=%s "
             "wal_segment_min=64K wal_segment_max=%s compression=%s "
             "block_size=%s filter_bits=%s table_access=%s table_size=64K "
             "compaction=%s idle_compaction=%s background_threads=%s "
             "max_open_files=%s",
             PICK(r, "1M", "1M", "4M"), PICK(r, "32K", "32K", "64K"),
             PICK(r, "2", "3", "4"),
             PICK(r, "sync", "process", "process", "none"),
             p->sync_interval_ms, PICK(r, "map", "write"),
             PICK(r, "64K", "64K", "256K"), PICK(r, "none", "lz4", "zstd"),
             PICK(r, "1K", "4K"), PICK(r, "10", "0", "4"),
             PICK(r, "cache", "cache", "cache", "map"),
             PICK(r, "lazy", "lazy", "leveled", "tiered"),
             PICK(r, "true", "false"), PICK(r, "2", "2", "3", "4"),
             PICK(r, "8", "64"));
    p->manifest_roll_bytes = chance(r, 50) ? 600 : 0;
    p->model = chance(r, 50) ? ENV_MEMORY_STRICT : ENV_MEMORY_ORDERED;
}

static void choose_load(struct plan *p, struct random *r)
{
    static const unsigned keys[] = {4, 20, STORE_KEYS, STORE_KEYS};
    static const unsigned values[] = {40, 700, 3000, 6000};
    p->clients = 1 + (unsigned)random_below(r, CLIENTS_MAX);
    p->operations = 20 + (unsigned)random_below(r, 600 / p->clients);
    p->keys = keys[random_below(r, 4)];
    p->value_max = values[random_below(r, 4)];
    p->huge = chance(r, 20);
    p->raise_percent = chance(r, 50) ? 0 : (unsigned)random_below(r, 50);
    p->timeout_percent = chance(r, 80) ? 0 : 20;
    p->barrier_permille = (unsigned)random_below(r, 80);
    p->pause_permille = chance(r, 70) ? 0 : 10;
    p->read_percent = 10 + (unsigned)random_below(r, 60);
}

static void choose_endings(struct plan *p, struct random *r)
{
    static const uint64_t reach[] = {60, 600, 3000};
    p->lives = 1 + (unsigned)random_below(r, LIVES_MAX - 1);
    for (unsigned i = 0; i < p->lives; i++) {
        struct ending *e = &p->endings[i];
        uint64_t far = reach[random_below(r, 3)];
        *e = (struct ending){.kind = END_CLOSE};
        if (chance(r, 30))
            continue;
        e->kind = chance(r, 60) ? END_POWER : END_KILL;
        if (chance(r, 70))
            e->at_change = 1 + random_below(r, far);
        else
            e->at_step = 1 + random_below(r, 10 * far);
    }
}

void plan_make(struct plan *p, uint64_t seed)
{
    struct random r;
    memset(p, 0, sizeof *p);
    random_seed(&r, seed ^ UINT64_C(0x706c616e));
    choose_options(p, &r);
    choose_load(p, &r);
    choose_endings(p, &r);
    p->faults = chance(&r, 35);
    p->memory_faults = p->faults && chance(&r, 30);
    p->latency_ns =
        chance(&r, 40) ? 0 : UINT64_C(10000) << random_below(&r, 10);
    p->stall_permille = chance(&r, 70) ? 0 : 20;
    p->part_permille = chance(&r, 50) ? 0 : 100;
    p->preempt = chance(&r, 35) ? 0 : UINT64_C(16) << random_below(&r, 9);
}

static const char *const end_names[] = {"close", "power cut", "kill"};

void plan_describe(const struct plan *p, char *out, size_t size)
{
    int n = snprintf(
        out, size,
        "%s\n  manifest_roll_bytes %" PRIu64 ", %s disk, latency %" PRIu64
        " ns%s%s, %u clients, %u operations each, %u keys, values up to %u%s, "
        "preemption %" PRIu64 "\n  lives end by",
        p->options, p->manifest_roll_bytes,
        p->model == ENV_MEMORY_STRICT ? "strict" : "ordered", p->latency_ns,
        p->stall_permille ? ", stalls" : "", p->part_permille ? ", parts" : "",
        p->clients, p->operations, p->keys, p->value_max,
        p->memory_faults ? ", faults, no memory"
        : p->faults      ? ", faults"
                         : "",
        p->preempt);
    for (unsigned i = 0; i < p->lives && n > 0 && (size_t)n < size; i++) {
        const struct ending *e = &p->endings[i];
        n += snprintf(out + n, size - (size_t)n, " %s", end_names[e->kind]);
        if (e->kind != END_CLOSE && (size_t)n < size)
            n += snprintf(out + n, size - (size_t)n, " at %s %" PRIu64,
                          e->at_change ? "change" : "step",
                          e->at_change ? e->at_change : e->at_step);
    }
}
