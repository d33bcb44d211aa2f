/*
 * A manifest, read and replayed to a version; or a CURRENT.
 *
 * Mode: repair (1), CURRENT (2), records keep their `previous` (4).
 */
#include "disk.h"
#include "repair.h"
#include "version/current.h"
#include "version/manifest.h"
#include "version/replay.h"

enum { CURRENT = 2, KEEP_PREVIOUS = 4 };

static void fuzz_current(struct env *env, const uint8_t *data, size_t size)
{
    struct current current, again;
    bool maybe;
    fuzz_disk_file(env, FUZZ_DIRECTORY "/CURRENT", data, size);
    if (fuzz_expect_words(current_read(env, FUZZ_DIRECTORY, &current)) !=
        ADB_OK)
        return;
    FUZZ_CHECK(current_write(env, FUZZ_DIRECTORY, &current, &maybe) ==
               ADB_OK);
    FUZZ_CHECK(current_read(env, FUZZ_DIRECTORY, &again) == ADB_OK);
    FUZZ_CHECK(again.closed == current.closed &&
               again.manifest == current.manifest &&
               again.length == current.length &&
               again.checksum == current.checksum);
}

static adb_status visit(void *context, uint64_t offset,
                        const struct record *r,
                        const struct version_edit *edit)
{
    (void)offset;
    (void)r;
    return edit ? replay_apply(context, edit) : ADB_OK;
}

static adb_status read_manifest(struct env *env, const struct current *known,
                                struct manifest_end *end)
{
    struct replay replay = {0};
    struct sst_context context = {.env = env, .directory = FUZZ_DIRECTORY};
    struct table_owner owner;
    struct version *version;
    table_owner_init(&owner, &context);
    adb_status status = fuzz_expect_words(
        manifest_read(env, FUZZ_DIRECTORY "/MANIFEST-000001", 1, known, visit,
                      &replay, end));
    if (status == ADB_OK &&
        fuzz_expect_words(replay_version(&replay, &owner, &version)) ==
            ADB_OK) {
        FUZZ_CHECK(version_check(version) == ADB_OK);
        FUZZ_CHECK(version->table_count == replay.count);
        version_unref(version);
    }
    replay_deinit(&replay);
    table_owner_deinit(&owner);
    return status;
}

static void fuzz_manifest(struct env *env, const uint8_t *data, size_t size)
{
    struct current known = {0};
    struct manifest_end end, again;
    fuzz_disk_file(env, FUZZ_DIRECTORY "/MANIFEST-000001", data, size);
    if (read_manifest(env, &known, &end) != ADB_OK)
        return;
    FUZZ_CHECK(end.length + end.torn == size);
    /* With that end known it reads the same. */
    known = (struct current){end.closed && !end.torn, 1, end.length,
                             end.checksum};
    FUZZ_CHECK(read_manifest(env, &known, &again) == ADB_OK);
    FUZZ_CHECK(again.length == end.length && again.torn == end.torn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_watch_allocations();
    if (!size)
        return 0;
    unsigned mode = data[0];
    size--;
    uint8_t *bytes = malloc(size + 1);
    FUZZ_CHECK(bytes);
    memcpy(bytes, data + 1, size);
    if (mode & FUZZ_REPAIR && mode & CURRENT)
        repair_current(bytes, size);
    else if (mode & FUZZ_REPAIR)
        repair_records(bytes, size, 1, !(mode & KEEP_PREVIOUS));
    struct env *env = fuzz_disk_new();
    if (mode & CURRENT)
        fuzz_current(env, bytes, size);
    else
        fuzz_manifest(env, bytes, size);
    env_memory_free(env);
    free(bytes);
    return 0;
}
