/*
 * Packing of blocks. A block that does not shrink by an eighth is stored as it
 * is, so readers look at the frame's compression byte, not at the options.
 *
 * Threads: a compressor belongs to one; sst_decompress is for any.
 */
#ifndef SST_COMPRESS_H
#define SST_COMPRESS_H

#include "base/buffer.h"
#include "sst/table_info.h"

struct sst_compressor;

/* level: zstd's, 0 for its default; ignored otherwise. */
adb_status sst_compressor_new(enum sst_compression kind, int level,
                              struct sst_compressor **out) ADB_MUST_CHECK;
void sst_compressor_free(struct sst_compressor *c); /* NULL is fine */

/* Room that sst_compress wants for `size` bytes. */
size_t sst_compress_bound(const struct sst_compressor *c, size_t size);

/* Packs into `out` (sst_compress_bound bytes). Returns the packed size, or 0
   when it does not pay: then store the bytes as they are. */
size_t sst_compress(struct sst_compressor *c, const void *data, size_t size,
                    void *out);

/* Unpacks exactly raw_size bytes; anything else is ADB_CORRUPTION, an unknown
   kind ADB_UNSUPPORTED (messages without place). NONE copies. */
adb_status sst_decompress(enum sst_compression kind, const void *data,
                          size_t size, void *raw, size_t raw_size)
    ADB_MUST_CHECK;

/* ---- for packed blocks of which nobody tells the sizes (sst_walk.h) ---- */

/* The first bytes of an lz4 block that begins at data: at most size of them.
   Returns how many; 0: surely none begins there. */
size_t sst_lz4_head(const void *data, size_t available, void *out, size_t size);
/* The stored size of the zstd frame at data; 0: none begins there, or not all
   of it is available. */
size_t sst_zstd_span(const void *data, size_t available);
/* Appends all that `size` packed bytes hold to raw. */
adb_status sst_decompress_all(enum sst_compression kind, const void *data,
                              size_t size, struct buffer *raw) ADB_MUST_CHECK;

#endif
