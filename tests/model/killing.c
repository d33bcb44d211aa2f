#include "model/killing.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static const uint64_t strike_limit_us = 100000; /* it may never strike */

struct killing killing_choose(struct random *r, unsigned largest_bits,
                              uint64_t longest_us)
{
    static const unsigned kinds[] = {STRIKE_ANY, STRIKE_FILES, STRIKE_DATA};
    struct killing k = {.after_us = 1 + random_below(r, longest_us)};
    if (random_below(r, 2))
        return k;
    uint64_t bits = 1 + random_below(r, largest_bits);
    k.after_us = strike_limit_us;
    k.strike = (struct strike){
        .kinds = kinds[random_below(r, 3)],
        .number = 1 + random_below(r, UINT64_C(1) << bits),
        .phase = (enum strike_phase)random_below(r, 3),
    };
    /* There are few of these. */
    if (k.strike.kinds == STRIKE_FILES)
        k.strike.number = 1 + k.strike.number % 500;
    return k;
}

/* A busy machine may take long to get the child to work. */
static void wait_for_start(const _Atomic uint64_t *acknowledged)
{
    for (int i = 0; i < 20000 && atomic_load(acknowledged) == 0; i++)
        usleep(100);
}

bool killing_wait(pid_t pid, const struct killing *k,
                  const _Atomic uint64_t *acknowledged,
                  const _Atomic int *failed, const char *options)
{
    int status = 0;
    uint64_t waited_us = 0;
    if (pid < 0)
        die("fork failed");
    if (k->started)
        wait_for_start(acknowledged);
    if (!k->strike.number) {
        usleep((useconds_t)k->after_us);
        waited_us = k->after_us;
    }
    for (; waitpid(pid, &status, WNOHANG) == 0; waited_us += 200) {
        if (waited_us >= k->after_us)
            kill(pid, SIGKILL);
        usleep(200);
    }
    if (atomic_load(failed) ||
        (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL
                             : WEXITSTATUS(status) != 0))
        die("the child ended with status %#x; options %s", (unsigned)status,
            options);
    return WIFSIGNALED(status);
}

void killing_keep(const char *scratch)
{
    char command[5000];
    snprintf(command, sizeof command,
             "cd '%s' && rm -rf found && mkdir -p db && cp -r db found",
             scratch);
    if (system(command) != 0)
        die("cannot copy %s/db", scratch);
}

void killing_options(struct random *r, char options[MODEL_OPTIONS_MAX + 32],
                     const char **durability)
{
    static const char *const levels[] = {"process", "process", "none", "sync"};
    *durability = levels[random_below(r, 4)];
    model_options(r, options);
    strcat(options, " durability=");
    strcat(options, *durability);
}

static _Noreturn void opener(const char *path, const char *options, bool close,
                             _Atomic int *failed)
{
    adb *db = model_open(path, options);
    if (close && adb_close(db) != ADB_OK) {
        fprintf(stderr, "opener: %s\n", adb_error_message());
        atomic_store(failed, 1);
    }
    _exit(0);
}

void killing_openers(struct random *r, const char *path, const char *options)
{
    _Atomic int *failed = killing_share(sizeof *failed);
    while (random_below(r, 3) == 0) {
        struct killing k = killing_choose(r, 7, 6000);
        bool close = random_below(r, 2);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            model_env_set_strike(&k.strike);
            opener(path, options, close, failed);
        }
        killing_wait(pid, &k, NULL, failed, options);
    }
    munmap((void *)failed, sizeof *failed);
}

void *killing_share(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("no shared memory");
    return p;
}
