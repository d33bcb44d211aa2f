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
    struct buffer key;  /* the user key at hand */
    struct buffer from; /* the first of this table, if there was another */
    uint64_t *except;   /* owned; of the lineage at hand */
    uint64_t key_head;
    uint64_t last_seq;
    bool have_key;
    bool cut; /* the table ends before the next entry that is kept: ended at
                 once it might be the last, and lineage be left over */
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
    if (!options.number)
        return status_set(ADB_NO_MEMORY, "%s: no memory for a table's number",
                          options.directory);
    return sst_writer_open(&options, &b->writer);
}

/* Which of the others have keys of its range. */
static adb_status find_others(struct builder *b, struct table_lineage *l)
{
    const struct run_job *job = b->job;
    mem_free(b->except);
    b->except = mem_alloc((job->other_count + 1) * sizeof *b->except);
    if (!b->except)
        return status_set(ADB_NO_MEMORY, "no memory for a table's lineage");
    l->except = b->except;
    l->except_count = 0;
    for (size_t i = 0; i < job->other_count; i++) {
        const struct run_other *o = &job->others[i];
        if (o->anywhere || table_lineage_overlaps(l, o->smallest, o->largest))
            b->except[l->except_count++] = o->number;
    }
    return ADB_OK;
}

/* From the first key that was kept behind the table before up to the one at
   hand, or to the end: so that the tables share out the range. */
static adb_status set_lineage(struct builder *b, bool last)
{
    struct table_lineage l = b->job->lineage;
    adb_slice key = buffer_slice(&b->key);
    adb_status status = ADB_OK;
    if (l.below && b->run.count &&
        slice_compare(buffer_slice(&b->from), l.from) > 0)
        l.from = buffer_slice(&b->from);
    if (l.below && !last && table_lineage_before(key, l.before))
        l.before = key;
    if (l.below && !table_lineage_before(l.from, l.before))
        l = (struct table_lineage){.through = l.through}; /* no part of it */
    if (l.below)
        status = find_others(b, &l);
    if (status == ADB_OK)
        sst_writer_set_lineage(b->writer, &l);
    return status;
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
    adb_status status = set_lineage(b, last);
    if (status != ADB_OK)
        return status;
    b->writer = NULL;
    memset(info, 0, sizeof *info);
    status = sst_writer_finish(writer, info);
    if (status != ADB_OK)
        return status;
    b->run.count++;
    b->run.bytes += info->size;
    return ADB_OK;
}

/* Must the table end before the user key at hand? */
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
    b->cut = false;
    buffer_clear(&b->from);
    return status == ADB_OK
               ? buffer_append(&b->from, b->key.data, b->key.size)
               : status;
}

static adb_status begin_key(struct builder *b, const struct kv_iter *entry)
{
    buffer_clear(&b->key);
    adb_status status =
        buffer_append(&b->key, entry->key.data, entry->key.size);
    if (status != ADB_OK)
        return status;
    b->key_head = entry->head;
    b->have_key = true;
    retention_new_key(&b->retention);
    b->cut |= is_cut(b);
    return ADB_OK;
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
    if (b->cut) {
        adb_status status = cut_table(b);
        if (status != ADB_OK)
            return status;
    }
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

/* Nothing survives: every key ended in a tombstone, the one at hand too. */
static adb_status leave_tombstone(struct builder *b)
{
    struct kv_iter last = {.valid = true,
                           .kind = KV_DELETE,
                           .seq = b->retention.last_kept_seq,
                           .head = b->key_head,
                           .key = buffer_slice(&b->key),
                           .value = slice_of("", 0)};
    adb_status status = begin_table(b);
    if (status == ADB_OK)
        status = sst_writer_add(b->writer, &last);
    b->run.entries_out++;
    b->run.tombstones--;
    return status;
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
    if (status == ADB_OK && b->have_key && !b->run.entries_out &&
        b->job->lineage.below)
        status = leave_tombstone(b);
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
    buffer_deinit(&b.from);
    mem_free(b.except);
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
