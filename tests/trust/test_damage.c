/*
 * Damage to the files of a database of about 40 KB: bits flipped, sectors
 * zeroed, overwritten and swapped, files cut, removed, and put in the place of
 * another store's. After a clean close everything is detected or harmless;
 * after a kill what had been synced is, and only what was written later may be
 * cut off. Nothing wrong is ever read, nothing crashes or hangs; where the
 * database opens, what the damaged block does not hold can be read, and new
 * writes work.
 *
 * ADB_TEST_DAMAGES says how many; 0 means every bit of every file.
 */
#include "trust/store.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/thread.h"

enum { PROCESSES = 4, FILES_MAX = 40, WRITES = 170, HANG_S = 60, SECTOR = 512 };

struct store_file {
    char path[200];
    uint8_t *data; /* owned */
    size_t size;
};
struct store {
    struct env *disk;
    char options[300];
    struct script script;
    struct store_state *states; /* owned; [n] after n writes */
    size_t low, high;           /* which of them may be found */
    bool closed;
    struct store_file files[FILES_MAX];
    size_t file_count;
    uint64_t bytes; /* of all files */
};

enum kind { FLIP, ZERO, NOISE, SWAP, CUT, REMOVE, EXCHANGE, KINDS };
static const char *const kind_names[] = {
    "bit flipped", "sector zeroed", "sector overwritten", "sectors swapped",
    "file cut",    "file removed",  "file of another store"};

struct damage {
    enum kind kind;
    size_t file, other_file;
    uint64_t offset, other_offset; /* CUT: the size */
    unsigned bit;
    char text[400];
};

struct tally {
    uint64_t done[KINDS], at_open[KINDS], at_read[KINDS], harmless[KINDS];
    uint64_t cut;
};

static char watched[600];

static void on_alarm(int number)
{
    (void)number;
    (void)!write(2, "\nhangs: ", 8);
    (void)!write(2, watched, strlen(watched));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- a store ---- */

static adb_status add_file(void *context, const char *name)
{
    struct store *s = context;
    struct store_file *f = &s->files[s->file_count];
    if (s->file_count == FILES_MAX)
        die("more files than expected");
    if (strcmp(name, "LOCK") == 0)
        return ADB_OK;
    snprintf(f->path, sizeof f->path, STORE_PATH "/%s", name);
    adb_status status =
        env_read_file(s->disk, f->path, (size_t)1 << 24, &f->data, &f->size);
    if (status != ADB_OK)
        return status;
    s->bytes += f->size;
    s->file_count++;
    return ADB_OK;
}

static adb_status open_store(const struct store *s, struct env *env, adb **db)
{
    struct adb_options o;
    store_options(&o, s->options, env);
    /* A database must not be taken for none. */
    o.values.create_if_missing = s->disk == env;
    return adb_open(STORE_PATH, &o, db);
}

/* The same operations with other values: files have the same names. */
static void make_store(struct store *s, uint64_t seed, bool closed, bool map)
{
    struct random r;
    random_seed(&r, seed);
    struct script_shape shape = {.steps = WRITES, .raise_percent = 0};
    *s = (struct store){.closed = closed};
    snprintf(s->options, sizeof s->options,
             "memory_budget=1M memtable_size=32K wal_segment_min=64K "
             "wal_segment_max=64K durability=process block_size=1K "
             "table_size=64K sync_interval=3600s compression=%s wal_access=%s",
             closed ? "lz4" : "none", map ? "map" : "write");
    script_make(&s->script, &shape, &r);
    s->states = calloc(WRITES + 1, sizeof *s->states);
    s->disk = env_memory_new(ENV_MEMORY_STRICT);
    /* Two databases draw different random numbers. */
    for (uint64_t i = seed % 2; i > 0; i--)
        assert_ok(s->disk->ops->random(s->disk, &shape, sizeof shape));
    adb *db;
    assert_ok(open_store(s, s->disk, &db));
    for (size_t i = 0; i < WRITES; i++) {
        const struct step *w = &s->script.steps[i];
        s->states[i + 1] = s->states[i];
        for (unsigned e = 0; e < w->count; e++)
            s->states[i + 1].ids[w->edits[e].key] = w->edits[e].id;
        assert_ok(store_apply(db, w));
        if (i % 45 == 30)
            assert_ok(adb_flush(db));
        if (i == WRITES / 2)
            assert_ok(adb_compact(db, slice_of(NULL, 0), slice_of(NULL, 0)));
        if (i == WRITES - 12)
            assert_ok(adb_sync(db));
    }
    s->low = closed ? WRITES : WRITES - 12 + 1;
    s->high = WRITES;
    if (closed)
        assert_ok(adb_close(db));
    else
        db_test_abandon(db);
    assert_ok(env_list_dir(s->disk, STORE_PATH, add_file, s));
}

static void free_store(struct store *s)
{
    for (size_t i = 0; i < s->file_count; i++)
        mem_free(s->files[i].data);
    free(s->states);
    script_free(&s->script);
    env_memory_free(s->disk);
}

/* ---- damage ---- */

static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool same_kind(const char *a, const char *b)
{
    const char *x = strrchr(a, '.'), *y = strrchr(b, '.');
    if (x && y)
        return strcmp(x, y) == 0;
    return !x && !y && base_name(a)[0] == base_name(b)[0];
}

static void put(struct env *env, const char *path, uint64_t offset,
                const void *data, size_t size)
{
    assert_ok(env_memory_damage(env, path, offset, data, size));
}

static void resize(struct env *env, const char *path, uint64_t size)
{
    struct env_file *f;
    assert_ok(env_open(env, path, ENV_WRITE, &f));
    assert_ok(env_file_truncate(f, size));
    assert_ok(env_file_sync(f));
    assert_ok(env_file_close(f));
}

static void choose(struct damage *d, const struct store *s,
                   const struct store *other, struct random *r)
{
    uint64_t dice = random_below(r, 100);
    d->kind = dice < 70   ? FLIP
              : dice < 75 ? ZERO
              : dice < 80 ? NOISE
              : dice < 85 ? SWAP
              : dice < 94 ? CUT
              : dice < 96 ? REMOVE
                          : EXCHANGE;
    d->file = random_below(r, s->file_count);
    const struct store_file *f = &s->files[d->file];
    /* Most of a log is zeros that nobody reads: its beginning counts. */
    uint64_t size = MAX_OF(f->size, 1u);
    if (size > 30000 && random_below(r, 20))
        size = 30000;
    d->offset = random_below(r, size);
    d->bit = (unsigned)random_below(r, 8);
    d->other_file = random_below(
        r, d->kind == EXCHANGE ? other->file_count : s->file_count);
    const struct store *from = d->kind == EXCHANGE ? other : s;
    d->other_offset =
        random_below(r, MAX_OF(from->files[d->other_file].size, 1u));
    if (d->kind == EXCHANGE)
        /* Of the same name if there is one, else of the same kind. */
        for (size_t i = 0; i < 2 * other->file_count; i++) {
            size_t n = i % other->file_count;
            if (strcmp(other->files[n].path, f->path) == 0 ||
                (i >= other->file_count &&
                 same_kind(other->files[n].path, f->path))) {
                d->other_file = n;
                break;
            }
        }
}

static void describe(struct damage *d, const struct store *s,
                     const struct store *other)
{
    const struct store *from = d->kind == EXCHANGE ? other : s;
    snprintf(d->text, sizeof d->text,
             "%s: %s of %zu bytes at %" PRIu64 " bit %u (other: %s at %" PRIu64
             "), %s store",
             kind_names[d->kind], s->files[d->file].path,
             s->files[d->file].size, d->offset, d->bit,
             from->files[d->other_file].path, d->other_offset,
             s->closed ? "closed" : "killed");
    snprintf(watched, sizeof watched, "%s", d->text);
}

static void put_sector(struct env *env, const struct store_file *to,
                       uint64_t at, const uint8_t *bytes, size_t size)
{
    if (at < to->size)
        put(env, to->path, at, bytes, MIN_OF(size, to->size - at));
}

/* Returns false where nothing would change. */
static bool inflict(const struct damage *d, const struct store *s,
                    const struct store *other, struct env *env,
                    struct random *r)
{
    const struct store_file *f = &s->files[d->file];
    const struct store_file *g = &s->files[d->other_file];
    uint64_t at = d->offset / SECTOR * SECTOR;
    uint64_t there = d->other_offset / SECTOR * SECTOR;
    uint8_t bytes[SECTOR] = {0}, theirs[SECTOR] = {0};
    uint8_t byte = f->data[d->offset] ^ (uint8_t)(1u << d->bit);
    switch (d->kind) {
    case FLIP:
        put(env, f->path, d->offset, &byte, 1);
        return true;
    case ZERO:
        put_sector(env, f, at, bytes, SECTOR);
        return true;
    case NOISE:
        for (size_t i = 0; i < SECTOR; i++)
            bytes[i] = (uint8_t)random_next(r);
        put_sector(env, f, at, bytes, SECTOR);
        return true;
    case SWAP:
        memcpy(bytes, f->data + at, MIN_OF((size_t)SECTOR, f->size - at));
        memcpy(theirs, g->data + there,
               MIN_OF((size_t)SECTOR, g->size - there));
        put_sector(env, f, at, theirs, SECTOR);
        put_sector(env, g, there, bytes, SECTOR);
        return true;
    case CUT:
        resize(env, f->path, d->offset);
        return true;
    case REMOVE:
        assert_ok(env_unlink(env, f->path));
        assert_ok(env_sync_dir(env, STORE_PATH));
        return true;
    case EXCHANGE:
        g = &other->files[d->other_file];
        if (!same_kind(f->path, g->path))
            return false;
        resize(env, f->path, g->size);
        put(env, f->path, 0, g->data, g->size);
        return true;
    case KINDS:
        break;
    }
    return false;
}

/* ---- the oracle ---- */

struct reading {
    struct store_state found;
    bool failed[STORE_KEYS];
    size_t failures;
};

static void read_keys(const struct damage *d, adb *db, struct reading *out)
{
    *out = (struct reading){.failures = 0};
    for (size_t key = 0; key < STORE_KEYS; key++) {
        char text[STORE_KEY_MAX];
        adb_value value;
        size_t number, size = store_key(key, text);
        adb_status status = adb_get(db, NULL, text, size, &value);
        if (status == ADB_OK) {
            if (!store_identify(slice_of(text, size),
                                slice_of(value.data, value.size), &number,
                                &out->found.ids[key]))
                die("%s: key %zu: wrong bytes", d->text, key);
            adb_value_release(&value);
        } else if (status != ADB_NOT_FOUND) {
            out->failed[key] = true;
            out->failures++;
        }
    }
}

/* What can be read is a state that may be. */
static size_t match(const struct store *s, const struct reading *r)
{
    for (size_t i = s->high + 1; i-- > s->low;) {
        bool same = true;
        for (size_t k = 0; k < STORE_KEYS && same; k++)
            same = r->failed[k] || r->found.ids[k] == s->states[i].ids[k];
        if (same)
            return i;
    }
    return SIZE_MAX;
}

static void wrong(const struct damage *d, const struct store *s,
                  const struct reading *r, struct env *env)
{
    for (size_t i = 0; i <= s->high; i++)
        if (memcmp(&r->found, &s->states[i], sizeof r->found) == 0)
            fprintf(stderr, "\nread as after write %zu of %zu..%zu", i, s->low,
                    s->high);
    store_dump(env, "damage-failure");
    die("silently wrong: %s, %zu keys failed", d->text, r->failures);
}

static void write_more(const struct damage *d, adb *db)
{
    struct step w = {.kind = STEP_WRITE,
                     .count = 1,
                     .durability = ADB_DURABILITY_SYNC};
    w.edits[0].key = 3;
    w.edits[0].id = UINT64_C(0x70000000) | UINT64_C(40) << 32;
    if (store_apply(db, &w) != ADB_OK || adb_flush(db) != ADB_OK)
        die("%s: opened, but writes fail: %s", d->text, adb_error_message());
}

static void examine(const struct damage *d, const struct store *s,
                    struct env *env, struct tally *t)
{
    adb *db;
    struct reading r;
    struct random random;
    struct store_state scanned;
    struct env *before = env_memory_clone(env);
    random_seed(&random, 1);
    alarm(HANG_S);
    t->done[d->kind]++;
    adb_status status = open_store(s, env, &db);
    if (status != ADB_OK) {
        if (status != ADB_CORRUPTION && status != ADB_UNSUPPORTED &&
            status != ADB_NOT_A_DATABASE)
            die("%s: open says %s", d->text, adb_error_message());
        if (!strstr(adb_error_message(), STORE_PATH))
            die("%s: no file named: %s", d->text, adb_error_message());
        t->at_open[d->kind]++;
        env_memory_free(before);
        return;
    }
    read_keys(d, db, &r);
    size_t at = match(s, &r);
    if (at == SIZE_MAX)
        wrong(d, s, &r, before);
    status = store_scan(db, &random, &scanned);
    if (status == ADB_OK && r.failures == 0) {
        if (memcmp(&scanned, &r.found, sizeof scanned) != 0)
            die("%s: scan and reads differ", d->text);
        t->harmless[d->kind]++;
        t->cut += at < s->high;
    } else {
        t->at_read[d->kind]++;
        /* A merge may have taken the table away meanwhile, if what is damaged
           is a part that merges do not need. */
        if (adb_verify(db, NULL, NULL, NULL) != ADB_CORRUPTION) {
            read_keys(d, db, &r);
            if (r.failures || match(s, &r) == SIZE_MAX)
                die("%s: verification finds nothing", d->text);
        }
    }
    /* One piece of damage is not all of a database. */
    if (d->kind == FLIP && r.failures == STORE_KEYS)
        die("%s: no key can be read", d->text);
    write_more(d, db);
    db_test_abandon(db);
    env_memory_free(before);
}

/* ---- spreading ---- */

struct plan {
    struct store *s, *other;
    uint64_t count; /* 0: every bit */
    uint64_t seed;
};

static void one(const struct plan *p, struct damage *d, struct random *r,
                struct tally *t)
{
    struct env *env = env_memory_clone(p->s->disk);
    describe(d, p->s, p->other);
    if (inflict(d, p->s, p->other, env, r))
        examine(d, p->s, env, t);
    env_memory_free(env);
}

static void every_bit(const struct plan *p, unsigned index, struct tally *t)
{
    struct random r;
    random_seed(&r, p->seed + index);
    for (size_t f = 0; f < p->s->file_count; f++)
        for (uint64_t b = index; b < 8 * p->s->files[f].size; b += PROCESSES) {
            struct damage d = {.kind = FLIP,
                               .file = f,
                               .offset = b / 8,
                               .bit = (unsigned)b % 8};
            one(p, &d, &r, t);
        }
}

static void child(const struct plan *p, unsigned index, struct tally *t)
{
    struct random r;
    signal(SIGALRM, on_alarm);
    random_seed(&r, p->seed * 31 + index);
    uint64_t count = p->count ? p->count / PROCESSES : 5000;
    for (uint64_t i = 0; i < count; i++) {
        struct damage d = {.kind = FLIP};
        choose(&d, p->s, p->other, &r);
        one(p, &d, &r, t);
    }
    if (!p->count)
        every_bit(p, index, t);
}

static void run_child(const struct plan *p, unsigned index, int fd)
{
    static struct tally t;
    child(p, index, &t);
    alarm(0);
    if (write(fd, &t, sizeof t) != sizeof t)
        die("cannot report");
    free_store(p->s);
    free_store(p->other);
    exit(0);
}

static void add_tally(struct tally *sum, const struct tally *t)
{
    for (int k = 0; k < KINDS; k++) {
        sum->done[k] += t->done[k];
        sum->at_open[k] += t->at_open[k];
        sum->at_read[k] += t->at_read[k];
        sum->harmless[k] += t->harmless[k];
    }
    sum->cut += t->cut;
}

static void run(bool closed, bool map)
{
    const char *text = getenv("ADB_TEST_DAMAGES");
    uint64_t seed = test_seed(), began = clock_now_ns();
    struct store s, other;
    struct plan p = {.s = &s, .other = &other, .seed = seed};
    struct tally sum = {.cut = 0};
    pid_t pids[PROCESSES];
    int pipes[2];
    p.count = text ? strtoull(text, NULL, 0) : test_scaled(8000, 600);
    make_store(&s, seed, closed, map);
    make_store(&other, seed + 1, closed, map);
    printf("%zu files, %" PRIu64 " bytes\n", s.file_count, s.bytes);
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            run_child(&p, i, pipes[1]);
    }
    unsigned failed = 0;
    for (unsigned i = 0; i < PROCESSES; i++) {
        int how;
        struct tally t;
        assert_int_equal(waitpid(pids[i], &how, 0), pids[i]);
        if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
            failed++;
        else if (read(pipes[0], &t, sizeof t) == sizeof t)
            add_tally(&sum, &t);
    }
    close(pipes[0]);
    close(pipes[1]);
    for (int k = 0; k < KINDS; k++)
        printf("%-22s %7" PRIu64 ": %" PRIu64 " found at open, %" PRIu64
               " by reads, %" PRIu64 " harmless\n",
               kind_names[k], sum.done[k], sum.at_open[k], sum.at_read[k],
               sum.harmless[k]);
    printf("%" PRIu64 " cut unsynced writes off; %.1f s\n", sum.cut,
           (double)(clock_now_ns() - began) / 1e9);
    free_store(&s);
    free_store(&other);
    assert_int_equal(failed, 0);
}

static void test_closed(void **state)
{
    (void)state;
    run(true, true);
}

static void test_killed(void **state)
{
    (void)state;
    run(false, true);
    run(false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed),
                                       cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
