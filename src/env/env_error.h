/* How every env turns an errno into a status: private to src/env. */
#ifndef ENV_ENV_ERROR_H
#define ENV_ENV_ERROR_H

#include "base/status.h"

/* Records the message with the errno's text appended. ENOENT: ADB_NOT_FOUND,
   EEXIST: ADB_EXISTS, EOPNOTSUPP and ENOSYS: ADB_UNSUPPORTED; the rest as
   status_set_errno. */
adb_status env_error(int error, const char *format, ...) ADB_PRINTF(2, 3);

#endif
