/* contract_link — a listener and the two ends of one connection to it, and steps to put cases together.
 *
 * Each end writes down what it hears as words ("opened:ERR_OK data ended:ERR_EOF closed"; a run of
 * data counts once), and the cases compare these. It also checks every byte, the order of callbacks
 * and that none comes inside a submission. Functions named do_ are steps for contract_call, the
 * predicates are for contract_until; their ctx is the link. */
#ifndef CONTRACT_LINK_H
#define CONTRACT_LINK_H

#include "env_contract.h"

enum { BULK_BYTES = 1 << 20, NO_LIMIT = 1 << 30, FULL_AT = 256 * 1024 };

struct end {
    struct contract *c;
    struct env_stream *stream;
    char heard[200];
    bool in_data; /* the last word was data: runs of it count once */
    uint64_t received;
    uint64_t sent;
    unsigned drained;
    bool opened, ended, closed;
    /* what to do when something is heard */
    bool echo;
    bool pause_each; /* stop reading after each piece, go on a little later */
    bool close_on_data;
    bool finish_on_end;
    bool close_on_end;
    bool write_on_end;
    bool bulk_on_drain;
    struct env_timer resume;
};

struct link {
    struct contract *c;
    struct env_listener *listener;
    char addr[64];
    struct end dialed;
    struct end accepted;
    unsigned accepted_count;
    bool no_read;                                    /* the accepted end does not start reading */
    const struct env_stream_events *accepted_events; /* NULL: the usual ones */
    int rc;
};

extern const struct env_stream_events end_events; /* ctx: the end */

int send_pattern(struct end *x, size_t len, size_t pending_max);
void on_opened(void *ctx, int rc);
void on_data(void *ctx, struct slice bytes);
void on_ended(void *ctx, int rc);
void on_drained(void *ctx);
void on_closed(void *ctx);
void on_accepted(void *ctx, struct env_stream *s);
void do_listen(void *ctx);
void do_connect(void *ctx);
void do_read_dialed(void *ctx);
void do_read_accepted(void *ctx);
void do_stop_read_accepted(void *ctx);
void do_close_dialed(void *ctx);
void do_close_accepted(void *ctx);
void do_finish_dialed(void *ctx);
void do_close_listener(void *ctx);
void do_send_small(void *ctx);
void do_send_bulk(void *ctx);
void do_write_until_full(void *ctx);
bool both_open(void *ctx);
bool dialed_opened(void *ctx);
bool dialed_closed(void *ctx);
bool both_closed(void *ctx);
bool dialed_ended(void *ctx);
bool accepted_ended(void *ctx);
bool accepted_got_all(void *ctx);
bool echo_complete(void *ctx);
void end_init(struct end *x, struct contract *c);
void link_listen(struct link *l, struct contract *c);
void link_open(struct link *l, struct contract *c);
void link_open_unread(struct link *l, struct contract *c);
void link_fini(struct link *l);
void link_close_both(struct link *l);

#endif
