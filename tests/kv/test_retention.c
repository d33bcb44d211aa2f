/*
 * Retention, by timelines of one key and against a model of readers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/random.h"
#include "kv/retention.h"

/*
 * A row: the versions of one key newest first, "x" after the number for a
 * tombstone, and after a colon what is expected:
 *   k keep   z keep, and the sequence may become 0   s shadowed
 *   t tombstone dropped
 */
struct row {
    const char *snapshots; /* ascending */
    bool bottom;
    const char *timeline;
};

static const struct row table[] = {
    /* no snapshot: only the newest */
    {"", false, "90:k 70:s 55:s"},
    {"", true, "90:z 70:s 55:s"},
    /* the header's example */
    {"41 60", false, "90:k 70:s 55:k 40:k 12:s"},
    {"41 60", true, "90:k 70:s 55:k 40:z 12:s"},
    /* a snapshot exactly at, just below and just above a version */
    {"55", false, "90:k 55:k 54:s"},
    {"54", false, "90:k 55:s 54:k"},
    {"56", false, "90:k 55:k 54:s"},
    {"90", false, "90:k 55:s"},
    {"89", false, "90:k 55:k"},
    {"90", true, "90:z 55:s"},
    {"89", true, "90:k 55:z"},
    /* two snapshots that see the same version */
    {"60 65", false, "90:k 55:k 40:s"},
    /* snapshots newer than everything, or older than everything */
    {"100", false, "90:k 70:s"},
    {"100", true, "90:z 70:s"},
    {"5", false, "90:k 70:s"},
    {"5", true, "90:k 70:s"},
    /* tombstones stay above the bottom */
    {"", false, "90x:k 70:s"},
    {"80", false, "90x:k 70x:k 60:s"},
    /* at the bottom they go with what they hide */
    {"", true, "90x:t 70:s 55x:s"},
    {"100", true, "90x:t 70:s"},
    {"90", true, "90x:t 70:s"},
    /* unless a snapshot still sees something older */
    {"80", true, "90x:k 70:z 60:s"},
    {"80", true, "90x:k 70x:t 60:s"},
    {"80", true, "90:k 70x:t 60:s"},
    {"65 80", true, "90:k 70x:k 60:z"},
    /* a lone tombstone above a snapshot: kept, nothing older is known yet */
    {"80", true, "90x:k"},
    /* one version */
    {"", true, "7:z"},
    {"3", true, "7:k"},
    /* a version that was settled before */
    {"", true, "9:z 0:s"},
    {"5", true, "9:k 0:z"},
    {"5", false, "9:k 0:k"},
};

static size_t parse_numbers(const char *text, uint64_t *out)
{
    size_t count = 0;
    char *end;
    for (;; text = end) {
        unsigned long long v = strtoull(text, &end, 10);
        if (end == text)
            return count;
        out[count++] = v;
    }
}

static char letter(struct retention *r, uint64_t seq, enum kv_kind kind)
{
    switch (retention_check(r, seq, kind)) {
    case RETENTION_KEEP:
        return retention_settled(r, seq) ? 'z' : 'k';
    case RETENTION_SHADOWED:
        return 's';
    case RETENTION_TOMBSTONE:
        return 't';
    }
    return '?';
}

static void check_row(const struct row *row)
{
    uint64_t snapshots[8];
    struct retention r;
    retention_init(&r, snapshots, parse_numbers(row->snapshots, snapshots),
                   row->bottom);
    /* Twice: the second key must not feel the first. */
    for (int round = 0; round < 2; round++) {
        retention_new_key(&r);
        for (const char *p = row->timeline; *p;) {
            char *end;
            uint64_t seq = strtoull(p, &end, 10);
            bool tombstone = *end == 'x';
            char expected = end[tombstone ? 2 : 1];
            char got = letter(&r, seq, tombstone ? KV_DELETE : KV_PUT);
            if (got != expected)
                fail_msg("snapshots [%s] bottom %d, %s: at %llu got %c",
                         row->snapshots, row->bottom, row->timeline,
                         (unsigned long long)seq, got);
            p = end + (tombstone ? 3 : 2);
            while (*p == ' ')
                p++;
        }
    }
}

static void test_timelines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        check_row(&table[i]);
}

struct entry {
    uint64_t seq;
    enum kv_kind kind;
    uint64_t identity; /* the sequence it was written with */
};

/* What a reader at read_seq sees: an identity, 0 for nothing. */
static uint64_t visible(const struct entry *e, size_t count, uint64_t read_seq)
{
    for (size_t i = 0; i < count; i++) {
        if (e[i].seq <= read_seq)
            return e[i].kind == KV_PUT ? e[i].identity : 0;
    }
    return 0;
}

/* No reader may see a difference, and nothing may be kept for nobody. */
static void check_random(struct random *random)
{
    struct entry in[12], out[12];
    uint64_t snapshots[6] = {0};
    size_t count = 1 + random_below(random, 12), kept = 0;
    size_t snapshot_count = random_below(random, 7);
    bool bottom = random_below(random, 2);
    uint64_t seq = 60, snapshot = 0;
    for (size_t i = 0; i < count; i++) {
        seq -= 1 + random_below(random, 4);
        in[i] = (struct entry){
            seq, random_below(random, 3) ? KV_PUT : KV_DELETE, seq};
    }
    for (size_t i = 0; i < snapshot_count; i++)
        snapshots[i] = snapshot += random_below(random, 15);
    struct retention r;
    retention_init(&r, snapshots, snapshot_count, bottom);
    retention_new_key(&r);
    for (size_t i = 0; i < count; i++) {
        if (retention_check(&r, in[i].seq, in[i].kind) != RETENTION_KEEP)
            continue;
        out[kept] = in[i];
        if (retention_settled(&r, in[i].seq))
            out[kept].seq = 0;
        if (kept)
            assert_true(out[kept].seq < out[kept - 1].seq);
        kept++;
    }
    assert_int_equal(visible(in, count, KV_MAX_SEQ),
                     visible(out, kept, KV_MAX_SEQ));
    for (size_t i = 0; i < snapshot_count; i++)
        assert_int_equal(visible(in, count, snapshots[i]),
                         visible(out, kept, snapshots[i]));
    assert_true(kept <= snapshot_count + 1);
    if (bottom && snapshot_count == 0)
        assert_true(kept == 0 || out[0].kind == KV_PUT);
}

static void test_against_readers(void **state)
{
    (void)state;
    struct random random;
    for (uint64_t seed = 1; seed <= 200000; seed++) {
        random_seed(&random, seed);
        check_random(&random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timelines),
        cmocka_unit_test(test_against_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
