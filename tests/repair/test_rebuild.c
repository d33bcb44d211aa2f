/*
 * A store of many tables on several levels, under each policy, with merges in
 * progress, snapshots, deletions of whole ranges, merges that leave nothing;
 * killed, without power, or closed; with files still there that were history
 * already, or that a failed job left; with damaged tables, set aside or not.
 * Then manifest or CURRENT are lost, and repair makes a database of what there
 * is. Every key has its value; where tables are damaged too, or it lies in a
 * range that was reported. The store goes on with what was repaired, so that
 * the next loss finds tables of several lives.
 *
 * Merges run in threads of their own: a seed gives the same load, not the same
 * interleaving.
 */
#include "db/db_test.h"

#include <errno.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "base/random.h"
#include "db/db_internal.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "repair/repair.h"
#include "version/names.h"

enum {
    KEYS = 4000,
    KEY_MAX = 16,
    VALUE_MAX = 400,
    SNAPSHOTS = 3,
    PHASES = 60,
    RANGES_MAX = 20000
};
#define PATH "/db"

/* What goes wrong while the store is written. */
enum trouble { CALM, LEFTOVERS, FAULTS, DAMAGE };

struct world {
    struct env *disk, *env; /* env: with faults */
    char options[400];
    adb *db;
    struct random random;
    enum trouble trouble;
    uint64_t ids[KEYS]; /* 0: absent */
    uint64_t writes;
    adb_snapshot *snapshots[SNAPSHOTS];
    bool damaged; /* tables, since the last repair */
    char failure[200];
};

struct range {
    char from[KEY_MAX], to[KEY_MAX];
    bool open_from, open_to;
};
struct reports {
    struct range *ranges; /* what may be wrong */
    size_t count;
    uint64_t whole; /* ranges that are all keys */
};

struct tally {
    uint64_t rebuilt, tables, reported, blind, wrong_reported;
};

/* ---- the load ----------------------------------------------------------- */

static void key_of(uint64_t i, char *key)
{
    snprintf(key, KEY_MAX, "k%06" PRIu64, i);
}

static void value_of(uint64_t id, char *value)
{
    size_t size = 20 + id * 37 % 300;
    struct random r;
    random_seed(&r, id);
    for (size_t i = 0; i < size; i++)
        value[i] = (char)('a' + random_below(&r, 26));
    snprintf(value + size, VALUE_MAX - size, "%" PRIu64, id);
}

static bool chance(struct world *w, uint64_t one_in)
{
    return random_below(&w->random, one_in) == 0;
}

static void write_key(struct world *w, uint64_t n, bool deletion)
{
    char key[KEY_MAX], value[VALUE_MAX];
    struct db_write op = {.durability = db_durability(w->db)};
    adb_status status;
    key_of(n, key);
    w->ids[n] = deletion ? 0 : ++w->writes;
    op.kind = deletion ? KV_DELETE : KV_PUT;
    op.key = slice_of_string(key);
    if (!deletion) {
        value_of(w->ids[n], value);
        op.value = slice_of_string(value);
    }
    /* A call may fail under faults; they end. */
    for (int i = 0; (status = db_write(w->db, &op)) != ADB_OK; i++)
        if (w->trouble != FAULTS || i > 1000)
            fail_msg("%s", status_message());
}

/* Random keys, those of a narrow range, or a range that goes altogether. */
static void write_some(struct world *w, uint64_t count)
{
    uint64_t width = random_below(&w->random, 3) ? KEYS : KEYS / 20;
    uint64_t base = random_below(&w->random, KEYS - width + 1);
    bool deleting = chance(w, 5);
    if (chance(w, 6)) {
        width = KEYS / 4 + random_below(&w->random, KEYS / 4);
        for (uint64_t i = 0; i < width; i++)
            write_key(w, (base + i) % KEYS, true);
        return;
    }
    for (uint64_t i = 0; i < count; i++)
        write_key(w, base + random_below(&w->random, width),
                  random_below(&w->random, 10) < (deleting ? 9u : 2u));
}

static void change_snapshots(struct world *w)
{
    adb_snapshot **s = &w->snapshots[random_below(&w->random, SNAPSHOTS)];
    if (*s)
        db_snapshot_release(w->db, *s);
    *s = NULL;
    if (chance(w, 3))
        assert_ok(db_snapshot_new(w->db, s));
}

static void release_snapshots(struct world *w)
{
    for (int i = 0; i < SNAPSHOTS; i++)
        if (w->snapshots[i])
            db_snapshot_release(w->db, w->snapshots[i]);
    memset(w->snapshots, 0, sizeof w->snapshots);
}

static void compact_some(struct world *w)
{
    char from[KEY_MAX], to[KEY_MAX];
    uint64_t a = random_below(&w->random, KEYS);
    adb_slice none = slice_of(NULL, 0);
    bool all = chance(w, 3);
    key_of(a, from);
    key_of(a + random_below(&w->random, KEYS / 4), to);
    adb_status status = db_compact(w->db, all ? none : slice_of_string(from),
                                   all ? none : slice_of_string(to));
    if (status != ADB_OK && w->trouble != FAULTS && w->trouble != DAMAGE)
        fail_msg("%s", status_message());
}

/* ---- trouble ------------------------------------------------------------ */

static void choose_fault(struct world *w)
{
    static const struct env_fault_rule rules[] = {
        {.operations = ENV_FAULT_UNLINK, .path_part = ".sst"},
        {.operations = ENV_FAULT_WRITE, .path_part = ".sst"},
        {.operations = ENV_FAULT_SYNC, .path_part = ".sst"},
        {.operations = ENV_FAULT_SYNC, .path_part = "MANIFEST"},
        {.operations = ENV_FAULT_SYNC | ENV_FAULT_RENAME | ENV_FAULT_SYNC_DIR},
        {.operations = ENV_FAULT_RENAME, .path_part = "CURRENT"},
    };
    struct env_fault_rule rule = rules[random_below(
        &w->random, sizeof rules / sizeof rules[0])];
    rule.skip = random_below(&w->random, 6);
    rule.count = 1 + random_below(&w->random, 6);
    rule.error = EIO;
    rule.drop_on_sync_failure = true;
    env_fault_set(w->env, &rule);
}

static void set_faults(struct world *w)
{
    static const struct env_fault_rule stays = {
        .operations = ENV_FAULT_UNLINK,
        .path_part = ".sst",
        .count = UINT64_MAX,
        .error = EIO};
    if (w->trouble == LEFTOVERS || w->trouble == DAMAGE)
        env_fault_set(w->env, chance(w, 2) ? &stays : NULL);
    if (w->trouble == FAULTS)
        choose_fault(w);
}

/* A sector of some table of the version goes bad. */
static void damage_table(struct world *w, struct env *env,
                         const struct version *v)
{
    uint8_t noise[512];
    size_t pick = (size_t)random_below(&w->random, v->table_count + 1);
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count; j++) {
            const struct table_info *t = &v->runs[i].tables[j]->info;
            if (pick-- != 0)
                continue;
            char *path = sst_path(PATH, t->number);
            uint64_t sectors = t->size / sizeof noise;
            for (size_t k = 0; k < sizeof noise; k++)
                noise[k] = (uint8_t)random_next(&w->random);
            /* It may have been merged away meanwhile. */
            uint64_t at = random_below(&w->random, sectors) * sizeof noise;
            if (env_memory_damage(env, path, at, noise, sizeof noise) ==
                ADB_OK)
                w->damaged = true;
            else
                status_clear();
            mem_free(path);
        }
}

static void damage_now(struct world *w)
{
    struct version *v = version_set_current(w->db->versions);
    damage_table(w, w->disk, v);
    version_unref(v);
}

/* ---- the loss ----------------------------------------------------------- */

struct loss {
    struct env *env;
    struct random *random;
    bool cut; /* the manifest loses its end, or all of it */
};

static adb_status lose_manifest(void *context, const char *name)
{
    struct loss *l = context;
    uint64_t number;
    struct env_file *file;
    if (name_parse(name, &number) != NAME_MANIFEST)
        return ADB_OK;
    char *path = env_join(PATH, name);
    adb_status status = ADB_OK;
    if (l->cut) {
        uint64_t size = 0;
        assert_ok(env_open(l->env, path, ENV_WRITE, &file));
        assert_ok(env_file_size(file, &size));
        assert_ok(env_file_truncate(file, random_below(l->random, size + 1)));
        assert_ok(env_file_close(file));
    } else {
        status = env_unlink(l->env, path);
    }
    mem_free(path);
    return status;
}

static void lose(struct world *w, struct env *env)
{
    struct loss l = {env, &w->random, chance(w, 4)};
    bool current = chance(w, 3);
    if (current && env_unlink(env, PATH "/CURRENT") != ADB_OK)
        status_clear();
    if (!current || chance(w, 2))
        assert_ok(env_list_dir(env, PATH, lose_manifest, &l));
}

/* ---- the report --------------------------------------------------------- */

static void copy_key(char *to, adb_slice key)
{
    snprintf(to, KEY_MAX, "%.*s", (int)key.size,
             key.data ? (const char *)key.data : "");
}

static void on_report(void *context, const adb_damage *d)
{
    struct reports *r = context;
    if (!d->text[0] || !d->file[0])
        fail_msg("a report without words");
    if (getenv("ADB_TEST_TRACE"))
        printf("%s\n", d->text);
    if (d->status == ADB_OK)
        return;
    bool table = strstr(d->file, ".sst"), log = strstr(d->file, ".log");
    if (!table && !log)
        return;
    assert_true(r->count < RANGES_MAX);
    struct range *range = &r->ranges[r->count++];
    *range = (struct range){.open_from = !table || !d->from.data,
                            .open_to = !table || !d->to.data};
    r->whole += range->open_from && range->open_to;
    copy_key(range->from, d->from);
    copy_key(range->to, d->to);
}

static bool is_reported(const struct reports *r, uint64_t i)
{
    char key[KEY_MAX];
    key_of(i, key);
    for (size_t j = 0; j < r->count; j++)
        if ((r->ranges[j].open_from || strcmp(r->ranges[j].from, key) <= 0) &&
            (r->ranges[j].open_to || strcmp(key, r->ranges[j].to) <= 0))
            return true;
    return false;
}

static bool is_right(const struct world *w, adb *db, uint64_t i)
{
    char key[KEY_MAX], value[VALUE_MAX];
    adb_value v = ADB_VALUE_INIT;
    struct db_read r = {.pinned = &v};
    key_of(i, key);
    adb_status status = db_get(db, slice_of_string(key), &r);
    if (status != ADB_OK && status != ADB_NOT_FOUND)
        fail_msg("%s", status_message());
    bool right = status == ADB_NOT_FOUND ? !w->ids[i] : w->ids[i] != 0;
    if (status == ADB_OK && right) {
        value_of(w->ids[i], value);
        right = slice_equal(slice_of(v.data, v.size), slice_of_string(value));
    }
    db_value_release(&v);
    return right;
}

/* ---- a check ------------------------------------------------------------ */

/* What is wrong has been reported, and without damage to tables nothing is. */
static void compare(struct world *w, adb *db, const struct reports *r,
                    struct tally *tally)
{
    unsigned wrong = 0, unreported = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        if (is_right(w, db, i))
            continue;
        wrong++;
        unreported += !is_reported(r, i);
        if (getenv("ADB_TEST_TRACE"))
            printf("key %" PRIu64 " is wrong\n", i);
    }
    tally->wrong_reported += wrong - unreported;
    if (unreported || (wrong && !w->damaged))
        fail_msg("%s: %u keys are wrong, %u of them unreported", w->failure,
                 wrong, unreported);
}

/* Merges go on meanwhile; of the disk the moment counts. */
static struct env *image_of(struct world *w)
{
    if (w->trouble != CALM || chance(w, 2))
        return env_memory_clone(w->disk);
    assert_ok(db_sync(w->db));
    return env_memory_crash(w->disk, &w->random, ~UINT64_C(0));
}

/* The disk after the repair, which holds what the store holds. */
static struct env *check(struct world *w, struct env *env, struct tally *tally)
{
    static struct range ranges[RANGES_MAX];
    struct adb_options o = db_test_options(env, w->options);
    struct reports r = {.ranges = ranges};
    struct repair_request request = {
        .path = PATH, .options = &o, .report = on_report, .context = &r};
    adb_repair_summary s;
    adb *db;
    if (repair_database(&request, &s) != ADB_OK)
        fail_msg("%s: %s", w->failure, status_message());
    tally->rebuilt += s.rebuilt != 0;
    tally->tables += s.tables;
    tally->reported += r.count;
    tally->blind += r.whole > 0;
    if (db_open(PATH, &o, &db) != ADB_OK)
        fail_msg("%s: %s", w->failure, status_message());
    compare(w, db, &r, tally);
    assert_ok(db_close(db));
    return env;
}

static void begin(struct world *w)
{
    w->env = env_fault_new(w->disk);
    w->db = db_test_open(w->env, PATH, w->options);
}

static void end(struct world *w)
{
    env_fault_set(w->env, NULL);
    release_snapshots(w);
    db_test_abandon(w->db);
    env_fault_free(w->env);
}

static void lose_and_check(struct world *w, struct tally *tally)
{
    struct env *env = image_of(w);
    /* A cut manifest, too, but that is another's test if tables are damaged. */
    lose(w, env);
    check(w, env, tally);
    if (w->damaged || chance(w, 3)) {
        /* What is wrong in it is right from now on: but for that it goes on
           only where nothing is. */
        bool go_on = !w->damaged;
        end(w);
        if (go_on) {
            env_memory_free(w->disk);
            w->disk = env;
            env = NULL;
        } else {
            env_memory_free(w->disk);
            w->disk = env_memory_new(ENV_MEMORY_STRICT);
            memset(w->ids, 0, sizeof w->ids);
            w->damaged = false;
        }
        begin(w);
    }
    env_memory_free(env);
}

static void run(uint64_t seed, enum trouble trouble, struct tally *tally)
{
    static const char *const policies[] = {"lazy", "lazy", "leveled", "tiered"};
    static struct world w;
    w = (struct world){.trouble = trouble};
    random_seed(&w.random, seed);
    snprintf(w.failure, sizeof w.failure, "seed %" PRIu64 ", trouble %d", seed,
             trouble);
    snprintf(w.options, sizeof w.options,
             "memory_budget=2M memtable_size=64K wal_segment_min=64K "
             "wal_segment_max=64K durability=process table_size=64K "
             "block_size=1K idle_compaction=%s compaction=%s "
             "background_threads=%d",
             chance(&w, 4) ? "true" : "false",
             policies[random_below(&w.random, 4)],
             2 + (int)random_below(&w.random, 3));
    w.disk = env_memory_new(ENV_MEMORY_STRICT);
    begin(&w);
    for (int i = 0; i < PHASES; i++) {
        set_faults(&w);
        write_some(&w, 200 + random_below(&w.random, 1500));
        change_snapshots(&w);
        if (chance(&w, 8))
            compact_some(&w);
        if (trouble == DAMAGE && chance(&w, 6))
            damage_now(&w);
        if (i % 6 == 5)
            lose_and_check(&w, tally);
    }
    end(&w);
    env_memory_free(w.disk);
}

static void run_all(enum trouble trouble)
{
    uint64_t seed = test_seed();
    struct tally t = {0};
    for (uint64_t i = 0; i < test_scaled(6, 1); i++)
        run(seed + i, trouble, &t);
    printf("%" PRIu64 " rebuilt of %" PRIu64 " tables; %" PRIu64
           " ranges reported, %" PRIu64 " times all keys; %" PRIu64
           " keys in them wrong\n",
           t.rebuilt, t.tables, t.reported, t.blind, t.wrong_reported);
    assert_true(t.rebuilt > 0);
}

static void test_killed(void **state)
{
    (void)state;
    run_all(CALM);
}

static void test_leftovers(void **state)
{
    (void)state;
    run_all(LEFTOVERS);
}

static void test_faults(void **state)
{
    (void)state;
    run_all(FAULTS);
}

static void test_damage(void **state)
{
    (void)state;
    run_all(DAMAGE);
}

/* ---- closed ------------------------------------------------------------- */

static void count_report(void *context, const adb_damage *d)
{
    unsigned *count = context;
    if (d->status != ADB_OK)
        ++*count;
}

/* After a clean close the one thing to be told is what is missing. */
static void test_closed(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < test_scaled(6, 2); i++) {
        static struct world w;
        w = (struct world){.trouble = CALM};
        random_seed(&w.random, seed + i);
        snprintf(w.options, sizeof w.options,
                 "memory_budget=2M memtable_size=64K wal_segment_min=64K "
                 "wal_segment_max=64K durability=process table_size=64K");
        w.disk = env_memory_new(ENV_MEMORY_STRICT);
        w.db = db_test_open(w.disk, PATH, w.options);
        for (int j = 0; j < 20; j++)
            write_some(&w, 200 + random_below(&w.random, 1500));
        assert_ok(db_close(w.db));
        struct loss l = {w.disk, &w.random, false};
        assert_ok(env_list_dir(w.disk, PATH, lose_manifest, &l));
        struct adb_options o = db_test_options(w.disk, w.options);
        unsigned told = 0;
        struct repair_request request = {.path = PATH,
                                         .options = &o,
                                         .report = count_report,
                                         .context = &told};
        adb_repair_summary s;
        assert_ok(repair_database(&request, &s));
        assert_int_equal(told, 1);
        assert_false(s.stale_possible);
        assert_int_equal(s.versions_lost, 0);
        assert_ok(db_open(PATH, &o, &w.db));
        for (uint64_t k = 0; k < KEYS; k++)
            assert_true(is_right(&w, w.db, k));
        assert_ok(db_close(w.db));
        env_memory_free(w.disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_leftovers), cmocka_unit_test(test_faults),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
