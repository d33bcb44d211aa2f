/*
 * Opening. See docs/recovery.md.
 *
 *   probe -> lock -> CURRENT and manifest -> replay logs -> new manifest
 *                                                        -> threads
 *
 * Nothing on disk changes before the manifest and the logs have been read and
 * found sound.
 */
#include "db/db_internal.h"

#include "base/alloc.h"

/* A manifest that is mostly history is rewritten beyond this size. */
enum { MANIFEST_ROLL_BYTES = 1 << 20 };
/* Descriptors left to the host program when deriving max_open_files. */
enum { DESCRIPTORS_LEFT = 24 };

/* ---- the parts of a database object ------------------------------------ */

static unsigned choose_max_open(const struct db_options *o)
{
    if (o->max_open_files)
        return (unsigned)o->max_open_files;
    unsigned limit = env_file_limit();
    if (limit <= DESCRIPTORS_LEFT + 16)
        return 8;
    return MIN_OF((limit - DESCRIPTORS_LEFT) / 2, 4096u);
}

/* The largest worst case that an empty ordinary memtable has room for. */
static size_t measure_capacity(const struct memtable *m, size_t arena_bytes)
{
    size_t low = 0, high = arena_bytes;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (memtable_has_room(m, middle))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void init_locks(adb *db)
{
    mutex_init(&db->write_lock);
    mutex_init(&db->lock);
    mutex_init(&db->log_lock);
    condition_init(&db->flush_work);
    condition_init(&db->compaction_work);
    condition_init(&db->changed);
    condition_init(&db->log_work);
    condition_init(&db->sync_work);
}

static void deinit_locks(adb *db)
{
    condition_deinit(&db->sync_work);
    condition_deinit(&db->log_work);
    condition_deinit(&db->changed);
    condition_deinit(&db->compaction_work);
    condition_deinit(&db->flush_work);
    mutex_deinit(&db->log_lock);
    mutex_deinit(&db->lock);
    mutex_deinit(&db->write_lock);
}

static adb_status make_memory(adb *db)
{
    db->ledger.budget = (int64_t)db->options.memory_budget;
    db->epoch = mem_aligned_alloc(64, sizeof *db->epoch);
    db->table_counters = mem_aligned_alloc(64, sizeof *db->table_counters);
    if (db->table_counters)
        memset(db->table_counters, 0, sizeof *db->table_counters);
    if (db->epoch)
        epoch_init(db->epoch);
    db->pool = memtable_pool_new(db->options.memtable_size, 1, &db->ledger);
    db->frames = frame_pool_new(db->options.memory_budget);
    if (!db->epoch || !db->table_counters || !db->pool || !db->frames)
        return status_set(ADB_NO_MEMORY, "no memory to open a database");
    struct cache_options cache = {.ledger = &db->ledger, .epoch = db->epoch};
    adb_status status = cache_new(&cache, &db->cache);
    if (status == ADB_OK)
        status = file_table_new(db->env, db->path,
                                choose_max_open(&db->options), &db->files);
    if (status == ADB_OK)
        status = memtable_new(db->pool, 0, &db->active.table);
    if (status != ADB_OK)
        return status;
    db->memtable_capacity =
        measure_capacity(db->active.table, db->options.memtable_size);
    db->tables = (struct sst_context){
        .env = db->env,
        .directory = db->path,
        .cache = db->cache,
        .epoch = db->epoch,
        .ledger = &db->ledger,
        .files = db->files,
        .frames = db->frames,
        .counters = db->table_counters,
        .map_tables = db->options.table_access == DB_TABLE_MAP,
    };
    return ADB_OK;
}

void db_free(adb *db)
{
    db_iter_drop_resting(db);
    struct db_view *view = atomic_load(&db->view);
    if (view) {
        atomic_store(&db->view, NULL);
        db_view_unref(view);
    }
    if (db->epoch)
        epoch_barrier(db->epoch);
    version_unref(db->version);
    for (size_t i = 0; i < db->frozen_count; i++)
        memtable_unref(db->frozen[i].table);
    memtable_unref(db->active.table);
    if (db->versions)
        version_set_free(db->versions);
    if (db->files)
        file_table_free(db->files);
    if (db->cache)
        cache_free(db->cache);
    if (db->epoch)
        epoch_deinit(db->epoch);
    frame_pool_free(db->frames);
    if (db->pool)
        memtable_pool_free(db->pool);
    mem_free(db->epoch);
    mem_free(db->table_counters);
    if (db->file_lock)
        env_unlock(db->env, db->file_lock);
    deinit_locks(db);
    mem_free(db->segments);
    mem_free(db->path);
    mem_free(db);
}

/* ---- callbacks from below ---------------------------------------------- */

adb_status db_remember_segment_locked(adb *db, uint64_t number)
{
    if (db->segment_count == db->segment_capacity) {
        size_t capacity = MAX_OF(2 * db->segment_capacity, (size_t)8);
        uint64_t *more =
            mem_realloc(db->segments, capacity * sizeof *more);
        if (!more)
            return status_set(ADB_NO_MEMORY, "no memory for a log segment");
        db->segments = more;
        db->segment_capacity = capacity;
    }
    db->segments[db->segment_count++] = number;
    return ADB_OK;
}

/* The log made segments: their existence goes into the manifest. Nobody makes
   others meanwhile. */
static adb_status segments_created(void *context, uint64_t first,
                                   unsigned count,
                                   const struct watermark *synced_through)
{
    adb *db = context;
    struct version_edit edit = {.synced_through = *synced_through};
    struct version_edit *edits[1] = {&edit};
    adb_status status = ADB_OK;
    mutex_lock(&db->lock);
    for (unsigned i = 0; i < count && status == ADB_OK; i++) {
        status = db_remember_segment_locked(db, first + i);
        if (status == ADB_OK)
            status = version_edit_create_segment(&edit, first + i);
    }
    mutex_unlock(&db->lock);
    if (status == ADB_OK)
        status = version_set_apply(db->versions, edits, 1);
    version_edit_deinit(&edit);
    if (status != ADB_OK) {
        mutex_lock(&db->lock);
        while (db->segment_count &&
               db->segments[db->segment_count - 1] >= first)
            db->segment_count--; /* they ascend */
        mutex_unlock(&db->lock);
    }
    return status;
}

/* An edit is durable: this is the current version now. */
static void version_installed(void *context, struct version *current)
{
    adb *db = context;
    mutex_lock(&db->lock);
    struct version *old = db->version;
    db->version = version_ref(current);
    db_job_installed_locked(db, current);
    if (atomic_load(&db->view) && db_view_install_locked(db) != ADB_OK)
        db_log(db, 1, "view not renewed: %s", status_message());
    mutex_unlock(&db->lock);
    version_unref(old);
}

static struct version_set_options set_options(adb *db)
{
    return (struct version_set_options){
        .env = db->env,
        .directory = db->path,
        .tables = &db->tables,
        .first_run = TABLE_FIRST_RUN,
        .manifest_roll_bytes = db->manifest_roll_bytes,
        .installed = version_installed,
        .context = db,
    };
}

/* ---- the log and the files -------------------------------------------------- */

static adb_status start_log(adb *db, const struct wal_end *last,
                            const struct watermark *synced_through)
{
    struct wal_options options = {
        .env = db->env,
        .directory = db->path,
        .access = (enum wal_access)db->options.wal_access,
        .min_segment = db->options.wal_segment_min,
        .max_segment = db->options.wal_segment_max,
        .spares = 2,
        .ledger = &db->ledger,
        .database = version_set_database(db->versions),
        .segments_created = segments_created,
        .context = db,
    };
    uint64_t next = version_set_new_file(db->versions);
    adb_status status =
        wal_open(&options, next, last, synced_through, &db->wal);
    for (size_t i = 0; i < db->segment_count && status == ADB_OK; i++)
        status = wal_adopt(db->wal, db->segments[i]);
    if (status == ADB_OK && !db->active.first_segment)
        db->active.first_segment = next;
    db->first_own_segment = next;
    return status;
}

static adb_status remove_leftover(void *context, const char *name)
{
    adb *db = context;
    char *path = env_join(db->path, name);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a file name");
    if (env_unlink(db->env, path) != ADB_OK)
        db_log(db, 1, "cannot remove %s: %s", path, status_message());
    mem_free(path);
    return ADB_OK;
}

static void publish(adb *db, uint64_t seq)
{
    db->last_seq = seq;
    db->flushed_seq = 0; /* the recovered memtable may hold any of them */
    atomic_store(&db->published_seq, seq);
}

static adb_status open_existing(adb *db)
{
    struct version_set_options options = set_options(db);
    struct version_set_state state = {0};
    struct wal_recovered found = {0};
    struct db_recovery r = {.db = db};
    adb_status status =
        version_set_recover(&options, &db->versions, &state);
    if (status != ADB_OK)
        return status;
    r.last_seq = state.last_seq;
    status = db_recover_log(&r, &state, &found);
    if (status == ADB_OK)
        status = version_set_begin(db->versions, &r.edit);
    if (status == ADB_OK) {
        publish(db, MAX_OF(r.last_seq, state.last_seq));
        status = version_set_sweep(db->versions, remove_leftover, db);
    }
    if (status == ADB_OK)
        status = start_log(db, &found.last, &found.synced_through);
    wal_recovered_deinit(&found);
    version_edit_deinit(&r.edit);
    return status;
}

static adb_status create_new(adb *db)
{
    struct version_set_options options = set_options(db);
    struct wal_end none = {0};
    struct watermark nothing = {0};
    adb_status status = version_set_create(&options, &db->versions);
    /* An interrupted creation may have left a manifest. */
    if (status == ADB_OK)
        status = version_set_sweep(db->versions, remove_leftover, db);
    return status == ADB_OK ? start_log(db, &none, &nothing) : status;
}

/* ---- finding the place ------------------------------------------------- */

/* The directory that holds path; fresh memory. */
static char *parent_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    while (end > 0 && path[end - 1] != '/')
        end--;
    while (end > 1 && path[end - 1] == '/')
        end--;
    char *parent = mem_strdup(end ? path : ".");
    if (parent && end)
        parent[end] = '\0';
    return parent;
}

/* The directory's own name is made durable too: a database whose directory
   is gone after a power cut has lost acknowledged writes. */
static adb_status make_directory(adb *db)
{
    adb_status status = env_make_dir(db->env, db->path);
    if (status != ADB_OK && status != ADB_EXISTS)
        return status_context(status, "cannot make the database directory");
    char *parent = parent_of(db->path);
    if (!parent)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    status = env_sync_dir(db->env, parent);
    mem_free(parent);
    return status;
}

static adb_status take_lock(adb *db)
{
    char *path = env_join(db->path, "LOCK");
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    adb_status status = env_lock(db->env, path, &db->file_lock);
    mem_free(path);
    if (status == ADB_BUSY)
        return status_context(status,
                              "the database is open already, here or in "
                              "another process");
    return status;
}

static adb_status check_exists(adb *db, bool *exists)
{
    adb_status status = version_set_probe(db->env, db->path);
    *exists = status == ADB_OK;
    if (status == ADB_OK && db->options.error_if_exists)
        return status_set(ADB_EXISTS, "'%s' holds a database already",
                          db->path);
    if (status == ADB_NOT_FOUND) {
        if (db->options.create_if_missing)
            return ADB_OK;
        return status_set(ADB_NOT_A_DATABASE,
                          "'%s' holds no database (and create_if_missing is "
                          "off)",
                          db->path);
    }
    return status;
}

static adb_status open_object(adb *db)
{
    bool exists;
    adb_status status = check_exists(db, &exists);
    if (status == ADB_OK && !exists)
        status = make_directory(db);
    if (status == ADB_OK)
        status = take_lock(db);
    if (status == ADB_OK)
        /* Another opener may have been faster. */
        status = check_exists(db, &exists);
    if (status == ADB_OK)
        status = make_memory(db);
    if (status == ADB_OK)
        status = exists ? open_existing(db) : create_new(db);
    if (status != ADB_OK)
        return status;
    mutex_lock(&db->lock);
    if (!db->version)
        db->version = version_set_current(db->versions);
    status = db_view_install_locked(db);
    mutex_unlock(&db->lock);
    return status;
}

adb_status db_open(const char *path, const struct adb_options *options,
                   adb **out)
{
    struct adb_options defaults;
    if (!options) {
        db_options_init(&defaults);
        options = &defaults;
    }
    adb *db = mem_aligned_alloc(64, sizeof *db);
    if (!db)
        return status_set(ADB_NO_MEMORY, "no memory to open '%s'", path);
    memset(db, 0, sizeof *db);
    init_locks(db);
    db->opened_ns = clock_now_ns();
    db->env = options->env ? options->env : env_posix();
    db->manifest_roll_bytes = options->manifest_roll_bytes
                                  ? options->manifest_roll_bytes
                                  : MANIFEST_ROLL_BYTES;
    db->log = options->log;
    db->log_context = options->log_context;
    db->options = options->values;
    env_watch_forks();
    db->fork_generation = env_fork_generation();
    db->path = mem_strdup(path);
    adb_status status = db->path ? db_options_resolve(&db->options)
                                 : status_set(ADB_NO_MEMORY,
                                              "no memory for a path");
    if (status == ADB_OK)
        status = open_object(db);
    if (status == ADB_OK)
        status = db_background_start(db);
    if (status == ADB_OK)
        status = db_keeper_start(db);
    if (status != ADB_OK) {
        struct status_saved saved;
        status_save(&saved, status);
        db_keeper_stop(db);
        db_background_stop(db);
        if (db->wal)
            wal_abandon(db->wal);
        db_free(db);
        return status_restore(&saved);
    }
    db->recovery_ns = clock_now_ns() - db->opened_ns;
    db_log_quarantine(db);
    *out = db;
    return ADB_OK;
}

adb_status db_check_fork(const adb *db)
{
    if (unlikely(env_fork_generation() != db->fork_generation))
        return status_set(ADB_FORKED,
                          "this database was opened before fork(); open it "
                          "again in the child once the parent closed it");
    return ADB_OK;
}

adb_status db_health(adb *db)
{
    adb_status status = ADB_OK;
    mutex_lock(&db->lock);
    if (db->flush_error.code != ADB_OK)
        status = status_restore(&db->flush_error);
    else if (db->compaction_error.code != ADB_OK)
        status = status_restore(&db->compaction_error);
    mutex_unlock(&db->lock);
    if (status == ADB_OK && db->wal)
        status = wal_failure(db->wal);
    if (status != ADB_OK)
        return status;
    mutex_lock(&db->lock);
    status = db_quarantine_status_locked(db, slice_of(NULL, 0),
                                         slice_of(NULL, 0));
    mutex_unlock(&db->lock);
    return status;
}
