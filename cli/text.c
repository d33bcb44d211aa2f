#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Room for more bytes behind the size. */
static void reserve(struct text *t, size_t more)
{
    if (t->capacity - t->size >= more)
        return;
    size_t capacity = (t->size + more) * 2 + 64;
    char *data = realloc(t->data, capacity);
    if (!data) {
        fputs("albertdb: out of memory\n", stderr);
        exit(EXIT_FAILED);
    }
    t->data = data;
    t->capacity = capacity;
}

void text_add(struct text *t, const void *data, size_t size)
{
    reserve(t, size);
    if (size)
        memcpy(t->data + t->size, data, size);
    t->size += size;
}

void text_add_string(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

void text_print(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    reserve(t, (size_t)size + 1);
    va_start(args, format);
    vsnprintf(t->data + t->size, (size_t)size + 1, format, args);
    va_end(args);
    t->size += (size_t)size;
}

char *text_end(struct text *t)
{
    reserve(t, 1);
    t->data[t->size] = '\0';
    return t->data;
}

adb_slice text_slice(struct text *t)
{
    return (adb_slice){text_end(t), t->size};
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* ---- numbers ----------------------------------------------------------- */

void text_add_count(struct text *t, uint64_t n)
{
    char digits[32];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < size; i++) {
        if (i && (size - i) % 3 == 0)
            text_add(t, ",", 1);
        text_add(t, &digits[i], 1);
    }
}

/* The first unit in which the number is below limit. */
static void add_scaled(struct text *t, double n, double step,
                       const char *const *units)
{
    size_t i = 0;
    while (n >= step && units[i + 1]) {
        n /= step;
        i++;
    }
    text_print(t, i == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[i]);
}

void text_add_size(struct text *t, double bytes)
{
    static const char *const units[] = {"B",   "KiB", "MiB", "GiB",
                                        "TiB", "PiB", NULL};
    add_scaled(t, bytes, 1024, units);
}

void text_add_duration(struct text *t, double ns)
{
    static const char *const units[] = {"ns", "us", "ms", "s", NULL};
    add_scaled(t, ns, 1000, units);
}

/* ---- output ------------------------------------------------------------ */

static FILE *out_file; /* owned; NULL: standard output */
static int out_errno;  /* of the first failed write; 0: none */
static volatile sig_atomic_t out_stopped;

bool out_open(const char *path)
{
    out_file = fopen(path, "wb");
    return out_file != NULL;
}

static void note_failure(bool failed)
{
    if (failed && !out_errno)
        out_errno = errno ? errno : EIO;
}

void out_write(const void *data, size_t size)
{
    errno = 0;
    if (size)
        note_failure(fwrite(data, 1, size, out_file ? out_file : stdout) !=
                     size);
}

void out_text(const struct text *t)
{
    out_write(t->data, t->size);
}

bool out_failed(void)
{
    return out_errno != 0 || out_stopped;
}

void out_interrupt(void)
{
    out_stopped = 1;
}

bool out_finish(void)
{
    errno = 0;
    out_stopped = 0;
    if (out_file) {
        note_failure(fclose(out_file) != 0);
        out_file = NULL;
        errno = out_errno;
        out_errno = 0;
        return errno == 0;
    }
    note_failure(fflush(stdout) != 0);
    errno = out_errno;
    return !out_errno || out_errno == EPIPE;
}
