/*
 * The version set's life: create or recover, begin, apply, close.
 *
 * A change of state goes through a draft: the next version and log state are
 * made in memory, then made durable, then swapped in, which cannot fail.
 *
 *   roll    MANIFEST-n+1 written and synced (header, snapshot of the draft)
 *           directory synced: its name is durable
 *           CURRENT replaced (current.h): from here on it holds
 *           MANIFEST-n removed, as well as possible
 */
#include "version/version_set.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "version/names.h"
#include "version/version_set_internal.h"

enum { SNAPSHOT_TABLES_PER_RECORD = 1024 };

/* State that is to be: what apply makes durable before it is installed. */
struct draft {
    struct version *version; /* counted */
    struct log_state logs;
    struct version_step *steps; /* owned */
    size_t step_count;
};

/* ---- drafts -------------------------------------------------------------- */

static void draft_deinit(struct draft *d)
{
    for (size_t i = 0; i < d->step_count; i++)
        version_step_deinit(&d->steps[i]);
    mem_free(d->steps);
    log_state_deinit(&d->logs);
    version_unref(d->version);
    *d = (struct draft){0};
}

static adb_status draft_apply(struct draft *d, const struct version_edit *e,
                              struct table_owner *owner)
{
    adb_status status = log_state_apply(&d->logs, e);
    if (status != ADB_OK || !version_edit_changes_tables(e))
        return status;
    struct version_step *step = &d->steps[d->step_count];
    status = version_build(d->version, e, owner, step);
    if (status != ADB_OK)
        return status;
    d->step_count++;
    version_unref(d->version);
    d->version = version_ref(step->next);
    return ADB_OK;
}

/* d is zeroed before; deinit it also after a failure. */
static adb_status draft_make(struct version_set *s,
                             const struct version_edit *const *edits,
                             size_t count, struct draft *d)
{
    d->version = version_ref(s->current);
    adb_status status = log_state_copy(&s->logs, &d->logs);
    if (status != ADB_OK)
        return status;
    d->steps = mem_zalloc((count + 1) * sizeof *d->steps);
    if (!d->steps)
        return status_set(ADB_NO_MEMORY, "no memory for %zu edits", count);
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        status = draft_apply(d, edits[i], &s->owner);
    return status;
}

/* ---- counters ------------------------------------------------------------ */

static void raise_to(_Atomic uint64_t *counter, uint64_t least)
{
    uint64_t now = atomic_load(counter);
    while (now < least && !atomic_compare_exchange_weak(counter, &now, least))
        ;
}

static void raise_counters(struct version_set *s, const struct version_edit *e)
{
    raise_to(&s->next_file, e->next_file);
    raise_to(&s->next_run, e->next_run);
    for (size_t i = 0; i < e->added_count; i++) {
        raise_to(&s->next_file, e->added[i].info.number + 1);
        raise_to(&s->next_run, e->added[i].place.run + 1);
    }
    for (size_t i = 0; i < e->moved_count; i++)
        raise_to(&s->next_run, e->moved[i].to.run + 1);
    /* Records are bound to their segment's number: it is never used again. */
    for (size_t i = 0; i < e->segments_created_count; i++)
        raise_to(&s->next_file, e->segments_created[i] + 1);
}

uint64_t version_set_new_file(struct version_set *s)
{
    return atomic_fetch_add(&s->next_file, 1);
}

uint64_t version_set_next_file(struct version_set *s)
{
    return atomic_load(&s->next_file);
}

uint64_t version_set_new_run(struct version_set *s)
{
    return atomic_fetch_add(&s->next_run, 1);
}

/* ---- a new manifest ------------------------------------------------------ */

/* The first record of a snapshot: everything but tables. */
static adb_status write_logs(struct manifest_writer *w, struct version_set *s,
                             const struct log_state *logs)
{
    struct version_edit e = {.segments_created = logs->segments,
                             .segments_created_count = logs->count,
                             .next_file = atomic_load(&s->next_file),
                             .next_run = atomic_load(&s->next_run),
                             .last_seq = logs->last_seq,
                             .synced_through = logs->synced_through,
                             .segments_below = logs->segments_below,
                             .database = logs->database};
    struct wal_end *known = mem_alloc((logs->count + 1) * sizeof *known);
    if (!known)
        return status_set(ADB_NO_MEMORY, "no memory for a manifest");
    e.segment_ends = known;
    for (size_t i = 0; i < logs->count; i++)
        if (logs->ends[i].segment)
            known[e.segment_ends_count++] = logs->ends[i];
    const struct version_edit *edit = &e;
    adb_status status = manifest_writer_append(w, RECORD_EDIT, &edit, 1);
    mem_free(known);
    return status;
}

/* The tables of a run from *first on, at most a record's worth. */
static adb_status write_tables(struct manifest_writer *w,
                               const struct version_run *run, size_t *first,
                               struct edit_table *room)
{
    size_t count =
        MIN_OF(run->count - *first, (size_t)SNAPSHOT_TABLES_PER_RECORD);
    for (size_t i = 0; i < count; i++) {
        room[i].place = (struct table_place){run->level, run->run};
        room[i].info = run->tables[*first + i]->info; /* borrowed */
    }
    struct version_edit e = {.added = room, .added_count = count};
    const struct version_edit *edit = &e;
    *first += count;
    return manifest_writer_append(w, RECORD_EDIT, &edit, 1);
}

static adb_status write_quarantine(struct manifest_writer *w,
                                   const struct version *v)
{
    if (!v->quarantine)
        return ADB_OK;
    struct version_edit e = {.quarantined = v->quarantine->items, /* borrowed */
                             .quarantined_count = v->quarantine->count};
    const struct version_edit *edit = &e;
    return manifest_writer_append(w, RECORD_EDIT, &edit, 1);
}

static adb_status write_snapshot(struct manifest_writer *w,
                                 struct version_set *s, const struct draft *d)
{
    adb_status status = write_logs(w, s, &d->logs);
    struct edit_table *room =
        mem_alloc(SNAPSHOT_TABLES_PER_RECORD * sizeof *room);
    if (!room && status == ADB_OK)
        status = status_set(ADB_NO_MEMORY, "no memory for a manifest");
    for (size_t i = 0; i < d->version->run_count; i++) {
        const struct version_run *run = &d->version->runs[i];
        for (size_t first = 0; first < run->count && status == ADB_OK;)
            status = write_tables(w, run, &first, room);
    }
    mem_free(room);
    return status == ADB_OK ? write_quarantine(w, d->version) : status;
}

/* Removes what nothing points to any more; a leftover is for the sweep. */
static void remove_manifest(struct version_set *s, uint64_t number)
{
    char *path = manifest_path(s->options.directory, number);
    if (!path || env_unlink(s->options.env, path) != ADB_OK)
        status_clear();
    mem_free(path);
}

static void remove_stale(struct version_set *s)
{
    for (size_t i = 0; i < s->stale_count; i++)
        remove_manifest(s, s->stale[i]);
    s->stale_count = 0;
}

static void add_stale(struct version_set *s, uint64_t number)
{
    if (number && s->stale_count < MAX_STALE)
        s->stale[s->stale_count++] = number;
}

static adb_status write_manifest(struct version_set *s, const struct draft *d,
                                 struct manifest_writer *w, bool *maybe)
{
    struct env *env = s->options.env;
    const char *directory = s->options.directory;
    uint64_t number = version_set_new_file(s);
    adb_status status = manifest_writer_create(w, env, directory, number);
    if (status == ADB_OK)
        status = write_snapshot(w, s, d);
    if (status == ADB_OK)
        status = manifest_writer_sync(w);
    if (status == ADB_OK)
        status = env_sync_dir(env, directory);
    if (status != ADB_OK)
        return status;
    struct current c = {
        .manifest = number, .length = w->length, .checksum = w->checksum};
    return current_write(env, directory, &c, maybe);
}

/* Puts a new manifest with the draft's state in the present one's place. On
   failure *maybe tells whether it may come to hold after a crash; then the
   present one is dead all the same. */
static adb_status roll(struct version_set *s, const struct draft *d,
                       bool *maybe)
{
    struct manifest_writer w = {0};
    *maybe = false;
    adb_status status = write_manifest(s, d, &w, maybe);
    if (status != ADB_OK) {
        struct status_saved saved;
        status_save(&saved, status);
        bool made = w.file != NULL;
        uint64_t number = w.number;
        manifest_writer_deinit(&w);
        if (*maybe) {
            add_stale(s, number);
            s->manifest.poisoned = true;
        } else if (made) {
            remove_manifest(s, number);
        }
        return status_restore(&saved);
    }
    uint64_t replaced = s->manifest.number;
    manifest_writer_deinit(&s->manifest);
    s->manifest = w;
    s->snapshot_bytes = w.length;
    s->rolls += replaced != 0;
    add_stale(s, replaced);
    remove_stale(s);
    return ADB_OK;
}

/* ---- applying ------------------------------------------------------------ */

static bool roll_due(const struct version_set *s)
{
    return s->manifest.length > s->options.manifest_roll_bytes &&
           s->manifest.length > 4 * s->snapshot_bytes;
}

/* One durable record: edits, and the counters as they are now. *unknown: it
   failed, and the record may have reached the disk. */
static adb_status append(struct version_set *s, enum record_kind kind,
                         const struct version_edit *const *edits, size_t count,
                         bool *unknown)
{
    *unknown = false;
    const struct version_edit **list = mem_alloc(count * sizeof(void *));
    if (!list)
        return status_set(ADB_NO_MEMORY, "no memory for %zu edits", count);
    struct version_edit last = *edits[count - 1]; /* borrows all arrays */
    last.next_file = atomic_load(&s->next_file);
    last.next_run = atomic_load(&s->next_run);
    memcpy(list, edits, (count - 1) * sizeof(void *));
    list[count - 1] = &last;

    adb_status status = manifest_writer_append(&s->manifest, kind, list, count);
    /* A record that found no room is not whole and never will be. */
    *unknown = s->manifest.poisoned && status != ADB_NO_SPACE;
    if (status == ADB_OK) {
        status = manifest_writer_sync(&s->manifest);
        *unknown = status != ADB_OK;
    }
    mem_free(list);
    return status;
}

static adb_status make_durable(struct version_set *s, const struct draft *d,
                               const struct version_edit *const *edits,
                               size_t count)
{
    bool unknown = false, maybe;
    if (!s->manifest.poisoned && !roll_due(s)) {
        adb_status status = append(s, RECORD_EDIT, edits, count, &unknown);
        if (status == ADB_OK || !s->manifest.poisoned)
            return status;
    }
    adb_status status = roll(s, d, &maybe);
    if (status == ADB_OK)
        return ADB_OK;
    if (!s->manifest.poisoned) {
        /* It was due, not needed: the old manifest serves on. */
        status = append(s, RECORD_EDIT, edits, count, &unknown);
        if (status == ADB_OK || !s->manifest.poisoned)
            return status;
    }
    if (unknown || maybe)
        return status_context(ADB_UNKNOWN_OUTCOME,
                              "'%s': a change of the manifest may or may not "
                              "survive a crash",
                              s->options.directory);
    return status;
}

/* The durable draft becomes the state. Cannot fail. */
static void install(struct version_set *s, struct draft *d)
{
    for (size_t i = 0; i < d->step_count; i++)
        for (size_t j = 0; j < d->steps[i].dropped_count; j++) {
            atomic_store(&d->steps[i].dropped[j]->obsolete, true);
            s->tables_dropped = true;
        }
    log_state_deinit(&s->logs);
    s->logs = d->logs;
    d->logs = (struct log_state){0};

    mutex_lock(&s->lock);
    struct version *old = s->current;
    s->current = d->version;
    s->stats = (struct version_set_stats){
        s->manifest.number, s->manifest.length, s->edits, s->rolls};
    mutex_unlock(&s->lock);
    d->version = old; /* released with the draft */
    if (s->options.installed)
        s->options.installed(s->options.context, s->current);
}

static adb_status usable(const struct version_set *s)
{
    if (s->closed)
        return status_set(ADB_CLOSED, "'%s': the manifest is closed",
                          s->options.directory);
    assert(s->begun);
    return ADB_OK;
}

static void note_segments(struct version_set *s, const struct version_edit *e)
{
    if (e->segments_created_count && !s->first_new_segment)
        s->first_new_segment = e->segments_created[0];
}

static adb_status apply_locked(struct version_set *s,
                               const struct version_edit *const *edits,
                               size_t count)
{
    struct draft d = {0};
    adb_status status = usable(s);
    if (status == ADB_OK)
        status = draft_make(s, edits, count, &d);
    if (status == ADB_OK) {
        assert(version_check(d.version) == ADB_OK);
        for (size_t i = 0; i < count; i++)
            raise_counters(s, edits[i]);
        status = make_durable(s, &d, edits, count);
    }
    if (status == ADB_OK) {
        for (size_t i = 0; i < count; i++)
            note_segments(s, edits[i]);
        s->edits += count;
        install(s, &d);
    }
    draft_deinit(&d);
    return status;
}

adb_status version_set_apply(struct version_set *s,
                             struct version_edit *const *edits, size_t count)
{
    if (!count)
        return ADB_OK;
    mutex_lock(&s->apply_lock);
    adb_status status =
        apply_locked(s, (const struct version_edit *const *)edits, count);
    mutex_unlock(&s->apply_lock);
    return status;
}

struct version *version_set_current(struct version_set *s)
{
    mutex_lock(&s->lock);
    struct version *v = version_ref(s->current);
    mutex_unlock(&s->lock);
    return v;
}

size_t version_set_take_obsolete(struct version_set *s, uint64_t *numbers,
                                 size_t max)
{
    return table_owner_take_obsolete(&s->owner, numbers, max);
}

void version_set_stats(struct version_set *s, struct version_set_stats *out)
{
    mutex_lock(&s->lock);
    *out = s->stats;
    mutex_unlock(&s->lock);
}

/* ---- birth --------------------------------------------------------------- */

static adb_status set_new(const struct version_set_options *options,
                          struct version_set **out)
{
    struct version_set *s = mem_zalloc(sizeof *s);
    struct version *empty = version_new_empty();
    if (!s || !empty) {
        mem_free(s);
        version_unref(empty);
        return status_set(ADB_NO_MEMORY, "no memory for a version set");
    }
    s->options = *options;
    s->current = empty;
    atomic_init(&s->next_file, 1);
    atomic_init(&s->next_run, 1);
    mutex_init(&s->apply_lock);
    mutex_init(&s->lock);
    table_owner_init(&s->owner, options->tables);
    *out = s;
    return ADB_OK;
}

void version_set_free(struct version_set *s)
{
    if (!s)
        return;
    manifest_writer_deinit(&s->manifest);
    version_unref(s->current);
    log_state_deinit(&s->logs);
    table_owner_deinit(&s->owner);
    mutex_deinit(&s->apply_lock);
    mutex_deinit(&s->lock);
    mem_free(s);
}

static adb_status begin_locked(struct version_set *s,
                               const struct version_edit *edit)
{
    struct draft d = {0};
    bool maybe;
    assert(!s->begun && !s->closed);
    adb_status status = draft_make(s, &edit, edit ? 1 : 0, &d);
    if (status == ADB_OK) {
        if (edit)
            raise_counters(s, edit);
        s->sweep_below = atomic_load(&s->next_file);
        /* What earlier openings made is below, the log goes on above. */
        d.logs.segments_below = s->sweep_below;
        status = roll(s, &d, &maybe);
    }
    if (status == ADB_OK) {
        s->begun = true;
        install(s, &d);
        s->tables_dropped = false; /* nobody can hold them yet */
    }
    draft_deinit(&d);
    return status;
}

adb_status version_set_begin(struct version_set *s, struct version_edit *edit)
{
    mutex_lock(&s->apply_lock);
    adb_status status = begin_locked(s, edit);
    mutex_unlock(&s->apply_lock);
    return status;
}

/* A number that tells this database's files from those of others. */
static adb_status name_database(struct version_set *s)
{
    uint64_t number;
    struct env *env = s->options.env;
    adb_status status = env->ops->random(env, &number, sizeof number);
    if (status == ADB_OK)
        s->logs.database = (number & ((UINT64_C(1) << 59) - 1)) + 1;
    return status;
}

uint64_t version_set_database(struct version_set *s)
{
    /* The number never changes, but each edit replaces the state it is in. */
    mutex_lock(&s->apply_lock);
    uint64_t database = s->logs.database;
    mutex_unlock(&s->apply_lock);
    return database;
}

adb_status version_set_create(const struct version_set_options *options,
                              struct version_set **out)
{
    struct version_set *s;
    adb_status status = set_new(options, &s);
    if (status != ADB_OK)
        return status;
    raise_to(&s->next_run, options->first_run);
    status = version_set_skip_used_numbers(s);
    if (status == ADB_OK)
        status = name_database(s);
    if (status == ADB_OK)
        status = version_set_begin(s, NULL);
    if (status != ADB_OK) {
        version_set_free(s);
        return status;
    }
    *out = s;
    return ADB_OK;
}

/* ---- recovery ------------------------------------------------------------ */

static adb_status replay_visit(void *context, uint64_t offset,
                               const struct record *r,
                               const struct version_edit *edit)
{
    (void)offset, (void)r;
    return edit ? replay_apply(context, edit) : ADB_OK;
}

/* No CURRENT: say what that means. */
static adb_status current_missing(const struct version_set_options *options)
{
    adb_status status = version_set_probe(options->env, options->directory);
    if (status == ADB_OK || status == ADB_NOT_FOUND)
        return status_set(ADB_NOT_A_DATABASE,
                          "'%s' holds no database: the file CURRENT is not "
                          "there",
                          options->directory);
    return status;
}

static adb_status read_manifest(struct version_set *s, const char *path,
                                const struct current *c, struct replay *r,
                                struct manifest_end *end)
{
    adb_status status = manifest_read(s->options.env, path, c->manifest, c,
                                      replay_visit, r, end);
    if (status == ADB_NOT_FOUND)
        return status_set(ADB_CORRUPTION,
                          "'%s' is missing, CURRENT names it; restore the "
                          "directory from a backup or run 'albertdb repair'",
                          path);
    if (status != ADB_OK)
        return status;
    struct version *v;
    status = replay_version(r, &s->owner, &v);
    if (status == ADB_INVALID)
        return status_context(ADB_CORRUPTION,
                              "'%s' at offset %" PRIu64 ", as a whole (restore "
                              "the directory from a backup or run 'albertdb "
                              "repair')",
                              path, end->length);
    if (status != ADB_OK)
        return status;
    version_unref(s->current);
    s->current = v;
    return ADB_OK;
}

static adb_status recover(struct version_set *s, bool *closed)
{
    struct current c;
    struct replay r = {0};
    struct manifest_end end;
    adb_status status = current_read(s->options.env, s->options.directory, &c);
    if (status == ADB_NOT_FOUND)
        return current_missing(&s->options);
    if (status != ADB_OK)
        return status;
    char *path = manifest_path(s->options.directory, c.manifest);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    status = read_manifest(s, path, &c, &r, &end);
    if (status == ADB_OK) {
        s->logs = r.logs;
        r.logs = (struct log_state){0};
        raise_to(&s->next_file, MAX_OF(r.next_file, c.manifest + 1));
        raise_to(&s->next_run, r.next_run);
        s->edits = r.edits;
        s->stats =
            (struct version_set_stats){c.manifest, end.length, r.edits, 0};
        *closed = end.closed;
        status = version_set_check_tables(s);
    }
    if (status == ADB_OK)
        status = version_set_check_segments(s, path);
    if (status == ADB_OK)
        status = version_set_skip_used_numbers(s);
    replay_deinit(&r);
    mem_free(path);
    return status;
}

adb_status version_set_recover(const struct version_set_options *options,
                               struct version_set **out,
                               struct version_set_state *state)
{
    struct version_set *s;
    bool closed = false;
    adb_status status = set_new(options, &s);
    if (status != ADB_OK)
        return status;
    status = recover(s, &closed);
    if (status != ADB_OK) {
        version_set_free(s);
        return status;
    }
    *state =
        (struct version_set_state){.segments = s->logs.segments,
                                   .segment_count = s->logs.count,
                                   .segment_ends = s->logs.ends,
                                   .synced_through = s->logs.synced_through,
                                   .last_seq = s->logs.last_seq,
                                   .database = s->logs.database,
                                   .closed_cleanly = closed};
    *out = s;
    return ADB_OK;
}

/* ---- the clean close ----------------------------------------------------- */

/* The closing record, in a new manifest if the present one is dead. */
static adb_status append_close(struct version_set *s,
                               const struct version_edit *edit)
{
    adb_status status = ADB_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        bool unknown;
        if (s->manifest.poisoned) {
            struct draft now = {0};
            status = draft_make(s, NULL, 0, &now);
            if (status == ADB_OK)
                status = roll(s, &now, &unknown);
            draft_deinit(&now);
        }
        if (s->manifest.poisoned)
            return status;
        status = append(s, RECORD_CLOSE, &edit, 1, &unknown);
        if (status == ADB_OK || !s->manifest.poisoned)
            return status;
    }
    return status;
}

static adb_status close_locked(struct version_set *s,
                               const struct version_edit *edit)
{
    struct draft d = {0};
    adb_status status = usable(s);
    if (status != ADB_OK)
        return status;
    status = draft_make(s, &edit, 1, &d);
    if (status == ADB_OK)
        status = append_close(s, edit);
    draft_deinit(&d);
    s->closed = true;
    if (status != ADB_OK)
        return status;
    struct current c = {.closed = true,
                        .manifest = s->manifest.number,
                        .length = s->manifest.length,
                        .checksum = s->manifest.checksum};
    bool maybe;
    return current_write(s->options.env, s->options.directory, &c, &maybe);
}

adb_status version_set_close_cleanly(struct version_set *s,
                                     const struct wal_end *ends, size_t count,
                                     const struct watermark *synced_through,
                                     uint64_t last_seq)
{
    struct version_edit edit = {.last_seq = last_seq};
    if (synced_through)
        edit.synced_through = *synced_through;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        if (ends[i].segment)
            status = version_edit_end_segment(&edit, &ends[i]);
    mutex_lock(&s->apply_lock);
    if (status == ADB_OK)
        status = close_locked(s, &edit);
    mutex_unlock(&s->apply_lock);
    version_edit_deinit(&edit);
    return status;
}
