#include "version/names.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "env/env.h"

static const char manifest_prefix[] = "MANIFEST-";

/* Six digits or more without needless zeros: the only spelling we write. */
static bool parse_number(const char *text, size_t size, uint64_t *number)
{
    if (size < 6 || size > 19 || (size > 6 && text[0] == '0'))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    *number = v;
    return true;
}

static bool has_suffix(const char *name, size_t size, const char *suffix)
{
    size_t n = strlen(suffix);
    return size >= n && memcmp(name + size - n, suffix, n) == 0;
}

static bool is(const char *name, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(name, text, size) == 0;
}

static enum name_kind parse(const char *name, size_t size, uint64_t *number)
{
    size_t prefix = sizeof manifest_prefix - 1;
    if (is(name, size, NAME_CURRENT_TEXT))
        return NAME_CURRENT;
    if (is(name, size, "LOCK"))
        return NAME_LOCK;
    if (is(name, size, NAME_REPAIR_TEXT))
        return NAME_REPAIR;
    if (size > prefix && memcmp(name, manifest_prefix, prefix) == 0)
        return parse_number(name + prefix, size - prefix, number)
                   ? NAME_MANIFEST
                   : NAME_FOREIGN;
    if (has_suffix(name, size, ".sst"))
        return parse_number(name, size - 4, number) ? NAME_TABLE : NAME_FOREIGN;
    if (has_suffix(name, size, ".log"))
        return parse_number(name, size - 4, number) ? NAME_LOG : NAME_FOREIGN;
    return NAME_FOREIGN;
}

enum name_kind name_parse(const char *name, uint64_t *number)
{
    size_t size = strlen(name);
    uint64_t ignored;
    if (has_suffix(name, size, ".tmp"))
        return parse(name, size - 4, &ignored) == NAME_FOREIGN ? NAME_FOREIGN
                                                               : NAME_TEMPORARY;
    return parse(name, size, number);
}

char *name_manifest(uint64_t number, char *text)
{
    snprintf(text, NAME_MAX_TEXT, "%s%06" PRIu64, manifest_prefix, number);
    return text;
}

char *manifest_path(const char *directory, uint64_t number)
{
    char name[NAME_MAX_TEXT];
    return env_join(directory, name_manifest(number, name));
}
