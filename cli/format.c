/* Bytes as text: escapes, hex, base64, JSON, CSV; and back. */
#include <stdio.h>
#include <string.h>

#include "text.h"

size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n = 0;
    if (p[0] < 0x80)
        n = 1;
    else if (p[0] >= 0xc2 && p[0] < 0xe0)
        n = 2;
    else if (p[0] >= 0xe0 && p[0] < 0xf0)
        n = 3;
    else if (p[0] >= 0xf0 && p[0] < 0xf5)
        n = 4;
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

/* ---- escapes ----------------------------------------------------------- */

/* What a terminal may show as it is: no controls (ASCII and U+0080 to U+009F),
   no line separators, no marks that reorder or hide text. */
static bool is_printable(const unsigned char *p, size_t size)
{
    if (size == 1)
        return p[0] >= 0x20 && p[0] != 0x7f;
    if (size == 2)
        return p[0] != 0xc2 || p[1] >= 0xa0;
    if (size == 3 && p[0] == 0xe2 && p[1] == 0x80)
        return p[2] < 0x8b || (p[2] > 0x8f && p[2] < 0xa8) || p[2] > 0xae;
    if (size == 3 && p[0] == 0xe2 && p[1] == 0x81)
        return p[2] < 0xa6 || p[2] > 0xa9;
    return !(size == 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf);
}

static void add_escapes(struct text *t, const unsigned char *p, size_t size,
                        const char *short_ones)
{
    for (size_t i = 0; i < size; i++) {
        const char *at = p[i] ? strchr(short_ones, p[i]) : NULL;
        if (p[i] == '\\')
            text_add(t, "\\\\", 2);
        else if (at)
            text_print(t, "\\%c", "tnr"[at - short_ones]);
        else
            text_print(t, "\\x%02x", p[i]);
    }
}

static void add_escaped(struct text *t, adb_slice s, const char *short_ones)
{
    const unsigned char *p = s.data;
    size_t plain = 0; /* where the bytes begin that go as they are */
    if (!s.size)
        return; /* data may be NULL */
    for (size_t i = 0; i < s.size;) {
        size_t n = utf8_length(p + i, s.size - i);
        if (n && p[i] != '\\' && is_printable(p + i, n)) {
            i += n;
            continue;
        }
        n = n ? n : 1;
        text_add(t, p + plain, i - plain);
        add_escapes(t, p + i, n, short_ones);
        i += n;
        plain = i;
    }
    text_add(t, p + plain, s.size - plain);
}

void text_add_escaped(struct text *t, adb_slice s)
{
    add_escaped(t, s, "");
}

void text_add_tsv(struct text *t, adb_slice s)
{
    add_escaped(t, s, "\t\n\r");
}

/* The byte that the escape \c stands for; -1: none. */
static int escape_byte(char c)
{
    switch (c) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case '\\':
    case '"':
        return c;
    default:
        return -1;
    }
}

bool text_add_unescaped(struct text *t, const char *s, size_t size)
{
    const char *end = size ? s + size : s;
    while (s < end) {
        const char *slash = memchr(s, '\\', (size_t)(end - s));
        text_add(t, s, (size_t)((slash ? slash : end) - s));
        if (!slash)
            return true;
        s = slash + 1;
        if (end - s >= 3 && *s == 'x') {
            if (!text_add_unhexed(t, s + 1, 2))
                return false;
            s += 3;
            continue;
        }
        int byte = s < end ? escape_byte(*s) : -1;
        if (byte < 0)
            return false;
        text_add(t, &(char){(char)byte}, 1);
        s++;
    }
    return true;
}

/* ---- CSV, hex, base64, JSON -------------------------------------------- */

void text_add_csv(struct text *t, adb_slice s)
{
    const char *p = s.data;
    text_add(t, "\"", 1);
    for (size_t left = s.size; left > 0;) {
        const char *quote = memchr(p, '"', left);
        size_t size = quote ? (size_t)(quote + 1 - p) : left;
        text_add(t, p, size);
        if (quote)
            text_add(t, "\"", 1);
        p += size;
        left -= size;
    }
    text_add(t, "\"", 1);
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

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
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

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict (RFC 4648): whole groups, = only at the end, spare bits zero. */
bool text_add_unbase64(struct text *t, const char *s, size_t size)
{
    if (size % 4)
        return false;
    for (size_t i = 0; i < size; i += 4) {
        unsigned bits = 0;
        size_t n = 4; /* digits in this group */
        if (i + 4 == size && s[i + 3] == '=')
            n = s[i + 2] == '=' ? 2 : 3;
        for (size_t j = 0; j < n; j++) {
            int digit = base64_digit(s[i + j]);
            if (digit < 0)
                return false;
            bits |= (unsigned)digit << (18 - 6 * j);
        }
        if (bits & (0xffffffu >> 8 * (n - 1)))
            return false;
        char out[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        text_add(t, out, n - 1);
    }
    return true;
}

void text_add_json(struct text *t, adb_slice s)
{
    const unsigned char *p = s.data;
    if (!is_utf8(s.data, s.size)) {
        text_add_string(t, "{\"base64\":\"");
        add_base64(t, s);
        text_add_string(t, "\"}");
        return;
    }
    size_t plain = 0;
    text_add(t, "\"", 1);
    for (size_t i = 0; i < s.size; i++) {
        if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
            continue;
        text_add(t, p + plain, i - plain);
        if (p[i] < 0x20)
            text_print(t, "\\u%04x", p[i]);
        else
            text_print(t, "\\%c", p[i]);
        plain = i + 1;
    }
    if (s.size)
        text_add(t, p + plain, s.size - plain);
    text_add(t, "\"", 1);
}

static void add_json_or_hex(struct text *t, bool hex, adb_slice s)
{
    if (!hex) {
        text_add_json(t, s);
        return;
    }
    text_add(t, "\"", 1);
    text_add_hex(t, s);
    text_add(t, "\"", 1);
}

void text_add_json_pair(struct text *t, bool hex, adb_slice key,
                        const adb_slice *value)
{
    text_add_string(t, "{\"key\":");
    add_json_or_hex(t, hex, key);
    if (value) {
        text_add_string(t, ",\"value\":");
        add_json_or_hex(t, hex, *value);
    }
    text_add_string(t, "}\n");
}
