/* db_replace.c — another file becomes the main one, at the end of the entry that asked for it: connections close, the
 * image switches (struct db_replacer), and they open again from it, as after a start. The digest and all else that
 * the entry changed are in the state that goes with it; a crash before the switch applies the entry again, one after
 * it does not. Called by db_apply.c. */
#include "db_int.h"

int db_replace(struct db *d, const struct db_entry *e, struct err_text *why)
{
    const struct db_replacer *r = d->config.replacer;
    uint8_t state[DB_STATE_BYTES] = {0};
    struct db_source source = {.ctx = NULL};
    struct db_moment m = {
        .index = e->index, .term = e->term, .state = slice_of(state, sizeof(state))};

    ASSERT(d->next.set && e->prepared == DB_PREPARED && r);
    ASSERT(!d->stage.cutting && !d->keys.in_transaction);
    enum db_replacement by = d->next.by;
    d->next.set = false;
    db_now_query(0, 0);
    int rc = db_state_put(d, state);
    if (rc)
        return rc;
    db_disconnect(d);
    ASSERT(d->files.shared_count == 0); /* else there is a reader */
    rc = r->replace(r->ctx, by, &m, &source, why);
    if (rc)
        return rc;
    db_now_entry(0, 0, e->index);
    rc = db_connect(d, &source, why);
    ASSERT(rc || d->applied_index == e->index);
    return rc;
}
