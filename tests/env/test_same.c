/*
 * The simulated disk behaves as the real file system does: the same random
 * operations on both give the same statuses and the same contents. Beside
 * that, what a power cut must never take: synced contents under synced names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/random.h"
#include "env/env_memory.h"

enum { NAMES = 6, OPEN_MAX = 4, SIZE_LIMIT = 6000, STEPS = 4000, SEEDS = 6 };

/* One env with its open files. */
struct side {
    struct env *e;
    const char *directory;
    struct env_file *files[OPEN_MAX];
    struct env_map *maps[OPEN_MAX];
};

/* The choices of one step, the same for both sides. */
struct step {
    unsigned verb;
    unsigned slot;
    unsigned flags;
    uint64_t offset;
    size_t size;
    uint8_t data[600];
    char from[16], to[16];
};

/* What one step did. */
struct outcome {
    adb_status status;
    uint64_t size;
    size_t got;
    uint8_t data[600];
};

static void choose_name(struct random *random, char *name)
{
    static const char *const names[NAMES] = {"a", "b", "c", "d", "d/e",
                                             "d/f"};
    snprintf(name, 16, "%s", names[random_below(random, NAMES)]);
}

static void choose_step(struct random *random, struct step *s)
{
    static const unsigned flags[] = {
        ENV_READ, ENV_WRITE, ENV_WRITE | ENV_CREATE,
        ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
        ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE,
    };
    s->verb = (unsigned)random_below(random, 24);
    s->slot = (unsigned)random_below(random, OPEN_MAX);
    s->flags = flags[random_below(random, 5)];
    s->offset = random_below(random, SIZE_LIMIT);
    s->size = (size_t)random_below(random, sizeof s->data);
    for (size_t i = 0; i < s->size; i++)
        s->data[i] = (uint8_t)random_next(random);
    choose_name(random, s->from);
    choose_name(random, s->to);
}

static void close_slot(struct side *side, unsigned slot)
{
    env_map_unmap(side->maps[slot]);
    side->maps[slot] = NULL;
    assert_int_equal(env_file_close(side->files[slot]), ADB_OK);
    side->files[slot] = NULL;
}

static adb_status store(struct side *side, const struct step *s)
{
    struct env_map *m = side->maps[s->slot];
    uint64_t size = 0;
    assert_int_equal(env_file_size(side->files[s->slot], &size), ADB_OK);
    if (!m || s->offset + s->size > MIN_OF(m->size, size))
        return ADB_OK;
    adb_status status = env_map_populate(m, s->offset, s->size);
    if (status == ADB_OK)
        env_map_store(m, s->offset, s->data, s->size);
    return status;
}

static adb_status map_whole(struct side *side, unsigned slot)
{
    uint64_t size;
    adb_status status = env_file_size(side->files[slot], &size);
    if (side->maps[slot] || status != ADB_OK || size == 0)
        return status;
    return env_file_map(side->files[slot], size, true, &side->maps[slot]);
}

static void do_file_step(struct side *side, const struct step *s,
                         struct outcome *o)
{
    struct env_file *f = side->files[s->slot];
    if (!f)
        return;
    if (s->verb < 6)
        o->status = env_file_write(f, s->offset, s->data, s->size);
    else if (s->verb < 9)
        o->status = env_file_read(f, s->offset, o->data, s->size, &o->got);
    else if (s->verb < 10)
        o->status = env_file_truncate(f, s->offset);
    else if (s->verb < 11)
        o->status = env_file_allocate(f, s->offset);
    else if (s->verb < 12)
        o->status = env_file_size(f, &o->size);
    else if (s->verb < 13)
        o->status = map_whole(side, s->slot);
    else if (s->verb < 16)
        o->status = store(side, s);
    else
        o->status = env_file_sync(f);
}

static void do_name_step(struct side *side, const struct step *s,
                         struct outcome *o)
{
    struct env_stat st;
    char from[128], to[128];
    snprintf(from, sizeof from, "%s/%s", side->directory, s->from);
    snprintf(to, sizeof to, "%s/%s", side->directory, s->to);
    switch (s->verb) {
    case 17:
        o->status = env_rename(side->e, from, to);
        break;
    case 18:
        o->status = env_unlink(side->e, from);
        break;
    case 19:
        o->status = env_make_dir(side->e, from);
        break;
    case 20:
        o->status = env_remove_dir(side->e, from);
        break;
    case 21:
        o->status = env_stat(side->e, from, &st);
        o->got = (size_t)st.kind;
        o->size = st.kind == ENV_KIND_FILE ? st.size : 0;
        break;
    default:
        if (side->files[s->slot])
            close_slot(side, s->slot);
        o->status = env_open(side->e, from, s->flags, &side->files[s->slot]);
    }
}

static struct outcome do_step(struct side *side, const struct step *s)
{
    struct outcome o = {0};
    if (s->verb < 17)
        do_file_step(side, s, &o);
    else
        do_name_step(side, s, &o);
    return o;
}

static void check_maps(struct side *a, struct side *b)
{
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        uint64_t size;
        assert_int_equal(a->maps[i] != NULL, b->maps[i] != NULL);
        if (!a->maps[i])
            continue;
        /* Pages beyond the end of a shortened real file cannot be read. */
        assert_int_equal(env_file_size(a->files[i], &size), ADB_OK);
        size = MIN_OF(size, (uint64_t)a->maps[i]->size);
        assert_memory_equal(a->maps[i]->base, b->maps[i]->base, size);
    }
}

/* Everything is synced: a power cut takes nothing. */
static void check_synced(struct env *disk, struct random *random)
{
    for (int i = 0; i < 8; i++) {
        struct env *image = env_memory_crash(disk, random, ~UINT64_C(0));
        assert_true(env_memory_hash(image) == env_memory_hash(disk));
        struct env *again = env_memory_crash(image, random, ~UINT64_C(0));
        assert_true(env_memory_hash(again) == env_memory_hash(disk));
        env_memory_free(again);
        env_memory_free(image);
    }
}

struct sync_below {
    struct env *e;
    const char *directory;
};

static adb_status sync_one(void *context, const char *name);

static void sync_tree(struct env *e, const char *directory)
{
    struct sync_below below = {e, directory};
    assert_int_equal(env_list_dir(e, directory, sync_one, &below), ADB_OK);
    assert_int_equal(env_sync_dir(e, directory), ADB_OK);
}

static adb_status sync_one(void *context, const char *name)
{
    struct sync_below *below = context;
    struct env_file *f;
    struct env_stat st;
    char *path = env_join(below->directory, name);
    assert_int_equal(env_stat(below->e, path, &st), ADB_OK);
    if (st.kind == ENV_KIND_DIRECTORY) {
        sync_tree(below->e, path);
    } else {
        assert_int_equal(env_open(below->e, path, ENV_WRITE, &f), ADB_OK);
        assert_int_equal(env_file_sync(f), ADB_OK);
        assert_int_equal(env_file_close(f), ADB_OK);
    }
    mem_free(path);
    return ADB_OK;
}

/* Twice, since a rename between directories needs both. */
static void sync_all(struct env *e)
{
    sync_tree(e, "");
    sync_tree(e, "");
}

static adb_status remove_one(void *context, const char *name);

static void remove_tree(const char *directory)
{
    assert_int_equal(env_list_dir(env_posix(), directory, remove_one,
                                  (void *)(uintptr_t)directory), ADB_OK);
    assert_int_equal(env_remove_dir(env_posix(), directory), ADB_OK);
}

static adb_status remove_one(void *context, const char *name)
{
    struct env_stat st;
    char *path = env_join(context, name);
    assert_int_equal(env_stat(env_posix(), path, &st), ADB_OK);
    if (st.kind == ENV_KIND_DIRECTORY)
        remove_tree(path);
    else
        assert_int_equal(env_unlink(env_posix(), path), ADB_OK);
    mem_free(path);
    return ADB_OK;
}

static void run_seed(uint64_t seed)
{
    static struct step s;
    struct random random, cuts;
    char directory[] = "/tmp/albertdb-same-XXXXXX";
    assert_non_null(mkdtemp(directory));
    print_message("seed %d\n", (int)seed);
    random_seed(&random, seed);
    random_seed(&cuts, seed);
    struct side real = {.e = env_posix(), .directory = directory};
    struct side model = {
        .e = env_memory_new(seed % 2 ? ENV_MEMORY_STRICT : ENV_MEMORY_ORDERED),
        .directory = "",
    };
    for (int i = 0; i < STEPS; i++) {
        choose_step(&random, &s);
        struct outcome a = do_step(&real, &s);
        struct outcome b = do_step(&model, &s);
        if (a.status != b.status || memcmp(&a, &b, sizeof a) != 0)
            fail_msg("step %d verb %u %s %s: %d against %d", i, s.verb, s.from,
                     s.to, a.status, b.status);
        check_maps(&real, &model);
        if (i % 100 == 0) {
            env_memory_free(env_memory_crash(model.e, &cuts, ~UINT64_C(0)));
            struct env *clone = env_memory_clone(model.e);
            assert_true(env_memory_hash(clone) == env_memory_hash(model.e));
            sync_all(clone);
            assert_int_equal(env_memory_pending(clone), 0);
            check_synced(clone, &cuts);
            env_memory_free(clone);
        }
    }
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        close_slot(&real, i);
        close_slot(&model, i);
    }
    sync_all(model.e);
    check_synced(model.e, &cuts);
    env_memory_free(model.e);
    remove_tree(directory);
}

static void test_same(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
