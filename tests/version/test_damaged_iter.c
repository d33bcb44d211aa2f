/*
 * Iterating over damaged tables, as users do: through a merge of runs. One
 * piece of one table is damaged at a time - a block, an index, a filter, a
 * large value, the table's end. Whatever is shown is the next visible key,
 * none is passed over; a failure comes only where the damaged piece may hold
 * keys between the last key shown and the next, and a seek past it goes on.
 */
#include "support/table_store.h"

#include "sst/run_builder.h"
#include "sst/sst_reader_internal.h"
#include "support.h"

enum { RUNS_MAX = 5, TABLES_MAX = 200, PIECES_MAX = 4000, KEYS = 600 };

struct piece {
    uint64_t number, offset;
    size_t size;
};
struct world {
    struct store *store;
    struct random random;
    struct version_edit tables; /* of all runs */
    const struct version_text *visible[2 * KEYS];
    size_t visible_count;
    struct piece pieces[PIECES_MAX];
    size_t piece_count;
};
/* What verification says of the damage. */
struct found {
    unsigned count;
    enum sst_piece piece;
    char from[64], to[64];
};

/* ---- runs ---- */

static void add_run(struct world *w, uint64_t run, uint64_t first, size_t count)
{
    struct store *s = w->store;
    struct version_text *fresh =
        store_random_versions(s, &w->random, count, KEYS, first);
    qsort(fresh, count, sizeof *fresh, version_order);
    uint64_t none[] = {0};
    struct run_job job = {.table = store_table_options(s),
                          .source = &vector_iter_new(fresh, count)->base,
                          .snapshots = none,
                          .max_table_bytes = 12000,
                          .new_file = store_new_file,
                          .context = s};
    job.table.block_size = 600;
    job.table.compression =
        (enum sst_compression)random_below(&w->random, 3);
    struct run_tables made = {0};
    check(run_build(&job, &made));
    kv_iter_close(job.source);
    for (size_t i = 0; i < made.count; i++)
        check(version_edit_add_table(
            &w->tables, (struct table_place){0, run}, &made.tables[i]));
    run_tables_deinit(&made);
}

static void list_visible(struct world *w)
{
    struct store *s = w->store;
    const char *decided = "";
    store_sort_model(s);
    for (size_t i = 0; i < s->count; i++) {
        const struct version_text *v = &s->model[i];
        if (strcmp(decided, v->key) == 0)
            continue;
        decided = v->key;
        if (v->kind == KV_PUT)
            w->visible[w->visible_count++] = v;
    }
}

static void make_world(struct world *w, uint64_t seed)
{
    *w = (struct world){.store = store_new()};
    random_seed(&w->random, seed);
    size_t runs = 1 + random_below(&w->random, RUNS_MAX), count = 900;
    uint64_t next = 1;
    for (size_t i = 0; i < runs; i++) {
        add_run(w, i + 1, next, count);
        next += count;
        count = count / 2 + 10;
    }
    list_visible(w);
}

/* Fresh tables, whose readers have read nothing. */
static void load_version(struct world *w)
{
    struct store *s = w->store;
    struct version *empty = version_new_empty();
    struct version_step step;
    check(version_build(empty, &w->tables, &s->owner, &step));
    check(version_check(step.next));
    version_unref(s->version);
    s->version = version_ref(step.next);
    version_step_deinit(&step);
    version_unref(empty);
    for (size_t i = 0; i < w->tables.added_count; i++)
        file_table_forget(s->files, w->tables.added[i].info.number);
}

/* ---- damage ---- */

static void add_piece(struct world *w, uint64_t number, uint64_t offset,
                      size_t size)
{
    if (size && w->piece_count < PIECES_MAX)
        w->pieces[w->piece_count++] = (struct piece){number, offset, size};
}

static void list_pieces(struct world *w, const struct table_info *info)
{
    struct sst_reader *r;
    uint64_t n = info->number;
    check(sst_reader_open(&w->store->context, info, &r));
    add_piece(w, n, r->data_end, SST_FOOTER_SIZE);
    for (uint32_t p = 0; p < r->top.count; p++) {
        const struct sst_part *part = &r->top.parts[p];
        struct index_frame *index;
        check(sst_load_index(r, p, &index));
        add_piece(w, n, part->index.offset, sst_handle_span(&part->index));
        add_piece(w, n, part->filter.offset, sst_handle_span(&part->filter));
        for (uint32_t b = 0; b < index->index.count; b++) {
            const struct sst_handle *h = &index->index.blocks[b].handle;
            add_piece(w, n, h->offset, sst_handle_span(h));
        }
        sst_discard_frame(&index->frame);
    }
    sst_reader_unref(r);
}

static void flip(struct world *w, const struct piece *p, uint64_t at)
{
    struct env_file *f;
    uint8_t byte;
    char *path = sst_path(store_directory, p->number);
    check(env_open(w->store->disk, path, ENV_READ, &f));
    check(env_file_read_full(f, at, &byte, 1));
    check(env_file_close(f));
    byte ^= 0x40;
    check(env_memory_damage(w->store->disk, path, at, &byte, 1));
    mem_free(path);
}

static void print_key(char *to, adb_slice key)
{
    snprintf(to, 64, "%.*s", (int)key.size, (const char *)key.data);
}

static void on_damage(void *context, const struct sst_damage *d)
{
    struct found *found = context;
    found->count++;
    found->piece = d->piece;
    print_key(found->from, d->from);
    print_key(found->to, d->to);
}

static void verify(struct world *w, struct found *found)
{
    *found = (struct found){0};
    for (size_t i = 0; i < w->tables.added_count; i++)
        (void)!sst_verify_table(&w->store->context, &w->tables.added[i].info,
                                on_damage, NULL, found);
    assert_int_equal(found->count, 1);
}

/* ---- walking ---- */

struct walk {
    const struct world *world;
    const struct found *found;
    struct kv_iter *it;
    size_t low, high; /* visible keys in bounds: [low, high) */
    size_t at;        /* of the entry shown; SIZE_MAX: none */
    uint64_t failures, shown;
    char lower[64], upper[64]; /* bounds of it */
};

static size_t lower_bound(const struct world *w, const char *key)
{
    size_t i = 0;
    while (i < w->visible_count && strcmp(w->visible[i]->key, key) < 0)
        i++;
    return i;
}

static const char *key_at(const struct walk *k, size_t i)
{
    return i < k->world->visible_count ? k->world->visible[i]->key : "\x7f";
}

static void check_value(struct walk *k)
{
    const struct version_text *v = k->world->visible[k->at];
    adb_status status = kv_iter_load(k->it);
    assert_int_equal(k->it->value.size, v->value_size);
    if (status != ADB_OK) {
        assert_int_equal(status, ADB_CORRUPTION);
        assert_true(strcmp(k->found->from, v->key) <= 0 &&
                    strcmp(v->key, k->found->to) <= 0);
        return;
    }
    uint8_t *value = malloc(v->value_size + 1);
    version_value(v, value);
    assert_memory_equal(k->it->value.data, value, v->value_size);
    free(value);
}

/* After a move: `at` is where it should stand, high or below low: at the end;
   the damage may show between the keys from and to. */
static void judge(struct walk *k, size_t at, const char *from, const char *to)
{
    adb_status status = kv_iter_status(k->it);
    bool inside = at >= k->low && at < k->high;
    k->at = SIZE_MAX;
    if (k->it->valid) {
        assert_int_equal(status, ADB_OK);
        assert_true(inside);
        assert_true(slice_equal(
            k->it->key, version_key(k->world->visible[at])));
        k->at = at;
        k->shown++;
        check_value(k);
        /* A large value backward: loading has turned the iterator. */
        if (!k->it->valid)
            k->at = SIZE_MAX;
    } else if (status == ADB_OK) {
        assert_false(inside);
    } else {
        assert_int_equal(status, ADB_CORRUPTION);
        assert_non_null(strstr(status_message(), ".sst"));
        assert_true(k->found->piece != SST_PIECE_FILTER &&
                    k->found->piece != SST_PIECE_VALUE);
        if (strcmp(k->found->to, from) < 0 || strcmp(k->found->from, to) > 0)
            fail_msg("damage of '%s' to '%s' met between '%s' and '%s'",
                     k->found->from, k->found->to, from, to);
        k->failures++;
    }
}

static void seek(struct walk *k, const char *key)
{
    size_t at = lower_bound(k->world, key);
    k->it->ops->seek(k->it, slice_of_string(key), KV_MAX_SEQ);
    at = MAX_OF(at, k->low);
    judge(k, at, key, key_at(k, at));
}

static void seek_before(struct walk *k, const char *key)
{
    size_t at = lower_bound(k->world, key);
    k->it->ops->seek_before(k->it, slice_of_string(key), KV_MAX_SEQ);
    at = MIN_OF(at, k->high);
    judge(k, at - 1, at > 0 ? key_at(k, at - 1) : "", "\x7f");
}

static void move(struct walk *k, bool forward)
{
    const char *here = key_at(k, k->at);
    if (forward) {
        kv_iter_next(k->it);
        judge(k, k->at + 1, here, key_at(k, k->at + 1));
    } else {
        size_t before = k->at - 1;
        kv_iter_prev(k->it);
        judge(k, before, before == SIZE_MAX ? "" : key_at(k, before), here);
    }
}

static void random_key(struct random *r, char *key)
{
    sprintf(key, "%s%03llu%s", random_below(r, 2) ? "user0000/" : "k",
            (unsigned long long)random_below(r, KEYS),
            random_below(r, 4) ? "" : "+");
}

static void step(struct walk *k, struct random *r)
{
    char key[64];
    uint64_t dice = random_below(r, 20);
    random_key(r, key);
    if (k->at != SIZE_MAX && dice >= 4) {
        move(k, dice < 15);
    } else if (dice == 0) {
        k->it->ops->seek_first(k->it);
        judge(k, k->low, "", key_at(k, k->low));
    } else if (dice == 1) {
        k->it->ops->seek_last(k->it);
        judge(k, k->high - 1, k->high ? key_at(k, k->high - 1) : "", "\x7f");
    } else if (dice % 2) {
        seek(k, key);
    } else {
        seek_before(k, key);
    }
}

static void open_walk(struct walk *k, struct random *r)
{
    const struct world *w = k->world;
    struct kv_iter *runs[RUNS_MAX];
    struct user_iter_options o = {.read_seq = KV_MAX_SEQ};
    size_t count = w->store->version->run_count;
    unsigned flags = SST_STAND_AT_DAMAGE;
    flags |= random_below(r, 2) ? SST_NO_FILL : 0;
    for (size_t i = 0; i < count; i++)
        runs[i] = version_run_iter(w->store->version, i, flags);
    k->low = 0;
    k->high = w->visible_count;
    random_key(r, k->lower);
    random_key(r, k->upper);
    if (random_below(r, 3) == 0) {
        o.lower = slice_of_string(k->lower);
        k->low = lower_bound(w, k->lower);
    }
    if (random_below(r, 3) == 0) {
        o.upper = slice_of_string(k->upper);
        k->high = lower_bound(w, k->upper);
    }
    k->high = MAX_OF(k->high, k->low);
    k->it = user_iter_new(merge_iter_new(runs, count), &o);
    assert_non_null(k->it);
    k->at = SIZE_MAX;
}

static void walk_damaged(struct world *w, const struct piece *p,
                         uint64_t sum[2])
{
    struct found found;
    uint64_t at = p->offset + random_below(&w->random, p->size);
    flip(w, p, at);
    verify(w, &found);
    for (int i = 0; i < 4; i++) {
        struct walk k = {.world = w, .found = &found};
        load_version(w);
        open_walk(&k, &w->random);
        for (int moves = 0; moves < 150; moves++)
            step(&k, &w->random);
        kv_iter_close(k.it);
        sum[0] += k.shown;
        sum[1] += k.failures;
    }
    flip(w, p, at);
}

static void free_world(struct world *w)
{
    version_edit_deinit(&w->tables);
    store_free(w->store);
}

static void test_walks(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), sum[2] = {0}, walks = 0;
    for (uint64_t world = 0; world < test_scaled(12, 3); world++) {
        static struct world w;
        make_world(&w, seed + world);
        for (size_t i = 0; i < w.tables.added_count; i++)
            list_pieces(&w, &w.tables.added[i].info);
        for (int i = 0; i < 60; i++) {
            size_t choice = random_below(&w.random, w.piece_count);
            walk_damaged(&w, &w.pieces[choice], sum);
            walks++;
        }
        free_world(&w);
    }
    printf("%llu pieces damaged, %llu entries seen, %llu failures\n",
           (unsigned long long)walks, (unsigned long long)sum[0],
           (unsigned long long)sum[1]);
    assert_true(sum[0] > 10 * sum[1] && sum[1] > walks / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
