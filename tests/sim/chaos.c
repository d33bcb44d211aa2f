/*
 * The thread that makes things fail: for a while some operations return an
 * error, or the disk is full; then the cause is gone for a while.
 */
#include "sim/world.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/thread.h"

#define MILLISECONDS UINT64_C(1000000)

static const unsigned kinds[] = {
    ENV_FAULT_WRITE,
    ENV_FAULT_SYNC,
    ENV_FAULT_SYNC,
    ENV_FAULT_SYNC | ENV_FAULT_SYNC_DIR,
    ENV_FAULT_WRITE | ENV_FAULT_ALLOCATE | ENV_FAULT_POPULATE,
    ENV_FAULT_OPEN,
    ENV_FAULT_READ,
    ENV_FAULT_RENAME | ENV_FAULT_UNLINK | ENV_FAULT_SYNC_DIR,
    ENV_FAULT_MAP | ENV_FAULT_POPULATE | ENV_FAULT_TRUNCATE,
    ENV_FAULT_STAT | ENV_FAULT_SIZE | ENV_FAULT_CLOSE,
    ENV_FAULT_ANY,
};
static const char *const parts[] = {NULL, NULL, ".log", ".log", ".sst",
                                    "MANIFEST", "CURRENT"};

static void some_operations(struct world *w, struct random *r)
{
    struct env_fault_rule rule = {
        .operations = kinds[random_below(r, sizeof kinds / sizeof kinds[0])],
        .path_part = parts[random_below(r, sizeof parts / sizeof parts[0])],
        .skip = random_below(r, 2) ? 0 : random_below(r, 12),
        .count = random_below(r, 3) ? 1 + random_below(r, 3) : UINT64_MAX,
        .error = random_below(r, 2) ? EIO : ENOSPC,
        .partial = random_below(r, 2) ? random_below(r, 2000) : 0,
        .drop_on_sync_failure = random_below(r, 2) != 0,
    };
    scheduler_trace("operations %x of %s fail with %d after %d",
                    rule.operations, rule.path_part ? rule.path_part : "all",
                    rule.error, (int)rule.skip);
    env_fault_set(w->fault, &rule);
}

static void full_disk(struct world *w, struct random *r)
{
    uint64_t free;
    if (w->disk->ops->free_space(w->disk, "/", &free) != ADB_OK)
        world_die(w, "%s", adb_error_message());
    uint64_t left = random_below(r, 100) << 10;
    scheduler_trace("the disk has %d bytes left", (int)left);
    env_memory_set_capacity(w->disk, SIM_DISK_BYTES - free + left);
}

/* One allocation in so many fails; 0: none. */
static uint64_t memory_rare;
static struct random memory_random;

static int fail_allocation(void *context, size_t size)
{
    (void)context, (void)size;
    return memory_rare && scheduler_running() &&
           random_below(&memory_random, memory_rare) == 0;
}

static void no_memory(struct random *r)
{
    memory_rare = UINT64_C(1) << random_below(r, 10);
    random_seed(&memory_random, random_next(r));
    mem_set_fail_hook(fail_allocation, NULL);
    scheduler_trace("one allocation in %d fails", (int)memory_rare);
}

void chaos_begin(struct world *w, struct random *r)
{
    uint64_t dice = random_below(r, 4);
    if (dice == 0)
        full_disk(w, r);
    else if (dice == 1 && w->plan.memory_faults)
        no_memory(r);
    else
        some_operations(w, r);
}

void chaos_heal(struct world *w)
{
    memory_rare = 0;
    mem_set_fail_hook(NULL, NULL);
    w->faults += env_fault_hits(w->fault);
    env_fault_set(w->fault, NULL);
    env_memory_set_capacity(w->disk, SIM_DISK_BYTES);
    scheduler_trace("nothing fails");
}

/* Until clients have done some operations, or for long enough. */
static void wait_for_operations(struct world *w, struct random *r,
                                uint64_t most, bool until_met)
{
    uint64_t enough = w->operations + 1 + random_below(r, most);
    uint64_t poll_ns = 20000 + w->plan.latency_ns / 4;
    for (int i = 0; i < 500 && !w->stop && w->operations < enough; i++) {
        if (until_met && env_fault_hits(w->fault))
            break;
        clock_sleep_ns(poll_ns);
    }
}

/* A while with the cause there: at least until it was met, mostly. */
static void let_it_show(struct world *w, struct random *r)
{
    wait_for_operations(w, r, 60, true);
    if (random_below(r, 8) == 0)
        clock_sleep_ns(random_below(r, 3000) * MILLISECONDS);
    else if (random_below(r, 2))
        wait_for_operations(w, r, 20, false);
}

void *chaos_run(void *context)
{
    struct world *w = context;
    struct random r;
    random_seed(&r, w->seed + w->life);
    while (!w->stop) {
        wait_for_operations(w, &r, 40, false);
        if (w->stop)
            break;
        chaos_begin(w, &r);
        let_it_show(w, &r);
        chaos_heal(w);
    }
    return NULL;
}
