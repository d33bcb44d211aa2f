/*
 * What test programs share: a scratch directory, seeds, sizes by scale.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* A fresh directory below the working directory, removed with all it holds by
   scratch_remove. Prefixed to what tests create. */
static inline char *scratch_new(void)
{
    char name[] = "scratch-XXXXXX";
    char path[4096];
    if (!mkdtemp(name) || !getcwd(path, sizeof path - sizeof name - 2)) {
        perror("scratch directory");
        abort();
    }
    strcat(path, "/");
    strcat(path, name);
    return strdup(path);
}
static inline void scratch_remove(char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0)
        perror("scratch directory");
    free(path);
}

/* ADB_TEST_SEED repeats a run; otherwise the clock chooses. Always printed. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("ADB_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0)
                         : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();
    printf("seed: ADB_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* Under sanitizers (ADB_TEST_SCALE=small) long runs do a part of their work. */
static inline uint64_t test_scaled(uint64_t full, uint64_t small)
{
    const char *scale = getenv("ADB_TEST_SCALE");
    return scale && strcmp(scale, "small") == 0 ? small : full;
}

#define assert_ok(call)                                                        \
    do {                                                                       \
        adb_status status_ = (call);                                           \
        if (status_ != ADB_OK)                                                 \
            fail_msg("%s: %s: %s", #call, adb_status_name_of(status_),         \
                     adb_message_of());                                        \
    } while (0)

#endif
