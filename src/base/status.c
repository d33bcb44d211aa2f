#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[STATUS_MESSAGE_MAX];

adb_status status_set(adb_status code, const char *format, ...)
{
    int saved = errno;
    char text[STATUS_MESSAGE_MAX];
    va_list args;
    /* Formatted aside first: the arguments may point into the old message. */
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(message, text, sizeof message);
    errno = saved;
    return code;
}

adb_status status_set_errno(int error, const char *format, ...)
{
    char text[STATUS_MESSAGE_MAX];
    char reason[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *why = strerror_r(error, reason, sizeof reason);
    adb_status code = error == ENOSPC || error == EDQUOT ? ADB_NO_SPACE
                      : error == ENOMEM                  ? ADB_NO_MEMORY
                                                         : ADB_IO;
    return status_set(code, "%s: %s (errno %d)", text, why, error);
}

adb_status status_context(adb_status code, const char *format, ...)
{
    char text[STATUS_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return status_set(code, "%s: %s", text, message);
}

const char *status_message(void)
{
    return message;
}

void status_clear(void)
{
    message[0] = '\0';
}

void status_save(struct status_saved *out, adb_status code)
{
    out->code = code;
    memcpy(out->message, message, sizeof message);
}

adb_status status_restore(const struct status_saved *saved)
{
    memcpy(message, saved->message, sizeof message);
    return saved->code;
}

const char *status_name(adb_status code)
{
    switch (code) {
    case ADB_OK:
        return "ok";
    case ADB_NOT_FOUND:
        return "not found";
    case ADB_BUSY:
        return "busy";
    case ADB_INVALID:
        return "invalid argument";
    case ADB_CORRUPTION:
        return "corruption";
    case ADB_IO:
        return "I/O error";
    case ADB_NO_SPACE:
        return "no space";
    case ADB_NO_MEMORY:
        return "out of memory";
    case ADB_TIMEOUT:
        return "timeout";
    case ADB_TOO_LARGE:
        return "too large";
    case ADB_UNSUPPORTED:
        return "unsupported";
    case ADB_NOT_A_DATABASE:
        return "not a database";
    case ADB_EXISTS:
        return "exists";
    case ADB_READ_ONLY:
        return "read only";
    case ADB_FORKED:
        return "used after fork";
    case ADB_CLOSED:
        return "closed";
    case ADB_UNKNOWN_OUTCOME:
        return "outcome unknown";
    }
    return "unknown status";
}
