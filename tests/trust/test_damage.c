/*
 * Damage to the files of a database of about 40 KB: bits flipped, sectors
 * zeroed, overwritten and swapped, files cut, removed, and put in the place of
 * another store's. After a clean close everything is detected or harmless;
 * after a kill what had been synced is, and only what was written later may be
 * cut off. Nothing wrong is ever read, nothing crashes or hangs; where the
 * database opens, what the damaged block does not hold can be read, and new
 * writes work.
 *
 * ADB_TEST_DAMAGES says how many; 0 means every bit of every file.
 */
#include "trust/damage.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/thread.h"

enum { PROCESSES = 4, HANG_S = 60 };

struct tally {
    uint64_t done[KINDS], at_open[KINDS], at_read[KINDS], harmless[KINDS];
    uint64_t cut;
};

static char watched[600];

static void on_alarm(int number)
{
    (void)number;
    (void)!write(2, "\nhangs: ", 8);
    (void)!write(2, watched, strlen(watched));
    (void)!write(2, "\n", 1);
    abort();
}

/* ---- the oracle ---- */

struct reading {
    struct store_state found;
    bool failed[STORE_KEYS];
    size_t failures;
};

static void read_keys(const struct damage *d, adb *db, struct reading *out)
{
    *out = (struct reading){.failures = 0};
    for (size_t key = 0; key < STORE_KEYS; key++) {
        char text[STORE_KEY_MAX];
        adb_value value;
        size_t number, size = store_key(key, text);
        adb_status status = adb_get(db, NULL, text, size, &value);
        if (status == ADB_OK) {
            if (!store_identify(slice_of(text, size),
                                slice_of(value.data, value.size), &number,
                                &out->found.ids[key]))
                die("%s: key %zu: wrong bytes", d->text, key);
            adb_value_release(&value);
        } else if (status != ADB_NOT_FOUND) {
            out->failed[key] = true;
            out->failures++;
        }
    }
}

/* What can be read is a state that may be. */
static size_t match(const struct store *s, const struct reading *r)
{
    for (size_t i = s->high + 1; i-- > s->low;) {
        bool same = true;
        for (size_t k = 0; k < STORE_KEYS && same; k++)
            same = r->failed[k] || r->found.ids[k] == s->states[i].ids[k];
        if (same)
            return i;
    }
    return SIZE_MAX;
}

static void wrong(const struct damage *d, const struct store *s,
                  const struct reading *r, struct env *env)
{
    for (size_t i = 0; i <= s->high; i++)
        if (memcmp(&r->found, &s->states[i], sizeof r->found) == 0)
            fprintf(stderr, "\nread as after write %zu of %zu..%zu", i, s->low,
                    s->high);
    store_dump(env, "damage-failure");
    die("silently wrong: %s, %zu keys failed", d->text, r->failures);
}

static void write_more(const struct damage *d, adb *db)
{
    struct step w = {.kind = STEP_WRITE,
                     .count = 1,
                     .durability = ADB_DURABILITY_SYNC};
    w.edits[0].key = 3;
    w.edits[0].id = UINT64_C(0x70000000) | UINT64_C(40) << 32;
    if (store_apply(db, &w) != ADB_OK || adb_flush(db) != ADB_OK)
        die("%s: opened, but writes fail: %s", d->text, adb_error_message());
}

static void examine(const struct damage *d, const struct store *s,
                    struct env *env, struct tally *t)
{
    adb *db;
    struct reading r;
    struct random random;
    struct store_state scanned;
    struct env *before = env_memory_clone(env);
    random_seed(&random, d->offset + d->bit);
    alarm(HANG_S);
    t->done[d->kind]++;
    adb_status status = open_store(s, env, random_below(&random, 2), &db);
    if (status != ADB_OK) {
        if (status != ADB_CORRUPTION && status != ADB_UNSUPPORTED &&
            status != ADB_NOT_A_DATABASE)
            die("%s: open says %s", d->text, adb_error_message());
        if (!strstr(adb_error_message(), STORE_PATH))
            die("%s: no file named: %s", d->text, adb_error_message());
        t->at_open[d->kind]++;
        env_memory_free(before);
        return;
    }
    read_keys(d, db, &r);
    size_t at = match(s, &r);
    if (at == SIZE_MAX)
        wrong(d, s, &r, before);
    status = store_scan(db, &random, &scanned);
    if (status == ADB_OK && r.failures == 0) {
        if (memcmp(&scanned, &r.found, sizeof scanned) != 0)
            die("%s: scan and reads differ", d->text);
        t->harmless[d->kind]++;
        t->cut += at < s->high;
    } else {
        t->at_read[d->kind]++;
        /* A merge may have taken the table away meanwhile, if what is damaged
           is a part that merges do not need. */
        if (adb_verify(db, NULL, NULL, NULL) != ADB_CORRUPTION) {
            read_keys(d, db, &r);
            if (r.failures || match(s, &r) == SIZE_MAX)
                die("%s: verification finds nothing", d->text);
        }
    }
    /* One piece of damage is not all of a database. */
    if (d->kind == FLIP && r.failures == STORE_KEYS)
        die("%s: no key can be read", d->text);
    write_more(d, db);
    db_test_abandon(db);
    env_memory_free(before);
}

/* ---- spreading ---- */

struct plan {
    struct store *s, *other;
    uint64_t count; /* 0: every bit */
    uint64_t seed;
};

static void one(const struct plan *p, struct damage *d, struct random *r,
                struct tally *t)
{
    struct env *env = env_memory_clone(p->s->disk);
    describe_damage(d, p->s, p->other);
    snprintf(watched, sizeof watched, "%s", d->text);
    if (inflict_damage(d, p->s, p->other, env, r))
        examine(d, p->s, env, t);
    env_memory_free(env);
}

static void every_bit(const struct plan *p, unsigned index, struct tally *t)
{
    struct random r;
    random_seed(&r, p->seed + index);
    for (size_t f = 0; f < p->s->file_count; f++)
        for (uint64_t b = index; b < 8 * p->s->files[f].size; b += PROCESSES) {
            struct damage d = {.kind = FLIP,
                               .file = f,
                               .offset = b / 8,
                               .bit = (unsigned)b % 8};
            one(p, &d, &r, t);
        }
}

static void child(const struct plan *p, unsigned index, struct tally *t)
{
    struct random r;
    signal(SIGALRM, on_alarm);
    random_seed(&r, p->seed * 31 + index);
    uint64_t count = p->count ? p->count / PROCESSES : 5000;
    for (uint64_t i = 0; i < count; i++) {
        struct damage d = {.kind = FLIP};
        choose_damage(&d, p->s, p->other, &r);
        one(p, &d, &r, t);
    }
    if (!p->count)
        every_bit(p, index, t);
}

static void run_child(const struct plan *p, unsigned index, int fd)
{
    static struct tally t;
    child(p, index, &t);
    alarm(0);
    if (write(fd, &t, sizeof t) != sizeof t)
        die("cannot report");
    free_store(p->s);
    free_store(p->other);
    exit(0);
}

static void add_tally(struct tally *sum, const struct tally *t)
{
    for (int k = 0; k < KINDS; k++) {
        sum->done[k] += t->done[k];
        sum->at_open[k] += t->at_open[k];
        sum->at_read[k] += t->at_read[k];
        sum->harmless[k] += t->harmless[k];
    }
    sum->cut += t->cut;
}

static void run(bool closed, bool map)
{
    const char *text = getenv("ADB_TEST_DAMAGES");
    uint64_t seed = test_seed(), began = clock_now_ns();
    struct store s, other;
    struct plan p = {.s = &s, .other = &other, .seed = seed};
    struct tally sum = {.cut = 0};
    pid_t pids[PROCESSES];
    int pipes[2];
    unsigned flags = (closed ? STORE_CLOSED : 0) | (map ? STORE_MAPPED : 0);
    p.count = text ? strtoull(text, NULL, 0) : test_scaled(8000, 600);
    make_store(&s, seed, flags);
    make_store(&other, seed + 1, flags);
    printf("%zu files, %" PRIu64 " bytes\n", s.file_count, s.bytes);
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            run_child(&p, i, pipes[1]);
    }
    unsigned failed = 0;
    for (unsigned i = 0; i < PROCESSES; i++) {
        int how;
        struct tally t;
        assert_int_equal(waitpid(pids[i], &how, 0), pids[i]);
        if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
            failed++;
        else if (read(pipes[0], &t, sizeof t) == sizeof t)
            add_tally(&sum, &t);
    }
    close(pipes[0]);
    close(pipes[1]);
    for (int k = 0; k < KINDS; k++)
        printf("%-22s %7" PRIu64 ": %" PRIu64 " found at open, %" PRIu64
               " by reads, %" PRIu64 " harmless\n",
               damage_name((enum damage_kind)k), sum.done[k], sum.at_open[k],
               sum.at_read[k], sum.harmless[k]);
    printf("%" PRIu64 " cut unsynced writes off; %.1f s\n", sum.cut,
           (double)(clock_now_ns() - began) / 1e9);
    free_store(&s);
    free_store(&other);
    assert_int_equal(failed, 0);
}

static void test_closed(void **state)
{
    (void)state;
    run(true, true);
}

static void test_killed(void **state)
{
    (void)state;
    run(false, true);
    run(false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed),
                                       cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
