/* node_image.c — the image's tasks, one at a time whatever lane each needs; and the state that stands beside
 * its pages: which configuration it holds, then what db gave.
 *
 *   | 'RQS1' | conf index | conf bytes | conf … | db state … |
 *     u32      u64          u32
 */
#include "node_int.h"
#include <rq/util/endian.h>

enum { STATE_MAGIC = 0x31535152, STATE_HEAD = 16, REPLACED_PAGE_BYTES = 4096 };

static void image_kick(struct node *n);

static void task_run(struct env_job *job)
{
    struct node_image *i = LIST_ENTRY(job, struct node_image, job);
    i->running->run(i->running);
}

static void task_done(struct env_job *job)
{
    struct node_image *i = LIST_ENTRY(job, struct node_image, job);
    struct node_image_task *t = i->running;
    struct node *n = t->node;

    i->running = NULL;
    t->queued = false;
    if (t->rc == ERR_IO) {
        env_log(n->env, "snapshot", "%s", t->why.text);
        env_halt(n->env, "the image of the database cannot be written or read: the machine failed");
    }
    t->done(t);
    image_kick(n);
    n->up.lane_idle(n);
}

static void image_kick(struct node *n)
{
    struct node_image *i = &n->image;
    struct list *l = i->running || n->phase != NODE_OPEN ? NULL : list_pop_front(&i->tasks);

    if (!l)
        return;
    i->running = LIST_ENTRY(l, struct node_image_task, link);
    i->job.run = task_run;
    i->job.done = task_done;
    env_job_submit(n->env, i->running->lane, &i->job);
}

void node_image_submit(struct node *n, struct node_image_task *t, enum env_lane lane,
                       void (*run)(struct node_image_task *t),
                       void (*done)(struct node_image_task *t))
{
    ASSERT(!t->queued);
    t->node = n;
    t->lane = lane;
    t->run = run;
    t->done = done;
    t->queued = true;
    t->rc = 0;
    t->why.text[0] = '\0';
    list_push_back(&n->image.tasks, &t->link);
    image_kick(n);
}

void node_image_init(struct node *n)
{
    list_init(&n->image.tasks);
    buf_init(&n->image.state, IMAGE_STATE_MAX);
}

void node_image_fini(struct node *n)
{
    ASSERT(!n->image.running);
    buf_fini(&n->image.state);
}

/* ---- state ------------------------------------------------------------------------------------------ */

int node_image_state_put(struct buf *out, uint64_t conf_index, const struct wire_conf *conf,
                         struct slice db_state)
{
    uint8_t head[STATE_HEAD];

    buf_reset(out, IMAGE_STATE_MAX);
    (void)buf_append(out, head, sizeof(head));
    (void)wire_conf_put(out, conf);
    if (out->failed)
        return out->failed;
    put_u32(out->data + out->start, STATE_MAGIC);
    put_u64(out->data + out->start + 4, conf_index);
    put_u32(out->data + out->start + 12, (uint32_t)(buf_len(out) - sizeof(head)));
    return buf_append_slice(out, db_state);
}

int node_image_state_get(struct slice state, uint64_t *conf_index, struct wire_conf *conf,
                         struct slice *db_state)
{
    if (state.len < STATE_HEAD || get_u32(state.data) != STATE_MAGIC)
        return ERR_CORRUPT;
    size_t len = get_u32(state.data + 12);
    if (len > state.len - STATE_HEAD)
        return ERR_CORRUPT;
    *conf_index = get_u64(state.data + 4);
    *db_state = slice_of(state.data + STATE_HEAD + len, state.len - STATE_HEAD - len);
    return wire_conf_get(slice_of(state.data + STATE_HEAD, len), conf) ? ERR_CORRUPT : 0;
}

/* ---- the database from it ------------------------------------------------------------------------------ */

static int source_page(void *ctx, unsigned set, uint32_t number, void *dst)
{
    struct node *n = ctx;
    return image_page_read(n->image.image, (enum image_set)set, number, dst, &n->image.why);
}

static int live_read(void *ctx, void *dst, size_t len, uint64_t offset, size_t *got)
{
    return db_main_read(ctx, dst, len, offset, got);
}

static int live_write(void *ctx, uint32_t number, const void *bytes, size_t len)
{
    return db_main_write(ctx, number, bytes, len);
}

static int live_settle(void *ctx, uint64_t size)
{
    return db_main_settle(ctx, size);
}

/* From now on the image reaches the pages through the database. */
static void live_begin(struct node *n)
{
    const struct image_live live = {
        .read = live_read, .write = live_write, .settle = live_settle, .ctx = n->db};

    if (n->live)
        image_live_begin(n->image.image, &live);
}

void node_image_db_close(struct node *n)
{
    if (!n->db)
        return;
    image_live_end(n->image.image);
    db_close(n->db);
    n->db = NULL;
}

/* What the image holds; lent as long as it is so. */
static int source_fill(struct node *n, struct db_source *source, struct err_text *why)
{
    const struct image_moment *m = image_now(n->image.image);
    struct wire_conf conf;
    uint64_t conf_index;

    *source = (struct db_source){.page = source_page, .ctx = n};
    source->moment.index = m->index;
    source->moment.term = m->term;
    for (unsigned i = 0; i < DB_SET_COUNT; i++) {
        source->moment.page_bytes[i] = m->set[i].page_bytes;
        source->moment.page_count[i] = m->set[i].page_count;
    }
    if (n->live)
        source->main_sums = image_sums(n->image.image, IMAGE_MAIN);
    int rc = node_image_state_get(m->state, &conf_index, &conf, &source->moment.state);
    return rc ? err_set(why, rc, "%s/image: the state beside the pages is malformed", n->dir) : 0;
}

/* ---- another main file: called by db, in a task of the image's (node_replace.c) ------------------------------ */

static int load_page(void *ctx, uint32_t number, void *dst, struct err_text *why)
{
    struct node *n = ctx;
    int rc = image_page_read(n->image.image, IMAGE_LOAD, number, dst, &n->image.why);

    if (rc)
        env_log(n->env, "store", "%s", n->image.why.text);
    return rc ? err_set(why, rc, "%s", n->image.why.text) : 0;
}

/* No configuration stands between the image's and the entry that replaces its main file. */
static int state_make(struct node *n, struct slice db_state)
{
    struct wire_conf conf;
    struct slice old_state;
    uint64_t conf_index;

    int rc = node_image_state_get(image_now(n->image.image)->state, &conf_index, &conf, &old_state);
    return rc ? rc : node_image_state_put(&n->image.state, conf_index, &conf, db_state);
}

static int replace(void *ctx, enum db_replacement by, const struct db_moment *m,
                   struct db_source *source, struct err_text *why)
{
    struct node *n = ctx;
    struct image_moment next = {.index = m->index, .term = m->term};

    ASSERT(image_now(n->image.image)->index + 1 == m->index);
    image_live_end(n->image.image);
    int rc = state_make(n, m->state);
    next.state = buf_slice(&n->image.state);
    if (rc == 0)
        rc = image_replace(n->image.image, &next, by == DB_BY_FILE ? n->replace.vacuum_path : NULL,
                           REPLACED_PAGE_BYTES);
    if (rc)
        return err_set(why, rc, "%s/image: another database cannot take its place: %s", n->dir,
                       err_text_of(rc));
    n->replace.done = true;
    if (n->live)
        rc = image_place_settle(n->image.image, why);
    if (rc == 0)
        rc = source_fill(n, source, why);
    live_begin(n);
    return rc;
}

static const struct db_replacer *replacer_fill(struct node *n)
{
    struct node_replace *r = &n->replace;

    node_replace_path(n, r->vacuum_path, sizeof(r->vacuum_path));
    r->replacer = (struct db_replacer){
        .ctx = n, .vacuum_path = r->vacuum_path, .load_page = load_page, .replace = replace};
    return &r->replacer;
}

void node_replace_path(const struct node *n, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%s/rqlite-vacuum", n->dir);
}

/* ---- open, close -------------------------------------------------------------------------------------------- */

static int open_from(struct node *n, struct err_text *why)
{
    struct db_config config = n->config.db;
    struct db_source source;

    config.path = n->db_path;
    config.live = n->live;
    config.shared = n->live && n->config.db.shared;
    config.replacer = replacer_fill(n);
    if (image_now(n->image.image)->index == 0)
        return db_open(n->env, &config, NULL, &n->db, why);
    int rc = source_fill(n, &source, why);
    return rc ? rc : db_open(n->env, &config, &source, &n->db, why);
}

/* The folder of -on-disk-path may be gone: it may have been on a disk that forgets. */
static int folder_create(struct node *n)
{
    char folder[DB_PATH_MAX + 32];
    char *slash;

    (void)snprintf(folder, sizeof(folder), "%s", n->db_path);
    slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return 0;
    *slash = '\0';
    return env_dir_create(n->env, folder);
}

int node_image_db_open(struct node *n, struct err_text *why)
{
    int rc = n->config.db.path ? folder_create(n) : 0;

    if (rc)
        return err_set(why, rc, "cannot create the folder of %s: %s", n->db_path, err_text_of(rc));
    n->image.why.text[0] = '\0';
    rc = open_from(n, why);
    if (rc && n->image.why.text[0] != '\0')
        *why = n->image.why; /* which page it was */
    if (rc == 0)
        live_begin(n);
    return rc;
}
