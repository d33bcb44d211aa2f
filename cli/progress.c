#include "progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_begin(struct progress *p, const char *what, const char *unit,
                    uint64_t total)
{
    *p = (struct progress){.what = what, .unit = unit, .total = total};
    p->began = p->shown = now_seconds();
    p->terminal = isatty(STDERR_FILENO) != 0;
}

static int terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

static void add_bar(struct text *t, double part, int width)
{
    int filled = (int)(part * width);
    text_add_string(t, " [");
    for (int i = 0; i < width; i++)
        text_add_string(t, i < filled ? "#" : ".");
    text_add_string(t, "]");
}

static void add_amount(const struct progress *p, struct text *t, double n)
{
    if (p->unit) {
        text_add_count(t, (uint64_t)n);
        text_print(t, " %s", p->unit);
    } else {
        text_add_size(t, n);
    }
}

static void add_time(struct text *t, double seconds)
{
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 3600)
        text_print(t, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        text_print(t, "%lu:%02lu", s / 60, s % 60);
}

/* "45 %  12.3 MiB/s  0:31 left", or without a total "1.2 GiB  12.3 MiB/s". */
static void add_figures(const struct progress *p, struct text *t,
                        uint64_t done, double part, double spent)
{
    text_add_string(t, " ");
    if (p->total)
        text_print(t, "%3.0f %%", part * 100);
    else
        add_amount(p, t, (double)done);
    text_add_string(t, "  ");
    add_amount(p, t, (double)done / spent);
    text_add_string(t, "/s");
    if (p->total && part > 0) {
        text_add_string(t, "  ");
        add_time(t, spent / part - spent);
        text_add_string(t, " left");
    }
}

static void draw(struct progress *p, uint64_t done, double spent)
{
    struct text figures = {0};
    double part = p->total ? (double)done / (double)p->total : 0;
    part = part > 1 ? 1 : part;
    add_figures(p, &figures, done, part, spent);
    p->line.size = 0;
    text_print(&p->line, "%s%s", p->terminal ? "\r" : "", p->what);
    /* The last column stays free: a cursor that leaves it makes a new line. */
    int room =
        terminal_width() - (int)(p->line.size + figures.size) - 3;
    if (p->terminal && p->total && room >= 10)
        add_bar(&p->line, part, room < 40 ? room : 40);
    text_add(&p->line, figures.data, figures.size);
    text_add_string(&p->line, p->terminal ? "\033[K" : "\n");
    fputs(text_end(&p->line), stderr);
    fflush(stderr);
    text_free(&figures);
}

void progress_show(struct progress *p, uint64_t done)
{
    double now = now_seconds();
    if (now - p->shown < (p->terminal ? 0.1 : 10))
        return;
    p->shown = now;
    p->drawn = true;
    draw(p, done, now - p->began);
}

void progress_end(struct progress *p)
{
    if (p->terminal && p->drawn)
        fputs("\r\033[K", stderr);
    text_free(&p->line);
}
