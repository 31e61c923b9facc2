/* sim_order — did everything happen in one order that keeps each level's promise?
 *
 * Every write of the workload adds one row to the ledger, in its own transaction, so that the ledger's
 * rows are the order in which the writes took effect, and the number of rows a read finds there is its
 * position in that order. With positions known no search is needed: one pass decides strict
 * serializability over all keys at once, and the weaker promises likewise. (sim_history.h needs no
 * positions, and is the judge of a ledger that lies.) Pure; the same judge serves the simulator and a
 * corpus of good and bad orders. */
#ifndef SIM_ORDER_H
#define SIM_ORDER_H

#include "sim_history.h"
#include "sim_oracle.h"

/* What a client did. */
#define SIM_DEED_TABLE(X)                                                                          \
    X(WRITE, "write")     /* key := value */                                                       \
    X(SWAP, "swap")       /* key := value where key = expected, by UPDATE */                       \
    X(MIXED, "mixed")     /* WRITE, and a SELECT of what it wrote, in one request */               \
    X(ABORTED, "aborted") /* WRITE, then a statement that fails: nothing of it stays */            \
    X(KEYED, "keyed")     /* WRITE with an idempotency key, sent again until its fate is known */  \
    X(CONDITION, "condition") /* SWAP by if=, is= */                                               \
    X(UNCHANGED, "unchanged") /* WRITE by if_index= */                                             \
    X(QUEUED, "queued")       /* a row of the ledger through a queue */                            \
    X(AWAITED, "awaited")     /* the same, with wait */                                            \
    X(LOAD,                                                                                        \
      "load") /* another database: each of the first `key` keys := value + key, an empty ledger */ \
    X(READ, "read")           /* of one key, at a level */                                         \
    X(FRESH, "fresh")         /* level none, with freshness */                                     \
    X(CAUGHT_UP, "caught_up") /* level none, once an index is applied */                           \
    X(LARGE, "large")         /* many rows, at a level */
enum sim_deed_kind {
#define SIM_DEED_ENUM_(name, text) SIM_DEED_##name,
    SIM_DEED_TABLE(SIM_DEED_ENUM_)
#undef SIM_DEED_ENUM_
        SIM_DEED_COUNT
};
const char *sim_deed_name(enum sim_deed_kind k);
static inline bool sim_deed_writes(enum sim_deed_kind k)
{
    return k <= SIM_DEED_LOAD;
}
static inline bool sim_deed_swaps(enum sim_deed_kind k)
{
    return k == SIM_DEED_SWAP || k == SIM_DEED_CONDITION;
}
static inline bool sim_deed_queues(enum sim_deed_kind k)
{
    return k == SIM_DEED_QUEUED || k == SIM_DEED_AWAITED;
}

struct sim_deed {
    enum sim_deed_kind kind;
    enum sim_level level; /* reads */
    enum sim_op_end end;
    uint64_t number; /* writes: in the ledger, from 1; reads: their mark */
    uint64_t invoke_ns, return_ns;
    uint32_t server;      /* who answered, or was asked last */
    uint64_t incarnation; /* of it */
    uint32_t key, attempts;
    int64_t value, expected; /* reads that are OK: what was seen */
    bool swapped;            /* SWAP, CONDITION, UNCHANGED that are OK: it took effect */
    /* As told by the answer; 0: not told. */
    uint64_t position, raft_index, sequence;
    /* For judging. */
    uint64_t
        leader_index; /* weak: the least index applied, when it was asked, by a node that led meanwhile */
    uint64_t wait_index; /* CAUGHT_UP */
    bool survived;       /* QUEUED: the incarnation that took it lived to the end */
};

enum { SIM_ORDER_KEYS_MAX = 8 };

struct sim_order {
    const struct sim_deed *deeds;
    size_t count;
    const uint64_t
        *ledger; /* numbers of the deeds, in order of rows; 0: somebody's, nobody knows whose */
    size_t rows;
    bool forgets;          /* rows that nobody was told of may be missing */
    uint64_t *evaluations; /* by oracle, added to; may be NULL */
};

/* true: nothing to object to. Else the oracle, and why in words. */
bool sim_order_check(const struct sim_order *o, enum sim_oracle *oracle, struct err_text *why);

#endif
