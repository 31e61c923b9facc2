/* fake — a world of one process for the room's transport: streams whose bytes the test gives and sees,
 * a clock it moves, and a node that answers when told to. */
#ifndef TESTS_API_FAKE_H
#define TESTS_API_FAKE_H

#include "api_int.h"

#include <rq/env_impl.h>

enum { FAKE_TIMERS_MAX = 64 };

struct fake_stream {
    struct env_stream stream; /* first */
    struct buf written;
    size_t pending;
    uint32_t writes;
    bool reading, finished, closed, told;
    bool stuck; /* the client reads nothing: pending grows */
};

struct fake {
    struct env env; /* first */
    uint64_t now_ns;
    struct env_timer *timers[FAKE_TIMERS_MAX];
    uint32_t timer_count;
    struct env_turn *turns;
    struct env_listener listener;
    bool listening;
    struct guard *guard; /* given to fake_api's api */
    struct env_job *job; /* submitted, not yet run */
    void (*accepted)(void *ctx, struct env_stream *s);
    void *accepted_ctx;
    /* the node */
    int submit_rc;
    uint32_t submitted, forgotten, pulled;
    struct node_request last;
    bool part_out;
    node_reply_fn *reply;
    void *reply_ctx;
    struct node_status status;
    struct node_counters counters;
    uint32_t metas; /* questions */
    struct api_queue_config queue; /* of the next fake_api */
    /* a database file */
    int upload_rc; /* of node_upload_begin */
    bool uploading, upload_last, upload_canceled;
    struct node_upload_ask upload;
    struct buf uploaded; /* what was given; buf_init by who looks */
    uint32_t upload_gives;
    int order_rc; /* of node_remove and node_stepdown */
    struct slice order_user;
};

extern struct fake fake;

void fake_reset(void);
struct api *fake_api(void);
void fake_connect(struct fake_stream *s); /* through the listener */
void fake_send(struct fake_stream *s, const char *bytes);
void fake_hang_up(struct fake_stream *s, int rc);
void fake_pass(uint64_t ms); /* time */
void fake_turn(void);        /* hooks, and closed() of streams */
void fake_job(void);         /* the job that was submitted: run() and done() */
void fake_reply(int rc, const char *body_or_text);
void fake_part(const char *body); /* more will come when it is pulled */
const char *fake_written(struct fake_stream *s); /* all since the last look */
void fake_stream_end(struct fake_stream *s);

#endif
