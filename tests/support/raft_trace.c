/* raft_trace.c — what happens, in the lines of the golden scripts; and a picture of all nodes for people. */
#include "raft_world.h"

typedef unsigned long long ull;

const char *rworld_kind_name(enum raft_entry_kind kind)
{
    static const char *const names[] = {"NORMAL", "NOOP", "CONF"};
    return names[kind];
}

static void rworld_say_conf(struct world *w, const struct raft_conf *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        WORLD_SAY(w, "%s%llu%s", i ? "," : "", (unsigned long long)c->members[i].id,
                  c->members[i].voter ? "" : "?");
}

void rworld_say_msg(struct world *w, const struct raft_msg *m)
{
    WORLD_SAY(w, "%llu>%llu %s t%llu", (ull)m->from, (ull)m->to, raft_msg_name(m->kind),
              (ull)m->term);
    switch (m->kind) {
    case RAFT_MSG_PREVOTE_REQ:
    case RAFT_MSG_VOTE_REQ:
        WORLD_SAY(w, " last %llu/t%llu%s", (ull)m->log_index, (ull)m->log_term,
                  m->transfer ? " transfer" : "");
        break;
    case RAFT_MSG_PREVOTE_RES:
    case RAFT_MSG_VOTE_RES:
        WORLD_SAY(w, " %s", m->granted ? "yes" : "no");
        break;
    case RAFT_MSG_APPEND_REQ:
        WORLD_SAY(w, " prev %llu/t%llu", (ull)m->log_index, (ull)m->log_term);
        if (m->span.count)
            WORLD_SAY(w, " +%u", m->span.count);
        WORLD_SAY(w, " commit %llu r%llu", (ull)m->commit, (ull)m->read_round);
        break;
    case RAFT_MSG_APPEND_RES:
        if (m->granted)
            WORLD_SAY(w, " match %llu seen %llu", (ull)m->log_index, (ull)m->hint_index);
        else
            WORLD_SAY(w, " no at %llu hint %llu/t%llu", (ull)m->log_index, (ull)m->hint_index,
                      (ull)m->hint_term);
        WORLD_SAY(w, " r%llu", (ull)m->read_round);
        break;
    case RAFT_MSG_SNAPSHOT_REQ:
    case RAFT_MSG_SNAPSHOT_RES:
        WORLD_SAY(w, " at %llu/t%llu", (ull)m->log_index, (ull)m->log_term);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    }
}

void rworld_say_out(struct world *w, const struct raft_out *out)
{
    if (!w->trace)
        return;
    if (out->hard)
        WORLD_SAY(w, "  #%llu hard t%llu vote %llu\n", (ull)out->order, (ull)out->hard->term,
                  (ull)out->hard->vote);
    if (out->append.count)
        WORLD_SAY(w, "  #%llu append %llu..%llu%s%s\n", (ull)out->order, (ull)out->append.first,
                  (ull)(out->append.first + out->append.count - 1), out->append_from_msg ? "" : " ",
                  out->append_from_msg ? "" : rworld_kind_name(out->append_kind));
    for (uint32_t i = 0; i < out->send_now.count; i++) {
        WORLD_SAY(w, "  send ");
        rworld_say_msg(w, &out->send_now.msgs[i]);
        WORLD_SAY(w, "\n");
    }
    for (uint32_t i = 0; i < out->send_stored.count; i++) {
        WORLD_SAY(w, "  #%llu then ", (ull)out->order);
        rworld_say_msg(w, &out->send_stored.msgs[i]);
        WORLD_SAY(w, "\n");
    }
    if (out->apply.count)
        WORLD_SAY(w, "  apply %llu..%llu\n", (ull)out->apply.first,
                  (ull)(out->apply.first + out->apply.count - 1));
    for (uint32_t i = 0; i < out->reads.count; i++)
        WORLD_SAY(w, "  read %llu %s at %llu\n", (ull)out->reads.reads[i].token,
                  out->reads.reads[i].ok ? "ok" : "lost", (ull)out->reads.reads[i].index);
    for (uint32_t i = 0; i < out->snapshot_count; i++)
        WORLD_SAY(w, "  snapshot %llu to %llu\n", (ull)out->snapshots[i].index,
                  (ull)out->snapshots[i].to);
    if (out->install_wanted)
        WORLD_SAY(w, "  install %llu/t%llu wanted from %llu\n", (ull)out->install_index,
                  (ull)out->install_term, (ull)out->install_from);
}

void rworld_say_change(struct world *w, const struct world_node *n, const struct raft_out *out)
{
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    if (out->role_changed)
        WORLD_SAY(w, "  now %s t%llu leader %llu%s\n", names[n->view.role], (ull)n->view.hard.term,
                  (ull)n->view.leader, n->view.transferring ? " transferring" : "");
    if (out->conf_changed) {
        WORLD_SAY(w, "  members ");
        rworld_say_conf(w, n->view.conf);
        WORLD_SAY(w, " from %llu\n", (ull)n->view.conf_index);
    }
}

void rworld_dump(const struct world *w, struct buf *out)
{
    for (raft_id id = 1; id <= w->node_count; id++) {
        const struct world_node *n = &w->nodes[id];
        if (!n->up) {
            buf_printf(out, "  %llu: down, t%llu, disk %llu\n", (ull)id, (ull)n->disk_hard.term,
                       (ull)n->disk_last);
            continue;
        }
        buf_printf(
            out,
            "  %llu: %s t%llu vote %llu leader %llu, log %llu..%llu/t%llu durable %llu commit %llu "
            "applied %llu",
            (ull)id, raft_role_name(n->view.role), (ull)n->hard.term, (ull)n->hard.vote,
            (ull)n->view.leader, (ull)n->snapshot_index, (ull)n->last, (ull)n->view.last_term,
            (ull)n->view.durable_index, (ull)n->view.commit_index, (ull)n->applied);
        buf_printf(out, ", conf %llu:", (ull)n->view.conf_index);
        for (uint32_t i = 0; i < n->view.conf->count; i++)
            buf_printf(out, " %llu%s", (ull)n->view.conf->members[i].id,
                       n->view.conf->members[i].voter ? "" : "?");
        for (uint32_t i = 0; i < n->view.peer_count; i++)
            buf_printf(out, "; to %llu match %llu next %llu%s", (ull)n->view.peers[i].id,
                       (ull)n->view.peers[i].match, (ull)n->view.peers[i].next,
                       n->view.peers[i].snapshotting ? " snapshot" : "");
        buf_printf(out, "\n");
    }
}
