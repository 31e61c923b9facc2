/* node_upload.c — a client's database file on its way into the log.
 *
 *   OPENING ─► ASKING ⇄ WRITING ─► CHECKING ─► (REWRITING) ─► SENDING ─► INSTALLING ─► (CUTTING) ─► CLOSING ─► freed
 *      └──────────────── failed, canceled: what is proposed is waited for, the pieces are dropped ────►┘
 *
 * The file is kept on disk while it comes, so that memory does not grow with it, and judged as a whole before any
 * of it is proposed. Then it is read back in pieces, of which LIMIT_LOAD_WINDOW are under way at a time: other
 * writes find their place between them. What was read the disk gets back at once: the file as it came and its pieces
 * take together what one of them takes. The first goes alone, with the client's credentials; if this node does
 * not lead they go the way of all writes that are forwarded. A piece whose outcome is not known ends the load:
 * nothing was installed. Only an installation whose outcome is not known leaves the client in doubt.
 *
 * Files of a crash are removed by the next start. */
#include "node_int.h"
#include <rq/util/crc.h>

enum upload_state {
    UPLOAD_OPENING,
    UPLOAD_ASKING, /* the asker's turn */
    UPLOAD_WRITING,
    UPLOAD_CHECKING,
    UPLOAD_REWRITING,
    UPLOAD_SENDING,
    UPLOAD_INSTALLING,
    UPLOAD_CUTTING,
    UPLOAD_CLOSING,
};
enum { INSTALL_BYTES_PER_MS = 10 * 1024, SPACE_LOOK_BYTES = 16 * 1024 * 1024, AHEAD_LOOK_MS = 20, HOLE_BYTES = 4096 };

struct node_upload {
    struct node *node;
    struct node_upload_ask ask;
    uint8_t credentials[WIRE_USER_MAX + WIRE_PASSWORD_MAX];
    bool told; /* done() was called, or nobody waits */
    bool over; /* with the outcome below: nothing more is proposed */
    bool unknown;
    int outcome;
    char words[WIRE_TEXT_MAX + 1];
    enum upload_state state;
    char body_path[DB_PATH_MAX + 32], pages_path[DB_PATH_MAX + 32];
    const char *served_by;
    char served_text[WIRE_ADDR_MAX + 1];

    struct env_job job;
    bool job_out;
    struct env_file *file;
    struct buf bytes; /* given, being written; or the piece being read */
    bool last, rewrite;
    bool punches; /* the file system knows holes */
    uint64_t written, space_looked;
    int rc;
    struct err_text why;

    uint64_t id, total, sent;
    uint32_t digest, in_flight;
    bool proposed;          /* some piece was */
    struct env_turn turn;   /* out of the caller's reach */
    struct env_timer timer; /* the next piece waits for a snapshot, … */
    uint64_t waits_ns;      /* … since; 0: it does not */
};

static void upload_go(struct node_upload *u);

/* ---- the end ------------------------------------------------------------------------------------------- */

static void upload_tell(struct node_upload *u)
{
    if (u->told)
        return;
    u->told = true;
    u->ask.done(u->ask.ctx, u->outcome, u->unknown, u->words, u->served_by);
}

/* The first outcome counts. It is told when the way is free for the next load, or at once where that would mean
 * to wait for others. */
static void upload_over(struct node_upload *u, int rc, bool unknown, const char *why)
{
    if (u->over)
        return;
    u->over = true;
    u->outcome = rc;
    u->unknown = unknown;
    (void)snprintf(u->words, sizeof(u->words), "%s", why && why[0] != '\0' ? why : err_text_of(rc));
    if (u->in_flight > 0)
        upload_tell(u);
}

static void upload_fail(struct node_upload *u, int rc, const char *why)
{
    upload_over(u, rc, false, why);
}

static int remove_path(struct env *e, const char *path)
{
    int rc = env_file_remove(e, path);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static void paths_fill(const struct node *n, char *body, char *pages, size_t cap)
{
    (void)snprintf(body, cap, "%s/rqlite-load-body", n->dir);
    (void)snprintf(pages, cap, "%s/rqlite-load-pages", n->dir);
}

void node_upload_sweep(struct node *n)
{
    char body[DB_PATH_MAX + 32], pages[DB_PATH_MAX + 32];

    paths_fill(n, body, pages, sizeof(body));
    (void)remove_path(n->env, body); /* what stays is removed before the next load */
    (void)remove_path(n->env, pages);
}

static void close_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);

    env_file_close(u->file);
    u->file = NULL;
    node_upload_sweep(u->node);
}

static void dropped(void *ctx, const struct node_answer *a)
{
    (void)ctx; /* if it failed, the pieces expire */
    (void)a;
}

/* What was proposed of a load that failed need not wait for its expiry. */
static void pieces_drop(const struct node_upload *u)
{
    const struct wire_load load = {.id = u->id};
    struct node_request r = {.f = {.kind = WIRE_LOAD,
                                   .level = WIRE_LEVEL_WEAK,
                                   .further = true,
                                   .user = u->ask.user,
                                   .password = u->ask.password}};
    struct buf payload;

    r.f.timeout_ms = u->ask.timeout_ms;
    buf_init(&payload, 1024);
    if (wire_cmd_load(&payload, WIRE_CMD_LOAD_DROP, &load) == 0) {
        r.f.payload = buf_slice(&payload);
        (void)!node_submit(u->node, &r, dropped, NULL, NULL);
    }
    buf_fini(&payload);
}

static void upload_free(struct node_upload *u)
{
    struct node *n = u->node;

    env_turn_cancel(&u->turn);
    env_timer_disarm(&u->timer);
    if (u->proposed && u->outcome && !u->unknown && n->phase == NODE_OPEN)
        pieces_drop(u);
    n->upload = NULL;
    upload_tell(u);
    buf_fini(&u->bytes);
    explicit_bzero(u->credentials, sizeof(u->credentials));
    mem_free(u);
    n->up.lane_idle(n);
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

static void job_done(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);

    u->job_out = false;
    if (u->state == UPLOAD_CLOSING) {
        upload_free(u);
        return;
    }
    if (u->rc)
        upload_fail(u, u->rc, u->why.text);
    upload_go(u);
}

static void job_submit(struct node_upload *u, enum env_lane lane, void (*run)(struct env_job *job))
{
    ASSERT(!u->job_out);
    u->job_out = true;
    u->rc = 0;
    u->why.text[0] = '\0';
    u->job.run = run;
    u->job.done = job_done;
    env_job_submit(u->node->env, lane, &u->job);
}

/* For so many bytes more there must be space. */
static int space_look(struct node_upload *u, uint64_t bytes)
{
    uint64_t free_bytes = 0, need = bytes + LIMIT_LOAD_RESERVE_BYTES;

    int rc = env_disk_free(u->node->env, u->node->dir, &free_bytes);
    if (rc)
        return err_set(&u->why, rc, "the free disk space is not known: %s", err_text_of(rc));
    u->space_looked = u->written;
    if (free_bytes >= need)
        return 0;
    return err_set(&u->why, ERR_NOSPC, "loading needs %llu MB of free disk space, there are %llu",
                   (unsigned long long)(need >> 20), (unsigned long long)(free_bytes >> 20));
}

/* What the pieces of so many bytes take beside the file that they are read from. */
static uint64_t pieces_bytes(const struct node_upload *u, uint64_t bytes)
{
    return u->punches ? 0 : bytes;
}

static int probe_holes(struct node_upload *u)
{
    int rc = env_file_truncate(u->file, HOLE_BYTES);

    if (rc == 0)
        u->punches = env_file_punch(u->file, 0, HOLE_BYTES) == 0;
    return rc ? rc : env_file_truncate(u->file, 0);
}

static void open_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);

    node_upload_sweep(u->node);
    u->rc =
        env_file_open(u->node->env, u->body_path, ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE, &u->file);
    if (u->rc == 0)
        u->rc = probe_holes(u);
    if (u->rc == 0)
        u->rc = space_look(u, u->ask.bytes + pieces_bytes(u, u->ask.bytes));
    if (u->rc && u->why.text[0] == '\0')
        (void)err_set(&u->why, u->rc, "%s: %s", u->body_path, err_text_of(u->rc));
}

/* What is written counts as free no longer. */
static void write_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);
    struct slice bytes = buf_slice(&u->bytes);

    if (bytes.len == 0)
        return;
    if (bytes.len > LIMIT_LOAD_BYTES - u->written)
        u->rc = err_set(&u->why, ERR_INVALID, "the database is larger than the limit");
    else if (u->written - u->space_looked >= SPACE_LOOK_BYTES)
        u->rc = space_look(u, u->ask.bytes ? 0 : pieces_bytes(u, u->written));
    if (u->rc)
        return;
    u->rc = env_file_write(u->file, bytes.data, bytes.len, u->written);
    u->written += bytes.len;
    if (u->rc)
        (void)err_set(&u->why, u->rc, "%s: %s", u->body_path, err_text_of(u->rc));
}

static void check_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);

    env_file_close(u->file);
    u->file = NULL;
    u->rc = db_import_check(u->node->env, u->body_path, &u->total, &u->rewrite, &u->why);
}

static void rewrite_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);

    u->rc = space_look(u, u->total);
    if (u->rc == 0)
        u->rc = db_import_rewrite(u->node->env, u->body_path, u->pages_path, &u->total, &u->why);
    if (u->rc == 0)
        (void)remove_path(u->node->env, u->body_path); /* what stays is removed at the end */
}

static void read_run(struct env_job *job)
{
    struct node_upload *u = LIST_ENTRY(job, struct node_upload, job);
    uint64_t left = u->total - u->sent;
    size_t max = u->node->config.load_piece_bytes, got = 0;
    size_t len = left < max ? (size_t)left : max;

    buf_reset(&u->bytes, len);
    uint8_t *to = buf_reserve(&u->bytes, len);
    if (!u->file)
        u->rc = env_file_open(u->node->env, u->rewrite ? u->pages_path : u->body_path, 0, &u->file);
    if (u->rc == 0 && !to)
        u->rc = ERR_NOMEM;
    if (u->rc == 0)
        u->rc = env_file_read(u->file, to, len, u->sent, &got);
    if (u->rc == 0 && got != len)
        u->rc = ERR_IO;
    if (u->rc) {
        (void)err_set(&u->why, u->rc, "the file that was received cannot be read: %s",
                      err_text_of(u->rc));
        return;
    }
    buf_commit(&u->bytes, len);
    if (u->punches && env_file_punch(u->file, u->sent, len) != 0)
        u->punches = false; /* it will do without, if there is space */
    if (u->sent == 0)
        db_import_prepare(to, len);
    u->digest = crc32c(u->digest, to, len);
}

/* ---- proposing ------------------------------------------------------------------------------------------ */

/* Can what was proposed have happened nevertheless? */
static bool outcome_unknown(int rc)
{
    return rc == ERR_LEADERSHIP_LOST || rc == ERR_TIMEOUT || rc == ERR_RESET ||
           rc == ERR_CANCELED || rc == ERR_NOMEM;
}

static void served_note(struct node_upload *u, const struct node_answer *a)
{
    if (!a->served_by)
        return;
    (void)snprintf(u->served_text, sizeof(u->served_text), "%s", a->served_by);
    u->served_by = u->served_text;
}

static void proposal_answered(void *ctx, const struct node_answer *a)
{
    struct node_upload *u = ctx;
    char words[WIRE_TEXT_MAX + 1] = "";
    struct slice error = a->rc ? slice_of(NULL, 0) : u->node->config.codec->error_of(a->body);

    u->in_flight--;
    served_note(u, a);
    if (error.len > 0)
        (void)snprintf(words, sizeof(words), "%.*s", (int)error.len, (const char *)error.data);
    if (a->rc && u->state == UPLOAD_INSTALLING && outcome_unknown(a->rc)) {
        upload_over(u, a->rc, true, a->text);
    } else if (a->rc) {
        upload_fail(u, a->rc, a->text);
    } else if (error.len > 0) {
        upload_fail(u, ERR_INVALID, words);
    }
    env_turn_schedule(&u->turn); /* an answer may come while others are being failed */
}

static void propose(struct node_upload *u, enum wire_cmd_kind kind, const struct wire_load *load)
{
    bool first = kind == WIRE_CMD_LOAD_PIECE && load->at == 0;
    struct buf payload;
    struct node_request r = {
        .f = {.kind = WIRE_LOAD,
              .level = WIRE_LEVEL_WEAK,
              .timeout_ms = u->ask.timeout_ms,
              .further = !first,
              .user = u->ask.user,
              .password = u->ask.password},
        .retries = u->ask.retries,
    };

    if (kind == WIRE_CMD_LOAD_INSTALL)
        r.f.timeout_ms += u->total / INSTALL_BYTES_PER_MS;
    buf_init(&payload, LIMIT_LOAD_PIECE_BYTES + 1024);
    int rc = wire_cmd_load(&payload, kind, load);
    r.f.payload = buf_slice(&payload);
    u->in_flight++;
    if (rc == 0)
        rc = node_submit(u->node, &r, proposal_answered, u, NULL);
    buf_fini(&payload);
    if (rc == 0)
        return;
    u->in_flight--;
    upload_fail(u, rc, NULL);
}

static void piece_send(struct node_upload *u)
{
    const struct wire_load load = {.id = u->id, .at = u->sent, .bytes = buf_slice(&u->bytes)};

    u->sent += load.bytes.len;
    propose(u, WIRE_CMD_LOAD_PIECE, &load);
    u->proposed = true;
    buf_reset(&u->bytes, LIMIT_LOAD_PIECE_BYTES);
}

/* Pieces must not come faster than snapshots take them, or they pile up in the log and beside the database. */
static bool is_ahead(struct node_upload *u)
{
    struct node *n = u->node;
    uint64_t now_ns = env_now_ns(n->env);
    bool ahead = n->apply.state.uncut_load_bytes > LIMIT_LOAD_AHEAD_BYTES;

    if (!ahead || u->waits_ns == 0)
        u->waits_ns = ahead ? now_ns : 0;
    if (!ahead || now_ns - u->waits_ns >= LIMIT_LOAD_AHEAD_MS * ENV_MS_NS)
        return false; /* or something holds it back */
    if (!env_timer_armed(&u->timer))
        env_timer_arm(&u->timer, AHEAD_LOOK_MS * ENV_MS_NS);
    return true;
}

static void upload_send(struct node_upload *u)
{
    uint32_t window = u->sent <= u->node->config.load_piece_bytes ? 1 : LIMIT_LOAD_WINDOW;

    if (buf_len(&u->bytes) > 0 && u->in_flight < window && !is_ahead(u))
        piece_send(u);
    if (u->over)
        return;
    if (buf_len(&u->bytes) == 0 && u->sent < u->total) {
        job_submit(u, ENV_LANE_READ, read_run);
    } else if (u->sent == u->total && u->in_flight == 0) {
        const struct wire_load load = {.id = u->id, .at = u->total, .digest = u->digest};
        u->state = UPLOAD_INSTALLING;
        propose(u, WIRE_CMD_LOAD_INSTALL, &load);
    }
}

/* ---- step by step ----------------------------------------------------------------------------------------- */

static void cut_done(void *ctx, int rc, const char *why)
{
    struct node_upload *u = ctx;

    u->in_flight--;
    if (rc != 0 && rc != ERR_EXISTS)
        env_log(u->node->env, "snapshot", "after booting: %s",
                why && why[0] ? why : err_text_of(rc));
    env_turn_schedule(&u->turn);
}

/* Installed. A boot is followed by a snapshot, so that the log can be let go. */
static void upload_installed(struct node_upload *u)
{
    if (u->state == UPLOAD_INSTALLING && u->ask.boot) {
        u->state = UPLOAD_CUTTING;
        u->in_flight++;
        int rc = node_snapshot(u->node, 1, cut_done, u);
        if (rc)
            cut_done(u, rc == ERR_BUSY ? ERR_EXISTS : rc, NULL);
        return;
    }
    upload_over(u, 0, false, NULL);
    upload_go(u);
}

/* What is under way comes back before anything else. */
static void upload_end(struct node_upload *u)
{
    if (u->job_out || u->in_flight > 0)
        return;
    u->state = UPLOAD_CLOSING;
    job_submit(u, ENV_LANE_READ, close_run);
}

static void upload_opened(struct node_upload *u)
{
    u->state = UPLOAD_ASKING;
    if (!u->told)
        u->ask.taken(u->ask.ctx);
}

static void upload_checked(struct node_upload *u)
{
    if (u->state == UPLOAD_CHECKING && u->rewrite) {
        u->state = UPLOAD_REWRITING;
        job_submit(u, ENV_LANE_APPLY, rewrite_run);
        return;
    }
    u->state = UPLOAD_SENDING;
    buf_reset(&u->bytes, LIMIT_LOAD_PIECE_BYTES);
    upload_send(u);
}

static void upload_written(struct node_upload *u)
{
    buf_reset(&u->bytes, LIMIT_LOAD_PIECE_BYTES);
    if (!u->last) {
        upload_opened(u);
        return;
    }
    u->state = UPLOAD_CHECKING;
    job_submit(u, ENV_LANE_READ, check_run);
}

/* Something it waited for is there. */
static void upload_step(struct node_upload *u)
{
    switch (u->state) {
    case UPLOAD_OPENING:
        upload_opened(u);
        return;
    case UPLOAD_WRITING:
        upload_written(u);
        return;
    case UPLOAD_CHECKING:
    case UPLOAD_REWRITING:
        upload_checked(u);
        return;
    case UPLOAD_SENDING:
        upload_send(u);
        return;
    case UPLOAD_INSTALLING:
    case UPLOAD_CUTTING:
        if (u->in_flight == 0)
            upload_installed(u);
        return;
    case UPLOAD_ASKING:
    case UPLOAD_CLOSING:
        return;
    }
    UNREACHABLE();
}

static void upload_go(struct node_upload *u)
{
    if (u->state == UPLOAD_CLOSING)
        return;
    if (!u->over && !u->job_out) /* else its done() comes here */
        upload_step(u);
    if (u->over && u->state != UPLOAD_CLOSING)
        upload_end(u);
}

static void upload_turn(struct env_turn *t)
{
    upload_go(t->ctx);
}

static void upload_look(struct env_timer *t)
{
    upload_go(t->ctx);
}

/* ---- the asker's ---------------------------------------------------------------------------------------------- */

int node_upload_begin(struct node *n, const struct node_upload_ask *ask, struct node_upload **out)
{
    if (n->phase != NODE_OPEN)
        return ERR_NOT_READY;
    if (n->upload)
        return ERR_BUSY;
    if (ask->bytes > LIMIT_LOAD_BYTES)
        return ERR_TOO_BIG;
    struct node_upload *u = mem_zalloc(sizeof(*u));
    if (!u)
        return ERR_NOMEM;
    ASSERT(ask->user.len <= WIRE_USER_MAX && ask->password.len <= WIRE_PASSWORD_MAX);
    u->node = n;
    u->ask = *ask;
    if (ask->user.len)
        memcpy(u->credentials, ask->user.data, ask->user.len);
    if (ask->password.len)
        memcpy(u->credentials + ask->user.len, ask->password.data, ask->password.len);
    u->ask.user = slice_of(u->credentials, ask->user.len);
    u->ask.password = slice_of(u->credentials + ask->user.len, ask->password.len);
    u->id = env_random_u64(n->env) | 1;
    buf_init(&u->bytes, LIMIT_HTTP_BODY_BYTES);
    env_turn_init(&u->turn, n->env, upload_turn, u);
    env_timer_init(&u->timer, n->env, upload_look, u);
    paths_fill(n, u->body_path, u->pages_path, sizeof(u->body_path));
    n->upload = u;
    *out = u;
    job_submit(u, ENV_LANE_READ, open_run);
    return 0;
}

void node_upload_give(struct node_upload *u, struct slice bytes, bool last)
{
    if (u->over)
        return; /* done() is on its way */
    ASSERT(u->state == UPLOAD_ASKING && !u->told);
    u->last = last;
    if (buf_append_slice(&u->bytes, bytes)) {
        upload_fail(u, u->bytes.failed, NULL);
        env_turn_schedule(&u->turn);
        return;
    }
    u->state = UPLOAD_WRITING;
    job_submit(u, ENV_LANE_READ, write_run);
}

void node_upload_cancel(struct node_upload *u)
{
    u->told = true;
    if (u->state == UPLOAD_INSTALLING || u->state == UPLOAD_CUTTING)
        return;
    upload_over(u, ERR_CANCELED, false, NULL);
    env_turn_schedule(&u->turn);
}

void node_upload_stop(struct node *n)
{
    struct node_upload *u = n->upload;

    if (!u || u->state == UPLOAD_CLOSING)
        return;
    upload_over(u, ERR_CANCELED, u->state == UPLOAD_INSTALLING, "the node is stopping");
    upload_end(u);
}
