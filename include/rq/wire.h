/* wire — bytes that nodes exchange and bytes that the log keeps. Pure: any thread.
 *
 * Frame (peer connections):
 *
 *   0      4        8      9      10         12         16            16+len
 *   | len  | crc32c | ver  | kind | reserved | stream   | body …      |
 *     u32    u32      u8     u8     u16 = 0    u32
 *
 * crc32c covers bytes 8 … 16+len. All integers little-endian. `stream` pairs a request with its answer
 * on one connection (0: no answer expected). Everything received is validated, never asserted. */
#ifndef RQ_WIRE_H
#define RQ_WIRE_H

#include <rq/raft.h>
#include <rq/util/buf.h>
#include <rq/util/slice.h>

enum { WIRE_VERSION = 1, WIRE_FRAME_HEADER = 16 };

/* What kinds and bodies mean, versions of which this program speaks these. Two ends use the highest that both speak;
 * their greetings agree on it, and those never change but by growing at the end. (WIRE_VERSION is of the frame.) */
enum { WIRE_PROTOCOL_MIN = 1, WIRE_PROTOCOL_MAX = 1 };

enum wire_kind {
    WIRE_HELLO = 1, /* first frame in both directions */
    WIRE_RAFT,      /* one raft message, with payloads of its entries */
    WIRE_JOIN_REQ,  /* add me (struct wire_join) */
    WIRE_JOIN_RES,
    WIRE_FORWARD_REQ, /* a client's request passed to the leader (struct wire_forward) */
    WIRE_FORWARD_RES,
    WIRE_META_REQ, /* who are you: answered by WIRE_META_RES */
    WIRE_META_RES,
    WIRE_REMOVE_REQ, /* remove a member (struct wire_order) */
    WIRE_REMOVE_RES,
    WIRE_BYE,  /* the sender closes for its own reasons: not a crash */
    WIRE_PING, /* are you there: answered by WIRE_PONG; peer's own business */
    WIRE_PONG,
    WIRE_STEPDOWN_REQ, /* hand leadership over: body is a struct wire_order, its name may be empty */
    WIRE_STEPDOWN_RES,
    WIRE_INDEX_REQ, /* which index must a read see: no body */
    WIRE_INDEX_RES, /* struct wire_index */
    WIRE_FORWARD_PART, /* bytes that stand before the body of the WIRE_FORWARD_RES that will come; not empty */
    WIRE_FORWARD_PULL, /* after a WIRE_FORWARD_RES with `more`: go on, or stop (struct wire_forward_pull) */
    WIRE_IMAGE_REQ, /* give me chunks of your image (struct wire_image_req) */
    WIRE_IMAGE_RES, /* one of them (struct wire_image_res) */
    WIRE_NOTIFY_REQ, /* I am ready to found a cluster (struct wire_join) */
    WIRE_NOTIFY_RES,
    WIRE_DIGEST, /* what applying gave here (struct wire_digest) */
    WIRE_KIND_MAX_
};

struct wire_frame {
    enum wire_kind kind;
    uint32_t stream;
    struct slice body; /* lent: points into the input */
};

/* Append one frame. 0, ERR_TOO_BIG (body over LIMIT_PEER_FRAME_BYTES), or the buffer's failure. */
int wire_frame_put(struct buf *out, enum wire_kind kind, uint32_t stream, struct slice body);
/* Two-step form for bodies built in place: begin returns the frame's start offset relative to
 * buf_len; end patches length and checksum. */
size_t wire_frame_begin(struct buf *out, enum wire_kind kind, uint32_t stream);
/* 0; or why it cannot be sent (out->failed, ERR_TOO_BIG): the frame is taken back, out usable again. */
int wire_frame_end(struct buf *out, size_t begun_at);
/* Look at the front of `in`. 0: *frame filled, *used bytes belong to it. ERR_EOF: not whole yet, *need
 * total bytes wanted. ERR_CORRUPT / ERR_VERSION / ERR_TOO_BIG: drop the connection. */
int wire_frame_get(struct slice in, struct wire_frame *frame, size_t *used, size_t *need) MUST_USE;

/* ---- bodies ------------------------------------------------------------------------------------- */

enum {
    WIRE_NAME_MAX = 255,
    WIRE_ADDR_MAX = 255,
    WIRE_TEXT_MAX = 511,
    WIRE_USER_MAX = 255,
    WIRE_PASSWORD_MAX = 511,
};

/* All wire_x_put append to out and return out->failed; a text longer than its maximum sets that to
 * ERR_TOO_BIG. All wire_x_get accept exactly what wire_x_put makes, and lend slices into their input.
 * Texts hold no NUL. The bodies are drawn at the top of the files in src/wire. */

/* ERR_* codes as they travel: numbers that never change their meaning. */
uint16_t wire_rc_put(int rc);                           /* rc: 0 or an ERR_* */
int wire_rc_get(uint16_t number, int32_t *rc) MUST_USE; /* 0, ERR_PROTOCOL: unknown */

/* Greeting. Slices are lent (into the body when decoded). */
struct wire_hello {
    uint16_t protocol_min, protocol_max; /* versions the sender speaks; 1 <= min <= max */
    uint64_t cluster_id; /* 0: not in a cluster yet */
    uint64_t store_id;   /* random, made with the data directory; never 0 */
    raft_id id;
    uint64_t expect_id;       /* raft id the dialler believes to call; 0: anybody (join) */
    uint64_t expect_store_id; /* 0: unknown */
    struct slice name;        /* -node-id */
    struct slice raft_addr;   /* advertised */
    struct slice api_url;     /* "http://host:port" */
    struct slice version;     /* "v10.x" of the program */
    struct slice sqlite;      /* SQLite source id + options hash + architecture: must be equal (architecture §5) */
};
int wire_hello_put(struct buf *out, const struct wire_hello *h);
/* 0, ERR_PROTOCOL. Bytes behind what we know are passed over if the sender speaks a later version than we. */
int wire_hello_get(struct slice body, struct wire_hello *h) MUST_USE;
/* The version to use between one who speaks min..max and the sender of the greeting; 0: there is none. */
uint16_t wire_protocol_common(uint16_t min, uint16_t max, const struct wire_hello *h);

/* One log entry as it travels and as it is stored. */
struct wire_entry {
    uint64_t term;
    enum raft_entry_kind kind;
    struct slice payload; /* lent. NORMAL: wire_cmd; CONF: wire_conf; NOOP: empty */
};
/* Encode a raft message; entries: msg->span.count of them for APPEND_REQ, else NULL. */
int wire_raft_put(struct buf *out, const struct raft_msg *msg, const struct wire_entry *entries);
/* Decode the head of a raft message and visit its entries in order (index, entry). entries' payloads
 * are lent into body. ERR_PROTOCOL if it is malformed: visit did not run. visit's own failure ends it and is
 * returned. visit may be NULL when only the head is wanted. span.first is log_index + 1 in APPEND_REQ.
 * msg->entries is left NULL: the caller collects them. */
int wire_raft_get(struct slice body, struct raft_msg *msg,
                  int (*visit)(void *ctx, uint64_t index, const struct wire_entry *e), void *ctx) MUST_USE;

/* Replicated configuration: payload of CONF entries. */
struct wire_member {
    raft_id id;        /* wire_member_id(name) */
    uint64_t store_id; /* of the data directory this member promised with; 0: not known (a forced membership) */
    bool voter;
    bool replica; /* stays a non-voter (read replica); a learner to be promoted is voter=false, replica=false */
    char name[WIRE_NAME_MAX + 1];
    char addr[WIRE_ADDR_MAX + 1];
};
struct wire_conf {
    uint64_t cluster_id;
    uint32_t count;
    struct wire_member members[RAFT_NODES_MAX]; /* ascending by id */
};
raft_id wire_member_id(struct slice name); /* never 0 */
int wire_conf_put(struct buf *out, const struct wire_conf *c);
int wire_conf_get(struct slice payload, struct wire_conf *c) MUST_USE; /* 0, ERR_PROTOCOL */
/* The part raft needs. */
void wire_conf_to_raft(const struct wire_conf *c, struct raft_conf *out);

/* JOIN: add me. NOTIFY: count me among those who will found a cluster. */
struct wire_join {
    struct slice name, addr;
    uint64_t store_id;
    bool voter;
    bool pledge; /* NOTIFY: … and found none but with me; without it: no word is asked for any more */
    uint64_t serial; /* NOTIFY: grows with each one that this data directory's node sends */
    struct slice user, password; /* user of len 0: none */
};
int wire_join_put(struct buf *out, const struct wire_join *j);
int wire_join_get(struct slice body, struct wire_join *j) MUST_USE;

/* What a client asks of the leader concerning a member, with the client's credentials. */
struct wire_order {
    struct slice name;
    struct slice user, password; /* user of len 0: none */
};
int wire_order_put(struct buf *out, const struct wire_order *o);
int wire_order_get(struct slice body, struct wire_order *o) MUST_USE; /* 0, ERR_PROTOCOL */

/* Answer to JOIN, NOTIFY, REMOVE, STEPDOWN: rc, the leader's address when rc is ERR_NOT_LEADER, words otherwise. */
struct wire_answer {
    int32_t rc; /* 0 or ERR_*; travels as wire_rc_put's number */
    uint64_t cluster_id;
    struct slice leader_addr;
    struct slice text; /* cut at WIRE_TEXT_MAX by put */
};
int wire_answer_put(struct buf *out, const struct wire_answer *a);
int wire_answer_get(struct slice body, struct wire_answer *a) MUST_USE;

struct wire_meta {
    uint64_t commit_index, applied_index, term;
    bool leader, ready;
    struct slice api_url, version;
};
int wire_meta_put(struct buf *out, const struct wire_meta *m);
int wire_meta_get(struct slice body, struct wire_meta *m) MUST_USE;

/* Answer to INDEX: leadership was confirmed in this term after the question came; a database that contains
 * the index may answer every read that had begun when the question left (thesis §6.4). */
struct wire_index {
    int32_t rc;           /* 0, or why there is none */
    uint64_t term, index; /* not 0 when rc is 0; else 0 */
};
int wire_index_put(struct buf *out, const struct wire_index *a);
int wire_index_get(struct slice body, struct wire_index *a) MUST_USE;

/* A client's request on its way to the leader. */
enum wire_request_kind {
    WIRE_EXECUTE = 1,
    WIRE_QUERY,
    WIRE_REQUEST,
    WIRE_LOAD, /* as EXECUTE, by who may load: SQL text, or a piece of a database file */
    WIRE_BACKUP,
};
enum wire_level { WIRE_LEVEL_NONE, WIRE_LEVEL_WEAK, WIRE_LEVEL_LINEARIZABLE, WIRE_LEVEL_STRONG, WIRE_LEVEL_AUTO };
struct wire_forward {
    enum wire_request_kind kind;
    enum wire_level level;
    uint32_t encode_options;   /* opaque to everyone but api: how to turn results into JSON */
    uint64_t timeout_ms;       /* bound of the whole exchange */
    uint64_t linearizable_timeout_ms;
    uint64_t db_timeout_ns;    /* 0: none */
    uint64_t wait_index;       /* answer a read only when this much is applied; 0: at once. < 2^63 */
    bool in_parts;             /* the answer may come with `more` */
    struct slice payload;      /* wire_cmd; BACKUP: wire_backup */
    struct slice user, password; /* the client's credentials, for the leader to judge; user of len 0: none */
    bool further; /* LOAD: not the first piece of it; for who counts loads */
};
int wire_forward_put(struct buf *out, const struct wire_forward *f);
int wire_forward_get(struct slice body, struct wire_forward *f) MUST_USE;
/* Where the time of a request went, nanoseconds. A write has the first four, a read the last two. */
struct wire_phases {
    uint64_t queue_ns;  /* submitted → proposed */
    uint64_t sync_ns;   /* the leader's own log job; 0: the answer did not wait for it */
    uint64_t quorum_ns; /* proposed → committed */
    uint64_t apply_ns;  /* committed → COMMIT of its batch returned */
    uint64_t wait_ns;   /* submitted → its job began to run */
    uint64_t run_ns;
};
struct wire_forward_answer {
    int32_t rc;
    bool more;           /* rc is 0, body a part: the next answer comes when this one is pulled */
    uint64_t raft_index; /* 0: did not go through the log */
    struct wire_phases phases;
    struct slice text;   /* words when rc != 0 */
    struct slice body;   /* results as encoded by the leader's api */
};
int wire_forward_answer_put(struct buf *out, const struct wire_forward_answer *a);
int wire_forward_answer_get(struct slice body, struct wire_forward_answer *a) MUST_USE;
struct wire_forward_pull {
    bool stop; /* nobody needs the rest; no answer will come */
};
int wire_forward_pull_put(struct buf *out, const struct wire_forward_pull *p);
int wire_forward_pull_get(struct slice body, struct wire_forward_pull *p) MUST_USE;

/* Which backup is wanted. The names of the tables are one slice: built by wire_backup_table, read by
 * wire_backup_next. */
enum wire_backup_format { WIRE_BACKUP_BINARY, WIRE_BACKUP_DELETE, WIRE_BACKUP_SQL, WIRE_BACKUP_VACUUM };
struct wire_backup {
    enum wire_backup_format format;
    bool compress;
    uint32_t table_count;
    struct slice tables; /* lent */
};
void wire_backup_table(struct buf *tables, struct slice name); /* failures stay in tables->failed */
bool wire_backup_next(struct slice *tables, struct slice *name); /* false: that was all */
int wire_backup_put(struct buf *out, const struct wire_backup *b);
int wire_backup_get(struct slice payload, struct wire_backup *b) MUST_USE; /* 0, ERR_PROTOCOL, ERR_VERSION */

/* "All chunks before `next` are here; send on, at most `window` beyond it." Chunks (rq/image.h) are numbered from
 * 0 in each transfer; on another connection the same words go on with a transfer that was interrupted. */
struct wire_image_req {
    uint64_t transfer; /* the lender's number for it; 0: begin a new one */
    uint64_t index;    /* the image must hold at least this entry */
    uint32_t next;
    uint8_t window; /* not 0 */
    bool zstd;      /* chunks may come packed */
};
int wire_image_req_put(struct buf *out, const struct wire_image_req *q);
int wire_image_req_get(struct slice body, struct wire_image_req *q) MUST_USE;
struct wire_image_res {
    int32_t rc; /* not 0: the transfer is over, text says why */
    uint64_t transfer;
    uint32_t seq;
    bool packed;              /* chunk is one zstd frame */
    struct slice chunk, text; /* lent; text: cut at WIRE_TEXT_MAX by put */
};
int wire_image_res_put(struct buf *out, const struct wire_image_res *r);
int wire_image_res_get(struct slice body, struct wire_image_res *r) MUST_USE;

/* All entries up to index, applied, gave this digest: equal on equal nodes (architecture §5). */
struct wire_digest {
    uint64_t index, digest; /* index not 0 */
    bool rows;              /* made of row values, too: compares with its like only */
};
int wire_digest_put(struct buf *out, const struct wire_digest *d);
int wire_digest_get(struct slice body, struct wire_digest *d) MUST_USE;

/* ---- log payloads ------------------------------------------------------------------------------- */

/* Payload of a NORMAL entry: a fixed head of WIRE_CMD_HEAD bytes, the idempotency key, the condition, the
 * statements, a CRC32C over all before it.
 *
 *   0     1      2       4        8          16     24      28          30           32
 *   | ver | kind | flags | db id  | wall ns  | seed | count | key bytes | reserved 0 | key … condition … statements … crc32c |
 *     u8    u8     u16     u32      i64        u64    u32     u16         u16
 *
 *   condition:  flag IF_INDEX: u64 index; flag IF: u32 n, n statements: the query and, with flag IS, the rows it
 *               must give, each as a statement without text whose parameters are the row's values
 *   statement:  u32 sql bytes, sql, u32 parameter count, parameters
 *   parameter:  u8 type, u8 name bytes, name, value: NULL -; INTEGER i64; REAL f64 bits; TEXT/BLOB u32 len, bytes
 *   load:       PIECE: u64 load, u64 offset, bytes; INSTALL: u64 load, u64 total bytes, u32 crc32c of all of them;
 *               DROP: u64 load
 *
 * wall, seed and crc are filled by the proposing leader (wire_cmd_seal), so that a forwarded payload is
 * proposed without being built again. */
enum { WIRE_CMD_HEAD = 32 };
/* A key belongs to a command that may write: EXECUTE or REQUEST. Keys that nodes make begin with this byte,
 * which no client can send (LIMIT_KEY_BYTES visible ASCII characters at most). */
enum { WIRE_KEY_OF_NODE = 0x01 };
enum wire_cmd_kind {
    WIRE_CMD_EXECUTE = 1,
    WIRE_CMD_REQUEST,
    WIRE_CMD_QUERY,
    /* A database file on its way into the database (rq/db.h): no flags, key, condition or statements. */
    WIRE_CMD_LOAD_PIECE,
    WIRE_CMD_LOAD_INSTALL,
    WIRE_CMD_LOAD_DROP,
};
enum { /* flags */
    WIRE_CMD_TRANSACTION = 1,
    WIRE_CMD_QUEUED = 2,
    WIRE_CMD_IF_INDEX = 4, /* a condition, of EXECUTE and REQUEST; set by the builder */
    WIRE_CMD_IF = 8,
    WIRE_CMD_IS = 16,
    WIRE_CMD_UPKEEP = 32, /* of the leader's own: one statement (rq/db.h) */
};
enum wire_param_type { WIRE_NULL = 0, WIRE_INTEGER, WIRE_REAL, WIRE_TEXT, WIRE_BLOB };

struct wire_param {
    enum wire_param_type type;
    struct slice name; /* empty: positional; without prefix character */
    int64_t integer;
    double real;
    struct slice bytes; /* TEXT, BLOB */
};

/* Builder: begin (on an empty buffer), the condition if there is one, then for each statement: statement,
 * its params; finish. Errors stay
 * in b->failed: ERR_TOO_BIG (bytes), ERR_INVALID (more statements, parameters or bytes of a parameter's
 * name than the limits), ERR_NOMEM. */
void wire_cmd_begin(struct buf *b, enum wire_cmd_kind kind, uint16_t flags, struct slice idempotency_key);
void wire_cmd_statement(struct buf *b, struct slice sql);
void wire_cmd_param(struct buf *b, const struct wire_param *p);
/* The condition: an index; then between begin and end the query, and its rows as statements without text. */
void wire_cmd_if_index(struct buf *b, uint64_t index);
void wire_cmd_if_begin(struct buf *b, bool with_rows);
void wire_cmd_if_end(struct buf *b);
int wire_cmd_finish(struct buf *b); /* 0 or b->failed; the buffer is then one payload, not yet sealed */
/* In place of a statement: all statements of another finished payload, in their order; its kind, flags and
 * key are left behind. Lent. ERR_PROTOCOL stays in b->failed if it is no payload. */
void wire_cmd_join(struct buf *b, struct slice payload);
/* Fill wall clock, seed and checksum in place. payload: len as finished. */
void wire_cmd_seal(uint8_t *payload, size_t len, int64_t wall_ns, uint64_t seed);

/* Of a sealed payload that was checked before. */
int64_t wire_cmd_wall_ns(struct slice payload);

struct wire_load {
    uint64_t id;        /* of the load; never 0 */
    uint64_t at;        /* PIECE: where its bytes stand; INSTALL: how many there are, of all pieces */
    uint32_t digest;    /* INSTALL: crc32c of all bytes */
    struct slice bytes; /* PIECE: 1 .. LIMIT_LOAD_PIECE_BYTES; lent */
};
/* A whole payload, on an empty buffer, not yet sealed. kind: one of the three. 0 or b->failed. */
int wire_cmd_load(struct buf *b, enum wire_cmd_kind kind, const struct wire_load *l);

struct wire_cmd { /* reader; slices lent into the payload */
    enum wire_cmd_kind kind;
    uint16_t flags;
    uint32_t db_id;
    int64_t wall_ns;
    uint64_t seed;
    struct slice idempotency_key;
    struct slice body; /* all that is asked for: what is between key and checksum */
    uint64_t if_index;       /* flag IF_INDEX; else 0 */
    uint32_t if_count;       /* flag IF: the query and its rows */
    struct slice if_body;    /* private */
    uint32_t statement_count;
    struct slice rest;    /* private: what is not read yet */
    uint32_t params_left; /* private: of the statement last given */
    struct wire_load load; /* of the three kinds of loads */
};
static inline bool wire_cmd_loads(const struct wire_cmd *c)
{
    return c->kind >= WIRE_CMD_LOAD_PIECE;
}
/* Check form and (if sealed) checksum, all statements included. 0, ERR_PROTOCOL, ERR_VERSION, ERR_CORRUPT. */
int wire_cmd_open(struct slice payload, bool sealed, struct wire_cmd *c) MUST_USE;
/* A reader of the condition, which must be there (flag IF): first the query, then each row. */
void wire_cmd_if_open(const struct wire_cmd *c, struct wire_cmd *condition);
/* Must it go through the log even if it only reads? Looks at the head only. */
bool wire_cmd_must_log(struct slice payload);
/* Next statement in order: sql and number of parameters; unread ones of the former are skipped.
 * 0, ERR_EOF at the end. */
int wire_cmd_next(struct wire_cmd *c, struct slice *sql, uint32_t *param_count) MUST_USE;
/* Next parameter of that statement. 0, ERR_EOF after param_count of them. */
int wire_cmd_next_param(struct wire_cmd *c, struct wire_param *p) MUST_USE;

#endif
