#include "model/script.h"

#include <ctype.h>
#include <errno.h>

/* What a kind's line has, beside its name. */
enum { SLOT = 1, PLACE = 2, VALUE = 4, WORDS = 8, LIST = 16, OPTIONS = 32 };
static const struct form {
    const char *name;
    unsigned has;
} forms[OP_KINDS] = {
    [OP_PUT] = {"put", PLACE | VALUE | WORDS},
    [OP_DELETE] = {"delete", PLACE | WORDS},
    [OP_BEGIN] = {"begin", 0},
    [OP_WRITE] = {"write", WORDS},
    [OP_GET] = {"get", PLACE | WORDS},
    [OP_GET_INTO] = {"get-into", PLACE | WORDS},
    [OP_MULTI_GET] = {"multi-get", WORDS | LIST},
    [OP_PIN] = {"pin", SLOT | PLACE | WORDS},
    [OP_UNPIN] = {"unpin", SLOT},
    [OP_SNAPSHOT] = {"snapshot", SLOT},
    [OP_RELEASE] = {"release", SLOT},
    [OP_ITER] = {"iter", SLOT | WORDS},
    [OP_FIRST] = {"first", SLOT},
    [OP_LAST] = {"last", SLOT},
    [OP_NEXT] = {"next", SLOT},
    [OP_PREV] = {"prev", SLOT},
    [OP_SEEK] = {"seek", SLOT | PLACE},
    [OP_SEEK_FOR_PREV] = {"seek-for-prev", SLOT | PLACE},
    [OP_END] = {"end", SLOT},
    [OP_SIZE] = {"size", WORDS},
    [OP_COMPACT] = {"compact", WORDS},
    [OP_FLUSH] = {"flush", 0},
    [OP_SYNC] = {"sync", 0},
    [OP_VERIFY] = {"verify", 0},
    [OP_WAIT] = {"wait", 0},
    [OP_STATS] = {"stats", 0},
    [OP_REOPEN] = {"reopen", OPTIONS},
    [OP_CRASH] = {"crash", OPTIONS},
};

/* ---- lists of operations ---- */

void script_init(struct script *s, uint64_t keys, const char *options)
{
    *s = (struct script){.keys = keys, .options = strdup(options)};
}

void script_deinit(struct script *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->ops[i].options);
    free(s->ops);
    free(s->options);
    *s = (struct script){0};
}

void script_add(struct script *s, const struct op *op)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 64;
        s->ops = realloc(s->ops, s->capacity * sizeof *s->ops);
    }
    s->ops[s->count] = *op;
    if (op->options)
        s->ops[s->count].options = strdup(op->options);
    s->count++;
}

void script_copy(struct script *s, const struct script *from)
{
    script_init(s, from->keys, from->options);
    for (size_t i = 0; i < from->count; i++)
        script_add(s, &from->ops[i]);
}

/* ---- to text ---- */

static const char nears[] = {[AT_KEY] = '\0',
                             [AFTER_KEY] = '+',
                             [SHORTER_KEY] = '-',
                             [BEHIND_KEY] = '^'};

static void print_place(FILE *out, const char *word, struct place p)
{
    fprintf(out, " %s%u", word, p.key);
    if (p.near)
        fputc(nears[p.near], out);
}

static void print_words(FILE *out, const struct op *op)
{
    if (op->snapshot)
        fprintf(out, " @%u", op->snapshot - 1u);
    if (op->flags & OP_NO_FILL)
        fputs(" nofill", out);
    if (op->flags & OP_FROM)
        print_place(out, "from ", op->from);
    if (op->flags & OP_TO)
        print_place(out, "to ", op->to);
    if (op->flags & OP_PREFIX)
        print_place(out, "prefix ", op->prefix);
    if (op->durability == ADB_DURABILITY_PROCESS)
        fputs(" process", out);
    if (op->durability == ADB_DURABILITY_SYNC)
        fputs(" sync", out);
}

void op_print(FILE *out, const struct op *op)
{
    const struct form *form = &forms[op->kind];
    fputs(form->name, out);
    if (form->has & SLOT)
        fprintf(out, " %u", op->slot);
    if (form->has & PLACE)
        print_place(out, "", op->place);
    if (form->has & VALUE)
        fprintf(out, " %llu", (unsigned long long)op->value);
    if (form->has & WORDS)
        print_words(out, op);
    for (size_t i = 0; form->has & LIST && i < op->count; i++)
        print_place(out, "", op->list[i]);
    if (form->has & OPTIONS && op->options)
        fprintf(out, " %s", op->options);
    fputc('\n', out);
}

void script_print(FILE *out, const struct script *s)
{
    fprintf(out, "keys %llu\n", (unsigned long long)s->keys);
    fprintf(out, "open %s\n", s->options);
    for (size_t i = 0; i < s->count; i++)
        op_print(out, &s->ops[i]);
}

/* ---- from text ---- */

struct line {
    const char *path;
    unsigned number;
    char *rest; /* words not read yet */
};

static _Noreturn void bad_line(const struct line *l, const char *what)
{
    die("%s:%u: %s", l->path, l->number, what);
}

/* NULL at the end of the line. */
static char *next_word(struct line *l)
{
    while (isspace((unsigned char)*l->rest))
        l->rest++;
    if (!*l->rest)
        return NULL;
    char *word = l->rest;
    while (*l->rest && !isspace((unsigned char)*l->rest))
        l->rest++;
    if (*l->rest)
        *l->rest++ = '\0';
    return word;
}

static uint64_t number_of(const struct line *l, const char *word,
                          uint64_t below, char **end)
{
    char *stop = NULL;
    errno = 0;
    uint64_t n = word ? strtoull(word, &stop, 10) : 0;
    if (!word || errno || stop == word || n >= below || (!end && *stop))
        bad_line(l, "a number is missing or too large");
    if (end)
        *end = stop;
    return n;
}

static struct place place_of(const struct line *l, const char *word)
{
    char *end;
    struct place p = {.key = (uint16_t)number_of(l, word, MODEL_KEYS, &end)};
    while (p.near < sizeof nears && *end != nears[p.near])
        p.near++;
    if (p.near == sizeof nears || (*end && end[1]))
        bad_line(l, "no such neighbour of a key");
    return p;
}

/* True when word was one of those that may stand anywhere. */
static bool take_word(struct line *l, const char *word, struct op *op)
{
    if (word[0] == '@')
        op->snapshot = (uint8_t)(1 + number_of(l, word + 1, OP_SLOTS, NULL));
    else if (strcmp(word, "nofill") == 0)
        op->flags |= OP_NO_FILL;
    else if (strcmp(word, "from") == 0)
        op->flags |= OP_FROM, op->from = place_of(l, next_word(l));
    else if (strcmp(word, "to") == 0)
        op->flags |= OP_TO, op->to = place_of(l, next_word(l));
    else if (strcmp(word, "prefix") == 0)
        op->flags |= OP_PREFIX, op->prefix = place_of(l, next_word(l));
    else if (strcmp(word, "process") == 0)
        op->durability = ADB_DURABILITY_PROCESS;
    else if (strcmp(word, "sync") == 0)
        op->durability = ADB_DURABILITY_SYNC;
    else
        return false;
    return true;
}

static void parse_op(struct line *l, const char *name, struct op *op)
{
    char *word;
    while (op->kind < OP_KINDS && strcmp(forms[op->kind].name, name) != 0)
        op->kind++;
    if (op->kind == OP_KINDS)
        bad_line(l, "no such operation");
    unsigned has = forms[op->kind].has;
    if (has & SLOT)
        op->slot = (uint8_t)number_of(
            l, next_word(l),
            op->kind == OP_PIN || op->kind == OP_UNPIN ? OP_PINS : OP_SLOTS,
            NULL);
    if (has & PLACE)
        op->place = place_of(l, next_word(l));
    if (has & VALUE)
        op->value = number_of(l, next_word(l), UINT64_MAX, NULL);
    if (has & OPTIONS) {
        op->options = strdup(l->rest);
        return;
    }
    while ((word = next_word(l)))
        if (!(has & WORDS && take_word(l, word, op))) {
            if (!(has & LIST) || op->count == OP_LIST_MAX)
                bad_line(l, "a word too many");
            op->list[op->count++] = place_of(l, word);
        }
}

static void parse_line(struct script *s, struct line *l)
{
    const char *name = next_word(l);
    struct op op = {0};
    if (!name)
        return;
    if (strcmp(name, "keys") == 0) {
        s->keys = number_of(l, next_word(l), UINT64_MAX, NULL);
    } else if (strcmp(name, "open") == 0) {
        free(s->options);
        s->options = strdup(l->rest);
    } else {
        parse_op(l, name, &op);
        script_add(s, &op);
        free(op.options);
    }
}

void script_read(struct script *s, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    struct line l = {.path = path};
    FILE *in = fopen(path, "r");
    if (!in)
        die("cannot read %s: %s", path, strerror(errno));
    script_init(s, 1, "");
    while (getline(&text, &size, in) >= 0) {
        l.number++;
        l.rest = text;
        text[strcspn(text, "#\n")] = '\0';
        parse_line(s, &l);
    }
    free(text);
    fclose(in);
}
