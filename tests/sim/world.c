#include "sim/world.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "db/db_internal.h"
#include "sim/sim_env.h"
#include "sst/sst_reader_internal.h"
#include "version/names.h"

#define SECONDS UINT64_C(1000000000)

static bool logs_nothing(const struct world *w)
{
    return strstr(w->plan.options, "durability=none") != NULL;
}

const char *world_describe(const struct world *w)
{
    static char text[2000], plan[1200];
    plan_describe(&w->plan, plan, sizeof plan);
    snprintf(text, sizeof text,
             "ADB_TEST_SEED=%" PRIu64 ", life %u, thread %s, step %" PRIu64
             ", state %zu, durable %zu%s%s\n  %s",
             w->seed, w->life, scheduler_thread_name(), scheduler_steps(),
             w->history ? history_now(w->history) : 0,
             w->history ? history_durable_state(w->history) : 0,
             w->image ? "\n  cut " : "", w->image ? w->cut_at : "", plan);
    return text;
}

/* ---- looking ---- */

static struct client *running_client(void)
{
    return scheduler_local();
}

void world_observe(struct world *w)
{
    if (!w->db)
        return;
    uint64_t seq = atomic_load(&w->db->published_seq);
    struct client *c = running_client();
    if (!history_observe(w->history, seq, c ? &c->write : NULL,
                         clock_now_ns()))
        world_die(w, "%s", history_words(w->history));
}

/* ---- crashes ---- */

static void describe_cut(struct world *w)
{
    snprintf(w->cut_at, sizeof w->cut_at,
             "(%s) at change %" PRIu64 ", step %" PRIu64 " of life %u, in %s, "
             "%s the database was compared; states %zu to %zu and %zu pending",
             w->ending.kind == END_KILL ? "kill" : "power",
             sim_env_changes(w->env), scheduler_steps() - w->life_began_step,
             w->life, scheduler_thread_name(),
             w->settled ? "after" : "before", w->cut.low, w->cut.high,
             w->cut.pending_count);
}

/* The state that the periodic sync must have reached, give or take what a
   sync of this disk and a starved thread may take. */
static size_t synced_by_now(const struct world *w)
{
    uint64_t late = w->plan.sync_interval_ms * 1000000 + 10 * SECONDS;
    uint64_t now = clock_now_ns();
    bool periodic = strstr(w->plan.options, "durability=process") != NULL;
    if (!periodic || w->faulty || now < late)
        return 0;
    return history_state_before(w->history, now - late);
}

/* Writes that did not happen and may turn up all the same. */
static void add_ghosts(const struct world *w, struct history_cut *cut)
{
    for (size_t i = 0; i < w->ghost_count; i++)
        if (w->ghosts_at == history_now(w->history))
            history_cut_pending(cut, &w->ghosts[i]);
}

/* What may be left if the world ended now. */
static void make_cut(struct world *w)
{
    struct history *h = w->history;
    bool kept = w->ending.kind == END_KILL && !logs_nothing(w);
    if (!w->settled) {
        /* What a kill had left need not survive a power cut. */
        w->cut = w->found_cut;
        if (!kept)
            w->cut.low = w->cut.durable;
        return;
    }
    history_durable(h, synced_by_now(w));
    history_cut(h, kept ? history_now(h) : history_durable_state(h), &w->cut);
    for (unsigned i = 0; i < w->plan.clients; i++) {
        const struct history_write *write = &w->clients[i].write;
        if (write->step && !write->at)
            history_cut_pending(&w->cut, write->step);
    }
    add_ghosts(w, &w->cut);
}

static struct env *image_of(struct world *w)
{
    struct env *image =
        w->ending.kind == END_KILL
            ? env_memory_clone(w->disk)
            : env_memory_crash(w->disk, &w->random, ~UINT64_C(0));
    env_memory_set_capacity(image, SIM_DISK_BYTES);
    return image;
}

static void take_images(struct world *w)
{
    make_cut(w);
    w->image = image_of(w);
    for (unsigned i = 0; w->ending.kind == END_POWER && i < EXTRA_IMAGES; i++)
        w->extra[i] = image_of(w);
    w->stop = true;
    describe_cut(w);
    scheduler_trace("cut %s", w->cut_at);
}

static bool cut_is_due(const struct world *w)
{
    const struct ending *e = &w->ending;
    if (e->kind == END_CLOSE || w->image || !w->env)
        return false;
    if (e->at_change)
        return sim_env_changes(w->env) >= e->at_change;
    return scheduler_steps() - w->life_began_step >= e->at_step;
}

/* At every scheduling point. */
static void on_point(void *context)
{
    struct world *w = context;
    scheduler_pause();
    world_observe(w);
    if (cut_is_due(w))
        take_images(w);
    scheduler_resume();
}

/* ---- opening ---- */

static adb_status try_open(struct world *w, struct env *env, adb **db)
{
    struct adb_options o;
    store_options(&o, w->plan.options, env);
    o.manifest_roll_bytes = w->plan.manifest_roll_bytes;
    scheduler_watch("adb_open", 120 * SECONDS);
    adb_status status = adb_open(STORE_PATH, &o, db);
    scheduler_trace("adb_open: %s", adb_status_name(status));
    scheduler_unwatch();
    return status;
}

static adb *open_on(struct world *w, struct env *env)
{
    adb *db = NULL;
    if (try_open(w, env, &db) != ADB_OK)
        world_die(w, "adb_open: %s", adb_error_message());
    return db;
}

static bool failure_is_borne(adb_status status)
{
    return status == ADB_IO || status == ADB_NO_SPACE ||
           status == ADB_NO_MEMORY || status == ADB_UNKNOWN_OUTCOME;
}

/* An opening that fails says why, keeps nothing, and can be repeated. */
static adb *open_with_faults(struct world *w)
{
    adb *db = NULL;
    chaos_begin(w, &w->random);
    adb_status status = try_open(w, w->env, &db);
    if (status == ADB_OK) {
        chaos_heal(w);
        return db;
    }
    if (!failure_is_borne(status))
        world_die(w, "adb_open: %s: %s", adb_status_name(status),
                  adb_error_message());
    chaos_heal(w);
    if (sim_env_handles(w->env))
        world_die(w, "adb_open failed and left %" PRIu64 " handles",
                  sim_env_handles(w->env));
    return open_on(w, w->env);
}

static void scan(struct world *w, adb *db, struct store_state *found)
{
    scheduler_watch("a scan", 120 * SECONDS);
    adb_status status = store_scan(db, &w->random, found);
    scheduler_trace("scan: %s %016" PRIx64, adb_status_name(status),
                    store_hash(found));
    scheduler_unwatch();
    if (status != ADB_OK)
        world_die(w, "the first scan: %s", adb_error_message());
}

/* Another image of the same crash: opened, compared, thrown away. */
static void look_at_extra(struct world *w, struct env *image)
{
    struct store_state found;
    adb *db = open_on(w, image);
    scan(w, db, &found);
    if (!history_allows(w->history, &w->found_cut, &found))
        world_die(w, "another image of the crash: %s",
                  history_words(w->history));
    db_test_abandon(db);
    env_memory_free(image);
    w->images++;
}

static void settle(struct world *w, adb *db)
{
    struct store_state found;
    scan(w, db, &found);
    if (!history_survive(w->history, &w->found_cut, &found)) {
        if (getenv("ADB_TEST_DUMP"))
            store_dump(w->disk, "sim-failure");
        world_die(w, "%s", history_words(w->history));
    }
    scheduler_pause();
    /* Recovery has written to new files what may not have been durable. */
    history_durable(w->history, history_now(w->history));
    history_begin(w->history, atomic_load(&db->published_seq));
    w->settled = true;
    w->db = db;
    scheduler_resume();
}

/* ---- a life ---- */

static void make_envs(struct world *w)
{
    struct sim_env_options options = {
        .seed = random_next(&w->random),
        .latency_ns = w->plan.latency_ns,
        .stall_permille = w->plan.stall_permille,
        .part_permille = w->plan.part_permille,
    };
    w->fault = env_fault_new(w->disk);
    options.base = w->fault;
    w->env = sim_env_new(&options);
}

static void free_envs(struct world *w)
{
    struct env *env = w->env;
    if (sim_env_handles(env))
        world_die(w, "%" PRIu64 " files, maps or locks are left open",
                  sim_env_handles(env));
    w->changes += sim_env_changes(env);
    w->env = NULL;
    sim_env_free(env);
    env_fault_free(w->fault);
    w->fault = NULL;
}

static void start(struct world *w, struct thread *t, const char *name,
                  void *(*run)(void *), void *argument)
{
    if (thread_start(t, name, run, argument) != ADB_OK)
        world_die(w, "%s", adb_error_message());
}

static void work(struct world *w)
{
    struct thread threads[CLIENTS_MAX] = {{0}}, chaos = {0};
    bool chaotic = w->plan.faults && random_below(&w->random, 4);
    w->faulty |= chaotic;
    for (unsigned i = 0; i < w->plan.clients; i++) {
        struct client *c = &w->clients[i];
        memset(c, 0, sizeof *c);
        c->world = w;
        c->number = i;
        random_seed(&c->random, random_next(&w->random));
        start(w, &threads[i], "client", client_run, c);
    }
    if (chaotic)
        start(w, &chaos, "chaos", chaos_run, w);
    for (unsigned i = 0; i < w->plan.clients; i++)
        thread_join(&threads[i]);
    w->stop = true;
    thread_join(&chaos);
}

/* With the causes gone, everything works again by itself. */
static void expect_health(struct world *w)
{
    scheduler_watch("getting well", 60 * SECONDS);
    if (w->faulty) {
        struct client *c = &w->clients[0];
        scheduler_set_local(c);
        client_write_until_ok(c);
        scheduler_set_local(NULL);
    }
    while (adb_health(w->db) != ADB_OK)
        clock_sleep_ns(SECONDS / 10);
    scheduler_unwatch();
}

static adb_status close_db(struct world *w)
{
    adb *db = w->db;
    scheduler_watch("adb_close", 120 * SECONDS);
    w->db = NULL;
    adb_status status = adb_close(db);
    scheduler_trace("adb_close: %s", adb_status_name(status));
    scheduler_unwatch();
    return status;
}

/* What a life that was closed leaves to the next. */
static void leave_all(struct world *w)
{
    history_durable(w->history, history_now(w->history));
    history_cut(w->history, history_now(w->history), &w->found_cut);
}

static void close_life(struct world *w)
{
    expect_health(w);
    if (close_db(w) != ADB_OK)
        world_die(w, "adb_close: %s", adb_error_message());
    leave_all(w);
}

/* While something fails: its status tells whether all is on the disk. If not,
   it is as after a crash. */
static void close_with_faults(struct world *w)
{
    chaos_begin(w, &w->random);
    adb_status status = close_db(w);
    if (status != ADB_OK && !failure_is_borne(status))
        world_die(w, "adb_close: %s: %s", adb_status_name(status),
                  adb_error_message());
    chaos_heal(w);
    if (status == ADB_OK) {
        leave_all(w);
        return;
    }
    history_cut(w->history, history_durable_state(w->history), &w->found_cut);
    add_ghosts(w, &w->found_cut);
}

static void abandon_life(struct world *w)
{
    adb *db = w->db;
    w->db = NULL;
    db_test_abandon(db);
}

static void end_life(struct world *w)
{
    w->flushes += atomic_load(&w->db->counters.flushes);
    w->merges += atomic_load(&w->db->counters.compactions);
    if (w->image)
        abandon_life(w);
    else if (w->faulty && random_below(&w->random, 3) == 0)
        close_with_faults(w);
    else
        close_life(w);
    free_envs(w);
    if (!w->image)
        return;
    /* The image may have been made while closing, too. */
    env_memory_free(w->disk);
    w->disk = w->image;
    w->image = NULL;
    w->found_cut = w->cut;
    w->images++;
}

static void live(struct world *w, bool clients)
{
    w->settled = false;
    w->stop = false;
    w->ghost_count = 0;
    w->life_began_step = scheduler_steps();
    scheduler_trace("life %u", w->life);
    for (unsigned i = 0; i < EXTRA_IMAGES; i++)
        if (w->extra[i]) {
            look_at_extra(w, w->extra[i]);
            w->extra[i] = NULL;
        }
    make_envs(w);
    bool faults = clients && w->plan.faults && random_below(&w->random, 4) == 0;
    /* What failed in the background while it opened may show later. */
    w->faulty = faults;
    settle(w, faults ? open_with_faults(w) : open_on(w, w->env));
    if (clients && !w->image)
        work(w);
    end_life(w);
}

/* ---- what is left on the disk ---- */

struct census {
    size_t tables, logs, manifests, others;
    size_t named_tables, named_logs;
    uint64_t manifest;
};

static adb_status count_name(void *context, const char *name)
{
    struct census *c = context;
    uint64_t number = 0;
    enum name_kind kind = name_parse(name, &number);
    c->tables += kind == NAME_TABLE;
    c->logs += kind == NAME_LOG;
    c->manifests += kind == NAME_MANIFEST;
    c->others += kind == NAME_TEMPORARY || kind == NAME_FOREIGN;
    if (kind == NAME_MANIFEST)
        c->manifest = number;
    return ADB_OK;
}

static adb_status count_edit(void *context, uint64_t offset,
                             const struct record *r,
                             const struct version_edit *e)
{
    struct census *c = context;
    (void)offset, (void)r;
    if (e) {
        c->named_tables += e->added_count - e->removed_count;
        c->named_logs += e->segments_created_count - e->segments_removed_count;
    }
    return ADB_OK;
}

/* After a clean close: what the manifest names, and nothing else. */
static void expect_no_leftovers(struct world *w)
{
    struct census c = {0};
    adb_status status = env_list_dir(w->disk, STORE_PATH, count_name, &c);
    char *path = manifest_path(STORE_PATH, c.manifest);
    if (status == ADB_OK)
        status = manifest_walk(w->disk, path, c.manifest, count_edit, &c);
    mem_free(path);
    if (status != ADB_OK)
        world_die(w, "%s", adb_error_message());
    if (c.tables != c.named_tables || c.logs != c.named_logs ||
        c.manifests != 1 || c.others)
        world_die(w, "%zu tables and %zu logs are left, the manifest names %zu "
                  "and %zu; %zu manifests, %zu other files", c.tables, c.logs,
                  c.named_tables, c.named_logs, c.manifests, c.others);
}

/* Nothing runs and nothing fails: opened, compared, closed. */
static void live_quietly(struct world *w)
{
    w->faulty = false;
    w->ending = (struct ending){.kind = END_CLOSE};
    live(w, false);
    expect_no_leftovers(w);
}

static void run_lives(void *context)
{
    struct world *w = context;
    for (w->life = 0; w->life < w->plan.lives; w->life++) {
        w->ending = w->plan.endings[w->life];
        live(w, true);
    }
    live_quietly(w);
}

void world_run(uint64_t seed, FILE *trace, bool trace_steps,
               struct scheduler_result *out, struct world *w)
{
    memset(w, 0, sizeof *w);
    /* All threads of a simulation are one of the system's; it has its ordinal
       before the first seed, as it has before the second. */
    (void)thread_ordinal();
    w->seed = seed;
    plan_make(&w->plan, seed);
    random_seed(&w->random, seed);
    struct scheduler_options options = {
        .seed = seed,
        .preempt = w->plan.preempt,
        .trace = trace,
        .trace_steps = trace_steps,
        .observe = on_point,
        .context = w,
    };
    w->history = history_new();
    w->disk = env_memory_new(w->plan.model);
    scheduler_run(&options, run_lives, w, out);
    if (out->verdict != SCHEDULER_ENDED) {
        fprintf(stderr, "\n%s\n", out->report);
        die("%s", world_describe(w));
    }
    env_memory_free(w->disk);
    history_free(w->history);
}
