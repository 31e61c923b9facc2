/* db_replicas.h — one log, applied by a reference (one entry at a time, nothing cached) and by nodes that
 * differ in everything that must not matter; at every index where a node stops, answers, sticky values,
 * digest and content must be the reference's. */
#ifndef DB_REPLICAS_H
#define DB_REPLICAS_H

#include "db_fixture.h"

enum { LOG_MAX = 1000 };

static UNUSED uint64_t round_seed; /* named when something differs */

struct replica_log {
    uint32_t count;
    struct payload at[LOG_MAX];
    char kind[LOG_MAX];
    /* what the reference made of them */
    char *answer[LOG_MAX];
    struct db_state state[LOG_MAX];
    uint64_t content[LOG_MAX];
};

static UNUSED void log_add_keyed(struct replica_log *l, char kind, const char *key,
                                 const char *const *sql, size_t count)
{
    struct payload p = payload_make_keyed(kind, slice_str(key), sql, count);

    assert_true(l->count < LOG_MAX);
    wire_cmd_seal(p.bytes, p.len, 1600000000987654321 + (int64_t)l->count * 61000000007,
                  prng_mix(l->count, 99));
    l->kind[l->count] = kind;
    l->at[l->count++] = p;
}

static UNUSED void log_add(struct replica_log *l, char kind, const char *const *sql, size_t count)
{
    log_add_keyed(l, kind, "", sql, count);
}

static UNUSED void log_add_load(struct replica_log *l, enum wire_cmd_kind kind,
                                const struct wire_load *load)
{
    struct payload p = load_make(kind, load);

    assert_true(l->count < LOG_MAX);
    wire_cmd_seal(p.bytes, p.len, 1600000000987654321 + (int64_t)l->count * 61000000007,
                  prng_mix(l->count, 99));
    l->kind[l->count] = 'L';
    l->at[l->count++] = p;
}

static UNUSED void log_fini(struct replica_log *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        free(l->at[i].bytes);
        free(l->answer[i]);
    }
    l->count = 0;
}

static struct db_entry entry_at(const struct replica_log *l, uint32_t i, struct record *r)
{
    return (struct db_entry){.index = i + 1,
                             .term = 1 + i / 100,
                             .kind = RAFT_ENTRY_NORMAL,
                             .payload = slice_of(l->at[i].bytes, l->at[i].len),
                             .sink = r ? &r->sink : NULL};
}

/* ---- cuts: what they gave, as an image would keep it ---- */

struct shelf {
    struct env *env;
    struct db_reader **reader; /* to be closed before a replacement; NULL: none */
    struct db_cut **cut;       /* … ended */
    struct db_moment moment;   /* index 0: nothing yet */
    uint8_t state[256];
    uint8_t *page[DB_SET_COUNT][4096];
    uint32_t given; /* by the last cut */
};

static int shelf_put(void *ctx, unsigned set, uint32_t number, const void *bytes)
{
    struct shelf *s = ctx;
    assert_true(number >= 1 && number < 4096);
    if (!s->page[set][number])
        s->page[set][number] = malloc(65536);
    memcpy(s->page[set][number], bytes,
           65536 < s->moment.page_bytes[set] ? 65536 : s->moment.page_bytes[set]);
    s->given++;
    return 0;
}

static int shelf_get(void *ctx, unsigned set, uint32_t number, void *dst)
{
    struct shelf *s = ctx;
    assert_non_null(s->page[set][number]);
    memcpy(dst, s->page[set][number], s->moment.page_bytes[set]);
    return 0;
}

static UNUSED void shelf_fini(struct shelf *s)
{
    for (unsigned i = 0; i < DB_SET_COUNT; i++)
        for (uint32_t n = 0; n < 4096; n++)
            free(s->page[i][n]);
    memset(s, 0, sizeof(*s));
}

/* Take the pages of a cut that was begun a while ago. What fails gives the shelf up. */
static UNUSED int shelf_cut_try(struct shelf *s, struct db_cut *c)
{
    const struct db_moment *m = db_cut_moment(c);
    uint32_t known[DB_SET_COUNT] = {s->moment.page_count[0], s->moment.page_count[1],
                                    s->moment.page_count[2]};

    s->moment = *m;
    assert_true(m->state.len <= sizeof(s->state));
    memcpy(s->state, m->state.data, m->state.len);
    s->moment.state.data = s->state;
    s->given = 0;
    int rc = db_cut_pages(c, known, shelf_put, s);
    db_cut_end(c, rc == 0);
    return rc;
}

static UNUSED void shelf_cut_take(struct shelf *s, struct db_cut *c)
{
    assert_int_equal(shelf_cut_try(s, c), 0);
}

/* ---- another main file ---- */

enum { SHELF_PAGE = 4096 };
#define SHELF_VACUUM_PATH "vacuumed"

static int shelf_load_page(void *ctx, uint32_t number, void *dst, struct err_text *why)
{
    (void)why;
    return shelf_get(ctx, DB_SET_LOAD, number, dst);
}

static void shelf_set_move(struct shelf *s, unsigned to, unsigned from)
{
    for (uint32_t n = 0; n < 4096; n++) {
        free(s->page[to][n]);
        s->page[to][n] = s->page[from][n];
        s->page[from][n] = NULL;
    }
    s->moment.page_count[to] = s->moment.page_count[from];
    s->moment.page_bytes[to] = s->moment.page_bytes[from];
    s->moment.page_count[from] = s->moment.page_bytes[from] = 0;
}

static int shelf_file_take(struct shelf *s)
{
    struct env_file *f;
    uint8_t page[SHELF_PAGE];
    uint64_t size;
    size_t got;
    int rc = env_file_open(s->env, SHELF_VACUUM_PATH, 0, &f);

    if (rc)
        return rc;
    assert_int_equal(env_file_size(f, &size), 0);
    assert_true(size > 0 && size % SHELF_PAGE == 0);
    s->moment.page_bytes[0] = SHELF_PAGE;
    s->moment.page_count[0] = (uint32_t)(size / SHELF_PAGE);
    for (uint32_t n = 1; rc == 0 && n <= s->moment.page_count[0]; n++) {
        rc = env_file_read(f, page, SHELF_PAGE, (uint64_t)(n - 1) * SHELF_PAGE, &got);
        (void)shelf_put(s, 0, n, page);
    }
    env_file_close(f);
    return rc ? rc : env_file_remove(s->env, SHELF_VACUUM_PATH);
}

static int shelf_replace(void *ctx, enum db_replacement by, const struct db_moment *m,
                         struct db_source *source, struct err_text *why)
{
    struct shelf *s = ctx;

    int rc = 0;

    (void)why;
    assert_int_equal(m->index, s->moment.index + 1);
    if (by == DB_BY_LOAD)
        shelf_set_move(s, DB_SET_MAIN, DB_SET_LOAD);
    else
        rc = shelf_file_take(s);
    if (rc)
        return rc;
    s->moment.index = m->index;
    s->moment.term = m->term;
    memcpy(s->state, m->state.data, m->state.len);
    s->moment.state = slice_of(s->state, m->state.len);
    *source = (struct db_source){.moment = s->moment, .page = shelf_get, .ctx = s};
    return 0;
}

/* The shelf is this database's image from now on; r lives as long. */
static UNUSED void shelf_serve(struct shelf *s, struct db_replacer *r, struct env *e)
{
    s->env = e;
    *r = (struct db_replacer){.ctx = s,
                              .vacuum_path = SHELF_VACUUM_PATH,
                              .load_page = shelf_load_page,
                              .replace = shelf_replace};
}

/* As whoever keeps the image: entries are applied, and where one needs it the image is brought up to it. */
static UNUSED int shelf_apply(struct shelf *s, struct db *d, struct db_entry *entries,
                              uint32_t count, struct err_text *why)
{
    int rc = db_apply(d, entries, count, why);

    while (rc == DB_PREPARE) {
        struct db_state state;
        struct db_cut *cut;
        db_state(d, &state);
        uint32_t at = (uint32_t)(state.applied_index + 1 - entries[0].index);
        assert_true(at < count && s);
        if (s->reader && *s->reader) {
            db_reader_close(*s->reader);
            *s->reader = NULL;
        }
        if (s->cut && *s->cut) {
            db_cut_end(*s->cut, false);
            *s->cut = NULL;
        }
        rc = db_cut_begin(d, &cut, why);
        if (rc == 0)
            rc = shelf_cut_try(s, cut);
        entries[at].prepared = DB_PREPARED;
        if (rc == 0)
            rc = db_apply(d, entries + at, count - at, why);
    }
    return rc;
}

static UNUSED void node_db_open_from(struct node_db *n, struct shelf *s)
{
    struct err_text why = {{0}};
    struct db_source source = {.moment = s->moment, .page = shelf_get, .ctx = s};

    if (s->moment.index == 0) {
        node_db_open(n);
        return;
    }
    int rc = db_open(n->env, &n->config, &source, &n->db, &why);
    if (rc)
        print_message("db_open: %s\n", why.text);
    assert_int_equal(rc, 0);
    n->next = s->moment.index + 1;
}

static UNUSED void reference_run(struct replica_log *l, const struct db_config *like)
{
    struct db_config c = *like;
    struct node_db n;
    struct err_text why;
    static struct shelf shelf;
    struct db_replacer replacer;

    c.batch_max = 1;
    c.statement_cache = 0;
    c.on_disk = false;
    c.replacer = &replacer;
    node_db_init(&n, 1, &c);
    shelf_serve(&shelf, &replacer, n.env);
    for (uint32_t i = 0; i < l->count; i++) {
        on_reset(&n.last.sink);
        struct db_entry e = entry_at(l, i, &n.last);
        if (shelf_apply(&shelf, n.db, &e, 1, &why))
            fail_msg("%s", why.text);
        l->answer[i] = strdup(n.last.text);
        db_state(n.db, &l->state[i]);
        int rc = db_content_hash(n.db, &l->content[i]);
        if (rc)
            print_message("content hash at %u: %d\n", i + 1, rc);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(db_integrity_check(n.db, &why), 0);
    shelf_fini(&shelf);
    node_db_fini(&n);
}

struct replica {
    const char *name, *path;
    bool on_disk, restart, readers, no_sinks, cuts;
    uint32_t batch_max, cache, pages;
    uint64_t wal_limit, seed;
};

static void replica_compare(const struct replica_log *l, const struct replica *v, struct node_db *n,
                            uint32_t at)
{
    struct db_state s;
    uint64_t content;

    db_state(n->db, &s);
    assert_int_equal(db_content_hash(n->db, &content), 0);
    bool same = s.digest == l->state[at].digest && content == l->content[at] &&
                s.sticky_last_insert_id == l->state[at].sticky_last_insert_id &&
                s.sticky_rows_affected == l->state[at].sticky_rows_affected;
    if (!same)
        print_message("seed %llu, %s differs at index %u (digest %d, content %d): %.*s\n",
                      (unsigned long long)round_seed, v->name, at + 1,
                      s.digest == l->state[at].digest, content == l->content[at], 200,
                      (const char *)l->at[at].bytes + WIRE_CMD_HEAD + 4);
    assert_true(same);
}

/* Entries from..to-1 in one call. */
static void replica_apply(const struct replica_log *l, const struct replica *v, struct node_db *n,
                          struct shelf *s, uint32_t from, uint32_t to)
{
    struct db_entry entries[64];
    struct record told[64];
    struct err_text why;

    for (uint32_t i = from; i < to; i++) {
        record_init(&told[i - from]);
        entries[i - from] = entry_at(l, i, v->no_sinks ? NULL : &told[i - from]);
    }
    assert_int_equal(shelf_apply(s, n->db, entries, to - from, &why), 0);
    for (uint32_t i = from; i < to; i++) {
        if (!v->no_sinks && strcmp(told[i - from].text, l->answer[i])) {
            print_message("seed %llu, %s, index %u: %.*s\n", (unsigned long long)round_seed,
                          v->name, i + 1, 200, (const char *)l->at[i].bytes + WIRE_CMD_HEAD + 4);
            assert_string_equal(told[i - from].text, l->answer[i]);
        }
        record_fini(&told[i - from]);
    }
    replica_compare(l, v, n, to - 1);
}

/* Now and then: begin a cut, give it up, take its pages (after more entries), start anew from the shelf. */
static UNUSED uint32_t replica_cut(struct node_db *n, struct prng *p, struct shelf *s,
                                   struct db_cut **cut, uint32_t at)
{
    struct err_text why;

    switch (prng_below(p, 5)) {
    case 0:
    case 1:
        if (!*cut)
            assert_int_equal(db_cut_begin(n->db, cut, &why), 0);
        return at;
    case 2:
        if (*cut && prng_below(p, 3) == 0)
            db_cut_end(*cut, false);
        else if (*cut)
            shelf_cut_take(s, *cut);
        *cut = NULL;
        return at;
    case 3:
        if (*cut || s->moment.index == 0)
            return at;
        db_close(n->db);
        node_db_open_from(n, s);
        return (uint32_t)s->moment.index;
    default:
        return at;
    }
}

static UNUSED void replica_run(const struct replica_log *l, const struct replica *v,
                               const struct db_config *like)
{
    struct db_config c = *like;
    struct node_db n;
    struct prng p;
    struct db_reader *reader = NULL;
    struct record out;
    struct err_text why;
    bool restarted = !v->restart;
    static struct shelf shelf;
    struct db_replacer replacer;
    struct db_cut *cut = NULL;

    c.path = v->path;
    c.replacer = &replacer;
    c.on_disk = v->on_disk;
    c.batch_max = v->batch_max;
    c.statement_cache = v->cache;
    c.cache_pages = v->pages;
    c.wal_limit_bytes = v->wal_limit;
    record_init(&out);
    node_db_init(&n, v->seed, &c);
    shelf_serve(&shelf, &replacer, n.env);
    shelf.reader = &reader;
    shelf.cut = &cut;
    prng_init(&p, v->seed);
    for (uint32_t at = 0; at < l->count;) {
        uint32_t step = 1 + (uint32_t)prng_below(&p, v->batch_max > 7 ? 60 : 10);
        uint32_t to = at + step < l->count ? at + step : l->count;
        replica_apply(l, v, &n, &shelf, at, to);
        at = v->cuts ? replica_cut(&n, &p, &shelf, &cut, to) : to;
        if (v->readers && !reader)
            assert_int_equal(db_reader_open(n.db, &reader, &why), 0);
        if (reader)
            query(reader, &out, 'q', "BEGIN; SELECT count(*), random() FROM sqlite_schema");
        if (!restarted && at > l->count / 2) {
            db_close(n.db);
            shelf_fini(&shelf);
            shelf_serve(&shelf, &replacer, n.env);
            shelf.reader = &reader;
            shelf.cut = &cut;
            node_db_open(&n);
            restarted = true;
            at = 0;
        }
    }
    if (cut)
        db_cut_end(cut, false);
    shelf_fini(&shelf);
    assert_int_equal(db_integrity_check(n.db, &why), 0);
    if (reader)
        db_reader_close(reader);
    record_fini(&out);
    node_db_fini(&n);
}

static UNUSED const struct replica replicas[] = {
    {"memory, batches of 7, cache of 3", "n1/db.sqlite", false, false, false, false, false, 7, 3,
     10, 1 << 14, 2},
    {"disk, batches of 1000, cache of 1000", "data/of/n2", true, false, true, false, false, 1000,
     1000, 2000, 1 << 16, 3},
    {"disk, batches of 2, no cache, restarted", "n3.db", true, true, false, false, false, 2, 0, 10,
     1 << 15, 4},
    {"memory, batches of 1000, nobody waits", "x", false, false, true, true, false, 1000, 3, 100,
     1 << 20, 5},
    {"memory, batches of 1, cache of 1000", "yy", false, true, false, false, false, 1, 1000, 10,
     1 << 13, 6},
    {"memory, cut and started anew, batches of 7", "z1", false, false, false, false, true, 7, 100,
     100, 1 << 14, 7},
    {"disk, cut and started anew, batches of 1000", "z2", true, false, false, false, true, 1000, 3,
     10, 1 << 13, 8},
};

#endif
