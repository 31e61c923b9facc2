/* limit_probe — a replicated write with everything left out that physics does not demand: the bound
 * that a real cluster on the same machine is measured against.
 *
 *   limit_probe follower PORT DIR
 *   limit_probe leader PORT FOLLOWER_PORT FOLLOWER_PORT DIR
 *   limit_probe http PORT                   HTTP alone: the bound of the bound
 *
 *   POST ─► gather a batch ─► send it to both followers ─► own log: pwrite, fdatasync
 *                              follower: pwrite, fdatasync ─► ack        │
 *                              first ack + own sync = two of three ◄─────┘
 *        ◄─ fixed answer ◄─ one SQLite transaction, a savepoint for each request
 *
 * No elections, checks, JSON or SQL text; one batch in flight, the next gathers meanwhile; 127.0.0.1
 * only. The sync runs on the loop thread: it is the fastest way where the disk is fast, and nothing
 * else could be done without it. Followers apply a batch when the next one says it was committed. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <uv.h>

enum {
    LOG_BYTES = 64 << 20,
    REQUEST_BYTES = 16 << 10,
    BATCH_BYTES = 4 << 20,
    BATCH_COUNT = 1024,
    FOLLOWERS = 2,
};

#define BODY "{\"results\":[{\"last_insert_id\":1,\"rows_affected\":1}]}       \n"
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             "Content-Length: 60\r\n\r\n" BODY;

struct conn {
    uv_tcp_t tcp;
    size_t len;
    bool waiting; /* its request is in a batch */
    bool gone;
    char bytes[REQUEST_BYTES];
};

/* On the wire and in the log: head, then for each entry its length (4 bytes) and its bytes. */
struct head {
    uint64_t index;
    uint64_t committed;
    uint32_t len; /* of what follows */
    uint32_t count;
};

struct batch {
    struct head head;
    uint8_t entries[BATCH_BYTES];
    struct conn *who[BATCH_COUNT];
};

static uv_loop_t *loop;
static bool bare; /* mode http */
static struct batch batches[2];
static struct batch *gathering = &batches[0];
static struct batch *flying; /* NULL: none */
static uint64_t index_last;
static uint64_t index_committed;
static uv_tcp_t followers[FOLLOWERS];
static unsigned followers_ready;

static int log_fd = -1;
static uint64_t log_at;
static sqlite3 *db;
static sqlite3_stmt *sql_begin, *sql_commit, *sql_save, *sql_release, *sql_insert;

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "limit_probe: %s\n", what);
    exit(1);
}

static void must(int rc, const char *what)
{
    if (rc != 0)
        die(what);
}

/* ---- log ---- */

static void log_open(const char *dir)
{
    static char zeros[1 << 20];
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/log", dir);
    log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (log_fd < 0)
        die("cannot create the log");
    for (off_t at = 0; at < LOG_BYTES; at += (off_t)sizeof(zeros))
        if (pwrite(log_fd, zeros, sizeof(zeros), at) != (ssize_t)sizeof(zeros))
            die("cannot fill the log");
    must(fsync(log_fd), "cannot sync the log");
}

/* A ring: written blocks only, no change of size, so the sync has no metadata to write. */
static void log_append(const void *bytes, size_t len)
{
    if (log_at + len > LOG_BYTES)
        log_at = 0;
    if (pwrite(log_fd, bytes, len, (off_t)log_at) != (ssize_t)len || fdatasync(log_fd) != 0)
        die("log write failed");
    log_at += len;
}

/* ---- database ---- */

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *stmt;

    must(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL), sql);
    return stmt;
}

static void db_open(const char *dir)
{
    char path[1024];

    (void)snprintf(path, sizeof(path), "%s/db", dir);
    must(sqlite3_open_v2(path, &db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL),
         "cannot open the database");
    must(sqlite3_exec(db,
                      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                      "PRAGMA synchronous=OFF; CREATE TABLE IF NOT EXISTS"
                      " foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)",
                      NULL, NULL, NULL),
         "cannot make the table");
    sql_begin = prepare("BEGIN");
    sql_commit = prepare("COMMIT");
    sql_save = prepare("SAVEPOINT s");
    sql_release = prepare("RELEASE s");
    sql_insert = prepare("INSERT INTO foo(name, age) VALUES(?, 20)");
}

static void run(sqlite3_stmt *stmt)
{
    if (sqlite3_step(stmt) != SQLITE_DONE || sqlite3_reset(stmt) != SQLITE_OK)
        die(sqlite3_errmsg(db));
}

static void db_apply(const uint8_t *entries, uint32_t count)
{
    run(sql_begin);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t len;
        memcpy(&len, entries, sizeof(len));
        entries += sizeof(len);
        run(sql_save);
        int shown = len < 11 ? (int)len : 11;
        (void)sqlite3_bind_text(sql_insert, 1, (const char *)entries, shown, SQLITE_STATIC);
        run(sql_insert);
        run(sql_release);
        entries += len;
    }
    run(sql_commit);
}

/* ---- writing to sockets ---- */

static void on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* At once if the kernel takes it, else a copy that waits. */
static void send_all(uv_tcp_t *to, const void *bytes, size_t len)
{
    uv_buf_t piece = {.base = (char *)(uintptr_t)bytes, .len = len};
    int sent = uv_try_write((uv_stream_t *)to, &piece, 1);

    if (sent < 0 && sent != UV_EAGAIN)
        return; /* closed: the reader hears of it too */
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == len)
        return;
    uv_write_t *req = malloc(sizeof(*req) + len - done);
    if (!req)
        die("out of memory");
    piece.base = (char *)(req + 1);
    piece.len = len - done;
    memcpy(piece.base, (const char *)bytes + done, piece.len);
    must(uv_write(req, (uv_stream_t *)to, &piece, 1, on_written), "write failed");
}

/* ---- leader ---- */

static void conn_release(struct conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void conn_answer(struct conn *c)
{
    c->waiting = false;
    if (c->gone)
        conn_release(c);
    else
        send_all(&c->tcp, answer, sizeof(answer) - 1);
}

static void fly(void)
{
    struct batch *b = gathering;
    size_t len = sizeof(b->head) + b->head.len;

    flying = b;
    gathering = b == &batches[0] ? &batches[1] : &batches[0];
    memset(&gathering->head, 0, sizeof(gathering->head));
    b->head.index = ++index_last;
    b->head.committed = index_committed;
    for (unsigned i = 0; i < FOLLOWERS; i++)
        send_all(&followers[i], b, len);
    log_append(b, len);
}

static void land(void)
{
    struct batch *b = flying;

    index_committed = b->head.index;
    db_apply(b->entries, b->head.count);
    for (uint32_t i = 0; i < b->head.count; i++)
        conn_answer(b->who[i]);
    flying = NULL;
}

static void on_turn_end(uv_check_t *check)
{
    (void)check;
    if (!flying && gathering->head.count)
        fly();
}

static void propose(struct conn *c, const char *body, uint32_t len)
{
    struct batch *b = gathering;

    if (b->head.count == BATCH_COUNT || b->head.len + sizeof(len) + len > BATCH_BYTES)
        die("more clients than a batch holds");
    c->waiting = true;
    b->who[b->head.count++] = c;
    memcpy(b->entries + b->head.len, &len, sizeof(len));
    memcpy(b->entries + b->head.len + sizeof(len), body, len);
    b->head.len += (uint32_t)sizeof(len) + len;
}

static void on_alloc_ack(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    static char bytes[4096];

    (void)handle;
    (void)suggested;
    *out = uv_buf_init(bytes, sizeof(bytes));
}

/* Acks are 8 bytes and one batch is in flight: a torn one cannot be on loopback. The own sync was done
 * before any ack could be read, so the first of the two makes a majority. */
static void on_ack(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    uint64_t index;

    (void)stream;
    if (count < 0)
        die("a follower is gone");
    for (ssize_t at = 0; at + 8 <= count; at += 8) {
        memcpy(&index, bytes->base + at, sizeof(index));
        if (flying && flying->head.index == index)
            land();
    }
}

/* ---- HTTP ---- */

/* Length of the first whole request in the buffer, its body told; 0: more bytes needed. */
static size_t request_len(struct conn *c, const char **body, size_t *body_len)
{
    c->bytes[c->len] = '\0';
    char *end = strstr(c->bytes, "\r\n\r\n");

    if (!end)
        return 0;
    *body_len = 0;
    for (char *line = strstr(c->bytes, "\r\n"); line < end; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, "content-length:", 15) == 0)
            *body_len = strtoul(line + 17, NULL, 10);
    *body = end + 4;
    size_t whole = (size_t)(*body - c->bytes) + *body_len;
    if (whole >= sizeof(c->bytes))
        die("request too large");
    return whole <= c->len ? whole : 0;
}

static void on_alloc_request(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct conn *c = handle->data;

    (void)suggested;
    out->base = c->bytes + c->len;
    out->len = sizeof(c->bytes) - 1 - c->len;
}

static void on_request(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    struct conn *c = stream->data;
    const char *body;
    size_t body_len;

    (void)bytes;
    if (count < 0) {
        c->gone = true;
        (void)uv_read_stop(stream);
        if (!c->waiting)
            conn_release(c);
        return;
    }
    c->len += (size_t)count;
    size_t whole = c->waiting ? 0 : request_len(c, &body, &body_len);
    if (!whole)
        return;
    if (bare)
        send_all(&c->tcp, answer, sizeof(answer) - 1);
    else
        propose(c, body, (uint32_t)body_len);
    memmove(c->bytes, c->bytes + whole, c->len - whole);
    c->len -= whole;
}

static void on_client(uv_stream_t *server, int status)
{
    must(status, "accept");
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        die("out of memory");
    must(uv_tcp_init(loop, &c->tcp), "tcp");
    c->tcp.data = c;
    must(uv_accept(server, (uv_stream_t *)&c->tcp), "accept");
    (void)uv_tcp_nodelay(&c->tcp, 1);
    must(uv_read_start((uv_stream_t *)&c->tcp, on_alloc_request, on_request), "read");
}

/* ---- follower ---- */

static struct {
    uv_tcp_t tcp;
    size_t len;
    uint8_t bytes[2 * sizeof(struct batch)];
    struct head kept_head; /* durable here, not known to be committed */
    uint8_t kept[BATCH_BYTES];
} link_in;

static void follow(const struct head *head, const uint8_t *message)
{
    log_append(message, sizeof(*head) + head->len);
    send_all(&link_in.tcp, &head->index, sizeof(head->index));
    if (link_in.kept_head.count && head->committed >= link_in.kept_head.index)
        db_apply(link_in.kept, link_in.kept_head.count);
    link_in.kept_head = *head;
    memcpy(link_in.kept, message + sizeof(*head), head->len);
}

static void on_alloc_message(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    out->base = (char *)link_in.bytes + link_in.len;
    out->len = sizeof(link_in.bytes) - link_in.len;
}

static void on_message(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    size_t at = 0;
    struct head head;

    (void)stream;
    (void)bytes;
    if (count < 0)
        exit(0); /* the leader is gone: done */
    link_in.len += (size_t)count;
    while (link_in.len - at >= sizeof(head)) {
        memcpy(&head, link_in.bytes + at, sizeof(head));
        if (link_in.len - at < sizeof(head) + head.len)
            break;
        follow(&head, link_in.bytes + at);
        at += sizeof(head) + head.len;
    }
    memmove(link_in.bytes, link_in.bytes + at, link_in.len - at);
    link_in.len -= at;
}

static void on_leader(uv_stream_t *server, int status)
{
    must(status, "accept");
    must(uv_tcp_init(loop, &link_in.tcp), "tcp");
    must(uv_accept(server, (uv_stream_t *)&link_in.tcp), "accept");
    (void)uv_tcp_nodelay(&link_in.tcp, 1);
    must(uv_read_start((uv_stream_t *)&link_in.tcp, on_alloc_message, on_message), "read");
}

/* ---- start ---- */

static struct sockaddr_in address(const char *port)
{
    struct sockaddr_in sa;

    must(uv_ip4_addr("127.0.0.1", atoi(port), &sa), "bad port");
    return sa;
}

static void listen_on(const char *port, uv_connection_cb fn)
{
    static uv_tcp_t server;
    struct sockaddr_in sa = address(port);

    must(uv_tcp_init(loop, &server), "tcp");
    must(uv_tcp_bind(&server, (const struct sockaddr *)&sa, 0), "bind");
    must(uv_listen((uv_stream_t *)&server, 511, fn), "listen");
}

static const char *leader_port;

static void on_follower(uv_connect_t *req, int status)
{
    must(status, "cannot reach a follower");
    (void)uv_tcp_nodelay((uv_tcp_t *)req->handle, 1);
    must(uv_read_start(req->handle, on_alloc_ack, on_ack), "read");
    if (++followers_ready == FOLLOWERS)
        listen_on(leader_port, on_client);
}

static void start_leader(char **ports)
{
    static uv_connect_t requests[FOLLOWERS];
    static uv_check_t check;

    leader_port = ports[0];
    for (unsigned i = 0; i < FOLLOWERS; i++) {
        struct sockaddr_in sa = address(ports[1 + i]);
        must(uv_tcp_init(loop, &followers[i]), "tcp");
        must(uv_tcp_connect(&requests[i], &followers[i], (const struct sockaddr *)&sa, on_follower),
             "connect");
    }
    must(uv_check_init(loop, &check), "check");
    must(uv_check_start(&check, on_turn_end), "check");
}

int main(int argc, char **argv)
{
    loop = uv_default_loop();
    if (argc == 3 && strcmp(argv[1], "http") == 0) {
        bare = true;
        listen_on(argv[2], on_client);
    } else if (argc == 4 && strcmp(argv[1], "follower") == 0) {
        log_open(argv[3]);
        db_open(argv[3]);
        listen_on(argv[2], on_leader);
    } else if (argc == 6 && strcmp(argv[1], "leader") == 0) {
        log_open(argv[5]);
        db_open(argv[5]);
        start_leader(argv + 2);
    } else {
        die("usage: follower PORT DIR | leader PORT FOLLOWER_PORT FOLLOWER_PORT DIR | http PORT");
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
