/*
 * What tests of flush and compaction share: a directory of tables on a
 * simulated disk behind an env that can fail, the version that names them, and
 * a model of all versions ever written.
 */
#ifndef TEST_TABLE_STORE_H
#define TEST_TABLE_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "env/env_fault.h"
#include "env/env_memory.h"
#include "iter/merge.h"
#include "iter/vector_iter.h"
#include "sst/sst_writer.h"
#include "version/version.h"

static const char store_directory[] = "/db";

struct store {
    struct env *disk; /* env_memory */
    struct env *env;  /* env_fault over it */
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files;
    struct sst_context context;
    struct table_owner owner;
    struct version *version;
    uint64_t next_file;
    struct version_text *model; /* in kv order */
    size_t count;
};

static inline void check(adb_status status)
{
    if (status != ADB_OK)
        fail_msg("%s: %s", status_name(status), status_message());
}

static inline uint64_t store_new_file(void *context)
{
    struct store *s = context;
    return s->next_file++;
}

static inline struct sst_writer_options store_table_options(struct store *s)
{
    struct sst_writer_options o = {
        .env = s->env,
        .directory = store_directory,
        .block_size = 4096,
        .filter_bits = 10,
        .part_keys = 64,
        .extent_threshold = 4096,
        .ledger = &s->ledger,
    };
    return o;
}

static inline struct store *store_new(void)
{
    struct store *s = calloc(1, sizeof *s);
    s->disk = env_memory_new(ENV_MEMORY_STRICT);
    s->env = env_fault_new(s->disk);
    check(env_make_dir(s->env, store_directory));
    check(env_sync_dir(s->env, "/"));
    s->ledger.budget = 64 << 20;
    s->epoch = mem_aligned_alloc(64, sizeof *s->epoch);
    epoch_init(s->epoch);
    struct cache_options options = {&s->ledger, s->epoch};
    check(cache_new(&options, &s->cache));
    check(file_table_new(s->env, store_directory, 4, &s->files));
    s->context = (struct sst_context){.env = s->env,
                                      .directory = store_directory,
                                      .cache = s->cache,
                                      .epoch = s->epoch,
                                      .ledger = &s->ledger,
                                      .files = s->files};
    table_owner_init(&s->owner, &s->context);
    s->version = version_new_empty();
    s->next_file = 1;
    return s;
}

static inline void store_free(struct store *s)
{
    version_unref(s->version);
    table_owner_deinit(&s->owner);
    cache_free(s->cache);
    epoch_deinit(s->epoch);
    mem_free(s->epoch);
    file_table_free(s->files);
    for (int row = 0; row < LEDGER_ROWS; row++)
        assert_int_equal(ledger_row(&s->ledger, row), 0);
    env_fault_free(s->env);
    env_memory_free(s->disk);
    free(s->model);
    free(s);
}

/* The edit becomes the current version; files of tables that are gone go. */
static inline void store_apply(struct store *s, struct version_edit *edit)
{
    struct version_step step = {0};
    check(version_build(s->version, edit, &s->owner, &step));
    check(version_check(step.next));
    version_unref(s->version);
    s->version = step.next;
    step.next = NULL;
    for (size_t i = 0; i < step.dropped_count; i++) {
        uint64_t number = step.dropped[i]->info.number;
        char *path = sst_path(store_directory, number);
        file_table_forget(s->files, number);
        check(env_unlink(s->env, path));
        mem_free(path);
    }
    version_step_deinit(&step);
    version_edit_deinit(edit);
}

static inline adb_status store_count_name(void *context, const char *name)
{
    (void)name;
    ++*(size_t *)context;
    return ADB_OK;
}

/* The directory holds the version's tables and nothing else. */
static inline void store_check_files(struct store *s)
{
    size_t count = 0;
    check(env_list_dir(s->disk, store_directory, store_count_name, &count));
    assert_int_equal(count, s->version->table_count);
}

static inline struct kv_iter *store_iter(struct store *s, uint64_t read_seq)
{
    struct kv_iter *runs[64];
    assert_true(s->version->run_count <= 64);
    for (size_t i = 0; i < s->version->run_count; i++)
        runs[i] = version_run_iter(s->version, i, 0);
    struct user_iter_options o = {.read_seq = read_seq};
    return user_iter_new(merge_iter_new(runs, s->version->run_count), &o);
}

/* What the tables show at read_seq is what the model shows. */
static inline void store_check_visible(struct store *s, uint64_t read_seq)
{
    struct kv_iter *it = store_iter(s, read_seq);
    const char *decided = NULL;
    it->ops->seek_first(it);
    for (size_t i = 0; i < s->count; i++) {
        const struct version_text *v = &s->model[i];
        if (v->seq > read_seq || (decided && strcmp(decided, v->key) == 0))
            continue;
        decided = v->key;
        if (v->kind == KV_DELETE)
            continue;
        check(kv_iter_status(it));
        assert_true(it->valid);
        assert_true(slice_equal(it->key, version_key(v)));
        assert_int_equal(it->value.size, v->value_size);
        check(kv_iter_load(it));
        uint8_t *value = malloc(v->value_size + 1);
        version_value(v, value);
        assert_memory_equal(it->value.data, value, v->value_size);
        free(value);
        kv_iter_next(it);
    }
    check(kv_iter_status(it));
    assert_false(it->valid);
    kv_iter_close(it);
}

static inline void store_check(struct store *s, const uint64_t *snapshots,
                               size_t count)
{
    store_check_visible(s, KV_MAX_SEQ);
    for (size_t i = 0; i < count; i++)
        store_check_visible(s, snapshots[i]);
}

/* Entries of one table, which must ascend. */
static inline size_t store_count_entries(struct version_table *table)
{
    struct sst_reader *reader;
    struct version_text last = {0};
    size_t count = 0;
    check(version_table_reader(table, &reader));
    struct kv_iter *it = sst_iter_new(reader, SST_NO_FILL);
    for (it->ops->seek_first(it); it->valid; kv_iter_next(it)) {
        if (count++)
            assert_true(kv_compare(version_key(&last), last.seq, it->key,
                                   it->seq) < 0);
        sprintf(last.key, "%.*s", (int)it->key.size,
                (const char *)it->key.data);
        last.seq = it->seq;
    }
    check(kv_iter_status(it));
    kv_iter_close(it);
    return count;
}

/* Order and counts of all tables; no user key stands in two tables of a run.
   Returns how many entries there are. */
static inline size_t store_check_order(struct store *s)
{
    size_t entries = 0;
    for (size_t r = 0; r < s->version->run_count; r++) {
        const struct version_run *run = &s->version->runs[r];
        for (size_t t = 0; t < run->count; t++) {
            const struct table_info *info = &run->tables[t]->info;
            if (t > 0)
                assert_true(slice_compare(run->tables[t - 1]->info.largest,
                                          info->smallest) < 0);
            assert_int_equal(store_count_entries(run->tables[t]),
                             info->entries);
            entries += info->entries;
        }
    }
    return entries;
}

static inline bool edit_is_empty(const struct version_edit *edit)
{
    return !edit->added_count && !edit->removed_count && !edit->moved_count;
}

/* Random versions with sequences from first on, into the model. */
static inline struct version_text *
store_random_versions(struct store *s, struct random *r, size_t count,
                      size_t keys, uint64_t first)
{
    s->model = realloc(s->model, (s->count + count + 1) * sizeof *s->model);
    struct version_text *fresh = s->model + s->count;
    memset(fresh, 0, count * sizeof *fresh);
    for (size_t i = 0; i < count; i++) {
        struct version_text *v = &fresh[i];
        sprintf(v->key, "%s%03llu", random_below(r, 2) ? "user0000/" : "k",
                (unsigned long long)random_below(r, keys));
        v->seq = first + i;
        v->kind = random_below(r, 4) ? KV_PUT : KV_DELETE;
        if (v->kind == KV_PUT)
            v->value_size = random_below(r, 50) ? random_below(r, 300)
                                                : random_below(r, 20000);
    }
    s->count += count;
    return fresh;
}

static inline void store_sort_model(struct store *s)
{
    if (s->count)
        qsort(s->model, s->count, sizeof *s->model, version_order);
}

#endif
