/* db_backup.c — the database for a client, at one moment and in parts.
 *
 *   db_backup_begin (APPLY, between batches): a pin, which is that moment
 *   db_backup_step  (READ): pages, or SQL text, under it
 *   db_backup_end   (READ)
 *
 * A vacuumed copy is made in the first step instead, from a moment of its own; what follows holds no pin. */
#include "db_int.h"

struct db_backup {
    enum db_backup_format format;
    struct db *db;
    uint64_t index;
    struct db_pin pin; /* not held for VACUUM */
    struct db_backup_pages pages;
    struct db_dump *dump;
    struct db_vacuum *vacuum;
    uint64_t steps;
};

static int backup_set(struct db_backup *b, const struct db_backup_config *c, struct err_text *why)
{
    struct db *d = b->db;
    bool made = true;

    if (c->format == DB_BACKUP_VACUUM) {
        b->vacuum = db_vacuum_new(d, c->path, c->canceled);
        return b->vacuum ? 0 : err_set(why, ERR_NOMEM, "no memory for a backup");
    }
    int rc = db_pin_hold(&b->pin, &d->files, &d->config, why);
    if (rc)
        return rc;
    db_backup_pages_init(&b->pages, &b->pin, c->format == DB_BACKUP_DELETE);
    if (c->format == DB_BACKUP_SQL) {
        b->dump = db_dump_new(b->pin.conn, c->tables, c->table_count);
        made = b->dump != NULL;
    }
    return made ? 0 : err_set(why, ERR_NOMEM, "no memory for a backup");
}

int db_backup_begin(struct db *d, const struct db_backup_config *c, struct db_backup **out,
                    struct err_text *why)
{
    struct db_backup *b = mem_zalloc(sizeof(*b));

    if (!b)
        return err_set(why, ERR_NOMEM, "no memory for a backup");
    b->db = d;
    b->format = c->format;
    b->index = d->applied_index;
    db_now_query(env_wall_ns(d->env), 1);
    int rc = backup_set(b, c, why);
    db_now_idle();
    if (rc) {
        db_backup_end(b);
        return rc;
    }
    *out = b;
    return 0;
}

uint64_t db_backup_index(const struct db_backup *b)
{
    return b->index;
}

int db_backup_step(struct db_backup *b, struct buf *out, size_t bytes, struct err_text *why)
{
    int rc = ERR_INVALID;

    db_now_query(env_wall_ns(b->db->env), ++b->steps);
    switch (b->format) {
    case DB_BACKUP_SQL:
        rc = db_dump_step(b->dump, out, bytes, why);
        break;
    case DB_BACKUP_VACUUM:
        rc = db_vacuum_step(b->vacuum, out, bytes, why);
        break;
    case DB_BACKUP_WAL:
    case DB_BACKUP_DELETE:
        rc = db_backup_pages_step(&b->pages, out, bytes);
        if (rc && rc != DB_MORE)
            (void)err_set(why, rc, "%s", err_text_of(rc));
        break;
    }
    db_now_idle();
    return rc;
}

void db_backup_end(struct db_backup *b)
{
    db_vacuum_free(b->vacuum);
    db_dump_free(b->dump);
    db_backup_pages_fini(&b->pages);
    if (b->pin.files)
        db_pin_release(&b->pin, true);
    mem_free(b);
}
