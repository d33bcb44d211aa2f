/*
 * What is in the directory, and what CURRENT and the manifests say of it.
 *
 * A manifest is believed as a whole if CURRENT is whole, names it and agrees
 * with it, and nothing in the directory shows that its end is missing: a log
 * segment made later, a table that speaks of later flushes, or files gone and
 * tables there that it does not name. Else only what single records say is
 * taken: which tables and segments were added and removed. That may be the
 * manifest of another database; then tables and segments contradict it, and it
 * is not heard at all.
 */
#include "repair/repair_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sst/format.h"
#include "version/names.h"
#include "wal/wal_reader.h"

/* ---- numbers ------------------------------------------------------------ */

adb_status numbers_add(struct numbers *n, uint64_t number)
{
    if (n->count == n->capacity) {
        size_t capacity = MAX_OF(2 * n->capacity, (size_t)16);
        uint64_t *more = mem_realloc(n->items, capacity * sizeof *more);
        if (!more)
            return status_set(ADB_NO_MEMORY, "no memory for file numbers");
        n->items = more;
        n->capacity = capacity;
    }
    n->items[n->count++] = number;
    return ADB_OK;
}

bool numbers_have(const struct numbers *n, uint64_t number)
{
    for (size_t i = 0; i < n->count; i++)
        if (n->items[i] == number)
            return true;
    return false;
}

static int number_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void numbers_sort(struct numbers *n)
{
    if (n->count)
        qsort(n->items, n->count, sizeof *n->items, number_order);
}

void numbers_deinit(struct numbers *n)
{
    mem_free(n->items);
    *n = (struct numbers){0};
}

/* ---- the directory ------------------------------------------------------ */

static adb_status take_name(void *context, const char *name)
{
    struct repair *r = context;
    uint64_t number = 0;
    enum name_kind kind = name_parse(name, &number);
    r->next_file = MAX_OF(r->next_file, number + 1);
    switch (kind) {
    case NAME_TABLE:
        return numbers_add(&r->tables, number);
    case NAME_LOG:
        return numbers_add(&r->logs, number);
    case NAME_MANIFEST:
        return numbers_add(&r->manifests, number);
    case NAME_CURRENT:
        r->has_current = true;
        return ADB_OK;
    case NAME_FOREIGN:
    case NAME_LOCK:
    case NAME_REPAIR:
    case NAME_TEMPORARY:
        break;
    }
    return ADB_OK;
}

/* What earlier repairs put away keeps its numbers. */
static adb_status take_lost_name(void *context, const char *name)
{
    struct repair *r = context;
    uint64_t number = strtoull(name, NULL, 10);
    r->next_file = MAX_OF(r->next_file, number + 1);
    return ADB_OK;
}

static adb_status list_lost(struct repair *r)
{
    struct env_stat st;
    char *lost = env_join(r->path, REPAIR_LOST_NAME);
    if (!lost)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    adb_status status = env_stat(r->env, lost, &st);
    if (status == ADB_OK && st.kind == ENV_KIND_DIRECTORY)
        status = env_list_dir(r->env, lost, take_lost_name, r);
    mem_free(lost);
    return status;
}

static adb_status add_sizes(struct repair *r)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->tables.count && status == ADB_OK; i++) {
        struct env_stat st;
        char *path = sst_path(r->path, r->tables.items[i]);
        if (!path)
            return status_set(ADB_NO_MEMORY, "no memory for a path");
        status = env_stat(r->env, path, &st);
        r->total += status == ADB_OK ? st.size : 0;
        mem_free(path);
    }
    return status;
}

/* ---- the manifest as a whole -------------------------------------------- */

static adb_status replay_visit(void *context, uint64_t offset,
                               const struct record *record,
                               const struct version_edit *edit)
{
    (void)offset, (void)record;
    return edit ? replay_apply(context, edit) : ADB_OK;
}

/* Does what it adds up to hold together? */
static adb_status check_replay(struct repair *r)
{
    struct table_owner owner;
    struct version *v = NULL;
    table_owner_init(&owner, &r->here);
    adb_status status = replay_version(&r->replay, &owner, &v);
    version_unref(v);
    table_owner_deinit(&owner);
    return status == ADB_INVALID ? ADB_CORRUPTION : status;
}

/* A segment that was made behind the manifest's end: see version_files.c. */
static adb_status check_segments(struct repair *r)
{
    struct wal_reader reader = {.skip_unreadable = r->request->skip_unreadable};
    const struct log_state *logs = &r->replay.logs;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->logs.count && status == ADB_OK; i++) {
        uint64_t number = r->logs.items[i];
        bool exists, valid = false;
        struct record header;
        if (!logs->segments_below || number < logs->segments_below)
            continue;
        status = wal_reader_open(&reader, r->env, r->path, number, &exists);
        if (status == ADB_OK && exists)
            status = wal_reader_record(&reader, 0, &valid, &header);
        if (status == ADB_OK && valid)
            status = status_set(ADB_CORRUPTION,
                                "the end of the manifest is missing: log "
                                "segment %" PRIu64 " was made after it",
                                number);
    }
    wal_reader_deinit(&reader);
    return status;
}

static bool is_live(const struct repair *r, uint64_t number)
{
    for (size_t i = 0; i < r->replay.count; i++)
        if (r->replay.tables[i].info.number == number)
            return true;
    return false;
}

/* What tables that the manifest does not name say of it. */
struct unnamed {
    bool any;
    bool later;    /* one holds writes of which the manifest does not say that
                      they are in tables */
    uint64_t ahead; /* one says that such writes are in tables: its number */
};

/* A table that does not open was never finished, for all that is known. */
static adb_status look_at_unnamed(struct repair *r, uint64_t number,
                                  struct unnamed *u)
{
    struct table_info info = {.number = number};
    uint64_t flushed = r->replay.logs.last_seq;
    struct sst_reader *reader;
    adb_status status = sst_reader_open(&r->here, &info, &reader);
    u->any = true;
    if (status != ADB_OK)
        return repair_can_pass(r, status) ? ADB_OK : status;
    sst_reader_describe(reader, &info);
    uint64_t through = sst_reader_lineage(reader)->through;
    u->later |= MAX_OF(through, info.max_seq) > flushed;
    if (through > flushed)
        u->ahead = number;
    sst_reader_unref(reader);
    return ADB_OK;
}

/* Has a segment that is there no header of its own? So it is with one that is
   kept to be used again. */
static adb_status find_headless(struct repair *r, bool *any)
{
    struct wal_reader reader = {.skip_unreadable = r->request->skip_unreadable};
    const struct log_state *logs = &r->replay.logs;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < logs->count && status == ADB_OK; i++) {
        bool exists, valid = false;
        struct record header;
        status = wal_reader_open(&reader, r->env, r->path, logs->segments[i],
                                 &exists);
        if (status == ADB_OK && exists)
            status = wal_reader_record(&reader, 0, &valid, &header);
        *any |= status == ADB_OK && exists && !valid;
    }
    wal_reader_deinit(&reader);
    return status;
}

/* Files that the manifest names are gone, or used up, and tables are there that
   it does not name: both by records that are missing. */
static adb_status check_files(struct repair *r)
{
    const struct log_state *logs = &r->replay.logs;
    bool missing = false, headless = false;
    struct unnamed u = {.any = false};
    adb_status status = ADB_OK;
    for (size_t i = 0; i < r->replay.count; i++)
        missing |=
            !numbers_have(&r->tables, r->replay.tables[i].info.number);
    for (size_t i = 0; i < logs->count; i++)
        missing |= !numbers_have(&r->logs, logs->segments[i]);
    for (size_t i = 0; i < r->tables.count && status == ADB_OK; i++)
        if (!is_live(r, r->tables.items[i]))
            status = look_at_unnamed(r, r->tables.items[i], &u);
    if (status == ADB_OK && u.later)
        status = find_headless(r, &headless);
    if (status != ADB_OK)
        return status;
    if (u.ahead)
        return status_set(ADB_CORRUPTION,
                          "the end of the manifest is missing: table %" PRIu64
                          " was made after it",
                          u.ahead);
    if ((!missing || !u.any) && !headless)
        return ADB_OK;
    return status_set(ADB_CORRUPTION,
                      "the end of the manifest is missing: files that it "
                      "names are gone, and others are there");
}

static adb_status read_manifest(struct repair *r, const char *path,
                                const struct current *c)
{
    struct manifest_end end;
    adb_status status = manifest_read(r->env, path, c->manifest, c,
                                      replay_visit, &r->replay, &end);
    if (status == ADB_NOT_FOUND)
        return status_set(ADB_CORRUPTION, "'%s' is missing", path);
    if (status == ADB_OK)
        status = check_replay(r);
    if (status == ADB_OK)
        status = check_segments(r);
    if (status == ADB_OK)
        status = check_files(r);
    if (status == ADB_OK)
        r->manifest_closed = end.closed;
    return status;
}

/* ADB_CORRUPTION has been told. */
static adb_status read_whole(struct repair *r)
{
    struct current c = {0};
    char *current = env_join(r->path, NAME_CURRENT_TEXT);
    char *path = NULL;
    adb_slice none = slice_of(NULL, 0);
    adb_status status =
        current ? current_read(r->env, r->path, &c)
                : status_set(ADB_NO_MEMORY, "no memory for a path");
    if (status == ADB_NOT_FOUND)
        status = status_set(ADB_CORRUPTION, "'%s' is missing", current);
    if (repair_can_pass(r, status))
        repair_tell(r, status, current, 0, 0, none, none);
    if (status == ADB_OK) {
        path = manifest_path(r->path, c.manifest);
        status = path ? read_manifest(r, path, &c)
                      : status_set(ADB_NO_MEMORY, "no memory for a path");
        if (repair_can_pass(r, status))
            repair_tell(r, status, path, 0, 0, none, none);
    }
    r->manifest = c.manifest;
    r->manifest_whole = status == ADB_OK;
    mem_free(path);
    mem_free(current);
    return status;
}

/* ---- facts -------------------------------------------------------------- */

void facts_deinit(struct facts *f)
{
    for (size_t i = 0; i < f->table_count; i++)
        table_info_deinit(&f->tables[i].info);
    mem_free(f->tables);
    mem_free(f->ends);
    numbers_deinit(&f->removed);
    numbers_deinit(&f->segments);
    numbers_deinit(&f->segments_removed);
    *f = (struct facts){0};
}

const struct table_info *facts_table(const struct facts *f, uint64_t number)
{
    for (size_t i = 0; i < f->table_count; i++)
        if (f->tables[i].info.number == number)
            return &f->tables[i].info;
    return NULL;
}

static adb_status add_table(struct facts *f, const struct edit_table *t)
{
    if (facts_table(f, t->info.number))
        return ADB_OK; /* of an older manifest, or of a snapshot */
    struct edit_table *more =
        mem_realloc(f->tables, (f->table_count + 1) * sizeof *more);
    if (!more)
        return status_set(ADB_NO_MEMORY, "no memory for tables");
    f->tables = more;
    more[f->table_count].place = t->place;
    adb_status status =
        table_info_copy(&t->info, &more[f->table_count].info);
    if (status == ADB_OK)
        f->table_count++;
    return status;
}

static adb_status add_end(struct facts *f, const struct wal_end *end)
{
    struct wal_end *more =
        mem_realloc(f->ends, (f->end_count + 1) * sizeof *more);
    if (!more)
        return status_set(ADB_NO_MEMORY, "no memory for log segments");
    f->ends = more;
    more[f->end_count++] = *end;
    return ADB_OK;
}

static adb_status add_all(struct numbers *to, const uint64_t *numbers,
                          size_t count)
{
    adb_status status = ADB_OK;
    for (size_t i = 0; i < count && status == ADB_OK; i++)
        if (!numbers_have(to, numbers[i]))
            status = numbers_add(to, numbers[i]);
    return status;
}

static adb_status facts_visit(void *context, uint64_t offset,
                              const struct record *record,
                              const struct version_edit *e)
{
    struct facts *f = context;
    adb_status status = ADB_OK;
    (void)offset, (void)record;
    if (!e)
        return ADB_OK;
    for (size_t i = 0; i < e->added_count && status == ADB_OK; i++)
        status = add_table(f, &e->added[i]);
    for (size_t i = 0; i < e->segment_ends_count && status == ADB_OK; i++)
        status = add_end(f, &e->segment_ends[i]);
    if (status == ADB_OK)
        status = add_all(&f->removed, e->removed, e->removed_count);
    if (status == ADB_OK)
        status = add_all(&f->segments, e->segments_created,
                         e->segments_created_count);
    if (status == ADB_OK)
        status = add_all(&f->segments_removed, e->segments_removed,
                         e->segments_removed_count);
    if (watermark_after(&e->synced_through, &f->synced_through))
        f->synced_through = e->synced_through;
    f->next_file = MAX_OF(f->next_file, e->next_file);
    f->last_seq = MAX_OF(f->last_seq, e->last_seq);
    f->database = e->database ? e->database : f->database;
    return status;
}

/* ---- are they ours? ----------------------------------------------------- */

static adb_status read_footer(struct repair *r, const char *path,
                              uint64_t number, struct sst_footer *out)
{
    struct env_file *file;
    uint8_t bytes[SST_FOOTER_SIZE];
    uint64_t size = 0;
    adb_status status = env_open(r->env, path, ENV_READ, &file);
    if (status != ADB_OK)
        return status;
    status = env_file_size(file, &size);
    if (status == ADB_OK && size < sizeof bytes)
        status = status_set(ADB_CORRUPTION, "'%s' is cut short", path);
    if (status == ADB_OK)
        status = env_file_read_full(file, size - sizeof bytes, bytes,
                                    sizeof bytes);
    if (status == ADB_OK)
        status = sst_footer_decode(bytes, number, size, path, out);
    struct status_saved saved;
    status_save(&saved, status);
    if (env_file_close(file) != ADB_OK)
        status_clear(); /* was only read */
    return status_restore(&saved);
}

/* Is the file the one that the manifest speaks of? Adds 1 for yes, -1 for no, 0
   if it cannot be told. What cannot be read now ends the repair: the verdict on
   a whole manifest must not hang on it. */
static adb_status weigh_table(struct repair *r, const struct table_info *info,
                              int *balance)
{
    struct sst_footer footer;
    if (!numbers_have(&r->tables, info->number))
        return ADB_OK;
    char *path = sst_path(r->path, info->number);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    adb_status status = read_footer(r, path, info->number, &footer);
    mem_free(path);
    if (status != ADB_OK)
        return repair_can_pass(r, status) || status == ADB_UNSUPPORTED
                   ? ADB_OK
                   : status;
    *balance += footer.file_checksum == info->checksum ? 1 : -1;
    return ADB_OK;
}

/* The database that a segment's header names; 0: none. */
static uint64_t header_database(const struct record *header)
{
    const uint8_t *p = header->payload.data;
    const uint8_t *end = p + header->payload.size;
    uint64_t database = 0, ignored;
    for (int i = 0; i < 5 && p; i++) /* up to the previous length */
        p = get_varint(p, end, &ignored);
    if (p && end - p > 8)
        p = get_varint(p + 8, end, &ignored);
    if (p && p < end)
        get_varint(p, end, &database);
    return database;
}

static adb_status weigh_segment(struct repair *r, uint64_t number,
                                uint64_t expected, int *balance)
{
    struct wal_reader reader = {.skip_unreadable = r->request->skip_unreadable};
    struct record header;
    bool exists, valid = false;
    uint64_t database = 0;
    adb_status status =
        wal_reader_open(&reader, r->env, r->path, number, &exists);
    if (status == ADB_OK && exists)
        status = wal_reader_record(&reader, 0, &valid, &header);
    if (status == ADB_OK && valid && header.kind == RECORD_SEGMENT_HEADER)
        database = header_database(&header);
    wal_reader_deinit(&reader);
    if (database)
        *balance += database == expected ? 1 : -1;
    return repair_can_pass(r, status) ? ADB_OK : status;
}

/* More of what is there contradicts the facts than bears them out. */
static adb_status check_owner(struct repair *r, const struct facts *f,
                              bool *foreign)
{
    int balance = 0;
    adb_status status = ADB_OK;
    for (size_t i = 0; i < f->table_count && status == ADB_OK; i++)
        if (!numbers_have(&f->removed, f->tables[i].info.number))
            status = weigh_table(r, &f->tables[i].info, &balance);
    for (size_t i = 0; i < r->logs.count && f->database && status == ADB_OK;
         i++)
        status = weigh_segment(r, r->logs.items[i], f->database, &balance);
    *foreign = balance < 0;
    return status;
}

static adb_status read_facts_of(struct repair *r, uint64_t number)
{
    struct facts f = {0};
    bool damaged, foreign = false;
    char *path = manifest_path(r->path, number);
    if (!path)
        return status_set(ADB_NO_MEMORY, "no memory for a path");
    adb_status status = manifest_salvage(r->env, path, number, facts_visit,
                                         &f, &damaged);
    if (status == ADB_OK)
        status = check_owner(r, &f, &foreign);
    if (status == ADB_OK && foreign) {
        repair_note(r, path, "'%s' is of another database", path);
        facts_deinit(&f);
    } else if (status == ADB_OK && !r->facts.table_count &&
               !r->facts.segments.count) {
        r->facts = f;
        f = (struct facts){0};
    } else if (status == ADB_OK) {
        /* An older one, which a crash left: the newer says it all. */
    }
    facts_deinit(&f);
    mem_free(path);
    return repair_can_pass(r, status) ? ADB_OK : status;
}

/* From the newest manifest that says anything. */
static adb_status read_facts(struct repair *r)
{
    adb_status status = ADB_OK;
    for (size_t i = r->manifests.count; i-- > 0 && status == ADB_OK;)
        status = read_facts_of(r, r->manifests.items[i]);
    return status;
}

/* ---- all of it ---------------------------------------------------------- */

adb_status repair_survey(struct repair *r)
{
    adb_status status = env_list_dir(r->env, r->path, take_name, r);
    if (status == ADB_OK)
        status = list_lost(r);
    if (status == ADB_OK)
        status = add_sizes(r);
    if (status != ADB_OK)
        return status;
    numbers_sort(&r->tables);
    numbers_sort(&r->logs);
    numbers_sort(&r->manifests);
    status = read_whole(r);
    if (status == ADB_OK) {
        r->next_file = MAX_OF(r->next_file, r->replay.next_file);
        r->next_run = r->replay.next_run;
        r->last_seq = r->replay.logs.last_seq;
        return ADB_OK;
    }
    if (!repair_can_pass(r, status))
        return status;
    replay_deinit(&r->replay);
    status = read_facts(r);
    r->next_file = MAX_OF(r->next_file, r->facts.next_file);
    r->last_seq = r->facts.last_seq;
    return status;
}
