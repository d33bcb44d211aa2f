/* Rotation while the next segments are being made: whose are they? And what is
   done, and when, ahead of the writer. */
#include "wal/wal_support.h"

enum { MIB = 1 << 20 };

/* The env under test, its operations replaced so that a function runs whenever
   a file is mapped or a directory synced, and that it is known what was
   populated. */
static struct {
    struct env_ops env;
    struct env_file_ops file;
    struct env_map_ops map;
    const struct env_ops *base_env;
    const struct env_file_ops *base_file;
    const struct env_map_ops *base_map;
    void (*on_map)(void);
    void (*on_sync_dir)(void);
    bool preparing;
    unsigned populated; /* MiB, by wal_prepare */
    unsigned begun;     /* maps, by wal_prepare */
    unsigned own;       /* directory syncs outside of wal_prepare */
    unsigned prepared;  /* and in it */
    unsigned absent;    /* ranges found */
    uint64_t asked;     /* bytes asked for ahead */
} hook;

static void run_once(void (**f)(void))
{
    void (*now)(void) = *f;
    *f = NULL;
    if (now)
        now();
}

/* No page that is populated has to be read. */
static adb_status hook_populate(struct env_map *m, size_t offset, size_t size)
{
    size_t at = offset;
    assert_int_equal(hook.base_map->absent(m, &at, offset + size), 0);
    hook.begun += hook.preparing && offset == 0;
    hook.populated += hook.preparing && size == MIB;
    return hook.base_map->populate(m, offset, size);
}

static size_t hook_absent(struct env_map *m, size_t *offset, size_t end)
{
    size_t size = hook.base_map->absent(m, offset, end);
    hook.absent += size > 0;
    return size;
}

static void hook_advise_ahead(struct env_file *f, uint64_t offset,
                              uint64_t size)
{
    hook.asked += size;
    hook.base_file->advise_ahead(f, offset, size);
}

static adb_status hook_map(struct env_file *f, size_t size, bool writable,
                           struct env_map **out)
{
    run_once(&hook.on_map);
    adb_status status = hook.base_file->map(f, size, writable, out);
    if (status != ADB_OK)
        return status;
    hook.base_map = (*out)->ops;
    hook.map = *hook.base_map;
    hook.map.populate = hook_populate;
    hook.map.absent = hook_absent;
    (*out)->ops = &hook.map;
    return ADB_OK;
}

static void prepare(struct log *log)
{
    hook.preparing = true;
    for (bool busy = true; busy;)
        CHECK_OK(wal_prepare(log->wal, &busy));
    hook.preparing = false;
}

static adb_status hook_open(struct env *e, const char *path, unsigned flags,
                            struct env_file **out)
{
    adb_status status = hook.base_env->open(e, path, flags, out);
    if (status != ADB_OK)
        return status;
    hook.base_file = (*out)->ops;
    hook.file = *hook.base_file;
    hook.file.map = hook_map;
    hook.file.advise_ahead = hook_advise_ahead;
    (*out)->ops = &hook.file;
    return ADB_OK;
}

static adb_status hook_sync_dir(struct env *e, const char *path)
{
    ++*(hook.preparing ? &hook.prepared : &hook.own);
    run_once(&hook.on_sync_dir);
    return hook.base_env->sync_dir(e, path);
}

static struct env *hooked_disk(void)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    CHECK_OK(env_make_dir(env, "/log"));
    memset(&hook, 0, sizeof hook);
    hook.base_env = env->ops;
    hook.env = *env->ops;
    hook.env.open = hook_open;
    hook.env.sync_dir = hook_sync_dir;
    env->ops = &hook.env;
    return env;
}

static struct env *hooked_log(struct log *log, uint64_t min_segment,
                              uint64_t max_segment)
{
    struct env *env = hooked_disk();
    log_init(log, env, "/log", WAL_ACCESS_MAP);
    log->options.min_segment = min_segment;
    log->options.max_segment = max_segment;
    log_open(log);
    return env;
}

static struct log *rotating;
static uint64_t returned;

/* Runs while segment 2 exists, not yet handed over. */
static void rotate_now(void)
{
    returned = wal_rotate(rotating->wal);
}

/* The segment under way takes the records that follow the rotation. The
   owner releases everything below the number that the rotation returned once
   the older memtable is flushed: they must not be in there. */
static void test_rotate_while_making(void **state)
{
    (void)state;
    struct env *env = hooked_disk();
    struct log log;
    struct wal_position before = {0}, at;
    log_init(&log, env, "/log", WAL_ACCESS_MAP);
    rotating = &log;
    returned = 0;
    log_open(&log);
    while (before.offset < log.options.min_segment * 3 / 4)
        CHECK_OK(log_append(&log, 1000, 1, &before));
    assert_true(wal_wants_prepare(log.wal));
    hook.on_map = rotate_now;
    prepare(&log);
    assert_true(returned > before.segment);
    CHECK_OK(log_append(&log, 1000, 1, &at));
    assert_true(at.segment >= returned);

    /* The same as its owner sees it. */
    CHECK_OK(wal_release(log.wal, returned));
    CHECK_OK(log_append(&log, 1000, 1, &at));
    CHECK_OK(log_append(&log, 100000, 1, &at)); /* in a third segment */
    CHECK_OK(wal_release(log.wal, returned));
    assert_int_equal(log.created[0], before.segment);
    log.created_count--;
    memmove(log.created, log.created + 1,
            log.created_count * sizeof log.created[0]);
    struct replayed replayed;
    struct wal_recovered got;
    CHECK_OK(log_recover(&log, NULL, false, unknown(), &replayed, &got));
    assert_int_equal(replayed.records, 3);
    assert_int_equal(replayed.next_seq, log.next_seq);
    wal_recovered_deinit(&got);
    wal_abandon(log.wal);
    env_memory_free(env);
}

/* A small memtable ends a segment within milliseconds, and making one takes
   longer on a busy disk: the next one is made as soon as the present one holds
   something, or the writer would have to. */
static void test_made_early(void **state)
{
    (void)state;
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    struct log log;
    struct wal_position at = {0};
    CHECK_OK(env_make_dir(env, "/log"));
    log_init(&log, env, "/log", WAL_ACCESS_MAP);
    log.options.min_segment = log.options.max_segment = 16 << 20;
    log_open(&log);
    for (unsigned segment = 1; segment <= 4; segment++) {
        do
            CHECK_OK(log_append(&log, 10000, 1, &at));
        while (at.offset < (64 << 10) + 10000);
        prepare(&log);
        assert_int_equal(log.created_count, segment + 1);
        wal_rotate(log.wal);
    }
    wal_abandon(log.wal);
    env_memory_free(env);
}

/* A page that has to be read waits behind all that is being written: none is,
   neither of new files nor of those used again. And the writer finds all of
   them populated. */
static void test_nothing_is_read(void **state)
{
    enum { SEGMENTS = 4, FILLED = 40 };
    (void)state;
    struct log log;
    struct wal_stats stats;
    struct wal_position at = {0};
    struct env *env = hooked_log(&log, 64 * MIB, 64 * MIB);
    for (unsigned segment = 1; segment <= SEGMENTS; segment++) {
        do {
            CHECK_OK(log_append(&log, 10000, 1, &at));
            if (wal_wants_prepare(log.wal))
                prepare(&log);
        } while (at.offset < FILLED * MIB);
        CHECK_OK(wal_release(log.wal, wal_rotate(log.wal)));
    }
    wal_stats(log.wal, &stats);
    assert_int_equal(stats.segments_created, SEGMENTS + 1);
    assert_int_equal(stats.segments_recycled, SEGMENTS - 1);
    assert_int_equal(stats.self_populated, 1); /* the very first */
    assert_int_equal(hook.begun, SEGMENTS);
    assert_true(hook.populated >= SEGMENTS * FILLED);
    assert_true(hook.absent >= SEGMENTS * FILLED);
    wal_abandon(log.wal);
    env_memory_free(env);
}

/* Of a file nothing is asked for, which would read it, but what was never
   written: whether this run wrote it or one before. */
static void test_nothing_old_is_asked_for(void **state)
{
    enum { SIZE = 4 * MIB, FILLED = 3 * MIB };
    (void)state;
    struct log log;
    struct wal_position at;
    struct replayed replayed;
    struct wal_recovered got;
    struct wal_stats stats;
    struct env *env = hooked_log(&log, SIZE, SIZE);
    CHECK_OK(log_append(&log, 100000, 1, &at));
    assert_int_equal(hook.asked, SIZE);
    wal_abandon(log.wal);

    CHECK_OK(log_recover(&log, NULL, false, unknown(), &replayed, &got));
    CHECK_OK(wal_open(&log.options, 2, &got.last, &got.synced_through,
                      &log.wal));
    CHECK_OK(wal_adopt(log.wal, 1));
    wal_recovered_deinit(&got);
    for (uint64_t segment = 2; segment <= 4; segment++) {
        do
            CHECK_OK(log_append(&log, 10000, 1, &at));
        while (at.offset < FILLED);
        CHECK_OK(wal_release(log.wal, wal_rotate(log.wal)));
    }
    /* The second one was new; the third is the adopted file, the fourth the
       second's. */
    wal_stats(log.wal, &stats);
    assert_int_equal(stats.segments_created, 3);
    assert_int_equal(stats.segments_recycled, 2);
    assert_in_range(hook.asked, 2 * SIZE, 2 * SIZE + SIZE - FILLED);
    wal_abandon(log.wal);
    env_memory_free(env);
}

/* What a small memtable does: fills half a MiB, and ends its segment. */
static void fill_and_rotate(struct log *log)
{
    struct wal_position at;
    do {
        CHECK_OK(log_append(log, 10000, 1, &at));
        if (wal_wants_prepare(log->wal))
            prepare(log);
    } while (at.offset < MIB / 2);
    wal_rotate(log->wal);
}

/* A busy disk takes a tenth of a second for the two syncs that a segment costs,
   in which a writer with small memtables fills several. So several lie ready,
   and those made together share their syncs. */
static void test_several_small(void **state)
{
    enum { MEMTABLES = 40 };
    (void)state;
    struct log log;
    struct wal_stats stats;
    struct wal_position at;
    struct env *env = hooked_log(&log, MIB, 64 * MIB);
    for (unsigned i = 0; i < MEMTABLES; i++)
        fill_and_rotate(&log);
    assert_int_equal(hook.own, 1); /* the very first */
    assert_true(hook.prepared < MEMTABLES / 2);

    /* They end with their memtables: none needs to be larger. */
    wal_stats(log.wal, &stats);
    assert_int_equal(stats.live_bytes, log.created_count * MIB);

    /* Nobody prepares: four at least are the writer's at once. */
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(log_append(&log, 10000, 1, &at));
        wal_rotate(log.wal);
    }
    assert_int_equal(hook.own, 1);
    wal_abandon(log.wal);
    env_memory_free(env);
}

/* Runs while segments are being made, others lie ready. */
static void rotate_and_append(void)
{
    struct wal_position at;
    uint64_t next = wal_rotate(rotating->wal);
    CHECK_OK(log_append(rotating, 1000, 1, &at));
    assert_true(at.segment >= next);
    returned = at.segment;
}

/* The writer takes what lies ready, without a wait for what is being made; it
   would be its own thread here that it waits for. */
static void test_take_while_making(void **state)
{
    (void)state;
    struct log log;
    struct wal_position at;
    struct replayed replayed;
    struct wal_recovered got;
    struct env *env = hooked_log(&log, MIB, MIB);
    rotating = &log;
    for (unsigned i = 0; i < 20; i++)
        fill_and_rotate(&log);
    returned = 0;
    hook.on_sync_dir = rotate_and_append;
    while (!returned)
        fill_and_rotate(&log);
    for (unsigned i = 0; i < 20; i++)
        fill_and_rotate(&log);
    CHECK_OK(log_append(&log, 1000, 1, &at));
    assert_int_equal(hook.own, 1);
    CHECK_OK(log_recover(&log, NULL, false, unknown(), &replayed, &got));
    assert_int_equal(replayed.next_seq, log.next_seq);
    wal_recovered_deinit(&got);
    wal_abandon(log.wal);
    env_memory_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotate_while_making),
        cmocka_unit_test(test_made_early),
        cmocka_unit_test(test_nothing_is_read),
        cmocka_unit_test(test_nothing_old_is_asked_for),
        cmocka_unit_test(test_several_small),
        cmocka_unit_test(test_take_while_making),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
