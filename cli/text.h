/*
 * Growing bytes, the forms in which the tool shows keys and values, and
 * standard output. Running out of memory ends the program with a message.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "albertdb/albertdb.h"

struct text {
    char *data; /* owned; zero terminated only after text_end */
    size_t size, capacity;
};
void text_add(struct text *t, const void *data, size_t size);
void text_add_string(struct text *t, const char *s);
void text_print(struct text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *text_end(struct text *t); /* zero terminated; never NULL */
adb_slice text_slice(struct text *t);
void text_free(struct text *t);

/* Length of the UTF-8 sequence at p (RFC 3629); 0: there is none. */
size_t utf8_length(const unsigned char *p, size_t left);
bool is_utf8(const void *data, size_t size);

/* For people: printable UTF-8 as it is, a backslash as \\, all else as \xNN.
   Control characters and the marks that reorder text are not printable. */
void text_add_escaped(struct text *t, adb_slice s);
/* The same with \t \n \r for these three: a column of a TSV file. */
void text_add_tsv(struct text *t, adb_slice s);
/* Between quotes, quotes doubled (RFC 4180). */
void text_add_csv(struct text *t, adb_slice s);
void text_add_hex(struct text *t, adb_slice s);
/* A JSON string, or {"base64":"..."} when the bytes are not UTF-8. */
void text_add_json(struct text *t, adb_slice s);
/* {"key":...,"value":...} and a line end; strings are hex with hex. value
   NULL: only the key. */
void text_add_json_pair(struct text *t, bool hex, adb_slice key,
                        const adb_slice *value);

/* The inverses, appending to t; false: malformed. Escapes are \xNN \t \n \r
   \\ and \". */
bool text_add_unescaped(struct text *t, const char *s, size_t size);
bool text_add_unhexed(struct text *t, const char *s, size_t size);
bool text_add_unbase64(struct text *t, const char *s, size_t size);

/* Numbers for people: 34,924; 1.5 MiB; 2.1 ms. */
void text_add_count(struct text *t, uint64_t n);
void text_add_size(struct text *t, double bytes);
void text_add_duration(struct text *t, double ns);

/* Standard output, or the file that out_open put in its place. A failure is
   remembered until out_finish, which writes all out, returns to standard
   output and says whether all went well (else errno tells why). A reader that
   closed its end of a pipe has seen enough: that is no failure, but out_failed
   says that more is useless. */
bool out_open(const char *path); /* false: errno tells why */
void out_write(const void *data, size_t size);
void out_text(const struct text *t);
bool out_failed(void);
void out_interrupt(void); /* out_failed, until out_finish; for a signal */
bool out_finish(void);

#endif
