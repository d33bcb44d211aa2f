/* A fuzzed file on a simulated disk. */
#ifndef TESTS_FUZZ_DISK_H
#define TESTS_FUZZ_DISK_H

#include "env/env_memory.h"
#include "fuzz.h"

#define FUZZ_DIRECTORY "/db"

static inline struct env *fuzz_disk_new(void)
{
    struct env *env = env_memory_new(ENV_MEMORY_STRICT);
    FUZZ_CHECK(env && env_make_dir(env, FUZZ_DIRECTORY) == ADB_OK);
    return env;
}

static inline void fuzz_disk_file(struct env *env, const char *path,
                                  const void *data, size_t size)
{
    struct env_file *file;
    FUZZ_CHECK(env_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
                        &file) == ADB_OK);
    if (size)
        FUZZ_CHECK(env_file_write(file, 0, data, size) == ADB_OK);
    FUZZ_CHECK(env_file_close(file) == ADB_OK);
}

#endif
