/*
 * Recovery of a log of one or two segments.
 *
 * Input: mode, u16 bytes of the first segment, segments. Mode: repair (1),
 * records keep their `previous` (2), two segments (4), closed cleanly (8),
 * only looked at (16), first segment known to be synced (32).
 */
#include "disk.h"
#include "kv/batch.h"
#include "repair.h"
#include "wal/wal.h"

enum {
    KEEP_PREVIOUS = 2,
    TWO_SEGMENTS = 4,
    CLOSED_CLEANLY = 8,
    CHECK_ONLY = 16,
    SYNCED = 32,
    HEAD = 3
};

struct seen {
    uint64_t records, bytes, hash;
    uint64_t next_seq;
};

/* As the database replays it. */
static adb_status replay(void *context, uint64_t segment, uint64_t offset,
                         uint64_t seq, uint32_t count, adb_slice payload)
{
    struct seen *seen = context;
    const uint8_t *p = payload.data, *end = p + payload.size;
    (void)segment;
    FUZZ_CHECK(!seen->records || seq >= seen->next_seq);
    FUZZ_CHECK(seq + count <= KV_MAX_SEQ + 1);
    for (uint32_t i = 0; i < count; i++) {
        enum kv_kind kind;
        adb_slice key, value;
        if (kv_operation_decode(&p, end, &kind, &key, &value) != ADB_OK)
            break;
        fuzz_touch(key);
        fuzz_touch(value);
    }
    seen->hash = seen->hash * 31 + fuzz_touch(payload) + offset;
    seen->records++;
    seen->bytes += payload.size;
    seen->next_seq = seq + count;
    return ADB_OK;
}

static const uint64_t segments[2] = {1, 2};

static adb_status recover(struct env *env, unsigned mode,
                          const struct wal_end *ends, size_t first_size,
                          struct seen *seen, struct wal_recovered *out)
{
    struct wal_recovery in = {
        .env = env,
        .directory = FUZZ_DIRECTORY,
        .segments = segments,
        .segment_count = mode & TWO_SEGMENTS ? 2 : 1,
        .ends = ends,
        .closed_cleanly = mode & CLOSED_CLEANLY,
        .check_only = mode & CHECK_ONLY,
        .replay = replay,
        .context = seen,
    };
    if (mode & SYNCED)
        in.synced_through = (struct watermark){1, first_size / 2, 0};
    *seen = (struct seen){0};
    return fuzz_expect_words(wal_recover(&in, out));
}

/* What was recovered once is recovered again, from where it was found to
   end. */
static void check_again(struct env *env, unsigned mode, size_t first_size,
                        const struct seen *before,
                        const struct wal_recovered *first)
{
    struct seen seen;
    struct wal_recovered again;
    FUZZ_CHECK(recover(env, mode, first->ends, first_size, &seen, &again) ==
               ADB_OK);
    FUZZ_CHECK(seen.records == before->records && seen.hash == before->hash);
    FUZZ_CHECK(again.last.segment == first->last.segment &&
               again.last.length == first->last.length);
    wal_recovered_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_watch_allocations();
    if (size < HEAD)
        return 0;
    unsigned mode = data[0];
    size_t total = size - HEAD, first_size = total;
    if (mode & TWO_SEGMENTS)
        first_size = MIN_OF((size_t)get_u16(data + 1), total);
    uint8_t *bytes = malloc(total + 1);
    FUZZ_CHECK(bytes);
    memcpy(bytes, data + HEAD, total);
    uint8_t *second = bytes + first_size;
    if (mode & FUZZ_REPAIR) {
        uint64_t last = repair_records(bytes, first_size, 1,
                                       !(mode & KEEP_PREVIOUS));
        repair_segment_header(second, total - first_size, last);
        repair_records(second, total - first_size, 2,
                       !(mode & KEEP_PREVIOUS));
    }
    struct env *env = fuzz_disk_new();
    fuzz_disk_file(env, FUZZ_DIRECTORY "/000001.log", bytes, first_size);
    if (mode & TWO_SEGMENTS)
        fuzz_disk_file(env, FUZZ_DIRECTORY "/000002.log", second,
                       total - first_size);
    struct seen seen;
    struct wal_recovered out;
    if (recover(env, mode, NULL, first_size, &seen, &out) == ADB_OK) {
        FUZZ_CHECK(out.records == seen.records);
        check_again(env, mode, first_size, &seen, &out);
        wal_recovered_deinit(&out);
    }
    env_memory_free(env);
    free(bytes);
    return 0;
}
