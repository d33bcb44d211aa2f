#include "model/model.h"

#include "base/hash.h"
#include "db/options.h"
#include "model/model_env.h"

static int compare_bytes(const void *a, size_t a_size, const void *b,
                         size_t b_size)
{
    size_t n = a_size < b_size ? a_size : b_size;
    int order = n ? memcmp(a, b, n) : 0;
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

struct sortable {
    char *key;
    size_t size;
};

static int compare_sortable(const void *a, const void *b)
{
    const struct sortable *x = a, *y = b;
    return compare_bytes(x->key, x->size, y->key, y->size);
}

/* Keys of many kinds: the empty one, short ones, shared prefixes of several
   lengths, zero bytes, 0xff bytes, one key a prefix of another. */
static struct sortable make_key(struct random *r, size_t i)
{
    uint8_t bytes[600];
    size_t size = 0, shared = 0;
    if (i == 0)
        return (struct sortable){calloc(1, 1), 0};
    switch (i % 6) {
    case 0: /* short, any byte */
        size = 1 + random_below(r, 4);
        break;
    case 1: /* a long shared prefix */
        shared = 200;
        size = shared + 1 + random_below(r, 6);
        break;
    case 2:
        shared = 40;
        size = shared + 1 + random_below(r, 12);
        break;
    case 3: /* few distinct bytes, prefixes of each other */
        size = 1 + random_below(r, 14);
        break;
    default: /* decimal numbers */
        size = (size_t)snprintf((char *)bytes, sizeof bytes, "user%012llu",
                                (unsigned long long)random_below(r, 100000));
        break;
    }
    if (i % 6 < 4) {
        memset(bytes, (int)('a' + i % 6), shared);
        for (size_t b = shared; b < size; b++)
            bytes[b] = i % 6 == 3 ? (uint8_t)(random_below(r, 3) * 127)
                                  : (uint8_t)random_next(r);
    }
    char *key = malloc(size);
    memcpy(key, bytes, size);
    return (struct sortable){key, size};
}

void model_init(struct model *m, uint64_t seed)
{
    static struct sortable made[MODEL_KEYS];
    struct random r;
    memset(m, 0, sizeof *m);
    m->next_value = 1;
    random_seed(&r, seed);
    for (size_t count = 0; count < MODEL_KEYS;) {
        for (size_t i = count; i < MODEL_KEYS; i++)
            made[i] = make_key(&r, i);
        qsort(made, MODEL_KEYS, sizeof made[0], compare_sortable);
        count = 1;
        for (size_t i = 1; i < MODEL_KEYS; i++) {
            if (compare_sortable(&made[count - 1], &made[i]) != 0)
                made[count++] = made[i];
            else
                free(made[i].key);
        }
    }
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        m->keys[i] = made[i].key;
        m->sizes[i] = made[i].size;
    }
}

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < MODEL_KEYS; i++)
        free(m->keys[i]);
}

uint64_t model_hash_of(size_t key, uint64_t value)
{
    uint64_t pair[2] = {key, value};
    return value ? hash_key(pair, sizeof pair) : 0;
}

static void set(struct model *m, size_t key, uint64_t value)
{
    m->hash ^= model_hash_of(key, m->values[key]) ^ model_hash_of(key, value);
    m->values[key] = value;
}

void model_put(struct model *m, size_t key, uint64_t value)
{
    set(m, key, value);
}

void model_delete(struct model *m, size_t key)
{
    set(m, key, 0);
}

/* Bytes that compress a little and differ at every multiple of eight. */
static void fill(uint8_t *p, size_t size, uint64_t h)
{
    uint64_t word = h;
    for (; size >= sizeof word; p += sizeof word, size -= sizeof word) {
        memcpy(p, &word, sizeof word);
        word += 0x0300000000000103u;
    }
    memcpy(p, &word, size);
}

size_t model_value(size_t key, uint64_t value, uint8_t *p)
{
    uint64_t h = model_hash_of(key, value);
    size_t size = 8 + h % 150;
    if (h % 512 == 0)
        size = 8 + h / 512 % (MODEL_VALUE_MAX - 8);
    else if (h % 64 == 1)
        size = 900 + h / 64 % 300; /* around the limit of in-place values */
    memcpy(p, &value, 8);
    fill(p + 8, size - 8, h);
    return size;
}

uint64_t model_identify(size_t key, adb_slice value)
{
    static _Thread_local uint8_t expected[MODEL_VALUE_MAX];
    uint64_t identity;
    if (value.size < 8)
        die("key %zu: a value of %zu bytes", key, value.size);
    memcpy(&identity, value.data, 8);
    size_t size = model_value(key, identity, expected);
    if (size != value.size || memcmp(expected, value.data, size) != 0)
        die("key %zu holds bytes that were never written", key);
    return identity;
}

size_t model_lower(const struct model *m, adb_slice key)
{
    size_t low = 0, high = MODEL_KEYS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_bytes(m->keys[middle], m->sizes[middle], key.data,
                          key.size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t model_find(const struct model *m, adb_slice key)
{
    size_t i = model_lower(m, key);
    if (i < MODEL_KEYS &&
        compare_bytes(m->keys[i], m->sizes[i], key.data, key.size) == 0)
        return i;
    return MODEL_KEYS;
}

uint64_t model_scan(const struct model *m, adb *db, uint64_t *values)
{
    uint64_t hash = 0;
    adb_iter *it;
    size_t previous = MODEL_KEYS;
    if (values)
        memset(values, 0, sizeof m->values);
    must(adb_iter_new(db, NULL, &it));
    for (int more = adb_iter_seek_first(it); more; more = adb_iter_next(it)) {
        size_t key = model_find(m, adb_iter_key(it));
        if (key == MODEL_KEYS)
            die("the scan found a key that was never written");
        if (previous != MODEL_KEYS && key <= previous)
            die("the scan is out of order at key %zu", key);
        previous = key;
        uint64_t value = model_identify(key, adb_iter_value(it));
        if (values)
            values[key] = value;
        hash ^= model_hash_of(key, value);
    }
    must(adb_iter_status(it));
    adb_iter_free(it);
    return hash;
}

void model_check_keys(const struct model *m, adb *db, struct random *r,
                      unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        size_t key = random_below(r, MODEL_KEYS);
        adb_value v = ADB_VALUE_INIT;
        adb_status status = adb_get(db, NULL, m->keys[key], m->sizes[key], &v);
        uint64_t found = 0;
        if (status == ADB_OK)
            found = model_identify(key, (adb_slice){v.data, v.size});
        else if (status != ADB_NOT_FOUND)
            must(status);
        if (found != m->values[key])
            die("key %zu holds %llu instead of %llu", key,
                (unsigned long long)found, (unsigned long long)m->values[key]);
        adb_value_release(&v);
    }
}

/* ---- options ---- */

enum { VALUES_MAX = 6 };
/* Values that stand twice are chosen more often. */
static const struct choice {
    const char *name;
    const char *values[VALUES_MAX];
} choices[] = {
    {"memory_budget", {"1M", "2M", "4M", "64M"}},
    {"memtable_size", {"32K", "64K", "128K", "512K", "2M", "0"}},
    {"max_memtables", {"2", "3", "4", "8"}},
    {"block_size", {"1K", "4K", "16K", "64K"}},
    {"compression", {"none", "lz4", "zstd"}},
    {"compression_level", {"0", "0", "1", "5"}},
    {"filter_bits", {"0", "1", "4", "10", "32"}},
    {"wal_access", {"map", "write", "auto"}},
    {"wal_segment_min", {"64K", "64K", "256K", "1M"}},
    {"wal_segment_max", {"64K", "256K", "4M"}},
    {"compaction", {"lazy", "lazy", "leveled", "tiered"}},
    {"idle_compaction", {"true", "false"}},
    {"table_size", {"64K", "128K", "1M", "0"}},
    {"table_access", {"cache", "cache", "map"}},
    {"background_threads", {"2", "3", "4"}},
    {"max_open_files", {"8", "64", "0"}},
    {"sync_interval", {"5ms", "20ms", "1s"}},
    {"manifest_roll", {"4096", "65536", "0"}},
};

static const char *choose(const struct choice *c, struct random *r)
{
    size_t n = 0;
    while (n < VALUES_MAX && c->values[n])
        n++;
    return c->values[random_below(r, n)];
}

void model_options(struct random *r, char buffer[MODEL_OPTIONS_MAX])
{
    size_t used =
        (size_t)snprintf(buffer, MODEL_OPTIONS_MAX, "durability=process");
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        const struct choice *c = &choices[i];
        used += (size_t)snprintf(buffer + used, MODEL_OPTIONS_MAX - used,
                                 " %s=%s", c->name, choose(c, r));
    }
}

static void set_word(adb_options *o, char *word)
{
    char *equals = strchr(word, '=');
    if (!equals)
        return;
    *equals = '\0';
    if (strcmp(word, "manifest_roll") == 0)
        o->manifest_roll_bytes = strtoull(equals + 1, NULL, 0);
    else
        must(adb_options_set(o, word, equals + 1));
}

adb *model_open(const char *path, const char *options)
{
    char copy[2 * MODEL_OPTIONS_MAX], *rest = copy;
    adb *db = NULL;
    adb_options *o = adb_options_new();
    snprintf(copy, sizeof copy, "%s", options);
    for (char *word; (word = strsep(&rest, " "));)
        set_word(o, word);
    /* Words may be missing from a set of options that was reduced. */
    o->values.wal_segment_min =
        MIN_OF(o->values.wal_segment_min, o->values.wal_segment_max);
    o->env = model_env();
    must(adb_open(path, o, &db));
    adb_options_free(o);
    return db;
}
