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
