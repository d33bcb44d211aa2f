#include "model/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_FAILED = 99 }; /* exit status of a failed check */

static char *told; /* in a child: what its parent reads, shared */
static size_t told_size;

void model_die(const char *file, int line, const char *format, ...)
{
    char text[sizeof((struct child_result *)0)->text];
    const char *base = strrchr(file, '/');
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s\n", base ? base + 1 : file, line, text);
    fflush(NULL);
    if (told)
        snprintf(told, told_size, "%s", text);
    _exit(STATUS_FAILED);
}

static void be_quiet(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0)
        die("/dev/null: %s", strerror(errno));
}

/* Many runs crash here on purpose: no core files. */
static _Noreturn void run_child(const struct child_job *job)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (job->quiet)
        be_quiet();
    job->body(job->context);
    exit(0); /* so that a leak checker has its say */
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* True when the child ended by itself. */
static bool wait_for(pid_t pid, unsigned timeout_ms, int *status)
{
    uint64_t deadline = now_ms() + timeout_ms;
    useconds_t pause = 200;
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (now_ms() >= deadline) {
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return false;
        }
        usleep(pause);
        pause = pause < 10000 ? pause * 2 : pause;
    }
    return true;
}

static void describe(struct child_result *r, bool ended, int status)
{
    if (!ended) {
        r->end = CHILD_HUNG;
        snprintf(r->text, sizeof r->text, "it did not end");
    } else if (WIFSIGNALED(status)) {
        r->end = CHILD_CRASHED;
        r->signal = WTERMSIG(status);
        snprintf(r->text, sizeof r->text, "killed by signal %d", r->signal);
    } else if (WEXITSTATUS(status) == STATUS_FAILED) {
        r->end = CHILD_FAILED;
    } else if (WEXITSTATUS(status) != 0) {
        r->end = CHILD_CRASHED; /* a sanitizer's way to go */
        snprintf(r->text, sizeof r->text, "exit status %d",
                 WEXITSTATUS(status));
    }
}

struct child_result child_run(const struct child_job *job)
{
    struct child_result result = {.end = CHILD_DONE};
    char *shared = mmap(NULL, sizeof result.text, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        told = shared;
        told_size = sizeof result.text;
        run_child(job);
    }
    int status = 0;
    bool ended = wait_for(pid, job->timeout_ms, &status);
    memcpy(result.text, shared, sizeof result.text);
    describe(&result, ended, status);
    munmap(shared, sizeof result.text);
    return result;
}
