/* limits — every bound in one place: what it is, which flag moves it, and what a client sees at one
 * more. Sizes in bytes unless the name says otherwise. */
#ifndef RQ_LIMITS_H
#define RQ_LIMITS_H

enum {
    /* HTTP. No flags move these. Request line and headers together; beyond: 414 or 431, and closed. */
    LIMIT_HTTP_HEADER_BYTES = 1024 * 1024,
    /* A body, de-chunked; beyond: 413, and closed. Nothing larger fits a log entry. */
    LIMIT_HTTP_BODY_BYTES = 64 * 1024 * 1024,
    /* What all connections received and is not answered yet. Beyond: 503 + Retry-After, and closed, for those
     * that hold more than the second; small requests pass. */
    LIMIT_HTTP_INPUT_BYTES = 512 * 1024 * 1024,
    LIMIT_HTTP_INPUT_SMALL_BYTES = 128 * 1024,
    /* Open connections; the next ones are told 503 and closed, … */
    LIMIT_HTTP_CONNECTIONS = 4096,
    LIMIT_HTTP_REFUSALS = 64, /* … and with so many of those, closed without a word */
    /* Unsent output of one connection before reading from it stops, until all of it was taken. */
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
    /* A read that is older than a snapshot holds it back where the database lives in its file (-on-disk); after
     * this long it ends with an error. */
    LIMIT_READ_HOLDS_CUT_MS = 20 * 1000,
    /* Backups that one node makes at the same time, one of them with `vacuum`; beyond: 503 + Retry-After. Each holds
     * its moment of the database: as above, but all parts within this. */
    LIMIT_BACKUPS = 4,
    LIMIT_BACKUP_TOTAL_MS = 60 * 60 * 1000,
    /* And SQLite's WAL must not grow by more meanwhile than this, or the size of the database if that is more: the oldest
     * ones end then. (A vacuumed backup holds its moment only while it is made, not while it is sent.) */
    LIMIT_BACKUP_WAL_BYTES = 256 * 1024 * 1024,
    /* A header must be complete after this long, a body must not pause longer, and a connection not be
     * without a request, nor its client take nothing of its answers, longer: then it is closed. */
    LIMIT_HTTP_HEADER_MS = 10 * 1000,
    LIMIT_HTTP_BODY_IDLE_MS = 30 * 1000,
    LIMIT_HTTP_IDLE_MS = 120 * 1000,
    LIMIT_TLS_HANDSHAKE_MS = 10 * 1000, /* from the connection to its first byte; beyond: closed */

    /* Passwords waiting for bcrypt, one under way; beyond: 503 + Retry-After. */
    LIMIT_GUARD_CHECKS = 32,

    /* Requests. Beyond: 400 "too many statements", "too many parameters", "invalid JSON body". */
    LIMIT_STATEMENTS = 100 * 1000,
    LIMIT_PARAMS_PER_STATEMENT = 32766, /* SQLITE_MAX_VARIABLE_NUMBER's upstream default */
    LIMIT_JSON_DEPTH = 100,

    /* Idempotency keys. A longer key: 400. More or older ones: forgotten, a retry then writes again. A larger
     * outcome is not kept: a retry is told where it was applied, and nothing else. */
    LIMIT_KEY_BYTES = 255,
    LIMIT_KEYS_COUNT = 256 * 1024,
    LIMIT_KEYS_BYTES = 64 * 1024 * 1024,
    LIMIT_KEY_OUTCOME_BYTES = 64 * 1024,

    /* Log. One entry's payload; a larger request is refused with 413. What waits at node beyond its
     * bounds: 503 + Retry-After. */
    LIMIT_ENTRY_BYTES = 64 * 1024 * 1024,
    /* Of the entries that a snapshot holds so many stay, if they are not more than -raft-snap says, for followers a
     * little behind; who lacks older ones is sent the snapshot. */
    LIMIT_LOG_TRAILING_BYTES = 64 * 1024 * 1024,
    LIMIT_NODE_PENDING_COUNT = 16 * 1024,         /* requests that node has not answered */
    LIMIT_NODE_PENDING_BYTES = 256 * 1024 * 1024, /* their payloads */
    /* Read connections (-db-max-ro-conns sets fewer or more, up to this). Those that are not at work hold a large
     * result each for a client; one more large result: 503 + Retry-After before its first byte. */
    LIMIT_NODE_READERS = 1024,
    LIMIT_ENTRY_CACHE_BYTES = 64 * 1024 * 1024, /* recent entries in memory; older ones from rlog */

    /* Queued writes. Requests are counted by -write-queue-capacity; beyond it, or beyond these bytes, a
     * request waits for room, at most for its `timeout`: then, and when too many wait: 503 + Retry-After. */
    LIMIT_QUEUE_BYTES = 128 * 1024 * 1024,
    LIMIT_QUEUE_BATCH_BYTES =
        8 * 1024 * 1024, /* a batch is full with these, too; one request may be larger */
    LIMIT_QUEUE_BLOCKED_COUNT = 1024,

    /* Loading a database file: bytes of one piece in the log, of which a few are under way at a time. Where the
     * next piece does not come for so many entries of others, those that came are dropped. */
    LIMIT_LOAD_PIECE_BYTES = 256 * 1024,
    LIMIT_LOAD_WINDOW = 4,
    LIMIT_LOAD_IDLE_ENTRIES = 64 * 1024,
    LIMIT_LOAD_UNCUT_BYTES = 16 * 1024 * 1024, /* pieces that no snapshot has: then there is one */
    LIMIT_LOAD_AHEAD_BYTES = 48 * 1024 * 1024, /* with so many the next ones wait for it, so long at most */
    LIMIT_LOAD_AHEAD_MS = 10 * 1000,
    /* Free space that a load leaves. */
    LIMIT_LOAD_RESERVE_BYTES = 128 * 1024 * 1024,

    /* Peers. */
    LIMIT_PEER_FRAME_BYTES = LIMIT_ENTRY_BYTES + 64 * 1024,
    LIMIT_PEER_OUTPUT_BYTES =
        8 * 1024 * 1024, /* unsent bytes per peer; Raft traffic beyond is dropped */
    LIMIT_PEER_CONNECTIONS = 256,
    LIMIT_CLUSTER_NODES = 16, /* members incl. learners and replicas; also RAFT_NODES_MAX */
};

/* Bytes of a database file that is loaded. */
#define LIMIT_LOAD_BYTES (UINT64_C(64) << 30)

#endif
