#include "version/version.h"

#include <assert.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "version/version_internal.h"

/* ---- tables ------------------------------------------------------------ */

void table_owner_init(struct table_owner *o, const struct sst_context *context)
{
    o->context = context;
    o->obsolete = NULL;
    mutex_init(&o->open_lock);
    mutex_init(&o->lock);
}

static void table_free(struct version_table *t)
{
    table_info_deinit(&t->info);
    mem_free(t);
}

void table_owner_deinit(struct table_owner *o)
{
    while (o->obsolete) {
        struct version_table *t = o->obsolete;
        o->obsolete = t->next_obsolete;
        table_free(t);
    }
    mutex_deinit(&o->open_lock);
    mutex_deinit(&o->lock);
}

size_t table_owner_take_obsolete(struct table_owner *o, uint64_t *numbers,
                                 size_t max)
{
    size_t count = 0;
    mutex_lock(&o->lock);
    while (o->obsolete && count < max) {
        struct version_table *t = o->obsolete;
        o->obsolete = t->next_obsolete;
        numbers[count++] = t->info.number;
        table_free(t);
    }
    mutex_unlock(&o->lock);
    return count;
}

struct version_table *version_table_ref(struct version_table *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void version_table_unref(struct version_table *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct sst_reader *reader =
        atomic_load_explicit(&t->reader, memory_order_relaxed);
    if (reader)
        sst_reader_unref(reader);
    if (!atomic_load_explicit(&t->obsolete, memory_order_relaxed)) {
        table_free(t);
        return;
    }
    struct table_owner *owner = t->owner;
    mutex_lock(&owner->lock);
    t->next_obsolete = owner->obsolete;
    owner->obsolete = t;
    mutex_unlock(&owner->lock);
}

static adb_status open_reader(struct version_table *t, struct sst_reader **out)
{
    struct table_owner *owner = t->owner;
    adb_status status = ADB_OK;
    mutex_lock(&owner->open_lock);
    struct sst_reader *reader =
        atomic_load_explicit(&t->reader, memory_order_relaxed);
    if (!reader) {
        status = sst_reader_open(owner->context, &t->info, &reader);
        if (status == ADB_OK)
            atomic_store_explicit(&t->reader, reader, memory_order_release);
    }
    mutex_unlock(&owner->open_lock);
    if (status == ADB_OK)
        *out = reader;
    return status;
}

adb_status version_table_reader(struct version_table *t,
                                struct sst_reader **out)
{
    struct sst_reader *reader =
        atomic_load_explicit(&t->reader, memory_order_acquire);
    if (unlikely(!reader))
        return open_reader(t, out);
    *out = reader;
    return ADB_OK;
}

/* ---- runs and versions ------------------------------------------------- */

struct run_block *run_block_new(size_t count)
{
    size_t item = sizeof(struct version_table *) + sizeof(uint64_t);
    struct run_block *b = mem_zalloc(sizeof *b + count * item);
    if (b) {
        atomic_init(&b->refs, 1);
        b->count = count;
    }
    return b;
}

uint64_t *run_block_heads(struct run_block *b)
{
    return (uint64_t *)(void *)(b->tables + b->count);
}

struct run_block *run_block_ref(struct run_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void run_block_unref(struct run_block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < b->count; i++)
        version_table_unref(b->tables[i]);
    mem_free(b);
}

struct version *version_ref(struct version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void version_unref(struct version *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < v->run_count; i++)
        run_block_unref(v->runs[i].block);
    quarantine_unref(v->quarantine);
    mem_free(v->runs);
    mem_free(v);
}

/* ---- finding ----------------------------------------------------------- */

/* Index of the first head >= head (or > head, with above). */
static size_t heads_lower(const uint64_t *heads, size_t count, uint64_t head,
                          bool above)
{
    size_t low = 0;
    while (count > 0) {
        size_t half = count / 2;
        uint64_t at = heads[low + half];
        bool right = at < head || (above && at == head);
        low = right ? low + half + 1 : low;
        count = right ? count - half - 1 : half;
    }
    return low;
}

/* Among tables whose largest keys share the head of key. */
static size_t tied_lower(const struct version_run *run, size_t low, size_t high,
                         adb_slice key)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(run->tables[middle]->info.largest, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t version_run_lower(const struct version_run *run, adb_slice key)
{
    uint64_t head = key_head8(key.data, key.size);
    size_t low = heads_lower(run->last_heads, run->count, head, false);
    if (low == run->count || run->last_heads[low] != head)
        return low;
    size_t high =
        low + heads_lower(run->last_heads + low, run->count - low, head, true);
    return tied_lower(run, low, high, key);
}

struct version_table *version_run_find(const struct version_run *run,
                                       adb_slice key)
{
    size_t i = version_run_lower(run, key);
    if (i == run->count ||
        slice_compare(run->tables[i]->info.smallest, key) > 0)
        return NULL;
    return run->tables[i];
}

/* ---- checking ---------------------------------------------------------- */

static adb_status broken(const struct version_run *run, size_t table,
                         const char *what)
{
    uint64_t number = table < run->count ? run->tables[table]->info.number : 0;
    return status_set(ADB_INVALID,
                      "run %" PRIu64 " at level %" PRIu32 ", table %06" PRIu64
                      ": %s",
                      run->run, run->level, number, what);
}

adb_status version_check_run(const struct version_run *run)
{
    uint64_t bytes = 0;
    if (!run->count)
        return broken(run, 0, "the run is empty");
    for (size_t i = 0; i < run->count; i++) {
        const struct table_info *info = &run->tables[i]->info;
        bytes += info->size;
        if (slice_compare(info->smallest, info->largest) > 0)
            return broken(run, i, "its smallest key is above its largest");
        if (i && slice_compare(run->tables[i - 1]->info.largest,
                               info->smallest) >= 0)
            return broken(run, i, "it overlaps the table before it");
        if (run->last_heads[i] !=
            key_head8(info->largest.data, info->largest.size))
            return broken(run, i, "its key head is wrong");
    }
    return bytes == run->bytes ? ADB_OK
                               : broken(run, 0, "the sum of bytes is wrong");
}

adb_status version_check_order(const struct version *v)
{
    for (size_t i = 1; i < v->run_count; i++) {
        const struct version_run *newer = &v->runs[i - 1];
        if (newer->run <= v->runs[i].run)
            return broken(newer, 0, "runs are not ordered by age");
        if (newer->level > v->runs[i].level)
            return broken(newer, 0, "it lies deeper than an older run");
    }
    return ADB_OK;
}

/* Where tables of two runs overlap, the newer must not be wholly older. */
static adb_status check_ages(const struct version_run *newer,
                             const struct version_run *older)
{
    for (size_t i = 0; i < newer->count; i++) {
        const struct table_info *a = &newer->tables[i]->info;
        for (size_t j = version_run_lower(older, a->smallest); j < older->count;
             j++) {
            const struct table_info *b = &older->tables[j]->info;
            if (slice_compare(b->smallest, a->largest) > 0)
                break;
            if (a->max_seq < b->min_seq)
                return broken(newer, i, "it is older than an older run");
        }
    }
    return ADB_OK;
}

adb_status version_check(const struct version *v)
{
    uint64_t bytes = 0, entries = 0, tombstones = 0;
    size_t tables = 0;
    adb_status status = version_check_order(v);
    for (size_t i = 0; i < v->run_count && status == ADB_OK; i++) {
        const struct version_run *run = &v->runs[i];
        status = version_check_run(run);
        for (size_t j = 0; j < run->count; j++) {
            bytes += run->tables[j]->info.size;
            entries += run->tables[j]->info.entries;
            tombstones += run->tables[j]->info.tombstones;
        }
        tables += run->count;
        for (size_t j = i + 1; j < v->run_count && status == ADB_OK; j++)
            status = check_ages(run, &v->runs[j]);
    }
    if (status == ADB_OK &&
        (bytes != v->bytes || entries != v->entries ||
         tombstones != v->tombstones || tables != v->table_count))
        return status_set(ADB_INVALID, "the sums of a version are wrong");
    return status;
}
