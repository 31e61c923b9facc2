/* raft_conf.c — membership, one server at a time (thesis §4.1). The newest configuration in the log is
 * in force from the moment it is appended; a cut of the log puts the one before it back. */
#include "raft_int.h"

const struct raft_conf *conf_active(const struct raft *r)
{
    const struct confs *c = &r->confs;
    return c->pending_count ? &c->pending[c->pending_count - 1].conf : &c->base.conf;
}

uint64_t conf_active_index(const struct raft *r)
{
    const struct confs *c = &r->confs;
    return c->pending_count ? c->pending[c->pending_count - 1].index : c->base.index;
}

const struct raft_member *conf_find(const struct raft_conf *c, raft_id id)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

bool conf_has_voter(const struct raft_conf *c, raft_id id)
{
    const struct raft_member *m = conf_find(c, id);
    return m && m->voter;
}

uint32_t conf_voter_count(const struct raft_conf *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++)
        n += c->members[i].voter;
    return n;
}

bool conf_is_sane(const struct raft_conf *c)
{
    raft_id before = 0;

    if (c->count > RAFT_NODES_MAX)
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->members[i].id <= before)
            return false;
        before = c->members[i].id;
    }
    return true;
}

/* Members of `of` that `in` lacks, or (if kinds) has with the other kind. */
static uint32_t count_missing(const struct raft_conf *of, const struct raft_conf *in, bool kinds)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < of->count; i++) {
        const struct raft_member *m = conf_find(in, of->members[i].id);
        n += !m || (kinds && m->voter != of->members[i].voter);
    }
    return n;
}

bool conf_is_one_change(const struct raft_conf *from, const struct raft_conf *to)
{
    ASSERT(conf_is_sane(from) && conf_is_sane(to));
    return count_missing(from, to, true) + count_missing(to, from, false) == 1;
}

void conf_push(struct raft *r, uint64_t index, const struct raft_conf *c)
{
    struct confs *t = &r->confs;

    ASSERT(conf_is_sane(c));
    ASSERT(index > conf_active_index(r) && t->pending_count < t->pending_cap);
    t->pending[t->pending_count].index = index;
    t->pending[t->pending_count].conf = *c;
    t->pending_count++;
    r->orders.conf_changed = true;
}

void conf_cut(struct raft *r, uint64_t from)
{
    struct confs *t = &r->confs;

    ASSERT(from > r->commit_index);
    while (t->pending_count && t->pending[t->pending_count - 1].index >= from) {
        t->pending_count--;
        r->orders.conf_changed = true;
    }
}

void conf_commit(struct raft *r)
{
    struct confs *t = &r->confs;
    uint32_t done = 0;

    while (done < t->pending_count && t->pending[done].index <= r->commit_index)
        done++;
    if (done == 0)
        return;
    t->base = t->pending[done - 1];
    for (uint32_t i = done; i < t->pending_count; i++)
        t->pending[i - done] = t->pending[i];
    t->pending_count -= done;
}

void conf_reset(struct raft *r, uint64_t index, const struct raft_conf *c)
{
    ASSERT(conf_is_sane(c));
    r->confs.pending_count = 0;
    r->confs.base.index = index;
    r->confs.base.conf = *c;
    r->orders.conf_changed = true;
}
