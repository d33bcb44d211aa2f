#include "sim/places.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void place_name(const void *address, char *out, size_t size)
{
    Dl_info info;
    char program[500], command[600], line[600] = "";
    snprintf(out, size, "%p", address);
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (!address || length <= 0 || !dladdr(address, &info))
        return;
    program[length] = '\0';
    /* The byte before a return address belongs to the call. */
    size_t offset = (size_t)((const char *)address -
                             (const char *)info.dli_fbase) - 1;
    snprintf(out, size, "%s+0x%zx", program, offset);
    snprintf(command, sizeof command, "addr2line -fpse '%s' 0x%zx 2>/dev/null",
             program, offset);
    FILE *f = popen(command, "r");
    if (!f)
        return;
    if (fgets(line, sizeof line, f) && !strstr(line, "??")) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, size, "%s", line);
    }
    pclose(f);
}
