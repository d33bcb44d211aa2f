#include "cli.h"

#include <stdlib.h>
#include <string.h>

static void need(struct text *t, size_t more)
{
    if (t->capacity - t->size >= more)
        return;
    size_t capacity = (t->capacity + more) * 2 + 64;
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
    need(t, size);
    if (size)
        memcpy(t->data + t->size, data, size);
    t->size += size;
}

void text_add_string(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

char *text_end(struct text *t)
{
    need(t, 1);
    t->data[t->size] = '\0';
    return t->data;
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

/* Length of the UTF-8 sequence at p (RFC 3629), 0: none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
             : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
             : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

bool is_utf8(const void *data, size_t size)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size;) {
        size_t n = utf8_length(p + i, size - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

void text_add_escaped(struct text *t, adb_slice s)
{
    const unsigned char *p = s.data;
    char code[8];
    for (size_t i = 0; i < s.size;) {
        size_t n = utf8_length(p + i, s.size - i);
        if (p[i] == '\\') {
            text_add(t, "\\\\", 2);
            i++;
        } else if (n == 0 || p[i] < 0x20 || p[i] == 0x7f) {
            snprintf(code, sizeof code, "\\x%02x", p[i]);
            text_add_string(t, code);
            i++;
        } else {
            text_add(t, p + i, n);
            i += n;
        }
    }
}

void text_add_hex(struct text *t, adb_slice s)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = s.data;
    for (size_t i = 0; i < s.size; i++) {
        char pair[2] = {digits[p[i] >> 4], digits[p[i] & 15]};
        text_add(t, pair, 2);
    }
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct text *t, adb_slice s)
{
    const unsigned char *p = s.data;
    for (size_t i = 0; i < s.size; i += 3) {
        size_t n = s.size - i < 3 ? s.size - i : 3;
        unsigned bits = (unsigned)p[i] << 16;
        bits |= n > 1 ? (unsigned)p[i + 1] << 8 : 0;
        bits |= n > 2 ? p[i + 2] : 0;
        char group[4] = {base64_digits[bits >> 18 & 63],
                         base64_digits[bits >> 12 & 63],
                         n > 1 ? base64_digits[bits >> 6 & 63] : '=',
                         n > 2 ? base64_digits[bits & 63] : '='};
        text_add(t, group, 4);
    }
}

void text_add_json(struct text *t, adb_slice s)
{
    const unsigned char *p = s.data;
    char code[8];
    if (!is_utf8(s.data, s.size)) {
        text_add_string(t, "{\"base64\":\"");
        add_base64(t, s);
        text_add_string(t, "\"}");
        return;
    }
    text_add_string(t, "\"");
    for (size_t i = 0; i < s.size; i++) {
        if (p[i] == '"' || p[i] == '\\') {
            text_add(t, "\\", 1);
            text_add(t, p + i, 1);
        } else if (p[i] < 0x20) {
            snprintf(code, sizeof code, "\\u%04x", p[i]);
            text_add_string(t, code);
        } else {
            text_add(t, p + i, 1);
        }
    }
    text_add_string(t, "\"");
}

void text_add_shown(struct text *t, const struct cli *c, adb_slice s)
{
    if (c->hex)
        text_add_hex(t, s);
    else
        text_add_escaped(t, s);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool text_add_unhexed(struct text *t, const char *s, size_t size)
{
    if (size % 2)
        return false;
    for (size_t i = 0; i < size; i += 2) {
        int high = hex_digit(s[i]), low = hex_digit(s[i + 1]);
        if (high < 0 || low < 0)
            return false;
        char byte = (char)(high << 4 | low);
        text_add(t, &byte, 1);
    }
    return true;
}

bool text_add_unescaped(struct text *t, const char *s, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (s[i] != '\\') {
            text_add(t, s + i, 1);
            continue;
        }
        if (++i == size)
            return false;
        char plain = s[i] == 'n'   ? '\n'
                     : s[i] == 't' ? '\t'
                     : s[i] == 'r' ? '\r'
                                   : s[i];
        if (s[i] == 'x') {
            if (size - i < 3 || !text_add_unhexed(t, s + i + 1, 2))
                return false;
            i += 2;
        } else if (strchr("ntr\\\"", s[i])) {
            text_add(t, &plain, 1);
        } else {
            return false;
        }
    }
    return true;
}

bool text_add_unbase64(struct text *t, const char *s, size_t size)
{
    if (size % 4)
        return false;
    for (size_t i = 0; i < size; i += 4) {
        unsigned bits = 0;
        size_t bytes = 3;
        for (size_t j = 0; j < 4; j++) {
            const char *at = s[i + j] ? strchr(base64_digits, s[i + j]) : NULL;
            bool pad = s[i + j] == '=' && i + 4 == size && j >= 2;
            if (!at && !pad)
                return false;
            if (pad)
                bytes = j - 1 < bytes ? j - 1 : bytes;
            bits = bits << 6 | (at ? (unsigned)(at - base64_digits) : 0);
        }
        char out[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        text_add(t, out, bytes);
    }
    return true;
}

bool argument_bytes(const struct cli *c, const char *argument,
                    struct text *out)
{
    size_t size = strlen(argument);
    return c->hex ? text_add_unhexed(out, argument, size)
                  : text_add_unescaped(out, argument, size);
}
