/*
 * albertdb repair: makes a damaged database whole, and tells what is lost.
 */
#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "progress.h"

struct report {
    struct cli *c;
    struct progress progress;
    uint64_t lines; /* of damage */
};

/* ---- as it goes --------------------------------------------------------- */

static void add_field(struct text *t, const char *name, adb_slice s)
{
    text_add_string(t, ",\"");
    text_add_string(t, name);
    text_add_string(t, "\":");
    if (s.data)
        text_add_json(t, s);
    else
        text_add_string(t, "null");
}

static adb_slice slice(const char *text)
{
    return (adb_slice){text, strlen(text)};
}

/* One JSON object a line. */
static void print_json(const adb_damage *d)
{
    struct text t = {0};
    text_print(&t,
               "{\"status\":\"%s\",\"offset\":%" PRIu64
               ",\"size\":%" PRIu64,
               adb_status_name(d->status), d->offset, d->size);
    add_field(&t, "file", slice(d->file));
    add_field(&t, "from", d->from);
    add_field(&t, "to", d->to);
    add_field(&t, "text", slice(d->text));
    text_add_string(&t, "}\n");
    out_text(&t);
    text_free(&t);
}

static void on_report(void *context, const adb_damage *d)
{
    struct report *r = context;
    r->lines += d->status != ADB_OK;
    progress_end(&r->progress);
    if (r->c->json) {
        print_json(d);
    } else {
        struct text t = {0};
        text_print(&t, "%s%s\n", d->status == ADB_OK ? "" : "damaged: ",
                   d->text);
        out_text(&t);
        text_free(&t);
    }
    fflush(stdout);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct report *r = context;
    r->progress.total = total;
    progress_show(&r->progress, done);
}

/* ---- at the end --------------------------------------------------------- */

static void print_json_summary(const adb_repair_summary *s)
{
    printf("{\"changed\":%s,\"rebuilt\":%s,\"stale_possible\":%s,"
           "\"tables\":%" PRIu64 ",\"tables_damaged\":%" PRIu64
           ",\"versions_lost\":%" PRIu64 ",\"log_records\":%" PRIu64
           ",\"log_holes\":%" PRIu64 ",\"log_operations_lost\":%" PRIu64 "}\n",
           s->changed ? "true" : "false", s->rebuilt ? "true" : "false",
           s->stale_possible ? "true" : "false", s->tables, s->tables_damaged,
           s->versions_lost, s->log_records, s->log_holes,
           s->log_operations_lost);
}

static void print_summary(const struct report *r, const adb_repair_summary *s)
{
    const char *path = r->c->db_path;
    if (!s->changed && !r->lines) {
        printf("%s: no damage found, nothing changed\n", path);
        return;
    }
    printf("%s: %s; %" PRIu64 " tables looked at, %" PRIu64
           " of them damaged or missing; %" PRIu64 " versions lost\n",
           path, r->c->dry_run ? "to be repaired" : "repaired", s->tables,
           s->tables_damaged, s->versions_lost);
    if (s->log_holes)
        printf("%s: %" PRIu64 " holes in the log, at most %" PRIu64
               " writes lost where it can be told\n",
               path, s->log_holes, s->log_operations_lost);
    if (s->stale_possible)
        printf("%s: keys in what is told above may show older values; deleted "
               "ones may be back\n",
               path);
}

/* Exit code 3 when there was damage, also if nothing was lost by it. */
int run_repair(struct cli *c)
{
    struct report r = {.c = c};
    adb_repair_summary s = ADB_REPAIR_SUMMARY_INIT;
    adb_repair_options o = ADB_REPAIR_OPTIONS_INIT;
    o.dry_run = c->dry_run;
    o.skip_unreadable = c->skip_unreadable;
    o.report = on_report;
    o.progress = on_progress;
    o.context = &r;
    progress_begin(&r.progress, "repair", NULL, 0);
    adb_status status = adb_repair(c->db_path, c->options, &o, &s);
    progress_end(&r.progress);
    if (status != ADB_OK)
        return fail_status("repair", status);
    if (c->json)
        print_json_summary(&s);
    else
        print_summary(&r, &s);
    return r.lines ? EXIT_DAMAGED : EXIT_OK;
}
