/* api_int — the room's inside. Private to src/api.
 *
 * Files call downwards only:
 *
 *      api.c                          listen, stop; fills in what connections call
 *      api_route.c                    checks in order, table of endpoints
 *      api_storage.c                  snapshot
 *      api_load.c                     load, boot; SQL text is in api_db.c
 *      api_backup.c                   /db/backup
 *      api_members.c                  POST /leader, /remove; GET /leader is below
 *      api_db.c                       calls api_queue_request.c, api_queue_flush.c, api_queue.c
 *      api_misc.c api_nodes.c api_ready.c api_vars.c api_metrics.c
 *      api_status.c                   calls api_status_store.c (calls api_status_image.c), api_tree.c
 *      api_auth.c                     the client's credentials
 *      api_meta.c                     a member, asked again
 *      api_reply.c   api_params.c     one answer per request, whole or in parts; its query parameters
 *      api_conn.c                     bytes, timeouts, one request in flight
 *      api_once.c                     keys and conditions of writes
 *      api_store.c                    what a connection needs only while it talks
 *      api_body.c api_value.c api_date.c                  pure
 *
 * What goes up goes through two pointers in struct api: dispatch (a request is whole) and conn_gone.
 * api_encode.c is the codec: it runs where the rows are and uses the pure ones. api_resolve.c is a
 * client of its own. All but the codec on the LOOP. */
#ifndef RQ_API_INT_H
#define RQ_API_INT_H

#include <rq/api.h>
#include <rq/guard.h>
#include <rq/http.h>
#include <rq/json.h>
#include <rq/limits.h>
#include <rq/util/assert.h>
#include <rq/util/list.h>
#include <rq/util/mem.h>

/* ---- query parameters (api_params.c; http-api.md §2) ----------------------------------------------- */

#define API_FLAG_TABLE(X)                                                                          \
    X(PRETTY, "pretty")                                                                            \
    X(TIMINGS, "timings")                                                                          \
    X(TRANSACTION, "transaction")                                                                  \
    X(ASSOCIATIVE, "associative")                                                                  \
    X(BLOB_ARRAY, "blob_array")                                                                    \
    X(QUALIFY_COLUMNS, "qualify_columns")                                                          \
    X(RAFT_INDEX, "raft_index")                                                                    \
    X(FRESHNESS_STRICT, "freshness_strict")                                                        \
    X(REDIRECT, "redirect")                                                                        \
    X(QUEUE, "queue")                                                                              \
    X(WAIT, "wait")                                                                                \
    X(NOLEADER, "noleader")                                                                        \
    X(NONVOTERS, "nonvoters")                                                                      \
    X(SYNC, "sync")                                                                                \
    X(PHASES, "phases")                                                                            \
    X(VACUUM, "vacuum")                                                                            \
    X(COMPRESS, "compress")

enum api_flag_bit {
#define API_FLAG_BIT_(name, text) API_FLAG_BIT_##name,
    API_FLAG_TABLE(API_FLAG_BIT_)
#undef API_FLAG_BIT_
};
enum api_flag {
#define API_FLAG_(name, text) API_FLAG_##name = 1 << API_FLAG_BIT_##name,
    API_FLAG_TABLE(API_FLAG_)
#undef API_FLAG_
};

struct api_params { /* slices: into the query or the arena */
    uint32_t flags; /* of enum api_flag: the key was there, with whatever value */
    bool has_q, has_key, has_freshness, has_linearizable_timeout;
    bool has_if_index, has_if, has_is; /* a condition (docs/api.md); looked into by api_once.c */
    struct slice q, key, ver, fmt, tables, if_index, if_query, is_rows;
    enum wire_level level;
    int64_t timeout_ns; /* default 30 s */
    int64_t freshness_ns, db_timeout_ns, linearizable_timeout_ns;
    int64_t retries, trailing_logs;
    int64_t wait_index; /* 0: none; never negative */
};
/* 0; ERR_INVALID with the words of §2.1 and §2.2; ERR_NOMEM. */
int api_params_parse(struct slice query, struct arena *a, struct api_params *out,
                     struct err_text *why) MUST_USE;
static inline bool api_params_has(const struct api_params *p, enum api_flag flag)
{
    return (p->flags & (uint32_t)flag) != 0;
}
uint32_t api_params_retries(const struct api_params *p); /* negative counts as 0 */
/* Equal but for the case of ASCII letters; lower: in lower case. */
bool api_text_is(struct slice s, const char *lower);
/* At least 1 ms; 0 means the default. */
uint64_t api_params_timeout_ms(const struct api_params *p);

/* ---- request bodies (api_body.c; §4) ---------------------------------------------------------------- */

/* Decode the JSON form straight into a command payload. scratch: for strings with escapes; reset by the
 * caller. 0; ERR_INVALID with the words of §4.1; ERR_TOO_BIG; ERR_NOMEM. count: statements. */
int api_body_decode(struct slice body, enum wire_cmd_kind kind, uint16_t flags,
                    struct arena *scratch, struct buf *payload, uint32_t *count,
                    struct err_text *why) MUST_USE;
/* The same, behind a command that was begun. */
int api_body_append(struct slice body, struct arena *scratch, struct buf *payload, uint32_t *count,
                    struct err_text *why) MUST_USE;
/* Behind a command that was begun: the query of a condition, in the form of one statement, and the rows it
 * must give (NULL: any), as an array of arrays. 0; ERR_INVALID with words; ERR_NOMEM. */
int api_body_condition(struct slice query, const struct slice *rows, struct arena *scratch,
                       struct buf *payload, struct err_text *why) MUST_USE;
/* One text without parameters (§4.4, §4.5). */
int api_body_plain(struct slice sql, enum wire_cmd_kind kind, uint16_t flags,
                   struct buf *payload) MUST_USE;
bool api_utf8_valid(struct slice text);

/* ---- results (api_encode.c, api_value.c, api_date.c; §5) -------------------------------------------- */

enum { /* encode_options: travel with a forwarded request */
       API_ENCODE_ASSOCIATIVE = 1,
       API_ENCODE_BLOB_ARRAY = 2,
       API_ENCODE_QUALIFY = 4,
       API_ENCODE_PRETTY = 8,
       API_ENCODE_TIMINGS = 16,
       API_ENCODE_PHASES = 32, /* beyond rqlite; not the encoder's: node measures */
};
/* First byte of what the codec writes; the rest is … */
enum {
    API_BODY_RESULTS = 'R',    /* the JSON array of results, indented as a member of the envelope */
    API_BODY_ERROR = 'E',      /* the text of the envelope's "error" */
    API_BODY_UNMET = 'U',      /* as ERROR, but of status 412 */
    API_BODY_KEY_REUSED = 'K', /* as ERROR, but of status 422 */
    API_BODY_REPLAYED = 'P',   /* u64 index, little-endian, then one of the others */
    API_BODY_FAIL = 'F',       /* the text of a 500: the results cannot be shown at all */
};

enum api_column_kind { API_COLUMN_PLAIN, API_COLUMN_BOOLEAN, API_COLUMN_DATE };
struct api_column {
    struct slice name, type; /* type: lower case; of the first row's value if none was declared */
    bool declared;
    bool text_like; /* BLOBs go out as text (§5.6.4) */
    enum api_column_kind kind;
};
void api_column_classify(struct api_column *c); /* fills text_like and kind from type */
const char *
api_value_type(const struct db_value *v); /* type of an undeclared column's first value */
/* 0; ERR_INVALID: a moment outside of the years 0..9999 (nothing written). *infinity: sign of one met. */
int api_value_write(struct json_writer *w, const struct api_column *c, const struct db_value *v,
                    bool blob_array, int *infinity) MUST_USE;

enum { API_TIME_TEXT_MAX = 48 };
/* RFC 3339 in UTC, fraction without trailing zeros; 0 if the year is outside of 0..9999. */
size_t api_time_text(int64_t seconds, uint32_t nanos, char *dst);
/* Wall clock of env as RFC 3339. */
size_t api_time_wall_text(int64_t wall_ns, char *dst);
/* §5.6.5: date or time text to RFC 3339; what is not understood becomes 0001-01-01T00:00:00Z. */
size_t api_time_from_text(struct slice text, char *dst);

/* ---- the room ------------------------------------------------------------------------------------------ */

/* Counters that count, as "map.key" in /debug/vars. */
#define API_COUNTER_TABLE(X)                                                                       \
    X(AUTH_FAIL, "http.auth_fail")                                                                 \
    X(AUTH_OK, "http.auth_ok")                                                                     \
    X(EXECUTE_STMTS_RX, "http.execute_stmts_rx")                                                   \
    X(EXECUTIONS, "http.executions")                                                               \
    X(META_RETRIES, "cluster.num_get_node_api_req_retries")                                        \
    X(LEADER_NOT_FOUND, "http.leader_not_found")                                                   \
    X(NUM_READYZ, "http.num_readyz")                                                               \
    X(NUM_STATUS, "http.num_status")                                                               \
    X(QUERIES, "http.queries")                                                                     \
    X(QUERY_STMTS_RX, "http.query_stmts_rx")                                                       \
    X(REQUEST_STMTS_RX, "http.request_stmts_rx")                                                   \
    X(REQUESTS, "http.requests")                                                                   \
    X(SQL_ANALYZE, "http.sql_analyze")                                                             \
    X(UI, "http.ui")                                                                               \
    X(BACKUPS, "http.backups")                                                                     \
    X(LOADS, "http.loads")                                                                         \
    X(BOOT, "http.boot")                                                                           \
    X(USER_REAPS, "http.user_reaps")                                                               \
    X(USER_SNAPSHOTS, "http.user_snapshots")                                                       \
    X(QUEUED_EXECUTIONS, "http.queued_executions")                                                 \
    X(QUEUED_FAILED, "http.queued_executions_failed")                                              \
    X(QUEUED_LEADERSHIP_LOST, "http.queued_executions_leadership_lost")                            \
    X(QUEUED_NO_LEADER, "http.queued_executions_no_leader")                                        \
    X(QUEUED_NOT_LEADER, "http.queued_executions_not_leader")                                      \
    X(QUEUED_STMTS_RX, "http.queued_executions_num_stmts_rx")                                      \
    X(QUEUED_STMTS_TX, "http.queued_executions_num_stmts_tx")                                      \
    X(QUEUED_OK, "http.queued_executions_ok")                                                      \
    X(QUEUED_UNKNOWN_ERROR, "http.queued_executions_unknown_error")                                \
    X(QUEUED_WAIT, "http.queued_executions_wait")                                                  \
    X(QUEUED_WAIT_TIMEOUT, "http.queued_executions_wait_timeout")                                  \
    X(QUEUE_FLUSH, "queue.num_flush")                                                              \
    X(QUEUE_TIMEOUT, "queue.num_timeout")                                                          \
    X(QUEUE_OBJECTS_RX, "queue.objects_rx")                                                        \
    X(QUEUE_OBJECTS_TX, "queue.objects_tx")

enum api_counter {
    API_COUNT_NONE = 0,
#define API_COUNTER_(name, text) API_COUNT_##name,
    API_COUNTER_TABLE(API_COUNTER_)
#undef API_COUNTER_
        API_COUNT_MAX_
};

struct api_conn;
struct api_route;

/* Something under way that cannot be cancelled: outlives its connection, and then answers nobody. First
 * member of each such operation. */
struct api_op {
    struct api_conn *conn;           /* NULL: the client is gone */
    void (*gone)(struct api_op *op); /* NULL, or told when that happens; may free the operation */
};

struct api_request { /* lives in its connection from the message until the reply */
    struct api_conn *conn;
    const struct http_message *message; /* lent by the parser until the reply */
    struct slice path;                  /* percent-decoded */
    struct slice path_raw, query_raw;
    struct api_params params;
    const struct api_route *route;
    const struct auth_basic *basic; /* credentials given; NULL: none */
    struct guard_wait guard_wait;
    uint64_t started_ns;
    uint64_t ticket;  /* 0: nothing to forget at node */
    bool in_parts;    /* the head and a part of the body have left */
    bool chunked;     /* … in chunks; else the end of the connection ends the body (HTTP/1.0) */
    bool part_due;    /* node has the next part: asked for when the output is gone */
    bool body_open;   /* the body is given as it comes, and more will come */
    bool body_wanted; /* asked for by api_conn_body_want */
    /* The next bytes, lent (what message->body was); last: there are no more. */
    void (*body)(struct api_request *r, struct slice bytes, bool last);
    struct api_op *op; /* NULL: none */
};

struct api {
    struct env *env;
    struct node *node; /* NULL: none yet */
    struct guard *guard;
    struct env_listener *listener;
    struct arena arena; /* holds the strings below */
    const char *bind_addr, *adv_addr, *raft_addr, *version, *allow_origin;
    struct api_facts facts;
    struct buf common; /* headers that are the same on every answer */
    struct buf date;   /* the Date header of second date_s */
    int64_t date_s;
    int64_t start_wall_ns;
    uint64_t start_ns;
    struct list conns; /* not yet closed, in order of arrival */
    uint32_t conn_count;
    size_t input_bytes; /* sum of the connections' */
    struct list stores; /* api_store.c: free ones */
    uint32_t store_count;
    void (*dispatch)(struct api_request *r); /* answers now, or later by api_reply */
    void (*conn_gone)(struct api *a);        /* a connection left conns; perhaps the last one */
    uint64_t counters[API_COUNT_MAX_];
    struct api_queued *queued; /* api_queue.h */
    /* Requests that node answered: received → answered, nanoseconds. */
    struct histogram write_total, read_total;

    int64_t backup_wall_ns; /* when the last backup through this node was complete; 0: none was */
    bool stopping, stopped_told;
    struct env_timer grace;
    struct env_turn stopped_turn;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

enum api_conn_state { API_CONN_OPEN, API_CONN_FINISHING, API_CONN_CLOSED };

struct api_conn { /* api_conn.c */
    struct list link;
    struct api *api;
    struct env_stream *stream;
    enum api_conn_state state;
    bool reading, saw_eof, busy, pumping, choked, close_after;
    bool retiring;           /* we stop: one more request, if it comes soon */
    struct api_store *store; /* NULL: idle, then the next six are empty */
    struct http_conn_parser *parser;
    size_t input_bytes; /* memory for what was received; as last counted */
    struct buf in;      /* received, waiting for the request in flight */
    struct buf out;     /* answers gathered until the end of the pump */
    struct buf payload; /* of the request being decoded */
    struct buf text;    /* of the answer being written around the results */
    struct arena arena; /* of the request */
    struct env_timer timer;
    uint64_t deadline_ns; /* the timer may fire earlier and is armed again */
    size_t unsent_then;   /* … for output: unsent when it was set, must be less by then */
    struct api_request request;
};

/* Parser, buffers and arena for c, which may have them already. false: memory is short. */
bool api_store_take(struct api_conn *c) MUST_USE;
/* Back, with whatever is in them; harmless without. */
void api_store_give(struct api_conn *c);
void api_stores_free(struct api *a);
/* Count what c holds of its client's; false: all of them together hold too much, and c is no small part. */
bool api_store_count(struct api_conn *c) MUST_USE;

/* A new connection: takes the stream. */
void api_conn_accept(struct api *a, struct env_stream *s);
/* The head was appended to c->out; these are the body's bytes. Ends the request in flight. keep: may
 * the connection be used again. */
void api_conn_answer(struct api_conn *c, const struct slice *parts, uint32_t count, bool keep);
/* The same in parts: bytes leave at once, and the request stays in flight. When the client has taken them node is
 * asked for the next part, perhaps before this returns. The last part is an api_conn_answer. */
void api_conn_part(struct api_conn *c, const struct slice *parts, uint32_t count);
/* The request in flight takes the next bytes of its body, once, by r->body; perhaps before this returns. */
void api_conn_body_want(struct api_conn *c);
/* Close now; a request in flight is forgotten. */
void api_conn_close(struct api_conn *c);
/* Close as soon as nothing is in flight. */
void api_conn_retire(struct api_conn *c);

/* Which bodies are given as they come: SQLite files for /db/load and /boot (§13.3, §13.4). */
enum { API_BODY_START_BYTES = 14 };
bool api_body_is_sqlite(struct slice start);
bool api_body_streams(const struct http_message *m, struct slice start);

/* ---- answers (api_reply.c; §1.3, §1.4) -------------------------------------------------------------------- */

enum { API_REPLY_PARTS_MAX = 3 };
struct api_reply {
    int status;
    const char *content_type; /* NULL: none */
    bool no_sniff, retry_after, replayed;
    const char *served_by;                   /* NULL: header absent */
    struct slice location;                   /* len 0: header absent */
    struct slice parts[API_REPLY_PARTS_MAX]; /* the body, in order */
};
#define API_TYPE_JSON "application/json; charset=utf-8"
#define API_TYPE_TEXT "text/plain; charset=utf-8"
#define API_TYPE_HTML "text/html; charset=utf-8"

void api_reply(struct api_request *r, const struct api_reply *reply);
/* An answer whose length is not known yet: begin, part any number of times, end. Before part and end node has been
 * asked by api_conn_part. */
void api_reply_begin(struct api_request *r, const struct api_reply *reply); /* parts[0] and [1] */
void api_reply_part(struct api_request *r, struct slice bytes);
void api_reply_end(struct api_request *r, struct slice bytes, struct slice tail);
/* It cannot be completed: the connection ends without an end of the body. why: for the log */
void api_reply_cut(struct api_request *r, const char *why);
void api_reply_text(struct api_request *r, int status, const char *text); /* §1.4; newline added */
void api_reply_empty(struct api_request *r, int status);
void api_reply_empty_json(struct api_request *r,
                          int status); /* empty, but typed JSON [DETAIL of §1.4] */
void api_reply_json(struct api_request *r, struct slice body);
void api_reply_location(struct api_request *r, int status, struct slice location);
/* The buffer of an answer that was being written: sent as JSON, or 503 if memory was short. */
void api_reply_buf(struct api_request *r, const char *content_type, const struct buf *body);

/* Helpers of several endpoints. */
void api_redirect_leader(
    struct api_request *r); /* 301 to the leader's API, or 500 (§11.2, §11.3) */
void api_leader_not_found(struct api_request *r, int status);
/* Answers where rc says that there is no leader, that it is elsewhere and the client wants to be sent there, or that
 * another node let the client in no further. False: none of these, and nothing was answered. */
bool api_leader_refused(struct api_request *r, int rc);
/* Bind an operation to the request; NULL if memory is short (then answered). size >= sizeof(struct api_op). */
void *api_op_begin(struct api_request *r, size_t size);
/* The request it answers, or NULL if the client is gone; either way the operation is unbound. */
struct api_request *api_op_end(struct api_op *op);

/* ---- asking members (api_meta.c) ------------------------------------------------------------------------- */

struct api_meta { /* done, ctx: the caller's, set before; the rest private */
    void (*done)(void *ctx, int rc, const struct wire_meta *meta, const char *why);
    void *ctx;
    struct api *api;
    char name[WIRE_NAME_MAX + 1];
    uint32_t retries; /* left */
    uint64_t deadline_ns;
    struct env_timer timer; /* until the next attempt */
};
/* done() exactly once, perhaps from within. p: timeout and retries. */
void api_meta_ask(struct api_meta *m, struct api *a, const char *name, const struct api_params *p);
/* Nobody waits any more: no further attempt. If none is under way, done() comes now. */
void api_meta_give_up(struct api_meta *m);

/* ---- queued writes (api_queue_request.c; §12) -------------------------------------------------------------- */

struct api_queue_view {
    struct api_queue_config config;
    uint64_t finished; /* number of the last batch that is through; 0: none */
};
int api_queue_create(struct api *a, const struct api_queue_config *config) MUST_USE; /* a->queued */
void api_queue_destroy(struct api *a);
/* Send what waits without waiting for more; a->conn_gone when something went through. */
void api_queue_stop(struct api *a);
bool api_queue_idle(const struct api *a); /* nothing waits, nothing is under way */
void api_queue_abandon(struct api *a);    /* what is left is lost, and logged */
void api_queue_look(const struct api *a, struct api_queue_view *out);

/* ---- what is asked for beside the statements (api_once.c; docs/api.md) -------------------------------- */

/* Begin the payload of a request that may write, with its idempotency key and its condition. 0; ERR_INVALID
 * with words for a 400; ERR_NOMEM; what the builder refuses shows at its end. */
int api_once_begin(const struct api_request *r, enum wire_cmd_kind kind, uint16_t flags,
                   struct err_text *why) MUST_USE;
/* A request for the queue has neither of them: else words for a 400, or NULL. */
const char *api_once_refused(const struct api_request *r);

/* ---- credentials (api_auth.c; §16) ------------------------------------------------------------------------ */

/* Fill r->basic from the Authorization header. 0, ERR_NOMEM. */
int api_auth_read(struct api_request *r) MUST_USE;
static inline struct slice api_auth_user(const struct api_request *r)
{
    return r->basic ? r->basic->user : slice_of(NULL, 0);
}
static inline struct slice api_auth_password(const struct api_request *r)
{
    return r->basic ? r->basic->password : slice_of(NULL, 0);
}
/* The leader, which is another node, does not let this client (§11.1). */
void api_auth_denied_remote(struct api_request *r);

/* ---- routes ------------------------------------------------------------------------------------------------ */

void api_dispatch(struct api_request *r); /* api_route.c */

void api_db_execute(struct api_request *r);    /* api_db.c */
void api_queue_execute(struct api_request *r); /* api_queue_request.c */
void api_db_query(struct api_request *r);
void api_db_request(struct api_request *r);
void api_db_sql(struct api_request *r); /* api_sql.c */
void api_status(struct api_request *r);
void api_vars(struct api_request *r);
void api_metrics(struct api_request *r);
void api_nodes(struct api_request *r);
void api_leader_get(struct api_request *r); /* api_nodes.c */
void api_leader(struct api_request *r);     /* api_members.c */
void api_remove(struct api_request *r);
void api_ready(struct api_request *r);
void api_console(struct api_request *r); /* api_misc.c */
void api_console_slash(struct api_request *r);
void api_root(struct api_request *r);
void api_licenses(struct api_request *r); /* api_licenses.c */
void api_pprof(struct api_request *r);
void api_backup(struct api_request *r);       /* api_backup.c */
void api_load(struct api_request *r);         /* api_load.c */
void api_db_load_text(struct api_request *r); /* api_db.c */
void api_db_reply_nothing(struct api_request *r, const char *served_by);
void api_boot(struct api_request *r);
void api_snapshot(struct api_request *r);
void api_reap(struct api_request *r);

#endif
