/* node_words.c — what Raft does here, in lines of the log, as many as -raft-log-level asks for. Called by node_pump.c and
 * node_frame.c after the fact; knows the state, changes nothing. The words are those operators of rqlite look for. */
#include "node_int.h"
#include <stdarg.h>

void node_raft_say(const struct node *n, enum node_raft_log level, const char *fmt, ...)
{
    static const char *const names[] = {
        [NODE_RAFT_LOG_ERROR] = "[ERROR]", [NODE_RAFT_LOG_WARN] = "[WARN] ",
        [NODE_RAFT_LOG_INFO] = "[INFO] ",  [NODE_RAFT_LOG_DEBUG] = "[DEBUG]",
        [NODE_RAFT_LOG_TRACE] = "[TRACE]",
    };
    char text[WIRE_TEXT_MAX + 1];
    va_list args;

    ASSERT(level > NODE_RAFT_LOG_OFF && level <= NODE_RAFT_LOG_TRACE);
    if (level > n->config.raft_log)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    env_log(n->env, "raft", "%s %s", names[level], text);
}

static const struct wire_member *member(const struct node *n, raft_id id)
{
    return node_conf_find(node_confs_latest(&n->confs), id);
}

static void say_follower(const struct node *n, const struct node_was *was)
{
    const struct wire_member *m = member(n, n->view.leader);

    if (was->role == RAFT_LEADER && n->view.leader == 0 && was->term == n->view.hard.term)
        node_raft_say(n, NODE_RAFT_LOG_WARN,
                      "failed to contact quorum of nodes, stepping down: term=%llu",
                      (unsigned long long)was->term);
    node_raft_say(n, NODE_RAFT_LOG_INFO,
                  "entering follower state: follower=\"Node at %s [Follower]\" leader-address=%s "
                  "leader-id=%s",
                  n->raft_addr, m ? m->addr : "", m ? m->name : "");
}

static void say_precandidate(const struct node *n, const struct node_was *was)
{
    const struct wire_member *m = member(n, was->leader);

    node_raft_say(n, NODE_RAFT_LOG_WARN,
                  "heartbeat timeout reached, starting election: last-leader-addr=%s "
                  "last-leader-id=%s",
                  m ? m->addr : "", m ? m->name : "");
}

void node_words_step(const struct node *n, const struct node_was *was)
{
    if (n->view.role != was->role) {
        switch (n->view.role) {
        case RAFT_FOLLOWER:
            say_follower(n, was);
            break;
        case RAFT_LEADER:
            node_raft_say(n, NODE_RAFT_LOG_INFO, "election won: term=%llu",
                          (unsigned long long)n->view.hard.term);
            node_raft_say(n, NODE_RAFT_LOG_INFO,
                          "entering leader state: leader=\"Node at %s [Leader]\"", n->raft_addr);
            break;
        case RAFT_PRECANDIDATE:
            say_precandidate(n, was);
            break;
        case RAFT_CANDIDATE:
            node_raft_say(n, NODE_RAFT_LOG_INFO,
                          "entering candidate state: node=\"Node at %s [Candidate]\" term=%llu",
                          n->raft_addr, (unsigned long long)n->view.hard.term);
        }
    }
    if (n->view.conf_index != was->conf_index)
        node_raft_say(n, NODE_RAFT_LOG_INFO, "updating configuration: index=%llu members=%u",
                      (unsigned long long)n->view.conf_index, (unsigned)n->view.conf->count);
    if (n->view.hard.term != was->term)
        node_raft_say(n, NODE_RAFT_LOG_DEBUG, "new term: term=%llu vote=%s",
                      (unsigned long long)n->view.hard.term,
                      n->view.hard.vote == 0       ? ""
                      : n->view.hard.vote == n->id ? "own"
                                                   : "other");
}

void node_words_peer(const struct node *n, const struct node_conn *c, bool lost)
{
    node_raft_say(n, NODE_RAFT_LOG_DEBUG, "connection %s: address=%s dialled=%s protocol=%u",
                  lost ? "lost" : "made", c->raft_addr, c->dialled ? "here" : "there",
                  peer_protocol_of(n->peers, c->conn));
}
