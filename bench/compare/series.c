#include "series.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

void series_init(struct series *s, struct engine *engine, double step_seconds,
                 double seconds)
{
    memset(s, 0, sizeof *s);
    s->engine = engine;
    s->step_ns = (uint64_t)(step_seconds * 1e9);
    s->room = (size_t)(seconds / step_seconds) + 2;
    s->points = need(s->room * sizeof *s->points);
    s->start_ns = now_ns();
    s->next_ns = s->start_ns + s->step_ns;
}

void series_deinit(struct series *s)
{
    free(s->points);
    s->points = NULL;
}

bool series_add(struct series *s, uint64_t now, uint64_t took, uint64_t awake)
{
    histogram_add(&s->now, took);
    if (awake > s->awake_max)
        s->awake_max = awake;
    if (now < s->next_ns || s->count == s->room)
        return false;
    s->points[s->count++] = (struct point){
        .at = (double)(now - s->start_ns) * 1e-9,
        .calls = s->now.total,
        .p50 = histogram_at(&s->now, 0.5),
        .p99 = histogram_at(&s->now, 0.99),
        .max = s->now.max,
        .awake_max = s->awake_max,
        .debt_bytes = engine_debt(s->engine),
    };
    memset(&s->now, 0, sizeof s->now);
    s->awake_max = 0;
    /* A stall may have lasted over several intervals. */
    while (s->next_ns <= now)
        s->next_ns += s->step_ns;
    return true;
}

#define COLUMN(name, format, value)                                            \
    fprintf(to, "%s\"%s\":[", i ? "]," : "{", name);                           \
    for (i = 0; i < s->count; i++)                                             \
    fprintf(to, "%s%" format, i ? "," : "", value)

void series_print(const struct series *s, FILE *to)
{
    size_t i = 0;
    COLUMN("at", ".2f", s->points[i].at);
    COLUMN("calls", PRIu64, s->points[i].calls);
    COLUMN("p50_ns", PRIu64, s->points[i].p50);
    COLUMN("p99_ns", PRIu64, s->points[i].p99);
    COLUMN("max_ns", PRIu64, s->points[i].max);
    COLUMN("awake_max_ns", PRIu64, s->points[i].awake_max);
    COLUMN("debt_bytes", PRIu64, s->points[i].debt_bytes);
    fprintf(to, "]}");
}
