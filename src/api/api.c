/*
 * The public functions: check arguments, delegate to the engine.
 */
#include "base/alloc.h"
#include "base/thread.h"
#include "db/db.h"
#include "env/env.h"
#include "repair/repair.h"

struct adb_batch {
    struct kv_batch batch;
};

#define CHECK(condition, ...)                                                  \
    do {                                                                       \
        if (unlikely(!(condition)))                                            \
            return status_set(ADB_INVALID, __VA_ARGS__);                       \
    } while (0)
#define CHECK_DB(db)                                                           \
    do {                                                                       \
        CHECK(db, "no database handle given");                                 \
        adb_status forked_ = db_check_fork(db);                                \
        if (unlikely(forked_ != ADB_OK))                                       \
            return forked_;                                                    \
    } while (0)
#define CHECK_BYTES(data, size)                                                \
    CHECK((data) || (size) == 0, "a pointer is NULL but its size is %zu",      \
          (size_t)(size))
#define CHECK_SLICE(s) CHECK_BYTES((s).data, (s).size)

const char *adb_version(void)
{
    return ADB_VERSION_STRING;
}

const char *adb_error_message(void)
{
    return status_message();
}

const char *adb_status_name(adb_status status)
{
    return status_name(status);
}

void adb_free(void *pointer)
{
    mem_free(pointer);
}

/* ---- options ----------------------------------------------------------- */

adb_options *adb_options_new(void)
{
    struct adb_options *o = mem_alloc(sizeof *o);
    if (o)
        db_options_init(o);
    else
        status_set(ADB_NO_MEMORY, "no memory for options");
    return o;
}

void adb_options_free(adb_options *options)
{
    mem_free(options);
}

adb_status adb_options_set(adb_options *options, const char *name,
                           const char *value)
{
    CHECK(options, "no options given");
    return db_options_set(options, name, value);
}

adb_status adb_options_get(const adb_options *options, const char *name,
                           char *buffer, size_t size)
{
    CHECK(options && buffer && size, "no options or no buffer given");
    return db_options_get(options, name, buffer, size);
}

adb_status adb_options_describe(size_t index, adb_option_info *out)
{
    CHECK(out, "no place for the option's description given");
    return db_options_describe(index, out);
}

void adb_options_set_log(adb_options *options, adb_log_fn fn, void *context)
{
    if (options) {
        options->log = fn;
        options->log_context = context;
    }
}

/* ---- life -------------------------------------------------------------- */

adb_status adb_open(const char *path, const adb_options *options, adb **out)
{
    CHECK(path && path[0], "no path given");
    CHECK(out, "no place for the handle given");
    return db_open(path, options, out);
}

adb_status adb_close(adb *db)
{
    return db ? db_close(db) : ADB_OK;
}

adb_status adb_destroy(const char *path)
{
    CHECK(path && path[0], "no path given");
    return db_destroy(env_posix(), path);
}

adb_status adb_sync(adb *db)
{
    CHECK_DB(db);
    return db_sync(db);
}

adb_status adb_health(adb *db)
{
    CHECK_DB(db);
    return db_health(db);
}

/* ---- writing ----------------------------------------------------------- */

/* Option structs may come from a program built with an older header: only the
   fields it knew count. */
#define HAS_FIELD(options, type, field)                                        \
    ((options)->struct_size >=                                                 \
     offsetof(type, field) + sizeof((options)->field))

static adb_status write_with(adb *db, const adb_write_options *options,
                             struct db_write *w)
{
    w->durability = db_durability(db);
    if (options) {
        if (HAS_FIELD(options, adb_write_options, durability)) {
            CHECK(options->durability >= ADB_DURABILITY_DEFAULT &&
                      options->durability <= ADB_DURABILITY_SYNC,
                  "durability %d does not exist", (int)options->durability);
            w->durability = MAX_OF(w->durability, options->durability);
        }
        if (HAS_FIELD(options, adb_write_options, timeout_ms) &&
            options->timeout_ms) {
            uint64_t now = clock_now_ns();
            uint64_t most = (UINT64_MAX - now) / 1000000;
            w->deadline_ns =
                now + MIN_OF(options->timeout_ms, most) * 1000000;
        }
    }
    return db_write(db, w);
}

adb_status adb_put(adb *db, const adb_write_options *options, const void *key,
                   size_t key_size, const void *value, size_t value_size)
{
    CHECK_DB(db);
    CHECK_BYTES(key, key_size);
    CHECK_BYTES(value, value_size);
    adb_status status = kv_check_sizes(key_size, value_size);
    if (status != ADB_OK)
        return status;
    struct db_write w = {.kind = KV_PUT,
                         .key = slice_of(key, key_size),
                         .value = slice_of(value, value_size)};
    return write_with(db, options, &w);
}

adb_status adb_delete(adb *db, const adb_write_options *options,
                      const void *key, size_t key_size)
{
    CHECK_DB(db);
    CHECK_BYTES(key, key_size);
    adb_status status = kv_check_sizes(key_size, 0);
    if (status != ADB_OK)
        return status;
    struct db_write w = {.kind = KV_DELETE, .key = slice_of(key, key_size)};
    return write_with(db, options, &w);
}

adb_status adb_write(adb *db, const adb_write_options *options,
                     const adb_batch *batch)
{
    CHECK_DB(db);
    CHECK(batch, "no batch given");
    struct db_write w = {.batch = &batch->batch};
    return write_with(db, options, &w);
}

adb_batch *adb_batch_new(void)
{
    adb_batch *b = mem_zalloc(sizeof *b);
    if (!b)
        status_set(ADB_NO_MEMORY, "no memory for a batch");
    return b;
}

void adb_batch_free(adb_batch *batch)
{
    if (batch)
        kv_batch_deinit(&batch->batch);
    mem_free(batch);
}

void adb_batch_clear(adb_batch *batch)
{
    if (batch)
        kv_batch_clear(&batch->batch);
}

size_t adb_batch_count(const adb_batch *batch)
{
    return batch ? batch->batch.count : 0;
}

size_t adb_batch_size(const adb_batch *batch)
{
    return batch ? batch->batch.bytes.size : 0;
}

adb_status adb_batch_put(adb_batch *batch, const void *key, size_t key_size,
                         const void *value, size_t value_size)
{
    CHECK(batch, "no batch given");
    CHECK_BYTES(key, key_size);
    CHECK_BYTES(value, value_size);
    return kv_batch_add(&batch->batch, KV_PUT, slice_of(key, key_size),
                        slice_of(value, value_size));
}

adb_status adb_batch_delete(adb_batch *batch, const void *key,
                            size_t key_size)
{
    CHECK(batch, "no batch given");
    CHECK_BYTES(key, key_size);
    return kv_batch_add(&batch->batch, KV_DELETE, slice_of(key, key_size),
                        slice_of(NULL, 0));
}

/* ---- reading ----------------------------------------------------------- */

static void read_options(const adb_read_options *options, struct db_read *r)
{
    if (!options)
        return;
    if (HAS_FIELD(options, adb_read_options, snapshot))
        r->snapshot = options->snapshot;
    if (HAS_FIELD(options, adb_read_options, no_fill_cache))
        r->no_fill = options->no_fill_cache != 0;
}

adb_status adb_get(adb *db, const adb_read_options *options, const void *key,
                   size_t key_size, adb_value *out)
{
    CHECK_DB(db);
    CHECK_BYTES(key, key_size);
    CHECK(out, "no place for the value given");
    struct db_read r = {.pinned = out};
    *out = (adb_value)ADB_VALUE_INIT;
    read_options(options, &r);
    return db_get(db, slice_of(key, key_size), &r);
}

void adb_value_release(adb_value *value)
{
    if (!value || !value->pin_[0])
        return;
    /* Locks that other threads held at fork() are never released here. */
    if (db_check_fork(value->pin_[0]) == ADB_OK)
        db_value_release(value);
    else
        *value = (adb_value)ADB_VALUE_INIT;
}

adb_status adb_get_into(adb *db, const adb_read_options *options,
                        const void *key, size_t key_size, void *buffer,
                        size_t buffer_size, size_t *value_size)
{
    CHECK_DB(db);
    CHECK_BYTES(key, key_size);
    CHECK_BYTES(buffer, buffer_size);
    CHECK(value_size, "no place for the value's size given");
    struct db_read r = {.buffer = buffer,
                        .buffer_size = buffer_size,
                        .value_size = value_size};
    read_options(options, &r);
    return db_get(db, slice_of(key, key_size), &r);
}

adb_status adb_multi_get(adb *db, const adb_read_options *options,
                         size_t count, const adb_slice *keys,
                         adb_value *values, adb_status *statuses)
{
    CHECK_DB(db);
    CHECK(count == 0 || (keys && values && statuses),
          "%zu keys but no place for them", count);
    for (size_t i = 0; i < count; i++)
        CHECK_SLICE(keys[i]);
    struct db_read r = {0};
    read_options(options, &r);
    return db_multi_get(db, &r, count, keys, values, statuses);
}

adb_status adb_snapshot_new(adb *db, adb_snapshot **out)
{
    CHECK_DB(db);
    CHECK(out, "no place for the snapshot given");
    return db_snapshot_new(db, out);
}

void adb_snapshot_release(adb *db, adb_snapshot *snapshot)
{
    if (db && snapshot && db_check_fork(db) == ADB_OK)
        db_snapshot_release(db, snapshot);
}

/* ---- iterating --------------------------------------------------------- */

adb_status adb_iter_new(adb *db, const adb_iter_options *options,
                        adb_iter **out)
{
    CHECK_DB(db);
    CHECK(out, "no place for the iterator given");
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    if (options)
        memcpy(&o, options, MIN_OF(options->struct_size, sizeof o));
    CHECK_SLICE(o.lower);
    CHECK_SLICE(o.upper);
    CHECK_SLICE(o.prefix);
    return db_iter_new(db, &o, out);
}

void adb_iter_free(adb_iter *iter)
{
    if (iter && db_check_fork(iter->db) == ADB_OK)
        db_iter_free(iter);
}

/* A forked child may not move its parent's iterator. */
static bool usable(adb_iter *iter)
{
    iter->failed = false;
    if (likely(env_fork_generation() == iter->fork_generation))
        return true;
    kv_iter_fail(iter->user, db_check_fork(iter->db));
    return false;
}

int adb_iter_seek_first(adb_iter *iter)
{
    if (!usable(iter))
        return 0;
    iter->seeks++;
    iter->user->ops->seek_first(iter->user);
    return iter->user->valid;
}

int adb_iter_seek_last(adb_iter *iter)
{
    if (!usable(iter))
        return 0;
    iter->seeks++;
    iter->user->ops->seek_last(iter->user);
    return iter->user->valid;
}

int adb_iter_seek(adb_iter *iter, const void *key, size_t key_size)
{
    if (!usable(iter))
        return 0;
    iter->seeks++;
    iter->user->ops->seek(iter->user, slice_of(key, key_size), KV_MAX_SEQ);
    return iter->user->valid;
}

int adb_iter_seek_for_prev(adb_iter *iter, const void *key, size_t key_size)
{
    if (!usable(iter))
        return 0;
    iter->seeks++;
    /* The last key at or before key is the last before its successor. */
    uint8_t small[256];
    uint8_t *successor =
        key_size < sizeof small ? small : mem_alloc(key_size + 1);
    if (!successor) {
        kv_iter_fail(iter->user,
                     status_set(ADB_NO_MEMORY, "no memory for a key"));
        return 0;
    }
    if (key_size)
        memcpy(successor, key, key_size);
    successor[key_size] = 0;
    iter->user->ops->seek_before(iter->user, slice_of(successor, key_size + 1),
                                 KV_MAX_SEQ);
    if (successor != small)
        mem_free(successor);
    return iter->user->valid;
}

int adb_iter_next(adb_iter *iter)
{
    if (unlikely(!iter->user->valid || !usable(iter)))
        return 0;
    iter->steps++;
    kv_iter_next(iter->user);
    return iter->user->valid;
}

int adb_iter_prev(adb_iter *iter)
{
    if (unlikely(!iter->user->valid || !usable(iter)))
        return 0;
    iter->steps++;
    kv_iter_prev(iter->user);
    return iter->user->valid;
}

int adb_iter_valid(const adb_iter *iter)
{
    return iter->user->valid;
}

adb_status adb_iter_status(const adb_iter *iter)
{
    if (iter->failed)
        return status_restore(&iter->failure);
    return kv_iter_status(iter->user);
}

adb_slice adb_iter_key(const adb_iter *iter)
{
    return iter->user->valid ? iter->user->key : slice_of(NULL, 0);
}

adb_slice adb_iter_value(adb_iter *iter)
{
    if (unlikely(!iter->user->valid))
        return slice_of(NULL, 0);
    adb_status status = kv_iter_load(iter->user);
    if (likely(status == ADB_OK))
        return iter->user->value;
    iter->failed = true;
    status_save(&iter->failure, status);
    return slice_of(NULL, 0);
}

/* ---- maintenance ------------------------------------------------------- */

adb_status adb_flush(adb *db)
{
    CHECK_DB(db);
    return db_flush(db);
}

adb_status adb_compact(adb *db, adb_slice from, adb_slice to)
{
    CHECK_DB(db);
    CHECK_SLICE(from);
    CHECK_SLICE(to);
    return db_compact(db, from, to);
}

adb_status adb_wait_idle(adb *db, uint64_t timeout_ms)
{
    CHECK_DB(db);
    return db_wait_idle(db, timeout_ms);
}

adb_status adb_approximate_size(adb *db, adb_slice from, adb_slice to,
                                uint64_t *bytes)
{
    CHECK_DB(db);
    CHECK_SLICE(from);
    CHECK_SLICE(to);
    CHECK(bytes, "no place for the size given");
    return db_approximate_size(db, from, to, bytes);
}

adb_status adb_stats(adb *db, char **json)
{
    CHECK_DB(db);
    CHECK(json, "no place for the text given");
    return db_stats(db, json);
}

/* Damage told as a line of text. */
struct text_report {
    adb_report_fn report;
    adb_progress_fn progress;
    void *context;
};

static void report_text(void *context, const adb_damage *damage)
{
    const struct text_report *t = context;
    if (t->report)
        t->report(t->context, damage->text);
}

static void report_progress(void *context, uint64_t done, uint64_t total)
{
    const struct text_report *t = context;
    if (t->progress)
        t->progress(t->context, done, total);
}

adb_status adb_verify(adb *db, adb_report_fn report, adb_progress_fn progress,
                      void *context)
{
    CHECK_DB(db);
    struct text_report t = {report, progress, context};
    return db_verify(db, report_text, report_progress, &t);
}

adb_status adb_verify_damage(adb *db, adb_damage_fn report,
                             adb_progress_fn progress, void *context)
{
    CHECK_DB(db);
    return db_verify(db, report, progress, context);
}

/* Outputs go to programs that may have been built with an older header. */
static void give_summary(const adb_repair_summary *from,
                         adb_repair_summary *out)
{
    size_t size = MIN_OF(out->struct_size, sizeof *from);
    adb_repair_summary copy = *from;
    copy.struct_size = out->struct_size;
    memcpy(out, &copy, size);
}

adb_status adb_repair(const char *path, const adb_options *options,
                      const adb_repair_options *how,
                      adb_repair_summary *summary)
{
    CHECK(path && path[0], "no path given");
    adb_repair_options o = ADB_REPAIR_OPTIONS_INIT;
    adb_repair_summary s = ADB_REPAIR_SUMMARY_INIT;
    if (how)
        memcpy(&o, how, MIN_OF(how->struct_size, sizeof o));
    struct repair_request request = {.path = path,
                                     .options = options,
                                     .dry_run = o.dry_run != 0,
                                     .skip_unreadable = o.skip_unreadable != 0,
                                     .report = o.report,
                                     .progress = o.progress,
                                     .context = o.context};
    adb_status status = repair_database(&request, &s);
    if (summary)
        give_summary(&s, summary);
    return status;
}
