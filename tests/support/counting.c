/*
 * Where branches are counted (scripts/coverage.py): what a forked child took
 * counts as well. libgcov writes its counts when a process exits, not when it
 * leaves by _exit; and a child begins with those of its parent, which the
 * parent writes itself. Linked with --wrap=_exit.
 */
#include <pthread.h>
#include <unistd.h>

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

__attribute__((constructor)) static void count_children(void)
{
    pthread_atfork(NULL, NULL, __gcov_reset);
}
