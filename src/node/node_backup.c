/* node_backup.c — backups of the database, for clients of ours or of another node: one made at a time per request,
 * given in parts as large results are (node_read.c), with a connection of its own.
 *
 *   begin (APPLY: the moment) ─► part (READ) ⇄ PARKED until the asker pulls ─► over
 *                                  └── nobody wants the rest: end (READ) ───────┘
 *
 * The moment is held until the end: the WAL grows behind it. So a node makes LIMIT_BACKUPS at the same time, one of
 * them vacuumed, and the client must take each part within LIMIT_PARTS_STALL_MS, all of them within
 * LIMIT_BACKUP_TOTAL_MS; and who is slower than the database changes loses it: LIMIT_BACKUP_WAL_BYTES. */
#include "node_int.h"
#include <rq/util/gzip.h>

enum { RAW_BYTES = 64 * 1024, TABLES_MAX = 100 * 1000 };

struct node_backup {      /* of one wait */
    struct db_backup *db; /* NULL: not begun, or over */
    struct gzip *gzip;    /* NULL: as it is */
    struct buf raw;       /* to be compressed */
    struct slice *tables;
    uint32_t table_count;
    enum db_backup_format format;
    uint64_t wal_bytes;          /* used when it began */
    char path[DB_PATH_MAX + 64]; /* of a vacuumed copy */
};

static const char copy_prefix[] = "rqlite-backup-";

/* ---- what is wanted ----------------------------------------------------------------------------------- */

static enum db_backup_format format_of(enum wire_backup_format f)
{
    switch (f) {
    case WIRE_BACKUP_BINARY:
        return DB_BACKUP_WAL;
    case WIRE_BACKUP_DELETE:
        return DB_BACKUP_DELETE;
    case WIRE_BACKUP_SQL:
        return DB_BACKUP_SQL;
    case WIRE_BACKUP_VACUUM:
        return DB_BACKUP_VACUUM;
    }
    UNREACHABLE();
}

static void backup_free(struct node_wait *w)
{
    struct node_backup *b = w->backup;

    ASSERT(!b->db);
    w->node->backup_count--;
    w->node->vacuum_count -= b->format == DB_BACKUP_VACUUM;
    gzip_free(b->gzip);
    buf_fini(&b->raw);
    mem_free(b->tables);
    mem_free(b);
    w->backup = NULL;
}

/* The names stay in the payload. */
static int backup_new(struct node_wait *w, const struct wire_backup *want)
{
    struct node *n = w->node;
    struct node_backup *b = mem_zalloc(sizeof(*b));
    struct slice rest = want->tables;

    if (!b)
        return ERR_NOMEM;
    w->backup = b;
    b->format = format_of(want->format);
    b->wal_bytes = n->apply.state.wal_used_bytes;
    n->backup_count++;
    n->vacuum_count += b->format == DB_BACKUP_VACUUM;
    buf_init(&b->raw, LIMIT_RESULT_BYTES);
    (void)snprintf(b->path, sizeof(b->path), "%s/%s%llu.sqlite", n->dir, copy_prefix,
                   (unsigned long long)node_wait_ticket(w));
    b->gzip = want->compress ? gzip_new() : NULL;
    b->tables = want->table_count ? mem_alloc(want->table_count * sizeof(*b->tables)) : NULL;
    if ((want->compress && !b->gzip) || (want->table_count && !b->tables)) {
        backup_free(w);
        return ERR_NOMEM;
    }
    while (b->table_count < want->table_count &&
           wire_backup_next(&rest, &b->tables[b->table_count]))
        b->table_count++;
    return 0;
}

/* ---- too slow -------------------------------------------------------------------------------------------- */

static bool is_too_slow(const struct node *n, const struct node_backup *b)
{
    const struct db_state *s = &n->apply.state;
    /* Begun anew since: then everything in it came since. */
    uint64_t grown =
        s->wal_used_bytes >= b->wal_bytes ? s->wal_used_bytes - b->wal_bytes : s->wal_used_bytes;

    if (b->format == DB_BACKUP_VACUUM)
        return false;
    return grown > LIMIT_BACKUP_WAL_BYTES && grown > s->main_bytes;
}

void node_backup_look(struct node *n)
{
    if (n->backup_count == 0 || n->apply.state.wal_used_bytes <= LIMIT_BACKUP_WAL_BYTES)
        return; /* looked at after every job */
    for (uint32_t i = 0; i < n->waits.cap; i++) {
        struct node_wait *w = n->waits.slots[i];
        if (!w || w->state == WAIT_FREE || !w->backup || w->forgotten || w->replying ||
            !is_too_slow(n, w->backup))
            continue;
        env_log(n->env, "backup",
                "ended one: more was written meanwhile than the database has, and SQLite's log "
                "cannot be begun anew before it ends");
        node_wait_fail(w, ERR_CANCELED, "the backup was too slow: too much was written meanwhile");
    }
}

/* ---- in the lanes --------------------------------------------------------------------------------------- */

static void begin_run(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node_backup *b = w->backup;
    const struct db_backup_config config = {
        .format = b->format,
        .tables = b->tables,
        .table_count = b->table_count,
        .path = b->path,
        .canceled = &w->canceled,
    };

    w->rc = db_backup_begin(w->node->db, &config, &b->db, &w->why);
}

static int compress(struct node_wait *w, size_t bytes)
{
    struct node_backup *b = w->backup;
    int rc = DB_MORE;

    while (rc == DB_MORE && buf_len(&w->out) < bytes) {
        buf_reset(&b->raw, 2 * RAW_BYTES);
        rc = db_backup_step(b->db, &b->raw, RAW_BYTES, &w->why);
        int failed =
            rc == 0 || rc == DB_MORE ? gzip_add(b->gzip, buf_slice(&b->raw), rc == 0, &w->out) : rc;
        rc = failed ? failed : rc;
    }
    return rc;
}

static void part_run(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node_backup *b = w->backup;
    size_t bytes = w->node->config.part_bytes;
    uint64_t began_ns = env_now_ns(w->node->env);

    if (!w->run_began_ns)
        w->run_began_ns = began_ns;
    w->rc = b->gzip ? compress(w, bytes) : db_backup_step(b->db, &w->out, bytes, &w->why);
    if (w->rc != DB_MORE) {
        db_backup_end(b->db);
        b->db = NULL;
    }
    w->run_ns += env_now_ns(w->node->env) - began_ns;
}

static void end_run(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);

    db_backup_end(w->backup->db);
    w->backup->db = NULL;
}

/* ---- on the loop ------------------------------------------------------------------------------------------ */

static void backup_submit(struct node_wait *w, enum env_lane lane, void (*run)(struct env_job *),
                          void (*done)(struct env_job *))
{
    w->in_lane = true;
    w->job.run = run;
    w->job.done = done;
    env_job_submit(w->node->env, lane, &w->job);
}

static void ended(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);
    struct node *n = w->node;

    w->in_lane = false;
    backup_free(w);
    node_wait_free(w);
    n->up.lane_idle(n);
}

void node_backup_end(struct node_wait *w)
{
    ASSERT(w->backup && !w->in_lane);
    list_remove(&w->link);
    w->forgotten = true;
    backup_submit(w, ENV_LANE_READ, end_run, ended);
}

/* Why it cannot go on, or NULL. */
static const char *hindered(const struct node *n)
{
    if (n->phase != NODE_OPEN)
        return "the node is stopping";
    return node_is_held(n) ? "the database was replaced while a backup was made" : NULL;
}

static void over(struct node_wait *w)
{
    struct node *n = w->node;
    struct node_answer a = {.rc = w->rc};

    n->counters.backups += w->rc == 0;
    n->counters.backups_failed += w->rc != 0;
    if (w->rc)
        a.text = w->why.text[0] ? w->why.text : err_text_of(w->rc);
    else
        a.body = buf_slice(&w->out);
    a.phases.run_ns = w->run_ns;
    backup_free(w);
    if (w->forgotten)
        node_wait_free(w);
    else
        node_wait_answer(w, &a);
    n->up.lane_idle(n);
}

static void paused(struct node_wait *w)
{
    struct node *n = w->node;
    struct node_answer a = {.more = true, .body = buf_slice(&w->out)};

    if (w->forgotten) {
        node_backup_end(w);
        return;
    }
    if (hindered(n)) {
        node_wait_fail(w, ERR_CANCELED, hindered(n));
        return;
    }
    w->state = WAIT_PARKED;
    list_push_back(&n->parked, &w->link);
    if (!node_wait_part(w, &a))
        return;
    buf_reset(&w->out, 2 * n->config.part_bytes);
    if (!w->part_out)
        node_backup_pulled(w);
}

static void part_done(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);

    w->in_lane = false;
    if (w->rc == ERR_IO || w->rc == ERR_CORRUPT)
        env_halt(w->node->env, "the database cannot be read for a backup: the machine failed");
    if (w->rc == DB_MORE)
        paused(w);
    else
        over(w);
}

static void part_submit(struct node_wait *w)
{
    w->state = WAIT_READ;
    node_wait_unlimit(w);
    (void)!buf_reserve(&w->out, w->node->config.part_bytes); /* once, not by doubling */
    backup_submit(w, ENV_LANE_READ, part_run, part_done);
}

void node_backup_pulled(struct node_wait *w)
{
    ASSERT(w->state == WAIT_PARKED && w->backup && !w->part_out);
    list_remove(&w->link);
    part_submit(w);
}

static void begun(struct env_job *job)
{
    struct node_wait *w = LIST_ENTRY(job, struct node_wait, job);

    w->in_lane = false;
    if (w->rc)
        over(w);
    else if (w->forgotten)
        node_backup_end(w);
    else if (hindered(w->node))
        node_wait_fail(w, ERR_CANCELED, hindered(w->node));
    else
        part_submit(w);
}

void node_backup_start(struct node_wait *w)
{
    struct node *n = w->node;
    struct wire_backup want;

    list_remove(&w->link);
    int rc = wire_backup_get(slice_of(w->payload->payload, w->payload->len), &want);
    if (rc || !w->in_parts) {
        node_wait_fail(w, rc ? rc : ERR_PROTOCOL, NULL);
        return;
    }
    if (n->backup_count >= LIMIT_BACKUPS ||
        (want.format == WIRE_BACKUP_VACUUM && n->vacuum_count > 0)) {
        node_wait_fail(w, ERR_FULL, "too many backups are being made, try again");
        return;
    }
    if (node_is_held(n)) {
        node_wait_fail(w, ERR_FULL, "the database is being replaced, try again");
        return;
    }
    rc = backup_new(w, &want);
    if (rc) {
        node_wait_fail(w, rc, NULL);
        return;
    }
    w->state = WAIT_READ;
    node_wait_unlimit(w);
    backup_submit(w, ENV_LANE_APPLY, begin_run, begun);
}

/* ---- what a crash left -------------------------------------------------------------------------------------- */

struct leftovers {
    struct node *node;
    struct buf names; /* each with a NUL */
};

static void leftover_note(void *ctx, const char *name)
{
    struct leftovers *l = ctx;

    if (strncmp(name, copy_prefix, sizeof(copy_prefix) - 1) == 0)
        (void)buf_append(&l->names, name, strlen(name) + 1);
}

void node_backup_sweep(struct node *n)
{
    struct leftovers l = {.node = n};
    char path[DB_PATH_MAX + 300];

    buf_init(&l.names, 1024 * 1024);
    if (env_dir_list(n->env, n->dir, leftover_note, &l))
        env_log(n->env, "store", "cannot look for what a crash left in %s", n->dir);
    for (struct slice rest = buf_slice(&l.names); rest.len > 0;) {
        const char *name = (const char *)rest.data;
        size_t bytes = strlen(name) + 1;
        (void)snprintf(path, sizeof(path), "%s/%s", n->dir, name);
        if (env_file_remove(n->env, path))
            env_log(n->env, "store", "cannot remove %s", path);
        rest = slice_of(rest.data + bytes, rest.len - bytes);
    }
    buf_fini(&l.names);
}
