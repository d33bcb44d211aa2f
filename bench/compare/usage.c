#include "usage.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"

/* The number behind a name at the start of a line of a /proc file. */
static uint64_t proc_number(const char *path, const char *name)
{
    char line[256];
    uint64_t number = 0;
    size_t length = strlen(name);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, length) == 0)
            number = strtoull(line + length, NULL, 10);
    fclose(file);
    return number;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

struct usage usage_now(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (struct usage){
        .user_seconds = seconds_of(r.ru_utime),
        .system_seconds = seconds_of(r.ru_stime),
        .written_bytes = proc_number("/proc/self/io", "write_bytes:"),
        .read_bytes = proc_number("/proc/self/io", "read_bytes:"),
    };
}

struct usage usage_since(const struct usage *start)
{
    struct usage now = usage_now();
    now.user_seconds -= start->user_seconds;
    now.system_seconds -= start->system_seconds;
    now.written_bytes -= start->written_bytes;
    now.read_bytes -= start->read_bytes;
    return now;
}

uint64_t usage_peak_bytes(void)
{
    return 1024 * proc_number("/proc/self/status", "VmHWM:");
}

uint64_t usage_anonymous_bytes(void)
{
    return 1024 * proc_number("/proc/self/status", "RssAnon:");
}

void usage_reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* then the peak is that since the start */
    ssize_t written = write(fd, "5", 1);
    (void)written;
    close(fd);
}

int usage_waits_open(void)
{
    return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* Time on a processor, time waiting for one, times scheduled. */
uint64_t usage_waited_ns(int fd)
{
    char text[96];
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    if (size <= 0)
        return 0;
    text[size] = 0;
    char *second = strchr(text, ' ');
    return second ? strtoull(second, NULL, 10) : 0;
}

static uint64_t sum_bytes; /* nftw passes no context */

static int add_blocks(const char *path, const struct stat *s, int type,
                      struct FTW *where)
{
    (void)path;
    (void)where;
    if (type == FTW_F)
        sum_bytes += (uint64_t)s->st_blocks * 512;
    return 0;
}

uint64_t usage_disk_bytes(const char *dir)
{
    sum_bytes = 0;
    nftw(dir, add_blocks, 16, FTW_PHYS);
    return sum_bytes;
}

static int drop_pages(const char *path, const struct stat *s, int type,
                      struct FTW *where)
{
    (void)s;
    (void)where;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    /* Dirty pages stay: write them first. */
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

void usage_drop_pages(const char *dir)
{
    nftw(dir, drop_pages, 16, FTW_PHYS);
}
