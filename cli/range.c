/* The keys that --from, --to and --prefix choose, and a walk over them. */
#include "cli.h"

static int add_bound(const struct cli *c, const char *argument,
                     struct text *t, adb_slice *out)
{
    if (!argument)
        return EXIT_OK;
    int code = argument_bytes(c, argument, t);
    *out = text_slice(t);
    return code;
}

int range_init(struct range *r, const struct cli *c)
{
    *r = (struct range){.options = ADB_ITER_OPTIONS_INIT};
    int code = add_bound(c, c->from, &r->from, &r->options.lower);
    if (code == EXIT_OK)
        code = add_bound(c, c->to, &r->to, &r->options.upper);
    if (code == EXIT_OK)
        code = add_bound(c, c->prefix, &r->prefix, &r->options.prefix);
    return code;
}

void range_deinit(struct range *r)
{
    text_free(&r->from);
    text_free(&r->to);
    text_free(&r->prefix);
}

static adb_status walk(const struct cli *c, adb_iter *it, show_fn show,
                       void *context)
{
    uint64_t left = c->limit;
    int more = c->reverse ? adb_iter_seek_last(it) : adb_iter_seek_first(it);
    while (more && left-- > 0) {
        adb_slice value = {"", 0};
        if (!c->keys_only) {
            value = adb_iter_value(it);
            adb_status status = adb_iter_status(it);
            if (status != ADB_OK)
                return status;
        }
        if (!show(context, adb_iter_key(it), value))
            break;
        more = c->reverse ? adb_iter_prev(it) : adb_iter_next(it);
    }
    return adb_iter_status(it);
}

int range_walk(struct cli *c, show_fn show, void *context)
{
    struct range r;
    adb_iter *it = NULL;
    int code = range_init(&r, c);
    if (code == EXIT_OK)
        code = open_database(c);
    if (code == EXIT_OK) {
        r.options.no_fill_cache = 1;
        adb_status status = adb_iter_new(c->db, &r.options, &it);
        if (status == ADB_OK)
            status = walk(c, it, show, context);
        if (status != ADB_OK)
            code = fail_status(c->verb->name, status);
        adb_iter_free(it);
    }
    range_deinit(&r);
    return code;
}
