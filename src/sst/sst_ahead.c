#include "sst/sst_ahead.h"

#include "sst/sst_reader_internal.h"

enum {
    ROW = 3,
    REACH_MIN = 32 << 10,
    REACH_MAX = 512 << 10, /* or two pieces, if that is more, up to ... */
    REACH_LIMIT = 4 << 20,
    GAP_MAX = 256 << 10 /* what the cache had or was skipped; a filter */
};

static bool follows(const struct sst_ahead *a, uint64_t begin, uint64_t end,
                    bool backward)
{
    if (!a->row || backward != a->backward)
        return false;
    return backward ? end <= a->begin && a->begin - end <= GAP_MAX
                    : begin >= a->end && begin - a->end <= GAP_MAX;
}

static void ask_forward(struct sst_ahead *a, struct sst_reader *r)
{
    uint64_t from = MAX_OF(a->asked, a->end);
    uint64_t to = MIN_OF(a->end + a->reach, r->info.size);
    if (from >= to || from - a->end > a->reach / 2)
        return;
    sst_ask(r, from, to - from);
    a->asked = to;
}

static void ask_backward(struct sst_ahead *a, struct sst_reader *r)
{
    uint64_t to = MIN_OF(a->asked, a->begin);
    uint64_t from = a->begin - MIN_OF(a->begin, a->reach);
    if (from >= to || a->begin - to > a->reach / 2)
        return;
    sst_ask(r, from, to - from);
    a->asked = from;
}

void sst_ahead_read(struct sst_ahead *a, struct sst_reader *r, uint64_t begin,
                    uint64_t end, bool backward)
{
    if (!follows(a, begin, end, backward))
        *a = (struct sst_ahead){.asked = backward ? UINT64_MAX : 0,
                                .backward = backward};
    a->begin = begin;
    a->end = end;
    if (a->row < ROW)
        a->row++;
    if (a->row < ROW)
        return;
    uint64_t asked = a->asked;
    uint64_t two = MIN_OF(2 * (end - begin), (uint64_t)REACH_LIMIT);
    a->reach = MAX_OF(MAX_OF(a->reach, (uint64_t)REACH_MIN), two);
    if (backward)
        ask_backward(a, r);
    else
        ask_forward(a, r);
    if (a->asked != asked)
        a->reach = MIN_OF(2 * a->reach, MAX_OF((uint64_t)REACH_MAX, two));
}
