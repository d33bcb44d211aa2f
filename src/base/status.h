/*
 * Errors with words. The function that detects a failure records one message
 * for its thread (file, offset, errno, remedy); callers that know more add
 * context in front. Background jobs save theirs and hand it to the database.
 * ADB_NOT_FOUND, ADB_BUSY and ADB_TIMEOUT may be returned without a message.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "albertdb/albertdb.h"

#define ADB_PRINTF(a, b) __attribute__((format(printf, a, b)))

enum { STATUS_MESSAGE_MAX = 1024 };

/* Records the message for this thread and returns code. errno is preserved. */
adb_status status_set(adb_status code, const char *format, ...)
    ADB_PRINTF(2, 3);

/* Like status_set with ": strerror(error)" appended; picks ADB_NO_SPACE for
   ENOSPC/EDQUOT, ADB_NO_MEMORY for ENOMEM, else ADB_IO. */
adb_status status_set_errno(int error, const char *format, ...)
    ADB_PRINTF(2, 3);

/* Puts "context: " in front of the thread's message; returns code. */
adb_status status_context(adb_status code, const char *format, ...)
    ADB_PRINTF(2, 3);

/* This thread's message; "" if none. Valid until the next status_* call. */
const char *status_message(void);
void status_clear(void);

/* A failure that outlives its thread, e.g. of a background job. */
struct status_saved {
    adb_status code;
    char message[STATUS_MESSAGE_MAX];
};
void status_save(struct status_saved *out, adb_status code);
/* Makes the saved message this thread's own and returns its code. */
adb_status status_restore(const struct status_saved *saved);

const char *status_name(adb_status code);

#endif
