/*
 * A repair from beginning to end.
 *
 *   lock -> finish an interrupted swap -> survey -> mend, or rebuild
 *                                                   |
 *        done <- swap <- manifest, CURRENT <- new tables, staged
 */
#include "repair/repair_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "version/names.h"
#include "version/version_set.h"

/* Files open at a time. */
enum { MAX_OPEN = 64 };

/* ---- telling ------------------------------------------------------------ */

void repair_tell(struct repair *r, adb_status status, const char *file,
                 uint64_t offset, uint64_t size, adb_slice from, adb_slice to)
{
    char text[STATUS_MESSAGE_MAX];
    snprintf(text, sizeof text, "%s", status_message());
    adb_damage damage = {.struct_size = sizeof damage,
                         .status = status,
                         .file = file ? file : r->path,
                         .offset = offset,
                         .size = size,
                         .from = from,
                         .to = to,
                         .text = text};
    if (r->request->report)
        r->request->report(r->request->context, &damage);
}

void repair_note(struct repair *r, const char *file, const char *format, ...)
{
    char text[STATUS_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    adb_damage remark = {.struct_size = sizeof remark,
                         .status = ADB_OK,
                         .file = file ? file : r->path,
                         .text = text};
    if (r->request->report)
        r->request->report(r->request->context, &remark);
}

void repair_tell_table(struct repair *r, uint64_t number,
                       const struct sst_damage *damage)
{
    char *path = sst_path(r->path, number);
    adb_damage told = {.struct_size = sizeof told,
                       .status = damage->status,
                       .file = path ? path : r->path,
                       .offset = damage->offset,
                       .size = damage->size,
                       .from = damage->from,
                       .to = damage->to,
                       .text = damage->text};
    if (r->request->report)
        r->request->report(r->request->context, &told);
    mem_free(path);
}

void repair_advance(struct repair *r, uint64_t bytes)
{
    r->done = MIN_OF(r->done + bytes, r->total);
    if (r->request->progress)
        r->request->progress(r->request->context, r->done, r->total);
}

uint64_t repair_new_file(void *repair)
{
    return ((struct repair *)repair)->next_file++;
}

/* ---- what it works with ------------------------------------------------- */

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory to repair a database");
}

static struct sst_context context_of(struct repair *r, const char *directory,
                                     struct file_table *files)
{
    return (struct sst_context){.env = r->env,
                                .directory = directory,
                                .cache = r->cache,
                                .epoch = r->epoch,
                                .ledger = &r->ledger,
                                .files = files};
}

static adb_status make_tools(struct repair *r)
{
    r->stage = env_join(r->path, REPAIR_STAGE_NAME);
    r->epoch = mem_aligned_alloc(64, sizeof *r->epoch);
    if (r->epoch)
        epoch_init(r->epoch);
    if (!r->stage || !r->epoch)
        return no_memory();
    r->ledger.budget = (int64_t)r->options.memory_budget;
    struct cache_options cache = {.ledger = &r->ledger, .epoch = r->epoch};
    adb_status status = cache_new(&cache, &r->cache);
    if (status == ADB_OK)
        status = file_table_new(r->env, r->path, MAX_OPEN, &r->files);
    if (status == ADB_OK)
        status = file_table_new(r->env, r->stage, MAX_OPEN, &r->staged_files);
    r->here = context_of(r, r->path, r->files);
    r->staged = context_of(r, r->stage, r->staged_files);
    return status;
}

static void free_tools(struct repair *r)
{
    if (r->files)
        file_table_free(r->files);
    if (r->staged_files)
        file_table_free(r->staged_files);
    cache_free(r->cache);
    if (r->epoch)
        epoch_deinit(r->epoch);
    mem_free(r->epoch);
    mem_free(r->stage);
    numbers_deinit(&r->tables);
    numbers_deinit(&r->logs);
    numbers_deinit(&r->manifests);
    replay_deinit(&r->replay);
    facts_deinit(&r->facts);
    version_edit_deinit(&r->edit);
    buffer_deinit(&r->away);
    buffer_deinit(&r->bring);
}

/* ---- the repair --------------------------------------------------------- */

/* Is there anything to repair? */
static adb_status check_place(struct repair *r)
{
    adb_status status = version_set_probe(r->env, r->path);
    if (status == ADB_NOT_FOUND)
        return status_set(ADB_NOT_A_DATABASE, "'%s' holds no database",
                          r->path);
    /* That it does not open is what a repair is for. */
    return status == ADB_CORRUPTION ? ADB_OK : status;
}

/* New files are complete and durable; the old ones are as they were. */
static adb_status make_new(struct repair *r, bool *needed)
{
    bool dry = r->request->dry_run;
    adb_status status = dry ? ADB_OK : repair_stage_begin(r);
    *needed = !r->manifest_whole;
    if (status == ADB_OK)
        status = r->manifest_whole ? repair_mend(r, needed)
                                   : repair_rebuild(r);
    r->summary.rebuilt = !r->manifest_whole;
    r->summary.changed = status == ADB_OK && *needed;
    if (status == ADB_OK && *needed && !dry)
        status = repair_stage_finish(r);
    return status;
}

static void warn(struct repair *r)
{
    if (!r->summary.rebuilt)
        return;
    repair_note(r, NULL,
                "CURRENT or the manifest of '%s' is damaged: all tables and "
                "logs that may belong to it are merged",
                r->path);
}

static adb_status run(struct repair *r)
{
    bool resumed = false, needed = false;
    adb_status status = repair_resume(r, &resumed);
    if (status == ADB_OK)
        status = repair_survey(r);
    if (status == ADB_OK)
        status = make_new(r, &needed);
    if (status == ADB_OK)
        warn(r);
    if (status == ADB_OK && needed && !r->request->dry_run)
        status = repair_swap(r, r->manifest);
    r->summary.changed |= resumed;
    if (r->request->dry_run || r->swapping)
        return status;
    /* What is left of the staging directory is no use to anybody. */
    struct status_saved saved;
    status_save(&saved, status);
    adb_status removed = repair_stage_remove(r);
    return status == ADB_OK ? removed : status_restore(&saved);
}

adb_status repair_database(const struct repair_request *request,
                           adb_repair_summary *summary)
{
    struct adb_options defaults;
    db_options_init(&defaults);
    const struct adb_options *options =
        request->options ? request->options : &defaults;
    struct repair *r = mem_zalloc(sizeof *r);
    void *lock = NULL;
    if (!r)
        return no_memory();
    r->request = request;
    r->path = request->path;
    r->env = options->env ? options->env : env_posix();
    r->options = options->values;
    r->next_file = 1;
    adb_status status = db_options_resolve(&r->options);
    if (status == ADB_OK)
        status = check_place(r);
    char *lock_path = env_join(r->path, "LOCK");
    if (status == ADB_OK)
        status = lock_path ? env_lock(r->env, lock_path, &lock) : no_memory();
    if (status == ADB_OK)
        status = make_tools(r);
    if (status == ADB_OK)
        status = run(r);
    r->summary.struct_size = sizeof r->summary;
    *summary = r->summary;
    if (lock)
        env_unlock(r->env, lock);
    mem_free(lock_path);
    free_tools(r);
    mem_free(r);
    return status;
}
