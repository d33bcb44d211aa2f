#include <inttypes.h>
#include <stdio.h>

#include "env/env.h"
#include "sst/sst_writer.h"

char *sst_path(const char *directory, uint64_t number)
{
    char name[32];
    snprintf(name, sizeof name, "%06" PRIu64 ".sst", number);
    return env_join(directory, name);
}
