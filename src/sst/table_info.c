#include "sst/table_info.h"

#include "base/alloc.h"

static adb_status copy_key(adb_slice in, adb_slice *out)
{
    /* One byte at least, so that an empty key has an address too. */
    void *data = mem_alloc(in.size + 1);
    if (!data)
        return status_set(ADB_NO_MEMORY, "no memory for a table's keys");
    if (in.size)
        memcpy(data, in.data, in.size);
    *out = slice_of(data, in.size);
    return ADB_OK;
}

adb_status table_info_copy(const struct table_info *in, struct table_info *out)
{
    struct table_info copy = *in;
    adb_status status = copy_key(in->smallest, &copy.smallest);
    if (status != ADB_OK)
        return status;
    status = copy_key(in->largest, &copy.largest);
    if (status != ADB_OK) {
        mem_free((void *)copy.smallest.data);
        return status;
    }
    *out = copy;
    return ADB_OK;
}

void table_info_deinit(struct table_info *info)
{
    mem_free((void *)info->smallest.data);
    mem_free((void *)info->largest.data);
    *info = (struct table_info){.number = 0};
}

/* ---- lineage ---- */

adb_status table_lineage_copy(const struct table_lineage *in,
                              struct table_lineage *out)
{
    struct table_lineage copy = *in;
    if (!in->below) {
        *out = (struct table_lineage){.through = in->through};
        return ADB_OK;
    }
    size_t numbers = in->except_count * sizeof *in->except;
    uint8_t *data = mem_alloc(numbers + in->from.size + in->before.size + 1);
    if (!data)
        return status_set(ADB_NO_MEMORY, "no memory for a table's lineage");
    uint8_t *from = data + numbers, *before = from + in->from.size;
    if (numbers)
        memcpy(data, in->except, numbers);
    if (in->from.size)
        memcpy(from, in->from.data, in->from.size);
    if (in->before.size)
        memcpy(before, in->before.data, in->before.size);
    copy.except = (const uint64_t *)(const void *)data;
    copy.from = slice_of(from, in->from.size);
    copy.before = slice_of(before, in->before.size);
    *out = copy;
    return ADB_OK;
}

void table_lineage_deinit(struct table_lineage *l)
{
    mem_free((void *)(uintptr_t)l->except); /* the keys are behind it */
    *l = (struct table_lineage){0};
}

bool table_lineage_supersedes(const struct table_lineage *l, uint64_t number)
{
    size_t low = 0, high = l->except_count;
    if (number >= l->below)
        return false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->except[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low == l->except_count || l->except[low] != number;
}
