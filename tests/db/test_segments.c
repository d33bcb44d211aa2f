/*
 * Log segments and memtables end together: where a segment is about as large
 * as what a memtable logs, one is made for each, not two.
 */
#include "db_test.h"

#include "env/env_memory.h"

static const char options[] =
    "memtable_size=256K max_memtables=3 memory_budget=16M "
    "durability=process wal_segment_min=64K wal_segment_max=192K "
    "compression=none idle_compaction=false";

static void test_one_for_each_memtable(void **state)
{
    (void)state;
    struct env *disk = env_memory_new(ENV_MEMORY_STRICT);
    adb *db = db_test_open(disk, "/db", options);
    db_test_put_many(db, "", 40000, 100);
    assert_ok(db_wait_idle(db, 60000));
    uint64_t flushes = db_test_stat(db, "flushes");
    uint64_t segments = db_test_stat(db, "segments_created") -
                        db_test_stat(db, "segments_ready");
    assert_true(flushes >= 20);
    /* Those of the beginning are small. */
    assert_true(segments <= flushes + 5);
    assert_ok(db_close(db));
    env_memory_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_for_each_memtable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
