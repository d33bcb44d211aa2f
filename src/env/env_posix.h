/* What the files of the real env share: private to src/env. */
#ifndef ENV_ENV_POSIX_H
#define ENV_ENV_POSIX_H

#include "env/env.h"

struct posix_file {
    struct env_file base; /* path lies behind this struct */
    int fd;               /* owned */
    /* The file system cannot tell what is in memory; any thread. */
    _Atomic bool always_waits;
};

/* env_posix_map.c */
adb_status posix_file_map(struct env_file *f, size_t size, bool writable,
                          struct env_map **out);
/* The way of kernels before 5.14 to make pages writable without later faults;
   apart, so that it can be tested on newer ones. */
adb_status posix_map_touch(struct env_map *m, size_t offset, size_t size);

/* env_posix_lock.c */
adb_status posix_lock(struct env *e, const char *path, void **out);
void posix_unlock(struct env *e, void *lock);

#endif
