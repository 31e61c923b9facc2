/* db_cut.c — the database as of one log index, given away and taken back.
 *
 *   db_cut_begin (APPLY, between batches): pins of both files, what else entries change
 *   db_cut_pages (any lane): pages changed since the last cut that was kept
 *   db_cut_end   (APPLY): pins released; not kept: those pages count as changed again
 *
 * What else entries change, in `state`: the counters that SQL can see, the digest, what the keys' file is
 * summed up to, and the PRAGMAs that live in the writer's connection (architecture §5):
 *
 *   0      4        12      20        28      36          44          52         60            64              72
 *   | 'RBD4' | digest | rowid | changes | total | key count | key bytes | key wall | PRAGMA bits | changed index |
 *            80              88             96              104            112
 *   | first wall | VACUUM: wall | index | ANALYZE: wall | index |
 *   112        120     128           136       144      148     152
 *   | load: id | bytes | piece bytes | touched | digest | ended |
 *
 * 'RBD4'. 'RBD3' ends at 112, 'RBD2' at 72: nothing is known of the rest. */
#include "db_int.h"
#include <rq/util/endian.h>

enum {
    STATE_BYTES = DB_STATE_BYTES,
    STATE_MAGIC = 0x34444252,
    STATE_BYTES_3 = 112,
    STATE_MAGIC_3 = 0x33444252,
    STATE_BYTES_2 = 72,
    STATE_MAGIC_2 = 0x32444252
};

static const char *const pragmas[] = {"foreign_keys", "recursive_triggers",
                                      "ignore_check_constraints", "case_sensitive_like"};
enum { PRAGMA_COUNT = sizeof(pragmas) / sizeof(pragmas[0]), PRAGMA_LIKE = PRAGMA_COUNT - 1 };
enum { AUTO_VACUUM_SHIFT = 8 }; /* two bits: what waits for a VACUUM, plus one; 0: nothing */

struct db_cut {
    struct db *db;
    struct db_pin pin[DB_SET_LOAD];
    uint32_t load_given;
    struct db_moment moment;
    uint8_t state[STATE_BYTES];
};

/* ---- PRAGMAs ----------------------------------------------------------------------------------------- */

/* One integer from our own SQL, on the writer, whose own counters do not move by it. */
static int ask(struct db *d, const char *sql, int *out)
{
    sqlite3_stmt *s = NULL;
    enum db_guard_mode mode = d->guard.mode;

    d->guard.mode = DB_GUARD_OFF;
    int rc = sqlite3_prepare_v2(d->writer, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        *out = sqlite3_column_int(s, 0);
    rc = sqlite3_finalize(s);
    d->guard.mode = mode;
    return rc == SQLITE_OK ? 0 : db_machine_code(rc);
}

static int pragmas_look(struct db *d, uint32_t *bits)
{
    *bits = 0;
    for (unsigned i = 0; i < PRAGMA_COUNT; i++) {
        char sql[64];
        int on = 0;
        (void)snprintf(sql, sizeof(sql), "PRAGMA %s", pragmas[i]);
        int rc = ask(d, i == PRAGMA_LIKE ? "SELECT NOT ('a' LIKE 'A')" : sql, &on);
        if (rc)
            return rc;
        *bits |= on ? 1U << i : 0;
    }
    *bits |= (uint32_t)d->guard.auto_vacuum << AUTO_VACUUM_SHIFT;
    return 0;
}

/* What a VACUUM will make of the file. Asked of temp, whose file nobody looks at: main may have been made
 * otherwise since. */
static int auto_vacuum_set(struct db *d, uint32_t bits)
{
    char sql[64];

    d->guard.auto_vacuum = (uint8_t)(bits >> AUTO_VACUUM_SHIFT & 3U);
    if (d->guard.auto_vacuum == 0)
        return 0;
    (void)snprintf(sql, sizeof(sql), "PRAGMA temp.auto_vacuum=%u", d->guard.auto_vacuum - 1U);
    return db_exec(d->writer, sql, NULL);
}

static int pragmas_set(struct db *d, uint32_t bits)
{
    enum db_guard_mode mode = d->guard.mode;
    int rc = 0;

    d->guard.mode = DB_GUARD_OFF;
    for (unsigned i = 0; rc == 0 && i < PRAGMA_COUNT; i++) {
        char sql[64];
        (void)snprintf(sql, sizeof(sql), "PRAGMA %s=%s", pragmas[i], bits >> i & 1U ? "ON" : "OFF");
        if (i != PRAGMA_LIKE || bits >> i & 1U)
            rc = db_exec(d->writer, sql, NULL);
    }
    if (rc == 0)
        rc = auto_vacuum_set(d, bits);
    d->guard.mode = mode;
    return rc;
}

/* ---- state ------------------------------------------------------------------------------------------------ */

static void stage_put(const struct db_stage_facts *s, uint8_t *out)
{
    put_u64(out + 112, s->id);
    put_u64(out + 120, s->bytes);
    put_u64(out + 128, s->piece_bytes);
    put_u64(out + 136, s->touched);
    put_u32(out + 144, s->digest);
    put_u32(out + 148, s->ended);
}

int db_state_put(struct db *d, uint8_t out[STATE_BYTES])
{
    struct db_sticky s;
    uint32_t bits;
    int rc = pragmas_look(d, &bits);

    db_sticky_save(d, &s);
    put_u32(out, STATE_MAGIC);
    put_u64(out + 4, s.digest);
    put_u64(out + 12, (uint64_t)s.rowid);
    put_u64(out + 20, (uint64_t)s.changes);
    put_u64(out + 28, (uint64_t)s.total);
    put_u64(out + 36, d->keys.now.count);
    put_u64(out + 44, d->keys.now.bytes);
    put_u64(out + 52, (uint64_t)d->keys.now.wall_ns);
    put_u32(out + 60, bits);
    put_u64(out + 64, s.changed_index);
    put_u64(out + 72, (uint64_t)d->upkeep.first_wall_ns);
    put_u64(out + 80, (uint64_t)d->upkeep.vacuum.wall_ns);
    put_u64(out + 88, d->upkeep.vacuum.index);
    put_u64(out + 96, (uint64_t)d->upkeep.optimize.wall_ns);
    put_u64(out + 104, d->upkeep.optimize.index);
    stage_put(&d->stage.now, out);
    return rc;
}

static bool state_is(struct slice s)
{
    return (s.len == STATE_BYTES && get_u32(s.data) == STATE_MAGIC) ||
           (s.len == STATE_BYTES_3 && get_u32(s.data) == STATE_MAGIC_3) ||
           (s.len == STATE_BYTES_2 && get_u32(s.data) == STATE_MAGIC_2);
}

static void upkeep_get(struct db *d, const uint8_t *in)
{
    d->upkeep.first_wall_ns = (int64_t)get_u64(in + 72);
    d->upkeep.vacuum.wall_ns = (int64_t)get_u64(in + 80);
    d->upkeep.vacuum.index = get_u64(in + 88);
    d->upkeep.optimize.wall_ns = (int64_t)get_u64(in + 96);
    d->upkeep.optimize.index = get_u64(in + 104);
}

static void stage_get(struct db_stage_facts *s, const uint8_t *in)
{
    *s = (struct db_stage_facts){
        .id = get_u64(in + 112),
        .bytes = get_u64(in + 120),
        .piece_bytes = get_u64(in + 128),
        .touched = get_u64(in + 136),
        .digest = get_u32(in + 144),
        .ended = get_u32(in + 148) != 0,
    };
}

static int state_get(struct db *d, struct slice state)
{
    const uint8_t *in = state.data;
    struct db_sticky s = {
        .digest = get_u64(in + 4),
        .rowid = (int64_t)get_u64(in + 12),
        .changes = (int64_t)get_u64(in + 20),
        .total = (int64_t)get_u64(in + 28),
        .changed_index = get_u64(in + 64),
    };

    d->keys.now.count = get_u64(in + 36);
    d->keys.now.bytes = get_u64(in + 44);
    d->keys.now.wall_ns = (int64_t)get_u64(in + 52);
    if (state.len >= STATE_BYTES_3)
        upkeep_get(d, in);
    d->stage.now = (struct db_stage_facts){.id = 0};
    if (state.len >= STATE_BYTES)
        stage_get(&d->stage.now, in);
    int rc = pragmas_set(d, get_u32(in + 60));
    return rc ? rc : db_sticky_restore(d, &s);
}

/* ---- giving away -------------------------------------------------------------------------------------------- */

int db_cut_begin(struct db *d, struct db_cut **out, struct err_text *why)
{
    struct db_files *files[DB_SET_LOAD] = {&d->files, &d->keys.files};
    struct db_cut *c = mem_zalloc(sizeof(*c));

    if (!c)
        return err_set(why, ERR_NOMEM, "no memory for a snapshot");
    ASSERT(sqlite3_get_autocommit(d->writer) && !d->keys.in_transaction);
    c->db = d;
    db_now_query(0, 0);
    int rc = db_state_put(d, c->state);
    if (rc == 0)
        rc = db_stage_cut_begin(d);
    for (unsigned i = 0; rc == 0 && i < DB_SET_LOAD; i++)
        rc = db_pin_take(&c->pin[i], files[i], &d->config, why);
    db_now_idle();
    if (rc) {
        db_cut_end(c, false);
        return rc;
    }
    c->moment = (struct db_moment){.index = d->applied_index,
                                   .term = d->applied_term,
                                   .state = slice_of(c->state, sizeof(c->state))};
    for (unsigned i = 0; i < DB_SET_LOAD; i++) {
        c->moment.page_bytes[i] = c->pin[i].page_bytes;
        c->moment.page_count[i] = c->pin[i].page_count;
    }
    c->moment.page_count[DB_SET_LOAD] = db_stage_pages(d);
    c->moment.page_bytes[DB_SET_LOAD] = db_stage_pages(d) ? DB_PAGE_BYTES : 0;
    *out = c;
    return 0;
}

const struct db_moment *db_cut_moment(const struct db_cut *c)
{
    return &c->moment;
}

struct giving {
    unsigned set;
    int (*page)(void *ctx, unsigned set, uint32_t number, const void *bytes);
    void *ctx;
};

static int give_page(void *ctx, uint32_t number, const void *bytes)
{
    struct giving *g = ctx;
    return g->page(g->ctx, g->set, number, bytes);
}

int db_cut_pages(struct db_cut *c, const uint32_t known_count[DB_SET_COUNT],
                 int (*page)(void *ctx, unsigned set, uint32_t number, const void *bytes),
                 void *ctx)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < DB_SET_LOAD; i++) {
        struct giving g = {i, page, ctx};
        rc = db_pin_pages(&c->pin[i], known_count[i], give_page, &g);
    }
    return rc ? rc : db_stage_cut_pages(c->db, &c->load_given, page, ctx);
}

int db_cut_clear(struct db_cut *c)
{
    ASSERT(c->db->config.live);
    db_now_query(0, 0);
    int rc = db_pin_clear(&c->pin[DB_SET_MAIN], &c->db->config);
    db_now_idle();
    return rc;
}

int db_cut_copy(struct db_cut *c)
{
    ASSERT(c->db->config.live);
    db_now_query(0, 0);
    int rc = db_pin_copy(&c->pin[DB_SET_MAIN], &c->db->config);
    db_now_idle();
    return rc;
}

uint64_t db_cut_fresh_bytes(const struct db_cut *c)
{
    const struct db_pin *p = &c->pin[DB_SET_MAIN];
    return p->frames ? (uint64_t)(p->frames - p->first + 1) * p->page_bytes : 0;
}

void db_cut_end(struct db_cut *c, bool kept)
{
    db_now_query(0, 0);
    db_stage_cut_end(c->db, kept);
    for (unsigned i = 0; i < DB_SET_LOAD; i++)
        db_pin_release(&c->pin[i], kept);
    db_now_idle();
    mem_free(c);
}

/* So much of the WAL's file is kept: a file that grows costs more than one that is written over. */
static uint64_t wal_keep_bytes(const struct db *d)
{
    uint64_t limit = d->config.wal_limit_bytes;
    return d->files.wal_end > limit ? d->files.wal_end : limit;
}

static bool wal_is_loose(const struct db *d)
{
    return d->config.live && d->files.stores[DB_SLOT_WAL].size / 2 > wal_keep_bytes(d);
}

bool db_wal_is_loose(struct db *d)
{
    sqlite3_mutex_enter(d->files.mutex);
    bool loose = wal_is_loose(d);
    sqlite3_mutex_leave(d->files.mutex);
    return loose;
}

/* Since its header was written anew nobody reads what is left of its former life. A file system takes a while to free
 * much at once. */
int db_wal_shrink(struct db *d)
{
    struct db_store *wal = &d->files.stores[DB_SLOT_WAL];
    int rc = 0;

    sqlite3_mutex_enter(d->files.mutex);
    if (wal_is_loose(d)) {
        uint64_t keep = wal_keep_bytes(d);
        rc = db_store_truncate(
            wal, wal->size - keep > DB_WAL_PIECE_BYTES ? wal->size - DB_WAL_PIECE_BYTES : keep);
        if (rc == 0 && wal_is_loose(d))
            rc = DB_MORE;
    }
    sqlite3_mutex_leave(d->files.mutex);
    return rc;
}

int db_wal_restart(struct db *d)
{
    enum { WAIT_MS = 20, BUSY_MS = 5000 };

    uint64_t limit = d->config.wal_limit_bytes, size = d->files.stores[DB_SLOT_WAL].size;
    int mode = size / 2 > limit ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_RESTART;

    ASSERT(d->config.live);
    if (!db_pages_all_copied(&d->files))
        return 0;
    db_now_entry(0, 0, d->applied_index);
    (void)sqlite3_busy_timeout(d->writer, WAIT_MS);
    int rc = sqlite3_wal_checkpoint_v2(d->writer, NULL, mode, NULL, NULL);
    (void)sqlite3_busy_timeout(d->writer, BUSY_MS);
    if (rc == SQLITE_OK)
        d->wal_frames = 0;
    rc = db_now()->machine_rc;
    db_now_idle();
    return rc;
}

/* ---- taking back --------------------------------------------------------------------------------------------- */

struct taking {
    const struct db_source *source;
    unsigned set;
};

static int take_page(void *ctx, uint32_t number, void *dst)
{
    struct taking *t = ctx;
    return t->source->page(t->source->ctx, t->set, number, dst);
}

int db_source_fill(struct db *d, const struct db_source *source)
{
    struct db_files *files[DB_SET_LOAD] = {&d->files, &d->keys.files};
    const struct db_moment *m = &source->moment;
    int rc = state_is(m->state) ? 0 : ERR_CORRUPT;

    for (unsigned i = 0; rc == 0 && i < DB_SET_LOAD; i++) {
        struct taking t = {source, i};
        if (m->page_count[i] == 0)
            continue;
        rc = i == DB_SET_MAIN && source->main_sums
                 ? db_live_adopt(files[i], m->page_bytes[i], m->page_count[i], source->main_sums)
                 : db_pages_fill(files[i], m->page_bytes[i], m->page_count[i], take_page, &t);
        files[i]->dirty.all = false;
    }
    return rc;
}

int db_source_settle(struct db *d, const struct db_source *source)
{
    d->applied_index = source->moment.index;
    d->applied_term = source->moment.term;
    return state_get(d, source->moment.state);
}
