/*
 * One seed: a plan, a database on a simulated disk, clients, faults, crashes.
 *
 *   life 1: create -> clients work -> power cut, kill or clean close
 *   life 2: recover what is left, compare with history -> clients -> ...
 *   last:   close, open, compare, nothing left behind
 *
 * A crash is an image of the disk taken at one moment; the life it ends goes
 * on in its own world until its clients have noticed, and is thrown away.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "sim/history.h"
#include "sim/scheduler.h"

enum { CLIENTS_MAX = 6, LIVES_MAX = 4, GHOSTS_MAX = 8, EXTRA_IMAGES = 2 };

/* When the disk is not full. */
#define SIM_DISK_BYTES (UINT64_C(1) << 40)

enum end_kind { END_CLOSE, END_POWER, END_KILL };

/* What a life ends with, and when: at the n-th change of the disk or at the
   n-th scheduling point of that life (0: not by this). A life that is over
   before then is closed. */
struct ending {
    enum end_kind kind;
    uint64_t at_change, at_step;
};

/* What a seed decides before anything runs. */
struct plan {
    char options[400];
    uint64_t manifest_roll_bytes;
    enum env_memory_model model;
    unsigned clients, operations; /* of each client */
    unsigned keys;
    unsigned value_max;
    bool huge; /* some values above a memtable and a segment */
    uint64_t sync_interval_ms;
    unsigned raise_percent;   /* writes that ask for durability sync */
    unsigned timeout_percent; /* writes with a deadline */
    unsigned barrier_permille; /* flush, compact, sync */
    unsigned pause_permille;  /* a client does nothing for seconds */
    unsigned read_percent;
    unsigned lives;
    struct ending endings[LIVES_MAX];
    bool faults;
    bool memory_faults; /* allocations fail too */
    uint64_t latency_ns;
    unsigned stall_permille, part_permille;
    uint64_t preempt;
};
void plan_make(struct plan *p, uint64_t seed);
void plan_describe(const struct plan *p, char *out, size_t size);

struct world;

struct client {
    struct world *world; /* borrowed */
    unsigned number;
    struct thread *thread;
    struct random random;
    struct history_write write; /* of the operation under way */
    struct step step;
    adb_snapshot *snapshot;
    struct sight snapshot_sight;
    adb_value held; /* a pinned value, checked when it is let go */
    size_t held_key;
    uint64_t held_id;
};

struct world {
    uint64_t seed;
    struct plan plan;
    struct random random;
    struct history *history; /* owned */
    struct env *disk;        /* owned; the simulated one */
    struct env *fault;       /* owned; on top of it */
    struct env *env;         /* owned; what the engine sees */
    adb *db;                 /* NULL: not open */
    unsigned life;
    uint32_t next_id;
    bool stop; /* clients end */
    bool faulty; /* faults may have shown in this life */
    struct client clients[CLIENTS_MAX];

    /* Writes that failed and may yet turn up after a crash, as long as no
       later one was published. */
    struct step ghosts[GHOSTS_MAX];
    size_t ghost_count, ghosts_at; /* state */

    /* The crash that ends this life. */
    struct ending ending;
    uint64_t life_began_step;
    struct env *image; /* owned; NULL: not yet */
    struct env *extra[EXTRA_IMAGES]; /* owned; to be looked at only */
    struct history_cut cut;
    char cut_at[200];
    /* What the present life found must be allowed by; also of images made
       while it is being opened. */
    struct history_cut found_cut;
    bool settled; /* found and compared */

    /* For the summary. */
    uint64_t operations, changes, images, flushes, merges, faults;
};

/* Runs the seed; dies of anything that is wrong. trace may be NULL. */
void world_run(uint64_t seed, FILE *trace, bool trace_steps,
               struct scheduler_result *out, struct world *w);
/* What is known of the seed, for whoever has to look at a failure. */
const char *world_describe(const struct world *w);

#define world_die(w, ...)                                                      \
    do {                                                                       \
        fprintf(stderr, "\n%s:%d: ", __FILE__, __LINE__);                      \
        fprintf(stderr, __VA_ARGS__);                                          \
        die("%s", world_describe(w));                                          \
    } while (0)

/* client.c */
void *client_run(void *client);
/* A write of the world's own, until it succeeds. */
void client_write_until_ok(struct client *c);

/* chaos.c: a thread that makes operations fail, fills the disk and takes the
   memory away */
void *chaos_run(void *world);
void chaos_begin(struct world *w, struct random *r);
void chaos_heal(struct world *w);

/* Looks at what is published; before and behind every operation. */
void world_observe(struct world *w);

#endif
