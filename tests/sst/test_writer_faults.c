/* Each file operation of the table writer fails once: the status says how, the
   file is gone where it can be removed, the budget is whole again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/alloc.h"
#include "env/env_fault.h"
#include "env/env_memory.h"
#include "sst/table_bytes.h"

enum { KEYS = 3000 };

static adb_status build(struct env *env, struct ledger *ledger,
                        struct table_info *info)
{
    struct sst_writer_options o = {.env = env,
                                   .directory = "/",
                                   .number = 9,
                                   .block_size = 4096,
                                   .filter_bits = 10,
                                   .part_keys = 1000,
                                   .ledger = ledger};
    static uint8_t value[200];
    struct sst_writer *w;
    adb_status status = sst_writer_open(&o, &w);
    if (status != ADB_OK)
        return status;
    for (int i = 0; i < KEYS && status == ADB_OK; i++) {
        uint8_t key[4] = {0, 0, (uint8_t)(i >> 8), (uint8_t)i};
        struct source s =
            source_of(slice_of(key, sizeof key), 1, KV_PUT,
                      slice_of(value, sizeof value), false);
        status = sst_writer_add(w, &s.it);
    }
    if (status == ADB_OK)
        return sst_writer_finish(w, info);
    sst_writer_abandon(w);
    return status;
}

static void check_failed(struct env *memory, struct env *fault,
                         const struct env_fault_rule *rule)
{
    struct ledger ledger = {.budget = 1 << 20};
    struct table_info info;
    struct env_stat stat;
    env_fault_set(fault, rule);
    adb_status status = build(fault, &ledger, &info);
    assert_int_equal(env_fault_hits(fault), 1);
    assert_int_equal(status, rule->error == ENOSPC ? ADB_NO_SPACE : ADB_IO);
    assert_non_null(strstr(status_message(), "000009.sst"));
    assert_int_equal(ledger_total(&ledger), 0);
    assert_int_equal(env_stat(memory, "/000009.sst", &stat), ADB_OK);
    assert_int_equal(stat.kind, ENV_KIND_NONE);
}

static void test_each_operation(void **state)
{
    (void)state;
    static const unsigned kinds[] = {ENV_FAULT_OPEN, ENV_FAULT_WRITE,
                                     ENV_FAULT_SYNC, ENV_FAULT_CLOSE};
    struct env *memory = env_memory_new(ENV_MEMORY_STRICT);
    struct env *fault = env_fault_new(memory);
    struct table_info info;

    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        env_fault_set(fault, NULL);
        assert_int_equal(build(fault, NULL, &info), ADB_OK);
        table_info_deinit(&info);
        assert_int_equal(env_unlink(memory, "/000009.sst"), ADB_OK);
        uint64_t calls = env_fault_calls(fault, kinds[k]);
        assert_true(calls > 0);
        for (uint64_t n = 0; n < calls; n++) {
            struct env_fault_rule rule = {.operations = kinds[k],
                                          .skip = n,
                                          .count = 1,
                                          .error = EIO,
                                          .partial = 100 * n};
            check_failed(memory, fault, &rule);
            rule.error = ENOSPC;
            check_failed(memory, fault, &rule);
        }
    }
    env_fault_free(fault);
    env_memory_free(memory);
}

/* The first failure is told, not that of clearing up behind it. */
static void test_first_error_stays(void **state)
{
    (void)state;
    struct env *memory = env_memory_new(ENV_MEMORY_STRICT);
    struct env *fault = env_fault_new(memory);
    struct env_fault_rule rule = {.operations = ENV_FAULT_WRITE |
                                                ENV_FAULT_CLOSE |
                                                ENV_FAULT_UNLINK,
                                  .count = UINT64_MAX,
                                  .error = ENOSPC};
    struct table_info info;
    env_fault_set(fault, &rule);
    assert_int_equal(build(fault, NULL, &info), ADB_NO_SPACE);
    assert_true(env_fault_hits(fault) >= 3);
    assert_non_null(strstr(status_message(), "rit")); /* write, writing */
    env_fault_free(fault);
    env_memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation),
        cmocka_unit_test(test_first_error_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
