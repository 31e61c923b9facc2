/* db_once.c — an entry with an idempotency key. Decided where it is applied, by what was applied before it,
 * and by nothing else, so that a retry meets the first outcome whichever node proposed it.
 *
 *   key unknown            run, and remember the outcome          (db_once_end)
 *   known, same request    nothing runs; the first outcome again
 *   known, another one     nothing runs; a request error
 *
 * The digest folds what became of it. */
#include "db_int.h"

/* Of what is asked for; not of when and by whom it was proposed. */
static uint64_t print_of(const struct wire_cmd *c)
{
    return prng_hash(prng_mix(c->kind, c->flags), c->body.data, c->body.len);
}

static void fold_once(struct db *d, uint64_t index, struct slice outcome)
{
    db_fold(&d->digest, index);
    db_fold(&d->digest, prng_hash(0, outcome.data, outcome.len));
}

static int answer(struct db *d, const struct db_once *o)
{
    struct db_sink *client = o->e->sink;
    bool same = o->found.print == o->print;

    ASSERT(o->found.known);
    ASSERT(o->found.index > 0 && o->found.index < o->e->index);
    fold_once(d, same ? o->found.index : 0, buf_slice(&d->record.bytes));
    if (!client)
        return 0;
    if (same)
        return db_record_replay(buf_slice(&d->record.bytes), o->found.index, client,
                                (o->e->sink_flags & DB_QUALIFY_COLUMNS) != 0);
    if (client->ops->note)
        client->ops->note(client, DB_NOTE_KEY_REUSED, o->found.index);
    client->ops->request_error(client,
                               slice_str("idempotency key was used for a different request"));
    return 0;
}

int db_once_begin(struct db *d, struct db_once *o, struct db_sink **sink, bool *answered)
{
    ASSERT(o->cmd->idempotency_key.len > 0);
    o->print = print_of(o->cmd);
    int rc = db_keys_find(&d->keys, o->cmd->idempotency_key, o->cmd->wall_ns, &o->found,
                          &d->record.bytes);
    *answered = rc == 0 && o->found.known;
    if (*answered)
        return answer(d, o);
    *sink = db_record_begin(&d->record, o->e->sink, (o->e->sink_flags & DB_QUALIFY_COLUMNS) != 0);
    return rc;
}

int db_once_end(struct db *d, const struct db_once *o)
{
    const struct db_key seen = {
        .index = o->e->index, .print = o->print, .wall_ns = o->cmd->wall_ns};
    struct slice outcome;

    ASSERT(!o->found.known);
    int rc = db_record_end(&d->record, &outcome);
    if (rc)
        return rc;
    fold_once(d, o->e->index, outcome);
    rc = db_keys_put(&d->keys, o->cmd->idempotency_key, &o->found, &seen, outcome);
    db_fold(&d->digest, prng_mix(d->keys.now.count, d->keys.now.bytes));
    return rc;
}
