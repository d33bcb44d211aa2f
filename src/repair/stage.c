/*
 * The staging directory: all new files are written there first, complete and
 * durable, so that the swap is nothing but renames.
 */
#include "repair/repair_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "version/names.h"

enum { TABLES_PER_RECORD = 1024 };

/* ---- the directory ------------------------------------------------------ */

static adb_status note_name(void *context, const char *name)
{
    return buffer_append(context, name, strlen(name) + 1);
}

static adb_status remove_files(struct repair *r)
{
    struct buffer names = {0};
    adb_status status = env_list_dir(r->env, r->stage, note_name, &names);
    for (size_t at = 0; at < names.size && status == ADB_OK;) {
        const char *name = (const char *)names.data + at;
        char *path = env_join(r->stage, name);
        at += strlen(name) + 1;
        status = path ? env_unlink(r->env, path)
                      : status_set(ADB_NO_MEMORY, "no memory for a path");
        mem_free(path);
    }
    buffer_deinit(&names);
    return status;
}

/* What an earlier, interrupted repair left there is of no use: the files it was
   made from are still where they were. */
adb_status repair_stage_begin(struct repair *r)
{
    adb_status status = env_make_dir(r->env, r->stage);
    if (status == ADB_EXISTS)
        status = remove_files(r);
    return status == ADB_OK ? env_sync_dir(r->env, r->path) : status;
}

adb_status repair_stage_remove(struct repair *r)
{
    struct env_stat st;
    adb_status status = env_stat(r->env, r->stage, &st);
    if (status != ADB_OK || st.kind != ENV_KIND_DIRECTORY)
        return status;
    status = remove_files(r);
    return status == ADB_OK ? env_remove_dir(r->env, r->stage) : status;
}

void repair_table_options(struct repair *r, struct sst_writer_options *o)
{
    *o = (struct sst_writer_options){
        .env = r->env,
        .directory = r->stage,
        .block_size = sst_block_size_in((size_t)r->options.block_size),
        .compression = (enum sst_compression)r->options.compression,
        .compression_level = (int)r->options.compression_level,
        .filter_bits = (unsigned)r->options.filter_bits,
        .ledger = &r->ledger,
    };
}

/* ---- names -------------------------------------------------------------- */

adb_status repair_add_name(struct buffer *names, const char *name)
{
    return buffer_append(names, name, strlen(name) + 1);
}

adb_status repair_add_table_name(struct buffer *names, uint64_t number)
{
    char name[NAME_MAX_TEXT];
    snprintf(name, sizeof name, "%06" PRIu64 ".sst", number);
    return repair_add_name(names, name);
}

adb_status repair_add_log_name(struct buffer *names, uint64_t number)
{
    char name[NAME_MAX_TEXT];
    snprintf(name, sizeof name, "%06" PRIu64 ".log", number);
    return repair_add_name(names, name);
}

adb_status repair_add_manifest_name(struct buffer *names, uint64_t number)
{
    char name[NAME_MAX_TEXT];
    return repair_add_name(names, name_manifest(number, name));
}

/* ---- what was written --------------------------------------------------- */

static bool is_staged(const struct repair *r, uint64_t number)
{
    return !numbers_have(&r->tables, number);
}

/* A table that cannot be read back must not take the place of anything. */
static adb_status read_back(struct repair *r)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->edit.added_count && status == ADB_OK; i++) {
        const struct table_info *info = &r->edit.added[i].info;
        if (is_staged(r, info->number))
            status = sst_verify_table(&r->staged, info, NULL, NULL, NULL);
    }
    return status;
}

/* ---- the manifest ------------------------------------------------------- */

/* Everything but tables, as at the beginning of every manifest. */
static adb_status write_state(struct repair *r, struct manifest_writer *w)
{
    struct version_edit e = {.next_file = r->next_file,
                             .next_run = r->next_run,
                             .last_seq = r->last_seq,
                             .segments_below = r->next_file,
                             .database = r->edit.database};
    if (r->log_stays) {
        const struct log_state *logs = &r->replay.logs;
        e.segments_created = r->edit.segments_created;
        e.segments_created_count = r->edit.segments_created_count;
        e.segment_ends = r->edit.segment_ends;
        e.segment_ends_count = r->edit.segment_ends_count;
        e.synced_through = logs->synced_through;
        e.segments_below = logs->segments_below;
    }
    const struct version_edit *edit = &e;
    return manifest_writer_append(w, RECORD_EDIT, &edit, 1);
}

static adb_status write_tables(struct repair *r, struct manifest_writer *w)
{
    adb_status status = ADB_OK;
    for (size_t at = 0; at < r->edit.added_count && status == ADB_OK;) {
        size_t count = MIN_OF(r->edit.added_count - at,
                              (size_t)TABLES_PER_RECORD);
        struct version_edit e = {.added = r->edit.added + at, /* borrowed */
                                 .added_count = count};
        const struct version_edit *edit = &e;
        status = manifest_writer_append(w, RECORD_EDIT, &edit, 1);
        at += count;
    }
    return status;
}

static adb_status write_manifest(struct repair *r)
{
    struct manifest_writer w = {0};
    uint64_t number = r->manifest = r->next_file++;
    bool maybe;
    adb_status status = manifest_writer_create(&w, r->env, r->stage, number);
    if (status == ADB_OK)
        status = write_state(r, &w);
    if (status == ADB_OK)
        status = write_tables(r, &w);
    if (status == ADB_OK)
        status = manifest_writer_sync(&w);
    struct current c = {
        .manifest = number, .length = w.length, .checksum = w.checksum};
    struct status_saved saved;
    status_save(&saved, status);
    manifest_writer_deinit(&w);
    if (status != ADB_OK)
        return status_restore(&saved);
    status = current_write(r->env, r->stage, &c, &maybe);
    if (status == ADB_OK)
        status = repair_add_manifest_name(&r->bring, number);
    return status == ADB_OK ? repair_add_name(&r->bring, NAME_CURRENT_TEXT)
                            : status;
}

/* The result must be a database that opens: the same check as there. */
static adb_status check_result(struct repair *r)
{
    struct table_owner owner;
    struct version *empty = version_new_empty();
    struct version_step step;
    if (!empty)
        return status_set(ADB_NO_MEMORY, "no memory for a version");
    struct version_edit tables = {.added = r->edit.added, /* borrowed */
                                  .added_count = r->edit.added_count};
    table_owner_init(&owner, &r->here);
    adb_status status = version_build(empty, &tables, &owner, &step);
    if (status == ADB_OK) {
        status = version_check(step.next);
        version_step_deinit(&step);
    }
    table_owner_deinit(&owner);
    version_unref(empty);
    return status;
}

static adb_status name_database(struct repair *r)
{
    uint64_t number;
    if (r->edit.database)
        return ADB_OK;
    adb_status status = r->env->ops->random(r->env, &number, sizeof number);
    if (status == ADB_OK)
        r->edit.database = (number & ((UINT64_C(1) << 59) - 1)) + 1;
    return status;
}

adb_status repair_stage_finish(struct repair *r)
{
    adb_status status = read_back(r);
    for (size_t i = 0; i < r->edit.added_count && status == ADB_OK; i++)
        if (is_staged(r, r->edit.added[i].info.number))
            status = repair_add_table_name(&r->bring,
                                           r->edit.added[i].info.number);
    if (status == ADB_OK)
        status = check_result(r);
    if (status == ADB_OK)
        status = name_database(r);
    if (status == ADB_OK)
        status = write_manifest(r);
    return status == ADB_OK ? env_sync_dir(r->env, r->stage) : status;
}
