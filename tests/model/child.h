/*
 * Bodies that run in a child process, so that a crash or a hang is a result
 * like any other, and the checks of what runs there.
 */
#ifndef TESTS_MODEL_CHILD_H
#define TESTS_MODEL_CHILD_H

#include <stdbool.h>

enum child_end { CHILD_DONE, CHILD_FAILED, CHILD_CRASHED, CHILD_HUNG };

struct child_result {
    enum child_end end;
    int signal;     /* of a crash */
    char text[800]; /* of a failed check, else what happened */
};

struct child_job {
    void (*body)(void *context); /* returns: done */
    void *context;
    unsigned timeout_ms; /* then it is killed and counts as hung */
    bool quiet;          /* nothing it prints is seen */
};

/* The caller has one thread. */
struct child_result child_run(const struct child_job *job);

/* A check that failed. Prints, tells child_run where there is one, and ends
   the process. Any thread. */
_Noreturn void model_die(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define die(...) model_die(__FILE__, __LINE__, __VA_ARGS__)

#define must(call)                                                             \
    do {                                                                       \
        adb_status status_ = (call);                                           \
        if (status_ != ADB_OK)                                                 \
            die("%s: %s: %s", #call, adb_status_name(status_),                 \
                adb_error_message());                                          \
    } while (0)

#endif
