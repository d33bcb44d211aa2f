/* verify and compact. */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>

#include "progress.h"

struct check {
    const struct cli *c;
    uint64_t damages, bytes;
    struct text line; /* owned */
    struct progress progress;
};

static void on_damage(void *context, const char *text)
{
    struct check *k = context;
    adb_slice words = {text, 0};
    while (text[words.size])
        words.size++;
    k->line.size = 0;
    if (k->c->json) {
        text_add_string(&k->line, k->damages ? "," : "");
        text_add_json(&k->line, words);
    } else {
        /* Keys are escaped in it already. */
        text_print(&k->line, "damaged: %s\n", text);
    }
    out_text(&k->line);
    k->damages++;
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct check *k = context;
    k->bytes = k->progress.total = total;
    progress_show(&k->progress, done);
}

static void report(struct check *k, adb_status status)
{
    k->line.size = 0;
    if (k->c->json) {
        text_print(&k->line, "],\"bytes\":%" PRIu64 ",\"status\":\"%s\"}\n",
                   k->bytes, adb_status_name(status));
    } else if (status == ADB_OK) {
        text_print(&k->line, "%s: no damage in ", k->c->db_path);
        text_add_size(&k->line, (double)k->bytes);
        text_add_string(&k->line, "\n");
    }
    out_text(&k->line);
}

int run_verify(struct cli *c)
{
    struct check k = {.c = c};
    int code = open_database(c);
    if (code != EXIT_OK)
        return code;
    if (c->json)
        out_write("{\"damaged\":[", 12);
    progress_begin(&k.progress, "verify", NULL, 0);
    adb_status status = adb_verify(c->db, on_damage, on_progress, &k);
    progress_end(&k.progress);
    if (status != ADB_OK)
        code = fail_status("verify", status);
    report(&k, status);
    text_free(&k.line);
    return code;
}

int run_compact(struct cli *c)
{
    struct range r;
    int code = range_init(&r, c);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK) {
        adb_status status =
            adb_compact(c->db, r.options.lower, r.options.upper);
        code = status == ADB_OK ? run_levels(c)
                                : fail_status("compact", status);
    }
    range_deinit(&r);
    return code;
}
