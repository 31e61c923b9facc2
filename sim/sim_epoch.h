/* sim_epoch — one ledger of all writes, where loads begin it anew.
 *
 * A load puts another database in the place of the database: the ledger's rows are gone, and it begins with the load's
 * own row. That row bears the number SIM_EPOCH_ROWS times the load's, so that each row, and each answer that tells
 * how far the ledger reached, tells its epoch. Of an epoch that is over only those rows are known that somebody
 * was told of, of the last one all. Laid end to end they are the order that sim_order.h judges. Pure. */
#ifndef SIM_EPOCH_H
#define SIM_EPOCH_H

#include "sim_order.h"

#define SIM_EPOCH_ROWS UINT64_C(1000000000)

struct sim_epoch {
    uint64_t id;        /* 0: before any load; else the load's number among loads */
    uint64_t base;      /* rows before it */
    uint64_t rows;      /* its own, that of its load included */
    uint64_t index_min; /* the least index known of one of its writes; 0: none */
    const struct sim_deed *load;
    bool seen;
};
struct sim_epochs {
    struct sim_epoch *at; /* in order */
    size_t count;
    uint64_t *ledger; /* as struct sim_order wants it */
    size_t rows;
    bool unordered; /* nobody can say in which order two of them came */
};
struct sim_epoch_row { /* of the ledger in the end */
    uint64_t row, op;
};

/* Deeds' positions, until now rows as told, become places in the whole ledger. false: no ledger could be so; the
 * oracle is C2. */
bool sim_epochs_lay(struct sim_deed *deeds, size_t count, const struct sim_epoch_row *last,
                    size_t last_rows, struct sim_epochs *out, struct err_text *why);
void sim_epochs_fini(struct sim_epochs *e);
/* The one that a row as told belongs to; NULL: none. */
const struct sim_epoch *sim_epoch_of(const struct sim_epochs *e, uint64_t row);

#endif
