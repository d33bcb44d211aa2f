#include "compaction/input_iter.h"

#include <assert.h>

#include "base/alloc.h"
#include "iter/entry.h"

struct input_iter {
    struct kv_iter base;
    struct version_table *const *tables; /* borrowed */
    size_t count;
    size_t next;           /* index of the table to open next */
    struct kv_iter *table; /* owned; NULL: none open */
};

static struct input_iter *input_of(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct input_iter, base);
}

static adb_status open_next(struct input_iter *in)
{
    struct version_table *table = in->tables[in->next];
    struct sst_reader *reader;
    kv_iter_close(in->table);
    in->table = NULL;
    adb_status status = version_table_reader(table, &reader);
    if (status != ADB_OK)
        return status;
    in->table = sst_iter_new(reader, SST_NO_FILL);
    if (!in->table)
        return status_set(ADB_NO_MEMORY, "no memory to read table %llu",
                          (unsigned long long)table->info.number);
    in->next++;
    kv_iter_set_origin(in->table, in->base.origin);
    in->table->ops->seek_first(in->table);
    return ADB_OK;
}

/* To the first entry at or behind the open table's place. */
static void settle(struct input_iter *in)
{
    while (!in->table || !in->table->valid) {
        adb_status status = in->table ? kv_iter_status(in->table) : ADB_OK;
        if (status == ADB_OK && in->next == in->count) {
            kv_iter_end(&in->base);
            return;
        }
        if (status == ADB_OK)
            status = open_next(in);
        if (status != ADB_OK) {
            kv_iter_fail(&in->base, status);
            return;
        }
    }
    iter_copy_entry(&in->base, in->table);
}

static void input_seek_first(struct kv_iter *it)
{
    struct input_iter *in = input_of(it);
    kv_iter_close(in->table);
    in->table = NULL;
    in->next = 0;
    it->status = ADB_OK;
    settle(in);
}

static void input_next(struct kv_iter *it)
{
    struct input_iter *in = input_of(it);
    assert(it->valid);
    in->table->ops->next(in->table);
    if (likely(in->table->valid))
        iter_copy_entry(it, in->table);
    else
        settle(in);
}

static adb_status input_load(struct kv_iter *it)
{
    struct input_iter *in = input_of(it);
    adb_status status = kv_iter_load(in->table);
    if (status == ADB_OK)
        it->value = in->table->value;
    return status;
}

static adb_status input_read_value(struct kv_iter *it, uint64_t offset,
                                   void *data, size_t size)
{
    struct kv_iter *table = input_of(it)->table;
    return table->ops->read_value(table, offset, data, size);
}

static void input_close(struct kv_iter *it)
{
    struct input_iter *in = input_of(it);
    kv_iter_close(in->table);
    mem_free(it->error);
    mem_free(in);
}

struct kv_iter *input_iter_new(struct version_table *const *tables,
                               size_t count)
{
    static const struct kv_iter_ops ops = {
        .seek_first = input_seek_first,
        .next = input_next,
        .load = input_load,
        .read_value = input_read_value,
        .close = input_close,
    };
    struct input_iter *in = mem_zalloc(sizeof *in);
    if (!in)
        return NULL;
    in->base.ops = &ops;
    in->tables = tables;
    in->count = count;
    return &in->base;
}
