/*
 * A table file behind sst_reader: opened, searched, walked both ways,
 * verified. In a table that verifies, every entry is found and the counts
 * agree.
 *
 * Mode: repair (1), mapped (2), past the cache (4).
 */
#include "base/buffer.h"
#include "base/hash.h"
#include "disk.h"
#include "repair.h"
#include "sst/sst_reader.h"
#include "sst/sst_salvage.h"

enum { MAPPED = 2, NO_FILL = 4, NUMBER = 7, MAX_STEPS = 4000 };

struct place {
    struct env *env;
    struct ledger ledger;
    struct epoch *epoch;
    struct cache *cache;
    struct file_table *files;
    struct sst_context context;
};

static void place_init(struct place *p, unsigned mode)
{
    *p = (struct place){.env = fuzz_disk_new(),
                        .ledger = {.budget = 1 << 20},
                        .epoch = mem_aligned_alloc(64, sizeof *p->epoch)};
    FUZZ_CHECK(p->epoch);
    epoch_init(p->epoch);
    struct cache_options options = {&p->ledger, p->epoch};
    FUZZ_CHECK(cache_new(&options, &p->cache) == ADB_OK);
    FUZZ_CHECK(file_table_new(p->env, FUZZ_DIRECTORY, 4, &p->files) ==
               ADB_OK);
    p->context = (struct sst_context){.env = p->env,
                                      .directory = FUZZ_DIRECTORY,
                                      .cache = p->cache,
                                      .epoch = p->epoch,
                                      .ledger = &p->ledger,
                                      .files = p->files,
                                      .map_tables = mode & MAPPED};
}

static void place_deinit(struct place *p)
{
    cache_free(p->cache);
    epoch_deinit(p->epoch);
    mem_free(p->epoch);
    file_table_free(p->files);
    for (int row = 0; row < LEDGER_ROWS; row++)
        FUZZ_CHECK(ledger_row(&p->ledger, row) == 0);
    env_memory_free(p->env);
}

/* ---- reading ----------------------------------------------------------- */

static void touch_value(struct sst_reader *r, const struct sst_hit *hit)
{
    uint8_t piece[100];
    if (hit->value.data) {
        fuzz_touch(hit->value);
        return;
    }
    size_t size = MIN_OF(hit->value.size, sizeof piece);
    fuzz_expect_words(sst_load_value(r, hit->extent_offset, hit->value.size,
                                     hit->value.size - size, piece, size));
}

static adb_status get(struct sst_reader *r, struct place *p, adb_slice key,
                      uint64_t seq, unsigned flags, struct sst_hit *hit)
{
    bool maybe;
    uint64_t hash = hash_key(key.data, key.size);
    struct epoch_slot *inside = epoch_enter(p->epoch);
    fuzz_expect_words(sst_reader_may_contain(r, key, hash, &maybe));
    adb_status status =
        fuzz_expect_words(sst_reader_get(r, key, hash, seq, flags, hit));
    if (status == ADB_OK) {
        touch_value(r, hit);
        cache_done(hit->frame);
    }
    epoch_leave(inside);
    return status;
}

/* The entry under the iterator, by all means; sound: it must be found. */
static void look_at(struct sst_reader *r, struct place *p, struct kv_iter *it,
                    unsigned flags, bool sound)
{
    struct sst_hit hit;
    fuzz_touch(it->key);
    FUZZ_CHECK(it->head == key_head8(it->key.data, it->key.size));
    adb_status status = get(r, p, it->key, it->seq, flags, &hit);
    if (sound)
        FUZZ_CHECK(status == ADB_OK && hit.seq == it->seq &&
                   hit.kind == it->kind && hit.value.size == it->value.size);
    if (it->value.size <= 1 << 16 && kv_iter_load(it) == ADB_OK)
        fuzz_touch(it->value);
}

static uint64_t walk(struct sst_reader *r, struct place *p, unsigned flags,
                     bool sound, bool backward)
{
    uint64_t count = 0;
    struct kv_iter *it = sst_iter_new(r, flags);
    FUZZ_CHECK(it);
    if (backward)
        it->ops->seek_last(it);
    else
        it->ops->seek_first(it);
    while (it->valid && count < MAX_STEPS) {
        look_at(r, p, it, flags, sound);
        if (backward)
            kv_iter_prev(it);
        else
            kv_iter_next(it);
        count++;
    }
    adb_status status = fuzz_expect_words(kv_iter_status(it));
    FUZZ_CHECK(!sound || status == ADB_OK);
    kv_iter_close(it);
    return count;
}

static void search(struct sst_reader *r, struct place *p, adb_slice key,
                   uint64_t seq, unsigned flags)
{
    struct sst_hit hit;
    (void)get(r, p, key, seq, flags, &hit);
    (void)sst_reader_offset_of(r, key);
    struct kv_iter *it = sst_iter_new(r, flags);
    FUZZ_CHECK(it);
    it->ops->seek(it, key, seq);
    for (int i = 0; it->valid && i < 3; i++)
        kv_iter_prev(it);
    it->ops->seek_before(it, key, seq);
    for (int i = 0; it->valid && i < 3; i++)
        kv_iter_next(it);
    fuzz_expect_words(kv_iter_status(it));
    kv_iter_close(it);
}

static void split(struct sst_reader *r)
{
    adb_slice keys[7];
    size_t count;
    if (fuzz_expect_words(sst_reader_split_keys(r, 8, keys, &count)) !=
        ADB_OK)
        return;
    FUZZ_CHECK(count <= 7);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(i == 0 || slice_compare(keys[i - 1], keys[i]) < 0);
        fuzz_touch(keys[i]);
    }
    for (size_t i = 0; i < count; i++)
        mem_free((void *)keys[i].data);
}

static void count_report(void *context, const struct sst_damage *damage)
{
    FUZZ_CHECK(damage->text[0] && damage->status != ADB_OK);
    ++*(uint64_t *)context;
}

/* Returns how many entries it has if it is sound. */
static uint64_t use_table(struct sst_reader *r, struct place *p,
                          unsigned flags)
{
    uint64_t reports = 0;
    adb_status status =
        fuzz_expect_words(sst_reader_verify(r, count_report, NULL, &reports));
    bool sound = status == ADB_OK;
    FUZZ_CHECK(sound == (reports == 0) || status == ADB_UNSUPPORTED);
    uint64_t forward = walk(r, p, flags, sound, false);
    uint64_t backward = walk(r, p, flags, sound, true);
    FUZZ_CHECK(!sound || forward == backward);
    static const char *const keys[] = {"", "user0021", "user0070", "\xff\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        search(r, p, slice_of_string(keys[i]), KV_MAX_SEQ, flags);
        search(r, p, slice_of_string(keys[i]), 100, flags | SST_SKIP_FILTER);
    }
    split(r);
    return sound ? forward : 0;
}

/* What can be read ascends, and ends; sound tables give all they have. */
static void salvage(struct place *p, uint64_t entries)
{
    struct table_info info = {.number = NUMBER};
    uint64_t reports = 0, seen = 0, last_seq = 0;
    struct sst_salvage_options o = {.context = &p->context,
                                    .info = &info,
                                    .report = count_report,
                                    .caller = &reports};
    struct sst_salvaged result;
    struct buffer last = {0};
    struct kv_iter *it;
    if (fuzz_expect_words(sst_salvage_new(&o, &it)) != ADB_OK)
        return;
    it->ops->seek_first(it);
    for (; it->valid; kv_iter_next(it), seen++) {
        FUZZ_CHECK(!seen || kv_compare(buffer_slice(&last), last_seq, it->key,
                                       it->seq) < 0);
        buffer_clear(&last);
        FUZZ_CHECK(buffer_append(&last, it->key.data, it->key.size) == ADB_OK);
        last_seq = it->seq;
        FUZZ_CHECK(fuzz_expect_words(kv_iter_load(it)) == ADB_OK);
        fuzz_touch(it->value);
    }
    fuzz_expect_words(kv_iter_status(it));
    sst_salvage_result(it, &result);
    FUZZ_CHECK(result.entries == seen && result.pieces == reports);
    FUZZ_CHECK(!entries || seen == entries);
    kv_iter_close(it);
    buffer_deinit(&last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_watch_allocations();
    if (!size)
        return 0;
    unsigned mode = data[0];
    size--;
    uint8_t *bytes = malloc(size + 1);
    FUZZ_CHECK(bytes);
    memcpy(bytes, data + 1, size);
    if (mode & FUZZ_REPAIR)
        repair_table(bytes, size, NUMBER);
    struct place place;
    struct sst_reader *reader;
    struct table_info info = {.number = NUMBER};
    uint64_t entries = 0;
    place_init(&place, mode);
    fuzz_disk_file(place.env, FUZZ_DIRECTORY "/000007.sst", bytes, size);
    if (fuzz_expect_words(sst_reader_open(&place.context, &info, &reader)) ==
        ADB_OK) {
        entries =
            use_table(reader, &place, mode & NO_FILL ? SST_NO_FILL : 0);
        sst_reader_unref(reader);
    }
    salvage(&place, entries);
    place_deinit(&place);
    free(bytes);
    return 0;
}
