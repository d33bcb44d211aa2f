/*
 * The picker: pure policy. Sizes, key ranges and goals in, a plan out; no
 * locks, no I/O, no clock, no memory but the caller's and what the plan owns.
 * The engine and bench/simulate drive the same code.
 *
 * Lazy leveling: the bottom level is one range-partitioned run; every level
 * above it holds a few runs of about equal size. picker.c shows the
 * life of a run, docs/decisions/005-lazy-leveling.md has the figures.
 *
 * Levels never fall with age: 0 (flushes), then even levels where runs rest,
 * each followed by the odd level whose runs are being merged, slice by slice,
 * into one run of the next even level; PICKER_BOTTOM_LEVEL is the bottom.
 * All tables of a run stand at one level.
 *
 * Damage. A quarantined table cannot be merged, so nothing newer of its keys
 * may pass below it. It is set aside, with the older tables that overlap it and
 * those that overlap them: moved to PICKER_ASIDE_LEVEL, below the bottom, into
 * runs whose numbers are smaller than all others.
 *
 *     level  2   [---][--Q--][---]             [---]     [---]
 *     level 16   [-a-][-b-][-c-][-d-]   =>     [-a-]        [-d-]
 *     level 17                                      [--Q--]
 *                                                   [-b-][-c-]
 *
 * So ages stay true, and all else goes on as if what is set aside were not
 * there, but that tombstones above it stay. Once released it returns: the runs
 * at that level which are newer than every quarantined table join the bottom.
 *
 * Run numbers: a merge joins (or becomes) its OLDEST run: output_run is that
 * run's number, so no new number is ever needed but for flushes. A plan holds
 * every table between the ages of its newest and its oldest run that overlaps
 * its keys, hence ages stay true. Either output_level is the level at which
 * run output_run stands already, or the plan holds all tables of that run.
 * Meanwhile that run keeps its level, though it may have no busy table
 * (joined), and nothing else joins a run whose level will change (leaving).
 */
#ifndef COMPACTION_PICKER_H
#define COMPACTION_PICKER_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

struct picker_table {
    uint64_t number;
    uint64_t size; /* bytes */
    uint64_t entries, tombstones;
    adb_slice smallest, largest; /* user keys; borrowed */
    bool busy; /* input of a running compaction */
    bool quarantined; /* damaged: never an input of a merge */
};
struct picker_run { /* newest first in the input */
    uint32_t level;
    uint64_t run;
    const struct picker_table *tables; /* ascending, disjoint */
    size_t count;
    /* By running compactions (picker_run_affected): */
    bool joined;  /* the output of one becomes part of it */
    bool leaving; /* one gives it another level */
};

enum { PICKER_BOTTOM_LEVEL = 16, PICKER_ASIDE_LEVEL = 17 };

enum picker_policy { PICKER_LAZY, PICKER_LEVELED, PICKER_TIERED };

struct picker_options {
    enum picker_policy policy;
    uint64_t memtable_bytes;   /* what one flush writes at most */
    uint64_t table_bytes;      /* aim for one output table */
    uint64_t max_merge_bytes;  /* aim for the input of one job */
    unsigned flush_trigger;    /* level 0 runs that make a merge due; 0: from
                                  the ratio of data to memtable */
};

struct picker_input {
    struct picker_options options;
    const struct picker_run *runs; /* newest first */
    size_t run_count;
    uint64_t next_run;      /* number a new run would get; see picker_plan */
    uint64_t garbage_bytes; /* estimate above the bottom, for idle merging */
    uint64_t since_bottom;  /* bytes flushed since the last merge into the
                               bottom began; moves do not count */
    bool bottom_failed;     /* so did that merge: others first */
    bool idle;              /* no write for a while: may tidy up */
    uint64_t idle_budget;   /* bytes idle rewriting may still cost */
};

enum picker_kind { PICKER_NONE, PICKER_MERGE, PICKER_MOVE };

struct picker_source { /* a contiguous range of tables of one run */
    size_t run_index;
    size_t first, count;
};
struct picker_plan {
    enum picker_kind kind;
    struct picker_source *sources; /* newest first; owned */
    size_t source_count;
    uint32_t output_level;
    uint64_t output_run; /* number of the run that the output joins or becomes;
                            0 with keep_runs */
    bool keep_runs;      /* MOVE of whole runs to output_level: every table
                            keeps the number of its run */
    bool new_runs;       /* MOVE: what comes from one run makes a run of its
                            own at output_level; the oldest is output_run, each
                            newer one's number is larger by one. A run may be
                            several sources here */
    bool output_bottom;  /* no older version of these keys lies outside the
                            plan: tombstones may go, subject to snapshots */
    uint64_t input_bytes;
    uint64_t table_bytes; /* cut output tables at about this size ... */
    adb_slice *cuts;      /* ... and at these user keys (a table ends before
                             a cut); ascending, borrowed from the input */
    size_t cut_count;
    bool blocked;       /* NONE only because tables are busy: ask again when a
                           job has ended */
    const char *reason; /* static text: "level 0 has 4 runs" ... */
    double score;       /* urgency, 1.0 = due */
};

/* What a compaction that runs will do to a run; source: its plan has tables of
   that run. */
void picker_run_affected(struct picker_run *run, const struct picker_plan *plan,
                         bool source);

/* ADB_OK with kind NONE when nothing is due. plan needs picker_plan_deinit. */
adb_status picker_pick(const struct picker_input *input,
                       struct picker_plan *plan) ADB_MUST_CHECK;
void picker_plan_deinit(struct picker_plan *plan);

/* Merge everything overlapping [from, to] (data NULL: unbounded) toward one
   run: the next step of a manual compaction; kind NONE when done, unless
   blocked. */
adb_status picker_pick_range(const struct picker_input *input, adb_slice from,
                             adb_slice to,
                             struct picker_plan *plan) ADB_MUST_CHECK;

/* How far compaction is behind, for back-pressure. */
struct picker_debt {
    uint64_t bytes;  /* input bytes of all merges that are due */
    unsigned runs;   /* sorted runs a point read may have to visit, without
                        those set aside: slower writers do not mend them */
    double score;    /* most urgent plan; <= 1.0 no debt */
    double above;    /* bytes above the bottom, but for what flushes leave there
                        between two merges, against those that make a merge
                        into the bottom due; 0: there is no bottom. Of
                        overwrites they are the space that is wasted */
};
void picker_debt(const struct picker_input *input, struct picker_debt *debt);

#endif
