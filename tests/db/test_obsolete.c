/*
 * Tables that merges replaced: gone from the disk, and from the files that are
 * open, once nobody reads them; there as long as somebody does. The same of
 * memtables that were flushed, and of blocks that are not to fill the cache.
 */
#include "db_test.h"

#include "db/db_internal.h"
#include "env/env_memory.h"

enum { ROUNDS = 6 };

static adb_status count_table(void *context, const char *name)
{
    *(unsigned *)context += strstr(name, ".sst") != NULL;
    return ADB_OK;
}

static unsigned tables_on(struct env *disk)
{
    unsigned count = 0;
    assert_ok(env_list_dir(disk, "/db", count_table, &count));
    return count;
}

/* A thread of the database may just be removing some. */
static void wait_for_tables(struct env *disk, unsigned count)
{
    for (int i = 0; i < 1000 && tables_on(disk) != count; i++)
        clock_sleep_ns(10000000);
    assert_int_equal(tables_on(disk), count);
}

/* Six runs, each of which has been read, become one. */
static void flush_and_merge(adb *db)
{
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        db_test_put(db, key, "value");
        assert_ok(db_flush(db));
        db_test_expect_at(db, NULL, key, "value");
    }
    db_test_compact(db);
}

/* Nobody is in an epoch of before any more. */
static void remove_obsolete(adb *db)
{
    epoch_barrier(db->epoch);
    db_remove_obsolete(db);
}

static const char options[] = "background_threads=2 memory_budget=4M";

static void test_files_are_closed(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    (void)state;
    for (int i = 0; i < 3; i++) {
        flush_and_merge(db);
        remove_obsolete(db);
        wait_for_tables(disk, 1);
        assert_true(file_table_open_count(db->files) <= 1);
    }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* An iterator reads its tables to the end, also those it had not opened. */
static void test_files_stay_for_a_reader(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    unsigned seen = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        db_test_put(db, key, "value");
        assert_ok(db_flush(db));
    }
    assert_ok(db_iter_new(db, &o, &it));
    db_test_compact(db);
    remove_obsolete(db);
    wait_for_tables(disk, 4);
    for (it->user->ops->seek_first(it->user); it->user->valid;
         kv_iter_next(it->user))
        seen++;
    assert_ok(kv_iter_status(it->user));
    assert_int_equal(seen, 3);
    db_iter_free(it);
    remove_obsolete(db);
    wait_for_tables(disk, 1);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* An iterator at rest keeps no table once its view was replaced. */
static void test_rest_keeps_nothing(void **state)
{
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    adb_iter_options o = ADB_ITER_OPTIONS_INIT;
    adb_iter *it;
    (void)state;
    for (int i = 0; i < 3; i++) {
        db_test_put(db, "key", "value");
        assert_ok(db_flush(db));
    }
    assert_ok(db_iter_new(db, &o, &it));
    it->user->ops->seek_first(it->user);
    assert_true(it->user->valid);
    db_iter_free(it);
    db_test_compact(db);
    remove_obsolete(db);
    wait_for_tables(disk, 1);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

static int64_t memtable_bytes(adb *db)
{
    epoch_barrier(db->epoch);
    return ledger_row(&db->ledger, LEDGER_MEMTABLE);
}

/* A value that is too large to be copied pins its memtable until it is given
   back. */
static void test_memtables_go(void **state)
{
    enum { ROUNDS_OF_PINS = 24, HELD = 4 };
    static char large[3001];
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    adb_value held[HELD];
    int64_t most = 0;
    (void)state;
    memset(large, 'x', sizeof large - 1);
    for (int i = 0; i < ROUNDS_OF_PINS; i++) {
        adb_value value = ADB_VALUE_INIT;
        struct db_read read = {.pinned = i < HELD ? &held[i] : &value};
        db_test_put(db, "key", large);
        assert_ok(db_get(db, slice_of_string("key"), &read));
        if (i >= HELD)
            db_value_release(&value);
        assert_ok(db_flush(db));
        if (i < HELD)
            most = memtable_bytes(db);
    }
    /* A few arenas are kept for use, none for each pin. The flush thread gives
       back its memtable when others go on already. */
    for (int i = 0; i < 1000 && memtable_bytes(db) > 2 * most; i++)
        clock_sleep_ns(10000000);
    assert_true(memtable_bytes(db) <= 2 * most);
    for (int i = 0; i < HELD; i++) {
        assert_int_equal(held[i].size, sizeof large - 1);
        assert_memory_equal(held[i].data, large, sizeof large - 1);
        db_value_release(&held[i]);
    }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

/* A get past the cache gives its block back, whatever it finds there. */
static void test_private_blocks_go(void **state)
{
    static const char *const keys[] = {"deleted", "key", "nothing", "zebra"};
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    char buffer[16];
    size_t size;
    (void)state;
    db_test_put(db, "key", "value");
    db_test_delete(db, "deleted");
    db_test_put(db, "zebra", "value");
    assert_ok(db_flush(db));
    db_test_expect(db, "key", "value"); /* opens the table */
    int64_t before = ledger_row(&db->ledger, LEDGER_ITERATOR);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (size_t room = 0; room <= sizeof buffer; room += sizeof buffer) {
            struct db_read read = {.no_fill = true,
                                   .buffer = buffer,
                                   .buffer_size = room,
                                   .value_size = &size};
            adb_status status = db_get(db, slice_of_string(keys[i]), &read);
            assert_int_equal(status, i % 2 == 0 ? ADB_NOT_FOUND
                                     : room     ? ADB_OK
                                                : ADB_TOO_LARGE);
            assert_int_equal(ledger_row(&db->ledger, LEDGER_ITERATOR), before);
        }
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_closed),
        cmocka_unit_test(test_files_stay_for_a_reader),
        cmocka_unit_test(test_rest_keeps_nothing),
        cmocka_unit_test(test_memtables_go),
        cmocka_unit_test(test_private_blocks_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
