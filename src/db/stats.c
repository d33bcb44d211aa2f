/*
 * Statistics as one JSON object. Keys are stable: programs read them.
 */
#include "db/db_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"

/* A JSON writer as small as the need: the first failure sticks. */
struct json {
    struct buffer text;
    adb_status status;
    bool comma;
};

static void put(struct json *j, const char *text)
{
    if (j->status == ADB_OK)
        j->status = buffer_append(&j->text, text, strlen(text));
}

static void name(struct json *j, const char *key)
{
    if (j->status == ADB_OK)
        j->status =
            buffer_printf(&j->text, "%s\"%s\":", j->comma ? "," : "", key);
    j->comma = true;
}

static void number(struct json *j, const char *key, uint64_t v)
{
    name(j, key);
    if (j->status == ADB_OK)
        j->status = buffer_printf(&j->text, "%" PRIu64, v);
}

static void fraction(struct json *j, const char *key, double v)
{
    name(j, key);
    if (j->status == ADB_OK)
        j->status = buffer_printf(&j->text, "%.3f", v);
}

/* Length of the UTF-8 sequence at p (RFC 3629), which ends in a zero; 0: there
   is none. */
static size_t utf8_length(const unsigned char *p)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t code = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    if (n > 1 && (p[0] < 0xc2 || p[0] > 0xf4))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    bool shortest = n < 3 || code >= (n == 3 ? 0x800u : 0x10000u);
    return shortest && code <= 0x10ffff && code >> 11 != 0x1b ? n : 0;
}

/* A path may have any bytes, a message may be cut short inside a character:
   what is not UTF-8 stands as U+FFFD. */
static void string(struct json *j, const char *key, const char *v)
{
    const unsigned char *p = (const unsigned char *)v;
    name(j, key);
    put(j, "\"");
    while (*p && j->status == ADB_OK) {
        size_t n = utf8_length(p);
        if (n == 0)
            j->status = buffer_printf(&j->text, "\\ufffd");
        else if (*p == '"' || *p == '\\')
            j->status = buffer_printf(&j->text, "\\%c", *p);
        else if (*p < 0x20)
            j->status = buffer_printf(&j->text, "\\u%04x", *p);
        else
            j->status = buffer_append(&j->text, p, n);
        p += n ? n : 1;
    }
    put(j, "\"");
}

static void boolean(struct json *j, const char *key, bool v)
{
    name(j, key);
    put(j, v ? "true" : "false");
}

static void begin(struct json *j, const char *key)
{
    if (key)
        name(j, key);
    else if (j->comma)
        put(j, ",");
    put(j, "{");
    j->comma = false;
}

static void end(struct json *j)
{
    put(j, "}");
    j->comma = true;
}

static uint64_t load(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void write_path(adb *db, struct json *j)
{
    struct db_counters *c = &db->counters;
    begin(j, "writes");
    number(j, "puts", load(&c->puts));
    number(j, "deletes", load(&c->deletes));
    number(j, "batches", load(&c->batches));
    number(j, "bytes", load(&c->write_bytes));
    number(j, "waits", load(&c->write_waits));
    number(j, "wait_ns", load(&c->write_wait_ns));
    number(j, "wait_max_ns", load(&c->write_wait_max_ns));
    end(j);

    begin(j, "pressure");
    mutex_lock(&db->lock);
    string(j, "cause", db->pressure.cause ? db->pressure.cause : "");
    fraction(j, "allowed_bytes_per_second", db->pressure.allowed_rate);
    fraction(j, "flush_bytes_per_second", db->pressure.flush_rate);
    fraction(j, "compaction_bytes_per_second", db->pressure.compaction_rate);
    number(j, "pace_ns_per_kib", load(&db->pace_ns_per_kib));
    number(j, "debt_bytes", db->debt.bytes);
    number(j, "sorted_runs", db->debt.runs);
    mutex_unlock(&db->lock);
    end(j);
}

static void read_path(adb *db, struct json *j)
{
    uint64_t gets = 0, hits = 0, memtable_hits = 0, iterators = 0;
    for (size_t i = 0; i < EPOCH_SLOTS; i++) {
        gets += load(&db->read_counters[i].gets);
        hits += load(&db->read_counters[i].hits);
        memtable_hits += load(&db->read_counters[i].memtable_hits);
    }
    for (size_t i = 0; i < DB_SHARDS; i++)
        iterators += load(&db->shards[i].iterators);
    struct sst_read_stats s;
    sst_counters_sum(db->table_counters, &s);
    begin(j, "reads");
    number(j, "gets", gets);
    number(j, "found", hits);
    number(j, "memtable_hits", memtable_hits);
    number(j, "iterators", iterators);
    number(j, "extra_run_ns", db_extra_run_ns(db));
    number(j, "filter_negatives", s.filter_negatives);
    number(j, "filter_positives", s.filter_positives);
    number(j, "filter_false", s.filter_false);
    number(j, "block_loads", s.block_loads);
    number(j, "index_loads", s.index_loads);
    number(j, "filter_loads", s.filter_loads);
    number(j, "filters_damaged", s.filters_damaged);
    number(j, "loaded_bytes", s.loaded_bytes);
    end(j);
}

static void memory(adb *db, struct json *j)
{
    struct cache_stats cache;
    struct wal_stats wal;
    cache_stats(db->cache, &cache);
    wal_stats(db->wal, &wal);
    begin(j, "memory");
    number(j, "budget", (uint64_t)db->ledger.budget);
    begin(j, "ledger");
    for (int row = 0; row < LEDGER_ROWS; row++) {
        int64_t bytes = ledger_row(&db->ledger, (enum ledger_row)row);
        number(j, ledger_row_names[row], bytes > 0 ? (uint64_t)bytes : 0);
    }
    end(j);
    int64_t total = ledger_total(&db->ledger);
    number(j, "total", total > 0 ? (uint64_t)total : 0);
    number(j, "mapped", wal.mapped_bytes);
    end(j);
    begin(j, "cache");
    number(j, "frames", cache.frames);
    number(j, "bytes", cache.bytes);
    number(j, "inserts", cache.inserts);
    number(j, "passed", cache.passed);
    number(j, "evictions", cache.evictions);
    number(j, "ghost_hits", cache.ghost_hits);
    number(j, "pinned_bytes", cache.pinned_bytes);
    number(j, "pending_bytes", cache.pending_bytes);
    number(j, "open_files", file_table_open_count(db->files));
    end(j);
}

static void log_section(adb *db, struct json *j)
{
    struct wal_stats w;
    wal_stats(db->wal, &w);
    begin(j, "log");
    boolean(j, "mapped", w.mapped);
    number(j, "appended_bytes", w.appended_bytes);
    number(j, "records", w.records);
    number(j, "syncs", w.syncs);
    number(j, "sync_ns", w.sync_ns);
    number(j, "sync_max_ns", w.sync_max_ns);
    number(j, "largest_group", w.largest_group);
    number(j, "segments_created", w.segments_created);
    number(j, "segments_recycled", w.segments_recycled);
    number(j, "segments_ready", w.segments_ready);
    number(j, "self_populated", w.self_populated);
    number(j, "live_bytes", w.live_bytes);
    end(j);
}

static void background(adb *db, struct json *j)
{
    struct db_counters *c = &db->counters;
    struct version_set_stats v;
    version_set_stats(db->versions, &v);
    begin(j, "background");
    number(j, "flushes", load(&c->flushes));
    number(j, "flush_bytes", load(&c->flush_bytes));
    number(j, "flush_ns", load(&c->flush_ns));
    number(j, "compactions", load(&c->compactions));
    number(j, "moves", load(&c->moves));
    number(j, "compaction_bytes_in", load(&c->compaction_bytes_in));
    number(j, "compaction_bytes_out", load(&c->compaction_bytes_out));
    number(j, "compaction_ns", load(&c->compaction_ns));
    number(j, "idle_bytes", load(&c->idle_bytes));
    number(j, "shadowed_dropped", load(&c->shadowed_dropped));
    number(j, "tombstones_dropped", load(&c->tombstones_dropped));
    number(j, "manifest_bytes", v.manifest_bytes);
    number(j, "edits", v.edits);
    mutex_lock(&db->lock);
    number(j, "running",
           db->running_compactions + (db->flush_began_ns ? 1 : 0));
    number(j, "memtables_waiting", db->frozen_count);
    string(j, "flush_error",
           db->flush_error.code == ADB_OK ? "" : db->flush_error.message);
    string(j, "compaction_error", db->compaction_error.code == ADB_OK
                                      ? ""
                                      : db->compaction_error.message);
    mutex_unlock(&db->lock);
    end(j);
    uint64_t user = load(&c->write_bytes);
    uint64_t written = load(&c->flush_bytes) + load(&c->compaction_bytes_out);
    fraction(j, "write_amplification",
             user ? (double)written / (double)user : 0);
}

static void levels(const struct version *v, struct json *j)
{
    name(j, "runs");
    put(j, "[");
    j->comma = false;
    for (size_t i = 0; i < v->run_count; i++) {
        const struct version_run *run = &v->runs[i];
        uint64_t entries = 0, tombstones = 0;
        for (size_t t = 0; t < run->count; t++) {
            entries += run->tables[t]->info.entries;
            tombstones += run->tables[t]->info.tombstones;
        }
        begin(j, NULL);
        number(j, "level", run->level);
        number(j, "run", run->run);
        number(j, "tables", run->count);
        number(j, "bytes", run->bytes);
        number(j, "entries", entries);
        number(j, "tombstones", tombstones);
        end(j);
    }
    put(j, "]");
    j->comma = true;
}

/* Where in the tree a table stands: its level. */
static uint32_t level_of(const struct version *v, uint64_t number)
{
    for (size_t i = 0; i < v->run_count; i++)
        for (size_t t = 0; t < v->runs[i].count; t++)
            if (v->runs[i].tables[t]->info.number == number)
                return v->runs[i].level;
    return 0;
}

static void quarantine(const struct version *v, struct json *j)
{
    char text[256];
    name(j, "quarantine");
    put(j, "[");
    j->comma = false;
    for (size_t i = 0; i < version_quarantined_count(v); i++) {
        const struct quarantined *q = &v->quarantine->items[i];
        begin(j, NULL);
        snprintf(text, sizeof text, "%06" PRIu64 ".sst", q->number);
        string(j, "file", text);
        number(j, "offset", q->offset);
        number(j, "level", level_of(v, q->number));
        string(j, "from", slice_print(q->from, text, sizeof text));
        string(j, "to", slice_print(q->to, text, sizeof text));
        end(j);
    }
    put(j, "]");
    j->comma = true;
}

static void tree(adb *db, struct json *j)
{
    struct db_view *view = db_view_ref(db);
    const struct version *v = view->version;
    struct memtable_stats m;
    memtable_stats(view->writable, &m);
    begin(j, "memtable");
    number(j, "keys", m.keys);
    number(j, "versions", m.versions);
    number(j, "data_bytes", m.data_bytes);
    number(j, "arena_used", m.arena_used);
    number(j, "arena_size", db->options.memtable_size);
    number(j, "replaced_in_place", m.in_place);
    number(j, "height", m.height);
    end(j);
    begin(j, "tables");
    number(j, "count", v->table_count);
    number(j, "bytes", v->bytes);
    number(j, "entries", v->entries);
    number(j, "tombstones", v->tombstones);
    levels(v, j);
    number(j, "quarantined", version_quarantined_count(v));
    quarantine(v, j);
    end(j);
    db_view_unref(view);
}

adb_status db_stats(adb *db, char **json)
{
    struct json j = {.status = ADB_OK};
    begin(&j, NULL);
    string(&j, "version", ADB_VERSION_STRING);
    string(&j, "path", db->path);
    fraction(&j, "uptime_seconds",
             (double)(clock_now_ns() - db->opened_ns) / 1e9);
    number(&j, "sequence", load(&db->published_seq));
    number(&j, "recovered_records", db->recovered_records);
    number(&j, "recovered_bytes", db->recovered_bytes);
    number(&j, "open_ns", db->recovery_ns);
    write_path(db, &j);
    read_path(db, &j);
    memory(db, &j);
    log_section(db, &j);
    background(db, &j);
    tree(db, &j);
    end(&j);
    if (j.status == ADB_OK)
        j.status = buffer_append(&j.text, "", 1);
    if (j.status != ADB_OK) {
        buffer_deinit(&j.text);
        return j.status;
    }
    *json = (char *)j.text.data;
    return ADB_OK;
}
