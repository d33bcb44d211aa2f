#include "kv/iterator.h"

#include "base/alloc.h"

void kv_iter_fail(struct kv_iter *it, adb_status status)
{
    it->valid = false;
    it->status = status;
    if (!it->error)
        it->error = mem_alloc(sizeof *it->error);
    if (it->error)
        status_save(it->error, status);
}

adb_status kv_iter_status(const struct kv_iter *it)
{
    if (it->status != ADB_OK && it->error)
        status_restore(it->error);
    return it->status;
}
