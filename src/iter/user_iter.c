/*
 * What a reader sees of a merged source: of each key the newest version at or
 * below read_seq, unless that is a tombstone, inside [lower, upper).
 *
 *   source, kv order    a/90 a/70 a/40   b/80x b/50   c/60     x: tombstone
 *   read_seq 75              ^                ^       ^
 *   seen                a=70             b=50         c=60
 *   read_seq 85         a=70                          c=60
 *
 * Forward, the source stands at the entry shown, whose slices are the source's
 * own; the key is copied only to tell the older versions that follow it (an
 * entry of sequence 0 has none, see kv/retention.h).
 *
 * Backward, versions come oldest first, so that which one is visible is known
 * only once the source has left the key: the source then stands before all
 * versions of the key shown. Mostly it has made one step since the version that
 * is visible, and the value, if lasting, is still there; else the best one so
 * far is copied. A value that is not loaded, or would have to be copied and is
 * larger than COPY_MAX, is not shown at once; load and read_value go back to
 * it, which turns the iterator forward.
 */
#include "iter/merge.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "iter/entry.h"

enum { COPY_MAX = 16 * 1024, KEY_ROOM = 64 };

struct user_iter {
    struct kv_iter base;
    struct kv_iter *source; /* owned */
    uint64_t read_seq;
    adb_slice lower, upper; /* data NULL: open; borrowed */
    uint64_t lower_head, upper_head;
    bool forward;
    /* Forward: the key whose versions are passed over. Backward: that of the
       entry shown. */
    struct buffer key;
    uint64_t key_head;
    struct buffer value; /* backward: of the entry shown, if copied */
};

static struct user_iter *user_of(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct user_iter, base);
}

static inline uint64_t head_of(const struct user_iter *u, adb_slice key)
{
    return key_head_from(u->base.origin, key.data, key.size);
}

/* May overlap. */
static inline void copy_key(uint8_t *to, const uint8_t *from, size_t size)
{
    if (size >= 8 && size <= 16) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size) {
        memmove(to, from, size);
    }
}

/* False: out of memory, and the iterator has failed. The key may lie in the
   buffer already. */
static inline bool save_key(struct user_iter *u, adb_slice key, uint64_t head)
{
    if (unlikely(key.size > u->key.capacity)) {
        u->key.size = 0;
        adb_status status = buffer_reserve(&u->key, key.size);
        if (status != ADB_OK) {
            kv_iter_fail(&u->base, status);
            return false;
        }
    }
    copy_key(u->key.data, key.data, key.size);
    u->key.size = key.size;
    u->key_head = head;
    return true;
}

/* Neighbours of one head mostly differ at their ends: those are looked at
   without a call. */
static inline bool is_saved_key(const struct user_iter *u,
                                const struct kv_iter *source)
{
    size_t size = u->key.size;
    if (source->head != u->key_head || source->key.size != size)
        return false;
    const uint8_t *p = source->key.data;
    if (size >= 8 && get_u64(p + size - 8) != get_u64(u->key.data + size - 8))
        return false;
    /* A head without origin is the first eight bytes, or all of them. */
    return (size <= 16 && !u->base.origin) || size == 0 ||
           memcmp(p, u->key.data, size) == 0;
}

static inline bool at_upper(const struct user_iter *u,
                            const struct kv_iter *source)
{
    return unlikely(source->head >= u->upper_head) && u->upper.data &&
           slice_compare(source->key, u->upper) >= 0;
}

static inline bool below_lower(const struct user_iter *u,
                               const struct kv_iter *source)
{
    return unlikely(source->head <= u->lower_head) && u->lower.data &&
           slice_compare(source->key, u->lower) < 0;
}

/* The source has no entry: its failure is ours, its end too. */
static void source_ended(struct user_iter *u)
{
    if (u->source->status != ADB_OK)
        kv_iter_fail(&u->base, kv_iter_status(u->source));
    else
        kv_iter_end(&u->base);
}

/* The source stands at what it cannot read. */
static bool met_damage(struct user_iter *u)
{
    if (likely(u->source->kind != KV_DAMAGED))
        return false;
    kv_iter_fail(&u->base, kv_iter_load(u->source));
    return true;
}

static inline void show_source(struct user_iter *u)
{
    iter_copy_entry(&u->base, u->source);
}

/* Shows the first visible entry from the source's position on; with skip,
   entries of the saved key are passed over. */
static void find_forward(struct user_iter *u, bool skip)
{
    struct kv_iter *source = u->source;
    for (; source->valid; source->ops->next(source)) {
        if (skip && is_saved_key(u, source) && source->kind != KV_DAMAGED)
            continue;
        skip = false;
        if (at_upper(u, source)) {
            kv_iter_end(&u->base);
            return;
        }
        if (met_damage(u))
            return;
        if (source->seq > u->read_seq)
            continue;
        if (likely(source->kind == KV_PUT)) {
            show_source(u);
            return;
        }
        /* A tombstone hides the older versions of its key. */
        if (!save_key(u, source->key, source->head))
            return;
        skip = true;
    }
    source_ended(u);
}

/* Copies the value of the candidate, whose bytes are about to go. False: out of
   memory, and the iterator has failed. */
static bool keep_value(struct user_iter *u)
{
    struct kv_iter *it = &u->base;
    const void *data = it->value.data;
    if ((!data && it->value.size) || (data && data == u->value.data))
        return true;
    if (it->value.size > COPY_MAX) {
        it->value.data = NULL;
        return true;
    }
    adb_status status = buffer_reserve(&u->value, it->value.size + 1);
    if (status != ADB_OK) {
        kv_iter_fail(it, status);
        return false;
    }
    if (it->value.size)
        memcpy(u->value.data, data, it->value.size);
    it->value.data = u->value.data;
    return true;
}

/* Backward: the source's entry is the best version of its key so far. */
static inline bool take_candidate(struct user_iter *u)
{
    const struct kv_iter *source = u->source;
    struct kv_iter *it = &u->base;
    it->kind = source->kind;
    it->seq = source->seq;
    it->value.data = source->value.data;
    it->value.size = source->value.size;
    return source->kind == KV_DELETE || likely(source->lasting) ||
           keep_value(u);
}

/* The candidate is the visible version of the saved key. */
static void show_candidate(struct user_iter *u)
{
    u->base.valid = true;
    u->base.head = u->key_head;
    u->base.key = buffer_slice(&u->key);
}

/* The source stands at the oldest version of some key, or, in_key, at a newer
   one of the saved key, whose candidate may be visible: shows the visible
   version of that key, or of the nearest one before it that has any. */
static void find_backward(struct user_iter *u, bool in_key, bool visible)
{
    struct kv_iter *source = u->source;
    for (; source->valid; source->ops->prev(source)) {
        bool next_key = !in_key || !is_saved_key(u, source);
        if (next_key && visible) {
            show_candidate(u);
            return;
        }
        if (next_key && below_lower(u, source)) {
            kv_iter_end(&u->base);
            return;
        }
        if (met_damage(u))
            return;
        if (next_key && !save_key(u, source->key, source->head))
            return;
        in_key = true;
        if (source->seq <= u->read_seq) {
            if (!take_candidate(u))
                return;
            visible = source->kind == KV_PUT;
        } else if (visible && !keep_value(u)) {
            return; /* a second step: lasting no longer */
        }
    }
    /* After a failure newer versions of the key may be missing. */
    if (visible && source->status == ADB_OK)
        show_candidate(u);
    else
        source_ended(u);
}

/* ---- placing ---- */

static void seek_forward(struct user_iter *u)
{
    u->source->ops->seek(u->source, buffer_slice(&u->key), u->read_seq);
    find_forward(u, false);
}

static void seek_backward(struct user_iter *u)
{
    u->source->ops->seek_before(u->source, buffer_slice(&u->key), KV_MAX_SEQ);
    find_backward(u, false, false);
}

/* The target is copied: it may be the key under the iterator. */
static bool start(struct user_iter *u, bool forward, const adb_slice *target)
{
    u->base.status = ADB_OK;
    u->forward = forward;
    return !target ||
           save_key(u, *target, head_of(u, *target));
}

static void user_seek(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct user_iter *u = user_of(it);
    (void)seq;
    if (u->lower.data && slice_compare(key, u->lower) < 0)
        key = u->lower;
    if (start(u, true, &key))
        seek_forward(u);
}

static void user_seek_before(struct kv_iter *it, adb_slice key, uint64_t seq)
{
    struct user_iter *u = user_of(it);
    (void)seq;
    if (u->upper.data && slice_compare(key, u->upper) > 0)
        key = u->upper;
    if (start(u, false, &key))
        seek_backward(u);
}

static void user_seek_first(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    if (u->lower.data) {
        user_seek(it, u->lower, KV_MAX_SEQ);
        return;
    }
    start(u, true, NULL);
    u->source->ops->seek_first(u->source);
    find_forward(u, false);
}

static void user_seek_last(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    if (u->upper.data) {
        user_seek_before(it, u->upper, KV_MAX_SEQ);
        return;
    }
    start(u, false, NULL);
    u->source->ops->seek_last(u->source);
    find_backward(u, false, false);
}

/* ---- moving ---- */

static void user_next(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    struct kv_iter *source = u->source;
    assert(it->valid);
    if (unlikely(!u->forward)) {
        u->forward = true;
        if (source->valid)
            source->ops->next(source);
        else
            source->ops->seek_first(source);
        find_forward(u, true);
        return;
    }
    bool skip = it->seq != 0;
    uint64_t head = it->head;
    if (skip && !save_key(u, it->key, head))
        return;
    source->ops->next(source);
    /* Mostly the next entry is the next key's only version. */
    if (likely(source->valid && source->head < u->upper_head &&
               source->seq <= u->read_seq && source->kind == KV_PUT) &&
        (source->head != head || !skip || !is_saved_key(u, source)))
        show_source(u);
    else
        find_forward(u, skip);
}

static void user_prev(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    struct kv_iter *source = u->source;
    assert(it->valid);
    if (unlikely(u->forward)) {
        u->forward = false;
        if (!save_key(u, it->key, it->head))
            return;
        do
            source->ops->prev(source);
        while (source->valid && source->kind != KV_DAMAGED &&
               is_saved_key(u, source));
    }
    /* Mostly the entry before is the only version of its key. */
    if (unlikely(!(source->valid && source->head > u->lower_head &&
                   source->kind == KV_PUT && source->seq <= u->read_seq &&
                   source->lasting))) {
        find_backward(u, false, false);
        return;
    }
    if (!save_key(u, source->key, source->head))
        return;
    take_candidate(u);
    source->ops->prev(source);
    if (likely(source->valid && !is_saved_key(u, source)))
        show_candidate(u);
    else
        find_backward(u, true, true);
}

/* ---- large values ---- */

/* Backward: takes the source back to the entry shown. */
static adb_status return_to_entry(struct user_iter *u)
{
    struct kv_iter *source = u->source;
    if (u->forward)
        return ADB_OK;
    source->ops->seek(source, buffer_slice(&u->key), u->base.seq);
    if (source->valid && met_damage(u))
        return kv_iter_status(&u->base);
    if (source->valid && source->seq == u->base.seq &&
        is_saved_key(u, source)) {
        u->forward = true;
        show_source(u);
        return ADB_OK;
    }
    adb_status status = kv_iter_status(source);
    if (status == ADB_OK)
        status = status_set(ADB_CORRUPTION,
                            "an entry was not found again by its iterator");
    kv_iter_fail(&u->base, status);
    return status;
}

static adb_status user_load(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    adb_status status = return_to_entry(u);
    if (status == ADB_OK)
        status = kv_iter_load(u->source);
    if (status == ADB_OK)
        it->value = u->source->value;
    return status;
}

static adb_status user_read_value(struct kv_iter *it, uint64_t offset,
                                  void *data, size_t size)
{
    struct user_iter *u = user_of(it);
    adb_status status = return_to_entry(u);
    if (status != ADB_OK)
        return status;
    if (u->source->value.data) {
        assert(offset + size <= u->source->value.size);
        memcpy(data, (const uint8_t *)u->source->value.data + offset, size);
        return ADB_OK;
    }
    return u->source->ops->read_value(u->source, offset, data, size);
}

static void user_set_origin(struct kv_iter *it)
{
    kv_iter_set_origin(user_of(it)->source, it->origin);
}

static void user_rest(struct kv_iter *it)
{
    kv_iter_rest(user_of(it)->source);
}

static void user_close(struct kv_iter *it)
{
    struct user_iter *u = user_of(it);
    kv_iter_close(u->source);
    buffer_deinit(&u->key);
    buffer_deinit(&u->value);
    mem_free(it->error);
    mem_free(u);
}

static const struct kv_iter_ops user_ops = {
    .seek_first = user_seek_first,
    .seek_last = user_seek_last,
    .seek = user_seek,
    .seek_before = user_seek_before,
    .next = user_next,
    .prev = user_prev,
    .load = user_load,
    .read_value = user_read_value,
    .set_origin = user_set_origin,
    .rest = user_rest,
    .close = user_close,
};

void user_iter_reset(struct kv_iter *it, const struct user_iter_options *o)
{
    struct user_iter *u = user_of(it);
    it->valid = false;
    it->status = ADB_OK;
    u->read_seq = o->read_seq;
    u->forward = true;
    u->lower = o->lower;
    u->upper = o->upper;
    if (o->origin != it->origin)
        kv_iter_set_origin(it, o->origin);
    u->lower_head = o->lower.data ? head_of(u, o->lower) : 0;
    u->upper_head = o->upper.data ? head_of(u, o->upper) : UINT64_MAX;
}

struct kv_iter *user_iter_new(struct kv_iter *source,
                              const struct user_iter_options *options)
{
    struct user_iter *u = mem_zalloc(sizeof *u);
    if (!u || buffer_reserve(&u->key, KEY_ROOM) != ADB_OK) {
        mem_free(u);
        kv_iter_close(source);
        return NULL;
    }
    u->base.ops = &user_ops;
    u->source = source;
    user_iter_reset(&u->base, options);
    return &u->base;
}
