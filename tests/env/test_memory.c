/*
 * The simulated disk. What a power cut may leave is told by tables: a script,
 * and every state it can end in.
 *
 * Script, a command each, separated by ';' (files are opened as needed and
 * written in whole 512-byte sectors filled with one letter):
 *   put FILE SECTOR LETTER    store FILE SECTOR LETTER (through a map)
 *   cut FILE SECTORS          alloc FILE SECTORS
 *   sync FILE                 lose FILE (a sync that fails)
 *   create/unlink/mkdir/rmdir/syncdir PATH    rename FROM TO
 *
 * State: "name=contents" for each file, a letter a sector and '.' for zeros,
 * "name/" for each directory; states are separated by '|'.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/thread.h"
#include "env/env_memory.h"

enum { SECTOR = 512, STATES_MAX = 256 };

/* ---- states ---- */

struct states {
    char *list[STATES_MAX];
    size_t count;
};

static bool states_has(const struct states *s, const char *state)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->list[i], state) == 0)
            return true;
    return false;
}

static void states_add(struct states *s, const char *state)
{
    if (states_has(s, state))
        return;
    assert_true(s->count < STATES_MAX);
    s->list[s->count++] = mem_strdup(state);
}

static void states_parse(struct states *s, const char *text)
{
    char one[256];
    while (text) {
        size_t size = strcspn(text, "|");
        snprintf(one, sizeof one, "%.*s", (int)size, text);
        states_add(s, one);
        text = text[size] ? text + size + 1 : NULL;
    }
}

static void states_deinit(struct states *s)
{
    for (size_t i = 0; i < s->count; i++)
        mem_free(s->list[i]);
    s->count = 0;
}

struct describe {
    struct env *e;
    const char *directory;
    struct buffer *out;
};

static void print(struct buffer *b, const char *text)
{
    assert_int_equal(buffer_append(b, text, strlen(text)), ADB_OK);
}

static void describe_file(struct env *e, const char *path, struct buffer *out)
{
    uint8_t *data;
    size_t size;
    char letter[2] = "?";
    assert_int_equal(env_read_file(e, path, 1 << 20, &data, &size), ADB_OK);
    for (size_t i = 0; i < size; i += SECTOR) {
        /* Sectors are never torn. */
        for (size_t j = i; j < MIN_OF(i + SECTOR, size); j++)
            assert_int_equal(data[j], data[i]);
        letter[0] = data[i] ? (char)data[i] : '.';
        print(out, letter);
    }
    mem_free(data);
}

static adb_status describe_name(void *context, const char *name)
{
    struct describe *d = context;
    struct env_stat st;
    char *path = env_join(d->directory, name);
    assert_int_equal(env_stat(d->e, path, &st), ADB_OK);
    if (d->out->size)
        print(d->out, " ");
    print(d->out, path + 1);
    if (st.kind == ENV_KIND_DIRECTORY) {
        struct describe below = {d->e, path, d->out};
        print(d->out, "/");
        assert_int_equal(env_list_dir(d->e, path, describe_name, &below),
                         ADB_OK);
    } else {
        print(d->out, "=");
        describe_file(d->e, path, d->out);
    }
    mem_free(path);
    return ADB_OK;
}

static void add_state_of(struct states *s, struct env *e)
{
    struct buffer out = {0};
    struct describe root = {e, "", &out};
    assert_int_equal(env_list_dir(e, "/", describe_name, &root), ADB_OK);
    print(&out, "");
    assert_int_equal(buffer_append_zeros(&out, 1), ADB_OK);
    states_add(s, (char *)out.data);
    buffer_deinit(&out);
}

/* ---- scripts ---- */

static void run_on_file(struct env *e, const char *verb, const char *path,
                        unsigned long number, const uint8_t *sector)
{
    struct env_file *f;
    struct env_map *m;
    assert_int_equal(env_open(e, path, ENV_WRITE | ENV_CREATE, &f), ADB_OK);
    if (strcmp(verb, "put") == 0) {
        assert_int_equal(env_file_write(f, number * SECTOR, sector, SECTOR),
                         ADB_OK);
    } else if (strcmp(verb, "store") == 0) {
        size_t end = (number + 1) * SECTOR;
        assert_int_equal(env_file_map(f, end, true, &m), ADB_OK);
        assert_int_equal(env_map_populate(m, end - SECTOR, SECTOR), ADB_OK);
        env_map_store(m, end - SECTOR, sector, SECTOR);
        assert_memory_equal(m->base + end - SECTOR, sector, SECTOR);
        env_map_unmap(m);
    } else if (strcmp(verb, "cut") == 0) {
        assert_int_equal(env_file_truncate(f, number * SECTOR), ADB_OK);
    } else if (strcmp(verb, "alloc") == 0) {
        assert_int_equal(env_file_allocate(f, number * SECTOR), ADB_OK);
    } else if (strcmp(verb, "sync") == 0) {
        assert_int_equal(env_file_sync(f), ADB_OK);
    } else if (strcmp(verb, "lose") == 0) {
        env_memory_lose_unsynced(f);
    } else {
        assert_string_equal(verb, "create");
    }
    assert_int_equal(env_file_close(f), ADB_OK);
}

static void run_command(struct env *e, const char *verb, const char *first,
                        const char *second, char letter)
{
    char path[64], to[64];
    uint8_t sector[SECTOR];
    memset(sector, letter == '.' ? 0 : letter, sizeof sector);
    snprintf(path, sizeof path, "/%s", first);
    snprintf(to, sizeof to, "/%s", second);
    if (strcmp(verb, "rename") == 0)
        assert_int_equal(env_rename(e, path, to), ADB_OK);
    else if (strcmp(verb, "unlink") == 0)
        assert_int_equal(env_unlink(e, path), ADB_OK);
    else if (strcmp(verb, "mkdir") == 0)
        assert_int_equal(env_make_dir(e, path), ADB_OK);
    else if (strcmp(verb, "rmdir") == 0)
        assert_int_equal(env_remove_dir(e, path), ADB_OK);
    else if (strcmp(verb, "syncdir") == 0)
        assert_int_equal(env_sync_dir(e, path), ADB_OK);
    else
        run_on_file(e, verb, path, strtoul(second, NULL, 10), sector);
}

static void run_script(struct env *e, const char *script)
{
    while (script) {
        char verb[16] = "", first[32] = "", second[32] = "", letter[8] = "";
        int fields = sscanf(script, " %15[a-z] %31[^ ;] %31[^ ;] %7[^ ;]",
                            verb, first, second, letter);
        if (fields > 0)
            run_command(e, verb, strcmp(first, ".") == 0 ? "" : first, second,
                        letter[0]);
        script = strchr(script, ';');
        script = script ? script + 1 : NULL;
    }
}

/* ---- power cuts ---- */

struct row {
    const char *script;
    const char *states;   /* with each pending item lost or newest */
    const char *between;  /* more, with contents in between; may be NULL */
};

static void check_all_choices(struct env *e, const struct states *expected)
{
    struct states seen = {0};
    size_t pending = env_memory_pending(e);
    assert_true(pending <= 12);
    for (uint64_t choice = 0; choice < UINT64_C(1) << pending; choice++) {
        struct env *image = env_memory_crash(e, NULL, choice);
        assert_int_equal(env_memory_pending(image), 0);
        add_state_of(&seen, image);
        env_memory_free(image);
    }
    for (size_t i = 0; i < seen.count; i++)
        if (!states_has(expected, seen.list[i]))
            fail_msg("illegal state: %s", seen.list[i]);
    for (size_t i = 0; i < expected->count; i++)
        if (!states_has(&seen, expected->list[i]))
            fail_msg("never seen: %s", expected->list[i]);
    states_deinit(&seen);
}

static void check_random_choices(struct env *e, const struct states *expected)
{
    struct states seen = {0};
    struct random random;
    random_seed(&random, 7);
    for (int i = 0; i < 2000; i++) {
        struct env *image = env_memory_crash(e, &random, ~UINT64_C(0));
        add_state_of(&seen, image);
        env_memory_free(image);
    }
    for (size_t i = 0; i < seen.count; i++)
        if (!states_has(expected, seen.list[i]))
            fail_msg("illegal random state: %s", seen.list[i]);
    for (size_t i = 0; i < expected->count; i++)
        if (!states_has(&seen, expected->list[i]))
            fail_msg("never seen by chance: %s", expected->list[i]);
    states_deinit(&seen);
}

static void check_row(enum env_memory_model model, const struct row *row)
{
    struct states expected = {0};
    struct env *e = env_memory_new(model);
    run_script(e, row->script);
    states_parse(&expected, row->states);
    print_message("%s\n", row->script);
    check_all_choices(e, &expected);
    if (row->between)
        states_parse(&expected, row->between);
    check_random_choices(e, &expected);

    /* The process alone dies: all is there, and as uncertain as before. */
    struct env *clone = env_memory_clone(e);
    assert_int_equal(env_memory_hash(clone), env_memory_hash(e));
    assert_int_equal(env_memory_pending(clone), env_memory_pending(e));
    env_memory_free(e);
    check_random_choices(clone, &expected);
    env_memory_free(clone);
    states_deinit(&expected);
}

static const struct row strict_rows[] = {
    /* Contents. */
    {"", "", NULL},
    {"create a", "|a=", NULL},
    {"create a; syncdir .", "a=", NULL},
    {"put a 0 x", "|a=|a=.|a=x", NULL},
    {"put a 0 x; sync a", "|a=x", NULL},
    {"put a 0 x; syncdir .", "a=|a=.|a=x", NULL},
    {"put a 0 x; sync a; syncdir .", "a=x", NULL},
    {"put a 0 x; sync a; syncdir .; put a 0 y", "a=x|a=y", NULL},
    {"put a 0 x; sync a; syncdir .; put a 0 y; put a 0 z", "a=x|a=z", "a=y"},
    {"put a 0 x; put a 1 x; sync a; syncdir .; put a 0 y; put a 1 y",
     "a=xx|a=yx|a=xy|a=yy", NULL},
    {"put a 0 x; sync a; syncdir .; put a 1 y", "a=x|a=x.|a=xy", NULL},
    {"put a 0 x; sync a; syncdir .; put a 1 y; sync a", "a=xy", NULL},
    {"put a 0 x; sync a; syncdir .; put a 0 x", "a=x", NULL},
    /* Preallocated, then stores to the map: sizes never change. */
    {"alloc a 2; sync a; syncdir .; store a 0 x; store a 1 y",
     "a=..|a=x.|a=.y|a=xy", NULL},
    {"alloc a 2; sync a; syncdir .; store a 0 x; sync a; store a 1 y",
     "a=x.|a=xy", NULL},
    {"alloc a 1; syncdir .", "a=|a=.", NULL},
    /* A file written over: the old contents shine through. */
    {"put a 0 p; put a 1 q; sync a; syncdir .; store a 0 x; rename a b",
     "a=pq|a=xq|b=pq|b=xq", NULL},
    {"put a 0 p; put a 1 q; sync a; rename a b; syncdir .; store b 0 x; "
     "sync b", "b=xq", NULL},
    /* Truncation takes size and contents as one. */
    {"put a 0 x; put a 1 y; sync a; syncdir .; cut a 1", "a=xy|a=x", NULL},
    {"put a 0 x; put a 1 y; sync a; syncdir .; cut a 1; sync a", "a=x", NULL},
    {"put a 0 x; put a 1 y; sync a; syncdir .; cut a 1; cut a 2",
     "a=xy|a=x.", "a=x"},
    {"put a 0 x; sync a; syncdir .; cut a 0; put a 0 y", "a=x|a=.|a=y", "a="},
    /* Failed syncs. */
    {"put a 0 x; sync a; syncdir .; put a 0 y; lose a", "a=x", NULL},
    {"put a 0 x; sync a; syncdir .; put a 0 y; lose a; sync a", "a=x", NULL},
    {"put a 0 x; sync a; syncdir .; put a 0 y; lose a; put a 0 z; sync a",
     "a=z", NULL},
    {"put a 0 x; sync a; syncdir .; put a 1 y; lose a", "a=x", NULL},
    /* Names. */
    {"create a; create b", "|a=|b=|a= b=", NULL},
    {"create a; syncdir .; unlink a", "|a=", NULL},
    {"create a; syncdir .; unlink a; syncdir .", "", NULL},
    {"create a; unlink a", "|a=", NULL},
    {"put a 0 x; sync a; syncdir .; rename a b", "a=x|b=x", NULL},
    {"put a 0 x; sync a; rename a b", "|a=x|b=x", NULL},
    {"put a 0 x; sync a; syncdir .; unlink a; put a 0 y; sync a",
     "|a=x|a=y", NULL},
    /* A rename that happened before the name was used again must be there
       once that is. */
    {"put a 0 x; sync a; syncdir .; rename a b; create a",
     "a=x|b=x|a= b=x", NULL},
    /* Replacing CURRENT: done right, then without the file's sync. */
    {"put c 0 x; sync c; syncdir .; put t 0 y; sync t; rename t c",
     "c=x|c=x t=y|c=y", NULL},
    {"put c 0 x; sync c; syncdir .; put t 0 y; sync t; rename t c; syncdir .",
     "c=y", NULL},
    {"put c 0 x; sync c; syncdir .; put t 0 y; rename t c; syncdir .",
     "c=|c=.|c=y", NULL},
    /* Directories. */
    {"mkdir d; create d/a", "|d/|d/ d/a=", NULL},
    {"mkdir d; create d/a; syncdir d", "|d/ d/a=", NULL},
    {"mkdir d; create d/a; syncdir .", "d/|d/ d/a=", NULL},
    {"mkdir d; create d/a; syncdir d; syncdir .", "d/ d/a=", NULL},
    {"mkdir d; syncdir .; rmdir d", "|d/", NULL},
    {"mkdir d; create d/a; syncdir d; syncdir .; rename d e",
     "d/ d/a=|e/ e/a=", NULL},
    {"mkdir d; create a; syncdir .; rename a d/a", "a= d/|d/ d/a=", NULL},
    {"mkdir d; create a; syncdir .; rename a d/a; syncdir d",
     "a= d/|d/ d/a=", NULL},
    {"mkdir d; create a; syncdir .; rename a d/a; syncdir d; syncdir .",
     "d/ d/a=", NULL},
    /* A synced change of a name brings what happened to it before. */
    {"mkdir d; create d/a; syncdir d; syncdir .; rename d/a b; unlink b; "
     "syncdir .; syncdir d", "d/", NULL},
    {"mkdir d; syncdir .; create d/a; unlink d/a; rmdir d; syncdir .", "",
     NULL},
};

static const struct row ordered_rows[] = {
    {"create a; create b", "|a=|a= b=", NULL},
    {"put a 0 x; sync a", "a=x", NULL},
    {"create b; put a 0 x; sync a", "a=x b=", NULL},
    {"put a 0 x; sync a; create b", "a=x|a=x b=", NULL},
    {"put a 0 x; sync a; rename a b", "a=x|b=x", NULL},
    {"put a 0 x; sync a; rename a b; create c; syncdir .", "b=x c=", NULL},
    {"mkdir d; create d/a; syncdir d", "d/ d/a=", NULL},
    {"put a 0 x; sync a; put a 0 y", "a=x|a=y", NULL},
};

static void test_strict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof strict_rows / sizeof *strict_rows; i++)
        check_row(ENV_MEMORY_STRICT, &strict_rows[i]);
}

static void test_ordered(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ordered_rows / sizeof *ordered_rows; i++)
        check_row(ENV_MEMORY_ORDERED, &ordered_rows[i]);
}

/* ---- the rest ---- */

static void test_parts_of_sectors(void **state)
{
    (void)state;
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    struct env_file *f;
    uint8_t bytes[8];
    size_t got;
    assert_int_equal(env_open(e, "f", ENV_WRITE | ENV_CREATE, &f), ADB_OK);
    assert_int_equal(env_file_write(f, 509, "abcdef", 6), ADB_OK);
    assert_int_equal(env_file_read(f, 508, bytes, sizeof bytes, &got), ADB_OK);
    assert_int_equal(got, 7);
    assert_memory_equal(bytes, "\0abcdef", 7);
    /* What was cut off does not come back when the file grows again. */
    assert_int_equal(env_file_truncate(f, 511), ADB_OK);
    assert_int_equal(env_file_truncate(f, 520), ADB_OK);
    assert_int_equal(env_file_read_full(f, 509, bytes, 5), ADB_OK);
    assert_memory_equal(bytes, "ab\0\0\0", 5);
    assert_int_equal(env_file_close(f), ADB_OK);

    assert_int_equal(env_open(e, "f", ENV_READ, &f), ADB_OK);
    assert_int_equal(env_file_write(f, 0, "x", 1), ADB_IO);
    assert_int_equal(env_file_close(f), ADB_OK);
    env_memory_free(e);
}

static void test_maps(void **state)
{
    (void)state;
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    struct env_file *f;
    struct env_map *m, *reader;
    uint8_t bytes[8];
    assert_int_equal(env_open(e, "f", ENV_WRITE | ENV_CREATE, &f), ADB_OK);
    assert_int_equal(env_file_map(f, 4096, true, &m), ADB_IO);
    assert_int_equal(env_file_allocate(f, 10000), ADB_OK);
    assert_int_equal(env_file_write(f, 1, "abc", 3), ADB_OK);
    assert_int_equal(env_file_map(f, 10000, true, &m), ADB_OK);
    assert_int_equal(env_file_map(f, 6000, false, &reader), ADB_OK);
    assert_memory_equal(m->base, "\0abc", 4);
    assert_int_equal(env_map_populate(m, 9999, 2), ADB_INVALID);
    assert_int_equal(env_map_populate(m, 0, 10000), ADB_OK);
    env_map_store(m, 5998, "wxyz", 4);
    assert_memory_equal(reader->base + 5998, "wx", 2);
    assert_int_equal(env_file_read_full(f, 5998, bytes, 4), ADB_OK);
    assert_memory_equal(bytes, "wxyz", 4);
    assert_int_equal(env_file_write(f, 5999, "!", 1), ADB_OK);
    assert_memory_equal(m->base + 5998, "w!yz", 4);
    assert_int_equal(env_file_truncate(f, 4096), ADB_OK);
    assert_int_equal(m->base[5999], 0);
    assert_int_equal(env_map_populate(m, 8192, 10), ADB_IO);
    env_map_unmap(m);
    env_map_unmap(reader);
    assert_int_equal(env_file_close(f), ADB_OK);
    env_memory_free(e);
}

static void test_capacity(void **state)
{
    (void)state;
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    struct env_file *f, *g;
    struct env_map *m;
    static uint8_t data[4096];
    uint64_t size, space;
    memset(data, 1, sizeof data);
    env_memory_set_capacity(e, 4096);
    assert_int_equal(env_open(e, "f", ENV_WRITE | ENV_CREATE, &f), ADB_OK);
    assert_int_equal(env_open(e, "g", ENV_WRITE | ENV_CREATE, &g), ADB_OK);
    assert_int_equal(env_file_allocate(f, 2048), ADB_OK);
    assert_int_equal(env_file_allocate(g, 4096), ADB_NO_SPACE);
    /* As much as fits is written. */
    assert_int_equal(env_file_write(g, 0, data, 4096), ADB_NO_SPACE);
    assert_int_equal(env_file_size(g, &size), ADB_OK);
    assert_int_equal(size, 2048);
    assert_int_equal(e->ops->free_space(e, "/", &space), ADB_OK);
    assert_int_equal(space, 0);
    /* Allocated blocks take their contents on the full disk. */
    assert_int_equal(env_file_write(f, 0, data, 2048), ADB_OK);
    /* A sparse map does not. */
    assert_int_equal(env_file_truncate(f, 8192), ADB_OK);
    assert_int_equal(env_file_map(f, 8192, true, &m), ADB_OK);
    assert_int_equal(env_map_populate(m, 4096, 10), ADB_NO_SPACE);
    env_map_unmap(m);
    /* Space comes back with the last handle, not with the name. */
    assert_int_equal(env_unlink(e, "g"), ADB_OK);
    assert_int_equal(env_file_write(f, 2048, data, 512), ADB_NO_SPACE);
    assert_int_equal(env_file_close(g), ADB_OK);
    assert_int_equal(env_file_write(f, 2048, data, 512), ADB_OK);
    assert_int_equal(env_file_truncate(f, 0), ADB_OK);
    assert_int_equal(e->ops->free_space(e, "/", &space), ADB_OK);
    assert_int_equal(space, 4096);
    assert_int_equal(env_file_close(f), ADB_OK);
    env_memory_free(e);
}

static void test_lock(void **state)
{
    (void)state;
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    void *lock, *second;
    assert_int_equal(env_lock(e, "/LOCK", &lock), ADB_OK);
    assert_int_equal(env_lock(e, "/LOCK", &second), ADB_BUSY);
    assert_non_null(strstr(status_message(), "'/LOCK' is locked"));
    /* The dead hold no locks. */
    struct env *clone = env_memory_clone(e);
    assert_int_equal(env_lock(clone, "/LOCK", &second), ADB_OK);
    env_unlock(clone, second);
    env_memory_free(clone);
    env_unlock(e, lock);
    assert_int_equal(env_lock(e, "/LOCK", &lock), ADB_OK);
    env_unlock(e, lock);
    assert_int_equal(env_lock(e, "/no/LOCK", &lock), ADB_NOT_FOUND);
    env_memory_free(e);
}

static void test_damage(void **state)
{
    (void)state;
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    struct random random;
    random_seed(&random, 1);
    run_script(e, "put a 0 x; put a 1 x; sync a; syncdir .; put a 1 y");
    uint64_t before = env_memory_hash(e);
    assert_int_equal(env_memory_damage(e, "/a", 1000, "!", 1), ADB_OK);
    assert_int_not_equal(env_memory_hash(e), before);
    assert_int_equal(env_memory_damage(e, "/a", 1024, "!", 1), ADB_IO);
    assert_int_equal(env_memory_damage(e, "/b", 0, "!", 1), ADB_NOT_FOUND);
    for (int i = 0; i < 50; i++) {
        uint8_t *data;
        size_t size;
        struct env *image = env_memory_crash(e, &random, ~UINT64_C(0));
        assert_int_equal(env_read_file(image, "/a", 2000, &data, &size),
                         ADB_OK);
        assert_int_equal(data[1000], '!');
        mem_free(data);
        env_memory_free(image);
    }
    env_memory_free(e);
}

struct observed {
    unsigned calls;
    char last[32];
};

static void observe(void *context, struct env *e, const char *operation,
                    const char *path)
{
    struct observed *o = context;
    (void)path;
    o->calls++;
    snprintf(o->last, sizeof o->last, "%s", operation);
    env_memory_free(env_memory_crash(e, NULL, 1));
}

static void test_observer(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"create a", "open"},     {"put a 0 x", "write"},
        {"alloc a 4", "allocate"}, {"store a 0 y", "store"},
        {"cut a 1", "truncate"},  {"sync a", "sync"},
        {"rename a b", "rename"}, {"syncdir .", "sync_dir"},
        {"unlink b", "unlink"},   {"mkdir d", "make_dir"},
        {"rmdir d", "remove_dir"},
    };
    struct observed o = {0};
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    env_memory_set_observer(e, observe, &o);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_script(e, rows[i][0]);
        assert_string_equal(o.last, rows[i][1]);
        assert_int_equal(o.calls, i + 1);
    }
    env_memory_set_observer(e, NULL, NULL);
    env_memory_free(e);
}

/* How many images a second; the power-cut tests need a great many. */
static void test_image_speed(void **state)
{
    (void)state;
    enum { FILES = 12, FILE_SIZE = 96 << 10, IMAGES = 2000 };
    struct env *e = env_memory_new(ENV_MEMORY_STRICT);
    struct random random;
    static uint8_t data[FILE_SIZE];
    random_seed(&random, 3);
    for (int i = 0; i < FILES; i++) {
        char path[16];
        struct env_file *f;
        snprintf(path, sizeof path, "/%d", i);
        for (size_t j = 0; j < sizeof data; j++)
            data[j] = (uint8_t)random_next(&random);
        assert_int_equal(env_open(e, path, ENV_WRITE | ENV_CREATE, &f),
                         ADB_OK);
        assert_int_equal(env_file_write(f, 0, data, sizeof data), ADB_OK);
        if (i % 4)
            assert_int_equal(env_file_sync(f), ADB_OK);
        assert_int_equal(env_file_close(f), ADB_OK);
        if (i == FILES / 2)
            assert_int_equal(env_sync_dir(e, "/"), ADB_OK);
    }
    uint64_t start = clock_now_ns(), hashes = 0;
    for (int i = 0; i < IMAGES; i++) {
        struct env *image = env_memory_crash(e, &random, ~UINT64_C(0));
        hashes += env_memory_hash(image);
        env_memory_free(image);
    }
    print_message("%.1f us an image of %d KiB with its hash (%x)\n",
                  (double)(clock_now_ns() - start) / 1000 / IMAGES,
                  FILES * FILE_SIZE >> 10, (unsigned)hashes & 0xf);
    env_memory_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_ordered),
        cmocka_unit_test(test_parts_of_sectors),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_image_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
