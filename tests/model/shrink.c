#include "model/shrink.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/thread.h"
#include "model/run.h"

struct work {
    struct shrink *sh;
    struct script *s;
    uint64_t deadline_ns;
};

static bool in_time(const struct work *w)
{
    return clock_now_ns() < w->deadline_ns;
}

static bool fails(struct work *w, const struct script *candidate)
{
    w->sh->tried++;
    return w->sh->fails(w->sh->context, candidate);
}

/* ---- operations ---- */

/* The script without [from, to), its texts borrowed. */
static struct script without(const struct script *s, size_t from, size_t to)
{
    struct script c = *s;
    c.count = s->count - (to - from);
    c.ops = malloc((c.count + 1) * sizeof *c.ops);
    memcpy(c.ops, s->ops, from * sizeof *c.ops);
    memcpy(c.ops + from, s->ops + to, (s->count - to) * sizeof *c.ops);
    return c;
}

static bool try_without(struct work *w, size_t from, size_t to)
{
    struct script *s = w->s, c = without(s, from, to);
    if (!fails(w, &c)) {
        free(c.ops);
        return false;
    }
    for (size_t i = from; i < to; i++)
        free(s->ops[i].options);
    free(s->ops);
    s->ops = c.ops;
    s->count = c.count;
    s->capacity = c.count + 1;
    return true;
}

/* One pass over pieces of a size, from the end, where what does not matter any
   more is found first. */
static bool drop_pieces(struct work *w, size_t size)
{
    bool dropped = false;
    for (size_t to = w->s->count; to > 0 && in_time(w);) {
        size_t from = to > size ? to - size : 0;
        dropped |= try_without(w, from, to);
        to = from;
    }
    return dropped;
}

static bool drop_operations(struct work *w)
{
    size_t size = (w->s->count + 1) / 2;
    bool any = false;
    while (size > 0 && w->s->count > 0 && in_time(w)) {
        bool dropped = drop_pieces(w, size);
        any |= dropped;
        if (dropped && size > 1)
            size = MIN_OF(size, (w->s->count + 1) / 2);
        else if (!dropped)
            size /= 2;
    }
    return any;
}

/* ---- options ---- */

/* The text without the n-th word, fresh; NULL: it has no such word. */
static char *without_word(const char *text, size_t n)
{
    const char *p = text;
    for (;; n--) {
        p += strspn(p, " ");
        size_t size = strcspn(p, " ");
        if (!size)
            return NULL;
        if (n == 0) {
            char *copy = malloc(strlen(text) + 1);
            memcpy(copy, text, (size_t)(p - text));
            strcpy(copy + (p - text), p + size + strspn(p + size, " "));
            return copy;
        }
        p += size;
    }
}

/* *text is that of the script or of one of its operations. */
static bool try_text(struct work *w, char **text, char *shorter)
{
    char *old = *text;
    *text = shorter;
    bool better = fails(w, w->s);
    if (!better)
        *text = old;
    free(better ? old : shorter);
    return better;
}

static bool drop_words(struct work *w, char **text)
{
    bool any = false;
    if (!*text || (*text)[strspn(*text, " ")] == '\0')
        return false;
    if (try_text(w, text, strdup("")))
        return true;
    for (size_t n = 0; in_time(w);) {
        char *shorter = without_word(*text, n);
        if (!shorter)
            break;
        if (try_text(w, text, shorter))
            any = true;
        else
            n++;
    }
    return any;
}

static bool drop_options(struct work *w)
{
    bool any = drop_words(w, &w->s->options);
    for (size_t i = 0; i < w->s->count && in_time(w); i++)
        any |= drop_words(w, &w->s->ops[i].options);
    return any;
}

/* ---- details ---- */

/* Tries the operation as `simple`, which owns nothing. */
static bool try_op(struct work *w, size_t i, struct op simple)
{
    struct op old = w->s->ops[i];
    if (memcmp(&old, &simple, sizeof old) == 0)
        return false;
    w->s->ops[i] = simple;
    if (fails(w, w->s))
        return true;
    w->s->ops[i] = old;
    return false;
}

static struct op without_key(struct op op, size_t k)
{
    op.count--;
    memmove(op.list + k, op.list + k + 1, (op.count - k) * sizeof op.list[0]);
    return op;
}

static bool simplify(struct work *w, size_t i)
{
    struct op plain = w->s->ops[i];
    plain.flags = plain.snapshot = plain.durability = 0;
    plain.place.near = AT_KEY;
    bool any = try_op(w, i, plain);
    for (size_t k = 0; k < w->s->ops[i].count && in_time(w);) {
        if (try_op(w, i, without_key(w->s->ops[i], k)))
            any = true;
        else
            k++;
    }
    return any;
}

static bool simplify_all(struct work *w)
{
    bool any = false;
    for (size_t i = 0; i < w->s->count && in_time(w); i++)
        any |= simplify(w, i);
    return any;
}

void script_shrink(struct shrink *sh, struct script *s)
{
    struct work w = {
        .sh = sh,
        .s = s,
        .deadline_ns = clock_now_ns() + sh->seconds * UINT64_C(1000000000),
    };
    sh->tried = 0;
    bool smaller = true;
    while (smaller && in_time(&w)) {
        smaller = drop_operations(&w);
        smaller |= drop_options(&w);
        smaller |= simplify_all(&w);
    }
}

/* ---- of what the tests find ---- */

enum { SHRINK_SECONDS = 240, ATTEMPTS = 5, TIMEOUT_MS = 120000 };

struct failure {
    struct run_job job;
    enum child_end end;
    unsigned attempts; /* a race needs several */
    unsigned timeout_ms;
};

static bool fails_again(void *context, const struct script *candidate)
{
    struct failure *f = context;
    f->job.script = candidate;
    for (unsigned i = 0; i < f->attempts; i++) {
        struct child_result r = run_script_child(&f->job, f->timeout_ms, true);
        if (r.end == f->end)
            return true;
    }
    return false;
}

static void write_file(const struct script *s, const char *name,
                       const struct child_result *failure)
{
    FILE *out = fopen(name, "w");
    if (!out)
        die("cannot write %s: %s", name, strerror(errno));
    fprintf(out, "# %.200s\n", failure->text);
    script_print(out, s);
    fclose(out);
    printf("%zu operations written to %s\n", s->count, name);
}

void shrink_and_tell(struct script *s, const char *name, bool compare,
                     const struct child_result *failure)
{
    struct failure f = {.job = {.path = "shrink", .compare = compare},
                        .end = failure->end,
                        .attempts = 1,
                        .timeout_ms = TIMEOUT_MS};
    struct shrink sh = {
        .fails = fails_again, .context = &f, .seconds = SHRINK_SECONDS};
    write_file(s, name, failure);
    uint64_t began = clock_now_ns();
    while (f.attempts <= ATTEMPTS && !fails_again(&f, s))
        f.attempts++;
    if (f.attempts > ATTEMPTS) {
        printf("it did not fail again in %d attempts\n", ATTEMPTS);
        return;
    }
    /* A candidate that takes ten times as long hangs. */
    uint64_t took_ms = (clock_now_ns() - began) / 1000000;
    f.timeout_ms = (unsigned)MIN_OF(10 * took_ms + 2000, (uint64_t)TIMEOUT_MS);
    script_shrink(&sh, s);
    write_file(s, name, failure);
    if (s->count <= 40)
        script_print(stdout, s);
}
