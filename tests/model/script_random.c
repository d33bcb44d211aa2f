/*
 * Random scripts. Every script has a character of its own: few keys or many,
 * which operations are frequent, how much is deleted.
 */
#include "base/bytes.h"
#include "model/script.h"

/* Of 10,000 operations on the average. Moves of iterators and operations in
   batches come in runs behind what begins them. */
static const unsigned weights[OP_KINDS] = {
    [OP_PUT] = 3600,   [OP_DELETE] = 900,   [OP_BEGIN] = 60,
    [OP_GET] = 1500,   [OP_GET_INTO] = 900, [OP_MULTI_GET] = 150,
    [OP_PIN] = 120,    [OP_UNPIN] = 110,    [OP_SNAPSHOT] = 50,
    [OP_RELEASE] = 40, [OP_ITER] = 60,      [OP_NEXT] = 200,
    [OP_END] = 30,     [OP_SIZE] = 10,      [OP_COMPACT] = 3,
    [OP_FLUSH] = 8,    [OP_SYNC] = 4,       [OP_VERIFY] = 1,
    [OP_WAIT] = 1,     [OP_STATS] = 1,      [OP_REOPEN] = 2,
    [OP_CRASH] = 3,
};

void generator_init(struct generator *g, uint64_t seed,
                    char options[MODEL_OPTIONS_MAX])
{
    static const unsigned keys[] = {30, 300, MODEL_KEYS, MODEL_KEYS};
    static const unsigned percents[] = {20, 20, 45, 70};
    memset(g, 0, sizeof *g);
    random_seed(&g->random, seed);
    g->keys = keys[random_below(&g->random, 4)];
    g->hot = 1 + (unsigned)random_below(&g->random, 60);
    g->delete_percent = percents[random_below(&g->random, 4)];
    g->next_value = 1;
    for (size_t i = 0; i < OP_KINDS; i++) {
        /* From a quarter of the average to four times as often. */
        g->weights[i] = 16 * weights[i] >> random_below(&g->random, 5);
        if (i == OP_VERIFY || i == OP_COMPACT || i == OP_WAIT)
            g->weights[i] = 8 * weights[i]; /* these take long */
        g->weight_sum += g->weights[i];
    }
    model_options(&g->random, options);
}

static bool chance(struct generator *g, unsigned one_in)
{
    return random_below(&g->random, one_in) == 0;
}

static uint8_t some_slot(struct generator *g, unsigned slots)
{
    return (uint8_t)random_below(&g->random, slots);
}

static uint16_t some_key(struct generator *g)
{
    unsigned step = MODEL_KEYS / g->keys;
    if (random_below(&g->random, 2))
        return (uint16_t)(random_below(&g->random, g->keys) * step);
    return (uint16_t)(random_below(&g->random, MIN_OF(g->hot, g->keys)) * step);
}

static struct place some_place(struct generator *g)
{
    struct place p = {.key = some_key(g)};
    if (chance(g, 6))
        p.near = (uint8_t)(1 + random_below(&g->random, 3));
    return p;
}

static void read_from(struct generator *g, struct op *op)
{
    uint8_t slot = some_slot(g, OP_SLOTS);
    if (g->held[slot] && chance(g, 2))
        op->snapshot = (uint8_t)(slot + 1);
    if (chance(g, 8))
        op->flags |= OP_NO_FILL;
}

static void bounds(struct generator *g, struct op *op)
{
    if (chance(g, 3)) {
        op->flags |= OP_FROM;
        op->from = some_place(g);
    }
    if (chance(g, 3)) {
        op->flags |= OP_TO;
        op->to = some_place(g);
    }
}

/* One of a hundred writes asks for more than the database's level. */
static void raise(struct generator *g, struct op *op)
{
    if (chance(g, 100))
        op->durability =
            chance(g, 2) ? ADB_DURABILITY_SYNC : ADB_DURABILITY_PROCESS;
}

static void make_write(struct generator *g, struct op *op)
{
    op->kind =
        random_below(&g->random, 100) < g->delete_percent ? OP_DELETE : OP_PUT;
    op->place.key = some_key(g);
    if (op->kind == OP_PUT)
        op->value = g->next_value++;
}

static void make_move(struct generator *g, struct op *op)
{
    static const uint8_t kinds[] = {
        OP_FIRST, OP_LAST, OP_SEEK, OP_SEEK_FOR_PREV, OP_NEXT, OP_NEXT,
        OP_NEXT,  OP_NEXT, OP_PREV, OP_PREV,          OP_PREV};
    op->kind = kinds[random_below(&g->random, sizeof kinds)];
    op->slot = g->iterator;
    if (op->kind == OP_SEEK || op->kind == OP_SEEK_FOR_PREV)
        op->place = some_place(g);
}

/* What an earlier operation began; false: nothing. */
static bool go_on(struct generator *g, struct op *op)
{
    if (g->in_batch) {
        g->in_batch--;
        if (g->in_batch) {
            make_write(g, op);
        } else {
            op->kind = OP_WRITE;
            raise(g, op);
        }
        return true;
    }
    if (g->moves) {
        g->moves--;
        make_move(g, op);
        return true;
    }
    if (g->run && g->run_key < MODEL_KEYS) {
        g->run--;
        op->kind = OP_DELETE;
        op->place.key = g->run_key++;
        return true;
    }
    g->run = 0;
    return false;
}

static uint8_t some_kind(struct generator *g)
{
    uint64_t dice = random_below(&g->random, g->weight_sum);
    uint8_t kind = 0;
    while (dice >= g->weights[kind])
        dice -= g->weights[kind++];
    return kind;
}

static void make_list(struct generator *g, struct op *op)
{
    op->count = (uint8_t)(1 + random_below(&g->random, OP_LIST_MAX));
    for (size_t i = 0; i < op->count; i++)
        op->list[i] = some_place(g);
}

static void make_iterator(struct generator *g, struct op *op)
{
    op->slot = some_slot(g, OP_SLOTS);
    if (g->open[op->slot]) {
        op->kind = OP_END;
        g->open[op->slot] = false;
        return;
    }
    read_from(g, op);
    bounds(g, op);
    if (chance(g, 8)) {
        op->flags |= OP_PREFIX;
        op->prefix = some_place(g);
    }
    g->open[op->slot] = true;
    g->iterator = op->slot;
    g->moves = (unsigned)random_below(&g->random, 40);
}

static void make_opening(struct generator *g, struct op *op)
{
    static const char *const levels[] = {"process", "process", "none", "sync"};
    char text[MODEL_OPTIONS_MAX + 32];
    model_options(&g->random, text);
    strcat(text, " durability=");
    strcat(text, levels[random_below(&g->random, 4)]);
    op->options = strdup(text);
    memset(g->open, 0, sizeof g->open);
    memset(g->held, 0, sizeof g->held);
}

static void fill_in(struct generator *g, struct op *op)
{
    switch (op->kind) {
    case OP_PUT:
    case OP_DELETE:
        if (chance(g, 2000))
            g->run = 20 + (unsigned)random_below(&g->random, 300);
        make_write(g, op);
        g->run_key = op->place.key;
        raise(g, op);
        break;
    case OP_BEGIN:
        g->in_batch = 2 + (unsigned)random_below(&g->random, 40);
        break;
    case OP_GET:
    case OP_GET_INTO:
    case OP_PIN:
        op->slot = some_slot(g, OP_PINS);
        op->place = some_place(g);
        read_from(g, op);
        break;
    case OP_MULTI_GET:
        make_list(g, op);
        read_from(g, op);
        break;
    case OP_UNPIN:
        op->slot = some_slot(g, OP_PINS);
        break;
    case OP_SNAPSHOT:
    case OP_RELEASE:
        op->slot = some_slot(g, OP_SLOTS);
        g->held[op->slot] = op->kind == OP_SNAPSHOT;
        break;
    case OP_ITER:
        make_iterator(g, op);
        break;
    case OP_NEXT:
        g->iterator = some_slot(g, OP_SLOTS);
        g->moves = (unsigned)random_below(&g->random, 20);
        make_move(g, op);
        break;
    case OP_END:
        op->slot = some_slot(g, OP_SLOTS);
        g->open[op->slot] = false;
        break;
    case OP_SIZE:
    case OP_COMPACT:
        bounds(g, op);
        break;
    case OP_REOPEN:
    case OP_CRASH:
        make_opening(g, op);
        break;
    default:
        break;
    }
}

void generator_next(struct generator *g, struct op *op)
{
    memset(op, 0, sizeof *op);
    if (go_on(g, op))
        return;
    op->kind = some_kind(g);
    fill_in(g, op);
}
