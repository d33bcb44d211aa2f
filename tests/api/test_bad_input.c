/*
 * Paths that hold no database, something else, or a damaged one: the status
 * says which, the message names the file and what to do, and nothing on disk
 * has changed.
 */
#include "api_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/hash.h"

static int setup(void **state)
{
    *state = scratch_new();
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(*state);
    return 0;
}

/* ---- files ------------------------------------------------------------- */

static char *path_in(const char *directory, const char *name)
{
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    assert_int_equal(fread(data, 1, *size, f), *size);
    data[*size] = 0;
    fclose(f);
    return data;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Over names and contents; the order of the directory does not matter. The
   lock file, always empty, does not count. */
static uint64_t hash_directory(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    uint64_t hash = 0;
    assert_non_null(d);
    while ((entry = readdir(d))) {
        struct stat st;
        const char *file = path_in(path, entry->d_name);
        if (strcmp(entry->d_name, "LOCK") == 0 || stat(file, &st) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        size_t size;
        unsigned char *data = read_file(file, &size);
        hash += checksum_bound(data, size,
                               checksum_bytes(entry->d_name,
                                              strlen(entry->d_name)), size);
        free(data);
    }
    closedir(d);
    return hash;
}

/* The first file whose name has this part; static text. */
static const char *find_file(const char *path, const char *part)
{
    static char name[256];
    DIR *d = opendir(path);
    struct dirent *entry;
    name[0] = 0;
    while ((entry = readdir(d)))
        if (strstr(entry->d_name, part) &&
            (!name[0] || strcmp(entry->d_name, name) < 0))
            snprintf(name, sizeof name, "%s", entry->d_name);
    closedir(d);
    if (!name[0])
        fail_msg("no file '*%s*' in '%s'", part, path);
    return name;
}

static void expect_open_fails(const char *path, const char *options,
                              adb_status expected, const char *words)
{
    adb_options *o = options_of(options);
    adb *db = NULL;
    adb_status status = adb_open(path, o, &db);
    adb_options_free(o);
    if (status != expected)
        fail_msg("open '%s': %s instead of %s: %s", path,
                 adb_status_name(status), adb_status_name(expected),
                 status == ADB_OK ? "" : adb_error_message());
    assert_null(db);
    if (!strstr(adb_error_message(), words))
        fail_msg("message without '%s': %s", words, adb_error_message());
}

/* ---- no database ------------------------------------------------------- */

static void test_nothing_there(void **state)
{
    char *path = strdup(path_in(*state, "none"));
    expect_open_fails(path, "create_if_missing=false", ADB_NOT_A_DATABASE,
                      path);
    struct stat st;
    assert_int_not_equal(stat(path, &st), 0);
    assert_int_equal(adb_destroy(path), ADB_NOT_A_DATABASE);
    /* An empty directory: likewise, and it stays empty. */
    assert_int_equal(mkdir(path, 0755), 0);
    expect_open_fails(path, "create_if_missing=false", ADB_NOT_A_DATABASE,
                      path);
    assert_int_equal(rmdir(path), 0);
    /* The parent is missing too: that is not made. */
    char *deep = strdup(path_in(path, "deeper"));
    adb *db = NULL;
    assert_int_not_equal(adb_open(deep, NULL, &db), ADB_OK);
    assert_non_null(strstr(adb_error_message(), deep));
    free(deep);
    free(path);
}

static void test_foreign_files(void **state)
{
    const char *path = *state;
    write_file(path_in(path, "holiday.jpg"), "not ours", 8);
    write_file(path_in(path, "000017.txt"), "nor this", 8);
    uint64_t before = hash_directory(path);
    expect_open_fails(path, "create_if_missing=false", ADB_NOT_A_DATABASE,
                      path);
    assert_int_equal(adb_destroy(path), ADB_NOT_A_DATABASE);
    assert_true(hash_directory(path) == before);
}

static void test_file_in_place_of_directory(void **state)
{
    char *path = strdup(path_in(*state, "file"));
    write_file(path, "a file", 6);
    uint64_t before = hash_directory(*state);
    expect_open_fails(path, "", ADB_NOT_A_DATABASE, path);
    expect_open_fails(path, "create_if_missing=false", ADB_NOT_A_DATABASE,
                      path);
    assert_int_not_equal(adb_destroy(path), ADB_OK);
    assert_true(hash_directory(*state) == before);
    free(path);
}

static void test_exists(void **state)
{
    adb *db = open_with(*state, "");
    put_text(db, "k", "v");
    assert_ok(adb_close(db));
    uint64_t before = hash_directory(*state);
    expect_open_fails(*state, "error_if_exists=true", ADB_EXISTS, *state);
    assert_true(hash_directory(*state) == before);
}

/* Permissions do not bind the superuser: a child becomes somebody else. */
static void test_no_permission(void **state)
{
    adb *db = open_with(*state, "");
    put_text(db, "k", "v");
    assert_ok(adb_close(db));
    uint64_t before = hash_directory(*state);
    assert_int_equal(chmod(*state, 0500), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(0);
        adb *mine = NULL;
        adb_status status = adb_open(*state, NULL, &mine);
        const char *words = adb_error_message();
        int good = status == ADB_IO && strstr(words, *state) &&
                   strstr(words, "denied");
        if (!good)
            fprintf(stderr, "%s: %s\n", adb_status_name(status), words);
        _exit(!good);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(*state, 0755), 0);
    assert_true(hash_directory(*state) == before);
    db = open_with(*state, "");
    expect_text(db, "k", "v");
    assert_ok(adb_close(db));
}

/* ---- damaged databases ------------------------------------------------- */

/* Has a manifest, a live log segment and a table. */
static void make_database(const char *path)
{
    adb *db = open_with(path, "durability=sync");
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%04d", i);
        put_text(db, key, "in a table");
    }
    assert_ok(adb_flush(db));
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%04d", i);
        put_text(db, key, "in the log");
    }
    assert_ok(adb_close(db));
}

/* Opening fails with this status and names the file (or another word), twice,
   and leaves the damage as it found it. */
static void expect_damage(const char *path, adb_status expected,
                          const char *words)
{
    uint64_t before = hash_directory(path);
    expect_open_fails(path, "", expected, words);
    expect_open_fails(path, "create_if_missing=false", expected, words);
    if (hash_directory(path) != before)
        fail_msg("opening a database with a damaged %s changed it", words);
}

static void flip(const char *file, size_t offset)
{
    size_t size;
    unsigned char *data = read_file(file, &size);
    assert_true(offset < size);
    data[offset] ^= 0x10;
    write_file(file, data, size);
    free(data);
}

static void test_current(void **state)
{
    const char *path = *state;
    make_database(path);
    size_t size;
    char *file = strdup(path_in(path, "CURRENT"));
    unsigned char *good = read_file(file, &size);
    for (size_t at = 0; at < size; at += 7) {
        flip(file, at);
        expect_damage(path, ADB_CORRUPTION, "CURRENT");
        assert_non_null(strstr(adb_error_message(), "backup"));
        write_file(file, good, size);
    }
    write_file(file, good, 0);
    expect_damage(path, ADB_CORRUPTION, "CURRENT");
    write_file(file, good, size / 2);
    expect_damage(path, ADB_CORRUPTION, "CURRENT");
    assert_int_equal(unlink(file), 0);
    expect_damage(path, ADB_CORRUPTION, "CURRENT");
    /* Sound, but from the future. */
    char line[600];
    char *rest = strchr((char *)good + strlen("albertdb "), ' ');
    char *sum = strstr((char *)good, " sum ") + strlen(" sum ");
    int n = snprintf(line, sizeof line, "albertdb 99%.*s",
                     (int)(sum - rest), rest);
    n += snprintf(line + n, sizeof line - (size_t)n, "%016llx\n",
                  (unsigned long long)checksum_bytes(line, (size_t)n));
    write_file(file, line, (size_t)n);
    expect_damage(path, ADB_UNSUPPORTED, "newer");
    assert_non_null(strstr(adb_error_message(), "99"));
    write_file(file, good, size);
    adb *db = open_with(path, "");
    expect_text(db, "k0007", "in the log");
    assert_ok(adb_close(db));
    free(good);
    free(file);
}

/* Each place of a file's first bytes, all of which opening reads. */
static void damage_everywhere(const char *path, const char *part, size_t most,
                              size_t step)
{
    char *name = strdup(find_file(path, part));
    char *file = strdup(path_in(path, name));
    size_t size;
    unsigned char *good = read_file(file, &size);
    size_t used = size < most ? size : most;
    for (size_t at = 0; at < used; at += step) {
        flip(file, at);
        expect_damage(path, ADB_CORRUPTION, name);
        write_file(file, good, size);
    }
    write_file(file, good, used / 2);
    expect_damage(path, ADB_CORRUPTION, name);
    write_file(file, good, 0);
    expect_damage(path, ADB_CORRUPTION, name);
    assert_int_equal(unlink(file), 0);
    expect_damage(path, ADB_CORRUPTION, name);
    write_file(file, good, size);
    adb *db = open_with(path, "");
    expect_text(db, "k0007", "in the log");
    expect_text(db, "k0700", "in a table");
    assert_ok(adb_close(db));
    free(good);
    free(file);
    free(name);
}

static void test_manifest(void **state)
{
    make_database(*state);
    damage_everywhere(*state, "MANIFEST-", 400, 13);
}

static void test_log(void **state)
{
    make_database(*state);
    /* Behind the records of the 100 puts a recycled segment holds remains of
       its earlier life. */
    damage_everywhere(*state, ".log", 7500, 401);
}

/* Tables are read when needed: a missing one is noticed at once, a damaged
   one by whoever reads there, and the rest goes on. */
static void test_table(void **state)
{
    const char *path = *state;
    make_database(path);
    char *name = strdup(find_file(path, ".sst"));
    char *file = strdup(path_in(path, name));
    size_t size;
    unsigned char *good = read_file(file, &size);
    assert_int_equal(unlink(file), 0);
    expect_damage(path, ADB_CORRUPTION, name);
    write_file(file, good, size / 2);
    expect_damage(path, ADB_CORRUPTION, name);
    int noticed = 0;
    for (size_t at = 0; at < size; at += size / 23) {
        write_file(file, good, size);
        flip(file, at);
        adb *db = NULL;
        adb_status status = adb_open(path, NULL, &db);
        if (status == ADB_OK) {
            assert_int_equal(adb_verify(db, NULL, NULL, NULL),
                             ADB_CORRUPTION);
            adb_value v = ADB_VALUE_INIT;
            for (int i = 0; i < 1000; i++) {
                char key[16];
                snprintf(key, sizeof key, "k%04d", i);
                status = adb_get(db, NULL, key, 5, &v);
                if (status == ADB_OK) {
                    assert_memory_equal(
                        v.data, i < 100 ? "in the log" : "in a table", 10);
                    adb_value_release(&v);
                } else {
                    /* Never silently gone. */
                    assert_int_equal(status, ADB_CORRUPTION);
                    assert_non_null(strstr(adb_error_message(), name));
                    noticed++;
                }
            }
            put_text(db, "still", "writable");
            expect_text(db, "still", "writable");
            assert_ok(adb_close(db));
        } else {
            assert_int_equal(status, ADB_CORRUPTION);
            assert_non_null(strstr(adb_error_message(), name));
            noticed++;
        }
    }
    assert_true(noticed > 0);
    free(good);
    free(file);
    free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_in_place_of_directory,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_exists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_permission, setup, teardown),
        cmocka_unit_test_setup_teardown(test_current, setup, teardown),
        cmocka_unit_test_setup_teardown(test_manifest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
