/*
 * The history of a database, and whether what was seen of it could have been.
 *
 * State n is what the first n writes made, a batch being one write. Which
 * write was the n-th is told by the engine: the simulation looks at its
 * published sequence at every scheduling point, and since one thread runs at a
 * time, whoever ran when it grew has published the write it is in. That order
 * is a witness, not trusted: with it all of the following is checked, and a
 * wrong witness can only make a check fail.
 *
 *   - A write is published once, by its own thread, between its call and its
 *     return; if its status says that it did not happen, never.
 *   - A read shows a state n with low <= n <= high: the states that were
 *     published when it was called and when it returned. All keys of a
 *     multi-get, of an iterator, of all reads through one snapshot show the
 *     same state. As the order of writes is fixed and agrees with real time,
 *     this is strict serializability of the whole history, keys together; it
 *     is linearizability of each key, with a witness in place of a search.
 *     (A plain get may show a single put that is under way and not published
 *     yet: docs/decisions/009. From then on that put is the newest state, and
 *     must be the next to be published.)
 *   - After a crash there is a state n that was not lost: at least what had
 *     been acknowledged as durable, at most what was published plus one write
 *     under way at the time. So what survives is a prefix and batches are
 *     whole. History then goes on from there.
 *
 * Not proven: anything that no read looked at.
 *
 * Keys and values are those of tests/trust/store.h. Everything here is called
 * by one thread at a time.
 */
#ifndef TESTS_SIM_HISTORY_H
#define TESTS_SIM_HISTORY_H

#include "trust/store.h"

struct history;

/* A write under way, in its caller's memory. */
struct history_write {
    const struct step *step; /* NULL: none */
    size_t at;               /* its number, once published; else 0 */
};

struct history *history_new(void);
void history_free(struct history *h);

/* The database is open and has published up to seq: the present state. */
void history_begin(struct history *h, uint64_t seq);
/* Looks at what is published, at now_ns. running: the write that the running
   thread is in, NULL: none. False, with words: what happened is not
   possible. */
bool history_observe(struct history *h, uint64_t seq,
                     struct history_write *running, uint64_t now_ns);
/* A get has shown what `write`, under way, writes to its only key. */
bool history_show_early(struct history *h, struct history_write *write,
                        uint64_t now_ns);
/* The number of the newest state. */
size_t history_now(const struct history *h);
uint64_t history_value(const struct history *h, size_t key, size_t n);
/* Everything up to state n is acknowledged as durable. */
void history_durable(struct history *h, size_t n);
size_t history_durable_state(const struct history *h);
/* The newest state that was published before ns. */
size_t history_state_before(const struct history *h, uint64_t ns);
/* The words for the last thing found wrong. */
const char *history_words(const struct history *h);

/* ---- what was seen ------------------------------------------------------ */

/* The states that a consistent view may show. */
struct sight {
    size_t *states; /* owned; ascending */
    size_t count;
};
void sight_init(struct sight *s, size_t low, size_t high);
void sight_deinit(struct sight *s);
/* key shows id (0: absent); false: no state is left that fits. */
bool sight_see(struct sight *s, const struct history *h, size_t key,
               uint64_t id);

/* Like a sight of one key. */
bool history_shows(const struct history *h, size_t key, uint64_t id,
                   size_t low, size_t high);

/* ---- crashes ------------------------------------------------------------ */

enum { CUT_PENDING_MAX = 32 };

/* What may be left after a crash. */
struct history_cut {
    size_t low, high;
    size_t durable; /* history_durable_state() at the time */
    /* Copies of writes that may be there in addition to state `high`. */
    struct step pending[CUT_PENDING_MAX];
    size_t pending_count;
};

/* Only from state `low` on; add the writes under way. History may go on after
   the cut was made. */
void history_cut(const struct history *h, size_t low, struct history_cut *cut);
void history_cut_pending(struct history_cut *cut, const struct step *step);

/* Can a recovered database hold what was found? */
bool history_allows(struct history *h, const struct history_cut *cut,
                    const struct store_state *found);
/* Then history from now on is what survived. */
bool history_survive(struct history *h, const struct history_cut *cut,
                     const struct store_state *found);

#endif
