/* get, put, delete: single pairs. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void show_value(const struct cli *c, adb_slice key, adb_slice value)
{
    struct text t = {0};
    if (c->json) {
        text_add_json_pair(&t, c->hex, key, &value);
    } else if (c->hex) {
        text_add_hex(&t, value);
        text_add_string(&t, "\n");
    } else if (c->in_shell || isatty(STDOUT_FILENO)) {
        text_add_escaped(&t, value);
        text_add_string(&t, "\n");
    } else {
        out_write(value.data, value.size);
    }
    out_text(&t);
    text_free(&t);
}

int run_get(struct cli *c)
{
    struct text key = {0};
    adb_value v = ADB_VALUE_INIT;
    int code = argument_bytes(c, c->args[0], &key);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK) {
        adb_slice k = text_slice(&key);
        adb_status status = adb_get(c->db, NULL, k.data, k.size, &v);
        if (status == ADB_OK) {
            show_value(c, k, (adb_slice){v.data, v.size});
        } else if (status == ADB_NOT_FOUND) {
            fprintf(stderr, "albertdb: get: there is no key '%s'\n",
                    c->args[0]);
            code = EXIT_NOT_FOUND;
        } else {
            code = fail_status("get", status);
        }
        adb_value_release(&v);
    }
    text_free(&key);
    return code;
}

/* Standard input to its end. */
static int read_input(const struct cli *c, struct text *out)
{
    char chunk[65536];
    size_t got;
    if (c->in_shell)
        return fail_usage(c, "the shell reads standard input itself");
    errno = 0;
    while ((got = fread(chunk, 1, sizeof chunk, stdin)) > 0) {
        text_add(out, chunk, got);
        if (out->size > 2 * (size_t)ADB_MAX_VALUE_SIZE + 2)
            return fail_usage(c, "the value is above the limit of 1 GiB");
    }
    if (ferror(stdin))
        return fail_errno("put: standard input");
    if (!c->hex)
        return EXIT_OK;
    struct text raw = {0};
    while (out->size && strchr("\r\n", out->data[out->size - 1]))
        out->size--;
    bool good = text_add_unhexed(&raw, out->data, out->size);
    text_free(out);
    *out = raw;
    return good ? EXIT_OK
                : fail_usage(c, "standard input is not hexadecimal");
}

int run_put(struct cli *c)
{
    struct text key = {0}, value = {0};
    int code = argument_bytes(c, c->args[0], &key);
    if (code == EXIT_OK)
        code = strcmp(c->args[1], "-") == 0
                   ? read_input(c, &value)
                   : argument_bytes(c, c->args[1], &value);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK) {
        adb_slice k = text_slice(&key), v = text_slice(&value);
        adb_status status =
            adb_put(c->db, NULL, k.data, k.size, v.data, v.size);
        if (status != ADB_OK)
            code = fail_status("put", status);
    }
    text_free(&key);
    text_free(&value);
    return code;
}

static int add_deletes(struct cli *c, adb_batch *batch)
{
    struct text key = {0};
    int code = EXIT_OK;
    for (int i = 0; i < c->arg_count && code == EXIT_OK; i++) {
        key.size = 0;
        code = argument_bytes(c, c->args[i], &key);
        if (code != EXIT_OK)
            break;
        adb_slice k = text_slice(&key);
        adb_status status = adb_batch_delete(batch, k.data, k.size);
        if (status != ADB_OK)
            code = fail_status("delete", status);
    }
    text_free(&key);
    return code;
}

int run_delete(struct cli *c)
{
    adb_batch *batch = adb_batch_new();
    int code = batch ? add_deletes(c, batch)
                     : fail_status("delete", ADB_NO_MEMORY);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK) {
        adb_status status = adb_write(c->db, NULL, batch);
        if (status != ADB_OK)
            code = fail_status("delete", status);
    }
    adb_batch_free(batch);
    return code;
}
