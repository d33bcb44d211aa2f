/*
 * Scripts that once failed, or that take a path worth keeping: every file of
 * tests/model/scripts is replayed against the model. ADB_TEST_SCRIPT names
 * another one to run instead.
 */
#include "model/run.h"

#include <dirent.h>

enum { TIMEOUT_MS = 300000, SCRIPTS_MAX = 1000 };

static void replay(const char *path)
{
    struct script s;
    struct run_job job = {.path = "script", .compare = true};
    char *scratch = scratch_new();
    script_read(&s, path);
    job.script = &s;
    job.path = scratch;
    struct child_result result = run_script_child(&job, TIMEOUT_MS, false);
    printf("%s: %zu operations\n", path, s.count);
    if (result.end != CHILD_DONE)
        fail_msg("%s: %s", path, result.text);
    script_deinit(&s);
    scratch_remove(scratch);
}

static int is_script(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".txt") == 0;
}

static void test_scripts(void **state)
{
    (void)state;
    struct dirent **names;
    const char *own = getenv("ADB_TEST_SCRIPT");
    const char *directory = ADB_TEST_DIR "/model/scripts";
    char path[4200];
    if (own) {
        replay(own);
        return;
    }
    int count = scandir(directory, &names, is_script, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name);
        replay(path);
        free(names[i]);
    }
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
