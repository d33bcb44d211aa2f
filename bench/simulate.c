/*
 * simulate: what the picker makes of writes, without a disk.
 *
 *   simulate                 policies, sizes and bandwidths beside each other
 *   simulate --check         asserts bounds of them (a test)
 *   simulate name=value...   one case: policy=lazy|leveled|tiered ratio=400
 *                            keys=200000 updates=3 (times keys) zipf=0.99
 *                            bandwidth=16 jobs=2 table=0.5 merge=8 trigger=0
 *                            sequential=1 seed=1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lsm_model.h"

static const char *const policy_names[] = {"lazy", "leveled", "tiered"};

static const struct model_options defaults = {
    .policy = PICKER_LAZY,
    .keys = 400 * 500,
    .memtable = 500,
    .table = 0.5,
    .max_merge = 8,
    .bandwidth = 16,
    .jobs = 2,
    .seed = 1,
};

static void print_head(void)
{
    printf("policy  ratio  updates  bandw.  fill    WA   slow  runs peak "
           "/key  space  peak  score  job  tables\n");
}

static bool run_case(const struct model_options *o, struct model_result *r)
{
    if (!model_run(o, r))
        return false;
    printf("%-7s %5u  %-7s  ", policy_names[o->policy], o->keys / o->memtable,
           o->zipf > 0 ? "zipf" : "uniform");
    if (o->bandwidth > 0)
        printf("%6.1f", o->bandwidth);
    else
        printf("  inf.");
    printf(" %5.2f %5.2f  %5.2f %5.1f %4.0f %4.1f  %5.2f %5.2f  %5.2f %4.1f "
           "%7llu\n",
           r->fill_amplification, r->write_amplification, r->slowdown,
           r->runs, r->runs_peak, r->runs_key, r->space, r->space_peak,
           r->score_peak, r->job_peak, (unsigned long long)r->tables);
    fflush(stdout);
    return true;
}

/* What is promised: DESIGN, "Flush and compaction". */
static const struct bound {
    uint32_t ratio, memtable;
    double write_amplification, runs, space_peak;
} bounds[] = {
    {36, 2000, 4.5, 6, 1.6},
    {400, 500, 7, 8, 1.6},
    {4000, 100, 10, 10, 1.6},
};

static bool within(const char *what, double value, double most)
{
    if (value <= most)
        return true;
    printf("  FAILED: %s is %.2f, at most %.2f was promised\n", what, value,
           most);
    return false;
}

static bool check_all(void)
{
    static const double bandwidths[] = {0, 16};
    bool good = true;

    for (size_t i = 0; i < 12; i++) {
        const struct bound *b = &bounds[i / 4];
        struct model_options o = defaults;
        struct model_result r;
        o.keys = b->ratio * b->memtable;
        o.memtable = b->memtable;
        o.updates = 3 * o.keys;
        o.zipf = i & 1 ? 0.99 : 0;
        o.bandwidth = bandwidths[i >> 1 & 1];
        if (!run_case(&o, &r))
            return false;
        good &= within("write amplification", r.write_amplification,
                       b->write_amplification);
        /* The runs a point read has to search: those with a table at its
           key. (Runs that hold any table at all are a little more.) */
        good &= within("runs", r.runs_key, b->runs);
        good &= within("peak space", r.space_peak, b->space_peak);
    }
    return good;
}

/* Also saturated: less bandwidth than the writer asks for, so that it is
   held back. */
static bool print_all(void)
{
    static const double bandwidths[] = {0, 32, 16, 4};

    for (unsigned policy = PICKER_LAZY; policy <= PICKER_TIERED; policy++) {
        for (size_t i = 0; i < 24; i++) {
            const struct bound *b = &bounds[i / 8];
            struct model_options o = defaults;
            struct model_result r;
            o.policy = (enum picker_policy)policy;
            o.keys = b->ratio * b->memtable;
            o.memtable = b->memtable;
            o.updates = 3 * o.keys;
            o.zipf = i & 1 ? 0.99 : 0;
            o.bandwidth = bandwidths[i >> 1 & 3];
            if (!run_case(&o, &r))
                return false;
        }
    }
    return true;
}

static bool set_option(struct model_options *o, const char *argument,
                       double *ratio, double *times)
{
    const char *value = strchr(argument, '=');

    if (!value++)
        return false;
    size_t size = (size_t)(value - argument - 1);
    double x = atof(value);
#define IS(name) (size == strlen(name) && memcmp(argument, name, size) == 0)
    if (IS("policy")) {
        for (unsigned i = 0; i < 3; i++) {
            if (strcmp(value, policy_names[i]) == 0) {
                o->policy = (enum picker_policy)i;
                return true;
            }
        }
        return false;
    }
    if (IS("ratio"))
        *ratio = x;
    else if (IS("updates"))
        *times = x;
    else if (IS("keys"))
        o->keys = (uint32_t)x;
    else if (IS("zipf"))
        o->zipf = x;
    else if (IS("bandwidth"))
        o->bandwidth = x;
    else if (IS("jobs"))
        o->jobs = (unsigned)x;
    else if (IS("table"))
        o->table = x;
    else if (IS("merge"))
        o->max_merge = x;
    else if (IS("trigger"))
        o->flush_trigger = (unsigned)x;
    else if (IS("sequential"))
        o->sequential = x > 0;
    else if (IS("seed"))
        o->seed = (uint64_t)x;
    else
        return false;
#undef IS
    return true;
}

int main(int argc, char **argv)
{
    struct model_options o = defaults;
    struct model_result r;
    double ratio = 400, times = 3;

    if (argc == 2 && strcmp(argv[1], "--check") == 0) {
        print_head();
        return check_all() ? 0 : 1;
    }
    for (int i = 1; i < argc; i++) {
        if (!set_option(&o, argv[i], &ratio, &times)) {
            fprintf(stderr, "simulate: cannot use \"%s\"\n", argv[i]);
            return 2;
        }
    }
    print_head();
    if (argc == 1)
        return print_all() ? 0 : 1;
    o.memtable = (uint32_t)MAX_OF((double)o.keys / MAX_OF(ratio, 1), 1);
    o.updates = (uint32_t)(times * o.keys);
    return run_case(&o, &r) ? 0 : 1;
}
