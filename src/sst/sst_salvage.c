#include "sst/sst_salvage.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "sst/sst_walk.h"

enum { KEY_TEXT = 80, PIECE = 64 << 10 };

/* Bytes between two blocks that a search could make nothing of. */
struct gap {
    uint64_t offset, size;
    adb_slice from, to; /* owned by from */
    bool first, last;   /* no key before, or behind, is known */
};

struct salvage {
    struct kv_iter base;
    struct sst_salvage_options options;
    struct sst_reader *reader; /* counted */
    bool indexed;              /* the reader is a whole one */

    uint32_t part, block;      /* to be read next */
    struct index_frame *index; /* owned; of `part`, NULL: none */
    bool searching;
    struct sst_walk walk;
    uint64_t searched_from;   /* behind the block found last */
    uint64_t part_entries;    /* found in the part, or file, being searched */
    struct gap *gaps;         /* owned */
    size_t gap_count;

    struct buffer raw;
    struct sst_block view;
    uint32_t entry; /* of the view, to be shown next */
    uint64_t block_offset;
    bool told_disorder; /* of this block */

    struct buffer key, last; /* shown; the one before */
    uint64_t last_seq;
    bool has_last;
    uint64_t extent_offset;
    uint8_t *value; /* owned: a large value that was loaded */
    struct sst_salvaged result;
    uint64_t seen; /* entries of blocks that were read */
};

static struct salvage *salvage_of(struct kv_iter *it)
{
    return CONTAINER_OF(it, struct salvage, base);
}

/* ---- reporting ---------------------------------------------------------- */

static adb_slice known_or(adb_slice key, adb_slice otherwise)
{
    return key.data ? key : otherwise;
}

/* The thread's message says what is wrong. Keys with data NULL: as far as the
   table's are known. */
static void tell(struct salvage *s, adb_status status, enum sst_piece piece,
                 uint64_t offset, uint64_t size, adb_slice from, adb_slice to)
{
    const struct table_info *info =
        s->indexed ? &s->reader->properties.info : s->options.info;
    char text[STATUS_MESSAGE_MAX + 3 * KEY_TEXT], a[KEY_TEXT], b[KEY_TEXT];
    from = known_or(from, info->smallest);
    to = known_or(to, info->largest);
    s->result.pieces++;
    if (!s->options.report)
        return;
    int n = snprintf(text, sizeof text, "%s", status_message());
    if (from.data || to.data)
        snprintf(text + n, sizeof text - (size_t)n, "; keys %s%s%s to %s%s%s",
                 from.data ? "'" : "from the first",
                 from.data ? slice_print(from, a, sizeof a) : "",
                 from.data ? "'" : "", to.data ? "'" : "the last",
                 to.data ? slice_print(to, b, sizeof b) : "",
                 to.data ? "'" : "");
    struct sst_damage damage = {status, piece, offset, size, from, to, text};
    s->options.report(s->options.caller, &damage);
}

/* May the iterator go on behind a piece that failed so? */
static bool can_pass(const struct salvage *s, adb_status status)
{
    return status == ADB_CORRUPTION ||
           (status == ADB_IO && s->options.skip_unreadable);
}

/* ---- gaps of a search --------------------------------------------------- */

static void forget_gaps(struct salvage *s)
{
    for (size_t i = 0; i < s->gap_count; i++)
        mem_free((void *)(uintptr_t)s->gaps[i].from.data);
    mem_free(s->gaps);
    s->gaps = NULL;
    s->gap_count = 0;
}

static adb_status no_memory(const struct salvage *s)
{
    return status_set(ADB_NO_MEMORY, "%s: no memory to salvage it",
                      s->reader->path);
}

/* Between the last key given so far and `to`; data NULL: the end. */
static adb_status note_gap(struct salvage *s, uint64_t offset, uint64_t size,
                           adb_slice to)
{
    struct gap *grown =
        mem_realloc(s->gaps, (s->gap_count + 1) * sizeof *grown);
    if (!grown)
        return no_memory(s);
    s->gaps = grown;
    adb_slice from =
        s->has_last ? buffer_slice(&s->last) : slice_of(NULL, 0);
    uint8_t *keys = mem_alloc(from.size + to.size + 1);
    if (!keys)
        return no_memory(s);
    if (from.size)
        memcpy(keys, from.data, from.size);
    if (to.size)
        memcpy(keys + from.size, to.data, to.size);
    grown[s->gap_count++] =
        (struct gap){.offset = offset,
                     .size = size,
                     .from = slice_of(keys, from.size),
                     .to = slice_of(keys + from.size, to.size),
                     .first = !s->has_last,
                     .last = !to.data};
    return ADB_OK;
}

static void tell_gaps(struct salvage *s)
{
    for (size_t i = 0; i < s->gap_count; i++) {
        const struct gap *g = &s->gaps[i];
        status_set(ADB_CORRUPTION,
                   "%s: %" PRIu64 " bytes at offset %" PRIu64
                   " are damaged, or no data block",
                   s->reader->path, g->size, g->offset);
        tell(s, ADB_CORRUPTION, SST_PIECE_BLOCK, g->offset, g->size,
             g->first ? slice_of(NULL, 0) : g->from,
             g->last ? slice_of(NULL, 0) : g->to);
    }
}

/* Extents of the block's entries lie in front of it, each with padding. */
static uint64_t explained(const struct sst_block *b, uint64_t from, uint64_t to)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        struct sst_block_entry e;
        sst_block_entry(b, i, &e);
        if (!e.value.data && e.extent_offset >= from && e.extent_offset < to)
            bytes += sst_extent_span(e.value.size) + SST_EXTENT_ALIGN - 1;
    }
    return bytes;
}

/* ---- blocks ------------------------------------------------------------- */

static adb_status separator(const struct salvage *s, uint32_t block,
                            struct buffer *out)
{
    const struct sst_index *index = &s->index->index;
    adb_slice suffix = sst_index_suffix(index, block);
    buffer_clear(out);
    adb_status status =
        buffer_append(out, index->prefix.data, index->prefix.size);
    return status == ADB_OK ? buffer_append(out, suffix.data, suffix.size)
                            : status;
}

/* The keys that block `block` of the part may hold. */
static adb_status tell_block(struct salvage *s, adb_status status,
                             uint32_t block)
{
    const struct sst_handle *h = &s->index->index.blocks[block].handle;
    struct buffer from = {0}, to = {0};
    struct status_saved why;
    status_save(&why, status);
    adb_slice before = s->part ? s->reader->top.parts[s->part - 1].last_key
                               : slice_of(NULL, 0);
    adb_status made = separator(s, block, &to);
    if (made == ADB_OK && block > 0) {
        made = separator(s, block - 1, &from);
        before = buffer_slice(&from);
    }
    if (made == ADB_OK) {
        status_restore(&why);
        tell(s, status, SST_PIECE_BLOCK, h->offset, sst_handle_span(h), before,
             buffer_slice(&to));
    }
    buffer_deinit(&from);
    buffer_deinit(&to);
    return made;
}

static adb_status load_block(struct salvage *s, uint32_t block)
{
    const struct sst_handle *h = &s->index->index.blocks[block].handle;
    buffer_clear(&s->raw);
    adb_status status = buffer_reserve(&s->raw, sst_load_room(h));
    if (status == ADB_OK)
        status = sst_load_raw(s->reader, h, s->raw.data);
    if (status != ADB_OK)
        return status;
    status = sst_block_open(&s->view, s->raw.data, h->raw_size);
    if (status == ADB_OK)
        status = sst_block_check_order(&s->view);
    s->block_offset = h->offset;
    return status == ADB_OK
               ? status
               : sst_place(status, s->reader, "data block", h->offset);
}

static void begin_search(struct salvage *s, uint64_t begin, uint64_t end)
{
    s->searching = true;
    s->searched_from = begin;
    s->part_entries = 0;
    s->walk.skip_unreadable = s->options.skip_unreadable;
    sst_walk_begin(&s->walk, s->reader, begin, end);
}

/* What a part holds lies between its first block and its filter or index. */
static void search_part(struct salvage *s)
{
    const struct sst_part *p = &s->reader->top.parts[s->part];
    uint64_t end = p->filter.size ? p->filter.offset : p->index.offset;
    begin_search(s, MIN_OF(p->first_offset, end), end);
}

/* All of what was searched has been seen. */
static adb_status end_search(struct salvage *s)
{
    uint64_t expected = s->indexed ? s->reader->top.parts[s->part].entries
                                   : s->options.info->entries;
    adb_status status = ADB_OK;
    if (s->walk.end > s->searched_from)
        status = note_gap(s, s->searched_from, s->walk.end - s->searched_from,
                          s->indexed ? s->reader->top.parts[s->part].last_key
                                     : slice_of(NULL, 0));
    /* Without loss the gaps are filters and indexes. */
    if (status == ADB_OK && (!expected || s->part_entries < expected))
        tell_gaps(s);
    forget_gaps(s);
    s->searching = false;
    if (s->indexed)
        s->part++;
    return status;
}

static adb_status block_found(struct salvage *s, uint64_t offset, size_t span)
{
    uint64_t gap = offset - s->searched_from;
    adb_status status = ADB_OK;
    if (gap > explained(&s->view, s->searched_from, offset)) {
        struct sst_block_entry e;
        struct buffer key = {0};
        sst_block_entry(&s->view, 0, &e);
        status = buffer_append(&key, s->view.prefix, s->view.prefix_size);
        if (status == ADB_OK)
            status = buffer_append(&key, e.suffix.data, e.suffix.size);
        if (status == ADB_OK)
            status = note_gap(s, s->searched_from, gap, buffer_slice(&key));
        buffer_deinit(&key);
    }
    s->searched_from = offset + span;
    s->block_offset = offset;
    s->part_entries += s->view.count;
    return status;
}

/* The index of the next part, or the search for its blocks. */
static adb_status begin_part(struct salvage *s)
{
    const struct sst_top *top = &s->reader->top;
    const struct sst_part *p = &top->parts[s->part];
    s->block = 0;
    adb_status status = sst_load_index(s->reader, s->part, &s->index);
    if (!can_pass(s, status))
        return status;
    tell(s, status, SST_PIECE_INDEX, p->index.offset,
         sst_handle_span(&p->index),
         s->part ? top->parts[s->part - 1].last_key : slice_of(NULL, 0),
         p->last_key);
    search_part(s);
    return ADB_OK;
}

/* It has not met the cache. */
static void drop_index(struct salvage *s)
{
    sst_discard_frame(s->index ? &s->index->frame : NULL);
    s->index = NULL;
}

static adb_status next_indexed(struct salvage *s)
{
    if (s->block == s->index->index.count) {
        drop_index(s);
        s->part++;
        return ADB_NOT_FOUND;
    }
    adb_status status = load_block(s, s->block++);
    if (!can_pass(s, status))
        return status;
    status = tell_block(s, status, s->block - 1);
    return status == ADB_OK ? ADB_NOT_FOUND : status;
}

static adb_status next_searched(struct salvage *s)
{
    uint64_t offset;
    size_t span;
    adb_status status = sst_walk_next(&s->walk, &s->view, &offset, &span);
    if (status == ADB_OK)
        return block_found(s, offset, span);
    if (status != ADB_NOT_FOUND)
        return status;
    status = end_search(s);
    return status == ADB_OK ? ADB_NOT_FOUND : status;
}

static bool at_end(const struct salvage *s)
{
    return !s->searching && !s->index &&
           (!s->indexed || s->part == s->reader->top.count);
}

/* The next block that can be read. ADB_NOT_FOUND: there is no more. */
static adb_status next_block(struct salvage *s)
{
    adb_status status = ADB_NOT_FOUND;
    while (status == ADB_NOT_FOUND && !at_end(s)) {
        if (s->searching)
            status = next_searched(s);
        else if (s->index)
            status = next_indexed(s);
        else if ((status = begin_part(s)) == ADB_OK)
            status = ADB_NOT_FOUND;
    }
    s->entry = 0;
    s->told_disorder = false;
    if (status == ADB_OK) {
        s->result.blocks++;
        s->seen += s->view.count;
    }
    return status;
}

/* ---- entries ------------------------------------------------------------ */

static bool is_believable(const struct salvage *s, adb_slice key, uint64_t seq)
{
    const struct table_info *info = s->options.info;
    if (s->has_last && kv_compare(buffer_slice(&s->last), s->last_seq, key,
                                  seq) >= 0)
        return false;
    if (info->entries && (seq < info->min_seq || seq > info->max_seq))
        return false;
    return (!info->smallest.data || slice_compare(info->smallest, key) <= 0) &&
           (!info->largest.data || slice_compare(key, info->largest) <= 0);
}

static adb_status check_value(struct salvage *s,
                              const struct sst_block_entry *e)
{
    uint8_t *piece = mem_alloc(PIECE);
    adb_status status = piece ? ADB_OK : no_memory(s);
    for (uint64_t from = 0; from < e->value.size && status == ADB_OK;) {
        size_t n = (size_t)MIN_OF(e->value.size - from, (uint64_t)PIECE);
        status = sst_load_value(s->reader, e->extent_offset, e->value.size,
                                from, piece, n);
        from += n;
    }
    mem_free(piece);
    return status;
}

static adb_status make_key(struct salvage *s, const struct sst_block_entry *e)
{
    buffer_clear(&s->key);
    adb_status status =
        buffer_append(&s->key, s->view.prefix, s->view.prefix_size);
    return status == ADB_OK
               ? buffer_append(&s->key, e->suffix.data, e->suffix.size)
               : status;
}

static void show(struct salvage *s, const struct sst_block_entry *e)
{
    struct kv_iter *it = &s->base;
    /* The key shown is the last one from now on. */
    struct buffer swap = s->last;
    s->last = s->key;
    s->key = swap;
    s->last_seq = e->seq;
    s->has_last = true;
    it->key = buffer_slice(&s->last);
    it->head = key_head8(it->key.data, it->key.size);
    it->seq = e->seq;
    it->kind = e->kind;
    it->value = e->value;
    it->valid = true;
    s->extent_offset = e->extent_offset;
    s->result.entries++;
}

/* Shows the entry if it can be. ADB_NOT_FOUND: it is passed over. */
static adb_status take_entry(struct salvage *s)
{
    struct sst_block_entry e;
    sst_block_entry(&s->view, s->entry++, &e);
    adb_status status = make_key(s, &e);
    if (status != ADB_OK)
        return status;
    adb_slice key = buffer_slice(&s->key);
    if (!is_believable(s, key, e.seq)) {
        if (!s->told_disorder)
            tell(s,
                 status_set(ADB_CORRUPTION,
                            "%s: data block at offset %" PRIu64
                            ": entries that do not belong there",
                            s->reader->path, s->block_offset),
                 SST_PIECE_BLOCK, s->block_offset, 0, key, key);
        s->told_disorder = true;
        return ADB_NOT_FOUND;
    }
    if (!e.value.data) {
        status = check_value(s, &e);
        if (can_pass(s, status)) {
            tell(s, status, SST_PIECE_VALUE, e.extent_offset,
                 sst_extent_span(e.value.size), key, key);
            return ADB_NOT_FOUND;
        }
        if (status != ADB_OK)
            return status;
    }
    show(s, &e);
    return ADB_OK;
}

static void finish(struct salvage *s)
{
    uint64_t expected = s->indexed ? s->reader->properties.info.entries
                                   : s->options.info->entries;
    s->result.lost_known = expected != 0;
    if (expected > s->result.entries)
        s->result.lost = expected - s->result.entries;
}

static void advance(struct salvage *s)
{
    adb_status status = ADB_NOT_FOUND;
    mem_free(s->value);
    s->value = NULL;
    s->base.valid = false;
    while (status == ADB_NOT_FOUND) {
        if (s->entry == s->view.count) {
            status = next_block(s);
            if (status == ADB_NOT_FOUND) {
                s->view.count = s->entry = 0;
                finish(s);
                kv_iter_end(&s->base);
                return;
            }
        }
        if (status == ADB_OK || status == ADB_NOT_FOUND)
            status = take_entry(s);
    }
    if (status != ADB_OK)
        kv_iter_fail(&s->base, status);
}

/* ---- the iterator ------------------------------------------------------- */

static void salvage_seek_first(struct kv_iter *it)
{
    struct salvage *s = salvage_of(it);
    assert(!s->has_last && !s->result.blocks); /* once only */
    advance(s);
}

static void salvage_next(struct kv_iter *it)
{
    assert(it->valid);
    advance(salvage_of(it));
}

static adb_status salvage_read_value(struct kv_iter *it, uint64_t offset,
                                     void *data, size_t size)
{
    struct salvage *s = salvage_of(it);
    return sst_load_value(s->reader, s->extent_offset, it->value.size, offset,
                          data, size);
}

static adb_status salvage_load(struct kv_iter *it)
{
    struct salvage *s = salvage_of(it);
    uint8_t *value = mem_alloc(it->value.size + 1);
    if (!value)
        return no_memory(s);
    adb_status status = salvage_read_value(it, 0, value, it->value.size);
    if (status != ADB_OK) {
        mem_free(value);
        return status;
    }
    mem_free(s->value);
    it->value.data = s->value = value;
    return ADB_OK;
}

static void salvage_close(struct kv_iter *it)
{
    struct salvage *s = salvage_of(it);
    forget_gaps(s);
    sst_walk_deinit(&s->walk);
    drop_index(s);
    mem_free(s->value);
    buffer_deinit(&s->raw);
    buffer_deinit(&s->key);
    buffer_deinit(&s->last);
    mem_free(it->error);
    if (s->reader)
        sst_reader_unref(s->reader);
    mem_free(s);
}

/* ---- opening ------------------------------------------------------------ */

/* Is the file whole at its end, and yet not the one that is known? */
static adb_status is_foreign(struct salvage *s, bool *foreign)
{
    struct sst_reader *r = s->reader;
    const struct table_info *info = s->options.info;
    uint8_t bytes[SST_FOOTER_SIZE];
    struct sst_footer footer;
    struct file_handle *handle;
    struct env_file *file;
    *foreign = false;
    if (r->info.size < SST_FOOTER_SIZE || !info->checksum)
        return ADB_OK;
    adb_status status =
        file_table_acquire(r->context.files, r->info.number, &handle, &file);
    if (status != ADB_OK)
        return status;
    status = env_file_read_full(file, r->info.size - SST_FOOTER_SIZE, bytes,
                                sizeof bytes);
    file_table_release(r->context.files, handle);
    if (status == ADB_OK)
        status = sst_footer_decode(bytes, r->info.number, r->info.size,
                                   r->path, &footer);
    if (status == ADB_OK)
        *foreign = footer.file_checksum != info->checksum;
    return can_pass(s, status) ? ADB_OK : status;
}

/* The table does not open: its bytes are all there is. */
static adb_status open_raw(struct salvage *s, adb_status why, uint64_t at)
{
    struct status_saved saved;
    bool foreign;
    adb_slice none = slice_of(NULL, 0);
    status_save(&saved, why);
    adb_status status = sst_reader_open_raw(
        s->options.context, s->options.info->number, &s->reader);
    if (status == ADB_OK)
        status = is_foreign(s, &foreign);
    if (status != ADB_OK)
        return status;
    tell(s, status_restore(&saved), SST_PIECE_TABLE, at, 0, none, none);
    if (!foreign && s->reader->info.size > SST_HEADER_SIZE)
        begin_search(s, SST_HEADER_SIZE, s->reader->info.size);
    return ADB_OK;
}

adb_status sst_salvage_new(const struct sst_salvage_options *options,
                           struct kv_iter **out)
{
    static const struct kv_iter_ops ops = {
        .seek_first = salvage_seek_first,
        .next = salvage_next,
        .load = salvage_load,
        .read_value = salvage_read_value,
        .close = salvage_close,
    };
    struct salvage *s = mem_zalloc(sizeof *s);
    uint64_t at = 0;
    if (!s)
        return status_set(ADB_NO_MEMORY, "no memory to salvage a table");
    s->base.ops = &ops;
    s->options = *options;
    adb_status status = sst_reader_open_at(options->context, options->info,
                                           &s->reader, &at);
    s->indexed = status == ADB_OK;
    if (can_pass(s, status))
        status = open_raw(s, status, at);
    if (status != ADB_OK) {
        salvage_close(&s->base);
        return status;
    }
    *out = &s->base;
    return ADB_OK;
}

void sst_salvage_result(const struct kv_iter *it, struct sst_salvaged *out)
{
    *out = CONTAINER_OF(it, struct salvage, base)->result;
}
