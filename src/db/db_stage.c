/* db_stage.c — a database file that comes in pieces, one entry each, until an entry installs it (db_load.c).
 * The pieces are in the keys' file, so that they survive a snapshot and reach those who are sent one, and are
 * committed and rolled back with the batch.
 *
 *   piece(n, bytes)                                 n from 0; all but the last of piece_bytes
 *   load(id, bytes, piece_bytes, touched, digest, ended)    at most one
 *
 * What is kept, and until when, follows from the log alone: pieces come in order, without gaps; the first piece
 * of another load takes the place of what there was; and what nobody adds to for LIMIT_LOAD_IDLE_ENTRIES
 * entries is dropped. */
#include "db_int.h"
#include <rq/util/crc.h>

int db_stage_open(struct db_keys *k)
{
    sqlite3_stmt *s = k->sql[DB_LOAD_GET];

    db_now_statement();
    if (sqlite3_step(s) == SQLITE_ROW)
        k->stage = (struct db_stage){
            .id = (uint64_t)sqlite3_column_int64(s, 0),
            .bytes = (uint64_t)sqlite3_column_int64(s, 1),
            .piece_bytes = (uint64_t)sqlite3_column_int64(s, 2),
            .touched = (uint64_t)sqlite3_column_int64(s, 3),
            .digest = (uint32_t)sqlite3_column_int64(s, 4),
            .ended = sqlite3_column_int(s, 5) != 0,
        };
    int rc = sqlite3_reset(s);
    return rc == SQLITE_OK && db_now()->machine_rc == 0 ? 0 : db_keys_failed(rc);
}

int db_stage_drop(struct db_keys *k)
{
    if (k->stage.id == 0)
        return 0;
    db_now_statement();
    int rc = db_keys_begin(k);
    if (rc == 0)
        rc = db_keys_run(k, DB_PIECES_DROP);
    if (rc == 0)
        rc = db_keys_run(k, DB_LOAD_DROP);
    k->stage = (struct db_stage){0};
    k->shrank = true;
    return rc;
}

int db_stage_age(struct db_keys *k, uint64_t index)
{
    if (k->stage.id == 0 || index - k->stage.touched <= LIMIT_LOAD_IDLE_ENTRIES)
        return 0;
    return db_stage_drop(k);
}

/* ---- a piece ----------------------------------------------------------------------------------------- */

static const char *piece_refused(const struct db_stage *s, const struct wire_load *piece)
{
    if (s->id != piece->id)
        return "the load was given up: another one began, or its pieces were too far apart";
    if (piece->at != s->bytes || s->ended)
        return "a piece of the load is missing";
    if (piece->bytes.len > s->piece_bytes)
        return "the pieces of the load are not of one size";
    if (piece->bytes.len > LIMIT_LOAD_BYTES - s->bytes)
        return "the load is larger than the limit";
    return NULL;
}

static int piece_write(struct db_keys *k, const struct wire_load *piece)
{
    sqlite3_stmt *put = k->sql[DB_PIECE_PUT];

    (void)sqlite3_bind_int64(put, 1, (sqlite3_int64)(k->stage.bytes / k->stage.piece_bytes));
    (void)sqlite3_bind_blob(put, 2, piece->bytes.data, (int)piece->bytes.len, SQLITE_STATIC);
    int rc = db_keys_run(k, DB_PIECE_PUT);
    (void)sqlite3_clear_bindings(put);
    return rc;
}

static int stage_write(struct db_keys *k)
{
    const struct db_stage *s = &k->stage;
    const uint64_t values[] = {s->id, s->bytes, s->piece_bytes, s->touched, s->digest, s->ended};

    for (int i = 0; i < (int)(sizeof(values) / sizeof(values[0])); i++)
        (void)sqlite3_bind_int64(k->sql[DB_LOAD_PUT], i + 1, (sqlite3_int64)values[i]);
    return db_keys_run(k, DB_LOAD_PUT);
}

int db_stage_put(struct db_keys *k, const struct wire_load *piece, uint64_t index,
                 const char **refused)
{
    struct db_stage *s = &k->stage;
    int rc = 0;

    *refused = piece->at ? piece_refused(s, piece) : NULL;
    if (*refused)
        return 0;
    db_now_statement();
    rc = db_keys_begin(k); /* notes the stage as it was */
    if (rc == 0 && piece->at == 0)
        rc = db_stage_drop(k);
    if (piece->at == 0)
        *s = (struct db_stage){.id = piece->id, .piece_bytes = piece->bytes.len};
    if (rc == 0)
        rc = piece_write(k, piece);
    s->ended = piece->bytes.len < s->piece_bytes;
    s->digest = crc32c(s->digest, piece->bytes.data, piece->bytes.len);
    s->bytes += piece->bytes.len;
    s->touched = index;
    return rc ? rc : stage_write(k);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* The statement stands on the piece read last: mostly the next bytes are of it, too. */
static int piece_seek(struct db_keys *k, uint64_t n)
{
    sqlite3_stmt *s = k->sql[DB_PIECE_GET];

    if (k->piece_at == n + 1)
        return 0;
    (void)sqlite3_reset(s);
    k->piece_at = 0;
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)n);
    int rc = sqlite3_step(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? ERR_CORRUPT : db_keys_failed(rc);
    k->piece_at = n + 1;
    return 0;
}

int db_stage_read(void *ctx, void *dst, size_t len, uint64_t offset)
{
    struct db_keys *k = ctx;
    uint8_t *to = dst;

    ASSERT(offset + len <= k->stage.bytes);
    while (len > 0) {
        uint64_t n = offset / k->stage.piece_bytes, from = offset % k->stage.piece_bytes;
        int rc = piece_seek(k, n);
        if (rc)
            return rc;
        const uint8_t *bytes = sqlite3_column_blob(k->sql[DB_PIECE_GET], 0);
        uint64_t there = (uint64_t)sqlite3_column_bytes(k->sql[DB_PIECE_GET], 0);
        if (!bytes || there <= from)
            return db_now()->machine_rc ? db_now()->machine_rc : ERR_CORRUPT;
        size_t part = there - from < len ? (size_t)(there - from) : len;
        memcpy(to, bytes + from, part);
        to += part;
        offset += part;
        len -= part;
    }
    return 0;
}

void db_stage_read_end(struct db_keys *k)
{
    (void)sqlite3_reset(k->sql[DB_PIECE_GET]);
    k->piece_at = 0;
}
