/* api_queue — queued writes (http-api.md §12). Private to src/api.
 *
 *   api_queue_request.c   POST /db/execute?queue: enter, wait for room, wait for the batch
 *   api_queue_flush.c     batches to node: one under way at a time, repeated until it is through
 *   api_queue.c           the queue as a value: knows neither time's source, nor node, nor HTTP
 *
 *   request ─► [blocked: no room] ─► items ─► batch ─► node ─► finished
 *                   │ timeout: 503             │ └── 1 s ──┘ every failure: the same bytes, the same key
 *                   └─ at most LIMIT_QUEUE_BLOCKED_COUNT
 *
 * Order: requests enter in the order of their sequence numbers, a batch is a run of them that came with the same
 * credentials, and the next batch is not sent before the one before it is known to be in the log. */
#ifndef RQ_API_QUEUE_H
#define RQ_API_QUEUE_H

#include "api_int.h"

/* ---- the value (api_queue.c) ------------------------------------------------------------------------- */

/* Idempotency key of a batch: 0x01, store id, start of this process, the batch's sequence number (three
 * times u64, little-endian). 0x01: made by a queue; clients' own keys begin otherwise. */
enum { API_QUEUE_KEY_BYTES = 1 + 3 * 8 };

struct api_queue_batch { /* taken out of the queue, not yet known to be through */
    bool under_way;
    uint32_t request_count, statement_count;
    uint64_t sequence;  /* the highest of its members */
    struct buf payload; /* as it goes to node, again and again */
    struct buf secrets; /* of the client all of it comes from: user, then password */
    size_t user_len;
};

/* What a request brings. All lent. */
struct api_queue_entry {
    struct slice payload; /* an EXECUTE command; empty: a marker */
    uint32_t statement_count;
    struct slice user, password; /* the leader judges them; user of len 0: none */
};

struct api_queue {
    struct api_queue_config config;
    uint64_t start;    /* sequence numbers follow it */
    uint64_t sequence; /* of the last request that entered */
    uint64_t finished; /* of the last batch that is through; 0: none */
    bool flushing;     /* whatever waits is due */
    struct list items; /* in order of sequence; not those of the batch */
    uint32_t count;
    size_t bytes;
    struct api_queue_batch batch;
};

void api_queue_init(struct api_queue *q, const struct api_queue_config *config, uint64_t start);
void api_queue_fini(struct api_queue *q); /* what waits is dropped */
/* May one more of len bytes enter now? */
bool api_queue_has_room(const struct api_queue *q, size_t len);
/* The last one in line. Needs room for its payload. 0 and its number; ERR_TOO_BIG (never fits a batch), ERR_NOMEM:
 * not entered. */
int api_queue_add(struct api_queue *q, const struct api_queue_entry *entry, uint64_t now_ns,
                  uint64_t *sequence) MUST_USE;
/* When the next batch may begin: 0 at once, because it is full; UINT64_MAX: nothing waits, one is under way,
 * or only time is missing and time does not count. */
uint64_t api_queue_due_ns(const struct api_queue *q);
/* Make the first items the batch under way. There are some, and no batch is. 0; ERR_NOMEM: as before. */
int api_queue_batch_begin(struct api_queue *q, uint64_t store_id) MUST_USE;
void api_queue_batch_end(struct api_queue *q);
/* Requests that entered and are not through. */
uint32_t api_queue_pending(const struct api_queue *q);
void api_queue_check(const struct api_queue *q);

/* ---- one queue of a running server (api_queue_flush.c) --------------------------------------------------- */

struct api_queued {
    struct api *api;
    struct api_queue queue;
    struct env_turn turn; /* look at the queue, once all requests of this turn have entered */
    struct env_timer
        timer;         /* … or when the oldest has waited long enough, or for the next attempt */
    uint64_t ticket;   /* of the attempt node is at; 0: none */
    uint32_t attempts; /* of the batch under way that failed */
    /* Told to the file above: there is room again; a batch is through (0) or was given up (ERR_*). */
    void (*room)(struct api_queued *d);
    void (*ended)(struct api_queued *d, uint64_t sequence, int rc);

    /* api_queue_request.c: requests that have no answer yet, in order */
    struct list blocked, waiting;
    uint32_t blocked_count;
};

void api_queue_flush_init(struct api_queued *d, struct api *a,
                          const struct api_queue_config *config);
void api_queue_flush_fini(struct api_queued *d);
/* Something entered, or is due at once from now on. */
void api_queue_flush_schedule(struct api_queued *d);
/* Give up: nothing is sent any more. Logs how many requests that were queued may never be written. */
void api_queue_flush_abandon(struct api_queued *d);

#endif
