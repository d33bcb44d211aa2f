/* Rotation while the next segment is being made: whose is that segment? And
   what is done, when, ahead of the writer. */
#include "wal/wal_support.h"

enum { FILES_MAX = 8, MIB = 1 << 20 };

/* The env under test, its operations replaced so that a function runs whenever
   pages of a file are asked for, and that it is known which were. */
static struct {
    struct env_ops env;
    struct env_file_ops file;
    struct env_map_ops map;
    const struct env_ops *base_env;
    const struct env_file_ops *base_file;
    const struct env_map_ops *base_map;
    void (*on_ask)(void);
    struct asked {
        struct env_file *file;
        struct env_map *map;
        uint64_t end, earlier; /* asked for; in an earlier wal_prepare */
        bool begun;            /* populated by wal_prepare from the front */
    } files[FILES_MAX];
    size_t count;
    bool preparing;
    unsigned populated; /* times, by wal_prepare, behind where it began */
} hook;

static adb_status hook_populate(struct env_map *m, size_t offset, size_t size)
{
    for (size_t i = 0; hook.preparing && i < hook.count; i++) {
        struct asked *a = &hook.files[i];
        a->begun |= a->map == m && offset == 0;
        /* Nobody asked before the writer made the first. */
        if (a->map != m || (i == 0 && offset < 4 * MIB))
            continue;
        hook.populated++;
        assert_true(offset + size <= a->earlier);
    }
    return hook.base_map->populate(m, offset, size);
}

static void hook_advise_ahead(struct env_file *f, uint64_t offset,
                              uint64_t size)
{
    if (hook.on_ask)
        hook.on_ask();
    for (size_t i = 0; i < hook.count; i++) {
        struct asked *a = &hook.files[i];
        if (a->file != f)
            continue;
        assert_true(hook.preparing && offset >= a->end);
        a->end = offset + size;
    }
    hook.base_file->advise_ahead(f, offset, size);
}

static adb_status hook_map(struct env_file *f, size_t size, bool writable,
                           struct env_map **out)
{
    adb_status status = hook.base_file->map(f, size, writable, out);
    if (status != ADB_OK)
        return status;
    hook.base_map = (*out)->ops;
    hook.map = *hook.base_map;
    hook.map.populate = hook_populate;
    (*out)->ops = &hook.map;
    assert_true(hook.count < FILES_MAX);
    hook.files[hook.count++] = (struct asked){.file = f, .map = *out};
    return ADB_OK;
}

static void prepare(struct log *log)
{
    hook.preparing = true;
    for (bool busy = true; busy;) {
        for (size_t i = 0; i < hook.count; i++)
            hook.files[i].earlier = hook.files[i].end;
        CHECK_OK(wal_prepare(log->wal, &busy));
    }
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

static struct env *hooked_disk(void)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    CHECK_OK(env_make_dir(env, "/log"));
    hook.count = hook.populated = 0;
    hook.base_env = env->ops;
    hook.env = *env->ops;
    hook.env.open = hook_open;
    env->ops = &hook.env;
    return env;
}

static struct log *rotating;
static uint64_t returned;

/* Runs while segment 2 exists, not yet handed over. */
static void rotate_now(void)
{
    if (rotating->created_count < 2)
        return;
    hook.on_ask = NULL;
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
    hook.on_ask = rotate_now;
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

/* A page that has to be read waits behind all that is being written; so what
   wal_prepare populates it asked for before. */
static void test_asked_for_before(void **state)
{
    (void)state;
    struct env *env = hooked_disk();
    struct log log;
    struct wal_position at = {0};
    log_init(&log, env, "/log", WAL_ACCESS_MAP);
    log.options.min_segment = log.options.max_segment = 64 * MIB;
    log_open(&log);
    for (unsigned segment = 1; segment <= 3; segment++) {
        do {
            CHECK_OK(log_append(&log, 10000, 1, &at));
            if (wal_wants_prepare(log.wal))
                prepare(&log);
        } while (at.offset < 40 * MIB);
        assert_int_equal(hook.count, segment + 1);
        /* The next begins resident, and far ahead is asked for. */
        assert_true(hook.files[segment].begun);
        assert_true(hook.files[segment - 1].end == 64 * MIB);
        wal_rotate(log.wal);
    }
    assert_true(hook.populated > 100);
    wal_abandon(log.wal);
    env_memory_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotate_while_making),
        cmocka_unit_test(test_made_early),
        cmocka_unit_test(test_asked_for_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
