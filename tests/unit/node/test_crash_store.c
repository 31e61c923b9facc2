/* test_crash_store.c — log, image and database of one node, as the node joins them: entries applied, loads in pieces,
 * cuts, the log let go, an image received in the place of all; crashed at every disk operation, with every outcome of what was pending. Whoever starts then has
 * every entry that was acknowledged, and the database is exactly that of its last one; in memory and on disk.
 *
 * What each room promises alone has tests of its own (rlog/test_crash, image/test_crash*). Here it is what they
 * promise one another: the log reaches back to the image, the image to no more than the log, the database is neither's
 * remains. */
#include "../db/db_replicas.h"
#include "crash_search.h"

#include <rq/image.h>
#include <rq/rlog.h>

#define DIR "n1"
#define MAIN DIR "/db.sqlite"

enum { ENTRIES = 14, STORE = 9, PIECE_BYTES = 4096 };

/* ---- what the log holds, and what comes of it ---------------------------------------------------------------- */

static struct {
    struct payload payload;
    uint64_t digest, content; /* of the database after it */
} entry[ENTRIES + 1];         /* by index */

static void entry_sql(uint64_t index, const char *sql)
{
    entry[index].payload = payload_make('e', &sql, 1);
}

static void entry_load(uint64_t index, enum wire_cmd_kind kind, const struct wire_load *l)
{
    entry[index].payload = load_make(kind, l);
}

static uint64_t file_entries(uint64_t index, const struct payload *f, uint64_t id)
{
    for (uint64_t at = 0; at < f->len; at += PIECE_BYTES) {
        struct wire_load l = {.id = id, .at = at, .bytes = slice_of(f->bytes + at, PIECE_BYTES)};
        entry_load(index++, WIRE_CMD_LOAD_PIECE, &l);
    }
    struct wire_load l = {.id = id, .at = f->len, .digest = crc32c(0, f->bytes, f->len)};
    entry_load(index++, WIRE_CMD_LOAD_INSTALL, &l);
    return index;
}

static struct db_config config_of(bool live)
{
    struct db_config c = config_default();
    c.path = MAIN;
    c.on_disk = c.live = live;
    return c;
}

static struct db_entry entry_of(uint64_t index)
{
    return (struct db_entry){.index = index,
                             .term = 1,
                             .kind = RAFT_ENTRY_NORMAL,
                             .payload =
                                 slice_of(entry[index].payload.bytes, entry[index].payload.len)};
}

/* ---- images that another node sends ---------------------------------------------------------------------------- */

enum { IMAGE_A = 9, IMAGE_B = 13, CHUNKS_MAX = 32 };
static struct sent { /* made before they are needed: a crash must find nothing else alive */
    uint64_t index;
    struct payload chunk[CHUNKS_MAX];
    uint32_t count;
} sent[] = {{.index = IMAGE_A}, {.index = IMAGE_B}};
enum { SENT_COUNT = sizeof(sent) / sizeof(sent[0]) };

static int page_give(void *ctx, unsigned set, uint32_t number, const void *bytes)
{
    return image_cut_page(ctx, (enum image_set)set, number, bytes);
}

/* The database as it is now, into the image. *out: to be ended. */
static int cut_write(struct image *im, struct db *d, struct db_cut **out)
{
    const struct image_moment *now = image_now(im);
    const uint32_t known[DB_SET_COUNT] = {now->set[0].page_count, now->set[1].page_count, 0};
    struct err_text why;

    int rc = db_cut_begin(d, out, &why);
    if (rc)
        return rc;
    const struct db_moment *m = db_cut_moment(*out);
    struct image_moment next = {.index = m->index, .term = m->term, .state = m->state};
    for (unsigned i = 0; i < DB_SET_COUNT; i++) {
        next.set[i].page_bytes = m->page_bytes[i];
        next.set[i].page_count = m->page_count[i];
    }
    rc = image_cut_begin(im, &next);
    rc = rc ? rc : db_cut_pages(*out, known, page_give, im);
    return rc ? rc : image_cut_seal(im);
}

static void image_make(struct node_db *n, struct sent *to)
{
    struct image *im;
    struct image_send *s;
    struct db_cut *c;
    struct err_text why;
    struct buf chunk;
    bool done = false, last = false;
    char dir[32];

    (void)snprintf(dir, sizeof(dir), "sent%u", (unsigned)to->index); /* each from nothing */
    assert_int_equal(image_open(n->env, dir, &im, &why), 0);
    assert_int_equal(cut_write(im, n->db, &c), 0);
    db_cut_end(c, true);
    while (!done)
        assert_int_equal(image_cut_apply(im, UINT64_MAX, &done), 0);
    assert_int_equal(image_send_begin(im, &s), 0);
    buf_init(&chunk, 1 << 20);
    while (!last) {
        assert_int_equal(image_send_next(s, 4096, &chunk, &last, &why), 0);
        assert_true(to->count < CHUNKS_MAX);
        struct payload *p = &to->chunk[to->count++];
        p->len = buf_len(&chunk);
        p->bytes = malloc(p->len);
        memcpy(p->bytes, buf_slice(&chunk).data, p->len);
    }
    buf_fini(&chunk);
    image_send_end(s);
    image_close(im);
}

static void model_make(void)
{
    struct db_config c = config_of(false);
    static struct node_db n;
    static struct shelf shelf;
    struct db_replacer replacer;
    struct db_state s;
    struct err_text why;

    library_once();
    c.replacer = &replacer;
    struct payload f = file_make(4096, "CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
                                       "INSERT INTO t(v) VALUES('loaded'),(zeroblob(5000))");
    struct payload g = file_make(4096, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    entry_sql(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    entry_sql(2, "INSERT INTO t(v) VALUES(zeroblob(3000)),(1),(2)");
    entry_sql(3, "INSERT INTO t(v) VALUES(zeroblob(6000))");
    entry_sql(4, "UPDATE t SET v=random() WHERE id<3");
    uint64_t next = file_entries(5, &f, 7);
    assert_int_equal(next, 9);
    entry_sql(next++, "INSERT INTO t(v) VALUES('behind the load')");
    entry_sql(next++, "DELETE FROM t WHERE id=2");
    next = file_entries(next, &g, 8);
    assert_int_equal(next, ENTRIES);
    entry_sql(next, "INSERT INTO t(v) VALUES('last')");
    node_db_init(&n, 1, &c);
    shelf_serve(&shelf, &replacer, n.env);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        wire_cmd_seal(entry[i].payload.bytes, entry[i].payload.len, 1700000000000000000, i);
        struct db_entry e = entry_of(i);
        assert_int_equal(shelf_apply(&shelf, n.db, &e, 1, &why), 0);
        db_state(n.db, &s);
        entry[i].digest = s.digest;
        assert_int_equal(db_content_hash(n.db, &entry[i].content), 0);
        for (unsigned k = 0; k < SENT_COUNT; k++)
            if (sent[k].index == i)
                image_make(&n, &sent[k]);
    }
    shelf_fini(&shelf);
    node_db_fini(&n);
    free(f.bytes);
    free(g.bytes);
}

/* ---- one life ------------------------------------------------------------------------------------------------- */

enum op_kind { OP_END, OP_APPEND, OP_CUT, OP_INSTALL };
struct op {
    enum op_kind kind;
    uint64_t
        count; /* APPEND: the next so many, at once; CUT: entries that the log keeps before the image; INSTALL: which image */
};
#define OPS(...) ((const struct op[]){__VA_ARGS__, {.kind = OP_END}})

struct belief {
    uint64_t sure, maybe; /* last entry */
};

static bool live_mode, receiving, replacing;
static struct node {
    struct env *env;
    struct rlog *log;
    struct image *image;
    struct db *db;
    uint64_t last, compacted;
    const char *objection;
} node;

static int entry_found(void *ctx, uint64_t index, const struct wire_entry *e)
{
    struct node *n = ctx;

    if (index > ENTRIES || e->payload.len != entry[index].payload.len ||
        memcmp(e->payload.data, entry[index].payload.bytes, e->payload.len) != 0)
        n->objection = "the log holds what nobody wrote";
    return 0;
}

static int page_from(void *ctx, unsigned set, uint32_t number, void *dst)
{
    struct err_text why;
    return image_page_read(ctx, (enum image_set)set, number, dst, &why);
}

static int main_read(void *ctx, void *dst, size_t len, uint64_t offset, size_t *got)
{
    return db_main_read(ctx, dst, len, offset, got);
}

static int main_write(void *ctx, uint32_t number, const void *bytes, size_t len)
{
    return db_main_write(ctx, number, bytes, len);
}

static int main_settle(void *ctx, uint64_t size)
{
    return db_main_settle(ctx, size);
}

static struct db_source source_of(struct node *n)
{
    const struct image_moment *m = image_now(n->image);
    struct db_source source = {.page = page_from,
                               .ctx = n->image,
                               .main_sums = live_mode ? image_sums(n->image, IMAGE_MAIN) : NULL,
                               .moment = {.index = m->index, .term = m->term, .state = m->state}};

    for (unsigned i = 0; i < DB_SET_COUNT; i++) {
        source.moment.page_bytes[i] = m->set[i].page_bytes;
        source.moment.page_count[i] = m->set[i].page_count;
    }
    return source;
}

static void database_lend(struct node *n)
{
    const struct image_live live = {
        .read = main_read, .write = main_write, .settle = main_settle, .ctx = n->db};

    if (live_mode)
        image_live_begin(n->image, &live);
}

/* As node_image.c. */
static int load_page(void *ctx, uint32_t number, void *dst, struct err_text *why)
{
    struct node *n = ctx;
    return image_page_read(n->image, IMAGE_LOAD, number, dst, why);
}

static int main_replace(void *ctx, enum db_replacement by, const struct db_moment *m,
                        struct db_source *source, struct err_text *why)
{
    struct node *n = ctx;
    const struct image_moment next = {.index = m->index, .term = m->term, .state = m->state};

    image_live_end(n->image);
    replacing = true;
    int rc = image_replace(n->image, &next, by == DB_BY_FILE ? DIR "/vacuumed" : NULL, 4096);
    replacing = false;
    if (rc == 0 && live_mode)
        rc = image_place_settle(n->image, why);
    *source = source_of(n);
    if (rc == 0)
        database_lend(n);
    return rc;
}

static const struct db_replacer replacer = {
    .ctx = &node, .vacuum_path = DIR "/vacuumed", .load_page = load_page, .replace = main_replace};

static int database_open(struct node *n, struct err_text *why)
{
    struct db_config c = config_of(live_mode);
    struct db_source source = source_of(n);

    c.replacer = &replacer;
    int rc = db_open(n->env, &c, source.moment.index ? &source : NULL, &n->db, why);
    if (rc == 0)
        database_lend(n);
    return rc;
}

/* As node_cut.c, all but the log. */
static int image_bring(struct node *n)
{
    struct db_cut *c = NULL;
    bool done = false;

    int rc = cut_write(n->image, n->db, &c);
    if (rc == 0 && live_mode)
        rc = db_cut_copy(c);
    if (c)
        db_cut_end(c, rc == 0);
    while (rc == 0 && !done)
        rc = image_cut_apply(n->image, 4096, &done);
    return rc;
}

/* As node_replace.c, where an entry puts another main file in place. */
static int apply_upto(struct node *n, uint64_t from, uint64_t to)
{
    struct err_text why;
    int rc = 0;

    for (uint64_t i = from; rc == 0 && i <= to; i++) {
        struct db_entry e = entry_of(i);
        rc = db_apply(n->db, &e, 1, &why);
        if (rc != DB_PREPARE)
            continue;
        e.prepared = DB_PREPARED;
        rc = image_now(n->image)->index == i - 1 ? 0 : image_bring(n);
        rc = rc ? rc : db_apply(n->db, &e, 1, &why);
    }
    return rc;
}

static int node_begin(struct node *n, struct err_text *why)
{
    struct image_place place = {.main_path = MAIN, .live = live_mode};
    struct rlog_config config = {.dir = DIR "/raft", .segment_bytes = 4096, .spare_count = 1};
    struct rlog_recovered found = {.last_index = 0};

    int rc = env_dir_create(n->env, DIR);
    rc = rc ? rc : image_open_placed(n->env, DIR "/image", &place, &n->image, why);
    rc = rc ? rc : rlog_open(n->env, &config, STORE, entry_found, n, &found, &n->log, why);
    rc = rc ? rc : database_open(n, why);
    if (rc)
        return rc;
    uint64_t image = image_now(n->image)->index;
    n->last = found.last_index;
    n->compacted = found.compacted_index;
    if (found.compacted_index > image)
        n->objection = "log and image do not meet";
    if (found.last_index < image) { /* as node_open.c: it was received just before a crash */
        rc = rlog_reset(n->log, image, 1);
        n->last = n->compacted = image;
    }
    if (rc == 0 && !n->objection)
        rc = apply_upto(n, image + 1, n->last);
    return rc;
}

static const char *database_differs(struct node *n)
{
    struct err_text why;
    struct db_state s;
    uint64_t content = 0;

    if (n->objection || n->last == 0)
        return n->objection;
    db_state(n->db, &s);
    if (s.applied_index != n->last || s.digest != entry[n->last].digest)
        return "another digest";
    if (db_content_hash(n->db, &content) || content != entry[n->last].content)
        return "another content";
    return db_integrity_check(n->db, &why) ? "SQLite finds damage" : NULL;
}

static int append(struct node *n, uint64_t count, struct belief *b)
{
    struct wire_entry e[ENTRIES];

    if (n->last + count > ENTRIES)
        count = ENTRIES - n->last;
    if (count == 0)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct payload *p = &entry[n->last + 1 + i].payload;
        e[i] = (struct wire_entry){
            .term = 1, .kind = RAFT_ENTRY_NORMAL, .payload = slice_of(p->bytes, p->len)};
    }
    b->maybe = n->last + count;
    int rc = rlog_append(n->log, n->last + 1, e, (uint32_t)count);
    if (rc)
        return rc;
    b->sure = b->maybe;
    n->last += count;
    return apply_upto(n, n->last - count + 1, n->last);
}

/* As node_cut.c. */
static int cut(struct node *n, uint64_t trailing)
{
    if (n->last == image_now(n->image)->index)
        return 0;
    int rc = image_bring(n);
    uint64_t upto = n->last > trailing ? n->last - trailing : 0;
    return rc || upto <= n->compacted ? rc : rlog_compact(n->log, n->compacted = upto, 1);
}

static int receive(struct node *n, const struct sent *from)
{
    struct image_receive *r = NULL;
    struct err_text why;
    bool complete = false;

    int rc = image_receive_begin(n->image, &r);
    for (uint32_t i = 0; rc == 0 && i < from->count; i++)
        rc = image_receive_chunk(r, slice_of(from->chunk[i].bytes, from->chunk[i].len), &complete,
                                 &why);
    receiving = true;
    if (rc == 0)
        rc = image_receive_settle(r);
    receiving = false;
    return rc ? rc : image_receive_install(r);
}

/* As node_install.c: the log stays where it agrees with the image and goes on behind it. */
static int install(struct node *n, const struct sent *from, struct belief *b)
{
    struct err_text why;

    if (from->index <= image_now(n->image)->index)
        return 0;
    if (from->index > n->last)
        b->maybe = from->index;
    int rc = receive(n, from);
    if (rc)
        return rc;
    b->sure = b->maybe;
    image_live_end(n->image);
    db_close(n->db);
    if (live_mode)
        rc = image_place_settle(n->image, &why);
    rc = rc ? rc : database_open(n, &why);
    if (rc == 0 && from->index > n->last) {
        rc = rlog_reset(n->log, from->index, 1);
        n->last = n->compacted = from->index;
    }
    return rc ? rc : apply_upto(n, from->index + 1, n->last);
}

static int op_run(struct node *n, const struct op *op, struct belief *b)
{
    switch (op->kind) {
    case OP_APPEND:
        return append(n, op->count, b);
    case OP_CUT:
        return cut(n, op->count);
    case OP_INSTALL:
        return install(n, &sent[op->count], b);
    case OP_END:
        break;
    }
    return ERR_INVALID;
}

static void node_end(struct node *n)
{
    image_live_end(n->image);
    db_close(n->db);
    rlog_close(n->log);
    image_close(n->image);
}

static void life(struct crash_life *l)
{
    struct belief *b = l->belief;
    struct err_text why = {""};

    node = (struct node){.env = l->env};
    receiving = replacing = false;
    int rc = node_begin(&node, &why);
    if (rc) {
        crash_violation(l, "cannot be opened: %s: %.200s", err_name_of(rc), why.text);
        return;
    }
    const char *differs = database_differs(&node);
    if (differs || (node.last != b->sure && node.last != b->maybe)) {
        crash_violation(l, "starts with entry %llu, wanted %llu or %llu%s%s",
                        (unsigned long long)node.last, (unsigned long long)b->sure,
                        (unsigned long long)b->maybe, differs ? ": " : "", differs ? differs : "");
        return;
    }
    b->sure = b->maybe = node.last; /* told once, true for ever */
    for (const struct op *op = l->ops; op && op->kind != OP_END; op++) {
        rc = op_run(&node, op, b);
        differs = rc ? err_name_of(rc) : database_differs(&node);
        if (differs) {
            crash_violation(l, "operation failed: %s", differs);
            return;
        }
    }
    node_end(&node);
}

/* ---- the search ------------------------------------------------------------------------------------------------- */

static const struct crash_second scripts[] = {
    {"apply and cut", OPS({OP_APPEND, 1}, {OP_APPEND, 2}, {OP_CUT, 1}, {OP_APPEND, 1})},
    {"a load, cut among its pieces", OPS({OP_APPEND, 4}, {OP_APPEND, 2}, {OP_CUT, 100},
                                         {OP_APPEND, 1}, {OP_APPEND, 1}, {OP_CUT, 1})},
    {"a boot: a load, and a cut that lets all go",
     OPS({OP_APPEND, 8}, {OP_CUT, 1}, {OP_APPEND, 2})},
    {"an image that lies ahead", OPS({OP_APPEND, 2}, {OP_CUT, 1}, {OP_APPEND, 1}, {OP_INSTALL, 0},
                                     {OP_APPEND, 1}, {OP_CUT, 1}, {OP_INSTALL, 1}, {OP_APPEND, 1})},
    {"an image within the log", OPS({OP_APPEND, 10}, {OP_INSTALL, 0}, {OP_APPEND, 1})},
    {"two loads", OPS({OP_APPEND, 10}, {OP_CUT, 1}, {OP_APPEND, 3}, {OP_CUT, 1}, {OP_APPEND, 1})},
};
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]) };
static const struct crash_second second = {"more",
                                           OPS({OP_APPEND, 2}, {OP_CUT, 1}, {OP_APPEND, 1})};

#define SITE_TABLE(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(LOG, "segments of the log")                                                                  \
    X(LOG_NAMES, "names of segments")                                                              \
    X(JOURNAL, "the image's journal")                                                              \
    X(MAIN, "pages of the database")                                                               \
    X(KEYS, "pages of the keys")                                                                   \
    X(RECORD, "the first record")                                                                  \
    X(RECEIVED_NAMES, "names of a received image's files")                                         \
    X(LOAD, "pages of a load")                                                                     \
    X(REPLACED_NAMES, "names of the files where a load becomes the database")
enum site {
#define SITE_ENUM(name, text) SITE_##name,
    SITE_TABLE(SITE_ENUM)
#undef SITE_ENUM
        SITE_COUNT
};
static const char *const site_text[] = {
#define SITE_TEXT(name, text) text,
    SITE_TABLE(SITE_TEXT)
#undef SITE_TEXT
};

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static int site_of_file(struct env_file *f, const char *name)
{
    (void)f;
    if (ends_in(name, ".seg"))
        return SITE_LOG;
    if (strcmp(name, "cut") == 0)
        return SITE_JOURNAL;
    if (ends_in(name, ".main") || ends_in(name, "db.sqlite"))
        return SITE_MAIN;
    if (ends_in(name, ".keys"))
        return SITE_KEYS;
    if (ends_in(name, ".load"))
        return SITE_LOAD;
    return strcmp(name, "record.a") == 0 ? SITE_RECORD : SITE_NONE;
}

static int site_of_dir(const char *path)
{
    return ends_in(path, "/raft") ? SITE_LOG_NAMES
           : receiving            ? SITE_RECEIVED_NAMES
           : replacing            ? SITE_REPLACED_NAMES
                                  : SITE_NONE;
}

static struct crash_syncs syncs = {.site_of_file = site_of_file, .site_of_dir = site_of_dir};
static const struct crash_search search_begin = {
    .live = life, .belief_bytes = sizeof(struct belief), .syncs = &syncs};

static void script_search(struct crash_search *s, size_t i, uint64_t first)
{
    struct crash_plan plan = {.name = scripts[i].name,
                              .ops = scripts[i].ops,
                              .first = first,
                              .cut = {27, live_mode ? 256 : 4096},
                              .cut_rest = {live_mode ? 3 : 9, live_mode ? 16 : 64},
                              .cut_every = 12,
                              .seconds = {second},
                              .second_every = live_mode ? 60 : 25,
                              .second_cut = {3, 8}};
    crash_script_search(s, &plan);
}

/* On disk the WAL is never synced, so that at most points more is pending than can be tried out. */
static void search_all(bool live, uint64_t points, uint64_t cuts, uint64_t exhaustive)
{
    struct crash_search s = search_begin;

    live_mode = live;
    uint64_t created = crash_creation_ops(&s);
    for (size_t i = 0; i < SCRIPT_COUNT && !s.found; i++)
        script_search(&s, i, i ? created : 1);
    crash_search_judge(&s, points, cuts, exhaustive);
}

static void test_in_memory_every_crash_leaves_what_was_acknowledged(void **state)
{
    (void)state;
    search_all(false, 1200, 10000, 500);
}

static void test_on_disk_every_crash_leaves_what_was_acknowledged(void **state)
{
    (void)state;
    search_all(true, 2000, 6000, 15);
}

static bool site_exempt(int site)
{
    (void)site;
    return false;
}

static void search_without(struct crash_search *s, int site)
{
    (void)site;
    uint64_t created = crash_creation_ops(s);
    for (size_t i = 0; i < SCRIPT_COUNT && !s->found; i++)
        script_search(s, i, created);
}

static void test_every_sync_is_needed(void **state)
{
    (void)state;
    for (int live = 0; live < 2; live++) {
        struct crash_search s = search_begin;
        live_mode = live != 0;
        crash_syncs_judge(&s, site_text, SITE_COUNT, site_exempt, search_without);
    }
}

static int set_up(void **state)
{
    (void)state;
    model_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= ENTRIES; i++)
        free(entry[i].payload.bytes);
    for (unsigned k = 0; k < SENT_COUNT; k++)
        for (uint32_t i = 0; i < sent[k].count; i++)
            free(sent[k].chunk[i].bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory_every_crash_leaves_what_was_acknowledged),
        cmocka_unit_test(test_on_disk_every_crash_leaves_what_was_acknowledged),
        cmocka_unit_test(test_every_sync_is_needed),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
