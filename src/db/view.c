#include "db/db_internal.h"

#include "base/alloc.h"

static void view_release(struct db_view *v)
{
    memtable_unref(v->writable);
    for (size_t i = 0; i < v->frozen_count; i++)
        memtable_unref(v->frozen[i]);
    version_unref(v->version);
    mem_free(v);
}

void db_view_unref(struct db_view *v)
{
    if (v && atomic_fetch_sub(&v->refs, 1) == 1)
        view_release(v);
}

/* Readers that loaded the view without counting it are gone. */
static void view_retired(struct epoch_node *node)
{
    db_view_unref(CONTAINER_OF(node, struct db_view, node));
}

adb_status db_view_install_locked(adb *db)
{
    struct db_view *old =
        atomic_load_explicit(&db->view, memory_order_relaxed);
    struct db_view *v = mem_zalloc(sizeof *v);
    if (!v)
        return status_set(ADB_NO_MEMORY, "no memory for a view");
    atomic_init(&v->refs, 1);
    v->writable = memtable_ref(db->active.table);
    v->frozen_count = db->frozen_count;
    for (size_t i = 0; i < db->frozen_count; i++)
        v->frozen[i] =
            memtable_ref(db->frozen[db->frozen_count - 1 - i].table);
    v->version = version_ref(db->version);
    /* Sequentially consistent, so that an epoch that begins after this loads
       the new view. */
    atomic_store(&db->view, v);
    db_iter_drop_resting(db);
    if (old)
        epoch_retire_slow(db->epoch, &old->node, view_retired);
    return ADB_OK;
}

struct db_view *db_view_ref(adb *db)
{
    struct epoch_slot *slot = epoch_enter(db->epoch);
    struct db_view *v = atomic_load(&db->view);
    /* The view's own count is held until the epoch ends: never from zero. */
    atomic_fetch_add(&v->refs, 1);
    epoch_leave(slot);
    return v;
}
