#include "env/env.h"

#include <sys/resource.h>

unsigned env_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    return limit.rlim_cur > 1048576 ? 1048576 : (unsigned)limit.rlim_cur;
}
