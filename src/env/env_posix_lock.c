/*
 * Locks of the real env, and fork.
 *
 * An open-file-description lock belongs to the descriptor's open file: a
 * second open of the same path conflicts even inside one process, and closing
 * some other descriptor of the file does not drop it (a classic fcntl lock
 * fails in both). But a forked child shares the open file, and would keep the
 * lock alive after the parent died. So the child closes every lock descriptor
 * as its first act, which leaves the parent's lock in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "env/env_error.h"
#include "env/env_posix.h"

struct posix_lock_held {
    struct posix_lock_held *next;
    int fd; /* owned; -1 in a child of the process that locked */
};

_Atomic unsigned env_forks;

static struct {
    pthread_once_t once;
    struct mutex lock; /* guards held; taken across fork */
    struct posix_lock_held *held;
} locks = {.once = PTHREAD_ONCE_INIT};

static void before_fork(void)
{
    mutex_lock(&locks.lock);
}

static void after_fork_parent(void)
{
    mutex_unlock(&locks.lock);
}

static void after_fork_child(void)
{
    atomic_fetch_add(&env_forks, 1);
    for (struct posix_lock_held *l = locks.held; l; l = l->next) {
        close(l->fd);
        l->fd = -1;
    }
    locks.held = NULL;
    mutex_unlock(&locks.lock);
}

static void start_watching(void)
{
    mutex_init(&locks.lock);
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

void env_watch_forks(void)
{
    pthread_once(&locks.once, start_watching);
}

static adb_status lock_path(const char *path, int *out)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd;
    do {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return env_error(errno, "cannot open lock file '%s'", path);
    while (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        int error = errno;
        if (error == EINTR)
            continue;
        close(fd);
        if (error == EAGAIN || error == EACCES)
            return status_set(ADB_BUSY,
                              "'%s' is locked: the database is open in this "
                              "or another process", path);
        return env_error(error, "cannot lock '%s'", path);
    }
    *out = fd;
    return ADB_OK;
}

adb_status posix_lock(struct env *e, const char *path, void **out)
{
    (void)e;
    env_watch_forks();
    struct posix_lock_held *l = mem_alloc(sizeof *l);
    if (!l)
        return status_set(ADB_NO_MEMORY, "no memory to lock '%s'", path);
    /* Under the mutex, so that no child gets a descriptor not yet listed. */
    mutex_lock(&locks.lock);
    adb_status status = lock_path(path, &l->fd);
    if (status == ADB_OK) {
        l->next = locks.held;
        locks.held = l;
    }
    mutex_unlock(&locks.lock);
    if (status != ADB_OK) {
        mem_free(l);
        return status;
    }
    *out = l;
    return ADB_OK;
}

void posix_unlock(struct env *e, void *lock)
{
    (void)e;
    struct posix_lock_held *l = lock;
    if (!l)
        return;
    mutex_lock(&locks.lock);
    for (struct posix_lock_held **at = &locks.held; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    if (l->fd >= 0) {
        /* By hand: a process just spawned may hold the descriptor until its
           exec. */
        struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        fcntl(l->fd, F_OFD_SETLK, &whole);
        close(l->fd);
    }
    mutex_unlock(&locks.lock);
    mem_free(l);
}
