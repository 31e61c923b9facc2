/* limits — every bound in one place: what it is, which flag moves it, and what a client sees at one
 * more. Sizes in bytes unless the name says otherwise. */
#ifndef RQ_LIMITS_H
#define RQ_LIMITS_H

enum {
    /* HTTP. Beyond: 431, 414/431, 413, connection refused by closing at once. */
    LIMIT_HTTP_HEADER_BYTES = 64 * 1024,
    LIMIT_HTTP_BODY_BYTES = 64 * 1024 * 1024,
    LIMIT_HTTP_CONNECTIONS = 4096,
    /* Unsent output of one connection before reading from it stops. */
    LIMIT_HTTP_OUTPUT_BYTES = 1024 * 1024,
    /* JSON gathered in memory for one answer: of a read, one row with what is left before it; of what went through
     * the log, the whole result. Beyond: 500 "result is larger than the limit", or the connection ends. */
    LIMIT_RESULT_BYTES = 256 * 1024 * 1024,
    /* A read pauses when it has encoded so much, until the client has taken it. */
    LIMIT_PART_BYTES = 256 * 1024,
    /* A paused read holds its snapshot, and the WAL grows behind it: the client must take each part within the
     * first, all of them within the second. Beyond: the connection ends. */
    LIMIT_PARTS_STALL_MS = 60 * 1000,
    LIMIT_PARTS_TOTAL_MS = 15 * 60 * 1000,
    /* A header must be complete after this long, and a body must not pause longer (408/closed). */
    LIMIT_HTTP_HEADER_MS = 10 * 1000,
    LIMIT_HTTP_BODY_IDLE_MS = 30 * 1000,
    LIMIT_HTTP_IDLE_MS = 120 * 1000,

    /* Passwords waiting for bcrypt, one under way; beyond: 503 + Retry-After. */
    LIMIT_GUARD_CHECKS = 32,

    /* Requests. Beyond: 400. */
    LIMIT_STATEMENTS = 100 * 1000,
    LIMIT_PARAMS_PER_STATEMENT = 32766, /* SQLITE_MAX_VARIABLE_NUMBER's upstream default */
    LIMIT_JSON_DEPTH = 100,

    /* Idempotency keys. A longer key: 400. More or older ones: forgotten, a retry then writes again. A larger
     * outcome is not kept: a retry is told where it was applied, and nothing else. */
    LIMIT_KEY_BYTES = 255,
    LIMIT_KEYS_COUNT = 256 * 1024,
    LIMIT_KEYS_BYTES = 64 * 1024 * 1024,
    LIMIT_KEY_OUTCOME_BYTES = 64 * 1024,

    /* Log. One entry's payload; a larger request is refused with 413. */
    LIMIT_ENTRY_BYTES = 64 * 1024 * 1024,
    LIMIT_NODE_PENDING_COUNT = 16 * 1024,       /* proposals waiting; beyond: 503 + Retry-After */
    LIMIT_NODE_PENDING_BYTES = 256 * 1024 * 1024,
    LIMIT_NODE_READS_COUNT = 16 * 1024,         /* reads waiting; beyond: 503 + Retry-After */
    /* Read connections (-db-max-ro-conns sets fewer or more, up to this). Those that are not at work hold a large
     * result each for a client; one more large result: 503 + Retry-After before its first byte. */
    LIMIT_NODE_READERS = 1024,
    LIMIT_ENTRY_CACHE_BYTES = 64 * 1024 * 1024, /* recent entries in memory; older ones from rlog */

    /* Queued writes. Requests are counted by -write-queue-capacity; beyond it, or beyond these bytes, a
     * request waits for room, at most for its `timeout`: then, and when too many wait: 503 + Retry-After. */
    LIMIT_QUEUE_BYTES = 128 * 1024 * 1024,
    LIMIT_QUEUE_BATCH_BYTES = 8 * 1024 * 1024, /* a batch is full with these, too; one request may be larger */
    LIMIT_QUEUE_BLOCKED_COUNT = 1024,

    /* Peers. */
    LIMIT_PEER_FRAME_BYTES = LIMIT_ENTRY_BYTES + 64 * 1024,
    LIMIT_PEER_OUTPUT_BYTES = 8 * 1024 * 1024, /* unsent bytes per peer; Raft traffic beyond is dropped */
    LIMIT_PEER_CONNECTIONS = 256,
    LIMIT_CLUSTER_NODES = 16,                  /* members incl. learners and replicas; also RAFT_NODES_MAX */
};

#endif
