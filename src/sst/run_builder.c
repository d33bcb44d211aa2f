#include "sst/run_builder.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "kv/retention.h"

/* Bytes taken in between two looks at cancelled. */
enum { CHECK_BYTES = 64 * 1024 };
/* What an entry costs beside its bytes. */
enum { ENTRY_COST = 16 };

struct builder {
    const struct run_job *job;
    struct run_tables run;
    size_t capacity;           /* of run.tables */
    struct sst_writer *writer; /* NULL between tables */
    struct retention retention;
    struct buffer key;      /* the user key at hand */
    struct buffer previous; /* the one before it */
    struct buffer from;     /* the first after the last table; if any */
    uint64_t key_head;
    uint64_t last_seq;
    bool have_key;
    size_t next_cut;
    uint64_t taken, next_check; /* bytes */
};

static adb_status look_up(struct builder *b)
{
    const struct run_job *job = b->job;
    b->next_check = b->taken + CHECK_BYTES;
    if (job->progress)
        job->progress(job->context, b->taken);
    if (job->cancelled && job->cancelled(job->context))
        return status_set(ADB_CLOSED, "%s: building of tables was abandoned",
                          job->table.directory);
    return ADB_OK;
}

/* ---- tables ---- */

static adb_status begin_table(struct builder *b)
{
    struct sst_writer_options options = b->job->table;
    options.number = b->job->new_file(b->job->context);
    return sst_writer_open(&options, &b->writer);
}

/* From the first key that came behind the table before to the last that came
   for this one, kept or dropped: the tables share out the keys of the job. */
static struct table_lineage lineage_of(const struct builder *b, bool last)
{
    struct table_lineage l = b->job->lineage;
    if (l.settled && b->run.count)
        l.from = buffer_slice(&b->from);
    if (l.settled && !last)
        l.to = buffer_slice(&b->previous);
    return l;
}

static adb_status end_table(struct builder *b, bool last)
{
    /* Room first: a finished table must not be forgotten. */
    if (b->run.count == b->capacity) {
        size_t capacity = MAX_OF(b->capacity * 2, (size_t)8);
        struct table_info *tables =
            mem_realloc(b->run.tables, capacity * sizeof *tables);
        if (!tables)
            return status_set(ADB_NO_MEMORY, "no memory for %zu tables",
                              capacity);
        b->run.tables = tables;
        b->capacity = capacity;
    }
    struct table_info *info = &b->run.tables[b->run.count];
    struct sst_writer *writer = b->writer;
    struct table_lineage lineage = lineage_of(b, last);
    sst_writer_set_lineage(writer, &lineage);
    b->writer = NULL;
    memset(info, 0, sizeof *info);
    adb_status status = sst_writer_finish(writer, info);
    if (status != ADB_OK)
        return status;
    b->run.count++;
    b->run.bytes += info->size;
    return ADB_OK;
}

/* Must a table end before the user key at hand? */
static bool is_cut(struct builder *b)
{
    const struct run_job *job = b->job;
    bool cut = false;
    while (b->next_cut < job->cut_count &&
           slice_compare(buffer_slice(&b->key), job->cuts[b->next_cut]) >= 0) {
        b->next_cut++;
        cut = true;
    }
    return b->writer &&
           (cut || (job->max_table_bytes &&
                    sst_writer_size(b->writer) >= job->max_table_bytes));
}

/* ---- entries ---- */

static adb_status disorder(const struct kv_iter *entry)
{
    char key[64];
    return status_set(ADB_CORRUPTION,
                      "entries to merge are out of order at key \"%s\", "
                      "sequence %llu",
                      slice_print(entry->key, key, sizeof key),
                      (unsigned long long)entry->seq);
}

static adb_status cut_table(struct builder *b)
{
    adb_status status = end_table(b, false);
    buffer_clear(&b->from);
    return status == ADB_OK
               ? buffer_append(&b->from, b->key.data, b->key.size)
               : status;
}

static adb_status begin_key(struct builder *b, const struct kv_iter *entry)
{
    struct buffer swap = b->previous;
    b->previous = b->key;
    b->key = swap;
    buffer_clear(&b->key);
    adb_status status =
        buffer_append(&b->key, entry->key.data, entry->key.size);
    if (status != ADB_OK)
        return status;
    b->key_head = entry->head;
    b->have_key = true;
    retention_new_key(&b->retention);
    return is_cut(b) ? cut_table(b) : ADB_OK;
}

/* Notices the next user key, and entries that do not ascend. */
static adb_status follow_order(struct builder *b, const struct kv_iter *entry)
{
    if (!b->have_key || entry->head > b->key_head)
        return begin_key(b, entry);
    int order = slice_compare(entry->key, buffer_slice(&b->key));
    if (order > 0)
        return begin_key(b, entry);
    return order < 0 || entry->seq > b->last_seq ? disorder(entry) : ADB_OK;
}

static adb_status keep(struct builder *b, struct kv_iter *entry)
{
    if (!b->writer) {
        adb_status status = begin_table(b);
        if (status != ADB_OK)
            return status;
    }
    /* The source's own field: it gets its value back. */
    uint64_t seq = entry->seq;
    if (retention_settled(&b->retention, seq))
        entry->seq = 0;
    adb_status status = sst_writer_add(b->writer, entry);
    entry->seq = seq;
    b->run.entries_out++;
    return status;
}

static adb_status take(struct builder *b, struct kv_iter *entry)
{
    adb_status status;
    b->run.entries_in++;
    b->taken += entry->key.size + entry->value.size + ENTRY_COST;
    if (unlikely(b->taken >= b->next_check)) {
        status = look_up(b);
        if (status != ADB_OK)
            return status;
    }
    status = follow_order(b, entry);
    if (status != ADB_OK)
        return status;
    b->last_seq = entry->seq;
    switch (retention_check(&b->retention, entry->seq, entry->kind)) {
    case RETENTION_KEEP:
        return keep(b, entry);
    case RETENTION_SHADOWED:
        b->run.shadowed++;
        return ADB_OK;
    case RETENTION_TOMBSTONE:
        b->run.tombstones++;
        return ADB_OK;
    }
    return ADB_OK;
}

static adb_status take_all(struct builder *b)
{
    struct kv_iter *source = b->job->source;
    adb_status status = look_up(b);
    if (status == ADB_OK)
        source->ops->seek_first(source);
    while (status == ADB_OK && source->valid) {
        status = take(b, source);
        if (status == ADB_OK)
            source->ops->next(source);
    }
    /* An end that is a failure must not cut the run short. */
    if (status == ADB_OK)
        status = kv_iter_status(source);
    if (status == ADB_OK && b->writer)
        status = end_table(b, true);
    if (status == ADB_OK && b->run.count)
        status = env_sync_dir(b->job->table.env, b->job->table.directory);
    return status;
}

adb_status run_build(const struct run_job *job, struct run_tables *out)
{
    struct builder b = {.job = job};
    assert(job->source && job->new_file);
    retention_init(&b.retention, job->snapshots, job->snapshot_count,
                   job->bottom);
    adb_status status = take_all(&b);
    buffer_deinit(&b.key);
    buffer_deinit(&b.previous);
    buffer_deinit(&b.from);
    if (status == ADB_OK) {
        assert(!b.writer);
        *out = b.run;
        return ADB_OK;
    }
    struct status_saved saved;
    status_save(&saved, status);
    sst_writer_abandon(b.writer);
    run_tables_remove(job, &b.run);
    run_tables_deinit(&b.run);
    return status_restore(&saved);
}

void run_tables_remove(const struct run_job *job, const struct run_tables *run)
{
    struct status_saved saved;
    status_save(&saved, ADB_OK);
    for (size_t i = 0; i < run->count; i++) {
        char *path =
            sst_path(job->table.directory, run->tables[i].number);
        /* What stays is swept away at the next opening. */
        if (path)
            (void)env_unlink(job->table.env, path);
        mem_free(path);
    }
    status_restore(&saved);
}

void run_tables_deinit(struct run_tables *run)
{
    for (size_t i = 0; i < run->count; i++)
        table_info_deinit(&run->tables[i]);
    mem_free(run->tables);
    memset(run, 0, sizeof *run);
}
