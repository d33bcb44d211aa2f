#include "trust/store.h"

#include <sys/stat.h>

#include "base/alloc.h"
#include "base/hash.h"

uint64_t store_hash(const struct store_state *s)
{
    return hash_key(s->ids, sizeof s->ids);
}

/* ---- keys and values ---- */

size_t store_key(size_t key, char *p)
{
    /* Short and long ones, with common beginnings of several lengths. */
    static const char *const middles[] = {
        "", "-a-longer-key", "-with-a-middle-that-is-longer-than-most"};
    return (size_t)snprintf(p, STORE_KEY_MAX, "k%03zu%s", key,
                            middles[key % 3]);
}

size_t store_value(size_t key, uint64_t id, uint8_t *p)
{
    uint64_t pair[2] = {key, id};
    uint64_t h = hash_key(pair, sizeof pair);
    size_t size = (size_t)(id >> 32);
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(i < 8 ? id >> (8 * i)
                               : (h >> (i % 8 * 8)) ^ (i * 7 + i / 256));
    return size;
}

bool store_identify(adb_slice key, adb_slice value, size_t *number,
                    uint64_t *id)
{
    char text[STORE_KEY_MAX];
    size_t n = 0;
    const uint8_t *k = key.data, *v = value.data;
    if (key.size < 4 || value.size < 8 || value.size > STORE_VALUE_MAX)
        return false;
    for (size_t i = 1; i < 4; i++)
        n = n * 10 + (size_t)(k[i] - '0');
    if (n >= STORE_KEYS || store_key(n, text) != key.size ||
        memcmp(text, key.data, key.size) != 0)
        return false;
    *number = n;
    *id = get_u64(v);
    if (*id >> 32 != value.size)
        return false;
    /* Not thread-local: every thread of the engine would pay for it. */
    uint8_t *expected = malloc(value.size);
    bool same = store_value(n, *id, expected) == value.size &&
                memcmp(expected, v, value.size) == 0;
    free(expected);
    return same;
}

void store_options(struct adb_options *o, const char *text, struct env *env)
{
    char copy[1024], *rest = copy;
    db_options_init(o);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word; (word = strsep(&rest, " "));) {
        char *equals = strchr(word, '=');
        if (!equals)
            continue;
        *equals = '\0';
        if (db_options_set(o, word, equals + 1) != ADB_OK)
            die("%s", adb_error_message());
    }
    o->env = env;
}

/* ---- reading ---- */

static adb_status check_gets(adb *db, struct random *r,
                             const struct store_state *s)
{
    for (unsigned i = 0; i < 3; i++) {
        size_t key = random_below(r, STORE_KEYS), number;
        uint64_t id = 0;
        char text[STORE_KEY_MAX];
        adb_value value;
        size_t size = store_key(key, text);
        adb_status status = adb_get(db, NULL, text, size, &value);
        if (status != ADB_OK && status != ADB_NOT_FOUND)
            return status;
        if (status == ADB_OK &&
            !store_identify(slice_of(text, size),
                            slice_of(value.data, value.size), &number, &id))
            die("key %zu holds bytes that were never written", key);
        adb_value_release(&value);
        if (id != s->ids[key])
            die("get of key %zu finds %llx, the scan %llx", key,
                (unsigned long long)id, (unsigned long long)s->ids[key]);
    }
    return ADB_OK;
}

adb_status store_scan(adb *db, struct random *r, struct store_state *out)
{
    adb_iter *it;
    size_t previous = SIZE_MAX;
    memset(out, 0, sizeof *out);
    adb_status status = adb_iter_new(db, NULL, &it);
    if (status != ADB_OK)
        return status;
    for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it)) {
        size_t key;
        uint64_t id;
        adb_slice value = adb_iter_value(it);
        if (!value.data)
            break; /* adb_iter_status says why */
        if (!store_identify(adb_iter_key(it), value, &key, &id))
            die("the scan found bytes that were never written");
        if (previous != SIZE_MAX && key <= previous)
            die("the scan is out of order at key %zu", key);
        previous = key;
        out->ids[key] = id;
    }
    status = adb_iter_status(it);
    adb_iter_free(it);
    return status == ADB_OK ? check_gets(db, r, out) : status;
}

/* ---- scripts ---- */

static uint64_t value_size(const struct script_shape *shape, struct random *r)
{
    uint64_t dice = random_below(r, 1000);
    if (dice < 4 && shape->huge)
        return 66000 + random_below(r, 30000);
    if (dice < 60)
        return 1000 + random_below(r, 2000);
    return dice < 300 ? 100 + random_below(r, 600) : 8 + random_below(r, 90);
}

static void make_write(struct step *s, const struct script_shape *shape,
                       struct random *r, uint64_t *next)
{
    s->kind = STEP_WRITE;
    s->batch = random_below(r, 4) == 0;
    s->count = s->batch ? 1 + (unsigned)random_below(r, EDITS_MAX) : 1;
    s->durability = random_below(r, 100) < shape->raise_percent
                        ? ADB_DURABILITY_SYNC
                        : ADB_DURABILITY_DEFAULT;
    for (unsigned i = 0; i < s->count; i++) {
        /* A few hot keys fill the log faster than the tree. */
        s->edits[i].key = (uint8_t)(random_below(r, 3)
                                        ? random_below(r, STORE_KEYS)
                                        : random_below(r, 4));
        s->edits[i].id = 0;
        if (random_below(r, 6))
            s->edits[i].id = (*next)++ | value_size(shape, r) << 32;
    }
}

static enum step_kind other_step(const struct script_shape *shape,
                                 struct random *r)
{
    uint64_t dice = random_below(r, 16);
    if (dice < 2 && shape->kills)
        return STEP_KILL;
    if (dice < 4 && shape->reopens)
        return STEP_CLOSE;
    if (dice < 9)
        return STEP_SYNC;
    return dice < 14 ? STEP_FLUSH : STEP_COMPACT;
}

void script_make(struct script *s, const struct script_shape *shape,
                 struct random *r)
{
    struct store_state state = {{0}};
    uint64_t next = 1;
    s->count = shape->steps;
    s->steps = calloc(s->count, sizeof *s->steps);
    s->hashes = calloc(s->count + 1, sizeof *s->hashes);
    s->writes = 0;
    s->hashes[0] = store_hash(&state);
    for (size_t i = 0; i < s->count; i++) {
        struct step *step = &s->steps[i];
        if (random_below(r, 1000) < shape->barrier_permille) {
            step->kind = other_step(shape, r);
        } else {
            make_write(step, shape, r, &next);
            for (unsigned e = 0; e < step->count; e++)
                state.ids[step->edits[e].key] = step->edits[e].id;
            s->hashes[++s->writes] = store_hash(&state);
        }
        step->writes = s->writes;
    }
}

void script_free(struct script *s)
{
    free(s->steps);
    free(s->hashes);
}

static adb_status apply_batch(adb *db, const struct step *step,
                              const adb_write_options *options)
{
    char key[STORE_KEY_MAX];
    adb_status status = ADB_OK;
    adb_batch *batch = adb_batch_new();
    if (!batch)
        return ADB_NO_MEMORY;
    uint8_t *bytes = malloc(STORE_VALUE_MAX);
    for (unsigned i = 0; i < step->count && status == ADB_OK; i++) {
        const struct edit *e = &step->edits[i];
        size_t size = store_key(e->key, key);
        status = e->id ? adb_batch_put(batch, key, size, bytes,
                                       store_value(e->key, e->id, bytes))
                       : adb_batch_delete(batch, key, size);
    }
    if (status == ADB_OK)
        status = adb_write(db, options, batch);
    adb_batch_free(batch);
    free(bytes);
    return status;
}

static adb_status apply_write(adb *db, const struct step *step)
{
    char key[STORE_KEY_MAX];
    adb_write_options options = ADB_WRITE_OPTIONS_INIT;
    options.durability = step->durability;
    if (step->batch)
        return apply_batch(db, step, &options);
    const struct edit *e = &step->edits[0];
    size_t size = store_key(e->key, key);
    if (!e->id)
        return adb_delete(db, &options, key, size);
    uint8_t *bytes = malloc(STORE_VALUE_MAX);
    adb_status status = adb_put(db, &options, key, size, bytes,
                                store_value(e->key, e->id, bytes));
    free(bytes);
    return status;
}

adb_status store_apply(adb *db, const struct step *step)
{
    switch (step->kind) {
    case STEP_WRITE:
        return apply_write(db, step);
    case STEP_SYNC:
        return adb_sync(db);
    case STEP_FLUSH:
        return adb_flush(db);
    case STEP_COMPACT:
        return adb_compact(db, slice_of(NULL, 0), slice_of(NULL, 0));
    case STEP_CLOSE:
    case STEP_KILL:
        break; /* the caller's affair */
    }
    return ADB_OK;
}

size_t script_match(const struct script *s, const struct store_state *found,
                    size_t low, size_t high)
{
    uint64_t hash = store_hash(found);
    for (size_t i = high + 1; i-- > low;)
        if (s->hashes[i] == hash)
            return i;
    return SIZE_MAX;
}

/* ---- to look at ---- */

struct dump {
    struct env *env;
    const char *to;
};

static adb_status dump_file(void *context, const char *name)
{
    struct dump *d = context;
    char path[600];
    uint8_t *data;
    size_t size;
    snprintf(path, sizeof path, STORE_PATH "/%s", name);
    adb_status status =
        env_read_file(d->env, path, (size_t)1 << 30, &data, &size);
    if (status != ADB_OK)
        return status;
    snprintf(path, sizeof path, "%s/%s", d->to, name);
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite(data, 1, size, f);
        fclose(f);
    }
    mem_free(data);
    return ADB_OK;
}

void store_dump(struct env *env, const char *to)
{
    struct dump d = {env, to};
    mkdir(to, 0755);
    if (env_list_dir(env, STORE_PATH, dump_file, &d) != ADB_OK)
        fprintf(stderr, "dump: %s\n", adb_error_message());
    fprintf(stderr, "the image's files are in %s\n", to);
}
