/*
 * The swap. What is to be renamed is written down first; from the moment at
 * which that is durable the repair goes through, if need be by the next one.
 *
 *   REPAIR, one line each:
 *     albertdb repair 1
 *     into lost/000042
 *     away MANIFEST-000007        from the database into that directory
 *     bring 000041.sst            from repair.tmp into the database
 *     ...
 *     sum 0123456789abcdef        checksum of all lines before
 *
 *   write REPAIR    durable: the old files are complete, the new ones too
 *   away ...        each at most once: what is in lost/ is not moved again
 *   sync            both directories: a rename is durable when both are; and
 *                   CURRENT must not be both away and brought
 *   bring ...       what is not in repair.tmp any more has been brought
 *   sync            again both
 *   remove REPAIR   durable: done
 *
 * While REPAIR is there nobody opens the database (version_set_probe).
 */
#include "repair/repair_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "version/names.h"

enum { JOURNAL_MAX_BYTES = 64 << 20 };

static const char heading[] = "albertdb repair 1\n";

static adb_status no_memory(void)
{
    return status_set(ADB_NO_MEMORY, "no memory for a path");
}

/* ---- one rename --------------------------------------------------------- */

static adb_status exists(struct repair *r, const char *path, bool *there)
{
    struct env_stat st;
    adb_status status = env_stat(r->env, path, &st);
    *there = status == ADB_OK && st.kind != ENV_KIND_NONE;
    return status;
}

/* Unless it is there already, or is not here any more. */
static adb_status move(struct repair *r, const char *from, const char *to,
                       bool replace)
{
    bool here = false, there = false;
    adb_status status = exists(r, from, &here);
    if (status == ADB_OK && !replace)
        status = exists(r, to, &there);
    if (status != ADB_OK || !here || there)
        return status;
    return env_rename(r->env, from, to);
}

static adb_status move_name(struct repair *r, const char *from,
                            const char *to, const char *name, bool replace)
{
    char *source = env_join(from, name), *target = env_join(to, name);
    adb_status status = source && target ? move(r, source, target, replace)
                                         : no_memory();
    mem_free(source);
    mem_free(target);
    return status;
}

/* ---- carrying it out ---------------------------------------------------- */

struct journal {
    char *into;           /* owned: path below lost/ */
    struct buffer away, bring; /* names, zero terminated */
};

static void journal_deinit(struct journal *j)
{
    mem_free(j->into);
    buffer_deinit(&j->away);
    buffer_deinit(&j->bring);
}

static adb_status move_all(struct repair *r, const struct buffer *names,
                           const char *from, const char *to, bool replace)
{
    adb_status status = ADB_OK;
    for (size_t at = 0; at < names->size && status == ADB_OK;) {
        const char *name = (const char *)names->data + at;
        at += strlen(name) + 1;
        status = move_name(r, from, to, name, replace);
    }
    return status;
}

static adb_status make_lost(struct repair *r, const char *into)
{
    char *lost = env_join(r->path, REPAIR_LOST_NAME);
    if (!lost)
        return no_memory();
    adb_status status = env_make_dir(r->env, lost);
    if (status == ADB_OK || status == ADB_EXISTS)
        status = env_make_dir(r->env, into);
    if (status == ADB_OK || status == ADB_EXISTS)
        status = env_sync_dir(r->env, lost);
    if (status == ADB_OK)
        status = env_sync_dir(r->env, r->path);
    mem_free(lost);
    return status;
}

/* It is there, unless somebody has removed it with all that was brought. */
static adb_status make_stage(struct repair *r)
{
    adb_status status = env_make_dir(r->env, r->stage);
    return status == ADB_EXISTS ? ADB_OK : status;
}

static adb_status remove_journal(struct repair *r)
{
    char *path = env_join(r->path, NAME_REPAIR_TEXT);
    adb_status status = path ? env_unlink(r->env, path) : no_memory();
    mem_free(path);
    return status == ADB_OK ? env_sync_dir(r->env, r->path) : status;
}

static adb_status carry_out(struct repair *r, const struct journal *j)
{
    adb_status status = make_lost(r, j->into);
    if (status == ADB_OK)
        status = make_stage(r);
    if (status == ADB_OK)
        status = move_all(r, &j->away, r->path, j->into, false);
    if (status == ADB_OK)
        status = env_sync_dir(r->env, j->into);
    if (status == ADB_OK)
        status = env_sync_dir(r->env, r->path);
    if (status == ADB_OK)
        status = move_all(r, &j->bring, r->stage, r->path, true);
    if (status == ADB_OK)
        status = env_sync_dir(r->env, r->path);
    if (status == ADB_OK)
        status = env_sync_dir(r->env, r->stage);
    return status == ADB_OK ? remove_journal(r) : status;
}

/* ---- writing it down ---------------------------------------------------- */

static adb_status write_names(struct buffer *text, const char *what,
                              const struct buffer *names)
{
    adb_status status = ADB_OK;
    for (size_t at = 0; at < names->size && status == ADB_OK;) {
        const char *name = (const char *)names->data + at;
        at += strlen(name) + 1;
        status = buffer_printf(text, "%s %s\n", what, name);
    }
    return status;
}

static adb_status write_journal(struct repair *r, uint64_t n)
{
    struct buffer text = {0};
    adb_status status =
        buffer_printf(&text, "%sinto " REPAIR_LOST_NAME "/%06" PRIu64 "\n",
                      heading, n);
    if (status == ADB_OK)
        status = write_names(&text, "away", &r->away);
    if (status == ADB_OK)
        status = write_names(&text, "bring", &r->bring);
    if (status == ADB_OK)
        status = buffer_printf(&text, "sum %016" PRIx64 "\n",
                               checksum_bytes(text.data, text.size));
    if (status == ADB_OK)
        status = env_replace_file(r->env, r->path, NAME_REPAIR_TEXT, text.data,
                                  text.size);
    buffer_deinit(&text);
    return status;
}

adb_status repair_swap(struct repair *r, uint64_t n)
{
    char name[NAME_MAX_TEXT];
    snprintf(name, sizeof name, REPAIR_LOST_NAME "/%06" PRIu64, n);
    char *into = env_join(r->path, name);
    if (!into)
        return no_memory();
    /* Borrows the lists. */
    struct journal j = {into, r->away, r->bring};
    adb_status status = make_lost(r, into);
    if (status == ADB_OK) {
        r->swapping = true;
        status = write_journal(r, n);
    }
    if (status == ADB_OK)
        status = carry_out(r, &j);
    r->swapping = r->swapping && status != ADB_OK;
    if (status == ADB_OK)
        repair_note(r, into, "the files that were replaced are in '%s'; "
                             "remove them when nothing of them is missed",
                    into);
    mem_free(into);
    return status;
}

/* ---- reading it --------------------------------------------------------- */

/* A name that a journal may speak of: no path, nothing foreign. */
static bool is_sane(const char *name)
{
    uint64_t number;
    enum name_kind kind = name_parse(name, &number);
    return kind == NAME_TABLE || kind == NAME_LOG || kind == NAME_MANIFEST ||
           kind == NAME_CURRENT;
}

static bool sum_matches(const char *text, size_t size)
{
    char sum[32];
    size_t line = strlen("sum 0123456789abcdef\n");
    if (size < line)
        return false;
    snprintf(sum, sizeof sum, "sum %016" PRIx64 "\n",
             checksum_bytes(text, size - line));
    return memcmp(text + size - line, sum, line) == 0;
}

/* One line without its end. False: it makes no sense. */
static bool parse_line(struct repair *r, char *line, struct journal *j,
                       adb_status *status)
{
    char *name = strchr(line, ' ');
    if (!name)
        return false;
    *name++ = '\0';
    if (strcmp(line, "into") == 0 && !j->into) {
        j->into = env_join(r->path, name);
        *status = j->into ? ADB_OK : no_memory();
        return strncmp(name, REPAIR_LOST_NAME "/",
                       strlen(REPAIR_LOST_NAME "/")) == 0 &&
               !strstr(name, "..");
    }
    struct buffer *names = strcmp(line, "away") == 0    ? &j->away
                           : strcmp(line, "bring") == 0 ? &j->bring
                                                        : NULL;
    if (!names || !is_sane(name))
        return false;
    *status = repair_add_name(names, name);
    return true;
}

/* ADB_CORRUPTION: that is none. */
static adb_status parse(struct repair *r, char *text, size_t size,
                        struct journal *j)
{
    adb_status status = ADB_OK;
    bool sane = sum_matches(text, size) &&
                strncmp(text, heading, strlen(heading)) == 0;
    for (char *line = text + strlen(heading); sane && status == ADB_OK;) {
        char *end = strchr(line, '\n');
        if (strncmp(line, "sum ", 4) == 0)
            break;
        if (!end)
            return ADB_CORRUPTION;
        *end = '\0';
        sane = parse_line(r, line, j, &status);
        line = end + 1;
    }
    return sane && j->into ? status : ADB_CORRUPTION;
}

adb_status repair_resume(struct repair *r, bool *resumed)
{
    struct journal j = {0};
    uint8_t *text = NULL;
    size_t size;
    char *path = env_join(r->path, NAME_REPAIR_TEXT);
    if (!path)
        return no_memory();
    *resumed = false;
    adb_status status =
        env_read_file(r->env, path, JOURNAL_MAX_BYTES, &text, &size);
    r->swapping = status != ADB_NOT_FOUND;
    if (status == ADB_OK)
        status = parse(r, (char *)text, size, &j);
    if (status == ADB_OK)
        status = carry_out(r, &j);
    *resumed = status == ADB_OK;
    r->swapping = r->swapping && status != ADB_OK;
    if (status == ADB_OK) {
        repair_note(r, path, "a repair that was interrupted was finished");
    } else if (status == ADB_NOT_FOUND) {
        status = ADB_OK;
    } else if (status == ADB_CORRUPTION || status == ADB_TOO_LARGE) {
        /* Which files it has moved nobody knows; none is gone. */
        status = status_set(ADB_CORRUPTION,
                            "'%s', the list of an interrupted repair, is "
                            "damaged; move the files of the newest directory "
                            "in '%s/" REPAIR_LOST_NAME "' back to '%s', "
                            "remove the list, and repair again",
                            path, r->path, r->path);
    }
    journal_deinit(&j);
    mem_free(text);
    mem_free(path);
    return status;
}
