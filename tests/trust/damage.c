#include "trust/damage.h"

#include <inttypes.h>

#include "base/alloc.h"

enum { SECTOR = DAMAGE_SECTOR };

static const char *const kind_names[] = {
    "bit flipped", "sector zeroed", "sector overwritten", "sectors swapped",
    "file cut",    "file removed",  "file of another store"};

const char *damage_name(enum damage_kind kind)
{
    return kind_names[kind];
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

adb_status open_store(const struct store *s, struct env *env, bool create,
                      adb **db)
{
    struct adb_options o;
    store_options(&o, s->options, env);
    o.values.create_if_missing = create;
    return adb_open(STORE_PATH, &o, db);
}

/* The same operations with other values: files have the same names. */
void make_store(struct store *s, uint64_t seed, unsigned flags)
{
    static const struct env_fault_rule stays = {
        .operations = ENV_FAULT_UNLINK,
        .path_part = ".sst",
        .count = UINT64_MAX,
        .error = 5};
    bool closed = flags & STORE_CLOSED, map = flags & STORE_MAPPED;
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
    if (flags & STORE_LARGE)
        s->script.steps[WRITES / 5] =
            (struct step){.kind = STEP_WRITE,
                          .count = 1,
                          .edits = {{7, (UINT64_C(70001) << 32) | 0x60000000}}};
    s->states = calloc(WRITES + 1, sizeof *s->states);
    s->disk = env_memory_new(ENV_MEMORY_STRICT);
    /* Two databases draw different random numbers. */
    for (uint64_t i = seed % 2; i > 0; i--)
        assert_ok(s->disk->ops->random(s->disk, &shape, sizeof shape));
    struct env *env = env_fault_new(s->disk);
    if (flags & STORE_LEFTOVERS)
        env_fault_set(env, &stays);
    adb *db;
    assert_ok(open_store(s, env, true, &db));
    for (size_t i = 0; i < WRITES; i++) {
        const struct step *w = &s->script.steps[i];
        s->states[i + 1] = s->states[i];
        for (unsigned e = 0; e < w->count; e++)
            s->states[i + 1].ids[w->edits[e].key] = w->edits[e].id;
        assert_ok(store_apply(db, w));
        if (i % 45 == 30)
            assert_ok(adb_flush(db));
        if (i == WRITES / 2 || (flags & STORE_LEFTOVERS && i == WRITES - 30))
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
    env_fault_free(env);
    assert_ok(env_list_dir(s->disk, STORE_PATH, add_file, s));
}

void free_store(struct store *s)
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

void choose_damage(struct damage *d, const struct store *s,
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

void describe_damage(struct damage *d, const struct store *s,
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
}

static void put_sector(struct env *env, const struct store_file *to,
                       uint64_t at, const uint8_t *bytes, size_t size)
{
    if (at < to->size)
        put(env, to->path, at, bytes, MIN_OF(size, to->size - at));
}

/* Returns false where nothing would change. */
bool inflict_damage(const struct damage *d, const struct store *s,
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
