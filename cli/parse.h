/*
 * The formats that load reads, a line at a time:
 *
 *   json   {"key":"...","value":"..."}   RFC 8259; bytes that are no UTF-8
 *                                        stand as {"base64":"..."} in place
 *                                        of the string
 *   csv    "key","va""lue"               RFC 4180; a quoted field may hold
 *                                        line ends; other columns pass by
 *   tsv    key<TAB>value                 with the escapes \t \n \r \\ \" \xNN
 *
 * With hex keys and values are hexadecimal inside of that (no base64 then, no
 * escapes).
 */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include "text.h"

enum file_format { FORMAT_GUESS, FORMAT_JSON, FORMAT_CSV, FORMAT_TSV };

struct parser {
    /* Set by the caller, the rest zero. */
    enum file_format format; /* FORMAT_GUESS is taken for JSON */
    bool hex;
    char delimiter;                    /* of CSV */
    uint64_t key_column, value_column; /* of CSV, from 1 */
    /* What the last line gave. */
    struct text key, value; /* owned */
    const char *wrong;      /* static */
    /* The field of CSV that the last line ended in, and its column. */
    enum { FIELD_BEGINS, FIELD_PLAIN, FIELD_QUOTED, FIELD_CLOSED } field;
    uint64_t column; /* 0: the next line begins a record */
};

enum parsed {
    PARSED_PAIR, /* key and value hold one */
    PARSED_NONE, /* an empty line */
    PARSED_OPEN, /* a quoted field goes on in the next line */
    PARSED_WRONG /* malformed: wrong says how; the next line begins anew */
};

/* Takes one line, with its line end (LF or CRLF) where it has one. */
enum parsed parse_line(struct parser *p, const char *line, size_t size);
void parser_deinit(struct parser *p);

#endif
