/*
 * What the tests of version/ share: invented tables, sets on a simulated disk,
 * and a set's state as text.
 */
#ifndef TESTS_VERSION_SUPPORT_H
#define TESTS_VERSION_SUPPORT_H

#define adb_status_name_of(status) status_name(status)
#define adb_message_of()           status_message()
#include "support.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/random.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "sst/sst_writer.h"
#include "version/names.h"
#include "version/version_set.h"

#define DIRECTORY "/db"

static inline struct table_info invented(uint64_t number, const char *smallest,
                                         const char *largest, uint64_t min_seq,
                                         uint64_t max_seq)
{
    struct table_info borrowed = {.number = number,
                                  .size = 40 + number % 50,
                                  .checksum = number * 77,
                                  .entries = 3,
                                  .tombstones = number % 3,
                                  .key_bytes = 10,
                                  .value_bytes = 1000,
                                  .min_seq = min_seq,
                                  .max_seq = max_seq,
                                  .created_ns = 123456789,
                                  .smallest = slice_of_string(smallest),
                                  .largest = slice_of_string(largest)};
    struct table_info info;
    assert_ok(table_info_copy(&borrowed, &info));
    return info;
}

static inline void add_invented(struct version_edit *e, uint64_t number,
                                uint32_t level, uint64_t run,
                                const char *smallest, const char *largest)
{
    struct table_info info =
        invented(number, smallest, largest, run * 100, run * 100 + 99);
    assert_ok(
        version_edit_add_table(e, (struct table_place){level, run}, &info));
}

/* A file of the size that an invented table states, durable. */
static inline adb_status make_table_file(struct env *env, uint64_t number)
{
    uint8_t bytes[100] = {0};
    struct env_file *f;
    char *path = sst_path(DIRECTORY, number);
    adb_status status =
        env_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f);
    mem_free(path);
    if (status != ADB_OK)
        return status;
    status = env_file_write(f, 0, bytes, 40 + number % 50);
    if (status == ADB_OK)
        status = env_file_sync(f);
    adb_status closed = env_file_close(f);
    if (status == ADB_OK)
        status = closed;
    return status == ADB_OK ? env_sync_dir(env, DIRECTORY) : status;
}

static inline struct env *new_disk(enum env_memory_model model)
{
    struct env *env = env_memory_new(model);
    assert_non_null(env);
    assert_ok(env_make_dir(env, DIRECTORY));
    assert_ok(env_sync_dir(env, "/"));
    return env;
}

static inline struct version_set_options options_on(struct env *env)
{
    return (struct version_set_options){
        .env = env, .directory = DIRECTORY, .manifest_roll_bytes = 300};
}

/* ---- state as text ---- */

static inline void describe_version(const struct version *v, struct buffer *b)
{
    for (size_t i = 0; i < v->run_count; i++) {
        const struct version_run *run = &v->runs[i];
        assert_ok(buffer_printf(b, "L%" PRIu32 " R%" PRIu64 ":", run->level,
                                run->run));
        for (size_t j = 0; j < run->count; j++) {
            const struct table_info *t = &run->tables[j]->info;
            assert_ok(buffer_printf(
                b, " %" PRIu64 "[%.*s-%.*s]", t->number, (int)t->smallest.size,
                (const char *)t->smallest.data, (int)t->largest.size,
                (const char *)t->largest.data));
        }
        assert_ok(buffer_printf(b, "\n"));
    }
    for (size_t i = 0; i < version_quarantined_count(v); i++) {
        const struct quarantined *q = &v->quarantine->items[i];
        assert_ok(buffer_printf(b, "damaged %" PRIu64 " at %" PRIu64
                                   " [%.*s-%.*s]\n",
                                q->number, q->offset, (int)q->from.size,
                                (const char *)q->from.data, (int)q->to.size,
                                (const char *)q->to.data));
    }
}

static inline void add_quarantined(struct version_edit *e, uint64_t number,
                                   uint64_t offset, const char *from,
                                   const char *to)
{
    struct quarantined q = {number, offset, slice_of_string(from),
                            slice_of_string(to)};
    assert_ok(version_edit_quarantine(e, &q));
}

/* Free with mem_free. */
static inline char *describe(const struct version *v,
                             const struct version_set_state *logs)
{
    struct buffer b = {0};
    describe_version(v, &b);
    for (size_t i = 0; i < logs->segment_count; i++)
        assert_ok(buffer_printf(
            &b, "segment %" PRIu64 " end %" PRIu64 "\n", logs->segments[i],
            logs->segment_ends[i].segment ? logs->segment_ends[i].length : 0));
    assert_ok(buffer_printf(&b, "seq %" PRIu64 " synced %" PRIu64 ":%" PRIu64,
                            logs->last_seq, logs->synced_through.segment,
                            logs->synced_through.offset));
    assert_ok(buffer_append(&b, "", 1));
    return (char *)b.data;
}

/* What recovery finds in env; the status where it fails (*text NULL). */
static inline adb_status recovered_state(struct env *env, char **text,
                                         bool *closed)
{
    struct version_set_options options = options_on(env);
    struct version_set *s;
    struct version_set_state state;
    *text = NULL;
    adb_status status = version_set_recover(&options, &s, &state);
    if (status != ADB_OK)
        return status;
    struct version *v = version_set_current(s);
    *text = describe(v, &state);
    *closed = state.closed_cleanly;
    assert_ok(version_check(v));
    version_unref(v);
    version_set_free(s);
    return ADB_OK;
}

#endif
