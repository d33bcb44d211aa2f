/*
 * What is left of a simulated disk: after a power cut (env_memory_crash), or
 * after the death of the process alone (env_memory_clone).
 *
 * A power cut decides for each pending item - the size of a file, the content
 * of a sector, a name operation - how far it got: 0 is what was synced, i the
 * i-th change since. Independent choices alone would hardly ever show the
 * states that bugs like best, so an image first picks a manner of choosing:
 * nothing, everything, everything up to one moment, or a mixture with a given
 * share. Not every combination is legal:
 *   - A truncation frees sectors as one with its change of size: what a sector
 *     held before does not come back when the truncation survived, and what it
 *     was given after does not appear when it was lost.
 *   - A rename happens as a whole. When a later change of either name has
 *     survived, the rename has as well, for else a file could vanish that
 *     always had a durable name.
 *   - In the ordered model the surviving name operations are the first ones.
 */
#include <assert.h>

#include "base/hash.h"
#include "env/env_memory_disk.h"

enum manner { BY_BITS, NOTHING, EVERYTHING, UNTIL_A_MOMENT, MIXED };

struct chooser {
    enum manner manner;
    struct random *random;
    uint64_t bits;    /* BY_BITS */
    unsigned item;    /* the next item's place in bits */
    uint64_t moment;  /* UNTIL_A_MOMENT */
    unsigned percent; /* MIXED: share of items that get anywhere */
};

static bool is_image_part(const struct inode *inode)
{
    return inode->links || inode->holds;
}

/* The first change that is pending, to choose a moment after it. */
static uint64_t oldest_pending(const struct memory_disk *d)
{
    uint64_t oldest = d->now;
    for (const struct inode *inode = d->first; inode; inode = inode->next) {
        if (inode->resize_count)
            oldest = MIN_OF(oldest, inode->resizes[0].at);
        for (size_t i = 0; i < inode->dirty_count; i++)
            if (inode->dirty[i].count)
                oldest = MIN_OF(oldest, inode->dirty[i].versions[0].at);
    }
    if (d->operation_count)
        oldest = MIN_OF(oldest, d->operations[0].at);
    return oldest;
}

static struct chooser chooser_of(const struct memory_disk *d,
                                 struct random *random, uint64_t choice)
{
    struct chooser c = {.manner = BY_BITS, .random = random, .bits = choice};
    if (choice != ~UINT64_C(0))
        return c;
    uint64_t oldest;
    switch (random_below(random, 8)) {
    case 0:
        c.manner = NOTHING;
        break;
    case 1:
        c.manner = EVERYTHING;
        break;
    case 2:
    case 3:
        c.manner = UNTIL_A_MOMENT;
        oldest = oldest_pending(d);
        c.moment = oldest - 1 + random_below(random, d->now - oldest + 2);
        break;
    default:
        c.manner = MIXED;
        c.percent = 10 + (unsigned)random_below(random, 81);
    }
    return c;
}

/* How far an item got, low..high; the i-th change (from 1) is an element of an
   array whose elements begin with their `at`. */
static size_t choose(struct chooser *c, const void *changes, size_t element,
                     size_t low, size_t high)
{
    unsigned item = c->item++;
    switch (c->manner) {
    case NOTHING:
        return low;
    case EVERYTHING:
        return high;
    case BY_BITS:
        return item < 64 && (c->bits >> item & 1) ? high : low;
    case UNTIL_A_MOMENT:
        while (high > low) {
            uint64_t at;
            memcpy(&at, (const uint8_t *)changes + (high - 1) * element,
                   sizeof at);
            if (at <= c->moment)
                break;
            high--;
        }
        return high;
    case MIXED:
        break;
    }
    if (high == low || random_below(c->random, 100) >= c->percent)
        return low;
    /* The newest content is the likeliest to be written back. */
    if (random_next(c->random) >> 63)
        return high;
    return low + 1 + (size_t)random_below(c->random, high - low);
}

/* ---- files ---- */

static struct sector *surviving_content(struct chooser *c,
                                        const struct dirty_sector *s,
                                        uint64_t resized_at)
{
    size_t low = 0, high = s->count;
    if (s->count == 0)
        return s->synced;
    for (uint32_t i = 0; i < s->count; i++) {
        if (!s->versions[i].cut)
            continue;
        if (s->versions[i].at <= resized_at)
            low = i + 1;
        else {
            high = i;
            break;
        }
    }
    size_t got = choose(c, s->versions, sizeof *s->versions, low, high);
    return got ? s->versions[got - 1].content : s->synced;
}

/* Bytes behind the end are zeros, should the file grow again. */
static void clear_behind_end(struct inode *inode)
{
    size_t within = (size_t)(inode->size % SECTOR_SIZE);
    uint32_t last = (uint32_t)(inode->size / SECTOR_SIZE);
    struct sector *s = within ? file_sector(inode, last) : NULL;
    if (!s)
        return;
    struct sector *cut = disk_alloc(sizeof *cut);
    atomic_init(&cut->refs, 1);
    memcpy(cut->bytes, s->bytes, within);
    file_place_sector(inode, last, cut);
}

static void count_blocks(struct memory_disk *d, struct inode *inode)
{
    inode->blocks = inode->reserved;
    for (uint64_t i = inode->reserved; i < inode->sector_capacity; i++)
        inode->blocks += inode->sectors[i] != NULL;
    d->used += inode->blocks;
}

static void make_sectors(struct inode *inode, uint64_t count)
{
    if (count == 0)
        return;
    inode->sectors = disk_alloc(count * sizeof *inode->sectors);
    inode->dirty_of = disk_alloc(count * sizeof *inode->dirty_of);
    inode->sector_capacity = (uint32_t)count;
}

static void survive_file(struct chooser *c, const struct inode *from,
                         struct inode *to)
{
    size_t got = 0;
    if (from->resize_count)
        got = choose(c, from->resizes, sizeof *from->resizes, 0,
                     from->resize_count);
    uint64_t resized_at = got ? from->resizes[got - 1].at : 0;
    to->size = got ? from->resizes[got - 1].size : from->synced_size;
    to->synced_size = to->size;
    uint64_t count = sectors_of(to->size);
    to->reserved = MIN_OF(from->reserved, count);
    count = MIN_OF(count, (uint64_t)from->sector_capacity);
    make_sectors(to, count);
    for (uint64_t i = 0; i < count; i++)
        if (!from->dirty_of[i])
            to->sectors[i] = sector_ref(from->sectors[i]);
    for (size_t i = 0; i < from->dirty_count; i++) {
        const struct dirty_sector *s = &from->dirty[i];
        struct sector *content = surviving_content(c, s, resized_at);
        if (s->index < count)
            to->sectors[s->index] = sector_ref(content);
    }
    clear_behind_end(to);
}

/* ---- names ---- */

static void choose_operations(struct chooser *c, const struct memory_disk *d,
                              bool *kept)
{
    size_t count = d->operation_count;
    for (size_t i = 0; i < count; i++)
        kept[i] = choose(c, &d->operations[i].at, 0, 0, 1) == 1;
    if (d->model == ENV_MEMORY_STRICT) {
        for (size_t i = count; i-- > 0;)
            for (size_t j = i + 1; j < count && !kept[i]; j++)
                kept[i] = kept[j] && d->operations[i].kind == NAME_RENAME &&
                          operation_touches(&d->operations[j],
                                            &d->operations[i]);
        return;
    }
    size_t first = 0;
    if (c->manner == MIXED)
        first = (size_t)random_below(c->random, count + 1);
    else
        while (first < count && kept[first])
            first++;
    for (size_t i = 0; i < count; i++)
        kept[i] = i < first;
}

static void survive_names(struct chooser *c, struct memory_disk *d)
{
    bool *kept = disk_alloc(d->operation_count);
    choose_operations(c, d, kept);
    for (struct inode *inode = d->first; inode; inode = inode->next)
        names_copy(&inode->surviving, &inode->durable);
    for (size_t i = 0; i < d->operation_count; i++) {
        struct name_operation *o = &d->operations[i];
        if (kept[i])
            operation_apply(d, o, &o->directory->surviving,
                            o->to_directory ? &o->to_directory->surviving
                                            : NULL,
                            false);
    }
    disk_free(kept);
}

/* Gives the copies of what is reachable from here their names. */
static void link_copies(struct inode *directory)
{
    struct inode *copy = directory->copy;
    for (size_t i = 0; i < directory->surviving.count; i++) {
        struct inode *inode = directory->surviving.list[i].inode;
        const char *text = directory->surviving.list[i].text;
        assert(inode->copy);
        names_set(&copy->live, text, inode->copy);
        names_set(&copy->durable, text, inode->copy);
        inode->copy->links++;
        inode->copy->holds++;
        if (inode->kind == ENV_KIND_DIRECTORY && inode->copy->links == 1)
            link_copies(inode);
    }
}

static struct memory_disk *image_new(const struct memory_disk *d)
{
    struct memory_disk *image = disk_new(d->model);
    image->now = d->now;
    image->capacity = d->capacity;
    image->random = d->random;
    return image;
}

static void destroy_unreachable(struct memory_disk *image)
{
    for (struct inode *inode = image->first, *next; inode; inode = next) {
        next = inode->next;
        if (inode->links == 0)
            inode_destroy(image, inode);
        else
            count_blocks(image, inode);
    }
}

struct env *env_memory_crash(struct env *e, struct random *random,
                             uint64_t choice)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    struct chooser chooser = chooser_of(d, random, choice);
    struct memory_disk *image = image_new(d);
    for (struct inode *inode = d->first; inode; inode = inode->next) {
        if (!is_image_part(inode))
            continue;
        inode->copy = inode_new(image, inode->kind);
        survive_file(&chooser, inode, inode->copy);
    }
    survive_names(&chooser, d);
    image->root = d->root->copy;
    image->root->links = 1;
    link_copies(d->root);
    for (struct inode *inode = d->first; inode; inode = inode->next) {
        names_deinit(&inode->surviving);
        inode->copy = NULL;
    }
    mutex_unlock(&d->lock);
    destroy_unreachable(image);
    return &image->base;
}

size_t env_memory_pending(struct env *e)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    size_t count = d->operation_count;
    for (struct inode *inode = d->first; inode; inode = inode->next) {
        if (!is_image_part(inode))
            continue;
        count += inode->resize_count != 0;
        for (size_t i = 0; i < inode->dirty_count; i++)
            count += inode->dirty[i].count != 0;
    }
    mutex_unlock(&d->lock);
    return count;
}

/* ---- clones ---- */

static void clone_dirty(const struct dirty_sector *from,
                        struct dirty_sector *to)
{
    *to = *from;
    to->capacity = from->count;
    to->versions = disk_alloc(from->count * sizeof *to->versions);
    sector_ref(to->synced);
    for (uint32_t i = 0; i < from->count; i++) {
        to->versions[i] = from->versions[i];
        sector_ref(to->versions[i].content);
    }
}

static void clone_file(const struct inode *from, struct inode *to)
{
    to->size = from->size;
    to->synced_size = from->synced_size;
    to->reserved = from->reserved;
    to->blocks = from->links ? from->blocks : 0;
    make_sectors(to, from->sector_capacity);
    for (uint32_t i = 0; i < from->sector_capacity; i++) {
        to->sectors[i] = sector_ref(from->sectors[i]);
        to->dirty_of[i] = from->dirty_of[i];
    }
    to->dirty_count = to->dirty_capacity = from->dirty_count;
    to->dirty = disk_alloc(from->dirty_count * sizeof *to->dirty);
    for (size_t i = 0; i < from->dirty_count; i++)
        clone_dirty(&from->dirty[i], &to->dirty[i]);
    to->resize_count = to->resize_capacity = from->resize_count;
    to->resizes = disk_alloc(from->resize_count * sizeof *to->resizes);
    if (from->resize_count)
        memcpy(to->resizes, from->resizes,
               from->resize_count * sizeof *to->resizes);
}

static void clone_names(const struct inode *from)
{
    struct inode *to = from->copy;
    names_copy(&to->live, &from->live);
    names_copy(&to->durable, &from->durable);
    for (size_t i = 0; i < to->live.count; i++)
        to->live.list[i].inode = to->live.list[i].inode->copy;
    for (size_t i = 0; i < to->durable.count; i++)
        to->durable.list[i].inode = to->durable.list[i].inode->copy;
}

static void clone_operations(const struct memory_disk *d,
                             struct memory_disk *image)
{
    for (size_t i = 0; i < d->operation_count; i++) {
        const struct name_operation *o = &d->operations[i];
        operation_add(image, o->kind, o->inode->copy, o->directory->copy,
                      o->name, o->to_directory ? o->to_directory->copy : NULL,
                      o->to_name);
        struct name_operation *last =
            &image->operations[image->operation_count - 1];
        last->at = o->at;
        last->synced = o->synced;
        last->to_synced = o->to_synced;
        /* The copies' counts are copied as a whole. */
        last->inode->holds--;
        last->directory->holds--;
        if (last->to_directory)
            last->to_directory->holds--;
    }
    image->now = d->now;
}

struct env *env_memory_clone(struct env *e)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    struct memory_disk *image = image_new(d);
    for (struct inode *inode = d->first; inode; inode = inode->next) {
        if (!is_image_part(inode))
            continue;
        inode->copy = inode_new(image, inode->kind);
        inode->copy->links = inode->links;
        inode->copy->holds = inode->holds;
        clone_file(inode, inode->copy);
        image->used += inode->copy->blocks;
    }
    for (struct inode *inode = d->first; inode; inode = inode->next)
        if (inode->copy)
            clone_names(inode);
    clone_operations(d, image);
    image->root = d->root->copy;
    for (struct inode *inode = d->first; inode; inode = inode->next)
        inode->copy = NULL;
    mutex_unlock(&d->lock);
    return &image->base;
}

/* ---- hash ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    uint64_t both[2] = {hash, value};
    return checksum_bytes(both, sizeof both);
}

static uint64_t hash_file(const struct inode *inode)
{
    static const uint8_t zeros[SECTOR_SIZE];
    uint64_t hash = mix(1, inode->size);
    /* Holes and written zeros read the same, so both are left out. */
    for (uint32_t i = 0; i < inode->sector_capacity; i++) {
        const struct sector *s = inode->sectors[i];
        if (s && memcmp(s->bytes, zeros, SECTOR_SIZE) != 0)
            hash = mix(mix(hash, i), checksum_bytes(s->bytes, SECTOR_SIZE));
    }
    return hash;
}

static uint64_t hash_directory(const struct inode *directory)
{
    uint64_t hash = 2;
    for (size_t i = 0; i < directory->live.count; i++) {
        const struct name *n = &directory->live.list[i];
        hash = mix(hash, checksum_bytes(n->text, strlen(n->text)));
        hash = mix(hash, n->inode->kind == ENV_KIND_DIRECTORY
                             ? hash_directory(n->inode)
                             : hash_file(n->inode));
    }
    return hash;
}

uint64_t env_memory_hash(struct env *e)
{
    struct memory_disk *d = disk_of(e);
    mutex_lock(&d->lock);
    uint64_t hash = hash_directory(d->root);
    mutex_unlock(&d->lock);
    return hash;
}
