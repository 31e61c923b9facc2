/* node_send.c — raft's messages on their way out: appends in order per member (some must first be
 * read back from disk), everything else at once; and messages held until an order is stored. */
#include "node_int.h"

struct node_conn *node_conn_find(struct node *n, peer_conn c)
{
    for (uint32_t i = 0; i < n->conn_count; i++)
        if (n->conns[i].conn == c)
            return &n->conns[i];
    return NULL;
}

/* Who belongs to a cluster knows a configuration of it. Else we were about to be added, and that may never become
 * true: then we are a stranger, who may ask again. */
void node_self_tell(struct node *n)
{
    struct peer_self self = {
        .cluster_id = n->confs.count ? n->cluster_id : 0,
        .store_id = n->store_id,
        .id = n->id,
        .name = n->name,
        .raft_addr = n->raft_addr,
        .api_url = n->api_url,
        .version = n->version,
        .sqlite = db_library_identity(),
    };
    peer_self_set(n->peers, &self);
}

static struct node_link *link_find(struct node *n, raft_id id)
{
    for (uint32_t i = 0; i < n->link_count; i++)
        if (n->links[i].id == id)
            return &n->links[i];
    return NULL;
}

/* The connection we dialled; else one it dialled (a newcomer knows nobody's address before its first
 * entries, and must answer all the same). */
peer_conn node_conn_to(struct node *n, raft_id to)
{
    peer_conn c = peer_conn_of(n->peers, to);

    for (uint32_t i = 0; i < n->conn_count && c == 0; i++)
        if (n->conns[i].id == to)
            c = n->conns[i].conn;
    return c;
}

/* Encode straight into the connection's buffer. No connection, or full: dropped, as by a bad
 * network. */
static void send_encoded(struct node *n, const struct raft_msg *m, const struct wire_entry *entries)
{
    peer_conn c = node_conn_to(n, m->to);
    struct buf *out = c ? peer_out(n->peers, c) : NULL;

    if (!out)
        return;
    size_t begun = wire_frame_begin(out, WIRE_RAFT, 0);
    (void)wire_raft_put(out, m, entries);
    (void)wire_frame_end(out, begun);
    peer_send_built(n->peers, c);
}

static void send_append(struct node *n, const struct raft_msg *m, struct node_entry **entries)
{
    struct wire_entry small[64], *wire = small;

    if (m->span.count > 64)
        wire = mem_must_alloc(m->span.count * sizeof(*wire));
    for (uint32_t i = 0; i < m->span.count; i++)
        wire[i] = node_entry_wire(entries[i]);
    send_encoded(n, m, wire);
    if (wire != small)
        mem_free(wire);
}

/* All entries in memory: send and say so. */
static bool send_from_cache(struct node *n, const struct raft_msg *m)
{
    struct node_entry *small[64], **entries = small;

    if (!node_cache_get(&n->cache, m->span.first) ||
        !node_cache_get(&n->cache, m->span.first + m->span.count - 1))
        return false;
    if (m->span.count > 64)
        entries = mem_must_alloc(m->span.count * sizeof(struct node_entry *));
    for (uint32_t i = 0; i < m->span.count; i++)
        entries[i] = node_cache_get(&n->cache, m->span.first + i);
    send_append(n, m, entries);
    if (entries != small)
        mem_free(entries);
    return true;
}

/* Is this still what the leader of that term would send? The log may have changed since it was
 * ordered. */
static bool append_current(const struct node *n, const struct raft_msg *m)
{
    return n->view.role == RAFT_LEADER && n->view.hard.term == m->term &&
           m->span.first + m->span.count - 1 <= n->view.last_index;
}

static void link_progress(struct node *n, struct node_link *k)
{
    while (k->count && !k->load.busy) {
        struct raft_msg *m = &k->queue[k->head];
        if (append_current(n, m) && !send_from_cache(n, m)) {
            k->load.ctx = k;
            node_load_start(&k->load, n, m->span.first, m->span.count, SIZE_MAX);
            return;
        }
        k->head = (k->head + 1) % NODE_SEND_QUEUE_MAX;
        k->count--;
    }
}

static void link_loaded(struct node_load *l)
{
    struct node *n = l->node;
    struct node_link *k = l->ctx;

    if (k->count) {
        struct raft_msg *m = &k->queue[k->head];
        bool same = l->rc == 0 && append_current(n, m) && l->first == m->span.first &&
                    l->count == m->span.count;
        for (uint32_t i = 0; same && i < l->count; i++)
            same = l->entries[i]->term == raft_term_at(n->raft, l->first + i);
        if (same)
            send_append(n, m, l->entries);
        k->head = (k->head + 1) % NODE_SEND_QUEUE_MAX;
        k->count--;
    }
    node_load_drop(l);
    if (n->phase == NODE_OPEN)
        link_progress(n, k);
}

void node_send(struct node *n, const struct raft_msg *m)
{
    struct node_link *k = link_find(n, m->to);

    if (m->kind != RAFT_MSG_APPEND_REQ || m->span.count == 0) { /* never behind a large transfer */
        send_encoded(n, m, NULL);
        return;
    }
    if (!k || k->count == NODE_SEND_QUEUE_MAX)
        return;
    k->queue[(k->head + k->count) % NODE_SEND_QUEUE_MAX] = *m;
    k->count++;
    link_progress(n, k);
}

/* ---- links follow the configuration
 * ------------------------------------------------------------------ */

static void link_drop(struct node_link *k)
{
    ASSERT(!k->load.busy);
    node_load_drop(&k->load);
    memset(k, 0, sizeof(*k));
}

void node_links_set(struct node *n)
{
    const struct wire_conf *conf = node_confs_latest(&n->confs);
    struct peer_member members[RAFT_NODES_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; conf && i < conf->count; i++) {
        const struct wire_member *m = &conf->members[i];
        if (m->id == n->id)
            continue;
        members[count].id = m->id;
        members[count].store_id = m->store_id;
        members[count].addr = m->addr;
        count++;
    }
    (void)peer_members_set(n->peers, members, count);
    /* A slot with a load under way stays; it serves its member again, or nobody. */
    for (uint32_t i = 0; i < n->link_count; i++)
        if (!node_conf_find(conf, n->links[i].id))
            n->links[i].count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (link_find(n, members[i].id))
            continue;
        struct node_link *k = NULL;
        for (uint32_t j = 0; j < n->link_count && !k; j++)
            if (!node_conf_find(conf, n->links[j].id) && !n->links[j].load.busy)
                k = &n->links[j];
        if (!k && n->link_count < RAFT_NODES_MAX)
            k = &n->links[n->link_count++];
        if (!k)
            continue; /* sixteen loads of removed members under way: the next change tries again */
        link_drop(k);
        k->id = members[i].id;
        k->load.done = link_loaded;
    }
}

void node_links_fini(struct node *n)
{
    for (uint32_t i = 0; i < n->link_count; i++)
        link_drop(&n->links[i]);
    n->link_count = 0;
    mem_free(n->held);
    n->held = NULL;
}

/* ---- messages that promise something
 * -------------------------------------------------------------------- */

void node_hold(struct node *n, const struct raft_msg *m, uint64_t order)
{
    if (n->held_count == n->held_cap) {
        uint32_t cap = n->held_cap ? n->held_cap * 2 : 64;
        struct node_held *grown = mem_must_alloc(cap * sizeof(*grown));
        for (uint32_t i = 0; i < n->held_count; i++)
            grown[i] = n->held[(n->held_head + i) % n->held_cap];
        mem_free(n->held);
        n->held = grown;
        n->held_cap = cap;
        n->held_head = 0;
    }
    struct node_held *h = &n->held[(n->held_head + n->held_count) % n->held_cap];
    h->order = order;
    h->msg = *m;
    n->held_count++;
}

/* Orders never decrease along the queue, so the front decides. A promise of an older term is void.
 */
void node_release_held(struct node *n)
{
    while (n->held_count) {
        struct node_held *h = &n->held[n->held_head];
        if (h->order > n->log.order_stored)
            return;
        struct raft_msg m = h->msg;
        n->held_head = (n->held_head + 1) % n->held_cap;
        n->held_count--;
        if (m.term >= n->view.hard.term)
            node_send(n, &m);
    }
}
