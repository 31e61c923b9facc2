/* crash_search.h — a short script, crashed at every disk operation, with every outcome of what was pending.
 *
 *   script ─► crash at operation k ─┬─ power cut, each subset of pending kept/dropped/torn ─► open, check
 *                                   ├─ process crash: open, a second script ─► crash at j ─► power cut, … ─► check
 *                                   └─ one power cut; the same: recovery itself is crashed at each operation
 *
 * What a test gives:
 *
 *   belief   what must be on the disk: certainly (`old`), and perhaps (`new`, the call that was interrupted). A plain
 *            struct without pointers into the life: it is copied for every branch.
 *   live()   one life of a process, run in env_sim_run: open; compare with the belief; once told, true for ever: set
 *            old = new or new = old to what was found; then the script's operations, each: change `new`, call the
 *            room, on return `old` = `new`. It ends in the middle whenever the crash says so: keep nothing in it
 *            that must be released, and large things in static variables. Words of a violation: crash_violation().
 *   sites    names for the room's syncs (crash_syncs.h), if each is to be proven necessary.
 *
 *   static void life(struct crash_life *l) { … open(l->env, …); check against l->belief; run l->ops (NULL: none) … }
 *   struct crash_search s = {.live = life, .belief_bytes = sizeof(struct belief)};
 *   struct crash_plan plan = {.name = "append", .ops = ops, .first = 1, .cut = {256, 4096}};
 *   crash_script_search(&s, &plan);
 *   crash_search_judge(&s, 500, 4000, 300);        // prints the figures; fails if something was found, or too little tried
 *
 * With sanitizers one first crash point in eight is tried, with that much lower limits, and syncs are not judged.
 *
 * tests/unit/image/test_crash.c is a whole one. */
#ifndef CRASH_SEARCH_H
#define CRASH_SEARCH_H

#include "crash_syncs.h"

#include "env/sim_disk.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRASH_PENDING_MAX = 2000, CRASH_SECONDS_MAX = 4 };

/* Outcomes tried per power cut. With n items pending: all 3^n of kept, dropped and torn if they are at most `ternary`; else
 * all 2^n of kept and dropped if at most `binary` (4,096: up to 12 items), and ternary / 4 drawn ones with
 * tears; else `ternary` drawn ones, all kept and all dropped. */
struct crash_effort {
    uint64_t ternary, binary;
};

struct crash_life {
    struct env *env;
    const void *ops; /* the script's; NULL: open and check only */
    void *belief;
    char violation[300]; /* empty: none */
};
void crash_violation(struct crash_life *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

struct crash_search {
    void (*live)(struct crash_life *l);
    size_t belief_bytes;
    const void *belief_first;  /* of an empty disk; NULL: zeros */
    struct crash_syncs *syncs; /* NULL: not looked at */
    /* what came of it */
    uint64_t crash_points, cuts, recoveries, exhaustive;
    bool found;
    char violation[700];
};

struct crash_second { /* what the next process does; its operations must be valid in any state */
    const char *name;
    const void *ops;
};
struct crash_plan {
    const char *name;
    const void *ops;
    uint64_t first;               /* crash points from here on; 0: 1 */
    struct crash_effort cut;      /* after the first crash */
    struct crash_effort cut_rest; /* at crash points not divisible by cut_every (0, 1: none) */
    uint64_t cut_every;
    struct crash_second seconds[CRASH_SECONDS_MAX];
    uint64_t
        second_every; /* second i follows crash point k if k + i is divisible by it; 0, 1: all follow all */
    struct crash_effort second_cut;
    bool recover_again; /* after a power cut drawn by the disk, crash the life of seconds[0] too */
};

/* Stops at the first violation (s->found). */
void crash_script_search(struct crash_search *s, const struct crash_plan *plan);
/* Disk operations until a first life has opened: crash points among them need to be tried with one script only. */
uint64_t crash_creation_ops(struct crash_search *s);

/* Print the figures; fail the test if a violation was found or less was tried than this. */
void crash_search_judge(const struct crash_search *s, uint64_t crash_points, uint64_t cuts,
                        uint64_t exhaustive);
/* Take out the syncs of each site 1 … count - 1 in turn; search() must then find a violation (and meet the site). */
void crash_syncs_judge(struct crash_search *s, const char *const *site_text, int count,
                       bool (*exempt)(int site), void (*search)(struct crash_search *s, int site));

#endif
