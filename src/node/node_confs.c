/* node_confs.c — which configuration stands at which index, with names and addresses (raft keeps
 * only numbers). Few are alive at a time: the committed one and at most one change behind it; older
 * ones are dropped as new ones come. */
#include "node_int.h"

void node_confs_push(struct node_confs *c, uint64_t index, const struct wire_conf *conf)
{
    ASSERT(c->count == 0 || c->at[c->count - 1].index < index);
    if (c->count == NODE_CONFS_MAX) {
        memmove(&c->at[0], &c->at[1], sizeof(c->at[0]) * (NODE_CONFS_MAX - 1));
        c->count--;
    }
    c->at[c->count].index = index;
    c->at[c->count].conf = *conf;
    c->count++;
}

void node_confs_truncate(struct node_confs *c, uint64_t index)
{
    while (c->count && c->at[c->count - 1].index >= index)
        c->count--;
}

const struct wire_conf *node_confs_latest(const struct node_confs *c)
{
    return c->count ? &c->at[c->count - 1].conf : NULL;
}

const struct wire_member *node_conf_find(const struct wire_conf *c, raft_id id)
{
    for (uint32_t i = 0; c && i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

const struct wire_member *node_conf_find_name(const struct wire_conf *c, struct slice name)
{
    for (uint32_t i = 0; c && i < c->count; i++)
        if (slice_equal_str(name, c->members[i].name))
            return &c->members[i];
    return NULL;
}

void node_conf_insert(struct wire_conf *conf, const struct wire_member *m)
{
    ASSERT(conf->count < RAFT_NODES_MAX);
    uint32_t at = conf->count;
    while (at > 0 && conf->members[at - 1].id > m->id) {
        conf->members[at] = conf->members[at - 1];
        at--;
    }
    conf->members[at] = *m;
    conf->count++;
}
