/* A progress line on stderr for work that takes long: only on a terminal. */
#include "cli.h"

#include <time.h>
#include <unistd.h>

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
    *p = (struct progress){.what = what, .total = total};
    p->began = p->shown = now_seconds();
    p->terminal = isatty(STDERR_FILENO) != 0;
}

void progress_show(struct progress *p, uint64_t done, uint64_t pairs)
{
    enum { WIDTH = 30 };
    double now = now_seconds();
    if (!p->terminal || now - p->shown < 0.2)
        return;
    p->shown = now;
    double spent = now - p->began;
    fprintf(stderr, "\r%s ", p->what);
    if (p->total) {
        double part = (double)done / (double)p->total;
        part = part > 1 ? 1 : part;
        int filled = (int)(part * WIDTH);
        fputc('[', stderr);
        for (int i = 0; i < WIDTH; i++)
            fputc(i < filled ? '#' : '.', stderr);
        fprintf(stderr, "] %3.0f %%  ", part * 100);
        if (part > 0)
            fprintf(stderr, "%.0f s left  ", spent / part - spent);
    }
    fprintf(stderr, "%.1f MB/s", (double)done / spent / 1e6);
    if (pairs)
        fprintf(stderr, "  %.0f pairs/s", (double)pairs / spent);
    fputs("\033[K", stderr);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->terminal)
        fputs("\r\033[K", stderr);
}
