/*
 * Puts the checksums of damaged files right, so that a fuzzer gets behind
 * them. Sizes and places are taken from the bytes as they are; where those
 * make no sense the repair ends.
 */
#ifndef TESTS_FUZZ_REPAIR_H
#define TESTS_FUZZ_REPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records of a log segment or manifest. A length behind the end of the file
   is cut to fit; chain: each record names the one before it. A record with a
   zero checksum ends the repair. Returns the last record's checksum. */
uint64_t repair_records(uint8_t *data, size_t size, uint64_t file_number,
                        bool chain);

/* The header of a log segment, at data, names the end of the segment before
   it: its checksum is put there (before repair_records). */
void repair_segment_header(uint8_t *data, size_t size, uint64_t previous);

/* A whole table: frames, extents as far as blocks name them, and footer. */
void repair_table(uint8_t *data, size_t size, uint64_t file_number);

/* The sum that ends a line of CURRENT. */
void repair_current(uint8_t *data, size_t size);

#endif
