/*
 * Recovery, a new manifest, the sweep, verification and the clean close, in
 * which one thing fails, at each place in turn: it says so, and what is found
 * afterwards is what was acknowledged.
 */
#include "version_support.h"

#include "support/failing.h"

#define TRY(call)                                                              \
    do {                                                                       \
        adb_status try_ = (call);                                              \
        if (try_ != ADB_OK)                                                    \
            return try_;                                                       \
    } while (0)

struct world {
    struct env *disk, *env; /* env: faults over disk */
    bool closed;            /* the database that is recovered was */
};

static void apply(struct version_set *s, struct version_edit *e)
{
    assert_ok(version_set_apply(s, &e, 1));
    version_edit_deinit(e);
}

/* A database with runs, a damaged table, log segments, some of which ended. */
static void make_database(struct world *w)
{
    struct version_set_options options;
    struct version_set *s;
    struct version_edit e = {0};
    w->disk = new_disk(ENV_MEMORY_STRICT);
    w->env = env_fault_new(w->disk);
    options = options_on(w->disk);
    options.manifest_roll_bytes = 1 << 20;
    assert_ok(version_set_create(&options, &s));
    for (uint64_t i = 1; i <= 5; i++) {
        assert_ok(make_table_file(w->disk, 10 + i));
        add_invented(&e, 10 + i, i == 1 ? 3 : 0, i, "a", "m");
        assert_ok(version_edit_create_segment(&e, i));
        e.last_seq = i * 100 + 99;
        apply(s, &e);
    }
    add_quarantined(&e, 12, 30, "b", "c");
    assert_ok(version_edit_remove_table(&e, 15));
    apply(s, &e);
    assert_ok(version_edit_move_table(&e, 14, (struct table_place){0, 9}));
    assert_ok(version_edit_end_segment(
        &e, &(struct wal_end){2, 1000, 5, 300}));
    assert_ok(version_edit_remove_segment(&e, 1));
    apply(s, &e);
    if (w->closed) {
        struct wal_end end = {5, 512, 7, 600};
        assert_ok(version_set_close_cleanly(s, &end, 1, NULL, 599));
    }
    version_set_free(s);
}

static adb_status remove_name(void *context, const char *name)
{
    struct world *w = context;
    char path[128];
    snprintf(path, sizeof path, DIRECTORY "/%s", name);
    return env_unlink(w->disk, path);
}

static adb_status one_more(struct world *w, struct version_set *s, bool *done)
{
    struct version_edit e = {0};
    struct version_edit *edit = &e;
    uint64_t number = version_set_new_file(s);
    int64_t left = failing_pause();
    assert_ok(make_table_file(w->disk, number));
    add_invented(&e, number, 0, version_set_new_run(s), "a", "z");
    failing_resume(left);
    e.last_seq = 100000;
    adb_status status = version_set_apply(s, &edit, 1);
    *done = status == ADB_OK;
    version_edit_deinit(&e);
    return status;
}

static adb_status go_on(struct world *w, struct version_set *s, bool *more)
{
    uint64_t number, offset = 0;
    struct wal_end end = {5, 512, 7, 100001};
    TRY(version_set_begin(s, NULL));
    TRY(version_set_sweep(s, remove_name, w));
    TRY(one_more(w, s, more));
    TRY(version_set_verify_manifest(s, &number, &offset));
    return version_set_close_cleanly(s, &end, 1, NULL, 100000);
}

static size_t count_tables(struct world *w)
{
    struct version_set_options options = options_on(w->disk);
    struct version_set *s;
    struct version_set_state state;
    assert_ok(version_set_recover(&options, &s, &state));
    struct version *v = version_set_current(s);
    size_t count = v->table_count;
    assert_int_equal(version_quarantined_count(v), 1);
    assert_non_null(version_quarantined(v, 12));
    assert_null(version_quarantined(v, 13));
    version_unref(v);
    version_set_free(s);
    return count;
}

static adb_status reopen(void *context)
{
    struct world *w = context;
    struct version_set *s = NULL;
    struct version_set_state state;
    bool more = false;
    make_database(w);
    struct version_set_options options = options_on(w->env);
    failing_begin(w->env);
    adb_status status = version_set_recover(&options, &s, &state);
    if (status == ADB_OK)
        status = go_on(w, s, &more);
    failing_end(w->env);
    struct status_saved saved;
    status_save(&saved, status);
    version_set_free(status == ADB_OK || s ? s : NULL);
    size_t tables = count_tables(w);
    if (more || status != ADB_UNKNOWN_OUTCOME)
        assert_int_equal(tables, more ? 5 : 4);
    env_fault_free(w->env);
    env_memory_free(w->disk);
    return status_restore(&saved);
}

static void test_reopening(void **state)
{
    struct world w = {.closed = *(bool *)*state};
    assert_true(each_allocation(reopen, &w, true) > 40);
    /* A manifest that cannot be appended to is replaced. */
    assert_true(each_call(reopen, &w, ENV_FAULT_ANY, EIO, true) > 15);
    assert_true(each_call(reopen, &w, ENV_FAULT_ANY, ENOSPC, true) > 15);
}

/* Both the manifest's append and the new manifest in its place fail. */
static void test_nowhere_to_write(void **state)
{
    (void)state;
    static const unsigned kinds[] = {ENV_FAULT_WRITE, ENV_FAULT_SYNC,
                                     ENV_FAULT_WRITE | ENV_FAULT_OPEN,
                                     ENV_FAULT_SYNC | ENV_FAULT_RENAME};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct world w = {.closed = false};
        struct version_set *s;
        struct version_set_state found;
        bool more;
        make_database(&w);
        struct version_set_options options = options_on(w.env);
        assert_ok(version_set_recover(&options, &s, &found));
        assert_ok(version_set_begin(s, NULL));
        const struct env_fault_rule rule = {
            .operations = kinds[i], .count = ~UINT64_C(0), .error = EIO};
        env_fault_set(w.env, &rule);
        adb_status status = one_more(&w, s, &more);
        assert_true(status == ADB_UNKNOWN_OUTCOME || status == ADB_IO);
        struct wal_end end = {5, 512, 7, 600};
        assert_int_not_equal(
            version_set_close_cleanly(s, &end, 1, NULL, 599), ADB_OK);
        env_fault_set(w.env, NULL);
        /* Closed is closed, whatever came of it. */
        assert_int_equal(one_more(&w, s, &more), ADB_CLOSED);
        assert_non_null(strstr(status_message(), "is closed"));
        assert_int_equal(version_set_close_cleanly(s, &end, 1, NULL, 599),
                         ADB_CLOSED);
        version_set_free(s);
        env_fault_free(w.env);
        env_memory_free(w.disk);
    }
}

/* ---- what a damaged manifest still says ---------------------------------- */

static adb_status count_edit(void *context, uint64_t offset,
                             const struct record *r,
                             const struct version_edit *edit)
{
    (void)offset, (void)r;
    *(size_t *)context += edit != NULL;
    return ADB_OK;
}

struct salvage {
    struct world world;
    bool damage;
};

static adb_status salvage(void *context)
{
    struct salvage *x = context;
    struct world *w = &x->world;
    size_t edits = 0;
    bool damaged = false;
    make_database(w);
    char *path = manifest_path(DIRECTORY, 1);
    if (x->damage)
        assert_ok(env_memory_damage(w->disk, path, 100, "xyz", 3));
    failing_begin(w->env);
    adb_status status =
        manifest_salvage(w->env, path, 1, count_edit, &edits, &damaged);
    failing_end(w->env);
    if (status == ADB_OK) {
        assert_int_equal(damaged, x->damage);
        assert_true(edits >= 7);
    }
    struct status_saved saved;
    status_save(&saved, status);
    mem_free(path);
    env_fault_free(w->env);
    env_memory_free(w->disk);
    return status_restore(&saved);
}

static void test_salvage(void **state)
{
    (void)state;
    for (int damage = 0; damage < 2; damage++) {
        struct salvage x = {.damage = damage};
        assert_true(each_allocation(salvage, &x, false) > 10);
        assert_true(each_call(salvage, &x,
                              ENV_FAULT_ANY & ~ENV_FAULT_CLOSE, EIO,
                              false) > 1);
    }
}

int main(void)
{
    static bool yes = true, no = false;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_reopening, &no),
        cmocka_unit_test_prestate(test_reopening, &yes),
        cmocka_unit_test(test_nowhere_to_write),
        cmocka_unit_test(test_salvage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
