/*
 * Repair of a small store - tables of two levels, tombstones, a large value, a
 * tail of log; closed or killed - after every kind of damage to every file.
 * Whatever it was, repair succeeds, and then
 *   - the database opens, verification finds nothing, new writes work,
 *   - every key of which no version lay in what was damaged has its value,
 *   - no key has a value it never had, and an older one only where the report
 *     said so,
 *   - every file is still there, in its place or in lost/,
 *   - repairing again changes nothing.
 * Power cuts and failing calls at every operation of a repair lose nothing, and
 * it can be run again.
 *
 * ADB_TEST_DAMAGES says how many pieces of damage.
 */
#include "trust/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "db/db_internal.h"
#include "kv/batch.h"
#include "sst/sst_reader_internal.h"
#include "version/names.h"
#include "wal/record_format.h"

enum { PIECES_MAX = 4000, REPORTS_MAX = 400, HANG_S = 120 };

/* Which versions stand where in a sound store. */
struct piece {
    size_t file; /* index in store.files */
    uint64_t from, to;
    uint64_t keys[2]; /* a bit each of STORE_KEYS */
};
struct map {
    struct piece pieces[PIECES_MAX];
    size_t count;
};
struct range {
    char from[STORE_KEY_MAX], to[STORE_KEY_MAX];
    bool open_from, open_to;
};
struct reports {
    struct range ranges[REPORTS_MAX];
    size_t count;
    bool log; /* a hole in the log: any key */
    adb_repair_summary summary;
};

static char watched[600];
static struct env *damaged; /* as it was before the repair, to look at */

#define fail_with(...)                                                         \
    do {                                                                       \
        store_dump(damaged, "repair-failure");                                 \
        die(__VA_ARGS__);                                                      \
    } while (0)

static void on_alarm(int number)
{
    (void)number;
    (void)!write(2, "\nhangs: ", 8);
    (void)!write(2, watched, strlen(watched));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- where versions stand ----------------------------------------------- */

static void add_key(struct piece *p, adb_slice key)
{
    char text[4];
    memcpy(text, (const char *)key.data + 1, 3);
    text[3] = '\0';
    unsigned number = (unsigned)strtoul(text, NULL, 10);
    p->keys[number / 64] |= UINT64_C(1) << number % 64;
}

static struct piece *add_piece(struct map *m, size_t file, uint64_t from,
                               uint64_t to)
{
    if (m->count == PIECES_MAX)
        die("more pieces than expected");
    struct piece *p = &m->pieces[m->count++];
    *p = (struct piece){file, from, to, {0, 0}};
    return p;
}

static void map_block(struct map *m, size_t file, const struct sst_handle *h,
                      const struct sst_block *b)
{
    struct piece *p =
        add_piece(m, file, h->offset, h->offset + sst_handle_span(h));
    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        uint8_t key[STORE_KEY_MAX];
        sst_block_entry(b, i, &e);
        memcpy(key, b->prefix, b->prefix_size);
        memcpy(key + b->prefix_size, e.suffix.data, e.suffix.size);
        adb_slice whole = slice_of(key, b->prefix_size + e.suffix.size);
        add_key(p, whole);
        if (!e.value.data)
            add_key(add_piece(m, file, e.extent_offset,
                              e.extent_offset + sst_extent_span(e.value.size)),
                    whole);
    }
}

static void map_table(struct map *m, size_t file, struct sst_reader *r)
{
    for (uint32_t part = 0; part < r->top.count; part++) {
        struct index_frame *index;
        assert_ok(sst_load_index(r, part, &index));
        for (uint32_t i = 0; i < index->index.count; i++) {
            struct block_frame *block;
            assert_ok(sst_load_block(r, part, index, i, 0, &block));
            map_block(m, file, &index->index.blocks[i].handle, &block->block);
            mem_free(block);
        }
        mem_free(index);
    }
}

static void map_log(struct map *m, size_t file, const struct store_file *f,
                    uint64_t number)
{
    for (uint64_t at = 0; at + RECORD_HEADER_SIZE <= f->size;) {
        struct record r;
        if (record_decode(f->data + at, f->size - at, number, at, &r) !=
            RECORD_VALID)
            break;
        const uint8_t *p = r.payload.data, *end = p + r.payload.size;
        struct piece *piece = add_piece(m, file, at, at + r.size);
        for (uint32_t i = 0; i < r.count && r.kind == RECORD_BATCH; i++) {
            enum kv_kind kind;
            adb_slice key, value;
            assert_ok(kv_operation_decode(&p, end, &kind, &key, &value));
            add_key(piece, key);
        }
        at += r.size;
    }
}

static void map_store(struct map *m, const struct store *s)
{
    struct ledger ledger = {.budget = 1 << 20};
    struct epoch *epoch = mem_aligned_alloc(64, sizeof *epoch);
    struct cache_options options = {&ledger, epoch};
    struct cache *cache;
    struct file_table *files;
    epoch_init(epoch);
    assert_ok(cache_new(&options, &cache));
    assert_ok(file_table_new(s->disk, STORE_PATH, 8, &files));
    struct sst_context context = {.env = s->disk,
                                  .directory = STORE_PATH,
                                  .cache = cache,
                                  .epoch = epoch,
                                  .ledger = &ledger,
                                  .files = files};
    m->count = 0;
    for (size_t i = 0; i < s->file_count; i++) {
        uint64_t number = 0;
        const char *name = strrchr(s->files[i].path, '/') + 1;
        struct table_info info = {0};
        struct sst_reader *r;
        if (name_parse(name, &number) == NAME_LOG)
            map_log(m, i, &s->files[i], number);
        if (name_parse(name, &number) != NAME_TABLE)
            continue;
        info.number = number;
        assert_ok(sst_reader_open(&context, &info, &r));
        map_table(m, i, r);
        sst_reader_unref(r);
    }
    file_table_free(files);
    cache_free(cache);
    epoch_deinit(epoch);
    mem_free(epoch);
}

/* ---- what was damaged --------------------------------------------------- */

static void touch(const struct map *m, size_t file, uint64_t from, uint64_t to,
                  uint64_t keys[2])
{
    for (size_t i = 0; i < m->count; i++) {
        const struct piece *p = &m->pieces[i];
        if (p->file != file || p->from >= to || from >= p->to)
            continue;
        keys[0] |= p->keys[0];
        keys[1] |= p->keys[1];
    }
}

/* Keys of which some version was in what the damage hit. */
static void touched_keys(const struct map *m, const struct damage *d,
                         uint64_t keys[2])
{
    uint64_t at = d->offset / DAMAGE_SECTOR * DAMAGE_SECTOR;
    uint64_t there = d->other_offset / DAMAGE_SECTOR * DAMAGE_SECTOR;
    keys[0] = keys[1] = 0;
    switch (d->kind) {
    case FLIP:
        touch(m, d->file, d->offset, d->offset + 1, keys);
        break;
    case SWAP:
        touch(m, d->other_file, there, there + DAMAGE_SECTOR, keys);
        /* fall through */
    case ZERO:
    case NOISE:
        touch(m, d->file, at, at + DAMAGE_SECTOR, keys);
        break;
    case CUT:
        touch(m, d->file, d->offset, UINT64_MAX, keys);
        break;
    case REMOVE:
    case EXCHANGE:
        touch(m, d->file, 0, UINT64_MAX, keys);
        break;
    case KINDS:
        break;
    }
}

static bool is_touched(const uint64_t keys[2], size_t key)
{
    return keys[key / 64] >> key % 64 & 1;
}

/* ---- the report --------------------------------------------------------- */

static void on_report(void *context, const adb_damage *d)
{
    struct reports *r = context;
    if (!d->text[0] || !d->file[0])
        die("a report without words");
    if (getenv("ADB_TEST_TRACE"))
        printf("  %s: %s\n", adb_status_name(d->status), d->text);
    if (d->status == ADB_OK)
        return;
    if (strstr(d->file, ".log")) {
        r->log = true;
        return;
    }
    if (!strstr(d->file, ".sst"))
        return;
    if (r->count == REPORTS_MAX)
        die("more reports than expected");
    struct range *range = &r->ranges[r->count++];
    range->open_from = !d->from.data;
    range->open_to = !d->to.data;
    snprintf(range->from, sizeof range->from, "%.*s", (int)d->from.size,
             d->from.data ? (const char *)d->from.data : "");
    snprintf(range->to, sizeof range->to, "%.*s", (int)d->to.size,
             d->to.data ? (const char *)d->to.data : "");
}

static bool is_reported(const struct reports *r, size_t key)
{
    char text[STORE_KEY_MAX];
    store_key(key, text);
    for (size_t i = 0; i < r->count; i++)
        if ((r->ranges[i].open_from || strcmp(r->ranges[i].from, text) <= 0) &&
            (r->ranges[i].open_to || strcmp(text, r->ranges[i].to) <= 0))
            return true;
    return r->log;
}

static adb_status repair(const struct store *s, struct env *env, bool dry,
                         struct reports *out)
{
    struct adb_options o;
    adb_repair_options how = ADB_REPAIR_OPTIONS_INIT;
    store_options(&o, s->options, env);
    how.report = on_report;
    how.context = out;
    how.dry_run = dry;
    *out = (struct reports){.summary = ADB_REPAIR_SUMMARY_INIT};
    return adb_repair(STORE_PATH, &o, &how, &out->summary);
}

/* ---- the originals ------------------------------------------------------ */

struct originals {
    struct store_file files[FILES_MAX];
    size_t count;
    struct env *env;
};

static adb_status note_original(void *context, const char *name)
{
    struct originals *o = context;
    uint64_t number;
    struct store_file *f = &o->files[o->count];
    enum name_kind kind = name_parse(name, &number);
    if (kind == NAME_FOREIGN || kind == NAME_LOCK)
        return ADB_OK;
    snprintf(f->path, sizeof f->path, "%s", name);
    char *path = env_join(STORE_PATH, name);
    adb_status status =
        env_read_file(o->env, path, (size_t)1 << 24, &f->data, &f->size);
    mem_free(path);
    o->count++;
    return status;
}

static void note_originals(struct originals *o, struct env *env)
{
    *o = (struct originals){.env = env};
    assert_ok(env_list_dir(env, STORE_PATH, note_original, o));
}

static void free_originals(struct originals *o)
{
    for (size_t i = 0; i < o->count; i++)
        mem_free(o->files[i].data);
}

static bool is_copy(struct env *env, const char *directory,
                    const struct store_file *f)
{
    uint8_t *data = NULL;
    size_t size;
    char *path = env_join(directory, f->path);
    bool same =
        env_read_file(env, path, (size_t)1 << 24, &data, &size) == ADB_OK &&
        size == f->size && memcmp(data, f->data, size) == 0;
    mem_free(data);
    mem_free(path);
    return same;
}

struct search {
    struct env *env;
    const struct store_file *file;
    bool found;
};

static adb_status look_in_lost(void *context, const char *name)
{
    struct search *s = context;
    char *directory = env_join(STORE_PATH "/lost", name);
    s->found |= is_copy(s->env, directory, s->file);
    mem_free(directory);
    return ADB_OK;
}

/* Nothing that was there is gone. */
static void check_originals(const struct originals *o, struct env *env,
                            const char *what)
{
    for (size_t i = 0; i < o->count; i++) {
        struct search s = {env, &o->files[i], false};
        s.found = is_copy(env, STORE_PATH, &o->files[i]);
        if (!s.found &&
            env_list_dir(env, STORE_PATH "/lost", look_in_lost, &s) != ADB_OK)
            status_clear();
        if (!s.found)
            die("%s: '%s' is gone", what, o->files[i].path);
    }
}

/* The same files, all of them durable. */
static struct env *durable_copy(struct env *env)
{
    struct env *copy = env_memory_new(ENV_MEMORY_STRICT);
    struct originals all;
    note_originals(&all, env);
    assert_ok(env_make_dir(copy, STORE_PATH));
    for (size_t i = 0; i < all.count; i++) {
        struct env_file *f;
        char *path = env_join(STORE_PATH, all.files[i].path);
        assert_ok(env_open(copy, path, ENV_WRITE | ENV_CREATE, &f));
        assert_ok(env_file_write(f, 0, all.files[i].data, all.files[i].size));
        assert_ok(env_file_sync(f));
        assert_ok(env_file_close(f));
        mem_free(path);
    }
    assert_ok(env_sync_dir(copy, STORE_PATH));
    assert_ok(env_sync_dir(copy, "/"));
    free_originals(&all);
    return copy;
}

/* ---- the oracle --------------------------------------------------------- */

struct subject {
    const struct store *store;
    const struct damage *damage;
    uint64_t touched[2];
    const struct reports *reports; /* NULL: of an earlier, interrupted run */
};

static bool had_value(const struct store *s, size_t key, uint64_t id)
{
    for (size_t i = 0; i <= s->high; i++)
        if (s->states[i].ids[key] == id)
            return true;
    return false;
}

/* The value after low to high writes: what a cut of unsynced ones leaves. */
static bool is_current(const struct store *s, size_t key, uint64_t id)
{
    for (size_t i = s->low; i <= s->high; i++)
        if (s->states[i].ids[key] == id)
            return true;
    return false;
}

static void check_key(const struct subject *t, size_t key, uint64_t id)
{
    const struct store *s = t->store;
    if (is_current(s, key, id))
        return;
    if (!is_touched(t->touched, key))
        fail_with("%s: key %zu, which no damage touched, has %" PRIx64 ", not "
            "%" PRIx64,
            t->damage->text, key, id, s->states[s->high].ids[key]);
    if (!had_value(s, key, id))
        fail_with("%s: key %zu has %" PRIx64 ", which it never had",
            t->damage->text, key, id);
    if (t->reports && !is_reported(t->reports, key))
        fail_with("%s: key %zu has an older value, and that was not reported",
            t->damage->text, key);
}

static void check_contents(const struct subject *t, struct env *env)
{
    struct random r;
    struct store_state found;
    adb *db;
    random_seed(&r, 1);
    if (open_store(t->store, env, false, &db) != ADB_OK)
        fail_with("%s: repaired, but: %s", t->damage->text,
                  adb_error_message());
    if (adb_verify(db, NULL, NULL, NULL) != ADB_OK)
        fail_with("%s: repaired, but: %s", t->damage->text,
                  adb_error_message());
    if (adb_health(db) != ADB_OK)
        fail_with("%s: repaired, but: %s", t->damage->text,
                  adb_error_message());
    if (store_scan(db, &r, &found) != ADB_OK)
        fail_with("%s: repaired, but: %s", t->damage->text,
                  adb_error_message());
    for (size_t key = 0; key < STORE_KEYS; key++)
        check_key(t, key, found.ids[key]);
    /* It takes writes and merges, and is the same after that. */
    struct step put = {.kind = STEP_WRITE, .count = 1};
    put.edits[0].key = 5;
    put.edits[0].id = found.ids[5] = UINT64_C(0x70000000) | UINT64_C(30) << 32;
    assert_ok(store_apply(db, &put));
    assert_ok(adb_compact(db, slice_of(NULL, 0), slice_of(NULL, 0)));
    assert_ok(adb_close(db));
    struct store_state again;
    assert_ok(open_store(t->store, env, false, &db));
    assert_ok(store_scan(db, &r, &again));
    if (memcmp(&found, &again, sizeof found) != 0)
        fail_with("%s: repaired, written to, and different", t->damage->text);
    assert_ok(adb_close(db));
}

/* ---- every damage ------------------------------------------------------- */

struct tally {
    uint64_t done[KINDS], changed[KINDS], rebuilt[KINDS], lossless[KINDS];
};

static void examine(const struct subject *t, struct env *env,
                    struct tally *tally)
{
    const struct damage *d = t->damage;
    struct reports first, dry, again;
    struct originals originals;
    struct subject told = *t;
    damaged = env_memory_clone(env);
    note_originals(&originals, env);
    uint64_t before = env_memory_hash(env);
    alarm(HANG_S);
    if (repair(t->store, env, true, &dry) != ADB_OK)
        fail_with("%s: looking only: %s", d->text, adb_error_message());
    if (env_memory_hash(env) != before && !strstr(d->text, "LOCK"))
        check_originals(&originals, env, d->text);
    if (repair(t->store, env, false, &first) != ADB_OK)
        fail_with("%s: %s", d->text, adb_error_message());
    check_originals(&originals, env, d->text);
    if (dry.summary.changed != first.summary.changed ||
        dry.count != first.count || dry.log != first.log ||
        dry.summary.versions_lost != first.summary.versions_lost)
        fail_with("%s: looking only tells something else", d->text);
    if (repair(t->store, env, false, &again) != ADB_OK ||
        again.summary.changed || again.count || again.log)
        fail_with("%s: a second repair changes something: %s", d->text,
            adb_error_message());
    told.reports = &first;
    check_contents(&told, env);
    free_originals(&originals);
    env_memory_free(damaged);
    tally->done[d->kind]++;
    tally->changed[d->kind] += first.summary.changed != 0;
    tally->rebuilt[d->kind] += first.summary.rebuilt != 0;
    tally->lossless[d->kind] += !first.count && !first.log;
}

static void run(uint64_t seed, unsigned flags, uint64_t count,
                struct tally *tally)
{
    static struct map places;
    struct store s, other;
    struct random r;
    make_store(&s, seed, flags | STORE_LARGE);
    make_store(&other, seed + 1, flags | STORE_LARGE);
    map_store(&places, &s);
    printf("%zu files, %" PRIu64 " bytes, %zu pieces\n", s.file_count, s.bytes,
           places.count);
    random_seed(&r, seed);
    for (uint64_t i = 0; i < count; i++) {
        struct damage d = {.kind = FLIP};
        struct subject t = {.store = &s, .damage = &d};
        choose_damage(&d, &s, &other, &r);
        describe_damage(&d, &s, &other);
        snprintf(watched, sizeof watched, "%s", d.text);
        if (getenv("ADB_TEST_TRACE"))
            printf("%" PRIu64 ": %s\n", i, d.text);
        struct env *env = env_memory_clone(s.disk);
        if (inflict_damage(&d, &s, &other, env, &r)) {
            touched_keys(&places, &d, t.touched);
            examine(&t, env, tally);
        }
        env_memory_free(env);
    }
    free_store(&s);
    free_store(&other);
}

static void test_damage(void **state)
{
    (void)state;
    const char *text = getenv("ADB_TEST_DAMAGES");
    uint64_t count = text ? strtoull(text, NULL, 0) : test_scaled(1200, 120);
    uint64_t seed = test_seed();
    struct tally t = {{0}, {0}, {0}, {0}};
    signal(SIGALRM, on_alarm);
    for (uint64_t i = 0; i < 6; i++)
        run(seed + 2 * i, (unsigned)i % 4, count / 6, &t);
    for (int k = 0; k < KINDS; k++)
        printf("%-22s %6" PRIu64 ": %" PRIu64 " repaired, %" PRIu64
               " of them rebuilt; %" PRIu64 " without loss\n",
               damage_name((enum damage_kind)k), t.done[k], t.changed[k],
               t.rebuilt[k], t.lossless[k]);
}

/* ---- the manifest, record by record ------------------------------------- */

static struct env *without(const struct store *s, const struct store_file *f,
                           uint64_t from, uint64_t size, bool cut)
{
    struct env *env = env_memory_clone(s->disk);
    uint8_t *zeros = mem_zalloc(size);
    struct env_file *file;
    if (cut) {
        assert_ok(env_open(env, f->path, ENV_WRITE, &file));
        assert_ok(env_file_truncate(file, from));
        assert_ok(env_file_sync(file));
        assert_ok(env_file_close(file));
    } else {
        assert_ok(env_memory_damage(env, f->path, from, zeros, size));
    }
    mem_free(zeros);
    return env;
}

/* Without each of its records, and without all from it on. */
static void lose_records(const struct store *s, const struct store_file *f,
                         uint64_t seed, struct tally *tally)
{
    uint64_t number, at = 0;
    struct record r;
    name_parse(strrchr(f->path, '/') + 1, &number);
    while (record_decode(f->data + at, f->size - at, number, at, &r) ==
           RECORD_VALID) {
        for (int cut = 0; cut < 2; cut++) {
            struct damage d = {.kind = cut ? CUT : ZERO};
            struct subject t = {.store = s, .damage = &d};
            snprintf(d.text, sizeof d.text,
                     "the manifest %s offset %" PRIu64 ", seed %" PRIu64,
                     cut ? "up to" : "without the record at", at, seed);
            snprintf(watched, sizeof watched, "%s", d.text);
            if (getenv("ADB_TEST_TRACE"))
                printf("%s\n", d.text);
            struct env *env = without(s, f, at, r.size, cut);
            examine(&t, env, tally);
            env_memory_free(env);
        }
        at += r.size;
    }
}

/* Tables and log are whole: whatever of the manifest is lost, nothing else
   is. */
static void test_manifest(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct tally t = {{0}, {0}, {0}, {0}};
    signal(SIGALRM, on_alarm);
    for (uint64_t i = 0; i < test_scaled(24, 4); i++) {
        struct store s;
        make_store(&s, seed + i, (unsigned)i % 16);
        for (size_t f = 0; f < s.file_count; f++)
            if (strstr(s.files[f].path, "MANIFEST"))
                lose_records(&s, &s.files[f], seed + i, &t);
        free_store(&s);
    }
    printf("%" PRIu64 " records zeroed, %" PRIu64 " cuts; without loss: %"
           PRIu64 "\n", t.done[ZERO], t.done[CUT],
           t.lossless[ZERO] + t.lossless[CUT]);
}

/* ---- what a crash left behind ------------------------------------------- */

static bool is_live(const struct version *v, uint64_t number)
{
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t j = 0; j < v->runs[i].count; j++)
            if (v->runs[i].tables[j]->info.number == number)
                return true;
    return false;
}

/* Of the tables that were history some stay. Returns how many. */
static uint64_t thin_out(const struct store *s, struct env *env,
                         struct random *r)
{
    struct version_set_options options = {.env = env,
                                          .directory = STORE_PATH};
    struct version_set *set;
    struct version_set_state ignored;
    uint64_t number, left = 0;
    assert_ok(version_set_recover(&options, &set, &ignored));
    struct version *v = version_set_current(set);
    for (size_t i = 0; i < s->file_count; i++) {
        const char *name = strrchr(s->files[i].path, '/') + 1;
        if (name_parse(name, &number) != NAME_TABLE || is_live(v, number))
            continue;
        if (random_below(r, 2))
            assert_ok(env_unlink(env, s->files[i].path));
        else
            left++;
    }
    version_unref(v);
    version_set_free(set);
    return left;
}

/* Files that were history already are still there - removed without that being
   durable - and the manifest is lost: what they hold does not come back. */
static void test_leftovers(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), leftovers = 0;
    signal(SIGALRM, on_alarm);
    for (uint64_t i = 0; i < test_scaled(200, 20); i++) {
        struct store s;
        struct random r;
        struct damage d = {.kind = REMOVE};
        struct subject t = {.store = &s, .damage = &d};
        struct reports reports;
        make_store(&s, seed + i, (unsigned)i % 8 | STORE_LEFTOVERS);
        random_seed(&r, seed + i);
        struct env *env = env_memory_clone(s.disk);
        leftovers += thin_out(&s, env, &r);
        for (size_t f = 0; f < s.file_count; f++)
            if (strstr(s.files[f].path, i % 8 ? "MANIFEST" : "CURRENT"))
                d.file = f;
        snprintf(d.text, sizeof d.text,
                 "leftovers, without '%s', seed %" PRIu64,
                 s.files[d.file].path, seed + i);
        snprintf(watched, sizeof watched, "%s", d.text);
        assert_ok(env_unlink(env, s.files[d.file].path));
        damaged = env_memory_clone(env);
        alarm(HANG_S);
        if (repair(&s, env, false, &reports) != ADB_OK)
            fail_with("%s: %s", d.text, adb_error_message());
        check_contents(&t, env);
        env_memory_free(damaged);
        env_memory_free(env);
        free_store(&s);
    }
    printf("%" PRIu64 " leftovers\n", leftovers);
    assert_true(leftovers > test_scaled(200, 20));
}

/* ---- interrupted -------------------------------------------------------- */

/* After a power cut during a repair, or a failed one: nothing is gone, and it
   can be run again. */
static void check_interrupted(const struct subject *t,
                              const struct originals *originals,
                              struct env *env, const char *when)
{
    struct reports reports;
    struct subject silent = *t;
    struct env *outer = damaged;
    char what[900];
    adb *db;
    alarm(HANG_S);
    damaged = env_memory_clone(env);
    snprintf(what, sizeof what, "%s, %s", t->damage->text, when);
    check_originals(originals, env, what);
    /* It may open, or refuse; what it is not taken for is a new one. */
    struct env *copy = env_memory_clone(env);
    if (open_store(t->store, copy, true, &db) == ADB_OK) {
        struct version *v = version_set_current(db->versions);
        if (!v->table_count && memtable_empty(db->active.table))
            fail_with("%s: taken for a new database", what);
        version_unref(v);
        db_test_abandon(db);
    } else if (!strstr(adb_error_message(), STORE_PATH)) {
        fail_with("%s: %s", what, adb_error_message());
    }
    env_memory_free(copy);
    if (repair(t->store, env, false, &reports) != ADB_OK)
        fail_with("%s: again: %s", what, adb_error_message());
    check_originals(originals, env, what);
    silent.reports = NULL; /* the first run told it */
    check_contents(&silent, env);
    env_memory_free(damaged);
    damaged = outer;
}

struct cuts {
    const struct subject *subject;
    const struct originals *originals;
    struct random random;
    uint64_t share; /* one operation in so many is followed by a cut */
    unsigned depth; /* of repairs of what a cut left, which are cut too */
    uint64_t images;
};

static void observe(void *context, struct env *env, const char *operation,
                    const char *path);

/* Repairs what a cut left, and cuts the power meanwhile. */
static void cut_again(struct cuts *c, struct env *image)
{
    struct reports ignored;
    struct cuts inner = *c;
    struct env *copy = env_memory_clone(image);
    inner.depth++;
    inner.share = 8;
    inner.images = 0;
    random_seed(&inner.random, random_next(&c->random));
    env_memory_set_observer(copy, observe, &inner);
    if (repair(c->subject->store, copy, false, &ignored) != ADB_OK)
        fail_with("%s: %s", c->subject->damage->text, adb_error_message());
    env_memory_set_observer(copy, NULL, NULL);
    env_memory_free(copy);
    c->images += inner.images;
}

static void observe(void *context, struct env *env, const char *operation,
                    const char *path)
{
    struct cuts *c = context;
    char when[300];
    if (random_below(&c->random, c->share))
        return;
    struct env *image = env_memory_crash(env, &c->random, ~UINT64_C(0));
    snprintf(when, sizeof when, "cut after '%s %s', depth %u", operation, path,
             c->depth);
    c->images++;
    if (c->depth < 2 && random_below(&c->random, 4) == 0)
        cut_again(c, image);
    check_interrupted(c->subject, c->originals, image, when);
    env_memory_free(image);
}

typedef void (*interrupt_fn)(const struct subject *t,
                             const struct originals *originals,
                             struct env *env, struct random *r,
                             uint64_t share, uint64_t *sum);

static void cut_power(const struct subject *t,
                      const struct originals *originals, struct env *env,
                      struct random *r, uint64_t share, uint64_t *sum)
{
    struct reports reports;
    struct cuts c = {.subject = t, .originals = originals, .share = share};
    random_seed(&c.random, random_next(r));
    env_memory_set_observer(env, observe, &c);
    if (repair(t->store, env, false, &reports) != ADB_OK)
        fail_with("%s: %s", t->damage->text, adb_error_message());
    env_memory_set_observer(env, NULL, NULL);
    *sum += c.images;
}

static void fail_calls(const struct subject *t,
                       const struct originals *originals, struct env *env,
                       struct random *r, uint64_t share, uint64_t *sum)
{
    for (uint64_t k = random_below(r, share);;
         k += 1 + random_below(r, share)) {
        struct reports reports;
        struct env *copy = env_memory_clone(env);
        struct env *fault = env_fault_new(copy);
        bool forever = random_below(r, 2);
        struct env_fault_rule rule = {
            .operations = ENV_FAULT_ANY,
            .skip = k,
            .count = forever ? UINT64_MAX : 1,
            .error = random_below(r, 2) ? EIO : ENOSPC,
            .drop_on_sync_failure = true};
        env_fault_set(fault, &rule);
        adb_status status = repair(t->store, fault, false, &reports);
        bool hit = env_fault_hits(fault) > 0;
        env_fault_set(fault, NULL);
        if (status != ADB_OK && !hit)
            fail_with("%s: %s", t->damage->text, adb_error_message());
        if (status == ADB_CORRUPTION)
            fail_with("%s: a failing call counts as damage: %s",
                      t->damage->text, adb_error_message());
        if (hit)
            check_interrupted(t, originals, copy, "a call failed");
        *sum += hit;
        env_fault_free(fault);
        env_memory_free(copy);
        if (!hit)
            return;
    }
}

/* Which allocation fails; the test's own are not counted. */
static _Atomic uint64_t allocation;
static int fail_allocation(void *context, size_t size)
{
    (void)context, (void)size;
    return atomic_fetch_sub(&allocation, 1) == 0;
}

static void fail_allocations(const struct subject *t,
                             const struct originals *originals,
                             struct env *env, struct random *r, uint64_t share,
                             uint64_t *sum)
{
    for (uint64_t k = random_below(r, share);;
         k += 1 + random_below(r, share)) {
        struct reports reports;
        struct env *copy = env_memory_clone(env);
        atomic_store(&allocation, k);
        mem_set_fail_hook(fail_allocation, NULL);
        adb_status status = repair(t->store, copy, false, &reports);
        mem_set_fail_hook(NULL, NULL);
        bool hit = atomic_load(&allocation) > UINT64_MAX / 2;
        if (status != ADB_OK && status != ADB_NO_MEMORY)
            fail_with("%s: %s", t->damage->text, adb_error_message());
        if (hit)
            check_interrupted(t, originals, copy, "out of memory");
        *sum += hit;
        env_memory_free(copy);
        if (!hit)
            return;
    }
}

/* Over damages of the kind that make a repair do something. */
static void interrupt(interrupt_fn fn, uint64_t count, uint64_t share,
                      const char *what)
{
    static struct map places;
    uint64_t seed = test_seed(), sum = 0, began = clock_now_ns();
    signal(SIGALRM, on_alarm);
    for (uint64_t i = 0; i < count; i++) {
        struct store s, other;
        struct random r;
        struct damage d = {.kind = FLIP};
        struct subject t = {.store = &s, .damage = &d};
        unsigned flags = (unsigned)i % 8;
        make_store(&s, seed + 2 * i, flags);
        make_store(&other, seed + 2 * i + 1, flags);
        map_store(&places, &s);
        random_seed(&r, seed + i);
        struct reports dry;
        struct env *env = NULL;
        do {
            env_memory_free(env);
            env = env_memory_clone(s.disk);
            choose_damage(&d, &s, &other, &r);
            describe_damage(&d, &s, &other);
        } while (!inflict_damage(&d, &s, &other, env, &r) ||
                 repair(&s, env, true, &dry) != ADB_OK ||
                 !dry.summary.changed);
        snprintf(watched, sizeof watched, "%s", d.text);
        touched_keys(&places, &d, t.touched);
        struct originals originals;
        struct env *durable = durable_copy(env);
        env_memory_free(env);
        env = durable;
        note_originals(&originals, env);
        damaged = env_memory_clone(env);
        fn(&t, &originals, env, &r, share, &sum);
        env_memory_free(damaged);
        free_originals(&originals);
        env_memory_free(env);
        free_store(&s);
        free_store(&other);
    }
    printf("%" PRIu64 " %s, %.1f s\n", sum, what,
           (double)(clock_now_ns() - began) / 1e9);
}

static void test_power(void **state)
{
    (void)state;
    interrupt(cut_power, test_scaled(30, 6), 2, "power cuts");
}

static void test_faults(void **state)
{
    (void)state;
    interrupt(fail_calls, test_scaled(16, 3), 4, "failing calls");
}

static void test_no_memory(void **state)
{
    (void)state;
    interrupt(fail_allocations, test_scaled(10, 2), 8, "failing allocations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),    cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_leftovers), cmocka_unit_test(test_power),
        cmocka_unit_test(test_faults),    cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
